/* What a character device is, as a command line or QMP's chardev-add says. */
#ifndef VENEER_HOST_CHAR_CONFIG_H
#define VENEER_HOST_CHAR_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#define CHAR_MAX_ID   128
#define CHAR_MAX_PATH 512
#define CHAR_MAX_PORT 32
/* A path that stands for a descriptor that is open already. */
#define CHAR_FD_PATH "/proc/self/fd/"

enum char_kind {
	CHAR_NULL, /* what is sent is lost */
	CHAR_STDIO,
	CHAR_FILE,
	CHAR_PIPE,
	CHAR_PTY,
	CHAR_SOCKET, /* with `path`, of Unix; else of TCP */
	CHAR_RING,   /* the last bytes are kept, for ringbuf-read */
	CHAR_KINDS,
};

/* A value: it may be copied. */
struct char_config {
	char id[CHAR_MAX_ID];
	const char *option; /* that it comes from, for messages; NULL: "-chardev" */
	enum char_kind kind;
	char path[CHAR_MAX_PATH]; /* of a file, pipe or Unix socket */
	char host[CHAR_MAX_PATH]; /* of TCP; "": this host's loopback */
	char port[CHAR_MAX_PORT];
	int fd;                  /* CHAR_SOCKET: in its place, a socket that is there; -1: none */
	bool server, wait;       /* wait: for a client, before the machine is made */
	bool at_once;            /* the machine runs: nothing is waited for */
	unsigned reconnect;      /* seconds, after which a client tries again; 0: it does not */
	bool append;             /* CHAR_FILE: keep what is in it */
	bool mux;                /* several ports share it: Ctrl-a c goes from one to the next */
	char log[CHAR_MAX_PATH]; /* a file that gets what the guest sends, too; "": none */
	bool log_append;
	uint32_t size; /* CHAR_RING: a power of two; 0: 64 KiB */
};

/* QEMU's name for a kind of back end: "socket". */
const char *char_kind_name(enum char_kind kind);

#endif
