/* The whole architected state of a vCPU, out and in again. */
#include "cpu/access.h"
#include "cpu/cpu.h"
#include "cpu/fpu.h"

#include <errno.h>

/* Those bits of `pending` that are requests to the guest's processor, not to the vCPU's thread.
 * PENDING_INTR is not one of them: it is the level of the interrupt controller's output, which the
 * controller sets again when its own state is loaded. */
#define PENDING_EVENTS ((uint32_t)(PENDING_NMI | PENDING_INIT | PENDING_SIPI | PENDING_DEBUG))
#define NMI_QUEUED_MAX 2

void cpu_get_state(struct cpu *cpu, struct cpu_state *state)
{
	fpu_sync(cpu);
	*state = cpu->state;
	state->events = atomic_load(&cpu->pending) & PENDING_EVENTS;
	state->events_nmi = (uint8_t)atomic_load(&cpu->nmi_queued);
}

/* --- may these values be in force? --- */

static bool modes_fit(const struct cpu_state *s)
{
	bool paging = s->cr0 & CR0_PG, long_mode = s->efer & EFER_LMA;

	if (paging && !(s->cr0 & CR0_PE))
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
	       !(s->events & ~PENDING_EVENTS) && s->nmi_blocked <= 1 &&
	       (s->system_flags & RFLAGS_FIXED1) && !(s->system_flags & RFLAGS_ARITHMETIC);
}

static bool features_fit(const struct cpu *cpu, const struct cpu_state *s)
{
	return !(s->cr4 & ~cpu->model->cr4) && !(s->efer & ~cpu->model->efer) &&
	       !(s->xcr0 & ~cpu->model->xcr0) && (s->xcr0 & BIT(XSTATE_X87)) && !s->xss &&
	       !(s->fpu.mxcsr & ~fpu_mxcsr_mask(cpu->model));
}

static bool bases_fit(const struct cpu *cpu, const struct cpu_state *s)
{
	for (unsigned seg = 0; seg < SEG_STATE; seg++)
		if (!cpu_canonical_base(cpu, s->segment[seg].base))
			return false;
	return cpu_canonical_base(cpu, s->gdtr.base) && cpu_canonical_base(cpu, s->idtr.base) &&
	       cpu_canonical_base(cpu, s->rip) && cpu_canonical_base(cpu, s->lstar) &&
	       cpu_canonical_base(cpu, s->cstar) && cpu_canonical_base(cpu, s->kernel_gs_base);
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
	cpu_set_pending(cpu, cpu->events | PENDING_RECHECK);
	cpu->events = 0;
	cpu->events_nmi = 0;
}

int cpu_set_state(struct cpu *cpu, const struct cpu_state *state)
{
	if (!numbers_fit(state) || !modes_fit(state) || !features_fit(cpu, state) ||
		!bases_fit(cpu, state))
		return -EINVAL;
	cpu->state = *state;
	cpu->next_rip = cpu->rip;
	cpu->no_step_trap = false;
	set_segment_bases(cpu);
	set_events(cpu);
	fpu_reload(cpu);
	cpu_update_view(cpu);
	tlb_flush_all(cpu);
	cpu->engine_ops->code_context_changed(cpu);
	if (cpu->platform->tsc_changed)
		cpu->platform->tsc_changed(cpu->platform->opaque, cpu);
	return 0;
}
