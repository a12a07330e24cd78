/* The output queue is a ring. The writer thread sleeps until there is something in it, then waits a
 * moment longer (BATCH_NS) for more, unless there is a good piece already: so a guest that prints
 * byte by byte costs one write(2) for many bytes, and what a user types is echoed at once all
 * the same.
 *
 * Two locks: the machine's, which callers hold, and the queue's own inside it. A caller that finds
 * the queue full keeps the rest, and the writer thread, once it has made room, posts work that
 * tells the port so. */
#include "host/console.h"

#include "base/bits.h"
#include "base/log.h"
#include "host/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_SIZE  ((size_t)64 * KIB)
#define RING_SIZE   (QUEUE_SIZE + CHAR_LAST_SIZE) /* the last bytes always have room */
#define BATCH_BYTES ((size_t)4 * KIB)
#define BATCH_NS    2000000
#define WAIT_NS     20000000 /* how long wait_for_room() waits */
#define INPUT_SIZE  4096

struct console {
	struct char_backend backend;
	struct console_config config;
	bool terminal;

	/* Output; under queue_lock. */
	pthread_t writer;
	pthread_mutex_t queue_lock;
	pthread_cond_t work, room;
	uint8_t queue[RING_SIZE];
	size_t head, count; /* what is being written stays counted until it is out */
	bool closing, failed;
	bool refused; /* the port has more to write */
	struct event_work room_again;
	bool abandoned; /* by console_destroy(): the thread frees everything */

	/* Input; under the machine lock. */
	struct terminal_parser parser;
	uint8_t input[INPUT_SIZE]; /* typed, and not yet taken by the guest */
	size_t input_count;
	bool watched, ended;
	atomic_bool held; /* see console_hold() */
};

static void deadline_after(struct timespec *deadline, uint64_t ns)
{
	clock_gettime(CLOCK_MONOTONIC, deadline);
	ns += (uint64_t)deadline->tv_nsec;
	deadline->tv_sec += (time_t)(ns / NS_PER_SECOND);
	deadline->tv_nsec = (long)(ns % NS_PER_SECOND);
}

/* --- output --- */

/* write(2), waiting as long as it takes. 0: the descriptor is broken. */
static size_t write_some(int fd, const uint8_t *bytes, size_t size)
{
	for (;;) {
		ssize_t written = write(fd, bytes, size);
		struct pollfd ready = {.fd = fd, .events = POLLOUT};

		if (written > 0)
			return (size_t)written;
		if (written < 0 && errno == EAGAIN)
			poll(&ready, 1, -1);
		else if (written == 0 || errno != EINTR)
			return 0;
	}
}

/* Wait for a piece worth writing. False: there is nothing more to come. Queue lock held. */
static bool wait_for_work(struct console *console)
{
	struct timespec deadline;

	while (!console->count && !console->closing)
		pthread_cond_wait(&console->work, &console->queue_lock);
	deadline_after(&deadline, BATCH_NS);
	while (console->count < BATCH_BYTES && !console->closing)
		if (pthread_cond_timedwait(&console->work, &console->queue_lock, &deadline))
			break;
	return console->count;
}

/* Write a piece of the queue, without the lock meanwhile. */
static void write_piece(struct console *console)
{
	const uint8_t *start = console->queue + console->head;
	size_t size = MIN(console->count, RING_SIZE - console->head), written = size;

	if (!console->failed) {
		int error;

		pthread_mutex_unlock(&console->queue_lock);
		written = write_some(console->config.output_fd, start, MIN(size, BATCH_BYTES));
		error = errno;
		pthread_mutex_lock(&console->queue_lock);
		console->failed = !written;
		if (!written && !console->abandoned)
			log_error("cannot write the guest's console: %s; "
				  "its output is dropped from here on",
				strerror(error));
	}
	console->head = (console->head + written) % RING_SIZE;
	console->count -= written;
	pthread_cond_broadcast(&console->room);
	if (console->refused && !console->closing) {
		console->refused = false;
		event_loop_post(console->config.loop, &console->room_again);
	}
}

static void free_console(struct console *console)
{
	if (console->config.close_output)
		close(console->config.output_fd);
	pthread_cond_destroy(&console->work);
	pthread_cond_destroy(&console->room);
	pthread_mutex_destroy(&console->queue_lock);
	free(console);
}

static void *writer_thread(void *opaque)
{
	struct console *console = opaque;
	bool abandoned;

	pthread_mutex_lock(&console->queue_lock);
	while (!console->abandoned && wait_for_work(console))
		write_piece(console);
	abandoned = console->abandoned;
	pthread_mutex_unlock(&console->queue_lock);
	if (abandoned)
		free_console(console);
	return NULL;
}

/* Queue as many bytes as there is room for up to `limit`, and return how many. */
static size_t enqueue(struct console *console, const uint8_t *bytes, size_t size, size_t limit)
{
	size_t before, tail, piece, taken;

	pthread_mutex_lock(&console->queue_lock);
	before = console->count;
	taken = MIN(size, limit - MIN(limit, before));
	tail = (console->head + before) % RING_SIZE;
	piece = MIN(taken, RING_SIZE - tail);
	memcpy(console->queue + tail, bytes, piece);
	memcpy(console->queue, bytes + piece, taken - piece);
	console->count += taken;
	if (taken < size)
		console->refused = true;
	/* The writer sleeps where the queue was empty, and waits for more where it was small. */
	if (taken && (!before || (before < BATCH_BYTES && console->count >= BATCH_BYTES)))
		pthread_cond_signal(&console->work);
	pthread_mutex_unlock(&console->queue_lock);
	return taken;
}

static struct console *console_of(struct char_backend *backend)
{
	return container_of(backend, struct console, backend);
}

static size_t console_write(struct char_backend *backend, const void *bytes, size_t size)
{
	struct console *console = console_of(backend);

	return console->held ? 0 : enqueue(console, bytes, size, QUEUE_SIZE);
}

static void console_write_last(struct char_backend *backend, const void *bytes, size_t size)
{
	enqueue(console_of(backend), bytes, size, RING_SIZE);
}

static bool console_wait_for_room(struct char_backend *backend)
{
	struct console *console = console_of(backend);
	struct timespec deadline;
	bool room;

	deadline_after(&deadline, WAIT_NS);
	pthread_mutex_lock(&console->queue_lock);
	if (console->count >= QUEUE_SIZE)
		pthread_cond_timedwait(&console->room, &console->queue_lock, &deadline);
	room = console->count < QUEUE_SIZE;
	pthread_mutex_unlock(&console->queue_lock);
	return room;
}

/* On the I/O thread, after the writer thread has made room. */
static void tell_room(void *opaque)
{
	struct console *console = opaque;

	if (!console->held && console->backend.port.output_ready)
		console->backend.port.output_ready(console->backend.port.opaque);
}

/* --- input --- */

static void on_input(void *opaque, uint32_t events);

static void watch_input(struct console *console, bool on)
{
	struct event_loop *loop = console->config.loop;
	int fd = console->config.input_fd;

	if (on == console->watched || console->ended)
		return;
	if (on)
		console->watched = !event_loop_watch(loop, fd, EPOLLIN, on_input, console);
	else {
		event_loop_unwatch(loop, fd);
		console->watched = false;
	}
}

static void offer_input(struct console *console)
{
	const struct char_port *port = &console->backend.port;
	size_t taken = 0;

	if (console->input_count && port->receive && !console->held)
		taken = port->receive(port->opaque, console->input, console->input_count);
	console->input_count -= taken;
	memmove(console->input, console->input + taken, console->input_count);
	/* A terminal is read even if the guest does not take it, for the Ctrl-a keys. Other input
	 * waits where it is, perhaps for another machine that this one becomes. */
	watch_input(console, (console->terminal && !console->config.plain) ||
				     !(console->input_count || console->held));
}

static void parse_input(struct console *console, const uint8_t *bytes, size_t size)
{
	const struct console_config *config = &console->config;
	uint8_t out[INPUT_SIZE + 1];

	if (config->plain) {
		size = MIN(size, INPUT_SIZE - console->input_count);
		memcpy(console->input + console->input_count, bytes, size);
		console->input_count += size;
		return;
	}
	while (size) {
		size_t consumed, produced, room = INPUT_SIZE - console->input_count;
		enum terminal_command command =
			terminal_parse(&console->parser, bytes, size, out, &consumed, &produced);

		/* On a terminal whose guest reads nothing: more is lost, as on a serial line. */
		produced = MIN(produced, room);
		memcpy(console->input + console->input_count, out, produced);
		console->input_count += produced;
		if (command == TERMINAL_QUIT)
			config->quit(config->opaque);
		else if (command == TERMINAL_HELP)
			enqueue(console, (const uint8_t *)terminal_help, strlen(terminal_help),
				QUEUE_SIZE);
		bytes += consumed;
		size -= consumed;
	}
}

static void on_input(void *opaque, uint32_t events)
{
	struct console *console = opaque;
	uint8_t bytes[INPUT_SIZE / 2];
	ssize_t size = read(console->config.input_fd, bytes, sizeof(bytes));

	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (size <= 0) {
		/* End of file, or the terminal is gone. */
		watch_input(console, false);
		console->ended = true;
		return;
	}
	parse_input(console, bytes, (size_t)size);
	offer_input(console);
}

static void console_input_ready(struct char_backend *backend)
{
	offer_input(console_of(backend));
}

void console_hold(struct console *console, bool on)
{
	console->held = on;
	offer_input(console);
	tell_room(console);
}

static uint32_t console_window(struct char_backend *backend)
{
	struct console *console = console_of(backend);
	struct winsize size;

	if (!console->terminal || ioctl(console->config.input_fd, TIOCGWINSZ, &size) < 0)
		return 0;
	return (uint32_t)size.ws_col << 16 | size.ws_row;
}

void console_resized(struct console *console)
{
	const struct char_port *port = &console->backend.port;

	if (port->resized)
		port->resized(port->opaque);
}

struct char_backend *console_backend(struct console *console)
{
	return &console->backend;
}

static void destroy_backend(struct char_backend *backend, int timeout_ms)
{
	console_destroy(console_of(backend), timeout_ms);
}

static const struct char_backend_ops console_ops = {
	.write = console_write,
	.write_last = console_write_last,
	.input_ready = console_input_ready,
	.window = console_window,
	.wait_for_room = console_wait_for_room,
	.destroy = destroy_backend,
};

/* --- life --- */

static int start_writer(struct console *console)
{
	pthread_condattr_t monotonic;
	sigset_t all, before;
	int error;

	pthread_mutex_init(&console->queue_lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&console->work, &monotonic);
	pthread_cond_init(&console->room, &monotonic);
	pthread_condattr_destroy(&monotonic);

	/* Signals are for other threads; and a broken pipe shall be an error, not SIGPIPE. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&console->writer, NULL, writer_thread, console);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

struct console *console_create(const struct console_config *config)
{
	struct console *console = calloc(1, sizeof(*console));
	int error;

	if (!console) {
		log_error("out of memory for the console");
		return NULL;
	}
	console->config = *config;
	console->backend = (struct char_backend){.ops = &console_ops, .open = true};
	event_work_init(&console->room_again, tell_room, console);
	console->ended = config->input_fd < 0 || fcntl(config->input_fd, F_GETFL) < 0;
	console->terminal = !console->ended && isatty(config->input_fd);
	error = start_writer(console);
	if (error) {
		log_error("cannot start the console's thread: %s", strerror(-error));
		free(console);
		return NULL;
	}
	if (console->terminal && (error = terminal_raw(config->input_fd)) < 0)
		log_warning("cannot put the terminal into raw mode: %s", strerror(-error));
	watch_input(console, true);
	return console;
}

/* Wait until the queue is empty. False: not within the time. Queue lock held. */
static bool drain(struct console *console, int timeout_ms)
{
	struct timespec deadline;

	deadline_after(&deadline, (uint64_t)MAX(timeout_ms, 0) * 1000000);
	while (console->count) {
		int error = timeout_ms < 0 ? pthread_cond_wait(&console->room, &console->queue_lock)
					   : pthread_cond_timedwait(&console->room,
						     &console->queue_lock, &deadline);

		if (error)
			return false;
	}
	return true;
}

void console_destroy(struct console *console, int timeout_ms)
{
	pthread_t writer = console->writer;
	bool abandoned;

	watch_input(console, false);
	if (console->terminal)
		terminal_restore();
	pthread_mutex_lock(&console->queue_lock);
	console->closing = true;
	pthread_cond_signal(&console->work);
	/* Not drained: the thread hangs in write(2), on a reader that does not read. */
	abandoned = !drain(console, timeout_ms);
	console->abandoned = abandoned;
	pthread_mutex_unlock(&console->queue_lock);
	event_loop_unpost(console->config.loop, &console->room_again);
	if (abandoned) {
		pthread_detach(writer);
		return;
	}
	pthread_join(writer, NULL);
	free_console(console);
}
