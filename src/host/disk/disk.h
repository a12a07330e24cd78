/* A disk's contents: what a block device reads and writes. Back ends: a raw file or block device
 * (raw.c), an overlay that keeps writes apart (overlay.c), a network block device server (nbd.c),
 * which also serves every format that qemu-storage-daemon or qemu-nbd knows.
 *
 * Requests are asynchronous. They are submitted on the device's worker, and complete there, in any
 * order. Every request that was submitted completes, once. */
#ifndef VENEER_HOST_DISK_DISK_H
#define VENEER_HOST_DISK_DISK_H

#include "host/place.h"
#include "host/worker.h"

#include <stdatomic.h>
#include <sys/uio.h>

#define DISK_SECTOR 512

enum disk_cache {
	DISK_WRITEBACK, /* through the host's page cache; a flush makes it durable */
	DISK_DIRECT,    /* "none": O_DIRECT */
	DISK_UNSAFE,    /* flushes do nothing */
};

#define DISK_RECONNECT_S 60

struct disk_server;

/* The controller that a machine's disk is at. */
enum disk_bus {
	DISK_BUS_ANY, /* the machine's choice */
	DISK_BUS_VIRTIO,
	DISK_BUS_IDE,
	DISK_BUS_AHCI,
	DISK_BUS_NVME,
	DISK_BUS_SCSI,
};

/* --disk
 * FILE[,bus=B][,controller=N,target=N,lun=N]
 * [,readonly][,snapshot][,serial=S][,offset=N,size=N][,format=F][,cache=C][,share=on]
 * [,io=auto|threads][,reconnect=SECONDS]; ",," is a comma in a word. */
struct disk_config {
	char *path; /* or nbd://..., nbd+unix:///...; NULL: it was unplugged, the row is free */
	bool read_only, snapshot, share;
	char serial[21];       /* "": none */
	uint64_t offset, size; /* of the part of the file; size 0: to its end */
	char format[16];       /* "raw", "qcow2", ...; "": by its first bytes, raw where unsure */
	bool guessed;          /* the format is what disk_config_probe() found */
	bool no_backing;       /* what the image names as its backing file is not opened */
	enum disk_cache cache;
	bool threads;         /* no io_uring */
	unsigned reconnect_s; /* how long requests wait for a server that is gone */
	/* What disk_serve() has started, for disk_open() to use; NULL: nothing. */
	struct disk_server *server;
	bool port; /* its device is behind a PCI Express root port of its own */
	struct device_place place;
	/* What monitors call its contents: a -blockdev, or a -drive; "": nothing. */
	char node[32];
	bool is_drive;       /* that is the drive's id */
	unsigned boot_index; /* firmware tries it before others, in this order; 0: none was said */
	enum disk_bus bus;
	/* DISK_BUS_SCSI: which controller, and where there. -1: the first that is free. */
	int controller, target, lun;
	bool cdrom; /* --cdrom: read-only, and a CD-ROM drive's disc */
};

enum disk_operation { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_DISCARD, DISK_WRITE_ZEROES };
#define DISK_OPERATIONS (DISK_WRITE_ZEROES + 1)

struct disk_request {
	enum disk_operation operation;
	bool fua;                   /* WRITE, WRITE_ZEROES: durable when it completes */
	bool unmap;                 /* WRITE_ZEROES: the room may be given back */
	uint64_t offset, bytes;     /* within the disk; checked by the device */
	const struct iovec *pieces; /* READ, WRITE: `bytes` in all; the caller's till it is done */
	unsigned piece_count;
	/* 0, or -errno: -EIO, -ENOSPC (WRITE), -EOPNOTSUPP. A read past a file that has shrunk is
	 * -EIO. On the worker, never from inside submit(). */
	void (*done)(struct disk_request *request, int error);

	/* The back end's own. */
	struct disk_request *next;
	void *private[2];
	uint64_t number[4];
	struct iovec *rest;
};

struct disk;

struct disk_ops {
	/* Begin: completions come on this worker. Called on it. 0 or -errno with a message. */
	int (*start)(struct disk *disk, struct worker *worker);
	/* Take a request. It may wait for flush(). */
	void (*submit)(struct disk *disk, struct disk_request *request);
	/* What was submitted is on its way when this returns. */
	void (*flush_queue)(struct disk *disk);
	/* After all requests have completed and the worker's thread has ended. Frees the disk. */
	void (*destroy)(struct disk *disk);
	/* The machine ends: what was submitted completes now, with an error where it would wait for
	 * somebody. Little or nothing is submitted after it. May be called again. NULL: it does not
	 * wait for anybody. */
	void (*abandon)(struct disk *disk);
};

/* What its device has asked for. Read on any thread. */
struct disk_count {
	_Atomic uint64_t requests, bytes;
};

struct disk {
	const struct disk_ops *ops;
	uint64_t size; /* bytes, a multiple of DISK_SECTOR */
	bool read_only;
	bool can_discard, can_write_zeroes;
	uint32_t block_size; /* best size and alignment of requests; 512 or more */
	const char *how;     /* for --stats: "io_uring", "threads", "nbd" */
	struct disk_count count[DISK_OPERATIONS];
};

/* A device's request: ops->submit(), counted. */
static inline void disk_submit(struct disk *disk, struct disk_request *request)
{
	struct disk_count *count = &disk->count[request->operation];

	atomic_fetch_add_explicit(&count->requests, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&count->bytes, request->bytes, memory_order_relaxed);
	disk->ops->submit(disk, request);
}

/* Parse the value of --disk; the words after FILE may come in any order. Allocates config->path.
 * 0, or -EINVAL with a message that names the word and what would be right. */
int disk_config_parse(struct disk_config *config, const char *option, const char *value);
/* The same for --cdrom. */
int disk_config_parse_cdrom(struct disk_config *config, const char *option, const char *value);
/* Where the user has named no format, recognise it by the image's first bytes. 0, or -EINVAL with a
 * message: the image must not be opened by a guess. */
int disk_config_probe(struct disk_config *config);

/* Where the image's format is not raw, start the program that reads it, which disk_open() does
 * otherwise: a helper may then ask it, too, before the disk is opened and later. 0, or -errno with
 * a message. */
int disk_serve(struct disk_config *config);
/* Whom a helper that reads the disk on its own is to ask, as a client of NBD: a URI, or the path of
 * a Unix socket; NULL: the disk is raw, and in its file. */
const char *disk_target(const struct disk_config *config);
/* End the program, once the disk that uses it is destroyed. NULL: nothing. */
void disk_server_drop(struct disk_server *server);
/* The process is about to end while a thread may still use the server: remove what would be left of
 * it in the file system, and free nothing. NULL: nothing is done. */
void disk_server_remove_files(const struct disk_server *server);

/* Open it, and lock it against other machines (unless `share`): a second machine that writes the
 * same bytes, or reads what another one writes, is refused. 0, or -errno with a message. */
int disk_open(const struct disk_config *config, struct disk **disk);

#endif
