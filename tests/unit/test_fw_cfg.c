#include "device/fw_cfg.h"

#include "device_fixture.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST 0x1000 /* where in RAM DMA's struct is */
#define BUFFER  0x2000

static struct fw_cfg *fw_cfg;
static unsigned made, written;

static void make(void *opaque, uint8_t *bytes, uint32_t size)
{
	memset(bytes, 'a' + (int)made++, size);
}

static void on_written(void *opaque, const uint8_t *bytes, uint32_t size)
{
	assert_int_equal(size, 8);
	written++;
}

static int setup(void **state)
{
	fixture_setup();
	made = written = 0;
	fw_cfg = fw_cfg_create(&f.devices, &f.ports, &f.memory);
	assert_non_null(fw_cfg);
	assert_int_equal(fw_cfg_add_number(fw_cfg, FW_CFG_CPU_COUNT, 3, 2), 0);
	assert_int_equal(fw_cfg_add_file(fw_cfg, "etc/first", "first", 5), 0);
	assert_int_equal(fw_cfg_add_made_file(fw_cfg, "etc/made", 4, make, NULL), 0);
	assert_int_equal(
		fw_cfg_add_writable_file(fw_cfg, "etc/written", "initials", 8, on_written, NULL),
		0);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static void select_item(uint16_t key)
{
	io_space_write(&f.ports, FW_CFG_PORT, key, 2);
}

static void read_bytes(void *to, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		((uint8_t *)to)[i] = inb(FW_CFG_PORT + 1);
}

/* Returns the outcome. */
static uint32_t dma(uint32_t control, uint32_t length, uint64_t address)
{
	struct {
		uint32_t control, length;
		uint64_t address;
	} request = {htobe32(control), htobe32(length), htobe64(address)};

	assert_int_equal(memory_write(&f.memory, REQUEST, &request, sizeof(request)), 0);
	io_space_write(&f.ports, FW_CFG_PORT + 4, 0, 4);
	io_space_write(&f.ports, FW_CFG_PORT + 8, htobe32(REQUEST), 4);
	assert_int_equal(memory_read(&f.memory, REQUEST, &request, sizeof(request)), 0);
	return be32toh(request.control);
}

static void items_by_port(void **state)
{
	char text[8];
	uint32_t number = 0;

	select_item(FW_CFG_SIGNATURE);
	read_bytes(text, 5);
	assert_memory_equal(text, "QEMU\0", 5); /* zeros past its end */
	select_item(FW_CFG_ID);
	read_bytes(&number, 4);
	assert_int_equal(number, 3);
	number = 0;
	select_item(FW_CFG_CPU_COUNT);
	read_bytes(&number, 2);
	assert_int_equal(number, 3);
	select_item(0x7777);
	assert_int_equal(inb(FW_CFG_PORT + 1), 0);
	/* The DMA register reads as "QEMU CFG". */
	number = (uint32_t)io_space_read(&f.ports, FW_CFG_PORT + 4, 4);
	assert_memory_equal(&number, "QEMU", 4);
	number = (uint32_t)io_space_read(&f.ports, FW_CFG_PORT + 8, 4);
	assert_memory_equal(&number, " CFG", 4);
}

static void directory(void **state)
{
	struct {
		uint32_t size;
		uint16_t key, reserved;
		char name[56];
	} entry;
	uint32_t count;

	select_item(FW_CFG_DIRECTORY);
	read_bytes(&count, 4);
	assert_int_equal(be32toh(count), 3);
	read_bytes(&entry, sizeof(entry));
	assert_int_equal(be32toh(entry.size), 5);
	assert_int_equal(be16toh(entry.key), FW_CFG_FIRST_FILE);
	assert_string_equal(entry.name, "etc/first");
	read_bytes(&entry, sizeof(entry));
	assert_string_equal(entry.name, "etc/made");
	assert_int_equal(be16toh(entry.key), FW_CFG_FIRST_FILE + 1);
}

static void dma_reads(void **state)
{
	char text[12] = {0};

	memset(f.memory.ram + BUFFER, 'x', 12);
	assert_int_equal(dma(FW_CFG_FIRST_FILE << 16 | 8 | 2, 8, BUFFER), 0);
	assert_int_equal(memory_read(&f.memory, BUFFER, text, 9), 0);
	assert_memory_equal(text, "first\0\0\0x", 9);
	/* Select, skip two, read without selecting again. */
	assert_int_equal(dma(FW_CFG_FIRST_FILE << 16 | 8 | 4, 2, 0), 0);
	assert_int_equal(dma(2, 3, BUFFER), 0);
	assert_memory_equal(f.memory.ram + BUFFER, "rst", 3);
	/* Not RAM, and more zeros than anybody wants. */
	assert_int_equal(dma(FW_CFG_FIRST_FILE << 16 | 8 | 2, 5, UINT64_C(0xf0000000)), 1);
	assert_int_equal(dma(2, 0xffffffff, 0), 1);
}

/* The machine lock is let go of between two pieces: each is written, or not, by itself. */
static void dma_reads_in_pieces(void **state)
{
	const uint32_t size = 5 * MIB / 2, most = 1 * MIB;
	const uint64_t end = f.memory.low_size;
	uint8_t *bytes = malloc(size);

	assert_non_null(bytes);
	for (uint32_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i * 7 + (i >> 12));
	assert_int_equal(fw_cfg_add_file(fw_cfg, "etc/large", bytes, size), 0);
	assert_int_equal(dma((FW_CFG_FIRST_FILE + 3) << 16 | 8 | 2, size, 1 * MIB), 0);
	assert_memory_equal(f.memory.ram + 1 * MIB, bytes, size);
	/* The second piece runs past the end of RAM. */
	assert_int_equal(
		dma((FW_CFG_FIRST_FILE + 3) << 16 | 8 | 2, size, end - most - PAGE_SIZE), 1);
	assert_memory_equal(f.memory.ram + end - most - PAGE_SIZE, bytes, most);
	assert_int_equal(dma((FW_CFG_FIRST_FILE + 3) << 16 | 8 | 2, 16, BUFFER), 0);
	assert_memory_equal(f.memory.ram + BUFFER, bytes, 16);
	free(bytes);
}

static void dma_struct_is_not_in_ram(void **state)
{
	io_space_write(&f.ports, FW_CFG_PORT + 4, htobe32(0xffff), 4);
	io_space_write(&f.ports, FW_CFG_PORT + 8, htobe32(REQUEST), 4);
	io_space_write(&f.ports, FW_CFG_PORT + 8, htobe32(0xa0000), 4);
}

static void made_when_selected(void **state)
{
	char text[4];

	assert_int_equal(made, 0);
	select_item(FW_CFG_FIRST_FILE + 1);
	read_bytes(text, 4);
	assert_memory_equal(text, "aaaa", 4);
	select_item(FW_CFG_FIRST_FILE + 1);
	read_bytes(text, 4);
	assert_memory_equal(text, "bbbb", 4);
}

static void writable(void **state)
{
	char text[8];
	uint32_t control = (FW_CFG_FIRST_FILE + 2) << 16 | 8;

	memcpy(f.memory.ram + BUFFER, "12345678", 8);
	assert_int_equal(dma(control | 16, 9, BUFFER), 1); /* longer than it is */
	assert_int_equal(dma(control | 16, 3, BUFFER), 0);
	assert_int_equal(written, 1);
	select_item(FW_CFG_FIRST_FILE + 2);
	read_bytes(text, 8);
	assert_memory_equal(text, "123tials", 8);
	assert_int_equal(dma(FW_CFG_FIRST_FILE << 16 | 8 | 16, 1, BUFFER), 1); /* not writable */
	device_list_reset(&f.devices);
	select_item(FW_CFG_FIRST_FILE + 2);
	read_bytes(text, 8);
	assert_memory_equal(text, "initials", 8);
}

static void refused(void **state)
{
	char name[64];
	int error = 0;

	memset(name, 'n', 56);
	name[56] = 0;
	assert_int_equal(fw_cfg_add_file(fw_cfg, name, "", 0), -EINVAL);
	assert_int_equal(fw_cfg_add_file(fw_cfg, "etc/first", "", 0), -EEXIST);
	assert_int_equal(
		fw_cfg_add_writable_file(fw_cfg, "etc/more", name, FW_CFG_WRITABLE, NULL, NULL),
		-ENOSPC);
	for (unsigned i = 0; !error && i <= FW_CFG_ITEMS; i++) {
		snprintf(name, sizeof(name), "etc/%u", i);
		error = fw_cfg_add_file_number(fw_cfg, name, i, 8);
	}
	assert_int_equal(error, -ENOSPC);
}

/* What was read half and written half goes on in another machine. */
static void saved(void **state)
{
	struct state_writer writer = {0};
	struct state_reader reader;
	char text[8];

	memcpy(f.memory.ram + BUFFER, "12345678", 8);
	dma((FW_CFG_FIRST_FILE + 2) << 16 | 8 | 16, 2, BUFFER);
	select_item(FW_CFG_FIRST_FILE + 2);
	read_bytes(text, 1);
	device_list_save(&f.devices, &writer);
	teardown(NULL);
	setup(NULL);
	reader = (struct state_reader){writer.bytes, writer.size};
	assert_int_equal(device_list_load(&f.devices, &reader), 0);
	assert_int_equal(written, 1);
	read_bytes(text, 4);
	assert_memory_equal(text, "2iti", 4);
	free(writer.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(items_by_port, setup, teardown),
		cmocka_unit_test_setup_teardown(directory, setup, teardown),
		cmocka_unit_test_setup_teardown(dma_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(dma_reads_in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(dma_struct_is_not_in_ram, setup, teardown),
		cmocka_unit_test_setup_teardown(made_when_selected, setup, teardown),
		cmocka_unit_test_setup_teardown(writable, setup, teardown),
		cmocka_unit_test_setup_teardown(refused, setup, teardown),
		cmocka_unit_test_setup_teardown(saved, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
