/* Monitors that are no Unix socket's path: pipes, as of a QMP client on standard input and output,
 * sockets that were handed over, TCP, and a human at the other end. The machine has no
 * processor. */
#include "control/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct machine machine;
static struct control *control;

static int setup(void **state)
{
	machine = (struct machine){0};
	priority_lock_init(&machine.lock);
	clock_init(&machine.clock);
	machine.loop = event_loop_create(&machine.clock, &machine.lock);
	assert_non_null(machine.loop);
	control = control_open(&machine, &(struct control_about){.name = "test"});
	assert_non_null(control);
	return 0;
}

static int teardown(void **state)
{
	control_destroy(control);
	event_loop_destroy(machine.loop);
	priority_lock_destroy(&machine.lock);
	return 0;
}

static void turn(void)
{
	for (unsigned i = 0; i < 20; i++) {
		event_loop_stop(machine.loop);
		assert_int_equal(event_loop_run(machine.loop), 0);
	}
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	turn();
}

static const char *hear(int fd)
{
	static char heard[65536];
	ssize_t got = read(fd, heard, sizeof(heard) - 1);

	assert_true(got >= 0);
	heard[got] = '\0';
	return heard;
}

/* As libguestfs asks what there is: the third line is the answer. */
static void a_client_on_pipes_is_answered_a_line_each(void **state)
{
	int in[2], out[2];
	const char *line;

	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	assert_int_equal(control_add(control, &(struct control_config){.kind = CONTROL_STREAM,
						      .option = "-qmp",
						      .input = in[0],
						      .output = out[1]}),
		0);
	say(in[1], "{\"execute\": \"qmp_capabilities\"} {\"execute\": \"query-name\"}");
	close(in[1]);
	turn();
	line = hear(out[0]);
	assert_memory_equal(line, "{\"QMP\": ", 8);
	line = strchr(line, '\n') + 1;
	assert_memory_equal(line, "{\"return\": {}}\r\n", 16);
	assert_string_equal(line + 16, "{\"return\": {\"name\": \"test\"}}\r\n");
	assert_string_equal(hear(out[0]), ""); /* closed */
	close(out[0]);
}

static void a_reader_that_has_gone_harms_nobody(void **state)
{
	int in[2], out[2];

	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	close(out[0]);
	assert_int_equal(control_add(control, &(struct control_config){.kind = CONTROL_STREAM,
						      .option = "-qmp",
						      .input = in[0],
						      .output = out[1]}),
		0);
	say(in[1], "{\"execute\": \"qmp_capabilities\"} {\"execute\": \"stop\"}");
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSING);
	close(in[1]);
	turn();
}

static void a_human_has_a_prompt_and_lines(void **state)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_int_equal(control_add(control, &(struct control_config){.kind = CONTROL_STREAM,
						      .option = "-monitor",
						      .input = ends[0],
						      .output = ends[0],
						      .human = true}),
		0);
	turn();
	assert_string_equal(
		hear(ends[1]), "QEMU 7.2.0 monitor - type 'help' for more information\r\n(qemu) ");
	say(ends[1], "info na");
	say(ends[1], "me\r\ninfo status\n");
	assert_string_equal(hear(ends[1]), "test\r\n(qemu) VM status: running\r\n(qemu) ");
	say(ends[1], "\xff\n");
	assert_non_null(strstr(hear(ends[1]), "(qemu) "));
	close(ends[1]);
	turn();
}

static void sockets_that_listen_are_taken_over(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t size = sizeof(address);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(control_add(control, &(struct control_config){.kind = CONTROL_LISTENER,
						      .option = "-mon",
						      .input = listener}),
		0);
	assert_int_equal(connect(client, (struct sockaddr *)&address, size), 0);
	turn();
	assert_memory_equal(hear(client), "{\"QMP\": ", 8);
	say(client, "{\"execute\": \"qmp_capabilities\"}");
	assert_string_equal(hear(client), "{\"return\": {}}\r\n");
	close(client);
}

static int add_tcp(const char *path)
{
	return control_add(control,
		&(struct control_config){.kind = CONTROL_TCP, .option = "-qmp", .path = path});
}

static void addresses_of_tcp(void **state)
{
	assert_int_equal(add_tcp("127.0.0.1:0"), 0);
	assert_int_equal(add_tcp(":0"), 0);
	assert_int_equal(add_tcp("127.0.0.1"), -EINVAL);
	assert_int_equal(add_tcp("127.0.0.1:"), -EINVAL);
	assert_int_equal(add_tcp("[::1:0"), -EINVAL);
	assert_int_equal(add_tcp("127.0.0.1:none"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_client_on_pipes_is_answered_a_line_each, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_reader_that_has_gone_harms_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(a_human_has_a_prompt_and_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(
			sockets_that_listen_are_taken_over, setup, teardown),
		cmocka_unit_test_setup_teardown(addresses_of_tcp, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
