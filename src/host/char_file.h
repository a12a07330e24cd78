/* A file at the far end of a serial line: what the guest sends is appended to it, and nothing ever
 * arrives. */
#ifndef VENEER_HOST_CHAR_FILE_H
#define VENEER_HOST_CHAR_FILE_H

#include "host/char_backend.h"
#include "host/char_config.h"

/* Open a file to write to: what is in it stays with `append`, else it is made or truncated. Of
 * CHAR_FD_PATH's, a copy of the descriptor. -1 with errno. */
int char_file_open(const char *path, bool append);
/* Make or truncate the file. `option` is the option that names it, for messages; both strings must
 * outlive the back end. NULL with a message. */
struct char_backend *char_file_create(const char *option, const char *path);
/* The same, but what is in the file stays. */
struct char_backend *char_file_append(const char *option, const char *path);
/* Write out what is still buffered, and free. No port may use it any more. */
void char_file_destroy(struct char_backend *backend);

#endif
