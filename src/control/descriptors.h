/* File descriptors that clients of the control socket hand over: with a name (getfd), or in a set,
 * which files are opened from as /dev/fdset/N (add-fd). All are closed with the last session's
 * owner; none is used for anything that it was not named for. */
#ifndef VENEER_CONTROL_DESCRIPTORS_H
#define VENEER_CONTROL_DESCRIPTORS_H

#include <stdbool.h>
#include <stdint.h>

#define DESCRIPTORS_MOST     128 /* at a time: more are refused */
#define DESCRIPTORS_TEXT     128 /* longest name or opaque text, with its end */
#define DESCRIPTORS_RECEIVED 8   /* that wait for the commands that take them */

struct descriptor {
	int fd; /* -1: this place is free */
	bool in_set;
	int64_t set;
	char text[DESCRIPTORS_TEXT]; /* its name, or what its owner wrote with it */
};

struct descriptors {
	struct descriptor place[DESCRIPTORS_MOST];
};

/* What has come with a client's bytes and no command has taken yet, the oldest first. */
struct received {
	int fd[DESCRIPTORS_RECEIVED];
	unsigned count;
};

void descriptors_init(struct descriptors *descriptors);
void descriptors_close_all(struct descriptors *descriptors);

/* One more has come. Where there is no room the oldest one is closed. */
void received_add(struct received *received, int fd);
/* The oldest one, which is the caller's now; -1: there is none. */
int received_take(struct received *received);
void received_close(struct received *received);

/* Keep `fd` under that name, in the place of one that had it. 0, -ENAMETOOLONG or -ENOSPC: it is
 * the caller's. */
int descriptors_name(struct descriptors *descriptors, const char *name, int fd);
/* The descriptor with that name, which is the caller's now; -ENOENT. */
int descriptors_take(struct descriptors *descriptors, const char *name);
/* Keep it in a set; set -1: in a new one. Returns the set; or -ENOSPC, -ENAMETOOLONG. `opaque`:
 * "" for none. */
int64_t descriptors_add(struct descriptors *descriptors, int64_t set, const char *opaque, int fd);
/* Close one descriptor of a set, or all where fd is -1. 0 or -ENOENT. */
int descriptors_remove(struct descriptors *descriptors, int64_t set, int fd);

#endif
