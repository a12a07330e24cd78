/* General registers, as instructions name them. */
#ifndef VENEER_ISA_REGISTER_H
#define VENEER_ISA_REGISTER_H

#include <Zydis/Zydis.h>

#include <stdbool.h>

/* Of 8, 16, 32 or 64 bits. */
static inline bool isa_is_gpr(ZydisRegister reg)
{
	unsigned class = ZydisRegisterGetClass(reg);

	return class >= ZYDIS_REGCLASS_GPR8 && class <= ZYDIS_REGCLASS_GPR64;
}

static inline bool isa_is_high_byte(ZydisRegister reg)
{
	return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

/* The number, 0 to 15, of the register that a general register is, or is a part of: AH to BH belong
 * to RAX to RBX. */
static inline unsigned isa_gpr_number(ZydisRegister reg)
{
	return (unsigned)ZydisRegisterGetId(
		ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg));
}

static inline bool isa_operand_is_gpr(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER && isa_is_gpr(operand->reg.value);
}

static inline bool isa_operand_is_gpr64(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       ZydisRegisterGetClass(operand->reg.value) == ZYDIS_REGCLASS_GPR64;
}

#endif
