/* Servers of network block devices. */
#ifndef VENEER_TESTS_NBD_FIXTURE_H
#define VENEER_TESTS_NBD_FIXTURE_H

#include "disk_fixture.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>

static inline bool has_program(const char *program)
{
	return system(words("command -v %s >/dev/null", program)) == 0;
}

/* Start nbdkit with these words, a shell's, at a socket or wherever they say. Wait till it
 * listens: then it has written its number. */
static inline pid_t serve_words(const char *socket, const char *text)
{
	const char *number = words("%s/number", directory);
	char command[1024];
	pid_t pid;

	snprintf(command, sizeof(command), "exec nbdkit -f -P %s %s %s %s", number,
		socket ? "-U" : "", socket ? socket : "", text);
	if (socket)
		unlink(socket);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	while (access(number, F_OK) < 0 && waitpid(pid, NULL, WNOHANG) == 0)
		usleep(1000);
	assert_int_equal(access(number, F_OK), 0);
	unlink(number);
	return pid;
}

static inline void end_server(pid_t pid)
{
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(words("%s/socket", directory));
}

#endif
