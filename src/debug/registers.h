/* The registers that gdb sees of a vCPU. They are those of a 64-bit processor in every mode, as
 * with qemu-system-x86_64: outside of 64-bit code the general registers are shown with 32 bits and
 * R8 to R15 as 0, and RIP is an offset in CS. Which vector registers there are depends on the
 * processor's model; the target description says. */
#ifndef VENEER_DEBUG_REGISTERS_H
#define VENEER_DEBUG_REGISTERS_H

#include "cpu/cpu.h"

#define REGISTER_LARGEST 32   /* bytes of one */
#define REGISTERS_ROOM   4096 /* bytes of all */

/* The target description in XML. The caller frees it; NULL: out of memory. */
char *registers_description(const struct cpu_model *model);

/* How many there are, and how many bytes number `number` has; 0: there is none. */
unsigned registers_count(const struct cpu_model *model);
unsigned register_size(const struct cpu_model *model, unsigned number);

/* The vCPU is stopped. Registers are as the protocol has them: little-endian, one after the other.
 * registers_read() returns how many bytes all have. */
unsigned registers_read(struct cpu *cpu, uint8_t bytes[REGISTERS_ROOM]);
unsigned register_read(struct cpu *cpu, unsigned number, uint8_t bytes[REGISTER_LARGEST]);
/* False: the processor cannot have these values; then nothing has changed. `size`: of `bytes`, at
 * most that of all registers; those beyond keep what they have. */
bool registers_write(struct cpu *cpu, const uint8_t *bytes, size_t size);
bool register_write(struct cpu *cpu, unsigned number, const uint8_t *bytes);

#endif
