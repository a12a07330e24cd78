/* A pair of named pipes: PATH.in, which the guest hears, and PATH.out, which it speaks to; or one
 * pipe, PATH, for both. They are opened for reading and writing, as QEMU does: so there is no
 * waiting for the other side, and it may come and go. */
#include "host/char_kinds.h"

#include "base/log.h"
#include "host/char_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void pipe_destroy(struct char_backend *backend, int timeout_ms)
{
	struct char_stream *stream = (struct char_stream *)backend;

	char_stream_end(stream);
	free(stream);
}

static const struct char_backend_ops pipe_ops = {
	.write = char_stream_write,
	.input_ready = char_stream_input_ready,
	.wait_for_room = char_stream_wait_for_room,
	.destroy = pipe_destroy,
};

static int open_end(const char *path, const char *suffix)
{
	char name[CHAR_MAX_PATH + 8];

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	return open(name, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

struct char_backend *char_pipe_open(
	const struct char_config *config, const char *option, struct event_loop *loop)
{
	struct char_stream *stream = calloc(1, sizeof(*stream));
	int input = open_end(config->path, ".in"), output = open_end(config->path, ".out");

	if (input < 0 && output < 0)
		input = output = open_end(config->path, "");
	if (stream && input >= 0 && output >= 0) {
		char_stream_init(stream, &pipe_ops, loop, NULL);
		char_stream_open(stream, input, output);
		return &stream->backend;
	}
	log_error("%s %s: cannot open the pipe: %s", option, config->path, strerror(errno));
	if (input >= 0)
		close(input);
	if (output >= 0 && output != input)
		close(output);
	free(stream);
	return NULL;
}
