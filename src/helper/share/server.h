/* A 9P2000.L server for one directory, as Linux' client (fs/9p, net/9p) speaks it. It takes a
 * message and makes the reply, one at a time; it knows nothing of where they come from.
 *
 * Its client is hostile: what a message says is checked where it is read, and how many fids, nodes,
 * descriptors and bytes a client can make the server keep is bounded. */
#ifndef VENEER_HELPER_SHARE_SERVER_H
#define VENEER_HELPER_SHARE_SERVER_H

#include "host/share/config.h"

#include <stddef.h>
#include <sys/uio.h>

#define P9_LARGEST_MESSAGE (512 * 1024 + 24) /* bytes; the most that msize can be */
#define P9_SMALLEST        4096              /* the least */

struct p9_server;

struct p9_server_config {
	int root; /* the directory: any descriptor of it, the server's from now on */
	unsigned most_fds;
	bool read_only;
	bool sync; /* data is on the disk before a write is answered */
	enum share_security security;
};

/* Changes the working directory (helper/share/tree.h). NULL with errno. */
struct p9_server *p9_server_create(const struct p9_server_config *config);
void p9_server_destroy(struct p9_server *server);

/* Serve the message in `request`; the reply is put into `reply`. Both may be changed by others
 * meanwhile. Returns the reply's bytes; 0: none could be made (the message has no header, or there
 * is no room for an error). */
size_t p9_server_serve(struct p9_server *server, const struct iovec *request,
	unsigned request_count, const struct iovec *reply, unsigned reply_count);

/* The client has gone: as if all fids had been clunked. */
void p9_server_reset(struct p9_server *server);

#endif
