#include "helper/share/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <linux/limits.h>

#define MAPPED "user.virtfs."

/* --- mapped-xattr --- */

static bool read_attribute(struct fd_name file, const char *name, void *value, size_t size)
{
	return getxattr(file.text, name, value, size) == (ssize_t)size;
}

static void see_mapped(int path, struct stat *status)
{
	struct fd_name file = fd_name(path);
	uint32_t value;
	uint64_t number;

	if (read_attribute(file, MAPPED "uid", &value, sizeof(value)))
		status->st_uid = value;
	if (read_attribute(file, MAPPED "gid", &value, sizeof(value)))
		status->st_gid = value;
	/* A directory is one, and nothing else is, whatever is written there. */
	if (read_attribute(file, MAPPED "mode", &value, sizeof(value)) &&
		S_ISDIR(value) == S_ISDIR(status->st_mode))
		status->st_mode = value;
	if ((S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode)) &&
		read_attribute(file, MAPPED "rdev", &number, sizeof(number)))
		status->st_rdev = number;
}

static int write_attribute(struct fd_name file, const char *name, const void *value, size_t size)
{
	return setxattr(file.text, name, value, size, 0) < 0 ? -errno : 0;
}

static int change_mapped(int path, const struct owner *owner, uint32_t type)
{
	struct fd_name file = fd_name(path);
	uint32_t mode = (owner->mode & ~(uint32_t)S_IFMT) | type;
	int error = 0;

	if (owner->uid != UINT32_MAX)
		error = write_attribute(file, MAPPED "uid", &owner->uid, sizeof(owner->uid));
	if (!error && owner->gid != UINT32_MAX)
		error = write_attribute(file, MAPPED "gid", &owner->gid, sizeof(owner->gid));
	if (!error && owner->mode != UINT32_MAX)
		error = write_attribute(file, MAPPED "mode", &mode, sizeof(mode));
	return error;
}

static int give_mapped(int path, const struct owner *owner, dev_t number)
{
	uint64_t value = number;
	int error = change_mapped(path, owner, owner->mode & S_IFMT);

	if (!error && (S_ISCHR(owner->mode) || S_ISBLK(owner->mode)))
		error = write_attribute(fd_name(path), MAPPED "rdev", &value, sizeof(value));
	return error;
}

/* --- the host's own --- */

static int change_mode(int path, uint32_t mode, const struct stat *status)
{
	if (S_ISLNK(status->st_mode))
		return -EOPNOTSUPP;
	return chmod(fd_name(path).text, mode & 07777) < 0 ? -errno : 0;
}

static int change_owner(enum share_security security, int path, const struct owner *owner)
{
	if (fchownat(path, "", owner->uid, owner->gid, AT_EMPTY_PATH) == 0)
		return 0;
	return security == SHARE_NONE && errno == EPERM ? 0 : -errno;
}

/* --- by the model --- */

void owner_see(enum share_security security, int path, struct stat *status)
{
	if (security == SHARE_MAPPED)
		see_mapped(path, status);
}

int owner_give(enum share_security security, int path, const struct owner *owner, dev_t number,
	struct stat *status)
{
	bool others = (owner->uid != UINT32_MAX && owner->uid != status->st_uid) ||
		      (owner->gid != UINT32_MAX && owner->gid != status->st_gid);
	int error = 0;

	if (security == SHARE_MAPPED)
		return give_mapped(path, owner, number);
	if (others)
		error = change_owner(security, path, owner);
	/* A change of owner takes the bits away that give an owner's rights. */
	if (!error && !S_ISLNK(status->st_mode) &&
		((others && owner->mode & (S_ISUID | S_ISGID)) ||
			(status->st_mode & 07777) != (owner->mode & 07777)))
		error = change_mode(path, owner->mode, status);
	if (!error && fstat(path, status) < 0)
		error = -errno;
	return error;
}

int owner_change(enum share_security security, int path, const struct owner *owner,
	const struct stat *status)
{
	struct stat seen = *status;
	int error = 0;

	if (security == SHARE_MAPPED) {
		see_mapped(path, &seen);
		return change_mapped(path, owner, seen.st_mode & S_IFMT);
	}
	if (owner->uid != UINT32_MAX || owner->gid != UINT32_MAX)
		error = change_owner(security, path, owner);
	if (!error && owner->mode != UINT32_MAX)
		error = change_mode(path, owner->mode, status);
	return error;
}

/* --- extended attributes --- */

/* Access control lists would be applied by the host to its own users. */
static const char *const mapped_names[] = {
	"system.posix_acl_access",
	"system.posix_acl_default",
};

const char *owner_xattr_to_host(enum share_security security, const char *name, char *room)
{
	if (security != SHARE_MAPPED)
		return name;
	if (strncmp(name, MAPPED, strlen(MAPPED)) == 0)
		return NULL;
	for (unsigned i = 0; i < sizeof(mapped_names) / sizeof(*mapped_names); i++)
		if (strcmp(name, mapped_names[i]) == 0) {
			snprintf(room, XATTR_NAME_MAX + 1, MAPPED "%s", name);
			return room;
		}
	return name;
}

const char *owner_xattr_to_client(enum share_security security, const char *name)
{
	if (security != SHARE_MAPPED || strncmp(name, MAPPED, strlen(MAPPED)) != 0)
		return name;
	name += strlen(MAPPED);
	for (unsigned i = 0; i < sizeof(mapped_names) / sizeof(*mapped_names); i++)
		if (strcmp(name, mapped_names[i]) == 0)
			return mapped_names[i];
	return NULL;
}
