/* How the hotcode kernel's programs are encoded, and the random operands: in every form of address,
 * and all within the data window. */
#include "hotcode_encode.h"

u32 below(struct program *g, u32 limit)
{
	return (random_u32(&g->seed) >> 8) % limit;
}

void byte(struct program *g, int value)
{
	*g->p++ = value;
}

void immediate(struct program *g, u64 value, int size)
{
	for (; size; size--, value >>= 8)
		byte(g, value);
}

bool is_free(struct program *g, int reg)
{
	return !(g->fixed >> reg & 1);
}

int any_free(struct program *g)
{
	int reg;

	do
		reg = below(g, 16);
	while (!is_free(g, reg));
	return reg;
}

int any_size(struct program *g)
{
	return 1 << below(g, 4);
}

/* --- operands --- */

bool byte_rex(int size, const struct operand *rm)
{
	return size == 1 && !rm->memory && rm->reg >= 4;
}

ulong window(struct program *g)
{
	return g->world->data + DATA_AT + WINDOW;
}

static s64 segment_base(const struct operand *m)
{
	return m->segment == 0x64 ? FS_BASE : m->segment == 0x65 ? GS_BASE : 0;
}

static void set_base(struct operand *m, int base)
{
	m->rm = base & 7;
	m->rex |= base >> 3;
}

static void set_sib(struct operand *m, int base, int index, int scale)
{
	m->sib = true;
	m->rm = 4;
	m->scale_index_base = scale << 6 | (index & 7) << 3 | (base & 7);
	m->rex |= base >> 3 | (index >> 3) << 1;
}

/* The shortest form of the displacement, or a longer one. */
static void set_disp(struct program *g, struct operand *m, int base, s64 disp)
{
	disp = (s32)disp;
	m->disp = disp;
	if (!disp && (base & 7) != 5 && below(g, 2)) {
		m->mod = 0;
		m->disp_size = 0;
	} else if (disp == (int8_t)disp && below(g, 4)) {
		m->mod = 1;
		m->disp_size = 1;
	} else {
		m->mod = 2;
		m->disp_size = 4;
	}
}

static void stack_operand(struct program *g, struct operand *m)
{
	/* Below all that is pushed. */
	s64 disp = -190 + (s64)below(g, 60);

	m->segment = 0;
	m->address_32 = m->address_32 && g->world->stack == LOW_BASE;
	if (below(g, 2))
		set_sib(m, RSP, RSP, 0);
	else
		set_sib(m, RSP, g->index, below(g, 4));
	set_disp(g, m, RSP, disp);
}

struct operand memory_operand(struct program *g, int size)
{
	struct operand m = {.memory = true};
	ulong target = window(g);
	ulong base = window(g) + g->bias;
	u32 offset = 48 + below(g, 152);

	if (size == 16 || below(g, 2))
		offset &= -size;
	if (!g->flat) {
		if (!below(g, 4))
			m.segment = 0x64 | below(g, 2);
		m.address_32 = !below(g, 8);
	}
	/* Addresses of 32 bits cannot reach the upper half; the pages are below 4 GiB, too. */
	if (m.address_32)
		target = LOW_BASE + DATA_AT + WINDOW;
	target += offset - segment_base(&m);
	switch (below(g, 10)) {
	case 0:
	case 1:
	case 2:
		set_base(&m, g->base);
		if ((g->base & 7) == 4)
			set_sib(&m, g->base, RSP, below(g, 4));
		set_disp(g, &m, g->base, target - base);
		break;
	case 3:
	case 4:
		set_sib(&m, g->base, g->index, below(g, 4));
		set_disp(g, &m, g->base, target - base);
		break;
	case 5:
		set_sib(&m, g->index, g->base, 0);
		set_disp(g, &m, g->index, target - base);
		break;
	case 6: /* no base, whatever REX.B is; index */
		set_sib(&m, 5 | below(g, 2) << 3, g->index, below(g, 4));
		m.disp_size = 4;
		m.disp = target;
		break;
	case 7: /* absolute */
		set_sib(&m, 5 | below(g, 2) << 3, RSP, 0);
		m.disp_size = 4;
		m.disp = target;
		break;
	case 8:
		m.rip = true;
		m.address_32 = m.address_32 && g->world->code == LOW_BASE;
		m.rm = 5;
		m.disp_size = 4;
		m.disp = g->world->code + DATA_AT + WINDOW + offset - segment_base(&m);
		break;
	default:
		stack_operand(g, &m);
	}
	return m;
}

struct operand register_operand(int reg)
{
	return (struct operand){.reg = reg};
}

struct operand flat_operand(struct program *g)
{
	struct operand m;

	g->flat = true;
	m = memory_operand(g, 8);
	g->flat = false;
	return m;
}

struct operand source(struct program *g, int size)
{
	return below(g, 3) ? memory_operand(g, size) : register_operand(below(g, 16));
}

struct operand destination(struct program *g, int size)
{
	return below(g, 3) ? memory_operand(g, size) : register_operand(any_free(g));
}

/* --- encoding --- */

static void modrm(struct program *g, int reg, const struct operand *rm, int immediate_size)
{
	if (!rm->memory) {
		byte(g, 0xc0 | (reg & 7) << 3 | (rm->reg & 7));
		return;
	}
	byte(g, rm->mod << 6 | (reg & 7) << 3 | rm->rm);
	if (rm->sib)
		byte(g, rm->scale_index_base);
	if (rm->rip)
		immediate(g, rm->disp - (g->address + (g->p + 4 + immediate_size - g->start)), 4);
	else
		immediate(g, rm->disp, rm->disp_size);
}

static void address_prefixes(struct program *g, const struct operand *rm)
{
	if (rm->memory && rm->segment)
		byte(g, rm->segment);
	if (rm->memory && rm->address_32)
		byte(g, 0x67);
}

void encode(
	struct program *g, struct opcode o, int reg, const struct operand *rm, int immediate_size)
{
	u8 rex = (o.size == 8) << 3 | (reg >> 3) << 2 | (rm->memory ? rm->rex : rm->reg >> 3);

	if (o.lock)
		byte(g, 0xf0);
	address_prefixes(g, rm);
	if (o.size == 2)
		byte(g, 0x66);
	if (o.prefix)
		byte(g, o.prefix);
	if (rex || o.rex)
		byte(g, 0x40 | rex);
	if (o.map)
		byte(g, 0x0f);
	if (o.map > 1)
		byte(g, o.map == 2 ? 0x38 : 0x3a);
	byte(g, o.opcode);
	modrm(g, reg, rm, immediate_size);
}

void encode_vex(struct program *g, int pp, int map, bool wide, bool is_long, int opcode, int reg,
	int vvvv, const struct operand *rm, int immediate_size)
{
	u8 rex = rm->memory ? rm->rex : rm->reg >> 3;

	address_prefixes(g, rm);
	byte(g, 0xc4);
	byte(g, (~(reg >> 3) & 1) << 7 | (~(rex >> 1) & 1) << 6 | (~rex & 1) << 5 | map);
	byte(g, wide << 7 | (~vvvv & 15) << 3 | is_long << 2 | pp);
	byte(g, opcode);
	modrm(g, reg, rm, immediate_size);
}

int sized_register(struct program *g, int size, const struct operand *rm, bool write, bool *rex)
{
	bool rm_rex = rm->memory ? rm->rex : rm->reg >= 4;

	*rex = false;
	for (;;) {
		int reg = below(g, 16);

		if (size == 1 && !rm_rex && reg >= 4 && reg < 8 && below(g, 2)) {
			if (write && !is_free(g, reg - 4))
				continue;
			return reg;
		}
		if (write && !is_free(g, reg))
			continue;
		*rex = size == 1;
		return reg;
	}
}

void defines(struct program *g, u32 flags, u32 undefined)
{
	g->defined = (g->defined | flags) & ~undefined;
}

void compare(struct program *g)
{
	struct operand rm = source(g, 8);

	encode(g, ONE(0, 0x3b, 8), below(g, 16), &rm, 0);
	defines(g, STATUS_FLAGS, 0);
}

void need(struct program *g, u32 flags)
{
	if ((g->defined & flags) != flags)
		compare(g);
}
