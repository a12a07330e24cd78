/* The console device by itself: queues in RAM with a driver's end of our own, clients at real
 * sockets, and virtio_fixture.h in place of the transport. */
#include "device/virtio/console.h"
#include "virtio_driver.h"
#include "virtio_fixture.h"

#define WATCHES_MAX 16
#include "worker_watches.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/virtio_console.h>

#define RAM_SIZE   (8 * MIB)
#define RINGS(n)   (1 * MIB + (n)*32 * KIB) /* of queue n */
#define BUFFERS(n) (4 * MIB + (n)*128 * KIB)
#define BUFFER     (2 * KIB)
#define QUEUE_SIZE 64
#define MULTIPORT  BIT(VIRTIO_CONSOLE_F_MULTIPORT)

static struct priority_lock lock;
static struct memory memory;
static struct dma dma;
static struct driver driver[VIRTIO_MAX_QUEUES];
static unsigned posted_buffers[VIRTIO_MAX_QUEUES];
static char directory[32], path[3][64];
static struct console_device *console;
static struct console_port_config ports[CONSOLE_MAX_PORTS] = {
	{.name = "first", .path = path[0]},
	{.name = "second", .path = path[1]},
	{.name = "log", .path = path[2], .to_file = true},
};

/* --- in place of the worker's descriptors --- */

void worker_timer_arm(struct worker_timer *timer, uint64_t delay_ns)
{
	fail_msg("the host is short of descriptors");
}

static bool serve_one(void)
{
	for (unsigned i = 0; i < watch_count; i++) {
		struct watch *watch = &watches[i];
		struct pollfd poll_fd = {.fd = watch->fd, .events = (short)watch->events};

		if (poll(&poll_fd, 1, 0) > 0) {
			watch->callback(watch->opaque, (uint32_t)poll_fd.revents);
			return true;
		}
	}
	return false;
}

/* Serve all that is ready; it must end, or the worker would never sleep. */
static void settle_down(void)
{
	unsigned rounds = 0;

	do {
		run_posted();
		assert_true(rounds++ < 1000);
	} while (serve_one());
}

/* --- the driver --- */

static void on_interrupt(void *opaque, struct virtqueue *queue)
{
}

static void start_with(uint64_t features, bool begin_anew)
{
	struct virtqueue_setup setup;

	device->features = features | VIRTIO_F_VERSION_1;
	for (unsigned i = 0; i < device->queue_count; i++) {
		struct virtqueue *queue = &device->queue[i];

		if (begin_anew) {
			driver_init(&driver[i], memory.ram, RINGS(i), QUEUE_SIZE, false, false);
			posted_buffers[i] = 0;
		}
		setup = driver_setup(&driver[i]);
		if (!begin_anew)
			virtqueue_position(queue, &setup);
		queue->interrupt = on_interrupt;
		assert_int_equal(virtqueue_start(queue, &dma, &setup, i, device->features), 0);
	}
	device->running = true;
	device->ops->start(device);
	for (unsigned i = 0; i < device->queue_count; i++)
		device->ops->notified(device, &device->queue[i]);
	settle_down();
}

static void stop(bool reset)
{
	device->state.resetting = reset;
	device->running = false;
	device->ops->stop(device);
	assert_int_equal(stopped, 1);
	stopped = 0;
	for (unsigned i = 0; i < device->queue_count; i++)
		assert_int_equal(device->queue[i].in_flight, 0);
	settle_down();
}

static void notify(unsigned queue)
{
	device->ops->notified(device, &device->queue[queue]);
	settle_down();
}

static void post_buffers(unsigned queue, unsigned count, uint32_t size)
{
	for (unsigned i = 0; i < count; i++) {
		struct buffer buffer = {
			BUFFERS(queue) + posted_buffers[queue]++ % QUEUE_SIZE * BUFFER, size,
			VRING_DESC_F_WRITE};

		assert_true(driver_add(&driver[queue], &buffer, 1) >= 0);
	}
	notify(queue);
}

static void add_bytes(unsigned queue, const void *bytes, uint32_t size)
{
	struct buffer buffer = {BUFFERS(queue), size, 0};

	memcpy(memory.ram + BUFFERS(queue), bytes, size);
	assert_true(driver_add(&driver[queue], &buffer, 1) >= 0);
	notify(queue);
}

static void control(uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control message = {id, event, value};
	uint32_t written;

	add_bytes(3, &message, sizeof(message));
	assert_true(driver_get(&driver[3], &written) >= 0);
}

static unsigned received[VIRTIO_MAX_QUEUES];

/* The next buffer that has come back: how many bytes, or -1. */
static int get_bytes(unsigned queue, void *bytes)
{
	uint32_t written;

	if (driver_get(&driver[queue], &written) < 0)
		return -1;
	memcpy(bytes, memory.ram + BUFFERS(queue) + received[queue]++ % QUEUE_SIZE * BUFFER,
		written);
	return (int)written;
}

static void expect_message(uint32_t id, uint16_t event, uint16_t value, const char *name)
{
	struct {
		struct virtio_console_control control;
		char name[BUFFER];
	} got;
	int size = get_bytes(2, &got);

	if (size < (int)sizeof(got.control) || got.control.id != id || got.control.event != event ||
		got.control.value != value)
		fail_msg("%d bytes: port %u, event %u, value %u", size, got.control.id,
			got.control.event, got.control.value);
	assert_int_equal((size_t)size, sizeof(got.control) + strlen(name));
	assert_memory_equal(got.name, name, strlen(name));
}

static void expect_silence(void)
{
	uint8_t bytes[BUFFER];

	assert_int_equal(get_bytes(2, bytes), -1);
}

static void expect_input(unsigned queue, const char *text)
{
	char bytes[BUFFER];

	assert_int_equal(get_bytes(queue, bytes), strlen(text));
	assert_memory_equal(bytes, text, strlen(text));
}

static void create(unsigned count)
{
	assert_int_equal(virtio_console_create(NULL, false, ports, count, &console), 0);
	memset(received, 0, sizeof(received));
	settle_down();
}

/* A device with a driver that knows its ports and has them open, and no client yet. */
static void create_ready(unsigned count)
{
	create(count);
	start_with(MULTIPORT, true);
	post_buffers(2, 32, BUFFER);
	control(UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (unsigned i = 0; i < count; i++)
		expect_message(i, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	for (unsigned i = 0; i < count; i++) {
		control(i, VIRTIO_CONSOLE_PORT_READY, 1);
		expect_message(i, VIRTIO_CONSOLE_PORT_NAME, 1, ports[i].name);
		if (ports[i].to_file)
			expect_message(i, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
		control(i, VIRTIO_CONSOLE_PORT_OPEN, 1);
	}
	expect_silence();
}

/* --- the client --- */

static int connect_to(unsigned port)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, path[port]);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	settle_down();
	return fd;
}

static void hang_up(int fd)
{
	close(fd);
	settle_down();
}

static void client_sends(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	settle_down();
}

static void client_gets(int fd, const char *text)
{
	char bytes[256];

	assert_int_equal(recv(fd, bytes, sizeof(bytes), 0), strlen(text));
	assert_memory_equal(bytes, text, strlen(text));
}

static void client_gets_nothing(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

static unsigned take_back(unsigned queue)
{
	uint32_t written;
	unsigned count = 0;

	while (driver_get(&driver[queue], &written) >= 0)
		count++;
	return count;
}

static int setup(void **state)
{
	priority_lock_init(&lock);
	dma = (struct dma){.memory = &memory, .enabled = true};
	fixture_reset();
	watch_count = 0;
	strcpy(directory, "/tmp/veneer-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	for (unsigned i = 0; i < ARRAY_SIZE(path); i++)
		snprintf(path[i], sizeof(path[i]), "%s/%u", directory, i);
	return memory_create(&memory, RAM_SIZE, 40, &lock);
}

static int teardown(void **state)
{
	if (device)
		device->ops->destroy(device);
	device = NULL;
	unlink(path[2]);
	memory_destroy(&memory);
	priority_lock_destroy(&lock);
	return rmdir(directory); /* the sockets have gone */
}

/* --- messages --- */

static void describes_itself(void **state)
{
	const struct virtio_console_config *config;

	create(3);
	config = (const void *)device->config;
	assert_int_equal(config->max_nr_ports, 3);
	assert_int_equal(device->queue_count, 8);
	assert_true(device->offered & MULTIPORT);
}

static void ports_are_made_known(void **state)
{
	int client;

	create_ready(3);
	client = connect_to(1);
	expect_message(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	hang_up(client);
	expect_message(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	expect_silence();
}

/* A client that was there before the driver. */
static void connected_port_is_open_at_once(void **state)
{
	int client;

	create(1);
	client = connect_to(0);
	start_with(MULTIPORT, true);
	post_buffers(2, 8, BUFFER);
	expect_silence();
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_message(0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	expect_silence();
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_message(0, VIRTIO_CONSOLE_PORT_NAME, 1, "first");
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	close(client);
}

static void messages_wait_for_buffers(void **state)
{
	int client;

	create(2);
	start_with(MULTIPORT, true);
	for (unsigned i = 0; i < 1000; i++)
		control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	for (unsigned i = 0; i < 5; i++) {
		client = connect_to(0);
		if (i < 4)
			hang_up(client);
	}
	post_buffers(2, 1, BUFFER);
	expect_message(0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	expect_silence();
	post_buffers(2, 10, BUFFER);
	expect_message(0, VIRTIO_CONSOLE_PORT_NAME, 1, "first");
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	expect_message(1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	expect_silence();
	close(client);
}

static void hostile_messages_are_ignored(void **state)
{
	struct buffer writable = {BUFFERS(3), 8, VRING_DESC_F_WRITE};

	create_ready(2);
	control(2, VIRTIO_CONSOLE_PORT_READY, 1);
	control(UINT32_MAX, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(UINT32_MAX, VIRTIO_CONSOLE_PORT_READY, 1);
	control(0, VIRTIO_CONSOLE_PORT_READY, 0);
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 0);
	for (unsigned event = VIRTIO_CONSOLE_PORT_NAME; event < 100; event++)
		control(0, (uint16_t)event, 1);
	control(0, VIRTIO_CONSOLE_PORT_ADD, 1);
	control(0, VIRTIO_CONSOLE_PORT_REMOVE, 1);
	add_bytes(3, "1234567", 7);
	assert_true(driver_add(&driver[3], &writable, 1) >= 0);
	notify(3);
	assert_int_equal(take_back(3), 2);
	expect_silence();
	assert_int_equal(needs_reset, 0);
}

static void small_buffers_get_what_they_have_room_for(void **state)
{
	uint8_t bytes[BUFFER];

	create(1);
	start_with(MULTIPORT, true);
	post_buffers(2, 1, 3);
	post_buffers(2, 1, 10);
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	assert_int_equal(get_bytes(2, bytes), 3);
	assert_int_equal(get_bytes(2, bytes), 10);
	assert_memory_equal(bytes + 8, "fi", 2);
}

/* A driver that does not know of ports has a port that it can only write to. */
static void no_multiport(void **state)
{
	int client;

	create(2);
	start_with(0, true);
	client = connect_to(0);
	client_sends(client, "not for it");
	post_buffers(0, 1, BUFFER);
	post_buffers(2, 1, BUFFER);
	add_bytes(3, "\0\0\0\0\0\0\1", 8);
	assert_int_equal(take_back(0) + take_back(2) + take_back(3), 0);
	add_bytes(1, "hello", 5);
	client_gets(client, "hello");
	assert_int_equal(take_back(1), 1);
	hang_up(client);
}

/* --- data --- */

static void bytes_go_both_ways(void **state)
{
	int first, second;

	create_ready(2);
	first = connect_to(0);
	second = connect_to(1);
	add_bytes(1, "to the first", 12);
	add_bytes(5, "to the second", 13);
	client_gets(first, "to the first");
	client_gets(second, "to the second");
	assert_int_equal(take_back(1), 1);
	post_buffers(0, 2, BUFFER);
	post_buffers(4, 2, BUFFER);
	client_sends(first, "from the first");
	client_sends(second, "from the second");
	expect_input(0, "from the first");
	expect_input(4, "from the second");
	close(first);
	close(second);
}

static void file_gets_output(void **state)
{
	char bytes[32] = {0};
	FILE *file;

	create_ready(3);
	add_bytes(7, "a line\n", 7);
	file = fopen(path[2], "re");
	assert_non_null(file);
	assert_int_equal(fread(bytes, 1, sizeof(bytes), file), 7);
	assert_string_equal(bytes, "a line\n");
	fclose(file);
}

static void output_without_client_is_dropped(void **state)
{
	int client;

	create_ready(1);
	add_bytes(1, "lost", 4);
	assert_int_equal(take_back(1), 1);
	client = connect_to(0);
	client_gets_nothing(client);
	close(client);
}

static void input_waits_for_buffers_and_an_open_port(void **state)
{
	uint8_t bytes[BUFFER];
	int client;

	create_ready(1);
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 0);
	client = connect_to(0);
	post_buffers(0, 1, 4);
	client_sends(client, "longer");
	assert_int_equal(get_bytes(0, bytes), -1);
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_input(0, "long");
	post_buffers(0, 1, 0x100);
	expect_input(0, "er");
	close(client);
}

/* The far end does not read: its own output waits, another port's does not. */
static void back_pressure(void **state)
{
	static uint8_t bytes[100 * KIB], got[100 * KIB];
	unsigned sent = 0, done = 0;
	int slow, other;
	ssize_t size;
	uint64_t total = 0;

	create_ready(2);
	slow = connect_to(0);
	other = connect_to(1);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	for (; sent < 20; sent++)
		add_bytes(1, bytes, sizeof(bytes));
	done = take_back(1);
	assert_true(done < sent);
	notify(1);
	add_bytes(5, "quick", 5);
	client_gets(other, "quick");
	while ((size = recv(slow, got, sizeof(got), 0)) > 0) {
		for (ssize_t i = 0; i < size; i++)
			assert_int_equal(got[i], bytes[(total + (uint64_t)i) % sizeof(bytes)]);
		total += (uint64_t)size;
		settle_down();
	}
	assert_int_equal(total, sent * sizeof(bytes));
	assert_int_equal(done + take_back(1), sent);
	close(slow);
	close(other);
}

/* The next client gets no end of a chain whose beginning went to the one before. */
static void client_leaves_in_the_middle(void **state)
{
	static const uint8_t bytes[100 * KIB];
	int client;

	create_ready(1);
	client = connect_to(0);
	for (unsigned i = 0; i < 20; i++)
		add_bytes(1, bytes, sizeof(bytes));
	assert_true(take_back(1) < 20);
	hang_up(client);
	take_back(1);
	client = connect_to(0);
	client_gets_nothing(client);
	add_bytes(1, "whole", 5);
	client_gets(client, "whole");
	close(client);
}

static void one_client_at_a_time(void **state)
{
	int first, second;

	create_ready(1);
	post_buffers(0, 4, BUFFER);
	first = connect_to(0);
	second = connect_to(0);
	client_sends(second, "second");
	client_sends(first, "first");
	expect_input(0, "first");
	hang_up(first);
	expect_input(0, "second");
	close(second);
}

/* What a client sent before it left is read as soon as there are buffers, and then the next one's
 * turn comes. */
static void last_words_are_kept(void **state)
{
	int client;

	create_ready(1);
	client = connect_to(0);
	client_sends(client, "last words");
	hang_up(client);
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	expect_silence();
	post_buffers(0, 2, BUFFER);
	expect_input(0, "last words");
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
}

/* A client that sends no more still gets the answer. */
static void half_closed_client_gets_output(void **state)
{
	int client;

	create_ready(1);
	post_buffers(0, 2, BUFFER);
	client = connect_to(0);
	client_sends(client, "question");
	shutdown(client, SHUT_WR);
	settle_down();
	expect_input(0, "question");
	add_bytes(1, "answer", 6);
	client_gets(client, "answer");
	hang_up(client);
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
}

static void buffers_without_room_come_back(void **state)
{
	struct buffer readable = {BUFFERS(0), 100, 0};
	uint32_t written;
	int client;

	create_ready(1);
	client = connect_to(0);
	assert_true(driver_add(&driver[0], &readable, 1) >= 0);
	notify(0);
	assert_true(driver_get(&driver[0], &written) >= 0);
	assert_int_equal(written, 0);
	client_sends(client, "kept");
	received[0] = 0;
	post_buffers(0, 1, BUFFER);
	expect_input(0, "kept");
	close(client);
}

/* --- reset and stop --- */

static void reset_forgets_the_driver(void **state)
{
	static const uint8_t bytes[100 * KIB];
	char got[256];
	int client;

	create_ready(1);
	client = connect_to(0);
	for (unsigned i = 0; i < 20; i++)
		add_bytes(1, bytes, sizeof(bytes));
	post_buffers(0, 4, BUFFER);
	stop(true);
	while (recv(client, got, sizeof(got), 0) > 0)
		;
	client_sends(client, "to the next driver");
	start_with(MULTIPORT, true);
	memset(received, 0, sizeof(received));
	post_buffers(0, 4, BUFFER);
	post_buffers(2, 4, BUFFER);
	expect_silence();
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_message(0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_message(0, VIRTIO_CONSOLE_PORT_NAME, 1, "first");
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_input(0, "to the next driver");
	client_gets_nothing(client);
	add_bytes(1, "new", 3);
	client_gets(client, "new");
	close(client);
}

/* The machine stops in the middle of a chain and goes on: not a byte is lost or sent twice. */
static void stop_of_the_machine(void **state)
{
	static uint8_t bytes[100 * KIB], got[100 * KIB];
	uint64_t total = 0;
	ssize_t size;
	int client;

	create_ready(1);
	client = connect_to(0);
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 3 + i / 253);
	for (unsigned i = 0; i < 20; i++)
		add_bytes(1, bytes, sizeof(bytes));
	stop(false);
	start_with(MULTIPORT, false);
	while ((size = recv(client, got, sizeof(got), 0)) > 0) {
		for (ssize_t i = 0; i < size; i++)
			assert_int_equal(got[i], bytes[(total + (uint64_t)i) % sizeof(bytes)]);
		total += (uint64_t)size;
		settle_down();
	}
	assert_int_equal(total, 20 * sizeof(bytes));
	expect_silence();
	/* A client that leaves while the machine stands still is reported when it goes on. */
	stop(false);
	hang_up(client);
	start_with(MULTIPORT, false);
	post_buffers(0, 1, BUFFER);
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
}

/* --- the option --- */

static void words(void **state)
{
	static const char *const wrong[] = {"", "name=a", "path=/tmp/x", "name=,path=/tmp/x",
		"name=a,path=", "name=a/b,path=x", "name=.a,path=x", "name=a,path=x,file=y",
		"name=a,path=x,name=b", "name=a,path=x,more",
		"name=0123456789012345678901234567890123456789012345678901234567890123,path=x"};
	struct console_port_config config = {0};

	assert_int_equal(console_port_config_parse(&config, "--console-port", "name=a,path=b"), 0);
	assert_string_equal(config.name, "a");
	assert_string_equal(config.path, "b");
	assert_false(config.to_file);
	console_port_config_free(&config);
	assert_int_equal(
		console_port_config_parse(&config, "--console-port", "file=a,,b,name=org.x_1-y"),
		0);
	assert_string_equal(config.path, "a,b");
	assert_true(config.to_file);
	console_port_config_free(&config);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		if (console_port_config_parse(&config, "--console-port", wrong[i]) != -EINVAL)
			fail_msg("'%s' is taken", wrong[i]);
		assert_null(config.name);
		assert_null(config.path);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(describes_itself),
		TEST(ports_are_made_known),
		TEST(connected_port_is_open_at_once),
		TEST(messages_wait_for_buffers),
		TEST(hostile_messages_are_ignored),
		TEST(small_buffers_get_what_they_have_room_for),
		TEST(no_multiport),
		TEST(bytes_go_both_ways),
		TEST(file_gets_output),
		TEST(output_without_client_is_dropped),
		TEST(input_waits_for_buffers_and_an_open_port),
		TEST(back_pressure),
		TEST(client_leaves_in_the_middle),
		TEST(one_client_at_a_time),
		TEST(last_words_are_kept),
		TEST(half_closed_client_gets_output),
		TEST(buffers_without_room_come_back),
		TEST(reset_forgets_the_driver),
		TEST(stop_of_the_machine),
		cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
