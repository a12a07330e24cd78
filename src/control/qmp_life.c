/* A machine's life by QMP: paused, resumed, reset, ended. */
#include "control/qmp_internal.h"
#include "machine/action.h"

#include <string.h>

const char *qmp_run_state(const struct machine *machine)
{
	static const char *const stops[] = {[MACHINE_STOP_USER] = "paused",
		[MACHINE_STOP_PRELAUNCH] = "prelaunch",
		[MACHINE_STOP_SHUT_DOWN] = "shutdown",
		[MACHINE_STOP_PANICKED] = "guest-panicked",
		[MACHINE_STOP_WATCHDOG] = "watchdog"};

	return machine->phase == MACHINE_PHASE_PAUSED ? stops[machine->stopped]
	       : machine->asleep                      ? "suspended"
						      : "running";
}

json_t *qmp_query_status(struct qmp_session *session, json_t *arguments)
{
	const struct machine *machine = session->machine;
	bool running = machine->phase != MACHINE_PHASE_PAUSED && !machine->asleep;

	return json_pack("{s:b, s:b, s:s}", "running", running, "singlestep", 0, "status",
		qmp_run_state(machine));
}

json_t *qmp_stop(struct qmp_session *session, json_t *arguments)
{
	session->shared->stay_paused = session->shared->inspecting;
	machine_pause(session->machine);
	session->waiting = session->machine->phase != MACHINE_PHASE_PAUSED;
	return session->waiting ? NULL : json_object();
}

json_t *qmp_cont(struct qmp_session *session, json_t *arguments)
{
	if (session->machine->stopped == MACHINE_STOP_SHUT_DOWN)
		return qmp_fail(session, "Resetting the Virtual Machine is required");
	session->shared->stay_paused = false;
	machine_resume(session->machine);
	return json_object();
}

json_t *qmp_quit(struct qmp_session *session, json_t *arguments)
{
	machine_request_end(session->machine, MACHINE_QUIT, true);
	return json_object();
}

json_t *qmp_system_powerdown(struct qmp_session *session, json_t *arguments)
{
	machine_press_power_button(session->machine);
	return json_object();
}

json_t *qmp_system_reset(struct qmp_session *session, json_t *arguments)
{
	machine_request_end(session->machine, MACHINE_RESET, true);
	return json_object();
}

json_t *qmp_inject_nmi(struct qmp_session *session, json_t *arguments)
{
	machine_inject_nmi(session->machine);
	return json_object();
}

json_t *qmp_watchdog_set_action(struct qmp_session *session, json_t *arguments)
{
	const char *action = json_string_value(json_object_get(arguments, "action"));

	session->machine->config.actions.watchdog =
		(enum watchdog_action)machine_action_find(machine_watchdog_actions, action);
	return json_object();
}

/* The schema has let pass only names that there are. */
json_t *qmp_set_action(struct qmp_session *session, json_t *arguments)
{
	struct machine_config *config = &session->machine->config;
	const char *reboot = json_string_value(json_object_get(arguments, "reboot"));
	const char *shutdown = json_string_value(json_object_get(arguments, "shutdown"));
	const char *panic = json_string_value(json_object_get(arguments, "panic"));
	const char *watchdog = json_string_value(json_object_get(arguments, "watchdog"));

	if (reboot)
		config->reboot = strcmp(reboot, "reset") == 0;
	if (shutdown)
		config->actions.stays = strcmp(shutdown, "pause") == 0;
	if (panic)
		config->actions.panic =
			(enum panic_action)machine_action_find(machine_panic_actions, panic);
	if (watchdog)
		config->actions.watchdog = (enum watchdog_action)machine_action_find(
			machine_watchdog_actions, watchdog);
	return json_object();
}

json_t *qmp_system_wakeup(struct qmp_session *session, json_t *arguments)
{
	if (!machine_wake_up(session->machine))
		return qmp_fail(session, "Unable to wake up: guest is not in suspended state");
	return json_object();
}
