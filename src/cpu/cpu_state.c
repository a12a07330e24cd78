/* The whole architected state of a vCPU, out and in again. */
#include "cpu/access.h"
#include "cpu/cpu.h"
#include "cpu/debug.h"
#include "cpu/fpu.h"
#include "cpu/instruction_internal.h"
#include "cpu/paging.h"
#include "cpu/steal_time.h"

#include <errno.h>

/* Those bits of `pending` that are requests to the guest's processor, not to the vCPU's thread.
 * PENDING_INTR is not one of them: it is the level of the interrupt controller's output, which the
 * controller sets again when its own state is loaded. */
#define PENDING_EVENTS ((uint32_t)(PENDING_NMI | PENDING_INIT | PENDING_SIPI | PENDING_DEBUG))

/* The bits that there are. */
#define FLAGS_SYSTEM                                                                               \
	(RFLAGS_FIXED1 | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF | \
		RFLAGS_VM | RFLAGS_AC | RFLAGS_VIF | RFLAGS_VIP | RFLAGS_ID)
#define FLAGS_ARITHMETIC 0xd701 /* as struct cpu_state has them */
#define SEGMENT_ACCESS                                                                             \
	(AR_TYPE_MASK | AR_S | AR_DPL_MASK | AR_P | AR_AVL | AR_L | AR_DB | AR_G | AR_UNUSABLE)

void cpu_get_state(struct cpu *cpu, struct cpu_state *state)
{
	cpu_pull(cpu, STATE_ALL);
	*state = cpu->state;
	state->events = atomic_load(&cpu->pending) & PENDING_EVENTS;
	if (atomic_load(&cpu->unhalt))
		state->events |= PENDING_UNHALT;
	state->events_nmi = (uint8_t)atomic_load(&cpu->nmi_queued);
}

/* --- may these values be in force? --- */

static bool modes_fit(const struct cpu_state *s)
{
	bool paging = s->cr0 & CR0_PG, long_mode = s->efer & EFER_LMA;

	if (!cr0_consistent(s->cr0) || (!(s->cr0 & CR0_PE) && s->cpl != 0))
		return false;
	if (long_mode != (paging && (s->efer & EFER_LME)))
		return false;
	if (long_mode && !(s->cr4 & CR4_PAE))
		return false;
	if ((s->cr4 & CR4_PCIDE) && !long_mode)
		return false;
	if ((s->system_flags & RFLAGS_VM) && (long_mode || !(s->cr0 & CR0_PE) || s->cpl != 3))
		return false;
	return true;
}

static bool numbers_fit(const struct cpu_state *s)
{
	return s->cpl <= 3 && s->interrupt_shadow <= SHADOW_MOV_SS &&
	       s->activity <= ACTIVITY_SHUTDOWN && s->events_nmi <= NMI_QUEUED_MAX &&
	       !(s->events & ~(PENDING_EVENTS | PENDING_UNHALT)) &&
	       !(s->steal_msr & STEAL_TIME_RESERVED) && s->nmi_blocked <= 1 &&
	       (s->system_flags & RFLAGS_FIXED1) && !(s->system_flags & ~FLAGS_SYSTEM) &&
	       !(s->arithmetic_flags & ~FLAGS_ARITHMETIC) && debug_registers_fit(s);
}

static bool features_fit(const struct cpu *cpu, const struct cpu_state *s)
{
	return !(s->cr4 & ~cpu->model->cr4) && !(s->efer & ~cpu->model->efer) &&
	       !(s->xcr0 & ~cpu->model->xcr0) && xcr0_consistent(s->xcr0) && !s->xss &&
	       !(s->fpu.mxcsr & ~fpu_mxcsr_mask(cpu->model));
}

static bool tables_fit(const struct cpu *cpu, const struct cpu_state *s)
{
	bool pae = (s->cr0 & CR0_PG) && (s->cr4 & CR4_PAE) && !(s->efer & EFER_LMA);

	return !(s->cr3 >> cpu->model->physical_bits) && (!pae || paging_pdptes_fit(cpu, s->pdpte));
}

/* Only FS and GS, and in long mode the system segments, have bases beyond 4 GiB. */
static bool segment_fits(const struct cpu *cpu, const struct segment *segment, bool wide)
{
	return cpu_canonical_base(cpu, segment->base) && (wide || !(segment->base >> 32)) &&
	       !(segment->access & ~(uint32_t)SEGMENT_ACCESS);
}

static bool segments_fit(const struct cpu *cpu, const struct cpu_state *s)
{
	uint32_t both = AR_L | AR_DB;

	for (unsigned seg = 0; seg < SEG_STATE; seg++)
		if (!segment_fits(cpu, &s->segment[seg], seg >= SEG_FS))
			return false;
	return !(s->efer & EFER_LMA) || (s->segment[SEG_CS].access & both) != both;
}

/* In 64-bit code RIP may be any: the last instruction of the lower half leads out of it, and on
 * AMD's processors SYSRET leads anywhere. The next fetch raises #GP then. */
static bool bases_fit(const struct cpu *cpu, const struct cpu_state *s)
{
	bool code64 = (s->efer & EFER_LMA) && (s->segment[SEG_CS].access & AR_L);

	if (!code64 && s->rip >> 32)
		return false;
	return cpu_canonical_base(cpu, s->gdtr.base) && cpu_canonical_base(cpu, s->idtr.base) &&
	       cpu_canonical_base(cpu, s->lstar) && cpu_canonical_base(cpu, s->cstar) &&
	       cpu_canonical_base(cpu, s->kernel_gs_base);
}

/* --- putting them in force --- */

static void set_segment_bases(struct cpu *cpu)
{
	for (unsigned seg = 0; seg < SEG_STATE; seg++)
		cpu->segment_base[seg] =
			seg == SEG_CS && cpu_code64(cpu) ? 0 : cpu->segment[seg].base;
}

static void set_events(struct cpu *cpu)
{
	cpu_clear_pending(cpu, PENDING_EVENTS);
	atomic_store(&cpu->nmi_queued, cpu->events_nmi);
	atomic_store(&cpu->unhalt, cpu->events & PENDING_UNHALT);
	cpu_set_pending(cpu, (cpu->events & PENDING_EVENTS) | PENDING_RECHECK);
	cpu->events = 0;
	cpu->events_nmi = 0;
}

int cpu_set_state(struct cpu *cpu, const struct cpu_state *state)
{
	uint64_t tsc_before = cpu->tsc_offset;

	if (!numbers_fit(state) || !modes_fit(state) || !features_fit(cpu, state) ||
		!tables_fit(cpu, state) || !segments_fit(cpu, state) || !bases_fit(cpu, state))
		return -EINVAL;
	cpu->state = *state;
	cpu->next_rip = cpu->rip;
	cpu->no_step_trap = false;
	set_segment_bases(cpu);
	set_events(cpu);
	cpu_update_view(cpu);
	tlb_flush_all(cpu);
	cpu->engine_ops->code_context_changed(cpu);
	cpu_push(cpu, STATE_ALL);
	/* Which takes the machine lock, so who holds that leaves the offset as it is. */
	if (cpu->tsc_offset != tsc_before && cpu->platform->tsc_changed)
		cpu->platform->tsc_changed(cpu->platform->opaque, cpu);
	return 0;
}
