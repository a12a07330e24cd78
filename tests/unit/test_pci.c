/* The PCI bus as a guest sees it, with a function that is made for tests (device/pci_testdev.h). */
#include "device/pci_testdev.h"
#include "pci_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define SLOT 1
#define GSI  (SLOT % PCI_INTX_GSIS) /* the fixture's number of the line */

/* Where tests put the BARs. */
#define REGISTERS UINT64_C(0xd0000000)
#define HIGH      UINT64_C(0x2000000000)
#define TABLE     UINT64_C(0xd0100000)
#define PORTS     UINT64_C(0xd000)
#define PENDING   0x800

static void add_testdev(void)
{
	assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_ANY_SLOT), 0);
}

static int setup(void **state)
{
	fixture_setup();
	create();
	add_testdev();
	device_list_firmware_setup(&f.devices);
	atomic_store(&messages, 0);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

/* --- the guest's accesses --- */

static unsigned find_capability(uint8_t id)
{
	unsigned at = config_read(SLOT, PCI_CAPABILITY_LIST, 1);

	for (unsigned i = 0; at && i < 48; i++, at = config_read(SLOT, at + 1, 1))
		if (config_read(SLOT, at, 1) == id)
			return at;
	fail_msg("no capability %u", id);
	return 0;
}

static void set_command(uint16_t value)
{
	config_write(SLOT, PCI_COMMAND, value, 2);
}

#define ALL_ON (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

static void place_bars(void)
{
	config_write(SLOT, PCI_BASE_ADDRESS_0, REGISTERS, 4);
	config_write(SLOT, PCI_BASE_ADDRESS_1, PORTS, 4);
	config_write(SLOT, PCI_BASE_ADDRESS_2, (uint32_t)HIGH, 4);
	config_write(SLOT, PCI_BASE_ADDRESS_3, HIGH >> 32, 4);
	config_write(SLOT, PCI_BASE_ADDRESS_4, TABLE, 4);
	set_command(ALL_ON);
}

static void set_msix(uint16_t flags)
{
	config_write(SLOT, find_capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, flags, 2);
}

static void set_vector(unsigned vector, uint32_t address, uint32_t data, bool masked)
{
	uint64_t entry = TABLE + 16 * vector;

	write32(entry, address);
	write32(entry + 4, 0);
	write32(entry + 8, data);
	write32(entry + 12, masked);
}

static void notify(unsigned vector)
{
	write32(REGISTERS + PCI_TESTDEV_NOTIFY, vector);
}

/* --- configuration space --- */

static void functions_are_found(void **state)
{
	assert_int_equal(config_read(0, 0, 4), 0x29c08086);
	assert_int_equal(config_read(0, PCI_CLASS_REVISION, 4) >> 8, 0x060000);
	assert_int_equal(config_read(SLOT, 0, 4), PCI_TESTDEV_DEVICE << 16 | PCI_TESTDEV_VENDOR);
	assert_int_equal(config_read(2, 0, 4), UINT32_MAX);
	assert_int_equal(read32(ecam(SLOT, 0) + (1 << 12)), UINT32_MAX); /* function 1 */
	assert_int_equal(read32(ecam(SLOT, 0) + (1 << 20)), UINT32_MAX); /* bus 1 */
	config_write(2, 0, 0, 4);
	assert_int_equal(config_read(SLOT, 0x100, 4), 0); /* no extended capability */
}

static void devices_have_functions(void **state)
{
	unsigned fifth = 5 << 12;

	assert_int_equal(config_read(SLOT, PCI_HEADER_TYPE, 1), 0);
	assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_FUNCTION_OF(SLOT, 5)), 0);
	assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_FUNCTION_OF(SLOT, 2)), 0);
	assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_FUNCTION_OF(SLOT, 5)), -EEXIST);
	assert_int_equal(
		pci_testdev_create(bus, &f.devices, PCI_FUNCTION_OF(SLOT + 1, 2)), -ENOENT);
	for (unsigned i = 0; i < PCI_FUNCTIONS; i++) {
		bool there = i == 0 || i == 2 || i == 5;

		assert_int_equal(
			config_read(SLOT, i << 12, 2), there ? PCI_TESTDEV_VENDOR : 0xffff);
		assert_int_equal(
			config_read(SLOT, i << 12 | PCI_HEADER_TYPE, 1), there ? 0x80 : 0xff);
	}
	io_space_write(&f.ports, 0xcf8, 0x80000000 | SLOT << 11 | 5 << 8, 4);
	assert_int_equal(io_space_read(&f.ports, 0xcfc, 2), PCI_TESTDEV_VENDOR);
	device_list_firmware_setup(&f.devices);
	config_write(SLOT, fifth + PCI_COMMAND, ALL_ON, 2);
	write32(config_read(SLOT, fifth + PCI_BASE_ADDRESS_0, 4), 7);
	assert_int_equal(read32(config_read(SLOT, fifth + PCI_BASE_ADDRESS_0, 4)), 7);
	/* The others sleep on. */
	assert_int_equal(config_read(SLOT, PCI_COMMAND, 2), 0);
	assert_int_equal(config_read(SLOT, 2 << 12 | PCI_COMMAND, 2), 0);
}

static void ports_and_memory_are_one(void **state)
{
	for (unsigned offset = 0; offset < PCI_CONFIG_SIZE; offset += 4) {
		io_space_write(&f.ports, 0xcf8, 0x80000000 | SLOT << 11 | offset, 4);
		assert_int_equal(io_space_read(&f.ports, 0xcfc, 4), config_read(SLOT, offset, 4));
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(io_space_read(&f.ports, 0xcfc + i, 1),
				config_read(SLOT, offset + i, 1));
		assert_int_equal(
			io_space_read(&f.ports, 0xcfe, 2), config_read(SLOT, offset + 2, 2));
	}
	io_space_write(&f.ports, 0xcf8, 0x80000000 | SLOT << 11 | PCI_CACHE_LINE_SIZE, 4);
	io_space_write(&f.ports, 0xcfc, 0x10, 1);
	assert_int_equal(config_read(SLOT, PCI_CACHE_LINE_SIZE, 1), 0x10);
	/* A register's whole number, as some software writes it. */
	io_space_write(&f.ports, 0xcf8, 0x80000000 | SLOT << 11 | PCI_DEVICE_ID, 4);
	assert_int_equal(io_space_read(&f.ports, 0xcfc, 2), PCI_TESTDEV_DEVICE);
	assert_int_equal(io_space_read(&f.ports, 0xcfc, 1), PCI_TESTDEV_DEVICE & 0xff);
	io_space_write(&f.ports, 0xcf8, 0x80000000 | SLOT << 11 | PCI_CACHE_LINE_SIZE, 4);
	/* The address register takes whole doublewords only, and needs its top bit. */
	io_space_write(&f.ports, 0xcf8, 0, 1);
	assert_int_equal(
		io_space_read(&f.ports, 0xcf8, 4), 0x80000000 | SLOT << 11 | PCI_CACHE_LINE_SIZE);
	io_space_write(&f.ports, 0xcf8, SLOT << 11, 4);
	assert_int_equal(io_space_read(&f.ports, 0xcfc, 4), UINT32_MAX);
}

static void functions_answer_as_after_a_bios(void **state)
{
	uint32_t bar;

	device_list_firmware_setup(&f.devices);
	pci_enable_decoding(bus);
	assert_int_equal(config_read(SLOT, PCI_COMMAND, 2) & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY),
		PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	bar = config_read(SLOT, PCI_BASE_ADDRESS_0, 4);
	write32(bar, 7);
	assert_int_equal(read32(bar), 7);
}

static void what_is_not_writable_stays(void **state)
{
	static const unsigned fixed[] = {PCI_VENDOR_ID, PCI_CLASS_REVISION, PCI_BASE_ADDRESS_5,
		PCI_SUBSYSTEM_VENDOR_ID, PCI_ROM_ADDRESS, PCI_CAPABILITY_LIST};

	for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++) {
		uint32_t before = config_read(SLOT, fixed[i], 4);

		config_write(SLOT, fixed[i], ~before, 4);
		assert_int_equal(config_read(SLOT, fixed[i], 4), before);
	}
	/* An access across doublewords reaches nothing. */
	assert_int_equal(config_read(SLOT, 2, 4), UINT32_MAX);
	config_write(SLOT, PCI_CACHE_LINE_SIZE - 1, 0x10100000, 4);
	assert_int_equal(config_read(SLOT, PCI_CACHE_LINE_SIZE, 1), 0);
}

static void capabilities_are_a_list(void **state)
{
	unsigned express = find_capability(PCI_CAP_ID_EXP), pm = find_capability(PCI_CAP_ID_PM);

	assert_true(config_read(SLOT, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
	assert_int_equal(config_read(SLOT, express + PCI_EXP_FLAGS, 2), 0x92);
	assert_true(config_read(SLOT, express + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR);
	assert_int_equal(config_read(SLOT, pm + PCI_PM_PMC, 2) & PCI_PM_CAP_VER_MASK, 3);
	assert_int_equal(config_read(SLOT, find_capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2),
		PCI_TESTDEV_VECTORS - 1);
	/* The host bridge has none. */
	assert_int_equal(config_read(0, PCI_CAPABILITY_LIST, 1), 0);
}

/* --- a function with capabilities of its own --- */

static struct {
	struct device device;
	uint64_t state;
	struct pci_function function;
	unsigned capability, reads, writes, offset, size;
} own;

static void own_read(void *opaque, unsigned offset, unsigned size)
{
	own.reads++;
	own.function.state.config[own.capability + 4] = 0x5a;
}

static void own_written(void *opaque, unsigned offset, unsigned size)
{
	own.writes++;
	own.offset = offset;
	own.size = size;
}

static void capability_of_the_device(void **state)
{
	static const uint8_t bytes[8] = {PCI_CAP_ID_VNDR, 0, 8}, writable[8] = {[6] = 0xf0};
	static const struct pci_description description = {
		.name = "own",
		.vendor = 0x1234,
		.capability_read = own_read,
		.capability_written = own_written,
	};
	uint8_t large[200] = {PCI_CAP_ID_VNDR};

	memset(&own, 0, sizeof(own));
	assert_int_equal(pci_add(bus, &own.function, 5, &description), 0);
	assert_int_equal(pci_add(bus, &own.function, 5, &description), -EEXIST);
	own.capability = pci_add_capability(&own.function, bytes, writable, sizeof(bytes));
	assert_int_not_equal(own.capability, 0);
	assert_int_equal(pci_add_capability(&own.function, large, NULL, sizeof(large)), 0);
	assert_int_equal(config_read(5, own.capability, 4) & 0xff00ff, 8 << 16 | PCI_CAP_ID_VNDR);
	assert_int_equal(own.reads, 1);
	assert_int_equal(config_read(5, own.capability + 4, 1), 0x5a);
	config_write(5, own.capability + 6, 0xff, 1);
	assert_int_equal(own.writes, 1);
	assert_int_equal(own.offset, own.capability + 6);
	assert_int_equal(own.size, 1);
	assert_int_equal(config_read(5, own.capability + 6, 1), 0xf0);
	own.reads = 0;
	config_write(5, PCI_COMMAND, 0, 2);
	config_read(5, own.capability - 4, 4);
	config_read(5, 0, 4);
	assert_int_equal(own.writes, 1);
	assert_int_equal(own.reads, 0);
}

static void descriptions_that_cannot_be(void **state)
{
	static const struct io_ops ops = {0};
	const struct pci_description bad[] = {
		{.name = "a", .bar = {{.kind = PCI_BAR_IO, .size = 6, .ops = &ops}}},
		{.name = "b", .bar = {{.kind = PCI_BAR_MEMORY32, .size = 8, .ops = &ops}}},
		{.name = "c", .bar = {[5] = {.kind = PCI_BAR_MEMORY64, .size = 16, .ops = &ops}}},
		{.name = "d", .msix_vectors = PCI_MSIX_VECTORS + 1},
		{.name = "e", .msix_vectors = 1, .msix_bar = 6},
		{.name = "f",
			.msix_vectors = 1,
			.bar = {{.kind = PCI_BAR_MEMORY32, .size = 16, .ops = &ops}}},
	};
	const struct pci_description good = {.name = "good"};
	static struct pci_function functions[PCI_SLOTS];

	memset(functions, 0, sizeof(functions));
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(pci_add(bus, &functions[0], -1, &bad[i]), -EINVAL);
	for (unsigned slot = 2; slot < PCI_SLOTS; slot++)
		assert_int_equal(pci_add(bus, &functions[slot], -1, &good), 0);
	assert_int_equal(pci_add(bus, &functions[0], -1, &good), -ENOSPC);
	assert_int_equal(config_read(31, 0, 4), 0);
}

/* --- BARs --- */

static void bars_tell_their_size(void **state)
{
	static const struct {
		unsigned offset;
		uint32_t expected;
	} rows[] = {
		{PCI_BASE_ADDRESS_0, 0xfffff000},
		{PCI_BASE_ADDRESS_1, 0xfffffff9},
		{PCI_BASE_ADDRESS_2, 0xffffc00c},
		{PCI_BASE_ADDRESS_3, 0xffffffff},
		{PCI_BASE_ADDRESS_4, 0xfffff000},
		{PCI_BASE_ADDRESS_5, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		config_write(SLOT, rows[i].offset, UINT32_MAX, 4);
		assert_int_equal(config_read(SLOT, rows[i].offset, 4), rows[i].expected);
	}
	/* With decoding on, too. */
	set_command(ALL_ON);
	place_bars();
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		config_write(SLOT, rows[i].offset, UINT32_MAX, 4);
}

static void firmware_gives_addresses_and_enables_nothing(void **state)
{
	uint32_t registers = config_read(SLOT, PCI_BASE_ADDRESS_0, 4);
	uint32_t ports = config_read(SLOT, PCI_BASE_ADDRESS_1, 4) & ~3u;

	assert_in_range(registers, PCI_WINDOW_BASE, PCI_WINDOW_BASE + PCI_WINDOW_SIZE - 4096);
	assert_in_range(ports, 0x1000, 0xfff8);
	assert_int_equal(config_read(SLOT, PCI_COMMAND, 2), 0);
	assert_int_equal(config_read(SLOT, PCI_INTERRUPT_LINE, 2), 0x100 | (PCI_INTX_GSI + SLOT));
	assert_int_equal(read32(registers), UINT32_MAX);
	set_command(ALL_ON);
	write32(registers, 0x1234);
	assert_int_equal(read32(registers), 0x1234);
	assert_int_equal(io_space_read(&f.ports, ports, 4), 0x1234);
	/* Each kind has a bit of its own. */
	set_command(PCI_COMMAND_IO);
	assert_int_equal(read32(registers), UINT32_MAX);
	assert_int_equal(io_space_read(&f.ports, ports, 4), 0x1234);
}

static void bars_move(void **state)
{
	place_bars();
	write32(REGISTERS, 0x77);
	assert_int_equal(read32(HIGH), 0x77);
	assert_int_equal(read32(HIGH + 16380), 0x77);
	config_write(SLOT, PCI_BASE_ADDRESS_0, REGISTERS + 0x5000, 4);
	assert_int_equal(read32(REGISTERS), UINT32_MAX);
	assert_int_equal(read32(REGISTERS + 0x5000), 0x77);
	/* The doorbell goes with it. */
	write32(REGISTERS + PCI_TESTDEV_DOORBELL, 1);
	assert_int_equal(read32(REGISTERS + 0x5000 + PCI_TESTDEV_RINGS), 0);
	write32(REGISTERS + 0x5000 + PCI_TESTDEV_DOORBELL + 4, 0x99);
	assert_int_equal(read32(REGISTERS + 0x5000 + PCI_TESTDEV_RINGS), 1);
	assert_int_equal(read32(REGISTERS + 0x5000 + PCI_TESTDEV_RUNG), 4 << 16 | 0x99);
	/* One half after the other. */
	config_write(SLOT, PCI_BASE_ADDRESS_3, 0x33, 4);
	assert_int_equal(read32(HIGH), UINT32_MAX);
	assert_int_equal(read32(0x3300000000), 0x77);
	config_write(SLOT, PCI_BASE_ADDRESS_3, 0, 4);
	config_write(SLOT, PCI_BASE_ADDRESS_2, 0xd8000000, 4);
	assert_int_equal(read32(0xd8000000), 0x77);
}

static bool registers_at(uint32_t address)
{
	config_write(SLOT, PCI_BASE_ADDRESS_0, address, 4);
	return read32(address + PCI_TESTDEV_RESETS) == 0;
}

/* Addresses that are something else's: the BAR is nowhere, and what was there still is. */
static void bar_over_something_else(void **state)
{
	uint8_t byte = 0x42, seen;
	unsigned regions;

	place_bars();
	assert_true(registers_at(REGISTERS));
	regions = f.memory.mmio.count;
	assert_int_equal(memory_write(&f.memory, 0x5000, &byte, 1), 0);
	registers_at(0x5000); /* RAM */
	assert_int_equal(f.memory.mmio.count, regions - 1);
	assert_int_equal(memory_read(&f.memory, 0x5000, &seen, 1), 0);
	assert_int_equal(seen, 0x42);
	config_write(SLOT, PCI_BASE_ADDRESS_0, (uint32_t)PCI_ECAM_BASE, 4);
	assert_int_equal(f.memory.mmio.count, regions - 1);
	assert_int_equal(config_read(0, 0, 4), 0x29c08086);
	config_write(SLOT, PCI_BASE_ADDRESS_0, TABLE, 4); /* the function's own other BAR */
	assert_int_equal(f.memory.mmio.count, regions - 1);
	config_write(SLOT, PCI_BASE_ADDRESS_0, 0, 4);
	assert_int_equal(f.memory.mmio.count, regions - 1);
	assert_true(registers_at(REGISTERS));
	assert_int_equal(f.memory.mmio.count, regions);
	/* Half over RAM's end, in 64 bits. */
	config_write(SLOT, PCI_BASE_ADDRESS_3, 0, 4);
	config_write(SLOT, PCI_BASE_ADDRESS_2, 16 * MIB - 16384, 4);
	assert_int_equal(f.memory.mmio.count, regions - 1);
	config_write(SLOT, PCI_BASE_ADDRESS_2, 16 * MIB, 4);
	assert_int_equal(f.memory.mmio.count, regions);
	/* Ports that do not exist. */
	regions = f.ports.count;
	config_write(SLOT, PCI_BASE_ADDRESS_1, 0xfff8, 4);
	assert_int_equal(f.ports.count, regions);
	config_write(SLOT, PCI_BASE_ADDRESS_1, 0x1d000, 4);
	assert_int_equal(f.ports.count, regions - 1);
	config_write(SLOT, PCI_BASE_ADDRESS_1, 0xcf8, 4);
	assert_int_equal(f.ports.count, regions - 1);
	io_space_write(&f.ports, 0xcf8, 0x80000000, 4);
	assert_int_equal(io_space_read(&f.ports, 0xcfc, 4), 0x29c08086);
}

/* Of two that overlap the first function on the bus has the address, whoever came first. */
static void bar_over_another(void **state)
{
	add_testdev();
	place_bars();
	write32(REGISTERS, 1);
	config_write(2, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	config_write(2, PCI_BASE_ADDRESS_0, REGISTERS + 0x1000, 4);
	write32(REGISTERS + 0x1000, 2);
	config_write(2, PCI_BASE_ADDRESS_0, REGISTERS, 4);
	assert_int_equal(read32(REGISTERS), 1);
	assert_int_equal(read32(REGISTERS + 0x1000), UINT32_MAX);
	/* The first goes, and the second is there. */
	config_write(SLOT, PCI_BASE_ADDRESS_0, REGISTERS + 0x3000, 4);
	assert_int_equal(read32(REGISTERS), 2);
	/* It comes back. */
	config_write(SLOT, PCI_BASE_ADDRESS_0, REGISTERS, 4);
	assert_int_equal(read32(REGISTERS), 1);
	set_command(0);
	assert_int_equal(read32(REGISTERS), 2);
}

static void dma_needs_bus_mastering(void **state)
{
	uint32_t value = 0;

	place_bars();
	write32(REGISTERS + PCI_TESTDEV_ADDRESS, 0x6000);
	write32(REGISTERS + PCI_TESTDEV_DMA, 0x12345678);
	assert_int_equal(read32(REGISTERS + PCI_TESTDEV_DMA), 1);
	assert_int_equal(memory_read(&f.memory, 0x6000, &value, 4), 0);
	assert_int_equal(value, 0x12345678);
	set_command(PCI_COMMAND_MEMORY);
	write32(REGISTERS + PCI_TESTDEV_DMA, 1);
	assert_int_equal(read32(REGISTERS + PCI_TESTDEV_DMA), 0);
	set_command(ALL_ON);
	/* To its own registers it cannot write. */
	write32(REGISTERS + PCI_TESTDEV_ADDRESS, REGISTERS);
	write32(REGISTERS + PCI_TESTDEV_DMA, 1);
	assert_int_equal(read32(REGISTERS + PCI_TESTDEV_DMA), 0);
}

/* --- resets --- */

static void function_level_reset(void **state)
{
	unsigned control = find_capability(PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL;
	uint32_t initial = config_read(SLOT, control, 2);

	place_bars();
	set_vector(1, 0xfee00000, 0x41, false);
	set_msix(PCI_MSIX_FLAGS_ENABLE);
	write32(REGISTERS, 5);
	write32(REGISTERS + PCI_TESTDEV_PIN, 1);
	config_write(SLOT, control + 1, PCI_EXP_DEVCTL_BCR_FLR >> 8, 1);
	assert_int_equal(config_read(SLOT, PCI_COMMAND, 2), 0);
	assert_int_equal(config_read(SLOT, PCI_BASE_ADDRESS_0, 4), 0);
	assert_int_equal(config_read(SLOT, control, 2), initial);
	assert_int_equal(config_read(SLOT, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	assert_int_equal(read32(REGISTERS), UINT32_MAX);
	place_bars();
	assert_int_equal(read32(REGISTERS), 0);
	assert_int_equal(read32(REGISTERS + PCI_TESTDEV_RESETS), 1);
	assert_int_equal(read32(TABLE + 16), 0);
	assert_int_equal(read32(TABLE + 16 + 12), 1);
	/* By a doubleword, too; and not without the bit. */
	config_write(SLOT, control, initial | PCI_EXP_DEVCTL_BCR_FLR, 4);
	place_bars();
	config_write(SLOT, control, initial, 2);
	assert_int_equal(read32(REGISTERS + PCI_TESTDEV_RESETS), 2);
}

static void power_states(void **state)
{
	unsigned control = find_capability(PCI_CAP_ID_PM) + PCI_PM_CTRL;

	place_bars();
	write32(REGISTERS + PCI_TESTDEV_PIN, 1);
	assert_true(f.level[GSI]);
	for (unsigned absent = 1; absent <= 2; absent++) {
		config_write(SLOT, control, absent, 2);
		assert_int_equal(config_read(SLOT, control, 2), 0);
	}
	assert_int_equal(read32(REGISTERS + PCI_TESTDEV_RESETS), 0);
	config_write(SLOT, control, 3, 2);
	assert_int_equal(config_read(SLOT, control, 2), 3);
	assert_int_equal(read32(REGISTERS), UINT32_MAX);
	assert_false(f.level[GSI]);
	assert_int_equal(config_read(SLOT, PCI_COMMAND, 2), ALL_ON);
	config_write(SLOT, control, 1, 2);
	assert_int_equal(config_read(SLOT, control, 2), 3);
	config_write(SLOT, control, 0, 2);
	assert_int_equal(config_read(SLOT, PCI_COMMAND, 2), 0);
	place_bars();
	assert_int_equal(read32(REGISTERS + PCI_TESTDEV_RESETS), 1);
	assert_false(f.level[GSI]);
}

/* Firmware puts configuration space where it likes, but not over something else. */
static void configuration_space_moves(void **state)
{
	uint64_t moved = UINT64_C(0xb0000000) + (SLOT << 15);

	assert_int_equal(pci_ecam_base(bus), PCI_ECAM_BASE);
	config_write(0, 0x60, 0xb0000001, 4);
	assert_int_equal(pci_ecam_base(bus), 0xb0000000);
	assert_int_equal(config_read(SLOT, 0, 4), UINT32_MAX);
	assert_int_equal(read32(moved), PCI_TESTDEV_DEVICE << 16 | PCI_TESTDEV_VENDOR);
	write32(UINT64_C(0xb0000060), 0xb0000000); /* off */
	assert_int_equal(pci_ecam_base(bus), 0);
	assert_int_equal(read32(moved), UINT32_MAX);
	device_list_firmware_setup(&f.devices);
	place_bars();
	config_write(0, 0x60, (REGISTERS & 0xf0000000) | 1, 4);
	assert_int_equal(pci_ecam_base(bus), 0);
	assert_int_equal(read32(REGISTERS + PCI_TESTDEV_RESETS), 0);
}

/* Of the ROM at 0xf0000 there is RAM where firmware wants it. */
static void shadow_ram(void **state)
{
	static uint8_t image[PCI_SHADOW_SIZE];
	uint8_t *f000 = f.memory.ram + 0xf0000, *c000 = f.memory.ram + 0xc0000;
	uint64_t page = 0xf0000 >> PAGE_SHIFT;

	memset(image, 'r', sizeof(image));
	for (unsigned pam = 0x90; pam <= 0x96; pam++)
		config_write(0, pam, 0, 1);
	pci_show_rom(bus, image);
	assert_int_equal(f000[5], 'r');
	assert_false(memory_page_writable(&f.memory, page));
	config_write(0, 0x90, 0x30, 1); /* RAM */
	assert_int_equal(f000[5], 0);
	assert_int_equal(c000[5], 'r');
	assert_true(memory_page_writable(&f.memory, page));
	f000[5] = 'a';
	config_write(0, 0x90, 0x10, 1); /* guarded */
	assert_int_equal(f000[5], 'a');
	assert_false(memory_page_writable(&f.memory, page));
	config_write(0, 0x90, 0x00, 1); /* the ROM, and RAM is as it was */
	assert_int_equal(f000[5], 'r');
	config_write(0, 0x90, 0x10, 1);
	assert_int_equal(f000[5], 'a');
	config_write(0, 0x91, 0x02, 1); /* ROM is copied to the RAM below it */
	assert_int_equal(c000[5], 'r');
	assert_true(memory_page_writable(&f.memory, 0xc0000 >> PAGE_SHIFT));
	assert_false(memory_page_writable(&f.memory, 0xc4000 >> PAGE_SHIFT));
	config_write(0, 0x91, 0x01, 1);
	assert_int_equal(c000[5], 'r');
	assert_false(memory_page_writable(&f.memory, 0xc0000 >> PAGE_SHIFT));
	config_write(0, 0x90, 0, 1);
	pci_show_rom(bus, image); /* power-up */
	config_write(0, 0x90, 0x30, 1);
	assert_int_equal(f000[5], 0);
}

static void machine_reset(void **state)
{
	place_bars();
	set_vector(0, 0xfee00000, 0x41, false);
	set_msix(PCI_MSIX_FLAGS_ENABLE);
	io_space_write(&f.ports, 0xcf8, 0x80000800, 4);
	device_list_reset(&f.devices);
	assert_int_equal(io_space_read(&f.ports, 0xcf8, 4), 0);
	assert_int_equal(config_read(SLOT, PCI_COMMAND, 2), 0xffff); /* it is not mapped */
	device_list_firmware_setup(&f.devices);
	assert_int_equal(config_read(SLOT, PCI_COMMAND, 2), 0);
	place_bars();
	assert_int_equal(read32(TABLE + 12), 1);
	assert_int_equal(read32(REGISTERS + PCI_TESTDEV_RESETS), 0); /* it was a machine's */
}

/* --- interrupts --- */

static void msix_sends_what_the_table_says(void **state)
{
	place_bars();
	notify(2);
	assert_int_equal(take_messages(), 0); /* MSI-X is off */
	set_vector(2, 0xfee01008, 0x4123, false);
	set_msix(PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(take_messages(), 0);
	notify(2);
	assert_int_equal(take_messages(), 1);
	assert_true(last.address == 0xfee01008);
	assert_int_equal(last.data, 0x4123);
	notify(PCI_TESTDEV_VECTORS); /* there is none */
	notify(UINT32_MAX);
	assert_int_equal(take_messages(), 0);
	/* A write above 4 GiB is none to a local APIC. */
	write32(TABLE + 2 * 16 + 4, 1);
	notify(2);
	assert_true(last.address != 0xfee01008);
}

static void masked_vectors_are_pending(void **state)
{
	place_bars();
	set_msix(PCI_MSIX_FLAGS_ENABLE);
	for (unsigned i = 0; i < PCI_TESTDEV_VECTORS; i++)
		set_vector(i, 0xfee00000, 0x40 + i, i % 2);
	for (unsigned i = 0; i < PCI_TESTDEV_VECTORS; i++)
		notify(i);
	notify(1);
	assert_int_equal(take_messages(), 2);
	assert_int_equal(read32(TABLE + PENDING), 0xa);
	write32(TABLE + 16 + 12, 0);
	assert_int_equal(take_messages(), 1); /* two that waited are one */
	assert_int_equal(last.data, 0x41);
	assert_int_equal(read32(TABLE + PENDING), 8);
	/* Pending bits cannot be written. */
	write32(TABLE + PENDING, 0xf);
	assert_int_equal(read32(TABLE + PENDING), 8);

	/* The function's mask is over all; it does not open what is masked by itself. */
	set_msix(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	notify(0);
	notify(2);
	assert_int_equal(take_messages(), 0);
	assert_int_equal(read32(TABLE + PENDING), 0xd);
	set_msix(PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(take_messages(), 2);
	assert_int_equal(read32(TABLE + PENDING), 8);

	/* A message is a write to memory. */
	set_command(PCI_COMMAND_MEMORY);
	notify(0);
	assert_int_equal(take_messages(), 0);
	set_command(ALL_ON);
	assert_int_equal(take_messages(), 1);

	/* Off is off. */
	set_msix(0);
	assert_int_equal(read32(TABLE + PENDING), 0);
	write32(TABLE + 3 * 16 + 12, 0);
	set_msix(PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(take_messages(), 0);
}

static void table_takes_whole_doublewords(void **state)
{
	place_bars();
	io_space_write(&f.memory.mmio, TABLE, UINT64_C(0x00000001fee00ffc), 8);
	assert_int_equal(read32(TABLE), 0xfee00ffc);
	assert_true(io_space_read(&f.memory.mmio, TABLE, 8) == UINT64_C(0x1fee00ffc));
	io_space_write(&f.memory.mmio, TABLE, 0, 1);
	io_space_write(&f.memory.mmio, TABLE + 2, 0, 4);
	assert_int_equal(read32(TABLE), 0xfee00ffc);
	write32(TABLE, 0xffffffff);
	assert_int_equal(read32(TABLE), 0xfffffffc);
	write32(TABLE + 12, 0xffffffff);
	assert_int_equal(read32(TABLE + 12), 1);
	/* Behind the last entry is nothing. */
	write32(TABLE + PCI_TESTDEV_VECTORS * 16, 1);
	assert_int_equal(read32(TABLE + PCI_TESTDEV_VECTORS * 16), 0);
	assert_int_equal(read32(TABLE + 4092), 0);
}

static void msi_has_one_vector(void **state)
{
	unsigned msi = find_capability(PCI_CAP_ID_MSI);

	place_bars();
	config_write(SLOT, msi + PCI_MSI_ADDRESS_LO, 0xfee02000, 4);
	config_write(SLOT, msi + PCI_MSI_DATA_64, 0x55, 2);
	config_write(SLOT, msi + PCI_MSI_FLAGS, 0xffff, 2);
	assert_int_equal(config_read(SLOT, msi + PCI_MSI_FLAGS, 2),
		PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_ENABLE);
	notify(0);
	notify(1);
	assert_int_equal(take_messages(), 1);
	assert_true(last.address == 0xfee02000);
	assert_int_equal(last.data, 0x55);
}

static void pin_is_a_level(void **state)
{
	place_bars();
	write32(REGISTERS + PCI_TESTDEV_PIN, 1);
	assert_true(f.level[GSI]);
	assert_true(config_read(SLOT, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	set_command(ALL_ON | PCI_COMMAND_INTX_DISABLE);
	assert_false(f.level[GSI]);
	assert_true(config_read(SLOT, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	set_command(ALL_ON);
	assert_true(f.level[GSI]);
	set_msix(PCI_MSIX_FLAGS_ENABLE);
	assert_false(f.level[GSI]);
	set_msix(0);
	assert_true(f.level[GSI]);
	write32(REGISTERS + PCI_TESTDEV_PIN, 0);
	assert_false(f.level[GSI]);
	assert_false(config_read(SLOT, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
}

/* A device signals while the guest unmasks: whatever the two do at once, one message comes. */
static struct pci_function *signalling;
static atomic_uint round_begun, round_done;
#define ROUNDS 20000

static void wait_until(atomic_uint *counter, unsigned value)
{
	for (unsigned i = 0; atomic_load(counter) != value; i++)
		if (i > 2000)
			sched_yield();
}

static void *signal_each_round(void *unused)
{
	for (unsigned i = 1; i <= ROUNDS; i++) {
		wait_until(&round_begun, i);
		pci_notify(signalling, 0);
		atomic_store(&round_done, i);
	}
	return NULL;
}

static void no_signal_is_lost(void **state)
{
	static const struct pci_description description = {
		.name = "signalling", .msix_vectors = 1, .msix_bar = 0};
	static struct pci_function function;
	pthread_t thread;

	memset(&function, 0, sizeof(function));
	assert_int_equal(pci_add(bus, &function, 2, &description), 0);
	signalling = &function;
	atomic_store(&round_begun, 0);
	config_write(2, PCI_BASE_ADDRESS_0, TABLE, 4);
	config_write(2, PCI_COMMAND, ALL_ON, 2);
	config_write(2, function.msix_capability + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
	set_vector(0, 0xfee00000, 0x41, false);

	assert_int_equal(pthread_create(&thread, NULL, signal_each_round, NULL), 0);
	for (unsigned i = 1; i <= ROUNDS; i++) {
		write32(TABLE + 12, 1);
		atomic_store(&round_begun, i);
		/* Another moment each time. */
		for (volatile unsigned wait = 0; wait < i % 150; wait++)
			;
		write32(TABLE + 12, 0);
		wait_until(&round_done, i);
		assert_int_equal(take_messages(), 1);
	}
	pthread_join(thread, NULL);
}

/* --- saved state --- */

static struct state_writer save(void)
{
	struct state_writer writer = {0};

	device_list_save(&f.devices, &writer);
	assert_false(writer.failed);
	return writer;
}

static int load(const struct state_writer *saved)
{
	struct state_reader reader = {saved->bytes, saved->size};

	return device_list_load(&f.devices, &reader);
}

static void loaded_bus_is_where_it_was(void **state)
{
	struct state_writer saved, again;

	place_bars();
	set_vector(0, 0xfee00000, 0x41, false);
	set_vector(1, 0xfee00000, 0x42, true);
	set_msix(PCI_MSIX_FLAGS_ENABLE);
	notify(1);
	write32(REGISTERS, 0xabcd);
	saved = save();

	teardown(NULL);
	setup(NULL);
	assert_int_equal(load(&saved), 0);
	again = save();
	assert_int_equal(again.size, saved.size);
	assert_memory_equal(again.bytes, saved.bytes, saved.size);
	assert_int_equal(read32(REGISTERS), 0xabcd);
	write32(REGISTERS + PCI_TESTDEV_DOORBELL, 1);
	assert_int_equal(read32(REGISTERS + PCI_TESTDEV_RINGS), 1);
	take_messages();
	notify(0);
	assert_int_equal(take_messages(), 1);
	write32(TABLE + 16 + 12, 0);
	assert_int_equal(take_messages(), 1);
	free(saved.bytes);
	free(again.bytes);
}

static void pin_is_driven_after_a_load(void **state)
{
	struct state_writer saved;

	place_bars();
	write32(REGISTERS + PCI_TESTDEV_PIN, 1);
	saved = save();
	teardown(NULL);
	setup(NULL);
	assert_int_equal(load(&saved), 0);
	assert_true(f.level[GSI]);
	free(saved.bytes);
}

static struct pci_function *testdev_function(void)
{
	for (struct device *device = f.devices.first; device; device = device->next)
		if (!strcmp(device->ops->name, "pci-function") && device->instance == SLOT << 3)
			return (struct pci_function *)device;
	fail_msg("no function");
	return NULL;
}

#define refused_with(field, value)                                                                 \
	do {                                                                                       \
		__auto_type good_ = (field);                                                       \
		struct state_writer saved_;                                                        \
                                                                                                   \
		(field) = (value);                                                                 \
		saved_ = save();                                                                   \
		(field) = good_;                                                                   \
		assert_int_equal(load(&saved_), -EINVAL);                                          \
		free(saved_.bytes);                                                                \
	} while (0)

static void states_that_cannot_be(void **state)
{
	struct pci_function_state *function = &testdev_function()->state;
	unsigned power = find_capability(PCI_CAP_ID_PM) + PCI_PM_CTRL;
	struct state_writer good = save();

	refused_with(function->config[PCI_VENDOR_ID], 1);
	refused_with(function->config[PCI_BASE_ADDRESS_0], 1);
	refused_with(function->config[PCI_CAPABILITY_LIST], 0x44);
	refused_with(
		function->config[PCI_STATUS], function->config[PCI_STATUS] | PCI_STATUS_INTERRUPT);
	refused_with(function->config[power], 1);
	refused_with(function->msix[0].address, 2);
	refused_with(function->msix[0].control, 2);
	refused_with(function->msix[PCI_TESTDEV_VECTORS].data, 1);
	refused_with(function->msix[PCI_TESTDEV_VECTORS].control, 0);
	refused_with(function->msix_pending, BIT(PCI_TESTDEV_VECTORS));
	refused_with(function->intx, true);
	assert_int_equal(load(&good), 0);
	free(good.bytes);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(functions_are_found),
		T(devices_have_functions),
		T(ports_and_memory_are_one),
		T(functions_answer_as_after_a_bios),
		T(what_is_not_writable_stays),
		T(capabilities_are_a_list),
		T(capability_of_the_device),
		T(descriptions_that_cannot_be),
		T(bars_tell_their_size),
		T(firmware_gives_addresses_and_enables_nothing),
		T(bars_move),
		T(bar_over_something_else),
		T(bar_over_another),
		T(dma_needs_bus_mastering),
		T(function_level_reset),
		T(power_states),
		T(configuration_space_moves),
		T(shadow_ram),
		T(machine_reset),
		T(msix_sends_what_the_table_says),
		T(masked_vectors_are_pending),
		T(table_takes_whole_doublewords),
		T(msi_has_one_vector),
		T(pin_is_a_level),
		T(no_signal_is_lost),
		T(loaded_bus_is_where_it_was),
		T(pin_is_driven_after_a_load),
		T(states_that_cannot_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
