/* The shared tree, as a client has come to know it: a node for each object that a fid names, with
 * its place (directory and name) and a descriptor of it.
 *
 * Confinement. The only way from one object to another is from a directory's descriptor by one
 * name, which is neither "." nor "..", has no slash, and is not followed where it is a symbolic
 * link (openat2() with RESOLVE_BENEATH besides, tree_child()). So no exchange of directories for
 * links, by guests or on the host, leads out of the tree. What is opened for reading or writing is
 * opened through such a descriptor, which has been seen to be of a file or a directory: a device or
 * a FIFO is never opened, whatever takes a file's name meanwhile.
 *
 * Descriptors. A client may know many more objects than a process may have descriptors. Those that
 * were used least lately are closed, and opened again by their place when they are wanted; an
 * object that is not there any more is an error (ESTALE), never another object. One that has been
 * removed by the client itself has no place: its descriptor is kept, as far as there is room.
 *
 * One thread. The process's working directory is /proc/self/fd, from tree_create() on: the name of
 * a descriptor there is its number, by which calls that take no descriptor reach its object. */
#ifndef VENEER_HELPER_SHARE_TREE_H
#define VENEER_HELPER_SHARE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#define TREE_NAME_MAX 255 /* bytes of a name */

struct tree;

/* A descriptor that may be closed and made anew. */
struct tree_fd {
	int fd; /* -1: closed */
	struct node *node;
	unsigned kind; /* the tree's own, as the rest */
	struct tree_fd *newer, *older;
};

struct node {
	struct tree_fd path; /* O_PATH */
	struct node *parent; /* NULL: the root, or it was removed */
	char *name;
	struct node *next; /* in the table */
	dev_t device;
	ino_t inode;
	mode_t type;         /* S_IFMT, on the host */
	unsigned references; /* fids, and nodes below it */
};

/* An open file or directory. */
struct tree_file {
	struct tree_fd open;
	int flags; /* it was opened with */
};

/* Serve the directory `root`, which is the tree's from now on, also where this fails. At most
 * `most_fds` descriptors are kept, at least 32. NULL with errno. */
struct tree *tree_create(int root, unsigned most_fds);
void tree_destroy(struct tree *tree);
/* Not a new reference. */
struct node *tree_root(struct tree *tree);

struct node *node_hold(struct node *node);
void node_put(struct tree *tree, struct node *node);

/* Is this a name that something in a directory can have? */
bool tree_name_is_good(const char *name);

/* A descriptor of the node, O_PATH, good until 8 others were asked for. -errno. */
int tree_node_fd(struct tree *tree, struct node *node);
/* What is there now by that name in the directory; the caller gets a reference. 0 or -errno. */
int tree_child(struct tree *tree, struct node *directory, const char *name, struct node **child,
	struct stat *status);

/* Before a name is taken away by the client, or given to something else: keep hold of what has it.
 */
void tree_before_removal(struct tree *tree, struct node *directory, const char *name);
/* It has been. */
void tree_removed(struct tree *tree, struct node *directory, const char *name);
void tree_renamed(struct tree *tree, struct node *from, const char *from_name, struct node *to,
	const char *to_name);

/* Open a node that is a file or a directory. `flags`: as for open(2), without O_CREAT. 0; -ELOOP
 * for a symbolic link, -ENXIO for what is not to be opened, or another -errno. */
int tree_open(struct tree *tree, struct node *node, int flags, struct tree_file *file);
/* The same for a descriptor that was opened already, and is the file's from now on. */
void tree_adopt(struct tree *tree, struct node *node, int fd, int flags, struct tree_file *file);
/* Its descriptor, good until 8 others were asked for. -errno. */
int tree_file_fd(struct tree *tree, struct tree_file *file);
void tree_close(struct tree *tree, struct tree_file *file);

/* A descriptor's name in /proc/self/fd, the working directory. */
struct fd_name {
	char text[12];
};
struct fd_name fd_name(int fd);

#endif
