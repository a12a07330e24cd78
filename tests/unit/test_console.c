#include "host/console.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct clock machine_clock;
static struct event_loop *loop;
static struct console *console;
static struct char_backend *end;
static int input[2], output[2];
static unsigned quits;
static size_t told;

/* The guest: takes as much as `appetite` allows. */
static uint8_t eaten[100000];
static size_t eaten_count, appetite;

static size_t receive(void *opaque, const void *bytes, size_t size)
{
	size_t taken = size < appetite ? size : appetite;

	memcpy(eaten + eaten_count, bytes, taken);
	eaten_count += taken;
	appetite -= taken;
	return taken;
}

static void quit(void *opaque)
{
	quits++;
	event_loop_stop(loop);
}

static void output_ready(void *opaque)
{
	told++;
}

static void make_console(int input_fd, int output_fd)
{
	const struct console_config config = {
		.input_fd = input_fd, .output_fd = output_fd, .loop = loop, .quit = quit};

	console = console_create(&config);
	assert_non_null(console);
	end = console_backend(console);
	end->port = (struct char_port){.receive = receive, .output_ready = output_ready};
}

static int setup(void **state)
{
	clock_init(&machine_clock);
	loop = event_loop_create(&machine_clock, &lock);
	quits = told = 0;
	eaten_count = 0;
	appetite = sizeof(eaten);
	return !loop || pipe(input) || pipe(output);
}

static int teardown(void **state)
{
	event_loop_destroy(loop);
	for (int i = 0; i < 2; i++) {
		close(input[i]);
		close(output[i]);
	}
	return 0;
}

static void stop_loop(void *opaque)
{
	event_loop_stop(loop);
}

static void run_for(uint64_t ns)
{
	struct timer end;

	timer_init(&end, loop, stop_loop, NULL);
	priority_lock_take(&lock);
	timer_arm(&end, clock_ns(&machine_clock) + ns);
	priority_lock_release(&lock);
	event_loop_run(loop);
}

/* Run the loop until `*count` is as large as that, which may take long on a busy host. */
static void run_until(const size_t *count, size_t wanted)
{
	for (unsigned i = 0; i < 60000 && *count < wanted; i++)
		run_for(1 * MS);
	assert_int_equal(*count, wanted);
}

/* What a vCPU does: where not all is taken it waits, without the lock, and writes the rest. */
static void guest_writes(const void *bytes, size_t size)
{
	const uint8_t *next = bytes;

	while (size) {
		size_t taken;

		priority_lock_take(&lock);
		taken = end->ops->write(end, next, size);
		priority_lock_release(&lock);
		next += taken;
		size -= taken;
		while (size && !end->ops->wait_for_room(end))
			;
	}
}

static void bytes_come_out_soon_and_together(void **state)
{
	char got[64];

	make_console(-1, output[1]);
	for (const char *c = "login: "; *c; c++)
		guest_writes(c, 1);
	/* There is no newline and no flush. One read gets all of it, unless the host stalls in
	 * between. */
	for (size_t size = 0; size < 7;) {
		ssize_t n = read(output[0], got + size, sizeof(got) - size);

		assert_true(n > 0);
		size += (size_t)n;
	}
	assert_memory_equal(got, "login: ", 7);
	console_destroy(console, -1);
}

static void *slow_reader(void *opaque)
{
	uint8_t *to = opaque;
	ssize_t size;

	usleep(100000);
	while ((size = read(output[0], to, 3000)) > 0)
		to += size;
	return (void *)(to - (uint8_t *)opaque);
}

/* Far more than the queue and the pipe hold, at a reader that wakes up late. */
static void nothing_is_lost(void **state)
{
	size_t size = 1000000;
	uint8_t *sent = malloc(size), *got = malloc(size + 4096);
	pthread_t reader;
	void *count;

	for (size_t i = 0; i < size; i++)
		sent[i] = (uint8_t)(i * 7 + (i >> 8));
	make_console(-1, output[1]);
	pthread_create(&reader, NULL, slow_reader, got);
	for (size_t i = 0; i < size; i += 1000)
		guest_writes(sent + i, 1000);
	console_destroy(console, -1);
	close(output[1]);
	pthread_join(reader, &count);
	assert_int_equal((uintptr_t)count, size);
	assert_memory_equal(got, sent, size);
	free(sent);
	free(got);
	output[1] = dup(output[0]);
}

static void *write_a_lot(void *opaque)
{
	static const char zeros[200000];

	guest_writes(zeros, sizeof(zeros));
	return NULL;
}

/* Write until the queue is full, and the pipe, which the writer thread fills, too: nothing can be
 * taken then before somebody reads. A byte counts in the queue until it is in the pipe. */
static void fill(void)
{
	static const char zeros[200000];
	size_t taken = 0, room = 65536 + (size_t)fcntl(output[0], F_GETPIPE_SZ);

	for (unsigned i = 0; i < 60000 && taken < room; i++) {
		taken += end->ops->write(end, zeros, sizeof(zeros));
		usleep(1000);
	}
	assert_int_equal(taken, room);
	assert_int_equal(end->ops->write(end, zeros, 1), 0);
}

/* Nothing is read. Bytes without room are refused at once, except the last bytes of a run. */
static void full_queue_refuses(void **state)
{
	static const char zeros[CHAR_LAST_SIZE];

	make_console(-1, dup(output[1])); /* its own: its thread outlives the test */
	fill();
	assert_false(end->ops->wait_for_room(end));
	end->ops->write_last(end, zeros, CHAR_LAST_SIZE);
	assert_int_equal(end->ops->write(end, zeros, 1), 0);
	assert_int_equal(told, 0);
	/* Destroying the console does not hang either. Its thread lives on until the reader
	 * goes. */
	console_destroy(console, 50);
	close(output[0]);
	usleep(50000);
	output[0] = dup(output[1]);
}

/* When the reader comes, the port is told, on the I/O thread, unless the machine is paused. */
static void room_again_is_told(void **state)
{
	static char buffer[200000];

	make_console(-1, output[1]);
	fill();
	run_for(5 * MS);
	told = 0; /* while the queue filled, output_ready() may have been called several times */
	run_for(5 * MS);
	assert_int_equal(told, 0);
	assert_true(read(output[0], buffer, 65536) > 0);
	run_until(&told, 1);
	run_for(5 * MS);
	assert_int_equal(told, 1);
	priority_lock_take(&lock);
	console_hold(console, true);
	priority_lock_release(&lock);
	end->ops->write(end, buffer, sizeof(buffer));
	assert_true(read(output[0], buffer, 65536) > 0);
	run_for(50 * MS);
	assert_int_equal(told, 1);
	priority_lock_take(&lock);
	console_hold(console, false);
	priority_lock_release(&lock);
	assert_int_equal(told, 2);
	console_destroy(console, 0);
}

static void broken_output_is_survived(void **state)
{
	make_console(-1, output[1]);
	close(output[0]);
	write_a_lot(NULL); /* no SIGPIPE, no waiting */
	write_a_lot(NULL);
	console_destroy(console, -1);
	output[0] = dup(output[1]);
}

static void nonblocking_output_loses_nothing(void **state)
{
	static uint8_t got[210000];
	pthread_t reader;
	void *count;

	fcntl(output[1], F_SETFL, O_NONBLOCK);
	make_console(-1, output[1]);
	pthread_create(&reader, NULL, slow_reader, got);
	write_a_lot(NULL);
	console_destroy(console, -1);
	close(output[1]);
	pthread_join(reader, &count);
	assert_int_equal((uintptr_t)count, 200000);
	output[1] = dup(output[0]);
}

static void input_waits_for_the_guest(void **state)
{
	char text[10000];

	memset(text, 'k', sizeof(text));
	make_console(input[0], output[1]);
	appetite = 16;
	assert_int_equal(write(input[1], text, sizeof(text)), sizeof(text));
	run_for(10 * MS);
	assert_int_equal(eaten_count, 16);
	for (int i = 0; i < 2000 && eaten_count < sizeof(text); i++) {
		priority_lock_take(&lock);
		appetite = 16;
		end->ops->input_ready(end);
		priority_lock_release(&lock);
		if (i % 16 == 0)
			run_for(MS / 10);
	}
	assert_int_equal(eaten_count, sizeof(text));
	assert_memory_equal(eaten, text, sizeof(text));
	console_destroy(console, -1);
}

/* Neither to the port nor from where it waits, nor does the port's output go out. */
static void held_input_stays_where_it_is(void **state)
{
	int waiting = 0;

	make_console(input[0], output[1]);
	console_hold(console, true);
	assert_int_equal(write(input[1], "typed", 5), 5);
	run_for(10 * MS);
	assert_int_equal(eaten_count, 0);
	assert_int_equal(ioctl(input[0], FIONREAD, &waiting), 0);
	assert_int_equal(waiting, 5);
	assert_int_equal(end->ops->write(end, "x", 1), 0);
	priority_lock_take(&lock);
	console_hold(console, false);
	priority_lock_release(&lock);
	assert_int_equal(told, 1);
	run_for(10 * MS);
	assert_int_equal(eaten_count, 5);
	console_destroy(console, -1);
}

static void quit_key(void **state)
{
	make_console(input[0], output[1]);
	assert_int_equal(write(input[1], "a\001x", 3), 3);
	event_loop_run(loop);
	assert_int_equal(quits, 1);
	assert_int_equal(eaten_count, 1);
	console_destroy(console, -1);
}

static void help_key(void **state)
{
	char got[1000] = "";

	make_console(input[0], output[1]);
	assert_int_equal(write(input[1], "\001h", 2), 2);
	run_for(10 * MS);
	assert_true(read(output[0], got, sizeof(got) - 1) > 0);
	assert_non_null(strstr(got, "Ctrl-a x"));
	console_destroy(console, -1);
}

static void end_of_input(void **state)
{
	int null = open("/dev/null", O_RDONLY), closed = dup(null);

	make_console(input[0], output[1]);
	assert_int_equal(write(input[1], "last", 4), 4);
	close(input[1]);
	run_for(5 * MS);
	assert_int_equal(eaten_count, 4);
	/* A guest that asks for more gets nothing, and the descriptor is not polled for ever. */
	priority_lock_take(&lock);
	end->ops->input_ready(end);
	priority_lock_release(&lock);
	run_for(1 * MS);
	console_destroy(console, -1);

	make_console(null, output[1]);
	run_for(5 * MS);
	console_destroy(console, -1);
	close(null);

	close(closed);
	make_console(closed, output[1]);
	run_for(1 * MS);
	console_destroy(console, -1);
	input[1] = dup(input[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bytes_come_out_soon_and_together, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(full_queue_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(room_again_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(broken_output_is_survived, setup, teardown),
		cmocka_unit_test_setup_teardown(nonblocking_output_loses_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(input_waits_for_the_guest, setup, teardown),
		cmocka_unit_test_setup_teardown(held_input_stays_where_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(quit_key, setup, teardown),
		cmocka_unit_test_setup_teardown(help_key, setup, teardown),
		cmocka_unit_test_setup_teardown(end_of_input, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
