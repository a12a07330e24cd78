/* Multiboot 0.6.96 (https://www.gnu.org/software/grub/manual/multiboot/): what small kernels
 * usually carry. A 12-byte header in the image's first 8 KiB marks it; the kernel starts in 32-bit
 * protected mode with EBX pointing to a structure that describes the machine.
 *
 * The image is an ELF file, or anything else if the header itself says where it goes (flag 16).
 * The specification has 32-bit ELF only; a 64-bit one is loaded just as well, and starts in 32-bit
 * mode all the same. */
#include "machine/boot.h"
#include "machine/e820.h"
#include "machine/elf.h"
#include "machine/layout.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HEADER_MAGIC  0x1badb002u
#define LOADER_MAGIC  0x2badb002u
#define HEADER_SEARCH 8192

/* Header flags. Bits 0 to 15 are requirements: one that is not known must be refused (3.1.2). */
#define FLAG_PAGE_ALIGN  BIT(0) /* modules are, always */
#define FLAG_MEMORY_INFO BIT(1) /* given, always */
#define FLAG_VIDEO       BIT(2) /* a wish; there is no screen */
#define FLAGS_KNOWN      (FLAG_PAGE_ALIGN | FLAG_MEMORY_INFO | FLAG_VIDEO)
#define FLAGS_REQUIRED   UINT64_C(0xffff)
#define FLAG_ADDRESSES   BIT(16)

struct multiboot_header {
	uint32_t magic, flags, checksum;
	/* With FLAG_ADDRESSES: */
	uint32_t header_address, load_address, load_end_address, bss_end_address, entry_address;
};

#define INFO_MEMORY  BIT(0)
#define INFO_CMDLINE BIT(2)
#define INFO_MODULES BIT(3)
#define INFO_MMAP    BIT(6)
#define INFO_LOADER  BIT(9)

/* The information structure (3.3), up to the last field given. */
struct multiboot_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper; /* KiB below 640 KiB, and from 1 MiB to the first hole */
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_address;
	uint32_t symbols[4];
	uint32_t mmap_length, mmap_address;
	uint32_t drives_length, drives_address;
	uint32_t config_table;
	uint32_t boot_loader_name;
};

struct multiboot_module {
	uint32_t start, end, string, reserved;
};

struct multiboot_mmap {
	uint32_t size; /* of the rest */
	uint64_t address, length;
	uint32_t type; /* 1: RAM */
} __attribute__((packed));

/* What goes to LAYOUT_MULTIBOOT. */
struct multiboot_block {
	struct multiboot_info info;
	struct multiboot_module module[BOOT_MAX_MODULES];
	struct multiboot_mmap mmap[E820_MAX];
	char loader_name[32];
	char module_strings[8 * KIB];
};

_Static_assert(sizeof(struct multiboot_block) <= LAYOUT_MULTIBOOT_MAX, "fits where it goes");

/* The header is 4-byte aligned and its first three fields add up to zero. Offset, or -1. */
static int find_header(const uint8_t *image, uint64_t size, struct multiboot_header *header)
{
	uint64_t offset;

	size = MIN(size, HEADER_SEARCH);
	for (offset = 0; offset + 12 <= size; offset += 4) {
		memset(header, 0, sizeof(*header));
		memcpy(header, image + offset, MIN(sizeof(*header), size - offset));
		if (header->magic == HEADER_MAGIC &&
			header->magic + header->flags + header->checksum == 0)
			return (int)offset;
	}
	return -1;
}

static bool multiboot_recognizes(const uint8_t *image, uint64_t size)
{
	struct multiboot_header header;

	return find_header(image, size, &header) >= 0;
}

/* Load by the header's own addresses: the file from the byte that is to be at load_address, up to
 * load_end_address or its end; bss after that (3.1.3). */
static int load_by_addresses(const struct boot_request *request,
	const struct multiboot_header *header, uint64_t header_offset, struct elf_program *program)
{
	const struct image *kernel = request->kernel;
	uint64_t before = (uint64_t)header->header_address - header->load_address;
	uint64_t offset = header_offset - before, size, end;
	uint8_t *to;
	int error;

	if (header->load_address > header->header_address || before > header_offset) {
		image_error(kernel,
			"its multiboot header has a load_addr of %#x for a header_addr "
			"of %#x, which the file does not reach back to",
			header->load_address, header->header_address);
		return -EINVAL;
	}
	size = kernel->size - offset;
	if (header->load_end_address)
		size = (uint64_t)header->load_end_address - header->load_address;
	if (size > kernel->size - offset) {
		image_error(kernel, "truncated: its multiboot header says there are %llu bytes",
			(unsigned long long)(uint32_t)size);
		return -EINVAL;
	}
	end = MAX(header->load_address + size, header->bss_end_address);
	to = boot_ram(request->memory, header->load_address, end - header->load_address);
	if (!to && header->load_address >= LAYOUT_HIGH)
		return boot_memory_too_small(request, end);
	if (!to) {
		image_error(kernel,
			"its multiboot header asks for address %#x; "
			"expected free RAM (0x2000 to 0x20000, or from 1 MiB on)",
			header->load_address);
		return -EINVAL;
	}
	error = image_load(kernel, offset, request->memory, to, size);
	*program = (struct elf_program){.entry = header->entry_address, .end = end};
	return error;
}

static int load_program(const struct boot_request *request, struct elf_program *program)
{
	const struct image *kernel = request->kernel;
	struct multiboot_header header;
	uint8_t image[HEADER_SEARCH];
	uint64_t size = MIN(kernel->size, sizeof(image));
	int error, offset;

	error = image_read(kernel, 0, image, size);
	if (error)
		return error;
	offset = find_header(image, size, &header);
	if (offset < 0) {
		image_error(kernel, "its multiboot header went away while it was read");
		return -EIO;
	}
	if (header.flags & FLAGS_REQUIRED & ~FLAGS_KNOWN) {
		image_error(kernel,
			"its multiboot header requires features %#x that are not in "
			"Multiboot 0.6.96",
			(unsigned)(header.flags & FLAGS_REQUIRED & ~FLAGS_KNOWN));
		return -EINVAL;
	}
	if (header.flags & FLAG_ADDRESSES)
		return load_by_addresses(request, &header, (uint64_t)offset, program);
	if (!elf_recognizes(image, size)) {
		image_error(kernel, "has a multiboot header, but is no ELF file, "
				    "and the header has no load addresses (flag 16)");
		return -EINVAL;
	}
	error = elf_load_program(request, program);
	if (!error && program->entry > UINT32_MAX) {
		image_error(
			kernel, "its entry point is above 4 GiB; multiboot starts in 32-bit mode");
		return -EINVAL;
	}
	return error;
}

static uint32_t block_address(size_t offset)
{
	return (uint32_t)(LAYOUT_MULTIBOOT + offset);
}
#define BLOCK_ADDRESS(field) block_address(offsetof(struct multiboot_block, field))

static unsigned fill_mmap(const struct memory *memory, struct multiboot_mmap mmap[E820_MAX])
{
	struct e820_range map[E820_MAX];
	unsigned i, count = e820_build(memory, map);

	for (i = 0; i < count; i++)
		mmap[i] = (struct multiboot_mmap){sizeof(mmap[i]) - sizeof(mmap[i].size),
			map[i].start, map[i].size, map[i].type};
	return count;
}

/* Modules follow each other from `end` on, each at a page's start (3.3, page alignment). */
static int load_modules(
	const struct boot_request *request, uint64_t end, struct multiboot_block *block)
{
	size_t used = 0;

	for (unsigned i = 0; i < request->module_count; i++) {
		const struct boot_module *module = &request->modules[i];
		struct boot_request one = *request;
		size_t size = strlen(module->string) + 1;
		uint64_t at;
		int error;

		one.initrd = &module->image;
		error = boot_load_initrd_low(&one, end, &at);
		if (error)
			return error;
		if (size > sizeof(block->module_strings) - used) {
			image_error(&module->image,
				"the modules' arguments are longer than %zu bytes",
				sizeof(block->module_strings));
			return -E2BIG;
		}
		end = at + module->image.size;
		block->module[i] = (struct multiboot_module){.start = (uint32_t)at,
			.end = (uint32_t)end,
			.string = BLOCK_ADDRESS(module_strings) + (uint32_t)used};
		memcpy(block->module_strings + used, module->string, size);
		used += size;
	}
	return 0;
}

static int write_info(const struct boot_request *request, uint64_t program_end)
{
	struct multiboot_block block = {
		.loader_name = "veneer " VENEER_VERSION,
	};
	struct multiboot_info *info = &block.info;
	unsigned ranges = fill_mmap(request->memory, block.mmap);
	int error = load_modules(request, program_end, &block);

	if (error)
		return error;

	info->flags = INFO_MEMORY | INFO_CMDLINE | INFO_MMAP | INFO_LOADER;
	info->mem_lower = LAYOUT_EBDA / KIB;
	info->mem_upper = (uint32_t)((request->memory->low_size - LAYOUT_HIGH) / KIB);
	info->cmdline = (uint32_t)LAYOUT_CMDLINE;
	info->mmap_length = ranges * (uint32_t)sizeof(block.mmap[0]);
	info->mmap_address = BLOCK_ADDRESS(mmap);
	info->boot_loader_name = BLOCK_ADDRESS(loader_name);
	if (request->module_count) {
		info->flags |= INFO_MODULES;
		info->mods_count = request->module_count;
		info->mods_address = BLOCK_ADDRESS(module);
	}
	return memory_write(request->memory, LAYOUT_MULTIBOOT, &block, sizeof(block));
}

/* As GRUB does, and as kernels that parse it as argv expect, the kernel's name comes first. */
static int write_cmdline(const struct boot_request *request)
{
	char line[LAYOUT_CMDLINE_MAX];
	int length;

	length = snprintf(line, sizeof(line), "%s%s%s", request->kernel->path,
		*request->cmdline ? " " : "", request->cmdline);
	if (length < 0 || (size_t)length >= sizeof(line))
		return boot_write_cmdline(request, request->cmdline, 0); /* says it is too long */
	return boot_write_cmdline(request, line, LAYOUT_CMDLINE_MAX);
}

static int multiboot_load(const struct boot_request *request, struct boot_start *start)
{
	struct boot_request modules = *request;
	struct boot_module initrd = {.string = "initrd"};
	struct elf_program program;
	int error;

	if (request->initrd) {
		initrd.image = *request->initrd;
		modules.modules = &initrd;
		modules.module_count = 1;
	}
	if ((error = load_program(request, &program)) || (error = write_cmdline(request)) ||
		(error = write_info(&modules, program.end)))
		return error;
	start->mode = BOOT_PROTECTED_MODE;
	start->after_bios = true;
	start->rip = program.entry;
	start->rax = LOADER_MAGIC;
	start->rbx = LAYOUT_MULTIBOOT;
	return 0;
}

const struct boot_protocol boot_multiboot = {
	"Multiboot kernel", multiboot_recognizes, multiboot_load};
