/* A shared directory, as the monitor sees it: a link to a helper process, veneer-share, which
 * parses what the guest asks for and works in the directory. It is given the guest's memory, so
 * that what is read and written is not copied.
 *
 * Requests are submitted and answered on one worker. What a guest sends can break the helper; then
 * the share is lost: requests that were submitted are answered by nobody, and no other can be. */
#ifndef VENEER_HOST_SHARE_SHARE_H
#define VENEER_HOST_SHARE_SHARE_H

#include "host/share/config.h"
#include "host/share/wire.h"
#include "host/worker.h"

#include <sys/uio.h>

struct share;

/* The file of guest memory, and where it is mapped here. */
struct share_memory {
	int fd;
	const uint8_t *base;
	uint64_t size;
};

/* Called on the worker. */
struct share_port {
	/* The helper has answered: so many bytes of reply are in the request's writable pieces.
	 * Both numbers are whatever it says. False: it has broken the rules. */
	bool (*answered)(void *opaque, uint32_t slot, uint32_t bytes);
	/* The helper has ended, and touches guest memory no more. */
	void (*lost)(void *opaque);
	void *opaque;
};

/* Start the helper. 0, or -errno with a message. `memory`'s descriptor stays the caller's. */
int share_open(
	const struct share_config *config, const struct share_memory *memory, struct share **share);
/* On the worker: answers come from now on. 0, or -errno with a message. */
int share_start(struct share *share, struct worker *worker, const struct share_port *port);

/* On the worker. Pieces of guest memory: `readable` of them with the message, then `writable` for
 * the reply. 0; -EIO: the share is lost or about to be; -E2BIG: SHARE_MAX_PIECES. At most
 * SHARE_MAX_REQUESTS may be under way. */
int share_submit(struct share *share, uint32_t slot, const struct iovec *pieces, unsigned readable,
	unsigned writable);
/* What was submitted is to be looked at. */
void share_flush(struct share *share);
/* The guest's driver begins anew: the server forgets its client. */
void share_reset(struct share *share);
/* Kill the helper; lost() comes when it has ended. */
void share_abandon(struct share *share);

/* No worker runs any more. */
void share_close(struct share *share);

#endif
