/* A network whose frames are datagrams, one each: to a station by UDP or a Unix socket, or to all
 * in a multicast group, as QEMU's "-netdev socket,udp=", "mcast=" and "-netdev dgram" have it.
 *
 * By UDP only the station that frames go to is heard. Of a group everybody is, but for ourselves:
 * the host would give us our own frames back, from the address that they were sent from. */
#include "base/bits.h"
#include "base/log.h"
#include "host/net/link.h"
#include "host/net/offload.h"
#include "host/net/open.h"
#include "host/net/socket_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DROPS_A_TURN 64

struct net_dgram {
	struct net_backend net;
	struct worker *worker;
	struct net_port port;
	struct worker_task announce;
	int socket, sender; /* the same but in a group */
	struct socket_address remote, own;
	bool connected; /* the socket knows where frames go */
	bool group;
	bool wanted; /* receive_ready() */
	struct socket_address local;
	dev_t device; /* of the file at `local`, where we have made one */
	ino_t inode;
	uint8_t frame[NET_MAX_FRAME + 1];
};

static struct net_dgram *dgram_of(struct net_backend *net)
{
	return container_of(net, struct net_dgram, net);
}

/* --- frames --- */

/* What finds no room is lost, as is what nobody waits for. */
static int dgram_send(struct net_backend *net, unsigned queue, const struct iovec *pieces,
	unsigned count, size_t bytes)
{
	struct net_dgram *dgram = dgram_of(net);
	struct iovec vector[IOV_MAX];
	struct msghdr message = {.msg_iov = vector};
	size_t skip = NET_HEADER;

	if (bytes < NET_HEADER + NET_ETHERNET || count > ARRAY_SIZE(vector))
		return 0;
	for (unsigned i = 0; i < count; i++) {
		size_t less = MIN(skip, pieces[i].iov_len);

		skip -= less;
		if (pieces[i].iov_len > less)
			vector[message.msg_iovlen++] = (struct iovec){
				(uint8_t *)pieces[i].iov_base + less, pieces[i].iov_len - less};
	}
	if (!dgram->connected) {
		message.msg_name = &dgram->remote.any;
		message.msg_namelen = dgram->remote.size;
	}
	sendmsg(dgram->sender, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	return 0;
}

static bool is_ours(const struct net_dgram *dgram, const struct socket_address *from)
{
	const struct sockaddr_in *a = (const struct sockaddr_in *)&from->storage,
				 *b = (const struct sockaddr_in *)&dgram->own.storage;

	return dgram->group && a->sin_addr.s_addr == b->sin_addr.s_addr &&
	       a->sin_port == b->sin_port;
}

static ssize_t dgram_receive(
	struct net_backend *net, unsigned queue, const struct iovec *pieces, unsigned count)
{
	static const struct virtio_net_hdr_v1 plain = {.num_buffers = 1};
	struct net_dgram *dgram = dgram_of(net);
	size_t room = sizeof(dgram->frame) - NET_HEADER;

	for (unsigned dropped = 0; dropped < DROPS_A_TURN; dropped++) {
		struct socket_address from = {.size = sizeof(from.storage)};
		ssize_t size = recvfrom(dgram->socket, dgram->frame + NET_HEADER, room,
			MSG_DONTWAIT | MSG_TRUNC, &from.any, &from.size);

		if (size < 0 && errno == EAGAIN)
			return -EAGAIN;
		/* An error is about what was sent. */
		if (size < NET_ETHERNET || (size_t)size >= room || is_ours(dgram, &from))
			continue;
		memcpy(dgram->frame, &plain, NET_HEADER);
		return net_scatter(pieces, count, dgram->frame, NET_HEADER + (size_t)size);
	}
	worker_post(dgram->worker, &dgram->announce);
	return -EAGAIN;
}

static void announce(void *opaque)
{
	struct net_dgram *dgram = opaque;

	if (dgram->wanted)
		dgram->port.receive_ready(dgram->port.opaque, 0);
}

static void socket_ready(void *opaque, uint32_t events)
{
	struct net_dgram *dgram = opaque;
	int error;
	socklen_t size = sizeof(error);

	/* Taken, so that it is not said again. */
	if (events & EPOLLERR)
		getsockopt(dgram->socket, SOL_SOCKET, SO_ERROR, &error, &size);
	/* A socket that somebody has shut down, of a pair. */
	if (events & EPOLLHUP)
		worker_unwatch(dgram->worker, dgram->socket);
	announce(dgram);
}

static int watch(struct net_dgram *dgram)
{
	return worker_watch(
		dgram->worker, dgram->socket, dgram->wanted ? EPOLLIN : 0, socket_ready, dgram);
}

static void dgram_want_receive(struct net_backend *net, unsigned queue, bool wanted)
{
	struct net_dgram *dgram = dgram_of(net);

	if (wanted == dgram->wanted)
		return;
	dgram->wanted = wanted;
	watch(dgram);
}

/* --- the back end --- */

static int dgram_start(struct net_backend *net, struct worker *worker, const struct net_port *port)
{
	struct net_dgram *dgram = dgram_of(net);
	int error;

	dgram->worker = worker;
	dgram->port = *port;
	dgram->wanted = true;
	worker_task_init(&dgram->announce, announce, dgram);
	error = watch(dgram);
	if (error)
		log_error("--net dgram: cannot wait for frames: %s", strerror(-error));
	return error;
}

static void dgram_destroy(struct net_backend *net)
{
	struct net_dgram *dgram = dgram_of(net);
	const struct sockaddr_un *name = (const struct sockaddr_un *)&dgram->local.storage;
	struct stat status;

	if (dgram->inode && lstat(name->sun_path, &status) == 0 && status.st_dev == dgram->device &&
		status.st_ino == dgram->inode)
		unlink(name->sun_path);
	if (dgram->sender >= 0 && dgram->sender != dgram->socket)
		close(dgram->sender);
	if (dgram->socket >= 0)
		close(dgram->socket);
	free(dgram);
}

static const struct net_backend_ops dgram_ops = {
	.start = dgram_start,
	.send = dgram_send,
	.receive = dgram_receive,
	.want_receive = dgram_want_receive,
	.destroy = dgram_destroy,
};

/* --- opening --- */

/* Is it a socket whose process has died? */
static bool is_stale(const struct socket_address *address)
{
	const struct sockaddr_un *name = (const struct sockaddr_un *)&address->storage;
	int fd = socket_address_open(address, SOCK_DGRAM);
	struct stat status;
	bool stale = fd >= 0 && connect(fd, &address->any, address->size) < 0 &&
		     errno == ECONNREFUSED && lstat(name->sun_path, &status) == 0 &&
		     S_ISSOCK(status.st_mode);

	if (fd >= 0)
		close(fd);
	return stale;
}

static int bind_path(struct net_dgram *dgram)
{
	const struct sockaddr_un *name = (const struct sockaddr_un *)&dgram->local.storage;
	struct stat status;

	if (is_stale(&dgram->local))
		unlink(name->sun_path);
	if (bind(dgram->socket, &dgram->local.any, dgram->local.size) < 0 ||
		lstat(name->sun_path, &status) < 0)
		return -errno;
	dgram->device = status.st_dev;
	dgram->inode = status.st_ino;
	return 0;
}

/* A pair of addresses: `local` may be NULL, for UDP. */
static int open_pair(struct net_dgram *dgram, const char *local)
{
	int family = dgram->remote.any.sa_family;

	dgram->socket = dgram->sender = socket_address_open(&dgram->remote, SOCK_DGRAM);
	if (dgram->socket < 0)
		return dgram->socket;
	if (local && (socket_address_parse(&dgram->local, "--net dgram=...,local=", local,
			      SOCK_DGRAM, true) < 0 ||
			     dgram->local.any.sa_family != family))
		return -EINVAL;
	/* Who is to send to it may come later, so nothing is connected. */
	if (family == AF_UNIX)
		return local ? bind_path(dgram) : 0;
	if ((local && bind(dgram->socket, &dgram->local.any, dgram->local.size) < 0) ||
		connect(dgram->socket, &dgram->remote.any, dgram->remote.size) < 0)
		return -errno;
	dgram->connected = true;
	return 0;
}

/* A group: `local` is the address of the interface at which it is, or NULL. */
static int open_group(struct net_dgram *dgram, const char *local)
{
	const struct sockaddr_in *group = (const struct sockaddr_in *)&dgram->remote.storage;
	struct ip_mreq member = {.imr_multiaddr = group->sin_addr};
	const int on = 1;

	if (local && inet_pton(AF_INET, local, &member.imr_interface) != 1)
		return -EINVAL;
	dgram->group = dgram->connected = true;
	dgram->socket = socket_address_open(&dgram->remote, SOCK_DGRAM);
	dgram->sender = socket_address_open(&dgram->remote, SOCK_DGRAM);
	dgram->own.size = sizeof(dgram->own.storage);
	if (dgram->socket < 0 || dgram->sender < 0 ||
		setsockopt(dgram->socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		bind(dgram->socket, &dgram->remote.any, dgram->remote.size) < 0 ||
		setsockopt(dgram->socket, IPPROTO_IP, IP_ADD_MEMBERSHIP, &member, sizeof(member)) <
			0 ||
		setsockopt(dgram->sender, IPPROTO_IP, IP_MULTICAST_IF, &member.imr_interface,
			sizeof(member.imr_interface)) < 0 ||
		connect(dgram->sender, &dgram->remote.any, dgram->remote.size) < 0 ||
		getsockname(dgram->sender, &dgram->own.any, &dgram->own.size) < 0)
		return -errno;
	return 0;
}

static int open_descriptor(struct net_dgram *dgram, int fd)
{
	struct socket_address peer = {.size = sizeof(peer.storage)};

	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
		getpeername(fd, &peer.any, &peer.size) < 0)
		return -errno;
	dgram->socket = dgram->sender = fd;
	dgram->connected = true;
	return 0;
}

static int open_dgram(struct net_dgram *dgram, const struct net_config *config)
{
	int fd = socket_address_descriptor(config->name), error;

	if (fd >= 0)
		return open_descriptor(dgram, fd);
	error = socket_address_parse(
		&dgram->remote, "--net dgram=", config->name, SOCK_DGRAM, false);
	if (error)
		return error;
	return socket_address_is_multicast(&dgram->remote) ? open_group(dgram, config->local)
							   : open_pair(dgram, config->local);
}

int net_dgram_open(const struct net_config *config, struct net_backend **net)
{
	struct net_dgram *dgram = calloc(1, sizeof(*dgram));
	int error = -ENOMEM;

	if (dgram) {
		dgram->net = (struct net_backend){.ops = &dgram_ops, .queues = 1};
		dgram->socket = dgram->sender = -1;
		error = open_dgram(dgram, config);
	}
	if (!error) {
		*net = &dgram->net;
		return 0;
	}
	log_error("--net dgram=%s%s%s: %s", config->name, config->local ? ",local=" : "",
		config->local ? config->local : "", strerror(-error));
	if (dgram)
		dgram_destroy(&dgram->net);
	return error;
}
