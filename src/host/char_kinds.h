/* The kinds of character devices: what char_device.c's table is made of. Each returns a back end
 * that its destroy() frees, or NULL with a message. */
#ifndef VENEER_HOST_CHAR_KINDS_H
#define VENEER_HOST_CHAR_KINDS_H

#include "host/char_backend.h"
#include "host/char_config.h"
#include "host/event_loop.h"

/* `option` begins messages, for as long as the device lives: "-chardev". */
struct char_backend *char_null_open(
	const struct char_config *config, const char *option, struct event_loop *loop);
struct char_backend *char_stdio_open(
	const struct char_config *config, const char *option, struct event_loop *loop);
struct char_backend *char_output_open(
	const struct char_config *config, const char *option, struct event_loop *loop);
struct char_backend *char_pipe_open(
	const struct char_config *config, const char *option, struct event_loop *loop);
struct char_backend *char_pty_open(
	const struct char_config *config, const char *option, struct event_loop *loop);
struct char_backend *char_socket_open(
	const struct char_config *config, const char *option, struct event_loop *loop);
struct char_backend *char_ring_open(
	const struct char_config *config, const char *option, struct event_loop *loop);

/* Take the oldest bytes out of a ring, at most `size`. Machine lock held. */
size_t char_ring_read(struct char_backend *backend, void *bytes, size_t size);
/* Put bytes in, as the guest does. */
void char_ring_write(struct char_backend *backend, const void *bytes, size_t size);

#endif
