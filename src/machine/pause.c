/* Pausing a machine. All vCPU threads leave their engine at an instruction's boundary and wait
 * (machine/vcpu_thread.c); the last to come stops the machine's clock, and with it guest TSCs and
 * timers. Devices with threads of their own are then waited for (device_ops.quiesce), by the I/O
 * thread between two turns of its loop, since that needs to be without the machine lock; where
 * requests in flight take long it goes on with its loop, turn by turn, and a resume that comes
 * meanwhile calls the pause off: a disk's server that is gone may not come back. From then on
 * nothing of the machine changes but by reset and the power button: its whole state is in struct
 * cpu, the devices and RAM, and can be saved (machine/saved_state.c).
 *
 * Asking does not wait, since the thread that asks holds the machine lock, which a vCPU may need
 * before it can stop. The machine's listeners are told when it is done. */
#include "cpu/debugger.h"
#include "device/chipset/chipset.h"
#include "machine/machine.h"
#include "machine/vcpu_thread.h"

static void tell(struct machine *machine, enum machine_event_kind kind)
{
	machine_tell(machine, kind, (struct machine_result){MACHINE_RUNS_ON, 0});
}

/* Those that are held keep PENDING_STOP: they leave the engine at once should they get there. */
static void release_vcpus(struct machine *machine)
{
	for (unsigned i = 0; i < machine->config.cpu_count; i++)
		if (!(machine->held & BIT(i))) {
			debugger_run_on(machine->cpus[i]);
			cpu_clear_pending(machine->cpus[i], PENDING_STOP);
		}
}

void machine_resume(struct machine *machine)
{
	machine_resume_without(machine, 0);
}

void machine_resume_without(struct machine *machine, uint64_t held)
{
	if (machine->stopped == MACHINE_STOP_SHUT_DOWN)
		return;
	machine->resume_wanted = machine->phase == MACHINE_PHASE_PAUSING;
	if (machine->phase != MACHINE_PHASE_PAUSED)
		return;
	machine->held = held;
	clock_resume(&machine->clock);
	event_loop_clock_changed(machine->loop);
	if (machine->chipset)
		device_list_resume(chipset_devices(machine->chipset));
	machine->phase = MACHINE_PHASE_RUNNING;
	machine->stopped = MACHINE_STOP_USER;
	if (machine->request.end == MACHINE_RUNS_ON)
		release_vcpus(machine);
	pthread_cond_broadcast(&machine->phase_changed);
	tell(machine, MACHINE_RESUMED);
	char_devices_hold(machine->chardevs, false);
	if (machine->console)
		console_hold(machine->console, false);
}

void machine_vcpu_parked(struct machine *machine)
{
	bool some_run = !machine->asleep && machine->parked < machine->config.cpu_count;

	if (machine->phase != MACHINE_PHASE_PAUSING || some_run)
		return;
	clock_pause(&machine->clock);
	event_loop_clock_changed(machine->loop);
	machine->devices_to_stop = true;
	event_loop_stop(machine->loop); /* machine_devices_stopped() goes on */
}

void machine_devices_stopped(struct machine *machine, bool all)
{
	machine->devices_to_stop = false;
	machine->phase = MACHINE_PHASE_PAUSED;
	if (!all) {
		machine_resume(machine);
		return;
	}
	/* Nothing of a paused machine changes. */
	char_devices_hold(machine->chardevs, true);
	if (machine->console)
		console_hold(machine->console, true);
	tell(machine, MACHINE_PAUSED);
	if (machine->resume_wanted)
		machine_resume(machine);
}

void machine_pause(struct machine *machine)
{
	machine->resume_wanted = false;
	if (machine->phase != MACHINE_PHASE_RUNNING)
		return;
	machine->phase = MACHINE_PHASE_PAUSING;
	vcpu_threads_kick(machine);
	/* After a resume all threads may still be parked: they have not woken up yet. */
	machine_vcpu_parked(machine);
}

void machine_start_paused(struct machine *machine)
{
	machine->phase = MACHINE_PHASE_PAUSED;
	machine->stopped = MACHINE_STOP_PRELAUNCH;
	clock_pause(&machine->clock);
}
