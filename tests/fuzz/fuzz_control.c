/* What a client sends to a control socket: framer and QMP, with a machine that only notes what is
 * asked of it. The first byte says in what pieces the rest arrives. */
#include "control/framer.h"
#include "control/human.h"
#include "control/qmp_internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct qmp_session session;
static struct machine machine;
static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct qmp_shared shared;
static unsigned replies;

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void tell(enum machine_event_kind kind)
{
	const struct machine_event event = {.kind = kind};

	qmp_tell_begin(&shared, &event);
	qmp_tell(&session, &event);
	qmp_tell_end(&shared, &event);
}

/* Stands at once or, every other time, later. */
void machine_pause(struct machine *asked)
{
	static bool later;

	if (asked->phase == MACHINE_PHASE_PAUSED)
		return;
	later = !later;
	asked->phase = later ? MACHINE_PHASE_PAUSING : MACHINE_PHASE_PAUSED;
	if (!later)
		tell(MACHINE_PAUSED);
}

/* The fuzzer is not to write to files that it finds names of. */
json_t *qmp_dump_guest_memory(struct qmp_session *asked, json_t *arguments)
{
	return json_object();
}

json_t *qmp_query_dump_capability(struct qmp_session *asked, json_t *arguments)
{
	return json_object();
}

pid_t machine_vcpu_thread_id(const struct machine *asked, unsigned cpu)
{
	require(cpu < asked->config.cpu_count);
	return 0;
}

void machine_resume(struct machine *asked)
{
	asked->phase = MACHINE_PHASE_RUNNING;
	tell(MACHINE_RESUMED);
}

/* The guest lets go at once, of whatever has a name of more than one letter. */
int machine_unplug(struct machine *asked, const char *id)
{
	const struct machine_event event = {.kind = MACHINE_DEVICE_DELETED, .device = id};

	if (!*id || !id[1])
		return *id ? -EOPNOTSUPP : -ENOENT;
	qmp_tell_begin(&shared, &event);
	qmp_tell(&session, &event);
	qmp_tell_end(&shared, &event);
	return 0;
}

static int run_plug(
	void *opaque, struct machine *asked, enum control_plug_kind kind, const char *text)
{
	require(asked == &machine && kind <= PLUG_NETDEV_DELETE && text);
	if (strlen(text) % 2)
		return 0;
	log_error("%s", text);
	return -EINVAL;
}

static void note_deleted(void *opaque, const char *device)
{
	require(device[0]);
}

void machine_request_end(struct machine *asked, enum machine_end end, int value)
{
	require(end == MACHINE_QUIT || end == MACHINE_RESET);
	require(value);
}

bool machine_wake_up(struct machine *asked)
{
	bool asleep = asked->asleep;

	asked->asleep = !asleep;
	tell(asleep ? MACHINE_WOKEN : MACHINE_SUSPENDED);
	return asleep;
}

void machine_inject_nmi(struct machine *asked)
{
	require(asked == &machine);
}

void machine_press_power_button(struct machine *asked)
{
	tell(MACHINE_POWER_BUTTON);
}

static void on_key(void *opaque, unsigned code, bool down)
{
	require(code > 0 && code < 256);
}

static void on_mouse(void *opaque, int dx, int dy, int dz, unsigned held)
{
	require(held < 32 && dz >= -1 && dz <= 1);
}

/* All that is sent is one JSON object and a line end; or to a human anything, and a prompt. */
static void on_send(void *opaque, const char *text, size_t size)
{
	json_t *object;

	if (session.human) {
		replies += size == strlen(HUMAN_PROMPT) && !memcmp(text, HUMAN_PROMPT, size);
		return;
	}
	require(size > 2 && memcmp(text + size - 2, "\r\n", 2) == 0 &&
		!memchr(text, '\n', size - 2));
	object = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	require(json_is_object(object));
	replies += !json_object_get(object, "event");
	json_decref(object);
}

/* Every text gets one reply. */
static void take(struct framer *framer)
{
	unsigned before = replies;

	qmp_take(&session, framer->text, framer->size);
	if (session.waiting) {
		require(replies == before);
		machine.phase = MACHINE_PHASE_PAUSED;
		tell(MACHINE_PAUSED);
	}
	require(replies == before + 1 && !session.waiting);
	framer_reset(framer);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	clock_init(&machine.clock);
	machine.clock.paused = true;
	machine.loop = event_loop_create(&machine.clock, &lock);
	require(machine.loop);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct input_ops input_ops = {.key = on_key, .mouse = on_mouse};
	static const struct control_plug plug = {.run = run_plug, .deleted = note_deleted};
	static struct framer framer;
	size_t piece, taken, i = 1;
	enum framing framing = FRAMING_MORE;

	if (!size)
		return 0;
	piece = 1 + data[0];
	framer_reset(&framer);
	machine = (struct machine){
		.loop = machine.loop, .clock = machine.clock, .input = {.ops = &input_ops}};
	qmp_shared_init(&shared, &machine);
	shared.plug = data[0] & 4 ? NULL : &plug;
	session = (struct qmp_session){.shared = &shared,
		.machine = &machine,
		.send = on_send,
		.negotiated = data[0] & 1,
		.human = data[0] & 2};
	qmp_open(&session);
	while (i < size && framing <= FRAMING_COMPLETE) {
		framing = (session.human ? framer_take_line : framer_take)(
			&framer, (const char *)data + i, MIN(piece, size - i), &taken);
		require(framer.size <= FRAMER_LONGEST && framer.depth <= FRAMER_DEEPEST + 1);
		if (framing == FRAMING_COMPLETE)
			take(&framer);
		i += taken;
	}
	qmp_close(&session);
	qmp_shared_destroy(&shared);
	return 0;
}
