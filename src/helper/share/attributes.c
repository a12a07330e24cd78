/* Attributes of objects: what stat(2) shows, and extended ones. */
#include "helper/share/internal.h"

#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <linux/limits.h>

#define STATS_BASIC 0x7ff /* P9_STATS_BASIC: all that stat(2) has */
#define IO_HEAD     24    /* P9_IOHDRSZ */

/* --- stat --- */

/* Of a removed object that is open there may be only that descriptor. */
static int status_of_fid(struct p9_server *server, struct fid *fid, struct stat *status)
{
	int error = p9_status(server, fid->node, status), fd;

	if (error != -ESTALE || (fid->use != FID_FILE && fid->use != FID_DIRECTORY))
		return error;
	fd = tree_file_fd(server->tree, &fid->file);
	if (fd < 0)
		return fd;
	if (fstat(fd, status) < 0)
		return -errno;
	owner_see(server->security, fd, status);
	return 0;
}

/* By this size programs choose their buffers: as large as one message has room for. */
static uint64_t block_size(const struct p9_server *server, const struct stat *status)
{
	uint64_t block = status->st_blksize > 0 ? (uint64_t)status->st_blksize : 4096, room;

	room = server->msize - IO_HEAD;
	return block < room ? room - room % block : block;
}

static void put_time(struct p9_server *server, const struct timespec *time)
{
	p9_put64(&server->out, (uint64_t)time->tv_sec);
	p9_put64(&server->out, (uint64_t)time->tv_nsec);
}

int p9_getattr(struct p9_server *server)
{
	static const struct timespec unknown;
	struct fid *fid = fid_take(server);
	uint64_t wanted = p9_get64(&server->in);
	struct stat status;
	int error;

	if (!fid)
		return -EBADF;
	error = status_of_fid(server, fid, &status);
	if (error)
		return error;
	p9_put64(&server->out, wanted & STATS_BASIC);
	p9_put_qid(server, &status);
	p9_put32(&server->out, status.st_mode);
	p9_put32(&server->out, status.st_uid);
	p9_put32(&server->out, status.st_gid);
	p9_put64(&server->out, status.st_nlink);
	p9_put64(&server->out, status.st_rdev);
	p9_put64(&server->out, (uint64_t)status.st_size);
	p9_put64(&server->out, block_size(server, &status));
	p9_put64(&server->out, (uint64_t)status.st_blocks);
	put_time(server, &status.st_atim);
	put_time(server, &status.st_mtim);
	put_time(server, &status.st_ctim);
	put_time(server, &unknown); /* of birth */
	p9_put64(&server->out, 0);  /* generation */
	p9_put64(&server->out, 0);  /* version of the data */
	return 0;
}

/* --- changing it --- */

enum set_valid {
	SET_MODE = 0x1,
	SET_UID = 0x2,
	SET_GID = 0x4,
	SET_SIZE = 0x8,
	SET_ATIME = 0x10,
	SET_MTIME = 0x20,
	SET_CTIME = 0x40,
	SET_ATIME_TO = 0x80, /* to what the message says, and not to the present */
	SET_MTIME_TO = 0x100,
};

struct attributes {
	uint32_t valid, mode, uid, gid;
	uint64_t size;
	struct timespec time[2]; /* of the last access, of the last modification */
};

static void take_attributes(struct p9_server *server, struct attributes *set)
{
	static const struct {
		uint32_t set, set_to;
	} times[2] = {{SET_ATIME, SET_ATIME_TO}, {SET_MTIME, SET_MTIME_TO}};

	set->valid = p9_get32(&server->in);
	set->mode = p9_get32(&server->in);
	set->uid = p9_get32(&server->in);
	set->gid = p9_get32(&server->in);
	set->size = p9_get64(&server->in);
	for (unsigned i = 0; i < 2; i++) {
		set->time[i].tv_sec = (time_t)p9_get64(&server->in);
		set->time[i].tv_nsec = (long)p9_get64(&server->in);
		if (!(set->valid & times[i].set))
			set->time[i].tv_nsec = UTIME_OMIT;
		else if (!(set->valid & times[i].set_to))
			set->time[i].tv_nsec = UTIME_NOW;
	}
}

static int set_size(struct p9_server *server, struct fid *fid, uint64_t size)
{
	bool writes = fid->use == FID_FILE && (fid->file.flags & O_ACCMODE) != O_RDONLY;
	struct tree_file file;
	int fd, error = 0;

	if (size > INT64_MAX)
		return -EINVAL;
	/* Who has the file open may be allowed more than who opens it now. */
	if (writes) {
		fd = tree_file_fd(server->tree, &fid->file);
		return fd < 0 ? fd : ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
	}
	if (S_ISDIR(fid->node->type))
		return -EISDIR;
	error = tree_open(server->tree, fid->node, O_WRONLY, &file);
	if (error)
		return error;
	if (ftruncate(file.open.fd, (off_t)size) < 0)
		error = -errno;
	tree_close(server->tree, &file);
	return error;
}

static int set_owner(struct p9_server *server, struct node *node, const struct attributes *set)
{
	const struct owner owner = {
		.uid = set->valid & SET_UID ? set->uid : UINT32_MAX,
		.gid = set->valid & SET_GID ? set->gid : UINT32_MAX,
		.mode = set->valid & SET_MODE ? set->mode & 07777 : UINT32_MAX,
	};
	int path = tree_node_fd(server->tree, node);
	struct stat status;

	if (path < 0)
		return path;
	if (fstat(path, &status) < 0)
		return -errno;
	return owner_change(server->security, path, &owner, &status);
}

static int set_times(struct p9_server *server, struct node *node, const struct timespec time[2])
{
	int path = tree_node_fd(server->tree, node);

	if (path < 0)
		return path;
	return utimensat(AT_FDCWD, fd_name(path).text, time, 0) < 0 ? -errno : 0;
}

/* The owner before the mode, since a change of owner clears bits of that; times last, since a
 * change of size sets them. */
int p9_setattr(struct p9_server *server)
{
	struct fid *fid = fid_take(server);
	struct attributes set;
	int error = 0;

	take_attributes(server, &set);
	if (!fid)
		return -EBADF;
	if (server->in.bad)
		return -EINVAL;
	if (set.valid & (SET_UID | SET_GID | SET_MODE))
		error = set_owner(server, fid->node, &set);
	if (!error && set.valid & SET_SIZE)
		error = set_size(server, fid, set.size);
	if (!error && set.valid & (SET_ATIME | SET_MTIME))
		error = set_times(server, fid->node, set.time);
	return error;
}

/* --- extended attributes --- */

/* Keep of the host's list, in server->entries, what is the client's affair. Its bytes. */
static size_t filter_list(struct p9_server *server, size_t bytes)
{
	char *list = (char *)server->entries;
	size_t kept = 0, length;

	for (size_t at = 0; at < bytes; at += length) {
		const char *name = owner_xattr_to_client(server->security, list + at);

		length = strlen(list + at) + 1;
		if (!name)
			continue;
		/* The client's name of an attribute is never longer than the host's. */
		memmove(list + kept, name, strlen(name) + 1);
		kept += strlen(list + kept) + 1;
	}
	return kept;
}

/* The value of an attribute, or, where the name is "", the list of names: into server->entries.
 * Bytes or -errno. */
static ssize_t read_xattr(struct p9_server *server, struct node *node, const char *name)
{
	char room[XATTR_NAME_MAX + 1];
	int path = tree_node_fd(server->tree, node);
	struct fd_name file;
	ssize_t size;

	if (path < 0)
		return path;
	file = fd_name(path);
	if (!*name) {
		size = listxattr(file.text, (char *)server->entries, XATTR_LIST_MAX);
		return size < 0 ? -errno : (ssize_t)filter_list(server, (size_t)size);
	}
	name = owner_xattr_to_host(server->security, name, room);
	if (!name)
		return -ENODATA;
	size = getxattr(file.text, name, server->entries, XATTR_SIZE_MAX);
	return size < 0 ? -errno : size;
}

int p9_xattrwalk(struct p9_server *server)
{
	struct fid *fid = fid_take(server), *new_fid;
	uint32_t number = p9_get32(&server->in);
	char *name = server->names[0];
	ssize_t size;
	int error;

	p9_get_string(&server->in, name, XATTR_NAME_MAX + 1);
	if (!fid)
		return -EBADF;
	if (server->in.bad)
		return -EINVAL;
	size = read_xattr(server, fid->node, name);
	if (size < 0)
		return (int)size;
	error = fid_add(server, number, fid->uid, fid->node, &new_fid);
	if (error)
		return error;
	error = fid_make_value(server, new_fid, (size_t)size);
	if (error) {
		fid_remove(server, new_fid);
		return error;
	}
	new_fid->use = FID_XATTR_READ;
	memcpy(new_fid->value, server->entries, (size_t)size);
	p9_put64(&server->out, (uint64_t)size);
	return 0;
}

int p9_xattrcreate(struct p9_server *server)
{
	struct fid *fid = fid_take(server);
	char room[XATTR_NAME_MAX + 1], *name = server->names[0];
	const char *host_name;
	uint64_t size;
	uint32_t flags;
	int error;

	p9_get_string(&server->in, name, XATTR_NAME_MAX + 1);
	size = p9_get64(&server->in);
	flags = p9_get32(&server->in);
	if (!fid || fid->use != FID_UNUSED)
		return -EBADF;
	if (server->in.bad || !*name || flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	if (size > XATTR_SIZE_MAX)
		return -E2BIG;
	host_name = owner_xattr_to_host(server->security, name, room);
	if (!host_name)
		return -EPERM;
	free(fid->xattr);
	fid->xattr = strdup(host_name);
	if (!fid->xattr)
		return -ENOMEM;
	error = fid_make_value(server, fid, (size_t)size);
	if (error)
		return error;
	fid->use = FID_XATTR_WRITE;
	fid->xattr_flags = (int)flags;
	return 0;
}

/* Linux' client removes an attribute by replacing it with nothing. */
int p9_xattr_commit(struct p9_server *server, struct fid *fid)
{
	int path = tree_node_fd(server->tree, fid->node);
	struct fd_name file;

	if (path < 0)
		return path;
	if (fid->value_written != fid->value_size)
		return -EINVAL;
	file = fd_name(path);
	if (!fid->value_size && fid->xattr_flags & XATTR_REPLACE)
		return removexattr(file.text, fid->xattr) < 0 ? -errno : 0;
	return setxattr(file.text, fid->xattr, fid->value, fid->value_size, fid->xattr_flags) < 0
		       ? -errno
		       : 0;
}
