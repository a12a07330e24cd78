/* Accesses that are counted, as a guest uses QEMU's pci-testdev: it selects, reads where to write
 * what, and counts. */
#include "device/pci_iotest.h"

#include "pci_fixture.h"

#define SLOT      1
#define REGISTERS UINT64_C(0xd0000000)
#define PORTS     0xd000

static int setup(void **state)
{
	fixture_setup();
	create();
	assert_int_equal(pci_iotest_create(bus, &f.devices, PCI_ANY_SLOT), 0);
	device_list_firmware_setup(&f.devices);
	config_write(SLOT, PCI_BASE_ADDRESS_0, (uint32_t)REGISTERS, 4);
	config_write(SLOT, PCI_BASE_ADDRESS_1, PORTS, 4);
	config_write(SLOT, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO, 2);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static void put(bool port, uint64_t offset, uint64_t value, unsigned size)
{
	io_space_write(
		port ? &f.ports : &f.memory.mmio, (port ? PORTS : REGISTERS) + offset, value, size);
}

static uint32_t get(bool port, uint64_t offset, unsigned size)
{
	return (uint32_t)io_space_read(
		port ? &f.ports : &f.memory.mmio, (port ? PORTS : REGISTERS) + offset, size);
}

#define GET(port, field)                                                                           \
	get(port, offsetof(struct pci_iotest_header, field),                                       \
		sizeof(((struct pci_iotest_header *)NULL)->field))

static void writes_of_the_right_byte_count(bool port)
{
	for (uint8_t test = 0; test < PCI_IOTEST_TESTS; test++) {
		uint32_t offset, data;

		put(port, 0, test, 1);
		assert_int_equal(GET(port, test), test);
		assert_int_equal(GET(port, width), 1);
		assert_int_equal(GET(port, count), 0);
		assert_int_equal(
			get(port, offsetof(struct pci_iotest_header, name), 1), port ? 'p' : 'm');
		offset = GET(port, offset);
		data = GET(port, data);
		/* The name has room before it. */
		assert_true(offset >= sizeof(struct pci_iotest_header));
		for (unsigned i = 0; i < 5; i++)
			put(port, offset, data, 1);
		put(port, offset + 1, data, 1);
		put(!port, offset, data, 1);
		assert_int_equal(GET(port, count), 5);
		put(port, offset, data ^ 1, 1);
		assert_int_equal(GET(port, count), test == 1 ? 6 : 5);
	}
}

static void writes_count_in_memory(void **state)
{
	assert_int_equal(config_read(SLOT, PCI_VENDOR_ID, 4), 0x00051b36);
	writes_of_the_right_byte_count(false);
}

static void writes_count_at_ports(void **state)
{
	writes_of_the_right_byte_count(true);
}

/* By that a guest knows that it has had all. */
static void a_test_that_is_not_there_has_no_width(void **state)
{
	for (unsigned number = PCI_IOTEST_TESTS; number <= 0xff; number++) {
		put(false, 0, number, 1);
		assert_int_equal(GET(false, width), 0);
		assert_int_equal(GET(false, offset), 0);
	}
	put(false, 0, 0, 1);
	device_list_reset(&f.devices);
	assert_int_equal(get(false, 4096 - 4, 4), 0xffffffff); /* BARs are gone */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(writes_count_in_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(writes_count_at_ports, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_test_that_is_not_there_has_no_width, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
