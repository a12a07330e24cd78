/* Units are found: by their place in RAM, and by RIP in the jump tables.
 *
 * A jump table is indexed by the low bits of RIP and leads to a unit's checked entry. That compares
 * the rest of RIP, for units that are bound to one, and then asks the code map whether its page of
 * RAM is still what lies at RIP. So translated code goes from page to page, and returns, without
 * leaving. A direct branch to another page becomes a direct jump to the second part of that check.
 *
 * When the guest flushes its TLB or runs another process, the code map is emptied, but tables and
 * direct jumps stay. What is not in the map, or not in the table, may be known all the same. So
 * where a check fails (glue.miss), bt_find_jump() is called in the middle of translated code, with
 * little more than the registers put aside that C may change. The vector registers are still the
 * guest's, and therefore this file is compiled without any use of them. */
#include "engine/bt/cache_internal.h"
#include "engine/options.h"

#include "cpu/access.h"
#include "cpu/debugger.h"
#include "cpu/tlb.h"

struct bt_unit *cache_find(struct bt *bt, uint64_t rip, uint64_t key, struct bt_mode mode)
{
	uint64_t offset = bt_mode_offset(mode, rip);
	struct bt_unit *unit = *unit_bucket(bt, offset, key, mode);

	while (unit &&
		(unit->key != key || unit->rip != offset || !bt_mode_equal(unit->mode, mode)))
		unit = unit->hash_next;
	return unit;
}

/* --- lists --- */

static void list_add(struct index_list *list, uint16_t index)
{
	uint64_t *word = &list->listed[index / 64];

	if (*word & BIT(index % 64))
		return;
	*word |= BIT(index % 64);
	list->index[list->count++] = index;
}

/* Make what is listed of a table `empty`. */
static void list_empty(struct index_list *list, uint64_t *table, uint64_t empty)
{
	for (unsigned i = 0; i < list->count; i++) {
		table[list->index[i]] = empty;
		list->listed[list->index[i] / 64] = 0;
	}
	list->count = 0;
}

/* --- the jump tables --- */

static void empty_code_maps(struct bt *bt, bool global_too)
{
	for (unsigned view = 0; view < 2; view++)
		for (unsigned global = 0; global <= global_too; global++)
			list_empty(&bt->cache->code_pages[view][global], bt->code_map[view],
				CODE_PLACE_UNKNOWN);
}

/* A table without a use is not even touched. */
void jumps_init(struct bt *bt)
{
	for (unsigned table = 0; table < BT_TABLES; table++)
		for (unsigned i = 0; bt_table_used(table) && i < JUMP_ENTRIES; i++)
			bt->jump[table][i] = bt->glue.miss;
}

static void empty_jump_table(struct bt *bt, unsigned table)
{
	list_empty(&bt->cache->jumps[table], bt->jump[table], bt->glue.miss);
}

void jumps_empty(struct bt *bt)
{
	for (unsigned table = 0; table < BT_TABLES; table++)
		empty_jump_table(bt, table);
	empty_code_maps(bt, true);
}

/* The address of its struct bt_unit is stored just before a unit's code. */
static struct bt_unit *entry_unit(const struct bt *bt, uint64_t entry)
{
	return entry == bt->glue.miss ? NULL : ((struct bt_unit *const *)(uintptr_t)entry)[-1];
}

void jumps_forget_evicted(struct bt *bt)
{
	for (unsigned table = 0; table < BT_TABLES; table++) {
		const struct index_list *list = &bt->cache->jumps[table];

		for (unsigned i = 0; i < list->count; i++) {
			uint64_t *entry = &bt->jump[table][list->index[i]];
			const struct bt_unit *unit = entry_unit(bt, *entry);

			if (unit && unit->evicted)
				*entry = bt->glue.miss;
		}
	}
}

void cache_forget_jumps(struct bt *bt, struct bt_mode mode)
{
	for (unsigned table = 0; table < BT_TABLES; table++)
		if (bt_mode_shares_table(mode, table))
			empty_jump_table(bt, table);
}

/* Is it the unit for `rip`? */
static bool is_unit_for(const struct bt_unit *unit, uint64_t rip, struct bt_mode mode)
{
	return unit && unit->rip == bt_mode_offset(mode, rip) && !unit->dropped &&
	       bt_mode_equal(unit->mode, mode);
}

static struct bt_unit *jump_unit(const struct bt *bt, uint64_t rip, struct bt_mode mode)
{
	return entry_unit(bt, bt->jump[bt_mode_table(mode)][rip & (JUMP_ENTRIES - 1)]);
}

static uint16_t linear_index(uint64_t linear)
{
	return (uint16_t)(linear >> PAGE_SHIFT);
}

void cache_know_page(struct bt *bt, bool user, uint64_t rip, uint64_t key, bool global)
{
	struct bt_cache *cache = bt->cache;
	uint16_t number = cache->code_page[key >> PAGE_SHIFT];
	uint16_t *at = &cache->at_linear[user][linear_index(rip)];

	/* Units of a page with a debugger's breakpoint are not reached by way of the map. */
	if (!number || debugger_page_stops(bt->cpu, rip))
		return;
	/* What cannot be named any more when it is flushed must not be known. */
	if (*at && *at != number)
		bt->code_map[user][*at] = CODE_PLACE_UNKNOWN;
	*at = number;
	/* A page that is in both lists goes with the first flush, earlier than it must. */
	list_add(&cache->code_pages[user][global], number);
	bt->code_map[user][number] = CODE_PLACE(rip);
}

void cache_enter_jump(struct bt *bt, struct bt_unit *unit, uint64_t rip, bool global)
{
	unsigned table = bt_mode_table(unit->mode);
	uint16_t index = rip & (JUMP_ENTRIES - 1);

	/* --verify needs every unit to come back to C. */
	if (bt->options.verify)
		return;
	cache_know_page(bt, unit->mode.user, rip, unit->key, global);
	list_add(&bt->cache->jumps[table], index);
	bt->jump[table][index] = unit->code;
}

void cache_flush_jumps(struct bt *bt, enum tlb_flush what, uint64_t linear)
{
	/* Windows may be there without a cache, in tests. */
	if (what == TLB_FLUSH_PCID || what == TLB_FLUSH_KEYS || !bt->cache)
		return;
	if (what != TLB_FLUSH_PAGE) {
		empty_code_maps(bt, what == TLB_FLUSH_ALL || what == TLB_FLUSH_LARGE_PAGE);
		return;
	}
	for (unsigned view = 0; view < 2; view++) {
		uint16_t number = bt->cache->at_linear[view][linear_index(linear)];

		bt->code_map[view][number] = CODE_PLACE_UNKNOWN;
	}
}

/* --- in the middle of translated code --- */

/* The RAM offset of the code at `rip`, as far as the TLB knows; else ~0. */
static uint64_t known_key(struct cpu *cpu, uint64_t rip)
{
	const struct tlb_entry *entry = access_tlb(cpu, rip);

	if (entry->fetch != (rip & PAGE_MASK))
		return ~UINT64_C(0);
	return rip + entry->addend - (uintptr_t)cpu->memory->ram;
}

uintptr_t bt_find_jump(struct bt *bt, uint64_t rip)
{
	struct cpu *cpu = bt->cpu;
	struct bt_mode mode = bt_mode_inside(bt, rip);
	struct bt_unit *unit = bt->run.miss_unit ? bt->code.units[bt->run.miss_unit - 1] : NULL;
	uint64_t key;

	bt->run.miss_unit = 0;
	if (bt_mode_changes_at(bt, mode, rip) || atomic_load(&bt->code.drops_pending) ||
		bt->options.verify)
		return 0;
	key = known_key(cpu, rip);
	if (key == ~UINT64_C(0) || debugger_page_stops(cpu, rip))
		return 0;
	if (!is_unit_for(unit, rip, mode) || unit->key != key)
		unit = jump_unit(bt, rip, mode);
	if (!is_unit_for(unit, rip, mode) || unit->key != key)
		unit = cache_find(bt, rip, key, mode);
	if (!unit || unit->dropped)
		return 0;
	cache_enter_jump(bt, unit, rip, tlb_fetched_globally(cpu, rip));
	bt->run.base = rip - unit->rip;
	bt->stats.jumps_found++;
	return unit->entry;
}
