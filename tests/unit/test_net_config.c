/* --net: words, and forwards. */
#include "host/net/forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct net_config config;

static int parse(const char *value)
{
	net_config_free(&config);
	return net_config_parse(&config, "--net", value);
}

static void kinds(void **state)
{
	assert_int_equal(parse("user"), 0);
	assert_int_equal(config.kind, NET_USER);
	assert_int_equal(config.queues, 1);
	assert_false(config.restricted);
	assert_int_equal(parse("tap=tap0,queues=4"), 0);
	assert_int_equal(config.kind, NET_TAP);
	assert_string_equal(config.name, "tap0");
	assert_int_equal(config.queues, 4);
	assert_int_equal(parse("switch=/tmp/a,,b,mac=52:54:00:aB:00:01"), 0);
	assert_int_equal(config.kind, NET_SWITCH);
	assert_string_equal(config.name, "/tmp/a,b");
	assert_memory_equal(config.mac, ((uint8_t[]){0x52, 0x54, 0, 0xab, 0, 1}), 6);
	assert_false(config.port);
	assert_int_equal(parse("user,port,restrict=on"), 0);
	assert_true(config.port);
	assert_int_equal(parse("stream=unix:/a,,b,listen,reconnect=3,model=e1000"), 0);
	assert_int_equal(config.kind, NET_STREAM);
	assert_string_equal(config.name, "unix:/a,b");
	assert_true(config.listens && config.reconnect == 3);
	assert_int_equal(parse("dgram=h:1,local=:2"), 0);
	assert_int_equal(config.kind, NET_DGRAM);
	assert_string_equal(config.local, ":2");
	assert_int_equal(parse("none,model=e1000"), 0);
	assert_int_equal(config.model, NET_E1000);
	net_config_free(&config);
	assert_int_equal(parse("none"), 0);
	assert_int_equal(config.model, NET_VIRTIO);
	assert_int_equal(config.kind, NET_NONE);
}

static void user_words(void **state)
{
	assert_int_equal(parse("user,hostfwd=tcp:127.0.0.1:2222-:22,restrict=on,"
			       "hostfwd=udp::53-10.0.2.16:5353"),
		0);
	assert_true(config.restricted);
	assert_int_equal(config.forward_count, 2);
	assert_false(config.forward[0].udp);
	assert_int_equal(ntohl(config.forward[0].host_address), 0x7f000001);
	assert_int_equal(config.forward[0].host_port, 2222);
	assert_int_equal(config.forward[0].guest_address, 0);
	assert_int_equal(config.forward[0].guest_port, 22);
	assert_true(config.forward[1].udp);
	assert_int_equal(config.forward[1].host_address, 0);
	assert_int_equal(ntohl(config.forward[1].guest_address), 0x0a000210);
}

static void forwards_as_text(void **state)
{
	static const char *const texts[] = {
		"tcp:127.0.0.1:2222-10.0.2.15:22", "udp:0.0.0.0:65535-255.255.255.255:65535"};
	char text[NET_FORWARD_TEXT];
	struct net_forward forward;

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(net_forward_parse(&forward, "", texts[i]), 0);
		net_forward_text(&forward, text);
		assert_string_equal(text, texts[i]);
	}
}

static void wrong_values(void **state)
{
	static const char *const values[] = {
		"",
		"use",
		"users",
		"user=x",
		"tap",
		"tap=",
		"tap=a-name-too-long-for-linux",
		"switch",
		"none=1",
		"user,queues=2",
		"tap=t,queues=0",
		"tap=t,queues=9",
		"user,port=1",
		"tap=t,hostfwd=tcp::1-:1",
		"user,restrict=maybe",
		"user,restrict=on,restrict=on",
		"user,hostfwd=",
		"user,hostfwd=tcp",
		"user,hostfwd=tcp:",
		"user,hostfwd=tcp:-",
		"user,hostfwd=tcp::1",
		"user,hostfwd=tcp::1-",
		"user,hostfwd=tcp::1-1",
		"user,hostfwd=sctp::1-:1",
		"user,hostfwd=tcp::0-:1",
		"user,hostfwd=tcp::65536-:1",
		"user,hostfwd=tcp::1x-:1",
		"user,hostfwd=tcp:: 1-:1",
		"user,hostfwd=tcp::1-:1:2",
		"user,hostfwd=tcp:1.2.3:1-:1",
		"user,hostfwd=tcp:host:1-:1",
		"user,hostfwd=tcp:1111.1111.1111.1111:1-:1",
		"user,tftp=",
		"user,tftp",
		"user,bootfile=",
		"user,bootfile=a b",
		"user,hostname=a-name-that-is-too-long-for-libslirp",
		"user,dnssearch=a,dnssearch=b,dnssearch=c,dnssearch=d,dnssearch=e",
		"tap=t,tftp=/srv",
		"none,model=ne2000",
		"none,mac=52:54:00:12:34",
		"none,mac=52:54:00:12:34:5",
		"none,mac=52:54:00:12:34:567",
		"none,mac=53:54:00:12:34:56",
		"none,mac=00:00:00:00:00:00",
	};

	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		assert_int_equal(parse(values[i]), -EINVAL);
}

static void too_many_forwards(void **state)
{
	char value[2000] = "user";

	for (unsigned i = 0; i < NET_MAX_FORWARDS; i++)
		strcat(value, ",hostfwd=tcp::80-:80");
	assert_int_equal(parse(value), 0);
	strcat(value, ",hostfwd=tcp::80-:80");
	assert_int_equal(parse(value), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds),
		cmocka_unit_test(user_words),
		cmocka_unit_test(forwards_as_text),
		cmocka_unit_test(wrong_values),
		cmocka_unit_test(too_many_forwards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
