/* Units whose page was written.
 *
 * A store to a page takes all its units out of reach, but most of them are as right as before: data
 * lies beside the code, one function of many was patched, a compiler wrote the same bytes again.
 * So a unit is kept, stale. When it is wanted again its copy of the guest code is compared with
 * RAM. If they are equal it is taken back as it is; if only constants of copied instructions
 * differ, which the host code has at a known place, those are replaced; else a new unit takes its
 * place.
 *
 * Jumps from other units of the page lead straight to a unit's entry, and it is not known which. So
 * while the unit is stale its entry leads to its *gate*, a little code made for it when it becomes
 * stale for the first time:
 *
 *	gate:	jmp	1f, or the entry of the unit that is right now
 *	1:	mov	r10, RIP
 *		jmp	glue.miss
 *
 * A unit that takes another's place takes over its gate, and jumps to the old one find the new one
 * by it, however often that happens. */
#include "engine/bt/stale.h"
#include "engine/bt/cache_internal.h"
#include "engine/bt/emit.h"
#include "engine/bt/verify.h"

#include <string.h>

/* A unit that was wanted is taken back with others so many times more before it has to be wanted
 * again. */
#define TAKEN_ALONG 8

/* Where the way through the gate to glue.miss begins. */
static uintptr_t gate_to_miss(uintptr_t gate)
{
	return gate + JUMP_BYTES;
}

static uintptr_t make_gate(struct bt *bt, const struct bt_unit *unit)
{
	uintptr_t gate = cache_filling(bt)->used;
	struct code c = {.bt = bt, .start = gate, .at = gate, .limit = cache_filling(bt)->end};

	emit_jump_to(&c, gate_to_miss(gate));
	emit_guest_rip(&c, unit->mode, SCRATCH_ADDR, unit->rip);
	emit_jump_to(&c, bt->glue.miss);
	if (c.full)
		return 0;
	cache_code_used(bt, c.at);
	return gate;
}

void stale_close_gate(struct bt *bt, const struct bt_unit *unit)
{
	emit_redirect(bt, unit->gate, gate_to_miss(unit->gate));
}

bool stale_make(struct bt *bt, struct bt_unit *unit)
{
	if (unit->dropped)
		return true;
	if (!unit->gate)
		unit->gate = make_gate(bt, unit);
	if (!unit->gate)
		return false;
	memcpy(unit->first, cache_writable(bt, unit->entry), sizeof(unit->first));
	if (unit->gate_shared)
		stale_close_gate(bt, unit);
	emit_redirect(bt, unit->entry, unit->gate);
	unit->dropped = true;
	return true;
}

void stale_patch(struct bt *bt, struct bt_unit *unit, uintptr_t patch, uintptr_t target)
{
	bool stale = unit->dropped && unit->gate;

	if (stale)
		memcpy(cache_writable(bt, unit->entry), unit->first, sizeof(unit->first));
	emit_patch(bt, patch, target);
	if (!stale)
		return;
	memcpy(unit->first, cache_writable(bt, unit->entry), sizeof(unit->first));
	emit_redirect(bt, unit->entry, unit->gate);
}

/* May all bytes in which the instruction differs from what is at `now` be replaced? */
static bool differs_in_constant(const struct bt_insn *insn, const uint8_t *was, const uint8_t *now)
{
	return insn->constant && memcmp(was, now, insn->length - insn->constant_size) == 0;
}

/* Replace constants, where those are all that has changed. */
static bool replace_constants(struct bt *bt, struct bt_unit *unit, const uint8_t *now)
{
	for (unsigned i = 0; i < unit->count; i++) {
		const struct bt_insn *insn = &unit->insns[i];
		unsigned at = insn->offset - unit->guest_start;

		if (memcmp(unit->guest + at, now + at, insn->length) != 0 &&
			!differs_in_constant(insn, unit->guest + at, now + at))
			return false;
	}
	for (unsigned i = 0; i < unit->count; i++) {
		const struct bt_insn *insn = &unit->insns[i];
		unsigned end = insn->offset - unit->guest_start + insn->length;

		if (insn->constant)
			memcpy(cache_writable(bt, unit->code + insn->constant),
				now + end - insn->constant_size, insn->constant_size);
	}
	memcpy(unit->guest, now, unit->guest_bytes);
	verify_changed(unit);
	bt->stats.units_patched++;
	return true;
}

/* How many of the unit's bytes are in the page where it begins. */
static unsigned bytes_in_first(const struct bt_unit *unit)
{
	return MIN((unsigned)unit->guest_bytes, (unsigned)PAGE_SIZE - unit->guest_start);
}

/* Its lines are tracked: make the unit what RAM has now. False: the code differs too much. */
static bool take_back(struct bt *bt, struct bt_unit *unit)
{
	uint8_t now[UNIT_MAX_INSNS * 15];
	unsigned first = bytes_in_first(unit);

	memcpy(now, bt->cpu->memory->ram + unit->key, first);
	if (unit->second != UNIT_ONE_PAGE)
		memcpy(now + first, bt->cpu->memory->ram + unit->second, unit->guest_bytes - first);
	memcpy(cache_writable(bt, unit->entry), unit->first, sizeof(unit->first));
	if (memcmp(now, unit->guest, unit->guest_bytes) != 0 && !replace_constants(bt, unit, now)) {
		emit_redirect(bt, unit->entry, unit->gate);
		return false;
	}
	if (unit->gate_shared)
		emit_redirect(bt, unit->gate, unit->entry);
	unit->dropped = false;
	unit->stores = 0;
	bt->stats.units_taken_back++;
	return true;
}

/* Is it likely to be wanted soon? */
static bool expected(const struct bt_unit *unit, uint64_t page)
{
	return unit->dropped && unit->along && unit->key >> PAGE_SHIFT == page;
}

/* In this order, a store that is not seen when the code is compared makes the units stale again. */
static void track(struct bt *bt, uint64_t page, uint32_t lines)
{
	cache_listen(bt, page);
	memory_code_track_lines(bt->cpu->memory, page, lines);
}

static void track_page(struct bt *bt, uint64_t page)
{
	struct bt_unit **list = cache_page_list(bt, page), *unit;
	uint32_t lines = 0;

	for (unit = *list; unit; unit = *cache_page_next(bt, unit, list)) {
		if (!expected(unit, page))
			continue;
		lines |= memory_code_lines(unit->guest_start, bytes_in_first(unit));
		if (unit->second != UNIT_ONE_PAGE)
			track(bt, unit->second >> PAGE_SHIFT,
				memory_code_lines(0, unit->guest_bytes - bytes_in_first(unit)));
	}
	track(bt, page, lines);
}

/* Units of the page that were wanted lately are taken back as well: to come here for each costs
 * much more than to compare it. Not all units, for a store to the code of a unit that is not stale
 * costs a fault, and code that a compiler of the guest has given up it will soon write over. */
bool stale_take_back(struct bt *bt, struct bt_unit *wanted)
{
	uint64_t page = wanted->key >> PAGE_SHIFT;
	struct bt_unit **list = cache_page_list(bt, page), *unit;

	wanted->along = TAKEN_ALONG + 1;
	track_page(bt, page);
	for (unit = *list; unit; unit = *cache_page_next(bt, unit, list))
		if (expected(unit, page))
			unit->along = take_back(bt, unit) ? unit->along - 1u : 0;
	return !wanted->dropped;
}

void stale_succeed(struct bt *bt, const struct bt_unit *old, struct bt_unit *unit)
{
	unit->gate = old->gate;
	unit->gate_shared = true;
	emit_redirect(bt, unit->gate, unit->entry);
}
