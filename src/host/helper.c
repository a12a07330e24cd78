#include "host/helper.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* --- where it is --- */

int helper_find(const char *name, char *path)
{
	static const char *const places[] = {"", "../libexec/veneer/"};
	const char *directory = getenv("VENEER_HELPERS");
	char self[PATH_MAX];
	ssize_t length;

	if (name[0] == '/') {
		if (snprintf(path, PATH_MAX, "%s", name) < PATH_MAX)
			return 0;
		log_error("%s: the name is too long", name);
		return -ENAMETOOLONG;
	}
	if (directory) {
		if (snprintf(path, PATH_MAX, "%s/%s", directory, name) < PATH_MAX &&
			access(path, X_OK) == 0)
			return 0;
		log_error("%s: not found in VENEER_HELPERS=%s", name, directory);
		return -ENOENT;
	}
	length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (length < 0) {
		int error = errno;

		log_error("%s: cannot find it: /proc/self/exe: %s", name, strerror(error));
		return -error;
	}
	self[length] = 0;
	strrchr(self, '/')[1] = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++)
		if (snprintf(path, PATH_MAX, "%s%s%s", self, places[i], name) < PATH_MAX &&
			access(path, X_OK) == 0)
			return 0;
	log_error("%s: not found in %s, nor in %s%s", name, self, self, places[1]);
	return -ENOENT;
}

/* --- the child --- */

struct child {
	const char *path;
	char **arguments;
	const int *fds;
	unsigned fd_count;
	int null_fd, message_fd;
	int death_signal; /* when the thread that starts it ends */
	pid_t parent;
	volatile int error; /* why it did not start */
};

/* The handlers of this process must not run in the child, which shares its memory: none is left
 * when signals are let through again. */
static void reset_signals(void)
{
	const struct sigaction standard = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		sigaction(number, &standard, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Give the descriptors their numbers. Each is first moved above all these numbers, since it may
 * bear the number that another is to have. */
static int arrange_fds(const struct child *child)
{
	int above = HELPER_FIRST_FD + (int)child->fd_count;
	int from[HELPER_FIRST_FD + HELPER_MAX_FDS];

	from[STDIN_FILENO] = from[STDOUT_FILENO] = child->null_fd;
	from[STDERR_FILENO] = child->message_fd;
	for (unsigned i = 0; i < child->fd_count; i++)
		from[HELPER_FIRST_FD + i] = child->fds[i];
	for (int i = 0; i < above; i++) {
		from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, above);
		if (from[i] < 0)
			return -errno;
	}
	for (int i = 0; i < above; i++)
		if (dup2(from[i], i) < 0)
			return -errno;
	/* Older kernels lack it, and then what is not marked close-on-exec stays open. */
	syscall(SYS_close_range, above, ~0U, 0);
	return 0;
}

/* In the child of vfork(): it shares our memory, and we wait till it ends or becomes the helper. So
 * it makes system calls only, and stores nothing but child->error. */
__attribute__((noinline, noreturn)) static void become_helper(struct child *child)
{
	reset_signals();
	setsid();
	prctl(PR_SET_PDEATHSIG, child->death_signal);
	/* The parent may have ended before that was set. */
	if (getppid() != child->parent)
		_exit(127);
	child->error = -arrange_fds(child);
	if (!child->error) {
		execve(child->path, child->arguments, environ);
		child->error = errno;
	}
	_exit(127);
}

static pid_t run_child(struct child *child)
{
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	child->parent = getpid();
	pid = vfork();
	if (pid == 0)
		become_helper(child);
	if (pid < 0)
		child->error = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid > 0 && child->error)
		waitpid(pid, NULL, 0);
	return pid;
}

/* --- start --- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Make the pipe for its messages and run it. 0 or -errno. */
static int start(struct helper *helper, struct child *child)
{
	int pipe_fds[2];

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	helper->message_fd = pipe_fds[0];
	child->message_fd = pipe_fds[1];
	fcntl(helper->message_fd, F_SETFL, O_NONBLOCK);
	child->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (child->null_fd < 0)
		return -errno;
	helper->pid = run_child(child);
	if (child->error)
		return -child->error;
	helper->pidfd = (int)syscall(SYS_pidfd_open, helper->pid, 0);
	if (helper->pidfd < 0) {
		int error = errno;

		kill(helper->pid, SIGKILL);
		waitpid(helper->pid, NULL, 0);
		return -error;
	}
	return 0;
}

static int start_named(struct helper *helper, const char *name, const char *const *words,
	const int *fds, unsigned fd_count, int death_signal)
{
	char path[PATH_MAX], *arguments[HELPER_MAX_WORDS + 2] = {path};
	struct child child = {.path = path,
		.arguments = arguments,
		.fds = fds,
		.fd_count = fd_count,
		.null_fd = -1,
		.message_fd = -1,
		.death_signal = death_signal};
	unsigned count = 0;
	int error;

	*helper = (struct helper){.name = name, .pidfd = -1, .message_fd = -1};
	while (words && words[count])
		count++;
	if (fd_count > HELPER_MAX_FDS || count > HELPER_MAX_WORDS)
		return -E2BIG;
	for (unsigned i = 0; i < count; i++)
		arguments[1 + i] = (char *)(uintptr_t)words[i];
	error = helper_find(name, path);
	if (error)
		return error;
	error = start(helper, &child);
	close_fd(&child.null_fd);
	close_fd(&child.message_fd);
	if (error) {
		log_error("%s: cannot start it: %s", path, strerror(-error));
		close_fd(&helper->message_fd);
		helper->pid = 0;
	}
	return error;
}

int helper_start(struct helper *helper, const char *name, const char *const *words, const int *fds,
	unsigned fd_count)
{
	return start_named(helper, name, words, fds, fd_count, SIGKILL);
}

int helper_start_orderly(struct helper *helper, const char *name, const char *const *words,
	const int *fds, unsigned fd_count)
{
	return start_named(helper, name, words, fds, fd_count, SIGTERM);
}

/* --- its messages --- */

static void show_line(struct helper *helper)
{
	helper->line[helper->length] = 0;
	if (helper->length && helper->lines < HELPER_MOST_LINES)
		log_error("%s: %s", helper->name, helper->line);
	else if (helper->length && helper->lines == HELPER_MOST_LINES)
		log_error("%s: what it says from here on is not shown", helper->name);
	helper->lines += helper->length && helper->lines <= HELPER_MOST_LINES;
	helper->length = 0;
}

/* Control characters could be commands to the user's terminal. */
static void take_characters(struct helper *helper, const char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] == '\n' || helper->length == HELPER_LONGEST)
			show_line(helper);
		if (bytes[i] != '\n')
			helper->line[helper->length++] =
				(unsigned char)bytes[i] < ' ' || bytes[i] == 127 ? '?' : bytes[i];
	}
}

/* At most what a pipe holds: a helper that never stops talking does not keep us here. */
int helper_relay(struct helper *helper)
{
	char bytes[4096];

	for (unsigned i = 0; i < 16; i++) {
		ssize_t size = read(helper->message_fd, bytes, sizeof(bytes));

		if (size == 0) {
			show_line(helper);
			return -EPIPE;
		}
		if (size < 0)
			return 0;
		take_characters(helper, bytes, (size_t)size);
	}
	return 0;
}

/* --- its end --- */

static int reap(struct helper *helper, int options)
{
	int status;
	pid_t pid;

	do
		pid = waitpid(helper->pid, &status, options);
	while (pid < 0 && errno == EINTR);
	if (pid == 0)
		return -EAGAIN;
	helper_relay(helper);
	show_line(helper);
	close_fd(&helper->pidfd);
	close_fd(&helper->message_fd);
	helper->pid = 0;
	if (pid < 0)
		return 127;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int helper_reap(struct helper *helper)
{
	return reap(helper, WNOHANG);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int helper_wait(struct helper *helper, unsigned timeout_ms)
{
	struct pollfd fds[] = {{.fd = helper->pidfd, .events = POLLIN},
		{.fd = helper->message_fd, .events = POLLIN}};
	uint64_t deadline = now_ms() + timeout_ms;

	while (!fds[0].revents) {
		uint64_t now = now_ms();

		if (now >= deadline) {
			log_error("%s: has not ended after %u ms, and is killed", helper->name,
				timeout_ms);
			helper_stop(helper);
			return -ETIMEDOUT;
		}
		if (poll(fds, ARRAY_SIZE(fds), (int)MIN(deadline - now, INT_MAX)) < 0)
			continue;
		if (fds[1].revents && helper_relay(helper) < 0)
			fds[1].fd = -1;
	}
	return reap(helper, 0);
}

void helper_end(struct helper *helper, unsigned timeout_ms)
{
	if (!helper->pid)
		return;
	kill(helper->pid, SIGTERM);
	helper_wait(helper, timeout_ms);
}

void helper_stop(struct helper *helper)
{
	if (!helper->pid)
		return;
	kill(helper->pid, SIGKILL);
	reap(helper, 0);
}
