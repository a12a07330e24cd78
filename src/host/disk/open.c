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

int disk_open(const struct disk_config *config, struct disk **disk)
{
	int error = raw_open(config, disk);

	if (!error && config->snapshot && !config->read_only)
		error = overlay_open(*disk, config, disk);
	return error;
}
