/* The only state of a running timer is the machine time, in ns, at which its count reaches zero:
 * the current count is computed from that. The event loop's timer runs only while reaching zero
 * would cause an interrupt. */
#include "device/chipset/lapic_internal.h"

/* A periodic interrupt comes at most this often: a guest shall not keep the I/O thread busy. The
 * count itself is exact for any period. */
#define SHORTEST_PERIOD_NS 50000

static uint32_t mode(const struct lapic *lapic)
{
	return lapic->state.lvt[LVT_TIMER] & LVT_TIMER_MODE;
}

/* Divide configuration: bits 3, 1, 0 are the binary logarithm less one, modulo 8. */
static unsigned divide_shift(const struct lapic *lapic)
{
	uint32_t divide = lapic->state.timer_divide;

	return (((divide >> 1 & 4) | (divide & 3)) + 1) & 7;
}

static uint64_t period_ns(const struct lapic *lapic)
{
	return (uint64_t)lapic->state.timer_initial << divide_shift(lapic);
}

static uint64_t guest_tsc(const struct lapic *lapic)
{
	return clock_cycles(lapic->bus->clock) + lapic->cpu->tsc_offset;
}

/* Machine time at which the guest's TSC reaches its deadline. It was ahead when settle() looked,
 * but may have passed since. */
static uint64_t deadline_ns(const struct lapic *lapic)
{
	const struct clock *clock = lapic->bus->clock;
	uint64_t now = clock_cycles(clock);
	uint64_t guest_now = now + lapic->cpu->tsc_offset;
	uint64_t wait =
		lapic->state.tsc_deadline > guest_now ? lapic->state.tsc_deadline - guest_now : 0;

	/* The guest may ask for a deadline that does not fit in 64 bits of ns; half the range is as
	 * good. */
	if (wait > INT64_MAX - MIN(now, (uint64_t)INT64_MAX))
		return INT64_MAX;
	/* Rounded up: at that time the deadline has passed. */
	return clock_cycles_to_ns(clock, now + wait) + 1;
}

/* Bring the state up to now. True: the count has reached zero since the last time. */
static bool settle(struct lapic *lapic)
{
	uint64_t now = clock_ns(lapic->bus->clock), period = period_ns(lapic);

	if (mode(lapic) == LVT_TSC_DEADLINE) {
		if (!lapic->state.tsc_deadline || guest_tsc(lapic) < lapic->state.tsc_deadline)
			return false;
		lapic->state.tsc_deadline = 0;
		return true;
	}
	if (!lapic->state.timer_zero_ns || lapic->state.timer_zero_ns > now)
		return false;
	/* Periods that were missed are gone: interrupts do not pile up. */
	if (mode(lapic) == LVT_PERIODIC && period)
		lapic->state.timer_zero_ns +=
			((now - lapic->state.timer_zero_ns) / period + 1) * period;
	else
		lapic->state.timer_zero_ns = 0;
	return true;
}

static void arm(struct lapic *lapic)
{
	uint64_t when = lapic->state.timer_zero_ns;

	timer_cancel(&lapic->timer);
	if ((lapic->state.lvt[LVT_TIMER] & LVT_MASKED) || !lapic_is_enabled(lapic))
		return;
	if (mode(lapic) == LVT_TSC_DEADLINE) {
		if (lapic->state.tsc_deadline)
			timer_arm(&lapic->timer, deadline_ns(lapic));
		return;
	}
	if (!when)
		return;
	if (mode(lapic) == LVT_PERIODIC && period_ns(lapic) < SHORTEST_PERIOD_NS)
		when += SHORTEST_PERIOD_NS;
	timer_arm(&lapic->timer, when);
}

/* Deliver what is due, and wait for what comes next. */
static void run(struct lapic *lapic)
{
	if (settle(lapic))
		lapic_local_interrupt(lapic, LVT_TIMER);
	arm(lapic);
}

static void expired(void *opaque)
{
	run(opaque);
}

void lapic_timer_init(struct lapic *lapic, struct event_loop *loop)
{
	timer_init(&lapic->timer, loop, expired, lapic);
}

void lapic_timer_loaded(struct lapic *lapic)
{
	arm(lapic);
}

void lapic_timer_stop(struct lapic *lapic)
{
	timer_cancel(&lapic->timer);
	lapic->state.timer_zero_ns = 0;
	lapic->state.tsc_deadline = 0;
}

void lapic_timer_set_initial(struct lapic *lapic, uint32_t count)
{
	if (mode(lapic) == LVT_TSC_DEADLINE)
		return;
	lapic->state.timer_initial = count;
	lapic->state.timer_zero_ns = count ? clock_ns(lapic->bus->clock) + period_ns(lapic) : 0;
	arm(lapic);
}

uint32_t lapic_timer_current(const struct lapic *lapic)
{
	uint64_t now = clock_ns(lapic->bus->clock), zero = lapic->state.timer_zero_ns;
	uint64_t period = period_ns(lapic), left;

	if (mode(lapic) == LVT_TSC_DEADLINE || !zero)
		return 0;
	/* The interrupt may be on its way still: count as if it had been taken. */
	if (zero > now)
		left = zero - now;
	else if (mode(lapic) == LVT_PERIODIC && period)
		left = period - (now - zero) % period;
	else
		return 0;
	return (uint32_t)((left - 1) >> divide_shift(lapic)) + 1;
}

void lapic_timer_set_divide(struct lapic *lapic, uint32_t divide)
{
	uint32_t count;

	run(lapic);
	count = lapic_timer_current(lapic);
	lapic->state.timer_divide = divide & 0xb;
	if (count)
		lapic->state.timer_zero_ns =
			clock_ns(lapic->bus->clock) + ((uint64_t)count << divide_shift(lapic));
	arm(lapic);
}

void lapic_timer_set_deadline(struct lapic *lapic, uint64_t deadline)
{
	if (mode(lapic) != LVT_TSC_DEADLINE)
		return;
	lapic->state.tsc_deadline = deadline;
	run(lapic);
}

uint64_t lapic_timer_deadline(struct lapic *lapic)
{
	if (mode(lapic) != LVT_TSC_DEADLINE)
		return 0;
	run(lapic);
	return lapic->state.tsc_deadline;
}

void lapic_tsc_changed(struct lapic *lapic)
{
	if (mode(lapic) == LVT_TSC_DEADLINE)
		run(lapic);
}

void lapic_timer_lvt_changed(struct lapic *lapic, uint32_t before)
{
	uint32_t after = lapic->state.lvt[LVT_TIMER];

	/* What came due until now is delivered as the old entry says. */
	lapic->state.lvt[LVT_TIMER] = before;
	if (settle(lapic))
		lapic_local_interrupt(lapic, LVT_TIMER);
	lapic->state.lvt[LVT_TIMER] = after;

	/* A change to or from TSC-deadline mode disarms the timer (SDM vol. 3A 11.5.4.1). */
	if ((before ^ after) & LVT_TSC_DEADLINE) {
		lapic_timer_stop(lapic);
		lapic->state.timer_initial = 0;
	}
	arm(lapic);
}
