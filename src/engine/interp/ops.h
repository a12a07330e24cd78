/* Building blocks of handlers, and the tables that decode.c picks them from.
 *
 * Handlers come in families that differ in operand size and in how an address is formed. The
 * families are written once, as macros over a size (index x, type T) and an address form. */
#ifndef VENEER_ENGINE_INTERP_OPS_H
#define VENEER_ENGINE_INTERP_OPS_H

#include "engine/interp/interp.h"

/* Address forms. LEGACY is everything but plain 64-bit addressing, and does all checks itself. */
enum address_form { FORM_SIMPLE, FORM_FULL, FORM_LEGACY, FORMS };
#define EA_SIMPLE(size, write) ea_simple(cpu, in)
#define EA_FULL(size, write)   ea_full(cpu, in)
#define EA_LEGACY(size, write) ea_legacy(cpu, in, size, write)

enum size_index { SIZE_1, SIZE_2, SIZE_4, SIZE_8, SIZES };

/* The slow paths, called so that the handler needs no stack frame; see thunk.S. */
#define DEFINE_THUNK_CALL(name, thunk)                                                             \
	static inline uint64_t name(struct cpu *cpu, const struct insn *in, uint64_t linear,       \
		uint64_t value, unsigned size)                                                     \
	{                                                                                          \
		asm volatile("call " thunk                                                         \
			     : "+a"(linear)                                                        \
			     : "D"(cpu), "S"(in), "c"(value), "d"(size)                            \
			     : "cc", "memory");                                                    \
		return linear;                                                                     \
	}
DEFINE_THUNK_CALL(thunked_load, "thunk_load")
DEFINE_THUNK_CALL(thunked_update, "thunk_update")
DEFINE_THUNK_CALL(thunked_store, "thunk_store")
DEFINE_THUNK_CALL(thunked_written, "thunk_written")
DEFINE_THUNK_CALL(thunked_check_target, "thunk_check_target")

/* access_written() for handlers. */
static inline bool handler_written(
	struct cpu *cpu, const struct insn *in, void *host, unsigned size)
{
	if (likely(!access_flagged(cpu, host)))
		return false;
	return thunked_written(cpu, in, (uintptr_t)host, 0, size);
}

/* Run BODY with `value` loaded from memory, then go on. BODY stands twice so that the fast path
 * needs no stack frame. */
#define WITH_LOAD(T, EA, ...)                                                                      \
	uint64_t linear_ = EA(sizeof(T), false);                                                   \
	struct tlb_entry *entry_ = access_tlb(cpu, linear_);                                       \
	if (likely(entry_->read == ((linear_ + sizeof(T) - 1) & PAGE_MASK))) {                     \
		T value = *(volatile T *)(linear_ + entry_->addend);                               \
		__VA_ARGS__;                                                                       \
		NEXT;                                                                              \
	}                                                                                          \
	T value = (T)thunked_load(cpu, in, linear_, 0, sizeof(T));                                 \
	__VA_ARGS__;                                                                               \
	NEXT

/* Store `value_` (evaluated once) and go on. */
#define DO_STORE(T, EA, value_)                                                                    \
	uint64_t linear_ = EA(sizeof(T), true);                                                    \
	struct tlb_entry *entry_ = access_tlb(cpu, linear_);                                       \
	T stored_ = (T)(value_);                                                                   \
	if (likely(entry_->write == ((linear_ + sizeof(T) - 1) & PAGE_MASK))) {                    \
		T *host_ = (T *)(linear_ + entry_->addend);                                        \
		*(volatile T *)host_ = stored_;                                                    \
		if (unlikely(handler_written(cpu, in, host_, sizeof(T))))                          \
			CONTINUE_SLOW(leave_after(cpu, in));                                       \
		NEXT;                                                                              \
	}                                                                                          \
	if (thunked_store(cpu, in, linear_, stored_, sizeof(T)))                                   \
		CONTINUE_SLOW(leave_after(cpu, in));                                               \
	NEXT

/* Read-modify-write: BODY turns `value` into the new value. */
#define WITH_UPDATE(T, EA, ...)                                                                    \
	uint64_t linear_ = EA(sizeof(T), true);                                                    \
	struct tlb_entry *entry_ = access_tlb(cpu, linear_);                                       \
	if (likely(entry_->write == ((linear_ + sizeof(T) - 1) & PAGE_MASK))) {                    \
		T *host_ = (T *)(linear_ + entry_->addend);                                        \
		T value = *(volatile T *)host_;                                                    \
		__VA_ARGS__;                                                                       \
		*(volatile T *)host_ = value;                                                      \
		if (unlikely(handler_written(cpu, in, host_, sizeof(T))))                          \
			CONTINUE_SLOW(leave_after(cpu, in));                                       \
		NEXT;                                                                              \
	}                                                                                          \
	T value = (T)thunked_update(cpu, in, linear_, 0, sizeof(T));                               \
	uint16_t flags_before_ = cpu->arithmetic_flags;                                            \
	__VA_ARGS__;                                                                               \
	if (finish_update(cpu, in, linear_, value, sizeof(T), flags_before_))                      \
		CONTINUE_SLOW(leave_after(cpu, in));                                               \
	NEXT

/* The store of a slow read-modify-write. update_slow() has probed it, so that it cannot fault;
 * flags are put back first should it do so all the same (another vCPU changed the page tables in
 * between). */
static inline bool finish_update(struct cpu *cpu, const struct insn *in, uint64_t linear,
	uint64_t value, unsigned size, uint16_t flags_before)
{
	uint16_t flags_after = cpu->arithmetic_flags;
	bool stale;

	cpu->arithmetic_flags = flags_before;
	stale = thunked_store(cpu, in, linear, value, size);
	cpu->arithmetic_flags = flags_after;
	return stale;
}

/* The stack in 64-bit mode, 8 bytes. RSP changes after the store, so that a fault leaves it alone;
 * PUSH RSP stores the old value. */
#define DO_PUSH(value_)                                                                            \
	uint64_t linear_ = cpu->gpr[RSP] - 8, pushed_ = (value_);                                  \
	struct tlb_entry *entry_ = access_tlb(cpu, linear_);                                       \
	bool stale_ = false;                                                                       \
	if (likely(entry_->write == ((linear_ + 7) & PAGE_MASK))) {                                \
		guest_8 *host_ = (guest_8 *)(linear_ + entry_->addend);                            \
		*(volatile guest_8 *)host_ = pushed_;                                              \
		stale_ = handler_written(cpu, in, host_, 8);                                       \
	} else {                                                                                   \
		stale_ = thunked_store(cpu, in, linear_, pushed_, 8);                              \
	}                                                                                          \
	cpu->gpr[RSP] = linear_

static inline uint64_t stack_load(struct cpu *cpu, const struct insn *in, uint64_t linear)
{
	struct tlb_entry *entry = access_tlb(cpu, linear);

	if (likely(entry->read == ((linear + 7) & PAGE_MASK)))
		return *(volatile guest_8 *)(linear + entry->addend);
	return thunked_load(cpu, in, linear, 0, 8);
}

/* Expand F(size index, type, ...) for the operand sizes. */
#define FOR_SIZES(F, ...)                                                                          \
	F(1, guest_1, __VA_ARGS__)                                                                 \
	F(2, guest_2, __VA_ARGS__)                                                                 \
	F(4, guest_4, __VA_ARGS__)                                                                 \
	F(8, guest_8, __VA_ARGS__)

/* Expand F(condition code). */
#define FOR_CONDITIONS(F)                                                                          \
	F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14) F(15)

/* Handlers of one operation by operand kinds: r register, i immediate, m memory; first the
 * destination. A NULL has no such form. */
struct op_forms {
	op_fn *rr[SIZES], *ri[SIZES];
	op_fn *rr_quiet[SIZES], *ri_quiet[SIZES]; /* leave the flags alone; see struct decoded */
	op_fn *rm[FORMS][SIZES], *mr[FORMS][SIZES], *mi[FORMS][SIZES];
};

enum alu_op {
	ALU_ADD,
	ALU_OR,
	ALU_ADC,
	ALU_SBB,
	ALU_AND,
	ALU_SUB,
	ALU_XOR,
	ALU_CMP,
	ALU_TEST,
	ALU_OPS
};
extern const struct op_forms alu_forms[ALU_OPS];
extern const struct op_forms mov_forms;

enum unary_op { UNARY_INC, UNARY_DEC, UNARY_NEG, UNARY_NOT, UNARY_OPS };
struct unary_forms {
	op_fn *r[SIZES], *r_quiet[SIZES], *m[FORMS][SIZES];
};
extern const struct unary_forms unary_forms[UNARY_OPS];

enum shift_op { SHIFT_SHL, SHIFT_SHR, SHIFT_SAR, SHIFT_ROL, SHIFT_ROR, SHIFT_OPS };
struct shift_forms {
	op_fn *ri[SIZES], *ri_quiet[SIZES], *rc[SIZES]; /* by immediate, by CL */
};
extern const struct shift_forms shift_forms[SHIFT_OPS];

/* MUL, IMUL, DIV, IDIV of the accumulator; the operand is a register, or memory in any form. */
enum wide_op { WIDE_MUL, WIDE_IMUL, WIDE_DIV, WIDE_IDIV, WIDE_OPS };
extern op_fn *const wide_register[WIDE_OPS][SIZES];
extern op_fn *const wide_memory[WIDE_OPS][SIZES];

/* IMUL with two and three operands: dst, src, imm. [SIZE_1] is NULL. */
extern op_fn *const imul_rr[SIZES], *const imul_rri[SIZES];
extern op_fn *const imul_rr_quiet[SIZES], *const imul_rri_quiet[SIZES];
extern op_fn *const imul_rm[FORMS][SIZES];

/* MOVZX, MOVSX, MOVSXD by [source size][destination size]. */
struct extend_forms {
	op_fn *r[SIZES][SIZES], *m[FORMS][SIZES][SIZES];
};
extern const struct extend_forms movzx_forms, movsx_forms;

extern op_fn *const lea_simple[SIZES], *const lea_any[SIZES];
extern op_fn *const xchg_rr[SIZES];
extern op_fn *const cmov_rr[16][SIZES]; /* by condition code */
extern op_fn *const cmov_rm[SIZES];     /* condition in imm */
extern op_fn *const setcc_r[16], op_setcc_m;
extern op_fn *const jcc[16], *const jcc_far[16]; /* far: the target is in another page */
/* The handler that does a compare and the conditional branch after it; NULL: there is none. */
op_fn *branch_fuse(op_fn *compare, op_fn *branch);

op_fn op_nop, op_cbw, op_cwde, op_cdqe, op_cwd, op_cdq, op_cqo, op_bswap_4, op_bswap_8;
op_fn op_clc, op_stc, op_cmc, op_cld, op_std, op_lahf, op_sahf;
op_fn op_push_r, op_push_i, op_push_m, op_pop_r, op_leave64; /* 64-bit mode, 8 bytes */
op_fn op_jmp, op_jmp_far, op_call, op_call_far, op_ret, op_ret_i, op_jmp_r, op_jmp_m, op_call_r,
	op_call_m;                                                              /* 64-bit mode */
op_fn op_stub, op_stub_simple, op_stub_full, op_stub_legacy, op_stub_unchecked; /* in->stub */
op_fn op_stubs_full; /* no room for another stub: forget all, and come back */
/* Call in->call, and then, by what the instruction may have changed: go on; look up the next block
 * at cpu->next_rip; leave for the run loop. */
op_fn op_call_continue, op_call_jump, op_call_leave;
/* Like op_call_jump, but RFLAGS.TF may have been set; like op_call_continue, but a string
 * instruction may want to be restarted. */
op_fn op_call_flags, op_call_string;

/* Condition code (the low four bits of Jcc's opcode) against the flags. */
static inline bool condition(const struct cpu *cpu, unsigned code)
{
	unsigned flags = cpu->arithmetic_flags;
	bool result;

	switch (code >> 1) {
	case 0:
		result = flags & 1; /* O */
		break;
	case 1:
		result = flags & 0x100; /* C */
		break;
	case 2:
		result = flags & 0x4000; /* Z */
		break;
	case 3:
		result = flags & 0x4100; /* C or Z */
		break;
	case 4:
		result = flags & 0x8000; /* S */
		break;
	case 5:
		result = flags & 0x400; /* P */
		break;
	case 6:
		result = ((flags >> 15) ^ flags) & 1; /* S != O */
		break;
	default:
		result = (((flags >> 15) ^ flags) & 1) | (flags & 0x4000); /* or Z */
	}
	return result ^ (code & 1);
}

/* Slow handlers, called through op_call_*: string.c, system.c, legacy.c. */
slow_fn slow_movs, slow_cmps, slow_stos, slow_lods, slow_scas, slow_ins, slow_outs;

slow_fn slow_mov_from_segment, slow_mov_to_segment, slow_mov_absolute, slow_far_jump, slow_far_call;
extern slow_fn *const slow_mov_cr[2], *const slow_mov_dr[2],
					      *const slow_far_ret; /* [0] from, [1] to */

/* Operand access for slow handlers: the ModRM operand, register or memory. */
uint64_t operand_read(struct cpu *cpu, const struct insn *in, unsigned size);
void operand_write(struct cpu *cpu, const struct insn *in, uint64_t value, unsigned size);
/* A store by the program; notes in interp->leave that the running block may have been hit. */
void slow_store(struct cpu *cpu, uint64_t linear, uint64_t value, unsigned size);

/* The slow handler for a mnemonic that has one, else NULL. *how says which op_call_* fits. */
struct slow_entry {
	uint16_t mnemonic; /* ZydisMnemonic */
	slow_fn *call;
	op_fn *how;
};
const struct slow_entry *slow_find(ZydisMnemonic mnemonic);

#endif
