/* Locks against other machines: fcntl(2)'s byte-range locks of open file descriptions. A machine
 * that writes owns its bytes alone; machines that read, and machines that were told to share, own
 * them together. QEMU's programs use locks of the same kind on the same file, so each refuses what
 * the other one writes. */
#include "host/disk/internal.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int disk_lock(int fd, const char *name, uint64_t offset, uint64_t bytes, bool alone)
{
	struct flock lock = {.l_type = alone ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)offset,
		.l_len = (off_t)bytes};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES) {
		log_error("%s: another program %s; to have several machines write it at the same "
			  "time (a cluster file system's disk), say share=on with each",
			name, alone ? "has it open" : "writes it");
		return -EBUSY;
	}
	log_warning("%s: its file system has no locks (%s): nothing keeps other machines away",
		name, strerror(errno));
	return 0;
}
