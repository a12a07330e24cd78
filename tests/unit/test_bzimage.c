/* Linux bzImage loading: where things go, what the kernel is told, and what is refused. */
#include "boot_fixture.h"

#include <asm/bootparam.h>

#define SETUP_SIZE  (2 * 512) /* one setup sector and the boot sector */
#define KERNEL_SIZE 4096
#define PREFERRED   UINT64_C(0x1000000)
#define INIT_SIZE   0x200000

/* Offsets of boot.rst's fields, written out: the test must not share the loader's idea of them. */
enum {
	SETUP_SECTS = 0x1f1,
	SYSSIZE = 0x1f4,
	BOOT_FLAG = 0x1fe,
	JUMP = 0x200,
	HEADER = 0x202,
	VERSION = 0x206,
	TYPE_OF_LOADER = 0x210,
	LOADFLAGS = 0x211,
	CODE32_START = 0x214,
	RAMDISK_IMAGE = 0x218,
	RAMDISK_SIZE = 0x21c,
	CMD_LINE_PTR = 0x228,
	INITRD_ADDR_MAX = 0x22c,
	XLOADFLAGS = 0x236,
	CMDLINE_SIZE = 0x238,
	PREF_ADDRESS = 0x258,
	INIT_SIZE_FIELD = 0x260,
	/* boot_params' own */
	ACPI_RSDP = 0x070,
	E820_ENTRIES = 0x1e8,
	E820_TABLE = 0x2d0,
};

static void make_kernel(struct boot_fixture *f, uint64_t memory)
{
	boot_fixture_init(f, memory, SETUP_SIZE + KERNEL_SIZE);
	f->bytes[SETUP_SECTS] = 1;
	put32(f, SYSSIZE, KERNEL_SIZE / 16);
	put16(f, BOOT_FLAG, 0xaa55);
	f->bytes[JUMP] = 0xeb;
	f->bytes[JUMP + 1] = 0x66; /* the header ends at 0x268 */
	memcpy(f->bytes + HEADER, "HdrS", 4);
	put16(f, VERSION, 0x020f);
	f->bytes[LOADFLAGS] = 1;
	put32(f, INITRD_ADDR_MAX, 0x7fffffff);
	put16(f, XLOADFLAGS, 0x7f);
	put32(f, CMDLINE_SIZE, 2047);
	put64(f, PREF_ADDRESS, PREFERRED);
	put32(f, INIT_SIZE_FIELD, INIT_SIZE);
	memset(f->bytes + SETUP_SIZE, 0xa5, KERNEL_SIZE);
}

static void test_kernel_goes_to_preferred_address(void **state)
{
	struct boot_fixture f;

	make_kernel(&f, 64 * MIB);
	f.cmdline = "console=ttyS0 quiet";
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_guest_bytes(&f, PREFERRED, f.bytes + SETUP_SIZE, KERNEL_SIZE);
	assert_int_equal(f.start.mode, BOOT_LONG_MODE);
	assert_int_equal(f.start.rip, PREFERRED + 0x200);
	assert_int_equal(f.start.rsi, LAYOUT_BOOT_PARAMS);
	assert_int_equal(guest32(&f, LAYOUT_BOOT_PARAMS + CODE32_START), PREFERRED);
	assert_int_equal(guest32(&f, LAYOUT_BOOT_PARAMS + HEADER), 0x53726448);
	assert_int_equal(guest32(&f, LAYOUT_BOOT_PARAMS + TYPE_OF_LOADER) & 0xff, 0xff);
	assert_int_equal(guest64(&f, LAYOUT_BOOT_PARAMS + ACPI_RSDP), 0xe0000);
	assert_int_equal(guest32(&f, LAYOUT_BOOT_PARAMS + RAMDISK_SIZE), 0);
	assert_guest_bytes(&f, guest32(&f, LAYOUT_BOOT_PARAMS + CMD_LINE_PTR), f.cmdline,
		strlen(f.cmdline) + 1);
	boot_fixture_free(&f);
}

static void test_header_is_copied_up_to_its_length(void **state)
{
	struct boot_fixture f;

	make_kernel(&f, 64 * MIB);
	f.bytes[JUMP + 1] = 0x62;     /* the header ends at 0x264 */
	put32(&f, 0x264, 0x11223344); /* code, where this version has no field */
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_int_equal(guest32(&f, LAYOUT_BOOT_PARAMS + INIT_SIZE_FIELD), INIT_SIZE);
	assert_int_equal(guest32(&f, LAYOUT_BOOT_PARAMS + 0x264), 0);
	boot_fixture_free(&f);
}

static void test_memory_map(void **state)
{
	static const struct {
		uint64_t start, size;
		uint32_t type;
	} expected[] = {
		{0, 0x9fc00, 1},
		{0x9fc00, 0x400, 2},
		{0xe0000, 0x20000, 2},
		{0x100000, MEMORY_PCI_HOLE_START - 0x100000, 1},
		{0xe0000000, 256 * MIB, 2},
		{4 * GIB, 4 * GIB - MEMORY_PCI_HOLE_START, 1},
	};
	struct boot_fixture f;
	unsigned i;
	uint64_t entry;

	make_kernel(&f, 4 * GIB);
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_int_equal(guest32(&f, LAYOUT_BOOT_PARAMS + E820_ENTRIES) & 0xff, 6);
	for (i = 0; i < ARRAY_SIZE(expected); i++) {
		entry = LAYOUT_BOOT_PARAMS + E820_TABLE + i * 20;
		assert_int_equal(guest64(&f, entry), expected[i].start);
		assert_int_equal(guest64(&f, entry + 8), expected[i].size);
		assert_int_equal(guest32(&f, entry + 16), expected[i].type);
	}
	boot_fixture_free(&f);
}

static void test_memory_too_small_for_init_size(void **state)
{
	struct boot_fixture f;

	make_kernel(&f, 64 * MIB);
	put32(&f, INIT_SIZE_FIELD, 0x3000000); /* 48 MiB and the 16 below it: just fits */
	assert_int_equal(boot_fixture_load(&f), 0);
	put32(&f, INIT_SIZE_FIELD, 0x3001000);
	assert_int_not_equal(boot_fixture_load(&f), 0);
	put32(&f, INIT_SIZE_FIELD, 0xffffffff);
	assert_int_not_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
}

static void test_before_preferred_addresses(void **state)
{
	struct boot_fixture f;

	make_kernel(&f, 8 * MIB);
	put16(&f, VERSION, 0x0209);
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_guest_bytes(&f, MIB, f.bytes + SETUP_SIZE, KERNEL_SIZE);
	assert_int_equal(f.start.rip, MIB);
	boot_fixture_free(&f);
}

static void test_32bit_entry(void **state)
{
	struct boot_fixture f;

	make_kernel(&f, 64 * MIB);
	put16(&f, XLOADFLAGS, 0);
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_int_equal(f.start.mode, BOOT_PROTECTED_MODE);
	assert_int_equal(f.start.rip, PREFERRED);
	/* Before 2.12 the field was padding. */
	put16(&f, XLOADFLAGS, 1);
	put16(&f, VERSION, 0x020b);
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_int_equal(f.start.mode, BOOT_PROTECTED_MODE);
	boot_fixture_free(&f);
}

static void test_initrd_lies_high(void **state)
{
	static const uint8_t initrd[5000] = {1, 2, 3, [4999] = 4};
	struct boot_fixture f;
	uint64_t at;

	make_kernel(&f, 64 * MIB);
	f.initrd = initrd;
	f.initrd_size = sizeof(initrd);
	assert_int_equal(boot_fixture_load(&f), 0);
	at = guest32(&f, LAYOUT_BOOT_PARAMS + RAMDISK_IMAGE);
	assert_int_equal(at, 64 * MIB - 2 * PAGE_SIZE);
	assert_int_equal(guest32(&f, LAYOUT_BOOT_PARAMS + RAMDISK_SIZE), sizeof(initrd));
	assert_guest_bytes(&f, at, initrd, sizeof(initrd));
	boot_fixture_free(&f);
}

static void test_initrd_stays_below_its_limit(void **state)
{
	static const uint8_t initrd[PAGE_SIZE] = {9};
	struct boot_fixture f;

	make_kernel(&f, 64 * MIB);
	put32(&f, INITRD_ADDR_MAX, 0x1ffffff);
	f.initrd = initrd;
	f.initrd_size = sizeof(initrd);
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_int_equal(guest32(&f, LAYOUT_BOOT_PARAMS + RAMDISK_IMAGE), 0x1fff000);
	/* No room between the kernel's end and the limit. */
	put32(&f, INITRD_ADDR_MAX, (uint32_t)(PREFERRED + INIT_SIZE + 100));
	assert_int_not_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
}

static void test_initrd_and_kernel_share_small_memory(void **state)
{
	static uint8_t initrd[2 * MIB];
	struct boot_fixture f;

	/* Kernel from 16 to 18 MiB; what is left is exactly the initrd. */
	make_kernel(&f, 20 * MIB);
	f.initrd = initrd;
	f.initrd_size = sizeof(initrd);
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_int_equal(guest32(&f, LAYOUT_BOOT_PARAMS + RAMDISK_IMAGE), 18 * MIB);
	boot_fixture_free(&f);

	make_kernel(&f, 20 * MIB - PAGE_SIZE);
	f.initrd = initrd;
	f.initrd_size = sizeof(initrd);
	assert_int_not_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
}

static void test_command_line_length(void **state)
{
	char line[102];
	struct boot_fixture f;

	make_kernel(&f, 64 * MIB);
	put32(&f, CMDLINE_SIZE, 100);
	memset(line, 'a', sizeof(line));
	line[100] = 0;
	f.cmdline = line;
	assert_int_equal(boot_fixture_load(&f), 0);
	line[100] = 'a';
	line[101] = 0;
	assert_int_not_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
}

static void test_truncated(void **state)
{
	struct boot_fixture f;
	size_t full;

	make_kernel(&f, 64 * MIB);
	full = f.size;
	for (f.size = 0; f.size < full - 15; f.size += f.size < 0x300 ? 1 : 97)
		assert_int_not_equal(boot_fixture_load(&f), 0);
	f.size = full;
	assert_int_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
}

static void test_old_protocols_are_refused(void **state)
{
	struct boot_fixture f;

	make_kernel(&f, 64 * MIB);
	put16(&f, VERSION, 0x0205);
	assert_int_not_equal(boot_fixture_load(&f), 0);
	put16(&f, VERSION, 0x020f);
	f.bytes[LOADFLAGS] = 0; /* zImage */
	assert_int_not_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
}

static void test_hostile_addresses(void **state)
{
	static const uint64_t addresses[] = {0, 1, 0x2000, 0x10000, 0x9f000, 0xfffff,
		MEMORY_PCI_HOLE_START, MEMORY_PCI_HOLE_START - 1, 4 * GIB, UINT64_MAX,
		UINT64_MAX - INIT_SIZE + 1, BIT(63)};
	struct boot_fixture f;
	unsigned i;

	make_kernel(&f, 64 * MIB);
	for (i = 0; i < ARRAY_SIZE(addresses); i++) {
		put64(&f, PREF_ADDRESS, addresses[i]);
		assert_int_not_equal(boot_fixture_load(&f), 0);
	}
	boot_fixture_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernel_goes_to_preferred_address),
		cmocka_unit_test(test_header_is_copied_up_to_its_length),
		cmocka_unit_test(test_memory_map),
		cmocka_unit_test(test_memory_too_small_for_init_size),
		cmocka_unit_test(test_before_preferred_addresses),
		cmocka_unit_test(test_32bit_entry),
		cmocka_unit_test(test_initrd_lies_high),
		cmocka_unit_test(test_initrd_stays_below_its_limit),
		cmocka_unit_test(test_initrd_and_kernel_share_small_memory),
		cmocka_unit_test(test_command_line_length),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_old_protocols_are_refused),
		cmocka_unit_test(test_hostile_addresses),
	};

	return cmocka_run_group_tests_name("bzimage", tests, NULL, NULL);
}
