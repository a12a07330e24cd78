/* The stack and near branches in every mode and size: what branch.c and move.c leave out because
 * 64-bit code seldom does it. Also the instructions that 64-bit mode dropped. */
#include "engine/interp/legacy.h"
#include "cpu/segmentation.h"
#include "cpu/transfer.h"

#include <string.h>

static uint64_t stack_mask(const struct cpu *cpu)
{
	switch (cpu_stack_bits(cpu)) {
	case 64:
		return ~UINT64_C(0);
	case 32:
		return UINT32_MAX;
	default:
		return UINT16_MAX;
	}
}

static void set_stack_pointer(struct cpu *cpu, uint64_t value)
{
	uint64_t mask = stack_mask(cpu);

	if (mask == UINT32_MAX)
		cpu->gpr[RSP] = (uint32_t)value;
	else
		cpu->gpr[RSP] = (cpu->gpr[RSP] & ~mask) | (value & mask);
}

static uint64_t stack_linear(struct cpu *cpu, uint64_t pointer, unsigned size, bool write)
{
	pointer &= stack_mask(cpu);
	if (!cpu_code64(cpu))
		return segment_linear(cpu, SEG_SS, pointer, size, write);
	if (!cpu_canonical(cpu, pointer) || !cpu_canonical(cpu, pointer + size - 1))
		cpu_raise_error(cpu, VECTOR_SS, 0);
	return pointer;
}

void program_push(struct cpu *cpu, uint64_t value, unsigned size)
{
	uint64_t pointer = cpu->gpr[RSP] - size;

	slow_store(cpu, stack_linear(cpu, pointer, size, true), value, size);
	set_stack_pointer(cpu, pointer);
}

/* The value `depth` bytes above the stack's top; nothing is popped. */
uint64_t program_peek(struct cpu *cpu, unsigned depth, unsigned size)
{
	return access_load(
		cpu, stack_linear(cpu, cpu->gpr[RSP] + depth, size, false), size, ACCESS_PROGRAM);
}

void program_drop(struct cpu *cpu, uint64_t bytes)
{
	set_stack_pointer(cpu, cpu->gpr[RSP] + bytes);
}

/* --- PUSH, POP --- */

void slow_push(struct cpu *cpu, const struct insn *in)
{
	program_push(cpu,
		in->attributes & INSN_IMMEDIATE ? in->imm : operand_read(cpu, in, in->size),
		in->size);
}

/* POP to memory addressed by ESP uses its value after the pop; a fault restores it. */
void slow_pop(struct cpu *cpu, const struct insn *in)
{
	uint64_t old = cpu->gpr[RSP], value = program_peek(cpu, 0, in->size), linear;

	program_drop(cpu, in->size);
	if (in->attributes & INSN_MEMORY) {
		uint64_t new = cpu->gpr[RSP];

		linear = ea_offset(cpu, in);
		cpu->gpr[RSP] = old;
		linear = legacy_linear(cpu, in, linear, in->size, true);
		slow_store(cpu, linear, value, in->size);
		cpu->gpr[RSP] = new;
		return;
	}
	operand_write(cpu, in, value, in->size);
}

/* An address whose offset is known already, checked as ea_checked() does. */
uint64_t legacy_linear(
	struct cpu *cpu, const struct insn *in, uint64_t offset, unsigned size, bool write)
{
	if (!cpu_code64(cpu))
		return segment_linear(cpu, in->segment, offset, size, write);
	offset += cpu->segment_base[in->segment];
	check_canonical(cpu, in, offset, size);
	return offset;
}

void slow_push_segment(struct cpu *cpu, const struct insn *in)
{
	/* Only two bytes are written, but the pointer moves by the operand size. */
	uint64_t pointer = cpu->gpr[RSP] - in->size;
	uint16_t selector = cpu->segment[in->imm].selector;

	if (in->size == 8 || cpu->amd)
		slow_store(cpu, stack_linear(cpu, pointer, in->size, true), selector, in->size);
	else
		slow_store(cpu, stack_linear(cpu, pointer, 2, true), selector, 2);
	set_stack_pointer(cpu, pointer);
}

void slow_pop_segment(struct cpu *cpu, const struct insn *in)
{
	uint16_t selector = (uint16_t)program_peek(cpu, 0, 2);
	uint64_t old_mask_pointer = cpu->gpr[RSP] + in->size;

	if (in->imm == SEG_SS) {
		/* The pointer moves by the old stack size, which loading SS may change. */
		uint64_t saved = cpu->gpr[RSP];

		set_stack_pointer(cpu, old_mask_pointer);
		old_mask_pointer = cpu->gpr[RSP];
		cpu->gpr[RSP] = saved;
		segment_load(cpu, SEG_SS, selector);
		cpu->gpr[RSP] = old_mask_pointer;
		cpu->interrupt_shadow = SHADOW_MOV_SS;
		return;
	}
	segment_load(cpu, (enum seg)in->imm, selector);
	set_stack_pointer(cpu, old_mask_pointer);
}

void slow_pusha(struct cpu *cpu, const struct insn *in)
{
	uint64_t pointer = cpu->gpr[RSP];
	unsigned size = in->size;

	/* The whole frame must be writable before the first word is written. */
	access_probe_write(
		cpu, stack_linear(cpu, pointer - 8 * size, size, true), size, ACCESS_PROGRAM);
	for (unsigned i = 0; i < 8; i++) {
		uint64_t value = i == RSP ? pointer : cpu->gpr[i];

		slow_store(cpu, stack_linear(cpu, pointer - (i + 1) * size, size, true),
			bits_zero_extend(value, size), size);
	}
	set_stack_pointer(cpu, pointer - 8 * size);
}

void slow_popa(struct cpu *cpu, const struct insn *in)
{
	unsigned size = in->size;
	uint64_t values[8];

	for (unsigned i = 0; i < 8; i++)
		values[i] = program_peek(cpu, i * size, size);
	for (unsigned i = 0; i < 8; i++) {
		unsigned reg = 7 - i;

		if (reg == RSP)
			continue;
		if (size == 4)
			cpu->gpr[reg] = (uint32_t)values[i];
		else
			memcpy(&cpu->gpr[reg], &values[i], 2);
	}
	program_drop(cpu, 8 * size);
}

/* ENTER size, level (SDM vol. 2A): imm holds the size, disp the nesting level. */
void slow_enter(struct cpu *cpu, const struct insn *in)
{
	unsigned size = in->size, level = (unsigned)in->disp & 31;
	uint64_t saved = cpu->gpr[RSP], mask = stack_mask(cpu), frame;

	uint64_t pointer = saved - size;
	slow_store(cpu, stack_linear(cpu, pointer, size, true),
		bits_zero_extend(cpu->gpr[RBP], size), size);
	frame = pointer;
	for (unsigned i = 1; i < level; i++) {
		uint64_t link =
			access_load(cpu, stack_linear(cpu, cpu->gpr[RBP] - i * size, size, false),
				size, ACCESS_PROGRAM);

		pointer -= size;
		slow_store(cpu, stack_linear(cpu, pointer, size, true), link, size);
	}
	if (level > 0) {
		pointer -= size;
		slow_store(cpu, stack_linear(cpu, pointer, size, true),
			bits_zero_extend(frame & mask, size), size);
	}
	pointer -= in->imm;
	/* A write there later must not fault without the frame being undone now. */
	access_probe_write(cpu, stack_linear(cpu, pointer, size, true), size, ACCESS_PROGRAM);
	set_stack_pointer(cpu, pointer);
	if (size == 2)
		cpu->gpr[RBP] = (cpu->gpr[RBP] & ~(uint64_t)UINT16_MAX) | (frame & UINT16_MAX);
	else
		cpu->gpr[RBP] = size == 4 ? (uint32_t)frame : frame;
}

void slow_leave(struct cpu *cpu, const struct insn *in)
{
	unsigned size = in->size;
	uint64_t value = access_load(
		cpu, stack_linear(cpu, cpu->gpr[RBP], size, false), size, ACCESS_PROGRAM);

	set_stack_pointer(cpu, cpu->gpr[RBP] + size);
	if (size == 2)
		memcpy(&cpu->gpr[RBP], &value, 2);
	else
		cpu->gpr[RBP] = value;
}

/* --- near branches --- */

static void jump_near(struct cpu *cpu, uint64_t target, unsigned size)
{
	if (size == 2)
		target = (uint16_t)target;
	else if (size == 4)
		target = (uint32_t)target;
	transfer_check_near(cpu, target);
	cpu->next_rip = target;
}

/* A relative target: imm is an offset from the next instruction here. */
static uint64_t relative(const struct cpu *cpu, const struct insn *in)
{
	return cpu->next_rip + in->imm;
}

void slow_jmp(struct cpu *cpu, const struct insn *in)
{
	jump_near(cpu, relative(cpu, in), in->size);
}

void slow_jcc(struct cpu *cpu, const struct insn *in)
{
	if (condition(cpu, (unsigned)in->disp))
		jump_near(cpu, relative(cpu, in), in->size);
}

void slow_jmp_operand(struct cpu *cpu, const struct insn *in)
{
	jump_near(cpu, operand_read(cpu, in, in->size), in->size);
}

/* The target is checked before the return address is stored. */
static void call_near(struct cpu *cpu, uint64_t target, unsigned size)
{
	uint64_t back = cpu->next_rip;

	jump_near(cpu, target, size);
	program_push(cpu, back, size);
}

void slow_call(struct cpu *cpu, const struct insn *in)
{
	call_near(cpu, relative(cpu, in), in->size);
}

void slow_call_operand(struct cpu *cpu, const struct insn *in)
{
	call_near(cpu, operand_read(cpu, in, in->size), in->size);
}

void slow_ret(struct cpu *cpu, const struct insn *in)
{
	jump_near(cpu, program_peek(cpu, 0, in->size), in->size);
	program_drop(cpu, in->size + in->imm);
}

/* LOOP family and JCXZ: the counter has the address size. disp tells which: 0 LOOPNE, 1 LOOPE, 2
 * LOOP, 3 JCXZ, the low bits of the opcode. */
void slow_loop(struct cpu *cpu, const struct insn *in)
{
	uint64_t mask = in->attributes & INSN_ADDRESS_16   ? UINT16_MAX
			: in->attributes & INSN_ADDRESS_32 ? UINT32_MAX
							   : ~UINT64_C(0);
	uint64_t count = (cpu->gpr[RCX] - (in->disp == 3 ? 0 : 1)) & mask;
	bool zero = cpu->arithmetic_flags & 0x4000;
	bool taken = in->disp == 3 ? count == 0
				   : count != 0 && (in->disp == 2 || zero == (in->disp == 1));

	if (taken)
		jump_near(cpu, relative(cpu, in), in->size);
	if (in->disp == 3)
		return;
	if (mask == UINT16_MAX)
		memcpy(&cpu->gpr[RCX], &count, 2);
	else
		cpu->gpr[RCX] = count;
}

/* --- decimal arithmetic and other survivors of the 8086 (SDM vol. 2A) --- */

static void set_al_flags(struct cpu *cpu, bool carry, bool adjust)
{
	uint8_t al = (uint8_t)cpu->gpr[RAX];
	uint64_t flags = cpu_rflags(cpu) & RFLAGS_OF;

	flags |= carry ? RFLAGS_CF : 0;
	flags |= adjust ? RFLAGS_AF : 0;
	flags |= al == 0 ? RFLAGS_ZF : 0;
	flags |= al & 0x80 ? RFLAGS_SF : 0;
	flags |= __builtin_parity(al) ? 0 : RFLAGS_PF;
	cpu_set_arithmetic_flags(cpu, flags);
}

/* DAA and DAS; disp is +1 or -1. */
void slow_daa_das(struct cpu *cpu, const struct insn *in)
{
	uint8_t old = (uint8_t)cpu->gpr[RAX], al = old;
	bool carry = cpu_rflags(cpu) & RFLAGS_CF, adjust = cpu_rflags(cpu) & RFLAGS_AF;
	bool low = (al & 0xf) > 9 || adjust, high = old > 0x99 || carry;
	bool new_carry = high;

	if (low) {
		if (in->disp < 0)
			new_carry |= old < 6;
		al = (uint8_t)(al + in->disp * 6);
	}
	if (high)
		al = (uint8_t)(al + in->disp * 0x60);
	REG(guest_1, REG_OFFSET(RAX)) = al;
	set_al_flags(cpu, new_carry, low);
}

/* AAA and AAS; disp is +1 or -1. */
void slow_aaa_aas(struct cpu *cpu, const struct insn *in)
{
	bool adjust = (cpu->gpr[RAX] & 0xf) > 9 || (cpu_rflags(cpu) & RFLAGS_AF);

	if (adjust)
		REG(guest_2, REG_OFFSET(RAX)) = (uint16_t)(cpu->gpr[RAX] + in->disp * 0x106);
	REG(guest_1, REG_OFFSET(RAX)) &= 0xf;
	set_al_flags(cpu, adjust, adjust);
}

void slow_aam(struct cpu *cpu, const struct insn *in)
{
	uint8_t al = (uint8_t)cpu->gpr[RAX], base = (uint8_t)in->imm;

	if (base == 0)
		cpu_raise(cpu, VECTOR_DE);
	REG(guest_2, REG_OFFSET(RAX)) = (uint16_t)((al / base) << 8 | al % base);
	set_al_flags(cpu, false, false);
}

void slow_aad(struct cpu *cpu, const struct insn *in)
{
	uint8_t al = (uint8_t)cpu->gpr[RAX], ah = (uint8_t)(cpu->gpr[RAX] >> 8);

	REG(guest_2, REG_OFFSET(RAX)) = (uint8_t)(al + ah * (uint8_t)in->imm);
	set_al_flags(cpu, false, false);
}

void slow_salc(struct cpu *cpu, const struct insn *in)
{
	REG(guest_1, REG_OFFSET(RAX)) = cpu->arithmetic_flags & 0x100 ? 0xff : 0;
}

/* Of an index below the lower bound the processor does not read the upper one. */
void slow_bound(struct cpu *cpu, const struct insn *in)
{
	unsigned size = in->size;
	uint64_t linear = ea_checked(cpu, in, 2 * size, false);
	int64_t index = (int64_t)bits_sign_extend(REG(guest_8, in->dst), size);

	for (unsigned i = 0; i < 2; i++) {
		uint64_t bytes = access_load(cpu, linear + i * size, size, ACCESS_PROGRAM);
		int64_t bound = (int64_t)bits_sign_extend(bytes, size);

		if (i ? index > bound : index < bound)
			cpu_raise(cpu, VECTOR_BR);
	}
}

/* LDS, LES, LFS, LGS, LSS: imm is the segment register. */
void slow_load_far(struct cpu *cpu, const struct insn *in)
{
	unsigned size = in->size;
	uint64_t linear = ea_checked(cpu, in, size + 2, false);
	uint64_t offset = access_load(cpu, linear, size, ACCESS_PROGRAM);
	uint16_t selector = (uint16_t)access_load(cpu, linear + size, 2, ACCESS_PROGRAM);

	segment_load(cpu, (enum seg)in->imm, selector);
	if (in->imm == SEG_SS)
		cpu->interrupt_shadow = SHADOW_MOV_SS;
	if (size == 2)
		REG(guest_2, in->dst) = (uint16_t)offset;
	else
		REG(guest_8, in->dst) = offset;
}

/* Bits of a bit string in memory. */
struct bit_string {
	uint64_t linear; /* of the operand that holds the bit */
	uint64_t mask;   /* the bit, in it */
	unsigned size;
	enum { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT } operation;
};

static void set_carry(struct cpu *cpu, bool value)
{
	cpu->arithmetic_flags = (uint16_t)((cpu->arithmetic_flags & ~0x100) | (value ? 0x100 : 0));
}

static void change_bit(struct cpu *cpu, const void *opaque)
{
	const struct bit_string *bit = opaque;
	uint64_t value, changed;

	value = bit->operation == BIT_TEST
			? access_load(cpu, bit->linear, bit->size, ACCESS_PROGRAM)
			: access_load_for_update(cpu, bit->linear, bit->size);
	changed = bit->operation == BIT_SET     ? value | bit->mask
		  : bit->operation == BIT_RESET ? value & ~bit->mask
						: value ^ bit->mask;
	if (bit->operation != BIT_TEST)
		slow_store(cpu, bit->linear, changed, bit->size);
	set_carry(cpu, value & bit->mask);
}

/* An atomic change of the one byte that holds the bit, which no other access can tear. */
static void change_bit_locked(struct cpu *cpu, const struct bit_string *bit)
{
	unsigned number = (unsigned)__builtin_ctzll(bit->mask);
	uint8_t mask = (uint8_t)(1u << (number & 7)), old, *byte;

	access_probe_write(cpu, bit->linear, bit->size, ACCESS_PROGRAM);
	byte = access_locked_pointer(cpu, bit->linear, bit->size);
	if (!byte) {
		access_locked_work(cpu, change_bit, bit);
		return;
	}
	byte += number / 8;
	old = bit->operation == BIT_SET ? __atomic_fetch_or(byte, mask, __ATOMIC_SEQ_CST)
	      : bit->operation == BIT_RESET
		      ? __atomic_fetch_and(byte, (uint8_t)~mask, __ATOMIC_SEQ_CST)
		      : __atomic_fetch_xor(byte, mask, __ATOMIC_SEQ_CST);
	if (access_locked_written(cpu, bit->linear, bit->size))
		interp_of(cpu)->leave = true;
	set_carry(cpu, old & mask);
}

/* BT, BTS, BTR, BTC of a bit string in memory, addressed by a register: the bit offset reaches
 * beyond the operand. disp is the address's, imm the operation, as in struct bit_string. */
void slow_bit_string(struct cpu *cpu, const struct insn *in)
{
	unsigned size = in->size, shift = size == 8 ? 6 : size == 4 ? 5 : 4;
	int64_t index = (int64_t)bits_sign_extend(REG(guest_8, in->src), size);
	uint64_t mask = in->attributes & INSN_ADDRESS_16   ? UINT16_MAX
			: in->attributes & INSN_ADDRESS_32 ? UINT32_MAX
							   : ~UINT64_C(0);
	uint64_t offset = (ea_offset(cpu, in) + (uint64_t)(index >> shift) * size) & mask;
	struct bit_string bit = {.linear = legacy_linear(cpu, in, offset, size, in->imm != 0),
		.mask = BIT((uint64_t)index & (8 * size - 1)),
		.size = size,
		.operation = (unsigned)in->imm};

	if (in->attributes & INSN_LOCK)
		change_bit_locked(cpu, &bit);
	else
		change_bit(cpu, &bit);
}
