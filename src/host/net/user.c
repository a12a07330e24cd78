/* The user network, as the monitor sees it: a link to a helper process, veneer-net-user, where
 * libslirp is. What the guest sends can break the helper. Then the machine goes on without a
 * network until another helper runs; each that ends soon makes the next one wait longer. */
#include "host/net/open.h"

#include "base/bits.h"
#include "base/log.h"
#include "host/helper.h"
#include "host/net/forward.h"
#include "host/net/link.h"
#include "host/net/offload.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FIRST_DELAY   (100 * 1000000ull) /* ns */
#define LONGEST_DELAY (30 * NS_PER_SECOND)
#define LONG_LIFE     60    /* seconds after which a helper's end is not held against the next */
#define START_TIMEOUT 20000 /* ms */
#define STUCK_AFTER   (5 * NS_PER_SECOND)

struct net_user {
	struct net_backend net;
	char *words[HELPER_MAX_WORDS + 1]; /* of the helper's command line, ended by NULL */
	unsigned word_count;
	int tftp_fd; /* the directory that it serves, or -1 */

	struct helper helper;
	struct net_link link; /* closed while no helper runs */
	struct worker *worker;
	struct net_port port;
	uint64_t takes;
	struct worker_task announce;
	bool wanted;  /* receive_ready() */
	bool refused; /* send() has; send_ready() is owed */

	struct worker_timer restart;
	uint64_t delay_ns;
	time_t started;
	bool told; /* that a helper has ended */

	struct worker_timer progress; /* armed while there may be frames that it has not taken */
	uint32_t taken_before;
};

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* --- the helper --- */

/* Start it, with a link. 0, or -errno with a message. */
static int launch(struct net_user *user)
{
	int sockets[2], fds[3], error;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0) {
		error = -errno;
		log_error("--net user: cannot make a socket: %s", strerror(-error));
		return error;
	}
	fds[0] = sockets[1];
	error = net_link_create(&user->link, sockets[0], &fds[1]);
	if (error) {
		log_error("--net user: cannot make a link: %s", strerror(-error));
		close(sockets[0]);
		close(sockets[1]);
		return error;
	}
	net_link_set_takes(&user->link, user->takes);
	fds[2] = user->tftp_fd;
	error = helper_start(&user->helper, "veneer-net-user", (const char *const *)user->words,
		fds, user->tftp_fd < 0 ? 2 : 3);
	close(fds[0]);
	close(fds[1]);
	if (error)
		net_link_close(&user->link);
	user->started = seconds();
	return error;
}

/* It says a byte when it is ready; where it cannot do what it is asked, it says why and ends. */
static int wait_until_ready(struct net_user *user)
{
	struct pollfd fds[] = {{.fd = user->link.socket, .events = POLLIN},
		{.fd = user->helper.message_fd, .events = POLLIN}};

	while (poll(fds, ARRAY_SIZE(fds), START_TIMEOUT) != 0) {
		if (fds[0].revents && net_link_drain(&user->link) == 0)
			return 0;
		if (fds[0].revents) {
			helper_wait(&user->helper, START_TIMEOUT); /* it has said why */
			log_error("--net user: veneer-net-user has not started");
			return -EIO;
		}
		if (fds[1].revents && helper_relay(&user->helper) < 0)
			fds[1].fd = -1;
	}
	log_error("--net user: veneer-net-user does not answer");
	return -ETIMEDOUT;
}

static void helper_lost(struct net_user *user, const char *why);

static void announce(void *opaque)
{
	struct net_user *user = opaque;

	if (user->refused &&
		(!user->link.map || net_link_room(&user->link, true) >= NET_LINK_RING / 2)) {
		user->refused = false;
		user->port.send_ready(user->port.opaque, 0);
	}
	if (user->wanted)
		user->port.receive_ready(user->port.opaque, 0);
}

static void socket_ready(void *opaque, uint32_t events)
{
	struct net_user *user = opaque;

	if (net_link_drain(&user->link) < 0) {
		helper_lost(user, "has ended");
		return;
	}
	announce(user);
}

static void message_ready(void *opaque, uint32_t events)
{
	struct net_user *user = opaque;

	if (helper_relay(&user->helper) < 0)
		worker_unwatch(user->worker, user->helper.message_fd);
}

static void ended(void *opaque, uint32_t events)
{
	helper_lost(opaque, "has ended");
}

static int watch(struct net_user *user)
{
	int error = worker_watch(user->worker, user->link.socket, EPOLLIN, socket_ready, user);

	if (!error)
		error = worker_watch(
			user->worker, user->helper.message_fd, EPOLLIN, message_ready, user);
	if (!error)
		error = worker_watch(user->worker, user->helper.pidfd, EPOLLIN, ended, user);
	return error;
}

static void unwatch(struct net_user *user)
{
	worker_unwatch(user->worker, user->link.socket);
	worker_unwatch(user->worker, user->helper.message_fd);
	worker_unwatch(user->worker, user->helper.pidfd);
}

/* Once: a guest that can break a helper can break many. */
static void tell_loss(struct net_user *user, const char *why)
{
	enum log_level level = user->told ? LOG_INFO : LOG_WARNING;

	log_message(level, "--net user: veneer-net-user %s; it is started again in %u ms%s", why,
		(unsigned)(user->delay_ns / 1000000),
		user->told ? "" : ", and from now on without a word");
	user->told = true;
}

static void helper_lost(struct net_user *user, const char *why)
{
	if (seconds() - user->started >= LONG_LIFE)
		user->delay_ns = FIRST_DELAY;
	worker_timer_cancel(&user->progress);
	unwatch(user);
	helper_stop(&user->helper);
	net_link_close(&user->link);
	tell_loss(user, why);
	worker_timer_arm(&user->restart, user->delay_ns);
	user->delay_ns = MIN(2 * user->delay_ns, LONGEST_DELAY);
	/* The card is told of it later, since it may be in the midst of sending. */
	worker_post(user->worker, &user->announce);
}

static void start_again(void *opaque)
{
	struct net_user *user = opaque;

	if (launch(user) < 0 || watch(user) < 0) {
		worker_timer_arm(&user->restart, user->delay_ns);
		user->delay_ns = MIN(2 * user->delay_ns, LONGEST_DELAY);
		if (!user->link.map)
			return;
		unwatch(user);
		helper_stop(&user->helper);
		net_link_close(&user->link);
		return;
	}
	/* Who has found the ring empty is told of the first frame in it. */
	announce(user);
}

/* A helper that takes nothing of what the guest sends for STUCK_AFTER will not go on: libslirp
 * never waits for anything. */
static void watch_progress(struct net_user *user)
{
	net_link_room(&user->link, false);
	user->taken_before = user->link.out.other;
	worker_timer_arm(&user->progress, STUCK_AFTER);
}

static void look_for_progress(void *opaque)
{
	struct net_user *user = opaque;

	if (!user->link.map || net_link_room(&user->link, false) == NET_LINK_RING)
		return;
	if (user->link.out.other == user->taken_before)
		helper_lost(user, "does not go on");
	else
		watch_progress(user);
}

/* --- the back end --- */

static int user_start(struct net_backend *net, struct worker *worker, const struct net_port *port)
{
	struct net_user *user = container_of(net, struct net_user, net);
	int error;

	user->worker = worker;
	user->port = *port;
	user->wanted = true;
	worker_task_init(&user->announce, announce, user);
	worker_post(worker, &user->announce);
	worker_timer_init(&user->restart, worker, start_again, user);
	worker_timer_init(&user->progress, worker, look_for_progress, user);
	error = watch(user);
	if (error)
		log_error("--net user: cannot wait for veneer-net-user: %s", strerror(-error));
	return error;
}

static int user_send(struct net_backend *net, unsigned queue, const struct iovec *pieces,
	unsigned count, size_t bytes)
{
	struct net_user *user = container_of(net, struct net_user, net);
	int error;

	if (!user->link.map || bytes < NET_HEADER || bytes > NET_MAX_FRAME)
		return 0;
	error = net_link_send(&user->link, pieces, count, bytes);
	if (error == -EAGAIN)
		user->refused = true;
	if (error != -EPROTO)
		return error;
	helper_lost(user, "has broken the rules");
	return 0;
}

static void user_flush(struct net_backend *net)
{
	struct net_user *user = container_of(net, struct net_user, net);

	if (!user->link.map)
		return;
	net_link_flush(&user->link);
	if (!user->progress.armed)
		watch_progress(user);
}

static ssize_t user_receive(
	struct net_backend *net, unsigned queue, const struct iovec *pieces, unsigned count)
{
	struct net_user *user = container_of(net, struct net_user, net);
	uint8_t *frame;
	ssize_t bytes;

	if (!user->link.map)
		return -EAGAIN;
	bytes = net_link_peek(&user->link, &frame, NET_HEADER);
	if (bytes == -EPROTO) {
		helper_lost(user, "has broken the rules");
		return -EAGAIN;
	}
	if (bytes < 0)
		return bytes;
	bytes = net_scatter(pieces, count, frame, (size_t)bytes);
	net_link_taken(&user->link);
	return bytes;
}

static void user_want_receive(struct net_backend *net, unsigned queue, bool wanted)
{
	struct net_user *user = container_of(net, struct net_user, net);

	if (wanted && !user->wanted)
		worker_post(user->worker, &user->announce);
	user->wanted = wanted;
}

static void user_guest_takes(struct net_backend *net, uint64_t features)
{
	struct net_user *user = container_of(net, struct net_user, net);

	user->takes = features;
	if (user->link.map)
		net_link_set_takes(&user->link, features);
}

static void user_destroy(struct net_backend *net)
{
	struct net_user *user = container_of(net, struct net_user, net);

	helper_stop(&user->helper);
	net_link_close(&user->link);
	if (user->tftp_fd >= 0)
		close(user->tftp_fd);
	while (user->word_count)
		free(user->words[--user->word_count]);
	free(user);
}

static const struct net_backend_ops user_ops = {
	.start = user_start,
	.send = user_send,
	.receive = user_receive,
	.want_receive = user_want_receive,
	.flush = user_flush,
	.guest_takes = user_guest_takes,
	.destroy = user_destroy,
};

/* 0, or -ENOMEM or -E2BIG. `text` NULL: no word. */
static int add_word(struct net_user *user, const char *name, const char *text)
{
	char **word = &user->words[user->word_count];

	if (!text)
		return 0;
	if (user->word_count == HELPER_MAX_WORDS)
		return -E2BIG;
	if (asprintf(word, "%s%s", name, text) < 0) {
		*word = NULL;
		return -ENOMEM;
	}
	user->word_count++;
	return 0;
}

static int make_words(struct net_user *user, const struct net_config *config)
{
	char text[NET_FORWARD_TEXT];
	int error;

	snprintf(text, sizeof(text), "%u", config->number);
	error = add_word(user, "number=", text);
	if (config->restricted)
		error |= add_word(user, "restrict=", "on");
	error |= add_word(user, "hostname=", config->host_name);
	error |= add_word(user, "domainname=", config->domain_name);
	for (unsigned i = 0; i < config->search_count; i++)
		error |= add_word(user, "dnssearch=", config->search[i]);
	error |= add_word(user, "bootfile=", config->boot_file);
	for (unsigned i = 0; i < config->forward_count; i++) {
		net_forward_text(&config->forward[i], text);
		error |= add_word(user, "hostfwd=", text);
	}
	if (error)
		log_error("--net user: out of memory");
	return error ? -ENOMEM : 0;
}

static int open_tftp(struct net_user *user, const char *directory)
{
	int error;

	user->tftp_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (user->tftp_fd >= 0)
		return 0;
	error = -errno;
	log_error("--net user: tftp=%s: %s; expected a directory", directory, strerror(-error));
	return error;
}

int net_user_open(const struct net_config *config, struct net_backend **net)
{
	struct net_user *user = calloc(1, sizeof(*user));
	int error;

	if (!user) {
		log_error("--net user: out of memory");
		return -ENOMEM;
	}
	user->net = (struct net_backend){
		.ops = &user_ops, .queues = 1, .offloads = NET_SOFTWARE_OFFLOADS};
	user->link.socket = -1;
	user->delay_ns = FIRST_DELAY;
	user->tftp_fd = -1;
	user->helper.pidfd = user->helper.message_fd = -1;
	error = make_words(user, config);
	if (!error && config->tftp)
		error = open_tftp(user, config->tftp);
	if (!error)
		error = launch(user);
	if (!error)
		error = wait_until_ready(user);
	if (error) {
		user_destroy(&user->net);
		return error;
	}
	*net = &user->net;
	return 0;
}
