/* The rings between two processes, and the offloads in software. */
#include "host/net/link.h"
#include "host/net/offload.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct net_link a, b;
static int memory;

static int setup(void **state)
{
	int sockets[2];

	return socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) ||
	       net_link_create(&a, sockets[0], &memory) || net_link_join(&b, sockets[1], memory);
}

static int teardown(void **state)
{
	net_link_close(&a);
	net_link_close(&b);
	net_link_close(&b); /* harmless */
	return close(memory);
}

static int put(struct net_link *link, uint8_t first, size_t size)
{
	static uint8_t bytes[NET_MAX_FRAME];
	const struct iovec pieces[] = {{bytes, size / 3}, {bytes + size / 3, size - size / 3}};

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(first + i);
	return net_link_send(link, pieces, 2, size);
}

static bool is_awake(struct net_link *link)
{
	struct pollfd fd = {.fd = link->socket, .events = POLLIN};

	return poll(&fd, 1, 0) == 1;
}

/* The next frame is what put() made of these. */
static void expect(struct net_link *link, uint8_t first, size_t size)
{
	uint8_t *frame;

	assert_int_equal(net_link_peek(link, &frame, NET_HEADER), size);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(frame[i], (uint8_t)(first + i));
	net_link_taken(link);
}

static void expect_none(struct net_link *link)
{
	uint8_t *frame;

	assert_int_equal(net_link_peek(link, &frame, NET_HEADER), -EAGAIN);
}

static void frames_go_both_ways(void **state)
{
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(put(&a, (uint8_t)i, 14 + i * 300), 0);
		assert_int_equal(put(&b, (uint8_t)(i + 7), NET_MAX_FRAME - i), 0);
		expect(&b, (uint8_t)i, 14 + i * 300);
		expect(&a, (uint8_t)(i + 7), NET_MAX_FRAME - i);
	}
	expect_none(&a);
	expect_none(&b);
}

static void who_sleeps_is_woken_once(void **state)
{
	expect_none(&b);
	assert_int_equal(put(&a, 1, 100), 0);
	assert_false(is_awake(&b)); /* not before the flush */
	net_link_flush(&a);
	assert_true(is_awake(&b));
	assert_int_equal(net_link_drain(&b), 0);
	assert_false(is_awake(&b));
	assert_int_equal(put(&a, 2, 100), 0);
	net_link_flush(&a);
	assert_false(is_awake(&b)); /* it is awake, and will look */
	expect(&b, 1, 100);
	expect(&b, 2, 100);
	expect_none(&b);
	net_link_flush(&a); /* nothing new */
	assert_false(is_awake(&b));
}

static void a_full_ring_wakes_its_sender(void **state)
{
	unsigned frames = 0;
	int error;

	while ((error = put(&a, (uint8_t)frames, 60000)) == 0)
		frames++;
	assert_int_equal(error, -EAGAIN);
	assert_true(frames >= 16 && frames < 18);
	assert_true(net_link_room(&a, false) < 60000);
	for (unsigned i = 0; i < frames; i++) {
		expect(&b, (uint8_t)i, 60000);
		assert_int_equal(is_awake(&a), frames - i - 1 <= 8);
	}
	assert_int_equal(net_link_room(&a, false), NET_LINK_RING);
}

static void the_end_is_noticed(void **state)
{
	net_link_close(&a);
	assert_int_equal(net_link_drain(&b), -EPIPE);
	assert_int_equal(put(&b, 0, 100), 0);
	expect_none(&b);
	put(&b, 0, 100);
	net_link_flush(&b); /* no SIGPIPE */
}

static void pieces_that_are_too_small(void **state)
{
	uint8_t bytes[10];
	const struct iovec pieces[] = {{bytes, 3}, {bytes + 3, 0}, {bytes + 3, 7}};

	assert_int_equal(net_scatter(pieces, 3, (const uint8_t *)"0123456789", 10), 10);
	assert_memory_equal(bytes, "0123456789", 10);
	assert_int_equal(net_scatter(pieces, 3, (const uint8_t *)"0123456789a", 11), -EMSGSIZE);
}

/* What is shared, as the other end can write it: the tail is first in each direction's control,
 * and the head 64 bytes on. */
static _Atomic uint32_t *shared_tail(struct net_link *link)
{
	return (_Atomic uint32_t *)link->in.control;
}

static void indices_that_lie(void **state)
{
	static const uint32_t tails[] = {1, 8, NET_LINK_RING + 16, 0x80000000, 0xfffffff0};
	uint8_t *frame;

	for (unsigned i = 0; i < ARRAY_SIZE(tails); i++) {
		atomic_store(shared_tail(&b), tails[i]);
		assert_int_equal(net_link_peek(&b, &frame, NET_HEADER), -EPROTO);
		b.in.other = 0;
	}
	atomic_store((_Atomic uint32_t *)((uint8_t *)a.out.control + 64), 16);
	assert_int_equal(net_link_room(&a, false), -EPROTO);
	assert_int_equal(net_link_room(&a, true), -EPROTO);
}

static void lengths_that_lie(void **state)
{
	static const uint32_t lengths[] = {0, NET_HEADER - 1, 101, NET_MAX_FRAME + 1, 0xffffffff};
	uint8_t *frame;

	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		memset(b.in.data, 0, 16);
		atomic_store(shared_tail(&b), 112);
		memcpy(b.in.data, &lengths[i], sizeof(lengths[i]));
		/* 101 bytes and their length fit into 112. */
		assert_int_equal(
			net_link_peek(&b, &frame, NET_HEADER), lengths[i] == 101 ? 101 : -EPROTO);
	}
}

static void memory_that_could_shrink(void **state)
{
	struct net_link link;
	int fd = memfd_create("test", MFD_ALLOW_SEALING);

	assert_int_equal(net_link_join(&link, -1, fd), -EPROTO);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
	assert_int_equal(net_link_join(&link, -1, fd), -EPROTO);
	close(fd);
	assert_int_equal(net_link_join(&link, -1, STDIN_FILENO), -EPROTO);
	assert_int_equal(ftruncate(memory, 4096), -1);
}

#define MANY 20000

static void *receive_many(void *opaque)
{
	struct pollfd fd = {.fd = b.socket, .events = POLLIN};
	unsigned next = 0;
	uint8_t *frame;
	ssize_t size;

	while (next < MANY) {
		size = net_link_peek(&b, &frame, NET_HEADER);
		if (size == -EAGAIN) {
			poll(&fd, 1, -1);
			net_link_drain(&b);
			continue;
		}
		if (size != 20 + next % 30000 || memcmp(frame, &next, sizeof(next)) != 0)
			return &b;
		net_link_taken(&b);
		next++;
	}
	return NULL;
}

/* No wake-up is lost: two threads that sleep whenever they can. */
static void two_threads(void **state)
{
	static uint8_t bytes[NET_MAX_FRAME];
	struct pollfd fd = {.fd = a.socket, .events = POLLIN};
	struct iovec piece = {bytes, 0};
	pthread_t thread;
	void *failed;

	assert_int_equal(pthread_create(&thread, NULL, receive_many, NULL), 0);
	for (unsigned i = 0; i < MANY; i++) {
		memcpy(bytes, &i, sizeof(i));
		piece.iov_len = 20 + i % 30000;
		while (net_link_send(&a, &piece, 1, piece.iov_len) == -EAGAIN) {
			poll(&fd, 1, -1);
			net_link_drain(&a);
		}
		if (i % 3 == 0)
			net_link_flush(&a);
	}
	net_link_flush(&a);
	pthread_join(thread, &failed);
	assert_null(failed);
}

/* --- offloads --- */

/* RFC 1071's own example, and all sizes against the plain way. */
static void sums(void **state)
{
	static const uint8_t example[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	static uint8_t bytes[300];
	uint16_t sum = net_sum(0, example, sizeof(example));

	assert_memory_equal(&sum, "\xdd\xf2", 2);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 151 + 255);
	for (unsigned size = 0; size < sizeof(bytes); size++) {
		uint32_t plain = 0xfff0;

		for (unsigned i = 0; i < size; i++)
			plain += i & 1 ? bytes[i] << 8 : bytes[i];
		while (plain >> 16)
			plain = (plain >> 16) + (plain & 0xffff);
		assert_int_equal(net_sum(0xfff0, bytes, size), plain);
	}
}

#define DATA 5000

/* A segment to be cut, with DATA bytes, and FIN, PSH and CWR. Returns its size. */
static size_t make_tcp(uint8_t *frame, struct virtio_net_hdr_v1 *header, bool ipv6, bool vlan)
{
	unsigned ip = vlan ? 18 : 14, tcp = ip + (ipv6 ? 40 : 20), total = tcp + 32 + DATA;
	struct net_packet packet;
	uint16_t sum;

	memset(frame, 0, tcp + 32);
	frame[12] = vlan ? 0x81 : 0;
	frame[ip - 2] = ipv6 ? 0x86 : 0x08;
	frame[ip - 1] = ipv6 ? 0xdd : 0;
	frame[ip] = ipv6 ? 0x60 : 0x45;
	frame[ip + (ipv6 ? 4 : 2)] = (uint8_t)((total - (ipv6 ? tcp : ip)) >> 8);
	frame[ip + (ipv6 ? 5 : 3)] = (uint8_t)(total - (ipv6 ? tcp : ip));
	frame[ip + (ipv6 ? 6 : 9)] = 6;
	frame[ip + 12] = 10;
	frame[ip + 19] = 77;
	frame[tcp + 3] = 80;
	memset(frame + tcp + 4, 0xff, 3); /* the sequence number wraps */
	frame[tcp + 12] = 0x80;
	frame[tcp + 13] = 0x99;
	for (unsigned i = 0; i < DATA; i++)
		frame[tcp + 32 + i] = (uint8_t)(i * 7);
	assert_true(net_packet_parse(&packet, frame, total));
	assert_true(packet.tcp && packet.ipv6 == ipv6 && packet.transport == tcp);
	assert_int_equal(packet.payload, tcp + 32);
	sum = net_pseudo_sum(&packet, frame);
	memcpy(frame + tcp + 16, &sum, 2);
	*header = (struct virtio_net_hdr_v1){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = 1400,
		.csum_start = (uint16_t)tcp,
		.csum_offset = 16};
	return total;
}

static void check_segments(bool ipv6, bool vlan)
{
	static uint8_t frame[NET_MAX_FRAME], segment[NET_MAX_FRAME];
	struct virtio_net_hdr_v1 header;
	size_t size = make_tcp(frame, &header, ipv6, vlan), got;
	unsigned done = 0, number = 0;
	struct net_packet packet;
	struct net_cut cut;

	assert_true(net_header_valid(&header, size));
	assert_int_equal(net_cut_begin(&cut, &header, frame, size), 0);
	for (; net_cut_more(&cut); number++) {
		const uint8_t *tcp;
		uint32_t sequence;

		got = net_cut_next(&cut, segment);
		assert_true(net_packet_parse(&packet, segment, got));
		assert_int_equal(packet.end, got);
		tcp = segment + packet.transport;
		if (!ipv6) {
			assert_int_equal(net_sum(0, segment + packet.ip, 20), 0xffff);
			assert_int_equal(segment[packet.ip + 5], number);
		}
		assert_int_equal(net_sum(net_pseudo_sum(&packet, segment), tcp,
					 packet.end - packet.transport),
			0xffff);
		sequence = (uint32_t)tcp[4] << 24 | tcp[5] << 16 | tcp[6] << 8 | tcp[7];
		assert_int_equal(sequence, 0xffffff00 + done);
		assert_int_equal(tcp[13], 0x10 | (done ? 0 : 0x80) | (number == 3 ? 9 : 0));
		assert_memory_equal(
			tcp + 32, frame + cut.packet.payload + done, packet.end - packet.payload);
		done += packet.end - packet.payload;
		assert_true(packet.end - packet.payload == 1400 || done == DATA);
	}
	assert_int_equal(done, DATA);
	assert_int_equal(number, 4);
}

static void segments(void **state)
{
	check_segments(false, false);
	check_segments(true, false);
	check_segments(false, true);
	check_segments(true, true);
}

static void a_frame_that_is_not_cut(void **state)
{
	static uint8_t frame[NET_MAX_FRAME], copy[NET_MAX_FRAME];
	struct virtio_net_hdr_v1 header;
	size_t size = make_tcp(frame, &header, false, false);
	struct net_packet packet;
	struct net_cut cut;

	header.gso_type = header.gso_size = 0;
	assert_int_equal(net_cut_begin(&cut, &header, frame, size), 0);
	assert_true(net_cut_more(&cut));
	assert_int_equal(net_cut_next(&cut, copy), size);
	assert_false(net_cut_more(&cut));
	assert_true(net_packet_parse(&packet, copy, size));
	assert_int_equal(
		net_sum(net_pseudo_sum(&packet, copy), copy + 34, packet.end - 34), 0xffff);
}

static void headers_that_are_wrong(void **state)
{
	const struct virtio_net_hdr_v1 good = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = 1460,
		.csum_start = 34,
		.csum_offset = 16};
	struct virtio_net_hdr_v1 header = good;

	assert_true(net_header_valid(&header, 52));
	assert_false(net_header_valid(&header, 51));
	header.csum_start = 0xffff;
	assert_false(net_header_valid(&header, 60000));
	header = good;
	header.flags = 0;
	assert_false(net_header_valid(&header, 100));
	header = good;
	header.gso_size = NET_LEAST_MSS - 1;
	assert_false(net_header_valid(&header, 100));
	header = good;
	header.gso_type = VIRTIO_NET_HDR_GSO_UDP;
	assert_false(net_header_valid(&header, 100));
	header.gso_type = VIRTIO_NET_HDR_GSO_ECN;
	assert_false(net_header_valid(&header, 100));
}

static void what_a_guest_takes(void **state)
{
	struct virtio_net_hdr_v1 header = {0};
	const uint64_t csum = BIT(VIRTIO_NET_F_GUEST_CSUM), tso = BIT(VIRTIO_NET_F_GUEST_TSO4),
		       ecn = BIT(VIRTIO_NET_F_GUEST_ECN);

	assert_true(net_header_taken(&header, 0));
	header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	assert_false(net_header_taken(&header, tso));
	assert_true(net_header_taken(&header, csum));
	header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	assert_false(net_header_taken(&header, csum));
	assert_true(net_header_taken(&header, csum | tso));
	header.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	assert_false(net_header_taken(&header, csum | tso));
	assert_true(net_header_taken(&header, csum | tso | ecn));
	header.gso_type = VIRTIO_NET_HDR_GSO_TCPV6;
	assert_false(net_header_taken(&header, csum | tso | ecn));
}

/* Whatever the lengths in it say, a packet lies within its frame. */
static void packets_that_lie(void **state)
{
	static uint8_t frame[NET_MAX_FRAME];
	struct virtio_net_hdr_v1 header;
	struct net_packet packet;
	unsigned refused = 0, taken = 0;

	srand(1);
	for (unsigned i = 0; i < 50000; i++) {
		size_t cut = i % 4 ? 0 : (size_t)rand() % DATA;
		size_t size = make_tcp(frame, &header, i & 1, i & 2) - cut;

		frame[12 + rand() % 60] = (uint8_t)rand();
		if (!net_packet_parse(&packet, frame, size)) {
			refused++;
			continue;
		}
		taken++;
		assert_true(packet.ip < packet.transport && packet.transport < packet.payload &&
			    packet.payload <= packet.end && packet.end <= size);
	}
	assert_true(refused > 1000 && taken > 1000);
}

#define WITH_LINK(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_LINK(frames_go_both_ways),
		WITH_LINK(who_sleeps_is_woken_once),
		WITH_LINK(a_full_ring_wakes_its_sender),
		WITH_LINK(the_end_is_noticed),
		WITH_LINK(indices_that_lie),
		WITH_LINK(lengths_that_lie),
		WITH_LINK(memory_that_could_shrink),
		WITH_LINK(two_threads),
		cmocka_unit_test(pieces_that_are_too_small),
		cmocka_unit_test(sums),
		cmocka_unit_test(segments),
		cmocka_unit_test(a_frame_that_is_not_cut),
		cmocka_unit_test(headers_that_are_wrong),
		cmocka_unit_test(what_a_guest_takes),
		cmocka_unit_test(packets_that_lie),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
