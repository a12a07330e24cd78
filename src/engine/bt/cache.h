/* Where units live: code, bookkeeping, finding and dropping. */
#ifndef VENEER_ENGINE_BT_CACHE_H
#define VENEER_ENGINE_BT_CACHE_H

#include "engine/bt/bt.h"

/* Fill bt's code area, tables and glue. 0; -ENOSPC where there is no room for code in the low 2 GiB
 * of the address space, or another -errno; without a message. Then, too, cache_destroy() is to be
 * called. */
int cache_create(struct bt *bt);
void cache_destroy(struct bt *bt);

/* Where the code that runs at `at` can be written. */
static inline void *cache_writable(const struct bt *bt, uintptr_t at)
{
	return (void *)(at + (uintptr_t)bt->code.writable);
}

static inline struct bt_exit *cache_exit(const struct bt *bt, uint32_t id)
{
	return &bt->code.exits[id];
}

static inline struct code_region *cache_filling(struct bt *bt)
{
	return &bt->code.region[bt->code.filling];
}

/* A new exit, with this in it, to *id. False: full. */
bool cache_add_exit(struct bt *bt, const struct bt_exit *exit, uint32_t *id);
/* Exits from `first` on have no code: their IDs are free again. */
void cache_forget_exits(struct bt *bt, uint32_t first);

/* The ID that the next exit gets. */
static inline uint32_t cache_next_exit(const struct bt *bt)
{
	const struct code_region *region = &bt->code.region[bt->code.filling];

	return region->first_exit + region->exit_count;
}

/* Memory for bookkeeping, gone with the units that are made now. NULL: full. */
void *cache_take(struct bt *bt, size_t bytes);
uintptr_t cache_code_start(struct bt *bt); /* of the next unit */
uintptr_t cache_code_limit(struct bt *bt);
void cache_code_used(struct bt *bt, uintptr_t end);

/* The number of a page of RAM as a page of code; it gets one if it has none. 0: there are none
 * left. */
unsigned cache_code_page(struct bt *bt, uint64_t page);
/* The number that the next unit gets: its place in code.units. */
static inline uint32_t cache_next_unit(const struct bt *bt)
{
	const struct code_region *region = &bt->code.region[bt->code.filling];

	return region->first_unit + region->unit_count;
}

/* Make a unit findable. */
void cache_add(struct bt *bt, struct bt_unit *unit);
/* The unit for RAM offset `key`, that RIP and mode, or NULL. It may be `dropped`, and then perhaps
 * it can be taken back (stale.h). */
struct bt_unit *cache_find(struct bt *bt, uint64_t rip, uint64_t key, struct bt_mode mode);
/* Forget this one unit: another is to take its place, by stale_succeed(). False: there was no room
 * to do that, and all units of its page are forgotten. */
bool cache_remove(struct bt *bt, struct bt_unit *unit);
/* Forget everything. No translated code may be running or be resumed. */
void cache_flush(struct bt *bt);
/* Make room for units, where there was none: forget a part of the others. As above. */
void cache_make_room(struct bt *bt);

/* Enter a unit, for `rip`, in the jump table of its mode, and its page in the code map. `global`:
 * it survives a change of address space. */
void cache_enter_jump(struct bt *bt, struct bt_unit *unit, uint64_t rip, bool global);
/* Enter in the code map that RAM offset `key` lies at `rip`, and may be fetched. */
void cache_know_page(struct bt *bt, bool user, uint64_t rip, uint64_t key, bool global);
/* glue.miss: translated code wants to go on at `rip`, which its jump table does not have. Where its
 * unit is known without a look at the guest's page tables, it is entered in the table and in
 * bt->run.base; its entry that checks nothing. Else 0. The vector registers are the guest's. */
uintptr_t bt_find_jump(struct bt *bt, uint64_t rip);
/* Empty the jump tables of a mode: its units are not for the CPU's mode any more. */
void cache_forget_jumps(struct bt *bt, struct bt_mode mode);
/* Empty code maps as far as a TLB flush demands. */
void cache_flush_jumps(struct bt *bt, enum tlb_flush what, uint64_t linear);

/* From now on cache_page_written() has to be told of this page. */
void cache_listen(struct bt *bt, uint64_t page);
/* Any thread: RAM page `page` was written where code is. */
void cache_page_written(struct bt *bt, uint64_t page);
/* On the vCPU's thread, outside translated code: drop the units of pages that were written. */
void cache_process_drops(struct bt *bt);
/* The same, where it is not known that there is such a page. */
static inline void cache_process_pending_drops(struct bt *bt)
{
	if (atomic_load(&bt->code.drops_pending))
		cache_process_drops(bt);
}

#endif
