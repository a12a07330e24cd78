#include "host/char_device.h"

#include "base/bits.h"
#include "base/log.h"
#include "host/char_file.h"
#include "host/char_kinds.h"
#include "host/console.h"
#include "host/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUT_SIZE 4096
#define REMOVAL_MS 100 /* how long a removal waits for what is queued */

struct char_front {
	struct char_backend backend; /* first */
	struct char_device *device;
	bool used, of_guest;
	bool seen;        /* it has had the input: before that nobody is there, for a monitor */
	atomic_bool held; /* see char_devices_hold() */
};

struct char_device {
	struct char_devices *devices;
	struct char_config config;
	struct char_backend *far;
	struct char_backend *log; /* NULL: none */
	pthread_mutex_t log_lock; /* ports write on any thread */
	struct char_front front[CHAR_FRONTS];
	unsigned focus; /* whose the input is */

	/* With keys: */
	struct terminal_parser parser;
	uint8_t input[INPUT_SIZE]; /* typed, and not yet taken */
	size_t count;
};

struct char_devices {
	struct event_loop *loop;
	void (*quit)(void *opaque);
	void *opaque;
	struct char_device *device[CHAR_DEVICES];
	bool held;
};

/* --- kinds --- */

static size_t null_write(struct char_backend *backend, const void *bytes, size_t size)
{
	return size;
}

static void null_destroy(struct char_backend *backend, int timeout_ms)
{
	free(backend);
}

struct char_backend *char_null_open(
	const struct char_config *config, const char *option, struct event_loop *loop)
{
	static const struct char_backend_ops ops = {.write = null_write, .destroy = null_destroy};
	struct char_backend *backend = calloc(1, sizeof(*backend));

	if (backend)
		*backend = (struct char_backend){.ops = &ops, .open = true};
	else
		log_error("%s %s: out of memory", option, config->id);
	return backend;
}

struct char_backend *char_stdio_open(
	const struct char_config *config, const char *option, struct event_loop *loop)
{
	const struct console_config terminal = {
		.input_fd = STDIN_FILENO, .output_fd = STDOUT_FILENO, .plain = true, .loop = loop};
	struct console *console = console_create(&terminal);

	return console ? console_backend(console) : NULL;
}

static unsigned file_flags(const struct char_config *config, bool append)
{
	return (append ? CHAR_FILE_APPEND : 0) | (config->at_once ? CHAR_FILE_AT_ONCE : 0);
}

/* What the guest prints is in the file a moment later: others may wait for a prompt. */
struct char_backend *char_output_open(
	const struct char_config *config, const char *option, struct event_loop *loop)
{
	int fd = char_file_open(config->path, file_flags(config, config->append));
	const struct console_config output = {
		.input_fd = -1, .output_fd = fd, .close_output = true, .plain = true, .loop = loop};
	struct console *console;

	if (fd < 0) {
		log_error("%s %s: cannot write: %s", option, config->path, strerror(errno));
		return NULL;
	}
	console = console_create(&output);
	if (!console)
		close(fd);
	return console ? console_backend(console) : NULL;
}

static const struct kind {
	const char *name;
	struct char_backend *(*open)(
		const struct char_config *config, const char *option, struct event_loop *loop);
} kinds[CHAR_KINDS] = {
	[CHAR_NULL] = {"null", char_null_open},
	[CHAR_STDIO] = {"stdio", char_stdio_open},
	[CHAR_FILE] = {"file", char_output_open},
	[CHAR_PIPE] = {"pipe", char_pipe_open},
	[CHAR_PTY] = {"pty", char_pty_open},
	[CHAR_SOCKET] = {"socket", char_socket_open},
	[CHAR_RING] = {"ringbuf", char_ring_open},
};

const char *char_kind_name(enum char_kind kind)
{
	return kinds[kind].name;
}

/* --- a front, as its port sees it --- */

static struct char_front *front_of(struct char_backend *backend)
{
	return container_of(backend, struct char_front, backend);
}

/* Standard input always has the keys: it may be all that the user can end the machine by. */
static bool has_keys(const struct char_device *device)
{
	return device->config.mux || device->config.kind == CHAR_STDIO;
}

static void write_log(struct char_device *device, const void *bytes, size_t size)
{
	if (!device->log || !size)
		return;
	pthread_mutex_lock(&device->log_lock);
	device->log->ops->write(device->log, bytes, size);
	pthread_mutex_unlock(&device->log_lock);
}

static size_t front_write(struct char_backend *backend, const void *bytes, size_t size)
{
	struct char_front *front = front_of(backend);
	struct char_device *device = front->device;
	size_t taken;

	if (atomic_load(&front->held))
		return 0;
	taken = device->far->ops->write(device->far, bytes, size);
	if (front->of_guest)
		write_log(device, bytes, taken);
	return taken;
}

static void front_write_last(struct char_backend *backend, const void *bytes, size_t size)
{
	struct char_device *device = front_of(backend)->device;

	if (device->far->ops->write_last)
		device->far->ops->write_last(device->far, bytes, size);
	else
		device->far->ops->write(device->far, bytes, size);
	write_log(device, bytes, size);
}

static uint32_t front_window(struct char_backend *backend)
{
	struct char_backend *far = front_of(backend)->device->far;

	return far->ops->window ? far->ops->window(far) : 0;
}

static bool front_wait_for_room(struct char_backend *backend)
{
	struct char_backend *far = front_of(backend)->device->far;

	return !far->ops->wait_for_room || far->ops->wait_for_room(far);
}

static struct char_front *focused(struct char_device *device)
{
	return &device->front[device->focus];
}

static size_t give(struct char_front *front, const void *bytes, size_t size)
{
	const struct char_port *port = &front->backend.port;

	return port->receive && !front->held ? port->receive(port->opaque, bytes, size) : 0;
}

static void offer_typed(struct char_device *device)
{
	size_t taken = device->count ? give(focused(device), device->input, device->count) : 0;

	device->count -= taken;
	memmove(device->input, device->input + taken, device->count);
}

static void front_input_ready(struct char_backend *backend)
{
	struct char_device *device = front_of(backend)->device;

	if (front_of(backend) != focused(device))
		return;
	offer_typed(device);
	if (!device->count && device->far->ops->input_ready)
		device->far->ops->input_ready(device->far);
}

static const struct char_backend_ops front_ops = {
	.write = front_write,
	.write_last = front_write_last,
	.input_ready = front_input_ready,
	.window = front_window,
	.wait_for_room = front_wait_for_room,
};

static void set_open(struct char_front *front, bool open)
{
	const struct char_port *port = &front->backend.port;

	if (front->backend.open == open)
		return;
	front->backend.open = open;
	if (port->opened)
		port->opened(port->opaque, open);
}

/* --- the port that a device is to its far end --- */

static void see(struct char_device *device)
{
	struct char_front *front = focused(device);

	if (front->used)
		front->seen = true;
	set_open(front, device->far->open && front->used);
}

static void go_to_next(struct char_device *device)
{
	do
		device->focus = (device->focus + 1) % CHAR_FRONTS;
	while (!focused(device)->used);
	see(device);
}

static void say_help(struct char_device *device)
{
	struct char_backend *far = device->far;

	far->ops->write(far, terminal_help, strlen(terminal_help));
	if (device->parser.shared)
		far->ops->write(far, terminal_help_shared, strlen(terminal_help_shared));
}

/* The bytes up to a key that means something. What was typed before it is for the front that has
 * the input till then. */
static size_t parse_some(struct char_device *device, const uint8_t *bytes, size_t size)
{
	enum terminal_command command;
	size_t consumed, produced;

	command = terminal_parse(&device->parser, bytes, MIN(size, INPUT_SIZE - 1 - device->count),
		device->input + device->count, &consumed, &produced);
	device->count += produced;
	offer_typed(device);
	if (command == TERMINAL_NEXT) {
		device->count = 0;
		go_to_next(device);
	} else if (command == TERMINAL_HELP) {
		say_help(device);
	} else if (command == TERMINAL_QUIT && device->devices->quit) {
		device->devices->quit(device->devices->opaque);
	}
	return consumed;
}

static size_t device_receive(void *opaque, const void *bytes, size_t size)
{
	struct char_device *device = opaque;
	const uint8_t *next = bytes;
	size_t done = 0;

	if (!has_keys(device))
		return give(focused(device), bytes, size);
	while (done < size && device->count < INPUT_SIZE - 1)
		done += parse_some(device, next + done, size - done);
	return done;
}

static void device_output_ready(void *opaque)
{
	struct char_device *device = opaque;

	for (unsigned i = 0; i < CHAR_FRONTS; i++) {
		const struct char_front *front = &device->front[i];

		if (!front->held && front->backend.port.output_ready)
			front->backend.port.output_ready(front->backend.port.opaque);
	}
}

static void device_resized(void *opaque)
{
	struct char_device *device = opaque;

	for (unsigned i = 0; i < CHAR_FRONTS; i++) {
		const struct char_port *port = &device->front[i].backend.port;

		if (port->resized)
			port->resized(port->opaque);
	}
}

static void device_opened(void *opaque, bool open)
{
	struct char_device *device = opaque;

	device->count = 0;
	device->parser.escaped = false;
	for (unsigned i = 0; i < CHAR_FRONTS; i++) {
		struct char_front *front = &device->front[i];

		set_open(front, open && front->used && (front->of_guest || front->seen));
	}
}

static bool device_reads(void *opaque)
{
	struct char_front *front = focused(opaque);
	const struct char_port *port = &front->backend.port;

	return front->held || (port->receive && (!port->reads || port->reads(port->opaque)));
}

/* --- life --- */

/* Log files are libvirt's way to keep what a console has said. */
static int open_log(struct char_device *device, const char *option)
{
	const struct char_config *config = &device->config;

	if (!*config->log)
		return 0;
	device->log = char_file_create(option, config->log, file_flags(config, config->log_append));
	return device->log ? 0 : -EIO;
}

static void close_device(struct char_device *device, int timeout_ms)
{
	if (device->far) {
		device->far->port = (struct char_port){0};
		device->far->ops->destroy(device->far, timeout_ms);
	}
	if (device->log)
		char_file_destroy(device->log);
	pthread_mutex_destroy(&device->log_lock);
	free(device);
}

static int open_device(struct char_device *device, const char *option)
{
	int error = open_log(device, option);

	if (error)
		return error;
	device->far =
		kinds[device->config.kind].open(&device->config, option, device->devices->loop);
	if (!device->far)
		return -EIO;
	device->far->port = (struct char_port){.receive = device_receive,
		.output_ready = device_output_ready,
		.resized = device_resized,
		.opened = device_opened,
		.reads = device_reads,
		.opaque = device};
	return 0;
}

int char_devices_add(
	struct char_devices *devices, const struct char_config *config, const char *option)
{
	struct char_device *device;
	unsigned place = 0;
	int error;

	if (char_devices_find(devices, config->id)) {
		log_error("%s: the character device '%s' already exists", option, config->id);
		return -EEXIST;
	}
	while (place < CHAR_DEVICES && devices->device[place])
		place++;
	device = place < CHAR_DEVICES ? calloc(1, sizeof(*device)) : NULL;
	if (!device) {
		log_error("%s %s: no room for another character device", option, config->id);
		return -ENOSPC;
	}
	device->devices = devices;
	device->config = *config;
	device->parser.shared = config->mux;
	pthread_mutex_init(&device->log_lock, NULL);
	error = open_device(device, option);
	if (error)
		close_device(device, 0);
	else
		devices->device[place] = device;
	return error;
}

int char_devices_remove(struct char_devices *devices, const char *id)
{
	for (unsigned i = 0; i < CHAR_DEVICES; i++) {
		struct char_device *device = devices->device[i];

		if (!device || strcmp(device->config.id, id) != 0)
			continue;
		if (char_device_is_used(device))
			return -EBUSY;
		devices->device[i] = NULL;
		close_device(device, REMOVAL_MS);
		return 0;
	}
	return -ENOENT;
}

struct char_device *char_devices_find(const struct char_devices *devices, const char *id)
{
	for (unsigned i = 0; i < CHAR_DEVICES; i++)
		if (devices->device[i] && strcmp(devices->device[i]->config.id, id) == 0)
			return devices->device[i];
	return NULL;
}

struct char_device *char_devices_next(
	const struct char_devices *devices, const struct char_device *device)
{
	unsigned i = 0;

	while (device && devices->device[i++] != device)
		;
	while (i < CHAR_DEVICES && !devices->device[i])
		i++;
	return i < CHAR_DEVICES ? devices->device[i] : NULL;
}

int char_device_use(
	struct char_device *device, bool of_guest, const char *option, struct char_backend **front)
{
	unsigned fronts = device->config.mux ? CHAR_FRONTS : 1, i = 0;
	bool first = !char_device_is_used(device);
	struct char_front *free_one;

	while (i < fronts && device->front[i].used)
		i++;
	if (i == fronts) {
		log_error("%s: the character device '%s' is in use; expected mux=on to share it",
			option, device->config.id);
		return -EBUSY;
	}
	free_one = &device->front[i];
	*free_one = (struct char_front){.backend.ops = &front_ops,
		.device = device,
		.used = true,
		.of_guest = of_guest,
		.seen = first,
		.held = of_guest && device->devices->held};
	if (first)
		device->focus = i;
	free_one->backend.open = device->far->open && (of_guest || first);
	*front = &free_one->backend;
	return 0;
}

void char_device_release(struct char_backend *front)
{
	struct char_front *gone = front_of(front);
	struct char_device *device = gone->device;

	gone->backend.port = (struct char_port){0};
	gone->used = false;
	if (gone == focused(device) && char_device_is_used(device))
		go_to_next(device);
}

bool char_device_is_stdio(const struct char_backend *front)
{
	return container_of(front, const struct char_front, backend)->device->config.kind ==
	       CHAR_STDIO;
}

const struct char_config *char_device_config(const struct char_device *device)
{
	return &device->config;
}

void char_device_describe(const struct char_device *device, char *text, size_t size)
{
	if (device->far->ops->describe)
		device->far->ops->describe(device->far, text, size);
	else
		snprintf(text, size, "%s", char_kind_name(device->config.kind));
}

bool char_device_is_used(const struct char_device *device)
{
	for (unsigned i = 0; i < CHAR_FRONTS; i++)
		if (device->front[i].used)
			return true;
	return false;
}

struct char_backend *char_device_far_end(struct char_device *device)
{
	return device->far;
}

static void hold_front(struct char_front *front, bool on)
{
	if (!front->used || !front->of_guest)
		return;
	atomic_store(&front->held, on);
	if (on)
		return;
	front_input_ready(&front->backend);
	if (front->backend.port.output_ready)
		front->backend.port.output_ready(front->backend.port.opaque);
}

void char_devices_hold(struct char_devices *devices, bool on)
{
	devices->held = on;
	for (unsigned i = 0; i < CHAR_DEVICES; i++)
		for (unsigned j = 0; devices->device[i] && j < CHAR_FRONTS; j++)
			hold_front(&devices->device[i]->front[j], on);
}

void char_devices_resized(struct char_devices *devices)
{
	for (unsigned i = 0; i < CHAR_DEVICES; i++)
		if (devices->device[i])
			device_resized(devices->device[i]);
}

struct char_devices *char_devices_create(
	struct event_loop *loop, void (*quit)(void *opaque), void *opaque)
{
	struct char_devices *devices = calloc(1, sizeof(*devices));

	if (!devices) {
		log_error("out of memory for character devices");
		return NULL;
	}
	devices->loop = loop;
	devices->quit = quit;
	devices->opaque = opaque;
	return devices;
}

void char_devices_destroy(struct char_devices *devices, int timeout_ms)
{
	if (!devices)
		return;
	for (unsigned i = 0; i < CHAR_DEVICES; i++)
		if (devices->device[i])
			close_device(devices->device[i], timeout_ms);
	free(devices);
}
