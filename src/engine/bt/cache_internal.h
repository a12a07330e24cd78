/* The translation cache's inside: what cache.c and find.c share. */
#ifndef VENEER_ENGINE_BT_CACHE_INTERNAL_H
#define VENEER_ENGINE_BT_CACHE_INTERNAL_H

#include "engine/bt/cache.h"

#define HASH_BITS      16
#define PAGE_HASH_BITS 14
#define MAX_DROPS      256

/* What has been entered in a code map, so that emptying it costs what filling it did. */
struct code_log {
	uint16_t local[CODE_PAGES], global[CODE_PAGES]; /* indices */
	uint32_t local_count, global_count;
};

/* The same of a jump table. An entry is filled once until the table is emptied, or filled anew. */
struct jump_log {
	uint16_t filled[JUMP_ENTRIES];
	uint32_t count;
};

struct bt_cache {
	size_t code_bytes;
	uint8_t *book;
	size_t book_bytes, book_used;
	struct bt_unit *hash[1 << HASH_BITS];
	struct bt_unit *pages[1 << PAGE_HASH_BITS];
	struct code_log log[2]; /* by view */
	struct jump_log jumps[BT_TABLES];
	pthread_mutex_t drop_lock;
	uint64_t drops[MAX_DROPS];
	unsigned drop_count; /* more than MAX_DROPS: all pages */
	/* One byte a page of memory's file: does this vCPU have units of the page? Any thread reads
	 * it. */
	_Atomic uint8_t *page_has_units;
};

/* The bucket of a unit; `rip` as the unit has it. */
static inline unsigned unit_hash(uint64_t rip, uint64_t key, struct bt_mode mode)
{
	return hash_slot(key ^ rip << 7 ^ mode.key << 40, HASH_BITS);
}

/* The units of RAM page `page`, and of others, by page_next. */
static inline struct bt_unit **cache_page_list(struct bt *bt, uint64_t page)
{
	return &bt->cache->pages[hash_slot(page, PAGE_HASH_BITS)];
}

/* find.c: make all jump tables empty, for the first time; and again. */
void jumps_init(struct bt *bt);
void jumps_empty(struct bt *bt);

#endif
