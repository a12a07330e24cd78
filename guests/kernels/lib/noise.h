/*
 * Interrupts at random moments, for tests that must not notice them. They are taken on a stack of
 * their own, so that they leave nothing below RSP. 64-bit kernels only, CPU 0 only, and no test of
 * the APIC timer beside them.
 */
#ifndef NOISE_H
#define NOISE_H

#include "apic.h"

/* From now on, about every CYCLES of the APIC timer; and interrupts are on. */
void noise_start(u32 cycles);
/* Interrupts are off again. Returns how many there were since the start. */
u32 noise_stop(void);
/* user_call() with interrupts on in ring 3. */
ulong noise_user_call(ulong (*fn)(ulong), ulong argument);

#endif
