/* Integer arithmetic and logic.
 *
 * The host is the same machine as the guest, so the host's own ALU does the work and makes the
 * flags: each operation is the one instruction, followed by LAHF and SETO, which collect the six
 * arithmetic flags into AX as cpu->arithmetic_flags keeps them. Nothing is lazy and nothing is
 * re-implemented; also flags that the manual leaves undefined come out as on the processor. */
#include "engine/interp/ops.h"
#include "cpu/transfer.h"

#define COLLECT_FLAGS "\n\tlahf\n\tseto %%al"
/* Put the guest's carry into CF. */
#define LOAD_CARRY "btw $8, %[in_flags]\n\t"
/* Put all six flags into the host's: 1 + 127 overflows, 0 + 127 does not; then the rest. */
#define LOAD_FLAGS "movw %[in_flags], %%ax\n\taddb $127, %%al\n\tsahf\n\t"

/* --- two operands: alu_<op>_<size>(cpu, d, s) returns the new d and sets flags --- */

#define DEFINE_BINARY(x, T, name, prepare)                                                         \
	static inline T alu_##name##_##x(struct cpu *cpu, T d, T s)                                \
	{                                                                                          \
		uint16_t flags;                                                                    \
		asm(prepare #name " %[s], %[d]" COLLECT_FLAGS                                      \
			: [d] "+r"(d), "=&a"(flags)                                                \
			: [s] "r"(s), [in_flags] "m"(cpu->arithmetic_flags)                        \
			: "cc");                                                                   \
		cpu->arithmetic_flags = flags;                                                     \
		return d;                                                                          \
	}
#define DEFINE_COMPARE(x, T, name, prepare)                                                        \
	static inline T alu_##name##_##x(struct cpu *cpu, T d, T s)                                \
	{                                                                                          \
		uint16_t flags;                                                                    \
		asm(#name " %[s], %[d]" COLLECT_FLAGS                                              \
			: "=a"(flags)                                                              \
			: [d] "r"(d), [s] "r"(s)                                                   \
			: "cc");                                                                   \
		cpu->arithmetic_flags = flags;                                                     \
		return d;                                                                          \
	}

FOR_SIZES(DEFINE_BINARY, add, "")
FOR_SIZES(DEFINE_BINARY, or, "")
FOR_SIZES(DEFINE_BINARY, adc, LOAD_CARRY)
FOR_SIZES(DEFINE_BINARY, sbb, LOAD_CARRY)
FOR_SIZES(DEFINE_BINARY, and, "")
FOR_SIZES(DEFINE_BINARY, sub, "")
FOR_SIZES(DEFINE_BINARY, xor, "")
FOR_SIZES(DEFINE_COMPARE, cmp, "")
FOR_SIZES(DEFINE_COMPARE, test, "")

#define DEFINE_REGISTER_OPS(x, T, name, WRITE_REG)                                                 \
	static OP(name##_rr_##x)                                                                   \
	{                                                                                          \
		T result = alu_##name##_##x(cpu, REG(T, in->dst), REG(T, in->src));                \
		WRITE_REG(T, in->dst, result);                                                     \
		NEXT;                                                                              \
	}                                                                                          \
	static OP(name##_ri_##x)                                                                   \
	{                                                                                          \
		T result = alu_##name##_##x(cpu, REG(T, in->dst), (T)in->imm);                     \
		WRITE_REG(T, in->dst, result);                                                     \
		NEXT;                                                                              \
	}
#define DEFINE_LOAD_OP(x, T, name, form, EA, WRITE_REG)                                            \
	static OP(name##_rm_##form##_##x)                                                          \
	{                                                                                          \
		WITH_LOAD(T, EA, T result = alu_##name##_##x(cpu, REG(T, in->dst), value);         \
			  WRITE_REG(T, in->dst, result));                                          \
	}
#define DEFINE_UPDATE_OPS(x, T, name, form, EA)                                                    \
	static OP(name##_mr_##form##_##x)                                                          \
	{                                                                                          \
		WITH_UPDATE(T, EA, value = alu_##name##_##x(cpu, value, REG(T, in->src)));         \
	}                                                                                          \
	static OP(name##_mi_##form##_##x)                                                          \
	{                                                                                          \
		WITH_UPDATE(T, EA, value = alu_##name##_##x(cpu, value, (T)in->imm));              \
	}
#define DEFINE_COMPARE_OPS(x, T, name, form, EA)                                                   \
	static OP(name##_mr_##form##_##x)                                                          \
	{                                                                                          \
		WITH_LOAD(T, EA, alu_##name##_##x(cpu, value, REG(T, in->src)));                   \
	}                                                                                          \
	static OP(name##_mi_##form##_##x)                                                          \
	{                                                                                          \
		WITH_LOAD(T, EA, alu_##name##_##x(cpu, value, (T)in->imm));                        \
	}

#define KEEP_REG(T, offset, value) (void)(value)

#define DEFINE_ALU(name)                                                                           \
	FOR_SIZES(DEFINE_REGISTER_OPS, name, SET_REG)                                              \
	FOR_SIZES(DEFINE_LOAD_OP, name, simple, EA_SIMPLE, SET_REG)                                \
	FOR_SIZES(DEFINE_LOAD_OP, name, full, EA_FULL, SET_REG)                                    \
	FOR_SIZES(DEFINE_LOAD_OP, name, legacy, EA_LEGACY, SET_REG)                                \
	FOR_SIZES(DEFINE_UPDATE_OPS, name, simple, EA_SIMPLE)                                      \
	FOR_SIZES(DEFINE_UPDATE_OPS, name, full, EA_FULL)                                          \
	FOR_SIZES(DEFINE_UPDATE_OPS, name, legacy, EA_LEGACY)
#define DEFINE_ALU_COMPARE(name)                                                                   \
	FOR_SIZES(DEFINE_REGISTER_OPS, name, KEEP_REG)                                             \
	FOR_SIZES(DEFINE_LOAD_OP, name, simple, EA_SIMPLE, KEEP_REG)                               \
	FOR_SIZES(DEFINE_LOAD_OP, name, full, EA_FULL, KEEP_REG)                                   \
	FOR_SIZES(DEFINE_LOAD_OP, name, legacy, EA_LEGACY, KEEP_REG)                               \
	FOR_SIZES(DEFINE_COMPARE_OPS, name, simple, EA_SIMPLE)                                     \
	FOR_SIZES(DEFINE_COMPARE_OPS, name, full, EA_FULL)                                         \
	FOR_SIZES(DEFINE_COMPARE_OPS, name, legacy, EA_LEGACY)

DEFINE_ALU(add)
DEFINE_ALU(or)
DEFINE_ALU(adc)
DEFINE_ALU(sbb)
DEFINE_ALU(and)
DEFINE_ALU(sub)
DEFINE_ALU(xor)
DEFINE_ALU_COMPARE(cmp)
DEFINE_ALU_COMPARE(test)

/* Where the flags are overwritten before anyone can see them, the operation alone. */
#define DEFINE_QUIET(x, T, name, expression)                                                       \
	static OP(name##_rr_quiet_##x)                                                             \
	{                                                                                          \
		T d = REG(T, in->dst), s = REG(T, in->src);                                        \
		SET_REG(T, in->dst, expression);                                                   \
		NEXT;                                                                              \
	}                                                                                          \
	static OP(name##_ri_quiet_##x)                                                             \
	{                                                                                          \
		T d = REG(T, in->dst), s = (T)in->imm;                                             \
		SET_REG(T, in->dst, expression);                                                   \
		NEXT;                                                                              \
	}
#define CARRY ((cpu->arithmetic_flags >> 8) & 1)
FOR_SIZES(DEFINE_QUIET, add, d + s)
FOR_SIZES(DEFINE_QUIET, or, d | s)
FOR_SIZES(DEFINE_QUIET, adc, d + s + CARRY)
FOR_SIZES(DEFINE_QUIET, sbb, d - s - CARRY)
FOR_SIZES(DEFINE_QUIET, and, d &s)
FOR_SIZES(DEFINE_QUIET, sub, d - s)
FOR_SIZES(DEFINE_QUIET, xor, d ^ s)

#define ROW(prefix)                                                                                \
	{                                                                                          \
		prefix##_1, prefix##_2, prefix##_4, prefix##_8                                     \
	}
#define FORM_ROWS(prefix)                                                                          \
	{                                                                                          \
		ROW(prefix##_simple), ROW(prefix##_full), ROW(prefix##_legacy)                     \
	}
#define COMPARE_FORMS(name)                                                                        \
	.rr = ROW(name##_rr), .ri = ROW(name##_ri), .rm = FORM_ROWS(name##_rm),                    \
	.mr = FORM_ROWS(name##_mr), .mi = FORM_ROWS(name##_mi)
#define ALU_FORMS(name)                                                                            \
	{                                                                                          \
		COMPARE_FORMS(name), .rr_quiet = ROW(name##_rr_quiet),                             \
				     .ri_quiet = ROW(name##_ri_quiet),                             \
	}

const struct op_forms alu_forms[ALU_OPS] = {
	[ALU_ADD] = ALU_FORMS(add),
	[ALU_OR] = ALU_FORMS(or),
	[ALU_ADC] = ALU_FORMS(adc),
	[ALU_SBB] = ALU_FORMS(sbb),
	[ALU_AND] = ALU_FORMS(and),
	[ALU_SUB] = ALU_FORMS(sub),
	[ALU_XOR] = ALU_FORMS(xor),
	[ALU_CMP] = {COMPARE_FORMS(cmp)},
	[ALU_TEST] = {COMPARE_FORMS(test)},
};

/* --- one operand --- */

#define DEFINE_UNARY(x, T, name, prepare)                                                          \
	static inline T alu_##name##_##x(struct cpu *cpu, T d)                                     \
	{                                                                                          \
		uint16_t flags;                                                                    \
		asm(prepare #name " %[d]" COLLECT_FLAGS                                            \
			: [d] "+r"(d), "=&a"(flags)                                                \
			: [in_flags] "m"(cpu->arithmetic_flags)                                    \
			: "cc");                                                                   \
		cpu->arithmetic_flags = flags;                                                     \
		return d;                                                                          \
	}
#define DEFINE_NOT(x, T, ...)                                                                      \
	static inline T alu_not_##x(struct cpu *cpu, T d)                                          \
	{                                                                                          \
		return (T)~d;                                                                      \
	}
#define DEFINE_UNARY_REGISTER(x, T, name)                                                          \
	static OP(name##_r_##x)                                                                    \
	{                                                                                          \
		T result = alu_##name##_##x(cpu, REG(T, in->dst));                                 \
		SET_REG(T, in->dst, result);                                                       \
		NEXT;                                                                              \
	}
#define DEFINE_UNARY_MEMORY(x, T, name, form, EA)                                                  \
	static OP(name##_m_##form##_##x)                                                           \
	{                                                                                          \
		WITH_UPDATE(T, EA, value = alu_##name##_##x(cpu, value));                          \
	}
#define DEFINE_UNARY_OPS(name)                                                                     \
	FOR_SIZES(DEFINE_UNARY_REGISTER, name)                                                     \
	FOR_SIZES(DEFINE_UNARY_MEMORY, name, simple, EA_SIMPLE)                                    \
	FOR_SIZES(DEFINE_UNARY_MEMORY, name, full, EA_FULL)                                        \
	FOR_SIZES(DEFINE_UNARY_MEMORY, name, legacy, EA_LEGACY)

FOR_SIZES(DEFINE_UNARY, inc, LOAD_CARRY)
FOR_SIZES(DEFINE_UNARY, dec, LOAD_CARRY)
FOR_SIZES(DEFINE_UNARY, neg, "")
FOR_SIZES(DEFINE_NOT, )
DEFINE_UNARY_OPS(inc)
DEFINE_UNARY_OPS(dec)
DEFINE_UNARY_OPS(neg)
DEFINE_UNARY_OPS(not )

#define DEFINE_UNARY_QUIET(x, T, name, expression)                                                 \
	static OP(name##_r_quiet_##x)                                                              \
	{                                                                                          \
		T d = REG(T, in->dst);                                                             \
		SET_REG(T, in->dst, expression);                                                   \
		NEXT;                                                                              \
	}
FOR_SIZES(DEFINE_UNARY_QUIET, inc, d + 1)
FOR_SIZES(DEFINE_UNARY_QUIET, dec, d - 1)
FOR_SIZES(DEFINE_UNARY_QUIET, neg, -d)

#define UNARY_FORMS(name) .r = ROW(name##_r), .m = FORM_ROWS(name##_m)
const struct unary_forms unary_forms[UNARY_OPS] = {
	[UNARY_INC] = {UNARY_FORMS(inc), .r_quiet = ROW(inc_r_quiet)},
	[UNARY_DEC] = {UNARY_FORMS(dec), .r_quiet = ROW(dec_r_quiet)},
	[UNARY_NEG] = {UNARY_FORMS(neg), .r_quiet = ROW(neg_r_quiet)},
	[UNARY_NOT] = {UNARY_FORMS(not )},
};

/* --- shifts and rotates: a count of zero leaves the flags, rotates leave most of them --- */

#define DEFINE_SHIFT(x, T, name)                                                                   \
	static inline T alu_##name##_##x(struct cpu *cpu, T d, uint8_t count)                      \
	{                                                                                          \
		uint16_t flags;                                                                    \
		asm(LOAD_FLAGS #name " %%cl, %[d]" COLLECT_FLAGS                                   \
			: [d] "+r"(d), "=&a"(flags)                                                \
			: "c"(count), [in_flags] "m"(cpu->arithmetic_flags)                        \
			: "cc");                                                                   \
		cpu->arithmetic_flags = flags;                                                     \
		return d;                                                                          \
	}                                                                                          \
	static OP(name##_ri_##x)                                                                   \
	{                                                                                          \
		T result = alu_##name##_##x(cpu, REG(T, in->dst), (uint8_t)in->imm);               \
		SET_REG(T, in->dst, result);                                                       \
		NEXT;                                                                              \
	}                                                                                          \
	static OP(name##_rc_##x)                                                                   \
	{                                                                                          \
		T result = alu_##name##_##x(cpu, REG(T, in->dst), (uint8_t)cpu->gpr[RCX]);         \
		SET_REG(T, in->dst, result);                                                       \
		NEXT;                                                                              \
	}

FOR_SIZES(DEFINE_SHIFT, shl)
FOR_SIZES(DEFINE_SHIFT, shr)
FOR_SIZES(DEFINE_SHIFT, sar)
FOR_SIZES(DEFINE_SHIFT, rol)
FOR_SIZES(DEFINE_SHIFT, ror)

#define DEFINE_SHIFT_QUIET(x, T, name)                                                             \
	static OP(name##_ri_quiet_##x)                                                             \
	{                                                                                          \
		T d = REG(T, in->dst);                                                             \
		asm(#name " %%cl, %[d]" : [d] "+r"(d) : "c"((uint8_t)in->imm) : "cc");             \
		SET_REG(T, in->dst, d);                                                            \
		NEXT;                                                                              \
	}
FOR_SIZES(DEFINE_SHIFT_QUIET, shl)
FOR_SIZES(DEFINE_SHIFT_QUIET, shr)
FOR_SIZES(DEFINE_SHIFT_QUIET, sar)
FOR_SIZES(DEFINE_SHIFT_QUIET, rol)
FOR_SIZES(DEFINE_SHIFT_QUIET, ror)

#define SHIFT_FORMS(name)                                                                          \
	{                                                                                          \
		.ri = ROW(name##_ri), .ri_quiet = ROW(name##_ri_quiet), .rc = ROW(name##_rc)       \
	}
const struct shift_forms shift_forms[SHIFT_OPS] = {
	[SHIFT_SHL] = SHIFT_FORMS(shl),
	[SHIFT_SHR] = SHIFT_FORMS(shr),
	[SHIFT_SAR] = SHIFT_FORMS(sar),
	[SHIFT_ROL] = SHIFT_FORMS(rol),
	[SHIFT_ROR] = SHIFT_FORMS(ror),
};

/* --- IMUL, two and three operands --- */

#define DEFINE_IMUL(x, T, ...)                                                                     \
	static inline T alu_imul_##x(struct cpu *cpu, T d, T s)                                    \
	{                                                                                          \
		uint16_t flags;                                                                    \
		asm("imul %[s], %[d]" COLLECT_FLAGS                                                \
			: [d] "+r"(d), "=&a"(flags)                                                \
			: [s] "r"(s)                                                               \
			: "cc");                                                                   \
		cpu->arithmetic_flags = flags;                                                     \
		return d;                                                                          \
	}                                                                                          \
	static OP(imul_rr_##x)                                                                     \
	{                                                                                          \
		T result = alu_imul_##x(cpu, REG(T, in->dst), REG(T, in->src));                    \
		SET_REG(T, in->dst, result);                                                       \
		NEXT;                                                                              \
	}                                                                                          \
	static OP(imul_rri_##x)                                                                    \
	{                                                                                          \
		T result = alu_imul_##x(cpu, REG(T, in->src), (T)in->imm);                         \
		SET_REG(T, in->dst, result);                                                       \
		NEXT;                                                                              \
	}
#define DEFINE_IMUL_QUIET(x, T, ...)                                                               \
	static OP(imul_rr_quiet_##x)                                                               \
	{                                                                                          \
		T result = (T)((uint64_t)REG(T, in->dst) * REG(T, in->src));                       \
		SET_REG(T, in->dst, result);                                                       \
		NEXT;                                                                              \
	}                                                                                          \
	static OP(imul_rri_quiet_##x)                                                              \
	{                                                                                          \
		T result = (T)((uint64_t)REG(T, in->src) * (T)in->imm);                            \
		SET_REG(T, in->dst, result);                                                       \
		NEXT;                                                                              \
	}
#define FOR_WORD_SIZES(F, ...)                                                                     \
	F(2, guest_2, __VA_ARGS__)                                                                 \
	F(4, guest_4, __VA_ARGS__)                                                                 \
	F(8, guest_8, __VA_ARGS__)
FOR_WORD_SIZES(DEFINE_IMUL, )
FOR_WORD_SIZES(DEFINE_IMUL_QUIET, )
FOR_WORD_SIZES(DEFINE_LOAD_OP, imul, simple, EA_SIMPLE, SET_REG)
FOR_WORD_SIZES(DEFINE_LOAD_OP, imul, full, EA_FULL, SET_REG)
FOR_WORD_SIZES(DEFINE_LOAD_OP, imul, legacy, EA_LEGACY, SET_REG)

#define WORD_ROW(prefix)                                                                           \
	{                                                                                          \
		NULL, prefix##_2, prefix##_4, prefix##_8                                           \
	}
op_fn *const imul_rr[SIZES] = WORD_ROW(imul_rr);
op_fn *const imul_rri[SIZES] = WORD_ROW(imul_rri);
op_fn *const imul_rr_quiet[SIZES] = WORD_ROW(imul_rr_quiet);
op_fn *const imul_rri_quiet[SIZES] = WORD_ROW(imul_rri_quiet);
op_fn *const imul_rm[FORMS][SIZES] = {
	WORD_ROW(imul_rm_simple),
	WORD_ROW(imul_rm_full),
	WORD_ROW(imul_rm_legacy),
};

/* --- MUL, IMUL, DIV, IDIV of the accumulator --- */

/* The host's instruction on the whole RAX and RDX: narrow forms leave the upper parts as the
 * guest's would. Flags end up in AX, so the product is saved first. */
#define DEFINE_MUL(x, T, name)                                                                     \
	static inline void wide_##name##_##x(struct cpu *cpu, T s)                                 \
	{                                                                                          \
		uint64_t rax = cpu->gpr[RAX], rdx = cpu->gpr[RDX], low;                            \
		asm(#name " %[s]\n\tmovq %%rax, %[low]" COLLECT_FLAGS                              \
			: "+a"(rax), "+d"(rdx), [low] "=&r"(low)                                   \
			: [s] "r"(s)                                                               \
			: "cc");                                                                   \
		cpu->arithmetic_flags = (uint16_t)rax;                                             \
		cpu->gpr[RAX] = low;                                                               \
		cpu->gpr[RDX] = rdx;                                                               \
	}
FOR_SIZES(DEFINE_MUL, mul)
FOR_SIZES(DEFINE_MUL, imul)

/* Division: the quotient is checked first, since the host's #DE would be ours. */
#define DEFINE_DIV(x, T, S, W, SW)                                                                 \
	static inline void wide_div_##x(struct cpu *cpu, T s)                                      \
	{                                                                                          \
		W dividend = (W)((W)REG(T, REG_OFFSET(RDX)) << (8 * sizeof(T))) |                  \
			     REG(T, REG_OFFSET(RAX));                                              \
		if (s == 0 || (dividend >> (8 * sizeof(T))) >= s)                                  \
			cpu_raise(cpu, VECTOR_DE);                                                 \
		T quotient = (T)(dividend / s), remainder = (T)(dividend % s);                     \
		SET_REG(T, REG_OFFSET(RAX), quotient);                                             \
		SET_REG(T, REG_OFFSET(RDX), remainder);                                            \
	}                                                                                          \
	static inline void wide_idiv_##x(struct cpu *cpu, T s)                                     \
	{                                                                                          \
		SW dividend = (SW)((W)((W)REG(T, REG_OFFSET(RDX)) << (8 * sizeof(T))) |            \
				   REG(T, REG_OFFSET(RAX)));                                       \
		SW divisor = (S)s, minimum = (SW)((W)1 << (16 * sizeof(T) - 1));                   \
		if (divisor == 0 || (divisor == -1 && dividend == minimum) ||                      \
			dividend / divisor != (S)(dividend / divisor))                             \
			cpu_raise(cpu, VECTOR_DE);                                                 \
		T quotient = (T)(dividend / divisor), remainder = (T)(dividend % divisor);         \
		SET_REG(T, REG_OFFSET(RAX), quotient);                                             \
		SET_REG(T, REG_OFFSET(RDX), remainder);                                            \
	}
DEFINE_DIV(2, guest_2, int16_t, uint32_t, int32_t)
DEFINE_DIV(4, guest_4, int32_t, uint64_t, int64_t)

/* Bytes divide AX, to AL and AH. */
static inline void wide_div_1(struct cpu *cpu, guest_1 s)
{
	unsigned dividend = REG(guest_2, REG_OFFSET(RAX));

	if (s == 0 || dividend >> 8 >= s)
		cpu_raise(cpu, VECTOR_DE);
	REG(guest_2, REG_OFFSET(RAX)) = (uint16_t)((dividend % s) << 8 | dividend / s);
}

static inline void wide_idiv_1(struct cpu *cpu, guest_1 s)
{
	int dividend = (int16_t)REG(guest_2, REG_OFFSET(RAX)), divisor = (int8_t)s;

	if (divisor == 0 || dividend / divisor != (int8_t)(dividend / divisor))
		cpu_raise(cpu, VECTOR_DE);
	REG(guest_2, REG_OFFSET(RAX)) =
		(uint16_t)((dividend % divisor) << 8 | ((dividend / divisor) & 0xff));
}

/* 128 by 64 bits: checked as above, then the host's own instruction, which C has no word for. */
static inline void wide_div_8(struct cpu *cpu, guest_8 s)
{
	if (s == 0 || cpu->gpr[RDX] >= s)
		cpu_raise(cpu, VECTOR_DE);
	asm("divq %[s]" : "+a"(cpu->gpr[RAX]), "+d"(cpu->gpr[RDX]) : [s] "r"(s) : "cc");
}

static inline void wide_idiv_8(struct cpu *cpu, guest_8 s)
{
	int64_t high = (int64_t)cpu->gpr[RDX], low = (int64_t)cpu->gpr[RAX];
	__int128 dividend = (__int128)((unsigned __int128)(uint64_t)high << 64 | (uint64_t)low);
	__int128 divisor = (int64_t)s, quotient;
	bool overflow = divisor == -1 && dividend == (__int128)((unsigned __int128)1 << 127);

	if (divisor == 0 || overflow)
		cpu_raise(cpu, VECTOR_DE);
	quotient = high == low >> 63 ? (__int128)0 : dividend / divisor;
	if (quotient != (int64_t)quotient ||
		(high == low >> 63 && low == INT64_MIN && divisor == -1))
		cpu_raise(cpu, VECTOR_DE);
	asm("idivq %[s]" : "+a"(cpu->gpr[RAX]), "+d"(cpu->gpr[RDX]) : [s] "r"(s) : "cc");
}

#define DEFINE_WIDE_OPS(x, T, name)                                                                \
	static OP(name##_register_##x)                                                             \
	{                                                                                          \
		sync_rip(cpu, in);                                                                 \
		wide_##name##_##x(cpu, REG(T, in->src));                                           \
		NEXT;                                                                              \
	}                                                                                          \
	static OP(name##_memory_##x)                                                               \
	{                                                                                          \
		sync_rip(cpu, in);                                                                 \
		wide_##name##_##x(cpu, (T)operand_read(cpu, in, sizeof(T)));                       \
		NEXT;                                                                              \
	}
FOR_SIZES(DEFINE_WIDE_OPS, mul)
FOR_SIZES(DEFINE_WIDE_OPS, imul)
FOR_SIZES(DEFINE_WIDE_OPS, div)
FOR_SIZES(DEFINE_WIDE_OPS, idiv)

op_fn *const wide_register[WIDE_OPS][SIZES] = {
	ROW(mul_register),
	ROW(imul_register),
	ROW(div_register),
	ROW(idiv_register),
};
op_fn *const wide_memory[WIDE_OPS][SIZES] = {
	ROW(mul_memory),
	ROW(imul_memory),
	ROW(div_memory),
	ROW(idiv_memory),
};

/* --- a compare and the branch on it --- */

/* The flags are stored as by a compare alone; the branch uses them from a register, and one jump
 * between handlers is saved. in[1] is the branch, in[2] what follows it. */
#define FROM_REGISTER(T)  REG(T, in->src)
#define FROM_IMMEDIATE(T) (T) in->imm
#define DEFINE_FUSED(x, T, name, operand, source, code)                                            \
	static OP(name##_##operand##_##x##_jcc_##code)                                             \
	{                                                                                          \
		alu_##name##_##x(cpu, REG(T, in->dst), source(T));                                 \
		if (!condition(cpu, code))                                                         \
			CONTINUE_AT(in + 2);                                                       \
		in++;                                                                              \
		cpu->stats.instructions -= in->remaining;                                          \
		BRANCH;                                                                            \
	}
#define DEFINE_FUSED_SIZES(code)                                                                   \
	FOR_SIZES(DEFINE_FUSED, cmp, rr, FROM_REGISTER, code)                                      \
	FOR_SIZES(DEFINE_FUSED, cmp, ri, FROM_IMMEDIATE, code)                                     \
	FOR_SIZES(DEFINE_FUSED, test, rr, FROM_REGISTER, code)                                     \
	FOR_SIZES(DEFINE_FUSED, test, ri, FROM_IMMEDIATE, code)
FOR_CONDITIONS(DEFINE_FUSED_SIZES)

enum compare_form { CMP_RR, CMP_RI, TEST_RR, TEST_RI, COMPARE_FORMS_COUNT };

#define FUSED_SIZES(prefix, code)                                                                  \
	{                                                                                          \
		prefix##_1_jcc_##code, prefix##_2_jcc_##code, prefix##_4_jcc_##code,               \
			prefix##_8_jcc_##code                                                      \
	}
#define FUSED_ROW(code)                                                                            \
	[code] = {FUSED_SIZES(cmp_rr, code), FUSED_SIZES(cmp_ri, code),                            \
		FUSED_SIZES(test_rr, code), FUSED_SIZES(test_ri, code)},
static op_fn *const fused[16][COMPARE_FORMS_COUNT][SIZES] = {FOR_CONDITIONS(FUSED_ROW)};

op_fn *branch_fuse(op_fn *compare, op_fn *branch)
{
	static op_fn *const compares[COMPARE_FORMS_COUNT][SIZES] = {
		ROW(cmp_rr),
		ROW(cmp_ri),
		ROW(test_rr),
		ROW(test_ri),
	};
	unsigned code = 0;

	while (code < 16 && jcc[code] != branch)
		code++;
	if (code == 16)
		return NULL;
	for (unsigned form = 0; form < COMPARE_FORMS_COUNT; form++)
		for (unsigned size = 0; size < SIZES; size++)
			if (compares[form][size] == compare)
				return fused[code][form][size];
	return NULL;
}
