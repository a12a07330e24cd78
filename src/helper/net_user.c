/* veneer-net-user: the user network. libslirp, which makes connections of this host out of a
 * guest's packets, in a process of its own: it parses whatever a guest sends.
 *
 *	veneer-net-user [WORD]...		(net_user_words.h)
 *
 * Descriptor 3 is a link's socket and 4 its memory (host/net/link.h), on whose other end is the
 * monitor's user.c; 5, where it is open, a directory to be served by TFTP. It ends with the
 * socket's end.
 *
 * A guest's frames come as its driver made them: TCP segments of up to 64 KiB, without checksums.
 * libslirp takes segments of any size, but wants checksums. In the other direction it cuts the
 * stream into segments of the size that the guest has asked for (MSS), a frame each. So that
 * libslirp makes large ones, a guest that takes them does not ask for less: the MSS option of its
 * SYN is changed on the way. What it was is noted, because it tells the guest how a segment is to
 * be cut where it goes on to elsewhere (gso_size). */
#include "base/bits.h"
#include "base/sanitizer.h"
#include "helper/net_user_words.h"
#include "helper/tftp_files.h"
#include "host/net/forward.h"
#include "host/net/link.h"
#include "host/net/offload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SOCKET_FD  3
#define MEMORY_FD  4
#define TFTP_FD    5
#define BATCH      64    /* frames of the guest's that are taken before the host's sockets */
#define LARGEST_IP 65521 /* libslirp's IF_MTU_MAX */
#define MOST_BYTES (512 * MIB)
#define NO_MSS     536 /* RFC 9293, 3.7.1: of who does not name one */

static struct net_link link_to_guest;
static Slirp *slirp;

_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- the guest's MSS, by connection --- */

/* A connection that has lost its place to another one is segmented as if it had named no MSS, which
 * is smaller than need be, and still right. */
static struct noted_mss {
	uint32_t tag;
	uint16_t mss;
} noted[4096];

static uint32_t hash(uint32_t hash, const uint8_t *bytes, unsigned size)
{
	while (size--)
		hash = (hash ^ *bytes++) * 0x01000193; /* FNV-1a */
	return hash;
}

/* `guest` and `host`: where in the IP header the addresses are, and which port is whose. */
static uint32_t connection_tag(
	const struct net_packet *packet, const uint8_t *frame, bool from_guest)
{
	unsigned size = packet->ipv6 ? 16 : 4;
	const uint8_t *source = frame + packet->ip + (packet->ipv6 ? 8 : 12);
	const uint8_t *ports = frame + packet->transport;
	uint32_t tag = hash(0x811c9dc5, from_guest ? source : source + size, size);

	tag = hash(tag, from_guest ? source + size : source, size);
	tag = hash(tag, from_guest ? ports : ports + 2, 2);
	return hash(tag, from_guest ? ports + 2 : ports, 2);
}

static struct noted_mss *note_of(uint32_t tag)
{
	return &noted[hash_slot(tag, 12)];
}

static uint16_t guest_mss(const struct net_packet *packet, const uint8_t *frame)
{
	uint32_t tag = connection_tag(packet, frame, false);
	const struct noted_mss *note = note_of(tag);

	return note->mss && note->tag == tag ? note->mss : NO_MSS;
}

static bool takes_large(bool ipv6)
{
	return net_link_takes(&link_to_guest) &
	       BIT(ipv6 ? VIRTIO_NET_F_GUEST_TSO6 : VIRTIO_NET_F_GUEST_TSO4);
}

/* Where the MSS option's value is in a SYN (RFC 9293, 3.1), or NULL. */
static uint8_t *find_mss(const struct net_packet *packet, uint8_t *frame)
{
	uint8_t *at = frame + packet->transport + sizeof(struct tcphdr);
	const uint8_t *end = frame + packet->payload;

	while (at < end && *at != TCPOPT_EOL) {
		if (*at == TCPOPT_NOP) {
			at++;
			continue;
		}
		if (end - at < 2 || at[1] < 2 || at[1] > end - at)
			return NULL;
		if (*at == TCPOPT_MAXSEG)
			return at[1] == TCPOLEN_MAXSEG ? at + 2 : NULL;
		at += at[1];
	}
	return NULL;
}

/* Before the checksum is filled in, or else it is made to fit (RFC 1624). */
static void raise_mss(const struct net_packet *packet, uint8_t *frame, bool has_checksum)
{
	uint8_t *value = find_mss(packet, frame), *checksum = frame + packet->transport + 16;
	uint32_t tag = connection_tag(packet, frame, true);
	uint8_t change[4];
	uint16_t sum;

	if (!value)
		return;
	*note_of(tag) = (struct noted_mss){tag, MAX(value[0] << 8 | value[1], NET_LEAST_MSS)};
	change[0] = (uint8_t)~value[0];
	change[1] = (uint8_t)~value[1];
	change[2] = change[3] = value[0] = value[1] = 0xff;
	if (!has_checksum || ((value - frame - packet->transport) & 1))
		return;
	memcpy(&sum, checksum, sizeof(sum));
	sum = (uint16_t)~net_sum((uint16_t)~sum, change, sizeof(change));
	memcpy(checksum, &sum, sizeof(sum));
}

/* --- from the guest --- */

static void cut_for_slirp(const struct virtio_net_hdr_v1 *header, uint8_t *frame, size_t size)
{
	static uint8_t segment[NET_MAX_FRAME];
	struct net_cut cut;

	if (net_cut_begin(&cut, header, frame, size) < 0)
		return;
	while (net_cut_more(&cut))
		slirp_input(slirp, segment, (int)net_cut_next(&cut, segment));
}

static void take_frame(uint8_t *bytes, size_t size)
{
	struct virtio_net_hdr_v1 header;
	uint8_t *frame = bytes + NET_HEADER;
	struct net_packet packet;

	memcpy(&header, bytes, NET_HEADER);
	size -= NET_HEADER;
	if (!net_header_valid(&header, size))
		return;
	if (net_packet_parse(&packet, frame, size) && packet.tcp &&
		frame[packet.transport + 13] & TH_SYN && takes_large(packet.ipv6))
		raise_mss(&packet, frame, !(header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM));
	if (header.gso_type && size > LARGEST_IP + NET_ETHERNET) {
		cut_for_slirp(&header, frame, size);
		return;
	}
	if (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		net_fill_checksum(frame, size, header.csum_start, header.csum_offset);
	slirp_input(slirp, frame, (int)size);
}

/* True: there are more. */
static bool take_frames(void)
{
	uint8_t *frame;
	ssize_t size;

	for (unsigned i = 0; i < BATCH; i++) {
		size = net_link_peek(&link_to_guest, &frame, NET_HEADER + NET_ETHERNET);
		if (size == -EPROTO) {
			errno = EPROTO;
			fail("the monitor's frames");
		}
		if (size < 0)
			return false;
		take_frame(frame, (size_t)size);
		net_link_taken(&link_to_guest);
	}
	return true;
}

/* --- to the guest --- */

/* A frame that finds no room is dropped, as a network may. */
static void put_frame(const struct virtio_net_hdr_v1 *header, const uint8_t *frame, size_t size)
{
	const struct iovec pieces[] = {
		{(void *)(uintptr_t)header, NET_HEADER}, {(void *)(uintptr_t)frame, size}};

	net_link_send(&link_to_guest, pieces, 2, NET_HEADER + size);
}

static void put_large(const struct net_packet *packet, uint8_t *frame, size_t size, unsigned mss)
{
	uint16_t sum = net_pseudo_sum(packet, frame);
	const struct virtio_net_hdr_v1 header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = packet->ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = (uint16_t)packet->payload,
		.gso_size = (uint16_t)mss,
		.csum_start = (uint16_t)packet->transport,
		.csum_offset = offsetof(struct tcphdr, check),
		.num_buffers = 1,
	};
	struct net_cut cut;

	if (takes_large(packet->ipv6)) {
		memcpy(frame + packet->transport + 16, &sum, sizeof(sum));
		put_frame(&header, frame, size);
	} else if (net_cut_begin(&cut, &header, frame, size) == 0) {
		static uint8_t segment[NET_MAX_FRAME];
		const struct virtio_net_hdr_v1 plain = {.num_buffers = 1};

		while (net_cut_more(&cut))
			put_frame(&plain, segment, net_cut_next(&cut, segment));
	}
}

/* A datagram for a guest that takes no large frames: IPv4 fragments (RFC 791, 3.2). libslirp itself
 * would make them of 64 KiB. */
static void put_fragments(const uint8_t *frame, size_t size)
{
	const unsigned header = (frame[NET_ETHERNET] & 15) * 4u, most = (1500 - header) & ~7u;
	const struct virtio_net_hdr_v1 plain = {.num_buffers = 1};
	const uint8_t *data = frame + NET_ETHERNET + header;
	size_t left = size - NET_ETHERNET - header;
	unsigned offset = 0;
	uint8_t fragment[NET_SMALL_FRAME], *ip = fragment + NET_ETHERNET;

	memcpy(fragment, frame, NET_ETHERNET + header);
	while (left) {
		unsigned bytes = (unsigned)MIN(left, most), flags = offset / 8;
		uint16_t sum;

		left -= bytes;
		flags |= left ? 0x2000 : 0;
		ip[2] = (uint8_t)((header + bytes) >> 8);
		ip[3] = (uint8_t)(header + bytes);
		ip[6] = (uint8_t)(flags >> 8);
		ip[7] = (uint8_t)flags;
		ip[10] = ip[11] = 0;
		sum = (uint16_t)~net_sum(0, ip, header);
		memcpy(ip + 10, &sum, sizeof(sum));
		memcpy(ip + header, data + offset, bytes);
		put_frame(&plain, fragment, NET_ETHERNET + header + bytes);
		offset += bytes;
	}
}

static ssize_t on_packet(const void *bytes, size_t size, void *opaque)
{
	/* libslirp's, and on its stack: it is not const there. */
	uint8_t *frame = (uint8_t *)(uintptr_t)bytes;
	struct virtio_net_hdr_v1 header = {.num_buffers = 1};
	struct net_packet packet;
	bool known = net_packet_parse(&packet, frame, size);
	unsigned mss = known && packet.tcp ? guest_mss(&packet, frame) : UINT16_MAX;

	if (known && packet.end - packet.payload > mss) {
		put_large(&packet, frame, size, mss);
	} else if (size > NET_SMALL_FRAME && !takes_large(false) && frame[12] == 8 &&
		   frame[13] == 0) {
		put_fragments(frame, size);
	} else {
		if (known && net_link_takes(&link_to_guest) & BIT(VIRTIO_NET_F_GUEST_CSUM))
			header.flags = VIRTIO_NET_HDR_F_DATA_VALID;
		put_frame(&header, frame, size);
	}
	return (ssize_t)size;
}

/* --- time --- */

static struct timer {
	SlirpTimerId id;
	void *opaque;
	int64_t expires_ms;
	bool used, armed;
} timers[SLIRP_TIMER_NUM];

static int64_t on_clock(void *opaque)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * (int64_t)NS_PER_SECOND + now.tv_nsec;
}

static int64_t now_ms(void)
{
	return on_clock(NULL) / 1000000;
}

static void *on_timer_new(SlirpTimerId id, void *timer_opaque, void *opaque)
{
	for (unsigned i = 0; i < ARRAY_SIZE(timers); i++)
		if (!timers[i].used) {
			timers[i] = (struct timer){.id = id, .opaque = timer_opaque, .used = true};
			return &timers[i];
		}
	abort();
}

static void on_timer_free(void *timer, void *opaque)
{
	*(struct timer *)timer = (struct timer){0};
}

static void on_timer_mod(void *opaque, int64_t expires_ms, void *unused)
{
	struct timer *timer = opaque;

	timer->expires_ms = expires_ms;
	timer->armed = true;
}

static void run_timers(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(timers); i++)
		if (timers[i].armed && timers[i].expires_ms <= now_ms()) {
			timers[i].armed = false;
			slirp_handle_timer(slirp, timers[i].id, timers[i].opaque);
		}
}

static uint32_t time_to_timers(void)
{
	int64_t first = 60000, now = now_ms();

	for (unsigned i = 0; i < ARRAY_SIZE(timers); i++)
		if (timers[i].armed)
			first = MIN(first, MAX(timers[i].expires_ms - now, 0));
	return (uint32_t)first;
}

/* --- descriptors --- */

static struct pollfd *fds;
static unsigned fd_count, fd_room;
static bool held; /* the ring is so full that nothing is to be read from the host */

static const struct event_row {
	int slirp;
	short poll;
} events[] = {
	{SLIRP_POLL_IN, POLLIN},
	{SLIRP_POLL_OUT, POLLOUT},
	{SLIRP_POLL_PRI, POLLPRI},
	{SLIRP_POLL_ERR, POLLERR},
	{SLIRP_POLL_HUP, POLLHUP},
};

static int add_fd(int fd, short wanted)
{
	if (fd_count == fd_room) {
		fd_room = fd_room ? 2 * fd_room : 64;
		fds = realloc(fds, fd_room * sizeof(*fds));
		if (!fds)
			fail("descriptors to wait for");
	}
	fds[fd_count] = (struct pollfd){.fd = fd, .events = wanted};
	return (int)fd_count++;
}

static int on_add_poll(int fd, int wanted, void *opaque)
{
	short poll_events = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(events); i++)
		if (wanted & events[i].slirp && (!held || events[i].poll == POLLOUT))
			poll_events |= events[i].poll;
	return add_fd(poll_events ? fd : -1, poll_events);
}

static int on_get_revents(int index, void *opaque)
{
	int found = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(events); i++)
		if (fds[index].revents & events[i].poll)
			found |= events[i].slirp;
	return found;
}

static void on_error(const char *message, void *opaque)
{
	/* The guest's own mistake, which it could repeat without end. */
}

static void on_nothing(void *opaque)
{
}

static void on_fd(int fd, void *opaque)
{
}

/* --- the process --- */

static struct net_user_words settings;

static struct in_addr address(unsigned last)
{
	return (struct in_addr){htonl(0x0a000200 + (settings.number << 8) + last)};
}

/* In the network fec0:0:0:N::/64. */
static struct in6_addr address6(unsigned last)
{
	return (struct in6_addr){
		.s6_addr = {0xfe, 0xc0, [7] = (uint8_t)settings.number, [15] = (uint8_t)last}};
}

/* Is there a directory to serve? It must not be left unconfined. */
static bool has_tftp(void)
{
	int error;

	if (fcntl(TFTP_FD, F_GETFD) < 0)
		return false;
	error = tftp_files_set(TFTP_FD);
	if (!error)
		return true;
	errno = -error;
	fail("tftp= needs openat2(2), Linux 5.6");
}

static void start_slirp(void)
{
	static const SlirpCb callbacks = {
		.send_packet = on_packet,
		.guest_error = on_error,
		.clock_get_ns = on_clock,
		.timer_free = on_timer_free,
		.timer_mod = on_timer_mod,
		.register_poll_fd = on_fd,
		.unregister_poll_fd = on_fd,
		.notify = on_nothing,
		.timer_new_opaque = on_timer_new,
	};
	SlirpConfig config = {
		.version = 4,
		.restricted = settings.restricted,
		.in_enabled = true,
		.vnetwork = address(0),
		.vnetmask.s_addr = inet_addr("255.255.255.0"),
		.vhost = address(2),
		.vdhcp_start = address(15),
		.vnameserver = address(3),
		.in6_enabled = true,
		.vprefix_addr6 = address6(0),
		.vprefix_len = 64,
		.vhost6 = address6(2),
		.vnameserver6 = address6(3),
		.vhostname = settings.host_name,
		.vdomainname = settings.domain_name,
		.vdnssearch = settings.search_count ? settings.search : NULL,
		.tftp_path = has_tftp() ? TFTP_PREFIX : NULL,
		.bootfile = settings.boot_file,
		.if_mtu = LARGEST_IP,
		.if_mru = LARGEST_IP,
	};

	slirp = slirp_new(&config, &callbacks, NULL);
	if (!slirp)
		fail("libslirp");
}

static void add_forward(const struct net_forward *forward, const char *text)
{
	if (slirp_add_hostfwd(slirp, forward->udp, (struct in_addr){forward->host_address},
		    forward->host_port, (struct in_addr){forward->guest_address},
		    forward->guest_port) < 0)
		fail(text);
}

static void serve(void)
{
	bool more = false;
	uint32_t timeout;
	int count;

	for (;;) {
		/* Sockets that are not read make the host's senders wait, instead of frames
		 * being dropped, which TCP would answer with long pauses. */
		held = net_link_room(&link_to_guest, false) < NET_LINK_RING / 4 &&
		       net_link_room(&link_to_guest, true) < NET_LINK_RING / 2;
		timeout = more ? 0 : time_to_timers();
		fd_count = 0;
		add_fd(SOCKET_FD, POLLIN);
		slirp_pollfds_fill(slirp, &timeout, on_add_poll, NULL);
		count = poll(fds, fd_count, (int)timeout);
		if (count < 0 && errno != EINTR)
			fail("poll");
		if (count > 0 && fds[0].revents && net_link_drain(&link_to_guest) < 0)
			return;
		slirp_pollfds_poll(slirp, count < 0, on_get_revents, NULL);
		run_timers();
		more = take_frames();
		net_link_flush(&link_to_guest);
	}
}

/* What a guest can make libslirp keep, such as fragments that wait for their rest, is bounded: past
 * that this process ends, and is started again. */
static void limit_memory(void)
{
	const struct rlimit limit = {MOST_BYTES, MOST_BYTES};

	if (!ADDRESS_SANITIZED && !THREAD_SANITIZED)
		setrlimit(RLIMIT_DATA, &limit);
}

int main(int argc, char **argv)
{
	int error = net_link_join(&link_to_guest, SOCKET_FD, MEMORY_FD);

	for (int i = 1; i < argc && !error; i++)
		error = net_user_take_word(&settings, argv[i]);
	if (error) {
		fprintf(stderr, "veneer starts this itself, for --net user\n");
		return 1;
	}
	close(MEMORY_FD);
	signal(SIGPIPE, SIG_IGN);
	limit_memory();
	start_slirp();
	for (unsigned i = 0; i < settings.forward_count; i++)
		add_forward(&settings.forward[i], settings.forward_text[i]);
	/* Tells the monitor that this is ready. */
	if (send(SOCKET_FD, "", 1, MSG_NOSIGNAL) < 0)
		return 1;
	serve();
	return 0;
}
