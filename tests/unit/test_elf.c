/* ELF executables: where segments go, how they are entered, and what is refused. */
#include "boot_fixture.h"

#include <elf.h>

#define FILE_SIZE   8192
#define CODE_OFFSET 4096
#define CODE_SIZE   64
#define ADDRESS     UINT64_C(0x200000)

static Elf64_Ehdr *header64(struct boot_fixture *f)
{
	return (Elf64_Ehdr *)f->bytes;
}

static Elf64_Phdr *segment64(struct boot_fixture *f, unsigned index)
{
	return (Elf64_Phdr *)(f->bytes + sizeof(Elf64_Ehdr)) + index;
}

static void make_elf64(struct boot_fixture *f, uint64_t memory)
{
	boot_fixture_init(f, memory, FILE_SIZE);
	*header64(f) = (Elf64_Ehdr){
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = ADDRESS + 16,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	};
	*segment64(f, 0) = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = CODE_OFFSET,
		.p_vaddr = 0xffffffff80000000 + ADDRESS,
		.p_paddr = ADDRESS,
		.p_filesz = CODE_SIZE,
		.p_memsz = 3 * PAGE_SIZE};
	*segment64(f, 1) = (Elf64_Phdr){.p_type = PT_NOTE,
		.p_offset = UINT64_MAX,
		.p_paddr = UINT64_MAX,
		.p_filesz = UINT64_MAX,
		.p_memsz = UINT64_MAX};
	memset(f->bytes + CODE_OFFSET, 0x90, CODE_SIZE);
}

static void make_elf32(struct boot_fixture *f)
{
	boot_fixture_init(f, 64 * MIB, FILE_SIZE);
	*(Elf32_Ehdr *)f->bytes = (Elf32_Ehdr){
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB,
			EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_entry = (uint32_t)ADDRESS,
		.e_phoff = sizeof(Elf32_Ehdr),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 1,
	};
	*(Elf32_Phdr *)(f->bytes + sizeof(Elf32_Ehdr)) = (Elf32_Phdr){.p_type = PT_LOAD,
		.p_offset = CODE_OFFSET,
		.p_vaddr = (uint32_t)ADDRESS,
		.p_paddr = (uint32_t)ADDRESS,
		.p_filesz = CODE_SIZE,
		.p_memsz = CODE_SIZE};
	memset(f->bytes + CODE_OFFSET, 0x90, CODE_SIZE);
}

static void test_elf64_enters_long_mode(void **state)
{
	struct boot_fixture f;

	make_elf64(&f, 64 * MIB);
	f.cmdline = "hello";
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_guest_bytes(&f, ADDRESS, f.bytes + CODE_OFFSET, CODE_SIZE);
	assert_int_equal(f.start.mode, BOOT_LONG_MODE);
	assert_int_equal(f.start.rip, ADDRESS + 16);
	assert_int_equal(f.start.rsi, LAYOUT_BOOT_PARAMS);
	/* A made-up setup header: "HdrS", and the command line where it says. */
	assert_int_equal(guest32(&f, LAYOUT_BOOT_PARAMS + 0x202), 0x53726448);
	assert_guest_bytes(&f, guest32(&f, LAYOUT_BOOT_PARAMS + 0x228), "hello", 6);
	boot_fixture_free(&f);
}

static void test_virtual_entry_is_translated(void **state)
{
	struct boot_fixture f;

	make_elf64(&f, 64 * MIB);
	header64(&f)->e_entry = segment64(&f, 0)->p_vaddr + 32;
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_int_equal(f.start.rip, ADDRESS + 32);
	boot_fixture_free(&f);
}

static void test_elf32_enters_protected_mode(void **state)
{
	struct boot_fixture f;

	make_elf32(&f);
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_guest_bytes(&f, ADDRESS, f.bytes + CODE_OFFSET, CODE_SIZE);
	assert_int_equal(f.start.mode, BOOT_PROTECTED_MODE);
	assert_int_equal(f.start.rip, ADDRESS);
	boot_fixture_free(&f);
}

static void test_segment_above_4g(void **state)
{
	struct boot_fixture f;

	make_elf64(&f, 4 * GIB);
	header64(&f)->e_phnum = 2;
	*segment64(&f, 1) = *segment64(&f, 0);
	segment64(&f, 1)->p_paddr = 4 * GIB + 5;
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_guest_bytes(&f, 4 * GIB + 5, f.bytes + CODE_OFFSET, CODE_SIZE);
	boot_fixture_free(&f);
}

static void test_low_memory(void **state)
{
	struct boot_fixture f;

	make_elf64(&f, 64 * MIB);
	segment64(&f, 0)->p_paddr = LAYOUT_LOW_FREE;
	header64(&f)->e_entry = LAYOUT_LOW_FREE;
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_guest_bytes(&f, LAYOUT_LOW_FREE, f.bytes + CODE_OFFSET, CODE_SIZE);
	segment64(&f, 0)->p_paddr = LAYOUT_LOW_FREE - 1;
	assert_int_not_equal(boot_fixture_load(&f), 0);
	segment64(&f, 0)->p_paddr = LAYOUT_LOW_FREE_END - segment64(&f, 0)->p_memsz + 1;
	assert_int_not_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
}

static void test_initrd_avoids_bss(void **state)
{
	static const uint8_t initrd[1000] = {1};
	struct boot_fixture f;

	make_elf64(&f, 4 * MIB);
	f.initrd = initrd;
	f.initrd_size = sizeof(initrd);
	segment64(&f, 0)->p_memsz = 2 * MIB - PAGE_SIZE;
	assert_int_equal(boot_fixture_load(&f), 0);
	assert_guest_bytes(&f, 4 * MIB - PAGE_SIZE, initrd, sizeof(initrd));
	segment64(&f, 0)->p_memsz = 2 * MIB - PAGE_SIZE + 1;
	assert_int_not_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
}

static void test_wrong_files(void **state)
{
	static const struct {
		size_t offset;
		uint8_t value;
	} changes[] = {
		{EI_CLASS, ELFCLASS32}, /* with EM_X86_64: x32 */
		{EI_CLASS, 3},
		{EI_DATA, ELFDATA2MSB},
		{offsetof(Elf64_Ehdr, e_machine), EM_AARCH64},
		{offsetof(Elf64_Ehdr, e_machine), EM_386},
		{offsetof(Elf64_Ehdr, e_type), ET_REL},
		{offsetof(Elf64_Ehdr, e_type), ET_DYN},
		{offsetof(Elf64_Ehdr, e_type), ET_CORE},
		{offsetof(Elf64_Ehdr, e_phnum), 0},
		{offsetof(Elf64_Ehdr, e_phnum), 200},
		{offsetof(Elf64_Ehdr, e_phentsize), 32},
		{offsetof(Elf64_Ehdr, e_phoff) + 7, 0xff},
		{offsetof(Elf64_Ehdr, e_phoff) + 2, 0xff},
		{offsetof(Elf64_Ehdr, e_entry) + 4, 1},
	};
	struct boot_fixture f;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(changes); i++) {
		make_elf64(&f, 64 * MIB);
		f.bytes[changes[i].offset] = changes[i].value;
		assert_int_not_equal(boot_fixture_load(&f), 0);
		boot_fixture_free(&f);
	}
}

static void test_hostile_segments(void **state)
{
	static const Elf64_Phdr segments[] = {
		/* Not in RAM, or partly so. */
		{.p_paddr = 0, .p_filesz = 1, .p_memsz = 1},
		{.p_paddr = LAYOUT_BOOT_PARAMS, .p_filesz = 1, .p_memsz = 1},
		{.p_paddr = 0xfffff, .p_filesz = 2, .p_memsz = 2},
		{.p_paddr = 64 * MIB - 1, .p_filesz = 2, .p_memsz = 2},
		{.p_paddr = 64 * MIB, .p_filesz = 0, .p_memsz = 1},
		{.p_paddr = MEMORY_PCI_HOLE_START, .p_filesz = 1, .p_memsz = 1},
		{.p_paddr = 4 * GIB, .p_filesz = 1, .p_memsz = 1},
		{.p_paddr = UINT64_MAX, .p_filesz = 1, .p_memsz = 1},
		{.p_paddr = ADDRESS, .p_filesz = 1, .p_memsz = UINT64_MAX},
		{.p_paddr = ADDRESS, .p_filesz = 1, .p_memsz = UINT64_MAX - ADDRESS + 2},
		/* Not in the file. */
		{.p_paddr = ADDRESS, .p_filesz = FILE_SIZE + 1, .p_memsz = FILE_SIZE + 1},
		{.p_paddr = ADDRESS, .p_offset = FILE_SIZE, .p_filesz = 1, .p_memsz = 1},
		{.p_paddr = ADDRESS, .p_offset = UINT64_MAX, .p_filesz = 2, .p_memsz = 2},
		{.p_paddr = ADDRESS, .p_filesz = UINT64_MAX, .p_memsz = 1},
		{.p_paddr = ADDRESS, .p_filesz = 2, .p_memsz = 1},
	};
	struct boot_fixture f;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(segments); i++) {
		make_elf64(&f, 64 * MIB);
		*segment64(&f, 1) = segments[i];
		segment64(&f, 1)->p_type = PT_LOAD;
		assert_int_not_equal(boot_fixture_load(&f), 0);
		boot_fixture_free(&f);
	}
}

static void test_truncated(void **state)
{
	struct boot_fixture f;

	make_elf64(&f, 64 * MIB);
	for (f.size = 0; f.size < CODE_OFFSET + CODE_SIZE; f.size += f.size < 256 ? 1 : 61)
		assert_int_not_equal(boot_fixture_load(&f), 0);
	f.size = CODE_OFFSET + CODE_SIZE;
	assert_int_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);

	make_elf32(&f);
	for (f.size = 0; f.size < CODE_OFFSET + CODE_SIZE; f.size += f.size < 256 ? 1 : 61)
		assert_int_not_equal(boot_fixture_load(&f), 0);
	boot_fixture_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_elf64_enters_long_mode),
		cmocka_unit_test(test_virtual_entry_is_translated),
		cmocka_unit_test(test_elf32_enters_protected_mode),
		cmocka_unit_test(test_segment_above_4g),
		cmocka_unit_test(test_low_memory),
		cmocka_unit_test(test_initrd_avoids_bss),
		cmocka_unit_test(test_wrong_files),
		cmocka_unit_test(test_hostile_segments),
		cmocka_unit_test(test_truncated),
	};

	return cmocka_run_group_tests_name("elf", tests, NULL, NULL);
}
