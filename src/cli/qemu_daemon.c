/* -daemonize: the machine goes on in a process of its own session, and whoever started us gets an
 * exit status when it is ready: its monitors listen, and its process number is written. Until then
 * messages arrive at standard error.
 *
 * A process may fork only while it has no threads, so the machine is made after the fork. The
 * parent waits at a pipe; a child that dies closes it without having written. */
#include "cli/qemu.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* The parent's exit status. */
static int wait_for_child(int pipe)
{
	char ready;
	ssize_t got;

	do
		got = read(pipe, &ready, 1);
	while (got < 0 && errno == EINTR);
	return got == 1 ? 0 : 1;
}

static int fail(const char *what)
{
	log_error("-daemonize: cannot %s: %s", what, strerror(errno));
	return -EIO;
}

int qemu_daemon_begin(struct qemu_daemon *daemon)
{
	int ends[2];
	pid_t child;

	daemon->ready_fd = -1;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return fail("make a pipe");
	child = fork();
	if (child > 0) {
		close(ends[1]);
		_exit(wait_for_child(ends[0]));
	}
	close(ends[0]);
	daemon->ready_fd = ends[1];
	if (child < 0)
		return fail("fork");
	/* The leader of a session may get a controlling terminal: the machine is its child. */
	setsid();
	child = fork();
	if (child > 0)
		_exit(0);
	return child < 0 ? fail("fork") : 0;
}

void qemu_daemon_ready(void *opaque)
{
	struct qemu_daemon *daemon = opaque;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	if (null > STDERR_FILENO)
		close(null);
	if (write(daemon->ready_fd, "", 1) != 1)
		log_warning("-daemonize: the process that waits has gone");
	close(daemon->ready_fd);
	daemon->ready_fd = -1;
}
