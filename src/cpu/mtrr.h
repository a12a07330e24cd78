/* MTRRs and PAT (SDM vol. 3A 12.11, 12.12): kept and checked, without effect on guest memory, which
 * is the host's write-back memory throughout. */
#ifndef VENEER_CPU_MTRR_H
#define VENEER_CPU_MTRR_H

#include "cpu/cpu.h"

bool mtrr_read(struct cpu *cpu, uint32_t msr, uint64_t *value);
bool mtrr_write(struct cpu *cpu, uint32_t msr, uint64_t value);
bool pat_write(struct cpu *cpu, uint32_t msr, uint64_t value);

#endif
