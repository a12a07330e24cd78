/* A machine that a command line has described is made and run: for 'veneer run', and for QEMU's
 * options. */
#ifndef VENEER_CLI_RUN_H
#define VENEER_CLI_RUN_H

#include "control/control.h"
#include "debug/server.h"
#include "machine/machine.h"

/* Who may command the machine while it runs. */
struct run_services {
	struct control_config monitors[CONTROL_MONITORS];
	unsigned monitor_count;
	struct gdb_config gdb;    /* --gdb */
	bool paused;              /* it begins paused */
	struct control_plug plug; /* how monitors plug devices in */
	/* What monitors tell of the machine; NULL: nothing. Not owned. */
	const struct control_about *about;
	/* The monitors listen, and the machine begins now. NULL: nobody is to be told. */
	void (*ready)(void *opaque);
	void *opaque;
};

/* Make it, run it, and print what --stats asks for. MACHINE_FAILED where it could not be made;
 * there was a message. */
struct machine_result run_configured(
	const struct machine_config *config, const struct run_services *services);

#endif
