#include "machine/incident.h"

#include "base/log.h"
#include "machine/action.h"
#include "machine/vcpu_thread.h"

static void tell_action(struct machine *machine, enum machine_event_kind kind, const char *action)
{
	const struct machine_event event = {.kind = kind, .action = action};

	machine_tell_event(machine, &event);
}

static void stop(struct machine *machine, enum machine_stop why)
{
	machine->stopped = why;
	machine_pause(machine);
}

/* Where the machine stays, its state can still be looked at; then it is reset, or ended by the
 * user. */
void machine_guest_ended(struct machine *machine, enum machine_end end, int value)
{
	const struct machine_result cause = {end, value};

	if (!machine->config.actions.stays || (end == MACHINE_RESET && machine->config.reboot)) {
		machine_request_end(machine, end, value);
		return;
	}
	if (machine->stopped == MACHINE_STOP_SHUT_DOWN || machine->request.end != MACHINE_RUNS_ON)
		return;
	machine_tell(machine, MACHINE_SHUT_DOWN, cause);
	stop(machine, MACHINE_STOP_SHUT_DOWN);
}

void machine_guest_panicked(struct machine *machine, bool goes_on)
{
	enum panic_action action = machine->config.actions.panic;

	if (goes_on) {
		tell_action(machine, MACHINE_CRASH_LOADED, "run");
		return;
	}
	if (action == PANIC_POWEROFF && machine->config.actions.stays)
		action = PANIC_PAUSES;
	switch (action) {
	case PANIC_RUNS_ON:
		tell_action(machine, MACHINE_PANICKED, "run");
		break;
	case PANIC_PAUSES:
		tell_action(machine, MACHINE_PANICKED, "pause");
		stop(machine, MACHINE_STOP_PANICKED);
		break;
	case PANIC_POWEROFF:
	case PANIC_FAILS:
		tell_action(machine, MACHINE_PANICKED, "poweroff");
		machine_request_end(machine, MACHINE_GUEST_PANICKED, action == PANIC_FAILS);
		break;
	}
}

void machine_watchdog_expired(struct machine *machine)
{
	enum watchdog_action action = machine->config.actions.watchdog;

	tell_action(machine, MACHINE_WATCHDOG, machine_watchdog_actions[action]);
	switch (action) {
	case WATCHDOG_RESETS:
		machine_guest_ended(machine, MACHINE_RESET, false);
		break;
	case WATCHDOG_SHUTS_DOWN:
		machine_press_power_button(machine);
		break;
	case WATCHDOG_POWERS_OFF:
		machine_request_end(machine, MACHINE_POWERED_OFF, 0);
		break;
	case WATCHDOG_PAUSES:
		stop(machine, MACHINE_STOP_WATCHDOG);
		break;
	case WATCHDOG_REPORTS:
		log_warning("the guest's watchdog has expired");
		break;
	case WATCHDOG_IS_TOLD:
		break;
	case WATCHDOG_INTERRUPTS:
		machine_inject_nmi(machine);
		break;
	}
}
