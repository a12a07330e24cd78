#include "host/net/switch_directory.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SUFFIX   ".port"
#define BACKLOG  64
#define PATIENCE 5000 /* ms for the lock, which others hold for the time of a few connects */

static const char hello[8] = "veneer\0\1"; /* and the version */

/* --- the directory --- */

/* A socket's path has at most 107 bytes, and a directory's may be longer: through its descriptor it
 * is short. */
static struct sockaddr_un address_of(const struct switch_directory *directory, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%.40s",
		directory->directory, name);
	return address;
}

static bool is_port(const char *name)
{
	size_t length = strlen(name), suffix = sizeof(SUFFIX) - 1;

	return length > suffix && length < 40 && strcmp(name + length - suffix, SUFFIX) == 0;
}

/* Connect to the machine of that name. Nobody listens at the socket of one that was killed, and
 * under the lock there is none that does not listen yet. */
static void meet(struct switch_directory *directory, const char *name,
	void (*met)(void *opaque, int socket), void *opaque)
{
	struct sockaddr_un address = address_of(directory, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
		met(opaque, fd);
		return;
	}
	if (fd >= 0 && errno == ECONNREFUSED)
		unlinkat(directory->directory, name, 0);
	else
		log_warning("--net switch: no connection to %s: %s", name, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static int meet_all(
	struct switch_directory *directory, void (*met)(void *opaque, int socket), void *opaque)
{
	int fd = fcntl(directory->directory, F_DUPFD_CLOEXEC, 0);
	DIR *names = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (!names) {
		int error = errno;

		if (fd >= 0)
			close(fd);
		return -error;
	}
	rewinddir(names);
	while ((entry = readdir(names)))
		if (is_port(entry->d_name))
			meet(directory, entry->d_name, met, opaque);
	closedir(names);
	return 0;
}

static int listen_here(struct switch_directory *directory)
{
	struct sockaddr_un address;
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	snprintf(directory->name, sizeof(directory->name), "%016llx" SUFFIX,
		(unsigned long long)random);
	address = address_of(directory, directory->name);
	directory->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (directory->listener < 0 ||
		bind(directory->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(directory->listener, BACKLOG) < 0) {
		int error = errno;

		return -error;
	}
	return 0;
}

/* Two machines that come at once take turns, or each would connect to the other. The lock ends with
 * the descriptor. */
static int take_lock(const struct switch_directory *directory)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	int fd = openat(directory->directory, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	for (unsigned waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += 10) {
		if (waited >= PATIENCE) {
			close(fd);
			return -EBUSY;
		}
		nanosleep(&pause, NULL);
	}
	return fd;
}

int switch_directory_join(struct switch_directory *directory, const char *path,
	void (*met)(void *opaque, int socket), void *opaque)
{
	int lock, error;

	*directory = (struct switch_directory){.listener = -1};
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		log_debug("--net switch=%s: mkdir: %s", path, strerror(errno));
	directory->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	error = directory->directory < 0 ? -errno : 0;
	lock = error ? error : take_lock(directory);
	if (lock < 0) {
		log_error("--net switch=%s: %s", path,
			lock == -ENOTDIR
				? "it is to be a directory, which is made where it is missing"
				: strerror(-lock));
		return lock;
	}
	error = meet_all(directory, met, opaque);
	if (!error)
		error = listen_here(directory);
	if (error)
		log_error("--net switch=%s: cannot listen there: %s", path, strerror(-error));
	close(lock);
	return error;
}

int switch_directory_accept(struct switch_directory *directory)
{
	int fd = accept4(directory->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return fd < 0 ? -EAGAIN : fd;
}

void switch_directory_leave(struct switch_directory *directory)
{
	if (directory->directory < 0)
		return;
	if (directory->name[0])
		unlinkat(directory->directory, directory->name, 0);
	if (directory->listener >= 0)
		close(directory->listener);
	close(directory->directory);
	*directory = (struct switch_directory){.directory = -1, .listener = -1};
}

/* --- hello --- */

union descriptors {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int switch_send_hello(int socket, int memory)
{
	struct iovec piece = {(void *)(uintptr_t)hello, sizeof(hello)};
	union descriptors descriptors = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
						 .cmsg_level = SOL_SOCKET,
						 .cmsg_type = SCM_RIGHTS}};
	struct msghdr message = {.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = &descriptors,
		.msg_controllen = sizeof(descriptors)};

	memcpy(CMSG_DATA(&descriptors.header), &memory, sizeof(memory));
	return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(hello) ? 0 : -EIO;
}

/* The one descriptor of a message; all are closed, and -EPROTO, where there is not exactly one. */
static int take_descriptor(struct msghdr *message)
{
	int found = -EPROTO, count = 0;

	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part;
		part = CMSG_NXTHDR(message, part)) {
		size_t size = part->cmsg_len - CMSG_LEN(0);

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= size; at += sizeof(int), count++) {
			if (count)
				close(found);
			memcpy(&found, CMSG_DATA(part) + at, sizeof(found));
		}
	}
	if (count == 1)
		return found;
	if (count)
		close(found);
	return -EPROTO;
}

int switch_take_hello(int socket)
{
	char bytes[sizeof(hello)];
	struct iovec piece = {bytes, sizeof(bytes)};
	union descriptors descriptors;
	struct msghdr message = {.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = &descriptors,
		.msg_controllen = sizeof(descriptors)};
	ssize_t size = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int memory;

	if (size < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : -EPROTO;
	memory = take_descriptor(&message);
	if (memory >= 0 && (size != sizeof(hello) || memcmp(bytes, hello, sizeof(hello)) != 0)) {
		close(memory);
		return -EPROTO;
	}
	return memory;
}
