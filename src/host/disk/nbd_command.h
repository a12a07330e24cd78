/* A command to a network block device server: at most so large a part of a request as the server
 * takes at one time, in one buffer, which is what libnbd wants. */
#ifndef VENEER_HOST_DISK_NBD_COMMAND_H
#define VENEER_HOST_DISK_NBD_COMMAND_H

#include "host/disk/disk.h"

#include <libnbd.h>

/* What a server can do. */
struct nbd_offer {
	uint64_t size; /* bytes */
	bool read_only, can_flush, can_fua, can_trim, can_zero;
	uint32_t best_block; /* 0: it has not said */
	uint64_t most;       /* bytes that a command may carry */
};

/* Ask it. -EINVAL with a message where we cannot use it. */
int nbd_offer_get(struct nbd_offer *offer, struct nbd_handle *handle, const char *name);

struct nbd_command {
	struct nbd_command *next;
	struct disk_request *request; /* NULL: a flush or a write of the back end's own */
	enum disk_operation operation;
	uint64_t offset, bytes;
	uint8_t *buffer;
	bool copied; /* the buffer is the command's */
	bool fua, unmap, answered;
	int error;         /* positive */
	uint64_t number;   /* FLUSH: of the first write that was answered after it was sent */
	uint64_t sequence; /* in the log */
};

/* A command for what follows the request's first `position` bytes; NULL: no memory. */
struct nbd_command *nbd_command_create(
	const struct nbd_offer *offer, struct disk_request *request, uint64_t position);
/* A flush for the request, whatever its operation is. */
struct nbd_command *nbd_command_create_flush(struct disk_request *request);
/* Have libnbd send it. `answered` and `error` are set from inside libnbd's calls. Negative: it is
 * not sent. */
int nbd_command_send(struct nbd_command *command, struct nbd_handle *handle);
/* A read has its answer: give the request what it has not got already. */
void nbd_command_deliver(const struct nbd_command *command);
void nbd_command_free(struct nbd_command *command);

#endif
