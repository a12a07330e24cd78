/* Fuzzes where an initrd goes: a well-formed bzImage with the input's ideas of its sizes and
 * limits, and an initrd of the input's size. Kernel and initrd must lie in RAM, apart, and below
 * the limit. */
#include "fuzz_boot.h"

#include <asm/bootparam.h>

#define SETUP_SIZE  1024
#define KERNEL_SIZE 512

struct wishes {
	uint64_t pref_address;
	uint32_t init_size, initrd_addr_max, initrd_size;
	uint8_t xloadflags;
};

static struct setup_header make_header(const struct wishes *wishes)
{
	return (struct setup_header){
		.setup_sects = 1,
		.syssize = KERNEL_SIZE / 16,
		.boot_flag = 0xaa55,
		.jump = 0x66eb,
		.header = 0x53726448,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = wishes->initrd_addr_max,
		.xloadflags = wishes->xloadflags,
		.cmdline_size = 255,
		.pref_address = wishes->pref_address,
		.init_size = wishes->init_size,
	};
}

static void check_placement(const struct wishes *wishes, const struct boot_start *start,
	const uint8_t *initrd, uint64_t initrd_size)
{
	uint64_t load = start->rip - (start->mode == BOOT_LONG_MODE ? 0x200 : 0);
	uint64_t end = load + MAX(wishes->init_size, KERNEL_SIZE);
	uint32_t image, size;

	memory_read(&fuzz_memory, LAYOUT_BOOT_PARAMS + 0x218, &image, sizeof(image));
	memory_read(&fuzz_memory, LAYOUT_BOOT_PARAMS + 0x21c, &size, sizeof(size));
	fuzz_require(load >= LAYOUT_HIGH && end <= FUZZ_MEMORY);
	fuzz_require(size == initrd_size);
	fuzz_require(image >= end && image + initrd_size <= FUZZ_MEMORY);
	fuzz_require(image + initrd_size <= (uint64_t)wishes->initrd_addr_max + 1);
	fuzz_require(memcmp(fuzz_memory.ram + image, initrd, initrd_size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t initrd[FUZZ_MEMORY];
	uint8_t kernel[SETUP_SIZE + KERNEL_SIZE] = {0};
	struct setup_header header;
	struct image image;
	struct boot_request request = {.initrd = &image};
	struct boot_start start;
	struct wishes wishes;
	uint64_t initrd_size;

	if (size < sizeof(wishes))
		return 0;
	memcpy(&wishes, data, sizeof(wishes));
	header = make_header(&wishes);
	memcpy(kernel + offsetof(struct boot_params, hdr), &header, sizeof(header));
	memset(kernel + SETUP_SIZE, 0xcc, KERNEL_SIZE);
	initrd_size = 1 + wishes.initrd_size % sizeof(initrd);
	initrd[0] = initrd[initrd_size - 1] = 0x5a;
	image_from_bytes(&image, "--initrd", initrd, initrd_size);
	if (fuzz_load(&boot_bzimage, &request, kernel, sizeof(kernel), &start) == 0)
		check_placement(&wishes, &start, initrd, initrd_size);
	initrd[initrd_size - 1] = 0;
	return 0;
}
