/* Inside the stubs: what the steps from a decoded instruction to native code hand each other.
 *
 *	stub_select.c	which instructions qualify, and what each needs loaded and stored: a plan
 *	stub_emit.c	the plan to machine code
 *	stub.c		the cache of the results
 *	stub_run.c	memory operands that are not simply RAM; gathers and scatters */
#ifndef VENEER_ENGINE_INTERP_STUB_INTERNAL_H
#define VENEER_ENGINE_INTERP_STUB_INTERNAL_H

#include "engine/interp/stub.h"

/* The elements of a masked or gathered memory operand, to find out which are accessed. */
enum stub_elements_kind {
	ELEMENTS_OPMASK,  /* element n under bit n of an opmask register */
	ELEMENTS_EXPAND,  /* as many elements, from the first, as the opmask has bits */
	ELEMENTS_VECTOR,  /* element n under the sign bit of a vector register's element n */
	ELEMENTS_INDEXED, /* gather or scatter */
};

struct stub_elements {
	uint8_t kind;
	uint8_t mask;         /* opmask or vector register */
	uint8_t count;        /* of mask bits that matter */
	uint8_t memory_count; /* of elements in memory: fewer than `count` for a broadcast */
	uint8_t size;         /* of one element in memory */
	bool suppresses;      /* inactive elements do not fault either */
	/* ELEMENTS_INDEXED only: */
	uint8_t data, index; /* vector registers */
	uint8_t index_size, scale, vector_size;
	uint8_t segment; /* enum seg */
	uint8_t address_bits;
	bool vector_mask; /* VEX: `mask` is a vector register */
	bool scatter;
};

#define NO_OPERAND (-1)

/* What to generate. Registers are named by their numbers. */
struct stub_plan {
	const ZydisDecodedInstruction *instruction;
	const ZydisDecodedOperand *operands;
	const uint8_t *bytes;
	int memory;       /* index of the memory operand, or NO_OPERAND */
	uint8_t host[16]; /* where a guest's general register is while the instruction runs */
	uint16_t gpr_used, gpr_written;
	uint32_t vector_load, vector_written;
	uint8_t vector_width[32]; /* bytes */
	uint8_t mask_load, mask_written;
	bool vex;  /* VEX or EVEX: results are extended with zeroes to the whole register */
	bool wide; /* uses more than 128 bits of a register below 16 */
	bool flags_load, flags_store;
	bool no_rex; /* AH, CH, DH or BH is named: no REX prefix, so no register above RBX */
	bool implicit_memory; /* MASKMOVQ, MASKMOVDQU: the pointer is in RDI */
};

/* Can a stub run it? Fills the stub (all but `code`) and the plan. *fixed is set where C code does
 * the work and nothing is to be generated. */
bool stub_select(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operands,
	const uint8_t *bytes, struct stub *stub, struct stub_plan *plan,
	struct stub_elements *elements, stub_code **fixed);

/* Generate at most STUB_CODE_MAX bytes; returns how many, or 0 where the instruction cannot be
 * expressed in 64-bit mode. */
#define STUB_CODE_MAX 256
unsigned stub_emit(const struct stub_plan *plan, uint8_t *code);

#endif
