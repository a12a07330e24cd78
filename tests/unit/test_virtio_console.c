/* The console device by itself: queues in RAM with a driver's end of our own, far ends of our own,
 * and virtio_fixture.h in place of the transport. What sockets do as far ends is tested in
 * test_char_device.c. */
#include "device/virtio/console.h"
#include "virtio_driver.h"
#include "virtio_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

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
static struct console_device *console;

/* --- far ends: as much room as a socket has, and a client that comes and goes --- */

#define FAR_ROOM (200 * KIB)

static struct far {
	struct char_backend backend;
	char input[256]; /* sent by the client, and not yet taken */
	size_t input_count;
	uint8_t *output; /* of the guest, not yet read by the client */
	size_t output_count;
	bool leaves; /* when its last words are taken */
} far_end[2];

static size_t far_write(struct char_backend *backend, const void *bytes, size_t size)
{
	struct far *far = container_of(backend, struct far, backend);
	size_t taken = MIN(size, FAR_ROOM - far->output_count);

	if (!backend->open)
		return size;
	memcpy(far->output + far->output_count, bytes, taken);
	far->output_count += taken;
	return taken;
}

static void leave(struct far *far)
{
	far->leaves = false;
	far->input_count = far->output_count = 0;
	far->backend.open = false;
	far->backend.port.opened(far->backend.port.opaque, false);
}

static void offer(struct char_backend *backend)
{
	struct far *far = container_of(backend, struct far, backend);
	const struct char_port *port = &backend->port;
	size_t taken = port->reads(port->opaque)
			       ? port->receive(port->opaque, far->input, far->input_count)
			       : 0;

	far->input_count -= taken;
	memmove(far->input, far->input + taken, far->input_count);
	if (far->leaves && (!far->input_count || !port->reads(port->opaque)))
		leave(far);
}

static const struct char_backend_ops far_ops = {.write = far_write, .input_ready = offer};

static struct console_port_config ports[] = {
	{.name = "first", .number = 0, .backend = &far_end[0].backend},
	{.name = "second", .number = 1, .backend = &far_end[1].backend},
	{.name = "log", .number = 2},
};

static void settle_down(void)
{
	run_posted();
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
	assert_int_equal(virtio_console_create(NULL, 0, ports, count, &console), 0);
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
		if (!ports[i].backend)
			expect_message(i, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
		control(i, VIRTIO_CONSOLE_PORT_OPEN, 1);
	}
	expect_silence();
}

/* --- the client --- */

static void connect_to(unsigned port)
{
	struct char_backend *backend = &far_end[port].backend;

	backend->open = true;
	backend->port.opened(backend->port.opaque, true);
	settle_down();
}

static void hang_up(unsigned port)
{
	far_end[port].leaves = true;
	offer(&far_end[port].backend);
	settle_down();
}

static void client_sends(unsigned port, const char *text)
{
	struct far *far = &far_end[port];

	memcpy(far->input + far->input_count, text, strlen(text));
	far->input_count += strlen(text);
	offer(&far->backend);
	settle_down();
}

/* What the client reads makes room for more. */
static size_t client_reads(unsigned port, void *bytes)
{
	struct far *far = &far_end[port];
	size_t count = far->output_count;

	memcpy(bytes, far->output, count);
	far->output_count = 0;
	far->backend.port.output_ready(far->backend.port.opaque);
	settle_down();
	return count;
}

static void client_gets(unsigned port, const char *text)
{
	static char bytes[FAR_ROOM];

	assert_int_equal(client_reads(port, bytes), strlen(text));
	assert_memory_equal(bytes, text, strlen(text));
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
	for (unsigned i = 0; i < ARRAY_SIZE(far_end); i++)
		far_end[i] = (struct far){.backend.ops = &far_ops, .output = malloc(FAR_ROOM)};
	return memory_create(&memory, RAM_SIZE, 40, &lock);
}

static int teardown(void **state)
{
	if (device)
		device->ops->destroy(device);
	device = NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(far_end); i++)
		free(far_end[i].output);
	memory_destroy(&memory);
	priority_lock_destroy(&lock);
	return 0;
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

	create_ready(3);
	connect_to(1);
	expect_message(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	hang_up(1);
	expect_message(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	expect_silence();
}

/* A client that was there before the driver. */
static void connected_port_is_open_at_once(void **state)
{

	create(1);
	connect_to(0);
	start_with(MULTIPORT, true);
	post_buffers(2, 8, BUFFER);
	expect_silence();
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_message(0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	expect_silence();
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_message(0, VIRTIO_CONSOLE_PORT_NAME, 1, "first");
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
}

static void messages_wait_for_buffers(void **state)
{

	create(2);
	start_with(MULTIPORT, true);
	for (unsigned i = 0; i < 1000; i++)
		control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	for (unsigned i = 0; i < 5; i++) {
		connect_to(0);
		if (i < 4)
			hang_up(0);
	}
	post_buffers(2, 1, BUFFER);
	expect_message(0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	expect_silence();
	post_buffers(2, 10, BUFFER);
	expect_message(0, VIRTIO_CONSOLE_PORT_NAME, 1, "first");
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	expect_message(1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	expect_silence();
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

	create(2);
	start_with(0, true);
	connect_to(0);
	client_sends(0, "not for it");
	post_buffers(0, 1, BUFFER);
	post_buffers(2, 1, BUFFER);
	add_bytes(3, "\0\0\0\0\0\0\1", 8);
	assert_int_equal(take_back(0) + take_back(2) + take_back(3), 0);
	add_bytes(1, "hello", 5);
	client_gets(0, "hello");
	assert_int_equal(take_back(1), 1);
	hang_up(0);
}

/* --- data --- */

static void bytes_go_both_ways(void **state)
{

	create_ready(2);
	connect_to(0);
	connect_to(1);
	add_bytes(1, "to the first", 12);
	add_bytes(5, "to the second", 13);
	client_gets(0, "to the first");
	client_gets(1, "to the second");
	assert_int_equal(take_back(1), 1);
	post_buffers(0, 2, BUFFER);
	post_buffers(4, 2, BUFFER);
	client_sends(0, "from the first");
	client_sends(1, "from the second");
	expect_input(0, "from the first");
	expect_input(4, "from the second");
}

static void output_without_client_is_dropped(void **state)
{

	create_ready(1);
	add_bytes(1, "lost", 4);
	assert_int_equal(take_back(1), 1);
	connect_to(0);
	client_gets(0, "");
}

static void input_waits_for_buffers_and_an_open_port(void **state)
{
	uint8_t bytes[BUFFER];

	create_ready(1);
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 0);
	connect_to(0);
	post_buffers(0, 1, 4);
	client_sends(0, "longer");
	assert_int_equal(get_bytes(0, bytes), -1);
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_input(0, "long");
	post_buffers(0, 1, 0x100);
	expect_input(0, "er");
}

/* The far end does not read: its own output waits, another port's does not. */
static void back_pressure(void **state)
{
	static uint8_t bytes[100 * KIB], got[FAR_ROOM];
	unsigned sent = 0, done = 0;
	ssize_t size;
	uint64_t total = 0;

	create_ready(2);
	connect_to(0);
	connect_to(1);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	for (; sent < 20; sent++)
		add_bytes(1, bytes, sizeof(bytes));
	done = take_back(1);
	assert_true(done < sent);
	notify(1);
	add_bytes(5, "quick", 5);
	client_gets(1, "quick");
	while ((size = (ssize_t)client_reads(0, got)) > 0) {
		for (ssize_t i = 0; i < size; i++)
			assert_int_equal(got[i], bytes[(total + (uint64_t)i) % sizeof(bytes)]);
		total += (uint64_t)size;
		settle_down();
	}
	assert_int_equal(total, sent * sizeof(bytes));
	assert_int_equal(done + take_back(1), sent);
}

/* The next client gets no end of a chain whose beginning went to the one before. */
static void client_leaves_in_the_middle(void **state)
{
	static const uint8_t bytes[100 * KIB];

	create_ready(1);
	connect_to(0);
	for (unsigned i = 0; i < 20; i++)
		add_bytes(1, bytes, sizeof(bytes));
	assert_true(take_back(1) < 20);
	hang_up(0);
	take_back(1);
	connect_to(0);
	client_gets(0, "");
	add_bytes(1, "whole", 5);
	client_gets(0, "whole");
}

/* What a client sent before it left is read as soon as there are buffers, and then the next one's
 * turn comes. */
static void last_words_are_kept(void **state)
{

	create_ready(1);
	connect_to(0);
	client_sends(0, "last words");
	hang_up(0);
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	expect_silence();
	post_buffers(0, 2, BUFFER);
	expect_input(0, "last words");
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
}

static void buffers_without_room_come_back(void **state)
{
	struct buffer readable = {BUFFERS(0), 100, 0};
	uint32_t written;

	create_ready(1);
	connect_to(0);
	assert_true(driver_add(&driver[0], &readable, 1) >= 0);
	notify(0);
	assert_true(driver_get(&driver[0], &written) >= 0);
	assert_int_equal(written, 0);
	client_sends(0, "kept");
	received[0] = 0;
	post_buffers(0, 1, BUFFER);
	expect_input(0, "kept");
}

/* --- reset and stop --- */

static void reset_forgets_the_driver(void **state)
{
	static const uint8_t bytes[100 * KIB];
	static uint8_t got[FAR_ROOM];

	create_ready(1);
	connect_to(0);
	for (unsigned i = 0; i < 20; i++)
		add_bytes(1, bytes, sizeof(bytes));
	post_buffers(0, 4, BUFFER);
	stop(true);
	client_reads(0, got);
	client_sends(0, "to the next driver");
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
	client_gets(0, "");
	add_bytes(1, "new", 3);
	client_gets(0, "new");
}

/* The machine stops in the middle of a chain and goes on: not a byte is lost or sent twice. */
static void stop_of_the_machine(void **state)
{
	static uint8_t bytes[100 * KIB], got[FAR_ROOM];
	uint64_t total = 0;
	ssize_t size;

	create_ready(1);
	connect_to(0);
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 3 + i / 253);
	for (unsigned i = 0; i < 20; i++)
		add_bytes(1, bytes, sizeof(bytes));
	stop(false);
	start_with(MULTIPORT, false);
	while ((size = (ssize_t)client_reads(0, got)) > 0) {
		for (ssize_t i = 0; i < size; i++)
			assert_int_equal(got[i], bytes[(total + (uint64_t)i) % sizeof(bytes)]);
		total += (uint64_t)size;
		settle_down();
	}
	assert_int_equal(total, 20 * sizeof(bytes));
	expect_silence();
	/* A client that leaves while the machine stands still is reported when it goes on. */
	stop(false);
	hang_up(0);
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
	struct console_port_config config = {.number = -1};
	struct char_config chardev = {.fd = -1};

	assert_int_equal(
		console_port_config_parse(&config, &chardev, "--console-port", "name=a,path=b"), 0);
	assert_string_equal(config.name, "a");
	assert_string_equal(chardev.path, "b");
	assert_true(chardev.kind == CHAR_SOCKET && chardev.server && !chardev.wait);
	chardev = (struct char_config){.fd = -1};
	assert_int_equal(console_port_config_parse(
				 &config, &chardev, "--console-port", "file=a,,b,name=org.x_1-y"),
		0);
	assert_string_equal(chardev.path, "a,b");
	assert_int_equal(chardev.kind, CHAR_FILE);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		config = (struct console_port_config){0};
		chardev = (struct char_config){.fd = -1};
		if (console_port_config_parse(&config, &chardev, "--console-port", wrong[i]) !=
			-EINVAL)
			fail_msg("'%s' is taken", wrong[i]);
	}
}

/* Those that say numbers have them; a console has number 0, and no other port has. */
static void numbers(void **state)
{
	struct console_port_config some[] = {{.number = -1}, {.number = 1},
		{.number = -1, .console = true}, {.number = -1, .console = true}};
	struct console_port_config twice[] = {{.number = 3}, {.number = 3}};
	struct console_port_config zero[] = {{.number = 0}};

	assert_int_equal(console_ports_number(some, ARRAY_SIZE(some), "test"), 0);
	assert_int_equal(some[0].number, 2);
	assert_int_equal(some[1].number, 1);
	assert_int_equal(some[2].number, 0);
	assert_int_equal(some[3].number, 3);
	assert_int_equal(console_ports_number(twice, 2, "test"), -EINVAL);
	assert_int_equal(console_ports_number(zero, 1, "test"), -EINVAL);
}

/* Between two ports there may be none: its queues and messages have no effect. */
static void gaps(void **state)
{
	const struct console_port_config far_apart[] = {
		{.name = "one", .number = 1}, {.name = "four", .number = 4}};

	assert_int_equal(virtio_console_create(NULL, 0, far_apart, 2, &console), 0);
	memset(received, 0, sizeof(received));
	assert_int_equal(device->queue_count, 12);
	start_with(MULTIPORT, true);
	post_buffers(2, 8, BUFFER);
	control(UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_message(1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	expect_message(4, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	for (unsigned id = 0; id < 20; id++)
		control(id, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(3, VIRTIO_CONSOLE_PORT_READY, 1);
	add_bytes(7, "to nobody", 9);
	expect_silence();
	assert_int_equal(take_back(7), 0);
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
		TEST(output_without_client_is_dropped),
		TEST(input_waits_for_buffers_and_an_open_port),
		TEST(back_pressure),
		TEST(client_leaves_in_the_middle),
		TEST(last_words_are_kept),
		TEST(buffers_without_room_come_back),
		TEST(reset_forgets_the_driver),
		TEST(stop_of_the_machine),
		TEST(gaps),
		cmocka_unit_test(words),
		cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
