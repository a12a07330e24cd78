/* Where gdb connects: a TCP port or a Unix socket, for one client at a time; the next waits in the
 * backlog until the first has gone.
 *
 * Everything happens on the I/O thread, and nothing waits for the client: while it does not read an
 * answer no more is taken from it, so what is queued is bounded. */
#ifndef VENEER_DEBUG_SERVER_H
#define VENEER_DEBUG_SERVER_H

#include "machine/machine.h"

#include <sys/socket.h>
#include <sys/un.h>

struct gdb_config {
	bool wanted;
	bool wait; /* the machine starts paused, and waits for gdb or another to let it run */
	/* A Unix socket's path, or "" and the address of a TCP port. */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct sockaddr_storage address;
	socklen_t address_size;
	const char *text; /* what was given, for messages */
};

/* Parse "tcp:HOST:PORT" or "unix:PATH", both perhaps with ",wait". HOST is a numeric address, or
 * "localhost", or nothing, which is 127.0.0.1; one with colons stands in brackets. 0, or -EINVAL
 * with a message that begins with `option`. */
int gdb_config_parse(struct gdb_config *config, const char *option, const char *value);

struct gdb_server;

/* Listen, and pause the machine where it is to wait. Only the user may connect to a Unix socket; a
 * TCP port is open to all who reach it. After machine_create(), before machine_run(). NULL with a
 * message that begins with `option`. */
struct gdb_server *gdb_server_create(
	struct machine *machine, const struct gdb_config *config, const char *option);
/* Run gdb's `monitor` commands: session.h says how. Before machine_run(). */
void gdb_server_set_monitor(struct gdb_server *server,
	char *(*monitor)(void *opaque, const char *line, unsigned cpu), void *opaque);
/* After machine_run(). */
void gdb_server_destroy(struct gdb_server *server);

#endif
