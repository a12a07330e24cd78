/* More than one CPU: starting the others by INIT-SIPI and giving them functions to run. */
#ifndef SMP_H
#define SMP_H

#include "apic.h"

/*
 * Starts all other CPUs and waits until COUNT run in all, the caller included; false if they do
 * not within five seconds. CPUs are numbered 0 (the caller) to COUNT - 1, in no special order.
 */
bool smp_start(u32 count);
extern volatile u32 smp_online;
/* APIC ID of CPU number CPU. */
extern volatile u32 smp_apic_ids[MAX_CPUS];
/* The state that the CPU started last had right after its SIPI. */
struct smp_reset_state {
	u32 cr0, cs;
};
extern volatile struct smp_reset_state smp_reset_state;
/* Runs FN(CPU) on another CPU, which must be idle, and returns at once. */
void smp_run(u32 cpu, void (*fn)(u32 cpu));
/* Waits until CPU is idle again; false after MS milliseconds. */
bool smp_wait(u32 cpu, u32 ms);
/* Runs FN on CPUs 0 to COUNT - 1 at once, and waits for all. */
bool smp_run_all(u32 count, void (*fn)(u32 cpu), u32 ms);
u32 smp_cpu(void);

#endif
