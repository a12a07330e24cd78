/* A network block device: a server speaks the NBD protocol, libnbd speaks it for us.
 *
 * A request is cut into commands (nbd_command.c), of which MAX_COMMANDS are with the server at one
 * time.
 *
 * A server may go away and come back. What it has not answered then is sent again. What it has
 * answered, but was not asked to make durable, may be lost with it, though the guest believes it
 * written: a later flush would promise too much. So writes are kept here (nbd_log.c) till a flush
 * has followed them, and a server that is back gets them first, one after the other. What is kept
 * is bounded: past FLUSH_AT bytes we flush by ourselves, past KEEP_AT no write is sent. */
#include "host/disk/internal.h"
#include "host/disk/nbd_command.h"
#include "host/disk/nbd_connect.h"
#include "host/disk/nbd_log.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MAX_COMMANDS 64
#define FLUSH_AT     (32 * MIB)
#define KEEP_AT      (96 * MIB)
#define BEST_BLOCK   4096
#define SILENCE_S    10 /* of a server that has something to do, and the user is told */

struct nbd {
	struct disk disk;
	char *name;
	struct nbd_offer offer; /* the server's; cache=unsafe: as if it could not flush */
	bool unsafe;
	unsigned reconnect_s;
	struct disk_server *server; /* of our own, or NULL: nothing to reconnect to */
	struct worker *worker;
	struct disk_finished finished;

	struct nbd_handle *handle; /* NULL: the server is gone */
	int fd; /* the connection's, and ours: libnbd closes its own when the connection ends */
	uint32_t events;
	struct nbd_connector *connector;
	struct worker_timer patience;
	bool failed; /* it has been gone for too long: requests fail */
	struct worker_timer silence;
	uint64_t answers, answers_before; /* now, and when `silence` was armed */
	bool told_silence;

	struct disk_request *queue, **queue_end; /* not wholly sent */
	struct nbd_command *sent, *resend;       /* in the order of sending */
	unsigned sent_count;

	struct nbd_log log;
	struct nbd_command *replayed; /* of the log: what is written again now */
	struct nbd_command replay, own_flush;
	bool replaying, flushing;
	int flush_error; /* of our own flush or replay: told with the guest's next */
};

/* What a request has in its number[]. */
#define SENT_BYTES(request)  ((request)->number[0])
#define OUTSTANDING(request) ((request)->number[1])
#define ERROR(request)       ((request)->number[2])
#define FLUSHED(request)     ((request)->number[3])

static void pump(struct nbd *nbd);
static void lose_server(struct nbd *nbd);
static void watch_for_silence(struct nbd *nbd);

/* --- commands --- */

static bool is_over(struct nbd_handle *handle)
{
	return nbd_aio_is_dead(handle) || nbd_aio_is_closed(handle);
}

/* May the server lose what the command has written? */
static bool is_kept(const struct nbd *nbd, const struct nbd_command *command)
{
	return (command->operation == DISK_WRITE || command->operation == DISK_WRITE_ZEROES) &&
	       !command->fua && nbd->offer.can_flush;
}

static void send_command(struct nbd *nbd, struct nbd_command *command)
{
	struct nbd_command **link = &nbd->sent;

	while (*link)
		link = &(*link)->next;
	*link = command;
	command->next = NULL;
	command->number = nbd->log.sequence;
	nbd->sent_count++;
	if (!nbd->silence.armed)
		watch_for_silence(nbd);
	if (nbd_command_send(command, nbd->handle) < 0 && !is_over(nbd->handle)) {
		command->answered = true;
		command->error = EIO;
	}
}

/* --- requests --- */

static void enqueue(struct nbd *nbd, struct disk_request *request)
{
	request->next = NULL;
	*nbd->queue_end = request;
	nbd->queue_end = &request->next;
	worker_want_idle(nbd->worker);
}

static bool is_sent(const struct disk_request *request)
{
	if (request->operation == DISK_FLUSH || FLUSHED(request))
		return FLUSHED(request) == 2;
	return SENT_BYTES(request) == request->bytes || ERROR(request);
}

/* Nothing of it is with the server any more. */
static void request_over(struct nbd *nbd, struct disk_request *request)
{
	bool write = request->operation == DISK_WRITE || request->operation == DISK_WRITE_ZEROES;

	if (write && request->fua && !ERROR(request) && !FLUSHED(request) && !nbd->offer.can_fua &&
		nbd->offer.can_flush && !nbd->failed) {
		FLUSHED(request) = 1; /* the next command is a flush */
		enqueue(nbd, request);
		return;
	}
	request->done(request, (int)(int64_t)ERROR(request));
}

static int guest_error(int error)
{
	return error == ENOSPC || error == EDQUOT || error == EFBIG ? -ENOSPC : -EIO;
}

/* A command has its answer, or will have none. `error`: 0 or positive. */
static void command_over(struct nbd *nbd, struct nbd_command *command, int error)
{
	struct disk_request *request = command->request;

	if (command->operation == DISK_FLUSH) {
		nbd_log_forget(&nbd->log, command->number);
		if (request && nbd->flush_error && !error)
			error = -nbd->flush_error;
		nbd->flush_error = request ? 0 : nbd->flush_error;
	}
	if (!error && command->operation == DISK_READ)
		nbd_command_deliver(command);
	if (!error && is_kept(nbd, command))
		nbd_log_add(&nbd->log, command);
	else
		nbd_command_free(command);
	if (error && !ERROR(request))
		ERROR(request) = (uint64_t)(int64_t)guest_error(error);
	if (--OUTSTANDING(request) == 0 && is_sent(request) && nbd->queue != request)
		request_over(nbd, request);
}

static void replay_next(struct nbd *nbd);

static void own_command_over(struct nbd *nbd, struct nbd_command *command)
{
	if (command->error)
		nbd->flush_error = -EIO;
	if (command == &nbd->own_flush) {
		nbd->flushing = false;
		nbd_log_forget(&nbd->log, command->number);
	} else {
		nbd->replayed = nbd->replayed->next;
		replay_next(nbd);
	}
}

static void watch_for_silence(struct nbd *nbd)
{
	nbd->answers_before = nbd->answers;
	worker_timer_arm(&nbd->silence, SILENCE_S * NS_PER_SECOND);
}

/* A server may take its time, so its requests wait on. */
static void is_silent(void *opaque)
{
	struct nbd *nbd = opaque;

	if (!nbd->handle || !nbd->sent)
		return;
	if (nbd->answers == nbd->answers_before && !nbd->told_silence) {
		log_warning("%s: %s has not answered for %u seconds; requests wait for it",
			nbd->name, nbd->server ? "the program that reads it" : "the server",
			SILENCE_S);
		nbd->told_silence = true;
	}
	watch_for_silence(nbd);
}

/* Serve what libnbd has noted. An answer that the connection is lost is none. */
static void serve_answers(struct nbd *nbd)
{
	struct nbd_command **link = &nbd->sent, *command;
	bool lost = nbd->handle && is_over(nbd->handle);

	while ((command = *link)) {
		if (command->answered &&
			(command->error == ENOTCONN || command->error == ESHUTDOWN))
			lost = true;
		if (!command->answered || command->error == ENOTCONN ||
			command->error == ESHUTDOWN) {
			link = &command->next;
			continue;
		}
		*link = command->next;
		nbd->sent_count--;
		nbd->answers++;
		if (command == &nbd->own_flush || command == &nbd->replay)
			own_command_over(nbd, command);
		else
			command_over(nbd, command, command->error);
		link = &nbd->sent; /* done() may have had more sent */
	}
	if (lost)
		lose_server(nbd);
}

static void fail_all(struct nbd *nbd)
{
	struct disk_request *request;
	struct nbd_command *command;

	while ((command = nbd->resend)) {
		nbd->resend = command->next;
		command_over(nbd, command, EIO);
	}
	while ((request = nbd->queue)) {
		nbd->queue = request->next;
		if (!nbd->queue)
			nbd->queue_end = &nbd->queue;
		ERROR(request) = (uint64_t)(int64_t)-EIO;
		request_over(nbd, request);
	}
}

/* --- the server goes and comes --- */

static void lose_patience(void *opaque)
{
	struct nbd *nbd = opaque;

	if (nbd->server)
		log_error("%s: the program that reads it has ended; the guest is told errors",
			nbd->name);
	else
		log_warning("%s: the server is gone; the guest is told errors till it is back",
			nbd->name);
	nbd->failed = true;
	fail_all(nbd);
}

static void drop_server(struct nbd *nbd)
{
	struct nbd_command **link, *command;

	worker_unwatch(nbd->worker, nbd->fd);
	close(nbd->fd);
	nbd->fd = -1;
	nbd_close(nbd->handle);
	nbd->handle = NULL;
	nbd->replaying = nbd->flushing = false;
	/* What was sent goes before what still waited to be sent again; our own is made anew. */
	link = &nbd->sent;
	while ((command = *link)) {
		if (command == &nbd->own_flush || command == &nbd->replay)
			*link = command->next;
		else
			link = &command->next;
	}
	*link = nbd->resend;
	nbd->resend = nbd->sent;
	nbd->sent = NULL;
	nbd->sent_count = 0;
}

static void lose_server(struct nbd *nbd)
{
	if (!nbd->handle)
		return;
	drop_server(nbd);
	if (nbd->server || nbd_connector_start(nbd->connector) < 0 || !nbd->reconnect_s) {
		lose_patience(nbd);
		return;
	}
	log_warning("%s: the server is gone; requests wait for it up to %u seconds", nbd->name,
		nbd->reconnect_s);
	worker_timer_arm(&nbd->patience, nbd->reconnect_s * NS_PER_SECOND);
}

static void update_watch(struct nbd *nbd);

static void ready(void *opaque, uint32_t events)
{
	struct nbd *nbd = opaque;
	unsigned direction = nbd_aio_get_direction(nbd->handle);

	if ((direction & LIBNBD_AIO_DIRECTION_READ) && (events & ~(uint32_t)EPOLLOUT))
		nbd_aio_notify_read(nbd->handle);
	else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) && (events & ~(uint32_t)EPOLLIN))
		nbd_aio_notify_write(nbd->handle);
	serve_answers(nbd);
	pump(nbd);
}

/* Have the worker watch for what libnbd waits for. */
static void update_watch(struct nbd *nbd)
{
	unsigned direction = nbd_aio_get_direction(nbd->handle);
	uint32_t events = (direction & LIBNBD_AIO_DIRECTION_READ ? EPOLLIN : 0) |
			  (direction & LIBNBD_AIO_DIRECTION_WRITE ? EPOLLOUT : 0);

	if (events != nbd->events && worker_watch(nbd->worker, nbd->fd, events, ready, nbd) == 0)
		nbd->events = events;
}

static int adopt(struct nbd *nbd, struct nbd_handle *handle)
{
	nbd->fd = fcntl(nbd_aio_get_fd(handle), F_DUPFD_CLOEXEC, 0);
	if (nbd->fd < 0)
		return -errno;
	nbd->handle = handle;
	nbd->events = 0;
	update_watch(nbd);
	return 0;
}

/* Write again what may have been lost, one after the other: what overlaps has an order. */
static void replay_next(struct nbd *nbd)
{
	nbd->replaying = nbd->replayed;
	if (!nbd->replayed)
		return;
	nbd->replay = *nbd->replayed;
	nbd->replay.request = NULL;
	send_command(nbd, &nbd->replay);
}

/* Learn what the server offers. -errno with a message where that is too little. */
static int learn(struct nbd *nbd, struct nbd_handle *handle)
{
	int error = nbd_offer_get(&nbd->offer, handle, nbd->name);

	if (nbd->unsafe)
		nbd->offer.can_flush = nbd->offer.can_fua = false;
	return error;
}

static void is_back(void *opaque, uint32_t events)
{
	struct nbd *nbd = opaque;
	struct nbd_handle *handle = nbd_connector_take(nbd->connector);

	if (!handle)
		return;
	if (learn(nbd, handle) < 0 || nbd->offer.size < nbd->disk.size ||
		(!nbd->disk.read_only && nbd->offer.read_only)) {
		log_error("%s: the server is back with another disk: it is smaller, or read-only",
			nbd->name);
		nbd_close(handle);
		return;
	}
	if (adopt(nbd, handle) < 0) {
		nbd_close(handle);
		nbd_connector_start(nbd->connector);
		return;
	}
	worker_timer_cancel(&nbd->patience);
	log_warning("%s: the server is back", nbd->name);
	nbd->failed = false;
	nbd->replayed = nbd->log.first;
	replay_next(nbd);
	serve_answers(nbd);
	pump(nbd);
}

/* --- sending --- */

/* The next command of a request that is not wholly sent; NULL: no memory. */
static struct nbd_command *next_command(struct nbd *nbd, struct disk_request *request)
{
	if (FLUSHED(request) || request->operation == DISK_FLUSH)
		return nbd_command_create_flush(request);
	return nbd_command_create(&nbd->offer, request, SENT_BYTES(request));
}

/* The next thing that the server may be sent, or NULL. */
static struct nbd_command *take_command(struct nbd *nbd)
{
	struct disk_request *request = nbd->queue;
	struct nbd_command *command = nbd->resend;

	if (nbd->replaying || nbd->sent_count >= MAX_COMMANDS)
		return NULL;
	if (command) {
		nbd->resend = command->next;
		return command;
	}
	if (!request || (request->operation == DISK_WRITE && nbd->log.bytes > KEEP_AT))
		return NULL;
	/* Where a command of it has failed, the rest is not sent. */
	command = ERROR(request) ? NULL : next_command(nbd, request);
	if (!command) {
		if (!ERROR(request))
			ERROR(request) = (uint64_t)(int64_t)-EIO;
		worker_want_idle(nbd->worker); /* for what comes after it */
	} else {
		OUTSTANDING(request)++;
		SENT_BYTES(request) += command->operation == DISK_FLUSH ? 0 : command->bytes;
	}
	if (request->operation == DISK_FLUSH || FLUSHED(request))
		FLUSHED(request) = 2;
	if (is_sent(request)) {
		nbd->queue = request->next;
		if (!nbd->queue)
			nbd->queue_end = &nbd->queue;
		if (!command && !OUTSTANDING(request))
			request_over(nbd, request);
	}
	return command;
}

static void flush_kept(struct nbd *nbd)
{
	if (nbd->flushing || nbd->replaying || nbd->log.bytes <= FLUSH_AT)
		return;
	nbd->flushing = true;
	nbd->own_flush = (struct nbd_command){.operation = DISK_FLUSH};
	send_command(nbd, &nbd->own_flush);
}

static void pump(struct nbd *nbd)
{
	struct nbd_command *command;

	if (nbd->failed)
		fail_all(nbd);
	if (!nbd->handle)
		return;
	flush_kept(nbd);
	while (!is_over(nbd->handle) && (command = take_command(nbd)))
		send_command(nbd, command);
	for (command = nbd->sent; command; command = command->next)
		if (command->answered)
			worker_want_idle(nbd->worker); /* answered at once: the next turn's */
	if (is_over(nbd->handle))
		serve_answers(nbd);
	else
		update_watch(nbd);
}

static void idle(void *opaque)
{
	struct nbd *nbd = opaque;

	if (nbd->handle)
		serve_answers(nbd);
	pump(nbd);
}

/* --- the disk --- */

static void nbd_submit(struct disk *disk, struct disk_request *request)
{
	struct nbd *nbd = container_of(disk, struct nbd, disk);
	enum disk_operation operation = request->operation;

	memset(request->number, 0, sizeof(request->number));
	if (operation == DISK_FLUSH
			? !nbd->offer.can_flush
			: !request->bytes || (operation == DISK_DISCARD && !nbd->offer.can_trim))
		disk_finish_later(&nbd->finished, request, 0);
	else if (disk->read_only && operation != DISK_READ && operation != DISK_FLUSH)
		disk_finish_later(&nbd->finished, request, -EIO);
	else
		enqueue(nbd, request);
}

static void nbd_flush_queue(struct disk *disk)
{
	pump(container_of(disk, struct nbd, disk));
}

static int nbd_start(struct disk *disk, struct worker *worker)
{
	struct nbd *nbd = container_of(disk, struct nbd, disk);
	int error;

	nbd->worker = worker;
	disk_finished_init(&nbd->finished, worker);
	worker_timer_init(&nbd->patience, worker, lose_patience, nbd);
	worker_timer_init(&nbd->silence, worker, is_silent, nbd);
	error = adopt(nbd, nbd->handle);
	if (!error)
		error = worker_watch(
			worker, nbd_connector_fd(nbd->connector), EPOLLIN, is_back, nbd);
	if (!error)
		error = worker_add_idle(worker, idle, nbd);
	if (!error && nbd->server)
		error = disk_server_watch(nbd->server, worker);
	if (error)
		log_error("%s: %s", nbd->name, strerror(-error));
	return error;
}

static void nbd_destroy(struct disk *disk)
{
	struct nbd *nbd = container_of(disk, struct nbd, disk);

	nbd_connector_destroy(nbd->connector);
	if (nbd->handle) {
		nbd_aio_disconnect(nbd->handle, 0);
		nbd_close(nbd->handle);
	}
	if (nbd->fd >= 0)
		close(nbd->fd);
	disk_server_drop(nbd->server);
	nbd_log_forget(&nbd->log, UINT64_MAX);
	free(nbd->name);
	free(nbd);
}

static void nbd_abandon(struct disk *disk)
{
	struct nbd *nbd = container_of(disk, struct nbd, disk);

	if (nbd->server && (nbd->sent || nbd->resend || nbd->queue))
		disk_server_give_up(nbd->server);
	if (nbd->handle)
		drop_server(nbd);
	fail_all(nbd);
}

static const struct disk_ops nbd_ops = {
	nbd_start, nbd_submit, nbd_flush_queue, nbd_destroy, nbd_abandon};

static int set_up(struct nbd *nbd, const struct disk_config *config)
{
	const struct nbd_offer *offer = &nbd->offer;
	bool read_only = config->read_only || config->snapshot;
	int error = learn(nbd, nbd->handle);

	if (error)
		return error;
	if (!read_only && offer->read_only) {
		log_error("%s: the server lets it be read only; say readonly, or snapshot to keep "
			  "writes here",
			nbd->name);
		return -EROFS;
	}
	nbd->disk = (struct disk){.ops = &nbd_ops,
		.size = offer->size,
		.read_only = read_only,
		.can_discard = offer->can_trim && !read_only,
		.can_write_zeroes = !read_only,
		.block_size = offer->best_block ? offer->best_block : BEST_BLOCK,
		.how = "nbd"};
	return 0;
}

int nbd_open(const struct disk_config *config, const char *target, struct disk_server *server,
	struct disk **disk)
{
	struct nbd *nbd = calloc(1, sizeof(*nbd));
	int error = -ENOMEM;

	if (!nbd) {
		disk_server_drop(server);
		return error;
	}
	nbd->name = strdup(config->path);
	nbd->server = server;
	nbd->unsafe = config->cache == DISK_UNSAFE;
	nbd->reconnect_s = config->reconnect_s;
	nbd->fd = -1;
	nbd->queue_end = &nbd->queue;
	nbd_log_init(&nbd->log);
	nbd->connector = nbd_connector_create(target);
	if (!nbd->name || !nbd->connector) {
		log_error("%s: %s", config->path, strerror(-error));
	} else {
		nbd->handle = nbd_connect_once(target, -1);
		error = nbd->handle ? set_up(nbd, config) : -ECONNREFUSED;
		if (!nbd->handle && !server)
			log_error("cannot connect to %s: %s", config->path, nbd_get_error());
	}
	if (error)
		nbd_destroy(&nbd->disk);
	else
		*disk = &nbd->disk;
	return error;
}
