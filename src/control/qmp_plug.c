/* Devices that come and go, and what is behind them, by QMP and by the human monitor. */
#include "control/human.h"
#include "control/qmp_internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* 0, or -errno with the reason in `why`. */
static int run_plug(struct qmp_shared *shared, enum control_plug_kind kind, const char *text,
	char *why, size_t size)
{
	const struct control_plug *plug = shared->plug;
	int error;

	if (!plug) {
		snprintf(why, size, "This machine takes no devices while it runs");
		return -EOPNOTSUPP;
	}
	log_capture_begin(why, size);
	error = plug->run(plug->opaque, shared->machine, kind, text);
	log_capture_end();
	if (error && !*why)
		snprintf(why, size, "%s", strerror(-error));
	return error;
}

static json_t *run(struct qmp_session *session, enum control_plug_kind kind, const char *text)
{
	char why[256];

	return run_plug(session->shared, kind, text, why, sizeof(why))
		       ? qmp_fail(session, "%s", why)
		       : json_object();
}

/* --- descriptors in the place of files --- */

static int descriptor_of(const struct qmp_shared *shared, long long set)
{
	for (unsigned i = 0; i < DESCRIPTORS_MOST; i++) {
		const struct descriptor *place = &shared->descriptors.place[i];

		if (place->fd >= 0 && place->in_set && place->set == set)
			return place->fd;
	}
	return -1;
}

/* A copy of the value, in which "/dev/fdset/N" is the descriptor in that set. */
static json_t *with_descriptors(const struct qmp_shared *shared, json_t *value)
{
	static const char fdset[] = "/dev/fdset/";
	const char *text = json_string_value(value), *name;
	json_t *copy, *member;
	char path[40], *end;
	int fd;

	if (text && strncmp(text, fdset, strlen(fdset)) == 0) {
		fd = descriptor_of(shared, strtoll(text + strlen(fdset), &end, 10));
		if (*end || fd < 0)
			return json_incref(value);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		return json_string(path);
	}
	if (!json_is_object(value))
		return json_incref(value);
	copy = json_object();
	json_object_foreach(value, name, member)
	{
		json_object_set_new(copy, name, with_descriptors(shared, member));
	}
	return copy;
}

static json_t *run_json(struct qmp_session *session, enum control_plug_kind kind, json_t *arguments)
{
	json_t *object = with_descriptors(session->shared, arguments), *reply;
	char *text = json_dumps(object, JSON_COMPACT);

	json_decref(object);
	reply = text ? run(session, kind, text) : qmp_fail(session, "Out of memory");
	free(text);
	return reply;
}

/* --- QMP --- */

json_t *qmp_device_add(struct qmp_session *session, json_t *arguments)
{
	return run_json(session, PLUG_DEVICE_ADD, arguments);
}

json_t *qmp_blockdev_add(struct qmp_session *session, json_t *arguments)
{
	return run_json(session, PLUG_BLOCKDEV_ADD, arguments);
}

json_t *qmp_netdev_add(struct qmp_session *session, json_t *arguments)
{
	return run_json(session, PLUG_NETDEV_ADD, arguments);
}

json_t *qmp_blockdev_del(struct qmp_session *session, json_t *arguments)
{
	return run(session, PLUG_BLOCKDEV_DELETE,
		json_string_value(json_object_get(arguments, "node-name")));
}

json_t *qmp_netdev_del(struct qmp_session *session, json_t *arguments)
{
	return run(
		session, PLUG_NETDEV_DELETE, json_string_value(json_object_get(arguments, "id")));
}

static int unplug(struct qmp_shared *shared, const char *id, char *why, size_t size)
{
	const char *name = strrchr(id, '/');
	int error = machine_unplug(shared->machine, name ? name + 1 : id);

	if (error == -ENOENT)
		snprintf(why, size, "Device '%.100s' not found", id);
	else if (error == -EINPROGRESS)
		snprintf(why, size, "Device %.100s is already in the process of unplug", id);
	else if (error)
		snprintf(why, size, "Device '%.100s' does not support hotunplugging", id);
	return error;
}

json_t *qmp_device_del(struct qmp_session *session, json_t *arguments)
{
	const char *id = json_string_value(json_object_get(arguments, "id"));
	char why[160];
	int error = unplug(session->shared, id, why, sizeof(why));

	if (error == -ENOENT)
		session->failure_class = "DeviceNotFound";
	return error ? qmp_fail(session, "%s", why) : json_object();
}

json_t *qmp_deleted_data(const char *device)
{
	char path[100];

	if (!*device)
		return json_pack("{s:s}", "path", "/machine/peripheral-anon");
	snprintf(path, sizeof(path), "/machine/peripheral/%s", device);
	return json_pack("{s:s, s:s}", "device", device, "path", path);
}

/* --- the human monitor --- */

static void run_human(struct human *human, enum control_plug_kind kind, const char *words)
{
	char why[256];

	if (run_plug(human->shared, kind, words + strspn(words, " "), why, sizeof(why)))
		fprintf(human->out, "Error: %s\n", why);
}

void human_device_add(struct human *human, const char *words)
{
	run_human(human, PLUG_DEVICE_ADD, words);
}

void human_device_del(struct human *human, const char *words)
{
	char why[160];

	if (unplug(human->shared, words + strspn(words, " "), why, sizeof(why)))
		fprintf(human->out, "Error: %s\n", why);
}

void human_netdev_add(struct human *human, const char *words)
{
	run_human(human, PLUG_NETDEV_ADD, words);
}

void human_netdev_del(struct human *human, const char *words)
{
	run_human(human, PLUG_NETDEV_DELETE, words);
}

/* [-n] PCI-ADDRESS OPTIONS: what is said of an address has no meaning for if=none. */
void human_drive_add(struct human *human, const char *words)
{
	char why[256];

	words += strspn(words, " ");
	if (strncmp(words, "-n ", 3) == 0)
		words += 3;
	words += strcspn(words, " ");
	words += strspn(words, " ");
	if (run_plug(human->shared, PLUG_DRIVE_ADD, words, why, sizeof(why)))
		fprintf(human->out, "Error: %s\n", why);
	else
		fprintf(human->out, "OK\n");
}
