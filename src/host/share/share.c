#include "host/share/share.h"

#include "base/bits.h"
#include "base/log.h"
#include "host/helper.h"
#include "host/net/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define START_TIMEOUT 20000 /* ms */

struct share {
	struct helper helper;
	struct net_link link; /* closed: the share is lost */
	struct share_memory memory;
	struct worker *worker;
	struct share_port port;
	bool dying; /* it has been told to end, and has not ended yet */
	char tag[SHARE_TAG_MAX + 1];
};

/* --- starting --- */

static int launch(struct share *share, const struct share_config *config, int directory)
{
	const char *words[4] = {share_security_name(config->security)};
	unsigned count = 1;
	int sockets[2], fds[4], error;

	if (config->read_only)
		words[count++] = "readonly";
	if (config->sync)
		words[count++] = "sync";
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
		return -errno;
	error = net_link_create(&share->link, sockets[0], &fds[1]);
	if (error) {
		close(sockets[0]);
		close(sockets[1]);
		return error;
	}
	fds[0] = sockets[1];
	fds[2] = share->memory.fd;
	fds[3] = directory;
	error = helper_start(&share->helper, "veneer-share", words, fds, ARRAY_SIZE(fds));
	close(fds[0]);
	close(fds[1]);
	if (error)
		net_link_close(&share->link);
	return error;
}

/* It says a byte when it is ready; where it cannot do what it is asked, it says why and ends. */
static int wait_until_ready(struct share *share)
{
	struct pollfd fds[] = {{.fd = share->link.socket, .events = POLLIN},
		{.fd = share->helper.message_fd, .events = POLLIN}};

	while (poll(fds, ARRAY_SIZE(fds), START_TIMEOUT) != 0) {
		if (fds[0].revents && net_link_drain(&share->link) == 0)
			return 0;
		if (fds[0].revents) {
			helper_wait(&share->helper, START_TIMEOUT); /* it has said why */
			return -EIO;
		}
		if (fds[1].revents && helper_relay(&share->helper) < 0)
			fds[1].fd = -1;
	}
	return -ETIMEDOUT;
}

int share_open(
	const struct share_config *config, const struct share_memory *memory, struct share **result)
{
	struct share *share = calloc(1, sizeof(*share));
	int directory, error;

	if (!share) {
		log_error("--share %s: out of memory", config->path);
		return -ENOMEM;
	}
	share->memory = *memory;
	share->link.socket = share->helper.pidfd = share->helper.message_fd = -1;
	memcpy(share->tag, config->tag, sizeof(share->tag));
	directory = open(config->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0) {
		error = -errno;
		log_error("--share %s: %s; expected a directory", config->path, strerror(errno));
	} else {
		error = launch(share, config, directory);
		if (!error)
			error = wait_until_ready(share);
		if (error)
			log_error("--share %s: cannot start its server: %s", config->path,
				strerror(-error));
		close(directory);
	}
	if (error)
		share_close(share);
	else
		*result = share;
	return error;
}

/* --- its end --- */

static void unwatch(struct share *share)
{
	worker_unwatch(share->worker, share->link.socket);
	worker_unwatch(share->worker, share->helper.message_fd);
	worker_unwatch(share->worker, share->helper.pidfd);
}

/* A process that waits in the host's kernel may end late: its end is waited for by its
 * descriptor. */
void share_abandon(struct share *share)
{
	if (!share->link.map || share->dying)
		return;
	share->dying = true;
	syscall(SYS_pidfd_send_signal, share->helper.pidfd, SIGKILL, NULL, 0);
}

static void ended(void *opaque, uint32_t events)
{
	struct share *share = opaque;

	if (!share->dying)
		log_error("--share tag=%s: its server has ended; what the guest asks of it is an "
			  "error from now on",
			share->tag);
	unwatch(share);
	helper_stop(&share->helper);
	net_link_close(&share->link);
	share->port.lost(share->port.opaque);
}

static void broken(struct share *share)
{
	log_error("--share tag=%s: its server has broken the rules and is ended; what the guest "
		  "asks of it is an error from now on",
		share->tag);
	share_abandon(share);
}

/* --- answers --- */

static void take_answers(struct share *share)
{
	struct share_answer answer;
	ssize_t size = 0;
	uint8_t *frame;

	while (!share->dying && (size = net_link_peek(&share->link, &frame, sizeof(answer))) > 0) {
		memcpy(&answer, frame, sizeof(answer));
		net_link_taken(&share->link);
		if ((size_t)size != sizeof(answer) ||
			!share->port.answered(share->port.opaque, answer.slot, answer.bytes)) {
			broken(share);
			return;
		}
	}
	if (!share->dying && size != -EAGAIN)
		broken(share);
}

static void socket_ready(void *opaque, uint32_t events)
{
	struct share *share = opaque;

	/* Its end is told by its own descriptor. */
	if (net_link_drain(&share->link) < 0)
		worker_unwatch(share->worker, share->link.socket);
	take_answers(share);
}

static void message_ready(void *opaque, uint32_t events)
{
	struct share *share = opaque;

	if (helper_relay(&share->helper) < 0)
		worker_unwatch(share->worker, share->helper.message_fd);
}

int share_start(struct share *share, struct worker *worker, const struct share_port *port)
{
	int error = worker_watch(worker, share->link.socket, EPOLLIN, socket_ready, share);

	share->worker = worker;
	share->port = *port;
	if (!error)
		error = worker_watch(
			worker, share->helper.message_fd, EPOLLIN, message_ready, share);
	if (!error)
		error = worker_watch(worker, share->helper.pidfd, EPOLLIN, ended, share);
	/* Nothing was asked yet; to look is what makes the helper wake us. */
	if (!error)
		take_answers(share);
	else
		log_error("--share tag=%s: cannot wait for its server: %s", share->tag,
			strerror(-error));
	return error;
}

/* --- requests --- */

int share_submit(struct share *share, uint32_t slot, const struct iovec *pieces, unsigned readable,
	unsigned writable)
{
	struct share_piece named[SHARE_MAX_PIECES];
	struct share_request request = {slot, (uint16_t)readable, (uint16_t)writable};
	struct iovec frame[] = {{&request, sizeof(request)}, {named, 0}};
	unsigned count = readable + writable;

	if (!share->link.map || share->dying)
		return -EIO;
	if (count > SHARE_MAX_PIECES)
		return -E2BIG;
	for (unsigned i = 0; i < count; i++)
		named[i] = (struct share_piece){
			(uint64_t)((const uint8_t *)pieces[i].iov_base - share->memory.base),
			pieces[i].iov_len};
	frame[1].iov_len = count * sizeof(*named);
	if (net_link_send(&share->link, frame, ARRAY_SIZE(frame),
		    frame[0].iov_len + frame[1].iov_len) == 0)
		return 0;
	broken(share);
	return -EIO;
}

void share_flush(struct share *share)
{
	if (share->link.map && !share->dying)
		net_link_flush(&share->link);
}

void share_reset(struct share *share)
{
	share_submit(share, SHARE_RESET, NULL, 0, 0);
	share_flush(share);
}

void share_close(struct share *share)
{
	helper_stop(&share->helper);
	net_link_close(&share->link);
	free(share);
}
