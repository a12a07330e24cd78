/* Images in other formats than raw are read and written by a program of QEMU's, which serves them
 * to us as a network block device: qemu-storage-daemon, or qemu-nbd where there is none. A hostile
 * image meets that process, not this one. Its socket is in a private directory that is gone once
 * nobody is to connect any more.
 *
 * It is our child, and ends with us. When it has answered a write, it may still hold what the
 * image's tables are to become; it writes that when it is asked to end. So it is killed only where
 * it does not answer.
 *
 * A format that the user does not name is recognised by the image's first bytes. That is dangerous:
 * a guest can write such bytes into its raw disk, and have the next start read what they name, such
 * as a backing file. So an image that names other files is not opened by a guess, and each guess
 * but raw is reported. */
#include "host/disk/internal.h"
#include "host/helper.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PROBE_BYTES 128
#define END_MS      10000 /* for the program to write what it holds */
#define GIVEN_UP_MS 500
#define TEMPLATE    "/veneer-disk-XXXXXX"

/* --- recognising --- */

static const struct {
	const char *format;
	unsigned offset;
	const char *bytes;
	unsigned length;
} magics[] = {
	{"qcow2", 0, "QFI\xfb\0\0\0\2", 8},
	{"qcow2", 0, "QFI\xfb\0\0\0\3", 8},
	{"qcow", 0, "QFI\xfb\0\0\0\1", 8},
	{"vmdk", 0, "KDMV", 4},
	{"vhdx", 0, "vhdxfile", 8},
	{"vpc", 0, "conectix", 8},
	{"vdi", 64, "\x7f\x10\xda\xbe", 4},
	{"qed", 0, "QED\0", 4},
};

static bool any_set(const uint8_t *bytes, unsigned count)
{
	while (count && !*bytes++)
		count--;
	return count;
}

/* May the image name other files? For the formats whose headers are simple to ask. */
static bool names_files(const char *format, const uint8_t *header)
{
	if (strcmp(format, "qcow2") == 0) /* a backing file, an external data file */
		return any_set(header + 8, 8) || (header[7] == 3 && (header[79] & 4));
	if (strcmp(format, "vmdk") == 0) /* capacity 0: a descriptor of other files follows */
		return !any_set(header + 12, 8);
	return strcmp(format, "qcow") == 0 || strcmp(format, "qed") == 0;
}

const char *format_probe(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	uint8_t header[PROBE_BYTES] = {0};
	const char *format = "raw";

	if (fd < 0)
		return format;
	if (pread(fd, header, sizeof(header), 0) < 0)
		memset(header, 0, sizeof(header));
	close(fd);
	for (unsigned i = 0; i < ARRAY_SIZE(magics); i++)
		if (memcmp(header + magics[i].offset, magics[i].bytes, magics[i].length) == 0)
			format = magics[i].format;
	if (strcmp(format, "raw") == 0)
		return format;
	if (names_files(format, header)) {
		log_error("%s: looks like %s that names other files: say format=%s if you trust "
			  "it, or format=raw if it is a guest's disk",
			path, format, format);
		return NULL;
	}
	log_warning(
		"%s: looks like %s and is opened as that; a guest may have written a raw disk to "
		"look so: format=%s or format=raw says what it is",
		path, format, format);
	return format;
}

/* --- the program --- */

struct disk_server {
	struct helper helper;
	struct worker *worker;
	char *program, *directory, *socket;
	unsigned users;
	bool given_up; /* it has not answered for too long */
};

void disk_server_give_up(struct disk_server *server)
{
	server->given_up = true;
}

const char *disk_server_socket(const struct disk_server *server)
{
	return server->socket;
}

static void messages(void *opaque, uint32_t events)
{
	struct disk_server *server = opaque;

	if (helper_relay(&server->helper) < 0)
		worker_unwatch(server->worker, server->helper.message_fd);
}

int disk_server_watch(struct disk_server *server, struct worker *worker)
{
	server->worker = worker;
	return worker_watch(worker, server->helper.message_fd, EPOLLIN, messages, server);
}

void disk_server_remove_files(const struct disk_server *server)
{
	if (server && server->socket)
		unlink(server->socket);
	if (server && server->directory)
		rmdir(server->directory);
}

void disk_server_drop(struct disk_server *server)
{
	if (!server || --server->users)
		return;
	if (server->helper.pid > 0) {
		helper_relay(&server->helper);
		helper_end(&server->helper, server->given_up ? GIVEN_UP_MS : END_MS);
	}
	disk_server_remove_files(server);
	free(server->program);
	free(server->directory);
	free(server->socket);
	free(server);
}

/* Its path, or NULL. */
static char *find_program(const char *name)
{
	const char *path = getenv("PATH");
	char *copy = strdup(path && *path ? path : "/usr/bin:/bin"), *rest = copy, *directory;
	char *found = NULL;

	while (copy && (directory = strsep(&rest, ":")) && !found) {
		if (directory[0] != '/' || asprintf(&found, "%s/%s", directory, name) < 0)
			found = NULL;
		if (found && access(found, X_OK) < 0) {
			free(found);
			found = NULL;
		}
	}
	free(copy);
	return found;
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return address;
}

/* Does anybody listen there? */
static bool accepts(const char *path)
{
	struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error = -1;

	if (fd >= 0) {
		error = connect(fd, (const struct sockaddr *)&address, sizeof(address));
		close(fd);
	}
	return error == 0;
}

/* A listening socket in a directory that only we may enter. The descriptor, or -errno. */
static int listen_privately(struct disk_server *server)
{
	const char *temporary = getenv("TMPDIR");
	struct sockaddr_un address;
	int fd;

	if (!temporary || *temporary != '/' || strlen(temporary) > 60)
		temporary = "/tmp";
	if (asprintf(&server->directory, "%s" TEMPLATE, temporary) < 0) {
		server->directory = NULL;
		return -ENOMEM;
	}
	if (!mkdtemp(server->directory))
		return -errno;
	if (asprintf(&server->socket, "%s/nbd", server->directory) < 0) {
		server->socket = NULL;
		return -ENOMEM;
	}
	address = address_of(server->socket);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 4) < 0) {
		int error = -errno;

		close(fd);
		return error;
	}
	return fd;
}

/* The formats whose images may name a backing file. */
static bool has_backing(const char *format)
{
	static const char *const formats[] = {"qcow2", "qcow", "qed", "vmdk", "parallels"};

	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		if (strcmp(formats[i], format) == 0)
			return true;
	return false;
}

/* The image as QEMU's block layer wants to be told of it, as JSON. */
static char *describe(const struct disk_config *config, const char *format, bool guessed)
{
	bool read_only = config->read_only || config->snapshot, device;
	char resolved[PATH_MAX];
	struct stat status;
	json_t *image;
	char *text;

	device = stat(config->path, &status) == 0 && S_ISBLK(status.st_mode);
	image = json_pack("{s:s, s:s, s:b, s:s, s:{s:s, s:s, s:b, s:s, s:{s:b}}}", "driver", format,
		"node-name", "disk", "read-only", read_only, "discard", "unmap", "file", "driver",
		device ? "host_device" : "file", "filename",
		realpath(config->path, resolved) ? resolved : config->path, "read-only", read_only,
		"discard", "unmap", "cache", "direct", config->cache == DISK_DIRECT);
	/* Where the format is a guess, what the image names is not opened. */
	if (image && ((guessed && strcmp(format, "vmdk") == 0) ||
			     (config->no_backing && has_backing(format))))
		json_object_set_new(image, "backing", json_null());
	text = image ? json_dumps(image, JSON_COMPACT) : NULL;
	json_decref(image);
	return text;
}

/* qemu-storage-daemon, which takes the listening socket. */
static int run_daemon(struct disk_server *server, const char *image, bool read_only, int fd)
{
	const char *const words[] = {"--blockdev", image, "--nbd-server", "addr.type=fd,addr.str=3",
		"--export",
		read_only ? "type=nbd,id=export,node-name=disk,name=,writable=off"
			  : "type=nbd,id=export,node-name=disk,name=,writable=on",
		NULL};

	return helper_start_orderly(&server->helper, server->program, words, &fd, 1);
}

/* qemu-nbd, which makes its socket itself. */
static int run_nbd(struct disk_server *server, const char *image, bool read_only)
{
	char *file = NULL, *socket = NULL;
	int error = -ENOMEM;

	if (asprintf(&file, "json:%s", image) >= 0 &&
		asprintf(&socket, "--socket=%s", server->socket) >= 0) {
		const char *const words[] = {"--persistent", "--shared=4", socket,
			"--discard=unmap", file, read_only ? "--read-only" : NULL, NULL};

		unlink(server->socket);
		error = helper_start_orderly(&server->helper, server->program, words, NULL, 0);
	}
	/* It listens when it has opened the image. */
	for (unsigned i = 0;
		!error && i < 500 && !accepts(server->socket) && helper_relay(&server->helper) == 0;
		i++)
		usleep(10000);
	free(file);
	free(socket);
	return error;
}

static int run(struct disk_server *server, const struct disk_config *config, const char *image)
{
	bool read_only = config->read_only || config->snapshot;
	int fd, error;

	fd = listen_privately(server);
	if (fd < 0) {
		log_error("%s: cannot make a private socket: %s", config->path, strerror(-fd));
		return fd;
	}
	server->program = find_program("qemu-storage-daemon");
	if (server->program) {
		error = run_daemon(server, image, read_only, fd);
	} else {
		server->program = find_program("qemu-nbd");
		error = server->program ? run_nbd(server, image, read_only) : -ENOENT;
		if (!server->program)
			log_error("%s: its format needs qemu-storage-daemon or qemu-nbd, which are "
				  "not in PATH; Debian has them in the package qemu-utils (Debian "
				  "12 has the former in qemu-system-common)",
				config->path);
	}
	close(fd);
	return error;
}

int format_serve(const struct disk_config *config, struct disk_server **server)
{
	char *image;
	int error;

	if (config->share && !config->read_only) {
		log_error("%s: share=on is for format=raw: machines that write one %s image at the "
			  "same time destroy it",
			config->path, config->format);
		return -EINVAL;
	}
	image = describe(config, config->format, config->guessed);
	*server = calloc(1, sizeof(**server));
	if (*server)
		(*server)->users = 1;
	error = *server && image ? run(*server, config, image) : -ENOMEM;
	free(image);
	if (error) {
		disk_server_drop(*server);
		*server = NULL;
	}
	return error;
}

int format_open(const struct disk_config *config, struct disk **disk)
{
	struct disk_server *server = config->server;
	int error = 0;

	if (server)
		server->users++;
	else
		error = format_serve(config, &server);
	if (error)
		return error;
	error = nbd_open(config, server->socket, server, disk);
	if (error)
		log_error("%s: cannot be opened as %s", config->path, config->format);
	else if (!config->server)
		disk_server_remove_files(server);
	return error;
}
