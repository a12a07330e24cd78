#include "host/disk/internal.h"

#include "host/disk/file_io.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
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

static bool is_raw(const struct disk_config *config)
{
	return strcmp(config->format, "raw") == 0;
}

int disk_config_probe(struct disk_config *config)
{
	const char *format = "raw";

	if (config->format[0] || disk_is_uri(config->path))
		return 0;
	/* A part of an image in another format means nothing. */
	if (!config->offset && !config->size)
		format = format_probe(config->path);
	if (!format)
		return -EINVAL;
	snprintf(config->format, sizeof(config->format), "%s", format);
	config->guessed = true;
	return 0;
}

int disk_serve(struct disk_config *config)
{
	int error = disk_config_probe(config);

	if (error || disk_is_uri(config->path) || is_raw(config) || config->server)
		return error;
	return format_serve(config, &config->server);
}

const char *disk_target(const struct disk_config *config)
{
	if (config->server)
		return disk_server_socket(config->server);
	return disk_is_uri(config->path) ? config->path : NULL;
}

static int open_lower(struct disk_config *config, struct disk **disk)
{
	int error;

	if (disk_is_uri(config->path))
		return nbd_open(config, config->path, NULL, disk);
	error = disk_config_probe(config);
	if (error)
		return error;
	return is_raw(config) ? raw_open(config, disk) : format_open(config, disk);
}

int disk_open(const struct disk_config *config, struct disk **disk)
{
	struct disk_config known = *config;
	int error = open_lower(&known, disk);

	if (!error && config->snapshot && !config->read_only)
		error = overlay_open(*disk, config, disk);
	return error;
}
