#include "host/unix_socket.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16
/* What the name of a socket in the making is longer by: ".PID" and its end. */
#define ASIDE_ROOM      12
#define PATH_MAX_LENGTH (sizeof(((struct sockaddr_un *)0)->sun_path) - ASIDE_ROOM)

/* False, with a message that begins with `option`, "" for none: the path is too long. */
static bool make_address(struct sockaddr_un *address, const char *option, const char *path)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (*path && strlen(path) <= PATH_MAX_LENGTH) {
		strcpy(address->sun_path, path);
		return true;
	}
	log_error("%s%s%s: expected the path of a socket, 1 to %zu characters", option,
		*option ? " " : "", path, PATH_MAX_LENGTH);
	return false;
}

/* Is it a socket at which no process listens? */
static bool is_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;
	struct stat status;

	if (fd < 0)
		return false;
	error = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? errno : 0;
	close(fd);
	return error == ECONNREFUSED && lstat(address->sun_path, &status) == 0 &&
	       S_ISSOCK(status.st_mode);
}

/* Give a socket that listens at `aside` the name `path`. Two machines may do so at once, and both
 * have seen a stale socket there: so what was there is looked at again when nobody else can have
 * it any more, and put back where it has come to life meanwhile. */
static int move_into_place(const struct sockaddr_un *aside, const struct sockaddr_un *path)
{
	if (renameat2(AT_FDCWD, aside->sun_path, AT_FDCWD, path->sun_path, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (!is_stale(path))
		return -EADDRINUSE;
	if (renameat2(AT_FDCWD, aside->sun_path, AT_FDCWD, path->sun_path, RENAME_EXCHANGE) < 0)
		return -errno;
	if (is_stale(aside))
		return unlink(aside->sun_path) < 0 ? -errno : 0;
	renameat2(AT_FDCWD, aside->sun_path, AT_FDCWD, path->sun_path, RENAME_EXCHANGE);
	return -EADDRINUSE;
}

/* The socket listens before its file has the name that clients know: whoever finds it, gets in. */
static int bind_and_listen(struct unix_socket *socket, const struct sockaddr_un *address)
{
	struct sockaddr_un aside = *address;
	struct stat status;
	int error;

	snprintf(aside.sun_path + strlen(aside.sun_path), ASIDE_ROOM, ".%d", (int)getpid());
	if (bind(socket->fd, (const struct sockaddr *)&aside, sizeof(aside)) < 0)
		return -errno;
	error = listen(socket->fd, BACKLOG) < 0 || lstat(aside.sun_path, &status) < 0
			? -errno
			: move_into_place(&aside, address);
	if (error) {
		unlink(aside.sun_path);
		return error;
	}
	socket->device = status.st_dev;
	socket->inode = status.st_ino;
	return 0;
}

int unix_socket_listen(struct unix_socket *listener, const char *option, const char *path)
{
	struct sockaddr_un address;
	int error;

	if (!make_address(&address, option, path))
		return -EINVAL;
	*listener = (struct unix_socket){
		.path = path, .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
	error = listener->fd < 0 ? -errno : bind_and_listen(listener, &address);
	if (!error)
		return 0;
	if (error == -EADDRINUSE)
		log_error("%s %s: the file is there, and is no socket that is out of use; "
			  "expected a path that is free",
			option, path);
	else
		log_error("%s %s: cannot make the socket: %s", option, path, strerror(-error));
	if (listener->fd >= 0)
		close(listener->fd);
	return error;
}

void unix_socket_close(struct unix_socket *socket)
{
	struct stat status;

	if (lstat(socket->path, &status) == 0 && status.st_dev == socket->device &&
		status.st_ino == socket->inode)
		unlink(socket->path);
	close(socket->fd);
}

int unix_socket_connect(const char *path, int timeout_s)
{
	const struct timeval timeout = {.tv_sec = timeout_s};
	struct sockaddr_un address;
	int fd, error;

	if (!make_address(&address, "", path))
		return -EINVAL;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0 &&
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) == 0 &&
		connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	error = -errno;
	log_error("%s: cannot connect: %s%s", path, strerror(-error),
		error == -ECONNREFUSED ? "; its machine no longer runs" : "");
	if (fd >= 0)
		close(fd);
	return error;
}
