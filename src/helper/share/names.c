/* Names: what leads from one object to another, makes, moves and removes one. */
#include "helper/share/internal.h"

#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MOST_STEPS            16    /* of one walk (P9_MAXWELEM) */
#define FLAG_REMOVE_DIRECTORY 0x200 /* P9_DOTL_AT_REMOVEDIR */

/* --- walk --- */

/* To the object above; the root is above itself. */
static int step_up(struct p9_server *server, struct node **node, struct stat *status)
{
	struct node *above = *node == tree_root(server->tree) ? *node : (*node)->parent;
	int error;

	if (!above)
		return -ENOENT;
	error = p9_status(server, above, status);
	if (error)
		return error;
	node_hold(above);
	node_put(server->tree, *node);
	*node = above;
	return 0;
}

static int step(struct p9_server *server, struct node **node, struct stat *status)
{
	int error = p9_take_name(server, 0);
	struct node *child;

	if (error == -EINVAL && strcmp(server->names[0], "..") == 0)
		return step_up(server, node, status);
	if (!error)
		error = tree_child(server->tree, *node, server->names[0], &child, status);
	if (error)
		return error;
	owner_see(server->security, child->path.fd, status);
	node_put(server->tree, *node);
	*node = child;
	return 0;
}

/* Where the first steps succeed and a later one does not, the reply has those that did, and no fid
 * is made (walk(5)). */
int p9_walk(struct p9_server *server)
{
	struct fid *fid = fid_take(server), *new_fid;
	uint32_t new_number = p9_get32(&server->in);
	unsigned count = p9_get16(&server->in), done = 0;
	struct p9_writer start;
	struct node *node;
	struct stat status;
	int error = 0;

	if (!fid || (new_number == fid->number && fid->use != FID_UNUSED))
		return -EBADF;
	if (count > MOST_STEPS || server->in.bad)
		return -EINVAL;
	node = node_hold(fid->node);
	start = server->out;
	p9_put16(&server->out, (uint16_t)count);
	while (done < count && !(error = step(server, &node, &status))) {
		p9_put_qid(server, &status);
		done++;
	}
	if (error && done) {
		size_t size = server->out.size;

		server->out.size = start.size;
		p9_put16(&server->out, (uint16_t)done);
		server->out.size = size;
		error = 0;
	} else if (!error && new_number == fid->number) {
		node_hold(node);
		node_put(server->tree, fid->node);
		fid->node = node;
	} else if (!error) {
		error = fid_add(server, new_number, fid->uid, node, &new_fid);
	}
	node_put(server->tree, node);
	return error;
}

/* --- making --- */

struct owner p9_new_owner(const struct fid *directory, uint32_t gid, uint32_t mode)
{
	return (struct owner){.uid = directory->uid, .gid = gid, .mode = mode};
}

int p9_finish_new(struct p9_server *server, struct node *directory, const char *name,
	const struct owner *owner, dev_t number, struct node **node, struct stat *status)
{
	int error = tree_child(server->tree, directory, name, node, status), at;

	if (error)
		return error;
	error = owner_give(server->security, (*node)->path.fd, owner, number, status);
	if (error) {
		at = tree_node_fd(server->tree, directory);
		unlinkat(at, name, S_ISDIR((*node)->type) ? AT_REMOVEDIR : 0);
		tree_removed(server->tree, directory, name);
		node_put(server->tree, *node);
		return error;
	}
	owner_see(server->security, (*node)->path.fd, status);
	return 0;
}

/* What has been made under names[0] gets its owner, and the reply its qid. */
static int answer_new(struct p9_server *server, const struct fid *directory,
	const struct owner *owner, dev_t number)
{
	struct stat status;
	struct node *node;
	int error = p9_finish_new(
		server, directory->node, server->names[0], owner, number, &node, &status);

	if (error)
		return error;
	node_put(server->tree, node);
	p9_put_qid(server, &status);
	return 0;
}

int p9_mkdir(struct p9_server *server)
{
	struct fid *directory = fid_take(server);
	int error = p9_take_name(server, 0), at;
	uint32_t mode = p9_get32(&server->in) & 07777, gid = p9_get32(&server->in);
	struct owner owner;

	if (!directory)
		return -EBADF;
	if (error || server->in.bad)
		return error ? error : -EINVAL;
	at = tree_node_fd(server->tree, directory->node);
	if (at < 0)
		return at;
	if (mkdirat(at, server->names[0], server->security == SHARE_MAPPED ? 0700 : mode) < 0)
		return -errno;
	owner = p9_new_owner(directory, gid, mode | S_IFDIR);
	return answer_new(server, directory, &owner, 0);
}

int p9_mknod(struct p9_server *server)
{
	struct fid *directory = fid_take(server);
	int error = p9_take_name(server, 0), at;
	uint32_t mode = p9_get32(&server->in) & (S_IFMT | 07777);
	uint32_t major_number = p9_get32(&server->in), minor_number = p9_get32(&server->in);
	uint32_t gid = p9_get32(&server->in);
	dev_t number = makedev(major_number, minor_number);
	struct owner owner;

	if (!directory)
		return -EBADF;
	if (error || server->in.bad)
		return error ? error : -EINVAL;
	if (S_ISDIR(mode) || S_ISLNK(mode))
		return -EPERM;
	if (!(mode & S_IFMT))
		mode |= S_IFREG;
	at = tree_node_fd(server->tree, directory->node);
	if (at < 0)
		return at;
	if (server->security == SHARE_MAPPED ? mknodat(at, server->names[0], S_IFREG | 0600, 0) < 0
					     : mknodat(at, server->names[0], mode, number) < 0)
		return -errno;
	owner = p9_new_owner(directory, gid, mode);
	return answer_new(server, directory, &owner, number);
}

/* A file that has the link's target in it. */
static int make_mapped_link(int at, const char *name, const char *target)
{
	int fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	size_t length = strlen(target);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, target, length) != (ssize_t)length) {
		error = errno ? -errno : -EIO;
		unlinkat(at, name, 0);
	}
	close(fd);
	return error;
}

int p9_symlink(struct p9_server *server)
{
	struct fid *directory = fid_take(server);
	int error = p9_take_name(server, 0), at;
	struct owner owner;

	if (!directory)
		return -EBADF;
	if (error)
		return error;
	p9_get_string(&server->in, server->names[1], sizeof(server->names[1]));
	owner = p9_new_owner(directory, p9_get32(&server->in), S_IFLNK | 0777);
	if (server->in.bad)
		return -EINVAL;
	if (!server->names[1][0])
		return -ENOENT;
	at = tree_node_fd(server->tree, directory->node);
	if (at < 0)
		return at;
	if (server->security == SHARE_MAPPED)
		error = make_mapped_link(at, server->names[0], server->names[1]);
	else if (symlinkat(server->names[1], at, server->names[0]) < 0)
		error = -errno;
	return error ? error : answer_new(server, directory, &owner, 0);
}

static ssize_t read_mapped_link(struct p9_server *server, struct node *node, char *target)
{
	struct tree_file file;
	struct stat status;
	ssize_t length;
	int error = p9_status(server, node, &status);

	if (!error && !S_ISLNK(status.st_mode))
		error = -EINVAL;
	if (!error)
		error = tree_open(server->tree, node, O_RDONLY, &file);
	if (error)
		return error;
	length = pread(file.open.fd, target, PATH_MAX - 1, 0);
	if (length < 0)
		length = -errno;
	tree_close(server->tree, &file);
	return length;
}

int p9_readlink(struct p9_server *server)
{
	struct fid *fid = fid_take(server);
	char *target = server->names[0];
	ssize_t length;
	int path;

	if (!fid)
		return -EBADF;
	if (server->security == SHARE_MAPPED && S_ISREG(fid->node->type)) {
		length = read_mapped_link(server, fid->node, target);
	} else {
		path = tree_node_fd(server->tree, fid->node);
		if (path < 0)
			return path;
		length = readlinkat(path, "", target, PATH_MAX - 1);
		if (length < 0)
			length = errno == ENOENT ? -EINVAL : -errno; /* it is no link */
	}
	if (length < 0)
		return (int)length;
	p9_put_string(&server->out, target, (size_t)length);
	return 0;
}

/* --- two directories --- */

/* A descriptor of the caller's own: what is asked of the tree for another one may close the
 * tree's. */
static int own_fd(struct p9_server *server, struct node *node)
{
	int fd = tree_node_fd(server->tree, node);

	if (fd < 0)
		return fd;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

int p9_link(struct p9_server *server)
{
	struct fid *directory = fid_take(server), *fid = fid_take(server);
	int error = p9_take_name(server, 0), path, at;

	if (!directory || !fid)
		return -EBADF;
	if (error)
		return error;
	path = own_fd(server, fid->node);
	if (path < 0)
		return path;
	at = tree_node_fd(server->tree, directory->node);
	if (at < 0)
		error = at;
	/* It follows the descriptor's name to the object, and no link that the object is. */
	else if (linkat(AT_FDCWD, fd_name(path).text, at, server->names[0], AT_SYMLINK_FOLLOW) < 0)
		error = -errno;
	close(path);
	return error;
}

static int move(struct p9_server *server, struct node *from, const char *from_name, struct node *to,
	const char *to_name)
{
	int from_fd, to_fd, error = 0;

	tree_before_removal(server->tree, to, to_name);
	from_fd = own_fd(server, from);
	if (from_fd < 0)
		return from_fd;
	to_fd = tree_node_fd(server->tree, to);
	if (to_fd < 0)
		error = to_fd;
	else if (renameat(from_fd, from_name, to_fd, to_name) < 0)
		error = -errno;
	close(from_fd);
	if (!error)
		tree_renamed(server->tree, from, from_name, to, to_name);
	return error;
}

int p9_rename(struct p9_server *server)
{
	struct fid *fid = fid_take(server), *to = fid_take(server);
	int error = p9_take_name(server, 0);

	if (!fid || !to)
		return -EBADF;
	if (error)
		return error;
	if (!fid->node->parent)
		return fid->node == tree_root(server->tree) ? -EBUSY : -ENOENT;
	snprintf(server->names[1], sizeof(server->names[1]), "%s", fid->node->name);
	return move(server, fid->node->parent, server->names[1], to->node, server->names[0]);
}

int p9_renameat(struct p9_server *server)
{
	struct fid *from = fid_take(server), *to;
	int error = p9_take_name(server, 0);

	if (error)
		return from ? error : -EBADF;
	to = fid_take(server);
	error = p9_take_name(server, 1);
	if (!from || !to)
		return -EBADF;
	return error ? error
		     : move(server, from->node, server->names[0], to->node, server->names[1]);
}

/* --- removing --- */

static int take_away(struct p9_server *server, struct node *directory, const char *name, int flags)
{
	int at;

	tree_before_removal(server->tree, directory, name);
	at = tree_node_fd(server->tree, directory);
	if (at < 0)
		return at;
	if (unlinkat(at, name, flags) < 0)
		return -errno;
	tree_removed(server->tree, directory, name);
	return 0;
}

int p9_unlinkat(struct p9_server *server)
{
	struct fid *directory = fid_take(server);
	int error = p9_take_name(server, 0);
	uint32_t flags = p9_get32(&server->in);

	if (!directory)
		return -EBADF;
	if (error || server->in.bad)
		return error ? error : -EINVAL;
	return take_away(server, directory->node, server->names[0],
		flags & FLAG_REMOVE_DIRECTORY ? AT_REMOVEDIR : 0);
}

/* The fid is gone after that, whatever becomes of the object (remove(5)). */
int p9_remove(struct p9_server *server)
{
	struct fid *fid = fid_take(server);
	struct node *node;
	int error;

	if (!fid)
		return -EBADF;
	node = fid->node;
	if (server->read_only) {
		error = -EROFS;
	} else if (!node->parent) {
		error = node == tree_root(server->tree) ? -EBUSY : -ENOENT;
	} else {
		snprintf(server->names[0], sizeof(server->names[0]), "%s", node->name);
		error = take_away(server, node->parent, server->names[0],
			S_ISDIR(node->type) ? AT_REMOVEDIR : 0);
	}
	fid_remove(server, fid);
	return error;
}
