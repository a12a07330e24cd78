/* What the files of this directory share; for none else. */
#ifndef VENEER_HOST_DISK_INTERNAL_H
#define VENEER_HOST_DISK_INTERNAL_H

#include "host/disk/disk.h"
#include "host/disk/pieces.h"

/* nbd://... or nbd+unix://..., not a file. */
bool disk_is_uri(const char *path);

/* Each opens a back end: 0, or -errno with a message. `name`: of the disk in messages; copied. */

/* A raw file or block device (raw.c). */
int raw_open(const struct disk_config *config, struct disk **disk);
/* An open file of which all is the disk, and which nobody else knows. Takes `fd`, also where it
 * fails. A flush does nothing. */
int raw_open_private(int fd, const char *name, uint64_t size, bool threads, struct disk **disk);
/* A private file for writes above `lower`, which it takes, also where it fails (overlay.c). */
int overlay_open(struct disk *lower, const struct disk_config *config, struct disk **disk);

/* What an NBD server has, at `target`: a URI, or the path of a Unix socket. `server`: a program of
 * ours, which it takes, also where it fails; or NULL (nbd.c). */
int nbd_open(const struct disk_config *config, const char *target, struct disk_server *server,
	struct disk **disk);
/* An image in another format than raw, through a program that knows it (format.c). */
int format_open(const struct disk_config *config, struct disk **disk);
/* The program alone. */
int format_serve(const struct disk_config *config, struct disk_server **server);
/* The path of its socket, which is the program's. */
const char *disk_server_socket(const struct disk_server *server);
/* The format that the file's first bytes are of. "raw" where they are of none, or where it cannot
 * be read. NULL with a message: an image that must not be opened by a guess. */
const char *format_probe(const char *path);
/* It does not answer: when it is to end, it does not get long. */
void disk_server_give_up(struct disk_server *server);
/* Have the worker show the server's messages. 0 or -errno. */
int disk_server_watch(struct disk_server *server, struct worker *worker);

/* Have this open file description own bytes [offset, offset + bytes) of the file (bytes 0: to the
 * end, however it grows): alone, or together with others that do not want it alone. The lock goes
 * with the description's last descriptor. 0, or -EBUSY with a message. */
int disk_lock(int fd, const char *name, uint64_t offset, uint64_t bytes, bool alone);

/* Requests that are complete while submit() still runs: their done() is called in the worker's next
 * turn (finished.c). */
struct disk_finished {
	struct worker *worker;
	struct worker_task task;
	struct disk_request *first, **end;
};
void disk_finished_init(struct disk_finished *finished, struct worker *worker);
void disk_finish_later(struct disk_finished *finished, struct disk_request *request, int error);

#endif
