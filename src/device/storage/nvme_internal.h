/* What the files of the NVMe controller share.
 *
 * Who may touch what:
 *
 *	registers (struct nvme_registers)	the machine lock
 *	queues in use, and commands		the controller's worker, no lock
 *	doorbells				any thread, without a lock: atomic
 *
 * The two meet when the guest enables the controller, and when it disables it: then the worker
 * takes nothing more from the queues, waits for what the disk has, and forgets the queues. Only
 * then does CSTS.RDY become 0. */
#ifndef VENEER_DEVICE_STORAGE_NVME_INTERNAL_H
#define VENEER_DEVICE_STORAGE_NVME_INTERNAL_H

#include "device/storage/nvme.h"

#include <semaphore.h>

#define NVME_BLOCK        512
#define NVME_PAGE         4096
#define NVME_QUEUES       17   /* with the admin queue, number 0 */
#define NVME_ENTRIES      1024 /* of a queue at most */
#define NVME_MAX_BYTES    (1 * MIB)
#define NVME_MDTS         8 /* the same, in pages, as a power of two */
#define NVME_PIECES       (NVME_MAX_BYTES / NVME_PAGE + 1)
#define NVME_REQUESTS     256 /* at the disk at once */
#define NVME_EVENTS       4   /* Asynchronous Event Requests that wait, at most */
#define NVME_RANGES       256 /* of one Dataset Management command */
#define NVME_SERIAL       20
#define NVME_LAST_FEATURE 0x0b

#define NVME_COMMAND_SIZE    64
#define NVME_COMPLETION_SIZE 16

/* --- registers (3.1) --- */

#define NVME_CC_ENABLE     BIT(0)
#define NVME_CSTS_READY    BIT(0)
#define NVME_CSTS_FATAL    BIT(1)
#define NVME_CSTS_SHUTDOWN UINT32_C(0x0c)
#define NVME_CSTS_SHUTTING UINT32_C(0x04)
#define NVME_CSTS_SHUT     UINT32_C(0x08)

/* --- status (4.6.1): type << 8 | code, and "do not retry" --- */

#define NVME_RETRY_NEVER 0x4000

enum nvme_status {
	NVME_SUCCESS = 0,
	NVME_INVALID_OPCODE = 0x01 | NVME_RETRY_NEVER,
	NVME_INVALID_FIELD = 0x02 | NVME_RETRY_NEVER,
	NVME_DATA_TRANSFER_ERROR = 0x04,
	NVME_INVALID_NAMESPACE = 0x0b | NVME_RETRY_NEVER,
	NVME_INVALID_PRP_OFFSET = 0x13 | NVME_RETRY_NEVER,
	NVME_LBA_OUT_OF_RANGE = 0x80 | NVME_RETRY_NEVER,
	NVME_CAPACITY_EXCEEDED = 0x81 | NVME_RETRY_NEVER,
	NVME_COMPLETION_QUEUE_INVALID = 0x100 | NVME_RETRY_NEVER,
	NVME_INVALID_QUEUE = 0x101 | NVME_RETRY_NEVER,
	NVME_INVALID_QUEUE_SIZE = 0x102 | NVME_RETRY_NEVER,
	NVME_TOO_MANY_EVENT_REQUESTS = 0x105 | NVME_RETRY_NEVER,
	NVME_INVALID_VECTOR = 0x108 | NVME_RETRY_NEVER,
	NVME_INVALID_LOG_PAGE = 0x109 | NVME_RETRY_NEVER,
	NVME_INVALID_QUEUE_DELETION = 0x10c | NVME_RETRY_NEVER,
	NVME_FEATURE_NOT_CHANGEABLE = 0x10e | NVME_RETRY_NEVER,
	NVME_READ_ONLY = 0x182 | NVME_RETRY_NEVER,
	NVME_WRITE_FAULT = 0x280,
	NVME_READ_ERROR = 0x281,
	NVME_IN_FLIGHT = -1, /* it completes later */
};

/* A submission queue entry (4.2). */
struct nvme_command {
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t namespace;
	uint32_t dw2, dw3;
	uint64_t metadata, prp[2];
	uint32_t dw10, dw11, dw12, dw13, dw14, dw15;
};
_Static_assert(sizeof(struct nvme_command) == NVME_COMMAND_SIZE, "no padding");

/* --- state --- */

struct nvme_registers {
	uint32_t cc, csts, aqa;
	uint64_t asq, acq;
	uint32_t masked; /* INTMS, INTMC */
	bool resetting;  /* the worker has not done with the queues yet */
};

/* A submission queue; `size` 0: there is none. */
struct nvme_sq {
	uint64_t address;
	uint16_t size, head, cq;
	_Atomic uint16_t tail; /* its doorbell, whatever was written there */
};

struct nvme_cq {
	uint64_t address;
	uint16_t size, tail, vector;
	bool phase, interrupts;
	_Atomic uint16_t head; /* its doorbell */
};

/* Events for Asynchronous Event Requests (5.2), by bit. */
enum nvme_event { NVME_EVENT_DOORBELL, NVME_EVENT_DOORBELL_VALUE };

struct nvme_state {
	struct nvme_registers registers;
	struct nvme_sq sq[NVME_QUEUES];
	struct nvme_cq cq[NVME_QUEUES];
	uint32_t feature[NVME_LAST_FEATURE + 1];
	uint16_t event_request[NVME_EVENTS]; /* commands that wait for an event */
	uint8_t event_requests;
	_Atomic uint8_t events; /* that nobody was told of */
	bool events_masked;     /* until the error log is read */
};

/* A command that the disk has. */
struct nvme_request {
	struct disk_request disk;
	struct nvme *nvme;
	uint16_t sq, id;
	struct iovec pieces[NVME_PIECES];
	struct nvme_request *next; /* a free one */
	/* Dataset Management: the ranges, and how far they are done. */
	struct nvme_range *ranges;
	unsigned range, range_count;
	uint64_t range_done; /* bytes of the one under way */
};

/* A range of Dataset Management (6.7). */
struct nvme_range {
	uint32_t attributes, blocks;
	uint64_t first;
};

struct nvme {
	struct device device;
	struct nvme_state state;
	struct pci_function function;
	struct disk *disk;
	struct worker *worker;
	struct event_loop *loop;
	char serial[NVME_SERIAL + 1];

	/* Shared. */
	atomic_bool running;      /* enabled, and not being disabled */
	atomic_bool quiet_wanted; /* from quiesce to resume: nothing is begun */
	atomic_bool reset_done;   /* the worker has forgotten the queues */
	atomic_bool fatal;        /* guest memory that the queues need is not there */
	atomic_bool pin;          /* some queue with interrupts has entries that were not taken */
	bool quiescing;           /* I/O thread: the worker was asked, and has not answered */
	sem_t quiet;
	struct worker_task serve_task, stop_task, quiesce_task, shutdown_task, abandon_task;
	struct event_work stopped_work, fatal_work, pin_work, shut_work;

	/* The worker's. */
	struct nvme_request *requests, *free;
	struct disk_request shutdown; /* the flush of one */
	bool shutting;
	bool starved;   /* commands wait for a request to come free */
	unsigned fresh; /* requests from there on were never used */
	unsigned in_flight;
	unsigned sq_in_flight[NVME_QUEUES], cq_reserved[NVME_QUEUES];
	struct {
		bool wanted;
		uint16_t command;
	} deletion[NVME_QUEUES]; /* of a submission queue, when its commands are done */
	uint32_t to_signal;      /* completion queues that the driver is to be told of */
	bool submitted, waited_for, reset_wanted;
};

/* --- nvme.c --- */

/* The worker found guest memory missing, or queues that no driver makes. */
void nvme_fatal(struct nvme *nvme);
/* A command is done: was it the last one that a stop or a pause waits for? */
void nvme_check_quiet(struct nvme *nvme);

/* --- nvme_queue.c: on the worker --- */

/* Take and begin what is in the queues. */
void nvme_serve(struct nvme *nvme);
/* A command of submission queue `sq` is done. */
void nvme_complete(
	struct nvme *nvme, unsigned sq, uint16_t command, enum nvme_status status, uint32_t result);
/* Tell the driver of what was completed, and the disk of what was submitted. */
void nvme_flush_work(struct nvme *nvme);
/* Forget all queues. */
void nvme_clear_queues(struct nvme *nvme);
/* Is there room in the completion queue, beside that which commands under way will take? */
bool nvme_has_room(const struct nvme *nvme, unsigned cq);
/* Note an event, and tell the driver where it waits for one. */
void nvme_raise_event(struct nvme *nvme, enum nvme_event event);

/* --- nvme_admin.c --- */

/* Features as they are after a reset. */
void nvme_reset_features(struct nvme *nvme);
enum nvme_status nvme_admin(
	struct nvme *nvme, const struct nvme_command *command, uint32_t *result);
/* Complete commands that wait for events, as far as there are some of both. */
void nvme_tell_events(struct nvme *nvme);

/* --- nvme_identify.c --- */

/* Fill in 4096 bytes of data structure `structure` (5.15.1). False: there is none. */
bool nvme_identify(const struct nvme *nvme, unsigned structure, uint32_t namespace, uint8_t *bytes);
/* Fill in a log page; returns its size, 512 at most, or 0: there is none. */
unsigned nvme_log_page(const struct nvme *nvme, unsigned page, uint8_t *bytes);

/* --- nvme_io.c --- */

/* Begin a command of an I/O queue. */
enum nvme_status nvme_io(struct nvme *nvme, unsigned sq, const struct nvme_command *command);
/* Copy between the bytes that the command's PRPs name and a buffer of one page at most. */
enum nvme_status nvme_copy(struct nvme *nvme, const struct nvme_command *command, void *buffer,
	uint64_t bytes, bool to_guest);
/* Is there room at the disk for one command more? */
bool nvme_io_possible(const struct nvme *nvme);

#endif
