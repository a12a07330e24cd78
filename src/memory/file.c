#include "memory/internal.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

/* Engines map single pages of it. */
static int check_kind(int fd, const char *path)
{
	struct statfs system;
	struct stat status;

	if (fstat(fd, &status) < 0 || fstatfs(fd, &system) < 0)
		return -errno;
	if (S_ISREG(status.st_mode) && system.f_type != HUGETLBFS_MAGIC)
		return 0;
	log_error("%s: cannot be guest memory: expected a regular file or a directory, not of "
		  "hugetlbfs",
		path);
	return -EINVAL;
}

int memory_open_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666), error;

	if (fd < 0 && errno == EISDIR)
		fd = open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	if (fd < 0) {
		error = -errno;
		log_error("%s: cannot open a file for guest memory: %s", path, strerror(-error));
		return error;
	}
	error = check_kind(fd, path);
	if (!error)
		return fd;
	close(fd);
	return error;
}

int memory_allocate(struct memory *memory)
{
	int error;

	if (madvise(memory->ram, memory->ram_size, MADV_POPULATE_WRITE) == 0)
		return 0;
	error = -errno;
	log_error("cannot allocate %" PRIu64 " MiB of guest memory now: %s%s",
		memory->ram_size / MIB, strerror(-error),
		error == -EINVAL ? "; Linux can since 5.14" : "");
	return error;
}
