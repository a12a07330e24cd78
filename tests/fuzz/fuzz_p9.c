/* Fuzzes the 9P server: the input is a series of messages, each with its length (16 bits) before
 * it, served for a directory of its own. The first byte says how owners are kept, and with how
 * little room replies must do. */
#include "helper/share/server.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64];
static int root, home; /* home: the working directory, where libFuzzer has its files */
static struct p9_server *servers[4];

static void remove_directory(void)
{
	char command[128];

	snprintf(command, sizeof(command), "chmod -R u+rwx %s; rm -rf %s", directory, directory);
	if (system(command) != 0)
		abort();
}

static void create_directory(void)
{
	strcpy(directory, "/tmp/veneer-fuzz-p9-XXXXXX");
	if (!mkdtemp(directory))
		abort();
	root = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || mkdirat(root, "d", 0700) < 0 || symlinkat("..", root, "up") < 0)
		abort();
	close(openat(root, "d/file", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
}

static void begin(void)
{
	home = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	create_directory();
	atexit(remove_directory);
}

/* That keeps owners and changes files as the number says. */
static struct p9_server *find_server(unsigned number)
{
	const struct p9_server_config config = {
		.root = dup(root),
		.most_fds = 32,
		.security = number & 1 ? SHARE_MAPPED : SHARE_NONE,
		.read_only = number & 2,
	};

	if (!servers[number]) {
		servers[number] = p9_server_create(&config);
		if (!servers[number])
			abort();
	} else {
		close(config.root);
	}
	return servers[number];
}

/* A client may make the tree larger without end, and its files; not from one input to the next. */
static void tidy(void)
{
	static unsigned inputs;

	if (++inputs % 10000)
		return;
	for (unsigned i = 0; i < 4; i++)
		if (servers[i])
			p9_server_destroy(servers[i]);
	memset(servers, 0, sizeof(servers));
	close(root);
	remove_directory();
	create_directory();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t reply[8192];
	struct p9_server *server;
	uint8_t *message;
	size_t length, room;

	if (!size)
		return 0;
	if (!directory[0])
		begin();
	tidy();
	room = data[0] & 4 ? 11 + data[0] / 8 : sizeof(reply);
	server = find_server(data[0] & 3);
	/* Where the server works. */
	if (chdir("/proc/self/fd") < 0)
		abort();
	for (data++, size--; size >= 2; data += length, size -= length) {
		memcpy(&length, data, 2);
		length = data[0] | (size_t)data[1] << 8;
		data += 2;
		size -= 2;
		if (length > size)
			length = size;
		/* Just as large as it is, so that a reader past its end is seen. */
		message = malloc(length ? length : 1);
		memcpy(message, data, length);
		if (p9_server_serve(server, &(struct iovec){message, length}, 1,
			    &(struct iovec){reply, room}, 1) > room)
			abort();
		free(message);
	}
	p9_server_reset(server);
	return fchdir(home);
}
