/* The generator of the hotcode kernel's programs: random instructions and idioms that use no flag
 * and no result that the manuals leave undefined. */
#include "hotcode_encode.h"

static int any_condition(struct program *g)
{
	static const u16 uses[8] = {FLAG_OF, FLAG_CF, FLAG_ZF, FLAG_CF | FLAG_ZF, FLAG_SF, FLAG_PF,
		FLAG_SF | FLAG_OF, FLAG_SF | FLAG_OF | FLAG_ZF};
	int condition = below(g, 16);

	need(g, uses[condition >> 1]);
	return condition;
}

/* --- instructions; each may find that a register it needs is not free, and emit nothing --- */

static void arithmetic(struct program *g)
{
	int op = below(g, 8), size = any_size(g);
	bool writes = op != 7, logic = op == 1 || op == 4 || op == 6;
	struct opcode o = ONE(0, op * 8 | (size > 1), size);
	struct operand rm;
	int reg;

	if (op == 2 || op == 3)
		need(g, FLAG_CF);
	switch (below(g, 4)) {
	case 0: /* rm, reg */
		rm = writes ? destination(g, size) : source(g, size);
		reg = sized_register(g, size, &rm, false, &o.rex);
		o.rex |= byte_rex(size, &rm);
		o.lock = writes && rm.memory && !below(g, 3);
		encode(g, o, reg, &rm, 0);
		break;
	case 1: /* reg, rm */
		rm = source(g, size);
		reg = sized_register(g, size, &rm, writes, &o.rex);
		o.opcode |= 2;
		encode(g, o, reg, &rm, 0);
		break;
	case 2: /* rm, imm8 */
		rm = writes ? destination(g, size) : source(g, size);
		o.opcode = size == 1 ? 0x80 : 0x83;
		o.rex = byte_rex(size, &rm);
		o.lock = writes && rm.memory && !below(g, 3);
		encode(g, o, op, &rm, 1);
		byte(g, below(g, 256));
		break;
	default: /* rm, imm32 */
		rm = writes ? destination(g, size) : source(g, size);
		o.opcode = size == 1 ? 0x80 : 0x81;
		o.rex = byte_rex(size, &rm);
		encode(g, o, op, &rm, size > 4 ? 4 : size);
		immediate(g, random_u32(&g->seed), size > 4 ? 4 : size);
	}
	defines(g, STATUS_FLAGS, logic ? FLAG_AF : 0);
}

static void move(struct program *g)
{
	int size = any_size(g), reg;
	struct opcode o = ONE(0, 0x88 | (size > 1), size);
	struct operand rm;

	switch (below(g, 4)) {
	case 0:
		rm = destination(g, size);
		reg = sized_register(g, size, &rm, false, &o.rex);
		o.rex |= byte_rex(size, &rm);
		encode(g, o, reg, &rm, 0);
		return;
	case 1:
		rm = destination(g, size);
		o.opcode = 0xc6 | (size > 1);
		o.rex = byte_rex(size, &rm);
		encode(g, o, 0, &rm, size > 4 ? 4 : size);
		immediate(g, random_u32(&g->seed), size > 4 ? 4 : size);
		return;
	default:
		rm = source(g, size);
		o.opcode |= 2;
		reg = sized_register(g, size, &rm, true, &o.rex);
		encode(g, o, reg, &rm, 0);
	}
}

/* MOV between RAX and an absolute address of 64 bits. */
static void move_absolute(struct program *g)
{
	int size = any_size(g), segment = below(g, 6);
	u64 target = window(g) + below(g, WINDOW_SIZE - 8);

	if (!is_free(g, RAX))
		return;
	if (segment < 2) {
		byte(g, 0x64 | segment);
		target -= segment ? GS_BASE : FS_BASE;
	}
	if (size == 2)
		byte(g, 0x66);
	if (size == 8)
		byte(g, 0x48);
	byte(g, (below(g, 2) ? 0xa0 : 0xa2) | (size > 1));
	immediate(g, target, 8);
}

static void extend(struct program *g)
{
	int from = below(g, 3), size = 2 << below(g, 3);
	struct operand rm = source(g, 1 << from);

	if (from == 2)
		encode(g, ONE(0, 0x63, 8), any_free(g), &rm, 0); /* movsxd */
	else
		encode(g, ONE(1, (below(g, 2) ? 0xb6 : 0xbe) | from, size), any_free(g), &rm, 0);
}

static void address(struct program *g)
{
	struct operand rm = memory_operand(g, 8);

	encode(g, ONE(0, 0x8d, 2 << below(g, 3)), any_free(g), &rm, 0);
}

static void unary(struct program *g)
{
	int size = any_size(g), op = below(g, 4);
	struct operand rm = destination(g, size);
	struct opcode o = ONE(0, (op < 2 ? 0xfe : 0xf6) | (size > 1), size);

	/* inc, dec; not, neg */
	o.rex = byte_rex(size, &rm);
	o.lock = rm.memory && !below(g, 3);
	encode(g, o, op, &rm, 0);
	if (op < 2)
		defines(g, STATUS_FLAGS & ~FLAG_CF, 0);
	if (op == 3)
		defines(g, STATUS_FLAGS, 0);
}

static void shift(struct program *g)
{
	static const u8 ops[] = {0, 1, 2, 3, 4, 5, 7};
	int size = any_size(g), op = ops[below(g, 7)], count;
	struct operand rm = destination(g, size);
	struct opcode o = ONE(0, 0xd2 | (size > 1), size);
	bool rotate = op < 4;

	o.rex = byte_rex(size, &rm);
	if (op == 2 || op == 3)
		need(g, FLAG_CF);
	switch (below(g, 3)) {
	case 0: /* by CL, which may be 0 */
		encode(g, o, op, &rm, 0);
		defines(g, 0,
			FLAG_OF | (rotate ? 0 : FLAG_AF) | (size < 4 && !rotate ? FLAG_CF : 0));
		return;
	case 1:
		o.opcode = 0xd0 | (size > 1);
		encode(g, o, op, &rm, 0);
		count = 1;
		break;
	default:
		o.opcode = 0xc0 | (size > 1);
		count = 1 + below(g, size * 8 - 1);
		encode(g, o, op, &rm, 1);
		byte(g, count);
	}
	if (rotate)
		defines(g, FLAG_CF | (count == 1 ? FLAG_OF : 0), count == 1 ? 0 : FLAG_OF);
	else
		defines(g, STATUS_FLAGS, FLAG_AF | (count == 1 ? 0 : FLAG_OF));
}

static void shift_double(struct program *g)
{
	int size = 4 << below(g, 2);
	struct operand rm = destination(g, size);
	struct opcode o = ONE(1, below(g, 2) ? 0xa4 : 0xac, size);

	if (below(g, 2)) {
		o.opcode |= 1;
		encode(g, o, below(g, 16), &rm, 0);
		defines(g, 0, FLAG_OF | FLAG_AF);
		return;
	}
	encode(g, o, below(g, 16), &rm, 1);
	byte(g, 2 + below(g, 29));
	defines(g, STATUS_FLAGS, FLAG_OF | FLAG_AF);
}

static void multiply(struct program *g)
{
	int size = 2 << below(g, 3);
	struct operand rm = source(g, size);

	switch (below(g, 3)) {
	case 0:
		if (!is_free(g, RAX) || !is_free(g, RDX))
			return;
		encode(g, ONE(0, 0xf7, size), 4 + below(g, 2), &rm, 0);
		break;
	case 1:
		encode(g, ONE(1, 0xaf, size), any_free(g), &rm, 0);
		break;
	default:
		encode(g, ONE(0, 0x6b, size), any_free(g), &rm, 1);
		byte(g, below(g, 256));
	}
	defines(g, FLAG_CF | FLAG_OF, FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF);
}

/* A divisor that is not 0, and a dividend of one word. */
static void divide(struct program *g)
{
	int size = 4 << below(g, 2);
	struct operand rm = memory_operand(g, size);

	if (!is_free(g, RAX) || !is_free(g, RDX))
		return;
	encode(g, ONE(0, 0x83, size), 1, &rm, 1); /* or $1 */
	byte(g, 1);
	byte(g, 0x31); /* xor %edx, %edx */
	byte(g, 0xd2);
	encode(g, ONE(0, 0xf7, size), 6, &rm, 0);
	defines(g, 0, STATUS_FLAGS);
}

static void condition(struct program *g)
{
	int condition = any_condition(g);
	struct operand rm;
	struct opcode o = ONE(1, 0x90 | condition, 1);

	if (below(g, 2)) {
		rm = destination(g, 1);
		o.rex = !rm.memory;
		encode(g, o, 0, &rm, 0);
	} else {
		rm = source(g, 8);
		encode(g, ONE(1, 0x40 | condition, 2 << below(g, 3)), any_free(g), &rm, 0);
	}
}

static void exchange(struct program *g)
{
	int size = any_size(g), reg;
	struct operand rm = destination(g, size);
	struct opcode o = ONE(0, 0x86 | (size > 1), size);

	switch (below(g, 3)) {
	case 0:
		reg = sized_register(g, size, &rm, true, &o.rex);
		o.rex |= byte_rex(size, &rm);
		encode(g, o, reg, &rm, 0);
		return;
	case 1: /* xadd */
		o.map = 1;
		o.opcode = 0xc0 | (size > 1);
		reg = sized_register(g, size, &rm, true, &o.rex);
		break;
	default: /* cmpxchg */
		if (!is_free(g, RAX))
			return;
		o.map = 1;
		o.opcode = 0xb0 | (size > 1);
		reg = sized_register(g, size, &rm, false, &o.rex);
	}
	o.rex |= byte_rex(size, &rm);
	o.lock = rm.memory && below(g, 2);
	encode(g, o, reg, &rm, 0);
	defines(g, STATUS_FLAGS, 0);
}

static void exchange_double(struct program *g)
{
	int size = cpu_has(FEATURE_CX16) ? 4 << below(g, 2) : 4;
	struct operand rm = memory_operand(g, 16);
	struct opcode o = ONE(1, 0xc7, size);

	if (!is_free(g, RAX) || !is_free(g, RDX) || (size == 8 && (rm.rm == 4) && rm.sib))
		return;
	/* 16 bytes must be aligned: only forms without an index are. */
	if (size == 8 && (!rm.rip || g->world->code != g->world->data))
		return;
	o.lock = below(g, 2);
	encode(g, o, 1, &rm, 0);
	defines(g, FLAG_ZF, 0);
}

static void bits(struct program *g)
{
	int size = 2 << below(g, 3), op = 4 + below(g, 4);
	struct operand rm = op == 4 ? source(g, size) : destination(g, size);
	struct opcode o = ONE(1, 0xba, size);

	o.lock = op != 4 && rm.memory && !below(g, 3);
	if (below(g, 2)) {
		encode(g, o, op, &rm, 1);
		byte(g, below(g, 256));
	} else {
		/* A string of bits around the operand, if that is memory. */
		struct operand offset = register_operand(any_free(g));

		encode(g, ONE(0, 0xc7, 8), 0, &offset, 4);
		immediate(g, -64 + (s64)below(g, 256), 4);
		o.opcode = 0x83 | op << 3;
		encode(g, o, offset.reg, &rm, 0);
	}
	defines(g, FLAG_CF, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF);
}

static void count_bits(struct program *g)
{
	struct opcode o = ONE(1, 0, 2 << below(g, 3));
	struct operand rm = source(g, o.size);

	o.prefix = 0xf3;
	switch (below(g, 3)) {
	case 0:
		o.opcode = 0xb8; /* popcnt */
		defines(g, STATUS_FLAGS, 0);
		break;
	case 1:
		if (!cpu_has(FEATURE(7, 0, 1, 3)))
			return;
		o.opcode = 0xbc; /* tzcnt */
		defines(g, FLAG_CF | FLAG_ZF, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF);
		break;
	default:
		if (!cpu_has(FEATURE(0x80000001, 0, 2, 5)))
			return;
		o.opcode = 0xbd; /* lzcnt */
		defines(g, FLAG_CF | FLAG_ZF, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF);
	}
	encode(g, o, any_free(g), &rm, 0);
}

/* Three operands, VEX-encoded. */
static void bmi(struct program *g)
{
	bool wide = below(g, 2);
	int size = wide ? 8 : 4, reg = any_free(g), other = below(g, 16);
	struct operand rm = source(g, size);

	if (!cpu_has(FEATURE(7, 0, 1, 3)) || !cpu_has(FEATURE(7, 0, 1, 8)))
		return;
	switch (below(g, 10)) {
	case 0: /* andn */
		encode_vex(g, 0, 2, wide, false, 0xf2, reg, other, &rm, 0);
		defines(g, FLAG_SF | FLAG_ZF | FLAG_CF | FLAG_OF, FLAG_AF | FLAG_PF);
		break;
	case 1: /* bextr */
		encode_vex(g, 0, 2, wide, false, 0xf7, reg, other, &rm, 0);
		defines(g, FLAG_ZF | FLAG_CF | FLAG_OF, FLAG_AF | FLAG_PF | FLAG_SF);
		break;
	case 2: /* blsr, blsmsk, blsi */
		encode_vex(g, 0, 2, wide, false, 0xf3, 1 + below(g, 3), reg, &rm, 0);
		defines(g, FLAG_SF | FLAG_ZF | FLAG_CF | FLAG_OF, FLAG_AF | FLAG_PF);
		break;
	case 3: /* bzhi */
		encode_vex(g, 0, 2, wide, false, 0xf5, reg, other, &rm, 0);
		defines(g, FLAG_SF | FLAG_ZF | FLAG_CF | FLAG_OF, FLAG_AF | FLAG_PF);
		break;
	case 4: /* pext, pdep */
		encode_vex(g, 2 + below(g, 2), 2, wide, false, 0xf5, reg, other, &rm, 0);
		break;
	case 5: /* shlx, sarx, shrx */
		encode_vex(g, 1 + below(g, 3), 2, wide, false, 0xf7, reg, other, &rm, 0);
		break;
	case 6: /* rorx */
		encode_vex(g, 3, 3, wide, false, 0xf0, reg, 0, &rm, 1);
		byte(g, below(g, 64));
		break;
	case 7: /* adcx, adox */
		if (cpu_has(FEATURE(7, 0, 1, 19))) {
			struct opcode o = ONE(2, 0xf6, size);

			o.prefix = below(g, 2) ? 0x66 : 0xf3;
			need(g, STATUS_FLAGS);
			encode(g, o, reg, &rm, 0);
		}
		break;
	default: /* mulx */
		if (is_free(g, other) && other != reg)
			encode_vex(g, 3, 2, wide, false, 0xf6, reg, other, &rm, 0);
	}
}

static void swap_bytes(struct program *g)
{
	int size = 2 << below(g, 3);
	struct operand rm = memory_operand(g, size);

	if (below(g, 2)) {
		int reg = any_free(g);

		byte(g, 0x40 | below(g, 2) << 3 | reg >> 3);
		byte(g, 0x0f);
		byte(g, 0xc8 | (reg & 7));
	} else if (cpu_has(FEATURE(1, 0, 2, 22))) {
		if (below(g, 2))
			encode(g, ONE(2, 0xf0, size), any_free(g), &rm, 0);
		else
			encode(g, ONE(2, 0xf1, size), below(g, 16), &rm, 0);
	}
}

static void push_register(struct program *g, int reg)
{
	if (reg >> 3)
		byte(g, 0x41);
	byte(g, 0x50 | (reg & 7));
}

static void pop_register(struct program *g, int reg)
{
	if (reg >> 3)
		byte(g, 0x41);
	byte(g, 0x58 | (reg & 7));
}

/* Something pushed, and popped elsewhere. */
static void push_pop(struct program *g)
{
	struct operand rm = memory_operand(g, 8);

	switch (below(g, 5)) {
	case 0:
		push_register(g, below(g, 16)); /* RSP, too */
		break;
	case 1:
		encode(g, ONE(0, 0xff, 4), 6, &rm, 0);
		break;
	case 2:
		byte(g, 0x6a);
		byte(g, below(g, 256));
		break;
	case 3:
		byte(g, 0x68);
		immediate(g, random_u32(&g->seed), 4);
		break;
	default:
		need(g, STATUS_FLAGS);
		byte(g, 0x9c);
	}
	rm = memory_operand(g, 8);
	if (below(g, 2))
		encode(g, ONE(0, 0x8f, 4), 0, &rm, 0);
	else
		pop_register(g, any_free(g));
}

/* The flags through LAHF and SAHF, PUSHF and POPF, and one by one. */
static void flags(struct program *g)
{
	static const u8 ops[] = {0xf5, 0xf8, 0xf9};

	switch (below(g, 4)) {
	case 0:
		if (!is_free(g, RAX))
			return;
		need(g, STATUS_FLAGS);
		byte(g, 0x9f); /* lahf */
		return;
	case 1:
		need(g, STATUS_FLAGS);
		byte(g, 0x9e); /* sahf */
		return;
	case 2:
		need(g, STATUS_FLAGS);
		byte(g, 0x9c);
		compare(g);
		byte(g, 0x9d);
		return;
	default:
		need(g, FLAG_CF);
		byte(g, ops[below(g, 3)]);
	}
}

static void convert(struct program *g)
{
	if (!is_free(g, RAX) || !is_free(g, RDX))
		return;
	if (below(g, 2))
		byte(g, below(g, 2) ? 0x66 : 0x48);
	byte(g, 0x98 + below(g, 2)); /* cbw, cwd and their like */
}

/* --- control flow --- */

static void simple(struct program *g);

/* One instruction with a byte before it that says how long it is. */
static void over(struct program *g)
{
	u8 *length = g->p++;

	simple(g);
	*length = g->p - length - 1;
}

static void branch(struct program *g)
{
	u32 defined;

	byte(g, 0x70 | any_condition(g));
	defined = g->defined;
	over(g);
	g->defined &= defined;
}

static void loop(struct program *g)
{
	u8 *start;
	u16 fixed = g->fixed;

	if (!is_free(g, RCX))
		return;
	byte(g, 0xb9); /* mov $n, %ecx */
	immediate(g, 1 + below(g, 4), 4);
	g->fixed |= 1 << RCX;
	/* What one round leaves undefined, the next must not use. */
	g->defined = 0;
	start = g->p;
	simple(g);
	byte(g, 0xe2);
	byte(g, start - g->p - 1);
	g->fixed = fixed;
}

/* A subroutine of one instruction, called over a jump, by a register, or by memory. */
static void call(struct program *g)
{
	u8 *length, *displacement;
	int way = below(g, 3), reg = any_free(g);
	struct operand rm = register_operand(reg);
	bool pops = below(g, 2);

	if (pops) {
		byte(g, 0x6a);
		byte(g, 1);
	}
	if (way) {
		/* lea sub(%rip), reg */
		byte(g, 0x48 | (reg >> 3) << 2);
		byte(g, 0x8d);
		byte(g, 0x05 | (reg & 7) << 3);
		displacement = g->p;
		g->p += 4;
		if (way == 2) {
			rm = memory_operand(g, 8);
			encode(g, ONE(0, 0x89, 8), reg, &rm, 0);
		}
	}
	if (way) {
		encode(g, ONE(0, 0xff, 4), 2, &rm, 0);
	} else {
		byte(g, 0xe8);
		displacement = g->p;
		g->p += 4;
	}
	byte(g, 0xeb);
	length = g->p++;
	*(s32 *)displacement = g->p - displacement - 4;
	simple(g);
	byte(g, pops ? 0xc2 : 0xc3);
	if (pops)
		immediate(g, 8, 2);
	*length = g->p - length - 1;
}

static void frame(struct program *g)
{
	u16 fixed = g->fixed;

	if (!is_free(g, RBP))
		return;
	g->fixed |= 1 << RBP;
	if (below(g, 2)) {
		byte(g, 0xc8); /* enter */
		immediate(g, below(g, 5) * 8, 2);
		byte(g, 0);
	} else {
		immediate(g, 0xe5894855, 4); /* push %rbp; mov %rsp, %rbp */
		immediate(g, 0x10ec8348, 4); /* sub $16, %rsp */
		defines(g, STATUS_FLAGS, 0);
	}
	simple(g);
	byte(g, 0xc9);
	g->fixed = fixed;
}

/* RSP as data, and changed by other means than push and pop. */
static void stack_pointer(struct program *g)
{
	int reg = any_free(g);
	u16 fixed = g->fixed;
	struct operand rm = register_operand(reg), sp = register_operand(RSP);

	g->fixed |= 1 << reg;
	if (below(g, 2)) {
		encode(g, ONE(0, 0x8b, 8), reg, &sp, 0);
		encode(g, ONE(0, 0x83, 8), 4, &sp, 1); /* and $-16 or -64, %rsp */
		byte(g, below(g, 2) ? 0xf0 : 0xc0);
		defines(g, STATUS_FLAGS, FLAG_AF);
		simple(g);
		encode(g, ONE(0, 0x8b, 8), RSP, &rm, 0);
	} else {
		sp = flat_operand(g);
		encode(g, ONE(0, 0x8d, 8), reg, &sp, 0);
		encode(g, ONE(0, 0x87, 8), RSP, &rm, 0); /* xchg */
		push_register(g, below(g, 16));
		encode(g, ONE(0, 0x8b, 8), RSP, &rm, 0);
	}
	g->fixed = fixed;
}

/* --- strings, vectors, x87 --- */

static void string(struct program *g)
{
	static const u8 ops[] = {0xa4, 0xa6, 0xaa, 0xac, 0xae};
	int op = ops[below(g, 5)], size = any_size(g);
	struct operand from = flat_operand(g), to = flat_operand(g);
	bool down = !below(g, 4);
	bool compares = op == 0xa6 || op == 0xae;
	int count = compares ? 1 + below(g, 4) : below(g, 5);

	if (!is_free(g, RSI) || !is_free(g, RDI) || !is_free(g, RCX) || !is_free(g, RAX))
		return;
	encode(g, ONE(0, 0x8d, 8), RSI, &from, 0);
	encode(g, ONE(0, 0x8d, 8), RDI, &to, 0);
	byte(g, 0xb9);
	immediate(g, count, 4);
	if (down)
		byte(g, 0xfd);
	if (below(g, 4))
		byte(g, compares ? 0xf2 | below(g, 2) : 0xf3);
	if (size == 2)
		byte(g, 0x66);
	if (size == 8)
		byte(g, 0x48);
	byte(g, op | (size > 1));
	if (down)
		byte(g, 0xfc);
	if (compares)
		defines(g, STATUS_FLAGS, 0);
}

static void vector(struct program *g)
{
	/* Load, store; paddd, pxor, punpcklbw, pshufb want alignment, so only registers. */
	static const u8 ops[] = {0xfe, 0xef, 0x60, 0xd4, 0xf6};
	int reg = below(g, 4), size = 4 << below(g, 2);
	struct opcode o = ONE(1, 0, 4);
	struct operand rm = memory_operand(g, 8);

	switch (below(g, 6)) {
	case 0: /* movdqu load or store */
		o.prefix = 0xf3;
		o.opcode = below(g, 2) ? 0x6f : 0x7f;
		encode(g, o, reg, &rm, 0);
		return;
	case 1:
		rm = register_operand(below(g, 4));
		o.prefix = 0x66;
		o.opcode = ops[below(g, 5)];
		encode(g, o, reg, &rm, 0);
		return;
	case 2: /* movd, movq from general registers or memory */
		rm = source(g, size);
		o.size = size;
		o.prefix = 0x66;
		o.opcode = 0x6e;
		break;
	case 3: /* and to */
		rm = destination(g, size);
		o.size = size;
		o.prefix = 0x66;
		o.opcode = 0x7e;
		break;
	case 4: /* pmovmskb */
		rm = register_operand(reg);
		o.prefix = 0x66;
		o.opcode = 0xd7;
		encode(g, o, any_free(g), &rm, 0);
		return;
	default: /* pinsrw, pcmpeq and ptest */
		rm = register_operand(below(g, 4));
		o.prefix = 0x66;
		o.map = 2;
		o.opcode = 0x17;
		encode(g, o, reg, &rm, 0);
		defines(g, STATUS_FLAGS, 0);
		return;
	}
	encode(g, o, reg, &rm, 0);
}

static void vector_avx(struct program *g)
{
	int reg = below(g, 4);
	bool is_long = below(g, 2);
	struct operand rm = memory_operand(g, 8);

	if (!run_with_avx)
		return;
	switch (below(g, 3)) {
	case 0:
		encode_vex(g, 2, 1, false, is_long, below(g, 2) ? 0x6f : 0x7f, reg, 0, &rm, 0);
		return;
	case 1: /* vxorps with memory of any alignment */
		encode_vex(g, 0, 1, false, is_long, 0x57, reg, below(g, 4), &rm, 0);
		return;
	default: /* vpinsrq */
		rm = source(g, 8);
		encode_vex(g, 1, 3, true, false, 0x22, reg, below(g, 4), &rm, 1);
		byte(g, below(g, 2));
	}
}

/* fild, an addition, and back as an integer or as a double. */
static void x87(struct program *g)
{
	struct operand rm = memory_operand(g, 8);

	encode(g, ONE(0, 0xdf, 4), 5, &rm, 0);
	rm = memory_operand(g, 8);
	encode(g, ONE(0, below(g, 2) ? 0xda : 0xde, 4), below(g, 2), &rm, 0);
	rm = memory_operand(g, 8);
	if (below(g, 2))
		encode(g, ONE(0, 0xdf, 4), 7, &rm, 0);
	else
		encode(g, ONE(0, 0xdd, 4), 3, &rm, 0);
}

static void crc(struct program *g)
{
	int size = any_size(g);
	struct operand rm = source(g, size);
	struct opcode o = ONE(2, 0xf0 | (size > 1), size);

	o.prefix = 0xf2;
	/* Without REX, byte registers from 4 on are AH to BH: as good as others. */
	encode(g, o, any_free(g), &rm, 0);
}

typedef void template_fn(struct program *g);

static template_fn *const simple_templates[] = {arithmetic, arithmetic, arithmetic, move, move,
	move, extend, address, unary, shift, shift_double, multiply, condition, condition, exchange,
	bits, count_bits, bmi, swap_bytes, push_pop, convert, vector, vector_avx, crc,
	move_absolute, exchange_double};
static template_fn *const templates[] = {
	branch, branch, loop, call, frame, stack_pointer, string, divide, flags, x87};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void simple(struct program *g)
{
	simple_templates[below(g, COUNT(simple_templates))](g);
}

void generate(
	struct program *g, u8 *code, ulong address, const struct world *world, u32 seed, int length)
{
	static const s32 biases[] = {0, 16, -64, 200, 0x12345, -0x1234560, 0x7f000000};

	*g = (struct program){
		.p = code, .start = code, .address = address, .seed = seed, .world = world};
	do {
		g->base = below(g, 16);
		g->index = below(g, 16);
	} while (g->base == RSP || g->index == RSP || g->base == g->index);
	g->fixed = 1 << RSP | 1 << g->base | 1 << g->index;
	g->bias = biases[below(g, COUNT(biases))];
	g->defined = STATUS_FLAGS;
	for (g->count = 0; g->count < length;) {
		u8 *before = g->p;

		if (below(g, 4))
			simple(g);
		else
			templates[below(g, COUNT(templates))](g);
		if (g->p == before)
			continue;
		g->starts[g->count++] = before - code;
	}
	byte(g, 0xc3);
}
