/* A machine's memory and registers as an ELF core file, which crash(8) and gdb read: a segment for
 * each piece of RAM, by physical address, and notes for each processor (NT_PRSTATUS, and the one
 * with control registers and segments that QEMU's dumps have). */
#ifndef VENEER_MACHINE_CORE_DUMP_H
#define VENEER_MACHINE_CORE_DUMP_H

#include "machine/machine.h"

/* Write one to `fd`, a file at its begin, in which pages that hold nothing take no room; what is no
 * file (a pipe) gets them all. The machine must be paused. 0 or -errno. */
int core_dump_write(struct machine *machine, int fd);

#endif
