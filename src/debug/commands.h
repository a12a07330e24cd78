/* What a debugger's packets ask for. */
#ifndef VENEER_DEBUG_COMMANDS_H
#define VENEER_DEBUG_COMMANDS_H

#include "debug/session.h"

#define COMMAND_WRONG   "E16" /* hexadecimal: EINVAL */
#define COMMAND_FAULT   "E0e" /* EFAULT */
#define COMMAND_NO_ROOM "E1c" /* ENOSPC */

/* Run a packet; its answer is put into session->out. False: there is none now. */
bool command_run(struct session *session, struct packet_text *text);

/* --- session.c's, for commands --- */

/* Let the machine run, but for the vCPUs `held`; those of `step` do one instruction. */
void session_run(struct session *session, uint64_t held, uint64_t step);
/* The vCPUs are told of session->points. */
void session_points_changed(struct session *session);
/* Forget all that the client has set, and let the machine run. */
void session_detach(struct session *session);
/* Put a stop reply for the current vCPU into session->out. */
void session_put_stop(struct session *session);

/* --- points.c: Z and z --- */

bool command_insert_point(struct session *session, struct packet_text *text);
bool command_remove_point(struct session *session, struct packet_text *text);

#endif
