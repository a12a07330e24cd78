/* The options of 'veneer run'. */
#ifndef VENEER_CLI_RUN_OPTIONS_H
#define VENEER_CLI_RUN_OPTIONS_H

#include "cli/options.h"
#include "cli/run.h"

/* What they say. */
struct run_settings {
	struct machine_config machine;
	const char *engine_name;
	bool bt_test, shadow;    /* there was a --bt-test, a --shadow */
	struct disk_config disk; /* that it boots from; path NULL: none */
	struct run_services services;
	bool help;
};

/* One row each, for a struct run_settings. */
extern const struct option_row run_options[];

/* --net: also for the card that a disk's system gets where none was asked for. */
int run_set_net(void *settings, const char *value);

#endif
