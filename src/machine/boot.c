/* What the boot protocols share, and the choice among them. */
#include "machine/boot.h"

#include "base/log.h"
#include "machine/layout.h"

#include <errno.h>
#include <string.h>

/* Multiboot before ELF: a multiboot kernel usually is an ELF file too, and one that has a multiboot
 * header expects multiboot's start state. */
static const struct boot_protocol *const protocols[] = {&boot_bzimage, &boot_multiboot, &boot_elf};

/* Things that people give by mistake, to say more than "unknown". */
static const struct lookalike {
	unsigned offset, size;
	const char *magic;
	const char *what;
} lookalikes[] = {
	{0x38, 4, "ARM\x64", "a Linux kernel for arm64; expected one for x86"},
	{0x38, 4, "RSC\x05", "a Linux kernel for RISC-V; expected one for x86"},
	{0x24, 4, "\x18\x28\x6f\x01", "a Linux kernel for arm; expected one for x86"},
	{0, 2, "\x1f\x8b", "a gzip-compressed file; decompress it first, or give the bzImage"},
	{0, 4, "\x28\xb5\x2f\xfd", "a zstd-compressed file; decompress it first"},
	{0, 6,
		"\xfd"
		"7zXZ",
		"an xz-compressed file; decompress it first"},
	{0, 6, "070701", "a cpio archive; is it the --initrd?"},
	{0, 7, "!<arch>", "an archive (a Debian package?); unpack it first"},
	{0, 2, "MZ", "an EFI or Windows program without a Linux kernel in it"},
	{0, 4, "\x27\x05\x19\x56", "a U-Boot image; give the kernel inside it"},
};

static int refuse_unknown(const struct image *kernel, const uint8_t *header, uint64_t size)
{
	const struct lookalike *row;

	for (row = lookalikes; row < lookalikes + ARRAY_SIZE(lookalikes); row++) {
		if (row->offset + row->size > size ||
			memcmp(header + row->offset, row->magic, row->size) != 0)
			continue;
		image_error(kernel, "%s", row->what);
		return -EINVAL;
	}
	image_error(kernel,
		"%snot a kernel veneer knows; expected a Linux bzImage, "
		"a multiboot kernel or an x86 ELF executable",
		size < 1024 ? "truncated, or " : "");
	return -EINVAL;
}

int boot_load(const struct boot_request *request, struct boot_start *start)
{
	uint8_t header[BOOT_HEADER_SIZE];
	uint64_t size = MIN(request->kernel->size, sizeof(header));
	unsigned i;
	int error;

	error = image_read(request->kernel, 0, header, size);
	if (error)
		return error;
	memset(start, 0, sizeof(*start));
	for (i = 0; i < ARRAY_SIZE(protocols); i++) {
		if (!protocols[i]->recognizes(header, size))
			continue;
		log_debug("%s: %s", request->kernel->path, protocols[i]->name);
		return protocols[i]->load(request, start);
	}
	return refuse_unknown(request->kernel, header, size);
}

uint8_t *boot_ram(const struct memory *memory, uint64_t gpa, uint64_t size)
{
	if (gpa >= LAYOUT_LOW_FREE && gpa < LAYOUT_LOW_FREE_END &&
		size <= LAYOUT_LOW_FREE_END - gpa)
		return memory->ram + gpa;
	if (gpa >= LAYOUT_HIGH && gpa < memory->low_size && size <= memory->low_size - gpa)
		return memory->ram + gpa;
	if (gpa >= MEMORY_HIGH_START && gpa - MEMORY_HIGH_START < memory->high_size &&
		size <= memory->high_size - (gpa - MEMORY_HIGH_START))
		return memory->ram + memory->low_size + (gpa - MEMORY_HIGH_START);
	return NULL;
}

uint64_t boot_initrd_room(const struct boot_request *request)
{
	return request->initrd ? ALIGN_UP(request->initrd->size, PAGE_SIZE) : 0;
}

int boot_memory_too_small(const struct boot_request *request, uint64_t kernel_end)
{
	uint64_t needed = ALIGN_UP(kernel_end, PAGE_SIZE) + boot_initrd_room(request);
	unsigned long long mib = ALIGN_UP(needed, MIB) / MIB;
	const char *with = request->initrd ? " for it and its initrd" : "";

	if (needed > MEMORY_PCI_HOLE_START)
		image_error(request->kernel,
			"needs %llu MiB of memory below 4 GiB%s; there can be at most %llu", mib,
			with, (unsigned long long)(MEMORY_PCI_HOLE_START / MIB));
	else
		image_error(request->kernel, "needs at least --memory %lluM%s; there is %lluM", mib,
			with, (unsigned long long)(request->memory->ram_size / MIB));
	return -EINVAL;
}

static int load_initrd_at(const struct boot_request *request, uint64_t gpa)
{
	uint8_t *to = boot_ram(request->memory, gpa, request->initrd->size);
	int error = to ? image_load(request->initrd, 0, request->memory, to, request->initrd->size)
		       : -EFAULT;

	if (error == -EFAULT)
		image_error(request->initrd, "does not fit into the guest's memory");
	return error;
}

int boot_load_initrd_high(
	const struct boot_request *request, uint64_t start, uint64_t limit, uint64_t *gpa)
{
	uint64_t size, end = MIN(limit, request->memory->low_size);

	*gpa = 0;
	if (!request->initrd)
		return 0;
	size = request->initrd->size;
	start = ALIGN_UP(start, PAGE_SIZE);
	if (start < limit && size <= limit - start && start + size > request->memory->low_size)
		return boot_memory_too_small(request, start);
	if (start >= end || size > end - start) {
		image_error(request->initrd,
			"%llu MiB is too large: this kernel wants it between %#llx and %#llx",
			(unsigned long long)(ALIGN_UP(size, MIB) / MIB), (unsigned long long)start,
			(unsigned long long)limit);
		return -EINVAL;
	}
	*gpa = ALIGN_DOWN(end - size, PAGE_SIZE);
	return load_initrd_at(request, *gpa);
}

int boot_load_initrd_low(const struct boot_request *request, uint64_t start, uint64_t *gpa)
{
	uint64_t size, low_size = request->memory->low_size;

	*gpa = 0;
	if (!request->initrd)
		return 0;
	size = request->initrd->size;
	start = MAX(ALIGN_UP(start, PAGE_SIZE), LAYOUT_HIGH);
	if (start > low_size || size > low_size - start)
		return boot_memory_too_small(request, start);
	*gpa = start;
	return load_initrd_at(request, *gpa);
}

int boot_write_cmdline(const struct boot_request *request, const char *cmdline, uint64_t max)
{
	uint64_t length = strlen(cmdline);

	max = MIN(max, LAYOUT_CMDLINE_MAX - 1);
	if (length > max) {
		log_error("--append: %llu characters; this kernel takes at most %llu",
			(unsigned long long)length, (unsigned long long)max);
		return -E2BIG;
	}
	return memory_write(request->memory, LAYOUT_CMDLINE, cmdline, length + 1);
}
