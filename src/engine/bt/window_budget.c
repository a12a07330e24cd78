/* What the windows may cost the host, and which of them are emptied when it is too much.
 *
 * Whatever page tables a guest makes, these stay bounded:
 *
 *	- address space: a process has 128 TiB, which is room for so many windows and no more.
 *	- records: a vCPU has a fixed number of them (window_record.c).
 *	- borders: Linux allows a process some 65,530 mappings. The kernel joins neighbours that are
 *	  alike, so what counts is where two different ones meet. We count those exactly, by looking
 *	  at the neighbours of what changes.
 *	- blocks: the host needs a page table, 4 KiB, for each block of 2 MiB in which something is
 *	  mapped. It keeps the table when the last page is unmapped, and frees it when the whole
 *	  window is. So we count the blocks in which something was mapped since the window was last
 *	  empty.
 *
 * Borders and blocks are counted for each window, for each vCPU, and for the process, since the
 * host's limit is for the process. */
#include "engine/bt/window_internal.h"

#include "host/zeroed_memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WINDOWS_BUDGET 168 /* of 640 GiB: 105 of the 128 TiB that a process may have */
/* With fewer for each vCPU most accesses would find none, and fault; the soft TLB is better. */
#define WINDOWS_FEWEST 4
#define OTHER_MAPPINGS 5530 /* what the rest of the process may need of vm.max_map_count */
/* Blocks for each vCPU: 8 MiB of page tables for what is mapped here and there. */
#define SPARSE_BLOCKS 2048

struct windows_limits windows_limits;

static _Atomic int64_t process_borders, process_blocks;

/* --- limits --- */

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

/* Besides the sparse blocks, all RAM may be mapped by the guest's kernel and by its programs. */
static uint32_t block_limit(const struct windows *w)
{
	uint64_t dense = 2 * (w->cpu->memory->ram_size / (2 * MIB));
	uint64_t limit = (SPARSE_BLOCKS + dense) * MAX(w->cpu->platform->cpu_count, 1u);

	return windows_limits.blocks ? windows_limits.blocks : (uint32_t)MIN(limit, UINT32_MAX);
}

int budget_create(struct windows *w)
{
	unsigned cpus = MAX(w->cpu->platform->cpu_count, 1u);
	unsigned windows = WINDOWS_BUDGET / cpus;

	if (windows_limits.windows)
		windows = MAX(windows_limits.windows, 2u);
	else if (windows < WINDOWS_FEWEST)
		return -ENOSPC;
	w->reserve_limit = MIN(windows, (unsigned)WINDOWS_MAX);
	w->window_limit = WINDOWS_MAX;
	if (windows_limits.windows || cpus > HOMES_CPUS)
		w->window_limit = w->reserve_limit;
	w->border_share = border_limit() / cpus;
	w->block_share = block_limit(w) / cpus;
	w->block_map = zeroed_memory_map(WINDOWS_MAX * WINDOW_BLOCKS / 8);
	return w->block_map ? 0 : -ENOMEM;
}

void budget_destroy(struct windows *w)
{
	atomic_fetch_sub(&process_borders, w->borders);
	atomic_fetch_sub(&process_blocks, w->blocks);
	zeroed_memory_unmap(w->block_map, WINDOWS_MAX * WINDOW_BLOCKS / 8);
}

/* --- borders --- */

/* Is there a border just below `linear`? */
static unsigned border_below(const struct windows *w, const struct window *window, uint64_t linear)
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

unsigned budget_borders(
	const struct windows *w, const struct window *window, uint64_t start, uint64_t end)
{
	return border_below(w, window, start) + border_below(w, window, end);
}

void budget_count_borders(
	struct windows *w, struct window *window, uint64_t start, uint64_t end, unsigned before)
{
	int change = (int)budget_borders(w, window, start, end) - (int)before;

	window->borders += (unsigned)change;
	w->borders += (unsigned)change;
	atomic_fetch_add_explicit(&process_borders, change, memory_order_relaxed);
}

/* --- blocks --- */

static uint64_t *block_map(const struct windows *w, const struct window *window)
{
	return w->block_map + window_number(w, window) * (WINDOW_BLOCKS / 64);
}

void budget_count_blocks(struct windows *w, struct window *window, uint64_t linear, uint64_t size)
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

void budget_forget_window(struct windows *w, struct window *window)
{
	w->borders -= window->borders;
	atomic_fetch_sub_explicit(&process_borders, window->borders, memory_order_relaxed);
	window->borders = 0;
	memset(block_map(w, window), 0, WINDOW_BLOCKS / 8);
	w->blocks -= window->blocks;
	atomic_fetch_sub_explicit(&process_blocks, window->blocks, memory_order_relaxed);
	window->blocks = 0;
}

/* --- making room --- */

struct window *budget_least_recently_used(struct windows *w, bool with_records)
{
	struct window *oldest = NULL;

	for (unsigned i = 0; i < w->window_limit; i++) {
		struct window *window = &w->window[i];
		bool records = window_mappings(window) > 0;

		if (window->owner == OWNER_NONE || (with_records && !records))
			continue;
		if (!oldest || window->last_use < oldest->last_use)
			oldest = window;
	}
	return oldest;
}

/* The window with most page tables, as nearly as we know: to fill it again costs no more than it
 * did, and that frees most. Blocks that large mappings span do not count, as long as there are
 * others: a few faults would bring them all back. */
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

/* May this vCPU have `mine` of something of which all vCPUs have `total`? A vCPU that has more than
 * its share must save before the limit is reached; and a vCPU always gets an eighth of its share,
 * whatever the others have. */
static bool within_share(int64_t mine, int64_t share, int64_t total, int64_t limit)
{
	if (mine > share)
		return total <= limit - limit / 4;
	return mine <= share / 8 || total <= limit - limit / 8;
}

static bool has_room(const struct windows *w, unsigned records, unsigned borders)
{
	int64_t total = atomic_load_explicit(&process_borders, memory_order_relaxed);

	return w->mapping_limit - 1 - w->mapping_used >= records &&
	       within_share((int64_t)w->borders + borders, w->border_share, total + borders,
		       border_limit());
}

static bool has_room_for_tables(const struct windows *w)
{
	return within_share(w->blocks, w->block_share,
		atomic_load_explicit(&process_blocks, memory_order_relaxed), block_limit(w));
}

void budget_make_room(struct windows *w, unsigned records, unsigned borders)
{
	struct window *window;

	while (!has_room(w, records, borders) && (window = budget_least_recently_used(w, true))) {
		window_empty(w, window);
		w->bt->stats.window_evictions++;
	}
	while (!has_room_for_tables(w) && (window = most_page_tables(w))) {
		window_empty(w, window);
		w->bt->stats.window_evictions++;
	}
}
