/* Steal time of KVM guests (Linux: Documentation/virt/kvm/x86/msr.rst, MSR_KVM_STEAL_TIME): a
 * record in guest memory for each vCPU that says how long the vCPU could have run and did not, and
 * whether its thread has given the host's processor up at this moment. A guest neither spins for a
 * lock of such a vCPU nor sends it an interrupt to flush its TLB: it asks for the flush in the
 * record. */
#ifndef VENEER_CPU_STEAL_TIME_H
#define VENEER_CPU_STEAL_TIME_H

#include "cpu/cpu.h"

/* Bits of MSR_KVM_STEAL_TIME that must be 0. */
#define STEAL_TIME_RESERVED UINT64_C(0x3e)

/* The guest wrote MSR_KVM_STEAL_TIME. False: #GP. */
bool steal_time_write(struct cpu *cpu, uint64_t value);

/* The calling thread runs the vCPU from now on, and no longer. */
void steal_time_thread_begins(struct cpu *cpu);
void steal_time_thread_ends(struct cpu *cpu);

/* Bring the guest's record up to date, if it is a millisecond old: it costs a system call. On the
 * vCPU's thread. */
void steal_time_update(struct cpu *cpu);

/* Before and after the vCPU's thread sleeps, on that thread. In between it may touch nothing that
 * it reaches through the TLB; a flush that was asked for meanwhile is done when it resumes. */
void steal_time_suspend(struct cpu *cpu);
void steal_time_resume(struct cpu *cpu);

/* Give the host's processor to another thread, if one waits for it. */
void cpu_yield(struct cpu *cpu);

#endif
