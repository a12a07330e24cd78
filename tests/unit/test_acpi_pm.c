#include "device/chipset/acpi_pm.h"

#include "device_fixture.h"

static struct acpi_pm pm;

static int setup(void **state)
{
	static const struct acpi_pm_calls calls = {.power_off = fixture_power_off,
		.sleep = fixture_sleep,
		.wake = fixture_wake,
		.reset = fixture_reset};

	fixture_setup();
	assert_int_equal(acpi_pm_init(&pm, &f.devices, &f.ports, fixture_irq(ACPI_SCI_IRQ), f.loop,
				 &f.clock, &calls),
		0);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static uint16_t in16(uint16_t port)
{
	return (uint16_t)io_space_read(&f.ports, port, 2);
}

static void out16(uint16_t port, uint16_t value)
{
	io_space_write(&f.ports, port, value, 2);
}

static uint32_t pm_timer(void)
{
	return (uint32_t)io_space_read(&f.ports, ACPI_PM_TIMER_PORT, 4);
}

static void enabling_acpi(void **state)
{
	assert_int_equal(in16(ACPI_PM1_CONTROL_PORT) & 1, 0);
	outb(ACPI_SMI_COMMAND_PORT, ACPI_ENABLE_VALUE);
	assert_int_equal(in16(ACPI_PM1_CONTROL_PORT) & 1, 1);
	outb(ACPI_SMI_COMMAND_PORT, ACPI_DISABLE_VALUE);
	assert_int_equal(in16(ACPI_PM1_CONTROL_PORT) & 1, 0);
	out16(ACPI_PM1_CONTROL_PORT, 1); /* the chip does not mind */
	assert_int_equal(in16(ACPI_PM1_CONTROL_PORT) & 1, 1);
	outb(ACPI_PM1_CONTROL_PORT, 0);
	assert_int_equal(in16(ACPI_PM1_CONTROL_PORT) & 1, 0);
	outb(ACPI_SMI_COMMAND_PORT + 1, 0x77);
	assert_int_equal(inb(ACPI_SMI_COMMAND_PORT + 1), 0x77);
}

static void power_button(void **state)
{
	outb(ACPI_SMI_COMMAND_PORT, ACPI_ENABLE_VALUE);
	acpi_pm_power_button(&pm);
	assert_false(f.level[ACPI_SCI_IRQ]); /* not enabled */
	out16(ACPI_PM1_EVENT_PORT + 2, 0x0100);
	assert_true(f.level[ACPI_SCI_IRQ]);
	assert_int_equal(in16(ACPI_PM1_EVENT_PORT), 0x0100);
	out16(ACPI_PM1_EVENT_PORT, 0x0001); /* clears another one */
	assert_true(f.level[ACPI_SCI_IRQ]);
	out16(ACPI_PM1_EVENT_PORT, 0x0100);
	assert_false(f.level[ACPI_SCI_IRQ]);
	assert_int_equal(in16(ACPI_PM1_EVENT_PORT), 0);
	/* In legacy mode there is no SCI. */
	outb(ACPI_SMI_COMMAND_PORT, ACPI_DISABLE_VALUE);
	acpi_pm_power_button(&pm);
	assert_false(f.level[ACPI_SCI_IRQ]);
}

static void event_registers_by_bytes(void **state)
{
	outb(ACPI_PM1_EVENT_PORT + 2, 0x21);
	outb(ACPI_PM1_EVENT_PORT + 3, 0xff);
	assert_int_equal(in16(ACPI_PM1_EVENT_PORT + 2), 0x0721); /* only what exists */
	assert_int_equal(inb(ACPI_PM1_EVENT_PORT + 3), 0x07);
	acpi_pm_power_button(&pm);
	assert_int_equal(io_space_read(&f.ports, ACPI_PM1_EVENT_PORT, 4), 0x07210100);
	outb(ACPI_PM1_EVENT_PORT, 0xff);
	assert_int_equal(inb(ACPI_PM1_EVENT_PORT + 1), 0x01);
	outb(ACPI_PM1_EVENT_PORT + 1, 0xff);
	assert_int_equal(inb(ACPI_PM1_EVENT_PORT + 1), 0x00);
	assert_int_equal(in16(ACPI_PM1_EVENT_PORT + 2), 0x0721);
}

static void soft_off(void **state)
{
	out16(ACPI_PM1_CONTROL_PORT, ACPI_SLEEP_TYPE_S5 << 10);
	assert_int_equal(f.power_offs, 0);
	out16(ACPI_PM1_CONTROL_PORT, 6 << 10 | 1 << 13); /* another state: ignored */
	assert_int_equal(f.power_offs, 0);
	assert_int_equal(f.sleeps, 0);
	out16(ACPI_PM1_CONTROL_PORT, ACPI_SLEEP_TYPE_S5 << 10 | 1 << 13);
	assert_int_equal(f.power_offs, 1);
	/* SLP_EN is write-only. */
	assert_int_equal(in16(ACPI_PM1_CONTROL_PORT) & 1 << 13, 0);
	/* Byte by byte, as ACPICA may do it. */
	outb(ACPI_PM1_CONTROL_PORT + 1, ACPI_SLEEP_TYPE_S5 << 2 | 1 << 5);
	assert_int_equal(f.power_offs, 2);
}

#define SLEEP_BUTTON_AND_UP 0x0700 /* of PM1's enable bits */
#define RTC_ALARM           0x0400
#define POWER_BUTTON        0x0100
#define WAKE                0x8000

static void sleep_now(void)
{
	out16(ACPI_PM1_CONTROL_PORT, ACPI_SLEEP_TYPE_S3 << 10 | 1 << 13 | 1);
	device_list_sleep(&f.devices);
}

static void what_stays_powered_in_s3(void **state)
{
	outb(ACPI_SMI_COMMAND_PORT, ACPI_ENABLE_VALUE);
	out16(ACPI_PM1_EVENT_PORT + 2, SLEEP_BUTTON_AND_UP | 0x21);
	out16(ACPI_GPE0_PORT + 2, 0x1234);
	outb(ACPI_RESET_PORT, 0x02);
	sleep_now();
	assert_int_equal(f.sleeps, 1);
	assert_int_equal(f.power_offs, 0);
	assert_true(pm.state.asleep);
	assert_int_equal(in16(ACPI_PM1_CONTROL_PORT), ACPI_SLEEP_TYPE_S3 << 10);
	assert_int_equal(in16(ACPI_PM1_EVENT_PORT + 2), SLEEP_BUTTON_AND_UP);
	assert_int_equal(in16(ACPI_GPE0_PORT + 2), 0x1234);
	assert_int_equal(inb(ACPI_RESET_PORT), 0);
	assert_int_equal(inb(ACPI_SMI_COMMAND_PORT), 0);
	acpi_pm_wake(&pm, false);
	assert_false(pm.state.asleep);
	assert_int_equal(in16(ACPI_PM1_CONTROL_PORT) & 1, 0);
	acpi_pm_wake(&pm, true);
	assert_int_equal(in16(ACPI_PM1_CONTROL_PORT) & 1, 1);
}

static void power_button_wakes(void **state)
{
	sleep_now();
	acpi_pm_rtc_alarm(&pm); /* is not enabled */
	assert_int_equal(f.wakes, 0);
	acpi_pm_power_button(&pm);
	assert_int_equal(f.wakes, 1);
	assert_int_equal(in16(ACPI_PM1_EVENT_PORT), WAKE | RTC_ALARM | POWER_BUTTON);
	acpi_pm_wake(&pm, true);
	out16(ACPI_PM1_EVENT_PORT, WAKE | RTC_ALARM | POWER_BUTTON);
	assert_int_equal(in16(ACPI_PM1_EVENT_PORT), 0);
	acpi_pm_power_button(&pm); /* one that is awake */
	assert_int_equal(f.wakes, 1);
	assert_int_equal(in16(ACPI_PM1_EVENT_PORT), POWER_BUTTON);
}

static void alarm_wakes_where_it_is_enabled(void **state)
{
	out16(ACPI_PM1_EVENT_PORT + 2, RTC_ALARM);
	sleep_now();
	assert_int_equal(f.wakes, 0);
	acpi_pm_rtc_alarm(&pm);
	assert_int_equal(f.wakes, 1);
	assert_int_equal(in16(ACPI_PM1_EVENT_PORT), WAKE | RTC_ALARM);
}

/* No alarm is lost between a guest's last look and its sleep. */
static void what_has_happened_already_wakes_at_once(void **state)
{
	out16(ACPI_PM1_EVENT_PORT + 2, RTC_ALARM);
	acpi_pm_rtc_alarm(&pm);
	assert_int_equal(f.wakes, 0);
	sleep_now();
	assert_int_equal(f.wakes, 1);
	/* Not what is not enabled: else a system that never looks would never sleep. */
	acpi_pm_wake(&pm, true);
	out16(ACPI_PM1_EVENT_PORT, WAKE | RTC_ALARM);
	acpi_pm_power_button(&pm);
	sleep_now();
	assert_int_equal(f.wakes, 1);
}

static void timer_rate(void **state)
{
	uint32_t before = pm_timer();

	advance(1000 * MS);
	assert_int_equal(pm_timer() - before, ACPI_PM_TIMER_HZ);
	advance(3600 * UINT64_C(1000) * MS); /* wraps at 32 bits */
	assert_int_equal(pm_timer() - before, (uint32_t)(3601 * UINT64_C(3579545)));
}

static void timer_overflow_interrupt(void **state)
{
	uint64_t half = clock_ticks_to_ns(BIT(31), ACPI_PM_TIMER_HZ);

	outb(ACPI_SMI_COMMAND_PORT, ACPI_ENABLE_VALUE);
	out16(ACPI_PM1_EVENT_PORT + 2, 1);
	advance(half - clock_ns(&f.clock) - 1 * MS);
	assert_int_equal(in16(ACPI_PM1_EVENT_PORT), 0);
	assert_false(f.level[ACPI_SCI_IRQ]);
	advance(1 * MS);
	assert_true(f.level[ACPI_SCI_IRQ]);
	assert_int_equal(in16(ACPI_PM1_EVENT_PORT), 1);
	out16(ACPI_PM1_EVENT_PORT, 1);
	assert_false(f.level[ACPI_SCI_IRQ]);
	/* With the interrupt disabled the status bit is set all the same. */
	out16(ACPI_PM1_EVENT_PORT + 2, 0);
	advance(half);
	assert_int_equal(in16(ACPI_PM1_EVENT_PORT), 1);
	assert_int_equal(f.edges[ACPI_SCI_IRQ], 1);
}

static void general_purpose_events(void **state)
{
	out16(ACPI_GPE0_PORT + 2, 0xabcd);
	assert_int_equal(in16(ACPI_GPE0_PORT + 2), 0xabcd);
	assert_int_equal(in16(ACPI_GPE0_PORT), 0);
	assert_false(f.level[ACPI_SCI_IRQ]);
}

static void reset_register(void **state)
{
	outb(ACPI_RESET_PORT, 0x02);
	assert_int_equal(f.resets, 0);
	outb(ACPI_RESET_PORT, ACPI_RESET_VALUE);
	assert_int_equal(f.resets, 1);
}

/* PCI's configuration address is a doubleword at 0xcf8, in which the reset register is one byte;
 * only a byte access is for it (82371AB data sheet, RC register). */
static void reset_register_takes_bytes_only(void **state)
{
	assert_int_equal(ACPI_RESET_PORT, 0xcf9);
	outb(ACPI_RESET_PORT, 0x02);
	io_space_write(&f.ports, 0xcf8, 0x80000400, 4);
	io_space_write(&f.ports, 0xcf8, 0x0600, 2);
	io_space_write(&f.ports, 0xcf9, 0x0006, 2);
	io_space_write(&f.ports, 0xcf9, 0x00000006, 4);
	io_space_write(&f.ports, 0xcf6, 0x06000000, 4);
	assert_int_equal(f.resets, 0);
	assert_int_equal(inb(ACPI_RESET_PORT), 0x02);
	assert_int_equal(io_space_read(&f.ports, 0xcf8, 4), 0xffffffff);
	assert_int_equal(io_space_read(&f.ports, 0xcf9, 2), 0xffff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(enabling_acpi, setup, teardown),
		cmocka_unit_test_setup_teardown(power_button, setup, teardown),
		cmocka_unit_test_setup_teardown(event_registers_by_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(soft_off, setup, teardown),
		cmocka_unit_test_setup_teardown(what_stays_powered_in_s3, setup, teardown),
		cmocka_unit_test_setup_teardown(power_button_wakes, setup, teardown),
		cmocka_unit_test_setup_teardown(alarm_wakes_where_it_is_enabled, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_has_happened_already_wakes_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(timer_rate, setup, teardown),
		cmocka_unit_test_setup_teardown(timer_overflow_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(general_purpose_events, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_register, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_register_takes_bytes_only, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
