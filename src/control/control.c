/* A machine's monitors, and their clients. Texts are cut out of what a client sends, and done one
 * by one. Where an answer is not sent yet, or not there yet, the client is kept waiting just by not
 * reading more of it. */
#include "control/control.h"
#include "control/human.h"

#include "base/log.h"
#include "control/control_internal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUEUE_SIZE  ((size_t)256 * KIB)
#define NOT_WATCHED UINT32_MAX
#define TURN        32 /* texts of a client, before others have a turn */
/* Descriptors in one message at most: the kernel's SCM_MAX_FD. */
#define MOST_DESCRIPTORS 253

static struct event_loop *loop_of(const struct client *client)
{
	return client->control->machine->loop;
}

static void on_input(void *opaque, uint32_t events);
static void on_output(void *opaque, uint32_t events);

/* End the connection, soon: the caller may be amid the list of clients. What has been sent still
 * arrives. */
static void cut_off(struct client *client)
{
	client->cut_off = true;
	client->queued = 0;
	event_loop_post(loop_of(client), &client->more);
}

static void watch_one(
	struct client *client, int fd, uint32_t *events, uint32_t wanted, fd_callback *callback)
{
	if (wanted == *events)
		return;
	if (*events != NOT_WATCHED)
		event_loop_unwatch(loop_of(client), fd);
	*events = wanted;
	if (wanted != NOT_WATCHED &&
		event_loop_watch(loop_of(client), fd, wanted, callback, client) < 0) {
		*events = NOT_WATCHED;
		cut_off(client);
	}
}

/* Watch for input of a client for which nothing is queued; else for room to send what is. */
static void watch(struct client *client)
{
	bool listens = !client->queued && !client->session.waiting && !client->input_ended &&
		       client->next == client->count && !client->cut_off;
	uint32_t in = listens ? EPOLLIN : 0, out = client->queued ? EPOLLOUT : 0;

	/* That the other side of a socket has gone is noticed also where nothing else is wanted. */
	if (client->is_socket) {
		watch_one(client, client->input, &client->events, in | out, on_input);
		return;
	}
	watch_one(client, client->input, &client->events, in ? in : NOT_WATCHED, on_input);
	watch_one(
		client, client->output, &client->output_events, out ? out : NOT_WATCHED, on_output);
}

/* The client cannot be told anything any more. */
static void deafen(struct client *client)
{
	client->deaf = true;
	free(client->queue);
	client->queue = NULL;
	client->queued = 0;
	qmp_wait_no_more(&client->session);
}

static void close_descriptor(int fd)
{
	if (fd > STDERR_FILENO)
		close(fd);
}

static void close_client(struct client *client)
{
	event_loop_unpost(loop_of(client), &client->more);
	if (client->events != NOT_WATCHED)
		event_loop_unwatch(loop_of(client), client->input);
	if (client->output_events != NOT_WATCHED)
		event_loop_unwatch(loop_of(client), client->output);
	close_descriptor(client->input);
	if (client->output != client->input)
		close_descriptor(client->output);
	qmp_close(&client->session);
	free(client->queue);
	client->queue = NULL;
	client->control = NULL;
}

/* --- output --- */

/* A pipe or a terminal may be in blocking mode, which is not ours to change: where poll() says so,
 * it has room for PIPE_BUF bytes. */
static ssize_t write_some(int fd, const char *text, size_t size)
{
	struct pollfd poller = {.fd = fd, .events = POLLOUT};

	if (poll(&poller, 1, 0) <= 0) {
		errno = EAGAIN;
		return -1;
	}
	return write(fd, text, MIN(size, CONTROL_PIECE));
}

static size_t send_now(struct client *client, const char *text, size_t size)
{
	ssize_t sent;
	size_t done = 0;

	do {
		sent = client->is_socket ? send(client->output, text + done, size - done,
						   MSG_DONTWAIT | MSG_NOSIGNAL)
					 : write_some(client->output, text + done, size - done);
		done += sent > 0 ? (size_t)sent : 0;
	} while (sent > 0 && done < size);
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		deafen(client);
	return done;
}

static void client_send(void *opaque, const char *text, size_t size)
{
	struct client *client = opaque;

	if (!client->cut_off && !client->deaf && !client->queued) {
		size_t sent = send_now(client, text, size);

		text += sent;
		size -= sent;
	}
	if (client->cut_off || client->deaf || !size)
		return;
	if (!client->queue)
		client->queue = malloc(QUEUE_SIZE);
	if (!client->queue || size > QUEUE_SIZE - client->queued) {
		cut_off(client);
		return;
	}
	memcpy(client->queue + client->queued, text, size);
	client->queued += size;
}

static void send_queue(struct client *client)
{
	size_t sent = send_now(client, client->queue, client->queued);

	if (client->deaf)
		return;
	client->queued -= sent;
	memmove(client->queue, client->queue + sent, client->queued);
	if (client->queued)
		return;
	free(client->queue);
	client->queue = NULL;
}

/* --- input --- */

/* Descriptors that came with the bytes: also those that no command will want. */
static void take_descriptors(struct client *client, struct msghdr *message)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part;
		part = CMSG_NXTHDR(message, part)) {
		size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fd;

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
			received_add(&client->session.received, fd);
		}
	}
}

static ssize_t receive_message(struct client *client)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(MOST_DESCRIPTORS * sizeof(int))];
	struct iovec piece = {client->bytes, sizeof(client->bytes)};
	struct msghdr message = {.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	ssize_t got = recvmsg(client->input, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (got >= 0)
		take_descriptors(client, &message);
	return got;
}

/* All that was read before has been done. */
static void receive(struct client *client)
{
	ssize_t got = client->is_socket ? receive_message(client)
					: read(client->input, client->bytes, sizeof(client->bytes));

	client->next = client->count = 0;
	if (got > 0)
		client->count = (size_t)got;
	else if (got == 0 || (errno != EAGAIN && errno != EINTR))
		client->input_ended = true;
}

/* Take a text, as far as it has come. */
static void take_text(struct client *client)
{
	enum framing framing;
	size_t taken;

	framing = (client->session.human ? framer_take_line : framer_take)(&client->framer,
		client->bytes + client->next, client->count - client->next, &taken);
	client->next += taken;
	switch (framing) {
	case FRAMING_MORE:
		break;
	case FRAMING_COMPLETE:
		qmp_take(&client->session, client->framer.text, client->framer.size);
		framer_reset(&client->framer);
		break;
	case FRAMING_TOO_LONG:
		qmp_refuse(&client->session, "JSON parse error, the text is too long");
		cut_off(client);
		break;
	case FRAMING_TOO_DEEP:
		qmp_refuse(&client->session, "JSON parse error, the text is nested too deep");
		cut_off(client);
		break;
	}
}

/* Can texts of the client be done now? */
static bool may_take(const struct client *client)
{
	return !client->cut_off && !client->queued && !client->session.waiting;
}

static void take_texts(struct client *client)
{
	for (unsigned i = 0; i < TURN && may_take(client) && client->next < client->count; i++)
		take_text(client);
	if (!may_take(client))
		return;
	if (client->next < client->count)
		event_loop_post(loop_of(client), &client->more);
	else if (client->input_ended)
		cut_off(client);
}

static void go_on(struct client *client)
{
	if (client->cut_off) {
		close_client(client);
		return;
	}
	take_texts(client);
	watch(client);
}

static void run_more(void *opaque)
{
	go_on(opaque);
}

static void on_output(void *opaque, uint32_t events)
{
	struct client *client = opaque;

	if (events & (EPOLLHUP | EPOLLERR))
		deafen(client);
	if (!client->cut_off && client->queued)
		send_queue(client);
	go_on(client);
}

static void on_input(void *opaque, uint32_t events)
{
	struct client *client = opaque;

	/* A pipe's writer that has gone is no reason to say nothing more to its reader. */
	if (client->is_socket && (events & (EPOLLHUP | EPOLLERR)))
		deafen(client);
	if (!client->cut_off && (events & EPOLLOUT) && client->queued)
		send_queue(client);
	if (may_take(client) && client->next == client->count && !client->input_ended &&
		(events & ~(uint32_t)EPOLLOUT))
		receive(client);
	go_on(client);
}

static void on_event(void *opaque, const struct machine_event *event)
{
	struct control *control = opaque;

	qmp_tell_begin(&control->shared, event);
	for (unsigned i = 0; i < ARRAY_SIZE(control->clients); i++) {
		struct client *client = &control->clients[i];

		if (!client->control || client->cut_off)
			continue;
		qmp_tell(&client->session, event);
		event_loop_post(control->machine->loop, &client->more);
	}
	qmp_tell_end(&control->shared, event);
}

/* --- clients come --- */

/* Each monitor has places of its own: those at one leave no other without. */
static struct client *free_place(struct monitor *monitor)
{
	struct control *control = monitor->control;
	struct client *place = NULL;
	unsigned taken = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(control->clients); i++) {
		struct client *client = &control->clients[i];

		if (!client->control)
			place = client;
		else if (client->monitor == monitor)
			taken++;
	}
	return taken < CONTROL_CLIENTS ? place : NULL;
}

static void refuse_now(void *opaque, const char *text, size_t size)
{
	if (send(*(int *)opaque, text, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return; /* it will see that the connection is closed */
}

static int refuse(int fd)
{
	struct qmp_session session = {.send = refuse_now, .opaque = &fd};

	qmp_refuse(&session, "Too many clients are connected");
	close(fd);
	return -EBUSY;
}

int control_take_client(struct monitor *monitor, int input, int output, bool is_socket)
{
	struct control *control = monitor->control;
	struct client *client = free_place(monitor);

	if (!client)
		return refuse(output);
	*client = (struct client){.control = control,
		.monitor = monitor,
		.input = input,
		.output = output,
		.is_socket = is_socket,
		.events = NOT_WATCHED,
		.output_events = NOT_WATCHED};
	client->session = (struct qmp_session){.shared = &control->shared,
		.machine = control->machine,
		.human = monitor->config.human,
		.send = client_send,
		.opaque = client};
	event_work_init(&client->more, run_more, client);
	qmp_open(&client->session);
	watch(client);
	return 0;
}

/* --- monitors --- */

struct control *control_open(struct machine *machine, const struct control_about *about)
{
	struct control *control = calloc(1, sizeof(*control));

	if (!control) {
		log_error("out of memory for the machine's monitors");
		return NULL;
	}
	control->machine = machine;
	qmp_shared_init(&control->shared, machine);
	if (about) {
		control->shared.name = about->name;
		control->shared.uuid = about->uuid;
		control->shared.machine_type = about->machine_type;
		control->shared.kvm = about->kvm;
	}
	control->listener = (struct machine_listener){.notify = on_event, .opaque = control};
	machine_listen(machine, &control->listener);
	return control;
}

void control_note_chardev(struct control *control, const char *label, const char *filename)
{
	if (!control->shared.chardevs)
		control->shared.chardevs = json_array();
	json_array_append_new(
		control->shared.chardevs, json_pack("{s:s, s:s, s:b}", "label", label, "filename",
						  filename, "frontend-open", 1));
}

void control_set_plug(struct control *control, const struct control_plug *plug)
{
	control->shared.plug = plug;
}

static void note_monitor(struct control *control, const struct control_config *config)
{
	static const char *const forms[] = {[CONTROL_UNIX] = "unix:%s,server=on",
		[CONTROL_TCP] = "tcp:%s,server=on",
		[CONTROL_LISTENER] = "unix:%s,server=on",
		[CONTROL_STREAM] = "%s"};
	const char *where = config->path                     ? config->path
			    : config->kind == CONTROL_STREAM ? "stdio"
							     : "";
	char filename[512], label[32];

	snprintf(label, sizeof(label), "compat_monitor%zu",
		json_array_size(control->shared.chardevs));
	snprintf(filename, sizeof(filename), forms[config->kind], where);
	control_note_chardev(control, config->label ? config->label : label, filename);
}

static struct monitor *free_monitor(struct control *control)
{
	for (unsigned i = 0; i < CONTROL_MONITORS; i++)
		if (!control->monitors[i].control)
			return &control->monitors[i];
	return NULL;
}

static bool is_socket(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

/* The reader of a pipe that has gone is an error of write(), and no signal: this is the I/O thread,
 * and those of vCPUs block it anyway. */
static int take_stream(struct monitor *monitor)
{
	const struct control_config *config = &monitor->config;
	bool one = config->input == config->output;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return control_take_client(
		monitor, config->input, config->output, one && is_socket(config->input));
}

int control_add(struct control *control, const struct control_config *config)
{
	struct monitor *monitor = free_monitor(control);

	if (!monitor) {
		log_error("%s: expected at most %u monitors", config->option, CONTROL_MONITORS);
		return -ENOSPC;
	}
	if (config->kind != CONTROL_CHARDEV)
		note_monitor(control, config);
	*monitor =
		(struct monitor){.control = control, .config = *config, .fd = -1, .retry_fd = -1};
	if (config->kind == CONTROL_STREAM)
		return take_stream(monitor);
	if (config->kind == CONTROL_CHARDEV)
		return control_bridge_open(monitor);
	return control_listen(monitor);
}

char *control_human(void *control, const char *line, unsigned cpu)
{
	return human_run(&((struct control *)control)->shared, line, cpu);
}

struct control *control_create(struct machine *machine, const char *path)
{
	const struct control_config config = {
		.kind = CONTROL_UNIX, .option = "--control", .path = path};
	struct control *control = control_open(machine, NULL);

	if (control && control_add(control, &config) < 0) {
		control_destroy(control);
		return NULL;
	}
	return control;
}

void control_destroy(struct control *control)
{
	machine_unlisten(control->machine, &control->listener);
	for (unsigned i = 0; i < ARRAY_SIZE(control->clients); i++)
		if (control->clients[i].control)
			close_client(&control->clients[i]);
	for (unsigned i = 0; i < CONTROL_MONITORS; i++)
		if (control->monitors[i].bridge)
			control_bridge_close(&control->monitors[i]);
		else if (control->monitors[i].control)
			control_listen_end(&control->monitors[i]);
	qmp_shared_destroy(&control->shared);
	free(control);
}
