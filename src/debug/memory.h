/* Guest memory as a debugger sees and changes it: by linear address through a vCPU's page tables,
 * with no regard to rights, or by physical address. Only memory: a device's register would notice
 * that it is read. Nothing of the guest's changes but the bytes that are written, code that engines
 * have made of these is dropped, and ROM can be written. While all vCPUs are stopped. */
#ifndef VENEER_DEBUG_MEMORY_H
#define VENEER_DEBUG_MEMORY_H

#include "cpu/cpu.h"

/* How many of the bytes there are, from the first on, up to one that is not there. */
size_t debug_memory_read(
	struct cpu *cpu, bool physical, uint64_t address, void *buffer, size_t size);
/* False: not all are there, and none was written. */
bool debug_memory_write(
	struct cpu *cpu, bool physical, uint64_t address, const void *buffer, size_t size);

#endif
