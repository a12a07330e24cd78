/* One mapping in a window: made, made writable or read-only, dropped.
 *
 * Each change is made twice, in the host (window_host.c) and in the record (window_record.c), and
 * the borders are counted before and after (window_budget.c).
 *
 * A large writable mapping may span pages whose stores must be noticed. Each such page is a hole:
 * it is read-only in the host, and has a record of its own that is found before the mapping's.
 *
 * The host may refuse a change: its limit of mappings, or of memory, is reached. What the guest may
 * no longer reach has to go all the same. So where a part of a window cannot be changed the whole
 * window is emptied, which needs no new mapping. */
#include "engine/bt/window_internal.h"

/* --- watched pages --- */

unsigned watched_pages(const struct memory *memory, uint64_t page, uint64_t pages, unsigned limit)
{
	unsigned found = 0;

	for (uint64_t i = 0; i < pages && found <= limit;) {
		typedef uint64_t __attribute__((may_alias)) eight;
		const void *flags = (const void *)&memory->page_flags[page + i];

		/* Most pages have no flag, so we look at eight at a time. */
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

/* --- holes --- */

/* Make a hole in a large writable mapping. Where that is not possible the host is short of
 * something, and the whole window goes: else the same could happen for each of very many pages. */
static void make_hole(struct windows *w, uint32_t large, uint64_t linear)
{
	const struct mapping *m = &w->mapping[large];
	struct window *window = &w->window[m->window];
	unsigned before = budget_borders(w, window, linear, linear + PAGE_SIZE);
	uint32_t index = record_new(w);

	if (!index || !window_host_protect(w, window, linear, PAGE_SIZE, false)) {
		if (index)
			record_free(w, index);
		window_empty(w, window);
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
	record_enter(w, index);
	budget_count_borders(w, window, linear, linear + PAGE_SIZE, before);
}

/* A large mapping has just become writable as a whole: make its watched pages read-only again.
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
				if (!mapping_find_large(w, &w->window[m.window], linear))
					return false;
			}
		i += some;
	}
	return true;
}

static bool mapping_overlaps(const struct mapping *m, uint64_t start, uint64_t end)
{
	return m->linear < end && mapping_end(m) > start;
}

static void forget_hole(struct windows *w, struct window *window, uint32_t index)
{
	uint64_t linear = w->mapping[index].linear;
	unsigned before = budget_borders(w, window, linear, linear + PAGE_SIZE);

	record_remove(w, index);
	budget_count_borders(w, window, linear, linear + PAGE_SIZE, before);
}

/* This takes no system call: the mapping around the holes is about to change as a whole. */
static void forget_holes(struct windows *w, struct window *window, uint64_t start, uint64_t end)
{
	uint32_t index;

	if (window->count[LIST_HOLES] > (end - start) >> PAGE_SHIFT) {
		for (uint64_t linear = start; linear < end; linear += PAGE_SIZE) {
			index = mapping_find_sized(w, window, SIZE_4K, linear);
			if (index && w->mapping[index].list == LIST_HOLES)
				forget_hole(w, window, index);
		}
		return;
	}
	for_mappings_in(hole, w, window, LIST_HOLES) {
		if (mapping_overlaps(&w->mapping[hole], start, end))
			forget_hole(w, window, hole);
	}
}

/* --- dropped --- */

void unmap_run_flush(struct unmap_run *run)
{
	if (run->end > run->start &&
		!window_host_unmap(run->windows, run->window, run->start, run->end - run->start))
		window_empty(run->windows, run->window);
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
	before = budget_borders(w, window, m.linear, end);
	record_remove(w, index);
	budget_count_borders(w, window, m.linear, end, before);
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
		index = mapping_find_large(w, &w->window[m->window], m->linear);
	mapping_drop_in_run(&run, index);
	unmap_run_flush(&run);
}

static void drop_range(struct windows *w, struct window *window, uint64_t start, uint64_t end)
{
	uint32_t records = window_mappings(window), index;

	if (records > (end - start) >> PAGE_SHIFT) {
		for (uint64_t linear = start; linear < end; linear += PAGE_SIZE)
			if ((index = mapping_find(w, window, linear)) != NO_MAPPING)
				mapping_drop(w, index);
		return;
	}
	for (unsigned list = 0; list < LIST_HOLES; list++)
		for_mappings_in(mapping, w, window, list) {
			if (mapping_overlaps(&w->mapping[mapping], start, end))
				mapping_drop(w, mapping);
		}
}

/* --- made --- */

bool mapping_add(struct windows *w, struct window *window, const struct mapping *new, unsigned run)
{
	uint64_t size = ((uint64_t) new->pages << PAGE_SHIFT) * run, end = new->linear + size;
	uint32_t index = NO_MAPPING;
	unsigned before;

	drop_range(w, window, new->linear, end);
	if (w->mapping_limit - 1 - w->mapping_used < run ||
		!window_host_map(w, window, new->linear, size, new->page, new->writable))
		return false;
	before = budget_borders(w, window, new->linear, end);
	for (unsigned i = 0; i < run; i++) {
		index = record_new(w);
		w->mapping[index] = *new;
		w->mapping[index].window = (uint8_t)window_number(w, window);
		w->mapping[index].linear += (uint64_t)i << PAGE_SHIFT;
		w->mapping[index].page += i;
		record_enter(w, index);
	}
	budget_count_borders(w, window, new->linear, end, before);
	return new->size == SIZE_4K || !new->writable || make_holes(w, index);
}

/* --- writable, read-only --- */

static bool set_writable(struct windows *w, uint32_t index, bool writable)
{
	struct mapping *m = &w->mapping[index];
	struct window *window = &w->window[m->window];
	uint64_t end = mapping_end(m);
	unsigned before = budget_borders(w, window, m->linear, end);

	if (!window_host_protect(w, window, m->linear, end - m->linear, writable)) {
		window_empty(w, window);
		return false;
	}
	m->writable = writable;
	budget_count_borders(w, window, m->linear, end, before);
	return true;
}

bool mapping_allow_write(struct windows *w, uint32_t index, uint64_t linear)
{
	struct mapping *m = &w->mapping[index];
	struct window *window = &w->window[m->window];

	linear &= PAGE_MASK;
	if (m->list != LIST_HOLES)
		return set_writable(w, index, true) && (m->size == SIZE_4K || make_holes(w, index));
	if (!window_host_protect(w, window, linear, PAGE_SIZE, true)) {
		mapping_drop(w, index);
		return false;
	}
	forget_hole(w, window, index);
	return true;
}

void mapping_forbid_write(struct windows *w, uint32_t index, uint64_t linear)
{
	const struct mapping *m = &w->mapping[index];

	if (m->size == SIZE_4K)
		set_writable(w, index, false);
	else if (!mapping_find_sized(w, &w->window[m->window], SIZE_4K, linear & PAGE_MASK))
		make_hole(w, index, linear & PAGE_MASK);
}

/* --- what memory/ tells --- */

static void forbid_write_if_allowed(struct windows *w, uint32_t index, uint64_t linear)
{
	if (w->mapping[index].writable)
		mapping_forbid_write(w, index, linear);
}

static void drop_mapping_of_page(struct windows *w, uint32_t index, uint64_t linear)
{
	mapping_drop(w, index);
}

/* For more pages than this all windows are emptied, which takes one system call for each. */
#define PAGES_ONE_BY_ONE 512

static void mappings_of_pages(struct windows *w, uint64_t page, uint64_t count,
	void (*act)(struct windows *w, uint32_t index, uint64_t linear))
{
	if (count > PAGES_ONE_BY_ONE) {
		for (unsigned i = 0; i < WINDOWS_MAX; i++)
			window_empty(w, &w->window[i]);
		return;
	}
	for (uint64_t i = 0; i < count; i++)
		mappings_of_page(w, page + i, act);
}

void windows_protect(struct bt *bt, uint64_t page, uint64_t count)
{
	struct windows *w = bt->windows;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	mappings_of_pages(w, page, count, forbid_write_if_allowed);
	pthread_mutex_unlock(&w->lock);
}

void windows_revoke(struct bt *bt, uint64_t page, uint64_t count)
{
	struct windows *w = bt->windows;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->revocations++;
	mappings_of_pages(w, page, count, drop_mapping_of_page);
	pthread_mutex_unlock(&w->lock);
}
