/* From guest instructions to a unit of host code.
 *
 * A unit begins where some branch led and runs on, through conditional branches not taken, to an
 * unconditional transfer or the end of the page. What is rare (a branch leaving the unit, an
 * address that was predicted wrong) goes to the unit's end, out of line. */
#include "engine/bt/translate.h"
#include "engine/bt/analyze.h"
#include "engine/bt/bit_string.h"
#include "engine/bt/branch.h"
#include "engine/bt/cache.h"
#include "engine/bt/identical.h"
#include "engine/bt/lookup.h"
#include "engine/bt/operand.h"
#include "engine/bt/push_pop.h"
#include "engine/bt/special.h"
#include "engine/bt/stack.h"
#include "engine/bt/string.h"
#include "engine/bt/window.h"
#include "engine/options.h"
#include "isa/address.h"

/* --- system instructions --- */

/* TF, DF, IOPL and NT are clear in every mode that is translated: IF is all there is in this byte.
 */
static void translate_cli(struct translator *t, unsigned i)
{
	emit_memory_op(&t->code, false, 0xc6, 0, at_address((uint8_t *)&t->cpu->system_flags + 1));
	emit_byte(&t->code, 0);
}

static void emit_set_ac(struct translator *t, unsigned i, bool on)
{
	struct code *c = &t->code;
	struct cpu *cpu = t->cpu;

	if (on == t->mode.ac)
		return;
	emit_load(c, SCRATCH, at_address(&cpu->system_flags));
	emit_lea(c, SCRATCH, at_register(SCRATCH, on ? (int32_t)RFLAGS_AC : -(int32_t)RFLAGS_AC));
	emit_store(c, at_address(&cpu->system_flags), SCRATCH);
	mark(t, i, MARK_AFTER);
	emit_store_constant(c, at_address(&cpu->tlb),
		(int32_t)(uintptr_t)cpu->tlb_views[on ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR]);
	t->mode.ac = on;
}

static void translate_stac(struct translator *t, unsigned i)
{
	emit_set_ac(t, i, true);
}

static void translate_clac(struct translator *t, unsigned i)
{
	emit_set_ac(t, i, false);
}

static void emit_interpret(struct translator *t, unsigned i, bool goes_on)
{
	uint32_t id = add_exit(t, BT_EXIT_INTERPRET, i);

	emit_exit(t, id);
	exit_of(t, id)->resume = goes_on ? t->code.at : 0;
	exit_of(t, id)->routine = special_routine(&t->insn[i]);
}

/* Vector registers are loaded when a unit first needs them. */
static void ensure_vectors(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	enum bt_vectors needed = t->insn[i].vectors;

	if (t->facts.vectors >= needed)
		return;
	emit_load(c, SCRATCH,
		at_address(
			needed == VECTORS_WIDE ? &t->bt->run.wide_away : &t->bt->run.vectors_away));
	add_cold(t, COLD_VECTORS, i, emit_unless_rcx_zero(c), needed, NULL);
	if (!c->full)
		t->cold[t->cold_count - 1].resume = c->at;
	t->facts.vectors = (uint8_t)needed;
}

/* LEA of registers that are all in the host's, or of the stack: one instruction. */
static bool emit_plain_lea(struct translator *t, const struct guest_insn *g, unsigned to)
{
	bool wide = g->operands[0].size == 64;
	const ZydisDecodedOperand *m = g->memory;
	struct host_memory memory;

	if (m->mem.base == ZYDIS_REGISTER_RSP && m->mem.index == ZYDIS_REGISTER_NONE &&
		g->in.address_width == 64) {
		int32_t disp = (int32_t)m->mem.disp.value;

		memory = at_register(RSP, disp);
		if (windowed(t)) {
			emit_load(&t->code, SCRATCH, at_address(&t->bt->run.minus_stack_delta));
			memory = at_sum(RSP, SCRATCH, disp);
		}
	} else if (!(t->mode.code32 ? operand_is_direct_32(m, &memory)
				    : operand_is_direct(g, m, &memory)) ||
		   (memory.base == NO_REGISTER && memory.index == NO_REGISTER)) {
		return false;
	}
	emit_memory_op(&t->code, wide, 0x8d, to, memory);
	return true;
}

static void translate_lea(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	struct guest_insn *g = &t->insn[i];
	unsigned guest = isa_gpr_number(g->operands[0].reg.value);
	bool spilled = guest == R10 || guest == R11;

	if (!spilled && emit_plain_lea(t, g, host_register(guest)))
		return;
	emit_linear(t, g, g->memory, SCRATCH_ADDR, false);
	/* mov to, r10 or r10d */
	if (spilled) {
		if (g->operands[0].size == 32)
			emit_register_op(c, false, 0x89, SCRATCH_ADDR, SCRATCH_ADDR);
		emit_store(c, at_address(&t->cpu->gpr[guest]), SCRATCH_ADDR);
	} else {
		emit_register_op(
			c, g->operands[0].size == 64, 0x89, SCRATCH_ADDR, host_register(guest));
	}
}

/* --- putting it together --- */

static void translate_identical(struct translator *t, unsigned i)
{
	const struct guest_insn *g = &t->insn[i];

	if (g->memory)
		emit_access(t, &(struct access){.insn = i,
				       .size = g->memory_size,
				       .write = g->writes_memory,
				       .memory = g->memory,
				       .op = emit_identical});
	else
		emit_identical(t, i, at_register(NO_REGISTER, 0));
}

static void translate_nop(struct translator *t, unsigned i)
{
}

static void translate_jcc(struct translator *t, unsigned i)
{
	emit_branch(t, i, t->insn[i].in.opcode & 15, branch_target(&t->insn[i]));
}

static void translate_jmp(struct translator *t, unsigned i)
{
	emit_branch(t, i, ALWAYS, branch_target(&t->insn[i]));
}

static void translate_stack_move(struct translator *t, unsigned i)
{
	if (!stack_translate(t, i))
		translate_stack_set(t, i);
}

/* By the interpreter, then on in the unit. To be verified, each such instruction ends the unit. */
void translate_interpret(struct translator *t, unsigned i)
{
	emit_interpret(t, i, !t->bt->options.verify);
}

static void translate_end(struct translator *t, unsigned i)
{
	emit_interpret(t, i, false);
}

static void translate_string(struct translator *t, unsigned i)
{
	if (!string_translate(t, i))
		translate_interpret(t, i);
}

#define RSP_CHANGES   "RSP changes: which window is the stack in?"
#define TRANSFERS     "control transfer: RIP is not the guest's"
#define VIRTUAL_STATE "about the virtual processor's own state"

/* Designated, for clang to see that the other members are left out on purpose. */
#define KIND(recognise_, translate_, reason_, ...)                                                 \
	{                                                                                          \
		.recognise = (recognise_), .translate = (translate_), .reason = (reason_),         \
		##__VA_ARGS__                                                                      \
	}

const struct guest_kind_row guest_kinds[] = {
	[GUEST_IDENTICAL] = KIND(NULL, translate_identical, NULL),
	[GUEST_LEA] = KIND(recognise_lea, translate_lea, NULL),
	[GUEST_NOP] = KIND(recognise_hint, translate_nop, "a hint"),
	[GUEST_PUSH] = KIND(recognise_push_pop, translate_push, NULL, .stack = true),
	[GUEST_POP] = KIND(recognise_push_pop, translate_pop, NULL, .stack = true),
	[GUEST_LEAVE] = KIND(recognise_leave, translate_leave, NULL),
	[GUEST_STACK_ALU] = KIND(recognise_stack_write, translate_stack_alu, RSP_CHANGES),
	[GUEST_STACK_SET] = KIND(recognise_mov, translate_stack_move, RSP_CHANGES),
	[GUEST_JCC] = KIND(recognise_jcc, translate_jcc, TRANSFERS, .direct = true),
	[GUEST_JRCXZ] = KIND(recognise_jcc, translate_jrcxz, TRANSFERS, .direct = true),
	[GUEST_LOOP] = KIND(recognise_jcc, translate_loop, TRANSFERS, .direct = true),
	[GUEST_JMP] =
		KIND(recognise_branch, translate_jmp, TRANSFERS, .ends = true, .direct = true),
	[GUEST_JMP_INDIRECT] = KIND(NULL, translate_jmp_indirect, TRANSFERS, .ends = true),
	[GUEST_CALL] =
		KIND(recognise_branch, translate_call, TRANSFERS, .ends = true, .stack = true),
	[GUEST_CALL_INDIRECT] =
		KIND(NULL, translate_call_indirect, TRANSFERS, .ends = true, .stack = true),
	[GUEST_RET] = KIND(recognise_ret, translate_return, TRANSFERS, .ends = true, .stack = true),
	[GUEST_CLI] = KIND(
		special_for_kernel, translate_cli, "privileged: IF is the virtual processor's"),
	[GUEST_STAC] =
		KIND(special_smap, translate_stac, "privileged: AC is the virtual processor's"),
	[GUEST_CLAC] =
		KIND(special_smap, translate_clac, "privileged: AC is the virtual processor's"),
	[GUEST_STI] = KIND(special_for_kernel, translate_sti, VIRTUAL_STATE),
	[GUEST_SWAPGS] = KIND(special_for_kernel, translate_swapgs, VIRTUAL_STATE, .goes_on = true),
	[GUEST_CLD] = KIND(special_cld, translate_nop, VIRTUAL_STATE),
	[GUEST_PAUSE] = KIND(special_pause, translate_pause, VIRTUAL_STATE),
	[GUEST_PUSHFQ] = KIND(special_pushfq, translate_pushfq, VIRTUAL_STATE, .goes_on = true),
	[GUEST_RDTSC] = KIND(special_rdtsc, translate_rdtsc, VIRTUAL_STATE, .goes_on = true),
	[GUEST_RDPKRU] = KIND(special_rdpkru, translate_rdpkru, VIRTUAL_STATE),
	[GUEST_READ_BASE] = KIND(special_base, translate_read_base, VIRTUAL_STATE, .goes_on = true),
	[GUEST_WRITE_BASE] =
		KIND(special_base, translate_write_base, VIRTUAL_STATE, .goes_on = true),
	[GUEST_MOV_CR2] = KIND(NULL, translate_mov_cr2, VIRTUAL_STATE),
	[GUEST_BIT_STRING] = KIND(bit_string_recognise, translate_bit_string,
		"the bit offset moves the address", .goes_on = true),
	[GUEST_STRING] = KIND(string_recognise, translate_string,
		"its memory operands are implicit", .goes_on = true),
	[GUEST_INTERPRET] = KIND(NULL, translate_interpret, NULL, .goes_on = true),
	[GUEST_END] = KIND(NULL, translate_end, NULL, .ends = true),
};

static void translate_one(struct translator *t, unsigned i)
{
	ensure_vectors(t, i);
	guest_kinds[t->insn[i].kind].translate(t, i);
}

/* Here from the jump table, which was asked with 16 bits of the target. R10 holds all of it: is it
 * the RIP that the unit is bound to? */
static void emit_compare_rip(struct translator *t)
{
	struct code *c = &t->code;
	uint64_t rip = t->unit->rip;

	if ((int64_t)-rip == (int32_t)-rip) {
		emit_lea(c, SCRATCH, at_register(SCRATCH_ADDR, (int32_t)-rip));
	} else {
		emit_constant(c, SCRATCH, -rip);
		emit_lea(c, SCRATCH, at_sum(SCRATCH, SCRATCH_ADDR, 0));
	}
	emit_jrcxz(c, JUMP_BYTES);
	emit_jump_to(c, t->bt->glue.miss);
}

/* RCX = 0 if the page of code lies at R10 + disp. */
static void emit_compare_page(struct translator *t, unsigned number, int32_t disp)
{
	struct code *c = &t->code;

	emit_load(c, SCRATCH, at_address(&t->bt->code_map[t->mode.user][number]));
	emit_lea(c, SCRATCH, at_sum(SCRATCH, SCRATCH_ADDR, disp - 1));
}

/* Behind it lies the entry that checks nothing. Here from the jump table, and, for units that are
 * not bound to the RIP in R10, also from direct jumps: does the unit's page lie there? R10 is its
 * base then. */
static void emit_moving_entry(struct translator *t)
{
	struct code *c = &t->code;
	struct bt_unit *unit = t->unit;

	if (unit->rip)
		emit_lea(c, SCRATCH_ADDR, at_register(SCRATCH_ADDR, -(int32_t)unit->rip));
	emit_compare_page(t, unit->code_page, 0);
	add_cold(t, COLD_MISS, 0, emit_unless_rcx_zero(c), 0, NULL);
	emit_store(c, at_address(&t->bt->run.base), SCRATCH_ADDR);
}

static void emit_bound_entry(struct translator *t)
{
	struct code *c = &t->code;
	struct bt_unit *unit = t->unit;

	emit_compare_rip(t);
	unit->linked = c->at;
	emit_compare_page(t, unit->code_page, -(int32_t)(unit->rip & ~PAGE_MASK));
	add_cold(t, COLD_MISS, 0, emit_unless_rcx_zero(c), 0, NULL);
	if (t->mode.user)
		emit_store_constant(c, at_address(&t->bt->run.base), 0);
}

/* The page was not where it was: say which unit it is, for that is mostly the right one. */
static void emit_cold_miss(struct translator *t)
{
	struct code *c = &t->code;

	if (!t->unit->mode.bound && t->unit->rip)
		emit_lea(c, SCRATCH_ADDR, at_register(SCRATCH_ADDR, (int32_t)t->unit->rip));
	emit_constant(c, SCRATCH, cache_next_unit(t->bt) + 1);
	emit_jump_to(c, t->bt->glue.miss_unit);
}

/* Who comes here knows that the first page is the unit's. Is the next one what the instruction was
 * made of? */
static void emit_compare_second(struct translator *t)
{
	struct bt_unit *unit = t->unit;

	if (unit->second == UNIT_ONE_PAGE)
		return;
	mark(t, 0, MARK_AFTER);
	emit_rip(t, SCRATCH_ADDR, (unit->rip | ~PAGE_MASK) + 1);
	emit_compare_page(t, cache_code_page(t->bt, unit->second >> PAGE_SHIFT), 0);
	add_cold(t, COLD_EXIT, 0, emit_unless_rcx_zero(&t->code), add_exit(t, BT_EXIT_SECOND, 0),
		NULL);
	mark(t, 0, MARK_BEFORE);
}

/* Add to the count of instructions run. The entry counts all of the unit's; `more` is negative at a
 * side exit, which takes back those that were not run. */
static void emit_count(struct translator *t, int32_t more)
{
	struct code *c = &t->code;

	if (!t->bt->options.count)
		return;
	emit_load(c, SCRATCH, at_address(&t->bt->run.count));
	emit_lea(c, SCRATCH, at_register(SCRATCH, more));
	emit_store(c, at_address(&t->bt->run.count), SCRATCH);
}

static void emit_uncount(struct translator *t, unsigned insn)
{
	emit_count(t, -(int32_t)(t->count - 1 - insn));
}

/* The access was made out of line, by the table. The code behind the instruction relies on the
 * check that has failed here, so control goes on in another unit. */
static void emit_leave_after(struct translator *t, unsigned insn)
{
	emit_uncount(t, insn);
	emit_link(t, insn, guest_next(&t->insn[insn]));
}

/* What the entry has counted too much is taken back, also after the branch has become a jump. */
static void emit_uncounted_branch(struct translator *t, const struct cold *cold)
{
	if (!t->bt->options.count)
		return;
	emit_uncount(t, cold->insn);
	exit_of(t, cold->id)->patch = emit_jump_on(&t->code);
}

static void emit_cold(struct translator *t)
{
	struct code *c = &t->code;

	for (unsigned i = 0; i < t->cold_count && !c->full; i++) {
		const struct cold *cold = &t->cold[i];

		emit_patch(t->bt, cold->patch, c->at);
		t->mode = cold->mode;
		switch (cold->kind) {
		case COLD_EXIT: {
			const struct bt_exit *exit = exit_of(t, cold->id);

			mark(t, cold->insn,
				exit->kind == BT_EXIT_SOFT_MISS || exit->kind == BT_EXIT_MATURE ||
						exit->kind == BT_EXIT_SECOND ||
						exit->kind == BT_EXIT_INTERPRET
					? MARK_BEFORE
					: MARK_AFTER);
			if (exit->kind == BT_EXIT_BRANCH)
				emit_uncounted_branch(t, cold);
			emit_exit(t, cold->id);
			break;
		}
		case COLD_TABLE:
			mark(t, cold->insn, MARK_BEFORE);
			emit_access_table(t, cold);
			mark(t, cold->insn, MARK_AFTER);
			if (cold->resume)
				emit_jump_to(c, cold->resume);
			else
				emit_leave_after(t, cold->insn);
			break;
		case COLD_JUMP:
			mark(t, cold->insn, MARK_AFTER);
			emit_uncount(t, cold->insn);
			emit_link(t, cold->insn, cold->rip);
			break;
		case COLD_MISS:
			mark(t, cold->insn, MARK_AFTER);
			emit_cold_miss(t);
			break;
		case COLD_VECTORS:
			mark(t, cold->insn, MARK_BEFORE);
			emit_constant(c, SCRATCH_ADDR, cold->resume);
			emit_jump_memory(c,
				at_address(cold->id == VECTORS_WIDE ? &t->bt->glue.load_wide
								    : &t->bt->glue.load_vectors));
			break;
		}
	}
}

/* The mode at each instruction: STAC and CLAC change it. */
static void find_modes(struct translator *t)
{
	struct bt_mode mode = t->mode;

	for (unsigned i = 0; i < t->count; i++) {
		t->insn_mode[i] = mode;
		if (t->insn[i].kind == GUEST_STAC)
			mode.ac = true;
		else if (t->insn[i].kind == GUEST_CLAC)
			mode.ac = false;
	}
}

/* Where a slot has no window yet, it will be in the home zone if the space has a place for it. */
static uint32_t expected_zone(const struct translator *t, uint16_t slot)
{
	uint8_t zone = t->bt->zone[slot];

	if (!t->mode.user)
		return slot;
	if (zone != NO_ZONE)
		return zone;
	return windows_home_has(t->bt, slot) ? ZONE_HOME : ZONE_NONE;
}

/* The instructions of loops within the unit, a bit for each. */
static uint64_t in_loops(const struct translator *t)
{
	uint64_t in = 0;

	for (unsigned back = 0; back < t->count; back++) {
		const struct guest_insn *g = &t->insn[back];
		int head = -1;

		if (guest_kinds[g->kind].direct)
			head = unit_index(t, branch_target(g));
		if (head >= 0 && head <= (int)back)
			in |= (BIT(back) - BIT(head)) | BIT(back);
	}
	return in;
}

/* Predict the zones of memory operands. Registers usually still hold what they held when the code
 * ran last. In a loop that pays: what the first turn has checked, the others need not. Elsewhere to
 * ask the table takes fewer bytes, and a large program is slow because it has so many. */
static void predict_zones(struct translator *t)
{
	uint64_t predicted = t->bt->options.predict ? ~UINT64_C(0) : in_loops(t);

	for (unsigned i = 0; i < t->count; i++) {
		const struct guest_insn *g = &t->insn[i];
		struct isa_address address;

		t->zones[i] = ZONE_NONE;
		if (predicted & BIT(i) && g->memory && windowed(t) &&
			isa_address(&g->in, g->memory, t->base + guest_next(g), &address))
			t->zones[i] = expected_zone(t, SLOT_OF(isa_linear(t->cpu, &address)));
	}
}

/* In a young address space, count down how often its code runs. */
static void emit_young_count(struct translator *t, unsigned i)
{
	struct code *c = &t->code;

	if (!t->mode.user || windowed(t) || !t->bt->windows)
		return;
	emit_load(c, SCRATCH, at_address(&t->bt->run.young_left));
	emit_lea(c, SCRATCH, at_register(SCRATCH, -1));
	emit_store(c, at_address(&t->bt->run.young_left), SCRATCH);
	emit_skip_unless_rcx_zero(c, JUMP_BYTES);
	add_cold(t, COLD_EXIT, i, emit_jump(c), add_exit(t, BT_EXIT_MATURE, i), NULL);
}

static void emit_insn(struct translator *t, unsigned i)
{
	if (!windowed(t)) {
		if (t->insn[i].target)
			t->facts = (struct facts){0};
	} else if (t->joined & BIT(i)) {
		facts_meet(&t->facts, &t->join[i]);
	}
	t->here = t->code.at;
	mark(t, i, MARK_BEFORE);
	if (i == 0 || t->insn[i].target)
		emit_young_count(t, i);
	translate_one(t, i);
	facts_after(t, &t->facts, i);
}

/* After the last instruction control goes on to the next in memory. */
static void emit_way_on(struct translator *t, unsigned last)
{
	if (guest_kinds[t->insn[last].kind].ends)
		return;
	mark(t, last, MARK_AFTER);
	emit_branch(t, last, ALWAYS, guest_next(&t->insn[last]));
}

static void patch_forward(struct translator *t, unsigned first)
{
	for (unsigned i = first; i < t->forward_count && !t->code.full; i++) {
		const struct forward *f = &t->forward[i];

		if (!f->loop)
			emit_patch(t->bt, f->patch,
				f->inside ? t->host_again[f->insn] : t->host[f->insn]);
	}
}

/* The second code of a loop. */
static void emit_loop(struct translator *t, struct loop *loop)
{
	unsigned first = t->forward_count;

	t->inside = loop;
	t->facts = loop->start;
	t->joined = 0;
	t->mode = t->insn_mode[loop->head];
	loop->host = t->code.at;
	for (unsigned i = loop->head; i <= loop->back && !t->code.full && !t->failed; i++) {
		t->host_again[i] = t->code.at;
		emit_insn(t, i);
	}
	if (loop->back + 1 < t->count && !guest_kinds[t->insn[loop->back].kind].ends &&
		facts_include(&t->facts, &loop->end)) {
		mark(t, loop->back, MARK_AFTER);
		emit_jump_to(&t->code, t->host[loop->back + 1]);
	} else {
		emit_way_on(t, loop->back);
	}
	patch_forward(t, first);
	t->inside = NULL;
}

static void emit_loops(struct translator *t)
{
	for (unsigned i = 0; i < t->loop_count && !t->code.full && !t->failed; i++)
		emit_loop(t, &t->loop[i]);
	for (unsigned i = 0; i < t->forward_count && !t->code.full && !t->failed; i++)
		if (t->forward[i].loop)
			emit_patch(t->bt, t->forward[i].patch, t->forward[i].loop->host);
}

/* False: there is no room, in the cache (t->code.full) or in the working space. */
static bool emit_unit(struct translator *t)
{
	struct bt_unit *unit = t->unit;
	struct code *c = &t->code;

	*c = (struct code){.bt = t->bt,
		.start = unit->code,
		.at = unit->code,
		.limit = cache_code_limit(t->bt)};
	t->mode = unit->mode;
	t->failed = false;
	t->facts = (struct facts){0};
	t->joined = 0;
	t->inside = NULL;
	t->cold_count = t->mark_count = t->forward_count = t->loop_count = 0;
	memset(t->constant, 0, sizeof(t->constant));
	find_modes(t);
	mark(t, 0, MARK_AFTER);
	if (t->mode.bound)
		emit_bound_entry(t);
	else
		emit_moving_entry(t);
	unit->entry = c->at;
	mark(t, 0, MARK_BEFORE);
	emit_compare_second(t);
	emit_count(t, (int32_t)t->count);
	for (unsigned i = 0; i < t->count && !c->full && !t->failed; i++) {
		t->host[i] = c->at;
		emit_insn(t, i);
	}
	emit_way_on(t, t->count - 1);
	patch_forward(t, 0);
	unit->again = (uint16_t)(c->at - unit->code);
	emit_loops(t);
	unit->cold = (uint16_t)(c->at - unit->code);
	emit_cold(t);
	return !c->full && !t->failed;
}

static bool fill_unit(struct translator *t)
{
	struct bt_unit *unit = t->unit;
	const struct guest_insn *last = &t->insn[t->count - 1];

	unit->count = (uint16_t)t->count;
	unit->mark_count = (uint16_t)t->mark_count;
	unit->size = (uint32_t)(t->code.at - unit->code);
	unit->guest_start = (uint16_t)(unit->rip & ~PAGE_MASK);
	unit->guest_bytes = (uint16_t)(guest_next(last) - unit->rip);
	unit->insns = cache_take(t->bt, t->count * sizeof(*unit->insns));
	unit->marks = cache_take(t->bt, t->mark_count * sizeof(*unit->marks));
	unit->guest = cache_take(t->bt, unit->guest_bytes);
	if (!unit->insns || !unit->marks || !unit->guest) {
		t->bt->code.full = true;
		return false;
	}
	memcpy(unit->marks, t->marks, t->mark_count * sizeof(*unit->marks));
	memcpy(unit->guest, t->insn[0].bytes, unit->guest_bytes);
	for (unsigned i = 0; i < t->count; i++) {
		const struct guest_insn *g = &t->insn[i];

		unit->insns[i] = (struct bt_insn){.offset = (uint16_t)(g->rip & ~PAGE_MASK),
			.length = g->in.length,
			.adapted = t->adapted[i],
			.host = (uint16_t)(t->host[i] - unit->code),
			.stack = facts_uses_stack(t, i),
			.interpreted = g->kind == GUEST_INTERPRET || g->kind == GUEST_END,
			.constant = t->constant[i] != CONSTANT_TWICE ? t->constant[i] : 0,
			.constant_size = (uint8_t)(g->in.raw.imm[0].size / 8),
			.x87_before = i && x87_unrecorded(t, i - 1) ? t->insn[i - 1].fop : 0,
			.shadowed = i && t->insn[i - 1].in.mnemonic == ZYDIS_MNEMONIC_STI,
			.reason = g->reason};
		t->bt->stats.identical += g->kind == GUEST_IDENTICAL;
	}
	return true;
}

/* Where a unit's code is: in one page, or, with `second`, up to its end and on in another. */
struct source {
	uint64_t rip, key, second;
};

static void read_code(
	const struct translator *t, const struct source *source, uint8_t *to, unsigned bytes)
{
	const uint8_t *ram = t->cpu->memory->ram;
	unsigned first = MIN(bytes, (unsigned)(PAGE_SIZE - (source->key & ~PAGE_MASK)));

	memcpy(to, ram + source->key, first);
	if (bytes > first)
		memcpy(to + first, ram + source->second, bytes - first);
}

/* The unit is made in spite of a store that comes from now on, and then dropped. */
static void track_code(struct translator *t, const struct source *source, unsigned bytes)
{
	unsigned offset = (unsigned)(source->key & ~PAGE_MASK);
	unsigned first = MIN(bytes, (unsigned)PAGE_SIZE - offset);

	cache_listen(t->bt, source->key >> PAGE_SHIFT);
	memory_code_track(t->cpu->memory, source->key >> PAGE_SHIFT, offset, first);
	if (bytes == first)
		return;
	cache_listen(t->bt, source->second >> PAGE_SHIFT);
	memory_code_track(t->cpu->memory, source->second >> PAGE_SHIFT, 0, bytes - first);
}

/* The code at `source` is decoded, from `copy`, which is filled. An instruction that begins in one
 * page and ends in the next is a unit of its own. It is about to run: where its second page cannot
 * be fetched, that is its fault. False: there is nothing to make a unit of. */
static bool analyze_code(struct translator *t, struct source *source, uint8_t *copy, unsigned size)
{
	unsigned available = MIN((unsigned)(PAGE_SIZE - (source->rip & ~PAGE_MASK)), size);
	uint64_t offset = bt_mode_offset(t->mode, source->rip);
	uint64_t next = (source->rip | ~PAGE_MASK) + 1;

	read_code(t, source, copy, available);
	if (analyze(t, copy, available, offset))
		return true;
	if (t->count || !t->more || !cpu_canonical(t->cpu, next) ||
		(t->mode.code32 && next > UINT32_MAX))
		return false;
	source->second = unit_key(t->bt, next);
	if (source->second == UNIT_ONE_PAGE)
		return false;
	read_code(t, source, copy, 15);
	return analyze_one(t, copy, 15, offset);
}

struct bt_unit *translate_unit(
	struct bt *bt, uint64_t rip, uint64_t key, struct bt_mode mode, const uint8_t *adapted)
{
	struct translator *t = bt->translator;
	struct source source = {.rip = rip, .key = key, .second = UNIT_ONE_PAGE};
	uint8_t copy[UNIT_MAX_INSNS * 15], again[sizeof(copy)];
	uint64_t offset = bt_mode_offset(mode, rip);
	unsigned bytes;

	t->bt = bt;
	t->cpu = bt->cpu;
	t->mode = mode;
	t->adapted = adapted;
	t->shapes = interp_of(bt->cpu)->shapes;
	t->base = rip - offset;
	/* How much is used is known after decoding: so read, track that much, and see that it has
	 * not changed. */
	if (!analyze_code(t, &source, copy, sizeof(copy)))
		return NULL;
	bytes = (unsigned)(guest_next(&t->insn[t->count - 1]) - offset);
	track_code(t, &source, bytes);
	read_code(t, &source, again, bytes);
	if (memcmp(copy, again, bytes) != 0)
		return NULL; /* it is being written; next time */
	predict_zones(t);
	t->unit = cache_take(bt, sizeof(*t->unit));
	if (!t->unit) {
		bt->code.full = true;
		return NULL;
	}
	*t->unit =
		(struct bt_unit){.rip = offset, .key = key, .second = source.second, .mode = mode};
	/* Counting needs each pass through a unit to begin at its entry. So does comparing it with
	 * the interpreter step by step, for every second unit; others are verified with loops. */
	t->unit->code_page = (uint16_t)cache_code_page(bt, key >> PAGE_SHIFT);
	if (!t->unit->code_page || (source.second != UNIT_ONE_PAGE &&
					   !cache_code_page(bt, source.second >> PAGE_SHIFT))) {
		bt->code.full = true;
		return NULL;
	}
	t->unit->straight = bt->options.count || (bt->options.verify && bt->stats.units % 2 == 0);
	t->unit->code = t->unit->linked = t->unit->entry = cache_code_start(bt);
	t->first_exit = cache_next_exit(bt);
	/* A run that is too complicated for one unit is cut in half until a part fits. */
	for (; t->count; t->count /= 2) {
		cache_forget_exits(bt, t->first_exit);
		if (emit_unit(t))
			break;
		if (t->code.full)
			t->count = 1;
	}
	bt->code.full |= t->code.full;
	if (!t->count || !fill_unit(t)) {
		cache_forget_exits(bt, t->first_exit);
		return NULL;
	}
	cache_code_used(bt, t->code.at);
	return t->unit;
}
