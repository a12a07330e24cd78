#include "host/terminal.h"

#include "base/log.h"

#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the Ctrl-a keys --- */

static uint8_t out[64];
static size_t consumed, produced;

static enum terminal_command parse(struct terminal_parser *parser, const char *in)
{
	return terminal_parse(parser, (const uint8_t *)in, strlen(in), out, &consumed, &produced);
}

static void plain_text_goes_through(void **state)
{
	struct terminal_parser parser = {0};

	assert_int_equal(parse(&parser, "hello\r\x03"), TERMINAL_NONE);
	assert_int_equal(consumed, 7);
	assert_int_equal(produced, 7);
	assert_memory_equal(out, "hello\r\x03", 7);
}

static void quit_stops_parsing(void **state)
{
	struct terminal_parser parser = {0};

	assert_int_equal(parse(&parser, "ab\001xcd"), TERMINAL_QUIT);
	assert_int_equal(consumed, 4);
	assert_int_equal(produced, 2);
	assert_false(parser.escaped);
	assert_int_equal(parse(&parser, "x"), TERMINAL_NONE);
}

static void help(void **state)
{
	struct terminal_parser parser = {0};

	assert_int_equal(parse(&parser, "\001h"), TERMINAL_HELP);
	assert_int_equal(produced, 0);
	assert_non_null(strstr(terminal_help, "Ctrl-a x"));
}

static void ctrl_a_itself(void **state)
{
	struct terminal_parser parser = {0};

	assert_int_equal(parse(&parser, "\001a\001\001b"), TERMINAL_NONE);
	assert_int_equal(produced, 3);
	assert_memory_equal(out, "\001\001b", 3);
}

static void unknown_key_sends_both(void **state)
{
	struct terminal_parser parser = {0};

	assert_int_equal(parse(&parser, "\001z"), TERMINAL_NONE);
	assert_memory_equal(out, "\001z", 2);
	assert_int_equal(produced, 2);
}

static void keys_may_come_in_separate_reads(void **state)
{
	struct terminal_parser parser = {0};

	assert_int_equal(parse(&parser, "a\001"), TERMINAL_NONE);
	assert_int_equal(produced, 1);
	assert_true(parser.escaped);
	/* More comes out than went in: the room that the header asks for. */
	assert_int_equal(parse(&parser, "z"), TERMINAL_NONE);
	assert_int_equal(produced, 2);
	assert_int_equal(parse(&parser, "\001"), TERMINAL_NONE);
	assert_int_equal(parse(&parser, "x"), TERMINAL_QUIT);
}

/* --- raw mode: a child with a terminal of its own, which we watch from the other side --- */

static int master;
static struct termios cooked;

static struct termios modes(void)
{
	struct termios now = {0};

	assert_int_equal(tcgetattr(master, &now), 0);
	return now;
}

static bool is_cooked(void)
{
	return (modes().c_lflag & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG);
}

static bool becomes(bool want_cooked)
{
	for (int i = 0; i < 60000; i++) { /* a busy host */
		if (is_cooked() == want_cooked)
			return true;
		usleep(1000);
	}
	return false;
}

/* Start a child that puts its terminal into raw mode and then ends by `end`. */
static pid_t start_child(void (*end)(void))
{
	/* cmocka catches some of these, and a handler that was there before ours stays; who
	 * started us may have had us ignore or block others, as nohup(1) does. */
	static const int numbers[] = {
		SIGSEGV, SIGABRT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT, SIGTTOU};
	int go[2];
	char byte;
	sigset_t none;
	pid_t child;

	assert_int_equal(pipe(go), 0);
	child = forkpty(&master, NULL, NULL, NULL);
	assert_true(child >= 0);
	if (child == 0) {
		for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
			signal(numbers[i], SIG_DFL);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		/* Our parent wants to see the modes first. */
		if (read(go[0], &byte, 1) != 1)
			_exit(97);
		if (terminal_raw(STDIN_FILENO) < 0 || !terminal_is_raw() || !log_carriage_return)
			_exit(99);
		end();
		_exit(98);
	}
	cooked = modes();
	assert_int_equal(write(go[1], "", 1), 1);
	close(go[0]);
	close(go[1]);
	return child;
}

static int wait_for(pid_t child)
{
	int status = 0;

	waitpid(child, &status, 0);
	return status;
}

static void sleep_long(void)
{
	for (;;)
		pause();
}

static void call_exit(void)
{
	exit(7);
}

static void call_abort(void)
{
	abort();
}

static void restored_by_exit(void **state)
{
	int slave;
	pid_t child;

	child = start_child(call_exit);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY); /* or it goes with the child */
	assert_int_equal(WEXITSTATUS(wait_for(child)), 7);
	assert_true(is_cooked());
	close(slave);
	close(master);
}

static void restored_by_abort(void **state)
{
	pid_t child = start_child(call_abort);
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY), status = wait_for(child);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_true(is_cooked());
	close(slave);
	close(master);
}

static void restored_by_signals(void **state)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGSEGV};

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		pid_t child = start_child(sleep_long);
		int slave = open(ptsname(master), O_RDWR | O_NOCTTY), status;

		assert_true(becomes(false));
		assert_int_equal(modes().c_oflag & OPOST, 0);
		kill(child, numbers[i]);
		status = wait_for(child);
		/* It dies of the signal all the same, so that its parent sees why. */
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), numbers[i]);
		assert_true(is_cooked());
		close(slave);
		close(master);
	}
}

static void stop_and_continue(void **state)
{
	pid_t child = start_child(sleep_long);
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY), status;

	assert_true(becomes(false));
	/* The child is a session leader, whose orphaned group ignores SIGTSTP's stop, so that it
	 * goes on without a SIGCONT; twice, to see that the handler is there again. SIGSTOP stops
	 * for good. */
	for (int i = 0; i < 4; i++) {
		kill(child, SIGTSTP);
		if (i < 2)
			usleep(20000); /* for the child to have done it */
		else
			kill(child, SIGCONT); /* before, amid or after that */
		assert_true(becomes(false));
	}
	kill(child, SIGSTOP);
	assert_int_equal(waitpid(child, &status, WUNTRACED), child);
	assert_true(WIFSTOPPED(status));
	tcsetattr(slave, TCSANOW, &cooked); /* as a shell does */
	kill(child, SIGCONT);
	assert_true(becomes(false));
	kill(child, SIGTERM);
	assert_int_equal(WTERMSIG(wait_for(child)), SIGTERM);
	assert_true(is_cooked());
	close(slave);
	close(master);
}

static void no_terminal_is_no_error(void **state)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(terminal_raw(fds[0]), 0);
	assert_false(terminal_is_raw());
	terminal_restore();
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_text_goes_through),
		cmocka_unit_test(quit_stops_parsing),
		cmocka_unit_test(help),
		cmocka_unit_test(ctrl_a_itself),
		cmocka_unit_test(unknown_key_sends_both),
		cmocka_unit_test(keys_may_come_in_separate_reads),
		cmocka_unit_test(restored_by_exit),
		cmocka_unit_test(restored_by_abort),
		cmocka_unit_test(restored_by_signals),
		cmocka_unit_test(stop_and_continue),
		cmocka_unit_test(no_terminal_is_no_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
