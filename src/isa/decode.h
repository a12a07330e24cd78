/* Decoding: from instruction bytes to what Zydis says of them, corrected where Zydis is wrong.
 *
 * Everything that decodes asks here, the engines for the guest's code, and the trace and the checks
 * for our own, so that no two of them can understand the same bytes differently. */
#ifndef VENEER_ISA_DECODE_H
#define VENEER_ISA_DECODE_H

#include "cpu/cpu_model.h"

#include <Zydis/Zydis.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INSN_LENGTH_MAX 15 /* bytes, SDM vol. 2 2.3.11 */

/* The default operand and address size of the code. */
enum isa_mode { ISA_16, ISA_32, ISA_64, ISA_MODES };

enum isa_status {
	ISA_DECODED,
	ISA_MORE,      /* the bytes end within the instruction */
	ISA_TOO_LONG,  /* longer than 15 bytes: #GP */
	ISA_UNDEFINED, /* not an instruction of this processor: #UD */
};

/* Decode the instruction at the start of `bytes`, of which `available` may be read (more than 15 do
 * no harm). `model` says for which processor the code is; NULL: for any, such as our own. Vendors
 * differ in the operand size of near branches with a 66h prefix in 64-bit mode (AMD's take 16 bits
 * of RIP, Intel's ignore it); and TZCNT and LZCNT are BSF and BSR where they are not known, and
 * then have no prefix. What belongs to a feature that the model has not (isa/feature.h) is
 * undefined. Fills in *instruction and `operands`
 * (ZYDIS_MAX_OPERAND_COUNT of them, the first instruction->operand_count valid) where it returns
 * ISA_DECODED.
 *
 * MPX and CLDEMOTE are not known: their opcodes are the NOPs that they are on a processor that does
 * not have them. */
enum isa_status isa_decode(enum isa_mode mode, const struct cpu_model *model, const uint8_t *bytes,
	size_t available, ZydisDecodedInstruction *instruction, ZydisDecodedOperand *operands);

/* How many bytes of the operand the instruction reads or writes, on AMD's processors or on Intel's.
 * MOVSXD to 16 bits reads no more than these on Intel's (SDM vol. 2, MOVSXD); AMD's, whose manual
 * does not have that form, read 32, which is what Zydis says. */
unsigned isa_operand_bytes(
	bool amd, const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operand);

#endif
