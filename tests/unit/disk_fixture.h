/* A disk on a worker of its own, and requests that the test's thread waits for. */
#ifndef VENEER_TESTS_DISK_FIXTURE_H
#define VENEER_TESTS_DISK_FIXTURE_H

#include "base/bits.h"
#include "host/disk/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_PIECES 16

struct started {
	struct worker *worker;
	struct disk *disk;
	int error;
};

struct io {
	struct disk_request request;
	struct iovec pieces[MAX_PIECES];
	struct started *on;
	uint8_t *data; /* of all pieces, one after the other */
	int error;
	bool submitting;
	sem_t done;
};

static inline void start_disk(void *opaque)
{
	struct started *started = opaque;

	started->error = started->disk->ops->start(started->disk, started->worker);
}

/* Start a disk that is open. */
static inline struct started start(struct disk *disk)
{
	struct started started = {.worker = worker_create("test-disk"), .disk = disk};

	assert_non_null(started.worker);
	worker_call(started.worker, start_disk, &started);
	assert_int_equal(started.error, 0);
	return started;
}

/* Open and start it by the words of --disk. */
static inline struct started start_config(const char *words)
{
	struct disk_config config;
	struct disk *disk = NULL;

	assert_int_equal(disk_config_parse(&config, "--disk", words), 0);
	assert_int_equal(disk_open(&config, &disk), 0);
	free(config.path);
	return start(disk);
}

/* 0, or why it cannot be opened. */
static inline int try_config(const char *words)
{
	struct disk_config config;
	struct disk *disk = NULL;
	int error = disk_config_parse(&config, "--disk", words);

	if (error)
		return error;
	error = disk_open(&config, &disk);
	free(config.path);
	if (!error)
		disk->ops->destroy(disk);
	return error;
}

static inline void stop(struct started *started)
{
	worker_destroy(started->worker);
	started->disk->ops->destroy(started->disk);
}

static inline void io_done(struct disk_request *request, int error)
{
	struct io *io = container_of(request, struct io, request);

	assert_false(io->submitting);
	io->error = error;
	sem_post(&io->done);
}

static inline void io_submit_on_worker(void *opaque)
{
	struct io *io = opaque;

	io->submitting = true;
	disk_submit(io->on->disk, &io->request);
	io->submitting = false;
}

/* `data` in pieces at random bounds, which are multiples of `grain`. */
static inline void io_scatter(struct io *io, uint64_t bytes, uint64_t grain)
{
	uint64_t at = 0;
	unsigned n = 0;

	while (at < bytes) {
		uint64_t left = bytes - at, size = left;

		if (n + 1 < MAX_PIECES && left > grain && rand() % 3)
			size = MAX(1, (uint64_t)rand() % (left / grain)) * grain;
		io->pieces[n++] = (struct iovec){io->data + at, size};
		at += size;
	}
	io->request.pieces = io->pieces;
	io->request.piece_count = n;
}

static inline void io_begin(struct io *io, struct started *on, enum disk_operation operation,
	uint64_t offset, uint64_t bytes)
{
	io->on = on;
	io->request.operation = operation;
	io->request.offset = offset;
	io->request.bytes = bytes;
	io->request.done = io_done;
	sem_init(&io->done, 0, 0);
	worker_call(on->worker, io_submit_on_worker, io);
}

static inline int io_wait(struct io *io)
{
	while (sem_wait(&io->done) < 0)
		;
	sem_destroy(&io->done);
	return io->error;
}

/* One request, from beginning to end, in one piece. */
static inline int transfer(struct started *on, enum disk_operation operation, uint64_t offset,
	void *data, uint64_t bytes, bool flag)
{
	struct io io = {.data = data, .request = {.fua = flag, .unmap = flag}};

	io.pieces[0] = (struct iovec){data, bytes};
	io.request.pieces = io.pieces;
	io.request.piece_count = data ? 1 : 0;
	io_begin(&io, on, operation, offset, bytes);
	return io_wait(&io);
}

/* --- random requests, compared with a model --- */

#define PARALLEL 8

static inline int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static inline void fill_random(uint8_t *data, uint64_t bytes)
{
	uint64_t x = (uint64_t)rand() << 20 | 1;

	for (uint64_t i = 0; i < bytes; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		data[i] = (uint8_t)x;
	}
}

static inline void begin_random(struct io *io, struct started *on, uint8_t *model, uint64_t offset,
	uint64_t bytes, uint64_t grain)
{
	static const enum disk_operation operations[] = {
		DISK_READ, DISK_READ, DISK_WRITE, DISK_WRITE, DISK_WRITE, DISK_WRITE_ZEROES};
	enum disk_operation operation = operations[rand() % ARRAY_SIZE(operations)];

	*io = (struct io){.request = {.fua = rand() % 16 == 0, .unmap = rand() % 2}};
	io->data = aligned_alloc(4096, ALIGN_UP(bytes + 4096, 4096));
	if (rand() % 2 && grain == 1)
		io->data += 16; /* aligned for nothing */
	fill_random(io->data, bytes);
	io_scatter(io, bytes, grain);
	if (operation == DISK_WRITE)
		memcpy(model + offset, io->data, bytes);
	if (operation == DISK_WRITE_ZEROES)
		memset(model + offset, 0, bytes);
	io_begin(io, on, operation, offset, bytes);
}

static inline void end_random(struct io *io, const uint8_t *model)
{
	uintptr_t start = ALIGN_DOWN((uintptr_t)io->data, 4096);

	assert_int_equal(io_wait(io), 0);
	if (io->request.operation == DISK_READ)
		assert_memory_equal(io->data, model + io->request.offset, io->request.bytes);
	free((void *)start);
}

/* The disk has all of the model. */
static inline void check_contents(struct started *on, const uint8_t *model, uint64_t bytes)
{
	uint8_t *all = malloc(bytes);

	assert_int_equal(transfer(on, DISK_READ, 0, all, bytes, false), 0);
	assert_memory_equal(all, model, bytes);
	free(all);
}

/* Rounds of requests that run at the same time on ranges that do not overlap; the disk's `bytes`
 * (all of them) are compared with `model` (changed along) as they are read, and at the end.
 * `grain`: of the pieces in memory. */
static inline void check_random(
	struct started *on, uint8_t *model, uint64_t bytes, unsigned rounds, uint64_t grain)
{
	for (unsigned round = 0; round < rounds; round++) {
		uint64_t cuts[2 * PARALLEL];
		struct io ios[PARALLEL];

		for (unsigned i = 0; i < 2 * PARALLEL; i++)
			cuts[i] = (uint64_t)rand() % (bytes / DISK_SECTOR + 1) * DISK_SECTOR;
		/* Often all near each other, within a few clusters. */
		for (unsigned i = 0; round % 2 && i < 2 * PARALLEL; i++)
			cuts[i] = MIN(cuts[0] + cuts[i] % (128 * KIB), bytes);
		qsort(cuts, 2 * PARALLEL, sizeof(*cuts), compare_u64);
		for (unsigned i = 0; i < PARALLEL; i++)
			begin_random(&ios[i], on, model, cuts[2 * i], cuts[2 * i + 1] - cuts[2 * i],
				grain);
		for (unsigned i = 0; i < PARALLEL; i++)
			end_random(&ios[i], model);
		if (round % 16 == 0)
			assert_int_equal(transfer(on, DISK_FLUSH, 0, NULL, 0, false), 0);
	}
	check_contents(on, model, bytes);
}

/* --- files --- */

static char directory[] = "/tmp/test-disk-XXXXXX";

static inline int make_directory(void **state)
{
	return !mkdtemp(directory);
}

static inline int remove_directory(void **state)
{
	return rmdir(directory);
}

/* Write `bytes` random bytes to a file in the directory, and to `data` where that is not NULL. */
static inline char *make_file(const char *name, uint64_t bytes, uint8_t *data)
{
	uint8_t *contents = malloc(bytes + 1);
	char *path;
	FILE *file;

	assert_true(asprintf(&path, "%s/%s", directory, name) > 0);
	file = fopen(path, "w");
	assert_non_null(file);
	fill_random(contents, bytes);
	if (data)
		memcpy(data, contents, bytes);
	assert_int_equal(fwrite(contents, 1, bytes, file), bytes);
	fclose(file);
	free(contents);
	return path;
}

static inline char *words(const char *format, ...)
{
	static char text[4][512];
	static unsigned next;
	va_list arguments;

	next = (next + 1) % 4;
	va_start(arguments, format);
	vsnprintf(text[next], sizeof(text[next]), format, arguments);
	va_end(arguments);
	return text[next];
}

/* --- a model of a disk, for groups of tests --- */

static uint8_t *model;

static inline int make_model(void **state, size_t bytes)
{
	model = malloc(bytes);
	return !model || make_directory(state);
}

static inline int free_model(void **state)
{
	free(model);
	return remove_directory(state);
}

#endif
