/* Task switches (SDM vol. 3A chapter 8). */
#ifndef VENEER_CPU_TASK_H
#define VENEER_CPU_TASK_H

#include "cpu/descriptor.h"

enum task_reason { TASK_JUMP, TASK_CALL, TASK_IRET, TASK_EVENT };

/* Switch to the task of `selector`, a TSS selector that named a TSS itself (RPL and DPL are the
 * caller's to check). `return_rip` is what the old task resumes at. Before the switch's commit
 * point it raises in the old task with nothing changed; after it, in the new one (cpu->rip is set).
 * On return cpu->rip == next_rip == the new task's EIP. An exception's error code is pushed on the
 * new task's stack where `error` is not NULL. */
void task_switch(struct cpu *cpu, uint16_t selector, enum task_reason reason, uint64_t return_rip,
	const uint32_t *error);

/* The TSS selector in a task gate: must be in the GDT, else `vector` is raised with it. */
uint16_t task_gate_selector(struct cpu *cpu, const struct descriptor *gate, enum vector vector);

/* The 16-bit field of the current TSS, for the back link. */
uint16_t task_back_link(struct cpu *cpu);

#endif
