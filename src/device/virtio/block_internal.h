/* What the files of the block device share; for none else. */
#ifndef VENEER_DEVICE_VIRTIO_BLOCK_INTERNAL_H
#define VENEER_DEVICE_VIRTIO_BLOCK_INTERNAL_H

#include "device/virtio/block.h"
#include "host/disk/disk.h"

#define QUEUE_SIZE    256
#define INLINE_PIECES 16
#define RANGES        16         /* in one request to discard or write zeroes */
#define RANGE_SECTORS (4u << 20) /* in one of them: 2 GiB, for the host's sake */
#define SERIAL_SIZE   20

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

/* flags: BIT(0) unmap; the other bits are reserved. */
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

/* Take the status byte from the end of the chain's writable pieces, to where block_set_status()
 * writes it. False: there is none. */
bool block_take_status(struct block_request *request);
/* Look at what the driver asks for, and make the disk's request of it. STATUS_IN_FLIGHT: the disk
 * is to have it; or the status that it ends with at once. */
int block_begin(struct block_request *request);
/* Fill in the disk's request for the range that is next, request->range. False: it is not within
 * the disk. */
bool block_place_range(struct block_request *request);
/* Put the status where it belongs, and back into the chain's writable bytes. */
void block_set_status(struct block_request *request, int status);

#endif
