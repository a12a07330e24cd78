/* Linux bzImage: a real-mode part whose only use here is the setup header inside it, then the
 * protected-mode kernel, which decompresses itself.
 *
 *	file                           guest RAM
 *	0      boot sector
 *	0x1f1  setup header      ----> boot_params.hdr
 *	...    real-mode code          (never run: it would ask a BIOS what we know)
 *	(setup_sects + 1) * 512  ----> load address: pref_address
 *	...    kernel                  load address + init_size: end of what it may touch
 *	                               initrd, below initrd_addr_max
 *
 * With XLF_KERNEL_64 the kernel is entered in long mode at load address + 0x200, else in 32-bit
 * protected mode at the load address. Field names are those of boot.rst. */
#include "machine/boot.h"
#include "machine/layout.h"
#include "machine/linux.h"

#include <errno.h>
#include <string.h>

#define SECTOR          512
#define HEADER_OFFSET   offsetof(struct boot_params, hdr) /* 0x1f1 in the file, too */
#define HEADER_MAGIC    0x53726448                        /* "HdrS" */
#define BOOT_FLAG       0xaa55
#define ENTRY_64_OFFSET 0x200

/* The oldest protocol taken is 2.06 (Linux 2.6.22): from there on the header says how long a
 * command line may be. */
#define OLDEST_VERSION 0x0206

static bool bzimage_recognizes(const uint8_t *image, uint64_t size)
{
	struct setup_header header = {0};

	/* A header that is cut short is still one, and is better called truncated than unknown. */
	if (size <= HEADER_OFFSET)
		return false;
	memcpy(&header, image + HEADER_OFFSET, MIN(size - HEADER_OFFSET, sizeof(header)));
	return header.boot_flag == BOOT_FLAG && header.header == HEADER_MAGIC;
}

/* Where the kernel's parts are, in the file and in guest RAM. */
struct placement {
	uint64_t setup_size;  /* what precedes the protected-mode kernel in the file */
	uint64_t kernel_size; /* protected-mode kernel in the file */
	uint64_t load;        /* its guest-physical address */
	uint64_t end;         /* end of the memory it uses before it reads the memory map */
};

/* Read the setup header, as long as this kernel's version of it is: a jump instruction before
 * "HdrS" skips the rest of it, so its displacement tells (boot.rst, "jump"). */
static int read_header(const struct image *kernel, struct setup_header *header)
{
	uint8_t displacement;
	uint64_t length;
	int error;

	error = image_read(kernel, 0x201, &displacement, 1);
	if (error)
		return error;
	length = MIN(0x202 + (uint64_t)displacement - HEADER_OFFSET, sizeof(*header));
	memset(header, 0, sizeof(*header));
	error = image_read(kernel, HEADER_OFFSET, header, length);
	if (error == -EINVAL)
		image_error(kernel, "truncated within the setup header");
	return error;
}

static int check_header(const struct image *kernel, const struct setup_header *header)
{
	if (header->version < OLDEST_VERSION) {
		image_error(kernel, "boot protocol %u.%02u is too old; expected 2.06 or later",
			header->version >> 8, header->version & 0xff);
		return -EINVAL;
	}
	if (!(header->loadflags & LOADED_HIGH)) {
		image_error(kernel, "a zImage; expected a bzImage (loadflags without LOADED_HIGH)");
		return -EINVAL;
	}
	return 0;
}

static int find_kernel_in_file(
	const struct image *kernel, const struct setup_header *header, struct placement *place)
{
	uint64_t sectors = header->setup_sects ? header->setup_sects : 4;
	uint64_t expected = (uint64_t)header->syssize * 16;

	place->setup_size = (sectors + 1) * SECTOR;
	/* syssize counts 16-byte paragraphs, rounded up. */
	if (kernel->size <= place->setup_size || kernel->size - place->setup_size + 15 < expected) {
		image_error(kernel, "truncated: %llu bytes; its header says there are %llu",
			(unsigned long long)kernel->size,
			(unsigned long long)(place->setup_size + expected));
		return -EINVAL;
	}
	place->kernel_size = kernel->size - place->setup_size;
	return 0;
}

/* Choose the load address: what the kernel prefers. A relocatable one could be put lower, but would
 * gain nothing: it moves itself up to there before it decompresses. The initrd must fit above it.
 */
static int find_load_address(const struct boot_request *request, const struct setup_header *header,
	struct placement *place)
{
	uint64_t needed = place->kernel_size, room;

	place->load = LAYOUT_HIGH;
	if (header->version >= 0x020a) {
		place->load = header->pref_address;
		needed = MAX(needed, header->init_size);
	}
	if (place->load < LAYOUT_HIGH || place->load >= MEMORY_PCI_HOLE_START) {
		image_error(request->kernel,
			"its header asks to be loaded at %#llx, where there is no memory",
			(unsigned long long)place->load);
		return -EINVAL;
	}
	needed = ALIGN_UP(needed, PAGE_SIZE);
	room = needed + boot_initrd_room(request);
	place->end = place->load + needed;
	if (!boot_ram(request->memory, place->load, room))
		return boot_memory_too_small(request, place->end);
	return 0;
}

static int bzimage_load(const struct boot_request *request, struct boot_start *start)
{
	struct boot_params params = {0};
	struct setup_header *header = &params.hdr;
	struct placement place;
	uint64_t initrd;
	int error;

	if ((error = read_header(request->kernel, header)) ||
		(error = check_header(request->kernel, header)) ||
		(error = find_kernel_in_file(request->kernel, header, &place)) ||
		(error = find_load_address(request, header, &place)))
		return error;
	error = boot_load_initrd_high(
		request, place.end, (uint64_t)header->initrd_addr_max + 1, &initrd);
	if (error)
		return error;
	error = image_load(request->kernel, place.setup_size, request->memory,
		boot_ram(request->memory, place.load, place.kernel_size), place.kernel_size);
	if (error)
		return error;

	header->code32_start = (uint32_t)place.load;
	error = linux_write_boot_params(request, &params, initrd, header->cmdline_size);
	if (error)
		return error;

	start->rsi = LAYOUT_BOOT_PARAMS;
	start->mode = BOOT_PROTECTED_MODE;
	start->rip = place.load;
	if (header->version >= 0x020c && (header->xloadflags & XLF_KERNEL_64)) {
		start->mode = BOOT_LONG_MODE;
		start->rip = place.load + ENTRY_64_OFFSET;
	}
	return 0;
}

const struct boot_protocol boot_bzimage = {"Linux bzImage", bzimage_recognizes, bzimage_load};
