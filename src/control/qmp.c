#include "control/qmp.h"

#include "control/qmp_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- what the client is told --- */

/* Takes over the caller's reference, as all functions here do with what they put into a reply. */
static void send_object(struct qmp_session *session, json_t *object)
{
	char *text = object ? json_dumps(object, JSON_ENSURE_ASCII) : NULL;
	size_t size = text ? strlen(text) : 0;
	char *line = text ? realloc(text, size + 3) : NULL;

	json_decref(object);
	if (!line) {
		/* Out of memory: a line that is no JSON tells the client that it has missed one. */
		free(text);
		session->send(session->opaque, "\r\n", 2);
		return;
	}
	memcpy(line + size, "\r\n", 3);
	session->send(session->opaque, line, size + 2);
	free(line);
}

static void send_reply(struct qmp_session *session, const char *kind, json_t *value, json_t *id)
{
	json_t *reply = json_pack("{s:o}", kind, value);

	if (id)
		json_object_set_new(reply, "id", id);
	send_object(session, reply);
}

__attribute__((format(printf, 4, 5))) static void send_error(
	struct qmp_session *session, json_t *id, const char *class, const char *format, ...)
{
	char description[300];
	va_list arguments;
	json_t *text;

	va_start(arguments, format);
	vsnprintf(description, sizeof(description), format, arguments);
	va_end(arguments);
	/* What the client sent and is quoted may be cut in the middle of a character. */
	text = json_string(description);
	if (!text)
		text = json_string("The request is in error");
	send_reply(session, "error", json_pack("{s:s, s:o}", "class", class, "desc", text), id);
}

static json_t *version(void)
{
	int major = 0, minor = 0, micro = 0;

	sscanf(VENEER_VERSION, "%d.%d.%d", &major, &minor, &micro);
	/* Clients look for the numbers under this name. */
	return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "micro", micro, "minor", minor,
		"major", major, "package", "veneer " VENEER_VERSION);
}

void qmp_open(struct qmp_session *session)
{
	send_object(
		session, json_pack("{s:{s:o, s:[]}}", "QMP", "version", version(), "capabilities"));
}

void qmp_wait_no_more(struct qmp_session *session)
{
	json_decref(session->waiting_id);
	session->waiting_id = NULL;
	session->waiting = false;
}

void qmp_refuse(struct qmp_session *session, const char *why)
{
	send_error(session, NULL, "GenericError", "%s", why);
}

/* --- events --- */

static const char *const event_names[] = {
	[MACHINE_PAUSED] = "STOP",
	[MACHINE_RESUMED] = "RESUME",
	[MACHINE_WAS_RESET] = "RESET",
	[MACHINE_POWER_BUTTON] = "POWERDOWN",
	[MACHINE_SUSPENDED] = "SUSPEND",
	[MACHINE_WOKEN] = "WAKEUP",
	[MACHINE_ENDED] = "SHUTDOWN",
};

/* As QEMU calls the causes of an end or a reset. */
static const char *reason(const struct machine_result *result)
{
	switch (result->end) {
	case MACHINE_POWERED_OFF:
	case MACHINE_DEBUG_EXIT:
		return "guest-shutdown";
	case MACHINE_RESET:
		return result->value ? "host-qmp-system-reset" : "guest-reset";
	case MACHINE_TRIPLE_FAULT:
		return "guest-panic";
	case MACHINE_QUIT:
		return result->value ? "host-qmp-quit" : "host-ui";
	case MACHINE_SIGNAL:
		return "host-signal";
	case MACHINE_FAILED:
	case MACHINE_RUNS_ON:
	case MACHINE_SLEEPS:
	case MACHINE_WAKES:
		break;
	}
	return "host-error";
}

static json_t *event_data(const struct machine_result *result)
{
	const char *why = reason(result);

	return json_pack("{s:b, s:s}", "guest", strncmp(why, "guest", 5) == 0, "reason", why);
}

void qmp_tell(struct qmp_session *session, const struct machine_event *event)
{
	struct timespec now;
	json_t *object, *id = session->waiting_id;

	clock_gettime(CLOCK_REALTIME, &now);
	object = json_pack("{s:{s:I, s:I}, s:s}", "timestamp", "seconds", (json_int_t)now.tv_sec,
		"microseconds", (json_int_t)(now.tv_nsec / 1000), "event",
		event_names[event->kind]);
	if (event->kind == MACHINE_WAS_RESET || event->kind == MACHINE_ENDED)
		json_object_set_new(object, "data", event_data(&event->cause));
	if (session->negotiated)
		send_object(session, object);
	else
		json_decref(object);
	if (!session->waiting || (event->kind != MACHINE_PAUSED && event->kind != MACHINE_RESUMED &&
					 event->kind != MACHINE_ENDED))
		return;
	session->waiting = false;
	session->waiting_id = NULL;
	if (event->kind == MACHINE_RESUMED)
		send_error(session, id, "GenericError",
			"The machine was resumed while its devices still had requests in flight");
	else
		send_reply(session, "return", json_object(), id);
}

/* --- commands --- */

json_t *qmp_fail(struct qmp_session *session, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(session->failure, sizeof(session->failure), format, arguments);
	va_end(arguments);
	return NULL;
}

/* There are no capabilities to enable. */
static json_t *qmp_capabilities(struct qmp_session *session, json_t *arguments)
{
	json_t *enable = json_object_get(arguments, "enable");

	if (enable && (!json_is_array(enable) || json_array_size(enable)))
		return qmp_fail(session,
			"Parameter 'enable' must be an empty list: there are no capabilities");
	session->negotiated = true;
	return json_object();
}

static json_t *query_status(struct qmp_session *session, json_t *arguments)
{
	bool paused = session->machine->phase == MACHINE_PHASE_PAUSED;
	bool asleep = session->machine->asleep;

	return json_pack("{s:b, s:s}", "running", !paused && !asleep, "status",
		paused   ? "paused"
		: asleep ? "suspended"
			 : "running");
}

static json_t *query_version(struct qmp_session *session, json_t *arguments)
{
	return version();
}

static json_t *query_commands(struct qmp_session *session, json_t *arguments);

static json_t *stop(struct qmp_session *session, json_t *arguments)
{
	machine_pause(session->machine);
	session->waiting = session->machine->phase != MACHINE_PHASE_PAUSED;
	return session->waiting ? NULL : json_object();
}

static json_t *cont(struct qmp_session *session, json_t *arguments)
{
	machine_resume(session->machine);
	return json_object();
}

static json_t *quit(struct qmp_session *session, json_t *arguments)
{
	machine_request_end(session->machine, MACHINE_QUIT, true);
	return json_object();
}

static json_t *system_powerdown(struct qmp_session *session, json_t *arguments)
{
	machine_press_power_button(session->machine);
	return json_object();
}

static json_t *system_wakeup(struct qmp_session *session, json_t *arguments)
{
	if (!machine_wake_up(session->machine))
		return qmp_fail(session, "Unable to wake up: guest is not in suspended state");
	return json_object();
}

static json_t *system_reset(struct qmp_session *session, json_t *arguments)
{
	machine_request_end(session->machine, MACHINE_RESET, true);
	return json_object();
}

static const struct command {
	const char *name;
	json_t *(*run)(struct qmp_session *session, json_t *arguments);
	const char *arguments[3]; /* that it may have; NULL: no more */
} commands[] = {
	{"qmp_capabilities", qmp_capabilities, {"enable"}},
	{"query-status", query_status, {0}},
	{"query-version", query_version, {0}},
	{"query-commands", query_commands, {0}},
	{"stop", stop, {0}},
	{"cont", cont, {0}},
	{"quit", quit, {0}},
	{"system_powerdown", system_powerdown, {0}},
	{"system_reset", system_reset, {0}},
	{"system_wakeup", system_wakeup, {0}},
	{"send-key", qmp_send_key, {"keys", "hold-time"}},
	{"screendump", qmp_screendump, {"filename", "format"}},
	{"input-send-event", qmp_input_send_event, {"events", "device", "head"}},
};

static json_t *query_commands(struct qmp_session *session, json_t *arguments)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		json_array_append_new(list, json_pack("{s:s}", "name", commands[i].name));
	return list;
}

/* --- what the client says --- */

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* False where an argument is none that the command has, with a reply. */
static bool check_arguments(
	struct qmp_session *session, const struct command *command, json_t *arguments, json_t *id)
{
	const char *name;
	json_t *value;

	json_object_foreach(arguments, name, value)
	{
		size_t i = 0;

		while (i < ARRAY_SIZE(command->arguments) && command->arguments[i] &&
			strcmp(command->arguments[i], name) != 0)
			i++;
		if (i == ARRAY_SIZE(command->arguments) || !command->arguments[i]) {
			send_error(
				session, id, "GenericError", "Parameter '%s' is unexpected", name);
			return false;
		}
	}
	return true;
}

/* The members of a request. False: it is none, and there was a reply. */
static bool check_request(struct qmp_session *session, json_t *request, json_t *id)
{
	static const char *const members[] = {"execute", "arguments", "id"};
	json_t *execute = json_object_get(request, "execute");
	json_t *arguments = json_object_get(request, "arguments"), *value;
	const char *name;

	json_object_foreach(request, name, value)
	{
		size_t i = 0;

		while (i < ARRAY_SIZE(members) && strcmp(members[i], name) != 0)
			i++;
		if (i == ARRAY_SIZE(members)) {
			send_error(session, id, "GenericError",
				"QMP input member '%s' is unexpected", name);
			return false;
		}
	}
	if (!execute)
		send_error(session, id, "GenericError", "QMP input lacks member 'execute'");
	else if (!json_is_string(execute))
		send_error(
			session, id, "GenericError", "QMP input member 'execute' must be a string");
	else if (arguments && !json_is_object(arguments))
		send_error(session, id, "GenericError",
			"QMP input member 'arguments' must be an object");
	else
		return true;
	return false;
}

/* The command may be run in this state of the session. */
static bool check_state(
	struct qmp_session *session, const char *name, const struct command *command, json_t *id)
{
	bool negotiates = command && command->run == qmp_capabilities;

	if (!session->negotiated && !negotiates)
		send_error(session, id, "CommandNotFound",
			"Expecting capabilities negotiation with 'qmp_capabilities'");
	else if (session->negotiated && negotiates)
		send_error(session, id, "CommandNotFound",
			"Capabilities negotiation is already complete, command ignored");
	else if (!command)
		send_error(
			session, id, "CommandNotFound", "The command %s has not been found", name);
	else
		return true;
	return false;
}

static void execute(struct qmp_session *session, json_t *request)
{
	json_t *id = json_incref(json_object_get(request, "id")), *result;
	const struct command *command;
	const char *name;

	if (!check_request(session, request, id))
		return;
	name = json_string_value(json_object_get(request, "execute"));
	command = find_command(name);
	if (!check_state(session, name, command, id) ||
		!check_arguments(session, command, json_object_get(request, "arguments"), id))
		return;
	session->failure[0] = '\0';
	result = command->run(session, json_object_get(request, "arguments"));
	if (session->failure[0])
		send_error(session, id, "GenericError", "%s", session->failure);
	else if (session->waiting)
		session->waiting_id = id;
	else
		send_reply(session, "return", result, id);
}

void qmp_take(struct qmp_session *session, const char *text, size_t size)
{
	json_error_t error;
	json_t *request = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

	if (!request)
		send_error(session, NULL, "GenericError", "JSON parse error, %s", error.text);
	else if (!json_is_object(request))
		send_error(session, NULL, "GenericError", "QMP input must be a JSON object");
	else
		execute(session, request);
	json_decref(request);
}
