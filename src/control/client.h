/* The other end of a control socket. */
#ifndef VENEER_CONTROL_CLIENT_H
#define VENEER_CONTROL_CLIENT_H

#include <jansson.h>

struct control_connection;

/* Connect to the machine behind the socket at `path`, which must outlive the connection. NULL with
 * a message. */
struct control_connection *control_connect(const char *path);
/* Have it execute a QMP command; `arguments` may be NULL, and are given away. *result becomes what
 * it returned, and is the caller's (json_decref()). 0, or -errno with a message. */
int control_execute(struct control_connection *connection, const char *command, json_t *arguments,
	json_t **result);
/* Wait for the machine to close the connection. 0, or -errno with a message. */
int control_wait_until_closed(struct control_connection *connection);
void control_disconnect(struct control_connection *connection);

#endif
