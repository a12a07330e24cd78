/* A disk that an NBD server has, for a helper. */
#ifndef VENEER_HELPER_DISK_NBD_H
#define VENEER_HELPER_DISK_NBD_H

#include "helper/disk_source.h"

/* Connect to `target`, a URI or the path of a Unix socket, and read the part of its default export
 * that begins at `start`; size 0: all that follows. One connection a process. NULL, or a message.
 */
const char *disk_nbd_open(
	struct disk_source *source, const char *target, uint64_t start, uint64_t size);

#endif
