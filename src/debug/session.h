/* One client of the debugger's protocol: its packets are answered, its breakpoints kept, and the
 * machine stopped and let go as it says.
 *
 * This file knows the protocol and the machine, but no sockets: bytes come in by session_take(),
 * and go out through `send`. All functions are called with the machine lock held, on the I/O
 * thread. A packet is looked at only while the machine is paused; so whatever a client sends while
 * it runs pauses it first.
 *
 * Others may pause and resume the machine, too, over a control socket. A pause is told to a client
 * that waits for the machine to stop, as SIGINT. A resume is not, as the protocol cannot say that;
 * the next packet pauses the machine again. */
#ifndef VENEER_DEBUG_SESSION_H
#define VENEER_DEBUG_SESSION_H

#include "cpu/debugger.h"
#include "debug/packet.h"
#include "machine/machine.h"

struct session {
	struct machine *machine;
	void (*send)(void *opaque, const void *bytes, size_t size);
	/* Run a line of the human monitor; its answer, for the caller to free. NULL: there is no
	 * monitor. */
	char *(*monitor)(void *opaque, const char *line, unsigned cpu);
	void *opaque, *monitor_opaque;
	struct packet_reader in;
	struct packet out;             /* the last that was sent, for a client that missed it */
	struct debugger_points points; /* what vCPUs are told of */
	bool is_hardware[DEBUGGER_BREAKPOINTS]; /* of points.breakpoint: Z1, not Z0 */
	unsigned cpu;                           /* whose registers and memory are meant (H g) */
	unsigned step_cpu;                      /* which is stepped by `s` (H c) */
	bool no_acks;
	bool physical;         /* memory by physical address */
	bool says_breakpoints; /* the client understands swbreak and hwbreak */
	bool waits;            /* for the machine to stop: it gets a stop reply then */
	bool stopped_it;       /* the machine is paused because of this client */
	bool closing;      /* it has gone, and what it has left is taken away at the next stop */
	char *description; /* of registers; NULL: not made yet */
};

/* A client has come: pause the machine. `session`'s first five fields are set, the rest is 0. */
void session_open(struct session *session);
/* It has gone. Its breakpoints go with it, and a machine that was paused because of it runs on.
 * False: vCPUs that run have to be stopped for that; then it is done when `closing` is clear. */
bool session_close(struct session *session);
/* Free what it has. */
void session_free(struct session *session);

/* May it be given bytes? Else keep them, and call session_wake(): the machine stops soon. */
bool session_ready(const struct session *session);
void session_wake(struct session *session);
void session_take(struct session *session, uint8_t byte);

/* The machine is paused; it has ended. */
void session_paused(struct session *session);
void session_ended(struct session *session, struct machine_result result);

#endif
