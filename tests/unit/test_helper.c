/* helper.h, with a shell in a helper's place. */
#include "host/helper.h"

#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_ENOUGH 20000 /* ms */

static int start_shell(struct helper *helper, const char *script, const int *fds, unsigned count)
{
	const char *words[] = {"-c", script, NULL};

	return helper_start(helper, "sh", words, fds, count);
}

/* What is written to standard error while this runs a shell to its end. */
static const char *messages_of(const char *script, int expected_status)
{
	static char text[32768];
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);
	struct helper helper;
	size_t size;

	assert_non_null(file);
	dup2(fileno(file), STDERR_FILENO);
	assert_int_equal(start_shell(&helper, script, NULL, 0), 0);
	assert_int_equal(helper_wait(&helper, LONG_ENOUGH), expected_status);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	size = fread(text, 1, sizeof(text) - 1, file);
	text[size] = 0;
	fclose(file);
	return text;
}

static void ends_with_its_status(void **state)
{
	assert_string_equal(messages_of("exit 7", 7), "");
	assert_string_equal(messages_of("kill -9 $$", 128 + SIGKILL), "");
}

static void messages_have_its_name(void **state)
{
	assert_string_equal(
		messages_of("echo one >&2; echo; printf 'two\\033[2J' >&2; cat; exit 0", 0),
		"veneer: sh: one\nveneer: sh: two?[2J\n");
}

static void talks_for_ever(void **state)
{
	const char *text = messages_of("i=0; while [ $i -lt 3000 ]; do echo line $i >&2; "
				       "i=$((i+1)); done",
		0);
	unsigned lines = 0;

	for (const char *at = text; *at; at++)
		lines += *at == '\n';
	assert_int_equal(lines, HELPER_MOST_LINES + 1);
}

/* Descriptors come in order, also where their numbers here are in each other's way, and others do
 * not come at all. */
static void gets_its_descriptors_only(void **state)
{
	int pair[2], socket_fd, fds[2] = {4, 3};
	struct helper helper;
	char bytes[200];
	ssize_t size;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	socket_fd = fcntl(pair[0], F_DUPFD, 20);
	dup2(pair[1], 30);
	dup2(open("/dev/zero", O_RDONLY), 31);
	assert_int_equal(dup2(30, 3), 3);
	assert_int_equal(dup2(31, 4), 4);
	assert_int_equal(start_shell(&helper,
				 "cd /proc/$$/fd; for fd in 20 30 31; do [ -e $fd ] && "
				 "echo $fd >&4; done; readlink 0 3 >&4; exit 0",
				 fds, 2),
		0);
	assert_int_equal(helper_wait(&helper, LONG_ENOUGH), 0);
	size = recv(socket_fd, bytes, sizeof(bytes) - 1, MSG_DONTWAIT);
	assert_true(size > 0);
	bytes[size] = 0;
	assert_string_equal(bytes, "/dev/null\n/dev/zero\n");
	for (int fd = 3; fd <= 31; fd++)
		close(fd);
}

static void end_is_noticed(void **state)
{
	int pair[2];
	struct helper helper;
	struct pollfd ended;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	/* It ends at the end of file. */
	assert_int_equal(start_shell(&helper, "read word <&3; exit 3", &pair[1], 1), 0);
	close(pair[1]);
	ended = (struct pollfd){.fd = helper.pidfd, .events = POLLIN};
	assert_int_equal(helper_reap(&helper), -EAGAIN);
	assert_int_equal(poll(&ended, 1, 0), 0);
	close(pair[0]);
	assert_int_equal(poll(&ended, 1, LONG_ENOUGH), 1);
	assert_int_equal(helper_reap(&helper), 3);
	helper_stop(&helper); /* harmless */
}

static void is_killed_when_it_takes_too_long(void **state)
{
	struct helper helper;
	pid_t pid;

	assert_int_equal(start_shell(&helper, "exec sleep 1000", NULL, 0), 0);
	pid = helper.pid;
	assert_int_equal(helper_wait(&helper, 30), -ETIMEDOUT);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(start_shell(&helper, "exec sleep 1000", NULL, 0), 0);
	pid = helper.pid;
	helper_stop(&helper);
	assert_int_equal(kill(pid, 0), -1);
}

static void *start_and_end(void *opaque)
{
	assert_int_equal(start_shell(opaque, "exec sleep 1000", NULL, 0), 0);
	return NULL;
}

static void does_not_outlive_its_thread(void **state)
{
	struct helper helper;
	pthread_t thread;
	struct pollfd ended;

	assert_int_equal(pthread_create(&thread, NULL, start_and_end, &helper), 0);
	pthread_join(thread, NULL);
	ended = (struct pollfd){.fd = helper.pidfd, .events = POLLIN};
	assert_int_equal(poll(&ended, 1, LONG_ENOUGH), 1);
	assert_int_equal(helper_reap(&helper), 128 + SIGKILL);
}

static void signals_are_as_at_first(void **state)
{
	struct helper helper;
	sigset_t all, before;

	signal(SIGTERM, SIG_IGN);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	assert_int_equal(start_shell(&helper, "kill $$; exit 0", NULL, 0), 0);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	signal(SIGTERM, SIG_DFL);
	assert_int_equal(helper_wait(&helper, LONG_ENOUGH), 128 + SIGTERM);
}

/* One that has something to do before it ends, and one that does not want to. */
static void may_be_asked_to_end(void **state)
{
	char path[] = "/tmp/test-helper-XXXXXX", script[200];
	struct helper helper;
	int fd = mkstemp(path);
	struct stat status;

	snprintf(script, sizeof(script),
		"trap 'echo written >%s; exit 0' TERM; echo >&2; while :; do sleep 0.01; done",
		path);
	assert_int_equal(start_shell(&helper, script, NULL, 0), 0);
	assert_int_equal(poll(&(struct pollfd){helper.message_fd, POLLIN, 0}, 1, LONG_ENOUGH), 1);
	helper_end(&helper, LONG_ENOUGH);
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_size, strlen("written\n"));
	assert_int_equal(start_shell(&helper,
				 "trap '' TERM; echo >&2; while :; do sleep 0.01; done", NULL, 0),
		0);
	assert_int_equal(poll(&(struct pollfd){helper.message_fd, POLLIN, 0}, 1, LONG_ENOUGH), 1);
	helper_end(&helper, 50);
	helper_end(&helper, 50);
	close(fd);
	unlink(path);
}

static void missing_executable(void **state)
{
	struct helper helper;

	assert_int_equal(helper_start(&helper, "veneer-none", NULL, NULL, 0), -ENOENT);
	helper_stop(&helper);
	unsetenv("VENEER_HELPERS");
	assert_int_equal(helper_start(&helper, "veneer-none", NULL, NULL, 0), -ENOENT);
	/* Found beside this executable: itself. It lists its tests, or runs them: it is stopped. */
	assert_int_equal(helper_start(&helper, "test_helper", NULL, NULL, 0), 0);
	helper_stop(&helper);
	setenv("VENEER_HELPERS", "/bin", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends_with_its_status),
		cmocka_unit_test(messages_have_its_name),
		cmocka_unit_test(talks_for_ever),
		cmocka_unit_test(gets_its_descriptors_only),
		cmocka_unit_test(end_is_noticed),
		cmocka_unit_test(is_killed_when_it_takes_too_long),
		cmocka_unit_test(does_not_outlive_its_thread),
		cmocka_unit_test(signals_are_as_at_first),
		cmocka_unit_test(may_be_asked_to_end),
		cmocka_unit_test(missing_executable),
	};

	setenv("VENEER_HELPERS", "/bin", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
