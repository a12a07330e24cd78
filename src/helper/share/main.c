/* veneer-share: a 9P server for one directory, in a process of its own: it parses whatever a guest
 * sends, and has nothing but that directory and the guest's memory.
 *
 *	veneer-share MODEL [readonly] [sync]
 *
 * MODEL is a name of enum share_security. Descriptor 3 is a link's socket and 4 its memory
 * (host/net/link.h), on whose other end is the monitor's host/share/share.c; 5 is the file of guest
 * memory, and 6 the directory. It ends with the socket's end. */
#include "base/bits.h"
#include "helper/share/server.h"
#include "host/net/link.h"
#include "host/share/wire.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOCKET_FD    3
#define LINK_FD      4
#define MEMORY_FD    5
#define DIRECTORY_FD 6
#define WANTED_FDS   4096
#define OTHER_FDS    32 /* that are not the tree's */

static struct net_link link_to_monitor;
static struct p9_server *server;
static uint8_t *memory; /* the guest's */
static uint64_t memory_size;

_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	_exit(1);
}

static void map_memory(void)
{
	struct stat status;

	if (fstat(MEMORY_FD, &status) < 0)
		fail("guest memory");
	memory_size = (uint64_t)status.st_size;
	memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, MEMORY_FD, 0);
	if (memory == MAP_FAILED)
		fail("guest memory");
	close(MEMORY_FD);
}

/* The more descriptors, the fewer objects must be opened again. What may be had is the host's
 * affair. */
static unsigned allowed_fds(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		fail("getrlimit");
	if (limit.rlim_cur < WANTED_FDS + OTHER_FDS) {
		limit.rlim_cur = MIN(limit.rlim_max, WANTED_FDS + OTHER_FDS);
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	return (unsigned)MIN(limit.rlim_cur, WANTED_FDS + OTHER_FDS) - OTHER_FDS;
}

static void serve_frame(const uint8_t *frame, size_t size)
{
	static struct share_piece pieces[SHARE_MAX_PIECES];
	static struct iovec vectors[SHARE_MAX_PIECES];
	struct share_request request;
	struct share_answer answer;
	unsigned count;

	memcpy(&request, frame, sizeof(request));
	count = request.readable + request.writable;
	if (request.slot == SHARE_RESET) {
		p9_server_reset(server);
		net_link_taken(&link_to_monitor);
		return;
	}
	if (count > SHARE_MAX_PIECES || size != sizeof(request) + count * sizeof(*pieces))
		fail("the monitor's request");
	memcpy(pieces, frame + sizeof(request), count * sizeof(*pieces));
	net_link_taken(&link_to_monitor);
	for (unsigned i = 0; i < count; i++) {
		if (pieces[i].offset > memory_size ||
			pieces[i].size > memory_size - pieces[i].offset)
			fail("the monitor's request");
		vectors[i] = (struct iovec){memory + pieces[i].offset, pieces[i].size};
	}
	answer = (struct share_answer){
		request.slot, (uint32_t)p9_server_serve(server, vectors, request.readable,
				      vectors + request.readable, request.writable)};
	if (net_link_send(&link_to_monitor, &(struct iovec){&answer, sizeof(answer)}, 1,
		    sizeof(answer)) < 0)
		fail("the link");
	net_link_flush(&link_to_monitor);
}

static void serve(void)
{
	struct pollfd fd = {.fd = SOCKET_FD, .events = POLLIN};
	uint8_t *frame;
	ssize_t size;

	for (;;) {
		while ((size = net_link_peek(
				&link_to_monitor, &frame, sizeof(struct share_request))) > 0)
			serve_frame(frame, (size_t)size);
		if (size != -EAGAIN)
			return;
		if (poll(&fd, 1, -1) < 0 && errno != EINTR)
			fail("poll");
		if (fd.revents && net_link_drain(&link_to_monitor) < 0)
			return;
	}
}

static bool has_word(char **words, const char *word)
{
	for (; *words; words++)
		if (strcmp(*words, word) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	struct share_config words = {0};
	struct p9_server_config config;

	if (argc < 2 || share_config_security(&words, "", argv[1]) < 0 ||
		net_link_join(&link_to_monitor, SOCKET_FD, LINK_FD) < 0) {
		fprintf(stderr, "veneer starts this itself, for --share\n");
		return 1;
	}
	close(LINK_FD);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	umask(0);
	map_memory();
	config = (struct p9_server_config){
		.root = DIRECTORY_FD,
		.most_fds = allowed_fds(),
		.read_only = has_word(argv + 2, "readonly"),
		.sync = has_word(argv + 2, "sync"),
		.security = words.security,
	};
	server = p9_server_create(&config);
	if (!server)
		fail("--share needs /proc, and openat2(2) of Linux 5.6");
	/* Tells the monitor that this is ready. */
	if (send(SOCKET_FD, "", 1, MSG_NOSIGNAL) < 0)
		return 1;
	serve();
	return 0;
}
