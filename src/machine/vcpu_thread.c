#include "machine/vcpu_thread.h"

#include "base/log.h"
#include "cpu/fpu.h"
#include "cpu/steal_time.h"
#include "cpu/transfer.h"
#include "host/fault.h"
#include "machine/incident.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct vcpu_thread {
	struct machine *machine;
	struct cpu *cpu;
	pthread_t thread;
	sem_t begun; /* it has an id */
	pid_t id;    /* gettid(2)'s */
};

/* A halted vCPU, or one that waits for its SIPI. It sleeps on `pending`, but not every bit there
 * wakes it: an interrupt does nothing to a processor that halted with interrupts off. */
static void wait_for_work(struct cpu *cpu)
{
	steal_time_suspend(cpu);
	while (!(atomic_load(&cpu->pending) & PENDING_STOP) && !cpu_has_wakeup(cpu))
		cpu_wait_pending(cpu);
	steal_time_resume(cpu);
}

static void end_machine(struct machine *machine, struct cpu *cpu, enum machine_end end)
{
	priority_lock_take(&machine->lock);
	machine_request_end(machine, end, (int)cpu->index);
	priority_lock_release(&machine->lock);
}

/* As boards do, where that is configured. */
static void triple_fault(struct machine *machine, struct cpu *cpu)
{
	bool resets = machine->config.triple_fault_resets;

	priority_lock_take(&machine->lock);
	machine_guest_ended(machine, resets ? MACHINE_RESET : MACHINE_TRIPLE_FAULT,
		resets ? false : (int)cpu->index);
	priority_lock_release(&machine->lock);
}

static bool may_run(const struct machine *machine, const struct cpu *cpu)
{
	return machine->phase == MACHINE_PHASE_RUNNING && !(machine->held & BIT(cpu->index));
}

/* Wait while the machine is paused, or the vCPU held. False: the thread is to end. */
static bool wait_to_run(struct machine *machine, const struct cpu *cpu)
{
	bool ending;

	priority_lock_take(&machine->lock);
	machine->parked++;
	machine_vcpu_parked(machine);
	while (!may_run(machine, cpu) && machine->request.end == MACHINE_RUNS_ON)
		priority_lock_wait(&machine->lock, &machine->phase_changed);
	machine->parked--;
	ending = machine->request.end != MACHINE_RUNS_ON;
	priority_lock_release(&machine->lock);
	return !ending;
}

/* A debugger's breakpoint, watchpoint or step stops the whole machine. */
static void stop_for_debugger(struct machine *machine)
{
	priority_lock_take(&machine->lock);
	machine_pause(machine);
	priority_lock_release(&machine->lock);
}

static void run(struct vcpu_thread *thread)
{
	struct cpu *cpu = thread->cpu;

	if (!wait_to_run(thread->machine, cpu))
		return;
	for (;;) {
		switch (thread->machine->config.engine->vcpu_run(cpu)) {
		case VCPU_EXIT_DEBUG:
			stop_for_debugger(thread->machine);
			/* fall through */
		case VCPU_EXIT_STOPPED:
			if (!wait_to_run(thread->machine, cpu))
				return;
			break;
		case VCPU_EXIT_HALTED:
		case VCPU_EXIT_WAIT_FOR_SIPI:
			wait_for_work(cpu);
			break;
		case VCPU_EXIT_SHUTDOWN:
			triple_fault(thread->machine, cpu);
			if (!wait_to_run(thread->machine, cpu))
				return;
			break;
		case VCPU_EXIT_FAILED:
			end_machine(thread->machine, cpu, MACHINE_FAILED);
			return;
		}
	}
}

static void *vcpu_thread_main(void *opaque)
{
	struct vcpu_thread *thread = opaque;

	thread->id = gettid();
	sem_post(&thread->begun);
	cpu_current = thread->cpu;
	steal_time_thread_begins(thread->cpu);
	run(thread);
	steal_time_thread_ends(thread->cpu);
	return NULL;
}

static int start_thread(struct vcpu_thread *thread)
{
	sigset_t mask, before;
	char name[16];
	int error;

	/* Signals to the process are for other threads: this one's RSP may be the guest's. The
	 * engine unblocks what it uses itself. */
	fault_other_signals(&mask);
	pthread_sigmask(SIG_BLOCK, &mask, &before);
	error = pthread_create(&thread->thread, NULL, vcpu_thread_main, thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error) {
		log_error("cannot start a thread for vCPU %u: %s", thread->cpu->index,
			strerror(error));
		return -error;
	}
	snprintf(name, sizeof(name), "vcpu%u", thread->cpu->index);
	pthread_setname_np(thread->thread, name);
	while (sem_wait(&thread->begun) < 0)
		;
	return 0;
}

pid_t machine_vcpu_thread_id(const struct machine *machine, unsigned cpu)
{
	return machine->threads ? machine->threads[cpu].id : 0;
}

static void join_threads(struct machine *machine, unsigned count)
{
	while (count--)
		pthread_join(machine->threads[count].thread, NULL);
	free(machine->threads);
	machine->threads = NULL;
}

int vcpu_threads_start(struct machine *machine)
{
	unsigned i, count = machine->config.cpu_count;
	int error;

	fpu_init();
	machine->threads = calloc(count, sizeof(*machine->threads));
	if (!machine->threads) {
		log_error("out of memory for %u vCPU threads", count);
		return -ENOMEM;
	}
	machine->held = 0;
	for (i = 0; i < count; i++)
		cpu_clear_pending(machine->cpus[i], PENDING_STOP);
	for (i = 0; i < count; i++) {
		machine->threads[i] =
			(struct vcpu_thread){.machine = machine, .cpu = machine->cpus[i]};
		sem_init(&machine->threads[i].begun, 0, 0);
		error = start_thread(&machine->threads[i]);
		if (error) {
			priority_lock_take(&machine->lock);
			machine_request_end(machine, MACHINE_FAILED, 0);
			priority_lock_release(&machine->lock);
			join_threads(machine, i);
			return error;
		}
	}
	return 0;
}

void vcpu_threads_kick(struct machine *machine)
{
	unsigned i;

	for (i = 0; i < machine->config.cpu_count; i++)
		cpu_set_pending(machine->cpus[i], PENDING_STOP);
}

void vcpu_threads_stop(struct machine *machine)
{
	vcpu_threads_kick(machine);
	join_threads(machine, machine->config.cpu_count);
}
