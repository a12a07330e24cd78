/* A kernel or initrd file on its way into guest RAM.
 *
 * The file is read, not mapped: a mapping would let anybody who can truncate it kill the monitor
 * with SIGBUS. What goes to guest RAM goes there by sendfile(2), from file to memfd, which takes
 * about half the time of a read into the mapped memfd: no page is zeroed first and none is faulted
 * in. */
#ifndef VENEER_MACHINE_IMAGE_H
#define VENEER_MACHINE_IMAGE_H

#include "memory/memory.h"

struct image {
	const char *option; /* "--kernel": the option that messages name */
	const char *path;
	uint64_t size;
	int fd; /* -1: the bytes are at `bytes`, for tests and fuzzers */
	const uint8_t *bytes;
};

/* Open a regular, non-empty file. `option` and `path` must outlive the image. 0, or -errno with a
 * message. */
int image_open(struct image *image, const char *option, const char *path);
/* An open file, which the image owns from now on, whatever is returned. */
int image_from_fd(struct image *image, const char *option, const char *path, int fd);
/* An image in memory, which must outlive it. */
void image_from_bytes(struct image *image, const char *option, const void *bytes, uint64_t size);
void image_close(struct image *image);

/* Read all of [offset, offset + size). 0; -EINVAL where the image ends before that (not logged:
 * the caller knows what is missing); -errno with a message where the file cannot be read. */
int image_read(const struct image *image, uint64_t offset, void *buffer, uint64_t size);

/* The same, to RAM at the host address `to`, all of it in one piece of RAM. For a machine that does
 * not run yet: copies of code are not dropped. */
int image_load(const struct image *image, uint64_t offset, struct memory *memory, uint8_t *to,
	uint64_t size);

/* Print "<option> <path>: <message>" as an error. */
void image_error(const struct image *image, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
