#include "isa/address.h"

#include "isa/register.h"

static int8_t register_number(ZydisRegister reg)
{
	return isa_is_gpr(reg) ? (int8_t)isa_gpr_number(reg) : -1;
}

bool isa_address(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *op, uint64_t next,
	struct isa_address *out)
{
	const ZydisDecodedOperandMem *mem = &op->mem;
	bool wraps = in->machine_mode != ZYDIS_MACHINE_MODE_LONG_64;
	/* The stack of 64-bit code has 64-bit addresses, whatever the address size. */
	bool stack = op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
		     mem->segment == ZYDIS_REGISTER_SS;

	if (op->type != ZYDIS_OPERAND_TYPE_MEMORY ||
		(mem->type != ZYDIS_MEMOP_TYPE_MEM && mem->type != ZYDIS_MEMOP_TYPE_AGEN) ||
		in->mnemonic == ZYDIS_MNEMONIC_XLAT || in->address_width == 16)
		return false;
	*out = (struct isa_address){.disp = (uint64_t)mem->disp.value,
		.base = register_number(mem->base),
		.index = register_number(mem->index),
		.scale = mem->scale,
		.segment = mem->segment == ZYDIS_REGISTER_FS   ? SEG_FS
			   : mem->segment == ZYDIS_REGISTER_GS ? SEG_GS
							       : SEG_NONE,
		.narrow = wraps || (in->address_width == 32 && !stack),
		.wraps = wraps};
	if (mem->base == ZYDIS_REGISTER_RIP || mem->base == ZYDIS_REGISTER_EIP)
		out->disp += next;
	if (stack && out->base == RSP && (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
		out->disp -= op->size / 8;
	return true;
}

uint64_t isa_linear(const struct cpu *cpu, const struct isa_address *a)
{
	uint64_t offset = a->disp;

	if (a->base >= 0)
		offset += cpu->gpr[a->base];
	if (a->index >= 0)
		offset += cpu->gpr[a->index] * a->scale;
	if (a->narrow)
		offset = (uint32_t)offset;
	offset += cpu->segment_base[a->segment];
	return a->wraps ? (uint32_t)offset : offset;
}
