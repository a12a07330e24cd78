#include "device/chipset/rtc.h"

#include "device_fixture.h"

#include <time.h>

#define IRQ 8

static struct rtc rtc;

static uint8_t get(uint8_t index)
{
	outb(0x70, index);
	return inb(0x71);
}

static void set(uint8_t index, uint8_t value)
{
	outb(0x70, index);
	outb(0x71, value);
}

static int setup(void **state)
{
	fixture_setup();
	assert_int_equal(rtc_init(&rtc, &f.devices, &f.ports, fixture_irq(IRQ), f.loop, &f.clock,
				 64 * MIB, 0, 2),
		0);
	/* A known time, at the start of a second: 2024-02-28 23:59:50 UTC, a Wednesday. */
	rtc.state.wall_base_ns = UINT64_C(1709164790) * 1000000000 - clock_ns(&f.clock);
	rtc.state.flags_s = 1709164790;
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static void time_goes_on(void **state)
{
	assert_int_equal(get(0), 0x50);
	assert_int_equal(get(2), 0x59);
	assert_int_equal(get(4), 0x23);
	assert_int_equal(get(6), 4); /* Wednesday: Sunday is 1 */
	assert_int_equal(get(7), 0x28);
	assert_int_equal(get(8), 0x02);
	assert_int_equal(get(9), 0x24);
	assert_int_equal(get(0x32), 0x20);
	advance(10000 * MS); /* into the leap day */
	assert_int_equal(get(0), 0x00);
	assert_int_equal(get(2), 0x00);
	assert_int_equal(get(4), 0x00);
	assert_int_equal(get(6), 5);
	assert_int_equal(get(7), 0x29);
	assert_int_equal(get(8), 0x02);
	advance(86400 * UINT64_C(1000) * MS);
	assert_int_equal(get(7), 0x01);
	assert_int_equal(get(8), 0x03);
}

static void starts_at_the_hosts_time(void **state)
{
	static struct rtc fresh;
	time_t now = time(NULL);
	struct tm tm;

	io_space_remove(&f.ports, 0x70);
	assert_int_equal(rtc_init(&fresh, &f.devices, &f.ports, fixture_irq(IRQ), f.loop, &f.clock,
				 64 * MIB, 0, 2),
		0);
	set(11, 0x06); /* binary, 24 hours */
	gmtime_r(&now, &tm);
	if (get(0) == tm.tm_sec + 1) {
		now++;
		gmtime_r(&now, &tm);
	}
	assert_int_equal(get(4), tm.tm_hour);
	assert_int_equal(get(7), tm.tm_mday);
	assert_int_equal(get(8), tm.tm_mon + 1);
	assert_int_equal(get(9) + 100 * get(0x32), tm.tm_year + 1900);
	assert_int_equal(get(6), tm.tm_wday + 1);
}

/* Of a machine whose clock is to show another time. */
static void shifts(void **state)
{
	rtc_shift(&rtc, 2 * 3600);
	assert_int_equal(get(4), 0x01);
	assert_int_equal(get(7), 0x29);
	/* Further back than there is time: to its begin. */
	rtc_shift(&rtc, INT64_MIN / 2);
	assert_int_equal(get(9), 0x70);
	assert_int_equal(get(8), 1);
}

static void formats(void **state)
{
	set(11, 0x06);
	assert_int_equal(get(4), 23);
	assert_int_equal(get(0), 50);
	set(11, 0x04); /* binary, 12 hours */
	assert_int_equal(get(4), 0x80 | 11);
	set(11, 0x00); /* BCD, 12 hours */
	assert_int_equal(get(4), 0x91);
	advance(10000 * MS);
	assert_int_equal(get(4), 0x12); /* midnight is 12 AM */
	advance(12 * 3600 * UINT64_C(1000) * MS);
	assert_int_equal(get(4), 0x92);
}

static void setting_the_time(void **state)
{
	set(11, 0x86); /* SET, binary, 24 hours */
	set(0, 30);
	set(2, 15);
	set(4, 12);
	set(7, 31);
	set(8, 12);
	set(9, 99);
	set(0x32, 19);
	advance(5000 * MS);
	assert_int_equal(get(0), 30); /* stands still */
	set(11, 0x06);
	assert_int_equal(get(0), 30);
	assert_int_equal(get(4), 12);
	assert_int_equal(get(9), 99);
	advance(12 * 3600 * UINT64_C(1000) * MS);
	assert_int_equal(get(7), 1);
	assert_int_equal(get(8), 1);
	assert_int_equal(get(9), 0);
	assert_int_equal(get(0x32), 20);
	/* One register at a time works without SET, too. */
	set(2, 45);
	assert_int_equal(get(2), 45);
	assert_int_equal(get(0), 30);
}

static void nonsense_is_survived(void **state)
{
	for (unsigned value = 0; value < 256; value += 51) {
		for (uint8_t mode = 0; mode < 8; mode += 2) {
			set(11, 0x80 | mode);
			for (uint8_t index = 0; index < 10; index++)
				set(index, (uint8_t)value);
			set(0x32, (uint8_t)value);
			set(11, 0x70 | mode);
			advance(2000 * MS);
			get(12);
			for (uint8_t index = 0; index < 10; index++)
				get(index);
		}
	}
}

static void periodic_interrupt(void **state)
{
	set(11, 0x42);
	get(12);
	advance(10 * MS); /* 1024 Hz; nobody answers: one edge */
	assert_int_equal(f.edges[IRQ], 1);
	assert_int_equal(get(12) & 0xc0, 0xc0);
	assert_false(f.level[IRQ]);
	assert_int_equal(get(12), 0);
	set(10, 0x2f); /* 2 Hz */
	f.edges[IRQ] = 0;
	for (int i = 0; i < 40; i++) {
		advance(250 * MS);
		get(12);
	}
	assert_int_equal(f.edges[IRQ], 20);
	set(10, 0x20); /* off */
	advance(1000 * MS);
	assert_int_equal(f.edges[IRQ], 20);
}

/* Rates 1 and 2 are those of 8 and 9 again (MC146818 data sheet, table 5). */
static void fastest_rates(void **state)
{
	set(11, 0x42);
	for (unsigned rate = 1; rate <= 3; rate++) {
		static const unsigned hz[] = {[1] = 256, [2] = 128, [3] = 8192};
		unsigned count = 0;

		set(10, (uint8_t)(0x20 | rate));
		get(12);
		for (unsigned step = 0; step < 10000; step++) {
			advance(MS / 10);
			count += get(12) >> 6 & 1;
		}
		assert_in_range(count, hz[rate] - 1, hz[rate] + 1);
	}
}

static void update_interrupt(void **state)
{
	set(11, 0x12);
	get(12);
	for (int i = 0; i < 5; i++) {
		advance(999 * MS);
		assert_false(f.level[IRQ]);
		advance(1 * MS);
		assert_true(f.level[IRQ]);
		assert_int_equal(get(12), 0xd0); /* IRQF, PF, UF */
		assert_int_equal(get(0), 0x51 + i);
	}
}

static void flags_without_interrupts(void **state)
{
	get(12);
	assert_int_equal(get(12) & 0x10, 0);
	advance(1500 * MS);
	assert_int_equal(get(12) & 0x90, 0x10);
	assert_int_equal(f.edges[IRQ], 0);
}

static void alarm_interrupt(void **state)
{
	set(1, 0x05);
	set(3, 0x00);
	set(5, 0x00); /* 00:00:05 */
	set(11, 0x22);
	get(12);
	advance(14900 * MS);
	assert_false(f.level[IRQ]);
	advance(100 * MS);
	assert_true(f.level[IRQ]);
	assert_int_equal(get(12) & 0xa0, 0xa0);
	assert_int_equal(get(0), 0x05);
	/* Any hour, any minute: each time the second comes round. */
	set(3, 0xff);
	set(5, 0xc0);
	get(12);
	advance(59999 * MS);
	assert_false(f.level[IRQ]);
	advance(1 * MS);
	assert_true(f.level[IRQ]);
	/* An alarm that never comes. */
	set(1, 0x77);
	get(12);
	advance(UINT64_C(200000) * 1000 * MS);
	assert_false(f.level[IRQ]);
}

static uint8_t bcd(unsigned value)
{
	return (uint8_t)(value / 10 << 4 | value % 10);
}

static bool shows(uint8_t alarm, uint8_t shown)
{
	return alarm >= 0xc0 || alarm == shown;
}

/* When the alarm goes off next, by trying each second of a day; UINT64_MAX: never. */
static uint64_t searched_alarm(const uint8_t alarm[3], bool by_12)
{
	uint64_t base = rtc.state.wall_base_ns / 1000000000 * 1000000000;
	uint64_t start = (rtc.state.wall_base_ns + clock_ns(&f.clock)) / 1000000000 + 1;

	for (uint64_t second = start; second < start + 86400; second++) {
		unsigned hour = second / 3600 % 24;
		uint8_t hours =
			by_12 ? bcd((hour + 11) % 12 + 1) | (hour >= 12 ? 0x80 : 0) : bcd(hour);

		if (shows(alarm[0], bcd(second % 60)) && shows(alarm[1], bcd(second / 60 % 60)) &&
			shows(alarm[2], hours))
			return second * 1000000000 - base - rtc.state.wall_base_ns % 1000000000;
	}
	return UINT64_MAX;
}

/* Every sort of alarm at every sort of time: fields that match, do not care, or never match. */
static void alarm_times(void **state)
{
	static const uint8_t seconds[] = {0, 0x30, 0x59, 0x5a, 0x60, 0xbf, 0xff};
	static const uint8_t minutes[] = {0, 0x01, 0x59, 0x0f, 0xff};
	static const uint8_t hours[] = {0, 0x01, 0x11, 0x12, 0x23, 0x81, 0x92, 0xff};
	static const unsigned steps[] = {1, 59, 3600, 40000};

	for (unsigned i = 0; i < ARRAY_SIZE(seconds) * ARRAY_SIZE(minutes) * ARRAY_SIZE(hours);
		i++) {
		const uint8_t alarm[3] = {seconds[i % ARRAY_SIZE(seconds)],
			minutes[i / ARRAY_SIZE(seconds) % ARRAY_SIZE(minutes)],
			hours[i / (ARRAY_SIZE(seconds) * ARRAY_SIZE(minutes))]};
		bool by_12 = i & 1;

		set(11, 0);
		advance(steps[i % ARRAY_SIZE(steps)] * 1000 * MS);
		set(1, alarm[0]);
		set(3, alarm[1]);
		set(5, alarm[2]);
		set(11, by_12 ? 0x20 : 0x22);
		get(12);
		assert_true(event_loop_next_deadline(f.loop) == searched_alarm(alarm, by_12));
	}
}

static uint64_t cpu_time_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t time_of_reads(uint8_t second)
{
	uint64_t start;

	set(1, second);
	start = cpu_time_ns();
	for (unsigned i = 0; i < 2000; i++)
		get(12);
	return cpu_time_ns() - start;
}

/* A search through a day would take a thousand times as long, all of it under the machine lock. */
static void alarm_that_never_comes_is_cheap(void **state)
{
	uint64_t usual;

	set(3, 0xff);
	set(5, 0xff);
	usual = time_of_reads(0);
	assert_in_range(time_of_reads(0xbf), 0, 20 * usual);
	set(3, 0xbf);
	set(5, 0x23);
	assert_in_range(time_of_reads(0x59), 0, 20 * usual);
}

static void update_in_progress(void **state)
{
	assert_int_equal(get(10) & 0x80, 0);
	advance(1000 * MS - 300 * US);
	assert_int_equal(get(10) & 0x80, 0);
	advance(100 * US);
	assert_int_equal(get(10) & 0x80, 0x80);
	assert_int_equal(get(0), 0x50);
	advance(200 * US);
	assert_int_equal(get(10) & 0x80, 0);
	assert_int_equal(get(0), 0x51);
}

static void memory_sizes(void **state)
{
	static struct rtc large;

	assert_int_equal(get(0x15) | get(0x16) << 8, 640);
	assert_int_equal(get(0x17) | get(0x18) << 8, 63 * 1024);
	assert_int_equal(get(0x30) | get(0x31) << 8, 63 * 1024);
	assert_int_equal(get(0x34) | get(0x35) << 8, 48 * 16);
	assert_int_equal(get(0x5b), 0);
	assert_int_equal(get(0x5f), 1);
	io_space_remove(&f.ports, 0x70);
	rtc_init(&large, &f.devices, &f.ports, fixture_irq(IRQ), f.loop, &f.clock, 3 * GIB, 2 * GIB,
		1);
	assert_int_equal(get(0x30) | get(0x31) << 8, 0xffff);
	assert_int_equal(get(0x34) | get(0x35) << 8, (3 * 1024 - 16) * 16);
	assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 2048 * 16);
}

static void checksum_of_the_memory(void **state)
{
	unsigned sum = 0;

	rtc_set_cmos(&rtc, 0x10, 0x40); /* a floppy drive */
	assert_int_equal(get(0x10), 0x40);
	for (uint8_t index = 0x10; index < 0x2e; index++)
		sum += get(index);
	assert_int_equal(get(0x2e) << 8 | get(0x2f), sum);
	assert_true(sum > 0x40);
}

static void cmos_survives_reset(void **state)
{
	set(RTC_CMOS_SHUTDOWN, 0x0a);
	set(0x40, 0x55);
	set(11, 0x72);
	advance(1000 * MS);
	assert_true(f.level[IRQ]);
	device_list_reset(&f.devices);
	assert_false(f.level[IRQ]);
	assert_int_equal(get(11), 0x02);
	assert_int_equal(get(RTC_CMOS_SHUTDOWN), 0x0a);
	assert_int_equal(get(0x40), 0x55);
	assert_int_equal(get(13), 0x80);
	set(13, 0);
	assert_int_equal(get(13), 0x80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(time_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(starts_at_the_hosts_time, setup, teardown),
		cmocka_unit_test_setup_teardown(shifts, setup, teardown),
		cmocka_unit_test_setup_teardown(formats, setup, teardown),
		cmocka_unit_test_setup_teardown(setting_the_time, setup, teardown),
		cmocka_unit_test_setup_teardown(nonsense_is_survived, setup, teardown),
		cmocka_unit_test_setup_teardown(periodic_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(fastest_rates, setup, teardown),
		cmocka_unit_test_setup_teardown(update_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(flags_without_interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(alarm_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(alarm_times, setup, teardown),
		cmocka_unit_test_setup_teardown(alarm_that_never_comes_is_cheap, setup, teardown),
		cmocka_unit_test_setup_teardown(update_in_progress, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(checksum_of_the_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(cmos_survives_reset, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
