/* What may run natively, and what it touches.
 *
 * Most instructions compute on registers, flags and one operand in memory. They can run on the
 * host's own unit, the same bytes with other registers and another address: the interpreter's stubs
 * do it one by one (engine/interp/stub.h), the translator in its units. native_select() says which
 * instructions these are, what has to be loaded before and stored after each, and what has to be
 * checked before it may run. */
#ifndef VENEER_ISA_NATIVE_H
#define VENEER_ISA_NATIVE_H

#include "cpu/cpu_model.h"

#include <Zydis/Zydis.h>

#include <stdbool.h>
#include <stdint.h>

enum native_memory {
	NATIVE_NO_MEMORY,
	NATIVE_READ,
	NATIVE_WRITE,
	NATIVE_READ_WRITE,
	NATIVE_GATHER,       /* VSIB, gather or scatter: to be done element by element */
	NATIVE_MASKED_READ,  /* faults suppressed by a mask: VMASKMOV, AVX-512 masks, */
	NATIVE_MASKED_WRITE, /* MASKMOVDQU, compress and expand */
};

/* What the caller has to do before it runs the instruction. */
struct native_rules {
	uint8_t check;       /* enum fpu_class: which of the FPU's parts must be enabled */
	uint8_t memory;      /* enum native_memory */
	uint8_t memory_size; /* bytes, up to 64; of one element for NATIVE_GATHER */
	uint8_t alignment;   /* #GP(0) unless the address is a multiple (MOVAPS...); 1: none */
	uint8_t natural_alignment; /* #AC, where a program has asked for that, unless it is a
				      multiple */
	bool misaligned_mode;      /* alignment does not count where MXCSR.MM is set */
	/* VCVTPS2PH on Intel's processors: its floating-point exceptions come before its store's,
	 * so it is run as a masked store even where it has no mask. */
	bool computes_first;
	bool locked; /* LOCK prefix, or XCHG */
	bool x87;    /* records fip, fdp, fop */
	bool waits;  /* x87 or MMX: raises a pending exception first */
	uint16_t fop;
};

static inline bool native_writes(const struct native_rules *rules)
{
	return rules->memory == NATIVE_WRITE || rules->memory == NATIVE_READ_WRITE ||
	       rules->memory == NATIVE_MASKED_WRITE;
}

/* The elements of a masked or gathered memory operand, to find out which are accessed. */
enum native_elements_kind {
	ELEMENTS_OPMASK,  /* element n under bit n of an opmask register */
	ELEMENTS_EXPAND,  /* as many elements, from the first, as the opmask has bits */
	ELEMENTS_VECTOR,  /* element n under the sign bit of a vector register's element n */
	ELEMENTS_INDEXED, /* gather or scatter */
};

struct native_elements {
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

/* An instruction that may run natively. Registers are named by their numbers. */
struct native {
	const struct cpu_model *model;
	const ZydisDecodedInstruction *instruction;
	const ZydisDecodedOperand *operands;
	const uint8_t *bytes;
	struct native_rules rules;
	struct native_elements elements; /* rules.memory >= NATIVE_GATHER: else all zero */
	/* A routine in C has to do it (FNINIT and LDMXCSR would change state that belongs to the
	 * host), or it does nothing. The fields below are then not set. */
	bool emulated;
	uint32_t classes; /* of the registers: a bit for each ZydisRegisterClass */
	int memory;       /* index of the memory operand, or NO_OPERAND */
	uint16_t gpr_used, gpr_written;
	uint32_t vector_load, vector_written;
	uint8_t vector_width[32]; /* bytes */
	uint8_t mask_load, mask_written;
	bool vex;  /* VEX or EVEX: results are extended with zeroes to the whole register */
	bool wide; /* uses more than 128 bits of a register below 16 */
	bool flags_load, flags_store;
	bool high_byte;       /* AH, CH, DH or BH is named: no REX prefix may be added */
	bool implicit_memory; /* MASKMOVQ, MASKMOVDQU: the pointer is in RDI */
};

/* May it run natively? Fills in *native, which goes on to refer to the four others; `instruction`
 * has been decoded for the model, and `bytes` are its bytes. False: no (control flow, stack, string
 * and system instructions, images of the FPU's state, bit strings addressed by a register, LEA),
 * so that it is undefined unless the caller knows better. */
bool native_select(const struct cpu_model *model, const ZydisDecodedInstruction *instruction,
	const ZydisDecodedOperand *operands, const uint8_t *bytes, struct native *native);

#endif
