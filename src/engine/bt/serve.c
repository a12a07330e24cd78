/* Serving exits: a unit came back, so what does it need, and where does translated code go on?
 *
 * One function for each kind of exit does what the unit could not do itself (let the interpreter
 * run an instruction, fill the soft TLB, find the target of a branch) and returns where to go on.
 * It is the run loop's turn where nothing is translated there, or where something else is due
 * first: an interrupt, a shadow, a debug exception. */
#include "engine/bt/serve.h"
#include "engine/bt/cache.h"
#include "engine/bt/emit.h"
#include "engine/bt/lookup.h"
#include "engine/bt/soft_tlb.h"
#include "engine/bt/window.h"
#include "engine/options.h"

#include "cpu/debug.h"
#include "cpu/tlb.h"
#include "isa/address.h"
#include "isa/decode.h"

/* Runs of units and loops in one young address space that prove it worth windows. */
#define YOUNG_RUNS 50000

/* A test that lowers the heat (engine_options.heat) lowers this limit, too. */
unsigned bt_young_runs(const struct bt *bt)
{
	return bt->options.heat ? MIN(bt->options.heat, 1000u) * 50 : YOUNG_RUNS;
}

/* --- instructions that the interpreter runs --- */

static bool must_leave(const struct cpu *cpu)
{
	return attention(cpu) || cpu->interrupt_shadow || (cpu->system_flags & RFLAGS_TF) ||
	       (cpu->dr7 & 0xff);
}

/* Decode the instruction at cpu->rip, which may run on into another page. */
static bool decode_here(struct cpu *cpu, struct insn insn[2])
{
	unsigned offset = cpu->rip & ~PAGE_MASK, available = PAGE_SIZE - offset;
	const uint8_t *host = access_fetch(cpu, cpu->rip), *second;
	uint8_t bytes[15];

	if (!host)
		return false;
	if (interp_decode_one(cpu, host, available, offset, insn))
		return true;
	memcpy(bytes, host, available);
	second = access_fetch(cpu, cpu->rip + available);
	if (!second)
		return false;
	memcpy(bytes + available, second, sizeof(bytes) - available);
	return interp_decode_one(cpu, bytes, sizeof(bytes), offset, insn);
}

/* Run the instruction at cpu->rip by the interpreter. */
static bool interpret_here(struct bt *bt)
{
	struct insn insn[2];

	bt->stats.interpreted++;
	return decode_here(bt->cpu, insn) && interp_run_one(bt->cpu, insn);
}

/* What the interpreter would do with it. */
static void call_routine(struct bt *bt, const struct bt_exit *exit)
{
	struct cpu *cpu = bt->cpu;

	cpu->next_rip = bt_rip(bt, exit->next_rip);
	exit->routine(cpu);
	cpu->stats.instructions++;
	/* IRET's RF lasts for one instruction: see op_call_flags(). */
	if (likely(!(cpu->system_flags & RFLAGS_TF)))
		cpu->system_flags &= ~RFLAGS_RF;
	cpu->rip = cpu->next_rip;
}

static void interpret_exit(struct bt *bt, struct bt_exit *exit)
{
	struct cpu *cpu = bt->cpu;
	struct bt_unit *unit = exit->unit;
	unsigned offset = exit->rip & ~PAGE_MASK;

	cpu->rip = cpu->next_rip = bt_rip(bt, exit->rip);
	bt->stats.interpreted++;
	if (exit->routine) {
		call_routine(bt, exit);
		return;
	}
	if (!exit->insns) {
		struct insn *insns = cache_take(bt, 2 * sizeof(*insns));

		if (!insns) {
			bt->code.full = true;
			interpret_here(bt);
			return;
		}
		interp_decode_one(cpu, unit->guest + (offset - unit->guest_start),
			unit->guest_start + unit->guest_bytes - offset, offset, insns);
		exit->insns = insns;
	}
	interp_run_one(cpu, exit->insns);
}

/* A unit was left at an instruction that it has not run. If that follows an STI, no interrupt may
 * be taken before it: the run loop is told, and steps it. Entering translated code again would not
 * do, for the glue looks at cpu->attention first. */
static bool left_in_shadow(struct cpu *cpu, const struct bt_unit *unit, unsigned insn)
{
	if (unit->insns[insn].shadowed)
		cpu->interrupt_shadow = SHADOW_STI;
	return unit->insns[insn].shadowed;
}

/* --- one exit --- */

static const struct next run_loop = {.entry = 0};

/* Go on in the middle of a unit, with the vector registers loaded that it had at the exit. */
static struct next resume(struct bt *bt, uintptr_t at, enum bt_vectors vectors)
{
	switch (vectors) {
	case VECTORS_NARROW:
		return (struct next){.entry = bt->glue.load_vectors, .r10 = at};
	case VECTORS_WIDE:
		return (struct next){.entry = bt->glue.load_wide, .r10 = at};
	default:
		return (struct next){.entry = at};
	}
}

/* Make the branch a direct jump. From another page it comes with RIP in R10, for the unit to check.
 * */
static void link_exit(struct bt *bt, struct bt_exit *exit, struct bt_unit *to)
{
	bool near = same_page(exit->rip, exit->unit->rip);

	if (near && !same_page(to->key, exit->unit->key))
		return;
	if (!exit->to)
		exit->unlinked = emit_patch_target(bt, exit->patch);
	exit->to = to;
	emit_patch(bt, exit->patch, near ? to->entry : to->linked);
	bt->stats.chained++;
}

static struct next after_branch(struct bt *bt, uint32_t id, struct bt_mode mode)
{
	struct bt_exit *exit = cache_exit(bt, id);
	struct bt_unit *from = exit->unit, *to;
	uint64_t forgettings = bt->code.forgettings, rip = bt_rip(bt, exit->rip);

	bt->cpu->rip = bt->cpu->next_rip = rip;
	if (unlikely(bt_mode_changes_at(bt, mode, rip)))
		return run_loop;
	to = unit_find_or_make(bt, rip, mode, true);
	if (!to || bt->options.verify)
		return run_loop;
	if (bt->code.forgettings == forgettings && !from->dropped && !to->dropped)
		link_exit(bt, exit, to);
	return enter_unit(bt, to);
}

/* The target of a return or other indirect branch is not canonical: that is the branch's fault. */
static void undo_branch(struct bt *bt)
{
	struct bt_exit *exit = cache_exit(bt, (uint32_t)bt->run.branch);

	if (exit->moved < 0)
		access_store(bt->cpu, bt->cpu->gpr[RSP], bt->run.scratch[1], 8, ACCESS_PROGRAM);
	bt->cpu->gpr[RSP] -= (uint64_t)(int64_t)exit->moved;
	interpret_exit(bt, exit);
}

static struct next after_jump(struct bt *bt, struct bt_mode *mode)
{
	struct cpu *cpu = bt->cpu;
	uint64_t rip = bt->run.exit_address;
	struct bt_unit *unit;

	bt->stats.jump_misses++;
	if (!cpu_canonical(cpu, rip)) {
		undo_branch(bt);
		return run_loop;
	}
	cpu->rip = cpu->next_rip = rip;
	if (unlikely(bt_mode_changes_at(bt, *mode, rip)))
		unit_here(bt, true, mode, &unit);
	else
		unit = unit_find_or_make(bt, rip, *mode, true);
	if (unit)
		cache_enter_jump(bt, unit, rip, tlb_fetched_globally(cpu, rip));
	return unit && !bt->options.verify ? enter_unit(bt, unit) : run_loop;
}

/* Where the next instruction's code is, if `exit` is in the unit's straight run; else 0. (The exit
 * may be in a loop's second code, and the straight run relies on other checks than that.) */
static uintptr_t after_insn(const struct bt_exit *exit)
{
	const struct bt_unit *unit = exit->unit;

	if (exit->resume != unit->code + unit->insns[exit->insn].host ||
		exit->insn + 1u == unit->count)
		return 0;
	return unit->code + unit->insns[exit->insn + 1].host;
}

/* Go on at the CPU's RIP, in the CPU's mode. */
static struct next go_on(struct bt *bt, struct bt_mode *mode)
{
	struct bt_unit *unit;

	if (must_leave(bt->cpu) || bt->options.verify)
		return run_loop;
	bt->cpu->next_rip = bt->cpu->rip;
	unit_here(bt, false, mode, &unit);
	return unit ? enter_unit(bt, unit) : run_loop;
}

/* After the interpreter ran an instruction of the unit. */
static struct next after_interpreted(
	struct bt *bt, const struct bt_exit *exit, struct bt_mode *mode, enum bt_vectors vectors)
{
	struct cpu *cpu = bt->cpu;
	struct bt_mode now;
	uintptr_t resume_at;

	cache_process_pending_drops(bt);
	resume_at = exit->resume;
	if (exit->kind == BT_EXIT_SOFT_MISS)
		resume_at = after_insn(exit);
	if (!resume_at || cpu->rip != bt_rip(bt, exit->next_rip) || exit->unit->dropped ||
		must_leave(cpu) || !bt_mode_now(bt, &now) || !bt_mode_equal(now, *mode))
		return go_on(bt, mode);
	return resume(bt, resume_at, vectors);
}

static bool tlb_hit(struct cpu *cpu, uint64_t linear, bool write)
{
	const struct tlb_entry *entry = access_tlb(cpu, linear);

	return (write ? entry->write : entry->read) == (linear & PAGE_MASK);
}

/* A mask may leave out what cannot be accessed. So the interpreter goes first, and where it has met
 * the page, that is entered for the next time. */
static struct next after_masked_miss(
	struct bt *bt, struct bt_exit *exit, struct bt_mode *mode, enum bt_vectors vectors)
{
	struct cpu *cpu = bt->cpu;
	uint64_t linear = bt->run.exit_address;

	interpret_exit(bt, exit);
	if (cpu_canonical(cpu, linear) && tlb_hit(cpu, linear, exit->write)) {
		const struct tlb_entry *entry = access_tlb(cpu, linear);

		soft_tlb_fill(bt, tlb_current_view(cpu), linear,
			access_pointer(cpu, linear, 1, exit->write),
			entry->write == (linear & PAGE_MASK), tlb_is_global(cpu, linear));
	}
	return after_interpreted(bt, exit, mode, vectors);
}

static struct next after_soft_miss(
	struct bt *bt, struct bt_exit *exit, struct bt_mode *mode, enum bt_vectors vectors)
{
	struct cpu *cpu = bt->cpu;
	uint64_t linear = bt->run.exit_address;
	struct tlb_entry *entry;
	void *host = NULL;

	bt->stats.soft_misses++;
	cpu->rip = bt_rip(bt, exit->rip);
	cpu->next_rip = bt_rip(bt, exit->next_rip);
	if (exit->masked)
		return after_masked_miss(bt, exit, mode, vectors);
	/* Before an instruction of the FPU may raise a page fault, there are other exceptions. */
	if (cpu_canonical(cpu, linear) &&
		(!exit->other_faults || tlb_hit(cpu, linear, exit->write)))
		host = access_pointer(cpu, linear, exit->size, exit->write);
	if (!host || !tlb_hit(cpu, linear, exit->write)) {
		interpret_exit(bt, exit);
		return after_interpreted(bt, exit, mode, vectors);
	}
	entry = access_tlb(cpu, linear);
	soft_tlb_fill(bt, tlb_current_view(cpu), linear, host, entry->write == (linear & PAGE_MASK),
		tlb_is_global(cpu, linear));
	if (left_in_shadow(cpu, exit->unit, exit->insn) || exit->unit->dropped)
		return run_loop;
	return resume(bt, exit->resume, vectors);
}

/* An instruction whose second page is not known to the code map, or is not the one that it was made
 * of: a unit with that one will take its place when the instruction is hot again. */
static struct next after_second(struct bt *bt, struct bt_exit *exit, struct bt_mode *mode)
{
	struct cpu *cpu = bt->cpu;
	uint64_t rip = bt_rip(bt, exit->rip), next = (rip | ~PAGE_MASK) + 1, second;

	cpu->rip = cpu->next_rip = rip;
	second = unit_key(bt, next);
	if (second == exit->unit->second)
		cache_know_page(bt, mode->user, next, second, tlb_fetched_globally(cpu, next));
	else if (!exit->unit->dropped)
		cache_remove(bt, exit->unit);
	interpret_here(bt);
	return go_on(bt, mode);
}

static struct next after_written(struct bt *bt, struct bt_exit *exit, enum bt_vectors vectors)
{
	struct cpu *cpu = bt->cpu;
	uintptr_t start = bt->run.exit_address;

	if (!exit->size)
		start &= PAGE_MASK;
	if (access_written_slow(cpu, (void *)start, exit->size ? exit->size : (unsigned)PAGE_SIZE))
		cache_process_drops(bt);
	/* The instruction is done, also where glue_enter() has to refuse. */
	if (exit->next_in_scratch && !cpu_canonical(cpu, bt->run.scratch[0])) {
		undo_branch(bt);
		return run_loop;
	}
	cpu->rip = cpu->next_rip =
		exit->next_in_scratch ? bt->run.scratch[0] : bt_rip(bt, exit->next_rip);
	if (!exit->unit->dropped)
		return resume(bt, exit->resume, vectors);
	/* The store has changed the unit's own page, so its code may be out of date. */
	return run_loop;
}

/* --- faults --- */

/* An access to a slot without a window faults somewhere that does not tell the slot. See what it
 * was, and make a window if it deserves one. True: run the instruction again. */
static bool open_window(struct bt *bt, struct bt_mode mode)
{
	struct cpu *cpu = bt->cpu;
	ZydisDecodedInstruction in;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	const uint8_t *host;
	uint64_t linear;
	bool opened = false;

	host = access_fetch(cpu, cpu->rip);
	if (!host || isa_decode(ISA_64, cpu->model, host, PAGE_SIZE - (cpu->rip & ~PAGE_MASK), &in,
			     operands) != ISA_DECODED)
		return false;
	for (unsigned i = 0; i < in.operand_count; i++) {
		const ZydisDecodedOperand *op = &operands[i];
		bool write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
		struct isa_address address;

		if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || op->mem.type != ZYDIS_MEMOP_TYPE_MEM ||
			!isa_address(&in, op, cpu->rip + in.length, &address))
			continue;
		linear = isa_linear(cpu, &address);
		if (!cpu_canonical(cpu, linear) ||
			bt_deltas(bt, mode)[SLOT_OF(linear)] != windows_no_delta(SLOT_OF(linear)))
			continue;
		opened |= windows_fault(bt, linear, write, mode.user);
	}
	return opened;
}

/* An instruction that keeps faulting is translated again, with the soft TLB. */
static void adapt(struct bt *bt, struct bt_mode mode)
{
	struct bt_unit *unit = bt->rolled_back.unit;
	uint8_t adapted[UNIT_MAX_INSNS] = {0};
	uint64_t rip;

	bt->rolled_back.unit = NULL;
	if (!unit || unit->dropped || !bt_mode_equal(unit->mode, mode) || !mode.windows)
		return;
	if (unit->insns[bt->rolled_back.insn].adapted != ADAPT_FAULTS)
		return;
	for (unsigned i = 0; i < unit->count; i++)
		adapted[i] = unit->insns[i].adapted;
	rip = bt_rip(bt, unit->rip);
	bt->cpu->rip = bt->cpu->next_rip = rip;
	if (unit_key(bt, rip) != unit->key)
		return;
	if (unit_replace(bt, unit, rip, adapted))
		bt->stats.retranslations++;
}

/* The fault that was rolled back last does not count: the slot gets a window now, or will when the
 * page is touched again. */
static void forgive_fault(struct bt *bt)
{
	struct bt_insn *insn =
		bt->rolled_back.unit ? &bt->rolled_back.unit->insns[bt->rolled_back.insn] : NULL;

	if (insn && insn->adapted && insn->adapted <= ADAPT_FAULTS)
		insn->adapted--;
}

static struct next after_fault(struct bt *bt, struct bt_mode *mode)
{
	struct cpu *cpu = bt->cpu;
	uint64_t rip = cpu->rip, rents = bt->stats.rents;
	bool opened = mode->windows && open_window(bt, *mode);
	struct bt_unit *unit;

	*mode = bt_mode_for(bt, *mode, rip);
	cpu->next_rip = rip;
	if (opened || bt->stats.rents != rents)
		forgive_fault(bt);
	if (opened) {
		if (bt->rolled_back.unit &&
			left_in_shadow(cpu, bt->rolled_back.unit, bt->rolled_back.insn))
			return run_loop;
		unit = unit_find(bt, rip, *mode);
		return unit ? enter_unit(bt, unit) : run_loop;
	}
	adapt(bt, *mode);
	cpu->rip = cpu->next_rip = rip;
	interpret_here(bt);
	return go_on(bt, mode);
}

/* --- every kind --- */

struct next serve_exit(struct bt *bt, uint32_t id, struct bt_mode *mode)
{
	struct bt_exit *exit = cache_exit(bt, id);
	enum bt_vectors vectors = bt->run.vectors_were_here;

	switch ((enum bt_exit_kind)exit->kind) {
	case BT_EXIT_BRANCH:
		return after_branch(bt, id, *mode);
	case BT_EXIT_JUMP:
		return after_jump(bt, mode);
	case BT_EXIT_INTERPRET:
		interpret_exit(bt, exit);
		return after_interpreted(bt, exit, mode, vectors);
	case BT_EXIT_SOFT_MISS:
		return after_soft_miss(bt, exit, mode, vectors);
	case BT_EXIT_WRITTEN:
		return after_written(bt, exit, vectors);
	case BT_EXIT_FAULT:
		return after_fault(bt, mode);
	case BT_EXIT_SECOND:
		return after_second(bt, exit, mode);
	case BT_EXIT_MATURE:
		bt->cpu->rip = bt->cpu->next_rip = bt_rip(bt, exit->rip);
		windows_mature(bt);
		bt->run.young_left = bt_young_runs(bt);
		return run_loop;
	case BT_EXIT_KICK:
		bt->cpu->next_rip = bt->cpu->rip;
		return run_loop;
	}
	return run_loop;
}
