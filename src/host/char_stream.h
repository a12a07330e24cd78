/* Bytes over descriptors that never make us wait: the connection of a socket, a pseudo-terminal, a
 * pair of pipes. Connections come and go; there is one at a time, or none, and then what the guest
 * sends is lost.
 *
 * Output is written where it arises, on any thread, and what there is no room for stays with the
 * port. Input is read by the event loop as far as the port takes it. So neither end costs memory,
 * or time, that the other one decides about. */
#ifndef VENEER_HOST_CHAR_STREAM_H
#define VENEER_HOST_CHAR_STREAM_H

#include "host/char_backend.h"
#include "host/event_loop.h"

#include <pthread.h>

#define CHAR_STREAM_INPUT 4096

struct char_stream {
	struct char_backend backend; /* first */
	struct event_loop *loop;
	/* The connection has ended, and another may be opened. NULL: nothing to do. */
	void (*gone)(struct char_stream *stream);
	bool end_is_all; /* who sends no more has gone; else still gets what the guest sends */

	/* Output: under `lock`, and changed with the machine lock as well. */
	pthread_mutex_t lock;
	pthread_cond_t room;
	int output;   /* -1: there is no connection */
	bool refused; /* the port has more to write */
	bool output_is_socket;
	struct event_work refusal;

	/* Input: under the machine lock. */
	int input;
	uint32_t input_events, output_events; /* that are watched; output's where it is another */
	bool ended;                           /* no more will come */
	bool leaving; /* nor is anybody there: what was sent is still to be taken */
	uint8_t bytes[CHAR_STREAM_INPUT];
	size_t count;
};

/* Without a connection. `ops` are those below, and what the owner adds. */
void char_stream_init(struct char_stream *stream, const struct char_backend_ops *ops,
	struct event_loop *loop, void (*gone)(struct char_stream *stream));
/* A connection: the descriptors, which may be one, are the stream's to close. Machine lock. */
void char_stream_open(struct char_stream *stream, int input, int output);
/* End the connection, if there is one. gone() is called. Machine lock. */
void char_stream_close(struct char_stream *stream);
/* Close it, but call nobody: the last that is done. */
void char_stream_end(struct char_stream *stream);

size_t char_stream_write(struct char_backend *backend, const void *bytes, size_t size);
void char_stream_input_ready(struct char_backend *backend);
bool char_stream_wait_for_room(struct char_backend *backend);

#endif
