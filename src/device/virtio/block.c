/* The block device: chains become requests to a disk, and what the disk says becomes their status.
 *
 *	notified()	takes chains, checks each and submits it to the disk
 *	request_done()	the disk is done: status byte, and the chain is given back
 *	block_idle()	before the worker sleeps: one system call for all that was submitted, one
 *			interrupt for all that was given back
 *
 * A chain is the header (16 bytes), data, and a status byte, and may be cut into descriptors at any
 * byte (2.7.4). Without a status byte there is no way to refuse the request, and the device needs a
 * reset; whatever else is wrong with a request is its own failure.
 *
 * Requests in flight come from a pool with room for as many as the queues have descriptors. A stop,
 * by a reset or of the machine, takes nothing more from the queues and waits for the disk to
 * complete what is in flight, so that no write reaches the disk after the driver has seen the reset
 * done, or after the machine was saved. */
#include "device/virtio/block.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE    256
#define SEGMENTS      (QUEUE_SIZE - 2) /* of data: a request has a header and a status, too */
#define INLINE_PIECES 16
#define RANGES        16         /* in one request to discard or write zeroes */
#define RANGE_SECTORS (4u << 20) /* in one of them: 2 GiB, for the host's sake */
#define SERIAL_SIZE   20
#define BLOCK_CLASS   0x018000 /* mass storage, other */

#define FEATURE_SEG_MAX      BIT(2)
#define FEATURE_READ_ONLY    BIT(5)
#define FEATURE_BLK_SIZE     BIT(6)
#define FEATURE_FLUSH        BIT(9)
#define FEATURE_TOPOLOGY     BIT(10)
#define FEATURE_CONFIG_WCE   BIT(11)
#define FEATURE_MQ           BIT(12)
#define FEATURE_DISCARD      BIT(13)
#define FEATURE_WRITE_ZEROES BIT(14)

/* 5.2.4 Device configuration layout; little-endian, as the host is. */
struct block_config {
	uint64_t capacity; /* sectors */
	uint32_t size_max, seg_max;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp, alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
};
#define CONFIG_SIZE 60 /* without the padding at the struct's end */
_Static_assert(offsetof(struct block_config, unused1) + 3 == CONFIG_SIZE, "no padding inside");

/* 5.2.6 Device operation. */
enum block_type {
	BLOCK_IN = 0,
	BLOCK_OUT = 1,
	BLOCK_FLUSH = 4,
	BLOCK_GET_ID = 8,
	BLOCK_DISCARD = 11,
	BLOCK_WRITE_ZEROES = 13,
};

enum block_status {
	STATUS_OK = 0,
	STATUS_IOERR = 1,
	STATUS_UNSUPP = 2,
	STATUS_IN_FLIGHT = -1, /* not yet known: the disk has it, or is to get it */
};

struct block_header {
	uint32_t type, reserved;
	uint64_t sector;
};

#define RANGE_UNMAP 1u /* in flags; the other bits are reserved */

struct block_range {
	uint64_t sector;
	uint32_t sectors, flags;
};

struct block_request {
	struct disk_request disk;
	struct virtio_block *block;
	struct virtqueue *queue;
	struct virtio_chain chain;
	struct iovec pieces[INLINE_PIECES], *more_pieces; /* the chain's; NULL: they are inline */
	struct block_header header;
	uint8_t *status;             /* in guest memory */
	struct iovec *status_piece;  /* its piece, which ends before it while the request lasts */
	unsigned range, range_count; /* the one that the disk has, and how many there are */
	struct block_range ranges[RANGES];
	struct block_request *next; /* a free one */
};

/* What the driver has chosen outlives a stop of the machine, and is saved. */
struct block_cache {
	struct device device;
	struct block_cache_state {
		atomic_bool writeback; /* a write need not be durable when it completes */
	} state;
};

struct virtio_block {
	struct virtio_device device;
	struct disk *disk;
	struct block_config config; /* as it is to be: the driver writes to device.config */
	char serial[SERIAL_SIZE];
	struct block_cache cache;

	/* The worker's. */
	struct block_request *requests, *free;
	unsigned request_count, fresh; /* requests[fresh] and those after it were never used */
	unsigned in_flight;            /* requests that the disk has */
	bool stopping, broken;
	bool flushes;        /* the driver knows how to flush */
	bool submitted;      /* since the disk's flush_queue() */
	uint32_t given_back; /* queues with chains that the driver was not told of; by bit */
	uint32_t unserved;   /* queues that may have chains; by bit */
	struct worker_task serve_task;
	struct iovec pieces[VIRTIO_CHAIN_PIECES];
};

/* --- the pool --- */

static struct block_request *request_get(struct virtio_block *block)
{
	struct block_request *request = block->free;

	if (request)
		block->free = request->next;
	else if (block->fresh < block->request_count)
		request = &block->requests[block->fresh++];
	return request;
}

static void request_put(struct block_request *request)
{
	struct virtio_block *block = request->block;

	free(request->more_pieces);
	request->more_pieces = NULL;
	request->next = block->free;
	block->free = request;
}

/* --- a request and its parts --- */

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

/* Take the status byte from the end of the writable pieces; finish() puts it back. False: there is
 * none. */
static bool take_status(struct block_request *request)
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

/* The chain is done with. All of its writable bytes may have been stored to, also by a read that
 * failed half-way. */
static void finish(struct block_request *request, int status)
{
	struct virtio_block *block = request->block;
	struct virtio_chain *chain = &request->chain;

	*request->status = (uint8_t)status;
	request->status_piece->iov_len++;
	chain->writable_bytes++;
	virtqueue_give_back(request->queue, chain, (uint32_t)chain->writable_bytes);
	block->given_back |= 1u << request->queue->index;
	worker_want_idle(block->device.worker);
	request_put(request);
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

/* Fill in the disk's request for the range that is next. */
static bool place_range(struct block_request *request)
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
		if (!range->sectors || range->sectors > RANGE_SECTORS || !place_range(request))
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

static int begin(struct block_request *request)
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

/* --- the disk --- */

static void submit(struct block_request *request)
{
	struct virtio_block *block = request->block;

	block->disk->ops->submit(block->disk, &request->disk);
	block->submitted = true;
	worker_want_idle(block->device.worker);
}

static void tell_driver(struct virtio_block *block)
{
	uint32_t given_back = block->given_back;

	block->given_back = 0;
	for (unsigned i = 0; i < block->device.queue_count; i++)
		if (given_back & 1u << i)
			virtqueue_tell_driver(&block->device.queue[i]);
}

static void stop_when_done(struct virtio_block *block)
{
	if (block->in_flight)
		return;
	tell_driver(block);
	virtio_stopped(&block->device);
}

static void request_done(struct disk_request *disk_request, int error)
{
	struct block_request *request = container_of(disk_request, struct block_request, disk);
	struct virtio_block *block = request->block;

	if (!error && request->range + 1 < request->range_count) {
		request->range++;
		place_range(request);
		submit(request);
		return;
	}
	block->in_flight--;
	finish(request, !error ? STATUS_OK : error == -EOPNOTSUPP ? STATUS_UNSUPP : STATUS_IOERR);
	if (block->stopping)
		stop_when_done(block);
	else if (block->unserved)
		worker_post(block->device.worker, &block->serve_task);
}

/* --- the queues --- */

/* Keep the chain whose pieces are in block->pieces: the next one will be taken into them. */
static bool keep_pieces(struct block_request *request)
{
	struct virtio_chain *chain = &request->chain;
	unsigned count = chain->readable + chain->writable;
	struct iovec *pieces = request->pieces;

	if (count > INLINE_PIECES) {
		pieces = request->more_pieces = malloc(count * sizeof(*pieces));
		if (!pieces)
			return false;
	}
	memcpy(pieces, chain->pieces, count * sizeof(*pieces));
	chain->pieces = pieces;
	return true;
}

/* 0, or -EINVAL: there is nowhere to say what came of the request. */
static int begin_chain(struct virtio_block *block, struct virtqueue *queue,
	struct block_request *request, const struct virtio_chain *chain)
{
	bool kept;
	int status;

	request->block = block;
	request->queue = queue;
	request->chain = *chain;
	request->range = request->range_count = 0;
	request->disk = (struct disk_request){.done = request_done};
	kept = keep_pieces(request);
	if (!take_status(request)) {
		request_put(request);
		return -EINVAL;
	}
	status = kept ? begin(request) : STATUS_IOERR;
	if (status != STATUS_IN_FLIGHT) {
		finish(request, status);
		return 0;
	}
	block->in_flight++;
	submit(request);
	return 0;
}

/* Take what is in the queue: at most as many chains as it can hold, since the driver may add some
 * as fast as they are answered. */
static void serve_queue(struct virtio_block *block, struct virtqueue *queue)
{
	struct virtio_chain chain;
	struct block_request *request;
	int got;

	for (unsigned i = 0; i < QUEUE_SIZE; i++) {
		request = request_get(block);
		if (!request) {
			block->unserved |= 1u << queue->index;
			return;
		}
		chain = (struct virtio_chain){
			.pieces = block->pieces, .limit = ARRAY_SIZE(block->pieces)};
		got = virtqueue_take(queue, &chain);
		if (got > 0) {
			got = begin_chain(block, queue, request, &chain);
		} else {
			request->block = block;
			request_put(request);
			if (!got)
				return;
		}
		if (got < 0) {
			block->broken = true;
			virtio_needs_reset(&block->device);
			return;
		}
	}
	block->unserved |= 1u << queue->index;
	worker_post(block->device.worker, &block->serve_task);
}

static void block_notified(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_block *block = container_of(device, struct virtio_block, device);

	if (!block->stopping && !block->broken)
		serve_queue(block, queue);
}

static void block_serve(void *opaque)
{
	struct virtio_block *block = opaque;
	uint32_t unserved = block->unserved;

	block->unserved = 0;
	for (unsigned i = 0; i < block->device.queue_count; i++)
		if (unserved & 1u << i)
			block_notified(&block->device, &block->device.queue[i]);
}

static void block_idle(void *opaque)
{
	struct virtio_block *block = opaque;

	if (block->submitted) {
		block->submitted = false;
		block->disk->ops->flush_queue(block->disk);
	}
	tell_driver(block);
}

/* --- the device --- */

static void set_writeback(struct virtio_block *block, bool writeback)
{
	__atomic_store_n(&block->device.config[offsetof(struct block_config, writeback)], writeback,
		__ATOMIC_RELAXED);
	atomic_store(&block->cache.state.writeback, writeback);
}

static void block_start(struct virtio_device *device)
{
	struct virtio_block *block = container_of(device, struct virtio_block, device);

	block->stopping = block->broken = false;
	block->flushes = device->features & FEATURE_FLUSH;
}

static void block_stop(struct virtio_device *device)
{
	struct virtio_block *block = container_of(device, struct virtio_block, device);

	block->stopping = true;
	block->unserved = 0;
	/* The next driver finds the cache on; where only the machine stops, the driver's choice
	 * stays. */
	if (device->state.resetting)
		set_writeback(block, true);
	stop_when_done(block);
}

static void block_abandon(struct virtio_device *device)
{
	struct virtio_block *block = container_of(device, struct virtio_block, device);

	if (block->disk->ops->abandon)
		block->disk->ops->abandon(block->disk);
}

/* The driver may switch the write cache off and on, and change nothing else. */
static void block_config_written(struct virtio_device *device, unsigned offset, unsigned size)
{
	struct virtio_block *block = container_of(device, struct virtio_block, device);
	bool writeback = device->config[offsetof(struct block_config, writeback)];

	memcpy(device->config, &block->config, CONFIG_SIZE);
	set_writeback(block, writeback);
}

/* --- the write cache, as one of the machine's devices --- */

static void cache_reset(void *cache)
{
	set_writeback(container_of(cache, struct virtio_block, cache), true);
}

static void cache_loaded(void *opaque)
{
	struct block_cache *cache = opaque;

	set_writeback(container_of(cache, struct virtio_block, cache), cache->state.writeback);
}

static const struct state_field cache_fields[] = {
	STATE_BOOL(struct block_cache_state, writeback),
	STATE_END,
};

static const struct device_ops cache_ops = {
	.name = "virtio-blk-set",
	.version = 1,
	.fields = cache_fields,
	.state_offset = offsetof(struct block_cache, state),
	.state_size = sizeof(struct block_cache_state),
	.reset = cache_reset,
	.loaded = cache_loaded,
};

/* --- making and destroying --- */

static void block_free(struct virtio_block *block)
{
	block->disk->ops->destroy(block->disk);
	free(block->requests);
	free(block);
}

static void block_destroy(struct virtio_device *device)
{
	block_free(container_of(device, struct virtio_block, device));
}

static const struct virtio_ops block_ops = {
	.name = "virtio-block",
	.type = VIRTIO_BLOCK,
	.pci_class = BLOCK_CLASS,
	.start = block_start,
	.notified = block_notified,
	.stop = block_stop,
	.abandon = block_abandon,
	.config_written = block_config_written,
	.destroy = block_destroy,
};

static uint64_t block_features(const struct disk *disk)
{
	uint64_t features = FEATURE_SEG_MAX | FEATURE_BLK_SIZE | FEATURE_FLUSH | FEATURE_TOPOLOGY |
			    FEATURE_CONFIG_WCE | FEATURE_MQ;

	if (disk->read_only)
		return features | FEATURE_READ_ONLY;
	if (disk->can_discard)
		features |= FEATURE_DISCARD;
	if (disk->can_write_zeroes)
		features |= FEATURE_WRITE_ZEROES;
	return features;
}

static void describe(struct block_config *config, const struct disk *disk, unsigned queues)
{
	uint32_t physical = disk->block_size / DISK_SECTOR;

	*config = (struct block_config){
		.capacity = disk->size / DISK_SECTOR,
		.seg_max = SEGMENTS,
		.blk_size = DISK_SECTOR,
		.physical_block_exp = (uint8_t)__builtin_ctz(physical),
		.min_io_size = (uint16_t)physical,
		.writeback = 1,
		.num_queues = (uint16_t)queues,
	};
	if (disk->can_discard) {
		config->max_discard_sectors = RANGE_SECTORS;
		config->max_discard_seg = RANGES;
		config->discard_sector_alignment = physical;
	}
	if (disk->can_write_zeroes) {
		config->max_write_zeroes_sectors = RANGE_SECTORS;
		config->max_write_zeroes_seg = RANGES;
		config->write_zeroes_may_unmap = disk->can_discard;
	}
}

struct begin_disk {
	struct virtio_block *block;
	int error;
};

/* On the worker. */
static void begin_disk(void *opaque)
{
	struct begin_disk *begin = opaque;
	struct virtio_block *block = begin->block;

	begin->error = block->disk->ops->start(block->disk, block->device.worker);
	if (!begin->error)
		begin->error = worker_add_idle(block->device.worker, block_idle, block);
}

int virtio_block_create(struct pci_bus *bus, int slot, uint32_t instance, struct disk *disk,
	const char *serial, unsigned cpu_count)
{
	unsigned queues = MIN(cpu_count, BLOCK_QUEUES);
	struct virtio_block *block = calloc(1, sizeof(*block));
	struct begin_disk begin = {.block = block};
	int error = -ENOMEM;

	if (!block) {
		log_error("no memory for a block device");
		disk->ops->destroy(disk);
		return error;
	}
	block->disk = disk;
	block->request_count = queues * QUEUE_SIZE;
	block->requests = calloc(block->request_count, sizeof(*block->requests));
	if (!block->requests) {
		log_error("no memory for a block device's requests");
		goto failed;
	}
	memcpy(block->serial, serial, strnlen(serial, SERIAL_SIZE));
	describe(&block->config, disk, queues);
	worker_task_init(&block->serve_task, block_serve, block);
	block->device.ops = &block_ops;
	block->device.offered = block_features(disk);
	block->device.queue_count = queues;
	block->device.queue_size = QUEUE_SIZE;
	block->device.config_size = CONFIG_SIZE;
	memcpy(block->device.config, &block->config, CONFIG_SIZE);
	set_writeback(block, true);
	error = virtio_add(&block->device, bus, slot, instance);
	if (error)
		goto failed;
	device_list_add(pci_bus_config(bus)->devices, &block->cache.device, &cache_ops, instance);
	worker_call(block->device.worker, begin_disk, &begin);
	return begin.error;

failed:
	block_free(block);
	return error;
}
