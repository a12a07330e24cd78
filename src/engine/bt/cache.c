/* The translation cache.
 *
 * Units lie in the code area in the order they were made; when it (or anything else) is full,
 * everything is dropped and begins anew. Direct jumps between units never leave a guest page: so
 * when a page's code is written, all its units go at once, and nothing has to be unlinked but its
 * entries in the jump tables, by a jump at its own entry. The rest of its code stays until the next
 * flush; no way leads to it any more. */
#include "engine/bt/cache.h"
#include "engine/bt/emit.h"
#include "engine/bt/glue.h"
#include "engine/bt/soft_tlb.h"
#include "engine/options.h"

#include "base/log.h"
#include "host/low_memory.h"
#include "host/zeroed_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HASH_BITS      15
#define PAGE_HASH_BITS 12
#define BOOK_BYTES     (24 * MIB)
#define MAX_UNITS      65536
#define MAX_EXITS      (1u << 18)
#define MAX_DROPS      256
#define CODE_BYTES     (24 * MIB)
#define ALL_CODE_BYTES (768 * MIB) /* of all vCPUs: all must lie in the low 2 GiB */
#define LARGEST_UNIT   (32 * KIB)
#define JUMP_PAGE_BITS 65536
#define UNIT_HEADER    16 /* keeps the code aligned */

/* What has been entered in one jump table, so that emptying it costs what filling it did. */
struct jump_log {
	uint16_t local[JUMP_ENTRIES], global[JUMP_ENTRIES]; /* indices */
	uint32_t local_count, global_count;
	/* Hashed pages of code that may be in the table. They spare most searches for one page. */
	uint64_t local_pages[JUMP_PAGE_BITS / 64], global_pages[JUMP_PAGE_BITS / 64];
};

struct bt_cache {
	size_t code_bytes;
	uint8_t *book;
	size_t book_used;
	struct bt_unit *hash[1 << HASH_BITS];
	struct bt_unit *pages[1 << PAGE_HASH_BITS];
	struct jump_log log[BT_TABLES];
	pthread_mutex_t drop_lock;
	uint64_t drops[MAX_DROPS];
	unsigned drop_count; /* more than MAX_DROPS: all pages */
	/* One byte a page of memory's file: does this vCPU have units of the page? Any thread reads
	 * it. */
	_Atomic uint8_t *page_has_units;
};

/* --- creation --- */

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

static void empty_jump_table(struct bt *bt, unsigned table)
{
	for (unsigned i = 0; i < JUMP_ENTRIES; i++)
		bt->jump[table][i] = bt->glue.miss;
}

int cache_create(struct bt *bt)
{
	unsigned cpus = bt->cpu->platform->cpu_count ? bt->cpu->platform->cpu_count : 1;
	struct bt_cache *cache = zeroed_memory_map(sizeof(*cache));
	int error;

	if (!cache)
		return -ENOMEM;
	bt->cache = cache;
	cache->code_bytes = MIN(CODE_BYTES, ALIGN_UP(ALL_CODE_BYTES / cpus, PAGE_SIZE));
	cache->book = zeroed_memory_map(BOOK_BYTES);
	cache->page_has_units = calloc(1, bt->cpu->memory->file_size >> PAGE_SHIFT);
	bt->code.exits = zeroed_memory_map(MAX_EXITS * sizeof(*bt->code.exits));
	bt->code.exit_limit = MAX_EXITS;
	bt->code.units = zeroed_memory_map(MAX_UNITS * sizeof(*bt->code.units));
	bt->code.unit_limit = MAX_UNITS;
	pthread_mutex_init(&cache->drop_lock, NULL);
	if (!cache->book || !cache->page_has_units || !bt->code.exits || !bt->code.units)
		return -ENOMEM;
	error = map_code(bt, cache->code_bytes);
	if (error)
		return error;
	glue_generate(bt);
	bt->code.used = bt->code.units_start;
	bt->code.exit_count = BT_EXIT_ID_FIRST;
	bt->code.exits[BT_EXIT_ID_KICK] = (struct bt_exit){.kind = BT_EXIT_KICK};
	bt->code.exits[BT_EXIT_ID_FAULT] = (struct bt_exit){.kind = BT_EXIT_FAULT};
	bt->code.exits[BT_EXIT_ID_JUMP] = (struct bt_exit){.kind = BT_EXIT_JUMP};
	soft_tlb_init(bt);
	/* A table without a use is not even touched. */
	for (unsigned table = 0; table < BT_TABLES; table++)
		if (bt_table_used(table))
			empty_jump_table(bt, table);
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
	zeroed_memory_unmap(bt->code.exits, MAX_EXITS * sizeof(*bt->code.exits));
	zeroed_memory_unmap(bt->code.units, MAX_UNITS * sizeof(*bt->code.units));
	zeroed_memory_unmap(cache->book, BOOK_BYTES);
	free((void *)cache->page_has_units);
	pthread_mutex_destroy(&cache->drop_lock);
	zeroed_memory_unmap(cache, sizeof(*cache));
	bt->cache = NULL;
}

/* --- space --- */

void *cache_take(struct bt *bt, size_t bytes)
{
	struct bt_cache *cache = bt->cache;
	void *memory = cache->book + cache->book_used;

	bytes = ALIGN_UP(bytes, 8);
	if (cache->book_used + bytes > BOOK_BYTES || bt->code.unit_count == bt->code.unit_limit)
		return NULL;
	cache->book_used += bytes;
	return memory;
}

uintptr_t cache_code_start(struct bt *bt)
{
	return bt->code.used + UNIT_HEADER;
}

uintptr_t cache_code_limit(struct bt *bt)
{
	return MIN(bt->code.end - UNIT_HEADER, bt->code.used + LARGEST_UNIT);
}

void cache_code_used(struct bt *bt, uintptr_t end)
{
	bt->code.used = ALIGN_UP(end, 16);
}

bool cache_add_exit(struct bt *bt, const struct bt_exit *exit, uint32_t *id)
{
	if (bt->code.exit_count == bt->code.exit_limit)
		return false;
	*id = bt->code.exit_count++;
	bt->code.exits[*id] = *exit;
	return true;
}

void cache_forget_exits(struct bt *bt, uint32_t first)
{
	bt->code.exit_count = first;
}

/* --- finding --- */

static unsigned hash_of(uint64_t rip, uint64_t key, struct bt_mode mode)
{
	return hash_slot(key ^ rip << 7 ^ mode.key << 40, HASH_BITS);
}

static unsigned page_hash(uint64_t page)
{
	return hash_slot(page, PAGE_HASH_BITS);
}

void cache_add(struct bt *bt, struct bt_unit *unit)
{
	struct bt_cache *cache = bt->cache;
	struct bt_unit **hash = &cache->hash[hash_of(unit->rip, unit->key, unit->mode)];
	struct bt_unit **page = &cache->pages[page_hash(unit->key >> PAGE_SHIFT)];

	unit->hash_next = *hash;
	*hash = unit;
	unit->page_next = *page;
	*page = unit;
	bt->code.units[bt->code.unit_count++] = unit;
	((struct bt_unit **)cache_writable(bt, unit->code))[-1] = unit;
	bt->stats.units++;
	bt->stats.guest_instructions_translated += unit->count;
	bt->stats.translated_bytes += unit->size;
	atomic_store(&cache->page_has_units[unit->key >> PAGE_SHIFT], 1);
}

struct bt_unit *cache_find(struct bt *bt, uint64_t rip, uint64_t key, struct bt_mode mode)
{
	uint64_t offset = bt_mode_offset(mode, rip);
	struct bt_unit *unit = bt->cache->hash[hash_of(offset, key, mode)];

	while (unit &&
		(unit->key != key || unit->rip != offset || !bt_mode_equal(unit->mode, mode)))
		unit = unit->hash_next;
	return unit;
}

static struct bt_unit *unit_at(const struct bt *bt, uintptr_t pc)
{
	unsigned low = 0, high = bt->code.unit_count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (bt->code.units[middle]->code <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || pc >= bt->code.units[low - 1]->code + bt->code.units[low - 1]->size)
		return NULL;
	return bt->code.units[low - 1];
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

/* --- the jump tables --- */

/* The address of its struct bt_unit is stored just before a unit's code. */
static struct bt_unit *entry_unit(const struct bt *bt, uint64_t entry)
{
	return entry == bt->glue.miss ? NULL : ((struct bt_unit *const *)(uintptr_t)entry)[-1];
}

/* The RIP of the entry, which leads to `unit`. */
static uint64_t entry_rip(struct bt *bt, const struct bt_unit *unit, unsigned index)
{
	const uint64_t *tags = bt_jump_tags(bt, unit->mode);

	return tags ? -tags[index] : unit->rip;
}

struct bt_unit *cache_probe_jump(struct bt *bt, uint64_t rip, struct bt_mode mode)
{
	unsigned table = bt_mode_table(mode), index = rip & (JUMP_ENTRIES - 1);
	struct bt_unit *unit = entry_unit(bt, bt->jump[table][index]);

	return unit && entry_rip(bt, unit, index) == rip && !unit->dropped &&
			       bt_mode_equal(unit->mode, mode)
		       ? unit
		       : NULL;
}

/* The bit of a page in such a map: by its low bits, apart for the two halves of the address space.
 */
static unsigned jump_page_bit(uint64_t linear)
{
	return (unsigned)((linear >> PAGE_SHIFT) % (JUMP_PAGE_BITS / 2) +
			  (linear >> 63) * (JUMP_PAGE_BITS / 2));
}

void cache_enter_jump(struct bt *bt, struct bt_unit *unit, uint64_t rip, bool global)
{
	unsigned table = bt_mode_table(unit->mode), index = rip & (JUMP_ENTRIES - 1);
	unsigned bit = jump_page_bit(rip);
	uint64_t *tags = bt_jump_tags(bt, unit->mode);
	struct jump_log *log = &bt->cache->log[table];

	/* --verify needs every unit to come back to C. */
	if (bt->options.verify)
		return;
	/* Each entry's index is in a list at least once. An entry that is in both goes with the
	 * first flush, earlier than it must. */
	if (bt->jump[table][index] == bt->glue.miss || !global) {
		if (log->local_count == JUMP_ENTRIES || log->global_count == JUMP_ENTRIES)
			cache_flush_jumps(bt, TLB_FLUSH_ALL, 0);
		if (global)
			log->global[log->global_count++] = (uint16_t)index;
		else
			log->local[log->local_count++] = (uint16_t)index;
	}
	bt->jump[table][index] = unit->code;
	if (tags)
		tags[index] = -rip;
	(global ? log->global_pages : log->local_pages)[bit / 64] |= BIT(bit % 64);
}

static void empty_list(struct bt *bt, unsigned table, const uint16_t *list, uint32_t *count)
{
	for (unsigned i = 0; i < *count; i++)
		bt->jump[table][list[i]] = bt->glue.miss;
	*count = 0;
}

static void drop_jumps_of_page(struct bt *bt, unsigned table, uint64_t linear)
{
	unsigned bit = jump_page_bit(linear);
	const struct jump_log *log = &bt->cache->log[table];
	unsigned first = linear & PAGE_MASK & (JUMP_ENTRIES - 1);

	if (!((log->local_pages[bit / 64] | log->global_pages[bit / 64]) & BIT(bit % 64)))
		return;
	for (unsigned i = first; i < first + PAGE_SIZE; i++) {
		struct bt_unit *unit = entry_unit(bt, bt->jump[table][i]);

		if (unit && ((entry_rip(bt, unit, i) ^ linear) & PAGE_MASK) == 0)
			bt->jump[table][i] = bt->glue.miss;
	}
}

void cache_flush_jumps(struct bt *bt, enum tlb_flush what, uint64_t linear)
{
	if (what == TLB_FLUSH_PCID)
		return;
	for (unsigned table = 0; table < BT_TABLES; table++) {
		struct jump_log *log = &bt->cache->log[table];

		if (what == TLB_FLUSH_PAGE) {
			drop_jumps_of_page(bt, table, linear);
			continue;
		}
		if (log->local_count) {
			empty_list(bt, table, log->local, &log->local_count);
			memset(log->local_pages, 0, sizeof(log->local_pages));
		}
		if ((what == TLB_FLUSH_ALL || what == TLB_FLUSH_LARGE_PAGE) && log->global_count) {
			empty_list(bt, table, log->global, &log->global_count);
			memset(log->global_pages, 0, sizeof(log->global_pages));
		}
	}
}

/* --- dropping --- */

static void unlink_hash(struct bt *bt, struct bt_unit *unit)
{
	struct bt_unit **link = &bt->cache->hash[hash_of(unit->rip, unit->key, unit->mode)];

	while (*link && *link != unit)
		link = &(*link)->hash_next;
	if (*link)
		*link = unit->hash_next;
}

/* It may have many entries in the jump tables. So those go on leading to it, and from there to where
 * an empty one would lead. */
static void forget_unit(struct bt *bt, struct bt_unit *unit)
{
	unlink_hash(bt, unit);
	emit_redirect(bt, unit->code, bt->glue.miss);
	unit->dropped = true;
}

static void drop_units_of_page(struct bt *bt, uint64_t page)
{
	struct bt_unit **link = &bt->cache->pages[page_hash(page)];

	atomic_store(&bt->cache->page_has_units[page], 0);
	while (*link) {
		struct bt_unit *unit = *link;

		if (unit->key >> PAGE_SHIFT != page) {
			link = &unit->page_next;
			continue;
		}
		*link = unit->page_next;
		forget_unit(bt, unit);
	}
	bt->stats.pages_dropped++;
}

/* Units that are chained to this one still jump to its code: adapt() makes that a jump to the new
 * unit. */
void cache_remove(struct bt *bt, struct bt_unit *unit)
{
	struct bt_unit **link = &bt->cache->pages[page_hash(unit->key >> PAGE_SHIFT)];

	while (*link && *link != unit)
		link = &(*link)->page_next;
	if (*link)
		*link = unit->page_next;
	forget_unit(bt, unit);
}

void cache_flush(struct bt *bt)
{
	struct bt_cache *cache = bt->cache;

	cache_flush_jumps(bt, TLB_FLUSH_ALL, 0);
	memset(cache->hash, 0, sizeof(cache->hash));
	memset(cache->pages, 0, sizeof(cache->pages));
	for (unsigned i = 0; i < bt->code.unit_count; i++)
		atomic_store(&cache->page_has_units[bt->code.units[i]->key >> PAGE_SHIFT], 0);
	cache->book_used = 0;
	bt->code.unit_count = 0;
	bt->code.exit_count = BT_EXIT_ID_FIRST;
	bt->code.used = bt->code.units_start;
	bt->code.full = false;
	bt->rolled_back.unit = NULL;
	bt->stats.cache_flushes++;
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
		for (unsigned i = 0; i < bt->code.unit_count; i++)
			if (!bt->code.units[i]->dropped)
				drop_units_of_page(bt, bt->code.units[i]->key >> PAGE_SHIFT);
	} else {
		for (unsigned i = 0; i < cache->drop_count; i++)
			drop_units_of_page(bt, cache->drops[i]);
	}
	cache->drop_count = 0;
	atomic_store(&bt->code.drops_pending, false);
	pthread_mutex_unlock(&cache->drop_lock);
}
