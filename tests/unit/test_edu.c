/* The edu device, as its specification says (QEMU's docs/specs/edu.txt). */
#include "device/edu.h"

#include "pci_fixture.h"

#include <string.h>

#define SLOT      1
#define REGISTERS UINT64_C(0xd0000000)
#define RAM       0x100000

static int setup(void **state)
{
	fixture_setup();
	create();
	assert_int_equal(edu_create(bus, &f.devices, PCI_ANY_SLOT), 0);
	device_list_firmware_setup(&f.devices);
	config_write(SLOT, PCI_BASE_ADDRESS_0, (uint32_t)REGISTERS, 4);
	config_write(SLOT, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static uint32_t get(unsigned at)
{
	return read32(REGISTERS + at);
}

static void put(unsigned at, uint32_t value)
{
	write32(REGISTERS + at, value);
}

static void put64(unsigned at, uint64_t value)
{
	io_space_write(&f.memory.mmio, REGISTERS + at, value, 8);
}

static void it_inverts_and_computes(void **state)
{
	static const uint32_t factorials[][2] = {{0, 1}, {1, 1}, {5, 120}, {12, 479001600},
		{13, 1932053504}, {33, 0x80000000}, {34, 0}, {0xffffffff, 0}};

	assert_int_equal(config_read(SLOT, PCI_VENDOR_ID, 4), 0x11e81234);
	assert_int_equal(get(EDU_ID), 0x010000ed);
	put(EDU_INVERT, 0x12345678);
	assert_int_equal(get(EDU_INVERT), 0xedcba987);
	for (unsigned i = 0; i < sizeof(factorials) / sizeof(factorials[0]); i++) {
		put(EDU_FACTORIAL, factorials[i][0]);
		assert_int_equal(get(EDU_FACTORIAL), factorials[i][1]);
	}
	/* Lower registers have 4 bytes, and nothing else. */
	assert_int_equal(io_space_read(&f.memory.mmio, REGISTERS + EDU_INVERT, 1), 0xff);
	assert_int_equal(io_space_read(&f.memory.mmio, REGISTERS, 8), UINT64_MAX);
}

static void interrupts_are_raised_and_acknowledged(void **state)
{
	put(EDU_FACTORIAL, 3);
	assert_false(f.level[SLOT]);
	put(EDU_STATUS, 0xff);
	assert_int_equal(get(EDU_STATUS), EDU_STATUS_INTERRUPT);
	put(EDU_FACTORIAL, 3);
	assert_true(f.level[SLOT]);
	assert_int_equal(get(EDU_INTERRUPTS), EDU_INTERRUPT_FACTORIAL);
	put(EDU_RAISE, 0x10);
	put(EDU_ACKNOWLEDGE, EDU_INTERRUPT_FACTORIAL);
	assert_true(f.level[SLOT]);
	put(EDU_ACKNOWLEDGE, 0x10);
	assert_false(f.level[SLOT]);
	put(EDU_RAISE, 1);
	device_list_reset(&f.devices);
	assert_false(f.level[SLOT]);
}

static void move(uint64_t source, uint64_t target, uint64_t count, unsigned command)
{
	put64(EDU_DMA_SOURCE, source);
	put64(EDU_DMA_TARGET, target);
	put64(EDU_DMA_COUNT, count);
	put64(EDU_DMA_COMMAND, command | EDU_DMA_START);
	assert_int_equal(get(EDU_DMA_COMMAND), command | EDU_DMA_START);
	put64(EDU_DMA_COUNT, 1); /* stays while it is under way */
	advance(99 * MS);
	assert_int_equal(get(EDU_DMA_COMMAND), command | EDU_DMA_START);
	advance(2 * MS);
	assert_int_equal(get(EDU_DMA_COMMAND), command);
	assert_int_equal(get(EDU_DMA_COUNT), (uint32_t)count);
}

static void bytes_are_moved(void **state)
{
	uint8_t *ram = memory_ram_pointer(&f.memory, RAM);

	memcpy(ram, "learn", 5);
	move(RAM, EDU_BUFFER + 7, 5, EDU_DMA_INTERRUPT);
	assert_true(f.level[SLOT]);
	assert_int_equal(get(EDU_INTERRUPTS), EDU_INTERRUPT_DMA);
	move(EDU_BUFFER + 7, RAM + 100, 5, EDU_DMA_TO_RAM);
	assert_memory_equal(ram + 100, "learn", 5);
	put(EDU_DMA_SOURCE + 4, 0x55);
	assert_int_equal(io_space_read(&f.memory.mmio, REGISTERS + EDU_DMA_SOURCE, 8),
		UINT64_C(0x5500040007));
}

static void transfers_outside_the_buffer_move_nothing(void **state)
{
	static const struct {
		uint64_t buffer, count;
	} bad[] = {{0, 1}, {EDU_BUFFER - 1, 2}, {EDU_BUFFER + 4090, 7}, {EDU_BUFFER, 4097},
		{EDU_BUFFER + 1, UINT64_MAX}, {UINT64_MAX, 2}};
	uint8_t *ram = memory_ram_pointer(&f.memory, RAM);

	ram[0] = 0xee;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		move(RAM, bad[i].buffer, bad[i].count, 0);
		move(bad[i].buffer, RAM, bad[i].count, EDU_DMA_TO_RAM);
		assert_int_equal(ram[0], 0xee);
	}
	move(EDU_BUFFER, RAM, 4096, EDU_DMA_TO_RAM);
	assert_int_equal(ram[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_inverts_and_computes, setup, teardown),
		cmocka_unit_test_setup_teardown(
			interrupts_are_raised_and_acknowledged, setup, teardown),
		cmocka_unit_test_setup_teardown(bytes_are_moved, setup, teardown),
		cmocka_unit_test_setup_teardown(
			transfers_outside_the_buffer_move_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
