/* Writes that a server has answered and may still lose, since no flush has followed them: in the
 * order in which they were answered, with their data, to be written again. */
#ifndef VENEER_HOST_DISK_NBD_LOG_H
#define VENEER_HOST_DISK_NBD_LOG_H

#include "host/disk/nbd_command.h"

struct nbd_log {
	struct nbd_command *first, **end;
	uint64_t bytes;    /* of memory */
	uint64_t sequence; /* of the next write */
};

void nbd_log_init(struct nbd_log *log);
/* Takes the command, which is of no request any more. */
void nbd_log_add(struct nbd_log *log, struct nbd_command *command);
/* All writes before this one are durable. */
void nbd_log_forget(struct nbd_log *log, uint64_t sequence);

#endif
