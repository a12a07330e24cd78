/* Debug events inside cpu/ (SDM vol. 3B chapter 18); what engines call is in instruction.h and
 * access.h. */
#ifndef VENEER_CPU_DEBUG_H
#define VENEER_CPU_DEBUG_H

#include "cpu/cpu.h"

#define DR6_TRAPS UINT64_C(0xf) /* B0..B3 */
#define DR6_BD    BIT(13)       /* debug registers accessed under DR7.GD */
#define DR6_BS    BIT(14)       /* single step */
#define DR6_BT    BIT(15)       /* task switch to a TSS with the T bit */
#define DR7_GD    BIT(13)

/* A debug trap becomes due at the next instruction boundary: DR6 bits to be set then. */
void debug_trap(struct cpu *cpu, uint64_t dr6_bits);
/* Merge the bits of a #DB about to be delivered into DR6. */
void debug_record(struct cpu *cpu, uint64_t dr6_bits);
/* #DB has been delivered: breakpoints on debug registers and branch recording go off. */
void debug_delivered(struct cpu *cpu);
/* I/O breakpoints, after the access. */
void debug_check_io(struct cpu *cpu, uint16_t port, unsigned size);
bool debug_io_armed(const struct cpu *cpu);
/* Can DR6, DR7 and what is pending have these values? */
bool debug_registers_fit(const struct cpu_state *state);
/* A task switch clears the local enables (SDM vol. 3B 18.2.4). */
void debug_task_switched(struct cpu *cpu);

#endif
