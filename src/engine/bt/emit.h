/* A small assembler: the host instructions that the translator itself needs.
 *
 * Code is written through one mapping and runs in another (W^X); `at` and all addresses here are
 * the executable ones. */
#ifndef VENEER_ENGINE_BT_EMIT_H
#define VENEER_ENGINE_BT_EMIT_H

#include "engine/bt/cache.h"

#include <string.h>

struct code {
	struct bt *bt;
	uintptr_t at, start, limit;
	bool full; /* ran into limit: what was emitted is worthless */
};

#define NO_REGISTER (-1)

/* A host memory operand. base == NO_REGISTER: absolute (or index only), 32-bit address. */
struct host_memory {
	int8_t base, index;
	uint8_t scale; /* 0..3 */
	bool gs;       /* with the GS base added */
	int32_t disp;
};

static inline struct host_memory at_register(int base, int32_t disp)
{
	return (struct host_memory){.base = (int8_t)base, .index = NO_REGISTER, .disp = disp};
}

static inline struct host_memory at_sum(int base, int index, int32_t disp)
{
	return (struct host_memory){.base = (int8_t)base, .index = (int8_t)index, .disp = disp};
}

/* Something of ours; it lies in the low 2 GiB. */
static inline struct host_memory at_address(const void *pointer)
{
	return (struct host_memory){
		.base = NO_REGISTER, .index = NO_REGISTER, .disp = (int32_t)(uintptr_t)pointer};
}

/* Element `index` of an array of ours with 8-byte elements. */
static inline struct host_memory at_element(const void *array, int index)
{
	return (struct host_memory){.base = NO_REGISTER,
		.index = (int8_t)index,
		.scale = 3,
		.disp = (int32_t)(uintptr_t)array};
}

static inline void emit_bytes(struct code *c, const void *bytes, unsigned size)
{
	if (unlikely(c->at + size > c->limit)) {
		c->full = true;
		return;
	}
	memcpy(cache_writable(c->bt, c->at), bytes, size);
	c->at += size;
}

static inline void emit_byte(struct code *c, unsigned value)
{
	uint8_t byte = (uint8_t)value;

	emit_bytes(c, &byte, 1);
}

static inline void emit_word(struct code *c, uint32_t value)
{
	emit_bytes(c, &value, 4);
}

/* ModRM, SIB and displacement; `reg` gives the reg field. `short_displacement` false where EVEX
 * would scale a short one. */
void emit_modrm_memory(
	struct code *c, unsigned reg, const struct host_memory *memory, bool short_displacement);

/* An instruction with a VEX prefix, as its page in the manual names it (SDM vol. 2A 3.1.1.2). */
struct vex {
	uint8_t map;    /* enum vex_map */
	uint8_t fields; /* enum vex_fields, joined */
	uint8_t opcode;
};
enum vex_map { VEX_0F = 1, VEX_0F38 = 2, VEX_0F3A = 3 };
enum vex_fields { VEX_66 = 1, VEX_F3 = 2, VEX_F2 = 3, VEX_256 = 4, VEX_W1 = 0x80 };

/* Prefix and opcode: there is no operand. */
void emit_vex_opcode(struct code *c, struct vex insn);
/* Prefix, opcode, ModRM; vvvv 0 where the instruction has no such operand. */
void emit_vex_register(struct code *c, struct vex insn, unsigned reg, unsigned vvvv, unsigned rm);
/* The operand has no base or index register above 7. */
void emit_vex_memory(
	struct code *c, struct vex insn, unsigned reg, unsigned vvvv, struct host_memory memory);

/* [REX.W] opcode /r with a memory operand; opcode may have two bytes (0x0fb7). */
void emit_memory_op(
	struct code *c, bool wide, unsigned opcode, unsigned reg, struct host_memory memory);
void emit_register_op(struct code *c, bool wide, unsigned opcode, unsigned reg, unsigned rm);

/* None of these changes a flag. Of 64 bits, where no other size is named. */
void emit_load(struct code *c, unsigned reg, struct host_memory memory);
void emit_store(struct code *c, struct host_memory memory, unsigned reg);
void emit_load_sized(struct code *c, unsigned size, unsigned reg, struct host_memory memory);
void emit_store_sized(struct code *c, unsigned size, struct host_memory memory, unsigned reg);
void emit_lea_sized(struct code *c, unsigned size, unsigned reg, struct host_memory memory);
void emit_move(struct code *c, unsigned to, unsigned from);
void emit_lea(struct code *c, unsigned reg, struct host_memory memory);
void emit_constant(struct code *c, unsigned reg, uint64_t value);
void emit_store_constant(struct code *c, struct host_memory memory, int32_t value);
void emit_jump_memory(struct code *c, struct host_memory memory);
void emit_zero_extend_16(struct code *c, unsigned to, unsigned from);

/* The next `over` bytes run only where RCX is not zero. */
void emit_jrcxz(struct code *c, uint8_t over);
/* The next `over` bytes, at least 2, run only where RCX is zero. */
void emit_skip_unless_rcx_zero(struct code *c, uint8_t over);
#define JUMP_BYTES 5 /* of emit_jump() and emit_jump_to() */
void emit_push(struct code *c, unsigned reg);
void emit_pop(struct code *c, unsigned reg);
/* The arithmetic flags to AH and AL (LAHF, SETO), and from there: ADD sets OF from AL, SAHF the
 * others. */
void emit_flags_to_rax(struct code *c);
void emit_flags_from_rax(struct code *c);
/* Put RAX and the flags aside, in memory, and back; in between RAX may be used. */
void emit_save_flags(struct code *c);
void emit_restore_flags(struct code *c);

/* The RIP that a unit of that mode knows as `rip`, to a register. */
void emit_guest_rip(struct code *c, struct bt_mode mode, unsigned reg, uint64_t rip);

/* JRCXZ over a jump: go on where RCX is zero, else to a place yet to be emitted. Returns where that
 * jump's displacement lies, for emit_patch(). */
uintptr_t emit_unless_rcx_zero(struct code *c);
uintptr_t emit_jump(struct code *c);    /* JMP rel32 to be patched */
uintptr_t emit_jump_on(struct code *c); /* the same; until then it leads to what comes next */
uintptr_t emit_jcc(struct code *c, unsigned condition); /* Jcc rel32 to be patched */
enum { CONDITION_ZERO = 4, CONDITION_NOT_ZERO = 5 };    /* conditions of Jcc, SETcc */
void emit_jump_to(struct code *c, uintptr_t target);
/* Make the rel32 at `patch` lead to `target`. */
void emit_patch(struct bt *bt, uintptr_t patch, uintptr_t target);
/* Where it leads now. */
uintptr_t emit_patch_target(const struct bt *bt, uintptr_t patch);
/* Overwrite the JUMP_BYTES at `at` with a jump to `target`. */
void emit_redirect(struct bt *bt, uintptr_t at, uintptr_t target);

/* to = a field of from, shifted down: PEXT where the host has BMI2, else shifts with the flags and
 * RAX put aside meanwhile. A unit calls extract_field(), which knows of that (unit.h). */
enum extract { EXTRACT_INDEX, EXTRACT_PAGE, EXTRACT_OFFSET, EXTRACT_SLOT };
void emit_extract(struct code *c, enum extract field, unsigned to, unsigned from);

#endif
