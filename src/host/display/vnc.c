#include "host/display/vnc.h"

#include "base/bits.h"
#include "base/log.h"
#include "host/display/vnc_link.h"
#include "host/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define START_TIMEOUT 20000                    /* ms */
#define RESTART_S     1                        /* after a server has ended */
#define FRAME_NS      (10 * UINT64_C(1000000)) /* no frame is drawn sooner after another */
#define MOST_REQUESTS 64                       /* that are read at once */
#define MOST_MOVEMENT DISPLAY_MAX_WIDTH
#define KEY_CODES     0x100

struct vnc {
	struct vnc_config config;
	char port[8];
	const char *words[4];
	struct helper helper;
	int socket; /* -1: no server runs */
	bool listened;
	int memory_fd;
	struct display_frame frame;
	uint64_t drawn_ns; /* of the host's clock */
	int restart_fd;    /* a timer of the host's clock: a machine that is paused has a screen */
};

static uint64_t host_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* --- what the server asks for --- */

static void answer(struct vnc *vnc)
{
	struct display_frame *frame = &vnc->frame;
	struct vnc_answer answer;
	uint64_t now = host_ns();
	bool changed = false;

	if (now - vnc->drawn_ns >= FRAME_NS) {
		changed = display_draw(vnc->config.screen, frame);
		vnc->drawn_ns = now;
	}
	answer = (struct vnc_answer){
		frame->width, frame->height, changed ? frame->first : 0, changed ? frame->end : 0};
	if (send(vnc->socket, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		frame->seen = 0; /* a server that does not read has missed this */
}

static int32_t bounded(int32_t value, int32_t most)
{
	return MAX(MIN(value, most), -most);
}

static void take_request(struct vnc *vnc, const struct vnc_request *request)
{
	const int32_t *value = request->value;

	switch (request->kind) {
	case VNC_FRAME:
		answer(vnc);
		break;
	case VNC_KEY:
		if (value[0] > 0 && value[0] < KEY_CODES)
			input_key(vnc->config.input, (unsigned)value[0], value[1]);
		break;
	case VNC_POINTER:
		input_mouse(vnc->config.input, bounded(value[0], MOST_MOVEMENT),
			bounded(value[1], MOST_MOVEMENT), bounded(value[2], 8),
			(unsigned)value[3] & (INPUT_LEFT | INPUT_RIGHT | INPUT_MIDDLE));
		break;
	default:
		break;
	}
}

/* --- the server's life --- */

static void lost(struct vnc *vnc);

static void socket_ready(void *opaque, uint32_t events)
{
	struct vnc *vnc = opaque;
	struct vnc_request request;

	for (unsigned i = 0; i < MOST_REQUESTS; i++) {
		ssize_t size = recv(vnc->socket, &request, sizeof(request), MSG_DONTWAIT);

		if (size < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (size <= 0) {
			lost(vnc);
			return;
		}
		if (size == sizeof(request))
			take_request(vnc, &request);
	}
}

static void message_ready(void *opaque, uint32_t events)
{
	struct vnc *vnc = opaque;

	if (helper_relay(&vnc->helper) < 0)
		event_loop_unwatch(vnc->config.loop, vnc->helper.message_fd);
}

/* Its descriptors are closed by those who fail after it. */
static int launch(struct vnc *vnc)
{
	int sockets[2], fds[2], error;
	char path[32];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return -errno;
	/* Opened anew, so that the server can only read it. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", vnc->memory_fd);
	fds[0] = sockets[1];
	fds[1] = open(path, O_RDONLY | O_CLOEXEC);
	error = fds[1] < 0 ? -errno : helper_start(&vnc->helper, "veneer-vnc", vnc->words, fds, 2);
	close(fds[0]);
	if (fds[1] >= 0)
		close(fds[1]);
	if (error) {
		close(sockets[0]);
		return error;
	}
	vnc->socket = sockets[0];
	vnc->frame.seen = 0;
	return 0;
}

static void stop(struct vnc *vnc)
{
	if (vnc->socket < 0)
		return;
	event_loop_unwatch(vnc->config.loop, vnc->socket);
	event_loop_unwatch(vnc->config.loop, vnc->helper.message_fd);
	helper_stop(&vnc->helper);
	close(vnc->socket);
	vnc->socket = -1;
}

static int watch(struct vnc *vnc)
{
	int error = event_loop_watch(vnc->config.loop, vnc->socket, EPOLLIN, socket_ready, vnc);

	if (!error)
		error = event_loop_watch(
			vnc->config.loop, vnc->helper.message_fd, EPOLLIN, message_ready, vnc);
	return error;
}

static void start_again_soon(struct vnc *vnc)
{
	const struct itimerspec soon = {.it_value.tv_sec = RESTART_S};

	timerfd_settime(vnc->restart_fd, 0, &soon, NULL);
}

static void start_again(void *opaque, uint32_t events)
{
	struct vnc *vnc = opaque;
	uint64_t expirations;

	if (read(vnc->restart_fd, &expirations, sizeof(expirations)) < 0)
		return;
	if (launch(vnc) == 0 && watch(vnc) == 0)
		return;
	stop(vnc);
	start_again_soon(vnc);
}

static void lost(struct vnc *vnc)
{
	log_warning("--display vnc: veneer-vnc has ended; it is started again");
	helper_relay(&vnc->helper);
	stop(vnc);
	start_again_soon(vnc);
}

static int make_restart_timer(struct vnc *vnc)
{
	vnc->restart_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return vnc->restart_fd < 0 ? -errno
				   : event_loop_watch(vnc->config.loop, vnc->restart_fd, EPOLLIN,
					     start_again, vnc);
}

/* It says that it listens; where it cannot, it says why and ends. */
static int wait_until_ready(struct vnc *vnc)
{
	struct pollfd fds[] = {{.fd = vnc->socket, .events = POLLIN},
		{.fd = vnc->helper.message_fd, .events = POLLIN}};
	struct vnc_request request;

	while (poll(fds, ARRAY_SIZE(fds), START_TIMEOUT) != 0) {
		if (fds[0].revents && recv(vnc->socket, &request, sizeof(request), MSG_DONTWAIT) ==
					      sizeof(request)) {
			vnc->listened = true;
			return 0;
		}
		if (fds[0].revents) {
			helper_wait(&vnc->helper, START_TIMEOUT); /* it has said why */
			return -EIO;
		}
		if (fds[1].revents && helper_relay(&vnc->helper) < 0)
			fds[1].fd = -1;
	}
	log_error("--display vnc: veneer-vnc does not answer");
	return -ETIMEDOUT;
}

static int make_frame(struct vnc *vnc)
{
	void *pixels;

	vnc->memory_fd = memfd_create("veneer-vnc", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (vnc->memory_fd < 0 || ftruncate(vnc->memory_fd, VNC_LINK_BYTES) < 0)
		return -errno;
	/* A server that opens it anew to write cannot make it smaller under our feet. */
	if (fcntl(vnc->memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	pixels = mmap(NULL, VNC_LINK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, vnc->memory_fd, 0);
	if (pixels == MAP_FAILED)
		return -errno;
	vnc->frame.pixels = pixels;
	return 0;
}

static void make_words(struct vnc *vnc)
{
	const struct display_config *display = vnc->config.display;

	snprintf(vnc->port, sizeof(vnc->port), "%u", display->port);
	vnc->words[0] = display->address;
	vnc->words[1] = vnc->port;
	vnc->words[2] = display->password_file;
}

struct vnc *vnc_create(const struct vnc_config *config)
{
	struct vnc *vnc = calloc(1, sizeof(*vnc));
	int error = -ENOMEM;

	if (vnc) {
		vnc->config = *config;
		vnc->socket = vnc->memory_fd = vnc->restart_fd = -1;
		make_words(vnc);
		error = make_frame(vnc);
		if (!error)
			error = make_restart_timer(vnc);
		if (!error)
			error = launch(vnc);
		if (!error)
			error = wait_until_ready(vnc);
		if (!error)
			error = watch(vnc);
	}
	if (!error)
		return vnc;
	log_error("--display vnc: cannot start: %s", strerror(-error));
	if (vnc)
		vnc_destroy(vnc);
	return NULL;
}

void vnc_destroy(struct vnc *vnc)
{
	stop(vnc);
	if (vnc->restart_fd >= 0) {
		event_loop_unwatch(vnc->config.loop, vnc->restart_fd);
		close(vnc->restart_fd);
	}
	if (vnc->listened && strchr(vnc->config.display->address, '/'))
		unlink(vnc->config.display->address);
	if (vnc->frame.pixels)
		munmap(vnc->frame.pixels, VNC_LINK_BYTES);
	if (vnc->memory_fd >= 0)
		close(vnc->memory_fd);
	free(vnc);
}
