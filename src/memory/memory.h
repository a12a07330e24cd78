/* The guest-physical address space: RAM, ROM and MMIO.
 *
 * What lies where is a table of regions (struct memory_region). An engine hands it on to its
 * hypervisor, and the boot code to the guest. RAM is one memfd, mapped once into the monitor.
 * Guest-physically it lies in two pieces, below the PCI hole and above 4 GiB, and as that never
 * changes the look-up of RAM is arithmetic:
 *
 *	0 .. low_size			RAM, file offset 0
 *	low_size .. 4 GiB		PCI hole: ROM, MMIO, else nothing
 *	4 GiB .. 4 GiB + high_size	RAM, file offset low_size
 *
 * Inside the low piece 0xa0000..0xbffff (the VGA window) is not RAM: reads give all ones. A ROM in
 * the low piece takes the place of the RAM there, in the file too; one outside has pages behind
 * RAM's. Behind those is video memory, which the guest finds where its graphics device has an
 * aperture (struct memory_aperture). So every byte that a guest can read as memory is in the one
 * file, at one place: its page number is the file offset shifted by PAGE_SHIFT, and the tables
 * below are indexed by that.
 *
 * The same file is mapped a second time, page by page, into the windows that are the binary
 * translator's shadow page tables; that is why it is a file.
 *
 * Page flags. Each page has a byte of flags, and a page with any flag is one whose stores must not
 * pass unnoticed. Code that stores through a host pointer tests the byte after the store and, where
 * it is not 0, calls memory_written(). Code that cannot test it (translated code in a window) must
 * have no writable mapping of such a page: memory_listener.protect tells when a page gets its first
 * flag.
 *
 *	PAGE_CODE	some engine holds copies of code from the page
 *	PAGE_LOGGED	the first store since the log was last taken is to be written down
 *	PAGE_ROM	there are to be no stores at all: code that makes host pointers for
 *			stores asks memory_page_writable() first; the bus drops the store
 *	PAGE_TABLE	some engine holds translations made through it, a page table of the
 *			guest's: see "Tracing" below
 *	PAGE_HIDDEN	of a ROM outside RAM: the guest finds the device behind it, and not
 *			the bytes (memory_rom_hide())
 *
 * Code tracking. Engines keep decoded or translated copies of guest code, and a write to that code
 * must be noticed, on whichever vCPU or device it happens. In a page with PAGE_CODE a mask of
 * 128-byte lines tells code from data, and a generation number per page, which each copy of code
 * remembers and compares when it is entered, makes stale copies unreachable.
 *
 * A writer stores, then tests the flag; a decoder sets the flag, then reads. For that to be safe
 * without a fence in every store, memory_code_track() makes every other thread of the process pass
 * a barrier (membarrier(2), private expedited) after it has set a flag. That is once a page: where
 * the flag is set already, the writer has come to memory_written(), which can afford a fence
 * before it looks at the lines. A write that hits code takes the flag off again, so that a page
 * which is reused for data costs its writers nothing.
 *
 * Tracing. An engine that keeps translations would like to know, when the guest flushes them, which
 * page tables have been stored to. It has them traced: a number for each page, its version, moves
 * on with the first store after that, which takes the flag off again. The same argument holds as
 * for code: who has traced a page and then read it will see another version if what was read has
 * changed since. A processor's own setting of A and D bits is no store here, for no translation in
 * use becomes wrong by it. */
#ifndef VENEER_MEMORY_MEMORY_H
#define VENEER_MEMORY_MEMORY_H

#include "base/bits.h"
#include "memory/io_space.h"

#include <stdatomic.h>
#include <sys/uio.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE  UINT64_C(4096)
#define PAGE_MASK  (~(PAGE_SIZE - 1))

#define MEMORY_PCI_HOLE_START  UINT64_C(0xb0000000) /* most RAM below 4 GiB: 2.75 GiB */
#define MEMORY_HIGH_START      UINT64_C(0x100000000)
#define MEMORY_VGA_START       UINT64_C(0xa0000)
#define MEMORY_VGA_END         UINT64_C(0xc0000)
#define MEMORY_CODE_LINE_SHIFT 7

enum page_flags {
	PAGE_CODE = 1,
	PAGE_LOGGED = 2,
	PAGE_ROM = 4,
	PAGE_TABLE = 8,
	PAGE_HIDDEN = 16,
};

enum memory_kind {
	MEMORY_RAM,
	MEMORY_ROM,
	MEMORY_HOLE, /* nothing in it but what `mmio` has */
};

/* A stretch of guest-physical space that is all alike. */
struct memory_region {
	uint64_t gpa, size; /* multiples of the page */
	enum memory_kind kind;
	bool logged;      /* RAM: stores are logged (memory_log_start()) */
	int fd;           /* RAM and ROM: the file, to be mapped shared; else -1 */
	uint64_t offset;  /* of its first byte in the file */
	const char *name; /* for messages; not owned */
};

#define MEMORY_REGIONS  32         /* rows at most */
#define MEMORY_ROM_ROOM (16 * MIB) /* in the file, behind RAM, for ROMs that lie outside RAM */
#define MEMORY_VIDEO    (16 * MIB) /* in the file, behind those: video memory */

#define MEMORY_VIDEO_PAGES (MEMORY_VIDEO >> PAGE_SHIFT)
#define MEMORY_APERTURES   2
#define MEMORY_NOWHERE     (~UINT64_C(0))

/* A stretch of guest-physical space in which video memory is found as if it was RAM. Its device
 * moves it while the guest runs, to other addresses and to other parts of video memory; its size
 * stays. So it is no row of the table of regions, and its readers take no lock: whoever has looked
 * at it in the midst of a move has got a place in video memory, and is then told to forget it
 * (memory_listener.revoke). RAM and ROM at the same addresses come first. */
struct memory_aperture {
	uint64_t size;         /* 0: there is none */
	_Atomic uint64_t gpa;  /* MEMORY_NOWHERE: the guest does not find it */
	_Atomic uint64_t from; /* offset in video memory */
};

/* Calls to code that keeps something about pages: host mappings, host pointers, copies of guest
 * code, a hypervisor's memory slots. Each may be NULL.
 *
 * All are called with memory->lock held, one at a time, on the thread that has caused it (a vCPU, a
 * device, the control thread), in the order in which the listeners were added. They may take locks
 * that come after memory->lock, such as the lock of a vCPU's windows. They may not call memory_*()
 * functions that take memory->lock: all that say `lock` in their comments. */
struct memory_listener {
	/* Pages [page, page + count) have just got a flag: once this returns, no store to them may
	 * go unnoticed. */
	void (*protect)(void *opaque, uint64_t page, uint64_t count);
	/* What the guest finds at the addresses of these pages has changed, or will: no mapping
	 * and no host pointer of theirs may be used any more, and the next access must ask memory/
	 * and the page tables again. Where a vCPU that runs has to do this on its own thread,
	 * it has been asked to when this returns; see cpu_revoked(). */
	void (*revoke)(void *opaque, uint64_t page, uint64_t count);
	/* Code of the page was written; its generation has moved on. Its lines and PAGE_CODE are
	 * taken off when this returns, so that another writer that finds them clear knows that this
	 * call has ended. */
	void (*written)(void *opaque, uint64_t page);
	/* A region was added, or one has changed in size, kind or logging. `present` false: it was
	 * taken away, or is about to be replaced by others. */
	void (*region_changed)(void *opaque, const struct memory_region *region, bool present);
	void *opaque;
	struct memory_listener *next; /* memory/'s own */
};

struct memory {
	int fd;
	uint8_t *ram; /* the whole file; page-aligned, at a random address */
	uint64_t ram_size, low_size, high_size;
	uint64_t file_size;     /* RAM, and MEMORY_ROM_ROOM and MEMORY_VIDEO behind it */
	unsigned physical_bits; /* of addresses that the processor can give */

	/* Sorted by address, never overlapping. Changed only while no vCPU runs guest code, or by
	 * the only one that does. */
	struct memory_region region[MEMORY_REGIONS];
	unsigned region_count;

	/* One per page of the file, indexed by offset >> PAGE_SHIFT. */
	_Atomic uint8_t *page_flags;
	_Atomic uint32_t *code_lines; /* bit n: bytes 128n..128n+127 hold decoded code */
	_Atomic uint32_t *code_generation;
	_Atomic uint32_t *table_version;
	uint32_t tables;       /* pages with PAGE_TABLE */
	_Atomic uint64_t *log; /* a bit a page: stored to since the log was taken; NULL: no log */

	struct memory_aperture aperture[MEMORY_APERTURES];
	bool video_logged;
	uint64_t video_log[MEMORY_VIDEO_PAGES / 64]; /* as log, of video memory's pages */

	struct io_space mmio;
	/* More than one thread may store to RAM without a fence: set by the machine where it has
	 * more than one vCPU. DMA through memory_write() has its own fences. */
	bool needs_membarrier;
	/* Orders decoders, writers that hit code, and the log. Innermost but for what listeners
	 * take. */
	pthread_mutex_t lock;
	/* A vCPU's locked access to a device; outermost (access_locked_work()). */
	pthread_mutex_t locked_work;
	struct memory_listener *listeners;
};

/* Make a space with `size` bytes of RAM (a multiple of 4 KiB, at least 1 MiB), zeroed and lazily
 * backed by the host. 0, or -errno with a message. */
int memory_create(struct memory *memory, uint64_t size, unsigned physical_bits,
	struct priority_lock *machine_lock);
/* The same, but RAM is what `file` has from its start on, a descriptor of memory_open_file() that
 * is the memory's from now on; -1: a memory file of its own, all zero. What is behind RAM in it is
 * the monitor's. */
int memory_create_in(struct memory *memory, uint64_t size, unsigned physical_bits,
	struct priority_lock *machine_lock, int file);
/* A file for guest memory at `path`, which is made where it is not there; where that is a
 * directory, one without a name in it. Whoever cuts it off while a machine runs ends the machine.
 * A descriptor, or -errno with a message. */
int memory_open_file(const char *path);
/* Have the host allocate all of RAM now. 0, or -errno with a message. */
int memory_allocate(struct memory *memory);
/* All of RAM zero again, its pages given back to the host, and no copy of code that was there left
 * valid. ROMs keep their contents, also those that lie in RAM. With all vCPUs stopped. 0, or
 * -errno with a message. */
int memory_clear(struct memory *memory);
void memory_destroy(struct memory *memory);

/* The region that holds `gpa`, or NULL: nothing but MMIO is there. */
const struct memory_region *memory_region_at(const struct memory *memory, uint64_t gpa);

/* The host address of what is outside the two pieces of RAM: for memory_ram_pointer(). */
uint8_t *memory_outside_ram(const struct memory *memory, uint64_t gpa);

/* The host address of RAM, ROM or video memory at `gpa`, or NULL where there is none. Valid to the
 * end of that page. To store through it, see "Page flags". */
static inline uint8_t *memory_ram_pointer(const struct memory *memory, uint64_t gpa)
{
	if (likely(gpa < memory->low_size)) {
		if (unlikely(gpa - MEMORY_VGA_START < MEMORY_VGA_END - MEMORY_VGA_START))
			return memory_outside_ram(memory, gpa);
		return memory->ram + gpa;
	}
	if (gpa - MEMORY_HIGH_START < memory->high_size)
		return memory->ram + memory->low_size + (gpa - MEMORY_HIGH_START);
	return memory_outside_ram(memory, gpa);
}

/* The page number (index of the tables above) of a host pointer into RAM or ROM. */
static inline uint64_t memory_page_number(const struct memory *memory, const void *pointer)
{
	return (uint64_t)((const uint8_t *)pointer - memory->ram) >> PAGE_SHIFT;
}

static inline uint8_t memory_page_flags(const struct memory *memory, const void *pointer)
{
	return atomic_load(&memory->page_flags[memory_page_number(memory, pointer)]);
}

/* May there be a store to the page at all? */
static inline bool memory_page_writable(const struct memory *memory, uint64_t page)
{
	return !(atomic_load_explicit(&memory->page_flags[page], memory_order_relaxed) & PAGE_ROM);
}

/* Must a store to the page be noticed? Asked with the lock held under which `protect` takes
 * mappings away, the answer holds until that is released. */
static inline bool memory_page_watched(const struct memory *memory, uint64_t page)
{
	return atomic_load(&memory->page_flags[page]) != 0;
}

/* The displacement that turns a host address in RAM, shifted right by PAGE_SHIFT, into the address
 * of its page's flags. False: it does not fit into an instruction, because RAM or the flags did not
 * get the low addresses that memory_create() asks for. */
static inline bool memory_flags_displacement(const struct memory *memory, int32_t *displacement)
{
	int64_t value =
		(int64_t)((uintptr_t)memory->page_flags - ((uintptr_t)memory->ram >> PAGE_SHIFT));

	*displacement = (int32_t)value;
	return value == *displacement;
}

/* --- two pages side by side --- */

/* Addresses of its own at which any two pages of RAM can be mapped once more, one behind the
 * other. */
struct memory_pair {
	uint8_t *at;            /* two pages */
	const uint8_t *page[2]; /* which ones are there; NULL: not known */
};

/* 0, or -ENOMEM: the host gives no room. */
int memory_pair_create(const struct memory *memory, struct memory_pair *pair);
void memory_pair_destroy(struct memory_pair *pair);
/* Where the two pages (host pointers of memory_ram_pointer()'s, each to the begin of its page) lie
 * side by side until the next call, readable and writable; NULL: they are no pages of RAM or ROM,
 * or the host refuses. To store through it, see "Page flags". */
uint8_t *memory_pair_show(const struct memory *memory, struct memory_pair *pair,
	const uint8_t *first, const uint8_t *second);
/* What was mapped may not be used any more: the next memory_pair_show() maps both anew. */
static inline void memory_pair_forget(struct memory_pair *pair)
{
	pair->page[0] = pair->page[1] = NULL;
}

/* --- ROM --- */

/* Make [gpa, gpa + size) (pages) a ROM with the bytes of `image`: in RAM, where that lies wholly in
 * one region of it, or else where nothing is. 0; -EINVAL (not whole pages, or none), -EEXIST (it
 * overlaps something), -ENOSPC (rows, or MEMORY_ROM_ROOM); each with a message. Takes lock. */
int memory_rom_add(
	struct memory *memory, uint64_t gpa, uint64_t size, const void *image, const char *name);
/* Take the ROM that begins there away: what was RAM is RAM again, with the ROM's bytes. 0 or
 * -ENOENT. Takes lock. */
int memory_rom_remove(struct memory *memory, uint64_t gpa);

/* Have loads of the ROM that begins there reach the device at these addresses, as stores do, or
 * have the guest find its bytes again: flash memory leaves read array mode and comes back. The ROM
 * lies outside RAM. Its bytes stay where they are. Any thread, one at a time; takes lock. */
void memory_rom_hide(struct memory *memory, uint64_t gpa, bool hidden);

/* Have the bus drop stores to [gpa, gpa + size) (pages of RAM), or let them through again. The
 * region stays RAM, for devices and the rest: this is what a host bridge does that guards a copy of
 * its ROM. Any thread; takes lock. */
void memory_guard(struct memory *memory, uint64_t gpa, uint64_t size, bool guarded);

/* --- video memory --- */

/* The first byte of video memory, MEMORY_VIDEO bytes. Its contents are the device's affair, and the
 * guest's. */
static inline uint8_t *memory_video(const struct memory *memory)
{
	return memory->ram + memory->file_size - MEMORY_VIDEO;
}

/* A new aperture of `size` bytes (pages) that lies nowhere yet. There are MEMORY_APERTURES at most,
 * and video memory is at least as large. Before the machine runs. */
struct memory_aperture *memory_aperture_add(struct memory *memory, uint64_t size);
/* The guest finds video memory from offset `from` on at `gpa` from now on, or, with MEMORY_NOWHERE,
 * nothing. All of it must be in video memory. From any thread, one at a time; takes lock. */
void memory_aperture_move(
	struct memory *memory, struct memory_aperture *aperture, uint64_t gpa, uint64_t from);
/* [*start, *end) around `gpa` that is all of one kind and lies side by side in the file: RAM, ROM,
 * or an aperture. False: nothing of these is there. */
bool memory_around(const struct memory *memory, uint64_t gpa, uint64_t *start, uint64_t *end);

/* The log of stores to video memory, apart from that of RAM: memory_log_start() and the others say
 * what a log promises. memory_video_log_take() sets a bit for each page in `pages`
 * (MEMORY_VIDEO_PAGES bits) and returns how many there are. All take lock. */
void memory_video_log_start(struct memory *memory);
uint64_t memory_video_log_take(struct memory *memory, uint64_t *pages);
void memory_video_log_stop(struct memory *memory);

/* --- DMA --- */

/* Copy between the monitor and guest RAM; for devices and loaders. A range not wholly in RAM (for
 * reads: or ROM) copies nothing and gives -EFAULT. memory_write() is noticed as any store is; takes
 * lock. */
int memory_read(const struct memory *memory, uint64_t gpa, void *buffer, uint64_t size);
int memory_write(struct memory *memory, uint64_t gpa, const void *buffer, uint64_t size);

/* The same without a copy: the pieces of host memory that [gpa, gpa + size) consists of, for
 * readv(), writev() and the like. Returns how many of the `limit` elements of `pieces` were filled
 * (0 where size is 0); -EFAULT where any byte is not RAM (with `write` false: or ROM) or the range
 * wraps round; -E2BIG where there are more pieces than `limit`. Nothing is changed.
 *
 * The pieces stay mapped as long as `memory` lives. Guests and other devices access the same bytes
 * meanwhile: what was read once may read otherwise the next time. */
int memory_range(const struct memory *memory, uint64_t gpa, uint64_t size, bool write,
	struct iovec *pieces, unsigned limit);
/* The first `bytes` bytes of `pieces` were stored to, by the calling thread or by the kernel in a
 * system call that has ended. Call it before the guest is told that its request is done. Takes
 * lock. */
void memory_range_written(
	struct memory *memory, const struct iovec *pieces, unsigned count, uint64_t bytes);

/* --- listeners --- */

/* From now on `listener` is told. It stays the caller's, and must live until it is removed. Takes
 * lock. */
void memory_listen(struct memory *memory, struct memory_listener *listener);
void memory_unlisten(struct memory *memory, struct memory_listener *listener);

/* When this returns no listener uses mappings or pointers of these pages any more; copies of code
 * in them are dropped. See memory_listener.revoke. Takes lock. */
void memory_revoke(struct memory *memory, uint64_t page, uint64_t count);

/* --- code --- */

/* A decoder is about to read code bytes [offset, offset + size) of page `page`: returns the
 * generation that the copy must remember. The copy is good as long as
 * memory->code_generation[page] still equals it. Call before reading the bytes. Takes lock. */
uint32_t memory_code_track(struct memory *memory, uint64_t page, unsigned offset, unsigned size);
/* The same for several pieces of code in the page at once: the lines of all of them. */
uint32_t memory_code_track_lines(struct memory *memory, uint64_t page, uint32_t lines);
/* The lines that [offset, offset + size) of a page touches. */
uint32_t memory_code_lines(unsigned offset, unsigned size);

/* --- page tables --- */

/* No more pages than this are traced at once, in the machine: each may split mappings of all RAM.
 * One more, and all are let go, as if they had been stored to. */
#define MEMORY_TABLES_MAX 1024

/* Translations through the page table in page `page` are about to be made: returns its version.
 * What is read from the page after this holds as long as memory->table_version[page] still equals
 * it. Takes lock. */
uint32_t memory_table_trace(struct memory *memory, uint64_t page);

/* --- stores --- */

/* [pointer, pointer + size) of RAM, within one page, was stored to and its page has flags: write
 * it down where it is logged; if tracked code was hit, start a new generation for the page. True
 * where it was. Takes lock. */
bool memory_written(struct memory *memory, const void *pointer, unsigned size);

/* The log of pages that were stored to, for code that copies RAM while the guest runs.
 *
 * memory_log_start() begins with an empty log. memory_log_take() moves the log of pages [first,
 * first + count), multiples of 64, to `pages` (a bit each, ORed) and returns how many there are;
 * every store that is in this log can be read from RAM now, and every later store is in the next
 * log. A device's store is in the log when it is complete. 0; -ENOMEM, -EBUSY (it has been
 * started). All take lock. */
int memory_log_start(struct memory *memory);
uint64_t memory_log_take(struct memory *memory, uint64_t first, uint64_t count, uint64_t *pages);
void memory_log_stop(struct memory *memory);

#endif
