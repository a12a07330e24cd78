/* The translation cache's inside: what cache.c and find.c share. */
#ifndef VENEER_ENGINE_BT_CACHE_INTERNAL_H
#define VENEER_ENGINE_BT_CACHE_INTERNAL_H

#include "engine/bt/cache.h"

#define HASH_BITS      14 /* at first */
#define PAGE_HASH_BITS 14
#define MAX_DROPS      256

/* The indices that were entered in a table of 65,536, each once: emptying the table costs what
 * filling it did. */
struct index_list {
	uint16_t index[65536];
	uint32_t count;
	uint64_t listed[65536 / 64]; /* a bit for each */
};
_Static_assert(JUMP_ENTRIES == 65536 && CODE_PAGES == 65536, "index_list is for both");

struct bt_cache {
	size_t code_bytes;
	uint8_t *book;
	size_t book_bytes;
	/* By hash_next; twice as many buckets when there are more units than buckets. */
	struct bt_unit **hash;
	unsigned hash_bits;
	uint32_t units; /* about so many are in the hash */
	struct bt_unit *pages[1 << PAGE_HASH_BITS];
	/* Pages of code: the number of each page of memory's file, or 0; the page of each number.
	 * */
	uint16_t *code_page;
	uint64_t page_of[CODE_PAGES];
	unsigned code_page_count;
	/* Which one was entered in the code map for a linear address, by view; 0: none. Where two
	 * have the same place here only the last one is known. */
	uint16_t at_linear[2][CODE_PAGES];
	struct index_list code_pages[2][2]; /* of the code maps; by view, and whether global */
	struct index_list jumps[BT_TABLES];
	pthread_mutex_t drop_lock;
	uint64_t drops[MAX_DROPS];
	unsigned drop_count; /* more than MAX_DROPS: all pages */
	/* One byte a page of memory's file: does this vCPU have units of the page? Any thread reads
	 * it. */
	_Atomic uint8_t *page_has_units;
};

/* The bucket of a unit; `rip` as the unit has it. */
static inline struct bt_unit **unit_bucket(
	const struct bt *bt, uint64_t rip, uint64_t key, struct bt_mode mode)
{
	const struct bt_cache *cache = bt->cache;

	return &cache->hash[hash_slot(key ^ rip << 7 ^ mode.key << 40, cache->hash_bits)];
}

/* The units that have code in RAM page `page`, and others; by cache_page_next(). */
static inline struct bt_unit **cache_page_list(struct bt *bt, uint64_t page)
{
	return &bt->cache->pages[hash_slot(page, PAGE_HASH_BITS)];
}

/* Where the unit names the next one of such a list. One that straddles pages is in two, unless
 * these are the same. */
static inline struct bt_unit **cache_page_next(
	struct bt *bt, struct bt_unit *unit, struct bt_unit **list)
{
	return list == cache_page_list(bt, unit->key >> PAGE_SHIFT) ? &unit->page_next
								    : &unit->second_next;
}

/* Does it have code in that page? */
static inline bool cache_unit_has(const struct bt_unit *unit, uint64_t page)
{
	return unit->key >> PAGE_SHIFT == page || unit->second >> PAGE_SHIFT == page;
}

/* All units, in no particular order. The body must not contain `break`. */
#define for_units(unit, bt)                                                                        \
	for (unsigned region_ = 0; region_ < CODE_REGIONS; region_++)                              \
		for (struct bt_unit **at_ =                                                        \
				(bt)->code.units + (bt)->code.region[region_].first_unit,          \
				    **end_ = at_ + (bt)->code.region[region_].unit_count, *unit;   \
			at_ < end_ && (unit = *at_, true); at_++)

static inline bool region_has_code(const struct code_region *region, uintptr_t pc)
{
	return pc >= region->start && pc < region->end;
}

/* Is that in the region's bookkeeping? */
static inline bool region_has_book(
	const struct bt *bt, const struct code_region *region, const void *memory)
{
	const uint8_t *byte = memory;

	return byte >= region->book && byte < region->book + bt->cache->book_bytes;
}

/* Take a unit out of the lists of its pages and of the hash, and lead its entries away. */
void cache_forget_unit(struct bt *bt, struct bt_unit *unit);
/* No page of code has a number any more. There must be no units. */
void cache_forget_code_pages(struct bt *bt);
/* Nothing is in the region any more. */
void region_empty(struct code_region *region);

/* find.c: jump table entries for units that are evicted become empty. */
void jumps_forget_evicted(struct bt *bt);
/* Make all jump tables and code maps empty, for the first time; and again. */
void jumps_init(struct bt *bt);
void jumps_empty(struct bt *bt);

#endif
