/* The other end of a control socket: one command, and its answer. */
#ifndef VENEER_CONTROL_CLIENT_H
#define VENEER_CONTROL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

/* Have the machine behind the socket at `path` execute a QMP command without arguments. *result
 * becomes what it returned, and is the caller's (json_decref()). With `until_closed` this waits for
 * the machine to close the connection, too. 0, or -errno with a message. */
int control_call(const char *path, const char *command, bool until_closed, json_t **result);

#endif
