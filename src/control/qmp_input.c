/* Keys and the mouse by QMP: send-key and input-send-event, with the arguments that QEMU's have. */
#include "control/qcode.h"
#include "control/qmp_internal.h"

#include <linux/input-event-codes.h>
#include <string.h>

#define MOST_KEYS       16 /* pressed together */
#define MOST_HOLD_MS    10000
#define DEFAULT_HOLD_MS 100

/* A key by its name, or by its number: the code of scan code set 1, of which those up to F12's are
 * Linux's codes, too. -1 with a failure. */
static int find_key(struct qmp_session *session, json_t *key)
{
	const char *type = json_string_value(json_object_get(key, "type"));
	json_t *data = json_object_get(key, "data");
	int code = -1;

	if (type && !strcmp(type, "qcode") && json_is_string(data)) {
		code = qcode_find(json_string_value(data));
		if (code < 0)
			qmp_fail(session, "There is no key '%s'", json_string_value(data));
	} else if (type && !strcmp(type, "number") && json_is_integer(data)) {
		json_int_t number = json_integer_value(data);

		if (number >= KEY_ESC && number <= KEY_F12)
			code = (int)number;
		else
			qmp_fail(session, "There is no key with this number");
	} else {
		qmp_fail(session, "A key must have a type, 'qcode' or 'number', and data");
	}
	return code;
}

json_t *qmp_send_key(struct qmp_session *session, json_t *arguments)
{
	json_t *keys = json_object_get(arguments, "keys"), *key;
	json_t *hold = json_object_get(arguments, "hold-time");
	json_int_t hold_ms = hold ? json_integer_value(hold) : DEFAULT_HOLD_MS;
	uint16_t codes[MOST_KEYS];
	size_t i;

	if (!json_is_array(keys) || !json_array_size(keys) || json_array_size(keys) > MOST_KEYS)
		return qmp_fail(
			session, "Parameter 'keys' must be a list of 1 to %d keys", MOST_KEYS);
	if (hold && (!json_is_integer(hold) || hold_ms < 1 || hold_ms > MOST_HOLD_MS))
		return qmp_fail(
			session, "Parameter 'hold-time' must be 1 to %d (ms)", MOST_HOLD_MS);
	json_array_foreach(keys, i, key)
	{
		int code = find_key(session, key);

		if (code < 0)
			return NULL;
		codes[i] = (uint16_t)code;
	}
	if (!key_sender_add(&session->shared->keys, codes, (unsigned)json_array_size(keys),
		    (uint64_t)hold_ms * 1000000))
		return qmp_fail(session, "Too many keys wait to be sent");
	return json_object();
}

/* --- input-send-event --- */

/* One event, or several that become one movement. */
struct happening {
	int key; /* -1: it is the mouse's */
	bool down;
	unsigned button; /* enum input_button; 0: none */
	int dx, dy, dz;
};

static const struct {
	const char *name;
	unsigned button;
	int dz;
} buttons[] = {
	{"left", INPUT_LEFT, 0},
	{"right", INPUT_RIGHT, 0},
	{"middle", INPUT_MIDDLE, 0},
	{"side", INPUT_SIDE, 0},
	{"extra", INPUT_EXTRA, 0},
	{"wheel-up", 0, -1},
	{"wheel-down", 0, 1},
};

static bool read_down(struct qmp_session *session, json_t *data, struct happening *happening)
{
	json_t *down = json_object_get(data, "down");

	happening->down = json_is_true(down);
	if (!json_is_boolean(down))
		qmp_fail(session, "A key or button needs 'down', true or false");
	return json_is_boolean(down);
}

static bool read_key(struct qmp_session *session, json_t *data, struct happening *happening)
{
	happening->key = find_key(session, json_object_get(data, "key"));
	return happening->key >= 0 && read_down(session, data, happening);
}

static bool read_button(struct qmp_session *session, json_t *data, struct happening *happening)
{
	const char *name = json_string_value(json_object_get(data, "button"));

	for (size_t i = 0; name && i < ARRAY_SIZE(buttons); i++) {
		if (strcmp(buttons[i].name, name) != 0)
			continue;
		if (!read_down(session, data, happening))
			return false;
		happening->button = buttons[i].button;
		happening->dz = happening->down ? buttons[i].dz : 0;
		return true;
	}
	qmp_fail(session, "There is no such button");
	return false;
}

static bool read_movement(struct qmp_session *session, json_t *data, struct happening *happening)
{
	const char *axis = json_string_value(json_object_get(data, "axis"));
	json_t *value = json_object_get(data, "value");
	json_int_t counts = json_integer_value(value);

	if (!axis || (strcmp(axis, "x") != 0 && strcmp(axis, "y") != 0) ||
		!json_is_integer(value) || counts < -10000 || counts > 10000) {
		qmp_fail(session, "A movement needs 'axis', x or y, and 'value', -10000 to 10000");
		return false;
	}
	*(*axis == 'x' ? &happening->dx : &happening->dy) = (int)counts;
	return true;
}

static const struct {
	const char *type;
	bool (*read)(struct qmp_session *session, json_t *data, struct happening *happening);
} readers[] = {
	{"key", read_key},
	{"btn", read_button},
	{"rel", read_movement},
};

/* False: the event is none that there is, with a failure. */
static bool read_event(struct qmp_session *session, json_t *event, struct happening *happening)
{
	const char *type = json_string_value(json_object_get(event, "type"));

	*happening = (struct happening){.key = -1};
	for (size_t i = 0; type && i < ARRAY_SIZE(readers); i++)
		if (strcmp(readers[i].type, type) == 0)
			return readers[i].read(session, json_object_get(event, "data"), happening);
	qmp_fail(session, "An event's type must be key, btn or rel");
	return false;
}

static void act(struct qmp_session *session, const struct happening *happening)
{
	const struct input *input = &session->machine->input;
	unsigned *held = &session->shared->buttons;

	if (happening->key >= 0) {
		input_key(input, (unsigned)happening->key, happening->down);
		return;
	}
	*held = happening->down ? *held | happening->button : *held & ~happening->button;
	input_mouse(input, happening->dx, happening->dy, happening->dz, *held);
}

static bool is_movement(const struct happening *happening)
{
	return happening->dx || happening->dy;
}

/* Movements that follow each other are one: an x and a y. */
static void act_on_all(struct qmp_session *session, json_t *events)
{
	struct happening movement = {.key = -1}, next;
	json_t *event;
	size_t i;

	json_array_foreach(events, i, event)
	{
		read_event(session, event, &next);
		if (is_movement(&next)) {
			movement.dx += next.dx;
			movement.dy += next.dy;
			continue;
		}
		if (is_movement(&movement))
			act(session, &movement);
		movement.dx = movement.dy = 0;
		act(session, &next);
	}
	if (is_movement(&movement))
		act(session, &movement);
}

json_t *qmp_input_send_event(struct qmp_session *session, json_t *arguments)
{
	json_t *events = json_object_get(arguments, "events"), *event;
	struct happening happening;
	size_t i;

	if (!json_is_array(events))
		return qmp_fail(session, "Parameter 'events' must be a list");
	json_array_foreach(events, i, event)
	{
		if (!read_event(session, event, &happening))
			return NULL;
	}
	act_on_all(session, events);
	return json_object();
}
