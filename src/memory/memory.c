#include "memory/memory.h"

#include "base/log.h"
#include "host/low_memory.h"

#include <cpuid.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MINIMUM_SIZE (1 * MIB)

static unsigned host_physical_bits(void)
{
	uint32_t eax, ebx, ecx, edx;
	unsigned bits = 36;

	if (__get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx))
		bits = eax & 0xff;
	return MAX(MIN(bits, 52), 36);
}

/* Where RAM is put: memory_flags_displacement() wants an address below 2^42, and ThreadSanitizer
 * has those from 2^39 on for itself. A random one all the same, so that a guest does not know it.
 */
#define RAM_LOWEST       (UINT64_C(1) << 33)
#define RAM_END          (UINT64_C(1) << 39)
#define RAM_ALIGNMENT    (2 * MIB) /* for transparent huge pages */
#define RAM_PLACES_TRIED 16

static void *map_ram_low(const struct memory *memory)
{
	uint64_t room = RAM_END - RAM_LOWEST, place, random;

	if (memory->ram_size > room)
		return NULL;
	for (unsigned i = 0; i < RAM_PLACES_TRIED; i++) {
		void *ram;

		if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
			return NULL;
		place = RAM_LOWEST + random % (room - memory->ram_size + 1);
		place &= ~(RAM_ALIGNMENT - 1);
		/* Before Linux 4.17 the flag means nothing, and the address is a wish. */
		ram = mmap((void *)place, memory->ram_size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, memory->fd, 0);
		if (ram == (void *)place)
			return ram;
		if (ram != MAP_FAILED)
			munmap(ram, memory->ram_size);
	}
	return NULL;
}

static int map_ram(struct memory *memory)
{
	void *ram;

	memory->fd = memfd_create("veneer-ram", MFD_CLOEXEC);
	if (memory->fd < 0 || ftruncate(memory->fd, (off_t)memory->ram_size) < 0) {
		log_error("cannot make a file for %" PRIu64 " MiB of guest memory: %s",
			memory->ram_size / MIB, strerror(errno));
		return -ENOMEM;
	}
	ram = map_ram_low(memory);
	if (!ram)
		ram = mmap(NULL, memory->ram_size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_NORESERVE, memory->fd, 0);
	if (ram == MAP_FAILED) {
		log_error("cannot map %" PRIu64 " MiB of guest memory: %s", memory->ram_size / MIB,
			strerror(errno));
		return -ENOMEM;
	}
	memory->ram = ram;
	return 0;
}

int memory_create(struct memory *memory, uint64_t size, struct priority_lock *machine_lock)
{
	uint64_t pages = size >> PAGE_SHIFT;

	*memory = (struct memory){.fd = -1, .physical_address_bits = host_physical_bits()};
	if (size < MINIMUM_SIZE || size & ~PAGE_MASK ||
		size > BIT(memory->physical_address_bits) - MEMORY_HIGH_START)
		return -EINVAL;
	io_space_init(&memory->mmio, machine_lock);
	pthread_mutex_init(&memory->code_lock, NULL);
	memory->ram_size = size;
	memory->low_size = MIN(size, MEMORY_PCI_HOLE_START);
	memory->high_size = size - memory->low_size;
	memory->page_flags = low_memory_map(pages * sizeof(*memory->page_flags));
	memory->code_lines = calloc(pages, sizeof(*memory->code_lines));
	memory->code_generation = calloc(pages, sizeof(*memory->code_generation));
	if (!memory->page_flags || !memory->code_lines || !memory->code_generation ||
		map_ram(memory) < 0) {
		memory_destroy(memory);
		return -ENOMEM;
	}
	/* Without this membarrier() below gives EPERM, and the slow way is taken. */
	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	return 0;
}

void memory_destroy(struct memory *memory)
{
	if (memory->ram)
		munmap(memory->ram, memory->ram_size);
	if (memory->fd >= 0)
		close(memory->fd);
	if (memory->page_flags)
		munmap((void *)memory->page_flags,
			(memory->ram_size >> PAGE_SHIFT) * sizeof(*memory->page_flags));
	free(memory->code_lines);
	free(memory->code_generation);
	io_space_destroy(&memory->mmio);
	pthread_mutex_destroy(&memory->code_lock);
	*memory = (struct memory){.fd = -1};
}

/* Host address of a range that lies wholly in one piece of RAM, or NULL. */
static uint8_t *ram_range(const struct memory *memory, uint64_t gpa, uint64_t size)
{
	uint64_t last = gpa + size - 1;
	uint8_t *start = memory_ram_pointer(memory, gpa);

	if (!start || last < gpa || !memory_ram_pointer(memory, last))
		return NULL;
	/* Both ends are RAM: do they enclose a hole? */
	if (gpa < MEMORY_VGA_START && last >= MEMORY_VGA_END)
		return NULL;
	if (gpa < memory->low_size && last >= memory->low_size)
		return NULL;
	return start;
}

int memory_read(const struct memory *memory, uint64_t gpa, void *buffer, uint64_t size)
{
	const uint8_t *source;

	if (!size)
		return 0;
	source = ram_range(memory, gpa, size);
	if (!source)
		return -EFAULT;
	memcpy(buffer, source, size);
	return 0;
}

int memory_write(struct memory *memory, uint64_t gpa, const void *buffer, uint64_t size)
{
	uint8_t *target;

	if (!size)
		return 0;
	target = ram_range(memory, gpa, size);
	if (!target)
		return -EFAULT;
	memcpy(target, buffer, size);
	/* The store before the flag's load: see "Code tracking" in the header. */
	atomic_thread_fence(memory_order_seq_cst);
	while (size) {
		uint64_t in_page = (uintptr_t)target & (PAGE_SIZE - 1);
		uint64_t piece = MIN(size, PAGE_SIZE - in_page);

		if (memory->page_flags[memory_page_number(memory, target)] & PAGE_CODE)
			memory_code_written(memory, target, (unsigned)piece);
		target += piece;
		size -= piece;
	}
	return 0;
}

/* The lines that [offset, offset + size) of a page touches. */
static uint32_t line_mask(unsigned offset, unsigned size)
{
	unsigned first = offset >> MEMORY_CODE_LINE_SHIFT;
	unsigned last = (offset + size - 1) >> MEMORY_CODE_LINE_SHIFT;

	return (uint32_t)bits_get(~UINT64_C(0), MIN(last, 31u) - first, 0) << first;
}

/* Make all other threads of this process pass a memory barrier. */
static void process_barrier(void)
{
	static _Atomic bool expedited_missing;
	void *page;

	if (!expedited_missing) {
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0)
			return;
		expedited_missing = true;
	}
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0)
		return;
	/* No membarrier at all (a sandbox may forbid it). Taking a right away from a page that is
	 * in some TLB makes the kernel interrupt every processor that runs one of our threads, and
	 * that is a barrier too. */
	page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return;
	*(volatile char *)page = 1;
	mprotect(page, PAGE_SIZE, PROT_READ);
	munmap(page, PAGE_SIZE);
}

/* Why this is safe against a writer on another thread, which stores, then loads the flag, and,
 * where that was set, passes a fence and loads the lines:
 *
 *	- It loaded the flag as clear. Then it did so before our barrier, its store came before
 * that, and so we read the new bytes.
 *	- It saw the flag, but its fence came before our lines were set: its store came before the
 * fence, so again we read the new bytes.
 *	- It saw the lines: it starts a new generation after ours, and our copy is stale.
 *
 * The lock keeps us from relying on a flag whose barrier another decoder has not finished, and from
 * reading a generation in the middle of a writer's change. */
uint32_t memory_code_track(struct memory *memory, uint64_t page, unsigned offset, unsigned size)
{
	uint32_t generation;

	pthread_mutex_lock(&memory->code_lock);
	generation = memory->code_generation[page];
	atomic_fetch_or(&memory->code_lines[page], line_mask(offset, size));
	if (!(memory->page_flags[page] & PAGE_CODE)) {
		atomic_fetch_or(&memory->page_flags[page], PAGE_CODE);
		if (memory->code_hooks.tracked)
			memory->code_hooks.tracked(memory->code_hooks.opaque, page);
		if (memory->needs_membarrier)
			process_barrier();
	}
	pthread_mutex_unlock(&memory->code_lock);
	return generation;
}

bool memory_code_written(struct memory *memory, const void *pointer, unsigned size)
{
	uint64_t page = memory_page_number(memory, pointer);
	uint32_t mask = line_mask((uintptr_t)pointer & (PAGE_SIZE - 1), size);
	bool hit;

	atomic_thread_fence(memory_order_seq_cst);
	if (!(atomic_load_explicit(&memory->code_lines[page], memory_order_relaxed) & mask))
		return false;
	pthread_mutex_lock(&memory->code_lock);
	hit = memory->code_lines[page] & mask;
	if (hit) {
		/* The generation first: who sees the lines gone must not enter an old copy. */
		atomic_fetch_add(&memory->code_generation[page], 1);
		if (memory->code_hooks.dropped)
			memory->code_hooks.dropped(memory->code_hooks.opaque, page);
		atomic_store(&memory->code_lines[page], 0);
		atomic_fetch_and(&memory->page_flags[page], (uint8_t)~PAGE_CODE);
	}
	pthread_mutex_unlock(&memory->code_lock);
	/* Where somebody else was faster, the code that we hit is gone just as well. */
	return true;
}
