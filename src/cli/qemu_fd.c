/* -add-fd: descriptors that whoever starts us has opened, for paths /dev/fdset/N. */
#include "cli/qemu.h"

#include "base/log.h"
#include "base/words.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FDSET   "/dev/fdset/"
#define MAX_SET INT32_MAX

/* What we inherit for -add-fd is ours alone: helpers do not. */
static int take_fd(struct qemu *qemu, const struct qemu_words *words)
{
	static const struct qemu_key keys[] = {{"fd", QEMU_OWN, NULL}, {"set", QEMU_OWN, NULL},
		{"opaque", QEMU_IGNORED, NULL}, {NULL, QEMU_END, NULL}};
	const char *fd = qemu_words_get(words, "fd"), *set = qemu_words_get(words, "set");
	uint64_t number, fd_number;

	if (qemu_words_translate(words, keys, NULL, NULL) < 0)
		return -EINVAL;
	if (!fd || !set || qemu->fd_count == QEMU_MAX_FDS) {
		log_error("-add-fd: expected set=N and fd=N, and at most %d of them", QEMU_MAX_FDS);
		return -EINVAL;
	}
	if (words_number("-add-fd fd=", fd, "a descriptor above 2", 3, 1 << 20, &fd_number) < 0 ||
		words_number("-add-fd set=", set, "the number of a set", 0, MAX_SET, &number) < 0)
		return -EINVAL;
	if (fcntl((int)fd_number, F_SETFD, FD_CLOEXEC) < 0) {
		log_error("-add-fd fd=%s: there is no such descriptor", fd);
		return -EINVAL;
	}
	qemu->fds[qemu->fd_count++] = (struct qemu_fd){(int)fd_number, number};
	return 0;
}

int qemu_add_fd(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	int error = qemu_words_parse(&words, "-add-fd", value, NULL);

	if (error)
		return error;
	error = take_fd(qemu, &words);
	qemu_words_free(&words);
	return error;
}

static bool can_write(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

int qemu_open_fdset(const struct qemu *qemu, const char *option, const char *path)
{
	uint64_t set;
	int fd;

	if (strncmp(path, FDSET, strlen(FDSET)) != 0)
		return -1;
	if (words_number(option, path + strlen(FDSET), "the number of a set", 0, MAX_SET, &set) < 0)
		return -EINVAL;
	for (unsigned i = 0; i < qemu->fd_count; i++)
		if (qemu->fds[i].set == set && can_write(qemu->fds[i].fd)) {
			fd = fcntl(qemu->fds[i].fd, F_DUPFD_CLOEXEC, 3);
			if (fd >= 0)
				return fd;
		}
	log_error("%s %s: that set of -add-fd has no descriptor that can be written", option, path);
	return -EINVAL;
}
