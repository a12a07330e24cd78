/* Opening a raw disk: which part of which file it is, how it may be accessed, and whether another
 * machine has it. */
#include "host/disk/raw.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* The descriptor, or -errno with a message. */
static int open_file(const struct disk_config *config)
{
	bool read_only = config->read_only || config->snapshot;
	int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int fd = open(config->path, flags | (config->cache == DISK_DIRECT ? O_DIRECT : 0));
	int error = errno;

	if (fd >= 0) {
		/* O_NONBLOCK was for a FIFO, whose other end open() would wait for. */
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
		return fd;
	}
	if (error == EINVAL && config->cache == DISK_DIRECT)
		log_error("%s: its file system has no access past the page cache (cache=none)",
			config->path);
	else if (!read_only && (error == EACCES || error == EROFS || error == EPERM))
		log_error("cannot open %s for writing: %s; say readonly, or snapshot to keep "
			  "writes elsewhere",
			config->path, strerror(error));
	else
		log_error("cannot open %s: %s", config->path, strerror(error));
	return -error;
}

/* Size of the file or block device; 0 with a message. */
static uint64_t file_size(struct raw *raw)
{
	uint64_t size = 0;
	struct stat status;

	if (fstat(raw->fd, &status) < 0) {
		log_error("%s: %s", raw->name, strerror(errno));
		return 0;
	}
	raw->block_device = S_ISBLK(status.st_mode);
	if (S_ISREG(status.st_mode))
		size = (uint64_t)status.st_size;
	else if (!raw->block_device)
		log_error("%s: expected a file or a block device", raw->name);
	else if (ioctl(raw->fd, BLKGETSIZE64, &size) < 0)
		log_error("cannot find out the size of %s: %s", raw->name, strerror(errno));
	if (!size && (S_ISREG(status.st_mode) || raw->block_device))
		log_error("%s is empty: a disk has 512 bytes or more", raw->name);
	return size;
}

/* The part of the file that is the disk. */
static int set_part(struct raw *raw, const struct disk_config *config)
{
	uint64_t size = file_size(raw), whole = ALIGN_UP(size, DISK_SECTOR);
	uint64_t end = config->offset + config->size;

	if (!size)
		return -EINVAL;
	if (!config->size)
		end = whole;
	if (end > whole || config->offset >= whole) {
		log_error("%s has %llu bytes: offset=%llu,size=%llu is not within", raw->name,
			(unsigned long long)size, (unsigned long long)config->offset,
			(unsigned long long)config->size);
		return -EINVAL;
	}
	raw->start = config->offset;
	raw->disk.size = end - config->offset;
	if (end > size)
		raw->file_end = size;
	return 0;
}

static bool reads_direct(const struct raw *raw, uint8_t *buffer, uint32_t alignment)
{
	return pread(raw->fd, buffer + alignment, alignment, 0) >= 0;
}

/* Find the alignment that the kernel wants of O_DIRECT, by trying. */
static int set_alignment(struct raw *raw, const struct disk_config *config)
{
	static const uint32_t sizes[] = {512, 1024, 2048, 4096};
	uint8_t *buffer = aligned_alloc(4096, 8192);
	unsigned i = 0;

	raw->direct = true;
	while (buffer && i < ARRAY_SIZE(sizes) && !reads_direct(raw, buffer, sizes[i]))
		i++;
	free(buffer);
	if (!buffer || i == ARRAY_SIZE(sizes)) {
		log_error("%s: cannot read past the page cache (cache=none)", raw->name);
		return -EINVAL;
	}
	raw->alignment = sizes[i];
	if ((config->offset | config->size) % raw->alignment) {
		log_error("%s: with cache=none here, offset= and size= must be multiples of %u",
			raw->name, raw->alignment);
		return -EINVAL;
	}
	return 0;
}

static int set_up(struct raw *raw, const struct disk_config *config)
{
	int error;

	raw->unsafe = config->cache == DISK_UNSAFE;
	raw->threads = config->threads;
	raw->disk.read_only = config->read_only || config->snapshot;
	raw->disk.can_discard = raw->disk.can_write_zeroes = !raw->disk.read_only;
	error = set_part(raw, config);
	if (!error && config->cache == DISK_DIRECT)
		error = set_alignment(raw, config);
	if (!error)
		error = disk_lock(raw->fd, raw->name, config->offset, config->size,
			!raw->disk.read_only && !config->share);
	return error;
}

int raw_open(const struct disk_config *config, struct disk **disk)
{
	int fd = open_file(config), error;
	struct raw *raw;

	if (fd < 0)
		return fd;
	raw = raw_new(config->path, fd);
	if (!raw)
		return -ENOMEM;
	error = set_up(raw, config);
	if (error)
		raw->disk.ops->destroy(&raw->disk);
	else
		*disk = &raw->disk;
	return error;
}
