#include "host/disk/nbd_connect.h"

#include "base/bits.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ATTEMPT_MS     10000
#define STEP_MS        100
#define FIRST_PAUSE_MS 50
#define LAST_PAUSE_MS  2000

static bool is_stopped(int stop_fd, int wait_ms)
{
	struct pollfd poller = {.fd = stop_fd, .events = POLLIN};

	return poll(&poller, 1, wait_ms) > 0;
}

static bool is_over(struct nbd_handle *handle)
{
	return nbd_aio_is_dead(handle) || nbd_aio_is_closed(handle);
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
	if (error >= 0)
		return handle;
	nbd_close(handle);
	return NULL;
}

static void *connector_thread(void *opaque)
{
	struct nbd_connector *connector = opaque;
	const uint64_t one = 1;
	int pause_ms = FIRST_PAUSE_MS;
	struct nbd_handle *handle;
	ssize_t ignored;

	while (!(handle = nbd_connect_once(connector->target, connector->stop_fd))) {
		if (is_stopped(connector->stop_fd, pause_ms))
			return NULL;
		pause_ms = MIN(2 * pause_ms, LAST_PAUSE_MS);
	}
	atomic_store(&connector->made, handle);
	ignored = write(connector->made_fd, &one, sizeof(one));
	(void)ignored;
	return NULL;
}

int nbd_connector_init(struct nbd_connector *connector, const char *target)
{
	*connector = (struct nbd_connector){.target = target};
	connector->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	connector->made_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return connector->stop_fd < 0 || connector->made_fd < 0 ? -EMFILE : 0;
}

int nbd_connector_start(struct nbd_connector *connector)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&connector->thread, NULL, connector_thread, connector);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	connector->running = !error;
	return -error;
}

struct nbd_handle *nbd_connector_take(struct nbd_connector *connector)
{
	uint64_t count;
	ssize_t ignored = read(connector->made_fd, &count, sizeof(count));

	(void)ignored;
	if (connector->running)
		pthread_join(connector->thread, NULL);
	connector->running = false;
	return atomic_exchange(&connector->made, NULL);
}

void nbd_connector_destroy(struct nbd_connector *connector)
{
	const uint64_t one = 1;
	ssize_t ignored = write(connector->stop_fd, &one, sizeof(one));
	struct nbd_handle *handle = nbd_connector_take(connector);

	(void)ignored;
	if (handle)
		nbd_close(handle);
	if (connector->stop_fd >= 0)
		close(connector->stop_fd);
	if (connector->made_fd >= 0)
		close(connector->made_fd);
}
