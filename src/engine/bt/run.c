/* The translator's part of the run loop.
 *
 * The interpreter's loop (engine/interp/run.c) asks bt_translated() before it interprets a block.
 * Here that block's unit is found or made (lookup.c), and run (glue.c); and its exits are served
 * (serve.c), as long as translated code can go on from them. What is left then is the
 * interpreter's: an instruction or a cold block. */
#include "engine/bt/run.h"
#include "engine/bt/cache.h"
#include "engine/bt/glue.h"
#include "engine/bt/lookup.h"
#include "engine/bt/serve.h"
#include "engine/bt/verify.h"
#include "engine/bt/window.h"

/* A block that cannot be translated is not asked about again soon. */
#define NEVER 1000000

/* Host RSP is guest RSP plus its window's delta; the GS base is the delta of the home zone. False:
 * there is no home now, and code that counts on it cannot be entered. */
static bool prepare_entry(struct bt *bt, struct bt_mode mode)
{
	if (mode.home && !bt_mode_gs_base(bt, mode, &bt->run.gs_base))
		return false;
	bt->run.stack_delta = mode.windows ? bt_deltas(bt, mode)[SLOT_OF(bt->cpu->gpr[RSP])] : 0;
	bt->run.minus_stack_delta = -bt->run.stack_delta;
	if (mode.code32)
		bt_mode_note_segments(bt);
	return true;
}

/* What FNSTENV and others show; the operand's address is there already. */
static void record_x87(struct cpu *cpu, uint64_t rip, uint16_t fop)
{
	cpu->fpu.fip = rip;
	cpu->fpu.fcs = cpu->segment[SEG_CS].selector;
	cpu->fpu.fop = fop;
}

static void record_last_x87(struct bt *bt, uint32_t id)
{
	const struct bt_exit *last = cache_exit(bt, (uint32_t)bt->run.last_x87);
	const struct bt_unit *unit = bt->rolled_back.unit;

	if (bt->run.last_x87)
		record_x87(bt->cpu, bt->run.last_x87_base + last->rip, last->fop);
	bt->run.last_x87 = 0;
	/* Rolled back to just behind an x87 instruction that left that to the next? */
	if ((id == BT_EXIT_ID_KICK || id == BT_EXIT_ID_FAULT) && unit) {
		const struct bt_insn *insn = &unit->insns[bt->rolled_back.insn];

		if (insn->x87_before)
			record_x87(bt->cpu, bt_rip(bt, (unit->rip & PAGE_MASK) + insn[-1].offset),
				insn->x87_before);
	}
}

bool bt_translated(struct cpu *cpu)
{
	struct bt *bt = bt_of(cpu);
	struct block *hot = interp_hot(cpu);
	struct bt_mode mode;
	struct bt_unit *unit;
	struct next next;

	if (!unit_here(bt, hot, &mode, &unit)) {
		if (hot)
			interp_set_heat(hot, interp_of(cpu)->first_heat);
		return false;
	}
	if (!unit) {
		if (hot)
			interp_set_heat(hot, NEVER);
		return false;
	}
	bt->stats.entries++;
	next = enter_unit(bt, unit);
	verify_begin(bt, unit);
	while (next.entry) {
		uint32_t id;

		if (!prepare_entry(bt, mode))
			break;
		bt->modes.entered = mode;
		id = glue_enter(bt, next.entry, next.r10);
		if (id == GLUE_NOT_ENTERED)
			break;
		record_last_x87(bt, id);
		if (!verify_exit(bt, id))
			break;
		mode = bt_mode_at_exit(bt, mode);
		cache_process_pending_drops(bt);
		next = serve_exit(bt, id, &mode);
		if (mode.windows)
			windows_use_space(bt);
	}
	return true;
}
