/* human-monitor-command: a line for the human monitor, by QMP. */
#include "control/human.h"
#include "control/qmp_internal.h"

#include <stdlib.h>

static json_t *run(struct qmp_session *session, json_t *arguments)
{
	const char *line = json_string_value(json_object_get(arguments, "command-line"));
	json_int_t cpu = json_integer_value(json_object_get(arguments, "cpu-index"));
	char *text = human_run(session->shared, line, (unsigned)cpu);
	json_t *answer = text ? json_string(text) : NULL;

	free(text);
	return answer ? answer : qmp_fail(session, "Out of memory");
}

static json_t *say_nothing(struct qmp_session *session, json_t *arguments)
{
	return json_string("");
}

/* Its reply comes when the machine stands. */
static json_t *pause(struct qmp_session *session, json_t *arguments)
{
	json_t *answer = run(session, arguments);

	if (session->machine->phase == MACHINE_PHASE_PAUSED)
		return answer;
	json_decref(answer);
	return qmp_run_stopped(session, say_nothing, arguments);
}

json_t *qmp_human_monitor_command(struct qmp_session *session, json_t *arguments)
{
	json_int_t cpu = json_integer_value(json_object_get(arguments, "cpu-index"));
	const char *line = json_string_value(json_object_get(arguments, "command-line"));
	const struct machine *machine = session->machine;

	if (cpu < 0 || (cpu && cpu >= machine->config.cpu_count))
		return qmp_fail(session, "There is no processor with that number");
	if (human_pauses(line))
		return pause(session, arguments);
	if (human_needs_stop(line))
		return qmp_run_stopped(session, run, arguments);
	return run(session, arguments);
}
