#include "memory/internal.h"

#include "base/log.h"
#include "host/low_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MINIMUM_SIZE (1 * MIB)

/* Where RAM is put: memory_flags_displacement() wants an address below 2^42, and ThreadSanitizer
 * has those from 2^39 on for itself, so they are for RAM that needs them. A random one all the
 * same, so that a guest does not know it. */
#define RAM_LOWEST       (UINT64_C(1) << 33)
#define RAM_END          (UINT64_C(1) << 39)
#define RAM_END_FAR      (UINT64_C(1) << 42)
#define RAM_ALIGNMENT    (2 * MIB) /* for transparent huge pages */
#define RAM_PLACES_TRIED 16

static void *map_ram_low(const struct memory *memory)
{
	uint64_t room = RAM_END - RAM_LOWEST, place, random;

	/* A place is found at once where at least half of the room is free for it. */
	if (memory->file_size > room / 2)
		room = RAM_END_FAR - RAM_LOWEST;
	if (memory->file_size > room)
		return NULL;
	for (unsigned i = 0; i < RAM_PLACES_TRIED; i++) {
		void *ram;

		if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
			return NULL;
		place = RAM_LOWEST + random % (room - memory->file_size + 1);
		place &= ~(RAM_ALIGNMENT - 1);
		ram = low_memory_map_at(place, memory->file_size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_NORESERVE, memory->fd);
		if (ram)
			return ram;
	}
	return NULL;
}

/* One of our own, which a helper that has it cannot cut off under us. */
static bool make_file(struct memory *memory)
{
	memory->fd = memfd_create("veneer-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return memory->fd >= 0 && ftruncate(memory->fd, (off_t)memory->file_size) == 0 &&
	       fcntl(memory->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
}

/* Somebody else's may be larger, but is never made smaller. */
static bool extend_file(struct memory *memory)
{
	struct stat status;

	if (fstat(memory->fd, &status) < 0)
		return false;
	return (uint64_t)status.st_size >= memory->file_size ||
	       ftruncate(memory->fd, (off_t)memory->file_size) == 0;
}

static int map_ram(struct memory *memory)
{
	void *ram;

	if (memory->fd < 0 ? !make_file(memory) : !extend_file(memory)) {
		int error = -errno;

		log_error("cannot make a file for %" PRIu64 " MiB of guest memory: %s",
			memory->ram_size / MIB, strerror(-error));
		return error;
	}
	ram = map_ram_low(memory);
	if (!ram)
		ram = mmap(NULL, memory->file_size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_NORESERVE, memory->fd, 0);
	if (ram == MAP_FAILED) {
		int error = -errno;

		log_error("cannot map %" PRIu64 " MiB of guest memory: %s", memory->ram_size / MIB,
			strerror(-error));
		return error;
	}
	memory->ram = ram;
	return 0;
}

static int make_tables(struct memory *memory)
{
	uint64_t pages = memory->file_size >> PAGE_SHIFT;

	memory->page_flags = low_memory_map(pages * sizeof(*memory->page_flags));
	memory->code_lines = calloc(pages, sizeof(*memory->code_lines));
	memory->code_generation = calloc(pages, sizeof(*memory->code_generation));
	memory->table_version = calloc(pages, sizeof(*memory->table_version));
	if (memory->page_flags && memory->code_lines && memory->code_generation &&
		memory->table_version)
		return 0;
	log_error("out of memory for the tables of %" PRIu64 " MiB of guest memory",
		memory->ram_size / MIB);
	return -ENOMEM;
}

static void add_ram(struct memory *memory)
{
	struct memory_region low = {.size = MEMORY_VGA_START, .fd = memory->fd, .name = "RAM"};
	struct memory_region vga = {.gpa = MEMORY_VGA_START,
		.size = MEMORY_VGA_END - MEMORY_VGA_START,
		.kind = MEMORY_HOLE,
		.fd = -1,
		.name = "VGA window"};
	struct memory_region middle = low, high = low;

	middle.gpa = middle.offset = MEMORY_VGA_END;
	middle.size = memory->low_size - MEMORY_VGA_END;
	high.gpa = MEMORY_HIGH_START;
	high.size = memory->high_size;
	high.offset = memory->low_size;
	memory_region_add(memory, &low);
	memory_region_add(memory, &vga);
	memory_region_add(memory, &middle);
	memory_region_add(memory, &high);
}

int memory_create(struct memory *memory, uint64_t size, unsigned physical_bits,
	struct priority_lock *machine_lock)
{
	return memory_create_in(memory, size, physical_bits, machine_lock, -1);
}

int memory_create_in(struct memory *memory, uint64_t size, unsigned physical_bits,
	struct priority_lock *machine_lock, int file)
{
	int error;

	*memory = (struct memory){.fd = file};
	if (size < MINIMUM_SIZE || size & ~PAGE_MASK ||
		size > BIT(physical_bits) - MEMORY_HIGH_START) {
		log_error("cannot have %" PRIu64 " bytes of guest memory: expected whole pages, at "
			  "least %" PRIu64 " KiB, and no more than %u bits of address reach",
			size, MINIMUM_SIZE / KIB, physical_bits);
		if (file >= 0)
			close(file);
		memory->fd = -1;
		return -EINVAL;
	}
	io_space_init(&memory->mmio, machine_lock);
	pthread_mutex_init(&memory->lock, NULL);
	pthread_mutex_init(&memory->locked_work, NULL);
	memory->ram_size = size;
	memory->physical_bits = physical_bits;
	memory->file_size = size + MEMORY_ROM_ROOM + MEMORY_VIDEO;
	memory->low_size = MIN(size, MEMORY_PCI_HOLE_START);
	memory->high_size = size - memory->low_size;
	error = make_tables(memory);
	if (!error)
		error = map_ram(memory);
	if (error) {
		memory_destroy(memory);
		return error;
	}
	add_ram(memory);
	/* Without this membarrier() below gives EPERM, and the slow way is taken. */
	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	return 0;
}

static int clear_region(struct memory *memory, const struct memory_region *region)
{
	uint64_t first = region->offset >> PAGE_SHIFT, count = region->size >> PAGE_SHIFT;

	for (uint64_t page = first; page < first + count; page++)
		if (atomic_load(&memory->page_flags[page]))
			memory_written(memory, memory->ram + (page << PAGE_SHIFT), PAGE_SIZE);
	if (madvise(memory->ram + region->offset, region->size, MADV_REMOVE) == 0)
		return 0;
	/* The file is of a file system that has no holes. */
	if (errno != EOPNOTSUPP)
		return -errno;
	memset(memory->ram + region->offset, 0, region->size);
	return 0;
}

int memory_clear(struct memory *memory)
{
	int error = 0;

	for (unsigned i = 0; i < memory->region_count && !error; i++)
		if (memory->region[i].kind == MEMORY_RAM)
			error = clear_region(memory, &memory->region[i]);
	if (error)
		log_error("cannot clear the guest's memory: %s", strerror(-error));
	return error;
}

void memory_destroy(struct memory *memory)
{
	if (memory->ram)
		munmap(memory->ram, memory->file_size);
	if (memory->fd >= 0)
		close(memory->fd);
	if (memory->page_flags)
		munmap((void *)memory->page_flags,
			(memory->file_size >> PAGE_SHIFT) * sizeof(*memory->page_flags));
	free(memory->code_lines);
	free(memory->code_generation);
	free(memory->table_version);
	free(memory->log);
	io_space_destroy(&memory->mmio);
	pthread_mutex_destroy(&memory->locked_work);
	pthread_mutex_destroy(&memory->lock);
	*memory = (struct memory){.fd = -1};
}

int memory_pair_create(const struct memory *memory, struct memory_pair *pair)
{
	void *at = mmap(
		NULL, 2 * PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	*pair = (struct memory_pair){.at = at == MAP_FAILED ? NULL : at};
	/* One page of RAM twice makes two mappings, which the kernel cannot join; to show others
	 * then takes no more mappings, even where the process can have no more. */
	if (pair->at && memory_pair_show(memory, pair, memory->ram, memory->ram))
		return 0;
	memory_pair_destroy(pair);
	return -ENOMEM;
}

void memory_pair_destroy(struct memory_pair *pair)
{
	if (pair->at)
		munmap(pair->at, 2 * PAGE_SIZE);
	*pair = (struct memory_pair){.at = NULL};
}

/* `half`: 0 or 1. A mapping with MAP_FIXED replaces what is there, so it must not leave the pair's
 * two pages. */
static bool map_half(
	const struct memory *memory, struct memory_pair *pair, unsigned half, const uint8_t *page)
{
	uint64_t offset = (uint64_t)(page - memory->ram);
	uint8_t *at = pair->at + half * PAGE_SIZE;

	if (half > 1 || offset & ~PAGE_MASK || offset >= memory->file_size)
		return false;
	return mmap(at, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED,
		       memory->fd, (off_t)offset) == at;
}

uint8_t *memory_pair_show(const struct memory *memory, struct memory_pair *pair,
	const uint8_t *first, const uint8_t *second)
{
	if (pair->page[0] == first && pair->page[1] == second)
		return pair->at;
	memory_pair_forget(pair);
	if (!map_half(memory, pair, 0, first) || !map_half(memory, pair, 1, second))
		return NULL;
	pair->page[0] = first;
	pair->page[1] = second;
	return pair->at;
}
