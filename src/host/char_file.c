#include "host/char_file.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct char_file {
	struct char_backend backend;
	const char *option, *path;
	FILE *file; /* line-buffered, so that a reader of the file sees each line when it is done */
	bool failed;
};

/* A full disk must not stop the guest; it costs the rest, and is said once. */
static size_t char_file_write(struct char_backend *backend, const void *bytes, size_t size)
{
	struct char_file *file = (struct char_file *)backend;

	if (file->failed || fwrite(bytes, 1, size, file->file) == size)
		return size;
	file->failed = true;
	log_error("%s %s: cannot write: %s; the rest is lost", file->option, file->path,
		strerror(errno));
	return size;
}

static const struct char_backend_ops char_file_ops = {.write = char_file_write};

struct char_backend *char_file_create(const char *option, const char *path)
{
	struct char_file *file = calloc(1, sizeof(*file));

	if (!file) {
		log_error("%s %s: out of memory", option, path);
		return NULL;
	}
	*file = (struct char_file){.backend.ops = &char_file_ops, .option = option, .path = path};
	file->file = fopen(path, "we");
	if (!file->file) {
		log_error("%s %s: cannot write: %s", option, path, strerror(errno));
		free(file);
		return NULL;
	}
	setvbuf(file->file, NULL, _IOLBF, BUFSIZ);
	return &file->backend;
}

void char_file_destroy(struct char_backend *backend)
{
	struct char_file *file = (struct char_file *)backend;

	if (fclose(file->file) != 0 && !file->failed)
		log_error("%s %s: cannot write: %s", file->option, file->path, strerror(errno));
	free(file);
}
