/* What happens between two instructions: INIT, SIPI, debug traps, NMIs, interrupts (SDM vol.
 * 3A 6.9). */
#include "cpu/access.h"
#include "cpu/debug.h"
#include "cpu/debugger.h"
#include "cpu/instruction.h"
#include "cpu/segmentation.h"
#include "cpu/steal_time.h"
#include "cpu/transfer.h"

static uint32_t load_pending(struct cpu *cpu)
{
	return atomic_load(&cpu->pending);
}

/* Take a request: true if this call cleared it. */
static bool claim(struct cpu *cpu, uint32_t bit)
{
	return atomic_fetch_and(&cpu->pending, ~bit) & bit;
}

static bool interrupts_open(const struct cpu *cpu)
{
	return (cpu->system_flags & RFLAGS_IF) && cpu->interrupt_shadow == SHADOW_NONE;
}

static bool nmi_open(const struct cpu *cpu)
{
	return !cpu->nmi_blocked && cpu->interrupt_shadow == SHADOW_NONE;
}

/* Requests that can be acted upon as things stand. */
static uint32_t actionable(struct cpu *cpu)
{
	uint32_t mask = PENDING_INIT | PENDING_SIPI | PENDING_STOP, kicked = 0;

	if (cpu->activity == ACTIVITY_RUNNING || cpu->activity == ACTIVITY_HALTED) {
		if (cpu->interrupt_shadow != SHADOW_MOV_SS)
			mask |= PENDING_DEBUG;
		if (nmi_open(cpu))
			mask |= PENDING_NMI;
		if (interrupts_open(cpu))
			mask |= PENDING_INTR;
		if (cpu->debugger.step && cpu->activity == ACTIVITY_RUNNING)
			mask &= ~(uint32_t)(PENDING_NMI | PENDING_INTR);
	}
	if (cpu->activity == ACTIVITY_HALTED && atomic_load(&cpu->unhalt))
		kicked = PENDING_UNHALT;
	return (load_pending(cpu) & mask) | kicked;
}

bool cpu_has_wakeup(struct cpu *cpu)
{
	uint32_t ready = actionable(cpu) & ~(uint32_t)PENDING_STOP;

	if (cpu->activity != ACTIVITY_WAIT_FOR_SIPI)
		ready &= ~(uint32_t)PENDING_SIPI;
	return ready != 0;
}

static void startup(struct cpu *cpu)
{
	struct segment code = cpu->segment[SEG_CS];

	if (!claim(cpu, PENDING_SIPI) || cpu->activity != ACTIVITY_WAIT_FOR_SIPI)
		return;
	code.selector = (uint16_t)(cpu->sipi_vector << 8);
	code.base = (uint64_t)cpu->sipi_vector << 12;
	cpu_set_segment(cpu, SEG_CS, &code);
	cpu->rip = cpu->next_rip = 0;
	cpu->activity = ACTIVITY_RUNNING;
}

static void init(struct cpu *cpu)
{
	claim(cpu, PENDING_INIT);
	if (cpu->platform->apic_init)
		cpu->platform->apic_init(cpu->platform->opaque, cpu);
	cpu_init_reset(cpu);
}

/* The event in cpu->exception happens here: nothing is executing, so where it is pushed from is
 * cpu->rip. */
static void inject(struct cpu *cpu)
{
	cpu->activity = ACTIVITY_RUNNING;
	exception_deliver(cpu);
	debugger_stepped(cpu);
}

static void inject_debug(struct cpu *cpu)
{
	uint64_t bits = cpu->pending_debug;

	claim(cpu, PENDING_DEBUG);
	cpu->pending_debug = 0;
	if (!bits)
		return;
	debug_record(cpu, bits);
	cpu->exception = (struct exception){.vector = VECTOR_DB};
	inject(cpu);
}

/* Only this thread takes from the queue. It may be empty: a thread that queues an NMI asks
 * for it a little later, when the request for an earlier one may already have brought both. */
static void inject_nmi(struct cpu *cpu)
{
	claim(cpu, PENDING_NMI);
	if (atomic_load(&cpu->nmi_queued) == 0)
		return;
	if (atomic_fetch_sub(&cpu->nmi_queued, 1) > 1)
		cpu_set_pending(cpu, PENDING_NMI);
	cpu->nmi_blocked = true;
	cpu->exception = (struct exception){.vector = VECTOR_NMI, .external = true};
	cpu->stats.interrupts++;
	inject(cpu);
}

static void inject_interrupt(struct cpu *cpu)
{
	int vector = cpu->platform->acknowledge_interrupt(cpu->platform->opaque, cpu);

	if (vector < 0)
		return;
	steal_time_update(cpu);
	cpu->exception = (struct exception){.vector = (uint8_t)vector, .external = true};
	cpu->stats.interrupts++;
	inject(cpu);
}

static void unhalt(struct cpu *cpu)
{
	atomic_store(&cpu->unhalt, false);
	cpu->activity = ACTIVITY_RUNNING;
}

enum cpu_event cpu_next_event(struct cpu *cpu)
{
	uint32_t ready = actionable(cpu);

	if (ready & PENDING_INIT)
		return CPU_EVENT_INIT;
	if (ready & PENDING_SIPI)
		return CPU_EVENT_SIPI;
	if (ready & PENDING_DEBUG)
		return CPU_EVENT_DEBUG;
	if (ready & PENDING_NMI)
		return CPU_EVENT_NMI;
	if (ready & PENDING_INTR)
		return CPU_EVENT_INTERRUPT;
	return ready & PENDING_UNHALT ? CPU_EVENT_UNHALT : CPU_EVENT_NONE;
}

void cpu_take_event(struct cpu *cpu, enum cpu_event event)
{
	static void (*const take[CPU_EVENTS])(struct cpu * cpu) = {
		[CPU_EVENT_INIT] = init,
		[CPU_EVENT_SIPI] = startup,
		[CPU_EVENT_DEBUG] = inject_debug,
		[CPU_EVENT_NMI] = inject_nmi,
		[CPU_EVENT_INTERRUPT] = inject_interrupt,
		[CPU_EVENT_UNHALT] = unhalt,
	};

	if (take[event])
		take[event](cpu);
}

bool cpu_service_pending(struct cpu *cpu)
{
	enum cpu_event event;

	atomic_store(&cpu->attention, 0);
	claim(cpu, PENDING_RECHECK | PENDING_UNHALT);
	tlb_catch_up(cpu);
	/* An INIT, a SIPI, and one event that is delivered, each at most once: others may ask for
	 * the first two as fast as they are taken. What is still waiting, or is only held back by
	 * the shadow of the next instruction, gets its turn at the next boundary. */
	for (unsigned taken = 0; taken < 3; taken++) {
		event = cpu_next_event(cpu);
		cpu_take_event(cpu, event);
		if (event != CPU_EVENT_INIT && event != CPU_EVENT_SIPI)
			break;
	}
	if (actionable(cpu) || (cpu->interrupt_shadow != SHADOW_NONE && load_pending(cpu)))
		atomic_store(&cpu->attention, 1);
	return !(load_pending(cpu) & PENDING_STOP) && cpu->activity == ACTIVITY_RUNNING;
}
