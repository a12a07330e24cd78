/* The memory map that guests are told, in the form of the BIOS call of that name: what is RAM and
 * what is kept. Linux gets it in boot_params, multiboot kernels in their information structure. */
#ifndef VENEER_MACHINE_E820_H
#define VENEER_MACHINE_E820_H

#include "memory/memory.h"

enum e820_type { E820_USABLE = 1, E820_RESERVED = 2 };

struct e820_range {
	uint64_t start, size;
	enum e820_type type;
};

#define E820_MAX 8

/* Fill `map`, sorted by address, and return how many entries it has. */
unsigned e820_build(const struct memory *memory, struct e820_range map[E820_MAX]);

#endif
