/* QEMU's isa-debug-exit: a guest writes a value to the port and the monitor ends with
 * exit status (value << 1) | 1. Test kernels use it. */
#ifndef VENEER_DEVICE_CHIPSET_DEBUG_EXIT_H
#define VENEER_DEVICE_CHIPSET_DEBUG_EXIT_H

#include "memory/io_space.h"

#define DEBUG_EXIT_SIZE 4

struct debug_exit {
	void (*exit)(void *opaque, int status);
	void *opaque;
};

/* Add four ports at `port`. exit() gets the exit status, (value << 1) | 1. 0 or -errno. */
int debug_exit_init(struct debug_exit *device, struct io_space *ports, uint16_t port,
	void (*exit)(void *opaque, int status), void *opaque);

#endif
