/* The watchdog, used as Linux's driver uses it. */
#include "device/i6300esb.h"

#include "pci_fixture.h"

#define SLOT      1
#define REGISTERS UINT64_C(0xd0000000)

static unsigned expirations;

static void expired(void *opaque)
{
	expirations++;
}

static int setup(void **state)
{
	fixture_setup();
	create();
	expirations = 0;
	assert_int_equal(i6300esb_create(bus, &f.devices, PCI_ANY_SLOT, expired, &expirations), 0);
	device_list_firmware_setup(&f.devices);
	config_write(SLOT, PCI_BASE_ADDRESS_0, (uint32_t)REGISTERS, 4);
	config_write(SLOT, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static void unlock(void)
{
	write32(REGISTERS + I6300ESB_RELOAD, I6300ESB_KEY1);
	write32(REGISTERS + I6300ESB_RELOAD, I6300ESB_KEY2);
}

static void put(unsigned at, uint32_t value)
{
	unlock();
	write32(REGISTERS + at, value);
}

/* Both stages take so long, in seconds and a bit. */
static void set_seconds(unsigned seconds)
{
	put(I6300ESB_TIMER1, seconds << 9);
	put(I6300ESB_TIMER2, seconds << 9);
	put(I6300ESB_RELOAD, I6300ESB_RELOAD_RELOAD);
}

static void start(uint8_t how)
{
	config_write(SLOT, I6300ESB_LOCK, I6300ESB_LOCK_ENABLED | how, 1);
}

static void it_expires_unless_it_is_fed(void **state)
{
	config_write(SLOT, I6300ESB_CONFIG, 3, 2);
	set_seconds(10);
	advance(100000 * MS);
	assert_int_equal(expirations, 0);
	start(0);
	for (unsigned i = 0; i < 10; i++) {
		advance(9000 * MS);
		put(I6300ESB_RELOAD, I6300ESB_RELOAD_RELOAD);
	}
	advance(10000 * MS);
	assert_int_equal(expirations, 0);
	advance(500 * MS);
	assert_int_equal(expirations, 1);
	assert_int_equal(read32(REGISTERS + I6300ESB_RELOAD), I6300ESB_RELOAD_TIMED_OUT);
	assert_false(f.level[SLOT]);
	/* A reset leaves the cause, and no more. */
	device_list_reset(&f.devices);
	device_list_firmware_setup(&f.devices);
	config_write(SLOT, PCI_BASE_ADDRESS_0, (uint32_t)REGISTERS, 4);
	config_write(SLOT, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(read32(REGISTERS + I6300ESB_RELOAD), I6300ESB_RELOAD_TIMED_OUT);
	put(I6300ESB_RELOAD, I6300ESB_RELOAD_TIMED_OUT);
	assert_int_equal(read32(REGISTERS + I6300ESB_RELOAD), 0);
	advance(100000 * MS);
	assert_int_equal(expirations, 1);
}

static void registers_want_their_keys(void **state)
{
	set_seconds(10);
	start(0);
	write32(REGISTERS + I6300ESB_TIMER1, 1);
	write32(REGISTERS + I6300ESB_RELOAD, I6300ESB_RELOAD_RELOAD);
	write32(REGISTERS + I6300ESB_RELOAD, I6300ESB_KEY2);
	write32(REGISTERS + I6300ESB_RELOAD, I6300ESB_RELOAD_RELOAD);
	advance(6000 * MS);
	unlock();
	write32(REGISTERS + I6300ESB_STATUS, 0); /* uses the keys up */
	write32(REGISTERS + I6300ESB_RELOAD, I6300ESB_RELOAD_RELOAD);
	advance(4500 * MS);
	assert_int_equal(expirations, 1);
}

static void the_first_stage_interrupts(void **state)
{
	set_seconds(2);
	start(0);
	advance(1050 * MS);
	assert_true(f.level[SLOT]);
	assert_int_equal(read32(REGISTERS + I6300ESB_STATUS), 1);
	put(I6300ESB_STATUS, 1);
	assert_false(f.level[SLOT]);
	assert_int_equal(expirations, 0);
	advance(1050 * MS);
	assert_int_equal(expirations, 1);
}

static void the_output_can_be_off_and_the_timer_fast(void **state)
{
	config_write(
		SLOT, I6300ESB_CONFIG, I6300ESB_CONFIG_FAST | I6300ESB_CONFIG_NO_OUTPUT | 3, 2);
	set_seconds(100);
	start(0);
	advance(1000 * MS);
	assert_int_equal(expirations, 0);
	assert_int_equal(read32(REGISTERS + I6300ESB_RELOAD), 0);
	start(0); /* it was enabled already: nothing begins */
	config_write(SLOT, I6300ESB_CONFIG, I6300ESB_CONFIG_FAST | 3, 2);
	put(I6300ESB_RELOAD, I6300ESB_RELOAD_RELOAD);
	advance(98 * MS); /* 102400 times 32 clocks of 33 MHz are 99.3 ms */
	assert_int_equal(expirations, 0);
	advance(2 * MS);
	assert_int_equal(expirations, 1);
}

static void it_can_be_stopped_unless_it_is_locked(void **state)
{
	set_seconds(2);
	start(0);
	config_write(SLOT, I6300ESB_LOCK, 0, 1);
	advance(10000 * MS);
	assert_int_equal(expirations, 0);
	start(I6300ESB_LOCK_LOCKED);
	config_write(SLOT, I6300ESB_LOCK, 0, 1);
	assert_int_equal(
		config_read(SLOT, I6300ESB_LOCK, 1), I6300ESB_LOCK_ENABLED | I6300ESB_LOCK_LOCKED);
	advance(10000 * MS);
	assert_int_equal(expirations, 1);
}

static void a_free_running_one_goes_on(void **state)
{
	set_seconds(2);
	start(I6300ESB_LOCK_FREE_RUNNING);
	advance(5100 * MS);
	assert_int_equal(expirations, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_expires_unless_it_is_fed, setup, teardown),
		cmocka_unit_test_setup_teardown(registers_want_their_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(the_first_stage_interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(
			the_output_can_be_off_and_the_timer_fast, setup, teardown),
		cmocka_unit_test_setup_teardown(
			it_can_be_stopped_unless_it_is_locked, setup, teardown),
		cmocka_unit_test_setup_teardown(a_free_running_one_goes_on, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
