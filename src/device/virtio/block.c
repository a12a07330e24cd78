/* The block device: chains become requests to a disk (block_request.c), and what the disk says
 * becomes their status.
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
#include "device/virtio/block_internal.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_CLASS 0x018000         /* mass storage, other */
#define SEGMENTS    (QUEUE_SIZE - 2) /* of data: a request has a header and a status, too */

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

/* The chain is done with. All of its writable bytes may have been stored to, also by a read that
 * failed half-way. */
static void finish(struct block_request *request, int status)
{
	struct virtio_block *block = request->block;
	struct virtio_chain *chain = &request->chain;

	block_set_status(request, status);
	virtqueue_give_back(request->queue, chain, (uint32_t)chain->writable_bytes);
	block->given_back |= 1u << request->queue->index;
	worker_want_idle(block->device.worker);
	request_put(request);
}

/* --- the disk --- */

static void submit(struct block_request *request)
{
	struct virtio_block *block = request->block;

	disk_submit(block->disk, &request->disk);
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
		block_place_range(request);
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
	if (!block_take_status(request)) {
		request_put(request);
		return -EINVAL;
	}
	status = kept ? block_begin(request) : STATUS_IOERR;
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
