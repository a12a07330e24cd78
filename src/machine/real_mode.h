/* Kernels that are entered in real mode, after firmware. */
#ifndef VENEER_MACHINE_REAL_MODE_H
#define VENEER_MACHINE_REAL_MODE_H

#include "machine/image.h"

#define REAL_MODE_ROM "real-mode-kernel.bin"

struct machine;

/* Is it a bzImage of so old a protocol that it has, or may have, a 16-bit entry only? */
bool real_mode_is_needed(const struct image *kernel);
/* Give machine->kernel, initrd and command line to fw_cfg, and an option ROM that loads and enters
 * them; with "/rom@genroms/" REAL_MODE_ROM the first of what is booted. 0, or -errno with a
 * message. */
int real_mode_add(struct machine *machine);

#endif
