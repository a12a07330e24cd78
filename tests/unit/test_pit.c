#include "device/chipset/pit.h"

#include "device_fixture.h"

#define IRQ 0

static struct pit pit;

static int setup(void **state)
{
	fixture_setup();
	assert_int_equal(
		pit_init(&pit, &f.devices, &f.ports, fixture_irq(IRQ), f.loop, &f.clock), 0);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

/* To the first nanosecond at which so many more ticks are over. */
static void advance_ticks(uint64_t ticks)
{
	uint64_t now = clock_ns(&f.clock);
	uint64_t then = clock_ticks_to_ns(clock_ns_to_ticks(now, PIT_HZ) + ticks, PIT_HZ);

	advance(then - now);
}

static void program(unsigned channel, unsigned mode, unsigned count)
{
	outb(0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1));
	outb((uint16_t)(0x40 + channel), (uint8_t)count);
	outb((uint16_t)(0x40 + channel), (uint8_t)(count >> 8));
}

static unsigned read_counter(unsigned channel)
{
	unsigned low;

	outb(0x43, (uint8_t)(channel << 6));
	low = inb((uint16_t)(0x40 + channel));
	return low | (unsigned)inb((uint16_t)(0x40 + channel)) << 8;
}

static uint8_t status(unsigned channel)
{
	outb(0x43, (uint8_t)(0xe0 | 2 << channel));
	return inb((uint16_t)(0x40 + channel));
}

static bool out(unsigned channel)
{
	return status(channel) & 0x80;
}

static void rate_generator(void **state)
{
	unsigned before;

	program(0, 2, 11932); /* 100 Hz */
	assert_int_equal(read_counter(0), 11932);
	assert_int_equal(status(0), 0xb4);
	before = f.edges[IRQ];
	advance_ticks(11931);
	assert_int_equal(read_counter(0), 1);
	assert_false(out(0));
	assert_int_equal(f.edges[IRQ], before);
	advance_ticks(1);
	assert_true(out(0));
	assert_int_equal(f.edges[IRQ], before + 1);
	advance_ticks(11932 * 99);
	assert_int_equal(f.edges[IRQ], before + 100);
	assert_int_equal(read_counter(0), 11932);
}

static void no_backlog_after_a_stall(void **state)
{
	unsigned before;

	program(0, 2, 1193);
	before = f.edges[IRQ];
	/* The host was busy for a second. */
	set_time_ns(clock_ns(&f.clock) + 1000 * MS);
	event_loop_run_timers(f.loop);
	event_loop_run_timers(f.loop);
	assert_int_equal(f.edges[IRQ], before + 1);
	/* In phase after it. */
	advance(10 * MS);
	assert_in_range(f.edges[IRQ], before + 10, before + 12);
}

static void square_wave(void **state)
{
	unsigned before;

	program(0, 3, 1000);
	before = f.edges[IRQ];
	assert_true(out(0));
	advance_ticks(100);
	assert_int_equal(read_counter(0), 800); /* counts by two */
	advance_ticks(400);
	assert_false(out(0));
	advance_ticks(500);
	assert_true(out(0));
	assert_int_equal(f.edges[IRQ], before + 1);
}

/* The odd tick is high, and the counter is even all the same (8254 data sheet, mode 3). */
static void square_wave_of_an_odd_count(void **state)
{
	static const struct {
		bool out;
		unsigned counter;
	} ticks[] = {{true, 4}, {true, 2}, {true, 0}, {false, 4}, {false, 2}};
	uint64_t start = clock_ns_to_ticks(clock_ns(&f.clock), PIT_HZ);

	program(2, 3, 5);
	outb(0x61, 1); /* the gate: counting begins */
	for (unsigned i = 0; i < 4 * ARRAY_SIZE(ticks); i++) {
		set_time_ns(clock_ticks_to_ns(start + i, PIT_HZ));
		assert_int_equal(out(2), ticks[i % ARRAY_SIZE(ticks)].out);
		assert_int_equal(read_counter(2), ticks[i % ARRAY_SIZE(ticks)].counter);
	}
}

static void one_shot_interrupt(void **state)
{
	unsigned before;

	program(0, 0, 1000);
	before = f.edges[IRQ];
	assert_false(out(0));
	assert_false(f.level[IRQ]);
	advance_ticks(999);
	assert_false(f.level[IRQ]);
	advance_ticks(1);
	assert_true(f.level[IRQ]);
	assert_true(out(0));
	assert_int_equal(read_counter(0), 0);
	advance_ticks(10);
	assert_int_equal(read_counter(0), 0xfff6);
	advance(1000 * MS);
	assert_int_equal(f.edges[IRQ], before + 1);
	/* A new count starts it again. */
	outb(0x40, 0xe8);
	outb(0x40, 0x03);
	assert_false(f.level[IRQ]);
	advance_ticks(1000);
	assert_int_equal(f.edges[IRQ], before + 2);
}

static void software_strobe(void **state)
{
	unsigned before;

	program(0, 4, 50);
	before = f.edges[IRQ];
	assert_true(out(0));
	advance_ticks(50);
	assert_false(out(0));
	advance_ticks(1);
	assert_true(out(0));
	assert_int_equal(f.edges[IRQ], before + 1);
	advance(100 * MS);
	assert_int_equal(f.edges[IRQ], before + 1);
}

/* How Linux and many boot loaders measure time: channel 2, mode 0, gate and output at port 0x61. */
static void speaker_measures_time(void **state)
{
	outb(0x61, (inb(0x61) & ~0x02) | 0x01);
	program(2, 0, 11931);
	assert_int_equal(inb(0x61) & 0x21, 0x01);
	advance_ticks(11930);
	assert_int_equal(inb(0x61) & 0x20, 0);
	advance_ticks(1);
	assert_int_equal(inb(0x61) & 0x20, 0x20);
}

static void gate_holds_mode_0(void **state)
{
	outb(0x61, 0);
	program(2, 0, 1000);
	advance_ticks(5000);
	assert_int_equal(read_counter(2), 1000);
	outb(0x61, 1);
	advance_ticks(400);
	outb(0x61, 0);
	advance_ticks(5000);
	assert_int_equal(read_counter(2), 600);
	outb(0x61, 1);
	advance_ticks(599);
	assert_false(out(2));
	advance_ticks(1);
	assert_true(out(2));
}

static void gate_restarts_mode_2(void **state)
{
	outb(0x61, 1);
	program(2, 2, 1000);
	advance_ticks(300);
	outb(0x61, 0);
	assert_true(out(2));
	advance_ticks(10000);
	assert_int_equal(read_counter(2), 1000);
	outb(0x61, 1);
	advance_ticks(10);
	assert_int_equal(read_counter(2), 990);
}

static void gate_triggers_modes_1_and_5(void **state)
{
	outb(0x61, 0);
	program(2, 1, 100);
	advance_ticks(500);
	assert_true(out(2)); /* waits for the trigger */
	outb(0x61, 1);
	assert_false(out(2));
	outb(0x61, 0); /* the level does not matter */
	advance_ticks(60);
	outb(0x61, 1); /* triggered again */
	advance_ticks(99);
	assert_false(out(2));
	advance_ticks(1);
	assert_true(out(2));

	outb(0x61, 0);
	program(2, 5, 100);
	outb(0x61, 1);
	advance_ticks(100);
	assert_false(out(2));
	advance_ticks(1);
	assert_true(out(2));
}

static void latches(void **state)
{
	program(0, 2, 0x1234);
	advance_ticks(0x34);
	outb(0x43, 0x00);
	advance_ticks(0x100);
	outb(0x43, 0x00); /* already latched: ignored */
	assert_int_equal(inb(0x40), 0x00);
	advance_ticks(0x100);
	assert_int_equal(inb(0x40), 0x12);
	/* Read-back of status and count together: status comes first. */
	outb(0x43, 0xc2);
	assert_int_equal(inb(0x40) & 0x3f, 0x34);
	assert_int_equal(inb(0x40), 0x00);
	assert_int_equal(inb(0x40), 0x10);
}

static void single_byte_access(void **state)
{
	outb(0x43, 0x14);                         /* channel 0, low byte only, mode 2 */
	assert_int_equal(status(0) & 0x40, 0x40); /* no count yet */
	outb(0x40, 200);
	assert_int_equal(status(0) & 0x40, 0);
	assert_int_equal(inb(0x40), 200);
	advance_ticks(50);
	assert_int_equal(inb(0x40), 150);
	outb(0x43, 0x24); /* high byte only */
	outb(0x40, 2);
	assert_int_equal(inb(0x40), 2);
	advance_ticks(1);
	assert_int_equal(inb(0x40), 1);
}

static void bcd(void **state)
{
	outb(0x43, 0x35); /* channel 0, both bytes, mode 2, BCD */
	outb(0x40, 0x00);
	outb(0x40, 0x10); /* 1000 */
	advance_ticks(1);
	assert_int_equal(read_counter(0), 0x0999);
	advance_ticks(998);
	assert_int_equal(read_counter(0), 0x0001);
	outb(0x43, 0x35);
	outb(0x40, 0);
	outb(0x40, 0); /* 10000 */
	advance_ticks(1);
	assert_int_equal(read_counter(0), 0x9999);
}

static void zero_is_the_longest_count(void **state)
{
	program(0, 2, 0);
	advance_ticks(1);
	assert_int_equal(read_counter(0), 0xffff);
	advance_ticks(0xffff);
	assert_int_equal(read_counter(0), 0);
}

/* 1193182 Hz / 2 would keep a host busy for nothing. */
static void shortest_period_is_bounded(void **state)
{
	unsigned before;

	program(0, 2, 1);
	before = f.edges[IRQ];
	advance(10 * MS);
	assert_in_range(f.edges[IRQ] - before, 100, 210);
}

static void refresh_toggle(void **state)
{
	unsigned changes = 0;
	uint8_t last = inb(0x61) & 0x10;

	for (int i = 0; i < 1000; i++) {
		uint8_t now = inb(0x61) & 0x10;

		changes += now != last;
		last = now;
		advance(1 * US);
	}
	assert_in_range(changes, 65, 67);
}

static void reset(void **state)
{
	unsigned before;

	program(0, 2, 1000);
	outb(0x61, 3);
	assert_int_equal(inb(0x61) & 0x0f, 0x03);
	outb(0x61, 0xff);
	assert_int_equal(inb(0x61) & 0xcf, 0x0f);
	device_list_reset(&f.devices);
	before = f.edges[IRQ];
	advance(1000 * MS);
	assert_int_equal(f.edges[IRQ], before);
	assert_int_equal(inb(0x61) & 0x0f, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rate_generator, setup, teardown),
		cmocka_unit_test_setup_teardown(no_backlog_after_a_stall, setup, teardown),
		cmocka_unit_test_setup_teardown(square_wave, setup, teardown),
		cmocka_unit_test_setup_teardown(square_wave_of_an_odd_count, setup, teardown),
		cmocka_unit_test_setup_teardown(one_shot_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(software_strobe, setup, teardown),
		cmocka_unit_test_setup_teardown(speaker_measures_time, setup, teardown),
		cmocka_unit_test_setup_teardown(gate_holds_mode_0, setup, teardown),
		cmocka_unit_test_setup_teardown(gate_restarts_mode_2, setup, teardown),
		cmocka_unit_test_setup_teardown(gate_triggers_modes_1_and_5, setup, teardown),
		cmocka_unit_test_setup_teardown(latches, setup, teardown),
		cmocka_unit_test_setup_teardown(single_byte_access, setup, teardown),
		cmocka_unit_test_setup_teardown(bcd, setup, teardown),
		cmocka_unit_test_setup_teardown(zero_is_the_longest_count, setup, teardown),
		cmocka_unit_test_setup_teardown(shortest_period_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(refresh_toggle, setup, teardown),
		cmocka_unit_test_setup_teardown(reset, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
