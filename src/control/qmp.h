/* QMP, the protocol that QEMU is controlled by, as far as veneer has it: the session of one client.
 * docs/control.md lists the commands and events.
 *
 * This file knows JSON and the machine, but no sockets: texts come in by qmp_take(), and go out
 * through `send`. All functions are called with the machine lock held, from any thread. */
#ifndef VENEER_CONTROL_QMP_H
#define VENEER_CONTROL_QMP_H

#include "control/descriptors.h"
#include "control/key_sender.h"
#include "control/plug.h"
#include "machine/machine.h"

#include <jansson.h>

/* The version of QEMU whose protocol is served. */
#define QMP_MAJOR 7
#define QMP_MINOR 2
#define QMP_MICRO 0

/* What all sessions of a machine share. */
struct qmp_shared {
	struct machine *machine;
	const char *name, *uuid;  /* that the machine bears; NULL: none. Not owned */
	const char *machine_type; /* QEMU's name of it; NULL: "q35" */
	bool kvm;                 /* it is to say that it runs with KVM */
	struct key_sender keys;
	unsigned buttons; /* of the mouse, that clients hold down: enum input_button */
	struct descriptors descriptors;
	bool migration_events; /* a capability that a client has set */
	json_t *objects;       /* that object-add has made: their arguments by id; NULL: none yet */
	json_t *chardevs;      /* ChardevInfo of those that there are; NULL: none */
	const struct control_plug *plug; /* NULL: nothing can be plugged in */

	/* A command looks at stopped processors (qmp_run_stopped()): the machine pauses for it
	 * alone, and clients are not told. */
	bool inspecting;
	bool stay_paused; /* a stop has come meanwhile */
	bool quiet;       /* the event that is told is none for clients */
};

struct qmp_session {
	struct qmp_shared *shared;
	struct machine *machine; /* shared->machine */
	/* A line for the client, its end included. */
	void (*send)(void *opaque, const char *text, size_t size);
	void *opaque;
	/* It speaks to a human: texts are lines for the human monitor, and so are the answers. */
	bool human;
	bool negotiated; /* it has sent qmp_capabilities: from then on it gets events */
	/* A stop is under way, and the client gets its reply when it is done. Until then it must
	 * not be asked to qmp_take() more. */
	bool waiting;
	json_t *waiting_id;
	/* What gives that reply when the machine stands, where it is no stop. */
	json_t *(*run_stopped)(struct qmp_session *session, json_t *arguments);
	json_t *stopped_arguments;
	char failure[320];         /* why the command that runs has failed; "": it has not */
	const char *failure_class; /* of that */
	struct received received;  /* descriptors that came with requests */
};

/* Ready for sessions, with no name and so on; and the end of it, when there are none. */
void qmp_shared_init(struct qmp_shared *shared, struct machine *machine);
void qmp_shared_destroy(struct qmp_shared *shared);

/* Begin with the greeting. */
void qmp_open(struct qmp_session *session);
/* Forget a reply that would come later, which the session may hold. When its client cannot be told
 * anything any more; the session goes on. */
void qmp_wait_no_more(struct qmp_session *session);
/* Before its memory goes. */
void qmp_close(struct qmp_session *session);

/* One text from the client; it may be anything. There is exactly one reply, at once or, where
 * `waiting` is set on return, later. */
void qmp_take(struct qmp_session *session, const char *text, size_t size);
/* Refuse a text, or the client. `why` is the reply's description. */
void qmp_refuse(struct qmp_session *session, const char *why);
/* Something has happened to the machine. Before it is told to the sessions, and after that. */
void qmp_tell_begin(struct qmp_shared *shared, const struct machine_event *event);
void qmp_tell(struct qmp_session *session, const struct machine_event *event);
void qmp_tell_end(struct qmp_shared *shared, const struct machine_event *event);

#endif
