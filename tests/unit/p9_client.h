/* A 9P client for tests: makes messages, has a server in this process serve them, and reads its
 * replies. The shared directory is a new one, root/ within a temporary directory. */
#ifndef VENEER_TESTS_P9_CLIENT_H
#define VENEER_TESTS_P9_CLIENT_H

#include "helper/share/message.h"
#include "helper/share/server.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum p9_type {
	TSTATFS = 8,
	TLOPEN = 12,
	TLCREATE = 14,
	TSYMLINK = 16,
	TMKNOD = 18,
	TRENAME = 20,
	TREADLINK = 22,
	TGETATTR = 24,
	TSETATTR = 26,
	TXATTRWALK = 30,
	TXATTRCREATE = 32,
	TREADDIR = 40,
	TFSYNC = 50,
	TLOCK = 52,
	TGETLOCK = 54,
	TLINK = 70,
	TMKDIR = 72,
	TRENAMEAT = 74,
	TUNLINKAT = 76,
	TVERSION = 100,
	TAUTH = 102,
	TATTACH = 104,
	TFLUSH = 108,
	TWALK = 110,
	TREAD = 116,
	TWRITE = 118,
	TCLUNK = 120,
	TREMOVE = 122,
};

#define ROOT_FID 0
#define MSIZE    65536

static struct p9_server *server;
static char top[64], root[80]; /* root is in top */
static uint8_t message[MSIZE + 64], reply[MSIZE];
static struct p9_writer out;
static struct p9_reader in;

/* --- messages --- */

static inline void begin(enum p9_type type)
{
	out = (struct p9_writer){.bytes = message, .limit = sizeof(message)};
	p9_put32(&out, 0);
	p9_put8(&out, (uint8_t)type);
	p9_put16(&out, 7);
}

static inline void put_name(const char *name)
{
	p9_put_string(&out, name, strlen(name));
}

/* Serve it: 0, and `in` has what is behind the reply's header; or -errno. */
static inline int call(void)
{
	uint32_t size = (uint32_t)out.size;
	uint8_t type, asked = message[4];
	size_t got;

	memcpy(message, &size, sizeof(size));
	got = p9_server_serve(server, &(struct iovec){message, out.size}, 1,
		&(struct iovec){reply, sizeof(reply)}, 1);
	in = (struct p9_reader){.at = reply, .left = got};
	assert_int_equal(p9_get32(&in), got);
	type = p9_get8(&in);
	assert_int_equal(p9_get16(&in), 7);
	if (type == 7)
		return -(int)p9_get32(&in);
	assert_int_equal(type, asked + 1);
	return 0;
}

/* A message of one fid and numbers of 32 bits. */
static inline int call32(enum p9_type type, unsigned count, ...)
{
	va_list numbers;

	begin(type);
	va_start(numbers, count);
	while (count--)
		p9_put32(&out, va_arg(numbers, uint32_t));
	va_end(numbers);
	return call();
}

static inline int clunk(uint32_t fid)
{
	return call32(TCLUNK, 1, fid);
}

static inline int version(uint32_t msize, const char *name)
{
	begin(TVERSION);
	p9_put32(&out, msize);
	put_name(name);
	return call();
}

static inline int attach(uint32_t fid, uint32_t uid)
{
	begin(TATTACH);
	p9_put32(&out, fid);
	p9_put32(&out, UINT32_MAX);
	put_name("");
	put_name("/any");
	p9_put32(&out, uid);
	return call();
}

/* Up to three names, ended by NULL. */
static inline int walk(uint32_t fid, uint32_t new_fid, const char *a, const char *b, const char *c)
{
	const char *const names[] = {a, b, c, NULL};
	uint16_t count = 0;

	while (names[count])
		count++;
	begin(TWALK);
	p9_put32(&out, fid);
	p9_put32(&out, new_fid);
	p9_put16(&out, count);
	for (unsigned i = 0; i < count; i++)
		put_name(names[i]);
	return call();
}

static inline int lopen(uint32_t fid, uint32_t flags)
{
	return call32(TLOPEN, 2, fid, flags);
}

static inline int lcreate(uint32_t fid, const char *name, uint32_t flags, uint32_t mode)
{
	begin(TLCREATE);
	p9_put32(&out, fid);
	put_name(name);
	p9_put32(&out, flags);
	p9_put32(&out, mode);
	p9_put32(&out, getgid());
	return call();
}

static inline int mkdir_at(uint32_t fid, const char *name)
{
	begin(TMKDIR);
	p9_put32(&out, fid);
	put_name(name);
	p9_put32(&out, 0755);
	p9_put32(&out, getgid());
	return call();
}

static inline int mknod_at(uint32_t fid, const char *name, uint32_t mode)
{
	begin(TMKNOD);
	p9_put32(&out, fid);
	put_name(name);
	p9_put32(&out, mode);
	p9_put32(&out, 5);
	p9_put32(&out, 6);
	p9_put32(&out, getgid());
	return call();
}

static inline int symlink_at(uint32_t fid, const char *name, const char *target)
{
	begin(TSYMLINK);
	p9_put32(&out, fid);
	put_name(name);
	put_name(target);
	p9_put32(&out, getgid());
	return call();
}

static inline int unlink_at(uint32_t fid, const char *name, uint32_t flags)
{
	begin(TUNLINKAT);
	p9_put32(&out, fid);
	put_name(name);
	p9_put32(&out, flags);
	return call();
}

static inline int rename_at(uint32_t from, const char *name, uint32_t to, const char *new_name)
{
	begin(TRENAMEAT);
	p9_put32(&out, from);
	put_name(name);
	p9_put32(&out, to);
	put_name(new_name);
	return call();
}

static inline int link_at(uint32_t directory, uint32_t fid, const char *name)
{
	begin(TLINK);
	p9_put32(&out, directory);
	p9_put32(&out, fid);
	put_name(name);
	return call();
}

/* Bytes written, or -errno. */
static inline int write_at(uint32_t fid, uint64_t offset, const char *text)
{
	int error;

	begin(TWRITE);
	p9_put32(&out, fid);
	p9_put64(&out, offset);
	p9_put32(&out, (uint32_t)strlen(text));
	p9_put_bytes(&out, text, strlen(text));
	error = call();
	return error ? error : (int)p9_get32(&in);
}

/* Bytes read, to which in.at points, or -errno. */
static inline int read_at(uint32_t fid, uint64_t offset, uint32_t count)
{
	int error;

	begin(TREAD);
	p9_put32(&out, fid);
	p9_put64(&out, offset);
	p9_put32(&out, count);
	error = call();
	return error ? error : (int)p9_get32(&in);
}

static inline void assert_contents(uint32_t fid, const char *text)
{
	assert_int_equal(read_at(fid, 0, 4096), strlen(text));
	assert_memory_equal(in.at, text, strlen(text));
}

struct attributes {
	uint32_t mode, uid, gid;
	uint64_t links, device, size;
};

static inline int getattr(uint32_t fid, struct attributes *attributes)
{
	int error;

	begin(TGETATTR);
	p9_put32(&out, fid);
	p9_put64(&out, 0x7ff);
	error = call();
	if (error)
		return error;
	p9_get64(&in);
	p9_get64(&in); /* the qid: 13 bytes */
	p9_get32(&in);
	p9_get8(&in);
	*attributes = (struct attributes){.mode = p9_get32(&in)};
	attributes->uid = p9_get32(&in);
	attributes->gid = p9_get32(&in);
	attributes->links = p9_get64(&in);
	attributes->device = p9_get64(&in);
	attributes->size = p9_get64(&in);
	return 0;
}

static inline int setattr(
	uint32_t fid, uint32_t valid, uint32_t mode, uint32_t uid, uint64_t size, uint64_t mtime)
{
	begin(TSETATTR);
	p9_put32(&out, fid);
	p9_put32(&out, valid);
	p9_put32(&out, mode);
	p9_put32(&out, uid);
	p9_put32(&out, uid);
	p9_put64(&out, size);
	p9_put64(&out, 0);
	p9_put64(&out, 0);
	p9_put64(&out, mtime);
	p9_put64(&out, 0);
	return call();
}

static inline int xattr_walk(uint32_t fid, uint32_t new_fid, const char *name)
{
	begin(TXATTRWALK);
	p9_put32(&out, fid);
	p9_put32(&out, new_fid);
	put_name(name);
	return call();
}

static inline int xattr_create(uint32_t fid, const char *name, uint64_t size, uint32_t flags)
{
	begin(TXATTRCREATE);
	p9_put32(&out, fid);
	put_name(name);
	p9_put64(&out, size);
	p9_put32(&out, flags);
	return call();
}

/* --- the host's side --- */

static inline const char *host_path(const char *name)
{
	static char paths[4][512];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
	return path;
}

static inline void host_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* --- server and directory --- */

static inline void start_server(struct p9_server_config config)
{
	if (!config.most_fds)
		config.most_fds = 64;
	config.root = open(root, O_RDONLY | O_DIRECTORY);
	assert_true(config.root >= 0);
	server = p9_server_create(&config);
	assert_non_null(server);
	assert_int_equal(version(MSIZE, "9P2000.L"), 0);
	assert_int_equal(attach(ROOT_FID, getuid()), 0);
}

static inline void restart_server(struct p9_server_config config)
{
	p9_server_destroy(server);
	start_server(config);
}

static inline int setup(void **state)
{
	strcpy(top, "/tmp/veneer-p9-XXXXXX");
	if (!mkdtemp(top))
		return -1;
	snprintf(root, sizeof(root), "%s/root", top);
	if (mkdir(root, 0755) < 0)
		return -1;
	start_server((struct p9_server_config){0});
	return 0;
}

static inline int remove_one(
	const char *path, const struct stat *status, int type, struct FTW *place)
{
	return remove(path);
}

static inline int teardown(void **state)
{
	p9_server_destroy(server);
	return nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
