#include "apic_fixture.h"

#include "device/chipset/ioapic.h"

static struct lapic_bus bus;
static struct ioapic ioapic;

static uint32_t get(uint8_t index)
{
	io_space_write(&f.memory.mmio, IOAPIC_BASE, index, 4);
	return (uint32_t)io_space_read(&f.memory.mmio, IOAPIC_BASE + 0x10, 4);
}

static void set(uint8_t index, uint32_t value)
{
	io_space_write(&f.memory.mmio, IOAPIC_BASE, index, 4);
	io_space_write(&f.memory.mmio, IOAPIC_BASE + 0x10, value, 4);
}

static void program(unsigned pin, uint64_t entry)
{
	set((uint8_t)(0x11 + 2 * pin), (uint32_t)(entry >> 32));
	set((uint8_t)(0x10 + 2 * pin), (uint32_t)entry);
}

static bool remote_irr(unsigned pin)
{
	return get((uint8_t)(0x10 + 2 * pin)) & BIT(14);
}

#define LEVEL  BIT(15)
#define MASKED BIT(16)
#define TO(id) ((uint64_t)(id) << 56)

static int acknowledge(unsigned cpu)
{
	return lapic_acknowledge(&bus.lapics[cpu]);
}

static void eoi(unsigned cpu)
{
	lapic_mmio_write(&bus.lapics[cpu], EOI, 0, 4);
}

static void on_eoi(void *opaque, uint8_t vector)
{
	ioapic_eoi(&ioapic, vector);
}

static int setup(void **state)
{
	fixture_setup();
	create_cpus();
	assert_int_equal(lapic_bus_init(&bus, &f.devices, cpus, CPUS, f.loop, &f.clock), 0);
	bus.eoi = on_eoi;
	assert_int_equal(ioapic_init(&ioapic, &f.devices, &f.memory.mmio, &bus), 0);
	for (unsigned i = 0; i < CPUS; i++)
		lapic_mmio_write(&bus.lapics[i], SVR, 0x1ff, 4);
	return 0;
}

static int teardown(void **state)
{
	device_list_destroy(&f.devices);
	destroy_cpus();
	fixture_teardown();
	return 0;
}

static void registers(void **state)
{
	assert_int_equal(get(1), 0x00170020);
	set(1, 0);
	assert_int_equal(get(1), 0x00170020);
	set(0, 0xff000000);
	assert_int_equal(get(0), 0x0f000000);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		assert_int_equal(get((uint8_t)(0x10 + 2 * pin)), 0x10000);
	program(5, UINT64_MAX);
	assert_int_equal(get(0x1a), 0x1afff);
	assert_int_equal(get(0x1b), 0xff000000);
	/* Beyond the last. */
	set(0x40, 0x12345678);
	assert_int_equal(get(0x40), 0);
	set(0xff, 0x12345678);
	assert_int_equal(get(0xff), 0);
	/* Selected by a byte; nothing between the registers. */
	io_space_write(&f.memory.mmio, IOAPIC_BASE, 1, 1);
	assert_int_equal(io_space_read(&f.memory.mmio, IOAPIC_BASE + 0x10, 4), 0x00170020);
	assert_int_equal(io_space_read(&f.memory.mmio, IOAPIC_BASE, 4), 1);
	assert_int_equal(io_space_read(&f.memory.mmio, IOAPIC_BASE + 0x20, 4), 0);
}

static void edge(void **state)
{
	program(4, TO(1) | 0x34);
	ioapic_set_irq(&ioapic, 4, true);
	assert_int_equal(acknowledge(1), 0x34);
	assert_false(remote_irr(4));
	eoi(1);
	ioapic_set_irq(&ioapic, 4, true); /* no edge */
	assert_int_equal(acknowledge(1), -1);
	ioapic_set_irq(&ioapic, 4, false);
	ioapic_set_irq(&ioapic, 4, true);
	assert_int_equal(acknowledge(1), 0x34);
	eoi(1);
}

static void masked_edge_is_lost(void **state)
{
	program(4, TO(1) | MASKED | 0x34);
	ioapic_set_irq(&ioapic, 4, false);
	ioapic_set_irq(&ioapic, 4, true);
	program(4, TO(1) | 0x34);
	assert_int_equal(acknowledge(1), -1);
}

static void level(void **state)
{
	program(10, TO(2) | LEVEL | 0x45);
	ioapic_set_irq(&ioapic, 10, true);
	assert_true(remote_irr(10));
	assert_int_equal(acknowledge(2), 0x45);
	/* Still asserted, but it waits for the EOI. */
	ioapic_set_irq(&ioapic, 10, false);
	ioapic_set_irq(&ioapic, 10, true);
	assert_int_equal(acknowledge(2), -1);
	eoi(2);
	assert_true(remote_irr(10)); /* sent again */
	assert_int_equal(acknowledge(2), 0x45);
	ioapic_set_irq(&ioapic, 10, false);
	eoi(2);
	assert_false(remote_irr(10));
	assert_int_equal(acknowledge(2), -1);
}

static void masked_level_waits(void **state)
{
	program(10, TO(2) | LEVEL | MASKED | 0x45);
	ioapic_set_irq(&ioapic, 10, true);
	assert_int_equal(acknowledge(2), -1);
	program(10, TO(2) | LEVEL | 0x45);
	assert_int_equal(acknowledge(2), 0x45);
	/* Masked while in service: the EOI ends it quietly. */
	program(10, TO(2) | LEVEL | MASKED | 0x45);
	assert_true(remote_irr(10));
	eoi(2);
	assert_false(remote_irr(10));
	assert_int_equal(acknowledge(2), -1);
}

static void two_level_pins_of_one_vector(void **state)
{
	program(10, TO(0) | LEVEL | 0x45);
	program(11, TO(0) | LEVEL | 0x45);
	ioapic_set_irq(&ioapic, 10, true);
	ioapic_set_irq(&ioapic, 11, true);
	assert_int_equal(acknowledge(0), 0x45);
	ioapic_set_irq(&ioapic, 10, false);
	eoi(0);
	assert_int_equal(acknowledge(0), 0x45); /* pin 11 still asks */
	ioapic_set_irq(&ioapic, 11, false);
	eoi(0);
	assert_false(remote_irr(10) || remote_irr(11));
	assert_int_equal(acknowledge(0), -1);
}

static void eoi_register(void **state)
{
	lapic_mmio_write(&bus.lapics[2], SVR, 0x11ff, 4); /* no broadcast */
	program(10, TO(2) | LEVEL | 0x45);
	ioapic_set_irq(&ioapic, 10, true);
	acknowledge(2);
	eoi(2);
	assert_true(remote_irr(10));
	ioapic_set_irq(&ioapic, 10, false);
	io_space_write(&f.memory.mmio, IOAPIC_BASE + 0x40, 0x44, 4);
	assert_true(remote_irr(10));
	io_space_write(&f.memory.mmio, IOAPIC_BASE + 0x40, 0x45, 4);
	assert_false(remote_irr(10));
}

static void edge_mode_clears_remote_irr(void **state)
{
	program(10, TO(2) | LEVEL | 0x45);
	ioapic_set_irq(&ioapic, 10, true);
	ioapic_set_irq(&ioapic, 10, false);
	assert_true(remote_irr(10));
	program(10, TO(2) | MASKED | 0x45);
	assert_false(remote_irr(10));
}

static void nobody_takes_it(void **state)
{
	lapic_mmio_write(&bus.lapics[2], SVR, 0xff, 4);
	program(10, TO(2) | LEVEL | 0x45);
	ioapic_set_irq(&ioapic, 10, true);
	/* No EOI will come: it must not wait for one. */
	assert_false(remote_irr(10));
	lapic_mmio_write(&bus.lapics[2], SVR, 0x1ff, 4);
	ioapic_set_irq(&ioapic, 10, true);
	assert_int_equal(acknowledge(2), 0x45);
}

static void destinations_and_modes(void **state)
{
	for (unsigned i = 0; i < CPUS; i++)
		lapic_mmio_write(&bus.lapics[i], LDR, 1u << (24 + i), 4);
	program(1, TO(0x0c) | BIT(11) | 0x50);
	ioapic_set_irq(&ioapic, 1, true);
	assert_int_equal(take_pending(PENDING_INTR), 0xc);
	program(2, TO(0xff) | 0x60);
	ioapic_set_irq(&ioapic, 2, true);
	assert_int_equal(take_pending(PENDING_INTR), 0xf);
	program(3, TO(0x0f) | BIT(11) | APIC_LOWEST_PRIORITY << 8 | 0x70);
	ioapic_set_irq(&ioapic, 3, true);
	assert_int_equal(__builtin_popcount(take_pending(PENDING_INTR)), 1);
	program(4, TO(3) | APIC_NMI << 8);
	ioapic_set_irq(&ioapic, 4, true);
	assert_int_equal(take_pending(PENDING_NMI), 1 << 3);
	program(5, TO(1) | APIC_INIT << 8);
	ioapic_set_irq(&ioapic, 5, true);
	assert_int_equal(take_pending(PENDING_INIT), 1 << 1);
	program(6, TO(1) | APIC_EXTINT << 8);
	ioapic_set_irq(&ioapic, 6, true);
	assert_true(lapic_extint_pending(&bus.lapics[1]));
}

static void registers_are_accessed_whole(void **state)
{
	program(3, TO(1) | MASKED | 0x41);
	io_space_write(&f.memory.mmio, IOAPIC_BASE, 0x16, 1);
	for (unsigned size = 1; size <= 2; size *= 2) {
		io_space_write(&f.memory.mmio, IOAPIC_BASE + 0x10, 0, size);
		assert_int_equal(io_space_read(&f.memory.mmio, IOAPIC_BASE + 0x10, size), 0);
		io_space_write(&f.memory.mmio, IOAPIC_BASE + 0x12, 0, size);
	}
	assert_int_equal(io_space_read(&f.memory.mmio, IOAPIC_BASE + 0x10, 4), MASKED | 0x41);
	program(5, TO(1) | LEVEL | 0x50);
	ioapic_set_irq(&ioapic, 5, true);
	io_space_write(&f.memory.mmio, IOAPIC_BASE + 0x40, 0x50, 1);
	assert_true(remote_irr(5));
}

static void out_of_range_pin(void **state)
{
	ioapic_set_irq(&ioapic, 24, true);
	ioapic_set_irq(&ioapic, UINT32_MAX, true);
	assert_int_equal(ioapic.state.lines, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(registers, setup, teardown),
		cmocka_unit_test_setup_teardown(edge, setup, teardown),
		cmocka_unit_test_setup_teardown(masked_edge_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(level, setup, teardown),
		cmocka_unit_test_setup_teardown(masked_level_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(two_level_pins_of_one_vector, setup, teardown),
		cmocka_unit_test_setup_teardown(eoi_register, setup, teardown),
		cmocka_unit_test_setup_teardown(edge_mode_clears_remote_irr, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_takes_it, setup, teardown),
		cmocka_unit_test_setup_teardown(destinations_and_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(registers_are_accessed_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(out_of_range_pin, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
