/* What the machine boots: kernel, initrd and command line, from files or out of a disk. */
#ifndef VENEER_MACHINE_GUEST_IMAGE_H
#define VENEER_MACHINE_GUEST_IMAGE_H

#include "machine/machine.h"

/* Fill in machine->kernel, initrd and cmdline as the configuration says. Where a disk has no kernel
 * that we find, machine->config gets firmware that boots it. 0, or -errno with a
 * message; guest_image_close() is right in either case. */
int guest_image_open(struct machine *machine);
void guest_image_close(struct machine *machine);

/* The guest has been loaded: what was read out of a disk for it is given back. */
void guest_image_loaded(struct machine *machine);

/* For a machine that starts again: a disk may have another kernel now. Files are kept as they were
 * opened. 0, or -errno with a message. */
int guest_image_reopen(struct machine *machine);

#endif
