/* A file at the far end of a serial line: what the guest sends is appended to it, and nothing ever
 * arrives. */
#ifndef VENEER_HOST_CHAR_FILE_H
#define VENEER_HOST_CHAR_FILE_H

#include "host/char_backend.h"
#include "host/char_config.h"

/* Else the file is made, or truncated. */
#define CHAR_FILE_APPEND 1
/* Else a named pipe is waited for till somebody reads it; so it is an error (ENXIO). Then it is in
 * non-blocking mode. */
#define CHAR_FILE_AT_ONCE 2

/* Open a file to write to. Of CHAR_FD_PATH's, a copy of the descriptor. -1 with errno. */
int char_file_open(const char *path, unsigned flags);
/* `option` is the option that names the file, for messages; both strings must outlive the back end.
 * NULL with a message. */
struct char_backend *char_file_create(const char *option, const char *path, unsigned flags);
/* Write out what is still buffered, and free. No port may use it any more. */
void char_file_destroy(struct char_backend *backend);

#endif
