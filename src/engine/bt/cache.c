/* The translation cache.
 *
 * Units lie in the code area in the order they were made, region after region; when one is full (of
 * code or of anything else) the oldest is emptied, and filled anew (evict.c). When a page's code is
 * written, all its units are dropped at once, each by a jump at its own entry, which all ways into
 * it meet; and they come back when they are wanted (stale.c). Code that is not taken back stays
 * where it is until its region is emptied. */
#include "engine/bt/cache_internal.h"
#include "engine/bt/emit.h"
#include "engine/bt/glue.h"
#include "engine/bt/soft_tlb.h"
#include "engine/bt/stale.h"
#include "engine/options.h"

#include "host/low_memory.h"
#include "host/zeroed_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* A compiler of 30 MB of code makes some 100 MiB of units. None of this costs anything until it is
 * used. */
#define CODE_BYTES     (192 * MIB)
#define ALL_CODE_BYTES (768 * MIB) /* of all vCPUs: all must lie in the low 2 GiB */
#define LARGEST_UNIT   (32 * KIB)
/* How many units, exits and bytes of bookkeeping there is room for: so many for each so many bytes
 * of code. */
#define CODE_OF_UNIT 384
#define CODE_OF_EXIT 96
#define CODE_OF_BOOK 1
#define UNIT_HEADER  16 /* keeps the code aligned */
/* As on a host without room for more. */
#define LITTLE_CODE (2 * MIB)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* of Linux 6.1 */
#endif

/* --- creation --- */

static size_t hash_bytes(unsigned bits)
{
	return sizeof(struct bt_unit *) << bits;
}

static int map_code(struct bt *bt, size_t size)
{
	int fd = memfd_create("veneer-translations", MFD_CLOEXEC);
	void *writable, *executable;

	int error;

	if (fd < 0)
		return -errno;
	writable = ftruncate(fd, (off_t)size) < 0
			   ? MAP_FAILED
			   : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	error = writable == MAP_FAILED ? -errno : 0;
	executable = error ? NULL : low_memory_map_file(size, PROT_READ | PROT_EXEC, fd);
	close(fd);
	if (error)
		return error;
	if (!executable) {
		munmap(writable, size);
		return -ENOSPC;
	}
	bt->code.start = (uintptr_t)executable;
	bt->code.end = bt->code.start + size;
	bt->code.writable = (intptr_t)((uintptr_t)writable - bt->code.start);
	return 0;
}

void region_empty(struct code_region *region)
{
	region->used = region->start;
	region->book_used = 0;
	region->unit_count = 0;
	region->exit_count = 0;
}

/* What each region has of everything. In the first one the glue comes before units. */
static void divide(struct bt *bt)
{
	struct bt_cache *cache = bt->cache;

	for (unsigned i = 0; i < CODE_REGIONS; i++) {
		struct code_region *region = &bt->code.region[i];
		size_t bytes = cache->code_bytes / CODE_REGIONS;

		region->start = i ? bt->code.start + i * bytes : bt->code.units_start;
		region->end = bt->code.start + (i + 1) * bytes;
		region->book = cache->book + i * cache->book_bytes;
		region->first_unit = i * bt->code.unit_limit;
		region->first_exit = BT_EXIT_ID_FIRST + i * bt->code.exit_limit;
		region_empty(region);
	}
}

static size_t all_units(const struct bt *bt)
{
	return CODE_REGIONS * bt->code.unit_limit * sizeof(*bt->code.units);
}

static size_t all_exits(const struct bt *bt)
{
	return (BT_EXIT_ID_FIRST + CODE_REGIONS * bt->code.exit_limit) * sizeof(*bt->code.exits);
}

static size_t size_of_code(const struct bt *bt)
{
	unsigned cpus = bt->cpu->platform->cpu_count ? bt->cpu->platform->cpu_count : 1;
	size_t room = bt->options.without & HOST_CODE_ROOM ? LITTLE_CODE
							   : MIN(CODE_BYTES, ALL_CODE_BYTES / cpus);

	return ALIGN_UP(room, CODE_REGIONS * PAGE_SIZE);
}

int cache_create(struct bt *bt)
{
	struct bt_cache *cache = zeroed_memory_map(sizeof(*cache));
	int error;

	if (!cache)
		return -ENOMEM;
	bt->cache = cache;
	cache->code_bytes = size_of_code(bt);
	cache->book_bytes = cache->code_bytes / CODE_OF_BOOK / CODE_REGIONS;
	cache->book = zeroed_memory_map(CODE_REGIONS * cache->book_bytes);
	cache->hash_bits = HASH_BITS;
	cache->hash = zeroed_memory_map(hash_bytes(HASH_BITS));
	cache->page_has_units = calloc(1, bt->cpu->memory->file_size >> PAGE_SHIFT);
	cache->code_page =
		calloc(sizeof(*cache->code_page), bt->cpu->memory->file_size >> PAGE_SHIFT);
	bt->code.exit_limit = (uint32_t)(cache->code_bytes / CODE_OF_EXIT / CODE_REGIONS);
	bt->code.exits = zeroed_memory_map(all_exits(bt));
	bt->code.unit_limit = (uint32_t)(cache->code_bytes / CODE_OF_UNIT / CODE_REGIONS);
	bt->code.units = zeroed_memory_map(all_units(bt));
	pthread_mutex_init(&cache->drop_lock, NULL);
	if (!cache->book || !cache->hash || !cache->page_has_units || !cache->code_page ||
		!bt->code.exits || !bt->code.units)
		return -ENOMEM;
	error = map_code(bt, cache->code_bytes);
	if (error)
		return error;
	glue_generate(bt);
	divide(bt);
	bt->code.exits[BT_EXIT_ID_KICK] = (struct bt_exit){.kind = BT_EXIT_KICK};
	bt->code.exits[BT_EXIT_ID_FAULT] = (struct bt_exit){.kind = BT_EXIT_FAULT};
	bt->code.exits[BT_EXIT_ID_JUMP] = (struct bt_exit){.kind = BT_EXIT_JUMP};
	soft_tlb_init(bt);
	jumps_init(bt);
	return 0;
}

void cache_destroy(struct bt *bt)
{
	struct bt_cache *cache = bt->cache;

	if (!cache)
		return;
	if (bt->code.start) {
		munmap((void *)bt->code.start, cache->code_bytes);
		munmap(cache_writable(bt, bt->code.start), cache->code_bytes);
	}
	zeroed_memory_unmap(bt->code.exits, all_exits(bt));
	zeroed_memory_unmap(bt->code.units, all_units(bt));
	zeroed_memory_unmap(cache->book, CODE_REGIONS * cache->book_bytes);
	zeroed_memory_unmap(cache->hash, hash_bytes(cache->hash_bits));
	free((void *)cache->page_has_units);
	free(cache->code_page);
	pthread_mutex_destroy(&cache->drop_lock);
	zeroed_memory_unmap(cache, sizeof(*cache));
	bt->cache = NULL;
}

/* --- space --- */

void *cache_take(struct bt *bt, size_t bytes)
{
	struct code_region *region = cache_filling(bt);
	void *memory = region->book + region->book_used;

	bytes = ALIGN_UP(bytes, 8);
	if (region->book_used + bytes > bt->cache->book_bytes ||
		region->unit_count == bt->code.unit_limit)
		return NULL;
	region->book_used += bytes;
	return memory;
}

uintptr_t cache_code_start(struct bt *bt)
{
	return cache_filling(bt)->used + UNIT_HEADER;
}

uintptr_t cache_code_limit(struct bt *bt)
{
	const struct code_region *region = cache_filling(bt);

	return MIN(region->end - UNIT_HEADER, region->used + LARGEST_UNIT);
}

/* A huge page's worth of code is complete. The code of a large program is spread over more pages
 * than the processor's TLB has entries for. The host may refuse, and then it is as it was. */
static void use_huge_page(const struct bt *bt, uintptr_t last)
{
	uintptr_t start = last & ~(HUGE_PAGE - 1);

	if (start >= bt->code.start)
		madvise((void *)start, HUGE_PAGE, MADV_COLLAPSE);
}

void cache_code_used(struct bt *bt, uintptr_t end)
{
	struct code_region *region = cache_filling(bt);

	if ((region->used ^ end) & ~(HUGE_PAGE - 1))
		use_huge_page(bt, region->used);
	region->used = ALIGN_UP(end, 16);
}

bool cache_add_exit(struct bt *bt, const struct bt_exit *exit, uint32_t *id)
{
	if (cache_filling(bt)->exit_count == bt->code.exit_limit)
		return false;
	*id = cache_next_exit(bt);
	cache_filling(bt)->exit_count++;
	bt->code.exits[*id] = *exit;
	return true;
}

void cache_forget_exits(struct bt *bt, uint32_t first)
{
	cache_filling(bt)->exit_count = first - cache_filling(bt)->first_exit;
}

/* --- pages of code --- */

unsigned cache_code_page(struct bt *bt, uint64_t page)
{
	struct bt_cache *cache = bt->cache;

	if (cache->code_page[page] || cache->code_page_count == CODE_PAGES - 1)
		return cache->code_page[page];
	cache->code_page[page] = (uint16_t)++cache->code_page_count;
	cache->page_of[cache->code_page_count] = page;
	return cache->code_page_count;
}

void cache_forget_code_pages(struct bt *bt)
{
	struct bt_cache *cache = bt->cache;

	for (unsigned number = 1; number <= cache->code_page_count; number++)
		cache->code_page[cache->page_of[number]] = 0;
	cache->code_page_count = 0;
}

/* --- finding --- */

static void link_page(struct bt *bt, struct bt_unit *unit, uint64_t page)
{
	struct bt_unit **list = cache_page_list(bt, page);

	*cache_page_next(bt, unit, list) = *list;
	*list = unit;
}

static bool in_two_lists(struct bt *bt, const struct bt_unit *unit)
{
	return unit->second != UNIT_ONE_PAGE &&
	       cache_page_list(bt, unit->second >> PAGE_SHIFT) !=
		       cache_page_list(bt, unit->key >> PAGE_SHIFT);
}

static void enter_hash(struct bt *bt, struct bt_unit *unit)
{
	struct bt_unit **bucket = unit_bucket(bt, unit->rip, unit->key, unit->mode);

	unit->hash_next = *bucket;
	*bucket = unit;
}

/* Units that are forgotten are in no bucket, and stay so. Without memory it remains as it is. */
static void grow_hash(struct bt *bt)
{
	struct bt_cache *cache = bt->cache;
	struct bt_unit **old = cache->hash,
		       **new = zeroed_memory_map(hash_bytes(cache->hash_bits + 1));
	unsigned old_bits = cache->hash_bits;

	if (!new)
		return;
	cache->hash = new;
	cache->hash_bits++;
	for (size_t i = 0; i < (size_t)1 << old_bits; i++)
		for (struct bt_unit *unit = old[i], *next; unit; unit = next) {
			next = unit->hash_next;
			enter_hash(bt, unit);
		}
	zeroed_memory_unmap(old, hash_bytes(old_bits));
}

void cache_add(struct bt *bt, struct bt_unit *unit)
{
	struct bt_cache *cache = bt->cache;

	if (cache->units++ >> cache->hash_bits)
		grow_hash(bt);
	enter_hash(bt, unit);
	link_page(bt, unit, unit->key >> PAGE_SHIFT);
	if (in_two_lists(bt, unit))
		link_page(bt, unit, unit->second >> PAGE_SHIFT);
	bt->code.units[cache_next_unit(bt)] = unit;
	cache_filling(bt)->unit_count++;
	((struct bt_unit **)cache_writable(bt, unit->code))[-1] = unit;
	bt->stats.units++;
	bt->stats.guest_instructions_translated += unit->count;
	bt->stats.translated_bytes += unit->size;
}

void cache_listen(struct bt *bt, uint64_t page)
{
	atomic_store(&bt->cache->page_has_units[page], 1);
}

static struct bt_unit *unit_at(const struct bt *bt, uintptr_t pc)
{
	const struct code_region *region = bt->code.region;
	struct bt_unit *const *units;
	unsigned low = 0, high;

	while (!region_has_code(region, pc))
		if (++region == bt->code.region + CODE_REGIONS)
			return NULL;
	units = bt->code.units + region->first_unit;
	high = region->unit_count;
	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (units[middle]->code <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	return low && pc < units[low - 1]->code + units[low - 1]->size ? units[low - 1] : NULL;
}

bool bt_locate(const struct bt *bt, uintptr_t pc, struct bt_where *where)
{
	struct bt_unit *unit = unit_at(bt, pc);
	unsigned low = 0, high;

	if (!unit)
		return false;
	high = unit->mark_count;
	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (unit->code + unit->marks[middle].host <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return false;
	*where = (struct bt_where){.unit = unit,
		.insn = unit->marks[low - 1].insn,
		.rip = bt_rip(bt,
			(unit->rip & PAGE_MASK) + unit->insns[unit->marks[low - 1].insn].offset),
		.state = unit->marks[low - 1].state};
	return true;
}

/* --- dropping --- */

static void unlink_hash(struct bt *bt, struct bt_unit *unit)
{
	struct bt_unit **link = unit_bucket(bt, unit->rip, unit->key, unit->mode);

	while (*link && *link != unit)
		link = &(*link)->hash_next;
	if (*link)
		*link = unit->hash_next;
}

/* It will not be taken back. It may have many entries in the jump tables, and direct jumps lead to
 * it. They go on doing so: to its gate, if it is stale, or to where an empty entry would lead. */
static void forget_unit(struct bt *bt, struct bt_unit *unit)
{
	unlink_hash(bt, unit);
	if (unit->dropped)
		return;
	emit_redirect(bt, unit->code, bt->glue.miss);
	emit_redirect(bt, unit->linked, bt->glue.miss);
	unit->dropped = true;
}

static void unlink_page(struct bt *bt, struct bt_unit *unit, uint64_t page)
{
	struct bt_unit **list = cache_page_list(bt, page), **link = list;

	while (*link && *link != unit)
		link = cache_page_next(bt, *link, list);
	if (*link)
		*link = *cache_page_next(bt, unit, list);
}

void cache_forget_unit(struct bt *bt, struct bt_unit *unit)
{
	unlink_page(bt, unit, unit->key >> PAGE_SHIFT);
	if (in_two_lists(bt, unit))
		unlink_page(bt, unit, unit->second >> PAGE_SHIFT);
	forget_unit(bt, unit);
}

/* Forget all units that begin in the page. */
static void forget_page(struct bt *bt, uint64_t page)
{
	struct bt_unit **list = cache_page_list(bt, page), *unit = *list, *next;

	for (; unit; unit = next) {
		next = *cache_page_next(bt, unit, list);
		if (unit->key >> PAGE_SHIFT == page)
			cache_forget_unit(bt, unit);
	}
}

/* Take a unit out of reach, but keep it. False: there was no room to do that. A unit without a gate
 * may be jumped to by any other of its page: then all of those are forgotten. */
static bool make_stale(struct bt *bt, struct bt_unit *unit)
{
	if (stale_make(bt, unit))
		return true;
	forget_page(bt, unit->key >> PAGE_SHIFT);
	return false;
}

/* One that is not wanted for so many stores to its page is not kept any longer. */
#define STORES_MAX UINT8_MAX

static void drop_units_of_page(struct bt *bt, uint64_t page)
{
	struct bt_unit **list = cache_page_list(bt, page), *unit = *list, *next;

	atomic_store(&bt->cache->page_has_units[page], 0);
	for (; unit; unit = next) {
		next = *cache_page_next(bt, unit, list);
		if (!cache_unit_has(unit, page))
			continue;
		if (unit->dropped && ++unit->stores == STORES_MAX)
			cache_remove(bt, unit);
		else if (!make_stale(bt, unit))
			next = *list; /* and the others that were to come may be gone */
	}
	bt->stats.pages_dropped++;
}

bool cache_remove(struct bt *bt, struct bt_unit *unit)
{
	if (!make_stale(bt, unit))
		return false;
	cache_forget_unit(bt, unit);
	return true;
}

void cache_page_written(struct bt *bt, uint64_t page)
{
	struct bt_cache *cache = bt->cache;

	if (!atomic_load(&cache->page_has_units[page]))
		return;
	pthread_mutex_lock(&cache->drop_lock);
	if (cache->drop_count < MAX_DROPS)
		cache->drops[cache->drop_count] = page;
	cache->drop_count += cache->drop_count <= MAX_DROPS;
	atomic_store(&bt->code.drops_pending, true);
	pthread_mutex_unlock(&cache->drop_lock);
	if (bt->cpu != cpu_current)
		cpu_set_pending(bt->cpu, PENDING_RECHECK);
}

void cache_process_drops(struct bt *bt)
{
	struct bt_cache *cache = bt->cache;

	pthread_mutex_lock(&cache->drop_lock);
	if (cache->drop_count > MAX_DROPS) {
		for_units(unit, bt) if (!unit->dropped)
			drop_units_of_page(bt, unit->key >> PAGE_SHIFT);
	} else {
		for (unsigned i = 0; i < cache->drop_count; i++)
			drop_units_of_page(bt, cache->drops[i]);
	}
	cache->drop_count = 0;
	atomic_store(&bt->code.drops_pending, false);
	pthread_mutex_unlock(&cache->drop_lock);
}
