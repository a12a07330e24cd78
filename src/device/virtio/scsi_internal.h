/* What the files of the SCSI controller share; for none else. */
#ifndef VENEER_DEVICE_VIRTIO_SCSI_INTERNAL_H
#define VENEER_DEVICE_VIRTIO_SCSI_INTERNAL_H

#include "device/storage/scsi.h"
#include "device/virtio/scsi.h"

#include <linux/virtio_scsi.h>

#define QUEUE_SIZE 256
/* Pieces that a request has room for without more memory: of its chain, and of its data. */
#define INLINE_PIECES 36

enum { CONTROL_QUEUE, EVENT_QUEUE, FIRST_REQUEST_QUEUE };

#define SERIAL_SIZE 20

/* Both may be set by the driver, to this at most (5.6.4). */
#define MAX_SENSE_SIZE 256
#define MAX_CDB_SIZE   256
/* Of a request and of a response, without what the driver sets the size of (5.6.6.1). */
#define REQUEST_HEADER  19
#define RESPONSE_HEADER 12

struct virtio_scsi_unit {
	uint8_t target;
	uint16_t lun;
	struct disk *disk;
	bool submitted; /* since the disk's flush_queue() */
	char serial[SERIAL_SIZE + 1];
	struct scsi_unit scsi;
};

struct scsi_request {
	struct disk_request disk;
	struct virtio_scsi *scsi;
	struct virtqueue *queue;
	struct virtio_chain chain;
	/* The chain's, and after them those of its data; NULL: they are inline. */
	struct iovec pieces[INLINE_PIECES], *more_pieces;
	struct iovec *data; /* data's pieces */
	unsigned data_count;
	struct virtio_scsi_unit *unit; /* NULL: there is none */
	uint64_t tag;
	uint64_t data_out, data_in; /* bytes that there is room for */
	uint64_t transferred;
	unsigned sense_size; /* as the driver had set it */
	struct scsi_command command;
	unsigned range;            /* the one that the disk has */
	bool in_flight;            /* the disk has it */
	bool awaited;              /* a task management function waits for its end */
	struct scsi_request *next; /* a free one */
};

/* What outlives a stop of the machine, and is saved. */
struct scsi_settings {
	struct device device;
	struct scsi_settings_state {
		_Atomic uint32_t sense_size, cdb_size;
		struct scsi_unit_state units[SCSI_MAX_UNITS];
	} state;
};

/* A task management function that waits for requests to end; the next one is not begun before. */
struct scsi_waiting_task {
	bool active;
	struct virtio_chain chain;
	struct iovec *pieces;    /* the chain's */
	unsigned awaited;        /* requests */
	uint32_t units_to_reset; /* then, by bit */
};

struct virtio_scsi {
	struct virtio_device device;
	struct virtio_scsi_config config; /* as it is to be: the driver writes to device.config */
	struct scsi_settings settings;

	/* The worker's. */
	struct virtio_scsi_unit units[SCSI_MAX_UNITS];
	unsigned unit_count;
	struct scsi_request *requests, *free;
	unsigned request_count, fresh; /* requests[fresh] and those after it were never used */
	unsigned in_flight;            /* requests that disks have */
	struct scsi_waiting_task task;
	bool stopping, broken;
	uint32_t given_back; /* queues with chains that the driver was not told of; by bit */
	uint32_t unserved;   /* queues that may have chains; by bit */
	struct worker_task serve_task;
	struct iovec pieces[VIRTIO_CHAIN_PIECES];
};

/* --- scsi.c --- */

/* The unit that an address names (5.6.6.1), or NULL. `*target_exists`: other units of its target,
 * or this one, are there. */
struct virtio_scsi_unit *scsi_find_unit(
	struct virtio_scsi *scsi, const uint8_t lun[8], bool *target_exists);
/* The chain is done with. */
void scsi_give_back(struct virtio_scsi *scsi, struct virtqueue *queue,
	const struct virtio_chain *chain, uint64_t written);
/* The request has ended: its response is written. */
void scsi_request_ended(struct scsi_request *request);

/* --- scsi_request.c --- */

/* Begin a request whose chain, pieces and queue are filled in. 0, or -EINVAL: there is nowhere to
 * say what came of it. It may have ended by the return. */
int scsi_begin_request(struct scsi_request *request);

/* --- scsi_control.c --- */

/* A chain of the control queue; its pieces are in scsi->pieces. 0, or -EINVAL. */
int scsi_begin_control(struct virtio_scsi *scsi, const struct virtio_chain *chain);
/* One of the requests that the task management function waits for has ended. */
void scsi_awaited_ended(struct virtio_scsi *scsi);

#endif
