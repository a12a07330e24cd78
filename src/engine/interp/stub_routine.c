/* Instructions that could run natively but for what they would do to the host's own state, done in
 * C. They are called as stubs are. */
#include "engine/interp/stub_internal.h"

#include <string.h>

static void run_nothing(struct cpu *cpu, void *memory)
{
}

static void run_ldmxcsr(struct cpu *cpu, void *memory)
{
	uint32_t value;

	memcpy(&value, memory, 4);
	fpu_ldmxcsr(cpu, value);
}

static void run_stmxcsr(struct cpu *cpu, void *memory)
{
	uint32_t value = fpu_stmxcsr(cpu);

	memcpy(memory, &value, 4);
}

static void run_vzeroall(struct cpu *cpu, void *memory)
{
	memset(cpu->fpu.zmm, 0, (cpu_code64(cpu) ? 16 : 8) * sizeof(cpu->fpu.zmm[0]));
}

static void run_vzeroupper(struct cpu *cpu, void *memory)
{
	unsigned count = cpu_code64(cpu) ? 16 : 8;

	for (unsigned i = 0; i < count; i++)
		memset(cpu->fpu.zmm[i] + 16, 0, sizeof(cpu->fpu.zmm[i]) - 16);
}

static void run_fninit(struct cpu *cpu, void *memory)
{
	__asm__ volatile("fninit");
	cpu->fpu.fip = cpu->fpu.fdp = 0;
	cpu->fpu.fop = cpu->fpu.fcs = cpu->fpu.fds = 0;
}

/* What is not here has nothing to do: a hint or a flush, of which only the address must be good, or
 * a gather or scatter, which stub_run_slow() does. */
stub_code *stub_routine(const ZydisDecodedInstruction *in)
{
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_VZEROALL:
		return run_vzeroall;
	case ZYDIS_MNEMONIC_VZEROUPPER:
		return run_vzeroupper;
	case ZYDIS_MNEMONIC_FNINIT:
		return run_fninit;
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
		return run_ldmxcsr;
	case ZYDIS_MNEMONIC_STMXCSR:
	case ZYDIS_MNEMONIC_VSTMXCSR:
		return run_stmxcsr;
	default:
		return run_nothing;
	}
}
