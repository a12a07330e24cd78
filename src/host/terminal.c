#include "host/terminal.h"

#include "base/bits.h"
#include "base/log.h"
#include "host/fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define CTRL_A 0x01

/* Read by signal handlers, so written once, before they are installed. */
static int terminal_fd = -1;
static struct termios cooked, raw;
static volatile sig_atomic_t is_raw;

/* A process in the background must not set the terminal's modes: it is stopped by SIGTTOU, or,
 * where that is ignored, changes them under the shell that uses the terminal now. */
static bool in_foreground(void)
{
	return tcgetpgrp(terminal_fd) == getpgrp();
}

static void set_modes(const struct termios *modes)
{
	sigset_t ttou, before;

	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &before);
	tcsetattr(terminal_fd, TCSANOW, modes);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void set_raw(void)
{
	is_raw = true; /* first: a signal may come between */
	log_carriage_return = true;
	set_modes(&raw);
}

void terminal_restore(void)
{
	int saved_errno = errno;

	if (is_raw && in_foreground())
		set_modes(&cooked);
	is_raw = false;
	log_carriage_return = false;
	errno = saved_errno;
}

bool terminal_is_raw(void)
{
	return is_raw;
}

/* Do to ourselves what the signal does to a process that does not catch it. */
static void take_default_action(int number)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t set;

	sigaction(number, &action, NULL);
	sigemptyset(&set);
	sigaddset(&set, number);
	raise(number);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void on_fatal(int number)
{
	terminal_restore();
	take_default_action(number);
}

/* A fault that nobody claims: the process dies of it next. */
static bool on_fatal_fault(int number, siginfo_t *info, void *context)
{
	terminal_restore();
	return false;
}

static void install(int number, void (*handler)(int));

static void on_stop(int number)
{
	int saved_errno = errno;

	terminal_restore();
	take_default_action(number);
	/* Continued; SIGCONT's handler comes next. Or not stopped at all: a process group whose
	 * parent is in another session does not stop, and a SIGCONT that came before raise() is
	 * lost by it. */
	install(number, on_stop);
	if (in_foreground())
		set_raw();
	errno = saved_errno;
}

/* The shell may have changed the modes while we were stopped. Started again in the background, we
 * get another SIGCONT when we come to the front. */
static void on_continue(int number)
{
	int saved_errno = errno;

	if (in_foreground())
		set_raw();
	errno = saved_errno;
}

static void install(int number, void (*handler)(int))
{
	/* A thread with a signal stack of its own has it for a reason. */
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART | SA_ONSTACK},
			 before;

	sigfillset(&action.sa_mask);
	/* A signal that our parent had us ignore (nohup), or that has a handler already, is left
	 * alone. */
	if (sigaction(number, NULL, &before) == 0 && before.sa_handler == SIG_DFL)
		sigaction(number, &action, NULL);
}

int terminal_raw(int fd)
{
	static const int fatal[] = {
		SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGALRM, SIGXCPU, SIGXFSZ};

	if (!isatty(fd))
		return 0;
	if (tcgetattr(fd, &cooked) < 0)
		return -errno;
	raw = cooked;
	cfmakeraw(&raw);
	if (terminal_fd < 0) {
		atexit(terminal_restore);
		for (unsigned i = 0; i < ARRAY_SIZE(fatal); i++)
			install(fatal[i], on_fatal);
		fault_handle(FAULT_FATAL, on_fatal_fault);
		install(SIGTSTP, on_stop);
		install(SIGCONT, on_continue);
	}
	terminal_fd = fd;
	set_raw();
	return 0;
}

const char terminal_help[] = "\r\n"
			     "Ctrl-a h  this help\r\n"
			     "Ctrl-a x  quit: end the machine at once\r\n"
			     "Ctrl-a a  send Ctrl-a to the guest (Ctrl-a Ctrl-a does, too)\r\n";

const char terminal_help_shared[] = "Ctrl-a c  go from the guest to the monitor, and back\r\n";

enum terminal_command terminal_parse(struct terminal_parser *parser, const uint8_t *in, size_t size,
	uint8_t *out, size_t *consumed, size_t *produced)
{
	enum terminal_command command = TERMINAL_NONE;
	size_t i, count = 0;

	for (i = 0; i < size && command == TERMINAL_NONE; i++) {
		if (!parser->escaped) {
			if (in[i] == CTRL_A)
				parser->escaped = true;
			else
				out[count++] = in[i];
			continue;
		}
		parser->escaped = false;
		switch (in[i]) {
		case 'x':
			command = TERMINAL_QUIT;
			break;
		case 'h':
			command = TERMINAL_HELP;
			break;
		case 'c':
			if (parser->shared) {
				command = TERMINAL_NEXT;
				break;
			}
			out[count++] = CTRL_A;
			out[count++] = in[i];
			break;
		case 'a':
		case CTRL_A:
			out[count++] = CTRL_A;
			break;
		default:
			out[count++] = CTRL_A;
			out[count++] = in[i];
		}
	}
	*consumed = i;
	*produced = count;
	return command;
}
