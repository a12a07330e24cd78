/* Connections to a network block device server, made by a thread of their own: names are resolved
 * and servers waited for without the worker. */
#ifndef VENEER_HOST_DISK_NBD_CONNECT_H
#define VENEER_HOST_DISK_NBD_CONNECT_H

#include <libnbd.h>

struct nbd_connector;

/* One attempt, of ten seconds at most, and the time that it takes to resolve a name; none that
 * `stop_fd` (or -1) ends. `target`: a URI, or the path of a Unix socket. NULL, and then
 * nbd_get_error() says why. */
struct nbd_handle *nbd_connect_once(const char *target, int stop_fd);

/* NULL: no memory, or no descriptors. */
struct nbd_connector *nbd_connector_create(const char *target);
/* Begin to try, again and again, with longer and longer pauses, till there is a connection. 0 or
 * -errno. */
int nbd_connector_start(struct nbd_connector *connector);
/* Readable when there is a connection. */
int nbd_connector_fd(const struct nbd_connector *connector);
/* The connection, which is the caller's; NULL: there is none yet. */
struct nbd_handle *nbd_connector_take(struct nbd_connector *connector);
/* Try no more. Does not wait: a thread that resolves a name goes on till that is done. NULL:
 * nothing. */
void nbd_connector_destroy(struct nbd_connector *connector);

#endif
