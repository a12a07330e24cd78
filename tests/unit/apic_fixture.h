/* The device fixture with vCPUs that do not run, and their local APICs. */
#ifndef VENEER_TESTS_UNIT_APIC_FIXTURE_H
#define VENEER_TESTS_UNIT_APIC_FIXTURE_H

#include "model_fixture.h"
#include "device/chipset/lapic.h"
#include "device_fixture.h"

#define CPUS 4

/* Register offsets in the xAPIC's page. */
enum {
	ID = 0x20,
	VERSION = 0x30,
	TPR = 0x80,
	PPR = 0xa0,
	EOI = 0xb0,
	LDR = 0xd0,
	DFR = 0xe0,
	SVR = 0xf0,
	ISR = 0x100,
	TMR = 0x180,
	IRR = 0x200,
	ESR = 0x280,
	ICR = 0x300,
	ICR_HIGH = 0x310,
	LVT_TIMER_REGISTER = 0x320,
	LVT_LINT0_REGISTER = 0x350,
	LVT_ERROR_REGISTER = 0x370,
	INITIAL_COUNT = 0x380,
	CURRENT_COUNT = 0x390,
	DIVIDE = 0x3e0,
	SELF_IPI = 0x3f0,
};

static struct cpu_platform platform;
static struct cpu *cpus[CPUS];

static inline void create_cpus(void)
{
	platform = (struct cpu_platform){.memory = &f.memory,
		.model = make_fixture_model(),
		.ports = &f.ports,
		.clock = &f.clock,
		.cpu_count = CPUS,
		.cpus = cpus};
	for (unsigned i = 0; i < CPUS; i++) {
		cpus[i] = cpu_create(&platform, i);
		assert_non_null(cpus[i]);
		cpu_clear_pending(cpus[i], UINT32_MAX);
	}
}

static inline void destroy_cpus(void)
{
	for (unsigned i = 0; i < CPUS; i++)
		cpu_destroy(cpus[i]);
}

static inline uint32_t pending(unsigned cpu)
{
	return atomic_load(&cpus[cpu]->pending);
}

/* The CPUs for which a request waits, as a bit set; clears the requests. */
static inline unsigned take_pending(uint32_t bit)
{
	unsigned set = 0;

	for (unsigned i = 0; i < CPUS; i++) {
		if (pending(i) & bit)
			set |= 1u << i;
		cpu_clear_pending(cpus[i], bit);
	}
	return set;
}

#endif
