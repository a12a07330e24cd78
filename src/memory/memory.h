/* The guest-physical address space: RAM and MMIO.
 *
 * RAM is one memfd, mapped once into the monitor. Guest-physically it lies in two pieces, below the
 * PCI hole and above 4 GiB:
 *
 *	0 .. low_size			RAM, file offset 0
 *	low_size .. 4 GiB		PCI hole: MMIO regions, else nothing
 *	4 GiB .. 4 GiB + high_size	RAM, file offset low_size
 *
 * Inside the low piece 0xa0000..0xbffff (the VGA window) is not RAM: reads give all ones.
 *
 * The same file will be mapped a second time, page by page, into the windows that are the binary
 * translator's shadow page tables; that is why it is a file.
 *
 * Code tracking. Engines keep decoded or translated copies of guest code, and a write to that code
 * must be noticed, on whichever vCPU or device it happens. Each RAM page has a byte of flags,
 * tested after every store; PAGE_CODE says that some engine has read code there. Then a mask of
 * 128-byte lines tells code from data in the same page, and a generation number per page, which
 * each copy of code remembers and compares when it is entered, makes stale copies unreachable.
 *
 * A writer stores, then tests the flag; a decoder sets the flag, then reads. For that to be safe
 * without a fence in every store, memory_code_track() makes every other thread of the process pass
 * a barrier (membarrier(2), private expedited) after it has set a flag. That is once a page: where
 * the flag is set already, the writer has come to memory_code_written(), which can afford a fence
 * before it looks at the lines. A write that hits code takes the flag off again, so that a page
 * which is reused for data costs its writers nothing. */
#ifndef VENEER_MEMORY_MEMORY_H
#define VENEER_MEMORY_MEMORY_H

#include "base/bits.h"
#include "memory/io_space.h"

#include <stdatomic.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE  UINT64_C(4096)
#define PAGE_MASK  (~(PAGE_SIZE - 1))

#define MEMORY_PCI_HOLE_START  UINT64_C(0xc0000000) /* most RAM below 4 GiB: 3 GiB */
#define MEMORY_HIGH_START      UINT64_C(0x100000000)
#define MEMORY_VGA_START       UINT64_C(0xa0000)
#define MEMORY_VGA_END         UINT64_C(0xc0000)
#define MEMORY_CODE_LINE_SHIFT 7

enum page_flags {
	PAGE_CODE = 1, /* an engine holds copies of code from this page */
};

/* For an engine that writes to RAM in ways that look at no flag, and one that wants to be told
 * which copies are stale. Both are called with code_lock held, on the thread that decodes or writes
 * (devices write too), and may take locks that come after it: the order is code_lock, then a vCPU's
 * window lock. They may not call memory_code_*(). Either may be NULL. */
struct memory_code_hooks {
	/* RAM page `page` got PAGE_CODE, and its bytes will be read when this returns: from then on
	 * no store to it may go unnoticed. */
	void (*tracked)(void *opaque, uint64_t page);
	/* Code of the page was written; its generation has moved on. Its lines and PAGE_CODE are
	 * taken off when this returns, so that another writer who finds them gone knows that this
	 * is done. */
	void (*dropped)(void *opaque, uint64_t page);
	void *opaque;
};

struct memory {
	int fd;
	uint8_t *ram; /* the whole file; page-aligned, at a random address */
	uint64_t ram_size, low_size, high_size;

	/* One per RAM page, indexed by file offset >> PAGE_SHIFT. */
	_Atomic uint8_t *page_flags;
	_Atomic uint32_t *code_lines; /* bit n: bytes 128n..128n+127 hold decoded code */
	_Atomic uint32_t *code_generation;

	struct io_space mmio;
	unsigned physical_address_bits; /* MAXPHYADDR, as CPUID reports */
	/* More than one thread may store to RAM without a fence: set by the machine where it has
	 * more than one vCPU. DMA through memory_write() has its own fences. */
	bool needs_membarrier;
	pthread_mutex_t code_lock; /* orders decoders and writers that hit code; innermost but for
				      what the hooks take */
	struct memory_code_hooks code_hooks; /* set before any vCPU runs */
};

/* Make a space with `size` bytes of RAM (a multiple of 4 KiB, at least 1 MiB), zeroed and lazily
 * backed by the host. 0; -EINVAL (size), -ENOMEM. */
int memory_create(struct memory *memory, uint64_t size, struct priority_lock *machine_lock);
void memory_destroy(struct memory *memory);

/* The host address of RAM at `gpa`, or NULL where there is none. Valid to the end of that page. */
static inline uint8_t *memory_ram_pointer(const struct memory *memory, uint64_t gpa)
{
	if (likely(gpa < memory->low_size)) {
		if (unlikely(gpa - MEMORY_VGA_START < MEMORY_VGA_END - MEMORY_VGA_START))
			return NULL;
		return memory->ram + gpa;
	}
	if (gpa - MEMORY_HIGH_START < memory->high_size)
		return memory->ram + memory->low_size + (gpa - MEMORY_HIGH_START);
	return NULL;
}

/* The RAM page number (index of the tables above) of a host pointer into RAM. */
static inline uint64_t memory_page_number(const struct memory *memory, const void *pointer)
{
	return (uint64_t)((const uint8_t *)pointer - memory->ram) >> PAGE_SHIFT;
}

/* What to add to a host address in RAM, shifted right by PAGE_SHIFT, to have the address of its
 * page's flags, where that is a displacement an instruction can hold. It is where RAM and the flags
 * got the low addresses that memory_create() asks for; false: they did not. */
static inline bool memory_flags_displacement(const struct memory *memory, int32_t *displacement)
{
	int64_t value =
		(int64_t)((uintptr_t)memory->page_flags - ((uintptr_t)memory->ram >> PAGE_SHIFT));

	*displacement = (int32_t)value;
	return value == *displacement;
}

/* Copy between the monitor and guest RAM; for DMA and loaders. A range not wholly in RAM copies
 * nothing and gives -EFAULT. memory_write() drops copies of code. */
int memory_read(const struct memory *memory, uint64_t gpa, void *buffer, uint64_t size);
int memory_write(struct memory *memory, uint64_t gpa, const void *buffer, uint64_t size);

/* A decoder is about to read code bytes [offset, offset + size) of RAM page `page`: returns the
 * generation that the copy must remember. The copy is good as long as
 * memory->code_generation[page] still equals it. Call before reading the bytes. */
uint32_t memory_code_track(struct memory *memory, uint64_t page, unsigned offset, unsigned size);

/* [pointer, pointer + size) of RAM, within one page, was written and its page has PAGE_CODE: if
 * tracked code was hit, start a new generation for the page. True where it was. */
bool memory_code_written(struct memory *memory, const void *pointer, unsigned size);

#endif
