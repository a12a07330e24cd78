/* ELF executables: vmlinux, and small kernels of one's own.
 *
 * Every ELF kernel is entered as Linux's boot protocol says: a 64-bit one in long mode with the
 * first 4 GiB mapped to themselves, a 32-bit one in flat protected mode, and RSI pointing to
 * boot_params. vmlinux needs that; others may like the memory map and the command line, or ignore
 * them. The System V ABI names: "Tool Interface Standard ELF Specification" 1.2, and elf(5). */
#include "machine/elf.h"

#include "machine/layout.h"
#include "machine/linux.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#define MAX_SEGMENTS 64 /* vmlinux has five */
/* COMMAND_LINE_SIZE less its zero; vmlinux does not tell its own. */
#define LINUX_CMDLINE_MAX 2047

/* What both classes' headers say, in one form. */
struct elf_file {
	bool is_64bit;
	uint64_t entry;
	uint64_t table; /* program headers: file offset, number, distance */
	unsigned count, stride;
};

struct elf_segment {
	uint32_t type;
	uint64_t offset, virtual, physical, file_size, memory_size;
};

bool elf_recognizes(const uint8_t *header, uint64_t size)
{
	return size >= SELFMAG && memcmp(header, ELFMAG, SELFMAG) == 0;
}

/* For messages: the machines that a kernel is likely to be for, and x86 ones in an ELF file of the
 * wrong class. */
static const char *machine_name(unsigned machine)
{
	switch (machine) {
	case EM_386:
		return "i386 in the 64-bit format";
	case EM_X86_64:
		return "x86-64 in the 32-bit format";
	case EM_AARCH64:
		return "arm64";
	case EM_ARM:
		return "arm";
	case EM_RISCV:
		return "RISC-V";
	case EM_PPC64:
		return "64-bit PowerPC";
	case EM_S390:
		return "S/390";
	case EM_MIPS:
		return "MIPS";
	case 258:
		return "LoongArch";
	default:
		return "another machine";
	}
}

/* Both headers begin alike, up to e_version. */
static int check_identity(const struct image *kernel, const Elf64_Ehdr *header)
{
	bool is_64bit = header->e_ident[EI_CLASS] == ELFCLASS64;
	const char *wrong = NULL;

	if (header->e_ident[EI_DATA] == ELFDATA2LSB &&
		header->e_machine != (is_64bit ? EM_X86_64 : EM_386)) {
		image_error(kernel, "an ELF file for %s (e_machine %u); expected x86-64 or i386",
			machine_name(header->e_machine), header->e_machine);
		return -EINVAL;
	}
	if (header->e_ident[EI_DATA] != ELFDATA2LSB)
		wrong = "a big-endian ELF file; expected x86-64 or i386";
	else if (!is_64bit && header->e_ident[EI_CLASS] != ELFCLASS32)
		wrong = "an ELF file that is neither 32-bit nor 64-bit";
	else if (header->e_type == ET_REL)
		wrong = "an ELF object file; expected a linked executable";
	else if (header->e_type == ET_DYN)
		wrong = "a position-independent or shared ELF file; expected one linked to run at "
			"fixed addresses";
	else if (header->e_type != ET_EXEC)
		wrong = "an ELF file that is not an executable";
	if (!wrong)
		return 0;
	image_error(kernel, "%s", wrong);
	return -EINVAL;
}

static int read_file_header(const struct image *kernel, struct elf_file *file)
{
	Elf64_Ehdr header = {0};
	Elf32_Ehdr header32;
	int error;

	/* The longer header may be more than a small 32-bit file has. */
	error = image_read(kernel, 0, &header, MIN(sizeof(header), kernel->size));
	if (error)
		return error;
	if (kernel->size < sizeof(header32) ||
		(header.e_ident[EI_CLASS] == ELFCLASS64 && kernel->size < sizeof(header))) {
		image_error(kernel, "truncated within the ELF header");
		return -EINVAL;
	}
	error = check_identity(kernel, &header);
	if (error)
		return error;
	if (header.e_ident[EI_CLASS] == ELFCLASS64) {
		*file = (struct elf_file){
			true, header.e_entry, header.e_phoff, header.e_phnum, header.e_phentsize};
	} else {
		memcpy(&header32, &header, sizeof(header32));
		*file = (struct elf_file){false, header32.e_entry, header32.e_phoff,
			header32.e_phnum, header32.e_phentsize};
	}
	if (file->stride < (file->is_64bit ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) ||
		!file->count || file->count > MAX_SEGMENTS) {
		image_error(kernel,
			"%u program headers of %u bytes; expected 1 to %u of the usual size",
			file->count, file->stride, MAX_SEGMENTS);
		return -EINVAL;
	}
	return 0;
}

static int read_segment(const struct image *kernel, const struct elf_file *file, unsigned index,
	struct elf_segment *segment)
{
	uint64_t offset = file->table + (uint64_t)index * file->stride;
	Elf64_Phdr header = {0};
	Elf32_Phdr header32 = {0};
	int error;

	if (file->is_64bit) {
		error = offset < file->table ? -EINVAL
					     : image_read(kernel, offset, &header, sizeof(header));
		*segment = (struct elf_segment){header.p_type, header.p_offset, header.p_vaddr,
			header.p_paddr, header.p_filesz, header.p_memsz};
	} else {
		error = image_read(kernel, offset, &header32, sizeof(header32));
		*segment = (struct elf_segment){header32.p_type, header32.p_offset,
			header32.p_vaddr, header32.p_paddr, header32.p_filesz, header32.p_memsz};
	}
	if (error == -EINVAL)
		image_error(kernel, "truncated: its program headers lie past its end");
	return error;
}

static int load_segment(const struct boot_request *request, const struct elf_segment *segment)
{
	const struct image *kernel = request->kernel;
	uint8_t *to = boot_ram(request->memory, segment->physical, segment->memory_size);
	int error;

	if (segment->file_size > segment->memory_size) {
		image_error(kernel, "a segment has more bytes in the file than in memory");
		return -EINVAL;
	}
	if (!to && segment->physical >= LAYOUT_HIGH && segment->physical < MEMORY_PCI_HOLE_START &&
		segment->memory_size < MEMORY_PCI_HOLE_START)
		return boot_memory_too_small(request, segment->physical + segment->memory_size);
	if (!to) {
		image_error(kernel,
			"a segment of %#llx bytes asks for address %#llx; "
			"expected free RAM (0x2000 to 0x20000, or from 1 MiB on)",
			(unsigned long long)segment->memory_size,
			(unsigned long long)segment->physical);
		return -EINVAL;
	}
	error = image_load(kernel, segment->offset, request->memory, to, segment->file_size);
	if (error == -EINVAL)
		image_error(kernel, "truncated: a segment lies past the end of the file");
	return error;
}

/* Programs disagree on whether e_entry is virtual or physical. Linux says physical; linkers by
 * default say virtual, which a segment then translates. */
static bool translate_entry(const struct elf_segment *segment, uint64_t *entry)
{
	if (*entry - segment->physical < segment->memory_size)
		return true;
	if (*entry - segment->virtual >= segment->memory_size)
		return false;
	*entry = *entry - segment->virtual + segment->physical;
	return true;
}

int elf_load_program(const struct boot_request *request, struct elf_program *program)
{
	struct elf_file file;
	struct elf_segment segment;
	bool entry_found = false;
	unsigned i;
	int error;

	error = read_file_header(request->kernel, &file);
	if (error)
		return error;
	*program = (struct elf_program){.is_64bit = file.is_64bit, .entry = file.entry};
	for (i = 0; i < file.count; i++) {
		error = read_segment(request->kernel, &file, i, &segment);
		if (error)
			return error;
		if (segment.type != PT_LOAD || !segment.memory_size)
			continue;
		error = load_segment(request, &segment);
		if (error)
			return error;
		program->end = MAX(program->end, segment.physical + segment.memory_size);
		if (!entry_found)
			entry_found = translate_entry(&segment, &program->entry);
	}
	if (!entry_found) {
		image_error(request->kernel, "its entry point %#llx lies in no loaded segment",
			(unsigned long long)file.entry);
		return -EINVAL;
	}
	return 0;
}

/* A bzImage brings a setup header; for an ELF file a boot loader makes one up. */
static void make_setup_header(struct setup_header *header)
{
	header->boot_flag = 0xaa55;
	header->header = 0x53726448; /* "HdrS" */
	header->version = 0x020f;
	header->loadflags = LOADED_HIGH;
	header->kernel_alignment = (uint32_t)(16 * MIB);
	header->cmdline_size = LINUX_CMDLINE_MAX;
}

static int elf_load(const struct boot_request *request, struct boot_start *start)
{
	struct boot_params params = {0};
	struct elf_program program;
	uint64_t initrd;
	int error;

	error = elf_load_program(request, &program);
	if (error)
		return error;
	error = boot_load_initrd_high(request, program.end, MEMORY_PCI_HOLE_START, &initrd);
	if (error)
		return error;
	make_setup_header(&params.hdr);
	error = linux_write_boot_params(request, &params, initrd, LINUX_CMDLINE_MAX);
	if (error)
		return error;
	start->mode = program.is_64bit ? BOOT_LONG_MODE : BOOT_PROTECTED_MODE;
	start->rip = program.entry;
	start->rsi = LAYOUT_BOOT_PARAMS;
	return 0;
}

const struct boot_protocol boot_elf = {"ELF executable", elf_recognizes, elf_load};
