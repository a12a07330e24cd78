/* Which operand of an instruction is in which field of its encoding, for code that encodes it again
 * with other registers. */
#ifndef VENEER_ISA_FIELDS_H
#define VENEER_ISA_FIELDS_H

#include <Zydis/Zydis.h>

#include <stdbool.h>
#include <stdint.h>

/* The fields that name general registers, with the registers that the new instruction is to have: 4
 * bits each. Those that name other registers are ModRM's own 3 bits, to be extended by the bits
 * that the instruction has. */
struct isa_fields {
	bool has_modrm, memory; /* memory: ModRM names an operand in memory */
	uint8_t opcode, reg, rm, vvvv;
	bool reg_is_gpr, rm_is_gpr, vvvv_is_gpr;
	bool opcode_has_reg;
	uint8_t opcode_reg; /* then instead of the opcode's low 3 bits */
	bool any_gpr;       /* an operand is a general register, in a field or implied */
};

/* The fields of the instruction's form in 64-bit code, where `host` says which register is to stand
 * for each of the guest's. AH to BH are encoded as such, 4 to 7, or, with high_is_low, as the whole
 * register. MOV between the accumulator and an absolute address becomes its form with ModRM, whose
 * memory operand the caller replaces; one-byte INC and DEC of 16- and 32-bit code too; 82h is 80h.
 */
struct isa_fields isa_find_fields(const ZydisDecodedInstruction *instruction,
	const ZydisDecodedOperand *operands, const uint8_t host[16], bool high_is_low);

/* The payload of a VEX prefix: RXB and map; W, vvvv, L and pp, as in its form of three bytes (SDM
 * vol. 2A 2.3.5); and that of an EVEX prefix (2.7.1). Of 16- and 32-bit code they are such that
 * 64-bit code with them does the same: bits that are ignored there are made what names the first
 * eight registers, and W is clear where it would choose general registers of 64 bits. `bytes` is
 * the instruction. */
void isa_vex_payload(const ZydisDecodedInstruction *instruction, const struct isa_fields *fields,
	const uint8_t *bytes, uint8_t payload[2]);
void isa_evex_payload(const ZydisDecodedInstruction *instruction, const struct isa_fields *fields,
	const uint8_t *bytes, uint8_t payload[3]);

#endif
