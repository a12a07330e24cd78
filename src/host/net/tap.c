/* A tap interface (Linux, Documentation/networking/tuntap.rst): frames go to the host's own network
 * stack with the header that virtio-net has, so that checksums and segmentation are left to the
 * host, or to its hardware. Each queue pair is a descriptor. */
#include "base/bits.h"
#include "base/log.h"
#include "host/net/offload.h"
#include "host/net/open.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct tap_queue {
	struct net_tap *tap;
	unsigned index;
	int fd;
	bool wanted;  /* receive_ready() */
	bool refused; /* send() has; send_ready() is owed */
};

struct net_tap {
	struct net_backend net;
	struct worker *worker;
	struct net_port port;
	struct tap_queue queue[]; /* net.queues */
};

/* --- frames --- */

static void queue_ready(void *opaque, uint32_t events);

static int watch_queue(struct tap_queue *queue)
{
	uint32_t events = (queue->wanted ? EPOLLIN : 0) | (queue->refused ? EPOLLOUT : 0);

	return worker_watch(queue->tap->worker, queue->fd, events, queue_ready, queue);
}

static void queue_ready(void *opaque, uint32_t events)
{
	struct tap_queue *queue = opaque;
	const struct net_port *port = &queue->tap->port;

	/* The interface is gone, and this would be said again and again. */
	if (events & EPOLLERR && !(events & (EPOLLIN | EPOLLOUT))) {
		worker_unwatch(queue->tap->worker, queue->fd);
		return;
	}
	if (events & EPOLLOUT && queue->refused) {
		queue->refused = false;
		watch_queue(queue);
		port->send_ready(port->opaque, queue->index);
	}
	if (events & EPOLLIN && queue->wanted)
		port->receive_ready(port->opaque, queue->index);
}

static struct tap_queue *queue_of(struct net_backend *net, unsigned queue)
{
	return &container_of(net, struct net_tap, net)->queue[queue];
}

/* Any other error is about this frame (the kernel does not like its header), or the interface is
 * down or gone: then frames are lost. */
static int tap_send(struct net_backend *net, unsigned number, const struct iovec *pieces,
	unsigned count, size_t bytes)
{
	struct tap_queue *queue = queue_of(net, number);

	if (writev(queue->fd, pieces, (int)count) >= 0 || errno != EAGAIN)
		return 0;
	if (!queue->refused) {
		queue->refused = true;
		watch_queue(queue);
	}
	return -EAGAIN;
}

/* The kernel's header has no num_buffers, and leaves its place as it is. */
static void set_num_buffers(const struct iovec *pieces)
{
	static const uint8_t one[2] = {1, 0};
	size_t at = offsetof(struct virtio_net_hdr_v1, num_buffers);

	for (unsigned i = 0; i < sizeof(one); i++, at++) {
		while (at >= pieces->iov_len)
			at -= (pieces++)->iov_len;
		*((uint8_t *)pieces->iov_base + at) = one[i];
	}
}

/* The kernel cuts off what finds no room, and does not say so: a byte behind the pieces tells. */
static ssize_t tap_receive(
	struct net_backend *net, unsigned number, const struct iovec *pieces, unsigned count)
{
	struct iovec vector[UIO_MAXIOV];
	uint8_t beyond;
	size_t room = 0;
	ssize_t size;

	if (count >= UIO_MAXIOV)
		return -EMSGSIZE;
	for (unsigned i = 0; i < count; i++) {
		vector[i] = pieces[i];
		room += pieces[i].iov_len;
	}
	vector[count] = (struct iovec){&beyond, 1};
	size = readv(queue_of(net, number)->fd, vector, (int)count + 1);
	if (size < 0)
		return -EAGAIN;
	if ((size_t)size > room || size < NET_HEADER)
		return -EMSGSIZE;
	set_num_buffers(pieces);
	return size;
}

static void tap_want_receive(struct net_backend *net, unsigned number, bool wanted)
{
	struct tap_queue *queue = queue_of(net, number);

	if (wanted == queue->wanted)
		return;
	queue->wanted = wanted;
	watch_queue(queue);
}

/* --- the interface --- */

static void tap_guest_takes(struct net_backend *net, uint64_t features)
{
	static const struct {
		unsigned feature;
		unsigned long flag;
	} rows[] = {
		{VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM},
		{VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4},
		{VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6},
		{VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN},
	};
	unsigned long flags = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (features & BIT(rows[i].feature))
			flags |= rows[i].flag;
	/* Segmentation without checksums is refused, and no driver asks for it. */
	if (ioctl(queue_of(net, 0)->fd, TUNSETOFFLOAD, flags) < 0)
		ioctl(queue_of(net, 0)->fd, TUNSETOFFLOAD, 0);
}

static int tap_start(struct net_backend *net, struct worker *worker, const struct net_port *port)
{
	struct net_tap *tap = container_of(net, struct net_tap, net);
	int error = 0;

	tap->worker = worker;
	tap->port = *port;
	tap_guest_takes(net, 0);
	for (unsigned i = 0; i < net->queues && !error; i++) {
		tap->queue[i].wanted = true;
		error = watch_queue(&tap->queue[i]);
	}
	if (error)
		log_error("--net tap: cannot wait for frames: %s", strerror(-error));
	return error;
}

static void tap_destroy(struct net_backend *net)
{
	struct net_tap *tap = container_of(net, struct net_tap, net);

	for (unsigned i = 0; i < net->queues; i++)
		if (tap->queue[i].fd >= 0)
			close(tap->queue[i].fd);
	free(tap);
}

static const struct net_backend_ops tap_ops = {
	.start = tap_start,
	.send = tap_send,
	.receive = tap_receive,
	.want_receive = tap_want_receive,
	.guest_takes = tap_guest_takes,
	.destroy = tap_destroy,
};

/* Why the interface could not be had, and what to do. */
static int explain(const struct net_config *config, int error)
{
	const char *name = config->name, *many = config->queues > 1 ? " multi_queue" : "";

	if (error == EPERM || error == EACCES)
		log_error("--net tap=%s: no right to use it; root makes it for you with: ip "
			  "tuntap add dev %s mode tap%s user NAME",
			name, name, many);
	else if (error == EBUSY)
		log_error("--net tap=%s: something else uses it", name);
	else if (error == EINVAL)
		log_error("--net tap=%s: not a tap interface%s", name,
			config->queues > 1 ? " that was made with multi_queue" : "");
	else
		log_error("--net tap=%s: %s", name, strerror(error));
	return -error;
}

/* One more queue of it. An interface that was made for many has to be opened as such, and one that
 * was not must not be. The descriptor, or -errno. */
static int attach(const struct net_config *config, int fd)
{
	static const int header = NET_HEADER, little = 1;
	struct ifreq request = {
		.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR |
			     (config->queues > 1 ? IFF_MULTI_QUEUE : 0),
	};

	strncpy(request.ifr_name, config->name, IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &request) < 0) {
		if (errno != EINVAL || config->queues > 1)
			return -errno;
		request.ifr_flags |= IFF_MULTI_QUEUE;
		if (ioctl(fd, TUNSETIFF, &request) < 0)
			return -errno;
	}
	if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 || ioctl(fd, TUNSETVNETLE, &little) < 0)
		return -errno;
	return 0;
}

static int open_queue(const struct net_config *config, int *fd)
{
	int error;

	*fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (*fd < 0) {
		error = errno;
		log_error("--net tap=%s: cannot open /dev/net/tun: %s%s", config->name,
			strerror(error),
			error == ENOENT || error == ENODEV ? "; is the module tun loaded?" : "");
		return -error;
	}
	error = attach(config, *fd);
	return error ? explain(config, -error) : 0;
}

int net_tap_open(const struct net_config *config, struct net_backend **net)
{
	struct net_tap *tap = calloc(1, sizeof(*tap) + config->queues * sizeof(struct tap_queue));
	int error = 0;

	if (!tap) {
		log_error("--net tap=%s: out of memory", config->name);
		return -ENOMEM;
	}
	tap->net = (struct net_backend){
		.ops = &tap_ops, .queues = config->queues, .offloads = NET_SOFTWARE_OFFLOADS};
	for (unsigned i = 0; i < config->queues; i++)
		tap->queue[i] = (struct tap_queue){.tap = tap, .index = i, .fd = -1};
	for (unsigned i = 0; i < config->queues && !error; i++)
		error = open_queue(config, &tap->queue[i].fd);
	if (error)
		tap_destroy(&tap->net);
	else
		*net = &tap->net;
	return error;
}
