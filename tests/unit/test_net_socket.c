/* Networks at the end of a socket: streams and datagrams, and what is at their far ends. */
#include "net_fixture.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LONG_ENOUGH 40000 /* ms */
#define FRAME       1000

static char directory[] = "/tmp/veneer-net-socket-XXXXXX";

static const char *text(const char *format, const char *name)
{
	static char texts[4][200];
	static unsigned next;
	char *made = texts[next++ % 4];

	snprintf(made, sizeof(texts[0]), format, directory, name);
	return made;
}

static void make_frame(uint8_t *frame, size_t size, uint8_t mark)
{
	memset(frame, mark, size);
	memcpy(frame, "\2\0\0\0\0\2\2\0\0\0\0\1\x88\xb5", 14);
}

static bool has_mark(const uint8_t *frame, size_t size, void *opaque)
{
	return size > 14 && frame[size - 1] == *(uint8_t *)opaque;
}

/* Send until the other card has one: before there is a connection, frames are lost. */
static void assert_passes(struct card *from, struct card *to, uint8_t mark)
{
	uint8_t frame[FRAME];
	struct kept_frame *kept = NULL;

	make_frame(frame, sizeof(frame), mark);
	for (unsigned i = 0; !kept && i < LONG_ENOUGH / 50; i++) {
		card_send(from, NULL, frame, sizeof(frame));
		kept = card_wait(to, has_mark, &mark, 50);
	}
	assert_non_null(kept);
	assert_int_equal(kept->size, NET_HEADER + sizeof(frame));
	assert_memory_equal(kept->bytes, "\0\0\0\0\0\0\0\0\0\0\1\0", NET_HEADER);
	assert_memory_equal(kept->bytes + NET_HEADER, frame, sizeof(frame));
	free(kept);
}

/* --- streams --- */

static void two_machines(void **state)
{
	struct card *a = card_create(text("stream=unix:%s/%s,listen", "s"));
	struct card *b = card_create(text("stream=unix:%s/%s", "s"));

	assert_passes(a, b, 1);
	assert_passes(b, a, 2);
	card_destroy(b);
	/* The next one. */
	b = card_create(text("stream=unix:%s/%s", "s"));
	assert_passes(b, a, 3);
	assert_passes(a, b, 4);
	card_destroy(a);
	card_destroy(b);
	assert_int_equal(access(text("%s/%s", "s"), F_OK), -1);
}

/* The end that connects is there first, and is left once. */
static void made_again(void **state)
{
	struct card *b = card_create(text("stream=unix:%s/%s,reconnect=1", "r")), *a;

	for (unsigned i = 0; i < 2; i++) {
		a = card_create(text("stream=unix:%s/%s,listen", "r"));
		assert_passes(a, b, 1);
		assert_passes(b, a, 2);
		card_destroy(a);
	}
	card_destroy(b);
}

static int connect_raw(const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	return fd;
}

static void send_raw(int fd, uint32_t length, const void *bytes, size_t size)
{
	uint8_t head[4];

	put32(head, length);
	assert_int_equal(send(fd, head, 4, MSG_NOSIGNAL), 4);
	if (size)
		assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
}

static void assert_cut_off(int fd)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	char byte;

	assert_int_equal(poll(&wait, 1, LONG_ENOUGH), 1);
	assert_true(recv(fd, &byte, 1, 0) <= 0);
	close(fd);
}

/* What is too short for a frame is dropped; what cannot be one is the peer's end, and not ours. */
static void hostile_peers(void **state)
{
	static const uint32_t lengths[] = {0, NET_MAX_FRAME - NET_HEADER + 1, UINT32_MAX};
	static uint8_t largest[NET_MAX_FRAME - NET_HEADER];
	struct card *card = card_create(text("stream=unix:%s/%s,listen", "h"));
	struct kept_frame *kept;
	uint8_t mark = 9;
	int fd;

	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		fd = connect_raw(text("%s/%s", "h"));
		send_raw(fd, lengths[i], NULL, 0);
		assert_cut_off(fd);
	}
	fd = connect_raw(text("%s/%s", "h"));
	send_raw(fd, 1000, "abc", 3);
	close(fd); /* in the midst of a frame */
	fd = connect_raw(text("%s/%s", "h"));
	for (unsigned i = 0; i < 1000; i++)
		send_raw(fd, 13, "0123456789abc", 13);
	make_frame(largest, sizeof(largest), mark);
	send_raw(fd, sizeof(largest), largest, sizeof(largest));
	kept = card_wait(card, has_mark, &mark, LONG_ENOUGH);
	assert_non_null(kept);
	assert_int_equal(kept->size, NET_MAX_FRAME);
	assert_memory_equal(kept->bytes + NET_HEADER, largest, sizeof(largest));
	assert_int_equal(card->frames, 1);
	free(kept);
	close(fd);
	card_destroy(card);
}

/* Frames for a peer that reads nothing wait a second, and are dropped then. */
static void peer_that_does_not_read(void **state)
{
	static uint8_t frame[60000];
	struct card *card = card_create(text("stream=unix:%s/%s,listen", "d"));
	int fd = connect_raw(text("%s/%s", "d"));
	struct timespec nap = {0, 1000000};
	uint8_t mark = 1;
	unsigned tries = 0;

	make_frame(frame, sizeof(frame), 1);
	send_raw(fd, sizeof(frame), frame, sizeof(frame)); /* so that we know it is accepted */
	free(card_wait(card, has_mark, &mark, LONG_ENOUGH));
	while (card_send(card, NULL, frame, sizeof(frame)) == 0 && tries++ < 1000)
		;
	assert_true(tries < 1000);
	for (tries = 0; !card->room_announced && tries < LONG_ENOUGH; tries++)
		nanosleep(&nap, NULL);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(card_send(card, NULL, frame, sizeof(frame)), 0);
	close(fd);
	card_destroy(card);
}

static void descriptors(void **state)
{
	char words[2][32];
	struct card *cards[2];
	int fds[2];

	for (unsigned type = 0; type < 2; type++) {
		assert_int_equal(socketpair(AF_UNIX, type ? SOCK_DGRAM : SOCK_STREAM, 0, fds), 0);
		for (unsigned i = 0; i < 2; i++) {
			snprintf(words[i], sizeof(words[i]), "stream=fd:%d", fds[i]);
			cards[i] = card_create(words[i]);
		}
		assert_passes(cards[0], cards[1], 1);
		assert_passes(cards[1], cards[0], 2);
		card_destroy(cards[0]);
		card_destroy(cards[1]);
	}
}

/* --- datagrams --- */

static void paths(void **state)
{
	char words[200];
	struct card *a, *b;

	snprintf(words, sizeof(words), "dgram=unix:%s/b,local=unix:%s/a", directory, directory);
	a = card_create(words);
	snprintf(words, sizeof(words), "dgram=unix:%s/a,local=unix:%s/b", directory, directory);
	b = card_create(words);
	assert_passes(a, b, 1);
	assert_passes(b, a, 2);
	card_destroy(a);
	card_destroy(b);
	assert_int_equal(access(text("%s/%s", "a"), F_OK), -1);
}

static int bind_udp(struct sockaddr_in *name)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(*name);

	*name = (struct sockaddr_in){.sin_family = AF_INET};
	name->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)name, size), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)name, &size), 0);
	return fd;
}

/* A stranger's frames are not heard. */
static void udp(void **state)
{
	uint8_t frame[FRAME], got[2 * FRAME], mark = 3;
	struct sockaddr_in name, card_name;
	socklen_t size = sizeof(card_name);
	int peer = bind_udp(&name), stranger = bind_udp(&card_name);
	struct kept_frame *kept;
	struct card *card;
	char words[64];

	snprintf(words, sizeof(words), "dgram=127.0.0.1:%u", ntohs(name.sin_port));
	card = card_create(words);
	make_frame(frame, sizeof(frame), 1);
	assert_int_equal(card_send(card, NULL, frame, sizeof(frame)), 0);
	assert_int_equal(
		recvfrom(peer, got, sizeof(got), 0, (struct sockaddr *)&card_name, &size), FRAME);
	assert_memory_equal(got, frame, FRAME);
	make_frame(frame, sizeof(frame), 2);
	sendto(stranger, frame, sizeof(frame), 0, (struct sockaddr *)&card_name, size);
	sendto(peer, frame, 13, 0, (struct sockaddr *)&card_name, size);
	make_frame(frame, sizeof(frame), mark);
	sendto(peer, frame, sizeof(frame), 0, (struct sockaddr *)&card_name, size);
	kept = card_wait(card, has_mark, &mark, LONG_ENOUGH);
	assert_non_null(kept);
	assert_int_equal(card->frames, 1);
	free(kept);
	close(peer);
	/* The host says that nobody is there: the card goes on. */
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(card_send(card, NULL, frame, sizeof(frame)), 0);
	close(stranger);
	card_destroy(card);
}

/* All of a group hear what one says, but for itself. Where the host has no multicast it is left
 * out. */
static void group(void **state)
{
	const char *words = "dgram=239.255.77.1:47123,local=127.0.0.1";
	struct net_config config;
	struct net_backend *net;
	struct card *a, *b;

	assert_int_equal(net_config_parse(&config, "--net", words), 0);
	if (net_open(&config, &net) < 0) {
		net_config_free(&config);
		skip();
	}
	net_config_free(&config);
	net->ops->destroy(net);
	a = card_create(words);
	b = card_create(words);
	assert_passes(a, b, 1);
	assert_int_equal(a->frames, 0);
	assert_passes(b, a, 2);
	card_destroy(a);
	card_destroy(b);
}

static void what_cannot_be(void **state)
{
	static const char *const values[] = {"stream=nowhere",
		"stream=unix:", "dgram=127.0.0.1:", "stream=[::1:5",
		"dgram=127.0.0.1:1,local=unix:/tmp/x", "stream=fd:1000000",
		"dgram=239.255.77.1:4,local=nothing", "stream=fd:x"};
	struct net_config config;
	struct net_backend *net;

	for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
		assert_int_equal(net_config_parse(&config, "--net", values[i]), 0);
		assert_true(net_open(&config, &net) < 0);
		net_config_free(&config);
	}
	assert_int_equal(net_config_parse(&config, "--net", "stream"), -EINVAL);
	assert_int_equal(net_config_parse(&config, "--net", "stream=a:1,reconnect=x"), -EINVAL);
}

static int make_directory(void **state)
{
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_machines),
		cmocka_unit_test(made_again),
		cmocka_unit_test(hostile_peers),
		cmocka_unit_test(peer_that_does_not_read),
		cmocka_unit_test(descriptors),
		cmocka_unit_test(paths),
		cmocka_unit_test(udp),
		cmocka_unit_test(group),
		cmocka_unit_test(what_cannot_be),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
