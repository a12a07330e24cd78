/* What the files of the 9P server share; for none else. */
#ifndef VENEER_HELPER_SHARE_INTERNAL_H
#define VENEER_HELPER_SHARE_INTERNAL_H

#include "helper/share/message.h"
#include "helper/share/owner.h"
#include "helper/share/server.h"
#include "helper/share/tree.h"

#include <dirent.h>
#include <limits.h>

#define P9_QID        13 /* bytes */
#define P9_MOST_FIDS  (256 * 1024)
#define P9_MOST_XATTR (16 * 1024 * 1024) /* bytes of extended attributes that fids keep */
#define P9_READ_HEAD  (P9_HEADER + 4)    /* of Rread, before its data */
#define P9_WRITE_HEAD (P9_HEADER + 16)   /* of Twrite */

/* What a fid stands for beside its node. */
enum fid_use {
	FID_UNUSED, /* not opened */
	FID_FILE,
	FID_DIRECTORY,
	FID_XATTR_READ,
	FID_XATTR_WRITE,
};

struct fid {
	uint32_t number;
	uint32_t uid; /* who attached; UINT32_MAX: nobody in particular */
	struct node *node;
	enum fid_use use;
	struct tree_file file; /* FID_FILE, FID_DIRECTORY */
	int64_t position;      /* FID_DIRECTORY: where the descriptor stands; -1: unknown */
	/* FID_XATTR_*: what is read, or was written so far; and its size. */
	uint8_t *value;
	uint32_t value_size, value_written;
	char *xattr; /* FID_XATTR_WRITE: its name, and how to set it */
	int xattr_flags;
	struct fid *next;
};

struct p9_server {
	struct tree *tree;
	bool read_only, sync;
	enum share_security security;
	uint32_t msize; /* 0: no version was agreed on */
	dev_t device;   /* of the root */
	struct fid **fids;
	unsigned fid_count;
	size_t xattr_bytes;

	/* The message that is served. */
	const struct iovec *request, *reply;
	unsigned request_count, reply_count;
	struct p9_reader in;
	struct p9_writer out;
	size_t data_bytes; /* of Rread, written to `reply` directly */
	uint8_t in_bytes[P9_LARGEST_MESSAGE], out_bytes[P9_LARGEST_MESSAGE];
	struct iovec pieces[IOV_MAX];
	char names[2][PATH_MAX]; /* that the message has in it */
	/* For getdents64(2). */
	_Alignas(struct dirent64) uint8_t entries[P9_LARGEST_MESSAGE];
};

/* --- fid.c --- */

/* NULL: there is none. */
struct fid *fid_find(struct p9_server *server, uint32_t number);
/* A new fid for the node, of which it gets a reference of its own. 0; -EBADF: the number is taken
 * or impossible; -ENFILE, -ENOMEM. */
int fid_add(struct p9_server *server, uint32_t number, uint32_t uid, struct node *node,
	struct fid **fid);
void fid_remove(struct p9_server *server, struct fid *fid);
void fid_remove_all(struct p9_server *server);
/* Room for a value of `size` bytes, all zero. 0, -ENOSPC or -ENOMEM. */
int fid_make_value(struct p9_server *server, struct fid *fid, size_t size);
/* The next field of the message is a fid. NULL: it is none of the client's. */
struct fid *fid_take(struct p9_server *server);

/* --- server.c --- */

/* The unique identification of an object (qid): its type, version, and number. */
void p9_put_qid(struct p9_server *server, const struct stat *status);
uint64_t p9_qid_path(const struct p9_server *server, dev_t device, ino_t inode);
/* The next field of the message is a name, into names[which]. 0; -EINVAL, -ENOENT, -ENAMETOOLONG:
 * nothing can have that name. */
int p9_take_name(struct p9_server *server, unsigned which);
/* `count` bytes of pieces from byte `offset` of them on, into server->pieces. Returns how many
 * there are. */
unsigned p9_cut(struct p9_server *server, const struct iovec *pieces, unsigned piece_count,
	size_t offset, size_t count);
/* The node as the client is to see it. 0 or -errno. */
int p9_status(struct p9_server *server, struct node *node, struct stat *status);

/* --- the operations: 0, and the reply has been put behind its header; or -errno --- */

/* names.c */
int p9_walk(struct p9_server *server);
int p9_mkdir(struct p9_server *server);
int p9_mknod(struct p9_server *server);
int p9_symlink(struct p9_server *server);
int p9_readlink(struct p9_server *server);
int p9_link(struct p9_server *server);
int p9_rename(struct p9_server *server);
int p9_renameat(struct p9_server *server);
int p9_unlinkat(struct p9_server *server);
int p9_remove(struct p9_server *server);
/* create.c */
int p9_lopen(struct p9_server *server);
int p9_lcreate(struct p9_server *server);
/* file.c */
int p9_read(struct p9_server *server);
int p9_write(struct p9_server *server);
int p9_fsync(struct p9_server *server);
int p9_statfs(struct p9_server *server);
int p9_lock(struct p9_server *server);
int p9_getlock(struct p9_server *server);
int p9_readdir(struct p9_server *server);
/* attributes.c */
int p9_getattr(struct p9_server *server);
int p9_setattr(struct p9_server *server);
int p9_xattrwalk(struct p9_server *server);
int p9_xattrcreate(struct p9_server *server);
/* Set the extended attribute that was written to a fid. */
int p9_xattr_commit(struct p9_server *server, struct fid *fid);

/* Of new objects. */
/* What the fid's user gets who makes one, with the group and mode that the message has. */
struct owner p9_new_owner(const struct fid *directory, uint32_t gid, uint32_t mode);
/* Something with that name has been made in the directory: give it its owner. The caller gets a
 * reference, and what the client sees. On failure it is removed again. */
int p9_finish_new(struct p9_server *server, struct node *directory, const char *name,
	const struct owner *owner, dev_t number, struct node **node, struct stat *status);

#endif
