/* Finding a unit, and making it where there is none. */
#include "engine/bt/lookup.h"
#include "engine/bt/cache.h"
#include "engine/bt/special.h"
#include "engine/bt/stale.h"
#include "engine/bt/trace.h"
#include "engine/bt/translate.h"

#include "cpu/debugger.h"
#include "cpu/tlb.h"

/* So many PAUSEs in a row mean waiting for a vCPU that does not run. */
#define PAUSES 1000

uint64_t unit_key(struct bt *bt, uint64_t rip)
{
	struct cpu *cpu = bt->cpu;
	const uint8_t *host = access_fetch(cpu, rip);

	return host ? (uint64_t)(host - cpu->memory->ram) : ~UINT64_C(0);
}

/* Translate, and enter the unit in cache and jump table. NULL where that is not possible. */
static struct bt_unit *unit_make(
	struct bt *bt, uint64_t rip, struct bt_mode mode, const uint8_t *adapted)
{
	struct cpu *cpu = bt->cpu;
	struct bt_unit *unit;
	uint64_t key = unit_key(bt, rip);

	if (key == ~UINT64_C(0))
		return NULL;
	mode = bt_mode_for(bt, mode, rip);
	if (bt->code.full)
		cache_make_room(bt);
	unit = translate_unit(bt, rip, key, mode, adapted);
	if (!unit && bt->code.full) {
		cache_make_room(bt);
		unit = translate_unit(bt, rip, key, mode, adapted);
	}
	if (!unit)
		return NULL;
	cache_add(bt, unit);
	/* Its code may have been written while it was made. */
	cache_process_pending_drops(bt);
	if (unit->dropped)
		return NULL;
	cache_enter_jump(bt, unit, rip, tlb_fetched_globally(cpu, rip));
	bt_trace_unit(bt, unit, rip);
	return unit;
}

static const uint8_t nothing_adapted[UNIT_MAX_INSNS];

struct bt_unit *unit_replace(
	struct bt *bt, struct bt_unit *unit, uint64_t rip, const uint8_t *adapted)
{
	bool kept = cache_remove(bt, unit);
	uint64_t forgettings = bt->code.forgettings;
	struct bt_unit *new = unit_make(bt, rip, unit->mode, adapted);

	if (new &&kept && bt->code.forgettings == forgettings)
		stale_succeed(bt, unit, new);
	return new;
}

struct bt_unit *unit_find(struct bt *bt, uint64_t rip, struct bt_mode mode)
{
	struct bt_unit *unit;
	uint64_t key;

	if (!cpu_canonical(bt->cpu, rip) || debugger_page_stops(bt->cpu, rip))
		return NULL;
	key = unit_key(bt, rip);
	if (key == ~UINT64_C(0))
		return NULL;
	unit = cache_find(bt, rip, key, bt_mode_for(bt, mode, rip));
	if (unit && unit->dropped && !stale_take_back(bt, unit))
		return unit_replace(bt, unit, rip, nothing_adapted);
	return unit;
}

struct bt_unit *unit_find_or_make(struct bt *bt, uint64_t rip, struct bt_mode mode, bool hot)
{
	struct bt_unit *unit = unit_find(bt, rip, mode);

	if (!unit && hot && !debugger_page_stops(bt->cpu, rip))
		unit = unit_make(bt, rip, mode, nothing_adapted);
	return unit;
}

/* Jump tables are indexed by bt_mode_table() only, a part of the mode. When another part changes
 * (an FPU enable, whether there is a home zone), entries may belong to units made for the old
 * value: empty the tables. */
static void tables_for_mode(struct bt *bt, struct bt_mode mode)
{
	struct bt_mode *tables = &bt->modes.tables[bt_mode_table(bt_mode_common(mode))];

	mode = bt_mode_common(mode);
	if (likely(bt_mode_equal(*tables, mode)))
		return;
	cache_forget_jumps(bt, mode);
	*tables = mode;
}

/* Variables that translated code reads, and what was true when units were made. */
static void refresh_assumptions(struct bt *bt, struct bt_mode mode)
{
	struct cpu *cpu = bt->cpu;

	bt->run.pauses_left = PAUSES;
	bt->run.tsc_offset = cpu->platform->clock->tsc_offset + cpu->tsc_offset;
	if (unlikely((cpu->cr4 ^ bt->modes.units_cr4) & CR4_ASSUMED)) {
		cache_flush(bt);
		bt->modes.units_cr4 = cpu->cr4;
	}
	tables_for_mode(bt, mode);
}

bool unit_here(struct bt *bt, bool hot, struct bt_mode *mode, struct bt_unit **unit)
{
	bool translated = bt_mode_now(bt, mode);

	*unit = NULL;
	cache_process_pending_drops(bt);
	if (!translated)
		return false;
	refresh_assumptions(bt, *mode);
	*unit = unit_find_or_make(bt, bt->cpu->rip, *mode, hot);
	return true;
}
