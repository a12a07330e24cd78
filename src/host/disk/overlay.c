/* A disk whose writes are kept apart from the disk below it, in a private file that has no name and
 * goes with the process: `snapshot`.
 *
 * The file is as large as the disk, and sparse. A bitmap says which clusters of 64 KiB are in it;
 * reads go to it or to the disk below, cluster by cluster. A write to a cluster that is not there
 * yet ("allocating") first reads from below what it does not itself cover, writes all of it, and
 * then sets the cluster's bit. Two allocating writes that have a cluster in common run one after
 * the other, or the second would put back what the first has written. Once a cluster is there
 * nothing needs an order: the guest's requests that overlap have none either. */
#include "host/disk/internal.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLUSTER (64 * KIB)

struct overlay {
	struct disk disk;
	struct disk *lower, *upper;
	uint64_t *present;              /* a bit for each cluster */
	struct overlay_job *allocating; /* under way and waiting, as they came */
	struct disk_finished finished;
	bool submitting; /* inside submit() */
};

/* A request to the disk above or below, which is a part of one of ours. */
struct part {
	struct disk_request request;
	struct overlay_job *job;
	struct iovec pieces[];
};

struct overlay_job {
	struct overlay *overlay;
	struct disk_request *request;
	unsigned parts;                             /* under way, and one while more are made */
	int error;                                  /* the first */
	void (*next_step)(struct overlay_job *job); /* when no part is under way */

	/* An allocating write. */
	struct overlay_job *next, *next_ready;
	unsigned waits_for;   /* so many that came before it and have a cluster in common with it */
	uint64_t first, last; /* clusters */
	uint8_t *head, *tail; /* what of them the request does not cover */
	uint64_t head_bytes, tail_bytes;
};

/* --- the bitmap --- */

static bool is_present(const struct overlay *overlay, uint64_t cluster)
{
	return overlay->present[cluster / 64] & BIT(cluster % 64);
}

static bool are_present(const struct overlay *overlay, uint64_t first, uint64_t last)
{
	while (first <= last && is_present(overlay, first))
		first++;
	return first > last;
}

static void set_present(struct overlay *overlay, uint64_t first, uint64_t last)
{
	for (; first <= last; first++)
		overlay->present[first / 64] |= BIT(first % 64);
}

/* --- parts --- */

static void finish(struct overlay_job *job)
{
	struct disk_request *request = job->request;
	struct overlay *overlay = job->overlay;
	int error = job->error;

	free(job->head);
	free(job->tail);
	free(job);
	if (overlay->submitting)
		disk_finish_later(&overlay->finished, request, error);
	else
		request->done(request, error);
}

static void part_over(struct overlay_job *job, int error)
{
	if (!job->error)
		job->error = error;
	if (--job->parts == 0)
		job->next_step(job);
}

static void part_done(struct disk_request *request, int error)
{
	struct part *part = container_of(request, struct part, request);
	struct overlay_job *job = part->job;

	free(part);
	part_over(job, error);
}

/* A new part, with room for so many pieces; NULL: the job has failed. */
static struct part *make_part(struct overlay_job *job, enum disk_operation operation,
	uint64_t offset, uint64_t bytes, unsigned pieces)
{
	struct part *part = calloc(1, sizeof(*part) + pieces * sizeof(*part->pieces));

	if (!part) {
		job->error = -EIO;
		return NULL;
	}
	part->job = job;
	part->request = (struct disk_request){.operation = operation,
		.offset = offset,
		.bytes = bytes,
		.unmap = job->request->unmap,
		.pieces = part->pieces,
		.done = part_done};
	return part;
}

static void submit_part(struct part *part, struct disk *disk)
{
	part->job->parts++;
	disk->ops->submit(disk, &part->request);
}

/* A part with the request's own pieces, [offset, offset + bytes) of the disk. */
static void submit_pieces(
	struct overlay_job *job, struct disk *disk, uint64_t offset, uint64_t bytes)
{
	const struct disk_request *request = job->request;
	struct part *part = make_part(job, request->operation, offset, bytes, request->piece_count);
	uint64_t taken;

	if (!part)
		return;
	part->request.piece_count = pieces_slice(request->pieces, request->piece_count,
		offset - request->offset, bytes, part->pieces, request->piece_count, &taken);
	submit_part(part, disk);
}

/* A part that is one buffer. */
static void submit_buffer(struct overlay_job *job, struct disk *disk, enum disk_operation operation,
	uint64_t offset, void *buffer, uint64_t bytes)
{
	struct part *part = bytes ? make_part(job, operation, offset, bytes, 1) : NULL;

	if (!part)
		return;
	part->pieces[0] = (struct iovec){buffer, bytes};
	part->request.piece_count = 1;
	submit_part(part, disk);
}

/* Make the parts of a step, by make(), and go on when all are done. */
static void step(struct overlay_job *job, void (*make)(struct overlay_job *job),
	void (*next_step)(struct overlay_job *job))
{
	job->next_step = next_step;
	job->parts = 1;
	make(job);
	part_over(job, 0);
}

/* --- reading --- */

static void read_runs(struct overlay_job *job)
{
	const struct disk_request *request = job->request;
	struct overlay *overlay = job->overlay;
	uint64_t at = request->offset, end = at + request->bytes;

	while (at < end && !job->error) {
		bool present = is_present(overlay, at / CLUSTER);
		uint64_t run = ALIGN_DOWN(at, CLUSTER) + CLUSTER;

		while (run < end && is_present(overlay, run / CLUSTER) == present)
			run += CLUSTER;
		run = MIN(run, end);
		submit_pieces(job, present ? overlay->upper : overlay->lower, at, run - at);
		at = run;
	}
}

/* --- allocating writes --- */

static bool share_a_cluster(const struct overlay_job *a, const struct overlay_job *b)
{
	return a->first <= b->last && b->first <= a->last;
}

static void begin_allocating(struct overlay_job *job);

/* Those that came later wait for one less; the ones that wait for none begin when the list is as it
 * will be, since one may be over at once, and call this again. */
static void allocated(struct overlay_job *job)
{
	struct overlay_job **link = &job->overlay->allocating, *ready = NULL, *other;
	struct overlay_job **last_ready = &ready;

	if (!job->error)
		set_present(job->overlay, job->first, job->last);
	while (*link != job)
		link = &(*link)->next;
	*link = job->next;
	for (other = job->next; other; other = other->next)
		if (share_a_cluster(job, other) && --other->waits_for == 0) {
			*last_ready = other;
			last_ready = &other->next_ready;
		}
	while ((other = ready)) {
		ready = other->next_ready;
		other->next_ready = NULL;
		begin_allocating(other);
	}
	finish(job);
}

static void write_all(struct overlay_job *job)
{
	const struct disk_request *request = job->request;
	unsigned count = 0, limit = request->piece_count + 2;
	struct part *part = make_part(job, DISK_WRITE, request->offset - job->head_bytes,
		job->head_bytes + request->bytes + job->tail_bytes, limit);

	if (!part)
		return;
	if (job->head_bytes)
		part->pieces[count++] = (struct iovec){job->head, job->head_bytes};
	memcpy(part->pieces + count, request->pieces, request->piece_count * sizeof(struct iovec));
	count += request->piece_count;
	if (job->tail_bytes)
		part->pieces[count++] = (struct iovec){job->tail, job->tail_bytes};
	part->request.piece_count = count;
	submit_part(part, job->overlay->upper);
}

static void zero_all(struct overlay_job *job)
{
	const struct disk_request *request = job->request;
	struct disk *upper = job->overlay->upper;

	submit_buffer(job, upper, DISK_WRITE, request->offset - job->head_bytes, job->head,
		job->head_bytes);
	submit_pieces(job, upper, request->offset, request->bytes);
	submit_buffer(job, upper, DISK_WRITE, request->offset + request->bytes, job->tail,
		job->tail_bytes);
}

static void edges_are_read(struct overlay_job *job)
{
	if (job->error)
		allocated(job);
	else if (job->request->operation == DISK_WRITE)
		step(job, write_all, allocated);
	else
		step(job, zero_all, allocated);
}

static void read_edges(struct overlay_job *job)
{
	const struct disk_request *request = job->request;
	struct overlay *overlay = job->overlay;
	uint64_t end = request->offset + request->bytes;

	if (!is_present(overlay, job->first))
		job->head_bytes = request->offset % CLUSTER;
	if (!is_present(overlay, job->last))
		job->tail_bytes = MIN(ALIGN_UP(end, CLUSTER), overlay->disk.size) - end;
	job->head = job->head_bytes ? aligned_alloc(4096, CLUSTER) : NULL;
	job->tail = job->tail_bytes ? aligned_alloc(4096, CLUSTER) : NULL;
	if ((job->head_bytes && !job->head) || (job->tail_bytes && !job->tail)) {
		job->error = -EIO;
		return;
	}
	submit_buffer(job, overlay->lower, DISK_READ, request->offset - job->head_bytes, job->head,
		job->head_bytes);
	submit_buffer(job, overlay->lower, DISK_READ, end, job->tail, job->tail_bytes);
}

static void begin_allocating(struct overlay_job *job)
{
	step(job, read_edges, edges_are_read);
}

static void allocate(struct overlay_job *job)
{
	struct overlay_job **link = &job->overlay->allocating;

	for (; *link; link = &(*link)->next)
		job->waits_for += share_a_cluster(*link, job);
	*link = job;
	if (!job->waits_for)
		begin_allocating(job);
}

/* --- requests --- */

/* A write where all clusters are there. A flush, though nobody wants this data after the process. A
 * discard: what is not there may stay as it is below. */
static void pass_to_upper(struct overlay_job *job)
{
	submit_pieces(job, job->overlay->upper, job->request->offset, job->request->bytes);
}

static bool must_allocate(struct overlay_job *job)
{
	const struct disk_request *request = job->request;

	if (request->operation != DISK_WRITE && request->operation != DISK_WRITE_ZEROES)
		return false;
	job->first = request->offset / CLUSTER;
	job->last = (request->offset + request->bytes - 1) / CLUSTER;
	return !are_present(job->overlay, job->first, job->last);
}

static void overlay_submit(struct disk *disk, struct disk_request *request)
{
	struct overlay *overlay = container_of(disk, struct overlay, disk);
	bool empty = !request->bytes && request->operation != DISK_FLUSH;
	struct overlay_job *job = empty ? NULL : calloc(1, sizeof(*job));

	if (!job) {
		disk_finish_later(&overlay->finished, request, empty ? 0 : -EIO);
		return;
	}
	job->overlay = overlay;
	job->request = request;
	overlay->submitting = true;
	if (must_allocate(job))
		allocate(job);
	else
		step(job, request->operation == DISK_READ ? read_runs : pass_to_upper, finish);
	overlay->submitting = false;
}

static void overlay_flush_queue(struct disk *disk)
{
	struct overlay *overlay = container_of(disk, struct overlay, disk);

	overlay->lower->ops->flush_queue(overlay->lower);
	overlay->upper->ops->flush_queue(overlay->upper);
}

/* --- opening --- */

static int overlay_start(struct disk *disk, struct worker *worker)
{
	struct overlay *overlay = container_of(disk, struct overlay, disk);
	int error = overlay->lower->ops->start(overlay->lower, worker);

	disk_finished_init(&overlay->finished, worker);
	if (!error)
		error = overlay->upper->ops->start(overlay->upper, worker);
	disk->how = overlay->lower->how;
	return error;
}

static void overlay_destroy(struct disk *disk)
{
	struct overlay *overlay = container_of(disk, struct overlay, disk);

	overlay->lower->ops->destroy(overlay->lower);
	if (overlay->upper)
		overlay->upper->ops->destroy(overlay->upper);
	free(overlay->present);
	free(overlay);
}

static void overlay_abandon(struct disk *disk)
{
	struct disk *lower = container_of(disk, struct overlay, disk)->lower;

	if (lower->ops->abandon)
		lower->ops->abandon(lower);
}

static const struct disk_ops overlay_ops = {
	overlay_start, overlay_submit, overlay_flush_queue, overlay_destroy, overlay_abandon};

/* A new file without a name. The descriptor, or -errno. */
static int make_file(const char *directory)
{
	char path[4096];
	int fd = open(directory, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	/* The file system, or the kernel, has no files without a name. */
	if (snprintf(path, sizeof(path), "%s/veneer-snapshot-XXXXXX", directory) >=
		(int)sizeof(path))
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

/* In TMPDIR, else beside the image, else in /var/tmp. */
static int make_private_file(const struct disk_config *config)
{
	const char *temporary = getenv("TMPDIR"), *directory = temporary;
	char *copy = strdup(config->path);
	int fd;

	if (!copy)
		return -ENOMEM;
	if (!temporary || !*temporary)
		directory = disk_is_uri(copy) ? "/var/tmp" : dirname(copy);
	fd = make_file(directory);
	if (fd < 0 && directory != temporary) {
		directory = "/var/tmp";
		fd = make_file(directory);
	}
	if (fd < 0)
		log_error("%s: cannot make a file for what is written (snapshot) in %s: %s; TMPDIR "
			  "names another directory",
			config->path, directory, strerror(-fd));
	free(copy);
	return fd;
}

static int set_up(struct overlay *overlay, const struct disk_config *config)
{
	uint64_t clusters = (overlay->disk.size + CLUSTER - 1) / CLUSTER;
	int fd, error;

	overlay->present = calloc((clusters + 63) / 64, sizeof(*overlay->present));
	if (!overlay->present) {
		log_error("%s: %s", config->path, strerror(ENOMEM));
		return -ENOMEM;
	}
	fd = make_private_file(config);
	if (fd < 0)
		return fd;
	if (ftruncate(fd, (off_t)overlay->disk.size) < 0) {
		error = -errno;
		log_error("%s: cannot make a file of its size for what is written (snapshot): %s; "
			  "TMPDIR names another directory",
			config->path, strerror(-error));
		close(fd);
		return error;
	}
	return raw_open_private(
		fd, config->path, overlay->disk.size, config->threads, &overlay->upper);
}

int overlay_open(struct disk *lower, const struct disk_config *config, struct disk **disk)
{
	struct overlay *overlay = calloc(1, sizeof(*overlay));
	int error;

	if (!overlay) {
		log_error("%s: %s", config->path, strerror(ENOMEM));
		lower->ops->destroy(lower);
		return -ENOMEM;
	}
	overlay->disk = (struct disk){.ops = &overlay_ops,
		.size = lower->size,
		.can_discard = true,
		.can_write_zeroes = true,
		.block_size = lower->block_size,
		.how = lower->how};
	overlay->lower = lower;
	error = set_up(overlay, config);
	if (error)
		overlay_destroy(&overlay->disk);
	else
		*disk = &overlay->disk;
	return error;
}
