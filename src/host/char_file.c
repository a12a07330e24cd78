#include "host/char_file.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_SIZE 4096

struct char_file {
	struct char_backend backend;
	const char *option, *path;
	int fd;
	bool failed, late;
	size_t used;
	char line[LINE_SIZE]; /* what is not written yet: a reader sees each line when it is done */
};

/* Neither a full disk nor a pipe that nobody reads may stop the guest, or the machine, whose lock
 * is held: the one costs the rest, the other what comes until somebody reads. Each is said once. */
static void write_out(struct char_file *file)
{
	size_t done = 0;
	ssize_t some;

	while (done < file->used && !file->failed) {
		some = write(file->fd, file->line + done, file->used - done);
		if (some > 0) {
			done += (size_t)some;
		} else if (errno == EAGAIN) {
			if (!file->late)
				log_error("%s %s: its reader is too slow: some is lost",
					file->option, file->path);
			file->late = true;
			break;
		} else if (errno != EINTR) {
			file->failed = true;
			log_error("%s %s: cannot write: %s; the rest is lost", file->option,
				file->path, strerror(errno));
		}
	}
	file->used = 0;
}

static size_t char_file_write(struct char_backend *backend, const void *bytes, size_t size)
{
	struct char_file *file = (struct char_file *)backend;

	for (const char *byte = bytes, *end = byte + size; byte < end; byte++) {
		file->line[file->used++] = *byte;
		if (*byte == '\n' || file->used == LINE_SIZE)
			write_out(file);
	}
	return size;
}

static const struct char_backend_ops char_file_ops = {.write = char_file_write};

int char_file_open(const char *path, unsigned flags)
{
	size_t length = strlen(CHAR_FD_PATH);

	/* To open it anew might not be allowed. */
	if (strncmp(path, CHAR_FD_PATH, length) == 0)
		return fcntl(atoi(path + length), F_DUPFD_CLOEXEC, 3);
	return open(path,
		O_WRONLY | O_CREAT | O_CLOEXEC | (flags & CHAR_FILE_APPEND ? O_APPEND : O_TRUNC) |
			(flags & CHAR_FILE_AT_ONCE ? O_NONBLOCK : 0),
		0666);
}

/* Written without waiting. */
static int open_file(const char *path, unsigned flags)
{
	int fd = char_file_open(path, flags);

	if (fd >= 0)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

struct char_backend *char_file_create(const char *option, const char *path, unsigned flags)
{
	struct char_file *file = calloc(1, sizeof(*file));

	if (!file) {
		log_error("%s %s: out of memory", option, path);
		return NULL;
	}
	*file = (struct char_file){.backend = {.ops = &char_file_ops, .open = true},
		.option = option,
		.path = path,
		.fd = open_file(path, flags)};
	if (file->fd < 0) {
		log_error("%s %s: cannot write: %s", option, path, strerror(errno));
		free(file);
		return NULL;
	}
	return &file->backend;
}

void char_file_destroy(struct char_backend *backend)
{
	struct char_file *file = (struct char_file *)backend;

	write_out(file);
	if (close(file->fd) != 0 && !file->failed)
		log_error("%s %s: cannot write: %s", file->option, file->path, strerror(errno));
	free(file);
}
