#include "engine/bt/facts.h"
#include "engine/bt/branch.h"
#include "engine/bt/operand.h"
#include "engine/bt/unit.h"
#include "engine/options.h"

/* How far constants may take an address from where it was last seen in its slot. What adds to it: a
 * displacement (2 GiB), a narrow index (8 * 4 GiB), and what facts_include() lets pass. */
#define DRIFT_LIMIT (INT64_C(1) << 31)
/* The same for RSP. */
#define STACK_DRIFT (INT64_C(1) << 20)

static bool same_expression(const struct expression *a, const struct expression *b)
{
	return a->base == b->base && a->index == b->index && a->scale == b->scale;
}

bool facts_expression(const struct translator *t, unsigned i, struct expression *e)
{
	const struct guest_insn *g = &t->insn[i];
	const ZydisDecodedOperand *m = g->memory;

	if (g->kind != GUEST_IDENTICAL || !m || g->masked || !windowed(t) ||
		t->bt->options.hardened || g->in.address_width != 64 ||
		m->mem.segment == ZYDIS_REGISTER_FS || m->mem.segment == ZYDIS_REGISTER_GS ||
		m->mem.base == ZYDIS_REGISTER_RIP || m->mem.base == ZYDIS_REGISTER_RSP ||
		t->adapted[i] >= ADAPT_FAULTS || t->insn_mode[i].ac)
		return false;
	*e = (struct expression){.base = -1, .index = -1};
	if (m->mem.base != ZYDIS_REGISTER_NONE)
		e->base = (int8_t)isa_gpr_number(m->mem.base);
	if (m->mem.index != ZYDIS_REGISTER_NONE) {
		e->index = (int8_t)isa_gpr_number(m->mem.index);
		e->scale = m->mem.scale;
	}
	return e->base >= 0 || e->index >= 0;
}

static const struct fact *find_fact(const struct facts *f, const struct expression *e)
{
	for (unsigned i = 0; i < MAX_FACTS; i++)
		if (f->fact[i].valid && same_expression(&f->fact[i].e, e))
			return &f->fact[i];
	return NULL;
}

static bool near(int64_t a, int64_t b)
{
	return a - b <= DRIFT_LIMIT && b - a <= DRIFT_LIMIT;
}

int facts_zone(const struct facts *f, const struct expression *e, int64_t disp)
{
	const struct fact *fact = find_fact(f, e);
	struct expression base = {.base = e->base, .index = -1};

	if (fact && near(fact->at, disp))
		return (int)fact->zone;
	if (e->index < 0 || !(f->narrow & BIT(e->index)))
		return -1;
	/* A table at a fixed low address. */
	if (e->base < 0)
		return disp >= 0 ? ZONE_LOW : -1;
	fact = find_fact(f, &base);
	return fact && near(fact->at, disp) ? (int)fact->zone : -1;
}

static void learn(struct facts *f, const struct expression *e, uint32_t zone, int64_t at)
{
	struct fact *fact = (struct fact *)find_fact(f, e);

	if (!fact)
		fact = &f->fact[f->next++ % MAX_FACTS];
	*fact = (struct fact){.e = *e, .valid = true, .zone = zone, .at = at};
}

static void forget_register(struct facts *f, int reg)
{
	for (unsigned i = 0; i < MAX_FACTS; i++)
		if (f->fact[i].e.base == reg || f->fact[i].e.index == reg)
			f->fact[i].valid = false;
}

/* The register has grown by a constant: what was known about old + at is known about new + at -
 * grown. */
static void shift(struct facts *f, int reg, int64_t grown)
{
	for (unsigned i = 0; i < MAX_FACTS; i++) {
		struct fact *fact = &f->fact[i];

		if (fact->e.base == reg)
			fact->at -= grown;
		if (fact->e.index == reg)
			fact->at -= grown * fact->e.scale;
		if (fact->at > DRIFT_LIMIT || fact->at < -DRIFT_LIMIT)
			fact->valid = false;
	}
}

/* Does the instruction add a constant to a 64-bit register, and do nothing else to it? */
static bool constant_growth(const struct guest_insn *g, int64_t *grown)
{
	const ZydisDecodedOperand *to = &g->operands[0], *from = &g->operands[1];

	if (!isa_operand_is_gpr64(to))
		return false;
	switch (g->in.mnemonic) {
	case ZYDIS_MNEMONIC_INC:
		*grown = 1;
		return true;
	case ZYDIS_MNEMONIC_DEC:
		*grown = -1;
		return true;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
		if (from->type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return false;
		*grown = g->in.mnemonic == ZYDIS_MNEMONIC_ADD ? from->imm.value.s
							      : -from->imm.value.s;
		return true;
	case ZYDIS_MNEMONIC_LEA:
		if (from->mem.base != to->reg.value || from->mem.index != ZYDIS_REGISTER_NONE ||
			g->in.address_width != 64)
			return false;
		*grown = from->mem.disp.value;
		return true;
	default:
		return false;
	}
}

/* Instructions whose 32-bit result clears the upper half whatever happens. */
static bool clears_upper_half(const struct guest_insn *g)
{
	switch (g->in.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVZX:
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_LEA:
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_DEC:
	case ZYDIS_MNEMONIC_NEG:
	case ZYDIS_MNEMONIC_NOT:
		return true;
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
		return g->operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
		       (g->operands[1].imm.value.u & 31);
	default:
		return false;
	}
}

static void forget_written(struct facts *f, const struct guest_insn *g)
{
	int64_t grown;

	for (unsigned i = 0; i < g->in.operand_count; i++) {
		const ZydisDecodedOperand *op = &g->operands[i];
		int reg;

		if (!isa_operand_is_gpr(op) || !(op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		reg = (int)isa_gpr_number(op->reg.value);
		if (i == 0 && constant_growth(g, &grown)) {
			shift(f, reg, grown);
			f->narrow &= (uint16_t)~BIT(reg);
			continue;
		}
		forget_register(f, reg);
		if (i == 0 && op->size == 32 && clears_upper_half(g))
			f->narrow |= (uint16_t)BIT(reg);
		else
			f->narrow &= (uint16_t)~BIT(reg);
	}
}

/* MOV between 64-bit registers: what was known of one is known of the other. */
static bool copy_register(struct facts *f, const struct guest_insn *g)
{
	const ZydisDecodedOperand *to = &g->operands[0], *from = &g->operands[1];
	struct expression base = {.index = -1};
	const struct fact *fact;
	int target;

	if (g->in.mnemonic != ZYDIS_MNEMONIC_MOV || !isa_operand_is_gpr64(to) ||
		!isa_operand_is_gpr64(from) || to->reg.value == from->reg.value)
		return false;
	target = (int)isa_gpr_number(to->reg.value);
	base.base = (int8_t)isa_gpr_number(from->reg.value);
	forget_register(f, target);
	if (f->narrow & BIT(base.base))
		f->narrow |= (uint16_t)BIT(target);
	else
		f->narrow &= (uint16_t)~BIT(target);
	fact = find_fact(f, &base);
	if (fact) {
		struct fact copy = *fact;

		copy.e.base = (int8_t)target;
		learn(f, &copy.e, copy.zone, copy.at);
	}
	return true;
}

bool facts_uses_stack(const struct translator *t, unsigned i)
{
	const struct guest_insn *g = &t->insn[i];

	if (stack_is_soft(t, i))
		return false;
	return guest_kinds[g->kind].stack || (g->kind == GUEST_IDENTICAL && g->memory &&
						     !g->masked && operand_is_stack(g, g->memory));
}

bool facts_touches_stack(const struct translator *t, unsigned i)
{
	return facts_uses_stack(t, i) && (guest_kinds[t->insn[i].kind].stack || t->insn[i].touches);
}

/* However often a loop moves RSP, it must be used in between: what is known of it is only how far
 * it has moved since. */
static void stack_after(const struct translator *t, struct facts *f, unsigned i)
{
	const struct guest_insn *g = &t->insn[i];
	int64_t grown;

	if (facts_touches_stack(t, i)) {
		f->stack = true;
		f->stack_at = 0;
	} else if (g->kind == GUEST_STACK_ALU && constant_growth(g, &grown)) {
		f->stack_at -= grown;
		f->stack &= f->stack_at <= STACK_DRIFT && f->stack_at >= -STACK_DRIFT;
	} else if (g->kind == GUEST_STACK_ALU || g->kind == GUEST_STACK_SET ||
		   g->kind == GUEST_LEAVE || guest_kinds[g->kind].stack) {
		f->stack = false;
	}
}

void facts_after(const struct translator *t, struct facts *f, unsigned i)
{
	const struct guest_insn *g = &t->insn[i];
	struct expression e;

	if (g->kind == GUEST_INTERPRET) {
		memset(f, 0, sizeof(*f));
		return;
	}
	f->vectors = MAX(f->vectors, g->vectors);
	stack_after(t, f, i);
	if (g->touches && facts_expression(t, i, &e)) {
		int64_t disp = g->memory->mem.disp.value;
		int zone = facts_zone(f, &e, disp);

		if (zone < 0)
			zone = (int)t->zones[i];
		if (zone != ZONE_NONE)
			learn(f, &e, (uint32_t)zone, disp);
	}
	if (!copy_register(f, g))
		forget_written(f, g);
}

void facts_meet(struct facts *f, const struct facts *other)
{
	for (unsigned i = 0; i < MAX_FACTS; i++) {
		const struct fact *same = find_fact(other, &f->fact[i].e);

		if (!same || same->zone != f->fact[i].zone || same->at != f->fact[i].at)
			f->fact[i].valid = false;
	}
	f->narrow &= other->narrow;
	f->stack &= other->stack && f->stack_at == other->stack_at;
	f->vectors = MIN(f->vectors, other->vectors);
}

void facts_join(struct facts *join, uint64_t *joined, unsigned insn, const struct facts *f)
{
	if (*joined & BIT(insn))
		facts_meet(&join[insn], f);
	else
		join[insn] = *f;
	*joined |= BIT(insn);
}

bool facts_include(const struct facts *f, const struct facts *needed)
{
	struct facts both = *needed;

	facts_meet(&both, f);
	for (unsigned i = 0; i < MAX_FACTS; i++)
		if (both.fact[i].valid != needed->fact[i].valid)
			return false;
	return both.narrow == needed->narrow && both.stack == needed->stack &&
	       both.vectors == needed->vectors;
}

void facts_walk(const struct translator *t, struct facts *f, unsigned first, unsigned last)
{
	struct facts join[UNIT_MAX_INSNS];
	uint64_t joined = 0;

	for (unsigned i = first; i <= last; i++) {
		const struct guest_insn *g = &t->insn[i];
		int target = -1;

		if (joined & BIT(i))
			facts_meet(f, &join[i]);
		facts_after(t, f, i);
		if (g->kind == GUEST_JCC || g->kind == GUEST_JRCXZ || g->kind == GUEST_LOOP)
			target = unit_index(t, branch_target(g));
		if (target <= (int)i || target > (int)last)
			continue;
		facts_join(join, &joined, (unsigned)target, f);
	}
}

void facts_of_loop(const struct translator *t, struct facts *f, unsigned head, unsigned back)
{
	for (;;) {
		struct facts end = *f;

		facts_walk(t, &end, head, back);
		if (facts_include(&end, f))
			return;
		facts_meet(f, &end);
	}
}
