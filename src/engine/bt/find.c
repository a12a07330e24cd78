/* Units are found: by their place in RAM, and by RIP in the jump tables.
 *
 * A jump table is indexed by the low bits of RIP and leads to a unit's checked entry, which
 * compares all of it. So translated code goes from page to page, and returns, without leaving. What
 * is not in the table may be known all the same: the tables are emptied when the guest's page
 * tables change, or another process runs, but the units stay. So what an empty entry leads to
 * (glue.miss) calls bt_find_jump() in the middle of translated code, with little more than the
 * registers put aside that C may change. The vector registers are still the guest's, and therefore
 * this file is compiled without any use of them. */
#include "engine/bt/cache_internal.h"
#include "engine/options.h"

#include "cpu/tlb.h"

#include <string.h>

static struct bt_unit *find(
	struct bt *bt, uint64_t rip, uint64_t key, struct bt_mode mode, bool dropped)
{
	uint64_t offset = bt_mode_offset(mode, rip);
	struct bt_unit *unit = bt->cache->hash[unit_hash(offset, key, mode)];

	while (unit && (unit->key != key || unit->rip != offset || unit->dropped != dropped ||
			       !bt_mode_equal(unit->mode, mode)))
		unit = unit->hash_next;
	return unit;
}

struct bt_unit *cache_find(struct bt *bt, uint64_t rip, uint64_t key, struct bt_mode mode)
{
	return find(bt, rip, key, mode, false);
}

struct bt_unit *cache_find_stale(struct bt *bt, uint64_t rip, uint64_t key, struct bt_mode mode)
{
	return find(bt, rip, key, mode, true);
}

/* --- the jump tables --- */

static void empty_jump_table(struct bt *bt, unsigned table)
{
	for (unsigned i = 0; i < JUMP_ENTRIES; i++)
		bt->jump[table][i] = bt->glue.miss;
}

void jumps_init(struct bt *bt)
{
	/* A table without a use is not even touched. */
	for (unsigned table = 0; table < BT_TABLES; table++)
		if (bt_table_used(table))
			empty_jump_table(bt, table);
}

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

/* --- in the middle of translated code --- */

/* The RAM offset of the code at `rip`, as far as the TLB knows; else ~0. */
static uint64_t known_key(const struct cpu *cpu, uint64_t rip)
{
	const struct tlb_entry *entry = &cpu->tlb[(rip >> PAGE_SHIFT) & (TLB_SIZE - 1)];

	if (entry->fetch != (rip & PAGE_MASK))
		return ~UINT64_C(0);
	return rip + entry->addend - (uintptr_t)cpu->memory->ram;
}

static bool log_has_room(const struct jump_log *log)
{
	return log->local_count < JUMP_ENTRIES && log->global_count < JUMP_ENTRIES;
}

uintptr_t bt_find_jump(struct bt *bt, uint64_t rip)
{
	const struct cpu *cpu = bt->cpu;
	struct bt_mode mode = bt_mode_inside(bt, rip);
	struct bt_unit *unit;
	uint64_t key;

	if (bt_mode_changes_at(bt, mode, rip) || atomic_load(&bt->code.drops_pending) ||
		bt->options.verify || !log_has_room(&bt->cache->log[bt_mode_table(mode)]))
		return 0;
	key = known_key(cpu, rip);
	unit = key == ~UINT64_C(0) ? NULL : cache_find(bt, rip, key, mode);
	if (!unit)
		return 0;
	cache_enter_jump(bt, unit, rip, tlb_fetched_globally(cpu, rip));
	bt->run.base = rip - unit->rip;
	bt->stats.jumps_found++;
	return unit->entry;
}
