/* Moving data: MOV and its relatives, the stack in 64-bit mode, and instructions that only touch
 * registers or flags. Operations that need no flag arithmetic are plain C. */
#include "engine/interp/ops.h"

#define ROW(prefix)                                                                                \
	{                                                                                          \
		prefix##_1, prefix##_2, prefix##_4, prefix##_8                                     \
	}
#define WORD_ROW(prefix)                                                                           \
	{                                                                                          \
		NULL, prefix##_2, prefix##_4, prefix##_8                                           \
	}
#define FORM_ROWS(prefix)                                                                          \
	{                                                                                          \
		ROW(prefix##_simple), ROW(prefix##_full), ROW(prefix##_legacy)                     \
	}
#define FOR_WORD_SIZES(F, ...)                                                                     \
	F(2, guest_2, __VA_ARGS__)                                                                 \
	F(4, guest_4, __VA_ARGS__)                                                                 \
	F(8, guest_8, __VA_ARGS__)

/* --- MOV --- */

#define DEFINE_MOV_REGISTER(x, T, ...)                                                             \
	static OP(mov_rr_##x)                                                                      \
	{                                                                                          \
		T result = REG(T, in->src);                                                        \
		SET_REG(T, in->dst, result);                                                       \
		NEXT;                                                                              \
	}                                                                                          \
	static OP(mov_ri_##x)                                                                      \
	{                                                                                          \
		SET_REG(T, in->dst, in->imm);                                                      \
		NEXT;                                                                              \
	}
#define DEFINE_MOV_MEMORY(x, T, form, EA)                                                          \
	static OP(mov_rm_##form##_##x)                                                             \
	{                                                                                          \
		WITH_LOAD(T, EA, SET_REG(T, in->dst, value));                                      \
	}                                                                                          \
	static OP(mov_mr_##form##_##x)                                                             \
	{                                                                                          \
		DO_STORE(T, EA, REG(T, in->src));                                                  \
	}                                                                                          \
	static OP(mov_mi_##form##_##x)                                                             \
	{                                                                                          \
		DO_STORE(T, EA, in->imm);                                                          \
	}

FOR_SIZES(DEFINE_MOV_REGISTER, )
FOR_SIZES(DEFINE_MOV_MEMORY, simple, EA_SIMPLE)
FOR_SIZES(DEFINE_MOV_MEMORY, full, EA_FULL)
FOR_SIZES(DEFINE_MOV_MEMORY, legacy, EA_LEGACY)

const struct op_forms mov_forms = {
	.rr = ROW(mov_rr),
	.ri = ROW(mov_ri),
	.rm = FORM_ROWS(mov_rm),
	.mr = FORM_ROWS(mov_mr),
	.mi = FORM_ROWS(mov_mi),
};

/* --- MOVZX, MOVSX: zx_<from>_<to> --- */

#define DEFINE_EXTEND(name, x, S, y, D, sign)                                                      \
	static OP(name##_r_##x##_##y)                                                              \
	{                                                                                          \
		D result = (D)(sign)REG(S, in->src);                                               \
		SET_REG(D, in->dst, result);                                                       \
		NEXT;                                                                              \
	}                                                                                          \
	static OP(name##_m_simple_##x##_##y)                                                       \
	{                                                                                          \
		WITH_LOAD(S, EA_SIMPLE, SET_REG(D, in->dst, (D)(sign)value));                      \
	}                                                                                          \
	static OP(name##_m_full_##x##_##y)                                                         \
	{                                                                                          \
		WITH_LOAD(S, EA_FULL, SET_REG(D, in->dst, (D)(sign)value));                        \
	}                                                                                          \
	static OP(name##_m_legacy_##x##_##y)                                                       \
	{                                                                                          \
		WITH_LOAD(S, EA_LEGACY, SET_REG(D, in->dst, (D)(sign)value));                      \
	}
#define DEFINE_EXTENDS(name, sign1, sign2, sign4)                                                  \
	DEFINE_EXTEND(name, 1, guest_1, 2, guest_2, sign1)                                         \
	DEFINE_EXTEND(name, 1, guest_1, 4, guest_4, sign1)                                         \
	DEFINE_EXTEND(name, 1, guest_1, 8, guest_8, sign1)                                         \
	DEFINE_EXTEND(name, 2, guest_2, 2, guest_2, sign2)                                         \
	DEFINE_EXTEND(name, 2, guest_2, 4, guest_4, sign2)                                         \
	DEFINE_EXTEND(name, 2, guest_2, 8, guest_8, sign2)                                         \
	DEFINE_EXTEND(name, 4, guest_4, 2, guest_2, sign4)                                         \
	DEFINE_EXTEND(name, 4, guest_4, 4, guest_4, sign4)                                         \
	DEFINE_EXTEND(name, 4, guest_4, 8, guest_8, sign4)
#define EXTEND_ROWS(prefix)                                                                        \
	{                                                                                          \
		[SIZE_1] = WORD_ROW(prefix##_1), [SIZE_2] = WORD_ROW(prefix##_2),                  \
		[SIZE_4] = WORD_ROW(prefix##_4),                                                   \
	}
#define EXTEND_FORMS(name)                                                                         \
	{                                                                                          \
		.r = EXTEND_ROWS(name##_r),                                                        \
		.m = {EXTEND_ROWS(name##_m_simple), EXTEND_ROWS(name##_m_full),                    \
			EXTEND_ROWS(name##_m_legacy)},                                             \
	}

DEFINE_EXTENDS(movzx, uint8_t, uint16_t, uint32_t)
DEFINE_EXTENDS(movsx, int8_t, int16_t, int32_t)
const struct extend_forms movzx_forms = EXTEND_FORMS(movzx);
const struct extend_forms movsx_forms = EXTEND_FORMS(movsx);

/* --- LEA, XCHG of registers, CMOVcc, SETcc --- */

#define DEFINE_REGISTER_MOVES(x, T, ...)                                                           \
	static OP(lea_simple_##x)                                                                  \
	{                                                                                          \
		SET_REG(T, in->dst, ea_simple(cpu, in));                                           \
		NEXT;                                                                              \
	}                                                                                          \
	static OP(lea_any_##x)                                                                     \
	{                                                                                          \
		uint64_t offset = ea_offset(cpu, in);                                              \
		SET_REG(T, in->dst, offset);                                                       \
		NEXT;                                                                              \
	}                                                                                          \
	static OP(cmov_rm_##x)                                                                     \
	{                                                                                          \
		/* The load is made whatever the condition; a 32-bit one always clears. */         \
		sync_rip(cpu, in);                                                                 \
		T value = (T)operand_read(cpu, in, sizeof(T));                                     \
		if (!condition(cpu, (unsigned)in->imm))                                            \
			value = REG(T, in->dst);                                                   \
		SET_REG(T, in->dst, value);                                                        \
		NEXT;                                                                              \
	}
#define DEFINE_XCHG(x, T, ...)                                                                     \
	static OP(xchg_rr_##x)                                                                     \
	{                                                                                          \
		T first = REG(T, in->dst), second = REG(T, in->src);                               \
		SET_REG(T, in->dst, second);                                                       \
		SET_REG(T, in->src, first);                                                        \
		NEXT;                                                                              \
	}
FOR_WORD_SIZES(DEFINE_REGISTER_MOVES, )
FOR_SIZES(DEFINE_XCHG, )

op_fn *const lea_simple[SIZES] = WORD_ROW(lea_simple);
op_fn *const lea_any[SIZES] = WORD_ROW(lea_any);
op_fn *const cmov_rm[SIZES] = WORD_ROW(cmov_rm);
op_fn *const xchg_rr[SIZES] = ROW(xchg_rr);

#define DEFINE_CMOV(x, T, code)                                                                    \
	static OP(cmov_##code##_##x)                                                               \
	{                                                                                          \
		T value = condition(cpu, code) ? REG(T, in->src) : REG(T, in->dst);                \
		SET_REG(T, in->dst, value);                                                        \
		NEXT;                                                                              \
	}
#define DEFINE_CONDITIONAL(code)                                                                   \
	FOR_WORD_SIZES(DEFINE_CMOV, code)                                                          \
	static OP(setcc_##code)                                                                    \
	{                                                                                          \
		REG(guest_1, in->dst) = condition(cpu, code);                                      \
		NEXT;                                                                              \
	}
FOR_CONDITIONS(DEFINE_CONDITIONAL)
#define CMOV_ROW(code)  [code] = WORD_ROW(cmov_##code),
#define SETCC_ROW(code) [code] = setcc_##code,
op_fn *const cmov_rr[16][SIZES] = {FOR_CONDITIONS(CMOV_ROW)};
op_fn *const setcc_r[16] = {FOR_CONDITIONS(SETCC_ROW)};

OP(op_setcc_m)
{
	sync_rip(cpu, in);
	if (access_store(cpu, ea_checked(cpu, in, 1, true), condition(cpu, (unsigned)in->imm), 1,
		    ACCESS_PROGRAM))
		return leave_after(cpu, in);
	NEXT;
}

/* --- registers and flags alone --- */

OP(op_nop)
{
	NEXT;
}

#define DEFINE_SIMPLE(name, work)                                                                  \
	OP(name)                                                                                   \
	{                                                                                          \
		work;                                                                              \
		NEXT;                                                                              \
	}
DEFINE_SIMPLE(op_cbw, REG(guest_2, REG_OFFSET(RAX)) = (uint16_t)(int8_t)cpu->gpr[RAX])
DEFINE_SIMPLE(op_cwde, cpu->gpr[RAX] = (uint32_t)(int16_t)cpu->gpr[RAX])
DEFINE_SIMPLE(op_cdqe, cpu->gpr[RAX] = (uint64_t)(int32_t)cpu->gpr[RAX])
DEFINE_SIMPLE(op_cwd, REG(guest_2, REG_OFFSET(RDX)) = (uint16_t)((int16_t)cpu->gpr[RAX] >> 15))
DEFINE_SIMPLE(op_cdq, cpu->gpr[RDX] = (uint32_t)((int32_t)cpu->gpr[RAX] >> 31))
DEFINE_SIMPLE(op_cqo, cpu->gpr[RDX] = (uint64_t)((int64_t)cpu->gpr[RAX] >> 63))
DEFINE_SIMPLE(op_bswap_4, REG(guest_8, in->dst) = __builtin_bswap32(REG(guest_4, in->dst)))
DEFINE_SIMPLE(op_bswap_8, REG(guest_8, in->dst) = __builtin_bswap64(REG(guest_8, in->dst)))
DEFINE_SIMPLE(op_clc, cpu->arithmetic_flags &= (uint16_t)~0x100)
DEFINE_SIMPLE(op_stc, cpu->arithmetic_flags |= 0x100)
DEFINE_SIMPLE(op_cmc, cpu->arithmetic_flags ^= 0x100)
DEFINE_SIMPLE(op_cld, cpu->system_flags &= ~RFLAGS_DF)
DEFINE_SIMPLE(op_std, cpu->system_flags |= RFLAGS_DF)
DEFINE_SIMPLE(op_lahf, REG(guest_1, REG_OFFSET(RAX) + 1) = (uint8_t)(cpu->arithmetic_flags >> 8))
DEFINE_SIMPLE(op_sahf, cpu->arithmetic_flags = (uint16_t)((cpu->arithmetic_flags & 1) |
							  (((cpu->gpr[RAX] & 0xd500) | 0x200))))

/* --- the stack, 64-bit mode, 8 bytes; other sizes and modes are in legacy.c --- */

OP(op_push_r)
{
	DO_PUSH(REG(guest_8, in->src));
	if (unlikely(stale_))
		CONTINUE_SLOW(leave_after(cpu, in));
	NEXT;
}

OP(op_push_i)
{
	DO_PUSH(in->imm);
	if (unlikely(stale_))
		CONTINUE_SLOW(leave_after(cpu, in));
	NEXT;
}

OP(op_push_m)
{
	uint64_t value;

	sync_rip(cpu, in);
	value = operand_read(cpu, in, 8);
	DO_PUSH(value);
	if (unlikely(stale_))
		CONTINUE_SLOW(leave_after(cpu, in));
	NEXT;
}

OP(op_pop_r)
{
	uint64_t value = stack_load(cpu, in, cpu->gpr[RSP]);

	cpu->gpr[RSP] += 8;
	REG(guest_8, in->dst) = value; /* last: POP RSP keeps the popped value */
	NEXT;
}

OP(op_leave64)
{
	uint64_t value = stack_load(cpu, in, cpu->gpr[RBP]);

	cpu->gpr[RSP] = cpu->gpr[RBP] + 8;
	cpu->gpr[RBP] = value;
	NEXT;
}
