/* pvclock, the paravirtual clock of KVM guests (Linux: Documentation/virt/kvm/x86/msr.rst): a page
 * per vCPU that says how to make nanoseconds out of the TSC, and one that says when the clock
 * began. */
#ifndef VENEER_CPU_PVCLOCK_H
#define VENEER_CPU_PVCLOCK_H

#include "cpu/cpu.h"

/* The guest wrote MSR_KVM_SYSTEM_TIME or MSR_KVM_WALL_CLOCK. False: #GP. */
bool pvclock_write_system_time(struct cpu *cpu, uint64_t value);
bool pvclock_write_wall_clock(struct cpu *cpu, uint64_t value);

/* Write the vCPU's time page afresh, if it has one: after its TSC offset or the machine's clock has
 * been changed. On the vCPU's thread, or while it is stopped. */
void pvclock_update(struct cpu *cpu);

#endif
