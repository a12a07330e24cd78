#include "host/clock.h"

#include "base/bits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

static uint64_t host_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* A busy host may stop us anywhere: each timing is tried several times, and the best counts. */
#define TRIES 10

static void starts_fast_at_zero(void **state)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < TRIES; i++) {
		struct clock clock;
		uint64_t before = host_ns(CLOCK_MONOTONIC);

		clock_init(&clock);
		best = MIN(best, host_ns(CLOCK_MONOTONIC) - before);
		assert_in_range(clock_ns(&clock), 0, 1000 * MS);
	}
	assert_in_range(best, 0, 10 * MS);
}

static void agrees_with_the_host(void **state)
{
	uint64_t best = UINT64_MAX;
	struct clock clock;

	clock_init(&clock);
	for (int i = 0; i < TRIES; i++) {
		uint64_t host = host_ns(CLOCK_MONOTONIC_RAW), guest = clock_ns(&clock), off;

		usleep(50000);
		guest = clock_ns(&clock) - guest;
		host = host_ns(CLOCK_MONOTONIC_RAW) - host;
		off = guest > host ? guest - host : host - guest;
		best = MIN(best, off * 1000000 / host);
	}
	/* 100 parts in a million: an oscillator may be off by so much; a wrong frequency is off by
	 * more. */
	assert_in_range(best, 0, 100);
}

static void multiplier_fits_pvclock(void **state)
{
	struct clock clock;

	clock_init(&clock);
	assert_in_range(clock.ns_mult, BIT(31), BIT(32) - 1);
	assert_in_range(clock.ns_shift, 1, 63);
}

static void conversions_are_inverse(void **state)
{
	struct clock clock;

	clock_init(&clock);
	for (uint64_t ns = 0; ns < BIT(62); ns = ns * 3 + 1) {
		uint64_t cycles = clock_ns_to_cycles(&clock, ns);

		/* The first cycle at which so many ns are over. */
		assert_true(clock_cycles_to_ns(&clock, cycles) >= ns);
		if (cycles)
			assert_true(clock_cycles_to_ns(&clock, cycles - 1) < ns);
	}
	assert_true(clock_ns_to_cycles(&clock, UINT64_MAX) >= UINT64_MAX / 2);
}

static void ticks_are_exact(void **state)
{
	/* A day of the PIT and of the RTC's oscillator. */
	assert_int_equal(
		clock_ns_to_ticks(UINT64_C(86400000000000), 1193182), UINT64_C(86400) * 1193182);
	assert_int_equal(clock_ns_to_ticks(999999999, 32768), 32767);
	for (uint64_t ticks = 0; ticks < BIT(40); ticks = ticks * 5 + 1) {
		uint64_t ns = clock_ticks_to_ns(ticks, 3579545);

		assert_int_equal(clock_ns_to_ticks(ns, 3579545), ticks);
		if (ns)
			assert_true(clock_ns_to_ticks(ns - 1, 3579545) < ticks);
	}
}

static void pause_leaves_no_jump(void **state)
{
	struct clock clock;
	uint64_t paused, resumed;

	clock_init(&clock);
	clock_pause(&clock);
	paused = clock_cycles(&clock);
	usleep(20000);
	assert_int_equal(clock_cycles(&clock), paused);
	clock_pause(&clock); /* twice is once */
	clock_resume(&clock);
	resumed = clock_cycles(&clock);
	assert_in_range(resumed - paused, 0, clock.tsc_khz * 10);
	clock_resume(&clock);
	usleep(1000);
	assert_true(clock_cycles(&clock) > resumed);
}

static void wall_clock(void **state)
{
	struct clock clock;
	uint64_t now;

	clock_init(&clock);
	now = clock_wall_base_ns(&clock) + clock_ns(&clock);
	assert_in_range(now / 1000000000, host_ns(CLOCK_REALTIME) / 1000000000 - 1,
		host_ns(CLOCK_REALTIME) / 1000000000 + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts_fast_at_zero),
		cmocka_unit_test(agrees_with_the_host),
		cmocka_unit_test(multiplier_fits_pvclock),
		cmocka_unit_test(conversions_are_inverse),
		cmocka_unit_test(ticks_are_exact),
		cmocka_unit_test(pause_leaves_no_jump),
		cmocka_unit_test(wall_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
