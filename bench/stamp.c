/*
 * Run a command and say when each line of its output came.
 *
 *	stamp [-t SECONDS] [-f FIFO] COMMAND [ARGUMENT]...
 *
 * For each line, one line of four fields separated by tabs: the time of its first byte, the time
 * of its newline, how much processor time the command's own process had used by then, the text.
 * After the command has ended, one more:
 *
 *	total <tab> WALL <tab> CPU <tab> exit STATUS | signal NUMBER | timeout
 *
 * Times are seconds since the command was started; CPU is its user and system time. With -f the
 * output is read from FIFO, for a machine whose serial port is a file, and the command's own
 * output is dropped. With -t the command is killed when it was silent for that many seconds.
 *
 * The host's clock decides what a benchmark says, because a simulated machine's clock need not
 * run at the rate of ours.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double started;
static double last_heard;       /* since @started */
static clockid_t command_clock; /* all threads of the command's process */

static void die(const char *what)
{
	fprintf(stderr, "stamp: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double read_clock(clockid_t clock)
{
	struct timespec time;

	if (clock_gettime(clock, &time))
		return 0; /* that of a process which has ended */
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* Cut what came at @when into lines; a line may come in several pieces. */
static void stamp(const char *bytes, ssize_t size, double when)
{
	static char line[1024];
	static size_t length;
	static double first;

	for (ssize_t i = 0; i < size; i++) {
		if (bytes[i] == '\r')
			continue;
		if (length == 0)
			first = when;
		if (bytes[i] == '\n') {
			printf("%.6f\t%.6f\t%.6f\t%.*s\n", first, when, read_clock(command_clock),
				(int)length, line);
			length = 0;
		} else if (length < sizeof(line)) {
			line[length++] = bytes[i];
		}
	}
}

/* Read whatever @fd has; false when it has ended. */
static bool drain(int fd)
{
	char bytes[4096];
	ssize_t size;

	while ((size = read(fd, bytes, sizeof(bytes))) > 0) {
		last_heard = now() - started;
		stamp(bytes, size, last_heard);
	}
	return size < 0 && errno == EAGAIN;
}

static pid_t start(char **command, int output)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t child;

	if (null < 0)
		die("/dev/null");
	started = now();
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(null, STDIN_FILENO);
		dup2(output < 0 ? null : output, STDOUT_FILENO);
		execvp(command[0], command);
		_exit(127);
	}
	close(null);
	if (clock_getcpuclockid(child, &command_clock))
		die("clock_getcpuclockid");
	return child;
}

int main(int argc, char **argv)
{
	struct pollfd polled[2];
	struct rusage usage;
	const char *fifo = NULL;
	double timeout = 0, wall, cpu;
	int option, status, pipes[2] = {-1, -1};
	bool timed_out = false;
	pid_t child;

	while ((option = getopt(argc, argv, "+t:f:")) != -1) {
		if (option == 't')
			timeout = strtod(optarg, NULL);
		else if (option == 'f')
			fifo = optarg;
		else
			return 2;
	}
	if (optind == argc) {
		fputs("stamp: expected a command\n", stderr);
		return 2;
	}

	setvbuf(stdout, NULL, _IOLBF, 0);
	/* Opened for writing too, so that it does not end while the machine has not opened it. */
	if (fifo)
		pipes[0] = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	else if (pipe2(pipes, O_CLOEXEC) == 0)
		fcntl(pipes[0], F_SETFL, O_NONBLOCK);
	if (pipes[0] < 0)
		die(fifo ? fifo : "pipe");

	child = start(argv + optind, pipes[1]);
	if (!fifo)
		close(pipes[1]);
	polled[0] = (struct pollfd){.fd = pipes[0], .events = POLLIN};
	polled[1] = (struct pollfd){.fd = (int)syscall(SYS_pidfd_open, child, 0), .events = POLLIN};
	if (polled[1].fd < 0)
		die("pidfd_open");

	while (!polled[1].revents) {
		double left = timeout ? timeout - (now() - started - last_heard) : 3600;

		if (left <= 0) {
			timed_out = true;
			kill(child, SIGKILL);
			left = 1;
		}
		if (poll(polled, 2, (int)(left * 1000) + 1) < 0)
			die("poll");
		if (polled[0].revents && !drain(pipes[0]))
			polled[0].fd = -1; /* it closed its output but goes on */
	}
	wall = now() - started;
	drain(pipes[0]);
	wait4(child, &status, 0, &usage);

	cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	      (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
	printf("total\t%.6f\t%.6f\t", wall, cpu);
	if (timed_out)
		puts("timeout");
	else if (WIFSIGNALED(status))
		printf("signal %d\n", WTERMSIG(status));
	else
		printf("exit %d\n", WEXITSTATUS(status));
	return 0;
}
