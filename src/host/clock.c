#include "host/clock.h"

#include "base/bits.h"

#include <cpuid.h>
#include <time.h>
#include <x86intrin.h>

#define CALIBRATION_NS (5 * UINT64_C(1000000))

static uint64_t host_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* Read both clocks at the same instant: of several tries, the one with the least time between the
 * two looks at the TSC, in the middle of which the other clock was read. */
static void sample(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 16; i++) {
		uint64_t before = __rdtsc();
		uint64_t now = host_ns(CLOCK_MONOTONIC_RAW);
		uint64_t after = __rdtsc();

		if (after - before < best) {
			best = after - before;
			*tsc = before + best / 2;
			*ns = now;
		}
	}
}

static uint64_t measure_tsc_khz(void)
{
	const struct timespec wait = {.tv_nsec = CALIBRATION_NS};
	uint64_t tsc[2], ns[2];

	sample(&tsc[0], &ns[0]);
	nanosleep(&wait, NULL);
	sample(&tsc[1], &ns[1]);
	return (uint64_t)((unsigned __int128)(tsc[1] - tsc[0]) * 1000000 / (ns[1] - ns[0]));
}

/* What the processor says itself: leaf 0x15 (SDM vol. 3B 19.7.3), or the hypervisor that we run
 * under: VMware's leaf 0x40000010, which KVM and others repeat. 0 where neither does. */
static uint64_t reported_tsc_khz(void)
{
	uint32_t eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	if (ecx & BIT(31)) {
		__cpuid(0x40000000, eax, ebx, ecx, edx);
		if (eax >= 0x40000010 && eax < 0x40010000) {
			__cpuid(0x40000010, eax, ebx, ecx, edx);
			if (eax)
				return eax;
		}
	}
	if (__get_cpuid_count(0x15, 0, &eax, &ebx, &ecx, &edx) && eax && ebx && ecx)
		return (uint64_t)ecx * ebx / eax / 1000;
	return 0;
}

static void set_rate(struct clock *clock, uint64_t khz)
{
	clock->tsc_khz = khz;
	/* The shift that gives the multiplier 32 significant bits. */
	clock->ns_shift = 32;
	while (((unsigned __int128)1000000 << clock->ns_shift) / khz < BIT(31))
		clock->ns_shift++;
	while (((unsigned __int128)1000000 << clock->ns_shift) / khz >= BIT(32))
		clock->ns_shift--;
	clock->ns_mult = (uint64_t)(((unsigned __int128)1000000 << clock->ns_shift) / khz);
}

void clock_init(struct clock *clock)
{
	uint64_t khz = reported_tsc_khz();

	/* A figure that no processor has is a figure that nobody filled in. */
	if (khz < 100000 || khz > 20000000)
		khz = measure_tsc_khz();
	*clock = (struct clock){0};
	set_rate(clock, khz);
	clock->tsc_offset = -__rdtsc();
}

uint64_t clock_cycles(const struct clock *clock)
{
	return clock->paused ? clock->paused_tsc : __rdtsc() + clock->tsc_offset;
}

uint64_t clock_cycles_to_ns(const struct clock *clock, uint64_t cycles)
{
	return bits_mul_shift(cycles, clock->ns_mult, clock->ns_shift);
}

uint64_t clock_ns(const struct clock *clock)
{
	return clock_cycles_to_ns(clock, clock_cycles(clock));
}

uint64_t clock_ns_to_cycles(const struct clock *clock, uint64_t ns)
{
	unsigned __int128 scaled = (unsigned __int128)ns << clock->ns_shift;
	unsigned __int128 cycles = (scaled + clock->ns_mult - 1) / clock->ns_mult;

	return cycles > UINT64_MAX ? UINT64_MAX : (uint64_t)cycles;
}

void clock_pause(struct clock *clock)
{
	if (clock->paused)
		return;
	clock->paused_tsc = clock_cycles(clock);
	clock->paused = true;
}

void clock_resume(struct clock *clock)
{
	if (!clock->paused)
		return;
	clock->tsc_offset = clock->paused_tsc - __rdtsc();
	clock->paused = false;
}

void clock_set(struct clock *clock, uint64_t cycles, uint64_t tsc_khz)
{
	set_rate(clock, tsc_khz);
	clock->paused_tsc = cycles;
}

uint64_t clock_wall_base_ns(const struct clock *clock)
{
	return host_ns(CLOCK_REALTIME) - clock_ns(clock);
}
