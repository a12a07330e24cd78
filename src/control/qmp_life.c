/* A machine's life by QMP: paused, resumed, reset, ended. */
#include "control/qmp_internal.h"

const char *qmp_run_state(const struct machine *machine)
{
	return machine->phase == MACHINE_PHASE_PAUSED ? "paused"
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

json_t *qmp_system_wakeup(struct qmp_session *session, json_t *arguments)
{
	if (!machine_wake_up(session->machine))
		return qmp_fail(session, "Unable to wake up: guest is not in suspended state");
	return json_object();
}
