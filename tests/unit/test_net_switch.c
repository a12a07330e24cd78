/* A switch: three machines' back ends in one process, and some that are none. */
#include "net_fixture.h"

#include "host/net/link.h"
#include "host/net/switch_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LONG_ENOUGH 20000 /* ms */

static char directory[64], value[80];
static struct card *card[3];

static int setup(void **state)
{
	strcpy(directory, "/tmp/veneer-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	strcat(directory, "/switch");
	snprintf(value, sizeof(value), "switch=%s", directory);
	for (unsigned i = 0; i < 3; i++)
		card[i] = card_create(value);
	return 0;
}

static unsigned ports(void)
{
	DIR *names = opendir(directory);
	struct dirent *entry;
	unsigned count = 0;

	while ((entry = readdir(names)))
		count += !!strstr(entry->d_name, ".port");
	closedir(names);
	return count;
}

static int teardown(void **state)
{
	char path[80];

	for (unsigned i = 0; i < 3; i++)
		if (card[i])
			card_destroy(card[i]);
	assert_int_equal(ports(), 0);
	snprintf(path, sizeof(path), "%s/lock", directory);
	unlink(path);
	rmdir(directory);
	*strrchr(directory, '/') = 0;
	return rmdir(directory);
}

/* Station `n`'s address is 02:00:00:00:00:n; 0xff: all. */
static void put_addresses(uint8_t *frame, unsigned to, unsigned from)
{
	memset(frame, to == 0xff ? 0xff : 0, 6);
	memset(frame + 6, 0, 8);
	if (to != 0xff) {
		frame[0] = 2;
		frame[5] = (uint8_t)to;
	}
	frame[6] = 2;
	frame[11] = (uint8_t)from;
	frame[12] = 0x88;
	frame[13] = 0xb5;
}

static int send_frame(unsigned from, unsigned to, uint8_t mark, size_t size)
{
	static uint8_t frame[NET_MAX_FRAME];

	put_addresses(frame, to, from);
	memset(frame + 14, mark, size - 14);
	return card_send(card[from], NULL, frame, size);
}

static bool has_mark(const uint8_t *frame, size_t size, void *opaque)
{
	return size > 14 && frame[14] == *(uint8_t *)opaque && frame[size - 1] == frame[14];
}

static size_t wait_mark(unsigned at, uint8_t mark, unsigned timeout_ms)
{
	struct kept_frame *frame = card_wait(card[at], has_mark, &mark, timeout_ms);
	size_t size = frame ? frame->size - NET_HEADER : 0;

	free(frame);
	return size;
}

/* The connections of those that came first are accepted on their workers, so the first frames may
 * come before: say it till it is heard. */
static void introduce(unsigned at)
{
	bool heard[3] = {false};

	heard[at] = true;
	for (unsigned tries = 0; tries < 200 && !(heard[0] && heard[1] && heard[2]); tries++) {
		send_frame(at, 0xff, (uint8_t)(100 + at), 60);
		for (unsigned i = 0; i < 3; i++)
			if (!heard[i] && card[i])
				heard[i] = wait_mark(i, (uint8_t)(100 + at), 50) > 0;
	}
	assert_true(heard[0] && heard[1] && heard[2]);
}

static uint64_t frames_at(unsigned at)
{
	uint64_t frames;

	pthread_mutex_lock(&card[at]->lock);
	frames = card[at]->frames;
	pthread_mutex_unlock(&card[at]->lock);
	return frames;
}

/* The number of frames at a card, when no more come. */
static uint64_t settled(unsigned at)
{
	uint64_t frames;

	do {
		frames = frames_at(at);
		usleep(100000);
	} while (frames_at(at) != frames);
	return frames;
}

static void frames_go_where_their_station_is(void **state)
{
	uint64_t before;

	for (unsigned i = 0; i < 3; i++)
		introduce(i);
	before = settled(2);
	for (unsigned i = 0; i < 10; i++) {
		send_frame(0, 1, (uint8_t)i, 1000);
		assert_int_equal(wait_mark(1, (uint8_t)i, LONG_ENOUGH), 1000);
		send_frame(1, 0, (uint8_t)i, 60);
		assert_int_equal(wait_mark(0, (uint8_t)i, LONG_ENOUGH), 60);
	}
	/* The third one has heard nothing of it, and hears what is for all. */
	send_frame(0, 0xff, 77, 60);
	assert_int_equal(wait_mark(1, 77, LONG_ENOUGH), 60);
	assert_int_equal(wait_mark(2, 77, LONG_ENOUGH), 60);
	assert_int_equal(frames_at(2), before + 1);
	/* A station that nobody knows may be anywhere. */
	send_frame(0, 50, 78, 60);
	assert_int_equal(wait_mark(1, 78, LONG_ENOUGH), 60);
	assert_int_equal(wait_mark(2, 78, LONG_ENOUGH), 60);
}

static void a_station_that_moves(void **state)
{
	uint8_t frame[60] = {0};
	uint64_t before;

	for (unsigned i = 0; i < 3; i++)
		introduce(i);
	put_addresses(frame, 0xff, 1);
	memset(frame + 14, 5, sizeof(frame) - 14);
	card_send(card[2], NULL, frame, sizeof(frame)); /* station 1 is behind the third now */
	assert_int_equal(wait_mark(0, 5, LONG_ENOUGH), 60);
	before = settled(1);
	send_frame(0, 1, 6, 60);
	assert_int_equal(wait_mark(2, 6, LONG_ENOUGH), 60);
	assert_int_equal(frames_at(1), before);
}

static void the_first_machine_goes(void **state)
{
	for (unsigned i = 0; i < 3; i++)
		introduce(i);
	card_destroy(card[0]);
	card[0] = NULL;
	send_frame(1, 2, 9, 500);
	assert_int_equal(wait_mark(2, 9, LONG_ENOUGH), 500);
	/* Another one comes. */
	card[0] = card_create(value);
	introduce(0);
	introduce(2);
	send_frame(0, 2, 10, 500);
	assert_int_equal(wait_mark(2, 10, LONG_ENOUGH), 500);
	send_frame(2, 0, 11, 500);
	assert_int_equal(wait_mark(0, 11, LONG_ENOUGH), 500);
}

/* --- offloads --- */

#define DATA 60000

static size_t make_segment(uint8_t *frame, struct virtio_net_hdr_v1 *header)
{
	static const uint8_t from[6] = {2, 0, 0, 0, 0, 0}, to[6] = {2, 0, 0, 0, 0, 1};
	struct net_packet packet;
	uint16_t sum;

	put_ip(frame, to, from, 6, 0x0a000001, 0x0a000002, 20 + DATA);
	memset(frame + 34, 0, 20);
	frame[46] = 0x50;
	for (unsigned i = 0; i < DATA; i++)
		frame[54 + i] = (uint8_t)(i * 7);
	assert_true(net_packet_parse(&packet, frame, 54 + DATA));
	sum = net_pseudo_sum(&packet, frame);
	memcpy(frame + 50, &sum, 2);
	*header = (struct virtio_net_hdr_v1){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 54,
		.gso_size = 1448,
		.csum_start = 34,
		.csum_offset = 16};
	return 54 + DATA;
}

static bool is_tcp(const uint8_t *frame, size_t size, void *opaque)
{
	return size > 54 && frame[12] == 8 && frame[23] == 6;
}

static void take_nothing_large(void *opaque)
{
	struct card *which = opaque;

	which->net->ops->guest_takes(which->net, 0);
}

static void a_large_frame_passes_uncut(void **state)
{
	static uint8_t frame[NET_MAX_FRAME];
	struct virtio_net_hdr_v1 header;
	size_t size = make_segment(frame, &header), received = 0;
	struct kept_frame *got;

	introduce(1);
	card_send(card[0], &header, frame, size);
	got = card_wait(card[1], is_tcp, NULL, LONG_ENOUGH);
	assert_non_null(got);
	assert_int_equal(got->size, NET_HEADER + size);
	assert_memory_equal(got->bytes, &header, 10);
	assert_memory_equal(got->bytes + NET_HEADER, frame, size);
	free(got);

	/* A guest that does not take it gets segments, with checksums. */
	worker_call(card[1]->worker, take_nothing_large, card[1]);
	card_send(card[0], &header, frame, size);
	while (received < DATA) {
		struct net_packet packet;
		const uint8_t *bytes;

		got = card_wait(card[1], is_tcp, NULL, LONG_ENOUGH);
		assert_non_null(got);
		bytes = got->bytes + NET_HEADER;
		assert_true(net_packet_parse(&packet, bytes, got->size - NET_HEADER));
		assert_int_equal(got->bytes[0] | got->bytes[1], 0);
		assert_int_equal(get32(bytes + 38), received);
		assert_int_equal(
			net_sum(net_pseudo_sum(&packet, bytes), bytes + 34, packet.end - 34),
			0xffff);
		assert_memory_equal(bytes + 54, frame + 54 + received, packet.end - 54);
		received += packet.end - 54;
		free(got);
	}
	assert_int_equal(received, DATA);
}

/* --- machines that are slow or hostile --- */

static void hold_ears(void *opaque)
{
	struct card *which = opaque;

	which->deaf = true;
	which->net->ops->want_receive(which->net, 0, false);
}

static void open_ears(void *opaque)
{
	struct card *which = opaque;

	which->deaf = false;
	which->net->ops->want_receive(which->net, 0, true);
}

/* Its sender waits for a moment, then no longer, and the third machine gets its frames. */
static void one_that_does_not_listen(void **state)
{
	unsigned i;

	for (i = 0; i < 3; i++)
		introduce(i);
	worker_call(card[1]->worker, hold_ears, card[1]);
	for (i = 0; i < 1000 && send_frame(0, 1, 1, 60000) == 0; i++)
		;
	assert_true(i >= 16 && i < 20); /* a ring's room */
	pthread_mutex_lock(&card[0]->lock);
	while (!card[0]->room_announced)
		pthread_cond_wait(&card[0]->changed, &card[0]->lock);
	pthread_mutex_unlock(&card[0]->lock);
	for (i = 0; i < 100; i++)
		assert_int_equal(send_frame(0, 1, 2, 60000), 0);
	send_frame(0, 2, 3, 60);
	assert_int_equal(wait_mark(2, 3, LONG_ENOUGH), 60);
	send_frame(0, 0xff, 4, 60);
	assert_int_equal(wait_mark(2, 4, LONG_ENOUGH), 60);
	worker_call(card[1]->worker, open_ears, card[1]);
	assert_int_equal(wait_mark(1, 1, LONG_ENOUGH), 60000);
	for (i = 0; i < 100; i++) {
		send_frame(0, 1, 5, 60);
		if (wait_mark(1, 5, 100))
			break;
	}
	assert_true(i < 100);
}

static void met_one(void *opaque, int socket)
{
	int *sockets = opaque;

	while (*sockets >= 0)
		sockets++;
	*sockets = socket;
}

static void those_that_break_the_rules(void **state)
{
	static const char *const words[] = {"", "x", "veneer\0\1", "GET / HTTP/1.0\r\n\r\n"};
	static const size_t sizes[] = {0, 1, 8, 18};
	static uint8_t nonsense[2000];
	struct switch_directory place;
	int fds[2];

	memset(nonsense, 0x55, sizeof(nonsense));

	for (unsigned way = 0; way < 9; way++) {
		int sockets[8] = {-1, -1, -1, -1, -1, -1, -1, -1};

		assert_int_equal(switch_directory_join(&place, directory, met_one, sockets), 0);
		assert_true(sockets[2] >= 0 && sockets[3] < 0);
		for (unsigned i = 0; i < 3; i++) {
			struct net_link link = {.socket = -1};
			int memory = -1;

			if (way < 4) {
				send(sockets[i], words[way], sizes[way], MSG_NOSIGNAL);
			} else if (way == 4) { /* a pipe as memory */
				assert_int_equal(pipe(fds), 0);
				switch_send_hello(sockets[i], fds[0]);
				close(fds[0]);
				close(fds[1]);
			} else {
				assert_int_equal(net_link_create(&link, sockets[i], &memory), 0);
				switch_send_hello(sockets[i], memory);
				/* Indices, then lengths, then frames that are nonsense; a flood. */
				for (unsigned at = 0; at < 0x1000 && way == 5; at += 4)
					((uint32_t *)link.map)[at / 4] = 0x12345678 + at;
				memset(link.out.data, way == 6 ? 0xff : 0x55, NET_LINK_RING);
				for (unsigned n = 0; n < 50 && way == 7; n++) {
					const struct iovec piece = {nonsense, sizeof(nonsense)};

					net_link_send(&link, &piece, 1, sizeof(nonsense));
				}
				if (way == 6)
					*(uint32_t *)link.out.control = 0x10000;
				for (unsigned n = 0; n < 100000 && way == 8; n++)
					send(link.socket, link.map, 4096,
						MSG_DONTWAIT | MSG_NOSIGNAL);
				if (way != 8)
					send(link.socket, "", 1, MSG_NOSIGNAL);
				close(memory);
			}
			/* Some stay and are silent. */
			sockets[i] = link.map ? link.socket : sockets[i];
		}
		usleep(20000);
		send_frame(0, 0xff, (uint8_t)(200 + way), 60);
		assert_int_equal(wait_mark(1, (uint8_t)(200 + way), LONG_ENOUGH), 60);
		assert_int_equal(wait_mark(2, (uint8_t)(200 + way), LONG_ENOUGH), 60);
		for (unsigned i = 0; i < 3; i++)
			close(sockets[i]);
		switch_directory_leave(&place);
	}
}

/* --- the directory --- */

static void what_a_killed_machine_leaves(void **state)
{
	char name[100];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(name, sizeof(name), "%s/0123.port", directory);
	strcpy(address.sun_path, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	close(fd);
	assert_int_equal(ports(), 4);
	card_destroy(card[2]);
	card[2] = card_create(value);
	assert_int_equal(ports(), 3);
	introduce(2);
}

static void no_directory(void **state)
{
	struct net_config config;
	struct net_backend *net;

	assert_int_equal(net_config_parse(&config, "--net", "switch=/dev/null"), 0);
	assert_int_equal(net_open(&config, &net), -ENOTDIR);
	net_config_free(&config);
	assert_int_equal(net_config_parse(&config, "--net", "switch=/nowhere/at/all"), 0);
	assert_int_equal(net_open(&config, &net), -ENOENT);
	net_config_free(&config);
}

#define WITH_SWITCH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SWITCH(frames_go_where_their_station_is),
		WITH_SWITCH(a_station_that_moves),
		WITH_SWITCH(the_first_machine_goes),
		WITH_SWITCH(a_large_frame_passes_uncut),
		WITH_SWITCH(one_that_does_not_listen),
		WITH_SWITCH(those_that_break_the_rules),
		WITH_SWITCH(what_a_killed_machine_leaves),
		cmocka_unit_test(no_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
