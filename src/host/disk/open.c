#include "host/disk/internal.h"

#include "host/disk/file_io.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>

struct file_io *file_io_start(struct worker *worker, bool threads)
{
	struct file_io *io = threads ? NULL : uring_start(worker);

	if (!io)
		io = threads_start(worker);
	if (!io)
		log_error("cannot start threads for a disk: %s", strerror(ENOMEM));
	return io;
}

static int open_lower(const struct disk_config *config, struct disk **disk)
{
	const char *format = config->format;
	bool guessed = !*format;

	if (disk_is_uri(config->path))
		return nbd_open(config, config->path, NULL, disk);
	if (guessed)
		format = config->offset || config->size ? "raw" : format_probe(config->path);
	if (!format)
		return -EINVAL;
	if (strcmp(format, "raw") == 0)
		return raw_open(config, disk);
	return format_open(config, format, guessed, disk);
}

int disk_open(const struct disk_config *config, struct disk **disk)
{
	int error = open_lower(config, disk);

	if (!error && config->snapshot && !config->read_only)
		error = overlay_open(*disk, config, disk);
	return error;
}
