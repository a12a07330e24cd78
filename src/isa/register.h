/* General registers, as instructions name them. */
#ifndef VENEER_ISA_REGISTER_H
#define VENEER_ISA_REGISTER_H

#include <Zydis/Zydis.h>

#include <stdbool.h>

/* Zydis numbers the general registers in a row, and asking it is a call into a library, many times
 * for each instruction that is translated. test_address.c compares its answers. */
_Static_assert(ZYDIS_REGISTER_R15 - ZYDIS_REGISTER_AL + 1 == 20 + 3 * 16, "general registers");

/* Of 8, 16, 32 or 64 bits. */
static inline bool isa_is_gpr(ZydisRegister reg)
{
	return reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_R15;
}

static inline ZydisRegisterClass isa_register_class(ZydisRegister reg)
{
	if (reg >= ZYDIS_REGISTER_FLAGS && reg <= ZYDIS_REGISTER_RFLAGS)
		return ZYDIS_REGCLASS_FLAGS;
	if (!isa_is_gpr(reg))
		return ZydisRegisterGetClass(reg);
	return reg >= ZYDIS_REGISTER_RAX   ? ZYDIS_REGCLASS_GPR64
	       : reg >= ZYDIS_REGISTER_EAX ? ZYDIS_REGCLASS_GPR32
	       : reg >= ZYDIS_REGISTER_AX  ? ZYDIS_REGCLASS_GPR16
					   : ZYDIS_REGCLASS_GPR8;
}

static inline bool isa_is_high_byte(ZydisRegister reg)
{
	return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

/* The number, 0 to 15, of the register that a general register is, or is a part of: AH to BH belong
 * to RAX to RBX. */
static inline unsigned isa_gpr_number(ZydisRegister reg)
{
	if (reg >= ZYDIS_REGISTER_AX)
		return (unsigned)(reg - ZYDIS_REGISTER_AX) % 16;
	if (reg >= ZYDIS_REGISTER_SPL)
		return (unsigned)(reg - ZYDIS_REGISTER_SPL) + 4;
	return (unsigned)(reg - ZYDIS_REGISTER_AL) % 4;
}

static inline bool isa_operand_is_gpr(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER && isa_is_gpr(operand->reg.value);
}

static inline bool isa_operand_is_gpr64(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       isa_register_class(operand->reg.value) == ZYDIS_REGCLASS_GPR64;
}

#endif
