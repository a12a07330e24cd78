/* Room in the cache for new units.
 *
 * The cache's regions are filled one after another, and the one that was filled first is the first
 * to be emptied. So a program with more code than there is room for loses an eighth of its units at
 * a time, and what is hot of these soon comes back; to begin anew with nothing takes several times
 * as long. Which units are hot is not known, for nothing in them counts.
 *
 * A unit in the region is reached in four ways, and each has to end:
 *
 *	the hash and the lists of its pages	It is taken out of them.
 *	jump tables				Entries that lead to it become empty.
 *	direct jumps of other units		Each was an exit once, which knows the unit it was
 *						linked to and where it led before. It leads there
 *						again.
 *	gates (stale.c)				Jumps to the unit whose place it took come through
 *						one. It leads to `miss` again.
 *
 * An exit has its instruction decoded when it is taken for the first time. That lies in the region
 * that was being filled then, which may not be its unit's.
 *
 * The other way round, a gate may lie in the region and its unit in another. If the unit is stale,
 * its entry leads to the gate, and it has to go, too; else the gate is not needed. */
#include "engine/bt/cache_internal.h"
#include "engine/bt/stale.h"

static void find_evicted(struct bt *bt, const struct code_region *region)
{
	for_units(unit, bt)
	{
		bool gate_goes = region_has_code(region, unit->gate);

		unit->evicted = region_has_code(region, unit->code) || (gate_goes && unit->dropped);
		if (unit->evicted && unit->gate && !gate_goes)
			stale_close_gate(bt, unit);
		if (gate_goes) {
			unit->gate = 0;
			unit->gate_shared = false;
		}
	}
}

/* An exit of a unit that stays loses what `emptied` takes away: the unit that it was linked to, its
 * decoded instruction. */
static void clean_exit(struct bt *bt, struct bt_exit *exit, const struct code_region *emptied)
{
	switch (exit->kind) {
	case BT_EXIT_BRANCH:
		if (!exit->to || !exit->to->evicted)
			return;
		stale_patch(bt, exit->unit, exit->patch, exit->unlinked);
		exit->to = NULL;
		return;
	case BT_EXIT_INTERPRET:
	case BT_EXIT_SOFT_MISS:
		if (region_has_book(bt, emptied, exit->insns))
			exit->insns = NULL;
		return;
	default:
		return;
	}
}

static void clean_exits(struct bt *bt, const struct code_region *emptied)
{
	for (unsigned i = 0; i < CODE_REGIONS; i++) {
		const struct code_region *region = &bt->code.region[i];

		for (uint32_t id = 0; id < region->exit_count; id++)
			clean_exit(bt, cache_exit(bt, region->first_exit + id), emptied);
	}
}

static void empty_region(struct bt *bt, struct code_region *region)
{
	if (!region->unit_count)
		return;
	find_evicted(bt, region);
	clean_exits(bt, region);
	jumps_forget_evicted(bt);
	for_units(unit, bt) if (unit->evicted) cache_forget_unit(bt, unit);
	bt->cache->units -= region->unit_count;
	region_empty(region);
	bt->rolled_back.unit = NULL;
	bt->code.forgettings++;
	bt->stats.regions_emptied++;
}

void cache_make_room(struct bt *bt)
{
	/* Numbers of pages are not given back one by one. */
	if (bt->cache->code_page_count == CODE_PAGES - 1) {
		cache_flush(bt);
		return;
	}
	bt->code.filling = (bt->code.filling + 1) % CODE_REGIONS;
	empty_region(bt, cache_filling(bt));
	bt->code.full = false;
}

static void empty_page(struct bt *bt, uint64_t page)
{
	*cache_page_list(bt, page) = NULL;
	atomic_store(&bt->cache->page_has_units[page], 0);
}

void cache_flush(struct bt *bt)
{
	jumps_empty(bt);
	/* Not all of the tables, most of which may never have been touched. */
	for_units(unit, bt)
	{
		*unit_bucket(bt, unit->rip, unit->key, unit->mode) = NULL;
		empty_page(bt, unit->key >> PAGE_SHIFT);
		if (unit->second != UNIT_ONE_PAGE)
			empty_page(bt, unit->second >> PAGE_SHIFT);
	}
	cache_forget_code_pages(bt);
	for (unsigned i = 0; i < CODE_REGIONS; i++)
		region_empty(&bt->code.region[i]);
	bt->cache->units = 0;
	bt->code.filling = 0;
	bt->code.full = false;
	bt->rolled_back.unit = NULL;
	bt->code.forgettings++;
	bt->stats.cache_flushes++;
}
