/* An experiment (bench/experiments/syscall_level.c), which is there only where it is built with
 * -Dsyscall_level=true: some calls of a guest process are served at its SYSCALL instruction. */
#ifndef VENEER_CPU_SYSCALL_LEVEL_H
#define VENEER_CPU_SYSCALL_LEVEL_H

#include <stdbool.h>

struct cpu;

#ifdef VENEER_SYSCALL_LEVEL
/* SYSCALL is about to enter the guest's kernel. True: it was served, and the program goes on at
 * cpu->next_rip. May raise #PF for the program's own memory; then nothing was done. */
bool syscall_level_serve(struct cpu *cpu);
/* A hypercall. True: it was one of the experiment's. */
bool syscall_level_hypercall(struct cpu *cpu);
#else
static inline bool syscall_level_serve(struct cpu *cpu)
{
	return false;
}

static inline bool syscall_level_hypercall(struct cpu *cpu)
{
	return false;
}
#endif

#endif
