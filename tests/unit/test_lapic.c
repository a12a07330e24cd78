#include "apic_fixture.h"

#include "device/chipset/lapic.h"

#include <sched.h>
#include <time.h>

static struct lapic_bus bus;
static unsigned eois;
static uint8_t last_eoi;

static void on_eoi(void *opaque, uint8_t vector)
{
	eois++;
	last_eoi = vector;
}

static uint32_t get(unsigned cpu, unsigned offset)
{
	return (uint32_t)lapic_mmio_read(&bus.lapics[cpu], offset, 4);
}

static void set(unsigned cpu, unsigned offset, uint32_t value)
{
	lapic_mmio_write(&bus.lapics[cpu], offset, value, 4);
}

static bool rdmsr(unsigned cpu, uint32_t msr, uint64_t *value)
{
	return lapic_msr_read(&bus.lapics[cpu], msr, value);
}

static bool wrmsr(unsigned cpu, uint32_t msr, uint64_t value)
{
	return lapic_msr_write(&bus.lapics[cpu], msr, value);
}

static void to_x2apic(unsigned cpu)
{
	uint64_t base;

	assert_true(rdmsr(cpu, 0x1b, &base));
	assert_true(wrmsr(cpu, 0x1b, base | APIC_BASE_X2APIC));
}

static void enable_all(void)
{
	for (unsigned i = 0; i < CPUS; i++)
		set(i, SVR, 0x1ff);
}

static int setup(void **state)
{
	fixture_setup();
	create_cpus();
	assert_int_equal(lapic_bus_init(&bus, &f.devices, cpus, CPUS, f.loop, &f.clock), 0);
	bus.eoi = on_eoi;
	eois = 0;
	return 0;
}

static int setup_enabled(void **state)
{
	setup(state);
	enable_all();
	return 0;
}

static int teardown(void **state)
{
	device_list_destroy(&f.devices);
	destroy_cpus();
	fixture_teardown();
	return 0;
}

/* --- registers --- */

static void power_up_values(void **state)
{
	uint64_t base;

	assert_true(rdmsr(0, 0x1b, &base));
	assert_int_equal(base, 0xfee00900);
	assert_true(rdmsr(1, 0x1b, &base));
	assert_int_equal(base, 0xfee00800);
	assert_int_equal(cpus[1]->apic_page, 0xfee00000);
	assert_int_equal(get(2, ID), 2 << 24);
	assert_int_equal(get(0, VERSION), 0x01050014);
	assert_int_equal(get(0, SVR), 0xff);
	assert_int_equal(get(0, DFR), 0xffffffff);
	assert_int_equal(get(0, LVT_TIMER_REGISTER), 0x10000);
	assert_int_equal(get(0, TPR), 0);
}

static void register_widths(void **state)
{
	set(0, SVR, 0xffffffff);
	assert_int_equal(get(0, SVR), 0x13ff);
	set(0, LVT_TIMER_REGISTER, 0xffffffff);
	assert_int_equal(get(0, LVT_TIMER_REGISTER), 0x700ff);
	set(0, LVT_LINT0_REGISTER, 0xffffffff);
	assert_int_equal(get(0, LVT_LINT0_REGISTER), 0x1a7ff);
	set(0, LDR, 0xffffffff);
	assert_int_equal(get(0, LDR), 0xff000000);
	set(0, DFR, 0);
	assert_int_equal(get(0, DFR), 0x0fffffff);
	set(0, ID, 0x55000000);
	assert_int_equal(get(0, ID), 0);
	set(0, DIVIDE, 0xffffffff);
	assert_int_equal(get(0, DIVIDE), 0xb);
	/* Bytes can be read; writes must be whole. */
	assert_int_equal(lapic_mmio_read(&bus.lapics[0], VERSION + 2, 1), 0x05);
	lapic_mmio_write(&bus.lapics[0], TPR, 0x77, 1);
	lapic_mmio_write(&bus.lapics[0], TPR + 4, 0x77, 4);
	assert_int_equal(get(0, TPR), 0);
}

static void software_disable_masks(void **state)
{
	set(0, SVR, 0x1ff);
	set(0, LVT_TIMER_REGISTER, 0x40);
	set(0, SVR, 0xff);
	assert_int_equal(get(0, LVT_TIMER_REGISTER), 0x10040);
	set(0, LVT_TIMER_REGISTER, 0x41); /* cannot be unmasked now */
	assert_int_equal(get(0, LVT_TIMER_REGISTER), 0x10041);
}

static void error_status(void **state)
{
	enable_all();
	get(0, 0x40); /* reserved */
	assert_int_equal(get(0, ESR), 0);
	set(0, ESR, 0); /* shows what has come together */
	assert_int_equal(get(0, ESR), 0x80);
	set(0, ESR, 0);
	assert_int_equal(get(0, ESR), 0);
	/* Illegal vectors, sent and received; with an interrupt. */
	set(0, LVT_ERROR_REGISTER, 0x50);
	set(0, ICR, 0x4000f | 0x40000);
	set(0, ESR, 0);
	assert_int_equal(get(0, ESR), 0x20);
	assert_int_equal(lapic_acknowledge(&bus.lapics[0]), 0x50);
	set(0, EOI, 0);
	set(0, LVT_TIMER_REGISTER, 0x05);
	set(0, INITIAL_COUNT, 10);
	advance(1 * US);
	set(0, ESR, 0);
	assert_int_equal(get(0, ESR), 0x40);
	/* An error entry with an illegal vector must not report itself for ever. */
	set(0, LVT_ERROR_REGISTER, 0x03);
	set(0, INITIAL_COUNT, 10);
	advance(1 * US);
	set(0, ESR, 0);
	assert_int_equal(get(0, ESR), 0x40);
}

/* --- priorities --- */

static void self_ipi(unsigned vector)
{
	set(0, ICR, 0x40000 | vector);
}

static void requests_and_service(void **state)
{
	self_ipi(0x41);
	assert_true(pending(0) & PENDING_INTR);
	assert_int_equal(get(0, IRR + 0x20), 1 << 1);
	assert_int_equal(lapic_acknowledge(&bus.lapics[0]), 0x41);
	assert_false(pending(0) & PENDING_INTR);
	assert_int_equal(get(0, IRR + 0x20), 0);
	assert_int_equal(get(0, ISR + 0x20), 1 << 1);
	assert_int_equal(get(0, PPR), 0x40);
	/* Same class: waits. Higher class: nests. */
	self_ipi(0x4f);
	assert_false(pending(0) & PENDING_INTR);
	assert_int_equal(lapic_acknowledge(&bus.lapics[0]), -1);
	self_ipi(0x90);
	assert_int_equal(lapic_acknowledge(&bus.lapics[0]), 0x90);
	assert_int_equal(get(0, PPR), 0x90);
	set(0, EOI, 0);
	assert_int_equal(get(0, PPR), 0x40);
	assert_false(pending(0) & PENDING_INTR);
	set(0, EOI, 0);
	assert_true(pending(0) & PENDING_INTR);
	assert_int_equal(lapic_acknowledge(&bus.lapics[0]), 0x4f);
	set(0, EOI, 0);
	set(0, EOI, 0); /* one too many */
	assert_int_equal(get(0, PPR), 0);
	assert_int_equal(eois, 0);
}

static void task_priority(void **state)
{
	set(0, TPR, 0x50);
	self_ipi(0x51);
	assert_false(pending(0) & PENDING_INTR);
	self_ipi(0x60);
	assert_true(pending(0) & PENDING_INTR);
	/* Raised while the request was on its way: it has gone away. */
	lapic_set_tpr(&bus.lapics[0], 0xf0);
	assert_false(pending(0) & PENDING_INTR);
	assert_int_equal(lapic_acknowledge(&bus.lapics[0]), -1);
	lapic_set_tpr(&bus.lapics[0], 0x4f);
	assert_int_equal(lapic_acknowledge(&bus.lapics[0]), 0x60);
	assert_int_equal(get(0, PPR), 0x60);
	set(0, EOI, 0);
	assert_int_equal(get(0, PPR), 0x4f);
	assert_int_equal(lapic_acknowledge(&bus.lapics[0]), 0x51);
}

static void level_interrupts_report_their_end(void **state)
{
	struct apic_message message = {.destination = 1, .vector = 0x61, .level = true};

	assert_true(lapic_bus_deliver(&bus, &message));
	assert_int_equal(get(1, TMR + 0x30), 1 << 1);
	assert_int_equal(lapic_acknowledge(&bus.lapics[1]), 0x61);
	assert_int_equal(eois, 0);
	set(1, EOI, 0);
	assert_int_equal(eois, 1);
	assert_int_equal(last_eoi, 0x61);
	/* Unless software has said that it tells the IOAPIC itself. */
	set(1, SVR, 0x11ff);
	lapic_bus_deliver(&bus, &message);
	lapic_acknowledge(&bus.lapics[1]);
	set(1, EOI, 0);
	assert_int_equal(eois, 1);
	/* The same vector as an edge. */
	set(1, SVR, 0x1ff);
	message.level = false;
	lapic_bus_deliver(&bus, &message);
	assert_int_equal(get(1, TMR + 0x30), 0);
	lapic_acknowledge(&bus.lapics[1]);
	set(1, EOI, 0);
	assert_int_equal(eois, 1);
}

/* --- messages --- */

/* Send by CPU 0's xAPIC, and return the CPUs that have vector 0x80. */
static unsigned send(uint32_t icr_high, uint32_t icr)
{
	unsigned set_of_cpus = 0;

	set(0, ICR_HIGH, icr_high);
	set(0, ICR, icr | 0x80);
	for (unsigned i = 0; i < CPUS; i++)
		if (lapic_acknowledge(&bus.lapics[i]) == 0x80) {
			set_of_cpus |= 1u << i;
			set(i, EOI, 0);
		}
	return set_of_cpus;
}

static void physical_destinations(void **state)
{
	assert_int_equal(send(2 << 24, 0x4000), 1 << 2);
	assert_int_equal(send(0, 0x4000), 1);
	assert_int_equal(send(9 << 24, 0x4000), 0);
	assert_int_equal(send(0xff000000, 0x4000), 0xf);
	assert_int_equal(get(0, ICR), 0x4080); /* delivered: idle */
	set(3, SVR, 0xff);
	assert_int_equal(send(3 << 24, 0x4000), 0); /* disabled by software */
}

static void shorthands(void **state)
{
	assert_int_equal(send(2 << 24, 0x44000), 1 << 0);
	assert_int_equal(send(2 << 24, 0x84000), 0xf);
	assert_int_equal(send(2 << 24, 0xc4000), 0xe);
}

static void flat_logical_destinations(void **state)
{
	for (unsigned i = 0; i < CPUS; i++)
		set(i, LDR, 1u << (24 + i));
	assert_int_equal(send(0x06000000, 0x4800), 0x6);
	assert_int_equal(send(0xff000000, 0x4800), 0xf);
	assert_int_equal(send(0x10000000, 0x4800), 0);
}

static void cluster_logical_destinations(void **state)
{
	static const uint8_t ldr[CPUS] = {0x11, 0x12, 0x21, 0x22};

	for (unsigned i = 0; i < CPUS; i++) {
		set(i, DFR, 0x0fffffff);
		set(i, LDR, (uint32_t)ldr[i] << 24);
	}
	assert_int_equal(send(0x13u << 24, 0x4800), 0x3);
	assert_int_equal(send(0x22u << 24, 0x4800), 0x8);
	assert_int_equal(send(0xf1u << 24, 0x4800), 0x5); /* cluster 15: all clusters */
	assert_int_equal(send(0xffu << 24, 0x4800), 0xf);
}

static void lowest_priority(void **state)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < CPUS; i++)
		set(i, LDR, 1u << (24 + i));
	set(0, TPR, 0x20);
	set(1, TPR, 0x20);
	set(3, TPR, 0x20);
	assert_int_equal(send(0xff000000, 0x4900), 1 << 2);
	/* Equals take turns. */
	for (unsigned i = 0; i < CPUS; i++)
		set(i, TPR, 0);
	for (unsigned i = 0; i < CPUS; i++)
		seen |= send(0xff000000, 0x4900);
	assert_int_equal(seen, 0xf);
	assert_int_equal(send(0x0a000000, 0x4900) & ~0xau, 0);
	/* Disabled ones are no candidates. */
	set(1, SVR, 0xff);
	assert_int_equal(send(0x02000000, 0x4900), 0);
}

static void nmi_init_startup(void **state)
{
	set(0, ICR, 0xc4400);
	assert_int_equal(take_pending(PENDING_NMI), 0xe);
	set(0, ICR, 0xc4500);
	assert_int_equal(take_pending(PENDING_INIT), 0xe);
	set(0, ICR, 0xc8500); /* de-assert: nothing */
	assert_int_equal(take_pending(PENDING_INIT), 0);
	set(0, ICR_HIGH, 3 << 24);
	set(0, ICR, 0x4609); /* any vector is legal here */
	assert_int_equal(take_pending(PENDING_SIPI), 1 << 3);
	assert_int_equal(cpus[3]->sipi_vector, 0x09);
	/* NMI, INIT and SIPI reach a local APIC that software has disabled. */
	set(3, SVR, 0xff);
	set(0, ICR, 0x4400);
	assert_int_equal(take_pending(PENDING_NMI), 1 << 3);
	/* A SIPI that no INIT came before is not kept for the next INIT. */
	set(0, ICR, 0x4609);
	set(0, ICR, 0x4500);
	assert_int_equal(take_pending(PENDING_SIPI), 0);
	set(0, ICR, 0x4609);
	assert_int_equal(take_pending(PENDING_INIT), 1 << 3);
	assert_int_equal(take_pending(PENDING_SIPI), 1 << 3);
	/* Not to oneself by shorthand. */
	set(0, ICR, 0x44500);
	assert_int_equal(take_pending(PENDING_INIT), 0);
	/* SMI and the reserved modes do nothing. */
	set(0, ICR, 0x84200);
	set(0, ICR, 0x84300);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(pending(i), 0);
}

static void init_resets_all_but_id_and_mode(void **state)
{
	to_x2apic(1);
	assert_true(wrmsr(1, 0x808, 0x20));
	assert_true(wrmsr(1, 0x832, 0x20040));
	assert_true(wrmsr(1, 0x838, 1000000));
	assert_true(wrmsr(1, 0x83f, 0x90));
	assert_true(pending(1) & PENDING_INTR);
	lapic_init_reset(&bus.lapics[1]);
	assert_false(pending(1) & PENDING_INTR);
	advance(10 * MS);
	assert_false(pending(1) & PENDING_INTR);
	{
		uint64_t value;

		assert_true(rdmsr(1, 0x80f, &value));
		assert_int_equal(value, 0xff);
		assert_true(rdmsr(1, 0x802, &value));
		assert_int_equal(value, 1);
	}
}

/* --- the PIC's wire --- */

static void virtual_wire(void **state)
{
	struct lapic *lapic = &bus.lapics[0];

	lapic_set_lint0(lapic, true);
	assert_false(pending(0) & PENDING_INTR); /* LINT0 is masked */
	device_list_firmware_setup(&f.devices);
	assert_true(pending(0) & PENDING_INTR);
	assert_true(lapic_extint_pending(lapic));
	assert_int_equal(lapic_acknowledge(lapic), -1);
	/* The task priority does not hold it. */
	lapic_set_tpr(lapic, 0xff);
	assert_true(pending(0) & PENDING_INTR);
	lapic_set_lint0(lapic, false);
	assert_false(pending(0) & PENDING_INTR);
	/* Fixed mode: an interrupt of its own, at the edge. */
	lapic_set_tpr(lapic, 0);
	set(0, LVT_LINT0_REGISTER, 0x77);
	lapic_set_lint0(lapic, true);
	assert_false(lapic_extint_pending(lapic));
	assert_int_equal(lapic_acknowledge(lapic), 0x77);
	set(0, EOI, 0);
	lapic_set_lint0(lapic, true);
	assert_int_equal(lapic_acknowledge(lapic), -1);
	/* NMI mode: the old watchdog. */
	set(0, LVT_LINT0_REGISTER, 0x400);
	lapic_set_lint0(lapic, false);
	lapic_set_lint0(lapic, true);
	assert_true(pending(0) & PENDING_NMI);
	/* Globally disabled: INTR goes straight through. */
	assert_true(wrmsr(0, 0x1b, 0xfee00100));
	assert_true(lapic_extint_pending(lapic));
	assert_true(pending(0) & PENDING_INTR);
}

static void extint_message(void **state)
{
	struct apic_message message = {.destination = 2, .delivery = APIC_EXTINT};

	assert_true(lapic_bus_deliver(&bus, &message));
	assert_true(pending(2) & PENDING_INTR);
	assert_true(lapic_extint_pending(&bus.lapics[2]));
	lapic_extint_acknowledged(&bus.lapics[2]);
	assert_false(pending(2) & PENDING_INTR);
}

/* --- modes --- */

static void mode_transitions(void **state)
{
	const uint64_t base = 0xfee00000, en = APIC_BASE_ENABLE, x2 = APIC_BASE_X2APIC;
	uint64_t value;

	assert_false(wrmsr(1, 0x1b, base | x2)); /* xAPIC to invalid */
	assert_true(wrmsr(1, 0x1b, base | en | x2));
	assert_true(cpus[1]->apic_page == ~UINT64_C(0));
	assert_false(wrmsr(1, 0x1b, base | en));     /* x2APIC to xAPIC */
	assert_false(wrmsr(1, 0x1b, base | x2));     /* x2APIC to invalid */
	assert_true(wrmsr(1, 0x1b, base | en | x2)); /* no change */
	assert_true(wrmsr(1, 0x1b, base));           /* to disabled */
	assert_false(rdmsr(1, 0x802, &value));
	assert_false(wrmsr(1, 0x1b, base | x2));      /* disabled to invalid */
	assert_false(wrmsr(1, 0x1b, base | en | x2)); /* disabled to x2APIC */
	assert_true(wrmsr(1, 0x1b, base | en));
	assert_int_equal(cpus[1]->apic_page, base);
	assert_int_equal(get(1, SVR), 0xff); /* as after reset */
	/* Reserved bits, and bits beyond MAXPHYADDR. */
	assert_false(wrmsr(1, 0x1b, base | en | 1));
	assert_false(wrmsr(1, 0x1b, base | en | BIT(9)));
	assert_false(wrmsr(1, 0x1b, base | en | BIT(fixture_model.physical_bits)));
	assert_true(rdmsr(1, 0x1b, &value));
	assert_int_equal(value, base | en);
	/* Moved elsewhere. */
	assert_true(wrmsr(1, 0x1b, 0x12345000 | en));
	assert_int_equal(cpus[1]->apic_page, 0x12345000);
}

static void x2apic_registers(void **state)
{
	uint64_t value;

	assert_false(rdmsr(1, 0x802, &value)); /* xAPIC: no MSRs */
	assert_false(wrmsr(1, 0x808, 0));
	to_x2apic(3);
	assert_true(rdmsr(3, 0x802, &value));
	assert_int_equal(value, 3);
	assert_true(rdmsr(3, 0x80d, &value));
	assert_int_equal(value, 1 << 3);
	assert_true(rdmsr(3, 0x803, &value));
	assert_int_equal(value, 0x01050014);
	assert_true(wrmsr(3, 0x808, 0x35));
	assert_true(rdmsr(3, 0x80a, &value));
	assert_int_equal(value, 0x35);
}

static void x2apic_faults(void **state)
{
	/* Not there, or not to be read. */
	static const uint16_t unreadable[] = {
		0x800, 0x804, 0x809, 0x80b, 0x80c, 0x80e, 0x829, 0x82f, 0x831, 0x83a, 0x83d, 0x83f};
	/* Read-only, or not there. */
	static const uint16_t unwritable[] = {
		0x802, 0x803, 0x80a, 0x80d, 0x80e, 0x810, 0x818, 0x820, 0x831, 0x839, 0x800, 0x82f};
	static const struct {
		uint32_t msr;
		uint64_t value;
	} reserved_bits[] = {
		{0x808, 0x100},
		{0x80b, 1},
		{0x80f, 0x400},
		{0x828, 1},
		{0x830, BIT(13)},
		{0x830, BIT(16)},
		{0x830, BIT(20)},
		{0x832, BIT(8)},
		{0x832, BIT(19)},
		{0x835, BIT(17)},
		{0x837, BIT(8)},
		{0x838, BIT(32)},
		{0x83e, BIT(2)},
		{0x83f, 0x100},
	};
	uint64_t value;

	to_x2apic(0);
	for (unsigned i = 0; i < ARRAY_SIZE(unreadable); i++)
		assert_false(rdmsr(0, unreadable[i], &value));
	for (unsigned i = 0; i < ARRAY_SIZE(unwritable); i++)
		assert_false(wrmsr(0, unwritable[i], 0));
	for (unsigned i = 0; i < ARRAY_SIZE(reserved_bits); i++) {
		assert_false(wrmsr(0, reserved_bits[i].msr, reserved_bits[i].value));
		if (reserved_bits[i].msr != 0x83f && reserved_bits[i].msr != 0x830)
			assert_true(wrmsr(0, reserved_bits[i].msr, 0));
	}
	assert_false(rdmsr(0, 0x840, &value));
	assert_false(wrmsr(0, 0x840, 0));
}

static unsigned x2_send(uint64_t icr)
{
	unsigned set_of_cpus = 0;

	assert_true(wrmsr(0, 0x830, icr | 0x80));
	for (unsigned i = 0; i < CPUS; i++)
		if (lapic_acknowledge(&bus.lapics[i]) == 0x80) {
			set_of_cpus |= 1u << i;
			assert_true(wrmsr(i, 0x80b, 0));
		}
	return set_of_cpus;
}

/* Without the features their bits are reserved: in APIC_BASE they fault, in LVT they stay clear. */
static void withheld_modes(void **state)
{
	uint64_t base;

	fixture_model.features.word[CPUID_1_ECX] &=
		~(CPUID_BIT(CPUID_X2APIC) | CPUID_BIT(CPUID_TSC_DEADLINE));
	assert_true(rdmsr(0, 0x1b, &base));
	assert_false(wrmsr(0, 0x1b, base | APIC_BASE_X2APIC));
	assert_true(wrmsr(0, 0x1b, base));
	set(0, LVT_TIMER_REGISTER, 2 << 17 | 0x40);
	assert_int_equal(get(0, LVT_TIMER_REGISTER), 0x40);
}

static void x2apic_destinations(void **state)
{
	uint64_t value;

	for (unsigned i = 0; i < CPUS; i++)
		to_x2apic(i);
	assert_int_equal(x2_send(UINT64_C(2) << 32), 1 << 2);
	assert_int_equal(x2_send(UINT64_C(0xff) << 32), 0); /* an ID like any other */
	assert_int_equal(x2_send(UINT64_C(0xffffffff) << 32), 0xf);
	assert_int_equal(x2_send(UINT64_C(0xa) << 32 | 0x800), 0xa);
	assert_int_equal(x2_send(UINT64_C(0x1000f) << 32 | 0x800), 0); /* cluster 1 */
	assert_int_equal(x2_send(UINT64_C(0xffffffff) << 32 | 0x800), 0xf);
	assert_true(rdmsr(0, 0x830, &value));
	assert_true(value == (UINT64_C(0xffffffff) << 32 | 0x880));
	assert_true(wrmsr(0, 0x83f, 0x95));
	assert_int_equal(lapic_acknowledge(&bus.lapics[0]), 0x95);
}

/* --- the timer --- */

static unsigned timer_interrupts(uint64_t ns, uint64_t step)
{
	unsigned count = 0;

	for (uint64_t done = 0; done < ns; done += step) {
		advance(step);
		if (lapic_acknowledge(&bus.lapics[0]) == 0x40) {
			set(0, EOI, 0);
			count++;
		}
	}
	return count;
}

static void timer_one_shot(void **state)
{
	set(0, DIVIDE, 0xb); /* by 1: nanoseconds */
	set(0, LVT_TIMER_REGISTER, 0x40);
	set(0, INITIAL_COUNT, 1000000);
	assert_int_equal(get(0, CURRENT_COUNT), 1000000);
	advance(400000);
	assert_in_range(get(0, CURRENT_COUNT), 599999, 600001);
	assert_int_equal(timer_interrupts(599000, 1000), 0);
	assert_int_equal(timer_interrupts(2000, 1000), 1);
	assert_int_equal(get(0, CURRENT_COUNT), 0);
	assert_int_equal(get(0, INITIAL_COUNT), 1000000);
	assert_int_equal(timer_interrupts(10 * MS, MS), 0);
	/* Writing 0 stops it. */
	set(0, INITIAL_COUNT, 1000);
	set(0, INITIAL_COUNT, 0);
	assert_int_equal(timer_interrupts(10 * MS, MS), 0);
}

static void timer_divider(void **state)
{
	static const struct {
		uint32_t value, by;
	} dividers[] = {{0x0, 2}, {0x1, 4}, {0x2, 8}, {0x3, 16}, {0x8, 32}, {0x9, 64}, {0xa, 128},
		{0xb, 1}};

	for (unsigned i = 0; i < ARRAY_SIZE(dividers); i++) {
		set(0, DIVIDE, dividers[i].value);
		set(0, INITIAL_COUNT, 1000000);
		advance(500000);
		assert_in_range(get(0, CURRENT_COUNT), 1000000 - 500000 / dividers[i].by - 1,
			1000000 - 500000 / dividers[i].by + 1);
	}
	/* Changed while it runs: goes on from where it was. */
	set(0, DIVIDE, 0x3);
	assert_in_range(get(0, CURRENT_COUNT), 499998, 500001);
	advance(1600000);
	assert_in_range(get(0, CURRENT_COUNT), 399998, 400001);
}

static void timer_periodic(void **state)
{
	set(0, DIVIDE, 0xb);
	set(0, LVT_TIMER_REGISTER, 0x20040);
	set(0, INITIAL_COUNT, 1000000);
	assert_int_equal(timer_interrupts(100 * MS, 500 * US), 100);
	/* Masked: it counts on, in phase. */
	set(0, LVT_TIMER_REGISTER, 0x30040);
	assert_int_equal(timer_interrupts(10500 * US, 500 * US), 0);
	assert_in_range(get(0, CURRENT_COUNT), 499998, 500002);
	set(0, LVT_TIMER_REGISTER, 0x20040);
	assert_int_equal(timer_interrupts(10 * MS, 500 * US), 10);
}

static void timer_has_no_backlog(void **state)
{
	set(0, DIVIDE, 0xb);
	set(0, LVT_TIMER_REGISTER, 0x20040);
	set(0, INITIAL_COUNT, 1000000);
	set_time_ns(clock_ns(&f.clock) + 1000 * MS + 300 * US);
	event_loop_run_timers(f.loop);
	assert_int_equal(lapic_acknowledge(&bus.lapics[0]), 0x40);
	set(0, EOI, 0);
	event_loop_run_timers(f.loop);
	assert_int_equal(lapic_acknowledge(&bus.lapics[0]), -1);
	assert_int_equal(timer_interrupts(10 * MS, 100 * US), 10);
	/* A period of a nanosecond is the guest's folly, not ours. */
	set(0, INITIAL_COUNT, 1);
	assert_in_range(timer_interrupts(10 * MS, 10 * US), 100, 201);
}

static void timer_mode_changes(void **state)
{
	set(0, DIVIDE, 0xb);
	set(0, LVT_TIMER_REGISTER, 0x40);
	set(0, INITIAL_COUNT, 1000000);
	advance(700 * US);
	/* One-shot to periodic: the count goes on, and then starts again. */
	set(0, LVT_TIMER_REGISTER, 0x20040);
	assert_in_range(get(0, CURRENT_COUNT), 299998, 300002);
	advance(400 * US);
	assert_in_range(get(0, CURRENT_COUNT), 899998, 900002);
	set(0, LVT_TIMER_REGISTER, 0x40);
	advance(2000 * US);
	assert_int_equal(get(0, CURRENT_COUNT), 0);
	/* Over is over. */
	set(0, LVT_TIMER_REGISTER, 0x20040);
	advance(100 * US);
	assert_int_equal(get(0, CURRENT_COUNT), 0);
	/* To TSC-deadline mode and back: disarmed. */
	set(0, INITIAL_COUNT, 1000000);
	set(0, LVT_TIMER_REGISTER, 0x40040);
	assert_int_equal(get(0, CURRENT_COUNT), 0);
	set(0, INITIAL_COUNT, 1000000); /* ignored */
	set(0, LVT_TIMER_REGISTER, 0x20040);
	assert_int_equal(get(0, CURRENT_COUNT), 0);
	assert_int_equal(get(0, INITIAL_COUNT), 0);
}

static uint64_t guest_tsc(void)
{
	return clock_cycles(&f.clock) + cpus[0]->tsc_offset;
}

static void timer_tsc_deadline(void **state)
{
	uint64_t ms = clock_ns_to_cycles(&f.clock, MS), value;

	assert_true(wrmsr(0, 0x6e0, guest_tsc() + ms)); /* not in this mode: ignored */
	assert_true(rdmsr(0, 0x6e0, &value));
	assert_int_equal(value, 0);
	set(0, LVT_TIMER_REGISTER, 0x40040);
	assert_true(wrmsr(0, 0x6e0, guest_tsc() + ms));
	assert_true(rdmsr(0, 0x6e0, &value));
	assert_int_equal(value, guest_tsc() + ms);
	assert_int_equal(timer_interrupts(999 * US, 999 * US), 0);
	assert_int_equal(timer_interrupts(2 * US, 2 * US), 1);
	assert_true(rdmsr(0, 0x6e0, &value));
	assert_int_equal(value, 0); /* once */
	/* Past already: at once. */
	assert_true(wrmsr(0, 0x6e0, guest_tsc() - 1));
	assert_int_equal(lapic_acknowledge(&bus.lapics[0]), 0x40);
	set(0, EOI, 0);
	/* Disarmed by 0. */
	assert_true(wrmsr(0, 0x6e0, guest_tsc() + ms));
	assert_true(wrmsr(0, 0x6e0, 0));
	assert_int_equal(timer_interrupts(5 * MS, MS), 0);
	/* Never. */
	assert_true(wrmsr(0, 0x6e0, UINT64_MAX));
	assert_int_equal(timer_interrupts(5 * MS, MS), 0);
}

static void timer_follows_the_guests_tsc(void **state)
{
	uint64_t ms = clock_ns_to_cycles(&f.clock, MS);

	set(0, LVT_TIMER_REGISTER, 0x40040);
	cpus[0]->tsc_offset = -clock_cycles(&f.clock); /* the guest's TSC is 0 */
	assert_true(wrmsr(0, 0x6e0, 10 * ms));
	assert_int_equal(timer_interrupts(5 * MS, MS), 0);
	cpus[0]->tsc_offset -= 4 * ms; /* set back to 1 ms */
	lapic_tsc_changed(&bus.lapics[0]);
	assert_int_equal(timer_interrupts(8 * MS, MS), 0);
	cpus[0]->tsc_offset += 4 * ms;
	lapic_tsc_changed(&bus.lapics[0]);
	assert_int_equal(lapic_acknowledge(&bus.lapics[0]), 0x40);
	set(0, EOI, 0);
	/* A guest near the end of its count. */
	cpus[0]->tsc_offset = UINT64_MAX - clock_cycles(&f.clock) - 4 * ms;
	assert_true(wrmsr(0, 0x6e0, UINT64_MAX - 2 * ms));
	assert_int_equal(timer_interrupts(1900 * US, 100 * US), 0);
	assert_int_equal(timer_interrupts(200 * US, 100 * US), 1);
}

static void masked_timer_that_expired_is_silent(void **state)
{
	set(0, DIVIDE, 0xb);
	set(0, LVT_TIMER_REGISTER, 0x10040);
	set(0, INITIAL_COUNT, 1000);
	advance(1 * MS);
	set(0, LVT_TIMER_REGISTER, 0x40);
	assert_int_equal(timer_interrupts(1 * MS, 100 * US), 0);
	/* Unmasked in time. */
	set(0, LVT_TIMER_REGISTER, 0x10040);
	set(0, INITIAL_COUNT, 1000000);
	advance(500 * US);
	set(0, LVT_TIMER_REGISTER, 0x40);
	assert_int_equal(timer_interrupts(1 * MS, 100 * US), 1);
}

#define TEST(name)         cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_ENABLED(name) cmocka_unit_test_setup_teardown(name, setup_enabled, teardown)

#define SENDERS 3
#define ROUNDS  3000

static atomic_uint handled[SENDERS];
static atomic_bool overdue;

static uint64_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec;
}

/* Sends an interrupt, waits until it was handled, and sends the next: one that gets lost is
 * missed. */
static void *send_and_wait(void *opaque)
{
	unsigned sender = (unsigned)(uintptr_t)opaque;
	struct apic_message message = {
		.delivery = sender == 1 ? APIC_LOWEST_PRIORITY : APIC_FIXED,
		.vector = (uint8_t)(0x30 + 0x10 * sender),
	};

	for (unsigned round = 1; round <= ROUNDS && !overdue; round++) {
		uint64_t deadline = seconds() + 20;

		lapic_bus_deliver(&bus, &message);
		while (handled[sender] < round && !overdue) {
			sched_yield();
			if (seconds() > deadline)
				overdue = true;
		}
	}
	return NULL;
}

/* The vCPU's thread: no machine lock is anywhere. It masks interrupts by its task priority,
 * completes them late, and looks at PENDING_INTR only. */
static void requests_of_other_threads_are_not_lost(void **state)
{
	pthread_t threads[SENDERS];
	unsigned total = 0;

	for (unsigned i = 0; i < SENDERS; i++) {
		handled[i] = 0;
		pthread_create(&threads[i], NULL, send_and_wait, (void *)(uintptr_t)i);
	}
	for (unsigned turn = 0; total < SENDERS * ROUNDS && !overdue; turn++) {
		int vector;

		lapic_set_tpr(&bus.lapics[0], (uint8_t)(turn % 7 * 0x10));
		if (pending(0) & PENDING_INTR) {
			vector = lapic_acknowledge(&bus.lapics[0]);
			if (vector >= 0) {
				handled[(vector - 0x30) / 0x10]++;
				total++;
				lapic_set_tpr(&bus.lapics[0], (uint8_t)(turn % 5 * 0x10));
				lapic_mmio_write(&bus.lapics[0], EOI, 0, 4);
			}
		} else {
			sched_yield();
		}
	}
	for (unsigned i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	assert_false(overdue);
	assert_int_equal(total, SENDERS * ROUNDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(power_up_values),
		TEST_ENABLED(register_widths),
		TEST(software_disable_masks),
		TEST(error_status),
		TEST_ENABLED(requests_and_service),
		TEST_ENABLED(task_priority),
		TEST_ENABLED(level_interrupts_report_their_end),
		TEST_ENABLED(physical_destinations),
		TEST_ENABLED(shorthands),
		TEST_ENABLED(flat_logical_destinations),
		TEST_ENABLED(cluster_logical_destinations),
		TEST_ENABLED(lowest_priority),
		TEST_ENABLED(nmi_init_startup),
		TEST_ENABLED(init_resets_all_but_id_and_mode),
		TEST(virtual_wire),
		TEST_ENABLED(extint_message),
		TEST(mode_transitions),
		TEST(x2apic_registers),
		TEST_ENABLED(x2apic_faults),
		TEST_ENABLED(x2apic_destinations),
		TEST_ENABLED(withheld_modes),
		TEST_ENABLED(timer_one_shot),
		TEST_ENABLED(timer_divider),
		TEST_ENABLED(timer_periodic),
		TEST_ENABLED(timer_has_no_backlog),
		TEST_ENABLED(timer_mode_changes),
		TEST_ENABLED(timer_tsc_deadline),
		TEST_ENABLED(timer_follows_the_guests_tsc),
		TEST_ENABLED(masked_timer_that_expired_is_silent),
		cmocka_unit_test_setup_teardown(
			requests_of_other_threads_are_not_lost, setup_enabled, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
