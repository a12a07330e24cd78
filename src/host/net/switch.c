/* A switch without a switch: each machine has a link to each other one (switch_directory.h), learns
 * from the frames that come which stations are behind which link, and sends a frame there, or to
 * all. There is nothing behind it, and no process but the machines.
 *
 * A machine that does not take its frames must not keep the others from theirs. A frame for one
 * whose ring is full waits a little, because that is how TCP finds its pace without loss; where
 * that does not help, frames to that machine are dropped for a while. What goes to all never
 * waits. */
#include "base/bits.h"
#include "base/log.h"
#include "host/net/link.h"
#include "host/net/offload.h"
#include "host/net/open.h"
#include "host/net/switch_directory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MAX_PEERS     64
#define STATIONS      10                /* bits of the table's size */
#define PATIENCE      (20 * 1000000ull) /* ns that a frame waits for room */
#define PUNISHMENT    (NS_PER_SECOND)   /* in which none waits for that machine */
#define DROPS_A_TURN  64
#define GROUP_ADDRESS BIT(0) /* of the first byte: for many stations */

struct peer {
	struct net_switch *hub;
	int socket; /* of the link, or before there is one; -1: a free place */
	struct net_link link;
	uint64_t impatient_until_ns;
};

struct station {
	uint64_t address; /* 0: none */
	struct peer *peer;
};

struct net_switch {
	struct net_backend net;
	struct switch_directory directory;
	struct worker *worker;
	struct net_port port;
	struct worker_task announce;
	bool wanted; /* receive_ready() */
	bool room;   /* send_ready() is owed */
	uint64_t takes;
	bool told; /* that a machine has broken the rules */

	struct peer peer[MAX_PEERS];
	unsigned turn; /* whose frame is received next */
	struct station station[1 << STATIONS];

	struct peer *awaited; /* send() has refused a frame for want of room there */
	struct worker_timer patience;

	/* A frame that our guest does not take as it is. */
	struct net_cut cut;
	bool cutting;
	uint8_t frame[NET_MAX_FRAME], segment[NET_MAX_FRAME];
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* --- stations --- */

static uint64_t address_at(const uint8_t *bytes)
{
	uint64_t address = 0;

	memcpy(&address, bytes, 6);
	return address;
}

static struct station *place_of(struct net_switch *hub, uint64_t address)
{
	return &hub->station[hash_slot(address, STATIONS)];
}

/* A station that has lost its place to another one is reached with all others. */
static void learn(struct net_switch *hub, uint64_t address, struct peer *peer)
{
	if (address && !(address & GROUP_ADDRESS))
		*place_of(hub, address) = (struct station){address, peer};
}

static struct peer *find(struct net_switch *hub, uint64_t address)
{
	const struct station *station = place_of(hub, address);

	return address && station->address == address ? station->peer : NULL;
}

static void forget(struct net_switch *hub, const struct peer *peer)
{
	for (unsigned i = 0; i < ARRAY_SIZE(hub->station); i++)
		if (hub->station[i].peer == peer)
			hub->station[i] = (struct station){0};
}

/* --- peers --- */

static void announce(void *opaque)
{
	struct net_switch *hub = opaque;

	if (hub->room) {
		hub->room = false;
		hub->port.send_ready(hub->port.opaque, 0);
	}
	if (hub->wanted)
		hub->port.receive_ready(hub->port.opaque, 0);
}

/* The card is told from the worker's loop, since it may be in the midst of sending. */
static void wait_no_longer(struct net_switch *hub)
{
	hub->awaited = NULL;
	worker_timer_cancel(&hub->patience);
	hub->room = true;
	worker_post(hub->worker, &hub->announce);
}

static void drop_peer(struct peer *peer)
{
	struct net_switch *hub = peer->hub;

	if (hub->worker)
		worker_unwatch(hub->worker, peer->socket);
	if (peer->link.map)
		net_link_close(&peer->link);
	else
		close(peer->socket);
	peer->socket = -1;
	forget(hub, peer);
	if (hub->awaited == peer)
		wait_no_longer(hub);
}

static void rules_broken(struct peer *peer)
{
	log_message(peer->hub->told ? LOG_INFO : LOG_WARNING,
		"--net switch: a machine has broken the rules of the switch, and is cut off");
	peer->hub->told = true;
	drop_peer(peer);
}

/* On a connection that was accepted the memory comes first. */
static void take_hello(struct peer *peer)
{
	int memory = switch_take_hello(peer->socket), error;

	if (memory == -EAGAIN)
		return;
	error = memory < 0 ? memory : net_link_join(&peer->link, peer->socket, memory);
	if (memory >= 0)
		close(memory);
	if (error)
		rules_broken(peer);
}

static void peer_ready(void *opaque, uint32_t events)
{
	struct peer *peer = opaque;
	struct net_switch *hub = peer->hub;

	if (!peer->link.map)
		take_hello(peer);
	else if (net_link_drain(&peer->link) < 0)
		drop_peer(peer);
	else if (hub->awaited == peer && net_link_room(&peer->link, true) >= NET_LINK_RING / 2)
		wait_no_longer(hub);
	announce(hub);
}

static struct peer *free_place(struct net_switch *hub)
{
	for (unsigned i = 0; i < MAX_PEERS; i++)
		if (hub->peer[i].socket < 0)
			return &hub->peer[i];
	return NULL;
}

static struct peer *add_peer(struct net_switch *hub, int socket)
{
	struct peer *peer = free_place(hub);

	if (!peer) {
		log_warning("--net switch: no more than %d machines", MAX_PEERS + 1);
		close(socket);
		return NULL;
	}
	*peer = (struct peer){.hub = hub, .socket = socket, .link.socket = -1};
	return peer;
}

/* On a connection that we have made, we make the link. */
static void met(void *opaque, int socket)
{
	struct peer *peer = add_peer(opaque, socket);
	int memory, error;

	if (!peer)
		return;
	error = net_link_create(&peer->link, socket, &memory);
	if (!error) {
		error = switch_send_hello(socket, memory);
		close(memory);
	}
	if (error) {
		log_warning("--net switch: no link to a machine: %s", strerror(-error));
		drop_peer(peer);
	}
}

static void came(void *opaque, uint32_t events)
{
	struct net_switch *hub = opaque;
	int socket = switch_directory_accept(&hub->directory);
	struct peer *peer = socket < 0 ? NULL : add_peer(hub, socket);

	if (peer && worker_watch(hub->worker, socket, EPOLLIN, peer_ready, peer) < 0)
		drop_peer(peer);
}

/* --- sending --- */

static uint64_t target_of(const struct iovec *pieces, unsigned count)
{
	uint8_t start[NET_HEADER + 6] = {0};
	size_t done = 0;

	for (unsigned i = 0; i < count && done < sizeof(start); i++) {
		size_t part = MIN(pieces[i].iov_len, sizeof(start) - done);

		memcpy(start + done, pieces[i].iov_base, part);
		done += part;
	}
	return address_at(start + NET_HEADER);
}

static void send_to_all(
	struct net_switch *hub, const struct iovec *pieces, unsigned count, size_t bytes)
{
	for (unsigned i = 0; i < MAX_PEERS; i++) {
		struct peer *peer = &hub->peer[i];

		if (peer->link.map && net_link_send(&peer->link, pieces, count, bytes) == -EPROTO)
			rules_broken(peer);
	}
}

/* There was no room: wait, where there is still patience. */
static int refuse(struct net_switch *hub, struct peer *peer)
{
	if (now_ns() < peer->impatient_until_ns)
		return 0;
	if (hub->awaited != peer) {
		hub->awaited = peer;
		worker_timer_arm(&hub->patience, PATIENCE);
	}
	return -EAGAIN;
}

static void waited_enough(void *opaque)
{
	struct net_switch *hub = opaque;

	if (!hub->awaited)
		return;
	hub->awaited->impatient_until_ns = now_ns() + PUNISHMENT;
	wait_no_longer(hub);
}

static int switch_send(struct net_backend *net, unsigned queue, const struct iovec *pieces,
	unsigned count, size_t bytes)
{
	struct net_switch *hub = container_of(net, struct net_switch, net);
	struct peer *peer;
	int error;

	if (bytes < NET_HEADER + NET_ETHERNET || bytes > NET_MAX_FRAME)
		return 0;
	peer = find(hub, target_of(pieces, count));
	if (!peer) {
		send_to_all(hub, pieces, count, bytes);
		return 0;
	}
	error = net_link_send(&peer->link, pieces, count, bytes);
	if (error == -EAGAIN)
		return refuse(hub, peer);
	if (error)
		rules_broken(peer);
	return 0;
}

static void switch_flush(struct net_backend *net)
{
	struct net_switch *hub = container_of(net, struct net_switch, net);

	for (unsigned i = 0; i < MAX_PEERS; i++)
		if (hub->peer[i].link.map)
			net_link_flush(&hub->peer[i].link);
}

/* --- receiving --- */

static ssize_t receive_cut(struct net_switch *hub, const struct iovec *pieces, unsigned count)
{
	static const struct virtio_net_hdr_v1 plain = {.num_buffers = 1};
	size_t size = net_cut_next(&hub->cut, hub->segment + NET_HEADER);

	memcpy(hub->segment, &plain, NET_HEADER);
	hub->cutting = net_cut_more(&hub->cut);
	return net_scatter(pieces, count, hub->segment, NET_HEADER + size);
}

/* A frame, which lies where the other machine can change it: the header is copied before it is
 * checked, and all of the frame before it is worked on. -EINVAL: dropped. */
static ssize_t receive_frame(struct net_switch *hub, struct peer *peer, const uint8_t *frame,
	size_t bytes, const struct iovec *pieces, unsigned count)
{
	size_t size = bytes - NET_HEADER;
	struct virtio_net_hdr_v1 header;

	memcpy(&header, frame, NET_HEADER);
	header.num_buffers = 1;
	if (!net_header_valid(&header, size))
		return -EINVAL;
	learn(hub, address_at(frame + NET_HEADER + 6), peer);
	if (net_header_taken(&header, hub->takes) && pieces[0].iov_len >= NET_HEADER) {
		ssize_t got = net_scatter(pieces, count, frame, bytes);

		if (got > 0)
			memcpy(pieces[0].iov_base, &header, NET_HEADER);
		return got;
	}
	memcpy(hub->frame, frame + NET_HEADER, size);
	if (net_cut_begin(&hub->cut, &header, hub->frame, size) < 0)
		return -EINVAL;
	return receive_cut(hub, pieces, count);
}

/* The next frame of a peer: its size or -EMSGSIZE; -EAGAIN: none; -EINVAL: dropped. */
static ssize_t receive_from(
	struct net_switch *hub, struct peer *peer, const struct iovec *pieces, unsigned count)
{
	uint8_t *frame;
	ssize_t bytes = net_link_peek(&peer->link, &frame, NET_HEADER + NET_ETHERNET), result;

	if (bytes == -EPROTO) {
		rules_broken(peer);
		return -EAGAIN;
	}
	if (bytes < 0)
		return bytes;
	result = receive_frame(hub, peer, frame, (size_t)bytes, pieces, count);
	net_link_taken(&peer->link);
	return result;
}

/* A frame of each peer in turn. After some that are dropped others get their turn on the worker. */
static ssize_t switch_receive(
	struct net_backend *net, unsigned queue, const struct iovec *pieces, unsigned count)
{
	struct net_switch *hub = container_of(net, struct net_switch, net);
	unsigned dropped = 0, empty = 0;

	if (hub->cutting)
		return receive_cut(hub, pieces, count);
	while (empty < MAX_PEERS && dropped < DROPS_A_TURN) {
		struct peer *peer = &hub->peer[hub->turn++ % MAX_PEERS];
		ssize_t result = peer->link.map ? receive_from(hub, peer, pieces, count) : -EAGAIN;

		if (result != -EAGAIN && result != -EINVAL)
			return result;
		empty = result == -EAGAIN ? empty + 1 : 0;
		dropped += result == -EINVAL;
	}
	if (empty < MAX_PEERS)
		worker_post(hub->worker, &hub->announce);
	return -EAGAIN;
}

static void switch_want_receive(struct net_backend *net, unsigned queue, bool wanted)
{
	struct net_switch *hub = container_of(net, struct net_switch, net);

	if (wanted && !hub->wanted)
		worker_post(hub->worker, &hub->announce);
	hub->wanted = wanted;
}

/* --- the back end --- */

static void switch_guest_takes(struct net_backend *net, uint64_t features)
{
	container_of(net, struct net_switch, net)->takes = features;
}

static int switch_start(struct net_backend *net, struct worker *worker, const struct net_port *port)
{
	struct net_switch *hub = container_of(net, struct net_switch, net);
	int error;

	hub->worker = worker;
	hub->port = *port;
	hub->wanted = true;
	worker_task_init(&hub->announce, announce, hub);
	worker_timer_init(&hub->patience, worker, waited_enough, hub);
	error = worker_watch(worker, hub->directory.listener, EPOLLIN, came, hub);
	for (unsigned i = 0; i < MAX_PEERS && !error; i++)
		if (hub->peer[i].socket >= 0)
			error = worker_watch(
				worker, hub->peer[i].socket, EPOLLIN, peer_ready, &hub->peer[i]);
	if (error)
		log_error("--net switch: cannot wait for frames: %s", strerror(-error));
	worker_post(worker, &hub->announce);
	return error;
}

static void switch_destroy(struct net_backend *net)
{
	struct net_switch *hub = container_of(net, struct net_switch, net);

	for (unsigned i = 0; i < MAX_PEERS; i++) {
		struct peer *peer = &hub->peer[i];

		if (peer->link.map)
			net_link_close(&peer->link);
		else if (peer->socket >= 0)
			close(peer->socket);
	}
	switch_directory_leave(&hub->directory);
	free(hub);
}

static const struct net_backend_ops switch_ops = {
	.start = switch_start,
	.send = switch_send,
	.receive = switch_receive,
	.want_receive = switch_want_receive,
	.flush = switch_flush,
	.guest_takes = switch_guest_takes,
	.destroy = switch_destroy,
};

int net_switch_open(const struct net_config *config, struct net_backend **net)
{
	struct net_switch *hub = calloc(1, sizeof(*hub));
	int error;

	if (!hub) {
		log_error("--net switch=%s: out of memory", config->name);
		return -ENOMEM;
	}
	hub->net = (struct net_backend){
		.ops = &switch_ops, .queues = 1, .offloads = NET_SOFTWARE_OFFLOADS};
	for (unsigned i = 0; i < MAX_PEERS; i++)
		hub->peer[i].socket = hub->peer[i].link.socket = -1;
	error = switch_directory_join(&hub->directory, config->name, met, hub);
	if (error)
		switch_destroy(&hub->net);
	else
		*net = &hub->net;
	return error;
}
