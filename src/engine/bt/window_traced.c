/* Page tables traced (--shadow=traced), so that a flush puts less in doubt.
 *
 * A flush does not say what has changed in the page tables, so each mapping of the space is looked
 * up again, and of thousands perhaps one is wrong. The other way is to watch the page tables: each
 * page that entries were read from is write-protected in all windows, as pages of code are, and the
 * first store to it, which faults or finds the page's flag, gives it another version
 * (memory_table_trace()). From then on it is out of sync, and written freely. At the next flush
 * only what was mapped through it has to be looked up.
 *
 * All addresses of one block of 2 MiB are mapped through the same few tables: root, two directories
 * and the page table, or fewer where the block is part of a large page. So it is blocks that are
 * traced: a block knows these tables with their versions, and its mappings lie side by side in the
 * window's list. As long as the versions are the same the block is in sync: every walk from its
 * addresses gives what it gave before. That covers
 *
 *	- stores by any vCPU, device or interpreter, since the versions are the machine's;
 *	- a table that is used at several levels, in several spaces, by itself: it has one version;
 *	- another table in the place of one of these: to enter it the one above had to be stored to;
 *	- mappings that came after: they were found through the same tables, or some version has
 *	  changed.
 *
 * What a walk gives depends on registers, too, so after a flush of everything, which is what
 * changes of those lead to, all is looked up once.
 *
 * Tracing a block costs a system call or more for each table, and a fault for the first store, as
 * much as dozens of look-ups. And a table may be stored to between any two flushes. So it is the
 * ski-rental problem once more: a block is looked up again at each flush until that has cost what
 * tracing costs, and what is traced without having spared as much waits twice as long the next
 * time. */
#include "engine/bt/window_internal.h"

#include "engine/options.h"
#include "host/zeroed_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS      8192 /* mappings in other ones are looked up at each flush */
#define BUCKET_BITS 11
#define BLOCK_SHIFT 21
#define PRICE       64 /* look-ups */
#define PRICE_MAX   (PRICE << 8)
#define RENEWED     16 /* at one flush */

struct tables {
	uint32_t page[PAGING_LEVELS], version[PAGING_LEVELS];
	unsigned count; /* 0: the block is not traced */
};

struct traced_block {
	uint64_t number; /* linear address >> BLOCK_SHIFT */
	uint8_t window;
	uint32_t first, last, count; /* its mappings, neighbours in the window's list */
	uint32_t next;               /* in the bucket, or of those not in use */
	struct tables tables;
	uint64_t rules;                /* traced->rules when it was looked up */
	uint32_t spent, spared, price; /* look-ups: before it was traced, since then */
};

struct traced {
	struct traced_block *block; /* block 0 is not used */
	uint32_t top, free;
	uint32_t bucket[1 << BUCKET_BITS];
	uint32_t price, price_max;
	uint64_t rules; /* counts changes of what walks depend on besides the page tables */
};

int traced_create(struct windows *w)
{
	struct traced *t = w->traced = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->top = t->rules = 1;
	/* A test that lowers the heat has all traced at once. */
	t->price = w->bt->options.heat ? 1 : PRICE;
	t->price_max = w->bt->options.heat ? 1 : PRICE_MAX;
	t->block = zeroed_memory_map(BLOCKS * sizeof(*t->block));
	return t->block ? 0 : -ENOMEM;
}

void traced_destroy(struct windows *w)
{
	if (!w->traced)
		return;
	zeroed_memory_unmap(w->traced->block, BLOCKS * sizeof(*w->traced->block));
	free(w->traced);
}

void traced_rules_changed(struct windows *w)
{
	w->traced->rules++;
}

/* --- blocks and their mappings --- */

static uint32_t *bucket_of(const struct windows *w, unsigned window, uint64_t number)
{
	uint64_t key = number ^ (uint64_t)window << 46;

	return &w->traced->bucket[(key * w->hash_multiplier) >> (64 - BUCKET_BITS)];
}

static uint32_t new_block(struct windows *w, unsigned window, uint64_t number)
{
	struct traced *t = w->traced;
	uint32_t index = t->free, *bucket = bucket_of(w, window, number);

	if (index)
		t->free = t->block[index].next;
	else if (t->top < BLOCKS)
		index = t->top++;
	else
		return 0;
	t->block[index] = (struct traced_block){
		.number = number, .window = (uint8_t)window, .next = *bucket, .price = t->price};
	*bucket = index;
	return index;
}

static void free_block(struct windows *w, uint32_t index)
{
	struct traced *t = w->traced;
	struct traced_block *block = &t->block[index];
	uint32_t *at = bucket_of(w, block->window, block->number);

	while (*at != index)
		at = &t->block[*at].next;
	*at = block->next;
	block->next = t->free;
	t->free = index;
}

static uint32_t find_block(const struct windows *w, unsigned window, uint64_t number)
{
	const struct traced *t = w->traced;
	uint32_t index = *bucket_of(w, window, number);

	while (index && (t->block[index].number != number || t->block[index].window != window))
		index = t->block[index].next;
	return index;
}

uint32_t traced_enter(struct windows *w, uint32_t index)
{
	struct mapping *m = &w->mapping[index];
	uint64_t number = m->linear >> BLOCK_SHIFT;
	struct traced_block *block;
	uint32_t after;

	if (m->list != LIST_LOCAL || w->window[m->window].owner < 0)
		return NO_MAPPING;
	m->block = find_block(w, m->window, number);
	if (!m->block)
		m->block = new_block(w, m->window, number);
	if (!m->block)
		return NO_MAPPING;
	block = &w->traced->block[m->block];
	after = block->count++ ? block->last : NO_MAPPING;
	if (!after)
		block->first = index;
	block->last = index;
	return after;
}

void traced_remove(struct windows *w, uint32_t index)
{
	const struct mapping *m = &w->mapping[index];
	struct traced_block *block = &w->traced->block[m->block];

	if (!--block->count)
		free_block(w, m->block);
	else if (block->first == index)
		block->first = m->next;
	else if (block->last == index)
		block->last = m->previous;
}

/* --- tracing --- */

/* Trace the tables of an address in the current space. tables->count is 0 where they change
 * meanwhile. Without the lock, for memory_table_trace() may wait for it. */
static void trace_tables(struct windows *w, uint64_t linear, struct tables *tables)
{
	uint32_t again[PAGING_LEVELS];

	tables->count = paging_tables(w->cpu, linear, tables->page);
	for (unsigned i = 0; i < tables->count; i++)
		tables->version[i] = memory_table_trace(w->cpu->memory, tables->page[i]);
	if (paging_tables(w->cpu, linear, again) != tables->count ||
		memcmp(again, tables->page, tables->count * sizeof(again[0])))
		tables->count = 0;
	w->bt->stats.traces += tables->count;
}

static bool in_sync(const struct windows *w, const struct traced_block *block)
{
	const struct tables *tables = &block->tables;

	for (unsigned i = 0; i < tables->count; i++)
		if (atomic_load(&w->cpu->memory->table_version[tables->page[i]]) !=
			tables->version[i])
			return false;
	return tables->count;
}

/* Blocks of the current space that have waited long enough. */
static unsigned find_due(struct windows *w, uint32_t *due)
{
	unsigned count = 0;

	for_windows_of(window, w, w->current) {
		uint32_t index = window->first[LIST_LOCAL];

		while (index && count < RENEWED) {
			uint32_t number = w->mapping[index].block;
			const struct traced_block *block = &w->traced->block[number];

			if (number && !in_sync(w, block) && block->spent >= block->price)
				due[count++] = number;
			index = w->mapping[number ? block->last : index].next;
		}
	}
	return count;
}

void traced_renew(struct windows *w)
{
	uint32_t due[RENEWED];
	uint64_t number[RENEWED];
	struct tables tables[RENEWED];
	unsigned count = find_due(w, due);

	if (!count)
		return;
	for (unsigned i = 0; i < count; i++)
		number[i] = w->traced->block[due[i]].number;
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < count; i++)
		trace_tables(w, number[i] << BLOCK_SHIFT, &tables[i]);
	pthread_mutex_lock(&w->lock);
	for (unsigned i = 0; i < count; i++) {
		struct traced_block *block = &w->traced->block[due[i]];

		/* Another thread may have emptied the window; only this one makes blocks. */
		if (!block->count)
			continue;
		block->tables = tables[i];
		block->rules = 0; /* it has not been looked up since */
		block->spent = block->spared = 0;
	}
}

/* --- after a flush --- */

/* Where registers have changed, or what lies at which physical address, its tables may have become
 * other ones with no store to any of them. */
static bool same_tables(const struct windows *w, const struct traced_block *block)
{
	uint32_t now[PAGING_LEVELS];
	const struct tables *tables = &block->tables;

	return paging_tables(w->cpu, block->number << BLOCK_SHIFT, now) == tables->count &&
	       memcmp(now, tables->page, tables->count * sizeof(now[0])) == 0;
}

/* Its tables have been stored to: how long it has to wait until it is traced again depends on what
 * tracing has spared. */
static void stop_tracing(const struct traced *t, struct traced_block *block)
{
	block->price =
		block->spared >= block->price ? t->price : MIN(2 * block->price, t->price_max);
	block->tables.count = 0;
}

/* Must the block's mappings be looked up? */
static bool block_in_doubt(struct windows *w, struct traced_block *block)
{
	bool same = block->rules == w->traced->rules;

	if (in_sync(w, block) && (same || same_tables(w, block))) {
		block->rules = w->traced->rules;
		block->spared += same ? block->count : 0;
		w->bt->stats.spared += same ? block->count : 0;
		return !same;
	}
	if (block->tables.count)
		stop_tracing(w->traced, block);
	block->spent += block->count;
	return true;
}

/* Look up again the mappings of a list from `index` to `last`. Returns how many stay. */
static unsigned look_up_again(
	struct unmap_run *run, struct round *round, uint32_t index, uint32_t last)
{
	struct windows *w = run->windows;
	struct window *window = &w->window[w->mapping[index].window];
	unsigned kept = 0;
	bool more = true;

	/* Where the host has refused a change, the whole window was emptied. */
	for (uint32_t next; more && window->first[LIST_LOCAL]; index = next) {
		next = w->mapping[index].next;
		more = index != last;
		w->bt->stats.revalidations++;
		if (mapping_still_good(w, round, index))
			kept++;
		else
			mapping_drop_in_run(run, index);
	}
	return kept;
}

unsigned traced_revalidate(struct windows *w, struct window *window, struct round *round)
{
	struct unmap_run run = {.windows = w};
	unsigned kept = 0;

	for (uint32_t index = window->first[LIST_LOCAL], next; index && window->first[LIST_LOCAL];
		index = next) {
		uint32_t number = w->mapping[index].block;
		struct traced_block *block = &w->traced->block[number];
		uint32_t last = number ? block->last : index;

		next = w->mapping[last].next;
		if (!number || block_in_doubt(w, block))
			kept += look_up_again(&run, round, index, last);
		else
			kept += block->count;
	}
	unmap_run_flush(&run);
	return kept;
}
