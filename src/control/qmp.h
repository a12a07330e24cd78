/* QMP, the protocol that QEMU is controlled by, as far as veneer has it: the session of one client.
 * docs/control.md lists the commands and events.
 *
 * This file knows JSON and the machine, but no sockets: texts come in by qmp_take(), and go out
 * through `send`. All functions are called with the machine lock held, from any thread. */
#ifndef VENEER_CONTROL_QMP_H
#define VENEER_CONTROL_QMP_H

#include "machine/machine.h"

#include <jansson.h>

struct key_sender;

struct qmp_session {
	struct machine *machine;
	struct key_sender *keys; /* all clients' */
	unsigned *buttons;       /* of the mouse, that clients hold down: enum input_button */
	/* A line for the client, its end included. */
	void (*send)(void *opaque, const char *text, size_t size);
	void *opaque;
	bool negotiated; /* it has sent qmp_capabilities: from then on it gets events */
	/* A stop is under way, and the client gets its reply when it is done. Until then it must
	 * not be asked to qmp_take() more. */
	bool waiting;
	json_t *waiting_id;
	char failure[120]; /* why the command that runs has failed; "": it has not */
};

/* Begin with the greeting. */
void qmp_open(struct qmp_session *session);
/* Forget a reply that would come later, which the session may hold. Before its memory goes, or when
 * its client cannot be told anything any more; then the session goes on. */
void qmp_wait_no_more(struct qmp_session *session);

/* One text from the client; it may be anything. There is exactly one reply, at once or, where
 * `waiting` is set on return, later. */
void qmp_take(struct qmp_session *session, const char *text, size_t size);
/* Refuse a text, or the client. `why` is the reply's description. */
void qmp_refuse(struct qmp_session *session, const char *why);
/* Something has happened to the machine. */
void qmp_tell(struct qmp_session *session, const struct machine_event *event);

#endif
