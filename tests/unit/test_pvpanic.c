#include "device/pvpanic.h"

#include "pci_fixture.h"

#include <errno.h>

#define SLOT      1
#define REGISTERS UINT64_C(0xd0000000)

static unsigned told, last_told;

static void happened(void *opaque, unsigned what)
{
	assert_ptr_equal(opaque, &told);
	told++;
	last_told = what;
}

static const struct pvpanic_config config = {happened, &told};

static int setup(void **state)
{
	fixture_setup();
	create();
	told = last_told = 0;
	assert_int_equal(pvpanic_add_port(&f.ports, &config), 0);
	assert_int_equal(pvpanic_create(bus, &f.devices, PCI_ANY_SLOT, &config), 0);
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

static void a_panic_is_told_at_the_port(void **state)
{
	assert_int_equal(inb(PVPANIC_PORT), 3);
	outb(PVPANIC_PORT, 0xfc);
	assert_int_equal(told, 0);
	outb(PVPANIC_PORT, PVPANIC_PANICKED);
	assert_int_equal(told, 1);
	assert_int_equal(last_told, PVPANIC_PANICKED);
	outb(PVPANIC_PORT, PVPANIC_PANICKED | PVPANIC_CRASHLOADED);
	assert_int_equal(told, 2);
	assert_int_equal(last_told, PVPANIC_CRASHLOADED);
}

static void a_panic_is_told_on_the_bus(void **state)
{
	assert_int_equal(config_read(SLOT, PCI_VENDOR_ID, 4), 0x00111b36);
	assert_int_equal(io_space_read(&f.memory.mmio, REGISTERS, 1), 3);
	io_space_write(&f.memory.mmio, REGISTERS + 1, PVPANIC_PANICKED, 1);
	assert_int_equal(told, 0);
	io_space_write(&f.memory.mmio, REGISTERS, PVPANIC_PANICKED, 1);
	assert_int_equal(told, 1);
	assert_int_equal(last_told, PVPANIC_PANICKED);
	assert_int_equal(pvpanic_add_port(&f.ports, &config), -EEXIST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_panic_is_told_at_the_port, setup, teardown),
		cmocka_unit_test_setup_teardown(a_panic_is_told_on_the_bus, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
