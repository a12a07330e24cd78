#include "helper/share/internal.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>

#define NO_TAG       UINT16_MAX
#define VERSION      "9P2000.L"
#define QID_DIR      0x80
#define QID_LINK     0x02
#define ERROR_LENGTH (P9_HEADER + 4)

/* --- pieces --- */

unsigned p9_cut(struct p9_server *server, const struct iovec *pieces, unsigned piece_count,
	size_t offset, size_t count)
{
	unsigned found = 0;

	for (unsigned i = 0; i < piece_count && count && found < IOV_MAX; i++) {
		size_t length = pieces[i].iov_len;

		if (offset >= length) {
			offset -= length;
			continue;
		}
		length = MIN(length - offset, count);
		server->pieces[found++] =
			(struct iovec){(uint8_t *)pieces[i].iov_base + offset, length};
		count -= length;
		offset = 0;
	}
	return found;
}

static size_t total(const struct iovec *pieces, unsigned count)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < count; i++)
		bytes += pieces[i].iov_len;
	return bytes;
}

/* Copy the first `size` bytes of the request. It has as many. */
static void copy_request(struct p9_server *server, size_t size)
{
	unsigned count = p9_cut(server, server->request, server->request_count, 0, size);
	uint8_t *to = server->in_bytes;

	for (unsigned i = 0; i < count; i++) {
		memcpy(to, server->pieces[i].iov_base, server->pieces[i].iov_len);
		to += server->pieces[i].iov_len;
	}
}

static void copy_reply(struct p9_server *server, size_t size)
{
	unsigned count = p9_cut(server, server->reply, server->reply_count, 0, size);
	const uint8_t *from = server->out_bytes;

	for (unsigned i = 0; i < count; i++) {
		memcpy(server->pieces[i].iov_base, from, server->pieces[i].iov_len);
		from += server->pieces[i].iov_len;
	}
}

/* --- what the operations have in common --- */

/* Of another file system within the tree the number is made from both. */
uint64_t p9_qid_path(const struct p9_server *server, dev_t device, ino_t inode)
{
	if (device == server->device)
		return inode;
	return inode ^ ((uint64_t)device + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

void p9_put_qid(struct p9_server *server, const struct stat *status)
{
	/* It changes whenever the contents do: caches of clients compare it. */
	uint32_t version = (uint32_t)((uint64_t)status->st_mtim.tv_sec * 1000000000u +
				      (uint64_t)status->st_mtim.tv_nsec) ^
			   (uint32_t)status->st_size << 8;

	p9_put8(&server->out, S_ISDIR(status->st_mode)   ? QID_DIR
			      : S_ISLNK(status->st_mode) ? QID_LINK
							 : 0);
	p9_put32(&server->out, version);
	p9_put64(&server->out, p9_qid_path(server, status->st_dev, status->st_ino));
}

int p9_take_name(struct p9_server *server, unsigned which)
{
	char *name = server->names[which];

	p9_get_string(&server->in, name, sizeof(server->names[which]));
	if (server->in.bad)
		return -EINVAL;
	if (strlen(name) > TREE_NAME_MAX)
		return -ENAMETOOLONG;
	return tree_name_is_good(name) ? 0 : strcmp(name, "..") && name[0] ? -ENOENT : -EINVAL;
}

int p9_status(struct p9_server *server, struct node *node, struct stat *status)
{
	int path = tree_node_fd(server->tree, node);

	if (path < 0)
		return path;
	if (fstat(path, status) < 0)
		return -errno;
	owner_see(server->security, path, status);
	return 0;
}

/* --- the session --- */

static int version(struct p9_server *server)
{
	uint32_t msize = p9_get32(&server->in);
	char *name = server->names[0];

	p9_get_string(&server->in, name, sizeof(server->names[0]));
	if (server->in.bad)
		return -EINVAL;
	if (msize < P9_SMALLEST)
		return -EMSGSIZE;
	fid_remove_all(server);
	server->msize = 0;
	msize = MIN(msize, P9_LARGEST_MESSAGE);
	p9_put32(&server->out, msize);
	if (strcmp(name, VERSION) == 0) {
		server->msize = msize;
		p9_put_string(&server->out, name, strlen(name));
	} else {
		p9_put_string(&server->out, "unknown", strlen("unknown"));
	}
	return 0;
}

/* There is nothing to prove: who reaches this server may use it. */
static int auth(struct p9_server *server)
{
	return -EOPNOTSUPP;
}

static int attach(struct p9_server *server)
{
	uint32_t number = p9_get32(&server->in);
	struct stat status;
	struct fid *fid;
	int error;

	p9_get32(&server->in); /* afid: nobody has one */
	p9_get_string(&server->in, server->names[0], sizeof(server->names[0]));
	p9_get_string(&server->in, server->names[1], sizeof(server->names[1]));
	error = p9_status(server, tree_root(server->tree), &status);
	if (!error)
		error = server->in.bad ? -EINVAL
				       : fid_add(server, number, p9_get32(&server->in),
						 tree_root(server->tree), &fid);
	if (!error)
		p9_put_qid(server, &status);
	return error;
}

/* Each message is answered before the next is looked at: what is to be flushed has been. */
static int flush(struct p9_server *server)
{
	return 0;
}

static int clunk(struct p9_server *server)
{
	struct fid *fid = fid_take(server);
	int error;

	if (!fid)
		return -EBADF;
	error = fid->use == FID_XATTR_WRITE ? p9_xattr_commit(server, fid) : 0;
	fid_remove(server, fid);
	return error;
}

/* --- messages --- */

/* By the type of the request; the reply's is one more. */
static const struct operation {
	int (*serve)(struct p9_server *server);
	bool changes; /* the tree, always */
} operations[256] = {
	[8] = {p9_statfs, false},
	[12] = {p9_lopen, false},
	[14] = {p9_lcreate, false},
	[16] = {p9_symlink, true},
	[18] = {p9_mknod, true},
	[20] = {p9_rename, true},
	[22] = {p9_readlink, false},
	[24] = {p9_getattr, false},
	[26] = {p9_setattr, true},
	[30] = {p9_xattrwalk, false},
	[32] = {p9_xattrcreate, true},
	[40] = {p9_readdir, false},
	[50] = {p9_fsync, false},
	[52] = {p9_lock, false},
	[54] = {p9_getlock, false},
	[70] = {p9_link, true},
	[72] = {p9_mkdir, true},
	[74] = {p9_renameat, true},
	[76] = {p9_unlinkat, true},
	[100] = {version, false},
	[102] = {auth, false},
	[104] = {attach, false},
	[108] = {flush, false},
	[110] = {p9_walk, false},
	[116] = {p9_read, false},
	[118] = {p9_write, false},
	[120] = {clunk, false},
	[122] = {p9_remove, false},
};

#define TYPE_VERSION 100
#define TYPE_WRITE   118
#define TYPE_RLERROR 7

/* Read the header, check it, and copy the message: of Twrite without its data. 0 or -errno. */
static int take_message(struct p9_server *server, uint8_t *type, uint16_t *tag)
{
	size_t bytes = total(server->request, server->request_count);
	uint32_t size;

	copy_request(server, P9_HEADER);
	server->in = (struct p9_reader){.at = server->in_bytes, .left = P9_HEADER};
	size = p9_get32(&server->in);
	*type = p9_get8(&server->in);
	*tag = p9_get16(&server->in);
	if (size < P9_HEADER || size > bytes ||
		size > (server->msize ? server->msize : P9_SMALLEST))
		return -EINVAL;
	if (*type == TYPE_WRITE)
		size = MIN(size, P9_WRITE_HEAD);
	copy_request(server, size);
	server->in.left = size - P9_HEADER;
	return 0;
}

static int serve_operation(struct p9_server *server, uint8_t type)
{
	const struct operation *operation = &operations[type];
	int error;

	if (!operation->serve)
		return -EOPNOTSUPP;
	if (!server->msize && type != TYPE_VERSION)
		return -EINVAL;
	if (operation->changes && server->read_only)
		return -EROFS;
	error = operation->serve(server);
	if (!error && server->in.bad)
		error = -EINVAL;
	return !error && server->out.full ? -EMSGSIZE : error;
}

static void put_header(struct p9_server *server, size_t size, uint8_t type, uint16_t tag)
{
	server->out.size = 0;
	p9_put32(&server->out, (uint32_t)size);
	p9_put8(&server->out, type);
	p9_put16(&server->out, tag);
}

size_t p9_server_serve(struct p9_server *server, const struct iovec *request,
	unsigned request_count, const struct iovec *reply, unsigned reply_count)
{
	size_t room = total(reply, reply_count), size;
	uint8_t type;
	uint16_t tag;
	int error;

	server->request = request;
	server->request_count = request_count;
	server->reply = reply;
	server->reply_count = reply_count;
	server->data_bytes = 0;
	if (total(request, request_count) < P9_HEADER || room < ERROR_LENGTH)
		return 0;
	error = take_message(server, &type, &tag);
	room = MIN(room, server->msize ? server->msize : P9_SMALLEST);
	server->out =
		(struct p9_writer){.bytes = server->out_bytes, .size = P9_HEADER, .limit = room};
	if (!error)
		error = serve_operation(server, type);
	size = server->out.size;
	if (error) {
		server->data_bytes = 0;
		server->out.full = false;
		size = ERROR_LENGTH;
		type = TYPE_RLERROR - 1;
	}
	put_header(server, size + server->data_bytes, (uint8_t)(type + 1), tag);
	if (error)
		p9_put32(&server->out, (uint32_t)-error);
	copy_reply(server, size);
	return size + server->data_bytes;
}

/* --- the server --- */

struct p9_server *p9_server_create(const struct p9_server_config *config)
{
	struct p9_server *server = calloc(1, sizeof(*server));
	struct stat status;

	if (!server)
		return NULL;
	server->read_only = config->read_only;
	server->sync = config->sync;
	server->security = config->security;
	server->tree = tree_create(config->root, config->most_fds);
	if (!server->tree || p9_status(server, tree_root(server->tree), &status) < 0) {
		free(server);
		return NULL;
	}
	server->device = status.st_dev;
	return server;
}

void p9_server_reset(struct p9_server *server)
{
	fid_remove_all(server);
	server->msize = 0;
}

void p9_server_destroy(struct p9_server *server)
{
	fid_remove_all(server);
	tree_destroy(server->tree);
	free(server->fids);
	free(server);
}
