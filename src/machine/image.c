#include "machine/image.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

void image_error(const struct image *image, const char *format, ...)
{
	char message[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	log_error("%s %s: %s", image->option, image->path, message);
}

int image_open(struct image *image, const char *option, const char *path)
{
	/* O_NONBLOCK: opening a FIFO must not wait for its writer, only to refuse it below. */
	return image_from_fd(image, option, path, open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
}

int image_from_fd(struct image *image, const char *option, const char *path, int fd)
{
	struct stat status;
	int error;

	*image = (struct image){.option = option, .path = path, .fd = fd};
	if (image->fd < 0 || fstat(image->fd, &status) < 0) {
		error = -errno;
		image_error(image, "cannot open: %s", strerror(errno));
		image_close(image);
		return error;
	}
	if (S_ISREG(status.st_mode) && status.st_size > 0) {
		image->size = (uint64_t)status.st_size;
		return 0;
	}
	if (S_ISREG(status.st_mode))
		image_error(image, "the file is empty");
	else
		image_error(image, "%s; expected a regular file",
			S_ISDIR(status.st_mode) ? "is a directory" : "not a regular file");
	image_close(image);
	return -EINVAL;
}

void image_from_bytes(struct image *image, const char *option, const void *bytes, uint64_t size)
{
	*image = (struct image){
		.option = option, .path = "(memory)", .size = size, .fd = -1, .bytes = bytes};
}

void image_close(struct image *image)
{
	if (image->fd >= 0)
		close(image->fd);
	image->fd = -1;
}

static bool holds(const struct image *image, uint64_t offset, uint64_t size)
{
	return offset <= image->size && size <= image->size - offset;
}

int image_read(const struct image *image, uint64_t offset, void *buffer, uint64_t size)
{
	uint8_t *to = buffer;
	ssize_t done;
	int error;

	if (!holds(image, offset, size))
		return -EINVAL;
	if (image->fd < 0) {
		memcpy(to, image->bytes + offset, size);
		return 0;
	}
	while (size) {
		done = pread(image->fd, to, size, (off_t)offset);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0) {
			error = -errno;
			image_error(image, "cannot read: %s", strerror(errno));
			return error;
		}
		if (done == 0) {
			image_error(image, "the file shrank while it was read");
			return -EIO;
		}
		to += done;
		offset += (uint64_t)done;
		size -= (uint64_t)done;
	}
	return 0;
}

int image_load(const struct image *image, uint64_t offset, struct memory *memory, uint8_t *to,
	uint64_t size)
{
	off_t from = (off_t)offset;
	ssize_t done;

	if (!holds(image, offset, size))
		return -EINVAL;
	if (image->fd >= 0 && lseek(memory->fd, to - memory->ram, SEEK_SET) >= 0) {
		while (size && (done = sendfile(memory->fd, image->fd, &from, size)) > 0) {
			to += done;
			size -= (uint64_t)done;
		}
	}
	/* Copy what sendfile(2) has not: all of it where the image is not a file or cannot be sent.
	 * A file that cannot be read, or has shrunk, gets its message here. */
	return image_read(image, (uint64_t)from, to, size);
}
