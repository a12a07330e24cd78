#include "helper/disk_source.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int disk_source_file(struct disk_source *source, int fd, uint64_t start, uint64_t size)
{
	/* A block device has no size for fstat(2), but an end. */
	off_t end = lseek(fd, 0, SEEK_END);

	if (end < 0)
		return -errno;
	if (start > (uint64_t)end || size > (uint64_t)end - start)
		return -EINVAL;
	*source = (struct disk_source){
		.fd = fd, .start = start, .size = size ? size : (uint64_t)end - start};
	return 0;
}

void disk_source_bytes(struct disk_source *source, const void *bytes, uint64_t size)
{
	*source = (struct disk_source){.fd = -1, .bytes = bytes, .size = size};
}

void disk_source_other(struct disk_source *source, uint64_t start, uint64_t size,
	int (*read)(uint64_t offset, void *buffer, size_t bytes))
{
	*source = (struct disk_source){.fd = -1, .start = start, .size = size, .read = read};
}

int disk_source_read(const struct disk_source *source, uint64_t offset, void *buffer, size_t bytes)
{
	uint8_t *to = buffer;
	ssize_t done;

	if (offset > source->size || bytes > source->size - offset)
		return -EINVAL;
	if (source->read)
		return source->read(source->start + offset, buffer, bytes);
	if (source->fd < 0) {
		memcpy(to, source->bytes + offset, bytes);
		return 0;
	}
	while (bytes) {
		done = pread(source->fd, to, bytes, (off_t)(source->start + offset));
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		to += done;
		offset += (uint64_t)done;
		bytes -= (size_t)done;
	}
	return 0;
}
