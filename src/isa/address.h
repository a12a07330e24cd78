/* Where an instruction's operand in memory is, in terms of the registers: of 64-bit code, or of
 * 32-bit code with flat segments. */
#ifndef VENEER_ISA_ADDRESS_H
#define VENEER_ISA_ADDRESS_H

#include "cpu/cpu.h"

#include <Zydis/Zydis.h>

struct isa_address {
	uint64_t disp;      /* includes RIP for a RIP-relative operand */
	int8_t base, index; /* general registers, or -1 */
	uint8_t scale;
	uint8_t segment; /* enum seg: SEG_FS, SEG_GS, or SEG_NONE, whose base is 0 */
	bool narrow;     /* cut to 32 bits before the segment's base is added */
	bool wraps;      /* cut to 32 bits after that, too: 32-bit code */
};

/* The address of a memory operand, of an instruction of such code that ends at `next`. Of PUSH
 * and CALL, which write below RSP, it is where they write. False where it does not depend on
 * whole general registers only: with a vector of addresses (VSIB), and XLAT, which adds AL. */
bool isa_address(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operand,
	uint64_t next, struct isa_address *out);

/* The linear address that it is with the registers that the CPU has now. */
uint64_t isa_linear(const struct cpu *cpu, const struct isa_address *address);

#endif
