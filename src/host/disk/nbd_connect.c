#include "host/disk/nbd_connect.h"

#include "base/bits.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ATTEMPT_MS     10000
#define STEP_MS        100
#define FIRST_PAUSE_MS 50
#define LAST_PAUSE_MS  2000
#define PROBE_AFTER_S  10 /* of silence, a server's host is asked whether it lives */
#define PROBE_EVERY_S  5
#define DEAD_AFTER_S   30 /* without an answer from it */

/* Shared with a thread that tries: whoever lets go of it last frees it. */
struct nbd_connector {
	char *target;
	int stop_fd; /* readable: the thread shall end */
	int made_fd; /* readable: there is a connection */
	_Atomic(struct nbd_handle *) made;
	atomic_uint users;
};

static bool is_stopped(int stop_fd, int wait_ms)
{
	struct pollfd poller = {.fd = stop_fd, .events = POLLIN};

	return poll(&poller, 1, wait_ms) > 0;
}

static bool is_over(struct nbd_handle *handle)
{
	return nbd_aio_is_dead(handle) || nbd_aio_is_closed(handle);
}

/* A host that is switched off says nothing. TCP would believe in it for a quarter of an hour. On
 * sockets of other kinds this has no effect. */
static void notice_dead_host(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, PROBE_AFTER_S},
		{IPPROTO_TCP, TCP_KEEPINTVL, PROBE_EVERY_S},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_AFTER_S * 1000},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

struct nbd_handle *nbd_connect_once(const char *target, int stop_fd)
{
	struct nbd_handle *handle = nbd_create();
	int error, left;

	if (!handle)
		return NULL;
	nbd_set_pread_initialize(handle, false); /* reads that fail are told, not looked at */
	error = target[0] == '/' ? nbd_aio_connect_unix(handle, target)
				 : nbd_aio_connect_uri(handle, target);
	for (left = ATTEMPT_MS; error >= 0 && !nbd_aio_is_ready(handle); left -= STEP_MS) {
		if (left <= 0 || is_over(handle) || (stop_fd >= 0 && is_stopped(stop_fd, 0)))
			error = -1;
		else
			error = nbd_poll(handle, STEP_MS);
	}
	if (error >= 0) {
		notice_dead_host(nbd_aio_get_fd(handle));
		return handle;
	}
	nbd_close(handle);
	return NULL;
}

static void let_go(struct nbd_connector *connector)
{
	if (atomic_fetch_sub(&connector->users, 1) > 1)
		return;
	if (connector->made)
		nbd_close(connector->made);
	if (connector->stop_fd >= 0)
		close(connector->stop_fd);
	if (connector->made_fd >= 0)
		close(connector->made_fd);
	free(connector->target);
	free(connector);
}

static void *connector_thread(void *opaque)
{
	struct nbd_connector *connector = opaque;
	const uint64_t one = 1;
	int pause_ms = FIRST_PAUSE_MS;
	struct nbd_handle *handle;
	ssize_t ignored;

	while (!(handle = nbd_connect_once(connector->target, connector->stop_fd)) &&
		!is_stopped(connector->stop_fd, pause_ms))
		pause_ms = MIN(2 * pause_ms, LAST_PAUSE_MS);
	if (handle) {
		atomic_store(&connector->made, handle);
		ignored = write(connector->made_fd, &one, sizeof(one));
		(void)ignored;
	}
	let_go(connector);
	return NULL;
}

struct nbd_connector *nbd_connector_create(const char *target)
{
	struct nbd_connector *connector = calloc(1, sizeof(*connector));

	if (!connector)
		return NULL;
	connector->users = 1;
	connector->target = strdup(target);
	connector->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	connector->made_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (connector->target && connector->stop_fd >= 0 && connector->made_fd >= 0)
		return connector;
	let_go(connector);
	return NULL;
}

int nbd_connector_start(struct nbd_connector *connector)
{
	sigset_t all, before;
	pthread_t thread;
	int error;

	atomic_fetch_add(&connector->users, 1);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&thread, NULL, connector_thread, connector);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		let_go(connector);
	else
		pthread_detach(thread);
	return -error;
}

int nbd_connector_fd(const struct nbd_connector *connector)
{
	return connector->made_fd;
}

struct nbd_handle *nbd_connector_take(struct nbd_connector *connector)
{
	uint64_t count;
	ssize_t ignored = read(connector->made_fd, &count, sizeof(count));

	(void)ignored;
	return atomic_exchange(&connector->made, NULL);
}

void nbd_connector_destroy(struct nbd_connector *connector)
{
	const uint64_t one = 1;
	ssize_t ignored;

	if (!connector)
		return;
	ignored = write(connector->stop_fd, &one, sizeof(one));
	(void)ignored;
	let_go(connector);
}
