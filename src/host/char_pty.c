/* A pseudo-terminal. Whether a program has opened its other side is only to be seen by looking, now
 * and then, at ours: it reports a hang-up as long as none has. */
#include "host/char_kinds.h"

#include "base/bits.h"
#include "base/log.h"
#include "host/char_stream.h"
#include "host/host_timer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define LOOK_MS 200

struct char_pty {
	struct char_stream stream; /* first */
	int master;
	char name[64];
	struct host_timer look;
};

static struct char_pty *pty_of(const struct char_backend *backend)
{
	return (struct char_pty *)backend;
}

static void look_for_somebody(void *opaque)
{
	struct char_pty *pty = opaque;
	struct pollfd ours = {.fd = pty->master, .events = POLLIN};
	int copy = -1;

	if (poll(&ours, 1, 0) >= 0 && !(ours.revents & POLLHUP))
		copy = fcntl(pty->master, F_DUPFD_CLOEXEC, 0);
	if (copy >= 0)
		char_stream_open(&pty->stream, copy, copy);
	else
		host_timer_arm(&pty->look, LOOK_MS);
}

static void somebody_has_gone(struct char_stream *stream)
{
	host_timer_arm(&((struct char_pty *)stream)->look, LOOK_MS);
}

static void pty_describe(const struct char_backend *backend, char *text, size_t size)
{
	snprintf(text, size, "pty:%s", pty_of(backend)->name);
}

static void pty_destroy(struct char_backend *backend, int timeout_ms)
{
	struct char_pty *pty = pty_of(backend);

	host_timer_end(&pty->look);
	char_stream_end(&pty->stream);
	close(pty->master);
	free(pty);
}

static const struct char_backend_ops pty_ops = {
	.write = char_stream_write,
	.input_ready = char_stream_input_ready,
	.wait_for_room = char_stream_wait_for_room,
	.describe = pty_describe,
	.destroy = pty_destroy,
};

/* Raw: what the guest and the other side send arrives as it is, and nothing is echoed. */
static int make_raw(const char *name)
{
	struct termios settings;
	int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC), error = 0;

	if (slave < 0)
		return -errno;
	if (tcgetattr(slave, &settings) < 0)
		error = -errno;
	cfmakeraw(&settings);
	if (!error && tcsetattr(slave, TCSANOW, &settings) < 0)
		error = -errno;
	close(slave);
	return error;
}

static int open_master(struct char_pty *pty)
{
	pty->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty->master < 0 || grantpt(pty->master) < 0 || unlockpt(pty->master) < 0 ||
		ptsname_r(pty->master, pty->name, sizeof(pty->name)) != 0)
		return -errno;
	return make_raw(pty->name);
}

struct char_backend *char_pty_open(
	const struct char_config *config, const char *option, struct event_loop *loop)
{
	struct char_pty *pty = calloc(1, sizeof(*pty));
	int error = -ENOMEM;

	if (pty) {
		error = open_master(pty);
		if (!error)
			error = host_timer_init(&pty->look, loop, look_for_somebody, pty);
	}
	if (!error) {
		char_stream_init(&pty->stream, &pty_ops, loop, somebody_has_gone);
		host_timer_arm(&pty->look, LOOK_MS);
		/* Callers look for these words, on standard output. */
		printf("char device redirected to %s (label %s)\n", pty->name, config->id);
		fflush(stdout);
		return &pty->stream.backend;
	}
	log_error("%s: cannot make a pseudo-terminal: %s", option, strerror(-error));
	if (pty && pty->master >= 0)
		close(pty->master);
	free(pty);
	return NULL;
}
