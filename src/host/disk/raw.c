/* A file or block device, or a part of one, as it is.
 *
 * A request is one job of file_io or several, one after the other: what a call left is asked for
 * again, and what the file system cannot do is done by the next best call.
 *
 * Past the page cache (O_DIRECT) the kernel wants addresses in memory and in the file to be
 * multiples of the storage's block. Requests that are not go through a bounce buffer; a write that
 * covers a block in part reads it first, and is alone while it does: what lies in the same block
 * may be another request's. */
#include "host/disk/raw.h"

#include "host/disk/file_io.h"
#include "host/disk/internal.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BOUNCE_BYTES (256 * KIB)
#define MAX_BOUNCES  32         /* requests that have a bounce buffer at one time */
#define ZERO_BYTES   (64 * KIB) /* of zeros that are written where nothing better is to be had */

/* Calls that make zeros, the best first; where the file system does not know one, the next. */
enum zero_call { PUNCH_HOLE, ZERO_RANGE, WRITE_ZEROS };

struct raw_job {
	struct file_job job;
	struct raw *raw;
	struct raw_job *next_spare;
	struct disk_request *request;
	uint64_t position;   /* bytes of the request that are done */
	struct iovec *rest;  /* pieces for what a short call left */
	enum zero_call zero; /* WRITE_ZEROES: the call under way */
	bool syncing;        /* WRITE_ZEROES: the flush after it */
	bool filling;        /* the bounce buffer is read before it is written */
	bool alone;
	uint8_t *bounce;
	struct iovec bounce_piece;
};

static uint8_t zeros[ZERO_BYTES] __attribute__((aligned(4096)));

static void submit_next(struct raw_job *job);

/* --- completion --- */

static const char *const operation_names[] = {[DISK_READ] = "read",
	[DISK_WRITE] = "write",
	[DISK_FLUSH] = "flush",
	[DISK_DISCARD] = "discard",
	[DISK_WRITE_ZEROES] = "write zeroes"};

/* What the guest is told, and the user: the first time for each kind. */
static int guest_error(struct raw *raw, const struct raw_job *job, int error)
{
	const struct disk_request *request = job->request;
	bool full = error == -ENOSPC || error == -EDQUOT || error == -EFBIG;
	int told = full ? -ENOSPC : error == -EOPNOTSUPP ? error : -EIO;

	if (told != -EOPNOTSUPP && !(raw->told_errors & (1U << full))) {
		raw->told_errors |= 1U << full;
		log_warning("%s: %s at byte %llu: %s; the guest is told, further errors are not "
			    "reported",
			raw->name, operation_names[request->operation],
			(unsigned long long)(request->offset + job->position), strerror(-error));
	}
	return told;
}

static void release_held(struct raw *raw);

static void finish(struct raw_job *job, int error)
{
	struct disk_request *request = job->request;
	struct raw *raw = job->raw;

	if (error)
		error = guest_error(raw, job, error);
	raw->running--;
	raw->alone &= !job->alone;
	raw->bounces -= job->bounce != NULL;
	free(job->bounce);
	free(job->rest);
	job->next_spare = raw->spare;
	raw->spare = job;
	request->done(request, error);
	release_held(raw);
}

/* --- reading and writing --- */

/* The file's place of what is to be done next. */
static uint64_t place(const struct raw_job *job)
{
	return job->raw->start + job->request->offset + job->position;
}

static bool is_write(const struct raw_job *job)
{
	return job->request->operation != DISK_READ;
}

static void submit(struct raw_job *job, enum file_call call, const struct iovec *pieces,
	unsigned count, uint64_t offset)
{
	job->job.call = call;
	job->job.pieces = pieces;
	job->job.piece_count = count;
	job->job.offset = offset;
	job->job.durable = call == FILE_WRITE && job->request->fua && !job->raw->unsafe &&
			   job->request->operation == DISK_WRITE;
	file_io_submit(job->raw->io, &job->job);
}

/* The aligned stretch of the file around what is to be done next. */
static uint64_t bounce_start(const struct raw_job *job)
{
	return ALIGN_DOWN(place(job), job->raw->alignment);
}

static uint64_t bounce_end(const struct raw_job *job)
{
	uint64_t end = job->raw->start + job->request->offset + job->request->bytes;

	return MIN(ALIGN_UP(end, job->raw->alignment), bounce_start(job) + BOUNCE_BYTES);
}

/* Bytes of the request in this stretch. */
static uint64_t bounce_bytes(const struct raw_job *job)
{
	return MIN(bounce_end(job) - place(job), job->request->bytes - job->position);
}

static void submit_bounce(struct raw_job *job, enum file_call call)
{
	job->bounce_piece = (struct iovec){job->bounce, bounce_end(job) - bounce_start(job)};
	submit(job, call, &job->bounce_piece, 1, bounce_start(job));
}

/* The guest's bytes into the bounce buffer, and that into the file. */
static void write_bounce(struct raw_job *job)
{
	const struct disk_request *request = job->request;
	uint8_t *to = job->bounce + (place(job) - bounce_start(job));

	if (request->operation == DISK_WRITE_ZEROES)
		memset(to, 0, bounce_bytes(job));
	else
		pieces_copy_out(request->pieces, request->piece_count, job->position, to,
			bounce_bytes(job));
	submit_bounce(job, FILE_WRITE);
}

static void begin_bounce(struct raw_job *job)
{
	bool whole = place(job) == bounce_start(job) &&
		     place(job) + bounce_bytes(job) == bounce_end(job);

	job->filling = is_write(job) && !whole;
	if (is_write(job) && whole)
		write_bounce(job);
	else
		submit_bounce(job, FILE_READ);
}

/* A call on the bounce buffer has returned. The number of the request's bytes that are done. */
static int64_t bounce_result(struct raw_job *job, int64_t result)
{
	uint64_t skipped = place(job) - bounce_start(job), got;

	if (result <= 0)
		return result;
	if ((uint64_t)result <= skipped)
		return is_write(job) ? -EIO : 0;
	got = MIN((uint64_t)result - skipped, bounce_bytes(job));
	if (!is_write(job))
		pieces_copy_in(job->request->pieces, job->request->piece_count, job->position,
			job->bounce + skipped, got);
	return (int64_t)got;
}

static void submit_zeros(struct raw_job *job)
{
	uint64_t left = job->request->bytes - job->position;

	job->bounce_piece = (struct iovec){zeros, MIN(left, ZERO_BYTES)};
	submit(job, FILE_WRITE, &job->bounce_piece, 1, place(job));
}

static void submit_pieces(struct raw_job *job)
{
	const struct disk_request *request = job->request;
	enum file_call call = is_write(job) ? FILE_WRITE : FILE_READ;
	unsigned limit = MIN(request->piece_count, IOV_MAX);
	uint64_t taken;

	if (!job->position) {
		submit(job, call, request->pieces, limit, place(job));
		return;
	}
	if (!job->rest)
		job->rest = calloc(limit, sizeof(*job->rest));
	if (!job->rest) {
		finish(job, -ENOMEM);
		return;
	}
	limit = pieces_slice(request->pieces, request->piece_count, job->position, UINT64_MAX,
		job->rest, limit, &taken);
	submit(job, call, job->rest, limit, place(job));
}

/* A read came to the file's end. What is left of the last sector of a file that ends within one
 * reads as zeros; otherwise the file has shrunk. */
static void read_ended(struct raw_job *job)
{
	const struct disk_request *request = job->request;

	if (place(job) < job->raw->file_end || request->bytes - job->position >= DISK_SECTOR) {
		finish(job, -EIO);
		return;
	}
	pieces_clear(request->pieces, request->piece_count, job->position);
	finish(job, 0);
}

static void transferred(struct raw_job *job, int64_t result)
{
	if (job->filling && result >= 0) {
		uint64_t length = bounce_end(job) - bounce_start(job);

		job->filling = false;
		if ((uint64_t)result < length) /* the file ends here */
			memset(job->bounce + result, 0, length - (uint64_t)result);
		write_bounce(job);
		return;
	}
	if (job->bounce)
		result = bounce_result(job, result);
	if (result > 0)
		job->position += (uint64_t)result;
	if (result < 0 || (result == 0 && is_write(job)))
		finish(job, result ? (int)result : -EIO);
	else if (job->position == job->request->bytes)
		submit_next(job);
	else if (result == 0 || (!is_write(job) && place(job) == job->raw->file_end))
		read_ended(job);
	else
		submit_next(job);
}

/* --- zeros and discarding --- */

static void submit_allocate(struct raw_job *job, int mode)
{
	job->job.call = FILE_ALLOCATE;
	job->job.mode = mode | FALLOC_FL_KEEP_SIZE;
	job->job.offset = place(job);
	job->job.bytes = job->request->bytes;
	file_io_submit(job->raw->io, &job->job);
}

static void submit_discard(struct raw_job *job)
{
	if (!job->raw->block_device) {
		submit_allocate(job, FALLOC_FL_PUNCH_HOLE);
		return;
	}
	job->job.call = FILE_DISCARD;
	job->job.offset = place(job);
	job->job.bytes = job->request->bytes;
	file_io_submit(job->raw->io, &job->job);
}

static void submit_zero_call(struct raw_job *job)
{
	while (job->raw->missing & (1U << job->zero))
		job->zero++;
	if (job->zero == PUNCH_HOLE)
		submit_allocate(job, FALLOC_FL_PUNCH_HOLE);
	else if (job->zero == ZERO_RANGE)
		submit_allocate(job, FALLOC_FL_ZERO_RANGE);
	else if (job->bounce)
		begin_bounce(job);
	else
		submit_zeros(job);
}

/* The file system has no such call at all. */
static bool is_missing(int64_t result)
{
	return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENODEV || result == -ENOTTY;
}

/* Or it does not make it for this range, or for us. */
static bool is_refused(int64_t result)
{
	return is_missing(result) || result == -EINVAL || result == -EPERM;
}

static void zero_returned(struct raw_job *job, int64_t result)
{
	if (job->zero == WRITE_ZEROS) {
		transferred(job, result);
	} else if (result == 0) {
		job->position = job->request->bytes;
		submit_next(job);
	} else if (is_refused(result)) {
		if (is_missing(result))
			job->raw->missing |= 1U << job->zero;
		job->zero++;
		submit_zero_call(job);
	} else {
		finish(job, (int)result);
	}
}

/* --- requests --- */

/* What is to be done after `position` bytes. */
static void submit_next(struct raw_job *job)
{
	const struct disk_request *request = job->request;
	bool sync = request->operation == DISK_WRITE_ZEROES && request->fua && !job->raw->unsafe;

	if (job->position == request->bytes && request->operation != DISK_FLUSH) {
		job->syncing = sync;
		if (sync)
			submit(job, FILE_SYNC, NULL, 0, 0);
		else
			finish(job, 0);
	} else if (request->operation == DISK_FLUSH) {
		submit(job, FILE_SYNC, NULL, 0, 0);
	} else if (request->operation == DISK_DISCARD) {
		submit_discard(job);
	} else if (request->operation == DISK_WRITE_ZEROES) {
		submit_zero_call(job);
	} else if (job->bounce) {
		begin_bounce(job);
	} else {
		submit_pieces(job);
	}
}

static void returned(struct file_job *file_job, int64_t result)
{
	struct raw_job *job = container_of(file_job, struct raw_job, job);
	enum disk_operation operation = job->request->operation;

	if (operation == DISK_FLUSH || job->syncing)
		finish(job, (int)result);
	else if (operation == DISK_DISCARD) /* a hint: what cannot discard, need not */
		finish(job, is_refused(result) ? 0 : (int)result);
	else if (operation == DISK_WRITE_ZEROES)
		zero_returned(job, result);
	else
		transferred(job, result);
}

static bool covers_blocks(const struct raw *raw, const struct disk_request *request)
{
	return (raw->start + request->offset) % raw->alignment == 0 &&
	       request->bytes % raw->alignment == 0;
}

static bool needs_bounce(const struct raw *raw, const struct disk_request *request)
{
	if (!raw->direct || request->operation == DISK_FLUSH || request->operation == DISK_DISCARD)
		return false;
	if (!covers_blocks(raw, request))
		return true;
	if (request->operation == DISK_WRITE_ZEROES)
		return false;
	for (unsigned i = 0; i < request->piece_count; i++)
		if (((uintptr_t)request->pieces[i].iov_base | request->pieces[i].iov_len) %
			raw->alignment)
			return true;
	return false;
}

static struct raw_job *take_job(struct raw *raw)
{
	struct raw_job *job = raw->spare;

	if (job)
		raw->spare = job->next_spare;
	else
		job = malloc(sizeof(*job));
	return job;
}

/* False where the request has to wait. */
static bool begin(struct raw *raw, struct disk_request *request)
{
	bool bounce = needs_bounce(raw, request);
	bool alone = bounce && request->operation != DISK_READ && !covers_blocks(raw, request);
	struct raw_job *job;

	if (raw->alone || (alone && raw->running) || (bounce && raw->bounces == MAX_BOUNCES))
		return false;
	job = take_job(raw);
	if (!job) {
		disk_finish_later(&raw->finished, request, -EIO);
		return true;
	}
	*job = (struct raw_job){.raw = raw,
		.request = request,
		.zero = request->unmap ? PUNCH_HOLE : ZERO_RANGE,
		.alone = alone,
		.job = {.fd = raw->fd, .done = returned}};
	if (bounce)
		job->bounce = aligned_alloc(RAW_BLOCK, BOUNCE_BYTES);
	if (bounce && !job->bounce) {
		free(job);
		disk_finish_later(&raw->finished, request, -EIO);
		return true;
	}
	raw->running++;
	raw->bounces += bounce;
	raw->alone = alone;
	submit_next(job);
	return true;
}

static void release_held(struct raw *raw)
{
	struct disk_request *request;

	while ((request = raw->held)) {
		struct disk_request *next = request->next;

		if (!begin(raw, request))
			return;
		raw->held = next;
		if (!next)
			raw->held_end = &raw->held;
	}
}

static void raw_submit(struct disk *disk, struct disk_request *request)
{
	struct raw *raw = container_of(disk, struct raw, disk);

	if (request->operation == DISK_FLUSH ? raw->unsafe : !request->bytes) {
		disk_finish_later(&raw->finished, request, 0);
		return;
	}
	if (disk->read_only && request->operation != DISK_READ &&
		request->operation != DISK_FLUSH) {
		disk_finish_later(&raw->finished, request, -EIO);
		return;
	}
	if (!raw->held && begin(raw, request))
		return;
	request->next = NULL;
	*raw->held_end = request;
	raw->held_end = &request->next;
}

static void raw_flush_queue(struct disk *disk)
{
	struct raw *raw = container_of(disk, struct raw, disk);

	file_io_flush(raw->io);
}

/* --- making, starting, destroying --- */

static void idle(void *opaque)
{
	raw_flush_queue(opaque);
}

static int raw_start(struct disk *disk, struct worker *worker)
{
	struct raw *raw = container_of(disk, struct raw, disk);
	int error;

	disk_finished_init(&raw->finished, worker);
	raw->io = file_io_start(worker, raw->threads);
	if (!raw->io)
		return -ENOMEM;
	disk->how = raw->io->how;
	error = worker_add_idle(worker, idle, disk);
	if (error)
		log_error("%s: %s", raw->name, strerror(-error));
	return error;
}

static void raw_destroy(struct disk *disk)
{
	struct raw *raw = container_of(disk, struct raw, disk);
	struct raw_job *job;

	file_io_destroy(raw->io);
	while ((job = raw->spare)) {
		raw->spare = job->next_spare;
		free(job);
	}
	if (raw->fd >= 0)
		close(raw->fd);
	free(raw->name);
	free(raw);
}

static const struct disk_ops raw_ops = {raw_start, raw_submit, raw_flush_queue, raw_destroy, NULL};

struct raw *raw_new(const char *name, int fd)
{
	struct raw *raw = calloc(1, sizeof(*raw));

	if (raw)
		raw->name = strdup(name);
	if (!raw || !raw->name) {
		log_error("%s: %s", name, strerror(ENOMEM));
		free(raw);
		close(fd);
		return NULL;
	}
	raw->disk = (struct disk){.ops = &raw_ops, .block_size = RAW_BLOCK, .how = "not started"};
	raw->fd = fd;
	raw->alignment = DISK_SECTOR;
	raw->file_end = UINT64_MAX;
	raw->held_end = &raw->held;
	return raw;
}

int raw_open_private(int fd, const char *name, uint64_t size, bool threads, struct disk **disk)
{
	struct raw *raw = raw_new(name, fd);

	if (!raw)
		return -ENOMEM;
	raw->unsafe = true;
	raw->threads = threads;
	raw->disk.size = size;
	raw->disk.can_discard = raw->disk.can_write_zeroes = true;
	*disk = &raw->disk;
	return 0;
}
