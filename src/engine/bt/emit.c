#include "engine/bt/emit.h"

void emit_modrm_memory(
	struct code *c, unsigned reg, const struct host_memory *memory, bool short_displacement)
{
	unsigned field = (reg & 7) << 3;
	bool sib = memory->index != NO_REGISTER || memory->base == NO_REGISTER ||
		   (memory->base & 7) == RSP;
	unsigned index = memory->index == NO_REGISTER ? 4 : memory->index & 7;
	unsigned mod;

	if (memory->base == NO_REGISTER)
		mod = 0;
	else if (!memory->disp && (memory->base & 7) != RBP)
		mod = 0;
	else if (short_displacement && memory->disp >= -128 && memory->disp < 128)
		mod = 0x40;
	else
		mod = 0x80;
	if (sib) {
		unsigned base = memory->base == NO_REGISTER ? 5 : memory->base & 7;

		emit_byte(c, mod | field | 4);
		emit_byte(c, (unsigned)memory->scale << 6 | index << 3 | base);
	} else {
		emit_byte(c, mod | field | (memory->base & 7));
	}
	if (mod == 0x40)
		emit_byte(c, (uint8_t)memory->disp);
	else if (mod == 0x80 || memory->base == NO_REGISTER)
		emit_word(c, (uint32_t)memory->disp);
}

static unsigned rex_of(bool wide, unsigned reg, int index, int base)
{
	unsigned rex = wide ? 0x48 : 0;

	if (reg & 8)
		rex |= 0x44;
	if (index != NO_REGISTER && (index & 8))
		rex |= 0x42;
	if (base != NO_REGISTER && (base & 8))
		rex |= 0x41;
	return rex;
}

static void emit_opcode(struct code *c, unsigned rex, unsigned opcode)
{
	if (rex)
		emit_byte(c, rex);
	if (opcode > 0xff)
		emit_byte(c, opcode >> 8);
	emit_byte(c, opcode);
}

void emit_memory_op(
	struct code *c, bool wide, unsigned opcode, unsigned reg, struct host_memory memory)
{
	if (memory.gs)
		emit_byte(c, 0x65);
	emit_opcode(c, rex_of(wide, reg, memory.index, memory.base), opcode);
	emit_modrm_memory(c, reg, &memory, true);
}

void emit_register_op(struct code *c, bool wide, unsigned opcode, unsigned reg, unsigned rm)
{
	emit_opcode(c, rex_of(wide, reg, NO_REGISTER, (int)rm), opcode);
	emit_byte(c, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* R, X, B and vvvv are stored inverted. */
static void emit_vex(struct code *c, struct vex insn, unsigned reg, unsigned vvvv, unsigned rm)
{
	unsigned not_rxb = (reg & 8 ? 0 : 0x80) | 0x40 | (rm & 8 ? 0 : 0x20);

	emit_bytes(c,
		(uint8_t[]){0xc4, (uint8_t)(not_rxb | insn.map),
			(uint8_t)(insn.fields | (~vvvv & 15) << 3), insn.opcode},
		4);
}

void emit_vex_opcode(struct code *c, struct vex insn)
{
	emit_vex(c, insn, 0, 0, 0);
}

void emit_vex_register(struct code *c, struct vex insn, unsigned reg, unsigned vvvv, unsigned rm)
{
	emit_vex(c, insn, reg, vvvv, rm);
	emit_byte(c, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

void emit_vex_memory(
	struct code *c, struct vex insn, unsigned reg, unsigned vvvv, struct host_memory memory)
{
	emit_vex(c, insn, reg, vvvv, 0);
	emit_modrm_memory(c, reg, &memory, true);
}

/* Of 4 or 8 bytes. */
void emit_load_sized(struct code *c, unsigned size, unsigned reg, struct host_memory memory)
{
	emit_memory_op(c, size == 8, 0x8b, reg, memory);
}

void emit_store_sized(struct code *c, unsigned size, struct host_memory memory, unsigned reg)
{
	emit_memory_op(c, size == 8, 0x89, reg, memory);
}

void emit_lea_sized(struct code *c, unsigned size, unsigned reg, struct host_memory memory)
{
	emit_memory_op(c, size == 8, 0x8d, reg, memory);
}

void emit_load(struct code *c, unsigned reg, struct host_memory memory)
{
	emit_load_sized(c, 8, reg, memory);
}

void emit_store(struct code *c, struct host_memory memory, unsigned reg)
{
	emit_store_sized(c, 8, memory, reg);
}

void emit_move(struct code *c, unsigned to, unsigned from)
{
	emit_register_op(c, true, 0x89, from, to);
}

void emit_lea(struct code *c, unsigned reg, struct host_memory memory)
{
	emit_lea_sized(c, 8, reg, memory);
}

void emit_constant(struct code *c, unsigned reg, uint64_t value)
{
	if (value <= UINT32_MAX) {
		emit_opcode(c, reg & 8 ? 0x41 : 0, 0xb8 | (reg & 7));
		emit_word(c, (uint32_t)value);
	} else if ((int64_t)value == (int32_t)value) {
		emit_register_op(c, true, 0xc7, 0, reg);
		emit_word(c, (uint32_t)value);
	} else {
		emit_opcode(c, reg & 8 ? 0x49 : 0x48, 0xb8 | (reg & 7));
		emit_bytes(c, &value, 8);
	}
}

void emit_store_constant(struct code *c, struct host_memory memory, int32_t value)
{
	emit_memory_op(c, true, 0xc7, 0, memory);
	emit_word(c, (uint32_t)value);
}

void emit_jump_memory(struct code *c, struct host_memory memory)
{
	emit_memory_op(c, false, 0xff, 4, memory);
}

void emit_zero_extend_16(struct code *c, unsigned to, unsigned from)
{
	emit_register_op(c, false, 0x0fb7, to, from);
}

void emit_jrcxz(struct code *c, uint8_t over)
{
	emit_bytes(c, (uint8_t[]){0xe3, over}, 2);
}

void emit_skip_unless_rcx_zero(struct code *c, uint8_t over)
{
	emit_jrcxz(c, 2);
	emit_bytes(c, (uint8_t[]){0xeb, over}, 2); /* jmp */
}

void emit_push(struct code *c, unsigned reg)
{
	emit_opcode(c, reg & 8 ? 0x41 : 0, 0x50 | (reg & 7));
}

void emit_pop(struct code *c, unsigned reg)
{
	emit_opcode(c, reg & 8 ? 0x41 : 0, 0x58 | (reg & 7));
}

void emit_flags_to_rax(struct code *c)
{
	emit_bytes(c, (uint8_t[]){0x9f, 0x0f, 0x90, 0xc0}, 4); /* lahf; seto al */
}

void emit_flags_from_rax(struct code *c)
{
	emit_bytes(c, (uint8_t[]){0x04, 0x7f, 0x9e}, 3); /* add al, 127; sahf */
}

uintptr_t emit_unless_rcx_zero(struct code *c)
{
	emit_jrcxz(c, JUMP_BYTES);
	return emit_jump(c);
}

uintptr_t emit_jump(struct code *c)
{
	emit_byte(c, 0xe9);
	emit_word(c, 0);
	return c->at - 4;
}

uintptr_t emit_jump_on(struct code *c)
{
	uintptr_t patch = emit_jump(c);

	if (!c->full)
		emit_patch(c->bt, patch, c->at);
	return patch;
}

uintptr_t emit_jcc(struct code *c, unsigned condition)
{
	emit_bytes(c, (uint8_t[]){0x0f, (uint8_t)(0x80 | condition)}, 2);
	emit_word(c, 0);
	return c->at - 4;
}

void emit_patch(struct bt *bt, uintptr_t patch, uintptr_t target)
{
	int32_t relative = (int32_t)(target - (patch + 4));

	memcpy(cache_writable(bt, patch), &relative, 4);
}

uintptr_t emit_patch_target(const struct bt *bt, uintptr_t patch)
{
	int32_t relative;

	memcpy(&relative, cache_writable(bt, patch), 4);
	return patch + 4 + (uintptr_t)(intptr_t)relative;
}

void emit_redirect(struct bt *bt, uintptr_t at, uintptr_t target)
{
	*(uint8_t *)cache_writable(bt, at) = 0xe9;
	emit_patch(bt, at + 1, target);
}

void emit_jump_to(struct code *c, uintptr_t target)
{
	uintptr_t patch = emit_jump(c);

	if (!c->full)
		emit_patch(c->bt, patch, target);
}

void emit_save_flags(struct code *c)
{
	emit_store(c, at_address(&c->bt->run.saved_rax), RAX);
	emit_flags_to_rax(c);
	emit_store(c, at_address(&c->bt->run.saved_flags), RAX);
}

void emit_restore_flags(struct code *c)
{
	emit_load(c, RAX, at_address(&c->bt->run.saved_flags));
	emit_flags_from_rax(c);
	emit_load(c, RAX, at_address(&c->bt->run.saved_rax));
}

/* Without BMI2: shifts change flags, so those are put aside. RAX carries them. */
static void emit_extract_shifting(
	struct code *c, unsigned left, unsigned right, unsigned to, unsigned from)
{
	if (to != from)
		emit_move(c, to, from);
	emit_save_flags(c);
	if (left) {
		emit_register_op(c, true, 0xc1, 4, to); /* shl */
		emit_byte(c, left);
	}
	emit_register_op(c, true, 0xc1, 5, to); /* shr */
	emit_byte(c, right);
	emit_restore_flags(c);
}

void emit_guest_rip(struct code *c, struct bt_mode mode, unsigned reg, uint64_t rip)
{
	if (mode.bound) {
		emit_constant(c, reg, rip);
		return;
	}
	emit_load(c, reg, at_address(&c->bt->run.base));
	if (rip)
		emit_lea_sized(c, bt_mode_word(mode), reg, at_register((int)reg, (int32_t)rip));
}

void emit_extract(struct code *c, enum extract field, unsigned to, unsigned from)
{
	static const struct vex rorx = {VEX_0F3A, VEX_F2 | VEX_W1, 0xf0};
	static const struct vex pext = {VEX_0F38, VEX_F3 | VEX_W1, 0xf5};
	struct bt *bt = c->bt;
	const uint64_t *mask = field == EXTRACT_INDEX  ? &bt->run.mask_index
			       : field == EXTRACT_PAGE ? &bt->run.mask_page
						       : &bt->run.mask_offset;

	if (!bt->host.bmi2) {
		static const uint8_t shifts[][2] = {[EXTRACT_INDEX] = {42, 54},
			[EXTRACT_PAGE] = {0, 12},
			[EXTRACT_OFFSET] = {52, 52},
			[EXTRACT_SLOT] = {9, 48}};

		emit_extract_shifting(c, shifts[field][0], shifts[field][1], to, from);
		return;
	}
	if (field == EXTRACT_SLOT) {
		emit_vex_register(c, rorx, to, 0, from);
		emit_byte(c, SLOT_SHIFT);
		emit_zero_extend_16(c, to, to);
		return;
	}
	emit_vex_memory(c, pext, to, from, at_address(mask));
}
