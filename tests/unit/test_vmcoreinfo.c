/* What a guest says of its kernel's note, true or not. */
#include "machine/vmcoreinfo.h"

#include "device/fw_cfg.h"
#include "device_fixture.h"

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST  0x1000 /* where in RAM fw_cfg's DMA struct is */
#define BUFFER   0x2000
#define NOTE     0x3000
#define SELECT   BIT(3)
#define WRITE    BIT(4)
#define DMA_PORT (FW_CFG_PORT + 4)

static struct fw_cfg *fw_cfg;
static struct vmcoreinfo vmcoreinfo;

static int setup(void **state)
{
	fixture_setup();
	vmcoreinfo = (struct vmcoreinfo){0};
	fw_cfg = fw_cfg_create(&f.devices, &f.ports, &f.memory);
	assert_non_null(fw_cfg);
	return vmcoreinfo_add(&vmcoreinfo, fw_cfg);
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

/* As Linux writes the file, which is the only one. */
static void say(uint16_t format, uint32_t size, uint64_t address)
{
	const struct {
		uint16_t host_format, guest_format;
		uint32_t size;
		uint64_t address;
	} record = {0, htole16(format), htole32(size), htole64(address)};
	const struct {
		uint32_t control, length;
		uint64_t address;
	} request = {htobe32((uint32_t)FW_CFG_FIRST_FILE << 16 | SELECT | WRITE),
		htobe32(sizeof(record)), htobe64(BUFFER)};

	memcpy(f.memory.ram + BUFFER, &record, sizeof(record));
	memcpy(f.memory.ram + REQUEST, &request, sizeof(request));
	io_space_write(&f.ports, DMA_PORT + 4, htobe32(REQUEST), 4);
}

static void put_note(const char *name, uint32_t name_size, uint32_t size)
{
	const Elf64_Nhdr header = {.n_namesz = name_size, .n_descsz = size};

	memcpy(f.memory.ram + NOTE, &header, sizeof(header));
	memset(f.memory.ram + NOTE + sizeof(header), 0, 12);
	memcpy(f.memory.ram + NOTE + sizeof(header), name, strlen(name));
	memset(f.memory.ram + NOTE + sizeof(header) + 12, 'x', 5);
}

static void the_note_is_read_and_padded(void **state)
{
	uint8_t *bytes;
	uint64_t size;

	assert_null(vmcoreinfo_read(&vmcoreinfo, &f.memory, &size));
	assert_int_equal(size, 0);
	put_note("VMCOREINFO", 11, 5);
	say(1, 0x400, NOTE);
	bytes = vmcoreinfo_read(&vmcoreinfo, &f.memory, &size);
	assert_non_null(bytes);
	assert_int_equal(size, 12 + 12 + 8);
	assert_memory_equal(bytes, f.memory.ram + NOTE, 12 + 12 + 5);
	assert_memory_equal(bytes + 29, "\0\0\0", 3);
	free(bytes);
}

static void what_is_no_note_is_left_out(void **state)
{
	static const struct {
		uint16_t format;
		uint32_t size;
		uint64_t address;
		const char *name;
		uint32_t name_size, description;
	} rows[] = {
		{0, 0x400, NOTE, "VMCOREINFO", 11, 5},
		{2, 0x400, NOTE, "VMCOREINFO", 11, 5},
		{1, 23, NOTE, "VMCOREINFO", 11, 5},
		{1, 28, NOTE, "VMCOREINFO", 11, 5},
		{1, 0x10001, NOTE, "VMCOREINFO", 11, 5},
		{1, 0x400, NOTE + 4, "VMCOREINFO", 11, 5},
		{1, 0x400, UINT64_MAX - 8, "VMCOREINFO", 11, 5},
		{1, 0x400, UINT64_C(1) << 40, "VMCOREINFO", 11, 5},
		{1, 0x400, NOTE, "VMCOREINF0", 11, 5},
		{1, 0x400, NOTE, "VMCOREINFO", 12, 5},
		{1, 0x400, NOTE, "VMCOREINFO", 11, UINT32_MAX},
	};
	uint64_t size = 1;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		put_note(rows[i].name, rows[i].name_size, rows[i].description);
		say(rows[i].format, rows[i].size, rows[i].address);
		if (vmcoreinfo_read(&vmcoreinfo, &f.memory, &size) || size)
			fail_msg("row %u was taken", i);
	}
}

static void it_needs_fw_cfg(void **state)
{
	assert_int_equal(vmcoreinfo_add(&vmcoreinfo, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_note_is_read_and_padded, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_note_is_left_out, setup, teardown),
		cmocka_unit_test_setup_teardown(it_needs_fw_cfg, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
