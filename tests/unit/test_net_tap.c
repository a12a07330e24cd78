/* A tap interface, in a network namespace of the test's own; skipped where the host gives none. */
#include "net_fixture.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LONG_ENOUGH 20000 /* ms */

static struct card *card;
static int host; /* a socket that sends and receives on the interface, as the host's stack does */

static bool available(void)
{
	return access("/dev/net/tun", R_OK | W_OK) == 0 &&
	       (unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 || unshare(CLONE_NEWNET) == 0);
}

static void bring_up(const char *name)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct ifreq request = {0};

	host = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	assert_true(host >= 0);
	strcpy(request.ifr_name, name);
	request.ifr_flags = IFF_UP;
	assert_int_equal(ioctl(host, SIOCSIFFLAGS, &request), 0);
	address.sll_ifindex = (int)if_nametoindex(name);
	assert_int_equal(bind(host, (struct sockaddr *)&address, sizeof(address)), 0);
}

static bool is_ours(const uint8_t *frame, size_t size, void *opaque)
{
	return size >= 14 && frame[12] == 0x88 && frame[13] == 0xb5;
}

static void make_frame(uint8_t *frame, size_t size, uint8_t mark)
{
	memset(frame, mark, size);
	memset(frame, 0xff, 6);
	memcpy(frame + 6, "\2\0\0\0\0\1\x88\xb5", 8);
}

/* The next frame of ours at the host. */
static ssize_t receive_at_host(uint8_t *frame, size_t room)
{
	struct pollfd fd = {.fd = host, .events = POLLIN};
	ssize_t size = 0;

	do {
		if (poll(&fd, 1, LONG_ENOUGH) != 1)
			return -1;
		size = recv(host, frame, room, 0);
	} while (!is_ours(frame, (size_t)size, NULL));
	return size;
}

static void frames_go_both_ways(void **state)
{
	uint8_t frame[1514], got[2000];
	struct kept_frame *kept;

	card = card_create("tap=vntest0");
	assert_int_equal(card->net->queues, 1);
	bring_up("vntest0");
	make_frame(frame, sizeof(frame), 3);
	assert_int_equal(card_send(card, NULL, frame, sizeof(frame)), 0);
	assert_int_equal(receive_at_host(got, sizeof(got)), sizeof(frame));
	assert_memory_equal(got, frame, sizeof(frame));
	make_frame(frame, sizeof(frame), 4);
	frame[0] = 0xfe; /* not what the card has sent, which the socket sees again */
	assert_int_equal(send(host, frame, sizeof(frame), 0), sizeof(frame));
	kept = card_wait(card, is_ours, NULL, LONG_ENOUGH);
	assert_non_null(kept);
	assert_int_equal(kept->size, NET_HEADER + sizeof(frame));
	assert_memory_equal(kept->bytes + NET_HEADER, frame, sizeof(frame));
	assert_int_equal(kept->bytes[10] | kept->bytes[11] << 8, 1); /* num_buffers */
	free(kept);
	close(host);
	card_destroy(card);
}

struct reading {
	struct iovec pieces[2];
	ssize_t size;
};

static void read_once(void *opaque)
{
	struct reading *reading = opaque;

	reading->size = card->net->ops->receive(card->net, 0, reading->pieces, 2);
}

static void do_not_listen(void *opaque)
{
	card->deaf = true;
	card->net->ops->want_receive(card->net, 0, false);
}

/* A frame that just fits is whole, and one byte less is too little. */
static void room_for_a_frame(void **state)
{
	uint8_t frame[100], bytes[NET_HEADER + sizeof(frame)];
	struct reading reading = {{{bytes, 5}, {bytes + 5, sizeof(bytes) - 5}}, -EAGAIN};

	card = card_create("tap=vntest1");
	worker_call(card->worker, do_not_listen, NULL);
	bring_up("vntest1");
	make_frame(frame, sizeof(frame), 5);
	for (unsigned less = 0; less < 2; less++) {
		reading.pieces[1].iov_len -= less;
		assert_int_equal(send(host, frame, sizeof(frame), 0), sizeof(frame));
		/* The host's own frames, about IPv6, may come first. */
		do {
			memset(bytes, 0, sizeof(bytes));
			worker_call(card->worker, read_once, &reading);
			assert_true(reading.size != -EAGAIN);
		} while (!is_ours(bytes + NET_HEADER, sizeof(frame), NULL));
		assert_int_equal(reading.size, less ? -EMSGSIZE : (ssize_t)sizeof(bytes));
		assert_memory_equal(bytes + NET_HEADER, frame, sizeof(frame) - 1);
	}
	close(host);
	card_destroy(card);
}

static void several_queues(void **state)
{
	uint8_t frame[60], got[100];

	card = card_create("tap=vntest2,queues=3");
	assert_int_equal(card->net->queues, 3);
	bring_up("vntest2");
	make_frame(frame, sizeof(frame), 6);
	card_send(card, NULL, frame, sizeof(frame));
	assert_int_equal(receive_at_host(got, sizeof(got)), sizeof(frame));
	make_frame(frame, sizeof(frame), 7);
	send(host, frame, sizeof(frame), 0);
	free(card_wait(card, is_ours, NULL, LONG_ENOUGH));
	assert_true(card->frames > 0);
	close(host);
	card_destroy(card);
}

static void what_cannot_be_had(void **state)
{
	struct net_config config;
	struct net_backend *net;

	card = card_create("tap=vntest3");
	assert_int_equal(net_config_parse(&config, "--net", "tap=vntest3"), 0);
	assert_int_equal(net_open(&config, &net), -EBUSY);
	net_config_free(&config);
	card_destroy(card);
	assert_int_equal(net_config_parse(&config, "--net", "tap=lo"), 0);
	assert_int_equal(net_open(&config, &net), -EINVAL);
	net_config_free(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_go_both_ways),
		cmocka_unit_test(room_for_a_frame),
		cmocka_unit_test(several_queues),
		cmocka_unit_test(what_cannot_be_had),
	};

	if (!available()) {
		printf("1..0 # SKIP no /dev/net/tun, or no network namespaces\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
