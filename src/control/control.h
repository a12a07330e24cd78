/* A machine's monitors: sockets and streams on which clients speak QMP, or humans the human
 * monitor's commands.
 *
 * Everything happens on the I/O thread or under the machine lock, and nothing waits for a client. A
 * client that is slow to read has a queue of bounded size, and is not listened to while there is
 * something in it; one whose queue runs over is cut off. What a client sends is bounded by the
 * framer (framer.h). */
#ifndef VENEER_CONTROL_CONTROL_H
#define VENEER_CONTROL_CONTROL_H

#include "control/plug.h"
#include "machine/machine.h"

#define CONTROL_CLIENTS  8 /* of a monitor at a time; others are refused with an error reply */
#define CONTROL_MONITORS 8

struct control;

/* What clients are told of the machine that it does not know itself. Nothing here is copied. */
struct control_about {
	const char *name, *uuid;  /* NULL: none */
	const char *machine_type; /* QEMU's name for it; NULL: "pc-q35-7.2" */
	bool kvm;                 /* say that it runs with KVM */
};

enum control_kind {
	CONTROL_UNIX,     /* listens at a Unix socket, `path`, with the umask's permissions */
	CONTROL_TCP,      /* listens at `path`, HOST:PORT or [HOST]:PORT */
	CONTROL_LISTENER, /* `input` is a socket that listens already */
	CONTROL_CHARDEV,  /* one client at a time, at the machine's character device `label` */
	CONTROL_STREAM,   /* one client, heard at `input` and told at `output`; they may be one */
};

/* A monitor. */
struct control_config {
	enum control_kind kind;
	const char *option; /* for messages: "--control" */
	const char *label;  /* its character device's name; NULL: made up */
	const char *path;
	int input, output; /* the monitor's from control_add() on; it closes those above 2 */
	bool human;        /* speaks the human monitor's language, and not QMP */
};

/* For a machine without monitors yet. After machine_create(), before machine_run(). `about`: NULL:
 * nothing. NULL with a message in the log. */
struct control *control_open(struct machine *machine, const struct control_about *about);
/* The same, with a monitor of QMP at a Unix socket: --control PATH. NULL with a message in the
 * log. */
struct control *control_create(struct machine *machine, const char *path);
/* Add a monitor; what `config` points at must outlive it. At most CONTROL_MONITORS. 0, or -errno
 * with a message in the log; then control_destroy() is still to be called. */
int control_add(struct control *control, const struct control_config *config);
/* How its clients plug devices in; NULL: they cannot. `plug` must outlive it. */
void control_set_plug(struct control *control, const struct control_plug *plug);
/* Add a character device to those that clients are told of (query-chardev). */
void control_note_chardev(struct control *control, const char *label, const char *filename);
/* Run a command of the human monitor, with the machine lock held and the machine paused. Its
 * answer, for the caller to free; NULL where there is no memory. `cpu`: whose registers and page
 * tables count. `control`: a struct control. */
char *control_human(void *control, const char *line, unsigned cpu);
/* Close all and remove the sockets. After machine_run(). */
void control_destroy(struct control *control);

#endif
