#include "helper/disk_nbd.h"

#include <errno.h>
#include <libnbd.h>

#define MOST (1 << 20) /* bytes of a request: every server takes as many */

static struct nbd_handle *server;

static int read_server(uint64_t offset, void *buffer, size_t bytes)
{
	uint8_t *to = buffer;

	while (bytes) {
		size_t some = bytes < MOST ? bytes : MOST;

		if (nbd_pread(server, to, some, offset, 0) < 0)
			return -EIO;
		to += some;
		offset += some;
		bytes -= some;
	}
	return 0;
}

const char *disk_nbd_open(
	struct disk_source *source, const char *target, uint64_t start, uint64_t size)
{
	int64_t end = -1;

	server = nbd_create();
	if (server && (*target == '/' ? nbd_connect_unix(server, target)
				      : nbd_connect_uri(server, target)) == 0)
		end = nbd_get_size(server);
	if (end < 0)
		return nbd_get_error();
	if (start > (uint64_t)end || size > (uint64_t)end - start)
		return "it ends before the part does";
	disk_source_other(source, start, size ? size : (uint64_t)end - start, read_server);
	return NULL;
}
