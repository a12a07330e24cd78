/* What the fuzzers of the boot protocols share: guest RAM, the call, and what must hold whatever
 * the image says: AddressSanitizer sees a loader that leaves its buffers, and this sees one that
 * writes into guest RAM where it has no business. */
#ifndef VENEER_TESTS_FUZZ_BOOT_H
#define VENEER_TESTS_FUZZ_BOOT_H

#include "base/log.h"
#include "machine/boot.h"
#include "machine/layout.h"

#include <stdlib.h>
#include <string.h>

#define FUZZ_MEMORY (8 * MIB)

static struct memory fuzz_memory;

static inline void fuzz_require(bool condition)
{
	if (!condition)
		abort();
}

/* Where loaders may write below 1 MiB: the area for small kernels, boot_params, the command line,
 * multiboot's structure. */
static inline void fuzz_check_low_memory(void)
{
	static const uint8_t zeros[PAGE_SIZE];
	uint64_t gpa;

	for (gpa = 0; gpa < LAYOUT_HIGH; gpa += PAGE_SIZE) {
		if (gpa == LAYOUT_BOOT_PARAMS ||
			(gpa >= LAYOUT_LOW_FREE && gpa < LAYOUT_LOW_FREE_END) ||
			(gpa >= LAYOUT_CMDLINE && gpa < LAYOUT_CMDLINE + LAYOUT_CMDLINE_MAX) ||
			(gpa >= LAYOUT_MULTIBOOT &&
				gpa < LAYOUT_MULTIBOOT + LAYOUT_MULTIBOOT_MAX) ||
			(gpa >= MEMORY_VGA_START && gpa < MEMORY_VGA_END))
			continue;
		fuzz_require(memcmp(memory_ram_pointer(&fuzz_memory, gpa), zeros, PAGE_SIZE) == 0);
	}
}

/* Load `kernel` by `protocol`, and check. `request` may have an initrd. Returns what load() does.
 */
static inline int fuzz_load(const struct boot_protocol *protocol, struct boot_request *request,
	const void *kernel, size_t size, struct boot_start *start)
{
	static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
	struct image image;
	int error;

	if (!fuzz_memory.ram) {
		log_threshold = LOG_ERROR;
		fuzz_require(memory_create(&fuzz_memory, FUZZ_MEMORY, 40, &lock) == 0);
	}
	image_from_bytes(&image, "--kernel", kernel, size);
	request->memory = &fuzz_memory;
	request->kernel = &image;
	request->rsdp = LAYOUT_BIOS;
	if (!request->cmdline)
		request->cmdline = "console=ttyS0";
	memset(start, 0, sizeof(*start));
	error = protocol->load(request, start);
	fuzz_check_low_memory();
	return error;
}

#endif
