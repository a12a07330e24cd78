/* A virtual CPU: making one, resetting it, waking it from other threads, throwing exceptions. */
#include "cpu/cpu.h"
#include "base/log.h"
#include "cpu/access.h"
#include "cpu/cpuid.h"
#include "cpu/fpu.h"
#include "cpu/tlb.h"
#include "cpu/transfer.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

_Thread_local struct cpu *cpu_current;

#define CR0_AT_RESET             (CR0_CD | CR0_NW | CR0_ET)
#define DR6_AT_RESET             UINT64_C(0xffff0ff0)
#define DR7_AT_RESET             UINT64_C(0x400)
#define PAT_AT_RESET             UINT64_C(0x0007040600070406)
#define MISC_ENABLE_FAST_STRINGS BIT(0)
#define HWCR_TSC_FREQ_SEL        BIT(24)

static void no_context_changed(struct cpu *cpu)
{
}

static void no_tlb_flushed(struct cpu *cpu, const struct tlb_request *request)
{
}

void cpu_no_kick(struct cpu *cpu)
{
}

void cpu_pull_live(struct cpu *cpu, unsigned groups)
{
	if (groups & STATE_FPU)
		fpu_sync(cpu);
}

void cpu_push_live(struct cpu *cpu, unsigned groups)
{
	if (groups & STATE_FPU)
		fpu_reload(cpu);
}

const struct cpu_engine_ops cpu_engine_ops_none = {
	.code_context_changed = no_context_changed,
	.tlb_flushed = no_tlb_flushed,
	.kick = cpu_no_kick,
	.pull = cpu_pull_live,
	.push = cpu_push_live,
};

struct cpu *cpu_create(struct cpu_platform *platform, unsigned index)
{
	struct cpu *cpu = low_memory_map(sizeof(*cpu));

	if (!cpu) {
		log_error("no memory for vCPU %u: %s", index, strerror(errno));
		return NULL;
	}
	if (memory_pair_create(platform->memory, &cpu->split.pair) < 0) {
		log_error("no room to map guest memory for vCPU %u", index);
		munmap(cpu, sizeof(*cpu));
		return NULL;
	}
	cpu->index = index;
	cpu->engine_ops = &cpu_engine_ops_none;
	cpu->platform = platform;
	cpu->memory = platform->memory;
	cpu->page_flags_biased = (uintptr_t)platform->memory->page_flags -
				 ((uintptr_t)platform->memory->ram >> PAGE_SHIFT);
	cpu->apic_page = ~UINT64_C(0);
	cpu->run_delay.file = -1;
	cpu->model = platform->model;
	cpu->amd = cpu->model->amd;
	tlb_listen(cpu);
	cpu_reset(cpu);
	return cpu;
}

void cpu_destroy(struct cpu *cpu)
{
	if (!cpu)
		return;
	memory_unlisten(cpu->memory, &cpu->memory_listener);
	memory_pair_destroy(&cpu->split.pair);
	munmap(cpu, sizeof(*cpu));
}

/* What RESET and INIT have in common (SDM vol. 3A table 10-1). */
static void reset_common(struct cpu *cpu)
{
	static const struct segment data = {.limit = 0xffff, .access = AR_P | AR_S | 3};
	static const struct segment ldtr = {.limit = 0xffff, .access = AR_P | 2};
	static const struct segment tr = {.limit = 0xffff, .access = AR_P | 11};
	static const struct segment code = {.selector = 0xf000,
		.base = 0xffff0000,
		.limit = 0xffff,
		.access = AR_P | AR_S | AR_CODE | AR_READABLE | AR_ACCESSED};
	struct cpuid_result leaf;

	memset(cpu->gpr, 0, sizeof(cpu->gpr));
	cpuid_query(cpu, 1, 0, &leaf);
	cpu->gpr[RDX] = leaf.eax;
	cpu->efer = 0;
	cpu->cr2 = cpu->cr3 = cpu->cr4 = 0;
	cpu->cpl = 0;
	cpu->interrupt_shadow = SHADOW_NONE;
	cpu->no_step_trap = false;
	cpu->nmi_blocked = false;
	cpu->pending_debug = 0;
	cpu->steal_msr = cpu->steal_ns = 0;
	atomic_store(&cpu->unhalt, false);
	cpu_set_rflags(cpu, RFLAGS_FIXED1);
	for (enum seg seg = SEG_ES; seg <= SEG_GS; seg++)
		cpu_set_segment(cpu, seg, seg == SEG_CS ? &code : &data);
	cpu_set_segment(cpu, SEG_LDTR, &ldtr);
	cpu_set_segment(cpu, SEG_TR, &tr);
	cpu->gdtr = cpu->idtr = (struct descriptor_table){.limit = 0xffff};
	cpu->rip = cpu->next_rip = 0xfff0;
	memset(cpu->dr, 0, sizeof(cpu->dr));
	cpu->dr6 = DR6_AT_RESET;
	cpu->dr7 = DR7_AT_RESET;
	cpu->activity = cpu->index == 0 ? ACTIVITY_RUNNING : ACTIVITY_WAIT_FOR_SIPI;
}

void cpu_reset(struct cpu *cpu)
{
	cpu->cr0 = CR0_AT_RESET;
	reset_common(cpu);
	cpu->star = cpu->lstar = cpu->cstar = cpu->sfmask = cpu->kernel_gs_base = 0;
	cpu->sysenter_cs = cpu->sysenter_esp = cpu->sysenter_eip = 0;
	cpu->xcr0 = 1;
	cpu->xss = 0;
	/* All TSCs agree again; they go on counting, so that vCPUs reset one after the other stay
	 * in step. */
	cpu->tsc_offset = cpu->tsc_adjust = cpu->tsc_aux = 0;
	cpu->pat = PAT_AT_RESET;
	cpu->misc_enable = MISC_ENABLE_FAST_STRINGS;
	cpu->debug_control = cpu->spec_ctrl = cpu->mcg_status = 0;
	cpu->amd_hwcr = HWCR_TSC_FREQ_SEL;
	cpu->amd_syscfg = 0;
	cpu->amd_de_cfg = BIT(1); /* LFENCE waits for everything before it */
	cpu->mtrr_def_type = 0;
	memset(cpu->mtrr_fixed, 0, sizeof(cpu->mtrr_fixed));
	memset(cpu->mtrr_variable, 0, sizeof(cpu->mtrr_variable));
	cpu->pvclock_msr = cpu->pvclock_wall_msr = 0;
	cpu_clear_pending(
		cpu, PENDING_NMI | PENDING_INIT | PENDING_SIPI | PENDING_DEBUG | PENDING_RECHECK);
	atomic_store(&cpu->nmi_queued, 0);
	fpu_reset(cpu);
	cpu_update_view(cpu);
	tlb_flush_all(cpu);
	cpu->engine_ops->code_context_changed(cpu);
	cpu_push(cpu, STATE_ALL);
}

void cpu_init_reset(struct cpu *cpu)
{
	cpu->cr0 = (cpu->cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
	reset_common(cpu);
	cpu_clear_pending(cpu, PENDING_DEBUG | PENDING_RECHECK);
	cpu_update_view(cpu);
	tlb_flush_all(cpu);
	cpu->engine_ops->code_context_changed(cpu);
	cpu_push(cpu, STATE_ALL & ~STATE_FPU);
}

/* --- requests from other threads --- */

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void cpu_set_pending(struct cpu *cpu, uint32_t bits)
{
	uint32_t before = atomic_fetch_or(&cpu->pending, bits);

	atomic_store(&cpu->attention, 1);
	cpu->engine_ops->kick(cpu);
	if ((before & PENDING_WAITING) && (before & bits) != bits)
		futex_wake(&cpu->pending);
}

/* A vCPU that runs finds it when it halts. It stays out of `pending` until then: there it would
 * stop each STI. */
void cpu_unhalt(struct cpu *cpu)
{
	atomic_store(&cpu->unhalt, true);
	if (atomic_load(&cpu->pending) & PENDING_WAITING)
		cpu_set_pending(cpu, PENDING_UNHALT);
}

void cpu_queue_nmi(struct cpu *cpu)
{
	unsigned queued = atomic_load(&cpu->nmi_queued);

	while (queued < NMI_QUEUED_MAX &&
		!atomic_compare_exchange_weak(&cpu->nmi_queued, &queued, queued + 1))
		;
	cpu_set_pending(cpu, PENDING_NMI);
}

void cpu_unblock_nmi(struct cpu *cpu)
{
	unsigned all = NMI_QUEUED_MAX;

	if (!cpu->nmi_blocked)
		return;
	atomic_compare_exchange_strong(&cpu->nmi_queued, &all, 1);
	cpu->nmi_blocked = false;
	if (atomic_load(&cpu->pending) & PENDING_NMI)
		atomic_store(&cpu->attention, 1);
}

void cpu_clear_pending(struct cpu *cpu, uint32_t bits)
{
	atomic_fetch_and(&cpu->pending, ~bits);
}

/* The futex compares `pending` with what the decision to sleep was made on, so a request that
 * arrives in between is not missed. A kick is in `unhalt`, and its bit is only there to change
 * `pending`: a bit that an earlier kick has left is cleared before `unhalt` is looked at, and one
 * that appears after that keeps the thread awake. */
void cpu_wait_pending(struct cpu *cpu)
{
	uint32_t value;

	atomic_fetch_and(&cpu->pending, ~(uint32_t)PENDING_UNHALT);
	value = atomic_fetch_or(&cpu->pending, PENDING_WAITING) | PENDING_WAITING;

	if (!(value & PENDING_STOP) && !cpu_has_wakeup(cpu))
		futex_wait(&cpu->pending, value & ~(uint32_t)PENDING_UNHALT);
	atomic_fetch_and(&cpu->pending, ~(uint32_t)PENDING_WAITING);
}

/* --- exceptions --- */

/* The vectors that push an error code (SDM vol. 3A 6.13). */
#define ERROR_CODE_VECTORS                                                                         \
	(BIT(VECTOR_DF) | BIT(VECTOR_TS) | BIT(VECTOR_NP) | BIT(VECTOR_SS) | BIT(VECTOR_GP) |      \
		BIT(VECTOR_PF) | BIT(VECTOR_AC))

_Noreturn void cpu_raise_error(struct cpu *cpu, enum vector vector, uint32_t error)
{
	cpu->exception = (struct exception){
		.vector = (uint8_t)vector,
		.has_error = (ERROR_CODE_VECTORS >> vector) & 1,
		.error = error,
	};
	_longjmp(cpu->unwind, 1);
}

_Noreturn void cpu_raise(struct cpu *cpu, enum vector vector)
{
	cpu_raise_error(cpu, vector, 0);
}

_Noreturn void cpu_raise_page_fault(struct cpu *cpu, uint64_t linear, uint32_t error)
{
	cpu->cr2 = linear;
	cpu->stats.page_faults++;
	cpu_raise_error(cpu, VECTOR_PF, error);
}

/* --- state that other state follows --- */

#define RFLAGS_DEFINED                                                                             \
	(RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT |         \
		RFLAGS_RF | RFLAGS_VM | RFLAGS_AC | RFLAGS_VIF | RFLAGS_VIP | RFLAGS_ID)

void cpu_set_rflags(struct cpu *cpu, uint64_t value)
{
	uint64_t system = (value & RFLAGS_DEFINED & ~RFLAGS_ARITHMETIC) | RFLAGS_FIXED1;
	uint64_t changed = cpu->system_flags ^ system;

	cpu_set_arithmetic_flags(cpu, value);
	if (!changed)
		return;
	cpu->system_flags = system;
	if (changed & RFLAGS_AC)
		cpu_update_view(cpu);
	/* An interrupt may be deliverable now, or single-stepping may begin: the engine must
	 * look. */
	if ((changed & system & RFLAGS_TF) ||
		((changed & system & (RFLAGS_IF | RFLAGS_VIF)) &&
			atomic_load_explicit(&cpu->pending, memory_order_relaxed)))
		atomic_store_explicit(&cpu->attention, 1, memory_order_relaxed);
	if (changed & RFLAGS_VM)
		cpu->engine_ops->code_context_changed(cpu);
}

void cpu_set_segment(struct cpu *cpu, enum seg seg, const struct segment *value)
{
	const struct segment *old = &cpu->segment[seg];
	bool same = old->base == value->base && old->limit == value->limit &&
		    old->access == value->access;

	/* Copy the fields one by one, in the sizes in which they were just written: a wider load
	 * could not be forwarded from the store buffer and would stall. */
	cpu->segment[seg].base = value->base;
	cpu->segment[seg].limit = value->limit;
	cpu->segment[seg].access = value->access;
	cpu->segment[seg].selector = value->selector;
	/* 64-bit code runs at base 0 whatever its descriptor says. */
	cpu->segment_base[seg] = seg == SEG_CS && cpu_code64(cpu) ? 0 : value->base;
	if (!same && seg <= SEG_GS && (seg == SEG_CS || !cpu_code64(cpu)))
		cpu->engine_ops->code_context_changed(cpu);
}

void cpu_set_cpl(struct cpu *cpu, unsigned cpl)
{
	if (cpu->cpl == cpl)
		return;
	cpu->cpl = (uint8_t)cpl;
	cpu_update_view(cpu);
	cpu->engine_ops->code_context_changed(cpu);
}

void cpu_update_view(struct cpu *cpu)
{
	enum tlb_view view = TLB_SUPERVISOR;

	if (cpu->cpl == 3)
		view = (cpu->cr0 & CR0_AM) && (cpu->system_flags & RFLAGS_AC) ? TLB_USER_ALIGNED
									      : TLB_USER;
	else if ((cpu->cr4 & CR4_SMAP) && (cpu->system_flags & RFLAGS_AC))
		view = TLB_SUPERVISOR_AC;
	cpu->tlb = cpu->tlb_views[view];
}
