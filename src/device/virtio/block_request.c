/* A block device's request: what the driver has written is checked, and becomes a request to the
 * disk. (virtio 1.2, 5.2.6) */
#include "device/virtio/block_internal.h"

#include "base/bits.h"

/* 5.2.6 Device operation. */
enum block_type {
	BLOCK_IN = 0,
	BLOCK_OUT = 1,
	BLOCK_FLUSH = 4,
	BLOCK_GET_ID = 8,
	BLOCK_DISCARD = 11,
	BLOCK_WRITE_ZEROES = 13,
};

#define RANGE_UNMAP 1u

/* Take `bytes` from the beginning of the readable pieces. There are as many. */
static void skip_readable(struct virtio_chain *chain, size_t bytes)
{
	chain->readable_bytes -= bytes;
	while (chain->readable && bytes >= chain->pieces[0].iov_len) {
		bytes -= chain->pieces[0].iov_len;
		chain->pieces++;
		chain->readable--;
	}
	if (bytes) {
		chain->pieces[0].iov_base = (uint8_t *)chain->pieces[0].iov_base + bytes;
		chain->pieces[0].iov_len -= bytes;
	}
}

bool block_take_status(struct block_request *request)
{
	struct virtio_chain *chain = &request->chain;
	struct iovec *piece = chain->pieces + chain->readable + chain->writable;

	if (!chain->writable_bytes)
		return false;
	do
		piece--;
	while (!piece->iov_len);
	piece->iov_len--;
	chain->writable_bytes--;
	request->status_piece = piece;
	request->status = (uint8_t *)piece->iov_base + piece->iov_len;
	return true;
}

void block_set_status(struct block_request *request, int status)
{
	*request->status = (uint8_t)status;
	request->status_piece->iov_len++;
	request->chain.writable_bytes++;
}

/* Offset and length in bytes of a stretch of sectors that lies within the disk. */
static bool place(const struct virtio_block *block, uint64_t sector, uint64_t bytes,
	struct disk_request *request)
{
	uint64_t sectors = block->disk->size / DISK_SECTOR;

	if (sector > sectors || bytes > (sectors - sector) * DISK_SECTOR)
		return false;
	request->offset = sector * DISK_SECTOR;
	request->bytes = bytes;
	return true;
}

/* Is a write to be durable when it completes (5.2.6.2)? */
static bool write_through(const struct virtio_block *block)
{
	return !block->flushes ||
	       !atomic_load_explicit(&block->cache.state.writeback, memory_order_relaxed);
}

static int begin_transfer(struct block_request *request, enum disk_operation operation,
	const struct iovec *pieces, unsigned count, uint64_t bytes)
{
	if (bytes % DISK_SECTOR || count > QUEUE_SIZE ||
		!place(request->block, request->header.sector, bytes, &request->disk))
		return STATUS_IOERR;
	request->disk.operation = operation;
	request->disk.pieces = pieces;
	request->disk.piece_count = count;
	return bytes ? STATUS_IN_FLIGHT : STATUS_OK;
}

static int begin_read(struct block_request *request)
{
	const struct virtio_chain *chain = &request->chain;

	struct iovec *first = chain->pieces + chain->readable, *last = request->status_piece;

	if (chain->readable_bytes)
		return STATUS_IOERR;
	return begin_transfer(request, DISK_READ, first,
		(unsigned)(last - first) + (last->iov_len != 0), chain->writable_bytes);
}

static int begin_write(struct block_request *request)
{
	const struct virtio_chain *chain = &request->chain;

	if (chain->writable_bytes || request->block->disk->read_only)
		return STATUS_IOERR;
	request->disk.fua = write_through(request->block);
	return begin_transfer(
		request, DISK_WRITE, chain->pieces, chain->readable, chain->readable_bytes);
}

static int begin_flush(struct block_request *request)
{
	request->disk.operation = DISK_FLUSH;
	return STATUS_IN_FLIGHT;
}

/* The serial number, without a NUL where it is 20 characters long (5.2.6). */
static int answer_serial(struct block_request *request)
{
	const struct virtio_chain *chain = &request->chain;

	if (chain->writable_bytes != SERIAL_SIZE || chain->readable_bytes)
		return STATUS_IOERR;
	virtio_chain_write(chain, 0, request->block->serial, SERIAL_SIZE);
	return STATUS_OK;
}

bool block_place_range(struct block_request *request)
{
	const struct block_range *range = &request->ranges[request->range];

	request->disk.unmap = range->flags & RANGE_UNMAP;
	return place(request->block, range->sector, (uint64_t)range->sectors * DISK_SECTOR,
		&request->disk);
}

/* All ranges are checked before the first one is submitted. */
static int begin_ranges(struct block_request *request, uint64_t feature,
	enum disk_operation operation, uint32_t flags)
{
	struct virtio_block *block = request->block;
	const struct virtio_chain *chain = &request->chain;
	uint64_t bytes = chain->readable_bytes;

	if (!(block->device.offered & feature))
		return block->disk->read_only ? STATUS_IOERR : STATUS_UNSUPP;
	if (!bytes || bytes % sizeof(struct block_range) || bytes > sizeof(request->ranges) ||
		chain->writable_bytes)
		return STATUS_IOERR;
	virtio_chain_read(chain, 0, request->ranges, bytes);
	request->range_count = (unsigned)(bytes / sizeof(struct block_range));
	request->disk.operation = operation;
	request->disk.fua = operation == DISK_WRITE_ZEROES && write_through(block);
	for (request->range = request->range_count; request->range-- > 0;) {
		const struct block_range *range = &request->ranges[request->range];

		if (range->flags & ~flags)
			return STATUS_UNSUPP;
		if (!range->sectors || range->sectors > RANGE_SECTORS ||
			!block_place_range(request))
			return STATUS_IOERR;
	}
	request->range = 0;
	return STATUS_IN_FLIGHT;
}

static int begin_discard(struct block_request *request)
{
	return begin_ranges(request, FEATURE_DISCARD, DISK_DISCARD, 0);
}

static int begin_write_zeroes(struct block_request *request)
{
	return begin_ranges(request, FEATURE_WRITE_ZEROES, DISK_WRITE_ZEROES, RANGE_UNMAP);
}

/* How each type begins: the status it ends with at once, or STATUS_IN_FLIGHT. Header and
 * status byte have been taken from the chain: what is left is data. */
static const struct {
	enum block_type type;
	int (*begin)(struct block_request *request);
} block_types[] = {
	{BLOCK_IN, begin_read},
	{BLOCK_OUT, begin_write},
	{BLOCK_FLUSH, begin_flush},
	{BLOCK_GET_ID, answer_serial},
	{BLOCK_DISCARD, begin_discard},
	{BLOCK_WRITE_ZEROES, begin_write_zeroes},
};

int block_begin(struct block_request *request)
{
	struct virtio_chain *chain = &request->chain;

	if (virtio_chain_read(chain, 0, &request->header, sizeof(request->header)) !=
		sizeof(request->header))
		return STATUS_IOERR;
	skip_readable(chain, sizeof(request->header));
	for (unsigned i = 0; i < ARRAY_SIZE(block_types); i++)
		if (block_types[i].type == request->header.type)
			return block_types[i].begin(request);
	return STATUS_UNSUPP;
}
