/* Character devices by QMP: those of the machine, and what monitors listen at. */
#include "control/qmp_internal.h"

#include "base/bits.h"
#include "host/char_device.h"
#include "host/char_kinds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_RING (16 * MIB)
/* A reply has to fit into what is queued for a client, and each byte may become six. */
#define RINGBUF_MOST (32 * KIB)

static json_t *describe(const struct char_device *device)
{
	char filename[CHAR_MAX_PATH + 64];

	char_device_describe(device, filename, sizeof(filename));
	return json_pack("{s:s, s:s, s:b}", "label", char_device_config(device)->id, "filename",
		filename, "frontend-open", char_device_is_used(device));
}

json_t *qmp_query_chardev(struct qmp_session *session, json_t *arguments)
{
	const struct char_devices *devices = session->machine->chardevs;
	json_t *list =
		session->shared->chardevs ? json_copy(session->shared->chardevs) : json_array();

	for (struct char_device *device = char_devices_next(devices, NULL); device;
		device = char_devices_next(devices, device))
		json_array_append_new(list, describe(device));
	return list;
}

/* --- chardev-add --- */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* False: it is too long. */
static bool take_text(const json_t *object, const char *key, char *text, size_t size)
{
	const char *value = text_of(object, key);

	if (strlen(value) >= size)
		return false;
	strcpy(text, value);
	return true;
}

/* A descriptor by the name that getfd gave it, or by its number. */
static bool take_fd(struct qmp_session *session, const char *name, int *fd)
{
	*fd = descriptors_take(&session->shared->descriptors, name);
	return *fd >= 0;
}

static bool take_address(
	struct qmp_session *session, struct char_config *config, const json_t *address)
{
	const char *type = text_of(address, "type");
	const json_t *data = json_object_get(address, "data");

	/* Both the flat form and the older one, whose members are in "data". */
	data = data ? data : address;
	if (strcmp(type, "unix") == 0)
		return take_text(data, "path", config->path, sizeof(config->path)) && *config->path;
	if (strcmp(type, "inet") == 0)
		return take_text(data, "host", config->host, sizeof(config->host)) &&
		       take_text(data, "port", config->port, sizeof(config->port)) && *config->port;
	return strcmp(type, "fd") == 0 && take_fd(session, text_of(data, "str"), &config->fd);
}

static bool take_socket(struct qmp_session *session, struct char_config *config, const json_t *data)
{
	const json_t *server = json_object_get(data, "server"),
		     *reconnect = json_object_get(data, "reconnect");

	config->server = !server || json_is_true(server);
	/* A monitor that waited for a client would be deaf meanwhile. */
	if (json_is_true(json_object_get(data, "wait")) ||
		json_is_true(json_object_get(data, "telnet")))
		return false;
	config->reconnect = (unsigned)MIN(MAX(json_integer_value(reconnect), 0), 86400);
	return take_address(session, config, json_object_get(data, "addr"));
}

static bool take_ring(struct qmp_session *session, struct char_config *config, const json_t *data)
{
	json_int_t size = json_integer_value(json_object_get(data, "size"));

	config->size = (uint32_t)size;
	return size >= 0 && size <= (json_int_t)LARGEST_RING && !(size & (size - 1));
}

static bool take_file(struct qmp_session *session, struct char_config *config, const json_t *data)
{
	config->append = json_is_true(json_object_get(data, "append"));
	return take_text(data, "out", config->path, sizeof(config->path)) && *config->path;
}

static bool take_pipe(struct qmp_session *session, struct char_config *config, const json_t *data)
{
	return take_text(data, "device", config->path, sizeof(config->path)) && *config->path;
}

static bool take_nothing(
	struct qmp_session *session, struct char_config *config, const json_t *data)
{
	return true;
}

/* Not standard input, which is whoever's who started the machine. */
static const struct backend {
	const char *type;
	enum char_kind kind;
	bool (*take)(struct qmp_session *session, struct char_config *config, const json_t *data);
} backends[] = {
	{"null", CHAR_NULL, take_nothing},
	{"file", CHAR_FILE, take_file},
	{"pipe", CHAR_PIPE, take_pipe},
	{"pty", CHAR_PTY, take_nothing},
	{"socket", CHAR_SOCKET, take_socket},
	{"ringbuf", CHAR_RING, take_ring},
	{"memory", CHAR_RING, take_ring},
};

json_t *qmp_query_chardev_backends(struct qmp_session *session, json_t *arguments)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < ARRAY_SIZE(backends); i++)
		json_array_append_new(list, json_pack("{s:s}", "name", backends[i].type));
	json_array_append_new(list, json_pack("{s:s}", "name", "stdio"));
	return list;
}

static const struct backend *find_backend(const char *type)
{
	for (unsigned i = 0; i < ARRAY_SIZE(backends); i++)
		if (strcmp(backends[i].type, type) == 0)
			return &backends[i];
	return NULL;
}

json_t *qmp_chardev_add(struct qmp_session *session, json_t *arguments)
{
	const json_t *wanted = json_object_get(arguments, "backend"),
		     *data = json_object_get(wanted, "data");
	const struct backend *backend = find_backend(text_of(wanted, "type"));
	struct char_devices *devices = session->machine->chardevs;
	struct char_config config = {.fd = -1, .at_once = true};
	char name[CHAR_MAX_PATH + 64];
	int error;

	if (!backend)
		return qmp_fail(session, "chardev backend type '%.40s' is not supported",
			text_of(wanted, "type"));
	config.kind = backend->kind;
	if (!take_text(arguments, "id", config.id, sizeof(config.id)) || !*config.id ||
		!take_text(data, "logfile", config.log, sizeof(config.log)) ||
		!backend->take(session, &config, data))
		return qmp_fail(session, "the parameters of chardev backend '%s' are not served",
			backend->type);
	config.log_append = json_is_true(json_object_get(data, "logappend"));
	if (char_devices_find(devices, config.id))
		return qmp_fail(session, "Chardev with id '%s' already exists", config.id);
	error = char_devices_add(devices, &config, "chardev-add");
	if (error)
		return qmp_fail(
			session, "Failed to add chardev '%s': %s", config.id, strerror(-error));
	if (config.kind != CHAR_PTY)
		return json_object();
	char_device_describe(char_devices_find(devices, config.id), name, sizeof(name));
	return json_pack("{s:s}", "pty", name + strlen("pty:"));
}

json_t *qmp_chardev_remove(struct qmp_session *session, json_t *arguments)
{
	const char *id = text_of(arguments, "id");
	int error = char_devices_remove(session->machine->chardevs, id);

	if (error == -EBUSY)
		return qmp_fail(session, "Chardev '%.100s' is busy", id);
	if (error)
		return qmp_fail(session, "Chardev '%.100s' not found", id);
	return json_object();
}

/* --- ring buffers --- */

static struct char_backend *find_ring(struct qmp_session *session, json_t *arguments)
{
	const char *id = text_of(arguments, "device");
	struct char_device *device = char_devices_find(session->machine->chardevs, id);

	if (!device)
		qmp_fail(session, "Device '%.100s' not found", id);
	else if (char_device_config(device)->kind != CHAR_RING)
		qmp_fail(session, "'%.100s' is not a ringbuf device", id);
	else
		return char_device_far_end(device);
	return NULL;
}

static bool is_base64(const json_t *arguments)
{
	return strcmp(text_of(arguments, "format"), "base64") == 0;
}

/* What is no UTF-8 could not be said: it becomes a question mark, as QEMU's replacement does. */
static json_t *as_text(const uint8_t *bytes, size_t size)
{
	json_t *text = json_stringn((const char *)bytes, size);
	char *ascii;

	if (text)
		return text;
	ascii = malloc(size + 1);
	for (size_t i = 0; ascii && i < size; i++)
		ascii[i] = bytes[i] < 0x80 ? (char)bytes[i] : '?';
	text = ascii ? json_stringn(ascii, size) : NULL;
	free(ascii);
	return text;
}

json_t *qmp_ringbuf_read(struct qmp_session *session, json_t *arguments)
{
	json_int_t size = json_integer_value(json_object_get(arguments, "size"));
	struct char_backend *ring = find_ring(session, arguments);
	uint8_t *bytes;
	json_t *text;

	if (!ring)
		return NULL;
	if (size <= 0)
		return qmp_fail(session, "size must be greater than zero");
	if (is_base64(arguments))
		return qmp_fail(session, "format base64 is not served; expected utf8");
	size = MIN(size, (json_int_t)RINGBUF_MOST);
	bytes = malloc((size_t)size);
	if (!bytes)
		return qmp_fail(session, "out of memory");
	text = as_text(bytes, char_ring_read(ring, bytes, (size_t)size));
	free(bytes);
	return text;
}

json_t *qmp_ringbuf_write(struct qmp_session *session, json_t *arguments)
{
	const json_t *data = json_object_get(arguments, "data");
	struct char_backend *ring = find_ring(session, arguments);

	if (!ring)
		return NULL;
	if (is_base64(arguments))
		return qmp_fail(session, "format base64 is not served; expected utf8");
	char_ring_write(ring, json_string_value(data), json_string_length(data));
	return json_object();
}
