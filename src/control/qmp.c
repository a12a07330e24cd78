#include "control/qmp.h"

#include "control/human.h"
#include "control/qmp_internal.h"
#include "control/schema.h"

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

static void send_text(struct qmp_session *session, const char *text)
{
	session->send(session->opaque, text, strlen(text));
}

/* To a human: what the command has said, and that the next one may come. */
static void send_answer(struct qmp_session *session, json_t *value)
{
	const char *text = json_string_value(value);

	if (!text)
		text = json_string_value(json_object_get(value, "desc"));
	if (text)
		send_text(session, text);
	if (json_is_object(value) && text)
		send_text(session, "\r\n");
	send_text(session, HUMAN_PROMPT);
	json_decref(value);
}

static void send_reply(struct qmp_session *session, const char *kind, json_t *value, json_t *id)
{
	json_t *reply;

	if (session->human) {
		send_answer(session, value);
		return;
	}
	reply = json_pack("{s:o}", kind, value);

	if (id)
		json_object_set_new(reply, "id", id);
	send_object(session, reply);
}

__attribute__((format(printf, 4, 5))) static void send_error(
	struct qmp_session *session, json_t *id, const char *class, const char *format, ...)
{
	char description[400];
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

json_t *qmp_version(void)
{
	return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "micro", QMP_MICRO, "minor", QMP_MINOR,
		"major", QMP_MAJOR, "package", "veneer " VENEER_VERSION);
}

void qmp_shared_init(struct qmp_shared *shared, struct machine *machine)
{
	*shared = (struct qmp_shared){.machine = machine};
	key_sender_init(&shared->keys, &machine->input, machine->loop, &machine->clock);
	descriptors_init(&shared->descriptors);
}

void qmp_shared_destroy(struct qmp_shared *shared)
{
	key_sender_stop(&shared->keys);
	descriptors_close_all(&shared->descriptors);
	json_decref(shared->objects);
	json_decref(shared->chardevs);
}

static void greet_human(struct qmp_session *session)
{
	char greeting[120];

	snprintf(greeting, sizeof(greeting),
		"QEMU %d.%d.%d monitor - type 'help' for more information\r\n" HUMAN_PROMPT,
		QMP_MAJOR, QMP_MINOR, QMP_MICRO);
	send_text(session, greeting);
}

void qmp_open(struct qmp_session *session)
{
	if (session->human) {
		greet_human(session);
		return;
	}
	send_object(session,
		json_pack("{s:{s:o, s:[]}}", "QMP", "version", qmp_version(), "capabilities"));
}

void qmp_wait_no_more(struct qmp_session *session)
{
	json_decref(session->waiting_id);
	session->waiting_id = NULL;
	session->waiting = false;
	json_decref(session->stopped_arguments);
	session->stopped_arguments = NULL;
	session->run_stopped = NULL;
}

void qmp_close(struct qmp_session *session)
{
	qmp_wait_no_more(session);
	received_close(&session->received);
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
	[MACHINE_SHUT_DOWN] = "SHUTDOWN",
	[MACHINE_PANICKED] = "GUEST_PANICKED",
	[MACHINE_CRASH_LOADED] = "GUEST_CRASHLOADED",
	[MACHINE_WATCHDOG] = "WATCHDOG",
	[MACHINE_DEVICE_DELETED] = "DEVICE_DELETED",
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
	case MACHINE_GUEST_PANICKED:
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

/* Run a command, and reply, unless the reply comes later. */
static void finish_command(struct qmp_session *session,
	json_t *(*run)(struct qmp_session *session, json_t *arguments), json_t *arguments,
	json_t *id)
{
	json_t *result;

	session->failure[0] = '\0';
	session->failure_class = "GenericError";
	result = run(session, arguments);
	if (session->failure[0])
		send_error(session, id, session->failure_class, "%s", session->failure);
	else if (session->waiting)
		session->waiting_id = id;
	else
		send_reply(session, "return", result, id);
}

/* NULL: the event has none. */
static json_t *event_data(const struct machine_event *event)
{
	const char *why = reason(&event->cause);

	if (event->kind == MACHINE_DEVICE_DELETED)
		return qmp_deleted_data(event->device);
	if (event->action)
		return json_pack("{s:s}", "action", event->action);
	if (event->kind != MACHINE_WAS_RESET && event->kind != MACHINE_ENDED &&
		event->kind != MACHINE_SHUT_DOWN)
		return NULL;
	return json_pack("{s:b, s:s}", "guest", strncmp(why, "guest", 5) == 0, "reason", why);
}

void qmp_tell_begin(struct qmp_shared *shared, const struct machine_event *event)
{
	if (event->kind == MACHINE_DEVICE_DELETED && shared->plug)
		shared->plug->deleted(shared->plug->opaque, event->device);
	if (!shared->inspecting ||
		(event->kind != MACHINE_PAUSED && event->kind != MACHINE_RESUMED &&
			event->kind != MACHINE_ENDED))
		return;
	shared->inspecting = false;
	shared->quiet = event->kind == MACHINE_RESUMED ||
			(event->kind == MACHINE_PAUSED && !shared->stay_paused &&
				shared->machine->stopped == MACHINE_STOP_USER);
	shared->stay_paused = false;
}

void qmp_tell_end(struct qmp_shared *shared, const struct machine_event *event)
{
	if (shared->quiet && event->kind == MACHINE_PAUSED)
		machine_resume(shared->machine); /* and this event is quiet, too */
	shared->quiet = false;
}

/* The reply that the client waits for, as far as it depends on the event. */
static void reply_to_event(struct qmp_session *session, const struct machine_event *event)
{
	json_t *(*run)(struct qmp_session * session, json_t * arguments) = session->run_stopped;
	json_t *id = session->waiting_id, *arguments = session->stopped_arguments;

	session->waiting = false;
	session->waiting_id = session->stopped_arguments = NULL;
	session->run_stopped = NULL;
	if (event->kind == MACHINE_RESUMED)
		send_error(session, id, "GenericError",
			"The machine was resumed while its devices still had requests in flight");
	else if (run && event->kind == MACHINE_ENDED)
		send_error(session, id, "GenericError", "The machine has ended");
	else if (run)
		finish_command(session, run, arguments, id);
	else
		send_reply(session, "return", json_object(), id);
	json_decref(arguments);
}

void qmp_tell(struct qmp_session *session, const struct machine_event *event)
{
	struct timespec now;
	json_t *object, *data = event_data(event);

	clock_gettime(CLOCK_REALTIME, &now);
	object = json_pack("{s:{s:I, s:I}, s:s}", "timestamp", "seconds", (json_int_t)now.tv_sec,
		"microseconds", (json_int_t)(now.tv_nsec / 1000), "event",
		event_names[event->kind]);
	if (data)
		json_object_set_new(object, "data", data);
	if (session->negotiated && !session->shared->quiet)
		send_object(session, object);
	else
		json_decref(object);
	if (session->waiting && (event->kind == MACHINE_PAUSED || event->kind == MACHINE_RESUMED ||
					event->kind == MACHINE_ENDED))
		reply_to_event(session, event);
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

json_t *qmp_run_stopped(struct qmp_session *session,
	json_t *(*run)(struct qmp_session *session, json_t *arguments), json_t *arguments)
{
	struct machine *machine = session->machine;

	if (machine->phase == MACHINE_PHASE_RUNNING) {
		session->shared->inspecting = true;
		machine_pause(machine);
	}
	if (machine->phase == MACHINE_PHASE_PAUSED)
		return run(session, arguments);
	session->run_stopped = run;
	session->stopped_arguments = json_incref(arguments);
	session->waiting = true;
	return NULL;
}

json_t *qmp_fail_not_found(struct qmp_session *session, const char *name)
{
	session->failure_class = "DeviceNotFound";
	return qmp_fail(session, "Device '%.100s' not found", name);
}

/* There are no capabilities to enable. */
json_t *qmp_capabilities(struct qmp_session *session, json_t *arguments)
{
	if (json_array_size(json_object_get(arguments, "enable")))
		return qmp_fail(session,
			"Parameter 'enable' must be an empty list: there are no capabilities");
	session->negotiated = true;
	return json_object();
}

json_t *qmp_query_version(struct qmp_session *session, json_t *arguments)
{
	return qmp_version();
}

json_t *qmp_query_commands(struct qmp_session *session, json_t *arguments)
{
	json_t *list = json_array();

	for (const struct qmp_command *command = qmp_commands; command->name; command++)
		json_array_append_new(list, json_pack("{s:s}", "name", command->name));
	return list;
}

json_t *qmp_query_events(struct qmp_session *session, json_t *arguments)
{
	json_t *list = json_array();

	for (const struct schema_event *event = schema_events; event->name; event++)
		json_array_append_new(list, json_pack("{s:s}", "name", event->name));
	return list;
}

json_t *qmp_query_schema(struct qmp_session *session, json_t *arguments)
{
	json_t *list = json_array();

	for (const struct qmp_command *command = qmp_commands; command->name; command++)
		schema_add_command(list, command->name, command->arguments, command->return_type);
	schema_add_types(list);
	return list;
}

/* --- what the client says --- */

static const struct qmp_command *find_command(const char *name)
{
	for (const struct qmp_command *command = qmp_commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

/* False where the arguments are not those that the command has, with a reply. */
static bool check_arguments(struct qmp_session *session, const struct qmp_command *command,
	json_t *arguments, json_t *id)
{
	struct schema_fault fault;

	if (schema_check(command->arguments, arguments, &fault))
		return true;
	send_error(session, id, "GenericError", "%s", fault.text);
	return false;
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
static bool check_state(struct qmp_session *session, const char *name,
	const struct qmp_command *command, json_t *id)
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
	json_t *id = json_incref(json_object_get(request, "id"));
	const struct qmp_command *command;
	const char *name;

	if (!check_request(session, request, id))
		return;
	name = json_string_value(json_object_get(request, "execute"));
	command = find_command(name);
	if (!check_state(session, name, command, id) ||
		!check_arguments(session, command, json_object_get(request, "arguments"), id))
		return;
	finish_command(session, command->run, json_object_get(request, "arguments"), id);
}

/* A line that is no UTF-8 is none that there is a command for. */
static void take_line(struct qmp_session *session, const char *text, size_t size)
{
	json_t *arguments = json_pack("{s:s%}", "command-line", text, size);

	if (arguments) {
		finish_command(session, qmp_human_monitor_command, arguments, NULL);
	} else {
		send_text(session, "unknown command\r\n");
		send_text(session, HUMAN_PROMPT);
	}
	json_decref(arguments);
}

void qmp_take(struct qmp_session *session, const char *text, size_t size)
{
	json_error_t error;
	json_t *request;

	if (session->human) {
		take_line(session, text, size);
		return;
	}
	request = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (!request)
		send_error(session, NULL, "GenericError", "JSON parse error, %s", error.text);
	else if (!json_is_object(request))
		send_error(session, NULL, "GenericError", "QMP input must be a JSON object");
	else
		execute(session, request);
	json_decref(request);
}
