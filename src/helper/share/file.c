/* What is done with an open file or directory. */
#include "helper/share/internal.h"

#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

/* V9FS_MAGIC: it is no local file system, so nobody is to count on inotify(7). */
#define P9_MAGIC        0x01021997
#define LOCK_SUCCESS    0 /* P9_LOCK_SUCCESS */
#define LOCK_TYPE_UNLCK 2
#define ENTRY_HEAD      (P9_QID + 8 + 1 + 2) /* of an entry, before its name */
#define LEAST_ENTRIES   1024                 /* bytes: room for any one of the host's */

/* --- contents --- */

static int read_value(
	struct p9_server *server, const struct fid *fid, uint64_t offset, size_t count)
{
	size_t left = offset < fid->value_size ? fid->value_size - (size_t)offset : 0;

	count = MIN(count, left);
	p9_put32(&server->out, (uint32_t)count);
	if (count)
		p9_put_bytes(&server->out, fid->value + offset, count);
	return 0;
}

/* From the file right into the client's memory. */
static int read_file(struct p9_server *server, struct fid *fid, uint64_t offset, size_t count)
{
	int fd = tree_file_fd(server->tree, &fid->file);
	unsigned pieces;
	ssize_t got;

	if (fd < 0)
		return fd;
	pieces = p9_cut(server, server->reply, server->reply_count, P9_READ_HEAD, count);
	got = preadv(fd, server->pieces, (int)pieces, (off_t)offset);
	if (got < 0)
		return -errno;
	p9_put32(&server->out, (uint32_t)got);
	server->data_bytes = (size_t)got;
	return 0;
}

int p9_read(struct p9_server *server)
{
	struct fid *fid = fid_take(server);
	uint64_t offset = p9_get64(&server->in);
	size_t count = p9_get32(&server->in);

	if (!fid)
		return -EBADF;
	if (server->in.bad || server->out.limit < P9_READ_HEAD)
		return -EINVAL;
	count = MIN(count, server->out.limit - P9_READ_HEAD);
	if (fid->use == FID_XATTR_READ)
		return read_value(server, fid, offset, count);
	return fid->use == FID_FILE ? read_file(server, fid, offset, count) : -EBADF;
}

static int write_value(struct p9_server *server, struct fid *fid, uint64_t offset, size_t count)
{
	unsigned pieces =
		p9_cut(server, server->request, server->request_count, P9_WRITE_HEAD, count);

	if (offset != fid->value_written || count > fid->value_size - fid->value_written)
		return -ENOSPC;
	for (unsigned i = 0; i < pieces; i++) {
		memcpy(fid->value + fid->value_written, server->pieces[i].iov_base,
			server->pieces[i].iov_len);
		fid->value_written += (uint32_t)server->pieces[i].iov_len;
	}
	p9_put32(&server->out, (uint32_t)count);
	return 0;
}

static int write_file(struct p9_server *server, struct fid *fid, uint64_t offset, size_t count)
{
	int fd = tree_file_fd(server->tree, &fid->file);
	unsigned pieces;
	ssize_t put;

	if (fd < 0)
		return fd;
	pieces = p9_cut(server, server->request, server->request_count, P9_WRITE_HEAD, count);
	put = pwritev2(
		fd, server->pieces, (int)pieces, (off_t)offset, server->sync ? RWF_DSYNC : 0);
	if (put < 0)
		return -errno;
	p9_put32(&server->out, (uint32_t)put);
	return 0;
}

int p9_write(struct p9_server *server)
{
	struct fid *fid = fid_take(server);
	uint64_t offset = p9_get64(&server->in);
	size_t count = p9_get32(&server->in), bytes = 0;

	if (!fid)
		return -EBADF;
	for (unsigned i = 0; i < server->request_count; i++)
		bytes += server->request[i].iov_len;
	if (server->in.bad || bytes < P9_WRITE_HEAD || count > bytes - P9_WRITE_HEAD ||
		count > server->msize - P9_WRITE_HEAD)
		return -EINVAL;
	if (fid->use == FID_XATTR_WRITE)
		return write_value(server, fid, offset, count);
	return fid->use == FID_FILE ? write_file(server, fid, offset, count) : -EBADF;
}

int p9_fsync(struct p9_server *server)
{
	struct fid *fid = fid_take(server);
	/* Old clients do not say. */
	bool data_only = server->in.left >= 4 && p9_get32(&server->in);
	int fd;

	if (!fid || (fid->use != FID_FILE && fid->use != FID_DIRECTORY))
		return -EBADF;
	fd = tree_file_fd(server->tree, &fid->file);
	if (fd < 0)
		return fd;
	return (data_only ? fdatasync(fd) : fsync(fd)) < 0 ? -errno : 0;
}

int p9_statfs(struct p9_server *server)
{
	struct fid *fid = fid_take(server);
	struct statfs status;
	uint64_t id;
	int path;

	if (!fid)
		return -EBADF;
	path = tree_node_fd(server->tree, fid->node);
	if (path < 0)
		return path;
	if (fstatfs(path, &status) < 0)
		return -errno;
	memcpy(&id, &status.f_fsid, sizeof(id));
	p9_put32(&server->out, P9_MAGIC);
	p9_put32(&server->out, (uint32_t)status.f_bsize);
	p9_put64(&server->out, status.f_blocks);
	p9_put64(&server->out, status.f_bfree);
	p9_put64(&server->out, status.f_bavail);
	p9_put64(&server->out, status.f_files);
	p9_put64(&server->out, status.f_ffree);
	p9_put64(&server->out, id);
	p9_put32(&server->out, (uint32_t)status.f_namelen);
	return 0;
}

/* --- locks ---
 *
 * Linux takes a lock among its own processes first, and then asks here, where there is nobody else
 * to ask: a lock holds within a guest, and means nothing to the host or to other guests. */

int p9_lock(struct p9_server *server)
{
	struct fid *fid = fid_take(server);

	if (!fid || fid->use != FID_FILE)
		return -EBADF;
	p9_put8(&server->out, LOCK_SUCCESS);
	return 0;
}

int p9_getlock(struct p9_server *server)
{
	struct fid *fid = fid_take(server);
	uint64_t start, length;
	uint32_t process;

	p9_get8(&server->in);
	start = p9_get64(&server->in);
	length = p9_get64(&server->in);
	process = p9_get32(&server->in);
	p9_get_string(&server->in, server->names[0], sizeof(server->names[0]));
	if (!fid || fid->use != FID_FILE)
		return -EBADF;
	p9_put8(&server->out, LOCK_TYPE_UNLCK);
	p9_put64(&server->out, start);
	p9_put64(&server->out, length);
	p9_put32(&server->out, process);
	p9_put_string(&server->out, server->names[0], strlen(server->names[0]));
	return 0;
}

/* --- directories --- */

/* What is above the root is not the client's affair. */
static ino_t entry_inode(
	struct p9_server *server, const struct fid *fid, const struct dirent64 *entry)
{
	if (fid->node == tree_root(server->tree) && strcmp(entry->d_name, "..") == 0)
		return fid->node->inode;
	return entry->d_ino;
}

static bool put_entry(
	struct p9_server *server, const struct fid *fid, const struct dirent64 *entry, size_t limit)
{
	size_t length = strlen(entry->d_name);
	uint8_t type = server->security == SHARE_MAPPED ? DT_UNKNOWN : entry->d_type;

	if (limit - server->out.size < ENTRY_HEAD + length)
		return false;
	p9_put8(&server->out, entry->d_type == DT_DIR ? 0x80 : entry->d_type == DT_LNK ? 0x02 : 0);
	p9_put32(&server->out, 0);
	p9_put64(&server->out,
		p9_qid_path(server, fid->node->device, entry_inode(server, fid, entry)));
	p9_put64(&server->out, (uint64_t)entry->d_off);
	p9_put8(&server->out, type);
	p9_put_string(&server->out, entry->d_name, length);
	return true;
}

/* Put entries from server->entries into the reply, as many as there is room for. */
static void put_entries(struct p9_server *server, struct fid *fid, size_t bytes, size_t limit)
{
	const struct dirent64 *entry;

	for (size_t at = 0; at < bytes; at += entry->d_reclen) {
		entry = (const struct dirent64 *)(server->entries + at);
		if (!put_entry(server, fid, entry, limit)) {
			/* The descriptor has gone on, and must come back. */
			fid->position = -1;
			return;
		}
		fid->position = entry->d_off;
	}
}

/* The offset is the cookie of the entry after which to go on: the host's own. */
int p9_readdir(struct p9_server *server)
{
	struct fid *fid = fid_take(server);
	int64_t offset = (int64_t)p9_get64(&server->in);
	size_t count = p9_get32(&server->in), start = server->out.size, limit, room;
	ssize_t got;
	int fd;

	if (!fid || fid->use != FID_DIRECTORY)
		return -EBADF;
	if (server->in.bad || server->out.limit < start + 4)
		return -EINVAL;
	count = MIN(count, server->out.limit - start - 4);
	if (fid->file.open.fd < 0)
		fid->position = -1;
	fd = tree_file_fd(server->tree, &fid->file);
	if (fd < 0)
		return fd;
	/* Offset 0 reads a directory anew, with what has been made since. */
	if ((offset != fid->position || !offset) && lseek(fd, offset, SEEK_SET) < 0)
		return -errno;
	/* An entry of the reply is at most 7/6 of the host's. */
	room = MAX(count / 7 * 6, LEAST_ENTRIES);
	got = syscall(SYS_getdents64, fd, server->entries, MIN(room, sizeof(server->entries)));
	if (got < 0)
		return -errno;
	p9_put32(&server->out, 0);
	limit = start + 4 + count;
	fid->position = offset;
	put_entries(server, fid, (size_t)got, limit);
	if (got && server->out.size == start + 4)
		return -EINVAL; /* not one fits */
	count = server->out.size - start - 4;
	server->out.size = start;
	p9_put32(&server->out, (uint32_t)count);
	server->out.size += count;
	return 0;
}
