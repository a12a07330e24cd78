/* Linux kernels with nothing but a 16-bit entry (boot.rst, "The Linux/x86 Boot Protocol"): iPXE's
 * .lkrn, memdisk. They call the BIOS, so firmware runs first, and then an option ROM of ours, which
 * it boots like a disk: a list of fw_cfg's DMA structs, made here, and code that starts one after
 * the other and enters the kernel's setup code.
 *
 *	0x10000		setup code, the image's first sectors; its stack and heap below 0x1e000
 *	0x1e000		command line
 *	0x100000	the rest
 *	end of RAM	initrd, below what firmware keeps there */
#include "machine/real_mode.h"

#include "base/log.h"
#include "device/fw_cfg.h"
#include "machine/machine.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_SIZE     0x260
#define SETUP_SECTORS   0x1f1
#define BOOT_FLAG       0x1fe
#define MAGIC           0x202
#define VERSION         0x206
#define LOADER_TYPE     0x210
#define LOAD_FLAGS      0x211
#define INITRD_ADDRESS  0x218
#define INITRD_SIZE     0x21c
#define HEAP_END        0x224
#define CMDLINE_POINTER 0x228
#define INITRD_MAX      0x22c

#define FIRST_WITH_CMDLINE 0x202
#define FIRST_WITH_MAX     0x203
#define FIRST_OF_LINUX     0x20a /* since 2.6.36; all have a 32-bit entry */
#define LOADED_HIGH        0x01
#define CAN_USE_HEAP       0x80
#define UNKNOWN_LOADER     0xff

#define SETUP_PLACE    0x10000
#define STACK          0xe000 /* in the setup code's segment */
#define CMDLINE_PLACE  0x1e000
#define CMDLINE_SIZE   2048
#define KERNEL_PLACE   0x100000
#define FIRMWARE_KEEPS (4 * MIB)
#define INITRD_HIGHEST 0x37ffffff

#define DMA_READ 0x0a /* select, and read */

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t get32(const uint8_t *at)
{
	return get16(at) | (uint32_t)get16(at + 2) << 16;
}

static void put32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

bool real_mode_is_needed(const struct image *kernel)
{
	uint8_t header[HEADER_SIZE];

	return image_read(kernel, 0, header, sizeof(header)) == 0 &&
	       get16(header + BOOT_FLAG) == 0xaa55 && memcmp(header + MAGIC, "HdrS", 4) == 0 &&
	       get16(header + VERSION) < FIRST_OF_LINUX;
}

/* --- the option ROM --- */

#define ROM_SIZE     512
#define ROM_PNP      0x20
#define ROM_ENTRY    0x40
#define ROM_REQUESTS 0x80
#define ROM_NAME     0x1f0
#define MOST         4 /* requests */

static const uint8_t rom_start[] = {0x55, 0xaa, ROM_SIZE / 512, 0xcb /* retf */};
/* Plug and Play BIOS 1.0A, 3.2: the vector says where to boot from it. */
static const uint8_t rom_pnp[32] = {
	'$', 'P', 'n', 'P', 1, 2, [16] = ROM_NAME & 0xff, ROM_NAME >> 8, [26] = ROM_ENTRY};
static const uint8_t rom_code[] = {
	0xfa,                                    /* cli */
	0x8c, 0xc8,                              /* mov %cs, %ax */
	0x66, 0x0f, 0xb7, 0xf0,                  /* movzwl %ax, %esi */
	0x66, 0xc1, 0xe6, 0x04,                  /* shl $4, %esi */
	0x66, 0x81, 0xc6, ROM_REQUESTS, 0, 0, 0, /* add $ROM_REQUESTS, %esi */
	0xb9, 0, 0,                              /* mov $count, %cx */
	0x66, 0x89, 0xf0,                        /* 1: mov %esi, %eax */
	0x66, 0x0f, 0xc8,                        /* bswap %eax */
	0xba, 0x18, 0x05,                        /* mov $0x518, %dx */
	0x66, 0xef,                              /* out %eax, (%dx) */
	0x66, 0x83, 0xc6, 0x10,                  /* add $16, %esi */
	0xe2, 0xef,                              /* loop 1b */
	0xb8, 0x00, 0x10,                        /* mov $0x1000, %ax */
	0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe0,      /* mov %ax, %ds, %es, %fs */
	0x8e, 0xe8, 0x8e, 0xd0,                  /* mov %ax, %gs, %ss */
	0xbc, STACK & 0xff, STACK >> 8,          /* mov $STACK, %sp */
	0xea, 0x00, 0x00, 0x20, 0x10,            /* ljmp $0x1020, $0 */
};

#define ROM_COUNT 19 /* where the count is in the code */

_Static_assert(sizeof(rom_code) <= ROM_REQUESTS - ROM_ENTRY, "the code is before the requests");

struct rom {
	uint8_t bytes[ROM_SIZE];
	unsigned count;
};

/* The item's bytes go to `place`. */
static void add_request(struct rom *rom, uint16_t key, uint32_t size, uint32_t place)
{
	uint8_t *at = rom->bytes + ROM_REQUESTS + 16 * rom->count++;
	uint32_t words[4] = {
		htobe32((uint32_t)key << 16 | DMA_READ), htobe32(size), 0, htobe32(place)};

	memcpy(at, words, sizeof(words));
}

static int add_rom(struct fw_cfg *fw_cfg, struct rom *rom)
{
	uint8_t *bytes = rom->bytes;

	memcpy(bytes, rom_start, sizeof(rom_start));
	bytes[0x1a] = ROM_PNP;
	memcpy(bytes + ROM_PNP, rom_pnp, sizeof(rom_pnp));
	memcpy(bytes + ROM_ENTRY, rom_code, sizeof(rom_code));
	bytes[ROM_ENTRY + ROM_COUNT] = (uint8_t)rom->count;
	memcpy(bytes + ROM_NAME, "kernel", 6);
	for (unsigned i = 0; i < ROM_SIZE - 1; i++)
		bytes[ROM_SIZE - 1] = (uint8_t)(bytes[ROM_SIZE - 1] - bytes[i]);
	return fw_cfg_add_file(fw_cfg, "genroms/" REAL_MODE_ROM, bytes, ROM_SIZE);
}

/* --- the kernel --- */

/* All of an image, for as long as the machine lives. */
static int read_all(const struct image *image, uint8_t **bytes)
{
	*bytes = image->size <= UINT32_MAX ? malloc(image->size) : NULL;
	if (!*bytes) {
		image_error(image, "too large, or out of memory");
		return -ENOMEM;
	}
	return image_read(image, 0, *bytes, image->size);
}

static int add_initrd(struct machine *machine, struct rom *rom, uint8_t *header)
{
	const struct image *initrd = &machine->initrd;
	uint64_t kernel_end = ALIGN_UP(KERNEL_PLACE + machine->kernel.size, PAGE_SIZE);
	uint32_t highest = INITRD_HIGHEST;
	uint64_t end, place;
	int error = read_all(initrd, &machine->firmware.initrd);

	if (error)
		return error;
	if (get16(header + VERSION) >= FIRST_WITH_MAX && get32(header + INITRD_MAX))
		highest = get32(header + INITRD_MAX);
	end = MIN((uint64_t)highest + 1, machine->memory.low_size);
	if (end < FIRMWARE_KEEPS + initrd->size + kernel_end) {
		image_error(initrd, "there is not enough --memory for it");
		return -EINVAL;
	}
	place = ALIGN_DOWN(end - FIRMWARE_KEEPS - initrd->size, PAGE_SIZE);
	put32(header + INITRD_ADDRESS, (uint32_t)place);
	put32(header + INITRD_SIZE, (uint32_t)initrd->size);
	add_request(rom, FW_CFG_INITRD_DATA, (uint32_t)initrd->size, (uint32_t)place);
	return fw_cfg_add_borrowed(machine->fw_cfg, FW_CFG_INITRD_DATA, machine->firmware.initrd,
		(uint32_t)initrd->size);
}

static int check(const struct machine *machine, const uint8_t *kernel, uint32_t setup)
{
	if (!(kernel[LOAD_FLAGS] & LOADED_HIGH) || setup >= machine->kernel.size ||
		setup > STACK / 2) {
		image_error(&machine->kernel, "not a bzImage that is loaded to 1 MiB");
		return -EINVAL;
	}
	if (KERNEL_PLACE + machine->kernel.size + FIRMWARE_KEEPS > machine->memory.low_size) {
		image_error(&machine->kernel, "there is not enough --memory for it");
		return -EINVAL;
	}
	if (strlen(machine->cmdline) >= CMDLINE_SIZE) {
		log_error("--append: this kernel takes at most %u characters", CMDLINE_SIZE - 1);
		return -E2BIG;
	}
	return 0;
}

int real_mode_add(struct machine *machine)
{
	struct rom rom = {0};
	uint32_t setup, size = (uint32_t)machine->kernel.size;
	uint8_t *kernel;
	int error = read_all(&machine->kernel, &machine->firmware.kernel);

	if (error)
		return error;
	kernel = machine->firmware.kernel;
	setup = ((kernel[SETUP_SECTORS] ? kernel[SETUP_SECTORS] : 4) + 1u) * 512;
	error = check(machine, kernel, setup);
	if (error)
		return error;
	kernel[LOADER_TYPE] = UNKNOWN_LOADER;
	kernel[LOAD_FLAGS] |= CAN_USE_HEAP;
	kernel[HEAP_END] = (STACK - 0x400) & 0xff;
	kernel[HEAP_END + 1] = (STACK - 0x400) >> 8;
	if (get16(kernel + VERSION) >= FIRST_WITH_CMDLINE)
		put32(kernel + CMDLINE_POINTER, CMDLINE_PLACE);
	add_request(&rom, FW_CFG_KERNEL_DATA, size - setup, KERNEL_PLACE);
	add_request(
		&rom, FW_CFG_CMDLINE_DATA, (uint32_t)strlen(machine->cmdline) + 1, CMDLINE_PLACE);
	if (machine->initrd.size)
		error = add_initrd(machine, &rom, kernel);
	add_request(&rom, FW_CFG_SETUP_DATA, setup, SETUP_PLACE);
	if (!error)
		error = fw_cfg_add_borrowed(machine->fw_cfg, FW_CFG_SETUP_DATA, kernel, setup);
	if (!error)
		error = fw_cfg_add_borrowed(
			machine->fw_cfg, FW_CFG_KERNEL_DATA, kernel + setup, size - setup);
	if (!error)
		error = fw_cfg_add(machine->fw_cfg, FW_CFG_CMDLINE_DATA, machine->cmdline,
			(uint32_t)strlen(machine->cmdline) + 1);
	return error ? error : add_rom(machine->fw_cfg, &rom);
}
