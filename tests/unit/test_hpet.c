#include "device/chipset/hpet.h"

#include "device_fixture.h"

#include <stdlib.h>

#define TICK   UINT64_C(10) /* ns */
#define LEGACY 0            /* the fixture's numbers of the lines of IRQ 0 and 8 */

#define CAPABILITIES  0x000
#define CONFIG        0x010
#define STATUS        0x020
#define COUNTER       0x0f0
#define TIMER(n)      (0x100 + 0x20 * (n))
#define COMPARATOR(n) (TIMER(n) + 8)

#define LEVEL      0x002
#define INTERRUPTS 0x004
#define PERIODIC   0x008
#define SETS_VALUE 0x040
#define BITS_32    0x100
#define ROUTE(gsi) ((gsi) << 9)

static struct hpet hpet;
static unsigned legacy_changes;

static void on_legacy(void *opaque)
{
	legacy_changes++;
}

static int setup(void **state)
{
	struct irq_line gsis[HPET_GSIS];
	const struct irq_line legacy[] = {fixture_irq(0), fixture_irq(8)};

	fixture_setup();
	for (unsigned i = 0; i < HPET_GSIS; i++)
		gsis[i] = fixture_irq(HPET_FIRST_GSI + i);
	legacy_changes = 0;
	assert_int_equal(hpet_init(&hpet, &f.devices, &f.memory.mmio, gsis, legacy, f.loop,
				 &f.clock, on_legacy, NULL),
		0);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static uint32_t get(unsigned offset)
{
	return (uint32_t)io_space_read(&f.memory.mmio, HPET_BASE + offset, 4);
}

static uint64_t get64(unsigned offset)
{
	return io_space_read(&f.memory.mmio, HPET_BASE + offset, 8);
}

static void set(unsigned offset, uint32_t value)
{
	io_space_write(&f.memory.mmio, HPET_BASE + offset, value, 4);
}

static void set64(unsigned offset, uint64_t value)
{
	io_space_write(&f.memory.mmio, HPET_BASE + offset, value, 8);
}

static void identity(void **state)
{
	assert_int_equal(get(CAPABILITIES), 0x8086a201);
	assert_int_equal(get(CAPABILITIES + 4), 10000000); /* fs */
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		assert_int_equal(get(TIMER(i)), 0x30);
		assert_int_equal(get(TIMER(i) + 4), 0x00f00000);
		assert_true(get64(COMPARATOR(i)) == UINT64_MAX);
		set(TIMER(i), 0xffffffff); /* no FSB */
		assert_int_equal(get(TIMER(i)), 0x3f7e);
	}
	assert_int_equal(get(0x3f8), 0);
	assert_int_equal(io_space_read(&f.memory.mmio, HPET_BASE, 1), 0);
}

static void counter(void **state)
{
	advance(1 * MS);
	assert_true(get64(COUNTER) == 0);
	set(COUNTER, 0xfffffff0);
	set(COUNTER + 4, 0x12345678);
	assert_true(get64(COUNTER) == UINT64_C(0x12345678fffffff0));
	set(CONFIG, 1);
	advance(0x20 * TICK);
	assert_true(get64(COUNTER) == UINT64_C(0x1234567900000010));
	assert_int_equal(get(COUNTER + 4), 0x12345679);
	set(COUNTER, 0); /* it runs */
	assert_int_equal(get(COUNTER), 0x10);
	set(CONFIG, 0);
	advance(1 * MS);
	assert_true(get64(COUNTER) == UINT64_C(0x1234567900000010));
	set(CONFIG, 1);
	advance(5 * TICK - 1);
	assert_int_equal(get(COUNTER), 0x14);
	device_list_reset(&f.devices);
	assert_true(get64(COUNTER) == 0);
}

static void one_shot(void **state)
{
	set(CONFIG, 1);
	set(TIMER(2), INTERRUPTS | ROUTE(21));
	set64(COMPARATOR(2), 1000);
	advance(1000 * TICK - 1);
	assert_int_equal(f.edges[21], 0);
	advance(1);
	assert_int_equal(f.edges[21], 1);
	assert_false(f.level[21]);
	assert_int_equal(get(STATUS), 0);
	advance(1000 * MS);
	assert_int_equal(f.edges[21], 1);
	set64(COMPARATOR(2), get64(COUNTER) - 1); /* over */
	advance(1000 * MS);
	assert_int_equal(f.edges[21], 1);
	set64(COMPARATOR(2), get64(COUNTER) + 3);
	set(CONFIG, 0);
	advance(1000 * MS);
	assert_int_equal(f.edges[21], 1);
	set(CONFIG, 1);
	advance(3 * TICK);
	assert_int_equal(f.edges[21], 2);
}

/* A comparator of 32 bits is met each time that the counter's lower half wraps. */
static void one_shot_of_32_bits(void **state)
{
	set64(COUNTER, UINT64_C(0x5ffffff00));
	set(CONFIG, 1);
	set(TIMER(1), INTERRUPTS | BITS_32 | ROUTE(20));
	set64(COMPARATOR(1), UINT64_C(0xffffffff00000010));
	assert_true(get64(COMPARATOR(1)) == 0x10);
	advance(0x110 * TICK - 1);
	assert_int_equal(f.edges[20], 0);
	advance(1);
	assert_int_equal(f.edges[20], 1);
	advance((UINT64_C(1) << 32) * TICK - 1);
	assert_int_equal(f.edges[20], 1);
	advance(1);
	assert_int_equal(f.edges[20], 2);
}

/* As Linux programs it. */
static void periodic(void **state)
{
	set(TIMER(0), INTERRUPTS | PERIODIC | SETS_VALUE | BITS_32 | ROUTE(22));
	set(COMPARATOR(0), 500000);
	set(COMPARATOR(0), 400000);
	set(CONFIG, 1);
	assert_int_equal(get(TIMER(0)) & SETS_VALUE, 0);
	advance(5 * MS - 1);
	assert_int_equal(f.edges[22], 0);
	assert_int_equal(get(COMPARATOR(0)), 500000);
	advance(1);
	assert_int_equal(f.edges[22], 1);
	assert_int_equal(get(COMPARATOR(0)), 900000);
	advance(4 * MS);
	assert_int_equal(f.edges[22], 2);
	/* The host was busy: what was missed is not made up for. */
	set_time_ns(clock_ns(&f.clock) + 9 * MS);
	assert_int_equal(get(COMPARATOR(0)), 2100000);
	advance(0);
	assert_int_equal(f.edges[22], 3);
	assert_int_equal(get(COMPARATOR(0)), 2100000);
	advance(3 * MS);
	assert_int_equal(f.edges[22], 4);
}

static void changed_while_an_interrupt_is_late(void **state)
{
	set(TIMER(0), INTERRUPTS | PERIODIC | SETS_VALUE | ROUTE(22));
	set64(COMPARATOR(0), 100000);
	set(CONFIG, 1);
	set_time_ns(clock_ns(&f.clock) + 5 * MS / 2);
	set(TIMER(0), INTERRUPTS | PERIODIC | ROUTE(23));
	assert_int_equal(f.edges[22], 1);
	advance(MS / 2);
	assert_int_equal(f.edges[23], 1);
	/* Without interrupts it goes on. */
	set(TIMER(0), PERIODIC | ROUTE(23));
	advance(10 * MS + 1);
	set(TIMER(0), INTERRUPTS | PERIODIC | ROUTE(23));
	assert_int_equal(f.edges[23], 1);
	advance(1 * MS);
	assert_int_equal(f.edges[23], 2);
}

static void no_storm(void **state)
{
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		set(TIMER(i), INTERRUPTS | PERIODIC | SETS_VALUE | ROUTE(20 + i));
		set64(COMPARATOR(i), 1);
	}
	set(CONFIG, 1);
	advance(100 * MS);
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		assert_in_range(f.edges[20 + i], 1900, 2001);
	assert_true(get64(COMPARATOR(0)) == get64(COUNTER) + 1);
}

static void level_triggered(void **state)
{
	set(CONFIG, 1);
	set(TIMER(1), LEVEL | INTERRUPTS | ROUTE(23));
	set64(COMPARATOR(1), 10);
	advance(10 * TICK);
	assert_true(f.level[23]);
	assert_int_equal(get(STATUS), 2);
	set(TIMER(1), LEVEL | ROUTE(23));
	assert_false(f.level[23]);
	set(TIMER(1), LEVEL | INTERRUPTS | ROUTE(20));
	assert_true(f.level[20]);
	set(STATUS, 5);
	assert_true(f.level[20]);
	set(STATUS, 2);
	assert_false(f.level[20]);
	assert_int_equal(get(STATUS), 0);
}

static void legacy_replacement(void **state)
{
	set(TIMER(0), INTERRUPTS | ROUTE(20));
	set(TIMER(1), INTERRUPTS);
	set(TIMER(2), INTERRUPTS); /* leads nowhere */
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		set64(COMPARATOR(i), 10 + i);
	assert_false(hpet_replaces_legacy(&hpet));
	set(CONFIG, 3);
	assert_true(hpet_replaces_legacy(&hpet));
	assert_int_equal(legacy_changes, 1);
	advance(20 * TICK);
	assert_int_equal(f.edges[LEGACY], 1);
	assert_int_equal(f.edges[8], 1);
	assert_int_equal(f.edges[20], 0);
	device_list_reset(&f.devices);
	assert_false(hpet_replaces_legacy(&hpet));
	assert_int_equal(legacy_changes, 2);
}

static void saved_and_loaded(void **state)
{
	struct state_writer saved = {0};
	struct state_reader reader;

	set(TIMER(0), INTERRUPTS | PERIODIC | SETS_VALUE | ROUTE(20));
	set64(COMPARATOR(0), 100000);
	set(TIMER(1), LEVEL | INTERRUPTS | ROUTE(21));
	set64(COMPARATOR(1), 10);
	set(CONFIG, 1);
	advance(MS / 2);
	device_list_save(&f.devices, &saved);
	device_list_reset(&f.devices);
	assert_false(f.level[21]);
	reader = (struct state_reader){saved.bytes, saved.size};
	assert_int_equal(device_list_load(&f.devices, &reader), 0);
	assert_true(f.level[21]);
	advance(MS / 2 - 1);
	assert_int_equal(f.edges[20], 0);
	advance(1);
	assert_int_equal(f.edges[20], 1);
	free(saved.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(identity, setup, teardown),
		cmocka_unit_test_setup_teardown(counter, setup, teardown),
		cmocka_unit_test_setup_teardown(one_shot, setup, teardown),
		cmocka_unit_test_setup_teardown(one_shot_of_32_bits, setup, teardown),
		cmocka_unit_test_setup_teardown(periodic, setup, teardown),
		cmocka_unit_test_setup_teardown(
			changed_while_an_interrupt_is_late, setup, teardown),
		cmocka_unit_test_setup_teardown(no_storm, setup, teardown),
		cmocka_unit_test_setup_teardown(level_triggered, setup, teardown),
		cmocka_unit_test_setup_teardown(legacy_replacement, setup, teardown),
		cmocka_unit_test_setup_teardown(saved_and_loaded, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
