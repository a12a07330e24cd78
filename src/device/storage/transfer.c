#include "device/storage/transfer.h"

#include "base/bits.h"

#include <string.h>

/* --- the list --- */

static bool entry_ready(struct sg_list *list)
{
	return list->bytes || list->next(list);
}

static void use(struct sg_list *list, uint64_t bytes)
{
	list->address += bytes;
	list->bytes -= (uint32_t)bytes;
}

uint64_t sg_list_copy(struct sg_list *list, void *buffer, uint64_t bytes, bool to_guest)
{
	uint64_t done = 0;

	while (done < bytes && entry_ready(list)) {
		uint64_t part = MIN(bytes - done, list->bytes);
		uint8_t *at = (uint8_t *)buffer + done;
		int error = to_guest ? dma_write(list->dma, list->address, at, part)
				     : dma_read(list->dma, list->address, at, part);

		if (error)
			break;
		use(list, part);
		done += part;
	}
	return done;
}

/* Take up to `bytes` bytes of the list into the pieces. How many were taken. */
static uint64_t take_pieces(struct transfer *transfer, uint64_t bytes, bool write_memory)
{
	struct sg_list *list = &transfer->list;
	uint64_t taken = 0;

	transfer->piece_count = 0;
	while (taken < bytes && entry_ready(list)) {
		uint64_t part = MIN(bytes - taken, list->bytes);
		int count = dma_range(list->dma, list->address, part, write_memory,
			transfer->pieces + transfer->piece_count,
			TRANSFER_PIECES - transfer->piece_count);

		if (count < 0)
			break;
		transfer->piece_count += (unsigned)count;
		use(list, part);
		taken += part;
	}
	return taken;
}

/* Take bytes off the pieces' end, and put them back to the list. They are fewer than a sector, and
 * may be of several entries: so the list is set to where it was, and used anew. */
static void trim_pieces(struct transfer *transfer, uint64_t excess)
{
	while (excess) {
		struct iovec *last = &transfer->pieces[transfer->piece_count - 1];
		uint64_t part = MIN(excess, last->iov_len);

		last->iov_len -= part;
		excess -= part;
		if (!last->iov_len)
			transfer->piece_count--;
	}
}

/* A request to the disk is whole sectors, whatever the list's entries are. */
static bool take_chunk(struct transfer *transfer)
{
	bool write_memory = transfer->job.request.operation == DISK_READ;
	uint64_t wanted = MIN(transfer->left, TRANSFER_CHUNK);
	struct sg_list before = transfer->list;
	uint64_t taken = take_pieces(transfer, wanted, write_memory);
	uint64_t excess = taken % DISK_SECTOR;

	if (excess) {
		trim_pieces(transfer, excess);
		taken -= excess;
		transfer->list = before;
		for (uint64_t used = 0; used < taken;) {
			uint64_t part;

			if (!entry_ready(&transfer->list))
				return false;
			part = MIN(taken - used, transfer->list.bytes);
			use(&transfer->list, part);
			used += part;
		}
	}
	transfer->chunk = taken;
	return taken;
}

/* --- the transfer --- */

static void next_chunk(struct transfer *transfer)
{
	struct disk_request *request = &transfer->job.request;

	if (!take_chunk(transfer)) {
		transfer->done(transfer, -EFAULT);
		return;
	}
	request->bytes = transfer->chunk;
	request->pieces = transfer->pieces;
	request->piece_count = transfer->piece_count;
	drive_submit(transfer->drive, &transfer->job);
}

static void chunk_done(struct drive_job *job, int error)
{
	struct transfer *transfer = container_of(job, struct transfer, job);

	/* What a read that failed has written is not known. */
	if (job->request.operation == DISK_READ)
		dma_range_written(transfer->list.dma, transfer->pieces, transfer->piece_count,
			transfer->chunk);
	if (error) {
		transfer->done(transfer, error);
		return;
	}
	transfer->moved += transfer->chunk;
	transfer->left -= transfer->chunk;
	job->request.offset += transfer->chunk;
	if (transfer->left)
		next_chunk(transfer);
	else
		transfer->done(transfer, 0);
}

static void begin(struct transfer *transfer, struct drive *drive, enum disk_operation operation,
	uint64_t offset, bool fua)
{
	transfer->drive = drive;
	transfer->moved = 0;
	transfer->job.request =
		(struct disk_request){.operation = operation, .fua = fua, .offset = offset};
}

void transfer_list(struct transfer *transfer, struct drive *drive, enum disk_operation operation,
	uint64_t offset, uint64_t bytes, bool fua)
{
	begin(transfer, drive, operation, offset, fua && operation == DISK_WRITE);
	transfer->job.done = chunk_done;
	transfer->left = bytes;
	next_chunk(transfer);
}

static void all_done(struct drive_job *job, int error)
{
	struct transfer *transfer = container_of(job, struct transfer, job);

	transfer->moved = job->request.bytes;
	transfer->done(transfer, error);
}

void transfer_buffer(struct transfer *transfer, struct drive *drive, enum disk_operation operation,
	uint64_t offset, void *buffer, uint64_t bytes, bool fua)
{
	begin(transfer, drive, operation, offset, fua && operation == DISK_WRITE);
	transfer->job.done = all_done;
	transfer->pieces[0] = (struct iovec){buffer, bytes};
	transfer->job.request.pieces = transfer->pieces;
	transfer->job.request.piece_count = 1;
	transfer->job.request.bytes = bytes;
	drive_submit(drive, &transfer->job);
}

void transfer_flush(struct transfer *transfer, struct drive *drive)
{
	begin(transfer, drive, DISK_FLUSH, 0, false);
	transfer->job.done = all_done;
	drive_submit(drive, &transfer->job);
}

static void next_range(struct transfer *transfer)
{
	struct disk_request *request = &transfer->job.request;

	while (transfer->piece < TRANSFER_RANGES) {
		uint64_t range = transfer->ranges[transfer->piece++];

		request->offset = bits_get(range, 47, 0) * DISK_SECTOR;
		request->bytes = (range >> 48) * DISK_SECTOR;
		if (request->bytes) {
			drive_submit(transfer->drive, &transfer->job);
			return;
		}
	}
	transfer->done(transfer, 0);
}

/* A disk that cannot discard a range keeps it, which the command allows. */
static void range_done(struct drive_job *job, int error)
{
	struct transfer *transfer = container_of(job, struct transfer, job);

	if (error && error != -EOPNOTSUPP)
		transfer->done(transfer, error);
	else
		next_range(transfer);
}

void transfer_discard(struct transfer *transfer, struct drive *drive, const uint64_t *ranges)
{
	begin(transfer, drive, DISK_DISCARD, 0, false);
	transfer->job.done = range_done;
	transfer->ranges = ranges;
	transfer->piece = 0;
	next_range(transfer);
}
