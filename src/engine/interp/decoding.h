/* Inside decoding: what the files that choose handlers share.
 *
 *	decode.c		the table of mnemonics; system instructions, stubs
 *	decode_integer.c	arithmetic, by operand kinds, size and address form
 *	decode_transfer.c	MOV, the stack, branches
 *	decode_string.c		string instructions
 *	decode_operand.c	registers and memory operands */
#ifndef VENEER_ENGINE_INTERP_DECODING_H
#define VENEER_ENGINE_INTERP_DECODING_H

#include "engine/interp/legacy.h"
#include "isa/decode.h"

/* One instruction on its way from Zydis to struct insn. */
struct decoding {
	struct cpu *cpu;
	unsigned mode; /* enum block_mode */
	const uint8_t *bytes;
	ZydisDecodedInstruction zydis;
	ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
	struct insn *insn;
	op_fn *quiet;
	bool integer; /* a family of integer handlers took it */
	bool ends;
};

/* How a mnemonic's handler is chosen: the row of a table. */
struct choice {
	/* Fills in the instruction; false: it becomes a stub, or is undefined. */
	bool (*choose)(struct decoding *d, const struct choice *choice);
	union { /* the function's argument */
		const struct op_forms *forms;
		const struct unary_forms *unary;
		const struct shift_forms *shift;
		const struct extend_forms *extend;
		op_fn *run;
		slow_fn *call;
	};
	int8_t number;
	bool integer; /* arithmetic: with a LOCK prefix it must be one host instruction, a stub */
};
typedef bool choose_fn(struct decoding *d, const struct choice *choice);

static inline bool code64(const struct decoding *d)
{
	return d->mode & MODE_CODE_64;
}

static inline unsigned size_index(unsigned bytes)
{
	return bytes == 1 ? SIZE_1 : bytes == 2 ? SIZE_2 : bytes == 4 ? SIZE_4 : SIZE_8;
}

static inline bool is_register(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER;
}

static inline bool is_memory(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_MEMORY;
}

static inline bool is_immediate(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

static inline unsigned operand_bytes(const struct decoding *d, unsigned i)
{
	return d->operand[i].size / 8;
}

static inline enum seg segment_of(ZydisRegister reg)
{
	return (enum seg)(reg - ZYDIS_REGISTER_ES);
}

/* Byte offset of a general register in struct cpu, or -1. */
int decoding_register_offset(ZydisRegister reg);
/* A control, debug or segment register's number, or -1. */
int decoding_special_register(ZydisRegister reg);
unsigned decoding_explicit_operands(const struct decoding *d);

/* Note where a memory operand is; returns its form. */
enum address_form decoding_set_address(struct decoding *d, const ZydisDecodedOperand *operand);
/* INSN_ADDRESS_16, INSN_ADDRESS_32 or 0. */
uint8_t decoding_address_size(const struct decoding *d);
/* A 64-bit absolute address or a RIP-relative one at the very edge does not fit struct insn's
 * displacement. */
bool decoding_displacement_fits(const struct decoding *d, const ZydisDecodedOperand *operand);
/* The convention that slow handlers rely on; see system.c. */
void decoding_set_slow_operands(struct decoding *d);

/* --- choosing: each returns true, or false where there is no handler --- */

static inline bool use(struct decoding *d, op_fn *run)
{
	if (!run)
		return false;
	d->insn->run = run;
	return true;
}

static inline bool use_with_quiet(struct decoding *d, op_fn *run, op_fn *quiet)
{
	d->quiet = quiet;
	return use(d, run);
}

static inline bool use_slow(struct decoding *d, slow_fn *call, op_fn *how)
{
	d->insn->call = call;
	d->insn->run = how;
	if (how != op_call_continue && how != op_call_string)
		d->ends = true;
	return true;
}

choose_fn choose_forms, choose_unary, choose_shift, choose_wide, choose_imul, choose_extend,
	choose_lea, choose_xchg, choose_bswap;
bool choose_cmov(struct decoding *d);
bool choose_setcc(struct decoding *d);

choose_fn choose_mov, choose_push, choose_pop, choose_jump, choose_call, choose_return, choose_loop,
	choose_enter, choose_leave, choose_load_far;
bool choose_conditional(struct decoding *d);

bool choose_string(struct decoding *d);

#endif
