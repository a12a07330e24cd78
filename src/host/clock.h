/* The machine's one clock. Guest TSC, timers, and pvclock all derive from it. It counts host TSC
 * cycles, runs at the host's TSC frequency, stops while the machine is paused and goes on from the
 * same value. Times in nanoseconds are the same clock in another unit (offset 0 at creation). */
#ifndef VENEER_HOST_CLOCK_H
#define VENEER_HOST_CLOCK_H

#include "base/bits.h"

#include <stdbool.h>
#include <stdint.h>

struct clock {
	uint64_t tsc_offset; /* clock cycles = host TSC + tsc_offset, while running */
	uint64_t paused_tsc;
	bool paused;
	uint64_t tsc_khz;
	/* ns = (cycles * ns_mult) >> ns_shift. ns_mult has exactly 32 bits, so that pvclock can
	 * repeat it: tsc_to_system_mul is ns_mult, tsc_shift is 32 - ns_shift. */
	uint64_t ns_mult;
	unsigned ns_shift;
};

/* Start at 0. Finds the host's TSC frequency: from CPUID where the processor or hypervisor tells
 * it, else measured against CLOCK_MONOTONIC_RAW (at most about 10 ms). */
void clock_init(struct clock *clock);

/* The clock in cycles, and in nanoseconds. Thread-safe against each other; pause and resume are
 * called with all vCPUs stopped. Integer arithmetic only. */
uint64_t clock_cycles(const struct clock *clock);
uint64_t clock_ns(const struct clock *clock);
uint64_t clock_cycles_to_ns(const struct clock *clock, uint64_t cycles);
/* The first cycle at which so many ns are over; all ones where that is out of range. */
uint64_t clock_ns_to_cycles(const struct clock *clock, uint64_t ns);
void clock_pause(struct clock *clock);
void clock_resume(struct clock *clock);
/* Set a paused clock to what another clock showed when it was paused, and to the rate at which that
 * one counted: a saved machine goes on so. Both rates are of the same TSC, measured twice. */
void clock_set(struct clock *clock, uint64_t cycles, uint64_t tsc_khz);

/* Wall-clock time in ns since 1970 at clock zero, for pvclock's wall clock and the RTC. */
uint64_t clock_wall_base_ns(const struct clock *clock);

/* How often something that runs at `hz` (up to 4 GHz) has ticked after so many ns, and the first ns
 * at which it has ticked so often. Exact, and inverse to each other. */
static inline uint64_t clock_ns_to_ticks(uint64_t ns, uint64_t hz)
{
	return ns / NS_PER_SECOND * hz + ns % NS_PER_SECOND * hz / NS_PER_SECOND;
}

static inline uint64_t clock_ticks_to_ns(uint64_t ticks, uint64_t hz)
{
	return ticks / hz * NS_PER_SECOND + (ticks % hz * NS_PER_SECOND + hz - 1) / hz;
}

#endif
