/* Windows' host mappings, and the record of each.
 *
 * The host's kernel knows what is mapped where, but not in a way that can be asked cheaply. So
 * each mapping has a record of 48 bytes, found by linear address (a fault, INVLPG) and by RAM page
 * (code appears there), and listed by window (all of it goes, or is looked up again).
 *
 * What must stay bounded, whatever page tables a guest makes:
 *
 *	- host mappings. Linux allows a process some 65,530. What counts is the borders between
 *	  different things in a window, because the kernel joins what is alike. We count them
 *	  exactly, by looking at the neighbours of what changes, and for all vCPUs together.
 *	- records: a fixed number a vCPU.
 *	- the host's page tables, 4 KiB for each block of 2 MiB in which something was mapped. The
 *	  kernel keeps them when a page is unmapped, and frees them when a whole window is. So we
 *	  count the blocks that were mapped since a window was last empty.
 *	- time: a window is emptied by one system call, and its records are forgotten in a time that
 *	  depends on their number alone, whatever else is mapped. A guest chooses which addresses
 *	  and frames there are, but not which of them share a hash chain.
 *
 * map_fixed() is the only caller of mmap(MAP_FIXED): it alone could overwrite the monitor. */
#include "engine/bt/window_internal.h"

#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#define RECORDS        131072 /* of 48 bytes, touched as they are needed */
#define BUCKET_BITS    15
#define BUCKETS        (1u << BUCKET_BITS)
#define WINDOWS_BUDGET 168 /* of 640 GiB: 105 of the 128 TiB that a process may have */
#define WINDOWS_MIN    8   /* a program has three or four, a kernel as many */
/* With fewer for each vCPU most accesses would find none, and fault; the soft TLB is better. */
#define WINDOWS_FEWEST 4
#define OTHER_MAPPINGS 5530 /* what the rest of the process may need of vm.max_map_count */
/* Of 2 MiB, for each vCPU: 8 MiB of page tables for what is mapped here and there. */
#define SPARSE_BLOCKS 2048

/* How many faults a window must have been idle for before another one may take its place. */
#define IDLE_FAULTS 64

struct windows_limits windows_limits;

static _Atomic int64_t process_borders, process_blocks;

/* --- the host's limits --- */

static uint32_t host_mapping_limit(void)
{
	unsigned limit = 65530;
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");

	if (file) {
		if (fscanf(file, "%u", &limit) != 1)
			limit = 65530;
		fclose(file);
	}
	return limit > 2 * OTHER_MAPPINGS ? MIN(limit - OTHER_MAPPINGS, 1u << 20) : limit / 2;
}

static uint32_t border_limit(void)
{
	static uint32_t host;

	if (windows_limits.host_mappings)
		return windows_limits.host_mappings;
	if (!host)
		host = host_mapping_limit();
	return host;
}

/* Besides the sparse ones, all RAM may be mapped by the guest's kernel and by its programs. */
static uint32_t block_limit(const struct windows *w)
{
	uint64_t dense = 2 * (w->cpu->memory->ram_size / (2 * MIB));
	uint64_t limit = (SPARSE_BLOCKS + dense) * MAX(w->cpu->platform->cpu_count, 1u);

	return windows_limits.blocks ? windows_limits.blocks : (uint32_t)MIN(limit, UINT32_MAX);
}

static void *map_zeroed(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* A window with its guards, empty; returns where it begins, or 0. It begins at a multiple of 2 MiB,
 * so that its blocks are those of the host's page tables. */
static uintptr_t reserve(void)
{
	size_t whole = WINDOW_SIZE + 2 * WINDOW_GUARD, size = whole + 2 * MIB;
	char *start =
		mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t skip;

	if (start == MAP_FAILED)
		return 0;
	skip = -(uintptr_t)start & (2 * MIB - 1);
	if (skip)
		munmap(start, skip);
	munmap(start + skip + whole, size - skip - whole);
	return (uintptr_t)start + skip + WINDOW_GUARD;
}

static bool window_reserve(struct window *window)
{
	window->base = reserve();
	return window->base != 0;
}

static uint64_t slot_start(uint16_t slot)
{
	return (uint64_t)((int64_t)((uint64_t)slot << 48) >> (48 - SLOT_SHIFT));
}

/* A window that shows nothing, of all vCPUs; reserved when first asked for and kept. */
static uintptr_t nowhere;
static pthread_once_t nowhere_once = PTHREAD_ONCE_INIT;

static void reserve_nowhere(void)
{
	nowhere = reserve();
}

uint64_t windows_no_delta(uint16_t slot)
{
	return nowhere - slot_start(slot);
}

int window_map_create(struct windows *w)
{
	unsigned cpus = MAX(w->cpu->platform->cpu_count, 1u);
	unsigned windows = WINDOWS_BUDGET / cpus;

	if (windows_limits.windows)
		windows = MAX(windows_limits.windows, 2u);
	else if (windows < WINDOWS_FEWEST)
		return -ENOSPC;
	w->window_limit = MIN(windows, (unsigned)WINDOWS_MAX);
	w->border_share = border_limit() / cpus;
	w->block_share = block_limit(w) / cpus;
	w->mapping_limit = windows_limits.records ? windows_limits.records : RECORDS;
	w->mapping_top = NO_MAPPING + 1;
	w->mapping = map_zeroed(w->mapping_limit * sizeof(*w->mapping));
	w->by_linear = map_zeroed(BUCKETS * sizeof(*w->by_linear));
	w->by_page = map_zeroed(BUCKETS * sizeof(*w->by_page));
	w->block_map = map_zeroed(WINDOWS_MAX * WINDOW_BLOCKS / 8);
	if (getrandom(&w->hash_multiplier, sizeof(w->hash_multiplier), GRND_NONBLOCK) < 0)
		w->hash_multiplier = HASH_MULTIPLIER;
	w->hash_multiplier |= 1;
	for (unsigned i = 0; i < WINDOWS_MAX; i++)
		w->window[i].owner = OWNER_NONE;
	if (!w->mapping || !w->by_linear || !w->by_page || !w->block_map)
		return -ENOMEM;
	/* Where the host has no room for a few, it is better to do without any from the beginning:
	 * each access in a slot without a window is a fault. */
	pthread_once(&nowhere_once, reserve_nowhere);
	for (unsigned i = 0; i < MIN(w->window_limit, (unsigned)WINDOWS_MIN); i++)
		if (!nowhere || !window_reserve(&w->window[i]))
			return -ENOMEM;
	return 0;
}

void window_map_destroy(struct windows *w)
{
	for (unsigned i = 0; i < WINDOWS_MAX; i++)
		if (w->window[i].base)
			munmap((void *)(w->window[i].base - WINDOW_GUARD),
				WINDOW_SIZE + 2 * WINDOW_GUARD);
	atomic_fetch_sub(&process_borders, w->borders);
	atomic_fetch_sub(&process_blocks, w->blocks);
	if (w->block_map)
		munmap(w->block_map, WINDOWS_MAX * WINDOW_BLOCKS / 8);
	if (w->mapping)
		munmap(w->mapping, w->mapping_limit * sizeof(*w->mapping));
	if (w->by_linear)
		munmap(w->by_linear, BUCKETS * sizeof(*w->by_linear));
	if (w->by_page)
		munmap(w->by_page, BUCKETS * sizeof(*w->by_page));
}

/* --- system calls --- */

static unsigned window_number(const struct windows *w, const struct window *window)
{
	return (unsigned)(window - w->window);
}

static uintptr_t host_address(const struct window *window, uint64_t linear)
{
	return window->base + (linear & (WINDOW_SIZE - 1));
}

static bool inside(const struct window *window, uint64_t linear, uint64_t size)
{
	uint64_t offset = linear & (WINDOW_SIZE - 1);

	return window->base && SLOT_OF(linear) == window->slot && size && size <= WINDOW_SIZE &&
	       offset <= WINDOW_SIZE - size && !((linear | size) & (PAGE_SIZE - 1));
}

static uint64_t *block_map(const struct windows *w, const struct window *window)
{
	return w->block_map + window_number(w, window) * (WINDOW_BLOCKS / 64);
}

/* Something was mapped there: the host may keep a page table for each block of it. */
static void note_blocks(struct windows *w, struct window *window, uint64_t linear, uint64_t size)
{
	uint64_t offset = linear & (WINDOW_SIZE - 1), *map = block_map(w, window);
	uint32_t more = 0;

	for (uint64_t i = offset / (2 * MIB); i <= (offset + size - 1) / (2 * MIB); i++) {
		more += !(map[i / 64] & BIT(i % 64));
		map[i / 64] |= BIT(i % 64);
	}
	window->blocks += more;
	w->blocks += more;
	atomic_fetch_add_explicit(&process_blocks, more, memory_order_relaxed);
}

static void forget_blocks(struct windows *w, struct window *window)
{
	memset(block_map(w, window), 0, WINDOW_BLOCKS / 8);
	w->blocks -= window->blocks;
	atomic_fetch_sub_explicit(&process_blocks, window->blocks, memory_order_relaxed);
	window->blocks = 0;
}

/* Map RAM from `page` on (PROT_NONE: nothing) over part of a window, and over nothing else. */
static bool map_fixed(struct windows *w, struct window *window, uint64_t linear, uint64_t size,
	int prot, uint64_t page)
{
	void *start = (void *)host_address(window, linear);
	const struct memory *memory = w->cpu->memory;

	if (!inside(window, linear, size))
		return false;
	if (prot == PROT_NONE) {
		w->bt->stats.unmaps++;
		return mmap(start, size, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			       0) != MAP_FAILED;
	}
	if (page + (size >> PAGE_SHIFT) > memory->file_size >> PAGE_SHIFT)
		return false;
	w->bt->stats.maps++;
	if (mmap(start, size, prot, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, memory->fd,
		    (off_t)(page << PAGE_SHIFT)) == MAP_FAILED)
		return false;
	note_blocks(w, window, linear, size);
	return true;
}

static bool protect(
	struct windows *w, struct window *window, uint64_t linear, uint64_t size, bool writable)
{
	if (!inside(window, linear, size))
		return false;
	w->bt->stats.protects++;
	return mprotect((void *)host_address(window, linear), size,
		       PROT_READ | (writable ? PROT_WRITE : 0)) == 0;
}

static void empty(struct windows *w, struct window *window);

/* What must go has to go: a stale mapping would let the guest reach what it may not. Taking away
 * all of a window makes no new borders, so it succeeds where the part did not. */
static void unmap(struct windows *w, struct window *window, uint64_t linear, uint64_t size)
{
	if (!map_fixed(w, window, linear, size, PROT_NONE, 0))
		empty(w, window);
}

/* --- records --- */

static unsigned linear_bucket(
	const struct windows *w, unsigned window, unsigned size, uint64_t linear)
{
	uint64_t key = (linear >> SIZE_SHIFT(size)) ^ (uint64_t)(window * SIZES + size) << 46;

	return (key * w->hash_multiplier) >> (64 - BUCKET_BITS);
}

static unsigned page_bucket(const struct windows *w, unsigned size, uint64_t page)
{
	uint64_t key = (page >> (9 * size)) ^ (uint64_t)size << 46;

	return (key * w->hash_multiplier) >> (64 - BUCKET_BITS);
}

static uint32_t record_new(struct windows *w)
{
	uint32_t index = w->mapping_free;

	if (index)
		w->mapping_free = w->mapping[index].next;
	else if (w->mapping_top < w->mapping_limit)
		index = w->mapping_top++;
	w->mapping_used += index != NO_MAPPING;
	return index;
}

/* Does the guest's page begin or end elsewhere? */
static bool is_piece(const struct mapping *m)
{
	return m->list != LIST_HOLES && (uint64_t)m->pages << PAGE_SHIFT < BIT(m->guest_shift);
}

static uint32_t large_blocks(const struct mapping *m)
{
	return m->size == SIZE_4K ? 0 : (m->pages + 511) / 512;
}

static void record_enter(struct windows *w, struct window *window, uint32_t index)
{
	struct mapping *m = &w->mapping[index];
	uint32_t *linear = &w->by_linear[linear_bucket(w, m->window, m->size, m->linear)];
	uint32_t *page = &w->by_page[page_bucket(w, m->size, m->page)];

	m->next_by_linear = *linear;
	m->next_by_page = *page;
	m->previous_by_page = NO_MAPPING;
	if (*page)
		w->mapping[*page].previous_by_page = index;
	*linear = *page = index;
	m->previous = NO_MAPPING;
	m->next = window->first[m->list];
	if (m->next)
		w->mapping[m->next].previous = index;
	window->first[m->list] = index;
	window->count[m->list]++;
	window->sizes[m->size]++;
	window->pieces += is_piece(m);
	window->large_blocks += large_blocks(m);
}

static void record_remove(struct windows *w, uint32_t index)
{
	struct mapping *m = &w->mapping[index];
	struct window *window = &w->window[m->window];
	uint32_t *at = &w->by_linear[linear_bucket(w, m->window, m->size, m->linear)];

	while (*at != index)
		at = &w->mapping[*at].next_by_linear;
	*at = m->next_by_linear;
	/* One frame may be mapped at very many addresses: that chain is not to be walked. */
	if (m->previous_by_page)
		w->mapping[m->previous_by_page].next_by_page = m->next_by_page;
	else
		w->by_page[page_bucket(w, m->size, m->page)] = m->next_by_page;
	if (m->next_by_page)
		w->mapping[m->next_by_page].previous_by_page = m->previous_by_page;
	if (m->previous)
		w->mapping[m->previous].next = m->next;
	else
		window->first[m->list] = m->next;
	if (m->next)
		w->mapping[m->next].previous = m->previous;
	window->count[m->list]--;
	window->sizes[m->size]--;
	window->pieces -= is_piece(m);
	window->large_blocks -= large_blocks(m);
	m->next = w->mapping_free;
	w->mapping_free = index;
	w->mapping_used--;
}

static uint32_t find_size(
	const struct windows *w, const struct window *window, unsigned size, uint64_t linear)
{
	unsigned number = window_number(w, window);
	uint32_t index;

	if (!window->sizes[size])
		return NO_MAPPING;
	for (index = w->by_linear[linear_bucket(w, number, size, linear)]; index;
		index = w->mapping[index].next_by_linear) {
		const struct mapping *m = &w->mapping[index];

		if (m->size == size && m->window == number && linear >= m->linear &&
			linear < mapping_end(m))
			return index;
	}
	return NO_MAPPING;
}

uint32_t mapping_find(const struct windows *w, const struct window *window, uint64_t linear)
{
	uint32_t index = NO_MAPPING;

	linear &= PAGE_MASK;
	for (unsigned size = SIZE_4K; size < SIZES && !index; size++)
		index = find_size(w, window, size, linear);
	return index;
}

/* The mapping that a hole is in. */
static uint32_t find_around(const struct windows *w, const struct window *window, uint64_t linear)
{
	uint32_t index = find_size(w, window, SIZE_2M, linear);

	return index ? index : find_size(w, window, SIZE_1G, linear);
}

/* --- counting borders --- */

/* Is there a border just below `linear`? */
static unsigned border(const struct windows *w, const struct window *window, uint64_t linear)
{
	uint64_t below = linear - PAGE_SIZE;
	uint32_t a = SLOT_OF(below) == window->slot ? mapping_find(w, window, below) : NO_MAPPING;
	uint32_t b = SLOT_OF(linear) == window->slot ? mapping_find(w, window, linear) : NO_MAPPING;
	const struct mapping *left = &w->mapping[a], *right = &w->mapping[b];

	if (!a || !b)
		return a != b;
	return left->writable != right->writable ||
	       left->page + ((below - left->linear) >> PAGE_SHIFT) + 1 !=
		       right->page + ((linear - right->linear) >> PAGE_SHIFT);
}

static unsigned borders(
	const struct windows *w, const struct window *window, uint64_t start, uint64_t end)
{
	return border(w, window, start) + border(w, window, end);
}

/* A range that is all alike was changed, and is again all alike. */
static void count_borders(
	struct windows *w, struct window *window, uint64_t start, uint64_t end, unsigned before)
{
	int change = (int)borders(w, window, start, end) - (int)before;

	window->borders += (unsigned)change;
	w->borders += (unsigned)change;
	atomic_fetch_add_explicit(&process_borders, change, memory_order_relaxed);
}

/* --- whole windows --- */

struct window *window_find(struct windows *w, int owner, uint16_t slot)
{
	for (unsigned i = 0; i < w->window_limit; i++)
		if (w->window[i].owner == owner && w->window[i].slot == slot)
			return &w->window[i];
	return NULL;
}

static struct window *least_recently_used(struct windows *w, bool with_records)
{
	struct window *oldest = NULL;

	for (unsigned i = 0; i < w->window_limit; i++) {
		struct window *window = &w->window[i];
		bool records = window->count[LIST_LOCAL] + window->count[LIST_GLOBAL] > 0;

		if (window->owner == OWNER_NONE || (with_records && !records))
			continue;
		if (!oldest || window->last_use < oldest->last_use)
			oldest = window;
	}
	return oldest;
}

static struct window *window_unused(struct windows *w)
{
	struct window *window;

	for (window = w->window; window < w->window + w->window_limit; window++)
		if (window->owner == OWNER_NONE && window->base)
			return window;
	for (window = w->window; window < w->window + w->window_limit; window++) {
		if (window->owner != OWNER_NONE)
			continue;
		if (window_reserve(window))
			return window;
		/* The host has no more: do with what there is. */
		w->window_limit = window_number(w, window);
	}
	return NULL;
}

struct window *window_claim(struct windows *w, int owner, uint16_t slot, bool *evicted)
{
	struct window *window = window_unused(w);

	*evicted = false;
	if (!window) {
		window = least_recently_used(w, false);
		/* With too few windows for what is in use all would be emptied again and again; the
		 * interpreter is better than that. */
		if (!window || window->last_use + IDLE_FAULTS > w->clock)
			return NULL;
		window_release(w, window);
		w->bt->stats.window_evictions++;
		*evicted = true;
	}
	window->owner = (int8_t)owner;
	window->slot = slot;
	window->last_use = w->clock;
	return window;
}

static void records_remove_all(struct windows *w, struct window *window)
{
	for (unsigned list = 0; list < LISTS; list++)
		while (window->first[list])
			record_remove(w, window->first[list]);
	w->borders -= window->borders;
	atomic_fetch_sub_explicit(&process_borders, window->borders, memory_order_relaxed);
	window->borders = 0;
}

static void empty(struct windows *w, struct window *window)
{
	/* If this fails, nothing is left that would keep the guest to its own memory. */
	if (!map_fixed(w, window, slot_start(window->slot), WINDOW_SIZE, PROT_NONE, 0)) {
		log_error("cannot empty a window of the binary translator: %s", strerror(errno));
		abort();
	}
	records_remove_all(w, window);
	forget_blocks(w, window);
}

void window_empty(struct windows *w, struct window *window)
{
	if (window->blocks)
		empty(w, window);
}

void window_release(struct windows *w, struct window *window)
{
	window_hide(w, window);
	window_empty(w, window);
	window->owner = OWNER_NONE;
}

void window_show(struct windows *w, const struct window *window)
{
	bool upper = window->owner == OWNER_UPPER;

	w->bt->delta[upper][window->slot] = window->base - slot_start(window->slot);
}

void window_hide(struct windows *w, const struct window *window)
{
	/* A space that is not current has no deltas to hide. */
	if (window->owner == OWNER_UPPER)
		w->bt->delta[1][window->slot] = windows_no_delta(window->slot);
	else if (window->owner == w->current && window->owner >= 0)
		w->bt->delta[0][window->slot] = windows_no_delta(window->slot);
}

/* May this vCPU have `mine` of something of which all have `total`? One with more than its share
 * begins to save earlier; and a part of its share is certain, whatever the others have. */
static bool within_limit(int64_t mine, int64_t share, int64_t total, int64_t limit)
{
	if (mine > share)
		return total <= limit - limit / 4;
	return mine <= share / 8 || total <= limit - limit / 8;
}

static bool has_room(const struct windows *w, unsigned records, unsigned more)
{
	int64_t total = atomic_load_explicit(&process_borders, memory_order_relaxed);

	return w->mapping_limit - 1 - w->mapping_used >= records &&
	       within_limit(
		       (int64_t)w->borders + more, w->border_share, total + more, border_limit());
}

static bool has_room_for_tables(const struct windows *w)
{
	return within_limit(w->blocks, w->block_share,
		atomic_load_explicit(&process_blocks, memory_order_relaxed), block_limit(w));
}

/* To fill it again costs no more than it did, and that was most. What large mappings span does not
 * count, as long as there is something else: it would all be back after a few faults. */
static struct window *most_page_tables(struct windows *w)
{
	struct window *most = NULL;
	int64_t most_sparse = -1;

	for (unsigned i = 0; i < w->window_limit; i++) {
		struct window *window = &w->window[i];
		int64_t sparse = MAX((int64_t)window->blocks - window->large_blocks, 0);

		if (window->blocks && sparse > most_sparse) {
			most = window;
			most_sparse = sparse;
		}
	}
	return most;
}

void window_make_room(struct windows *w, unsigned records, unsigned more)
{
	struct window *window;

	while (!has_room(w, records, more) && (window = least_recently_used(w, true))) {
		window_empty(w, window);
		w->bt->stats.window_evictions++;
	}
	while (!has_room_for_tables(w) && (window = most_page_tables(w))) {
		window_empty(w, window);
		w->bt->stats.window_evictions++;
	}
}

/* --- watched pages --- */

unsigned watched_pages(const struct memory *memory, uint64_t page, uint64_t pages, unsigned limit)
{
	unsigned found = 0;

	for (uint64_t i = 0; i < pages && found <= limit;) {
		typedef uint64_t __attribute__((may_alias)) eight;
		const void *flags = (const void *)&memory->page_flags[page + i];

		/* Most pages have no flag: eight at a time. */
		if (!((page + i) & 7) && pages - i >= 8 &&
			!__atomic_load_n((const eight *)flags, __ATOMIC_SEQ_CST)) {
			i += 8;
			continue;
		}
		found += memory_page_watched(memory, page + i);
		i++;
	}
	return found;
}

/* --- mappings --- */

/* Make a hole in a large writable mapping. Where that is not possible the host is short of
 * something, and the whole window goes: so that this cannot come again for each of very many. */
static void make_hole(struct windows *w, uint32_t large, uint64_t linear)
{
	const struct mapping *m = &w->mapping[large];
	struct window *window = &w->window[m->window];
	unsigned before = borders(w, window, linear, linear + PAGE_SIZE);
	uint32_t index = record_new(w);

	if (!index || !protect(w, window, linear, PAGE_SIZE, false)) {
		if (index) {
			w->mapping[index].next = w->mapping_free;
			w->mapping_free = index;
			w->mapping_used--;
		}
		empty(w, window);
		return;
	}
	w->mapping[index] = (struct mapping){
		.linear = linear,
		.page = m->page + (uint32_t)((linear - m->linear) >> PAGE_SHIFT),
		.pages = 1,
		.size = SIZE_4K,
		.list = LIST_HOLES,
		.window = m->window,
	};
	record_enter(w, window, index);
	count_borders(w, window, linear, linear + PAGE_SIZE, before);
}

/* A large mapping has just become writable as a whole: take that back where pages are watched.
 * False: the mapping is gone. */
static bool make_holes(struct windows *w, uint32_t large)
{
	struct mapping m = w->mapping[large];
	const struct memory *memory = w->cpu->memory;

	for (uint32_t i = 0; i < m.pages;) {
		uint32_t some = MIN(m.pages - i, 64u);

		if (watched_pages(memory, m.page + i, some, 0))
			for (uint32_t j = i; j < i + some; j++) {
				uint64_t linear = m.linear + ((uint64_t)j << PAGE_SHIFT);

				if (!memory_page_watched(memory, m.page + j))
					continue;
				make_hole(w, large, linear);
				if (!find_around(w, &w->window[m.window], linear))
					return false;
			}
		i += some;
	}
	return true;
}

static bool overlaps(const struct mapping *m, uint64_t start, uint64_t end)
{
	return m->linear < end && mapping_end(m) > start;
}

static void forget_hole(struct windows *w, struct window *window, uint32_t index)
{
	uint64_t linear = w->mapping[index].linear;
	unsigned before = borders(w, window, linear, linear + PAGE_SIZE);

	record_remove(w, index);
	count_borders(w, window, linear, linear + PAGE_SIZE, before);
}

/* Holes go without a system call: what they are in is about to change as a whole. */
static void forget_holes(struct windows *w, struct window *window, uint64_t start, uint64_t end)
{
	uint32_t index;

	if (window->count[LIST_HOLES] > (end - start) >> PAGE_SHIFT) {
		for (uint64_t linear = start; linear < end; linear += PAGE_SIZE) {
			index = find_size(w, window, SIZE_4K, linear);
			if (index && w->mapping[index].list == LIST_HOLES)
				forget_hole(w, window, index);
		}
		return;
	}
	for_mappings_in(hole, w, window, LIST_HOLES)
	{
		if (overlaps(&w->mapping[hole], start, end))
			forget_hole(w, window, hole);
	}
}

void unmap_run_flush(struct unmap_run *run)
{
	if (run->end > run->start)
		unmap(run->windows, run->window, run->start, run->end - run->start);
	run->start = run->end = 0;
}

void mapping_drop_in_run(struct unmap_run *run, uint32_t index)
{
	struct windows *w = run->windows;
	struct mapping m = w->mapping[index];
	struct window *window = &w->window[m.window];
	uint64_t end = mapping_end(&m);
	unsigned before;

	if (m.size != SIZE_4K)
		forget_holes(w, window, m.linear, end);
	before = borders(w, window, m.linear, end);
	record_remove(w, index);
	count_borders(w, window, m.linear, end, before);
	if (run->window == window && run->end > run->start &&
		(m.linear == run->end || end == run->start)) {
		run->start = MIN(run->start, m.linear);
		run->end = MAX(run->end, end);
		return;
	}
	unmap_run_flush(run);
	run->window = window;
	run->start = m.linear;
	run->end = end;
}

void mapping_drop(struct windows *w, uint32_t index)
{
	struct unmap_run run = {.windows = w};
	const struct mapping *m = &w->mapping[index];

	if (m->list == LIST_HOLES)
		index = find_around(w, &w->window[m->window], m->linear);
	mapping_drop_in_run(&run, index);
	unmap_run_flush(&run);
}

static void drop_range(struct windows *w, struct window *window, uint64_t start, uint64_t end)
{
	uint32_t records = window->count[LIST_LOCAL] + window->count[LIST_GLOBAL], index;

	if (records > (end - start) >> PAGE_SHIFT) {
		for (uint64_t linear = start; linear < end; linear += PAGE_SIZE)
			if ((index = mapping_find(w, window, linear)) != NO_MAPPING)
				mapping_drop(w, index);
		return;
	}
	for (unsigned list = 0; list < LIST_HOLES; list++)
		for_mappings_in(mapping, w, window, list)
		{
			if (overlaps(&w->mapping[mapping], start, end))
				mapping_drop(w, mapping);
		}
}

bool mapping_add(struct windows *w, struct window *window, const struct mapping *new, unsigned run)
{
	uint64_t size = ((uint64_t) new->pages << PAGE_SHIFT) * run, end = new->linear + size;
	uint32_t index = NO_MAPPING;
	unsigned before;

	drop_range(w, window, new->linear, end);
	if (w->mapping_limit - 1 - w->mapping_used < run ||
		!map_fixed(w, window, new->linear, size,
			PROT_READ | (new->writable ? PROT_WRITE : 0), new->page))
		return false;
	before = borders(w, window, new->linear, end);
	for (unsigned i = 0; i < run; i++) {
		index = record_new(w);
		w->mapping[index] = *new;
		w->mapping[index].window = (uint8_t)window_number(w, window);
		w->mapping[index].linear += (uint64_t)i << PAGE_SHIFT;
		w->mapping[index].page += i;
		record_enter(w, window, index);
	}
	count_borders(w, window, new->linear, end, before);
	return new->size == SIZE_4K || !new->writable || make_holes(w, index);
}

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

void mapping_populate(struct windows *w, struct window *window, uint64_t linear)
{
	/* Only a service; kernels before 5.14 do not know it. */
	if (inside(window, linear, PAGE_SIZE))
		madvise((void *)host_address(window, linear), PAGE_SIZE, MADV_POPULATE_READ);
}

static bool set_writable(struct windows *w, uint32_t index, bool writable)
{
	struct mapping *m = &w->mapping[index];
	struct window *window = &w->window[m->window];
	uint64_t end = mapping_end(m);
	unsigned before = borders(w, window, m->linear, end);

	if (!protect(w, window, m->linear, end - m->linear, writable)) {
		empty(w, window);
		return false;
	}
	m->writable = writable;
	count_borders(w, window, m->linear, end, before);
	return true;
}

bool mapping_allow_write(struct windows *w, uint32_t index, uint64_t linear)
{
	struct mapping *m = &w->mapping[index];
	struct window *window = &w->window[m->window];
	unsigned before;

	linear &= PAGE_MASK;
	if (m->list != LIST_HOLES)
		return set_writable(w, index, true) && (m->size == SIZE_4K || make_holes(w, index));
	if (!protect(w, window, linear, PAGE_SIZE, true)) {
		mapping_drop(w, index);
		return false;
	}
	before = borders(w, window, linear, linear + PAGE_SIZE);
	record_remove(w, index);
	count_borders(w, window, linear, linear + PAGE_SIZE, before);
	return true;
}

void mapping_forbid_write(struct windows *w, uint32_t index, uint64_t linear)
{
	const struct mapping *m = &w->mapping[index];

	if (m->size == SIZE_4K)
		set_writable(w, index, false);
	else if (!find_size(w, &w->window[m->window], SIZE_4K, linear & PAGE_MASK))
		make_hole(w, index, linear & PAGE_MASK);
}

/* --- what memory/ tells --- */

/* Call `act` on every mapping that shows the page (holes are part of theirs). Where `act`
 * drops mappings the chain has changed: begin again then. */
static void for_mappings_of_page(struct windows *w, uint64_t page,
	void (*act)(struct windows *w, uint32_t index, uint64_t linear))
{
	uint32_t index, next;

	for (unsigned size = SIZE_4K; size < SIZES; size++)
		for (index = w->by_page[page_bucket(w, size, page)]; index; index = next) {
			const struct mapping *m = &w->mapping[index];
			uint32_t used = w->mapping_used;

			next = m->next_by_page;
			if (m->size != size || m->list == LIST_HOLES || page < m->page ||
				page >= (uint64_t)m->page + m->pages)
				continue;
			act(w, index, m->linear + ((page - m->page) << PAGE_SHIFT));
			if (w->mapping_used < used)
				next = w->by_page[page_bucket(w, size, page)];
		}
}

static void forbid(struct windows *w, uint32_t index, uint64_t linear)
{
	if (w->mapping[index].writable)
		mapping_forbid_write(w, index, linear);
}

static void drop(struct windows *w, uint32_t index, uint64_t linear)
{
	mapping_drop(w, index);
}

/* For more pages than this, all windows are emptied: that is a system call for each. */
#define PAGES_ONE_BY_ONE 512

static void for_pages(struct windows *w, uint64_t page, uint64_t count,
	void (*act)(struct windows *w, uint32_t index, uint64_t linear))
{
	if (count > PAGES_ONE_BY_ONE) {
		for (unsigned i = 0; i < WINDOWS_MAX; i++)
			window_empty(w, &w->window[i]);
		return;
	}
	for (uint64_t i = 0; i < count; i++)
		for_mappings_of_page(w, page + i, act);
}

void windows_protect(struct bt *bt, uint64_t page, uint64_t count)
{
	struct windows *w = bt->windows;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	for_pages(w, page, count, forbid);
	pthread_mutex_unlock(&w->lock);
}

void windows_revoke(struct bt *bt, uint64_t page, uint64_t count)
{
	struct windows *w = bt->windows;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->revocations++;
	for_pages(w, page, count, drop);
	pthread_mutex_unlock(&w->lock);
}
