/* What --stats prints when a machine has stopped. */
#ifndef VENEER_CLI_STATS_H
#define VENEER_CLI_STATS_H

#include "machine/machine.h"

/* To standard error. `seconds`: how long it ran; `startup_ms`: how long building it took. */
void stats_print(const struct machine *machine, double seconds, double startup_ms);

#endif
