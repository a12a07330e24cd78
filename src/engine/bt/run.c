/* The translator's part of the run loop, and the engine's table.
 *
 * The interpreter's loop (engine/interp/run.c) asks bt_translated() before it interprets a block.
 * Here that block's unit is found or made, and run; and its exits are served, as long as translated
 * code can go on from them. What is left then is the interpreter's: an instruction or a cold block.
 */
#include "engine/bt/bt.h"
#include "engine/bt/cache.h"
#include "engine/bt/fault.h"
#include "engine/bt/glue.h"
#include "engine/bt/special.h"
#include "engine/bt/stats.h"
#include "engine/bt/trace.h"
#include "engine/bt/translate.h"
#include "engine/bt/verify.h"
#include "engine/bt/window.h"
#include "engine/engine.h"
#include "engine/options.h"

#include "base/log.h"
#include "isa/address.h"
#include "isa/decode.h"
#include "cpu/debug.h"
#include "cpu/fpu.h"
#include "cpu/tlb.h"
#include "host/low_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE 2 /* user code may use WRGSBASE */
#endif

/* Where a unit's exit leads to code without one: translated after so many passages. */
#define SUCCESSOR_HEAT 8
/* A block that cannot be translated is not asked about again soon. */
#define NEVER 1000000
/* So many PAUSEs in a row mean waiting for a vCPU that does not run. */
#define PAUSES 1000
/* Runs of units and loops in one young address space that prove it worth windows. */
#define YOUNG_RUNS 50000

/* Where a test wants code translated early, all of this comes early. */
static unsigned successor_heat(void)
{
	return engine_options.heat ? MIN(engine_options.heat, (unsigned)SUCCESSOR_HEAT)
				   : SUCCESSOR_HEAT;
}

static unsigned young_runs(void)
{
	return engine_options.heat ? MIN(engine_options.heat, 1000u) * 50 : YOUNG_RUNS;
}

/* --- finding units --- */

/* RAM offset of the code at `rip`; ~0: not RAM. Raises the page fault of a fetch, with cpu->rip =
 * rip. */
static uint64_t fetch_key(struct bt *bt, uint64_t rip)
{
	struct cpu *cpu = bt->cpu;
	const uint8_t *host = access_fetch(cpu, rip);

	return host ? (uint64_t)(host - cpu->memory->ram) : ~UINT64_C(0);
}

/* cpu->rip is `rip`. NULL: there is none. */
static struct bt_unit *find_unit(struct bt *bt, uint64_t rip, struct bt_mode mode)
{
	struct bt_unit *unit = cache_probe_jump(bt, rip, mode);
	uint64_t key;

	if (unit)
		return unit;
	if (!cpu_canonical(bt->cpu, rip))
		return NULL;
	key = fetch_key(bt, rip);
	if (key == ~UINT64_C(0))
		return NULL;
	unit = cache_find(bt, rip, key, mode);
	if (unit)
		cache_enter_jump(bt, unit, tlb_fetched_globally(bt->cpu, rip));
	return unit;
}

static struct bt_unit *make_unit(
	struct bt *bt, uint64_t rip, struct bt_mode mode, const uint8_t *adapted)
{
	struct cpu *cpu = bt->cpu;
	struct bt_unit *unit;
	_Atomic uint32_t *now;
	uint32_t generation;
	uint64_t key = fetch_key(bt, rip);

	if (key == ~UINT64_C(0))
		return NULL;
	now = &cpu->memory->code_generation[key >> PAGE_SHIFT];
	generation = atomic_load(now);
	if (bt->cache_full)
		cache_flush(bt);
	unit = translate_unit(bt, rip, key, mode, adapted);
	if (!unit && bt->cache_full) {
		cache_flush(bt);
		unit = translate_unit(bt, rip, key, mode, adapted);
	}
	if (!unit)
		return NULL;
	cache_add(bt, unit);
	/* A write before that was findable: cache_page_written() may have missed it. */
	if (atomic_load(now) != generation) {
		cache_page_written(bt, key >> PAGE_SHIFT);
		cache_process_drops(bt);
		return NULL;
	}
	cache_enter_jump(bt, unit, tlb_fetched_globally(cpu, rip));
	bt_trace_unit(bt, unit);
	return unit;
}

static const uint8_t nothing_adapted[UNIT_MAX_INSNS];

static struct bt_unit *find_or_make(struct bt *bt, uint64_t rip, struct bt_mode mode, bool hot)
{
	struct bt_unit *unit = find_unit(bt, rip, mode);

	if (!unit && hot)
		unit = make_unit(bt, rip, mode, nothing_adapted);
	return unit;
}

/* Jump tables are indexed by bt_mode_table() only, a part of the mode. When another part changes
 * (an FPU enable, the slot whose delta is the GS base), entries may belong to units made for the
 * old value: empty the tables. Units that go by the soft TLB use no GS base. */
static void tables_for_mode(struct bt *bt, struct bt_mode mode)
{
	int *gs = &bt->tables_gs[!mode.user];

	if (likely(bt->tables_fpu == mode.fpu && (!mode.windows || *gs == bt_mode_gs_slot(mode))))
		return;
	cache_flush_jumps(bt, TLB_FLUSH_ALL, 0);
	bt->tables_fpu = mode.fpu;
	if (mode.windows)
		*gs = bt_mode_gs_slot(mode);
}

/* Variables that translated code reads, and what was true when units were made. */
static void refresh_assumptions(struct bt *bt, struct bt_mode mode)
{
	struct cpu *cpu = bt->cpu;

	bt->pauses_left = PAUSES;
	bt->tsc_offset = cpu->platform->clock->tsc_offset + cpu->tsc_offset;
	if (unlikely((cpu->cr4 ^ bt->cr4) & CR4_ASSUMED)) {
		cache_flush(bt);
		bt->cr4 = cpu->cr4;
	}
	tables_for_mode(bt, mode);
}

/* The unit for cpu->rip in the mode that the CPU is in, which becomes *mode. NULL: there is none
 * (now). False: code is not translated in the state that the CPU is in; *mode is as it was. */
static bool unit_here(struct bt *bt, bool hot, struct bt_mode *mode, struct bt_unit **unit)
{
	bool translated = bt_mode_now(bt, mode);

	*unit = NULL;
	if (atomic_load(&bt->drops_pending))
		cache_process_drops(bt);
	if (!translated)
		return false;
	refresh_assumptions(bt, *mode);
	*unit = find_or_make(bt, bt->cpu->rip, *mode, hot);
	return true;
}

/* --- leaving and coming back --- */

/* Host RSP is guest RSP plus its window's delta; the GS base is the delta of the slot used most.
 * False: that has lost its window, and code that counts on it cannot be entered. */
static bool prepare_entry(struct bt *bt, struct bt_mode mode)
{
	if (mode.gs_used && !bt_mode_gs_base(bt, mode, &bt->gs_base))
		return false;
	bt->stack_delta = mode.windows ? bt_deltas(bt, mode)[SLOT_OF(bt->cpu->gpr[RSP])] : 0;
	bt->minus_stack_delta = -bt->stack_delta;
	return true;
}

static bool must_leave(const struct cpu *cpu)
{
	return attention(cpu) || cpu->interrupt_shadow || (cpu->system_flags & RFLAGS_TF) ||
	       (cpu->dr7 & 0xff);
}

/* Run the instruction at cpu->rip by the interpreter. */
static bool interpret_here(struct bt *bt)
{
	struct cpu *cpu = bt->cpu;
	struct insn insn[2];
	const uint8_t *host;
	unsigned offset = cpu->rip & ~PAGE_MASK;

	bt->stats.interpreted++;
	host = access_fetch(cpu, cpu->rip);
	if (!host || !interp_decode_one(cpu, host, PAGE_SIZE - offset, offset, insn))
		return false;
	return interp_run_one(cpu, insn);
}

/* What the interpreter would do with it. */
static void transfer(struct cpu *cpu, const struct bt_exit *exit)
{
	cpu->next_rip = exit->next_rip;
	exit->transfer(cpu);
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

	cpu->rip = cpu->next_rip = exit->rip;
	bt->stats.interpreted++;
	if (exit->transfer) {
		transfer(cpu, exit);
		return;
	}
	if (!exit->insns) {
		struct insn *insns = cache_take(bt, 2 * sizeof(*insns));

		if (!insns) {
			bt->cache_full = true;
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

/* Where to go on; `entry` 0: nowhere, the run loop decides. */
struct next {
	uintptr_t entry;
	uint64_t r10;
};

static const struct next run_loop = {0, 0};

static struct next enter_unit(const struct bt_unit *unit)
{
	return (struct next){unit->entry, 0};
}

/* In the middle of a unit, which may count on its vector registers. */
static struct next resume(struct bt *bt, uintptr_t at, enum bt_vectors vectors)
{
	switch (vectors) {
	case VECTORS_NARROW:
		return (struct next){bt->glue.load_vectors, at};
	case VECTORS_WIDE:
		return (struct next){bt->glue.load_wide, at};
	default:
		return (struct next){at, 0};
	}
}

static struct next after_branch(struct bt *bt, uint32_t id, struct bt_mode mode)
{
	struct bt_exit *exit = &bt->exits[id];
	struct bt_unit *from = exit->unit, *to;
	uint64_t flushes = bt->stats.cache_flushes;

	bt->cpu->rip = bt->cpu->next_rip = exit->rip;
	to = find_or_make(bt, exit->rip, mode, ++exit->heat >= successor_heat());
	if (engine_options.verify)
		return run_loop;
	if (!to) {
		if (exit->heat >= successor_heat())
			exit->heat = 0;
		return run_loop;
	}
	if (bt->stats.cache_flushes == flushes && !from->dropped && !to->dropped &&
		to->key >> PAGE_SHIFT == from->key >> PAGE_SHIFT) {
		emit_patch(bt, exit->patch, to->entry);
		bt->stats.chained++;
	}
	return enter_unit(to);
}

/* The target of a return or other indirect branch is not canonical: that is the branch's fault. */
static void undo_branch(struct bt *bt)
{
	struct bt_exit *exit = &bt->exits[bt->branch];

	if (exit->moved < 0)
		access_store(bt->cpu, bt->cpu->gpr[RSP], bt->scratch[1], 8, ACCESS_PROGRAM);
	bt->cpu->gpr[RSP] -= (uint64_t)(int64_t)exit->moved;
	interpret_exit(bt, exit);
}

static struct next after_jump(struct bt *bt, struct bt_mode mode)
{
	struct cpu *cpu = bt->cpu;
	uint64_t rip = bt->exit_address;
	struct bt_unit *unit;
	uint8_t *heat;

	bt->stats.jump_misses++;
	if (!cpu_canonical(cpu, rip)) {
		undo_branch(bt);
		return run_loop;
	}
	cpu->rip = cpu->next_rip = rip;
	heat = &bt->jump_heat[rip % ARRAY_SIZE(bt->jump_heat)];
	unit = find_or_make(bt, rip, mode, ++*heat >= successor_heat());
	if (unit || *heat >= successor_heat())
		*heat = 0;
	return unit && !engine_options.verify ? enter_unit(unit) : run_loop;
}

/* Where the next instruction's code is, if `exit` is in the unit's straight run; else 0: in a
 * loop's second code, other things are known than in the first. */
static uintptr_t after_insn(const struct bt_exit *exit)
{
	const struct bt_unit *unit = exit->unit;

	if (exit->resume != unit->code + unit->insns[exit->insn].host ||
		exit->insn + 1u == unit->count)
		return 0;
	return unit->code + unit->insns[exit->insn + 1].host;
}

/* Wherever the last instruction led, and in whatever mode. */
static struct next go_on(struct bt *bt, struct bt_mode *mode)
{
	struct bt_unit *unit;

	if (must_leave(bt->cpu) || engine_options.verify)
		return run_loop;
	bt->cpu->next_rip = bt->cpu->rip;
	unit_here(bt, false, mode, &unit);
	return unit ? enter_unit(unit) : run_loop;
}

/* After the interpreter ran an instruction of the unit. */
static struct next after_interpreted(
	struct bt *bt, const struct bt_exit *exit, struct bt_mode *mode, enum bt_vectors vectors)
{
	struct cpu *cpu = bt->cpu;
	struct bt_mode now;
	uintptr_t resume_at;

	if (atomic_load(&bt->drops_pending))
		cache_process_drops(bt);
	resume_at = exit->resume;
	if (exit->kind == BT_EXIT_SOFT_MISS)
		resume_at = after_insn(exit);
	if (!resume_at || cpu->rip != exit->next_rip || exit->unit->dropped || must_leave(cpu) ||
		!bt_mode_now(bt, &now) || !bt_mode_equal(now, *mode))
		return go_on(bt, mode);
	return resume(bt, resume_at, vectors);
}

static bool tlb_hit(struct cpu *cpu, uint64_t linear, bool write)
{
	const struct tlb_entry *entry = access_tlb(cpu, linear);

	return (write ? entry->write : entry->read) == (linear & PAGE_MASK);
}

static struct next after_soft_miss(
	struct bt *bt, struct bt_exit *exit, struct bt_mode *mode, enum bt_vectors vectors)
{
	struct cpu *cpu = bt->cpu;
	uint64_t linear = bt->exit_address;
	struct tlb_entry *entry;
	void *host = NULL;

	bt->stats.soft_misses++;
	cpu->rip = exit->rip;
	cpu->next_rip = exit->next_rip;
	/* Before an instruction of the FPU may raise a page fault, there are other exceptions. */
	if (cpu_canonical(cpu, linear) &&
		(!exit->other_faults || tlb_hit(cpu, linear, exit->write)))
		host = access_pointer(cpu, linear, exit->size, exit->write);
	if (!host || !tlb_hit(cpu, linear, exit->write)) {
		interpret_exit(bt, exit);
		return after_interpreted(bt, exit, mode, vectors);
	}
	entry = access_tlb(cpu, linear);
	cache_fill_soft_tlb(bt, tlb_current_view(cpu), linear, host,
		entry->write == (linear & PAGE_MASK), tlb_is_global(cpu, linear));
	if (left_in_shadow(cpu, exit->unit, exit->insn))
		return run_loop;
	return resume(bt, exit->resume, vectors);
}

static struct next after_written(struct bt *bt, struct bt_exit *exit, enum bt_vectors vectors)
{
	struct cpu *cpu = bt->cpu;

	if (access_written_slow(cpu, (void *)(uintptr_t)bt->exit_address, exit->size))
		cache_process_drops(bt);
	/* The instruction is done, also where glue_enter() has to refuse. */
	if (!exit->next_rip && !cpu_canonical(cpu, bt->scratch[0])) {
		undo_branch(bt);
		return run_loop;
	}
	cpu->rip = cpu->next_rip = exit->next_rip ? exit->next_rip : bt->scratch[0];
	if (!exit->unit->dropped)
		return resume(bt, exit->resume, vectors);
	/* What follows in the unit may be stale. */
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
static void adapt(struct bt *bt, uint64_t rip, struct bt_mode mode)
{
	struct bt_unit *unit = bt->fault_unit, *again;
	uint8_t adapted[UNIT_MAX_INSNS] = {0};
	uint64_t flushes = bt->stats.cache_flushes;

	bt->fault_unit = NULL;
	if (!unit || unit->dropped || !bt_mode_equal(unit->mode, mode) || !mode.windows)
		return;
	if (unit->insns[bt->fault_insn].adapted != ADAPT_FAULTS)
		return;
	for (unsigned i = 0; i < unit->count; i++)
		adapted[i] = unit->insns[i].adapted;
	bt->cpu->rip = bt->cpu->next_rip = rip;
	if (fetch_key(bt, rip) >> PAGE_SHIFT != unit->key >> PAGE_SHIFT)
		return;
	cache_remove(bt, unit);
	again = make_unit(bt, unit->rip, mode, adapted);
	if (!again || bt->stats.cache_flushes != flushes)
		return;
	bt->stats.retranslations++;
	/* Who is chained to the old one, comes to the new. */
	memcpy((void *)(unit->entry + (uintptr_t)bt->writable), &(uint8_t){0xe9}, 1);
	emit_patch(bt, unit->entry + 1, again->entry);
}

/* The fault that was rolled back last does not count: the slot gets a window now, or will when the
 * page is touched again. */
static void forgive_fault(struct bt *bt)
{
	struct bt_insn *insn = bt->fault_unit ? &bt->fault_unit->insns[bt->fault_insn] : NULL;

	if (insn && insn->adapted && insn->adapted <= ADAPT_FAULTS)
		insn->adapted--;
}

static struct next after_fault(struct bt *bt, struct bt_mode *mode)
{
	struct cpu *cpu = bt->cpu;
	uint64_t rip = cpu->rip, rents = bt->stats.rents;
	bool opened = mode->windows && open_window(bt, *mode);
	struct bt_unit *unit;

	cpu->next_rip = rip;
	if (opened || bt->stats.rents != rents)
		forgive_fault(bt);
	if (opened) {
		if (bt->fault_unit && left_in_shadow(cpu, bt->fault_unit, bt->fault_insn))
			return run_loop;
		unit = find_unit(bt, rip, *mode);
		return unit ? enter_unit(unit) : run_loop;
	}
	adapt(bt, rip, *mode);
	cpu->rip = cpu->next_rip = rip;
	interpret_here(bt);
	return go_on(bt, mode);
}

/* --- the loop --- */

static struct next serve_exit(struct bt *bt, uint32_t id, struct bt_mode *mode)
{
	struct bt_exit *exit = &bt->exits[id];
	enum bt_vectors vectors = bt->vectors_were_here;

	switch ((enum bt_exit_kind)exit->kind) {
	case BT_EXIT_BRANCH:
		return after_branch(bt, id, *mode);
	case BT_EXIT_JUMP:
		return after_jump(bt, *mode);
	case BT_EXIT_INTERPRET:
		interpret_exit(bt, exit);
		return after_interpreted(bt, exit, mode, vectors);
	case BT_EXIT_SOFT_MISS:
		return after_soft_miss(bt, exit, mode, vectors);
	case BT_EXIT_WRITTEN:
		return after_written(bt, exit, vectors);
	case BT_EXIT_FAULT:
		return after_fault(bt, mode);
	case BT_EXIT_MATURE:
		bt->cpu->rip = bt->cpu->next_rip = exit->rip;
		windows_mature(bt);
		bt->young_left = young_runs();
		return run_loop;
	case BT_EXIT_KICK:
		bt->cpu->next_rip = bt->cpu->rip;
		return run_loop;
	}
	return run_loop;
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
	const struct bt_exit *last = &bt->exits[bt->last_x87];
	const struct bt_unit *unit = bt->fault_unit;

	if (bt->last_x87)
		record_x87(bt->cpu, last->rip, last->fop);
	bt->last_x87 = 0;
	/* Rolled back to just behind an x87 instruction that left that to the next? */
	if ((id == BT_EXIT_ID_KICK || id == BT_EXIT_ID_FAULT) && unit) {
		const struct bt_insn *insn = &unit->insns[bt->fault_insn];

		if (insn->x87_before)
			record_x87(bt->cpu, (unit->rip & PAGE_MASK) + insn[-1].offset,
				insn->x87_before);
	}
}

/* interp->translated: run what is translated at cpu->rip. */
static bool bt_translated(struct cpu *cpu)
{
	struct bt *bt = bt_of(cpu);
	struct block *hot = interp_hot(cpu);
	struct bt_mode mode;
	struct bt_unit *unit;
	struct next next;

	if (!unit_here(bt, hot, &mode, &unit))
		return false;
	if (!unit) {
		if (hot)
			interp_set_heat(hot, NEVER);
		return false;
	}
	bt->stats.entries++;
	verify_begin(bt, unit);
	next = enter_unit(unit);
	while (next.entry) {
		uint32_t id;

		if (!prepare_entry(bt, mode))
			break;
		id = glue_enter(bt, next.entry, next.r10);
		if (id == GLUE_NOT_ENTERED)
			break;
		record_last_x87(bt, id);
		if (!verify_exit(bt, id))
			break;
		mode = bt_mode_at_exit(bt, mode);
		if (atomic_load(&bt->drops_pending))
			cache_process_drops(bt);
		next = serve_exit(bt, id, &mode);
		if (mode.windows)
			windows_use_space(bt);
	}
	return true;
}

/* --- hooks --- */

static void flushed(struct cpu *cpu, const struct tlb_request *request)
{
	struct bt *bt = bt_of(cpu);

	interp_tlb_flushed(cpu, request);
	if (request->what == TLB_FLUSH_NON_GLOBAL || request->what == TLB_FLUSH_SPACE_KEPT)
		bt->young_left = young_runs();
	cache_flush_soft_tlb(bt, request->what, request->linear);
	cache_flush_jumps(bt, request->what, request->linear);
	if (bt->windows)
		windows_flush(bt, request);
}

static const struct cpu_engine_ops bt_ops = {
	.code_context_changed = interp_context_changed,
	.tlb_flushed = flushed,
	.kick = bt_kick,
};

/* What memory/ tells, on any thread. */
static void on_protect(void *opaque, uint64_t page, uint64_t count)
{
	windows_protect(opaque, page, count);
}

static void on_revoke(void *opaque, uint64_t page, uint64_t count)
{
	windows_revoke(opaque, page, count);
}

static void on_written(void *opaque, uint64_t page)
{
	cache_page_written(opaque, page);
}

/* --- the engine --- */

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

/* AddressSanitizer takes the low addresses; ThreadSanitizer holds signals back, and so kicks. */
static bool bt_worthwhile(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return false;
#else
	return !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer);
#endif
}

/* Where it cannot translate it interprets. */
static int bt_available(void)
{
	return 0;
}

static void free_bt(struct bt *bt)
{
	memory_unlisten(bt->cpu->memory, &bt->memory_listener);
	interp_of(bt->cpu)->translator = NULL;
	if (bt->windows)
		windows_destroy(bt);
	cache_destroy(bt);
	verify_destroy(bt);
	free(bt->translator);
	munmap(bt, sizeof(*bt));
}

static void bt_vcpu_destroy(struct cpu *cpu)
{
	cpu->engine_ops = &cpu_engine_ops_none;
	if (bt_of(cpu))
		free_bt(bt_of(cpu));
	interp_vcpu_destroy(cpu);
}

/* The vCPU goes on without. */
static int without_translation(struct cpu *cpu, const char *why)
{
	log_warning("engine bt: vCPU %u only interprets: %s", cpu->index, why);
	return 0;
}

/* ThreadSanitizer holds signals back until the program calls a function that it knows. Translated
 * code calls none, and kicks are signals: a loop would never hear of anything. */
#if defined(__SANITIZE_THREAD__)
#define KICKS_ARRIVE false
#else
#define KICKS_ARRIVE true
#endif

static void find_host_features(struct bt *bt)
{
	unsigned without = engine_options.without;

	bt->has_fsgsbase = (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE) && !(without & HOST_FSGSBASE);
	bt->has_bmi2 = cpu_model_host_has(bt->cpu->model, CPUID_BMI2) && !(without & HOST_BMI2);
}

static int bt_vcpu_create(struct cpu *cpu)
{
	struct bt *bt;
	const char *why = NULL;
	int error = engine_options.trace ? bt_trace_open(engine_options.trace) : 0;

	if (error)
		return error;
	error = interp_vcpu_create(cpu);
	if (error || !KICKS_ARRIVE)
		return error;
	bt = low_memory_map(sizeof(*bt));
	if (!bt)
		return without_translation(cpu, "no memory for its tables");
	bt->cpu = cpu;
	bt->vectors_away = bt->wide_away = 1;
	bt->young_left = young_runs();
	bt_mode_init(bt);
	bt->mask_index = (uint64_t)(SOFT_TLB_SIZE - 1) << PAGE_SHIFT;
	bt->mask_page = PAGE_MASK;
	bt->mask_offset = ~PAGE_MASK;
	find_host_features(bt);
	interp_of(cpu)->translator = bt;
	bt->translator = malloc(sizeof(*bt->translator));
	error = bt->translator ? cache_create(bt) : -ENOMEM;
	if (error && error != -ENOSPC)
		why = strerror(-error);
	else if (error || !cpu_reachable_32(cpu) || !low_memory_holds(bt, sizeof(*bt)))
		why = "there is no room for its tables and code in the low 2 GiB of the address "
		      "space";
	else if (!memory_flags_displacement(cpu->memory, &bt->flags_displacement))
		why = "there is so much guest memory (--memory) that it lies beyond the reach of "
		      "translated code";
	if (why) {
		free_bt(bt);
		return without_translation(cpu, why);
	}
	windows_create(bt); /* without them all goes through the soft TLB */
	bt_signals_init();
	bt->memory_listener = (struct memory_listener){
		.protect = on_protect, .revoke = on_revoke, .written = on_written, .opaque = bt};
	memory_listen(cpu->memory, &bt->memory_listener);
	cpu->engine_ops = &bt_ops;
	interp_of(cpu)->translated = bt_translated;
	return 0;
}

static enum vcpu_exit bt_vcpu_run(struct cpu *cpu)
{
	struct bt *bt = bt_of(cpu);
	enum vcpu_exit exit;

	/* This may be another thread than last time. */
	if (bt)
		bt->gs_base_now = ~UINT64_C(0);
	if (bt && bt_thread_enter(bt) < 0)
		interp_of(cpu)->translated = NULL;
	exit = interp_vcpu_run(cpu);
	return bt && verify_failed(bt) ? VCPU_EXIT_FAILED : exit;
}

static void withhold(struct cpu_features *features, enum cpuid_feature feature)
{
	features->word[CPUID_WORD(feature)] |= CPUID_BIT(feature);
}

/* Vectors are carried in the host's registers: what the translator is to do without, the guest
 * is. */
static void bt_withheld(const struct engine_options *options, struct cpu_features *features)
{
	withhold(features, CPUID_LA57); /* windows show 48-bit linear addresses */
	if (options->without & HOST_AVX)
		withhold(features, CPUID_AVX);
	if (options->without & HOST_AVX512)
		withhold(features, CPUID_AVX512F);
}

const struct engine engine_bt = {
	.name = "bt",
	.summary = "binary translation: near-native speed without hardware virtualization",
	.translates = true,
	.withheld = bt_withheld,
	.available = bt_available,
	.worthwhile = bt_worthwhile,
	.vcpu_create = bt_vcpu_create,
	.vcpu_destroy = bt_vcpu_destroy,
	.vcpu_run = bt_vcpu_run,
	.print_stats = bt_print_stats,
};
