/* A console device whose driver writes anything: the queues' setup is sound, RAM around it is the
 * input. It begins with a struct plan; the rest is RAM from ROOM on, where the rings are. Clients
 * come, talk and go. */
#include "fuzz_virtio.h"

#define WATCHES_MAX 4
#include "../unit/worker_watches.h"

#include "device/virtio/console.h"
#include "host/unix_socket.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/virtio_console.h>

#define QUEUES 6 /* two ports and the control queues */
#define STEPS  24

struct plan {
	uint8_t step[STEPS]; /* a queue to notify, or an event */
};

static struct sockaddr_un address[2];
static int client[2], listeners;

/* --- in place of sockets with a path, and of the worker's descriptors --- */

int unix_socket_listen(struct unix_socket *made, const char *option, const char *path)
{
	struct sockaddr_un *at = &address[listeners++];
	socklen_t size = sizeof(*at);
	const sa_family_t family = AF_UNIX; /* without a name: the kernel chooses one */

	*made = (struct unix_socket){
		.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .path = path};
	*at = (struct sockaddr_un){0};
	require(bind(made->fd, (const struct sockaddr *)&family, sizeof(family)) == 0);
	require(listen(made->fd, 4) == 0);
	require(getsockname(made->fd, (struct sockaddr *)at, &size) == 0);
	return 0;
}

void unix_socket_close(struct unix_socket *from)
{
	close(from->fd);
}

/* All ports listen. */
int unix_socket_connect(const char *path, int timeout_s)
{
	abort();
}

void worker_timer_arm(struct worker_timer *timer, uint64_t delay_ns)
{
	abort();
}

static void serve_descriptors(void)
{
	for (unsigned i = 0; i < watch_count; i++) {
		struct watch watch = watches[i];
		struct pollfd poll_fd = {.fd = watch.fd, .events = (short)watch.events};

		if (poll(&poll_fd, 1, 0) > 0)
			watch.callback(watch.opaque, (uint32_t)poll_fd.revents);
	}
}

/* --- the driver and the clients --- */

static void start(void)
{
	device->features =
		VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | BIT(VIRTIO_CONSOLE_F_MULTIPORT);
	start_device(QUEUES);
}

static void stop(bool reset)
{
	device->state.resetting = reset;
	device->running = false;
	device->ops->stop(device);
	for (unsigned i = 0; i < QUEUES; i++)
		require(device->queue[i].in_flight == 0 || device->queue[i].broken);
}

static void client_step(int *fd, const struct sockaddr_un *at, bool leave)
{
	static uint8_t bytes[256 * KIB];

	if (*fd < 0) {
		*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(*fd, (const struct sockaddr *)at, sizeof(at->sun_family) + 6) == 0)
			return; /* an abstract name: a zero and five digits */
		leave = true;
	}
	if (leave) {
		close(*fd);
		*fd = -1;
	} else if (send(*fd, "bytes", 5, MSG_NOSIGNAL) < 0 ||
		   recv(*fd, bytes, sizeof(bytes), 0) == 0) {
		shutdown(*fd, SHUT_WR);
	}
}

static void step(uint8_t what)
{
	unsigned queue = what & 7;

	if (queue < QUEUES) {
		device->ops->notified(device, &device->queue[queue]);
	} else if (queue == 6) {
		client_step(&client[what >> 3 & 1], &address[what >> 3 & 1], what >> 4 & 1);
	} else {
		stop(what >> 3 & 1);
		start();
	}
	/* The driver makes what is in its ring available again. */
	for (unsigned i = 0; i < QUEUES; i++)
		if (queue < QUEUES && (i == queue || what & BIT(3 + i % 5)))
			make_available(i);
	for (unsigned i = 0; i < 4 && posted_count; i++)
		run_one();
	serve_descriptors();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct console_port_config ports[2] = {
		{.name = (char *)"one", .path = (char *)"1"},
		{.name = (char *)"two", .path = (char *)"2"},
	};
	struct console_device *console;
	struct plan plan;

	if (size < sizeof(plan))
		return 0;
	memcpy(&plan, data, sizeof(plan));
	size -= sizeof(plan);
	fill_ram(data + sizeof(plan), size);
	fixture_reset();
	listeners = 0;
	watch_count = 0;
	client[0] = client[1] = -1;
	require(virtio_console_create(NULL, false, ports, 2, &console) == 0);
	start();
	for (unsigned i = 0; i < STEPS; i++)
		step(plan.step[i]);
	stop(false);
	device->ops->destroy(device);
	for (unsigned i = 0; i < 2; i++)
		if (client[i] >= 0)
			close(client[i]);
	return 0;
}
