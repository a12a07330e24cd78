/* Moving x87 and MXCSR between struct cpu and the host's unit, and turning the host's faults in
 * generated code into the guest's exceptions.
 *
 * Between fpu_enter() and fpu_leave() the guest's x87 stack, its pending exceptions and its MXCSR
 * with whatever it unmasks are in the processor, while our own C code runs. That is harmless: C
 * code compiled for x86-64 moves data through SSE registers but raises SSE exceptions only by
 * arithmetic, which vCPU threads do not do; a pending x87 exception waits for the next x87
 * instruction, and that is the guest's. FXSAVE and FXRSTOR do not look at it.
 *
 * The danger is in the handler. Linux gives it a clean FPU and puts the interrupted one back when
 * it returns, so the handler must return: it may not longjmp, which would lose the guest's x87
 * state and the MXCSR flags that explain the exception. So it sets the interrupted RIP to
 * landing(), and returns; landing() then runs on the vCPU's stack, in the guest's FPU state, and
 * raises. */
#include "base/log.h"
#include "cpu/cpuid.h"
#include "cpu/fpu.h"
#include "host/fault.h"

#include <string.h>
#include <ucontext.h>

#define FCW_POWER_UP 0x0040

/* An FXSAVE64 image: the head that cpu->fpu.x87 keeps, MXCSR in it, then what we ignore. */
struct fxsave_image {
	uint8_t x87[160];
	uint8_t rest[352];
} __attribute__((aligned(16)));

#define VECTOR_REGISTERS                                                                           \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",   \
		"xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define X87_REGISTERS "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"

static void to_host(const struct fpu *fpu)
{
	struct fxsave_image image;

	memcpy(image.x87, fpu->x87, sizeof(image.x87));
	memcpy(image.x87 + 24, &fpu->mxcsr, 4);
	memset(image.rest, 0, sizeof(image.rest));
	__asm__ volatile("fxrstor64 %0" : : "m"(image) : VECTOR_REGISTERS);
}

static void from_host(struct fpu *fpu)
{
	struct fxsave_image image;

	__asm__ volatile("fxsave64 %0" : "=m"(image));
	memcpy(fpu->x87, image.x87, sizeof(fpu->x87));
	memcpy(&fpu->mxcsr, image.x87 + 24, 4);
}

void fpu_reset(struct cpu *cpu)
{
	struct fpu *fpu = &cpu->fpu;
	uint16_t fcw = FCW_POWER_UP;

	memset(fpu->zmm, 0, sizeof(fpu->zmm));
	memset(fpu->opmask, 0, sizeof(fpu->opmask));
	memset(fpu->x87, 0, sizeof(fpu->x87));
	memcpy(fpu->x87, &fcw, 2);
	fpu->x87[4] = 0xff; /* the tags say "zero", not "empty" (SDM vol. 3A table 10-1) */
	fpu->mxcsr = MXCSR_DEFAULT;
	fpu->pkru = 0;
	fpu->fip = fpu->fdp = 0;
	fpu->fop = fpu->fcs = fpu->fds = 0;
}

void fpu_enter(struct cpu *cpu)
{
	to_host(&cpu->fpu);
	cpu->fpu_live = true;
}

void fpu_leave(struct cpu *cpu)
{
	uint32_t mxcsr = MXCSR_DEFAULT;

	from_host(&cpu->fpu);
	cpu->fpu_live = false;
	__asm__ volatile("fninit; ldmxcsr %0" : : "m"(mxcsr) : X87_REGISTERS);
}

void fpu_sync(struct cpu *cpu)
{
	if (cpu->fpu_live)
		from_host(&cpu->fpu);
}

void fpu_reload(struct cpu *cpu)
{
	if (cpu->fpu_live)
		to_host(&cpu->fpu);
}

#define MXCSR_MM BIT(17) /* misaligned exception mask (APM vol. 1 4.2.2) */

uint32_t fpu_mxcsr_host_mask(void)
{
	static _Atomic uint32_t mask;
	struct fxsave_image image = {0};
	uint32_t value = mask;

	if (unlikely(!value)) {
		__asm__ volatile("fxsave64 %0" : "=m"(image));
		memcpy(&value, image.x87 + 28, 4);
		/* Zero means the first processors with SSE, without DAZ (SDM vol. 1 11.6.6). */
		mask = value = value ? value : 0xffbf;
	}
	return value;
}

uint32_t fpu_mxcsr_mask(const struct cpu_model *model)
{
	uint32_t value = fpu_mxcsr_host_mask();

	return cpu_model_has(model, CPUID_MISALIGNSSE) ? value : value & ~(uint32_t)MXCSR_MM;
}

void fpu_ldmxcsr(struct cpu *cpu, uint32_t value)
{
	if (value & ~fpu_mxcsr_mask(cpu->model))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	cpu->fpu.mxcsr = value;
	if (cpu->fpu_live)
		__asm__ volatile("ldmxcsr %0" : : "m"(value));
}

uint32_t fpu_stmxcsr(struct cpu *cpu)
{
	if (cpu->fpu_live)
		__asm__ volatile("stmxcsr %0" : "=m"(cpu->fpu.mxcsr));
	return cpu->fpu.mxcsr;
}

/* --- may it run? --- */

const struct fpu_requirement fpu_requirements[FPU_CLASS_COUNT] = {
	[FPU_CLASS_X87] = {.cr0_mask = CR0_EM | CR0_TS},
	[FPU_CLASS_WAIT] = {.cr0_mask = CR0_TS},
	[FPU_CLASS_MMX] = {.cr0_mask = CR0_EM | CR0_TS},
	[FPU_CLASS_SSE] = {.cr0_mask = CR0_EM | CR0_TS, .cr4 = CR4_OSFXSR},
	[FPU_CLASS_AVX] = {.cr0_mask = CR0_TS | CR0_PE,
		.cr0_value = CR0_PE,
		.cr4 = CR4_OSXSAVE,
		.xcr0 = XCR0_AVX,
		.flags_clear = RFLAGS_VM},
	[FPU_CLASS_AVX512] = {.cr0_mask = CR0_TS | CR0_PE,
		.cr0_value = CR0_PE,
		.cr4 = CR4_OSXSAVE,
		.xcr0 = XCR0_AVX | XCR0_AVX512,
		.flags_clear = RFLAGS_VM},
	[FPU_CLASS_VEX] = {.cr0_mask = CR0_PE, .cr0_value = CR0_PE, .flags_clear = RFLAGS_VM},
	[FPU_CLASS_FXSAVE] = {.cr0_mask = CR0_EM | CR0_TS},
	[FPU_CLASS_XSAVE] = {.cr0_mask = CR0_TS, .cr4 = CR4_OSXSAVE},
};

void fpu_check_failed(struct cpu *cpu, enum fpu_class kind)
{
	const struct fpu_requirement *need = &fpu_requirements[kind];

	/* WAIT heeds TS only where MP says so (SDM vol. 3A table 2-2). */
	if (kind == FPU_CLASS_WAIT && !(cpu->cr0 & CR0_MP))
		return;
	/* x87 has no #UD here: EM and TS both give #NM. All others: #UD first, #NM for TS alone. */
	if (kind != FPU_CLASS_X87 && (((cpu->cr0 ^ need->cr0_value) & need->cr0_mask & ~CR0_TS) ||
					     (~cpu->cr4 & need->cr4) || (~cpu->xcr0 & need->xcr0) ||
					     (cpu->system_flags & need->flags_clear)))
		cpu_raise(cpu, VECTOR_UD);
	cpu_raise(cpu, VECTOR_NM);
}

/* --- faults in generated code --- */

static _Noreturn void raise_x87_error(struct cpu *cpu)
{
	if (cpu->cr0 & CR0_NE)
		cpu_raise(cpu, VECTOR_MF);
	/* The processor freezes before the instruction until the interrupt that FERR# causes. */
	if (cpu->platform->ferr)
		cpu->platform->ferr(cpu->platform->opaque, true);
	longjmp(cpu->unwind, CPU_UNWIND_RESTART);
}

void fpu_raise_pending(struct cpu *cpu)
{
	uint16_t status;

	__asm__ volatile("fnstsw %0" : "=m"(status));
	if (cpu->fpu_live ? status & 0x80 : cpu->fpu.x87[2] & 0x80)
		raise_x87_error(cpu);
}

/* Where a fault in generated code continues, as if that code had called it. */
static _Noreturn void landing(uint64_t vector)
{
	struct cpu *cpu = cpu_current;

	if (cpu_model_has(cpu->model, CPUID_AVX))
		__asm__ volatile("vzeroupper" : : : VECTOR_REGISTERS);
	switch (vector) {
	case VECTOR_MF:
		raise_x87_error(cpu);
	case VECTOR_XM:
		cpu_raise(cpu, cpu->cr4 & CR4_OSXMMEXCPT ? VECTOR_XM : VECTOR_UD);
	case VECTOR_GP:
	case VECTOR_AC:
		cpu_raise_error(cpu, vector, 0);
	default:
		cpu_raise(cpu, vector);
	}
}

static bool is_guest_fault(const struct cpu *cpu, const greg_t *registers)
{
	uintptr_t pc = (uintptr_t)registers[REG_RIP];

	if (!cpu || pc < cpu->native_start || pc >= cpu->native_end)
		return false;
	switch (registers[REG_TRAPNO]) {
	case VECTOR_DE:
	case VECTOR_UD:
	case VECTOR_GP:
	case VECTOR_MF:
	case VECTOR_AC:
	case VECTOR_XM:
		return true;
	default:
		return false; /* a page fault there is our own mistake */
	}
}

static bool on_fault(int signal, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	if (signal == SIGTRAP || !is_guest_fault(cpu_current, registers))
		return false;
	registers[REG_RDI] = registers[REG_TRAPNO];
	registers[REG_RIP] = (greg_t)(uintptr_t)landing;
	/* Below the red zone, aligned as after a call. */
	registers[REG_RSP] = ((registers[REG_RSP] - 128) & ~INT64_C(15)) - 8;
	registers[REG_EFL] &= ~(greg_t)(RFLAGS_DF | RFLAGS_AC);
	return true;
}

void fpu_init(void)
{
	fault_handle(FAULT_NATIVE_STUB, on_fault);
}
