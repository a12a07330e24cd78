/* A machine's control socket: a Unix socket in the file system on which clients speak QMP.
 *
 * Everything happens on the I/O thread or under the machine lock, and nothing waits for a client. A
 * client that is slow to read has a queue of bounded size, and is not listened to while there is
 * something in it; one whose queue runs over is cut off. What a client sends is bounded by the
 * framer (framer.h). */
#ifndef VENEER_CONTROL_CONTROL_H
#define VENEER_CONTROL_CONTROL_H

#include "machine/machine.h"

#define CONTROL_CLIENTS 8 /* at a time; others are refused with an error reply */

struct control;

/* Listen at `path`. A socket there at which no process listens any more is replaced. Only the user
 * may connect. After machine_create(), before machine_run(). NULL
 * with a message in the log. */
struct control *control_create(struct machine *machine, const char *path);
/* Close all and remove the socket. After machine_run(). */
void control_destroy(struct control *control);

#endif
