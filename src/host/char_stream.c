#include "host/char_stream.h"

#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NOT_WATCHED UINT32_MAX
#define WAIT_NS     20000000 /* how long char_stream_wait_for_room() waits */

static void on_input(void *opaque, uint32_t events);
static void on_output(void *opaque, uint32_t events);

static struct char_stream *stream_of(struct char_backend *backend)
{
	return container_of(backend, struct char_stream, backend);
}

/* --- what is watched --- */

/* A descriptor that cannot be watched, for want of kernel memory, is one that says nothing. */
static void watch_one(struct char_stream *stream, int fd, uint32_t *events, uint32_t wanted,
	fd_callback *callback)
{
	if (*events == wanted)
		return;
	if (*events != NOT_WATCHED)
		event_loop_unwatch(stream->loop, fd);
	*events = wanted;
	if (wanted != NOT_WATCHED &&
		event_loop_watch(stream->loop, fd, wanted, callback, stream) < 0)
		*events = NOT_WATCHED;
}

static bool is_refused(struct char_stream *stream)
{
	bool refused;

	pthread_mutex_lock(&stream->lock);
	refused = stream->refused;
	pthread_mutex_unlock(&stream->lock);
	return refused;
}

/* The end of a connection is reported in any case, and again and again: so one that has ended is
 * not watched. */
static void watch(struct char_stream *stream)
{
	bool reads = !stream->ended && !stream->count && stream->backend.port.receive;
	uint32_t in = reads ? EPOLLIN : 0, out = is_refused(stream) ? EPOLLOUT : 0;
	bool one = stream->input == stream->output;

	if (stream->input < 0)
		return;
	if (stream->leaving)
		in = out = NOT_WATCHED;
	else if (!one)
		out = out ? out : NOT_WATCHED;
	watch_one(stream, stream->input, &stream->input_events, one ? in | out : in, on_input);
	if (!one)
		watch_one(stream, stream->output, &stream->output_events, out, on_output);
}

/* --- the end of a connection --- */

static void unwatch(struct char_stream *stream)
{
	watch_one(stream, stream->input, &stream->input_events, NOT_WATCHED, on_input);
	watch_one(stream, stream->output, &stream->output_events, NOT_WATCHED, on_output);
}

static void drop_descriptors(struct char_stream *stream)
{
	unwatch(stream);
	pthread_mutex_lock(&stream->lock);
	close(stream->input);
	if (stream->output != stream->input)
		close(stream->output);
	stream->input = stream->output = -1;
	stream->refused = false;
	pthread_cond_broadcast(&stream->room);
	pthread_mutex_unlock(&stream->lock);
	stream->count = 0;
}

static void tell_open(struct char_stream *stream, bool open)
{
	const struct char_port *port = &stream->backend.port;

	stream->backend.open = open;
	if (port->opened)
		port->opened(port->opaque, open);
	if (port->output_ready)
		port->output_ready(port->opaque);
}

void char_stream_close(struct char_stream *stream)
{
	if (stream->input < 0)
		return;
	drop_descriptors(stream);
	tell_open(stream, false);
	if (stream->gone)
		stream->gone(stream);
}

static bool port_reads(const struct char_stream *stream)
{
	const struct char_port *port = &stream->backend.port;

	return port->receive && (!port->reads || port->reads(port->opaque));
}

/* What is next, after something has changed. */
static void go_on(struct char_stream *stream)
{
	if (stream->leaving && ((stream->ended && !stream->count) || !port_reads(stream)))
		char_stream_close(stream);
	else
		watch(stream);
}

/* --- input --- */

static void fill(struct char_stream *stream)
{
	ssize_t got = read(stream->input, stream->bytes, sizeof(stream->bytes));

	if (got > 0)
		stream->count = (size_t)got;
	else if (got == 0 || (errno != EAGAIN && errno != EINTR))
		stream->ended = true;
	if (stream->ended && stream->end_is_all)
		stream->leaving = true;
}

/* Offer what there is. Of a connection that has ended, all: nobody says that there is more. */
static void offer(struct char_stream *stream)
{
	const struct char_port *port = &stream->backend.port;
	size_t before, taken;

	do {
		if (!stream->count && !stream->ended)
			fill(stream);
		before = stream->count;
		taken = before && port->receive ? port->receive(port->opaque, stream->bytes, before)
						: 0;
		stream->count -= taken;
		memmove(stream->bytes, stream->bytes + taken, stream->count);
	} while (stream->leaving && before && !stream->count);
}

void char_stream_input_ready(struct char_backend *backend)
{
	struct char_stream *stream = stream_of(backend);

	if (stream->input < 0)
		return;
	if (stream->count || stream->leaving)
		offer(stream);
	if (stream->input >= 0)
		go_on(stream);
}

static void tell_room(struct char_stream *stream)
{
	const struct char_port *port = &stream->backend.port;
	bool refused;

	pthread_mutex_lock(&stream->lock);
	refused = stream->refused;
	stream->refused = false;
	pthread_cond_broadcast(&stream->room);
	pthread_mutex_unlock(&stream->lock);
	if (refused && port->output_ready)
		port->output_ready(port->opaque);
}

static void on_input(void *opaque, uint32_t events)
{
	struct char_stream *stream = opaque;

	if (events & (EPOLLHUP | EPOLLERR))
		stream->leaving = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		tell_room(stream);
	if (stream->backend.port.receive && (stream->leaving || (events & EPOLLIN)))
		offer(stream);
	if (stream->input >= 0)
		go_on(stream);
}

static void on_output(void *opaque, uint32_t events)
{
	struct char_stream *stream = opaque;

	if (events & (EPOLLHUP | EPOLLERR))
		stream->leaving = true;
	tell_room(stream);
	if (stream->input >= 0)
		go_on(stream);
}

/* --- output --- */

static ssize_t write_some(const struct char_stream *stream, const uint8_t *bytes, size_t size)
{
	ssize_t written;

	do
		written = stream->output_is_socket
				  ? send(stream->output, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL)
				  : write(stream->output, bytes, size);
	while (written < 0 && errno == EINTR);
	return written;
}

/* To a connection that is broken, which the event loop notices, all is lost. */
size_t char_stream_write(struct char_backend *backend, const void *bytes, size_t size)
{
	struct char_stream *stream = stream_of(backend);
	const uint8_t *next = bytes;
	size_t done = 0;

	pthread_mutex_lock(&stream->lock);
	while (stream->output >= 0 && done < size) {
		ssize_t written = write_some(stream, next + done, size - done);

		if (written <= 0) {
			stream->refused = written < 0 && errno == EAGAIN;
			break;
		}
		done += (size_t)written;
	}
	if (stream->refused && done < size)
		event_loop_post(stream->loop, &stream->refusal);
	else
		done = size;
	pthread_mutex_unlock(&stream->lock);
	return done;
}

static void watch_for_room(void *opaque)
{
	watch(opaque);
}

bool char_stream_wait_for_room(struct char_backend *backend)
{
	struct char_stream *stream = stream_of(backend);
	struct timespec deadline;
	bool room;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_nsec += WAIT_NS;
	if (deadline.tv_nsec >= (long)NS_PER_SECOND) {
		deadline.tv_sec++;
		deadline.tv_nsec -= (long)NS_PER_SECOND;
	}
	pthread_mutex_lock(&stream->lock);
	if (stream->refused)
		pthread_cond_timedwait(&stream->room, &stream->lock, &deadline);
	room = !stream->refused;
	pthread_mutex_unlock(&stream->lock);
	return room;
}

/* --- life --- */

void char_stream_init(struct char_stream *stream, const struct char_backend_ops *ops,
	struct event_loop *loop, void (*gone)(struct char_stream *stream))
{
	pthread_condattr_t monotonic;

	stream->backend.ops = ops;
	stream->loop = loop;
	stream->gone = gone;
	stream->input = stream->output = -1;
	stream->input_events = stream->output_events = NOT_WATCHED;
	event_work_init(&stream->refusal, watch_for_room, stream);
	pthread_mutex_init(&stream->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&stream->room, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

void char_stream_open(struct char_stream *stream, int input, int output)
{
	struct stat status;

	fcntl(input, F_SETFL, fcntl(input, F_GETFL) | O_NONBLOCK);
	fcntl(output, F_SETFL, fcntl(output, F_GETFL) | O_NONBLOCK);
	stream->ended = stream->leaving = false;
	stream->count = 0;
	pthread_mutex_lock(&stream->lock);
	stream->input = input;
	stream->output = output;
	stream->output_is_socket = fstat(output, &status) == 0 && S_ISSOCK(status.st_mode);
	pthread_mutex_unlock(&stream->lock);
	tell_open(stream, true);
	if (stream->input >= 0)
		watch(stream);
}

void char_stream_end(struct char_stream *stream)
{
	event_loop_unpost(stream->loop, &stream->refusal);
	if (stream->input >= 0)
		drop_descriptors(stream);
	pthread_cond_destroy(&stream->room);
	pthread_mutex_destroy(&stream->lock);
}
