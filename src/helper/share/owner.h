/* Owners, modes and device numbers, by the three ways that they can be kept ("security models"):
 *
 *	passthrough	they are the host's; what the monitor's user may not do is an error
 *	none		the same, but an owner that cannot be set is let be
 *	mapped-xattr	they are in extended attributes user.virtfs.* of the host's files, which
 *			belong to the monitor's user; links, devices, FIFOs and sockets are files
 *
 * The attributes are those of QEMU's model of that name (uid, gid and mode: 4 bytes, rdev: 8,
 * little-endian), so that a tree can be used by either. */
#ifndef VENEER_HELPER_SHARE_OWNER_H
#define VENEER_HELPER_SHARE_OWNER_H

#include "helper/share/tree.h"
#include "host/share/config.h"

#include <stdint.h>

/* What a client asks for; UINT32_MAX: let be. */
struct owner {
	uint32_t uid, gid;
	uint32_t mode; /* with its type, where an object is made */
};

/* The status of what the descriptor `path` (O_PATH) is of, as the client is to see it. `status`
 * has the host's. */
void owner_see(enum share_security security, int path, struct stat *status);
/* Give a new object its owner and mode, and with mapped-xattr its device number; `status`, the
 * host's, is brought up to date. 0 or -errno. */
int owner_give(enum share_security security, int path, const struct owner *owner, dev_t number,
	struct stat *status);
/* Change owner and mode of an object; `status` is the host's. 0 or -errno. */
int owner_change(enum share_security security, int path, const struct owner *owner,
	const struct stat *status);

/* The host's name of an extended attribute of the client's (in `room`, XATTR_NAME_MAX + 1 bytes,
 * where it is another); NULL: it is not the client's affair. And the client's of the host's. */
const char *owner_xattr_to_host(enum share_security security, const char *name, char *room);
const char *owner_xattr_to_client(enum share_security security, const char *name);

#endif
