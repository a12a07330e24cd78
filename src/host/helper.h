/* Helper processes: what parses foreign formats and packets runs in an executable of its own, so
 * that its faults, and what a hostile guest or file makes of them, stay outside the monitor.
 *
 * A helper gets the descriptors that it is given, from number 3 on, and no other; its standard
 * input and output are /dev/null. What it writes to its standard error is shown with its name, line
 * by line (helper_relay()). It is in a session of its own, where no key of the terminal reaches it,
 * and it is killed when the thread that started it ends: it never outlives the monitor.
 *
 *	const int fds[] = {far_end};
 *	const char *words[] = {"restrict=on", NULL};
 *	struct helper helper;
 *
 *	if (helper_start(&helper, "veneer-net-user", words, fds, 1) == 0) ...
 */
#ifndef VENEER_HOST_HELPER_H
#define VENEER_HOST_HELPER_H

#include <sys/types.h>

#define HELPER_FIRST_FD   3
#define HELPER_MAX_FDS    16
#define HELPER_MAX_WORDS  32
#define HELPER_LONGEST    240 /* bytes of a line that is shown; the rest of it comes as another */
#define HELPER_MOST_LINES 50  /* lines that are shown of one helper: a guest may cause them */

struct helper {
	const char *name;
	int pidfd;      /* readable when it has ended: helper_reap() */
	int message_fd; /* readable when it has something to say, or has ended: helper_relay() */
	/* Its own. */
	pid_t pid;
	char line[HELPER_LONGEST + 1];
	unsigned length, lines;
};

/* The path (PATH_MAX bytes) of the executable `name`, which is looked for beside this one, then in
 * ../libexec/veneer/ from there; in $VENEER_HELPERS only, where that is set. A name that
 * begins with a slash is a path already. 0, or -errno with a message. */
int helper_find(const char *name, char *path);

/* Start the executable `name`, found by helper_find(). `words`: its arguments after the name, ended
 * by NULL; NULL: none. The caller keeps `fds` and may close them. `name` must live as long as the
 * helper. 0, or -errno with a message, and then there is nothing to stop. */
int helper_start(struct helper *helper, const char *name, const char *const *words, const int *fds,
	unsigned fd_count);

/* The same for a helper that holds data that it has yet to write: the end of the thread asks it to
 * end (SIGTERM), and does not kill it. */
int helper_start_orderly(struct helper *helper, const char *name, const char *const *words,
	const int *fds, unsigned fd_count);

/* Show what the helper has written so far. Does not wait. -EPIPE: it has closed its standard error,
 * so that message_fd stays readable for nothing; else 0. */
int helper_relay(struct helper *helper);

/* Has it ended? Then its exit status, or 128 plus the signal that ended it, as a shell says; all of
 * it is freed, and the descriptors are closed. -EAGAIN: it runs. */
int helper_reap(struct helper *helper);

/* For a helper that does one thing and ends: show its messages and wait for its end, as
 * helper_reap(). Where it takes longer it is killed: -ETIMEDOUT, with a message. */
int helper_wait(struct helper *helper, unsigned timeout_ms);

/* Ask it to end (SIGTERM) if it runs, and wait, as helper_wait(). Frees all of it. */
void helper_end(struct helper *helper, unsigned timeout_ms);

/* Kill it if it runs, and free all of it. Harmless on a helper that has been reaped. */
void helper_stop(struct helper *helper);

#endif
