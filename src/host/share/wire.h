/* What passes over the link (host/net/link.h) between the monitor and veneer-share.
 *
 * The monitor sends a frame for each request: struct share_request, and its pieces of guest memory,
 * first those with the message and then those for the reply. The helper has guest memory mapped,
 * and answers with a struct share_answer. Requests are answered in order. */
#ifndef VENEER_HOST_SHARE_WIRE_H
#define VENEER_HOST_SHARE_WIRE_H

#include <stdint.h>

#define SHARE_MAX_REQUESTS 128 /* that are not answered yet */
#define SHARE_MAX_PIECES   512 /* of one request */

/* The slot of a request that says: the guest's driver has begun anew. It is not answered. */
#define SHARE_RESET UINT32_MAX

struct share_request {
	uint32_t slot; /* the monitor's name for it */
	uint16_t readable, writable;
};

struct share_piece {
	uint64_t offset; /* in the file of guest memory */
	uint64_t size;
};

struct share_answer {
	uint32_t slot;
	uint32_t bytes; /* of the reply */
};

#endif
