/* The interpreter's run loop: what happens between blocks.
 *
 * Most of the time a vCPU is inside the handlers, which hand over to each other. They come back
 * here when something needs a look: an event is pending, the guest single-steps or has breakpoints
 * armed, STI or MOV SS wants one instruction run by itself. Exceptions land here too. */
#include "engine/engine.h"
#include "engine/interp/ops.h"
#include "cpu/debugger.h"
#include "cpu/instruction.h"
#include "cpu/transfer.h"
#include "base/log.h"
#include "isa/decode_cache.h"
#include "host/zeroed_memory.h"

#include <errno.h>
#include <stdlib.h>

#define DR7_ENABLES    0xff /* L0..G3 */
#define ARENA_BYTES    (128 * MIB)
#define ARENA_AT_FIRST (12 * MIB) /* a small guest, or a short life, needs no more */
#define STUB_BYTES     (4 * MIB)

static int interp_available(void)
{
	return 0;
}

int interp_machine_create(struct engine_machine **machine, struct cpu_platform *platform,
	const struct engine_options *options)
{
	*machine = malloc(sizeof(**machine));
	if (!*machine) {
		log_error("no memory for the engine");
		return -ENOMEM;
	}
	**machine = (struct engine_machine){*options};
	return 0;
}

void interp_machine_destroy(struct engine_machine *machine)
{
	free(machine);
}

void interp_vcpu_destroy(struct cpu *cpu)
{
	struct interp *interp = interp_of(cpu);

	if (!interp)
		return;
	zeroed_memory_unmap(interp->arena, interp->arena_size);
	if (interp->stubs)
		stub_cache_destroy(interp->stubs);
	decode_cache_destroy(interp->shapes);
	free(interp->hash);
	free(interp);
	cpu->engine_state = NULL;
	cpu->engine_ops = &cpu_engine_ops_none;
}

static const struct cpu_engine_ops interp_ops = {
	.code_context_changed = interp_context_changed,
	.tlb_flushed = interp_tlb_flushed,
	.kick = cpu_no_kick,
	.pull = cpu_pull_live,
	.push = cpu_push_live,
};

int interp_vcpu_create(struct engine_machine *machine, struct cpu *cpu)
{
	struct interp *interp = calloc(1, sizeof(*interp));

	if (!interp) {
		log_error("no memory for the interpreter");
		return -ENOMEM;
	}
	cpu->engine_state = interp;
	interp->first_heat = machine->options.heat ? machine->options.heat - 1 : HEAT_THRESHOLD;
	interp->hash = calloc(1, block_hash_bytes());
	interp->arena_size = ARENA_BYTES;
	interp->arena_limit = ARENA_AT_FIRST;
	interp->arena = zeroed_memory_map(interp->arena_size);
	interp->stubs = stub_cache_create(cpu, STUB_BYTES);
	interp->shapes = decode_cache_create(cpu->model);
	if (!interp->hash || !interp->arena || !interp->stubs || !interp->shapes) {
		log_error("no memory for the interpreter's caches");
		interp_vcpu_destroy(cpu);
		return -ENOMEM;
	}
	/* Serial numbers start at 1: an empty jump slot has context 0. */
	interp->serial = interp->global_serial = 1;
	cpu->engine_ops = &interp_ops;
	interp_context_changed(cpu);
	return 0;
}

/* Does the next instruction have to be run by itself? */
static bool must_step(const struct cpu *cpu)
{
	/* A data or I/O breakpoint traps right after its instruction. */
	return (cpu->system_flags & RFLAGS_TF) || cpu->interrupt_shadow ||
	       (cpu->dr7 & DR7_ENABLES) ||
	       (unlikely(cpu->debugger.active) && debugger_must_step(cpu));
}

static void run_insns(struct cpu *cpu, const struct insn *in)
{
#ifdef LOOP_DISPATCH
	while (in)
		in = in->run(cpu, in);
#else
	in->run(cpu, in);
#endif
}

/* A block whose heat brought us here, and for which there is no translation, is run past it. */
static void run_block(struct cpu *cpu, struct block *block)
{
	struct interp *interp = interp_of(cpu);
	bool asked = block == interp->hot;

	interp->hot = NULL;
	cpu->stats.instructions += block->count;
	cpu->stats.accesses += block->accesses;
	cpu->stats.blocks++;
	run_insns(cpu, block->insn + asked);
}

static void set_single(struct cpu *cpu, bool single, bool stepping)
{
	interp_of(cpu)->single = single;
	interp_of(cpu)->stepping = stepping;
	interp_context_changed(cpu);
}

/* An instruction breakpoint here? RF lets one instruction pass it, and MOV SS does on Intel's
 * processors (SDM vol. 3B 18.3.1.1). */
static bool breakpoint_hit(struct cpu *cpu, uint8_t shadow)
{
	uint64_t linear = interp_of(cpu)->mode & MODE_CODE_64
				  ? cpu->rip
				  : (uint32_t)(cpu->segment_base[SEG_CS] + cpu->rip);

	if (!debug_execute_armed(cpu) || (shadow == SHADOW_MOV_SS && !cpu->amd))
		return false;
	return debug_match_execute(cpu, linear);
}

/* One instruction, with the traps that belong to its end. */
static void step(struct cpu *cpu)
{
	bool trap = cpu->system_flags & RFLAGS_TF, resumed = cpu->system_flags & RFLAGS_RF;
	uint8_t shadow = cpu->interrupt_shadow;
	uint64_t rip = cpu->rip;

	interp_of(cpu)->current = NULL;
	cpu->debugger.alone = true;
	cpu->debugger.replay = false;
	if (breakpoint_hit(cpu, shadow))
		cpu_raise(cpu, VECTOR_DB);
	transfer_check_near(cpu, rip);
	cpu->interrupt_shadow = SHADOW_NONE;
	cpu->system_flags &= ~RFLAGS_RF;
	set_single(cpu, true, true);
	run_block(cpu, block_find_single(cpu, rip));
	set_single(cpu, false, false);
	/* A repeated instruction that is not done yet is still the one that RF lets pass. */
	if (resumed && cpu->rip == rip)
		cpu->system_flags |= RFLAGS_RF;
	/* MOV SS and POP SS have no single-step trap of their own. */
	if (trap && cpu->interrupt_shadow != SHADOW_MOV_SS)
		debug_single_step_done(cpu);
	cpu->debugger.alone = false;
	debugger_stepped(cpu);
}

/* An instruction was cut short by an exception: it and the rest of its block were counted on
 * entry but did not happen. */
static void uncount(struct cpu *cpu)
{
	struct interp *interp = interp_of(cpu);

	if (interp->current)
		cpu->stats.instructions -= interp->current->remaining + 1u;
	interp->current = NULL;
	interp->leave = false;
	if (interp->single)
		set_single(cpu, false, false);
}

unsigned interp_decode_one(struct cpu *cpu, const uint8_t *bytes, unsigned available,
	unsigned page_offset, struct insn out[2])
{
	struct interp *interp = interp_of(cpu);
	struct decoded ignored;
	/* The caller does not say where it will run, so branches are checked wherever it is. */
	unsigned mode = interp->mode | MODE_SINGLE | MODE_CHECKED_BRANCHES;
	unsigned length = decode_instruction(
		cpu, mode, bytes, MIN(available, 15u), page_offset, &out[0], &ignored);

	/* op_leave has no use for imm; here it says which stubs out[0] was decoded with. */
	out[1] = (struct insn){.run = op_leave, .next = out[0].next, .imm = interp->stub_resets};
	return length;
}

bool interp_run_one(struct cpu *cpu, const struct insn in[2])
{
	struct interp *interp = interp_of(cpu);
	uint64_t next;

	interp->current = NULL;
	/* As set_single() would, but quicker. */
	interp->single = true;
	interp->context_local = interp->context_global = ~UINT64_C(0);
	/* The instruction's stub is gone? Blocks are decoded anew after that. */
	if (unlikely(in[1].imm != interp->stub_resets))
		in = block_find_single(cpu, cpu->rip)->insn;
	cpu->code_base = cpu->rip + in->length - in->next;
	next = cpu->rip + in->length;
	cpu->stats.instructions++;
	cpu->stats.accesses += !!(in->attributes & (INSN_MEMORY | INSN_STACK));
	run_insns(cpu, in);
	set_single(cpu, false, false);
	/* An exception from here on does not belong to this instruction. */
	interp->current = NULL;
	return cpu->rip == next;
}

static enum vcpu_exit exit_reason(const struct cpu *cpu)
{
	if (cpu->activity == ACTIVITY_SHUTDOWN)
		return VCPU_EXIT_SHUTDOWN;
	if (cpu->debugger.stop != DEBUGGER_RUNS_ON)
		return VCPU_EXIT_DEBUG;
	if (atomic_load(&cpu->pending) & PENDING_STOP)
		return VCPU_EXIT_STOPPED;
	return cpu->activity == ACTIVITY_WAIT_FOR_SIPI ? VCPU_EXIT_WAIT_FOR_SIPI : VCPU_EXIT_HALTED;
}

static bool run_translated(struct cpu *cpu)
{
	struct interp *interp = interp_of(cpu);

	if (!interp->translated)
		return false;
	interp->current = NULL;
	if (!interp->translated(cpu))
		return false;
	interp->hot = NULL;
	return true;
}

/* Runs until cpu_service_pending() says to leave, or the processor shuts down. An exception comes
 * back through setjmp: nothing local may be relied on across it. */
static void run_until_exit(struct cpu *cpu)
{
	int unwound = _setjmp(cpu->unwind);

	if (unwound) {
		uncount(cpu);
		cpu->debugger.alone = false;
		debugger_broken_off(cpu);
		if (unwound != CPU_UNWIND_RESTART) {
			if (!exception_deliver(cpu))
				return;
			debugger_stepped(cpu);
		}
	}
	if (cpu->activity != ACTIVITY_RUNNING)
		atomic_store(&cpu->attention, 1);
	for (;;) {
		struct block *block;

		if (unlikely(cpu->debugger.stop != DEBUGGER_RUNS_ON))
			return;
		if (attention(cpu) && !cpu_service_pending(cpu))
			return;
		if (unlikely(cpu->debugger.active) && debugger_stops(cpu))
			return;
		if (must_step(cpu)) {
			step(cpu);
			continue;
		}
		if (run_translated(cpu))
			continue;
		block = block_find(cpu, cpu->rip);
		if (block)
			run_block(cpu, block);
	}
}

enum vcpu_exit interp_vcpu_run(struct cpu *cpu)
{
	cpu_current = cpu;
	fpu_enter(cpu);
	interp_context_changed(cpu);
	run_until_exit(cpu);
	fpu_leave(cpu);
	return exit_reason(cpu);
}

const struct engine engine_interp = {
	.name = "interp",
	.summary = "interpreter: runs anywhere, the reference for the other engines",
	.available = interp_available,
	.machine_create = interp_machine_create,
	.machine_destroy = interp_machine_destroy,
	.vcpu_create = interp_vcpu_create,
	.vcpu_destroy = interp_vcpu_destroy,
	.vcpu_run = interp_vcpu_run,
};
