#include "helper/tftp_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int root = -1;

/* The descriptor, or -1 with errno. Of a file only: a FIFO could make us wait. */
static int open_below(const char *name)
{
	const struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	struct stat status;
	int fd;

	while (*name == '/')
		name++;
	fd = (int)syscall(SYS_openat2, root, *name ? name : ".", &how, sizeof(how));
	if (fd < 0 || (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)))
		return fd;
	close(fd);
	errno = EACCES;
	return -1;
}

/* What follows the prefix, or NULL. */
static const char *below(const char *path)
{
	size_t length = strlen(TFTP_PREFIX);

	return strncmp(path, TFTP_PREFIX, length) == 0 ? path + length : NULL;
}

int tftp_files_set(int directory)
{
	const struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
	int fd = (int)syscall(SYS_openat2, directory, ".", &how, sizeof(how));

	if (fd < 0)
		return -errno;
	close(fd);
	root = directory;
	return 0;
}

/* --- what libslirp calls instead of the C library's --- */

int tftp_open(const char *path, int flags, ...) __asm__("open64");
int tftp_stat(const char *path, struct stat *status) __asm__("stat64");

__attribute__((visibility("default"))) int tftp_open(const char *path, int flags, ...)
{
	const char *name = below(path);
	mode_t mode = 0;
	va_list rest;

	va_start(rest, flags);
	if (flags & (O_CREAT | __O_TMPFILE))
		mode = va_arg(rest, mode_t);
	va_end(rest);
	return name ? open_below(name) : openat(AT_FDCWD, path, flags, mode);
}

__attribute__((visibility("default"))) int tftp_stat(const char *path, struct stat *status)
{
	const char *name = below(path);
	int fd, error;

	if (!name)
		return fstatat(AT_FDCWD, path, status, 0);
	fd = open_below(name);
	if (fd < 0)
		return -1;
	error = fstat(fd, status);
	close(fd);
	return error;
}
