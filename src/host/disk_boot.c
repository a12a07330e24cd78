#include "host/disk_boot.h"

#include "base/bits.h"
#include "base/log.h"
#include "host/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMEOUT_MS  60000 /* of the helper, which limits its processor time itself */
#define MAX_CMDLINE 8191

#define NO_KERNEL_STATUS 2 /* of the helper */

enum { DISK, KERNEL, INITRD, CMDLINE, FDS };

static uint64_t size_of(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 ? (uint64_t)status.st_size : 0;
}

static int open_fds(const char *path, int fds[FDS])
{
	static const char *const names[] = {
		[KERNEL] = "kernel", [INITRD] = "initrd", [CMDLINE] = "cmdline"};
	int error;

	fds[DISK] = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fds[DISK] < 0) {
		error = -errno;
		log_error("%s: cannot open: %s", path, strerror(errno));
		return error;
	}
	for (unsigned i = KERNEL; i < FDS; i++) {
		fds[i] = memfd_create(names[i], MFD_CLOEXEC);
		if (fds[i] < 0) {
			error = -errno;
			log_error("%s: cannot make a memory file: %s", path, strerror(errno));
			return error;
		}
	}
	return 0;
}

/* `target`: of the NBD server that has the disk, or NULL. */
static int run_helper(const struct disk_config *disk, const char *target, const int fds[FDS])
{
	char start[24], size[24];
	const char *words[] = {start, size, target, NULL};
	struct helper helper;
	int status;

	snprintf(start, sizeof(start), "%llu", (unsigned long long)disk->offset);
	snprintf(size, sizeof(size), "%llu", (unsigned long long)disk->size);
	status = helper_start(&helper, "veneer-disk-boot", words, fds, FDS);
	if (status == 0)
		status = helper_wait(&helper, TIMEOUT_MS);
	if (status == 0 && size_of(fds[KERNEL]))
		return 0;
	if (status == NO_KERNEL_STATUS)
		return -ENODATA;
	log_error("%s: cannot boot from it; give a --kernel, or 'veneer image' makes a disk that "
		  "boots",
		disk->path);
	return status < 0 ? status : -EINVAL;
}

static char *read_cmdline(int fd)
{
	size_t size = MIN(size_of(fd), MAX_CMDLINE);
	char *text = calloc(1, size + 1);
	ssize_t got = text ? pread(fd, text, size, 0) : 0;

	if (got >= 0)
		return text;
	free(text);
	return NULL;
}

static void close_fds(int fds[FDS])
{
	for (unsigned i = 0; i < FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

int disk_boot_read(struct disk_boot *boot, struct disk_config *disk)
{
	int fds[FDS] = {-1, -1, -1, -1}, error;
	const char *target;

	*boot = (struct disk_boot){-1, -1, NULL};
	error = disk_serve(disk);
	target = disk_target(disk);
	if (!error)
		error = open_fds(target ? "/dev/null" : disk->path, fds);
	if (!error)
		error = run_helper(disk, target, fds);
	if (!error && !(boot->cmdline = read_cmdline(fds[CMDLINE])))
		error = -ENOMEM;
	if (!error) {
		boot->kernel_fd = fds[KERNEL];
		fds[KERNEL] = -1;
	}
	if (!error && size_of(fds[INITRD])) {
		boot->initrd_fd = fds[INITRD];
		fds[INITRD] = -1;
	}
	close_fds(fds);
	return error;
}

void disk_boot_free(struct disk_boot *boot)
{
	if (boot->kernel_fd >= 0)
		close(boot->kernel_fd);
	if (boot->initrd_fd >= 0)
		close(boot->initrd_fd);
	free(boot->cmdline);
	*boot = (struct disk_boot){-1, -1, NULL};
}
