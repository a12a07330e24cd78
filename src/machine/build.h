/* What machine.c needs of how a machine is made. */
#ifndef VENEER_MACHINE_BUILD_H
#define VENEER_MACHINE_BUILD_H

#include "machine/machine.h"

/* As if the machine were switched off and on, the RTC apart. No vCPU runs. 0, or -errno with a
 * message. */
int machine_reset(struct machine *machine);
/* The user has typed Ctrl-a x. `opaque`: the machine. */
void machine_on_quit(void *opaque);

#endif
