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

int disk_serve(const struct disk_config *config, char **target, struct disk_server **server)
{
	struct disk_config reading = *config;
	const char *socket = config->path;
	int error = disk_config_probe(&reading);

	*target = NULL;
	*server = NULL;
	reading.read_only = true;
	if (!error && !disk_is_uri(reading.path)) {
		if (is_raw(&reading))
			return 0;
		error = format_serve(&reading, server, &socket);
	}
	if (!error && !(*target = strdup(socket))) {
		disk_server_stop(*server);
		*server = NULL;
		error = -ENOMEM;
	}
	return error;
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
