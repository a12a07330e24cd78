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

/* The helper sees the bytes of a file, not the disk that a format makes of them. */
static bool is_raw(const struct disk_config *disk, int fd)
{
	char magic[4] = "";

	if (disk->format[0])
		return strcmp(disk->format, "raw") == 0;
	return pread(fd, magic, sizeof(magic), 0) < 0 || memcmp(magic, "QFI\xfb", 4) != 0;
}

static int refuse_format(const struct disk_config *disk)
{
	log_error("%s: a kernel can be read out of raw disks only; give a --kernel and --initrd",
		disk->path);
	return -EINVAL;
}

static int run_helper(const struct disk_config *disk, const int fds[FDS])
{
	char start[24], size[24];
	const char *words[] = {start, size, NULL};
	struct helper helper;
	int status;

	snprintf(start, sizeof(start), "%llu", (unsigned long long)disk->offset);
	snprintf(size, sizeof(size), "%llu", (unsigned long long)disk->size);
	status = helper_start(&helper, "veneer-disk-boot", words, fds, FDS);
	if (status == 0)
		status = helper_wait(&helper, TIMEOUT_MS);
	if (status == 0 && size_of(fds[KERNEL]))
		return 0;
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

int disk_boot_read(struct disk_boot *boot, const struct disk_config *disk)
{
	int fds[FDS] = {-1, -1, -1, -1}, error;

	*boot = (struct disk_boot){-1, -1, NULL};
	if (strncmp(disk->path, "nbd", 3) == 0 && strstr(disk->path, "://"))
		return refuse_format(disk);
	error = open_fds(disk->path, fds);
	if (!error && !is_raw(disk, fds[DISK]))
		error = refuse_format(disk);
	if (!error)
		error = run_helper(disk, fds);
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
