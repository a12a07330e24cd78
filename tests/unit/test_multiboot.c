/* Multiboot kernels: the header, both ways to load, and the information structure. */
#include "boot_fixture.h"

#include <elf.h>
#include <errno.h>

#define FILE_SIZE 8192
#define HEADER    UINT32_C(64) /* file offset of the multiboot header */
#define LOAD      UINT32_C(0x100000)
#define ENTRY     (LOAD + 0x200)

enum { FLAGS = HEADER + 4, CHECKSUM = HEADER + 8, ADDRESSES = HEADER + 12 };

/* Offsets in the information structure (3.3). */
enum {
	INFO_FLAGS = 0,
	INFO_LOWER = 4,
	INFO_UPPER = 8,
	INFO_CMDLINE = 16,
	INFO_MODS_COUNT = 20,
	INFO_MODS = 24,
	INFO_MMAP_LENGTH = 44,
	INFO_MMAP = 48,
	INFO_LOADER = 64,
};

static void set_flags(struct boot_fixture *f, uint32_t flags)
{
	put32(f, FLAGS, flags);
	put32(f, CHECKSUM, 0u - 0x1badb002u - flags);
}

/* A flat file that the header's address fields place: all of it from LOAD on. */
static void make_flat(struct boot_fixture *f)
{
	size_t i;

	boot_fixture_init(f, 16 * MIB, FILE_SIZE);
	for (i = 0; i < FILE_SIZE; i++)
		f->bytes[i] = (uint8_t)(i * 7 + 1);
	put32(f, HEADER, 0x1badb002);
	set_flags(f, 0x10003);
	put32(f, ADDRESSES, LOAD + HEADER); /* header_addr */
	put32(f, ADDRESSES + 4, LOAD);
	put32(f, ADDRESSES + 8, 0);  /* load_end_addr: the whole file */
	put32(f, ADDRESSES + 12, 0); /* bss_end_addr: none */
	put32(f, ADDRESSES + 16, ENTRY);
}

static void test_flat_file(void **state)
{
	struct boot_fixture f;

	make_flat(&f);
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_guest_bytes(&f, LOAD, f.bytes, FILE_SIZE);
	assert_int_equal(f.start.mode, BOOT_PROTECTED_MODE);
	assert_int_equal(f.start.rip, ENTRY);
	assert_int_equal(f.start.rax, 0x2badb002);
	boot_fixture_free(&f);
}

static void test_part_of_a_file(void **state)
{
	struct boot_fixture f;

	/* load_addr is that of the header itself: what precedes it in the file is left out. */
	make_flat(&f);
	put32(&f, ADDRESSES, LOAD);
	put32(&f, ADDRESSES + 8, LOAD + 1000);
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_guest_bytes(&f, LOAD, f.bytes + HEADER, 1000);
	assert_int_equal(guest32(&f, LOAD + 1000), 0);
	boot_fixture_free(&f);
}

static void test_header_is_searched(void **state)
{
	struct boot_fixture f;

	/* A wrong checksum and a misaligned header are not headers. */
	make_flat(&f);
	put32(&f, CHECKSUM, 1);
	assert_int_not_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
	make_flat(&f);
	memmove(f.bytes + 2, f.bytes, FILE_SIZE - 2);
	assert_int_not_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
}

static void test_unknown_requirement_is_refused(void **state)
{
	struct boot_fixture f;

	make_flat(&f);
	set_flags(&f, 0x10008);
	assert_int_not_equal(boot_fixture_load(&f), 0);
	set_flags(&f, 0x18000);
	assert_int_not_equal(boot_fixture_load(&f), 0);
	set_flags(&f, 0x90004); /* an unknown wish, and the video mode */
	assert_int_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
}

static void test_information(void **state)
{
	struct boot_fixture f;
	uint64_t info, entry, end;
	unsigned usable = 0;

	make_flat(&f);
	f.cmdline = "one two";
	assert_int_equal(boot_fixture_load(&f), 0);
	info = f.start.rbx;
	assert_int_equal(guest32(&f, info + INFO_FLAGS), 0x245);
	assert_int_equal(guest32(&f, info + INFO_LOWER), 639);
	assert_int_equal(guest32(&f, info + INFO_UPPER), 15 * 1024);
	assert_guest_bytes(&f, guest32(&f, info + INFO_CMDLINE), "(memory) one two", 17);
	assert_guest_bytes(&f, guest32(&f, info + INFO_LOADER), "veneer ", 7);
	entry = guest32(&f, info + INFO_MMAP);
	end = entry + guest32(&f, info + INFO_MMAP_LENGTH);
	for (; entry < end; entry += guest32(&f, entry) + 4) {
		assert_int_equal(guest32(&f, entry), 20);
		if (guest64(&f, entry + 4) == MIB && guest32(&f, entry + 20) == 1) {
			assert_int_equal(guest64(&f, entry + 12), 15 * MIB);
			usable++;
		}
	}
	assert_int_equal(usable, 1);
	boot_fixture_free(&f);
}

static void test_modules(void **state)
{
	static const uint8_t bytes[5000] = "first";
	struct boot_module modules[2] = {{.string = "one with arguments"}, {.string = "two"}};
	uint64_t info, module;
	struct boot_fixture f;

	make_flat(&f);
	put32(&f, ADDRESSES + 12, LOAD + 0x5001); /* bss: modules come after it */
	for (unsigned i = 0; i < 2; i++)
		image_from_bytes(&modules[i].image, "--initrd", bytes, sizeof(bytes) - i);
	f.modules = modules;
	f.module_count = 2;
	assert_int_equal(boot_fixture_load(&f), 0);
	info = f.start.rbx;
	assert_int_equal(guest32(&f, info + INFO_MODS_COUNT), 2);
	module = guest32(&f, info + INFO_MODS);
	assert_int_equal(guest32(&f, module), LOAD + 0x6000);
	assert_int_equal(guest32(&f, module + 4), LOAD + 0x6000 + 5000);
	assert_int_equal(guest32(&f, module + 16), LOAD + 0x8000);
	assert_int_equal(guest32(&f, module + 20), LOAD + 0x8000 + 4999);
	assert_guest_bytes(&f, guest32(&f, module + 8), "one with arguments", 19);
	assert_guest_bytes(&f, guest32(&f, module + 24), "two", 4);
	assert_guest_bytes(&f, LOAD + 0x8000, bytes, 4999);
	boot_fixture_free(&f);
}

static void test_arguments_of_modules_have_an_end(void **state)
{
	static char text[9000];
	struct boot_module module = {.string = text};
	struct boot_fixture f;

	make_flat(&f);
	memset(text, 'x', sizeof(text) - 1);
	image_from_bytes(&module.image, "--initrd", "m", 1);
	f.modules = &module;
	f.module_count = 1;
	assert_int_equal(boot_fixture_load(&f), -E2BIG);
	boot_fixture_free(&f);
}

static void test_module(void **state)
{
	static const uint8_t initrd[100] = "module";
	struct boot_fixture f;
	uint64_t info, module;

	make_flat(&f);
	put32(&f, ADDRESSES + 12, LOAD + 0x5001); /* bss */
	f.initrd = initrd;
	f.initrd_size = sizeof(initrd);
	assert_int_equal(boot_fixture_load(&f), 0);
	info = f.start.rbx;
	assert_int_equal(guest32(&f, info + INFO_FLAGS), 0x24d);
	assert_int_equal(guest32(&f, info + INFO_MODS_COUNT), 1);
	module = guest32(&f, info + INFO_MODS);
	assert_int_equal(guest32(&f, module), LOAD + 0x6000);
	assert_int_equal(guest32(&f, module + 4), LOAD + 0x6000 + sizeof(initrd));
	assert_guest_bytes(&f, LOAD + 0x6000, initrd, sizeof(initrd));
	boot_fixture_free(&f);
}

static void test_elf_with_header(void **state)
{
	struct boot_fixture f;

	boot_fixture_init(&f, 16 * MIB, FILE_SIZE);
	*(Elf64_Ehdr *)f.bytes = (Elf64_Ehdr){
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_entry = ENTRY,
		.e_phoff = 2048,
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	};
	*(Elf64_Phdr *)(f.bytes + 2048) = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = 4096,
		.p_vaddr = LOAD,
		.p_paddr = LOAD,
		.p_filesz = 1024,
		.p_memsz = 1024};
	put32(&f, HEADER, 0x1badb002);
	set_flags(&f, 3);
	memset(f.bytes + 4096, 0x90, 1024);
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_guest_bytes(&f, LOAD, f.bytes + 4096, 1024);
	/* 32-bit mode, although the file is a 64-bit one. */
	assert_int_equal(f.start.mode, BOOT_PROTECTED_MODE);
	assert_int_equal(f.start.rip, ENTRY);
	assert_int_equal(f.start.rax, 0x2badb002);
	/* Neither ELF nor addresses. */
	f.bytes[0] = 0;
	assert_int_not_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
}

static void test_hostile_addresses(void **state)
{
	/* header_addr, load_addr, load_end_addr, bss_end_addr */
	static const uint32_t fields[][4] = {
		{LOAD, LOAD + 1, 0, 0},
		{LOAD + HEADER + 1, LOAD, 0, 0},
		{0xffffffff, 0, 0, 0},
		{HEADER, 0, 0, 0},
		{0x9f000 + HEADER, 0x9f000, 0, 0},
		{0xffffffff, 0xffffffff, 0, 0},
		{0xffffffff, 0xffffffff, 1, 1},
		{LOAD + HEADER, LOAD, LOAD + FILE_SIZE + 1, 0},
		{LOAD + HEADER, LOAD, LOAD - 1, 0},
		{LOAD + HEADER, LOAD, 0xffffffff, 0},
		{LOAD + HEADER, LOAD, 0, 16 * MIB + 1},
		{LOAD + HEADER, LOAD, 0, 0xffffffff},
		{16 * MIB, 16 * MIB - 100, 0, 0},
	};
	struct boot_fixture f;
	unsigned i;

	make_flat(&f);
	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		memcpy(f.bytes + ADDRESSES, fields[i], sizeof(fields[i]));
		assert_int_not_equal(boot_fixture_load(&f), 0);
	}
	boot_fixture_free(&f);
}

static void test_header_at_the_end_of_a_short_file(void **state)
{
	struct boot_fixture f;

	make_flat(&f);
	for (f.size = HEADER; f.size < HEADER + 19; f.size++)
		assert_int_not_equal(boot_fixture_load(&f), 0);
	/* load_addr is there; what is not reads as zero. */
	for (; f.size < HEADER + 32; f.size++)
		assert_int_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flat_file),
		cmocka_unit_test(test_part_of_a_file),
		cmocka_unit_test(test_header_is_searched),
		cmocka_unit_test(test_unknown_requirement_is_refused),
		cmocka_unit_test(test_information),
		cmocka_unit_test(test_module),
		cmocka_unit_test(test_modules),
		cmocka_unit_test(test_arguments_of_modules_have_an_end),
		cmocka_unit_test(test_elf_with_header),
		cmocka_unit_test(test_hostile_addresses),
		cmocka_unit_test(test_header_at_the_end_of_a_short_file),
	};

	return cmocka_run_group_tests_name("multiboot", tests, NULL, NULL);
}
