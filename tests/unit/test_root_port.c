/* A root port and the test function behind it: how the port's registers decide what reaches that,
 * and what comes back. */
#include "device/pci_testdev.h"
#include "pci_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PORT   1
#define GSI    (PORT % PCI_INTX_GSIS) /* the fixture's number of the line */
#define BUS(n) (32 * (n))             /* what config_read() takes for device 0 of that bus */
#define BEHIND BUS(1)                 /* where firmware puts it */

#define ALL_ON (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

static int setup(void **state)
{
	fixture_setup();
	create();
	assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_OWN_PORT), 0);
	device_list_firmware_setup(&f.devices);
	atomic_store(&messages, 0);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static void set_commands(uint16_t port, uint16_t function)
{
	config_write(PORT, PCI_COMMAND, port, 2);
	config_write(BEHIND, PCI_COMMAND, function, 2);
}

static uint32_t bar(unsigned index)
{
	return config_read(BEHIND, PCI_BASE_ADDRESS_0 + 4 * index, 4) & ~15u;
}

/* Where firmware has put the registers. */
static uint32_t registers;

static void enable(void)
{
	set_commands(ALL_ON, ALL_ON);
	registers = bar(0);
}

static bool is_there(void)
{
	return config_read(BEHIND, 0, 4) == (PCI_TESTDEV_DEVICE << 16 | PCI_TESTDEV_VENDOR);
}

static void set_bridge_control(uint16_t value)
{
	config_write(PORT, PCI_BRIDGE_CONTROL, value, 2);
}

/* --- configuration space --- */

static void port_is_a_bridge(void **state)
{
	unsigned express = capability_of(PORT, PCI_CAP_ID_EXP);

	assert_int_equal(config_read(PORT, PCI_CLASS_REVISION, 4) >> 8, 0x060400);
	assert_int_equal(config_read(PORT, PCI_HEADER_TYPE, 1), PCI_HEADER_TYPE_BRIDGE);
	assert_int_equal(config_read(PORT, express + PCI_EXP_FLAGS, 2),
		2 | PCI_EXP_TYPE_ROOT_PORT << 4 | PCI_EXP_FLAGS_SLOT);
	assert_int_equal(config_read(PORT, express + PCI_EXP_SLTCAP, 4) >> 19, PORT);
	assert_true(config_read(PORT, express + PCI_EXP_SLTSTA, 2) & PCI_EXP_SLTSTA_PDS);
	assert_false(config_read(PORT, express + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR);
	capability_of(PORT, PCI_CAP_ID_MSI);
	/* It has no BARs. */
	config_write(PORT, PCI_BASE_ADDRESS_0, UINT32_MAX, 4);
	assert_int_equal(config_read(PORT, PCI_BASE_ADDRESS_0, 4), 0);

	express = capability_of(BEHIND, PCI_CAP_ID_EXP);
	assert_int_equal(
		config_read(BEHIND, express + PCI_EXP_FLAGS, 2), 2 | PCI_EXP_TYPE_ENDPOINT << 4);
	assert_int_equal(config_read(BEHIND, express + PCI_EXP_LNKSTA, 2) & 0x3ff, 0x11);
	/* Its pin is the port's. */
	assert_int_equal(config_read(BEHIND, PCI_INTERRUPT_LINE, 2), 0x100 | (PCI_INTX_GSI + PORT));
}

static void bus_number_leads_to_it(void **state)
{
	assert_int_equal(config_read(PORT, PCI_PRIMARY_BUS, 4), 0x00010100);
	assert_true(is_there());
	assert_int_equal(config_read(BEHIND + 1, 0, 4), UINT32_MAX); /* device 1 */
	assert_int_equal(read32(ecam(BEHIND, 0) + (1 << 12)), UINT32_MAX);
	assert_int_equal(config_read(BUS(2), 0, 4), UINT32_MAX);
	/* By ports, too. */
	io_space_write(&f.ports, 0xcf8, 0x80010000, 4);
	assert_int_equal(
		io_space_read(&f.ports, 0xcfc, 4), PCI_TESTDEV_DEVICE << 16 | PCI_TESTDEV_VENDOR);
	/* The guest gives it another number. */
	config_write(PORT, PCI_SECONDARY_BUS, 0x0707, 2);
	assert_false(is_there());
	assert_int_equal(config_read(BUS(7), 0, 2), PCI_TESTDEV_VENDOR);
	/* Bus 0 is the host bridge's. */
	config_write(PORT, PCI_SECONDARY_BUS, 0, 2);
	assert_int_equal(config_read(0, 0, 4), 0x29c08086);
	assert_int_equal(config_read(BUS(7), 0, 4), UINT32_MAX);
}

static void of_two_ports_the_first_leads(void **state)
{
	assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_OWN_PORT), 0);
	device_list_firmware_setup(&f.devices);
	assert_int_equal(config_read(2, PCI_SECONDARY_BUS, 2), 0x0202);
	config_write(BUS(2), PCI_CACHE_LINE_SIZE, 0x55, 1);
	config_write(PORT, PCI_SECONDARY_BUS, 0x0202, 2);
	assert_int_equal(config_read(BUS(2), PCI_CACHE_LINE_SIZE, 1), 0);
	config_write(PORT, PCI_SECONDARY_BUS, 0x0101, 2);
	assert_int_equal(config_read(BUS(2), PCI_CACHE_LINE_SIZE, 1), 0x55);
	/* Each has windows of its own. */
	assert_true(config_read(PORT, PCI_MEMORY_LIMIT, 2) < config_read(2, PCI_MEMORY_BASE, 2));
	assert_true(config_read(PORT, PCI_IO_LIMIT, 1) < config_read(2, PCI_IO_BASE, 1));
}

static void slots_run_out(void **state)
{
	for (unsigned slot = 2; slot < PCI_SLOTS; slot++)
		assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_OWN_PORT), 0);
	assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_OWN_PORT), -ENOSPC);
	device_list_firmware_setup(&f.devices);
	assert_int_equal(config_read(31, PCI_SECONDARY_BUS, 2), 31 << 8 | 31);
	assert_int_equal(config_read(BUS(31), 0, 2), PCI_TESTDEV_VENDOR);
}

/* --- windows --- */

static void firmware_gives_windows(void **state)
{
	uint32_t memory = config_read(PORT, PCI_MEMORY_BASE, 4);
	uint32_t ports = config_read(PORT, PCI_IO_BASE, 2);

	assert_int_equal(config_read(PORT, PCI_COMMAND, 2), 0);
	assert_true(bar(0) >> 16 >= (memory & 0xfff0) && bar(4) >> 16 <= memory >> 16);
	assert_true((bar(1) >> 8 & 0xf0) >= (ports & 0xf0) &&
		    (bar(1) >> 8 & 0xf0) <= (ports >> 8 & 0xf0));
	/* What needs no prefetchable memory gets none. */
	assert_true((config_read(PORT, PCI_PREF_MEMORY_BASE, 2) & 0xfff0) >
		    (config_read(PORT, PCI_PREF_MEMORY_LIMIT, 2) & 0xfff0));
	enable();
	write32(registers, 0x1234);
	assert_int_equal(read32(registers), 0x1234);
	assert_int_equal(io_space_read(&f.ports, bar(1), 4), 0x1234);
	assert_int_equal(read32(bar(2) + 0x3ffc), 0x1234);
}

static void each_kind_needs_the_ports_permission(void **state)
{
	enable();
	write32(registers, 0x1234);
	set_commands(PCI_COMMAND_MEMORY, ALL_ON);
	assert_int_equal(read32(registers), 0x1234);
	assert_int_equal(io_space_read(&f.ports, bar(1), 4), UINT32_MAX);
	set_commands(PCI_COMMAND_IO, ALL_ON);
	assert_int_equal(read32(registers), UINT32_MAX);
	assert_int_equal(io_space_read(&f.ports, bar(1), 4), 0x1234);
	set_commands(ALL_ON, 0);
	assert_int_equal(read32(registers), UINT32_MAX);
}

static bool registers_at(uint64_t address)
{
	config_write(BEHIND, PCI_BASE_ADDRESS_0, (uint32_t)address, 4);
	return read32(address + PCI_TESTDEV_RESETS) == 0;
}

static void bars_are_within_windows(void **state)
{
	enable();
	config_write(PORT, PCI_MEMORY_BASE, 0xd010d010, 4); /* 1 MiB */
	assert_int_equal(config_read(PORT, PCI_MEMORY_BASE, 4), 0xd010d010);
	assert_int_equal(read32(registers), UINT32_MAX);
	assert_false(registers_at(0xd00ff000));
	assert_true(registers_at(0xd0100000));
	assert_true(registers_at(0xd01ff000));
	assert_false(registers_at(0xd0200000));
	assert_true(registers_at(0xd0100000));
	/* A base above the limit: nothing. */
	config_write(PORT, PCI_MEMORY_BASE, 0xd020, 2);
	assert_false(registers_at(0xd0100000));

	/* Of 64 bits, and the registers of prefetchable memory. */
	config_write(BEHIND, PCI_BASE_ADDRESS_2, 0x00104000, 4);
	config_write(BEHIND, PCI_BASE_ADDRESS_3, 0x20, 4);
	assert_int_equal(read32(UINT64_C(0x2000104000)), UINT32_MAX);
	config_write(PORT, PCI_PREF_MEMORY_BASE, 0x00100010, 4);
	config_write(PORT, PCI_PREF_BASE_UPPER32, 0x20, 4);
	assert_int_equal(read32(UINT64_C(0x2000104000)), UINT32_MAX);
	config_write(PORT, PCI_PREF_LIMIT_UPPER32, 0x20, 4);
	assert_int_equal(config_read(PORT, PCI_PREF_MEMORY_BASE, 4), 0x00110011);
	assert_int_equal(read32(UINT64_C(0x2000104000)), 0);
	config_write(PORT, PCI_PREF_LIMIT_UPPER32, 0x1f, 4);
	assert_int_equal(read32(UINT64_C(0x2000104000)), UINT32_MAX);

	config_write(PORT, PCI_IO_BASE, 0xe0e0, 2);
	config_write(BEHIND, PCI_BASE_ADDRESS_1, 0xeff8, 4);
	assert_int_equal(io_space_read(&f.ports, 0xeff8, 4), 0);
	config_write(BEHIND, PCI_BASE_ADDRESS_1, 0xf000, 4);
	assert_int_equal(io_space_read(&f.ports, 0xf000, 4), UINT32_MAX);
	config_write(PORT, PCI_IO_LIMIT, 0xf0, 1);
	assert_int_equal(io_space_read(&f.ports, 0xf000, 4), 0);
}

/* --- what comes up --- */

static void enable_msix(void)
{
	uint32_t table = bar(4);

	enable();
	write32(table, 0xfee00000);
	write32(table + 4, 0);
	write32(table + 8, 0x41);
	write32(table + 12, 0);
	config_write(BEHIND, capability_of(BEHIND, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS,
		PCI_MSIX_FLAGS_ENABLE, 2);
}

static void port_must_be_master(void **state)
{
	uint32_t value = 0;

	enable_msix();
	write32(registers + PCI_TESTDEV_ADDRESS, 0x6000);
	set_commands(PCI_COMMAND_MEMORY, ALL_ON);
	write32(registers + PCI_TESTDEV_DMA, 0x12345678);
	assert_int_equal(read32(registers + PCI_TESTDEV_DMA), 0);
	write32(registers + PCI_TESTDEV_NOTIFY, 0);
	assert_int_equal(take_messages(), 0);
	set_commands(ALL_ON, ALL_ON);
	assert_int_equal(take_messages(), 1); /* what was pending */
	write32(registers + PCI_TESTDEV_DMA, 0x12345678);
	assert_int_equal(memory_read(&f.memory, 0x6000, &value, 4), 0);
	assert_int_equal(value, 0x12345678);
	/* And so must the function. */
	set_commands(ALL_ON, PCI_COMMAND_MEMORY);
	write32(registers + PCI_TESTDEV_DMA, 1);
	assert_int_equal(read32(registers + PCI_TESTDEV_DMA), 0);
}

static void pin_is_the_ports(void **state)
{
	enable();
	/* What disables the port's own pin does not disable that of others. */
	set_commands(PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE, ALL_ON);
	write32(registers + PCI_TESTDEV_PIN, 1);
	assert_true(f.level[GSI]);
	set_bridge_control(PCI_BRIDGE_CTL_BUS_RESET);
	assert_false(f.level[GSI]);
}

/* --- resets --- */

static void secondary_bus_reset(void **state)
{
	enable_msix();
	write32(registers, 5);
	set_bridge_control(PCI_BRIDGE_CTL_BUS_RESET);
	assert_false(is_there());
	config_write(BEHIND, PCI_COMMAND, ALL_ON, 2); /* nobody hears it */
	assert_int_equal(read32(registers), UINT32_MAX);
	set_bridge_control(PCI_BRIDGE_CTL_BUS_RESET);
	set_bridge_control(0);
	assert_true(is_there());
	assert_int_equal(config_read(BEHIND, PCI_COMMAND, 2), 0);
	assert_int_equal(config_read(BEHIND, PCI_BASE_ADDRESS_0, 4), 0);
	config_write(BEHIND, PCI_BASE_ADDRESS_0, registers, 4);
	enable();
	assert_int_equal(read32(registers), 0);
	assert_int_equal(read32(registers + PCI_TESTDEV_RESETS), 1);
	/* The port itself is as it was. */
	assert_int_equal(config_read(PORT, PCI_SECONDARY_BUS, 2), 0x0101);
}

/* What is behind the port has more than one function: all of them are reset. */
static void reset_of_all_functions(void **state)
{
	unsigned second = 3 << 12;
	uint32_t its_registers;

	assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_FUNCTION_OF(PORT, 3)), 0);
	device_list_firmware_setup(&f.devices);
	assert_int_equal(config_read(BEHIND, PCI_HEADER_TYPE, 1), 0x80);
	assert_int_equal(config_read(BEHIND, second + PCI_HEADER_TYPE, 1), 0x80);
	assert_int_equal(config_read(PORT, PCI_HEADER_TYPE, 1), PCI_HEADER_TYPE_BRIDGE);
	its_registers = config_read(BEHIND, second + PCI_BASE_ADDRESS_0, 4);
	enable();
	config_write(BEHIND, second + PCI_COMMAND, ALL_ON, 2);
	write32(registers, 5);
	write32(its_registers, 6);
	assert_int_equal(read32(registers), 5);
	assert_int_equal(read32(its_registers), 6);
	set_bridge_control(PCI_BRIDGE_CTL_BUS_RESET);
	set_bridge_control(0);
	assert_int_equal(config_read(BEHIND, second + PCI_COMMAND, 2), 0);
	config_write(BEHIND, second + PCI_BASE_ADDRESS_0, its_registers, 4);
	config_write(BEHIND, second + PCI_COMMAND, ALL_ON, 2);
	assert_int_equal(read32(its_registers), 0);
	assert_int_equal(read32(its_registers + PCI_TESTDEV_RESETS), 1);
	config_write(BEHIND, PCI_BASE_ADDRESS_0, registers, 4);
	enable();
	assert_int_equal(read32(registers + PCI_TESTDEV_RESETS), 1);
}

static void disabled_link_is_a_reset(void **state)
{
	unsigned control = capability_of(PORT, PCI_CAP_ID_EXP) + PCI_EXP_LNKCTL;

	enable();
	config_write(PORT, control, PCI_EXP_LNKCTL_LD, 2);
	assert_false(is_there());
	/* One reset, however many reasons there are for it. */
	set_bridge_control(PCI_BRIDGE_CTL_BUS_RESET);
	config_write(PORT, control, 0, 2);
	assert_false(is_there());
	set_bridge_control(0);
	assert_true(is_there());
	config_write(BEHIND, PCI_BASE_ADDRESS_0, registers, 4);
	enable();
	assert_int_equal(read32(registers + PCI_TESTDEV_RESETS), 1);
}

/* The port keeps its registers, and what is behind it its state. */
static void port_sleeps(void **state)
{
	unsigned control = capability_of(PORT, PCI_CAP_ID_PM) + PCI_PM_CTRL;

	enable();
	write32(registers, 5);
	assert_true(config_read(PORT, control, 2) & PCI_PM_CTRL_NO_SOFT_RESET);
	config_write(PORT, control, 3, 2);
	assert_false(is_there());
	assert_int_equal(read32(registers), UINT32_MAX);
	config_write(PORT, control, 0, 2);
	assert_true(is_there());
	assert_int_equal(read32(registers), 5);
	assert_int_equal(read32(registers + PCI_TESTDEV_RESETS), 0);
}

static void machine_reset(void **state)
{
	enable();
	set_bridge_control(PCI_BRIDGE_CTL_BUS_RESET);
	device_list_reset(&f.devices);
	io_space_write(&f.ports, 0xcf8, 0x80000060, 4); /* configuration space is mapped again */
	io_space_write(&f.ports, 0xcfc, PCI_ECAM_BASE | 1, 4);
	assert_int_equal(config_read(PORT, PCI_PRIMARY_BUS, 4), 0);
	assert_int_equal(config_read(PORT, PCI_BRIDGE_CONTROL, 2), 0);
	assert_false(is_there());
	device_list_firmware_setup(&f.devices);
	assert_true(is_there());
	enable();
	assert_int_equal(read32(registers), 0);
}

/* --- saved state --- */

static int load(const struct state_writer *saved)
{
	struct state_reader reader = {saved->bytes, saved->size};

	return device_list_load(&f.devices, &reader);
}

static void loaded_port_is_where_it_was(void **state)
{
	struct state_writer saved = {0}, again = {0};

	enable_msix();
	write32(registers, 0xabcd);
	config_write(PORT, PCI_SECONDARY_BUS, 0x0909, 2);
	device_list_save(&f.devices, &saved);
	teardown(NULL);
	setup(NULL);
	assert_int_equal(load(&saved), 0);
	device_list_save(&f.devices, &again);
	assert_int_equal(again.size, saved.size);
	assert_memory_equal(again.bytes, saved.bytes, saved.size);
	assert_int_equal(config_read(BUS(9), 0, 2), PCI_TESTDEV_VENDOR);
	assert_int_equal(read32(registers), 0xabcd);
	write32(registers + PCI_TESTDEV_NOTIFY, 0);
	assert_int_equal(take_messages(), 1);
	free(saved.bytes);
	free(again.bytes);
}

/* A machine of another shape, with the function on bus 0. */
static void state_of_another_place_is_refused(void **state)
{
	struct state_writer saved = {0};

	device_list_save(&f.devices, &saved);
	fixture_teardown();
	fixture_setup();
	create();
	assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_ANY_SLOT), 0);
	assert_int_equal(load(&saved), -EINVAL);
	free(saved.bytes);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(port_is_a_bridge),
		T(bus_number_leads_to_it),
		T(of_two_ports_the_first_leads),
		T(slots_run_out),
		T(firmware_gives_windows),
		T(each_kind_needs_the_ports_permission),
		T(bars_are_within_windows),
		T(port_must_be_master),
		T(pin_is_the_ports),
		T(secondary_bus_reset),
		T(reset_of_all_functions),
		T(disabled_link_is_a_reset),
		T(port_sleeps),
		T(machine_reset),
		T(loaded_port_is_where_it_was),
		T(state_of_another_place_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
