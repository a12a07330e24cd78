/* The 9P server of shared directories: what it does for its client. */
#include "p9_client.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

/* --- the session --- */

static void test_version(void **state)
{
	assert_int_equal(version(1 << 30, "9P2000.L"), 0);
	assert_int_equal(p9_get32(&in), P9_LARGEST_MESSAGE);
	assert_int_equal(version(4095, "9P2000.L"), -EMSGSIZE);
	assert_int_equal(version(8192, "9P2000.u"), 0);
	assert_int_equal(p9_get32(&in), 8192);
	assert_int_equal(p9_get16(&in), strlen("unknown"));
	assert_int_equal(attach(ROOT_FID, 0), -EINVAL);
	/* It was without fids from the first of these on. */
	assert_int_equal(version(8192, "9P2000.L"), 0);
	assert_int_equal(walk(ROOT_FID, 1, NULL, NULL, NULL), -EBADF);
	assert_int_equal(call32(TAUTH, 1, 5), -EOPNOTSUPP);
	assert_int_equal(attach(UINT32_MAX, 0), -EBADF);
	assert_int_equal(attach(ROOT_FID, 0), 0);
	assert_int_equal(attach(ROOT_FID, 0), -EBADF);
	assert_int_equal(call32(TFLUSH, 1, 0), 0);
}

static void test_malformed(void **state)
{
	uint8_t small[10];
	struct iovec room = {small, sizeof(small)};

	/* Cut off, of no type, longer than it says, larger than agreed on. */
	begin(TWALK);
	p9_put16(&out, 0);
	assert_int_equal(call(), -EBADF);
	begin(TREAD);
	p9_put32(&out, ROOT_FID);
	assert_int_equal(call(), -EINVAL);
	begin(9);
	assert_int_equal(call(), -EOPNOTSUPP);
	begin(TCLUNK);
	out.size = MSIZE + 1;
	assert_int_equal(call(), -EINVAL);
	/* No room for an error, and no header. */
	assert_int_equal(p9_server_serve(server, &(struct iovec){message, 11}, 1, &room, 1), 0);
	assert_int_equal(p9_server_serve(server, &(struct iovec){message, 6}, 1,
				 &(struct iovec){reply, sizeof(reply)}, 1),
		0);
	/* A length of data that is not there. */
	assert_int_equal(walk(ROOT_FID, 1, NULL, NULL, NULL), 0);
	assert_int_equal(lcreate(1, "a", O_RDWR, 0644), 0);
	begin(TWRITE);
	p9_put32(&out, 1);
	p9_put64(&out, 0);
	p9_put32(&out, 100);
	p9_put32(&out, 0);
	assert_int_equal(call(), -EINVAL);
	assert_int_equal(read_at(1, 0, UINT32_MAX), 0);
	assert_int_equal(read_at(1, UINT64_MAX, 1), -EINVAL);
}

/* --- files --- */

static void test_contents(void **state)
{
	struct attributes attributes;

	assert_int_equal(walk(ROOT_FID, 1, NULL, NULL, NULL), 0);
	assert_int_equal(lcreate(1, "a", O_RDWR | O_CREAT, 0640), 0);
	assert_int_equal(write_at(1, 0, "hello"), 5);
	assert_int_equal(write_at(1, 1000000, "end"), 3);
	assert_int_equal(read_at(1, 999999, 100), 4);
	assert_memory_equal(in.at, "\0end", 4);
	assert_int_equal(getattr(1, &attributes), 0);
	assert_int_equal(attributes.mode, S_IFREG | 0640);
	assert_int_equal(attributes.size, 1000003);
	assert_int_equal(setattr(1, 8, 0, 0, 3, 0), 0);
	assert_contents(1, "hel");
	assert_int_equal(call32(TFSYNC, 2, 1, 1), 0);
	assert_int_equal(clunk(1), 0);
	/* It is there already: opened, but not with O_EXCL; truncated with O_TRUNC. */
	assert_int_equal(walk(ROOT_FID, 1, NULL, NULL, NULL), 0);
	assert_int_equal(lcreate(1, "a", O_RDWR | O_CREAT | O_EXCL, 0640), -EEXIST);
	assert_int_equal(lcreate(1, "a", O_WRONLY | O_CREAT | O_APPEND, 0640), 0);
	assert_int_equal(write_at(1, 0, "lo"), 2);
	assert_int_equal(read_at(1, 0, 10), -EBADF);
	assert_int_equal(clunk(1), 0);
	assert_int_equal(walk(ROOT_FID, 1, "a", NULL, NULL), 0);
	assert_int_equal(lopen(1, O_RDONLY), 0);
	assert_contents(1, "hello");
	assert_int_equal(lopen(1, O_RDONLY), -EBADF);
	assert_int_equal(walk(ROOT_FID, 2, "a", NULL, NULL), 0);
	assert_int_equal(lopen(2, O_WRONLY | O_TRUNC), 0);
	assert_int_equal(read_at(1, 0, 10), 0);
}

/* A message and a reply in many pieces. */
static void test_pieces(void **state)
{
	struct iovec pieces[40], to[40];
	uint8_t bytes[40];
	uint32_t size;

	assert_int_equal(walk(ROOT_FID, 1, NULL, NULL, NULL), 0);
	assert_int_equal(lcreate(1, "a", O_RDWR, 0640), 0);
	begin(TWRITE);
	p9_put32(&out, 1);
	p9_put64(&out, 0);
	p9_put32(&out, 3);
	p9_put_bytes(&out, "abc", 3);
	size = (uint32_t)out.size;
	memcpy(message, &size, 4);
	for (unsigned i = 0; i < 40; i++) {
		pieces[i] = (struct iovec){message + i, i < size};
		to[i] = (struct iovec){bytes + i, 1};
	}
	assert_int_equal(p9_server_serve(server, pieces, 40, to, 40), 11);
	begin(TREAD);
	p9_put32(&out, 1);
	p9_put64(&out, 1);
	p9_put32(&out, 30);
	size = (uint32_t)out.size;
	memcpy(message, &size, 4);
	assert_int_equal(p9_server_serve(server, pieces, size, to, 40), 13);
	assert_memory_equal(bytes + 11, "bc", 2);
}

static void test_times(void **state)
{
	struct stat status;

	host_file(host_path("a"), "text");
	assert_int_equal(walk(ROOT_FID, 1, "a", NULL, NULL), 0);
	/* With a new size: the time that is said is the last word. */
	assert_int_equal(setattr(1, 0x8 | 0x20 | 0x100, 0, 0, 2, 12345), 0);
	assert_int_equal(stat(host_path("a"), &status), 0);
	assert_int_equal(status.st_mtim.tv_sec, 12345);
	assert_int_equal(status.st_size, 2);
	assert_int_not_equal(status.st_atim.tv_sec, 0);
	assert_int_equal(setattr(1, 0x20, 0, 0, 0, 0), 0);
	assert_int_equal(stat(host_path("a"), &status), 0);
	assert_true(status.st_mtim.tv_sec > 12345);
	assert_int_equal(setattr(1, 0x1, 04711, 0, 0, 0), 0);
	assert_int_equal(stat(host_path("a"), &status), 0);
	assert_int_equal(status.st_mode, S_IFREG | 04711);
}

/* --- what was removed or moved, and is in use --- */

static void test_removed(void **state)
{
	struct attributes attributes;

	assert_int_equal(walk(ROOT_FID, 1, NULL, NULL, NULL), 0);
	assert_int_equal(lcreate(1, "a", O_RDWR, 0640), 0);
	assert_int_equal(walk(ROOT_FID, 2, "a", NULL, NULL), 0);
	assert_int_equal(unlink_at(ROOT_FID, "a", 0), 0);
	assert_int_equal(write_at(1, 0, "still"), 5);
	assert_contents(1, "still");
	assert_int_equal(getattr(2, &attributes), 0);
	assert_int_equal(attributes.links, 0);
	assert_int_equal(attributes.size, 5);
	assert_int_equal(walk(ROOT_FID, 3, "a", NULL, NULL), -ENOENT);
	assert_int_equal(link_at(ROOT_FID, 2, "b"), -ENOENT);
	assert_int_equal(call32(TREMOVE, 1, 2), -ENOENT);
	assert_int_equal(clunk(2), -EBADF);
	/* The name is another's now. */
	host_file(host_path("a"), "new");
	assert_int_equal(walk(ROOT_FID, 3, "a", NULL, NULL), 0);
	assert_int_equal(lopen(3, O_RDONLY), 0);
	assert_contents(3, "new");
	assert_contents(1, "still");
	assert_int_equal(call32(TREMOVE, 1, 3), 0);
	assert_int_equal(access(host_path("a"), F_OK), -1);
	assert_int_equal(call32(TREMOVE, 1, ROOT_FID), -EBUSY);
}

static void test_renamed(void **state)
{
	assert_int_equal(mkdir_at(ROOT_FID, "d"), 0);
	assert_int_equal(walk(ROOT_FID, 1, "d", NULL, NULL), 0);
	assert_int_equal(walk(1, 2, NULL, NULL, NULL), 0);
	assert_int_equal(lcreate(2, "a", O_RDWR, 0640), 0);
	assert_int_equal(write_at(2, 0, "first"), 5);
	host_file(host_path("b"), "second");
	assert_int_equal(walk(ROOT_FID, 3, "b", NULL, NULL), 0);
	assert_int_equal(lopen(3, O_RDONLY), 0);
	/* Over one that is open. */
	assert_int_equal(rename_at(1, "a", ROOT_FID, "b"), 0);
	assert_contents(3, "second");
	assert_contents(2, "first");
	/* A fid knows where its object is. */
	begin(TRENAME);
	p9_put32(&out, 2);
	p9_put32(&out, 1);
	put_name("c");
	assert_int_equal(call(), 0);
	assert_int_equal(access(host_path("d/c"), F_OK), 0);
	/* What lies below moves, too. */
	assert_int_equal(rename_at(ROOT_FID, "d", ROOT_FID, "e"), 0);
	assert_int_equal(walk(1, 4, "c", NULL, NULL), 0);
	assert_int_equal(call32(TREMOVE, 1, 2), 0);
	assert_int_equal(access(host_path("e/c"), F_OK), -1);
	assert_int_equal(unlink_at(ROOT_FID, "e", 0), -EISDIR);
	assert_int_equal(rename_at(ROOT_FID, "e", 1, "below"), -EINVAL);
	assert_int_equal(unlink_at(ROOT_FID, "e", 0x200), 0);
}

/* More fids than descriptors: what was closed is opened again, by where it is now. */
static void test_few_descriptors(void **state)
{
	char name[16];
	int fd;

	restart_server((struct p9_server_config){.most_fds = 32});
	assert_int_equal(mkdir_at(ROOT_FID, "d"), 0);
	assert_int_equal(walk(ROOT_FID, 1, "d", NULL, NULL), 0);
	for (uint32_t i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		assert_int_equal(walk(1, 10 + i, NULL, NULL, NULL), 0);
		assert_int_equal(lcreate(10 + i, name, O_RDWR, 0640), 0);
		assert_int_equal(write_at(10 + i, 0, name), strlen(name));
		assert_int_equal(walk(1, 1000 + i, name, NULL, NULL), 0);
	}
	fd = open("/dev/null", O_RDONLY);
	assert_in_range(fd, 3, 60);
	close(fd);
	assert_int_equal(rename_at(ROOT_FID, "d", ROOT_FID, "e"), 0);
	for (uint32_t i = 0; i < 200; i++) {
		struct attributes attributes;

		snprintf(name, sizeof(name), "file%u", i);
		assert_contents(10 + i, name);
		assert_int_equal(getattr(1000 + i, &attributes), 0);
		assert_int_equal(attributes.size, strlen(name));
	}
	/* Something else in its place is not it. */
	assert_int_equal(rename(host_path("e/file1"), host_path("e/other")), 0);
	host_file(host_path("e/file1"), "another");
	for (uint32_t i = 10; i < 60; i++)
		assert_int_equal(lopen(1000 + i, O_RDONLY), 0);
	assert_int_equal(lopen(1001, O_RDONLY), -ESTALE);
	/* What was removed while its descriptor was closed is kept. */
	for (uint32_t i = 190; i < 194; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		assert_int_equal(unlink_at(1, name, 0), 0);
	}
	for (uint32_t i = 60; i < 160; i++)
		assert_int_equal(lopen(1000 + i, O_RDONLY), 0);
	for (uint32_t i = 190; i < 194; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		assert_contents(10 + i, name);
	}
}

/* --- directories --- */

static void test_readdir(void **state)
{
	enum { ENTRIES = 3000 };
	static bool seen[ENTRIES];
	uint64_t cookie = 0;
	unsigned count = 0, number, dots = 0;
	uint32_t bytes, room = 100;
	char name[300];

	for (unsigned i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "entry%u", i);
		host_file(host_path(name), "");
	}
	assert_int_equal(walk(ROOT_FID, 1, NULL, NULL, NULL), 0);
	assert_int_equal(lopen(1, O_RDONLY | O_DIRECTORY), 0);
	for (;;) {
		begin(TREADDIR);
		p9_put32(&out, 1);
		p9_put64(&out, cookie);
		p9_put32(&out, room);
		assert_int_equal(call(), 0);
		bytes = p9_get32(&in);
		assert_true(bytes <= room);
		assert_int_equal(in.left, bytes);
		if (!bytes)
			break;
		while (in.left) {
			p9_get8(&in);
			p9_get32(&in);
			p9_get64(&in);
			cookie = p9_get64(&in);
			p9_get8(&in);
			p9_get_string(&in, name, sizeof(name));
			assert_false(in.bad);
			if (sscanf(name, "entry%u", &number) != 1) {
				dots++;
				continue;
			}
			assert_true(number < ENTRIES && !seen[number]);
			seen[number] = true;
			count++;
		}
		room = 60 + room * 7 % 5000;
	}
	assert_int_equal(count, ENTRIES);
	assert_int_equal(dots, 2);
	/* Too small for any entry. */
	begin(TREADDIR);
	p9_put32(&out, 1);
	p9_put64(&out, 0);
	p9_put32(&out, 20);
	assert_int_equal(call(), -EINVAL);
}

static void test_kinds(void **state)
{
	struct attributes attributes;

	assert_int_equal(symlink_at(ROOT_FID, "link", "../target"), 0);
	assert_int_equal(walk(ROOT_FID, 1, "link", NULL, NULL), 0);
	assert_int_equal(getattr(1, &attributes), 0);
	assert_true(S_ISLNK(attributes.mode));
	assert_int_equal(call32(TREADLINK, 1, 1), 0);
	assert_int_equal(p9_get16(&in), 9);
	assert_memory_equal(in.at, "../target", 9);
	assert_int_equal(call32(TREADLINK, 1, ROOT_FID), -EINVAL);
	assert_int_equal(lopen(1, O_RDONLY), -ELOOP);
	assert_int_equal(link_at(ROOT_FID, 1, "hard"), 0);
	assert_int_equal(getattr(1, &attributes), 0);
	assert_int_equal(attributes.links, 2);
	assert_int_equal(setattr(1, 0x20 | 0x100, 0, 0, 0, 99), 0);
	assert_int_equal(mknod_at(ROOT_FID, "fifo", S_IFIFO | 0600), 0);
	assert_int_equal(mknod_at(ROOT_FID, "directory", S_IFDIR | 0600), -EPERM);
	assert_int_equal(lopen(ROOT_FID, O_RDWR), -EISDIR);
	assert_int_equal(call32(TSTATFS, 1, 1), 0);
	assert_int_equal(p9_get32(&in), 0x01021997);
}

/* --- extended attributes --- */

static bool has_xattrs(void)
{
	return setxattr(root, "user.test", "", 0, 0) == 0 && removexattr(root, "user.test") == 0;
}

static void set_xattr(uint32_t fid, const char *name, const char *value, uint32_t flags, int result)
{
	assert_int_equal(walk(fid, 99, NULL, NULL, NULL), 0);
	assert_int_equal(xattr_create(99, name, strlen(value), flags), 0);
	if (*value)
		assert_int_equal(write_at(99, 0, value), strlen(value));
	assert_int_equal(clunk(99), result);
	assert_int_equal(clunk(99), -EBADF);
}

static void test_xattr(void **state)
{
	char list[64];

	if (!has_xattrs())
		skip();
	host_file(host_path("a"), "");
	assert_int_equal(walk(ROOT_FID, 1, "a", NULL, NULL), 0);
	set_xattr(1, "user.one", "value", 0, 0);
	set_xattr(1, "user.one", "value", XATTR_CREATE, -EEXIST);
	set_xattr(1, "user.empty", "", 0, 0);
	assert_int_equal(xattr_walk(1, 2, "user.one"), 0);
	assert_int_equal(p9_get64(&in), 5);
	assert_int_equal(read_at(2, 1, 100), 4);
	assert_memory_equal(in.at, "alue", 4);
	assert_int_equal(read_at(2, UINT64_MAX, 100), 0);
	assert_int_equal(clunk(2), 0);
	assert_int_equal(xattr_walk(1, 2, ""), 0);
	assert_int_equal(p9_get64(&in), sizeof("user.one") + sizeof("user.empty"));
	assert_int_equal(clunk(2), 0);
	/* Removed, as Linux asks for it. */
	set_xattr(1, "user.empty", "", XATTR_REPLACE, 0);
	assert_int_equal(listxattr(host_path("a"), list, sizeof(list)), sizeof("user.one"));
	assert_int_equal(xattr_walk(1, 2, "user.empty"), -ENODATA);
	/* Half a value; one too large; one past its size. */
	assert_int_equal(xattr_create(1, "user.two", 65537, 0), -E2BIG);
	assert_int_equal(xattr_create(1, "user.two", 5, 0), 0);
	assert_int_equal(write_at(1, 0, "123456"), -ENOSPC);
	assert_int_equal(write_at(1, 0, "1234"), 4);
	assert_int_equal(clunk(1), -EINVAL);
}

static void test_xattr_memory(void **state)
{
	uint32_t i;

	for (i = 0; i < 300; i++) {
		assert_int_equal(walk(ROOT_FID, 1 + i, NULL, NULL, NULL), 0);
		if (xattr_create(1 + i, "user.x", 65536, 0) == -ENOSPC)
			break;
	}
	assert_in_range(i, 200, 299);
	assert_int_equal(clunk(1), -EINVAL);
	assert_int_equal(xattr_create(1 + i, "user.x", 65536, 0), 0);
}

/* --- mapped owners, in the form that QEMU gives them --- */

static void test_mapped(void **state)
{
	struct attributes attributes;
	struct stat status;
	uint32_t value;
	uint64_t number;

	if (!has_xattrs())
		skip();
	restart_server((struct p9_server_config){.security = SHARE_MAPPED});
	assert_int_equal(attach(5, 1234), 0);
	assert_int_equal(walk(5, 1, NULL, NULL, NULL), 0);
	assert_int_equal(lcreate(1, "a", O_RDWR, 04755), 0);
	assert_int_equal(lstat(host_path("a"), &status), 0);
	assert_int_equal(status.st_mode, S_IFREG | 0600);
	assert_int_equal(getxattr(host_path("a"), "user.virtfs.uid", &value, 4), 4);
	assert_int_equal(value, 1234);
	assert_int_equal(getxattr(host_path("a"), "user.virtfs.mode", &value, 4), 4);
	assert_int_equal(value, S_IFREG | 04755);
	assert_int_equal(setattr(1, 7, 0600, 77, 0, 0), 0);
	assert_int_equal(getattr(1, &attributes), 0);
	assert_int_equal(attributes.mode, S_IFREG | 0600);
	assert_int_equal(attributes.uid, 77);
	assert_int_equal(attributes.gid, 77);
	/* They are not the client's to see or to set. */
	assert_int_equal(xattr_walk(1, 2, ""), 0);
	assert_int_equal(p9_get64(&in), 0);
	assert_int_equal(xattr_walk(1, 3, "user.virtfs.uid"), -ENODATA);
	assert_int_equal(clunk(1), 0);
	assert_int_equal(walk(5, 1, "a", NULL, NULL), 0);
	assert_int_equal(xattr_create(1, "user.virtfs.uid", 4, 0), -EPERM);
	/* Devices and links are files. */
	assert_int_equal(mknod_at(5, "device", S_IFCHR | 0620), 0);
	assert_int_equal(lstat(host_path("device"), &status), 0);
	assert_true(S_ISREG(status.st_mode));
	assert_int_equal(getxattr(host_path("device"), "user.virtfs.rdev", &number, 8), 8);
	assert_int_equal(number, makedev(5, 6));
	assert_int_equal(walk(5, 6, "device", NULL, NULL), 0);
	assert_int_equal(getattr(6, &attributes), 0);
	assert_int_equal(attributes.mode, S_IFCHR | 0620);
	assert_int_equal(attributes.device, makedev(5, 6));
	assert_int_equal(symlink_at(5, "link", "a/b"), 0);
	assert_int_equal(lstat(host_path("link"), &status), 0);
	assert_true(S_ISREG(status.st_mode));
	assert_int_equal(walk(5, 7, "link", NULL, NULL), 0);
	assert_int_equal(call32(TREADLINK, 1, 7), 0);
	assert_int_equal(p9_get16(&in), 3);
	assert_int_equal(mkdir_at(5, "d"), 0);
	assert_int_equal(lstat(host_path("d"), &status), 0);
	assert_int_equal(status.st_mode, S_IFDIR | 0700);
	/* A file says that it is a directory: it is none. */
	value = S_IFDIR | 0755;
	assert_int_equal(setxattr(host_path("a"), "user.virtfs.mode", &value, 4, 0), 0);
	assert_int_equal(walk(5, 8, "a", NULL, NULL), 0);
	assert_int_equal(getattr(8, &attributes), 0);
	assert_true(S_ISREG(attributes.mode));
	assert_int_equal(call32(TREADLINK, 1, 8), -EINVAL);
}

/* Who may not change owners can make files all the same with `none`, and not with `passthrough`. */
static void test_foreign_owner(void **state)
{
	bool allowed = getuid() == 0;

	assert_int_equal(attach(5, 4321), 0);
	assert_int_equal(mkdir_at(5, "none"), 0);
	restart_server((struct p9_server_config){.security = SHARE_PASSTHROUGH});
	assert_int_equal(attach(5, 4321), 0);
	assert_int_equal(mkdir_at(5, "passthrough"), allowed ? 0 : -EPERM);
	assert_int_equal(access(host_path("passthrough"), F_OK), allowed ? 0 : -1);
}

/* --- read-only --- */

static void test_read_only(void **state)
{
	host_file(host_path("a"), "text");
	restart_server((struct p9_server_config){.read_only = true});
	assert_int_equal(walk(ROOT_FID, 1, "a", NULL, NULL), 0);
	assert_int_equal(lopen(1, O_RDWR), -EROFS);
	assert_int_equal(lopen(1, O_RDONLY | O_TRUNC), -EROFS);
	assert_int_equal(mkdir_at(ROOT_FID, "b"), -EROFS);
	assert_int_equal(mknod_at(ROOT_FID, "b", S_IFREG), -EROFS);
	assert_int_equal(symlink_at(ROOT_FID, "b", "c"), -EROFS);
	assert_int_equal(link_at(ROOT_FID, 1, "b"), -EROFS);
	assert_int_equal(unlink_at(ROOT_FID, "a", 0), -EROFS);
	assert_int_equal(rename_at(ROOT_FID, "a", ROOT_FID, "b"), -EROFS);
	assert_int_equal(setattr(1, 1, 0600, 0, 0, 0), -EROFS);
	assert_int_equal(xattr_create(1, "user.x", 0, 0), -EROFS);
	assert_int_equal(walk(ROOT_FID, 2, NULL, NULL, NULL), 0);
	assert_int_equal(lcreate(2, "b", O_RDONLY | O_CREAT, 0644), -EROFS);
	assert_int_equal(lcreate(2, "a", O_RDONLY | O_CREAT, 0644), 0);
	assert_contents(2, "text");
	assert_int_equal(call32(TREMOVE, 1, 1), -EROFS);
	assert_int_equal(access(host_path("a"), F_OK), 0);
}

/* What has been written is on the disk; that it is there can be seen here. */
static void test_sync(void **state)
{
	restart_server((struct p9_server_config){.sync = true});
	assert_int_equal(walk(ROOT_FID, 1, NULL, NULL, NULL), 0);
	assert_int_equal(lcreate(1, "a", O_RDWR | O_CREAT, 0640), 0);
	assert_int_equal(write_at(1, 0, "hello"), 5);
	assert_contents(1, "hello");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_version),
		TEST(test_malformed),
		TEST(test_contents),
		TEST(test_pieces),
		TEST(test_times),
		TEST(test_removed),
		TEST(test_renamed),
		TEST(test_few_descriptors),
		TEST(test_readdir),
		TEST(test_kinds),
		TEST(test_xattr),
		TEST(test_xattr_memory),
		TEST(test_mapped),
		TEST(test_foreign_owner),
		TEST(test_read_only),
		TEST(test_sync),
	};

	umask(0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
