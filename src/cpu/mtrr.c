/* Memory type registers: the values a guest writes are checked as hardware checks them. */
#include "cpu/mtrr.h"

#define MSR_MTRR_VARIABLE 0x200
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MTRR_VALID        BIT(11)
#define DEF_TYPE_ENABLES  (BIT(10) | BIT(11))
/* AMD: with SYSCFG.MtrrFixDramModEn the fixed ranges also say where reads and writes go. */
#define SYSCFG_FIX_DRAM_MODIFY BIT(19)
#define FIXED_DRAM_BITS        UINT64_C(0x1818181818181818)

/* UC, WC, WT, WP, WB; and in the PAT also UC-. */
static bool valid_type(unsigned type)
{
	return type < 7 && (0x73 >> type & 1);
}

static bool valid_types(uint64_t value, bool pat)
{
	for (unsigned i = 0; i < 8; i++, value >>= 8)
		if (!valid_type(value & 0xff) && !(pat && (value & 0xff) == 7))
			return false;
	return true;
}

bool pat_write(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	if (!valid_types(value, true))
		return false;
	cpu->pat = value;
	return true;
}

static uint64_t *fixed_register(struct cpu *cpu, uint32_t msr)
{
	if (msr == 0x250)
		return &cpu->mtrr_fixed[0];
	if (msr == 0x258 || msr == 0x259)
		return &cpu->mtrr_fixed[1 + msr - 0x258];
	if (msr >= 0x268 && msr <= 0x26f)
		return &cpu->mtrr_fixed[3 + msr - 0x268];
	return NULL;
}

static uint64_t *variable_register(struct cpu *cpu, uint32_t msr)
{
	if (msr - MSR_MTRR_VARIABLE < ARRAY_SIZE(cpu->mtrr_variable))
		return &cpu->mtrr_variable[msr - MSR_MTRR_VARIABLE];
	return NULL;
}

bool mtrr_read(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	uint64_t *field = msr == MSR_MTRR_DEF_TYPE ? &cpu->mtrr_def_type : fixed_register(cpu, msr);

	if (!field)
		field = variable_register(cpu, msr);
	if (!field)
		return false;
	*value = *field;
	return true;
}

static bool write_variable(struct cpu *cpu, uint32_t msr, uint64_t *field, uint64_t value)
{
	bool mask = msr & 1;
	uint64_t low = mask ? MTRR_VALID : 0xff;

	if (value >> cpu->model->physical_bits || (value & 0xfff & ~low))
		return false;
	if (!mask && !valid_type(value & 0xff))
		return false;
	*field = value;
	return true;
}

bool mtrr_write(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	uint64_t *field = variable_register(cpu, msr);
	uint64_t types = value;

	if (field)
		return write_variable(cpu, msr, field, value);
	if (msr == MSR_MTRR_DEF_TYPE) {
		if ((value & ~(DEF_TYPE_ENABLES | 0xff)) || !valid_type(value & 0xff))
			return false;
		cpu->mtrr_def_type = value;
		return true;
	}
	field = fixed_register(cpu, msr);
	if (cpu->amd && (cpu->amd_syscfg & SYSCFG_FIX_DRAM_MODIFY))
		types &= ~FIXED_DRAM_BITS;
	if (!field || !valid_types(types, false))
		return false;
	*field = value;
	return true;
}
