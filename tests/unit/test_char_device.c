/* Character devices on a real event loop: their far ends at sockets, pseudo-terminals, pipes and
 * files; the test is the port. */
#include "host/char_device.h"
#include "host/char_kinds.h"

#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#define MS     UINT64_C(1000000)
#define ROUNDS 30000 /* of a millisecond: longer than any host is busy */

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct clock machine_clock;
static struct event_loop *loop;
static struct char_devices *devices;
static unsigned quits;
static char directory[32], path[64];

/* A port: takes as much as `appetite` allows. */
static struct port {
	struct char_backend *front;
	char got[4096];
	size_t count, appetite;
	unsigned ready, opened, closed;
	bool blind; /* reads nothing */
} ports[2];

static size_t receive(void *opaque, const void *bytes, size_t size)
{
	struct port *port = opaque;
	size_t taken = MIN(size, MIN(port->appetite, sizeof(port->got) - port->count));

	memcpy(port->got + port->count, bytes, taken);
	port->count += taken;
	port->appetite -= taken;
	return taken;
}

static void output_ready(void *opaque)
{
	((struct port *)opaque)->ready++;
}

static void opened(void *opaque, bool open)
{
	struct port *port = opaque;

	port->opened += open;
	port->closed += !open;
}

static bool reads(void *opaque)
{
	return !((struct port *)opaque)->blind;
}

static void quit(void *opaque)
{
	quits++;
}

static void stop_loop(void *opaque)
{
	event_loop_stop(loop);
}

static void turn(void)
{
	struct timer end;

	timer_init(&end, loop, stop_loop, NULL);
	priority_lock_take(&lock);
	timer_arm(&end, clock_ns(&machine_clock) + MS);
	priority_lock_release(&lock);
	event_loop_run(loop);
}

#define RUN_UNTIL(condition)                                                                       \
	do {                                                                                       \
		for (unsigned round_ = 0; round_ < ROUNDS && !(condition); round_++)               \
			turn();                                                                    \
		assert_true(condition);                                                            \
	} while (0)

static int setup(void **state)
{
	clock_init(&machine_clock);
	loop = event_loop_create(&machine_clock, &lock);
	devices = char_devices_create(loop, quit, NULL);
	quits = 0;
	memset(ports, 0, sizeof(ports));
	for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
		ports[i].appetite = sizeof(ports[i].got);
	strcpy(directory, "/tmp/veneer-test-XXXXXX");
	if (!loop || !devices || !mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/s", directory);
	return 0;
}

static int teardown(void **state)
{
	char_devices_destroy(devices, 1000);
	event_loop_destroy(loop);
	unlink(path);
	return rmdir(directory);
}

static struct char_config config_of(enum char_kind kind)
{
	struct char_config config = {.id = "one", .kind = kind, .fd = -1};

	return config;
}

static struct char_config unix_server(void)
{
	struct char_config config = config_of(CHAR_SOCKET);

	strcpy(config.path, path);
	config.server = true;
	return config;
}

static void use(struct port *port, bool of_guest)
{
	assert_int_equal(
		char_device_use(char_devices_find(devices, "one"), of_guest, "test", &port->front),
		0);
	port->front->port = (struct char_port){.receive = receive,
		.output_ready = output_ready,
		.opened = opened,
		.reads = reads,
		.opaque = port};
	if (port->front->ops->input_ready)
		port->front->ops->input_ready(port->front);
}

static void add(const struct char_config *config)
{
	assert_int_equal(char_devices_add(devices, config, "test"), 0);
}

static void make(const struct char_config *config)
{
	add(config);
	use(&ports[0], true);
}

static int connect_to(const char *to)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, to);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void guest_says(struct port *port, const char *text)
{
	assert_int_equal(port->front->ops->write(port->front, text, strlen(text)), strlen(text));
}

static void expect_got(struct port *port, const char *text)
{
	RUN_UNTIL(port->count >= strlen(text));
	assert_int_equal(port->count, strlen(text));
	assert_memory_equal(port->got, text, strlen(text));
	port->count = 0;
}

static void expect_read(int fd, const char *text)
{
	char bytes[256];
	size_t count = 0;

	for (unsigned i = 0; i < ROUNDS && count < strlen(text); i++) {
		ssize_t some = read(fd, bytes + count, sizeof(bytes) - count);

		count += some > 0 ? (size_t)some : 0;
		turn();
	}
	assert_int_equal(count, strlen(text));
	assert_memory_equal(bytes, text, strlen(text));
}

static void expect_description(const char *expected)
{
	char text[256];

	char_device_describe(char_devices_find(devices, "one"), text, sizeof(text));
	assert_string_equal(text, expected);
}

/* --- sockets --- */

static void a_client_talks_and_another_follows(void **state)
{
	const struct char_config config = unix_server();
	char description[128];
	int first, second;

	make(&config);
	snprintf(description, sizeof(description), "disconnected:unix:%s,server=on", path);
	expect_description(description);
	guest_says(&ports[0], "lost");
	first = connect_to(path);
	RUN_UNTIL(ports[0].opened == 1);
	expect_description(description + strlen("disconnected:"));
	say(first, "hello");
	expect_got(&ports[0], "hello");
	guest_says(&ports[0], "answer");
	expect_read(first, "answer");
	second = connect_to(path);
	say(second, "second");
	close(first);
	expect_got(&ports[0], "second");
	assert_int_equal(ports[0].opened, 2);
	assert_int_equal(ports[0].closed, 1);
	close(second);
	RUN_UNTIL(ports[0].closed == 2);
}

static void last_words_wait_for_a_guest_that_reads(void **state)
{
	const struct char_config config = unix_server();
	int client;

	make(&config);
	ports[0].appetite = 4;
	client = connect_to(path);
	say(client, "last words");
	close(client);
	expect_got(&ports[0], "last");
	for (unsigned i = 0; i < 5; i++)
		turn();
	assert_int_equal(ports[0].closed, 0);
	ports[0].appetite = 100;
	ports[0].front->ops->input_ready(ports[0].front);
	expect_got(&ports[0], " words");
	RUN_UNTIL(ports[0].closed == 1);
}

static void words_to_a_guest_that_does_not_read_are_forgotten(void **state)
{
	const struct char_config config = unix_server();
	int client;

	make(&config);
	ports[0].appetite = 0;
	ports[0].blind = true;
	client = connect_to(path);
	say(client, "to nobody");
	close(client);
	RUN_UNTIL(ports[0].closed == 1);
	ports[0].appetite = 100;
	ports[0].blind = false;
	client = connect_to(path);
	say(client, "next");
	expect_got(&ports[0], "next");
	close(client);
}

/* Nothing is lost, and nothing grows: what the reader does not read stays with the port. */
static void a_slow_reader_holds_up_its_port(void **state)
{
	const struct char_config config = unix_server();
	static char block[64 * KIB];
	size_t sent = 0, got = 0, taken;
	struct char_backend *front;
	int client;

	make(&config);
	front = ports[0].front;
	client = connect_to(path);
	RUN_UNTIL(ports[0].opened == 1);
	ports[0].ready = 0;
	do {
		taken = front->ops->write(front, block, sizeof(block));
		sent += taken;
		assert_true(sent < 64 * MIB);
	} while (taken == sizeof(block));
	assert_false(front->ops->wait_for_room(front));
	turn();
	assert_int_equal(ports[0].ready, 0);
	while (got < sent) {
		ssize_t some = read(client, block, sizeof(block));

		got += some > 0 ? (size_t)some : 0;
		turn();
	}
	assert_int_equal(got, sent);
	RUN_UNTIL(ports[0].ready);
	assert_true(front->ops->wait_for_room(front));
	close(client);
}

static void a_port_waits_no_more_for_a_reader_that_has_gone(void **state)
{
	const struct char_config config = unix_server();
	static char block[64 * KIB];
	struct char_backend *front;
	int client;

	make(&config);
	front = ports[0].front;
	client = connect_to(path);
	RUN_UNTIL(ports[0].opened == 1);
	while (front->ops->write(front, block, sizeof(block)) == sizeof(block))
		;
	ports[0].ready = 0;
	close(client);
	RUN_UNTIL(ports[0].ready);
	assert_int_equal(front->ops->write(front, block, sizeof(block)), sizeof(block));
}

static int listen_at(const char *at)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, at);
	unlink(at);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static void a_client_of_ours_comes_again(void **state)
{
	struct char_config config = unix_server();
	int listener, server;

	config.server = false;
	assert_true(char_devices_add(devices, &config, "test") < 0); /* nobody is there */
	config.reconnect = 1;
	make(&config);
	listener = listen_at(path);
	RUN_UNTIL(ports[0].opened == 1);
	server = accept(listener, NULL, NULL);
	say(server, "welcome");
	expect_got(&ports[0], "welcome");
	close(server);
	RUN_UNTIL(ports[0].opened == 2);
	assert_int_equal(ports[0].closed, 1);
	close(listener);
}

static void sockets_are_handed_over(void **state)
{
	struct char_config config = config_of(CHAR_SOCKET);
	int pair[2], client;

	config.fd = listen_at(path);
	config.server = true;
	make(&config);
	client = connect_to(path);
	say(client, "hello");
	expect_got(&ports[0], "hello");
	close(client);
	RUN_UNTIL(ports[0].closed == 1);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	config.fd = pair[0];
	strcpy(config.id, "two");
	assert_true(char_devices_add(devices, &config, "test") < 0); /* it does not listen */
	config.server = false;
	assert_int_equal(char_devices_add(devices, &config, "test"), 0);
	close(pair[1]);
}

/* The end of what a TCP client sends is its end. */
static void tcp_is_served(void **state)
{
	struct char_config config = config_of(CHAR_SOCKET);
	struct sockaddr_in address = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), client;
	socklen_t size = sizeof(address);

	/* A port that is free, as far as that can be known. */
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	close(fd);
	strcpy(config.host, "127.0.0.1");
	snprintf(config.port, sizeof(config.port), "%u", ntohs(address.sin_port));
	config.server = true;
	make(&config);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
	say(client, "hello");
	expect_got(&ports[0], "hello");
	close(client);
	RUN_UNTIL(ports[0].closed == 1);
}

/* A running machine does not stand still for a server that takes nobody: its queue of connections
 * is full, and what comes then is not answered. */
static void a_server_is_not_waited_for_at_once(void **state)
{
	struct char_config config = config_of(CHAR_SOCKET);
	struct sockaddr_in address = {.sin_family = AF_INET};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), others[8], server;
	socklen_t size = sizeof(address);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(listen(listener, 0), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		others[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		connect(others[i], (struct sockaddr *)&address, sizeof(address));
	}
	config.at_once = true;
	strcpy(config.host, "a.name.that.somebody.would.have.to.be.asked.for");
	snprintf(config.port, sizeof(config.port), "%u", ntohs(address.sin_port));
	assert_true(char_devices_add(devices, &config, "test") < 0);
	strcpy(config.host, "127.0.0.1");
	make(&config);
	assert_false(ports[0].front->open);
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
		close(others[i]);
	while (!ports[0].opened) {
		server = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		turn();
		if (server >= 0 && !ports[0].opened)
			close(server);
	}
	close(listener);
}

/* --- other kinds --- */

static void a_pty_comes_and_goes(void **state)
{
	const struct char_config config = config_of(CHAR_PTY);
	char name[128];
	int slave, said = dup(STDOUT_FILENO), nowhere = open("/dev/null", O_WRONLY);

	/* The name that it says is no line of a test's report. */
	fflush(stdout);
	dup2(nowhere, STDOUT_FILENO);
	make(&config);
	dup2(said, STDOUT_FILENO);
	close(said);
	close(nowhere);
	char_device_describe(char_devices_find(devices, "one"), name, sizeof(name));
	assert_memory_equal(name, "pty:/dev/pts/", 13);
	guest_says(&ports[0], "lost");
	for (unsigned i = 1; i <= 2; i++) {
		slave = open(name + 4, O_RDWR | O_NOCTTY | O_NONBLOCK);
		assert_true(slave >= 0);
		RUN_UNTIL(ports[0].opened == i);
		say(slave, "typed\r");
		expect_got(&ports[0], "typed\r");
		guest_says(&ports[0], "shown\n");
		expect_read(slave, "shown\n");
		close(slave);
		RUN_UNTIL(ports[0].closed == i);
	}
}

static void pipes_are_written_and_read(void **state)
{
	struct char_config config = config_of(CHAR_PIPE);
	char in[80], out[80];
	int to, from;

	snprintf(in, sizeof(in), "%s.in", path);
	snprintf(out, sizeof(out), "%s.out", path);
	strcpy(config.path, path);
	assert_true(char_devices_add(devices, &config, "test") < 0);
	assert_int_equal(mkfifo(in, 0600) | mkfifo(out, 0600), 0);
	make(&config);
	to = open(in, O_WRONLY | O_NONBLOCK);
	from = open(out, O_RDONLY | O_NONBLOCK);
	say(to, "in");
	expect_got(&ports[0], "in");
	guest_says(&ports[0], "out");
	expect_read(from, "out");
	close(to);
	close(from);
	unlink(in);
	unlink(out);
}

static void a_file_is_appended_to(void **state)
{
	struct char_config config = config_of(CHAR_FILE);
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	say(fd, "before ");
	strcpy(config.path, path);
	config.append = true;
	make(&config);
	guest_says(&ports[0], "prompt: ");
	lseek(fd, 0, SEEK_SET);
	expect_read(fd, "before prompt: ");
	close(fd);
}

static void a_pipe_that_nobody_reads_is_not_waited_for_at_once(void **state)
{
	struct char_config config = config_of(CHAR_FILE);

	assert_int_equal(mkfifo(path, 0600), 0);
	strcpy(config.path, path);
	config.at_once = true;
	assert_true(char_devices_add(devices, &config, "test") < 0);
	config.kind = CHAR_NULL;
	strcpy(config.log, path);
	assert_true(char_devices_add(devices, &config, "test") < 0);
}

static void a_log_has_what_nobody_reads(void **state)
{
	struct char_config config = config_of(CHAR_NULL);
	int fd;

	strcpy(config.log, path);
	make(&config);
	guest_says(&ports[0], "said\n");
	fd = open(path, O_RDONLY);
	expect_read(fd, "said\n");
	close(fd);
}

static void a_ring_keeps_the_last(void **state)
{
	struct char_config config = config_of(CHAR_RING);
	struct char_backend *ring;
	char bytes[32];

	config.size = 8;
	make(&config);
	ring = char_device_far_end(char_devices_find(devices, "one"));
	guest_says(&ports[0], "0123456789");
	assert_int_equal(char_ring_read(ring, bytes, 3), 3);
	assert_memory_equal(bytes, "234", 3);
	char_ring_write(ring, "ab", 2);
	assert_int_equal(char_ring_read(ring, bytes, sizeof(bytes)), 7);
	assert_memory_equal(bytes, "56789ab", 7);
	assert_int_equal(char_ring_read(ring, bytes, sizeof(bytes)), 0);
}

/* --- devices --- */

static void names_and_ports_are_one_each(void **state)
{
	struct char_config config = config_of(CHAR_NULL);
	struct char_backend *front;

	make(&config);
	assert_int_equal(char_devices_add(devices, &config, "test"), -EEXIST);
	assert_int_equal(
		char_device_use(char_devices_find(devices, "one"), true, "test", &front), -EBUSY);
	assert_int_equal(char_devices_remove(devices, "one"), -EBUSY);
	char_device_release(ports[0].front);
	assert_int_equal(char_devices_remove(devices, "one"), 0);
	assert_int_equal(char_devices_remove(devices, "one"), -ENOENT);
	assert_null(char_devices_next(devices, NULL));
}

static void a_paused_guest_hears_nothing(void **state)
{
	const struct char_config config = unix_server();
	int client;

	make(&config);
	client = connect_to(path);
	RUN_UNTIL(ports[0].opened == 1);
	char_devices_hold(devices, true);
	say(client, "later");
	for (unsigned i = 0; i < 5; i++)
		turn();
	assert_int_equal(ports[0].count, 0);
	assert_int_equal(ports[0].front->ops->write(ports[0].front, "x", 1), 0);
	char_devices_hold(devices, false);
	expect_got(&ports[0], "later");
	guest_says(&ports[0], "x");
	expect_read(client, "x");
	close(client);
}

/* A guest's port and a monitor at one socket: Ctrl-a c goes from one to the other, and the monitor
 * is there, for its own part, once it was gone to. */
static void two_share_a_terminal(void **state)
{
	struct char_config config = unix_server();
	int client;

	config.mux = true;
	make(&config);
	use(&ports[1], false);
	client = connect_to(path);
	say(client, "guest");
	expect_got(&ports[0], "guest");
	assert_int_equal(ports[1].opened, 0);
	say(client, "\1cmonitor\1");
	expect_got(&ports[1], "monitor");
	assert_int_equal(ports[1].opened, 1);
	say(client, "cguest\1a");
	expect_got(&ports[0], "guest\1");
	guest_says(&ports[0], "one ");
	guest_says(&ports[1], "two");
	expect_read(client, "one two");
	/* The monitor hears while the guest does not. */
	char_devices_hold(devices, true);
	say(client, "\1cstill\1x");
	expect_got(&ports[1], "still");
	RUN_UNTIL(quits == 1);
	char_devices_hold(devices, false);
	close(client);
	RUN_UNTIL(ports[0].closed == 1 && ports[1].closed == 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_client_talks_and_another_follows),
		TEST(last_words_wait_for_a_guest_that_reads),
		TEST(words_to_a_guest_that_does_not_read_are_forgotten),
		TEST(a_slow_reader_holds_up_its_port),
		TEST(a_port_waits_no_more_for_a_reader_that_has_gone),
		TEST(a_client_of_ours_comes_again),
		TEST(sockets_are_handed_over),
		TEST(tcp_is_served),
		TEST(a_server_is_not_waited_for_at_once),
		TEST(a_pty_comes_and_goes),
		TEST(pipes_are_written_and_read),
		TEST(a_file_is_appended_to),
		TEST(a_pipe_that_nobody_reads_is_not_waited_for_at_once),
		TEST(a_log_has_what_nobody_reads),
		TEST(a_ring_keeps_the_last),
		TEST(names_and_ports_are_one_each),
		TEST(a_paused_guest_hears_nothing),
		TEST(two_share_a_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
