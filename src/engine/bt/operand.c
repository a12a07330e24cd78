/* How a guest's memory operand becomes a host's.
 *
 * Window mode, by the table: the slot of the address indexes bt->delta, with no branch at all.
 *
 *	rorx	rcx, base, 39		slot of the address
 *	movzx	ecx, cx
 *	mov	rcx, [delta + 8 * rcx]
 *	op	[base + rcx + disp]
 *
 * A displacement does not count: it cannot leave the window's guards. An address with an index, or
 * a large displacement, is first computed in R10. No flag is touched, so none must be known dead.
 *
 * Window mode, predicted, in loops. The translator has seen (or guesses) which slot the address
 * will be in. What one turn has checked, the others need not (facts.h):
 *
 *	lea	ecx, [rcx - slot]	after the second instruction
 *	jrcxz	1f
 *	jmp	cold			the same access by the table, out of line
 * 1:	mov	rcx, [delta + 8 * slot]
 *	op	[base + rcx + disp]
 *
 * That is a kernel's code. A program's has zones for slots (bt.h):
 *
 *	movzx	ecx, byte [zone + rcx]	after the second instruction
 *	lea	ecx, [rcx - zone]	not for the home zone
 *	...
 * 1:	op	gs:[base + disp]	the home zone; others as above, by zone_delta
 *
 * The stack: host RSP is guest RSP plus its window's delta at all times, so [rsp + disp], PUSH and
 * POP need nothing, nor does [rsp + index * 8] where the upper half of the index is known to be
 * clear. Where its slot has no window that delta leads nowhere; then these, too, may be made with
 * the soft TLB, by the address RSP - delta.
 *
 * Soft TLB:
 *
 *	lea	r10, address
 *	pext	rcx, r10, index mask
 *	mov	rcx, [minus + 8 * rcx]	minus the page that the entry is for
 *	lea	rcx, [rcx + r10 + size - 1]
 *	pext	rcx, rcx, page mask	zero: all bytes are in that page
 *	jrcxz	1f
 *	jmp	miss
 * 1:	pext	rcx, r10, index mask
 *	mov	rcx, [addend + 8 * rcx]
 *	op	[r10 + rcx]
 *
 * The jump may be mispredicted, and then the sum is any address, for a while. Hardened, the addend
 * is the host's page instead, and only the offset in the page comes from the address:
 *
 * 1:	pext	rcx, r10, index mask
 *	mov	rcx, [addend + 8 * rcx]
 *	pext	r10, r10, offset mask
 *	op	[r10 + rcx]
 *
 * and after a store, since the page may hold translated code (windows have that page read-only):
 *
 *	pext	rcx, r10, page mask	R10 is the host address here
 *	movzx	ecx, byte [flags of pages + rcx]
 *	jrcxz	1f
 *	jmp	written */
#include "engine/bt/operand.h"
#include "engine/options.h"

/* The host register where a guest register is, or NO_REGISTER. */
static int host_of(unsigned guest)
{
	switch (guest) {
	case RCX:
		return HOST_RCX;
	case R10:
	case R11:
		return NO_REGISTER;
	default:
		return (int)guest;
	}
}

void emit_stack_value(struct translator *t, unsigned to, int32_t disp)
{
	struct code *c = &t->code;

	if (!windowed(t)) {
		emit_lea_sized(c, word_size(t), to, at_register(RSP, disp));
		return;
	}
	emit_load(c, to, at_address(&t->bt->run.minus_stack_delta));
	emit_lea(c, to, at_sum(RSP, (int)to, disp));
	/* RSP cannot be an index; `to` may. */
}

void emit_set_stack(struct translator *t)
{
	struct code *c = &t->code;
	struct bt *bt = t->bt;

	if (!windowed(t)) {
		emit_move(c, RSP, SCRATCH_ADDR);
		return;
	}
	extract_field(t, EXTRACT_SLOT, SCRATCH, SCRATCH_ADDR);
	emit_load(c, SCRATCH, at_element(bt_deltas(bt, t->mode), SCRATCH));
	emit_store(c, at_address(&bt->run.stack_delta), SCRATCH);
	emit_lea(c, RSP, at_sum(SCRATCH_ADDR, SCRATCH, 0));
	emit_register_op(c, true, 0xf7, 2, SCRATCH); /* not: minus one less */
	emit_lea(c, SCRATCH, at_register(SCRATCH, 1));
	emit_store(c, at_address(&bt->run.minus_stack_delta), SCRATCH);
}

static bool is_none(ZydisRegister reg)
{
	return reg == ZYDIS_REGISTER_NONE;
}

static bool is_rip_relative(const ZydisDecodedOperand *m)
{
	return m->mem.base == ZYDIS_REGISTER_RIP || m->mem.base == ZYDIS_REGISTER_EIP;
}

/* An address known now: RIP-relative in a bound unit, or a displacement alone, with no segment base
 * to add. */
static bool constant_address(const struct translator *t, const struct guest_insn *g,
	const ZydisDecodedOperand *m, uint64_t *address)
{
	uint64_t disp = (uint64_t)m->mem.disp.value;

	if (m->mem.segment == ZYDIS_REGISTER_FS || m->mem.segment == ZYDIS_REGISTER_GS ||
		!is_none(m->mem.index))
		return false;
	if (is_rip_relative(m) && !t->mode.bound)
		return false;
	if (m->mem.base == ZYDIS_REGISTER_RIP)
		*address = guest_next(g) + disp;
	else if (m->mem.base == ZYDIS_REGISTER_EIP)
		*address = (uint32_t)(guest_next(g) + disp);
	else if (is_none(m->mem.base))
		*address = g->in.address_width == 32 ? (uint32_t)disp : disp;
	else
		return false;
	return true;
}

static uint64_t displacement(const struct guest_insn *g, const ZydisDecodedOperand *m)
{
	uint64_t disp = m->mem.disp.has_displacement ? (uint64_t)m->mem.disp.value : 0;

	return is_rip_relative(m) ? guest_next(g) + disp : disp;
}

/* 32-bit code: the operand is in a segment that has a limit below 4 GiB, or cannot be used? Then it
 * is the interpreter's. */
static void emit_check_segment(struct translator *t, const struct guest_insn *g, enum seg seg)
{
	unsigned i = (unsigned)(g - t->insn);
	uint32_t id = add_exit(t, BT_EXIT_INTERPRET, i);

	exit_of(t, id)->resume = 0;
	emit_load(&t->code, SCRATCH, at_address(&t->bt->run.segment_checked[seg == SEG_GS]));
	add_cold(t, COLD_EXIT, i, emit_unless_rcx_zero(&t->code), id, NULL);
}

void emit_linear(struct translator *t, const struct guest_insn *g, const ZydisDecodedOperand *m,
	unsigned to, bool segment)
{
	struct code *c = &t->code;
	bool wide = g->in.address_width == 64;
	uint64_t disp = displacement(g, m);
	struct host_memory sum = {.base = NO_REGISTER, .index = NO_REGISTER};
	enum seg seg = m->mem.segment == ZYDIS_REGISTER_FS   ? SEG_FS
		       : m->mem.segment == ZYDIS_REGISTER_GS ? SEG_GS
							     : SEG_NONE;

	if (segment && seg != SEG_NONE && t->mode.code32)
		emit_check_segment(t, g, seg);

	if (!is_none(m->mem.base) && !is_rip_relative(m)) {
		unsigned base = isa_gpr_number(m->mem.base);

		sum.base = (int8_t)host_of(base);
		if (base == RSP && windowed(t)) {
			emit_stack_value(t, to, 0);
			sum.base = (int8_t)to;
		} else if (sum.base == NO_REGISTER) {
			emit_load(c, to, at_address(&t->cpu->gpr[base]));
			sum.base = (int8_t)to;
		}
	}
	if (!is_none(m->mem.index)) {
		unsigned index = isa_gpr_number(m->mem.index);

		sum.index = (int8_t)host_of(index);
		sum.scale = (uint8_t)__builtin_ctz(m->mem.scale);
		if (sum.index == NO_REGISTER) {
			emit_load(c, SCRATCH, at_address(&t->cpu->gpr[index]));
			sum.index = SCRATCH;
		}
	}
	if (is_rip_relative(m)) {
		emit_rip(t, to, disp);
		if (!wide)
			emit_register_op(c, false, 0x89, to, to);
	} else if (sum.base == NO_REGISTER && sum.index == NO_REGISTER) {
		emit_constant(c, to, wide ? disp : (uint32_t)disp);
	} else {
		sum.disp = (int32_t)disp;
		emit_memory_op(c, wide, 0x8d, to, sum);
	}
	if (segment && seg != SEG_NONE) {
		emit_load(c, SCRATCH, at_address(&t->cpu->segment_base[seg]));
		emit_lea_sized(c, word_size(t), to, at_sum((int)to, SCRATCH, 0));
	}
}

static void linear_of_access(struct translator *t, const struct access *a)
{
	if (a->computed)
		return;
	if (a->memory)
		emit_linear(t, &t->insn[a->insn], a->memory, SCRATCH_ADDR, true);
	else
		emit_stack_value(t, SCRATCH_ADDR, a->disp);
}

/* --- the soft TLB --- */

struct soft_tlb *soft_tlb_of(struct translator *t)
{
	enum tlb_view view = t->mode.user ? TLB_USER
			     : t->mode.ac ? TLB_SUPERVISOR_AC
					  : TLB_SUPERVISOR;

	return &t->bt->soft_tlb[view];
}

static uint32_t sized_exit(struct translator *t, enum bt_exit_kind kind, const struct access *a)
{
	uint32_t id = add_exit(t, kind, a->insn);

	exit_of(t, id)->size = (uint8_t)a->size;
	exit_of(t, id)->write = a->write;
	exit_of(t, id)->other_faults = t->insn[a->insn].other_faults;
	exit_of(t, id)->masked = t->insn[a->insn].masked;
	return id;
}

/* The exit just added. Where the instruction goes on after its store (a call does), so does the
 * exit. */
static struct bt_exit *written_exit(struct translator *t, unsigned insn)
{
	struct bt_exit *exit = exit_of(t, t->cold[t->cold_count - 1].id);

	if (t->insn[insn].kind == GUEST_CALL)
		exit->next_rip = branch_target(&t->insn[insn]);
	else if (t->insn[insn].kind == GUEST_CALL_INDIRECT)
		exit->next_in_scratch = true;
	return exit;
}

void emit_page_flags(struct translator *t)
{
	extract_field(t, EXTRACT_PAGE, SCRATCH, SCRATCH_ADDR);
	emit_memory_op(&t->code, false, 0x0fb6, SCRATCH,
		at_register(SCRATCH, t->bt->host.flags_displacement)); /* movzx */
}

static void emit_soft(struct translator *t, const struct access *a)
{
	struct code *c = &t->code;
	struct soft_tlb *tlb = soft_tlb_of(t);
	uintptr_t patch;

	linear_of_access(t, a);
	if (t->insn[a->insn].x87)
		emit_store(c, at_address(&t->bt->run.scratch[2]), SCRATCH_ADDR);
	extract_field(t, EXTRACT_INDEX, SCRATCH, SCRATCH_ADDR);
	emit_load(c, SCRATCH, at_element(a->write ? tlb->minus_write : tlb->minus_read, SCRATCH));
	emit_lea(c, SCRATCH, at_sum(SCRATCH, SCRATCH_ADDR, (int32_t)a->size - 1));
	extract_field(t, EXTRACT_PAGE, SCRATCH, SCRATCH);
	patch = emit_unless_rcx_zero(c);
	add_cold(t, COLD_EXIT, a->insn, patch, sized_exit(t, BT_EXIT_SOFT_MISS, a), NULL);
	extract_field(t, EXTRACT_INDEX, SCRATCH, SCRATCH_ADDR);
	emit_load(c, SCRATCH, at_element(tlb->addend, SCRATCH));
	if (t->bt->options.hardened)
		extract_field(t, EXTRACT_OFFSET, SCRATCH_ADDR, SCRATCH_ADDR);
	if (!a->write) {
		a->op(t, a->insn, at_sum(SCRATCH_ADDR, SCRATCH, 0));
		return;
	}
	emit_lea(c, SCRATCH_ADDR, at_sum(SCRATCH_ADDR, SCRATCH, 0));
	a->op(t, a->insn, at_register(SCRATCH_ADDR, 0));
	mark(t, a->insn, MARK_AFTER);
	emit_page_flags(t);
	patch = emit_unless_rcx_zero(c);
	add_cold(t, COLD_EXIT, a->insn, patch, sized_exit(t, BT_EXIT_WRITTEN, a), NULL);
	written_exit(t, a->insn)->resume = c->at;
}

/* --- windows --- */

/* A base register alone, that lies in a host register and cannot have drifted: [base + disp]. */
static int simple_base(const struct guest_insn *g, const ZydisDecodedOperand *m)
{
	unsigned base;

	if (is_none(m->mem.base) || !is_none(m->mem.index) || g->in.address_width != 64 ||
		m->mem.segment == ZYDIS_REGISTER_FS || m->mem.segment == ZYDIS_REGISTER_GS ||
		m->mem.base == ZYDIS_REGISTER_RIP)
		return NO_REGISTER;
	base = isa_gpr_number(m->mem.base);
	return base == RSP ? NO_REGISTER : host_of(base);
}

/* With a larger displacement, that is the address of an array, and the register an index: then the
 * register's slot is not the address's. (It could not lead out of the guards, either.) */
#define NEAR_BASE (INT64_C(16) << 20)

/* By the slot of a register, which is near the address. */
static void emit_by_slot(struct translator *t, unsigned insn, int base, int32_t disp, access_op *op)
{
	extract_field(t, EXTRACT_SLOT, SCRATCH, (unsigned)base);
	emit_load(&t->code, SCRATCH, at_element(bt_deltas(t->bt, t->mode), SCRATCH));
	op(t, insn, at_sum(base, SCRATCH, disp));
}

static void emit_table(
	struct translator *t, unsigned insn, const ZydisDecodedOperand *m, access_op *op)
{
	int base = simple_base(&t->insn[insn], m);
	int64_t disp = m->mem.disp.value;

	if (base == NO_REGISTER || disp < -NEAR_BASE || disp > NEAR_BASE) {
		base = SCRATCH_ADDR;
		disp = 0;
		emit_linear(t, &t->insn[insn], m, SCRATCH_ADDR, true);
	}
	emit_by_slot(t, insn, base, (int32_t)disp, op);
}

void emit_access_table(struct translator *t, const struct cold *cold)
{
	emit_table(t, cold->insn, t->insn[cold->insn].memory, cold->op);
}

bool operand_is_stack(const struct guest_insn *g, const ZydisDecodedOperand *m)
{
	return m->mem.base == ZYDIS_REGISTER_RSP && is_none(m->mem.index) &&
	       g->in.address_width == 64 && m->mem.segment != ZYDIS_REGISTER_FS &&
	       m->mem.segment != ZYDIS_REGISTER_GS;
}

/* --- zones --- */

static bool is_home(const struct translator *t, unsigned zone)
{
	if (!t->mode.user)
		return t->mode.home && zone == (unsigned)t->bt->modes.kernel_home;
	return zone == ZONE_LOW ? t->mode.low_home : t->mode.home && zone == ZONE_HOME;
}

/* Where the delta of a zone is kept; of that slot, where there is none (ZONE_NONE). */
static const uint64_t *delta_of(struct translator *t, unsigned zone, uint16_t slot)
{
	if (zone == ZONE_LOW || zone == ZONE_NONE)
		return &bt_deltas(t->bt, t->mode)[zone == ZONE_LOW ? 0 : slot];
	return t->mode.user ? &t->bt->zone_delta[zone] : &t->bt->delta[1][zone];
}

/* Add a zone's delta to an address of one register: by the GS base, or in RCX. */
static void add_delta(
	struct translator *t, struct host_memory *memory, unsigned zone, uint16_t slot)
{
	memory->gs = is_home(t, zone);
	if (memory->gs)
		return;
	emit_load(&t->code, SCRATCH, at_address(delta_of(t, zone, slot)));
	if (memory->base == NO_REGISTER)
		memory->base = SCRATCH;
	else
		memory->index = SCRATCH;
}

/* RCX is a slot: zero it if that is of this zone. */
static void emit_compare_zone(struct translator *t, unsigned zone)
{
	struct code *c = &t->code;

	if (t->mode.user)
		emit_memory_op(c, false, 0x0fb6, SCRATCH,
			at_register(SCRATCH, (int32_t)(uintptr_t)t->bt->zone)); /* movzx */
	if (zone)
		emit_memory_op(
			c, false, 0x8d, SCRATCH, at_register(SCRATCH, -(int32_t)zone)); /* lea */
}

static void emit_constant_access(struct translator *t, const struct access *a, uint64_t address)
{
	struct code *c = &t->code;
	struct host_memory memory;
	uint16_t slot = SLOT_OF(address);

	if ((int64_t)address == (int32_t)address) {
		memory = at_register(NO_REGISTER, (int32_t)address);
	} else {
		emit_constant(c, SCRATCH_ADDR, address);
		memory = at_register(SCRATCH_ADDR, 0);
	}
	add_delta(t, &memory, slot == 0 ? ZONE_LOW : ZONE_NONE, slot);
	a->op(t, a->insn, memory);
}

bool operand_is_direct(
	const struct guest_insn *g, const ZydisDecodedOperand *m, struct host_memory *out)
{
	if (g->in.address_width != 64 || m->mem.segment == ZYDIS_REGISTER_FS ||
		m->mem.segment == ZYDIS_REGISTER_GS || m->mem.base == ZYDIS_REGISTER_RIP ||
		m->mem.base == ZYDIS_REGISTER_RSP)
		return false;
	return operand_is_direct_32(m, out);
}

bool operand_is_direct_32(const ZydisDecodedOperand *m, struct host_memory *out)
{
	*out = at_register(NO_REGISTER, (int32_t)m->mem.disp.value);
	if (!is_none(m->mem.base)) {
		out->base = (int8_t)host_of(isa_gpr_number(m->mem.base));
		if (out->base == NO_REGISTER)
			return false;
	}
	if (!is_none(m->mem.index)) {
		out->index = (int8_t)host_of(isa_gpr_number(m->mem.index));
		out->scale = (uint8_t)__builtin_ctz(m->mem.scale);
		if (out->index == NO_REGISTER)
			return false;
	}
	return true;
}

/* An element of an array on the stack: an index whose upper half is clear cannot lead from RSP
 * beyond the guards. */
static bool operand_is_near_stack(
	const struct translator *t, const struct guest_insn *g, struct host_memory *out)
{
	const ZydisDecodedOperand *m = g->memory;
	unsigned index;
	int host;

	if (m->mem.base != ZYDIS_REGISTER_RSP || is_none(m->mem.index) ||
		g->in.address_width != 64 || m->mem.segment == ZYDIS_REGISTER_FS ||
		m->mem.segment == ZYDIS_REGISTER_GS || t->bt->options.hardened)
		return false;
	index = isa_gpr_number(m->mem.index);
	host = host_of(index);
	if (host == NO_REGISTER || !(t->facts.narrow & BIT(index)))
		return false;
	*out = at_sum(RSP, host, (int32_t)m->mem.disp.value);
	out->scale = (uint8_t)__builtin_ctz(m->mem.scale);
	return true;
}

/* The address is known to be in `zone`, and in R10 if `computed`. */
static void emit_checked(struct translator *t, const struct access *a, unsigned zone, bool computed)
{
	const struct guest_insn *g = &t->insn[a->insn];
	struct host_memory memory;
	bool direct = operand_is_direct(g, a->memory, &memory);

	if (!direct || (!is_home(t, zone) &&
			       (memory.index != NO_REGISTER || memory.base == NO_REGISTER))) {
		if (!computed)
			emit_linear(t, g, a->memory, SCRATCH_ADDR, true);
		memory = at_register(SCRATCH_ADDR, 0);
	}
	add_delta(t, &memory, zone, 0);
	a->op(t, a->insn, memory);
}

/* Relative to RIP, in a program whose code is in its home zone. False: it must be checked. */
static bool emit_near_code(struct translator *t, const struct access *a)
{
	const struct guest_insn *g = &t->insn[a->insn];
	int64_t disp = (int64_t)displacement(g, a->memory);
	struct host_memory memory;

	if (a->memory->mem.base != ZYDIS_REGISTER_RIP || !t->mode.code_home || t->mode.bound ||
		a->memory->mem.segment == ZYDIS_REGISTER_FS ||
		a->memory->mem.segment == ZYDIS_REGISTER_GS || disp != (int32_t)disp)
		return false;
	emit_load(&t->code, SCRATCH_ADDR, at_address(&t->bt->run.base));
	memory = at_register(SCRATCH_ADDR, (int32_t)disp);
	memory.gs = true;
	a->op(t, a->insn, memory);
	return true;
}

static void emit_window(struct translator *t, const struct access *a)
{
	struct code *c = &t->code;
	const struct guest_insn *g = &t->insn[a->insn];
	int32_t disp = (int32_t)a->memory->mem.disp.value;
	unsigned zone = t->zones[a->insn];
	int base = simple_base(g, a->memory), known = -1;
	struct expression e;
	bool about = facts_expression(t, a->insn, &e);
	struct host_memory element;
	uint64_t address;
	uintptr_t patch;

	if (operand_is_stack(g, a->memory)) {
		a->op(t, a->insn, at_register(RSP, disp));
		return;
	}
	if (operand_is_near_stack(t, g, &element)) {
		a->op(t, a->insn, element);
		return;
	}
	if (constant_address(t, g, a->memory, &address)) {
		emit_constant_access(t, a, address);
		return;
	}
	if (emit_near_code(t, a))
		return;
	if (t->bt->options.hardened) {
		emit_table(t, a->insn, a->memory, a->op);
		return;
	}
	if (about)
		known = facts_zone(&t->facts, &e, disp);
	if (known >= 0) {
		emit_checked(t, a, (unsigned)known, false);
		return;
	}
	if (zone == ZONE_NONE) {
		emit_table(t, a->insn, a->memory, a->op);
		return;
	}
	if (base == NO_REGISTER)
		emit_linear(t, g, a->memory, SCRATCH_ADDR, true);
	extract_field(
		t, EXTRACT_SLOT, SCRATCH, base == NO_REGISTER ? SCRATCH_ADDR : (unsigned)base);
	emit_compare_zone(t, zone);
	patch = emit_unless_rcx_zero(c);
	emit_checked(t, a, zone, base == NO_REGISTER);
	add_cold(t, COLD_TABLE, a->insn, patch, 0, a->op);
	if (!c->full && !about)
		t->cold[t->cold_count - 1].resume = c->at;
}

/* `memory`: NULL where the address is computed. */
static bool use_soft(struct translator *t, unsigned insn, const ZydisDecodedOperand *memory)
{
	if (!windowed(t))
		return true;
	if (t->insn[insn].masked)
		return false;
	if (t->adapted[insn] >= ADAPT_FAULTS)
		return true;
	return t->mode.ac && !(memory && operand_is_stack(&t->insn[insn], memory));
}

bool stack_is_soft(const struct translator *t, unsigned i)
{
	return !windowed(t) || t->adapted[i] >= ADAPT_FAULTS;
}

void emit_soft_stack(struct translator *t, const struct access *a)
{
	emit_soft(t, a);
	if (!windowed(t))
		return;
	emit_stack_value(t, SCRATCH_ADDR, 0);
	emit_set_stack(t);
}

void emit_linear_again(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	const struct guest_insn *g = &t->insn[i];

	if (use_soft(t, i, g->memory)) {
		emit_load(c, SCRATCH, at_address(&t->bt->run.scratch[2]));
	} else {
		emit_linear(t, g, g->memory, SCRATCH_ADDR, true);
		emit_move(c, SCRATCH, SCRATCH_ADDR);
	}
}

void emit_access(struct translator *t, const struct access *a)
{
	if (use_soft(t, a->insn, a->computed ? NULL : a->memory))
		emit_soft(t, a);
	else if (a->computed)
		emit_by_slot(t, a->insn, SCRATCH_ADDR, 0, a->op);
	else
		emit_window(t, a);
}
