/* The console device with the user's terminal: alone, which is a device of one port, and among
 * named ports. The test is the terminal, and virtio_fixture.h stands in for the transport. */
#include "device/virtio/console.h"
#include "virtio_driver.h"
#include "virtio_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <linux/virtio_console.h>

#define RAM_SIZE   (4 * MIB)
#define RINGS(n)   (1 * MIB + (n)*32 * KIB) /* of queue n */
#define BUFFERS(n) (2 * MIB + (n)*64 * KIB)
#define BUFFER     (1 * KIB)
#define QUEUE_SIZE 32
#define MULTIPORT  BIT(VIRTIO_CONSOLE_F_MULTIPORT)
#define SIZE       BIT(VIRTIO_CONSOLE_F_SIZE)

static struct priority_lock lock;
static struct memory memory;
static struct dma dma;
static struct driver driver[VIRTIO_MAX_QUEUES];
static unsigned posted_buffers[VIRTIO_MAX_QUEUES], received[VIRTIO_MAX_QUEUES];
static struct console_device *console;

/* --- the terminal --- */

static struct {
	char screen[4096];
	size_t shown, room;
	unsigned input_calls;
	uint32_t window;
} terminal;

static size_t on_write(struct char_backend *backend, const void *bytes, size_t size)
{
	size_t taken = MIN(size, terminal.room);

	memcpy(terminal.screen + terminal.shown, bytes, taken);
	terminal.shown += taken;
	terminal.room -= taken;
	return taken;
}

static void on_input_ready(struct char_backend *backend)
{
	terminal.input_calls++;
}

static uint32_t on_window(struct char_backend *backend)
{
	return terminal.window;
}

static const struct char_backend_ops backend_ops = {
	.write = on_write, .input_ready = on_input_ready, .window = on_window};
static struct char_backend backend = {.ops = &backend_ops, .open = true};

static size_t type(const char *text, size_t size)
{
	size_t taken = backend.port.receive(backend.port.opaque, text, size);

	run_posted();
	return taken;
}

static void room_again(size_t room)
{
	terminal.room = room;
	backend.port.output_ready(backend.port.opaque);
	run_posted();
}

static void set_window(unsigned columns, unsigned rows)
{
	terminal.window = columns << 16 | rows;
	backend.port.resized(backend.port.opaque);
	run_posted();
}

static void expect_screen(const char *text)
{
	assert_int_equal(terminal.shown, strlen(text));
	assert_memory_equal(terminal.screen, text, strlen(text));
	terminal.shown = 0;
}

/* --- the driver --- */

static void on_interrupt(void *opaque, struct virtqueue *queue)
{
}

static void start_with(uint64_t features)
{
	struct virtqueue_setup setup;

	device->features = features | VIRTIO_F_VERSION_1;
	for (unsigned i = 0; i < device->queue_count; i++) {
		driver_init(&driver[i], memory.ram, RINGS(i), QUEUE_SIZE, false, false);
		posted_buffers[i] = received[i] = 0;
		setup = driver_setup(&driver[i]);
		device->queue[i].interrupt = on_interrupt;
		assert_int_equal(
			virtqueue_start(&device->queue[i], &dma, &setup, i, device->features), 0);
	}
	device->running = true;
	device->ops->start(device);
	run_posted();
}

static void notify(unsigned queue)
{
	device->ops->notified(device, &device->queue[queue]);
	run_posted();
}

static void post_buffers(unsigned queue, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct buffer buffer = {
			BUFFERS(queue) + posted_buffers[queue]++ % QUEUE_SIZE * BUFFER, BUFFER,
			VRING_DESC_F_WRITE};

		assert_true(driver_add(&driver[queue], &buffer, 1) >= 0);
	}
	notify(queue);
}

static void print(unsigned queue, const void *bytes, uint32_t size)
{
	struct buffer buffer = {BUFFERS(queue), size, 0};

	memcpy(memory.ram + BUFFERS(queue), bytes, size);
	assert_true(driver_add(&driver[queue], &buffer, 1) >= 0);
	notify(queue);
}

static bool is_printed(unsigned queue)
{
	uint32_t written;

	return driver_get(&driver[queue], &written) >= 0;
}

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

static void expect_bytes(unsigned queue, const void *bytes, size_t size)
{
	char got[BUFFER];

	assert_int_equal(get_bytes(queue, got), size);
	assert_memory_equal(got, bytes, size);
}

static void control(uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control message = {id, event, value};

	print(3, &message, sizeof(message));
	assert_true(is_printed(3));
}

static void expect_message(uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control message = {id, event, value};

	expect_bytes(2, &message, sizeof(message));
}

static void expect_size(uint16_t columns, uint16_t rows)
{
	const struct {
		struct virtio_console_control control;
		uint16_t columns, rows;
	} message = {{0, VIRTIO_CONSOLE_RESIZE, 1}, columns, rows};

	expect_bytes(2, &message, sizeof(message));
}

/* --- life --- */

static const struct console_port_config ports[] = {{.console = true}, {.name = "log", .number = 1}};

static void create_with(const struct console_port_config *config, unsigned count)
{
	terminal = (typeof(terminal)){.room = sizeof(terminal.screen)};
	assert_int_equal(virtio_console_create(NULL, 0, config, count, &console), 0);
	virtio_console_connect(console, 0, &backend);
	run_posted();
}

static void create(unsigned named_ports)
{
	create_with(ports, 1 + named_ports);
}

static int setup(void **state)
{
	priority_lock_init(&lock);
	dma = (struct dma){.memory = &memory, .enabled = true};
	fixture_reset();
	return memory_create(&memory, RAM_SIZE, 40, &lock);
}

static int teardown(void **state)
{
	device->ops->destroy(device);
	memory_destroy(&memory);
	priority_lock_destroy(&lock);
	return 0;
}

/* --- alone --- */

static void alone_it_is_one_port(void **state)
{
	char bytes[BUFFER];

	create(0);
	assert_int_equal(device->queue_count, 2);
	assert_int_equal(device->offered & (MULTIPORT | SIZE), SIZE);
	start_with(SIZE);
	/* What was typed before the guest prints waits. */
	assert_int_equal(type("ro", 2), 2);
	post_buffers(0, 2);
	assert_int_equal(get_bytes(0, bytes), -1);
	print(1, "login: ", 7);
	assert_true(is_printed(1));
	expect_screen("login: ");
	expect_bytes(0, "ro", 2);
	assert_int_equal(type("ot\r", 3), 3);
	expect_bytes(0, "ot\r", 3);
	assert_int_equal(get_bytes(0, bytes), -1);
}

static void output_waits_for_room(void **state)
{
	create(0);
	start_with(0);
	terminal.room = 3;
	print(1, "abcdef", 6);
	assert_false(is_printed(1));
	assert_null(armed_timer);
	expect_screen("abc");
	notify(1);
	expect_screen("");
	room_again(2);
	expect_screen("de");
	assert_false(is_printed(1));
	room_again(100);
	expect_screen("f");
	assert_true(is_printed(1));
}

/* The guest's kernel spins until its console has taken all: a lossy one does not have it wait for a
 * client that does not read. */
static void lossy_output_waits_for_a_moment(void **state)
{
	const struct console_port_config lossy = {.console = true, .lossy = true};

	create_with(&lossy, 1);
	start_with(0);
	terminal.room = 3;
	print(1, "abcdef", 6);
	assert_false(is_printed(1));
	room_again(3);
	assert_true(is_printed(1));
	expect_screen("abcdef");
	assert_null(armed_timer);
	print(1, "ghi", 3);
	assert_false(is_printed(1));
	expire_timer();
	assert_true(is_printed(1));
	print(1, "jkl", 3);
	assert_true(is_printed(1));
	assert_null(armed_timer);
	room_again(100);
	print(1, "mno", 3);
	expect_screen("mno");
}

static void reset_ends_the_wait(void **state)
{
	const struct console_port_config lossy = {.console = true, .lossy = true};

	create_with(&lossy, 1);
	start_with(0);
	terminal.room = 0;
	print(1, "abc", 3);
	assert_non_null(armed_timer);
	device->state.resetting = true;
	device->running = false;
	device->ops->stop(device);
	assert_null(armed_timer);
}

/* The driver resets the queue that it prints with, in the middle of a chain. */
static void reset_queue_forgets_the_rest(void **state)
{
	struct virtqueue_setup setup;

	create(0);
	start_with(VIRTIO_F_RING_RESET);
	terminal.room = 3;
	print(1, "abcdef", 6);
	expect_screen("abc");
	device->ops->queue_reset(device, &device->queue[1]);
	virtqueue_stop(&device->queue[1]);
	room_again(100);
	expect_screen("");
	driver_init(&driver[1], memory.ram, RINGS(1), QUEUE_SIZE, false, false);
	setup = driver_setup(&driver[1]);
	assert_int_equal(virtqueue_start(&device->queue[1], &dma, &setup, 1, device->features), 0);
	print(1, "ghijkl", 6);
	expect_screen("ghijkl");
	assert_true(is_printed(1));
}

static void typing_has_an_end(void **state)
{
	char text[5000];

	memset(text, 'x', sizeof(text));
	create(0);
	start_with(0);
	print(1, "?", 1);
	assert_int_equal(type(text, sizeof(text)), 4096);
	assert_int_equal(type(text, 1), 0);
	terminal.input_calls = 0;
	post_buffers(0, 1);
	expect_bytes(0, text, BUFFER);
	assert_int_equal(terminal.input_calls, 1);
	assert_int_equal(type(text, 1), 1);
	assert_int_equal(terminal.input_calls, 1);
}

static void window_is_in_the_configuration(void **state)
{
	const struct virtio_console_config *config;

	create(0);
	start_with(SIZE);
	config = (const void *)device->config;
	assert_int_equal(config->cols | config->rows, 0);
	set_window(132, 43);
	assert_int_equal(config->cols, 132);
	assert_int_equal(config->rows, 43);
	assert_int_equal(config_changes, 1);
	set_window(132, 43);
	assert_int_equal(config_changes, 1);
}

static void without_a_terminal_output_is_lost(void **state)
{
	create(0);
	start_with(0);
	virtio_console_connect(console, 0, NULL);
	assert_null(backend.port.receive);
	print(1, "abc", 3);
	assert_true(is_printed(1));
	expect_screen("");
}

static void the_worker_is_not_waited_for(void **state)
{
	create(0);
	worker_is_stuck = true;
	virtio_console_connect(console, 0, NULL);
	worker_is_stuck = false;
}

/* --- among others --- */

static void among_ports_it_is_the_console(void **state)
{
	char bytes[BUFFER];

	create(1);
	assert_int_equal(device->queue_count, 6);
	set_window(80, 25);
	start_with(MULTIPORT | SIZE);
	post_buffers(2, 16);
	control(UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_message(0, VIRTIO_CONSOLE_PORT_ADD, 1);
	expect_message(1, VIRTIO_CONSOLE_PORT_ADD, 1);
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_message(0, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
	expect_size(80, 25);
	expect_message(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	set_window(100, 30);
	expect_size(100, 30);
	assert_int_equal(get_bytes(2, bytes), -1);
	print(1, "hello", 5);
	expect_screen("hello");
	post_buffers(0, 1);
	type("!", 1);
	expect_bytes(0, "!", 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(alone_it_is_one_port),
		TEST(output_waits_for_room),
		TEST(lossy_output_waits_for_a_moment),
		TEST(reset_ends_the_wait),
		TEST(reset_queue_forgets_the_rest),
		TEST(typing_has_an_end),
		TEST(window_is_in_the_configuration),
		TEST(without_a_terminal_output_is_lost),
		TEST(the_worker_is_not_waited_for),
		TEST(among_ports_it_is_the_console),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
