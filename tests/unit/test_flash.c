#include "device/flash.h"

#include "device_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIZE  (UINT32_C(4) * FLASH_BLOCK)
#define CHIP  (MEMORY_HIGH_START - 2 * SIZE) /* what is written */
#define FIXED (MEMORY_HIGH_START - SIZE)     /* what is not */

static uint8_t contents[SIZE];
static uint8_t kept[SIZE];
static unsigned keeps;

static void keep(void *opaque, uint32_t offset, const uint8_t *bytes, uint32_t size)
{
	assert_true(size && offset + size <= SIZE);
	/* Whoever waits for a disk does not hold up the machine. */
	priority_lock_take(&f.lock);
	priority_lock_release(&f.lock);
	memcpy(kept + offset, bytes, size);
	keeps++;
}

static int create(uint64_t gpa, bool read_only)
{
	struct flash_config config = {
		.memory = &f.memory,
		.devices = &f.devices,
		.name = "flash",
		.gpa = gpa,
		.size = SIZE,
		.contents = contents,
		.read_only = read_only,
		.store = {.keep = read_only ? NULL : keep},
		.instance = read_only,
	};

	return flash_create(&config);
}

static void create_both(void)
{
	assert_int_equal(create(CHIP, false), 0);
	assert_int_equal(create(FIXED, true), 0);
}

static int setup(void **state)
{
	fixture_setup();
	for (uint32_t i = 0; i < SIZE; i++)
		contents[i] = kept[i] = (uint8_t)(i * 7 + i / 256);
	keeps = 0;
	create_both();
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

/* As a processor loads: from memory, or else from a device. */
static uint8_t load(uint64_t gpa)
{
	const uint8_t *host = memory_ram_pointer(&f.memory, gpa);

	return host ? *host : (uint8_t)io_space_read(&f.memory.mmio, gpa, 1);
}

static void store(uint64_t gpa, uint8_t value)
{
	const uint8_t *host = memory_ram_pointer(&f.memory, gpa);

	assert_true(!host || !memory_page_writable(&f.memory, memory_page_number(&f.memory, host)));
	io_space_write(&f.memory.mmio, gpa, value, 1);
}

static bool in_array_mode(uint64_t gpa)
{
	uint64_t start, end;
	bool mapped = memory_around(&f.memory, gpa, &start, &end);

	assert_int_equal(mapped, memory_ram_pointer(&f.memory, gpa) != NULL);
	return mapped;
}

static uint8_t status(uint64_t gpa)
{
	store(gpa, 0x70);
	return load(gpa);
}

static void erase(uint64_t gpa)
{
	store(gpa, 0x20);
	store(gpa, 0xd0);
}

static void program(uint64_t gpa, uint8_t value)
{
	store(gpa, 0x40);
	store(gpa, value);
}

static void reads_as_rom(void **state)
{
	uint8_t now[SIZE];

	assert_true(in_array_mode(CHIP));
	assert_true(in_array_mode(FIXED));
	assert_int_equal(memory_read(&f.memory, CHIP, now, SIZE), 0);
	assert_memory_equal(now, contents, SIZE);
	/* What leaves read array mode is one chip. */
	store(CHIP + 5, 0x90);
	assert_false(in_array_mode(CHIP));
	assert_false(in_array_mode(CHIP + SIZE - 1));
	assert_true(in_array_mode(FIXED));
	assert_int_equal(memory_read(&f.memory, CHIP, now, SIZE), -EFAULT);
	store(CHIP, 0xff);
	assert_true(in_array_mode(CHIP));
	assert_int_equal(keeps, 0);
}

/* QemuFlashDetected() of OVMF. */
static void is_told_from_rom_and_ram(void **state)
{
	uint8_t before = load(CHIP + 3);

	assert_true(before != 0 && before != 0x50 && before != 0x70);
	store(CHIP + 3, 0x50);
	assert_int_not_equal(load(CHIP + 3), 0x50);
	store(CHIP + 3, 0x70);
	assert_int_equal(load(CHIP + 3), 0);
	store(CHIP + 3, 0xff);
	assert_int_equal(load(CHIP + 3), before);
}

static void says_what_it_is(void **state)
{
	static const uint8_t expected[] = {'Q', 'R', 'Y', 1, 0, 0x31, 0};
	uint64_t pri = CHIP + 0x31;

	store(CHIP, 0x90);
	assert_int_equal(load(CHIP), 0x89);
	assert_int_equal(load(CHIP + 1), 0x16);
	assert_int_equal(load(CHIP + FLASH_BLOCK + 2), 0);
	store(CHIP, 0x98);
	for (unsigned i = 0; i < sizeof(expected); i++)
		assert_int_equal(load(CHIP + 0x10 + i), expected[i]);
	assert_int_equal(load(CHIP + 0x27), 14);
	assert_int_equal(1 << load(CHIP + 0x2a), FLASH_BUFFER);
	assert_int_equal(load(CHIP + 0x2c), 1);
	assert_int_equal(load(CHIP + 0x2d), SIZE / FLASH_BLOCK - 1);
	assert_int_equal(load(CHIP + 0x2f) << 8 | load(CHIP + 0x30) << 16, FLASH_BLOCK);
	assert_int_equal(load(pri), 'P');
	assert_int_equal(load(pri + 2), 'I');
	assert_int_equal(load(CHIP), 0);
	assert_int_equal(load(CHIP + SIZE - 1), 0);
	/* An access of four bytes is one of each. */
	assert_int_equal(io_space_read(&f.memory.mmio, CHIP + 0x10, 4), 0x01595251);
	store(FIXED, 0x90);
	assert_int_equal(load(FIXED + FLASH_BLOCK + 2), 1);
}

static void is_programmed_and_erased(void **state)
{
	uint64_t at = CHIP + FLASH_BLOCK + 10;

	erase(at);
	assert_int_equal(load(at), 0x80); /* it shows its status */
	assert_int_equal(keeps, 0);
	store(at, 0xff);
	assert_int_equal(keeps, 1);
	for (uint32_t i = 0; i < SIZE; i++)
		assert_int_equal(load(CHIP + i), i / FLASH_BLOCK == 1 ? 0xff : contents[i]);
	program(at, 0xf0);
	program(at + 1, 0x12);
	program(at, 0x3c); /* only clears bits */
	assert_int_equal(keeps, 1);
	store(at, 0xff);
	assert_int_equal(keeps, 2);
	assert_int_equal(load(at), 0x30);
	assert_int_equal(load(at + 1), 0x12);
	assert_int_equal(load(at + 2), 0xff);
	assert_int_equal(kept[FLASH_BLOCK + 10], 0x30);
	assert_int_equal(kept[FLASH_BLOCK + 11], 0x12);
	assert_int_equal(kept[FLASH_BLOCK + 12], 0xff);
	assert_memory_equal(kept, contents, FLASH_BLOCK);
	/* Nothing has changed, nothing is kept. */
	store(at, 0x70);
	store(at, 0xff);
	assert_int_equal(keeps, 2);
}

/* Code of which an engine has a copy is programmed over. */
static void code_is_forgotten(void **state)
{
	uint64_t page = memory_page_number(&f.memory, memory_ram_pointer(&f.memory, CHIP));
	uint32_t generation = memory_code_track(&f.memory, page, 10, 4);

	program(CHIP + 11, 0);
	assert_int_not_equal(f.memory.code_generation[page], generation);
}

static void is_programmed_by_buffer(void **state)
{
	uint64_t at = CHIP + FLASH_BLOCK - 2; /* across two blocks */
	uint8_t expected[SIZE];

	erase(CHIP);
	erase(CHIP + FLASH_BLOCK);
	store(at, 0xe8);
	assert_int_equal(load(at), 0x80);
	store(at, 3);
	store(at, 1);
	store(at + 3, 4);
	store(at + 1, 2);
	store(at + 1, 3); /* twice: the last one counts */
	store(CHIP, 0xd0);
	assert_int_equal(load(CHIP), 0x80);
	store(CHIP, 0xff);
	memcpy(expected, contents, SIZE);
	memset(expected, 0xff, 2 * FLASH_BLOCK);
	memcpy(expected + FLASH_BLOCK - 2, "\1\3\377\4", 4);
	for (uint32_t i = 0; i < SIZE; i++)
		assert_int_equal(load(CHIP + i), expected[i]);
	assert_memory_equal(kept, expected, SIZE);
}

static void wrong_sequences_are_refused(void **state)
{
	static const struct {
		uint8_t count, values[5];
		uint32_t offsets[5];
	} wrong[] = {
		{2, {0x20, 0xff}, {0}},                      /* erase, not confirmed */
		{2, {0x60, 0x02}, {0}},                      /* neither locked nor unlocked */
		{2, {0xe8, FLASH_BUFFER}, {0}},              /* too many */
		{4, {0xe8, 1, 0, 0}, {0, 0, 8, 10}},         /* not side by side */
		{4, {0xe8, 1, 0, 0}, {0, 0, 8, 7}},          /* below the first */
		{3, {0xe8, 1, 0}, {0, 0, SIZE - 1}},         /* past the end */
		{5, {0xe8, 1, 0, 0, 0xff}, {0, 0, 8, 9, 0}}, /* not confirmed */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		store(CHIP, 0x50);
		for (unsigned j = 0; j < wrong[i].count; j++)
			store(CHIP + wrong[i].offsets[j], wrong[i].values[j]);
		assert_int_equal(status(CHIP), 0xb0);
		store(CHIP, 0xff);
		for (uint32_t at = 0; at < SIZE; at++)
			assert_int_equal(load(CHIP + at), contents[at]);
	}
	/* What is no command brings the array back. */
	store(CHIP, 0x90);
	store(CHIP, 0x77);
	assert_true(in_array_mode(CHIP));
	assert_int_equal(keeps, 0);
}

static void locked_blocks_stay(void **state)
{
	uint64_t at = CHIP + 2 * FLASH_BLOCK;

	store(at + 7, 0x60);
	store(at + 7, 0x01);
	store(CHIP, 0x90);
	assert_int_equal(load(at + 2), 1);
	assert_int_equal(load(at - FLASH_BLOCK + 2), 0);
	erase(at + 100);
	assert_int_equal(load(at), 0x80 | 0x20 | 0x02);
	store(at, 0x50);
	program(at, 0);
	assert_int_equal(load(at), 0x80 | 0x10 | 0x02);
	store(at, 0x50);
	/* A buffer that ends in it. */
	store(at - 1, 0xe8);
	store(at - 1, 1);
	store(at - 1, 0);
	store(at, 0);
	store(at, 0xd0);
	assert_int_equal(load(at), 0x80 | 0x10 | 0x02);
	store(at, 0xff);
	assert_int_equal(load(at), contents[2 * FLASH_BLOCK]);
	assert_int_equal(load(at - 1), contents[2 * FLASH_BLOCK - 1]);
	store(at, 0x60);
	store(at, 0xd0);
	program(at, 0);
	store(at, 0xff);
	assert_int_equal(load(at), 0);
}

static void read_only_chip_stays(void **state)
{
	store(FIXED, 0x60);
	store(FIXED, 0xd0);
	erase(FIXED);
	assert_int_equal(load(FIXED), 0x80 | 0x20 | 0x02);
	store(FIXED, 0xff);
	assert_int_equal(load(FIXED + 1), contents[1]);
	assert_int_equal(keeps, 0);
}

static void reset_keeps_contents(void **state)
{
	program(CHIP + 1, 0);
	store(CHIP, 0x60);
	store(CHIP, 0x01);
	store(CHIP, 0x20);
	device_list_quiesce(&f.devices, 0);
	assert_int_equal(kept[1], 0);
	device_list_reset(&f.devices);
	assert_true(in_array_mode(CHIP));
	assert_int_equal(load(CHIP + 1), 0);
	store(CHIP, 0xd0); /* confirms nothing */
	store(CHIP, 0xff);
	assert_int_equal(load(CHIP + 2), contents[2]);
	erase(CHIP); /* it is not locked any more */
	store(CHIP, 0xff);
	assert_int_equal(load(CHIP + 2), 0xff);
}

/* Saved in the midst of a buffered program, which goes on after it was loaded. */
static void saved_and_loaded(void **state)
{
	struct state_writer saved = {0};
	struct state_reader reader;

	erase(CHIP);
	store(CHIP + 8, 0xe8);
	store(CHIP + 8, 1);
	store(CHIP + 8, 0xaa);
	device_list_save(&f.devices, &saved);
	memcpy(contents, memory_ram_pointer(&f.memory, FIXED) - SIZE, SIZE);
	fixture_teardown();
	fixture_setup();
	create_both();
	memset(kept, 0, SIZE);
	reader = (struct state_reader){saved.bytes, saved.size};
	assert_int_equal(device_list_load(&f.devices, &reader), 0);
	assert_false(in_array_mode(CHIP));
	assert_int_equal(load(CHIP), 0x80);
	store(CHIP + 9, 0x55);
	store(CHIP + 8, 0xd0);
	store(CHIP + 8, 0xff);
	assert_int_equal(load(CHIP + 7), 0xff);
	assert_int_equal(load(CHIP + 8), 0xaa);
	assert_int_equal(load(CHIP + 9), 0x55);
	/* All of it is kept, which another store had before. */
	for (uint32_t i = 0; i < SIZE; i++)
		assert_int_equal(kept[i], load(CHIP + i));
	free(saved.bytes);
}

static void odd_sizes_are_refused(void **state)
{
	struct flash_config config = {.memory = &f.memory,
		.devices = &f.devices,
		.name = "odd",
		.gpa = 0xc0000000,
		.contents = contents};
	static const uint32_t sizes[] = {0, 1, FLASH_BLOCK + 1, FLASH_MOST + FLASH_BLOCK};

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		config.size = sizes[i];
		assert_int_equal(flash_create(&config), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_as_rom, setup, teardown),
		cmocka_unit_test_setup_teardown(is_told_from_rom_and_ram, setup, teardown),
		cmocka_unit_test_setup_teardown(says_what_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(is_programmed_and_erased, setup, teardown),
		cmocka_unit_test_setup_teardown(code_is_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(is_programmed_by_buffer, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_sequences_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(locked_blocks_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(read_only_chip_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_keeps_contents, setup, teardown),
		cmocka_unit_test_setup_teardown(saved_and_loaded, setup, teardown),
		cmocka_unit_test_setup_teardown(odd_sizes_are_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
