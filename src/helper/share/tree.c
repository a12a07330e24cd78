#include "helper/share/tree.h"

#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BUCKETS    65536
#define MOST_NODES (512 * 1024)

/* Paths are closed first, but for as many as are good until others were asked for: to close an open
 * file costs more, and it may have been opened by a right that nobody has any more (its mode has
 * been changed since). */
enum fd_kind { PATH_FD, OPEN_FD, FD_KINDS };

#define LEAST_PATHS 8
#define LEAST_FDS   32 /* these, as many files, and as many removed objects */

struct fd_list {
	struct tree_fd *newest, *oldest;
	unsigned count;
};

struct tree {
	struct node *root;
	struct node **table; /* by directory and name */
	struct fd_list used[FD_KINDS];
	unsigned nodes, fds, most_fds;
	unsigned kept; /* of removed nodes: in no list */
};

struct fd_name fd_name(int fd)
{
	struct fd_name name;

	snprintf(name.text, sizeof(name.text), "%d", fd);
	return name;
}

bool tree_name_is_good(const char *name)
{
	return name[0] && strlen(name) <= TREE_NAME_MAX && !strchr(name, '/') &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* --- descriptors --- */

static bool is_removed(const struct tree *tree, const struct node *node)
{
	return !node->parent && node != tree->root;
}

static void list_remove(struct tree *tree, struct tree_fd *held)
{
	struct fd_list *list = &tree->used[held->kind];

	if (!held->newer && list->newest != held)
		return; /* it is in none */
	if (held->newer)
		held->newer->older = held->older;
	else
		list->newest = held->older;
	if (held->older)
		held->older->newer = held->newer;
	else
		list->oldest = held->newer;
	held->newer = held->older = NULL;
	list->count--;
}

static void list_add(struct tree *tree, struct tree_fd *held)
{
	struct fd_list *list = &tree->used[held->kind];

	held->newer = NULL;
	held->older = list->newest;
	if (list->newest)
		list->newest->newer = held;
	else
		list->oldest = held;
	list->newest = held;
	list->count++;
}

static bool is_kept(const struct tree *tree, const struct tree_fd *held)
{
	return !held->newer && tree->used[held->kind].newest != held;
}

static void close_held(struct tree *tree, struct tree_fd *held)
{
	if (held->fd < 0)
		return;
	if (is_kept(tree, held))
		tree->kept--;
	else
		list_remove(tree, held);
	close(held->fd);
	held->fd = -1;
	tree->fds--;
}

/* Close one of the kind that was used least lately, unless nobody could open it again. */
static bool close_oldest(struct tree *tree, enum fd_kind kind)
{
	struct tree_fd *held;

	while ((held = tree->used[kind].oldest)) {
		bool last = kind == PATH_FD && is_removed(tree, held->node);

		if (!last || tree->kept >= tree->most_fds / 2) {
			close_held(tree, held);
			return true;
		}
		list_remove(tree, held);
		tree->kept++;
	}
	return false;
}

static void make_room(struct tree *tree)
{
	while (tree->fds + LEAST_PATHS > tree->most_fds) {
		bool paths = tree->used[PATH_FD].count > LEAST_PATHS;

		if (!close_oldest(tree, paths ? PATH_FD : OPEN_FD) && !paths)
			return;
	}
}

static void hold_fd(
	struct tree *tree, struct tree_fd *held, struct node *node, enum fd_kind kind, int fd)
{
	*held = (struct tree_fd){.fd = fd, .node = node, .kind = kind};
	tree->fds++;
	list_add(tree, held);
}

static void touch(struct tree *tree, struct tree_fd *held)
{
	if (is_kept(tree, held) || tree->used[held->kind].newest == held)
		return;
	list_remove(tree, held);
	list_add(tree, held);
}

/* One name down from a directory. */
static int open_below(struct tree *tree, int directory, const char *name)
{
	const struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};
	int fd;

	make_room(tree);
	fd = (int)syscall(SYS_openat2, directory, name, &how, sizeof(how));
	return fd < 0 ? -errno : fd;
}

/* Open the node, whose directory is open, by its name. */
static int reopen_node(struct tree *tree, struct node *node)
{
	struct stat status;
	int fd = open_below(tree, node->parent->path.fd, node->name);

	if (fd < 0)
		return fd;
	if (fstat(fd, &status) < 0 || status.st_dev != node->device ||
		status.st_ino != node->inode) {
		close(fd);
		return -ESTALE;
	}
	hold_fd(tree, &node->path, node, PATH_FD, fd);
	return 0;
}

/* From the nearest directory that is open downwards, step by step. */
int tree_node_fd(struct tree *tree, struct node *node)
{
	size_t depth = 0, step;
	struct node **way, *above;
	int error = 0;

	if (node->path.fd >= 0) {
		touch(tree, &node->path);
		return node->path.fd;
	}
	for (above = node; above && above->path.fd < 0; above = above->parent)
		depth++;
	if (!above)
		return -ESTALE;
	way = malloc(depth * sizeof(*way));
	if (!way)
		return -ENOMEM;
	step = depth;
	for (above = node; step; above = above->parent)
		way[--step] = above;
	for (; !error && step < depth; step++) {
		touch(tree, &way[step]->parent->path);
		error = reopen_node(tree, way[step]);
	}
	free(way);
	return error ? error : node->path.fd;
}

/* --- nodes --- */

static struct node **bucket(struct tree *tree, const struct node *directory, const char *name)
{
	uint64_t hash = (uintptr_t)directory;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
	return &tree->table[(hash >> 16 ^ hash) % BUCKETS];
}

static struct node *find(struct tree *tree, const struct node *directory, const char *name)
{
	struct node *node = *bucket(tree, directory, name);

	while (node && (node->parent != directory || strcmp(node->name, name) != 0))
		node = node->next;
	return node;
}

static void table_add(struct tree *tree, struct node *node)
{
	struct node **place = bucket(tree, node->parent, node->name);

	node->next = *place;
	*place = node;
}

static void table_remove(struct tree *tree, struct node *node)
{
	struct node **place = bucket(tree, node->parent, node->name);

	while (*place != node)
		place = &(*place)->next;
	*place = node->next;
}

struct node *node_hold(struct node *node)
{
	node->references++;
	return node;
}

/* With its last reference goes the one that it has of its directory. */
void node_put(struct tree *tree, struct node *node)
{
	while (node && --node->references == 0) {
		struct node *parent = node->parent;

		if (parent)
			table_remove(tree, node);
		close_held(tree, &node->path);
		free(node->name);
		free(node);
		tree->nodes--;
		node = parent;
	}
}

/* The node has no place any more. */
static void detach(struct tree *tree, struct node *node)
{
	struct node *parent = node->parent;

	table_remove(tree, node);
	node->parent = NULL;
	node_put(tree, parent);
}

static struct node *create_node(
	struct tree *tree, struct node *parent, const char *name, int fd, const struct stat *status)
{
	struct node *node = tree->nodes < MOST_NODES ? calloc(1, sizeof(*node)) : NULL;

	if (!node)
		return NULL;
	node->name = strdup(name);
	if (!node->name) {
		free(node);
		return NULL;
	}
	tree->nodes++;
	node->references = 1;
	node->device = status->st_dev;
	node->inode = status->st_ino;
	node->type = status->st_mode & S_IFMT;
	hold_fd(tree, &node->path, node, PATH_FD, fd);
	if (parent) {
		node->parent = node_hold(parent);
		table_add(tree, node);
	}
	return node;
}

static bool is_same(const struct node *node, const struct stat *status)
{
	return node->device == status->st_dev && node->inode == status->st_ino &&
	       node->type == (status->st_mode & S_IFMT);
}

int tree_child(struct tree *tree, struct node *directory, const char *name, struct node **child,
	struct stat *status)
{
	int at = tree_node_fd(tree, directory), fd;
	struct node *node;

	if (at < 0)
		return at;
	fd = open_below(tree, at, name);
	if (fd < 0)
		return fd;
	if (fstat(fd, status) < 0) {
		close(fd);
		return -errno;
	}
	node = find(tree, directory, name);
	if (node && is_same(node, status)) {
		if (node->path.fd < 0)
			hold_fd(tree, &node->path, node, PATH_FD, fd);
		else
			close(fd);
		*child = node_hold(node);
		return 0;
	}
	/* The host has put something else there. */
	if (node)
		detach(tree, node);
	*child = create_node(tree, directory, name, fd, status);
	if (*child)
		return 0;
	close(fd);
	return -ENOMEM;
}

void tree_before_removal(struct tree *tree, struct node *directory, const char *name)
{
	struct node *node = find(tree, directory, name);

	if (node)
		tree_node_fd(tree, node);
}

void tree_removed(struct tree *tree, struct node *directory, const char *name)
{
	struct node *node = find(tree, directory, name);

	if (node)
		detach(tree, node);
}

void tree_renamed(struct tree *tree, struct node *from, const char *from_name, struct node *to,
	const char *to_name)
{
	struct node *node = find(tree, from, from_name), *replaced = find(tree, to, to_name);
	char *name;

	if (node && node == replaced)
		return;
	if (replaced)
		detach(tree, replaced);
	if (!node)
		return;
	name = strdup(to_name);
	if (!name) {
		detach(tree, node);
		return;
	}
	table_remove(tree, node);
	free(node->name);
	node->name = name;
	node->parent = node_hold(to);
	table_add(tree, node);
	node_put(tree, from);
}

/* --- open files --- */

/* By the descriptor, so that it is the object that was looked at. */
static int open_node(struct tree *tree, struct node *node, int flags)
{
	int path = tree_node_fd(tree, node), fd;

	if (path < 0)
		return path;
	make_room(tree);
	fd = open(fd_name(path).text, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int tree_open(struct tree *tree, struct node *node, int flags, struct tree_file *file)
{
	int fd;

	if (S_ISLNK(node->type))
		return -ELOOP;
	if (!S_ISREG(node->type) && !S_ISDIR(node->type))
		return -ENXIO;
	fd = open_node(tree, node, flags);
	if (fd < 0)
		return fd;
	tree_adopt(tree, node, fd, flags, file);
	return 0;
}

void tree_adopt(struct tree *tree, struct node *node, int fd, int flags, struct tree_file *file)
{
	hold_fd(tree, &file->open, node_hold(node), OPEN_FD, fd);
	file->flags = flags & ~(O_TRUNC | O_EXCL);
}

int tree_file_fd(struct tree *tree, struct tree_file *file)
{
	struct node *node = file->open.node;
	int fd;

	if (file->open.fd >= 0) {
		touch(tree, &file->open);
		return file->open.fd;
	}
	fd = open_node(tree, node, file->flags);
	if (fd >= 0)
		hold_fd(tree, &file->open, node, OPEN_FD, fd);
	return fd;
}

void tree_close(struct tree *tree, struct tree_file *file)
{
	close_held(tree, &file->open);
	node_put(tree, file->open.node);
	file->open.node = NULL;
}

/* --- the tree --- */

struct tree *tree_create(int root, unsigned most_fds)
{
	const struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
	struct tree *tree = calloc(1, sizeof(*tree));
	struct stat status;
	/* Fails where the host has no openat2(). */
	int probe = (int)syscall(SYS_openat2, root, ".", &how, sizeof(how));

	if (probe >= 0)
		close(probe);
	if (tree && probe >= 0 && chdir("/proc/self/fd") == 0 && fstat(root, &status) == 0) {
		tree->most_fds = most_fds < LEAST_FDS ? LEAST_FDS : most_fds;
		tree->table = calloc(BUCKETS, sizeof(struct node *));
		if (tree->table)
			tree->root = create_node(tree, NULL, "", root, &status);
	}
	if (tree && tree->root) {
		/* It can be opened by no name, so it is never closed. */
		list_remove(tree, &tree->root->path);
		tree->kept++;
		return tree;
	}
	close(root);
	if (tree)
		free(tree->table);
	free(tree);
	return NULL;
}

void tree_destroy(struct tree *tree)
{
	node_put(tree, tree->root);
	free(tree->table);
	free(tree);
}

struct node *tree_root(struct tree *tree)
{
	return tree->root;
}
