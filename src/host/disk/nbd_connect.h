/* Connections to a network block device server, made by a thread of their own: names are resolved
 * and servers waited for without the worker. */
#ifndef VENEER_HOST_DISK_NBD_CONNECT_H
#define VENEER_HOST_DISK_NBD_CONNECT_H

#include <libnbd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct nbd_connector {
	const char *target; /* a URI, or the path of a Unix socket */
	int stop_fd;        /* readable: the thread shall end */
	int made_fd;        /* readable: there is a connection; nbd_connector_take() */
	pthread_t thread;
	bool running;
	_Atomic(struct nbd_handle *) made;
};

/* One attempt, of ten seconds at most; none that `stop_fd` (or -1) ends. NULL, and then
 * nbd_get_error() says why. */
struct nbd_handle *nbd_connect_once(const char *target, int stop_fd);

/* 0, or -errno. */
int nbd_connector_init(struct nbd_connector *connector, const char *target);
/* Begin to try, again and again, with longer and longer pauses, till there is a connection. */
int nbd_connector_start(struct nbd_connector *connector);
/* made_fd is readable: the connection, which is the caller's. */
struct nbd_handle *nbd_connector_take(struct nbd_connector *connector);
void nbd_connector_destroy(struct nbd_connector *connector);

#endif
