/* Opening files and directories, and making files. */
#include "helper/share/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define TRIES 8 /* against somebody who makes and removes the same name */

/* The flags of messages have Linux' numbers on x86. What a client's own page cache is for
 * (O_DIRECT), and what is a matter of its processes, is let be. */
#define KEPT_FLAGS (O_ACCMODE | O_APPEND | O_TRUNC | O_DSYNC | O_SYNC)

static int check_flags(const struct p9_server *server, uint32_t flags)
{
	if ((flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	if (server->read_only && ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC))
		return -EROFS;
	return 0;
}

static void answer_open(struct p9_server *server, const struct stat *status)
{
	p9_put_qid(server, status);
	p9_put32(&server->out, 0); /* iounit: as much as fits into a message */
}

static int open_fid(struct p9_server *server, struct fid *fid, struct node *node, uint32_t flags)
{
	bool directory = S_ISDIR(node->type);
	int error;

	if (directory && (flags & O_ACCMODE) != O_RDONLY)
		return -EISDIR;
	if (!directory && flags & O_DIRECTORY)
		return -ENOTDIR;
	error = tree_open(server->tree, node, (int)(flags & KEPT_FLAGS), &fid->file);
	if (error)
		return error;
	fid->use = directory ? FID_DIRECTORY : FID_FILE;
	fid->position = -1;
	return 0;
}

int p9_lopen(struct p9_server *server)
{
	struct fid *fid = fid_take(server);
	uint32_t flags = p9_get32(&server->in);
	struct stat status;
	int error;

	if (!fid || fid->use != FID_UNUSED)
		return -EBADF;
	error = server->in.bad ? -EINVAL : check_flags(server, flags);
	if (!error)
		error = open_fid(server, fid, fid->node, flags);
	if (!error)
		error = p9_status(server, fid->node, &status);
	if (error)
		return error;
	answer_open(server, &status);
	return 0;
}

/* The fid stands for the node from now on, whose reference it takes over. */
static void set_node(struct p9_server *server, struct fid *fid, struct node *node)
{
	struct node *before = fid->node;

	fid->node = node;
	node_put(server->tree, before);
}

/* A file that was not there before. -EEXIST: something is. */
static int create_new(struct p9_server *server, struct fid *fid, uint32_t flags,
	const struct owner *owner, struct stat *status)
{
	int at = tree_node_fd(server->tree, fid->node), fd, error;
	int host_flags = (int)(flags & KEPT_FLAGS) & ~O_TRUNC;
	struct stat opened;
	struct node *node;

	if (at < 0)
		return at;
	fd = openat(at, server->names[0],
		host_flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC,
		server->security == SHARE_MAPPED ? 0600 : owner->mode & 07777);
	if (fd < 0)
		return -errno;
	error = p9_finish_new(server, fid->node, server->names[0], owner, 0, &node, status);
	if (error) {
		close(fd);
		return error;
	}
	/* Somebody may have put another file there at once. */
	if (fstat(fd, &opened) < 0 || opened.st_dev != node->device ||
		opened.st_ino != node->inode) {
		close(fd);
		node_put(server->tree, node);
		return -ESTALE;
	}
	tree_adopt(server->tree, node, fd, host_flags, &fid->file);
	fid->use = FID_FILE;
	set_node(server, fid, node);
	return 0;
}

/* A file that is there. O_CREAT would open a device, too. */
static int open_existing(
	struct p9_server *server, struct fid *fid, uint32_t flags, struct stat *status)
{
	struct node *node;
	int error = tree_child(server->tree, fid->node, server->names[0], &node, status);

	if (error)
		return error;
	error = S_ISDIR(node->type) ? -EISDIR : open_fid(server, fid, node, flags);
	if (!error)
		error = p9_status(server, node, status);
	if (error && fid->use == FID_FILE) {
		tree_close(server->tree, &fid->file);
		fid->use = FID_UNUSED;
	}
	if (error)
		node_put(server->tree, node);
	else
		set_node(server, fid, node);
	return error;
}

int p9_lcreate(struct p9_server *server)
{
	struct fid *fid = fid_take(server);
	int error = p9_take_name(server, 0);
	uint32_t flags = p9_get32(&server->in), mode = p9_get32(&server->in);
	uint32_t gid = p9_get32(&server->in);
	struct stat status;
	struct owner owner;

	if (!fid || fid->use != FID_UNUSED)
		return -EBADF;
	if (error || server->in.bad)
		return error ? error : -EINVAL;
	error = check_flags(server, flags);
	if (error)
		return error;
	owner = p9_new_owner(fid, gid, (mode & 07777) | S_IFREG);
	error = -ENOENT;
	for (unsigned i = 0; i < TRIES && error == -ENOENT; i++) {
		error = server->read_only ? -EEXIST
					  : create_new(server, fid, flags, &owner, &status);
		if (error == -EEXIST && !(flags & O_EXCL))
			error = open_existing(server, fid, flags, &status);
		/* The directory itself is not there any more. */
		if (error == -ENOENT && server->read_only)
			error = -EROFS;
	}
	if (!error)
		answer_open(server, &status);
	return error;
}
