/* The 9P server of shared directories: nothing leads out of the tree, whatever names a client makes
 * up and whatever is exchanged under the server's feet. */
#include "p9_client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include <linux/fs.h>

/* --- names --- */

static void test_hostile_names(void **state)
{
	static char longest[300];
	const char *const names[] = {"", ".", "..", "/", "a/b", "../outside", "/etc", longest};

	host_file(host_path("file"), "text");
	assert_int_equal(mkdir_at(ROOT_FID, "d"), 0);
	assert_int_equal(walk(ROOT_FID, 1, "file", NULL, NULL), 0);
	assert_int_equal(walk(ROOT_FID, 2, "d", NULL, NULL), 0);
	memset(longest, 'x', 256);
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const char *name = names[i];

		if (strcmp(name, "..") != 0)
			assert_true(walk(2, 3, name, NULL, NULL) < 0);
		assert_true(lcreate(2, name, O_RDWR, 0644) < 0);
		assert_true(mkdir_at(2, name) < 0);
		assert_true(mknod_at(2, name, S_IFREG | 0644) < 0);
		assert_true(symlink_at(2, name, "x") < 0);
		assert_true(link_at(2, 1, name) < 0);
		assert_true(unlink_at(2, name, 0) < 0);
		assert_true(unlink_at(2, name, 0x200) < 0);
		assert_true(rename_at(2, name, 2, "good") < 0);
		assert_true(rename_at(ROOT_FID, "file", 2, name) < 0);
	}
	longest[255] = 0;
	assert_int_equal(mkdir_at(2, longest), 0);
	/* A NUL within. */
	begin(TMKDIR);
	p9_put32(&out, 2);
	p9_put_string(&out, "a\0b", 3);
	p9_put32(&out, 0755);
	p9_put32(&out, 0);
	assert_int_equal(call(), -EINVAL);
	assert_int_equal(access(host_path("d/a"), F_OK), -1);
}

/* The root is above itself. */
static void test_above_root(void **state)
{
	uint64_t numbers[2];

	assert_int_equal(mkdir_at(ROOT_FID, "d"), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(i ? walk(ROOT_FID, 1, "d", "..", "..")
				   : walk(ROOT_FID, 2, "..", "..", ".."),
			0);
		assert_int_equal(p9_get16(&in), 3);
		in.at += 2 * 13 + 5;
		memcpy(&numbers[i], in.at, 8);
	}
	assert_int_equal(numbers[0], numbers[1]);
	assert_int_equal(walk(1, 3, "d", NULL, NULL), 0);
}

/* --- links --- */

static void test_links_are_not_followed(void **state)
{
	char outside[128];

	snprintf(outside, sizeof(outside), "%s/secret", top);
	host_file(outside, "secret");
	assert_int_equal(symlink("..", host_path("up")), 0);
	assert_int_equal(symlink(outside, host_path("file")), 0);
	assert_int_equal(symlink("/proc/self/cwd", host_path("magic")), 0);
	/* The second step fails: the reply has the first one's. */
	assert_int_equal(walk(ROOT_FID, 1, "up", "secret", NULL), 0);
	assert_int_equal(p9_get16(&in), 1);
	assert_int_equal(clunk(1), -EBADF);
	assert_int_equal(walk(ROOT_FID, 1, "file", NULL, NULL), 0);
	assert_int_equal(lopen(1, O_RDONLY), -ELOOP);
	assert_int_equal(setattr(1, 8, 0, 0, 0, 0), -ELOOP);
	assert_int_equal(walk(ROOT_FID, 2, NULL, NULL, NULL), 0);
	assert_int_equal(lcreate(2, "file", O_RDWR | O_CREAT | O_TRUNC, 0644), -ELOOP);
	assert_int_equal(walk(ROOT_FID, 3, "up", NULL, NULL), 0);
	assert_int_equal(mkdir_at(3, "d"), -ENOTDIR);
	assert_int_equal(setattr(1, 1, 0777, 0, 0, 0), -EOPNOTSUPP);
	assert_int_equal(walk(ROOT_FID, 4, "magic", NULL, NULL), 0);
	assert_int_equal(mkdir_at(4, "d"), -ENOTDIR);
}

/* --- what is no file --- */

static void test_special_files_are_not_opened(void **state)
{
	assert_int_equal(mkfifo(host_path("fifo"), 0666), 0);
	assert_int_equal(walk(ROOT_FID, 1, "fifo", NULL, NULL), 0);
	/* It would wait for a writer. */
	assert_int_equal(lopen(1, O_RDONLY), -ENXIO);
	assert_int_equal(setattr(1, 8, 0, 0, 0, 0), -ENXIO);
	assert_int_equal(walk(ROOT_FID, 2, NULL, NULL, NULL), 0);
	assert_int_equal(lcreate(2, "fifo", O_RDWR | O_CREAT, 0644), -ENXIO);
	if (mknod(host_path("null"), S_IFCHR | 0666, 0x103) < 0)
		return; /* not root */
	assert_int_equal(walk(ROOT_FID, 3, "null", NULL, NULL), 0);
	assert_int_equal(lopen(3, O_RDWR), -ENXIO);
	assert_int_equal(lcreate(2, "null", O_RDWR | O_CREAT, 0644), -ENXIO);
}

/* --- races --- */

static atomic_bool over;

/* Exchange a directory for a link to a directory outside, and back, as fast as may be. */
static void *exchange(void *paths)
{
	char(*path)[128] = paths;

	while (!atomic_load(&over))
		syscall(SYS_renameat2, AT_FDCWD, path[0], AT_FDCWD, path[1], RENAME_EXCHANGE);
	return NULL;
}

static void read_one(unsigned *inside)
{
	if (walk(ROOT_FID, 1, "d", "file", NULL) < 0)
		return;
	if (p9_get16(&in) < 2)
		return;
	if (lopen(1, O_RDONLY) == 0) {
		assert_contents(1, "inside");
		(*inside)++;
	}
	clunk(1);
}

static void make_one(unsigned i)
{
	char name[16];

	snprintf(name, sizeof(name), "new%u", i);
	if (walk(ROOT_FID, 2, "d", NULL, NULL) < 0)
		return;
	mkdir_at(2, name);
	symlink_at(2, "link", "x");
	unlink_at(2, "link", 0);
	/* What is outside has these. */
	unlink_at(2, "victim", 0);
	rename_at(2, "victim", ROOT_FID, "stolen");
	if (lcreate(2, "victim", O_RDWR | O_CREAT | O_TRUNC, 0644) == 0)
		write_at(2, 0, "overwritten");
	clunk(2);
}

static void test_exchanged_directories(void **state)
{
	char path[2][128], outside[128], victim[160];
	unsigned inside = 0;
	struct stat status;
	pthread_t thread;

	snprintf(outside, sizeof(outside), "%s/outside", top);
	snprintf(victim, sizeof(victim), "%s/victim", outside);
	assert_int_equal(mkdir(outside, 0755), 0);
	host_file(victim, "victim");
	snprintf(path[0], sizeof(path[0]), "%s/d", root);
	snprintf(path[1], sizeof(path[1]), "%s/other", root);
	assert_int_equal(mkdir(path[0], 0755), 0);
	assert_int_equal(symlink("../outside", path[1]), 0);
	host_file(host_path("d/file"), "inside");
	snprintf(victim, sizeof(victim), "%s/file", outside);
	host_file(victim, "outside");
	assert_int_equal(stat(outside, &status), 0);
	atomic_store(&over, false);
	assert_int_equal(pthread_create(&thread, NULL, exchange, path), 0);
	for (unsigned i = 0; i < 3000 || (inside < 10 && i < 100000); i++) {
		read_one(&inside);
		make_one(i);
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	assert_true(inside >= 10);
	/* There is what was there, and nothing else. */
	snprintf(victim, sizeof(victim), "%s/victim", outside);
	assert_int_equal(stat(victim, &status), 0);
	assert_int_equal(status.st_size, strlen("victim"));
	snprintf(victim, sizeof(victim), "%s/file", outside);
	assert_int_equal(unlink(victim), 0);
	snprintf(victim, sizeof(victim), "%s/victim", outside);
	assert_int_equal(unlink(victim), 0);
	assert_int_equal(rmdir(outside), 0);
	assert_int_equal(access(host_path("stolen"), F_OK), -1);
}

/* A file for a FIFO and back: neither opened nor waited for. */
static void test_exchanged_fifo(void **state)
{
	char path[2][128];
	unsigned opened = 0;
	pthread_t thread;

	snprintf(path[0], sizeof(path[0]), "%s/file", root);
	snprintf(path[1], sizeof(path[1]), "%s/fifo", root);
	host_file(path[0], "text");
	assert_int_equal(mkfifo(path[1], 0666), 0);
	atomic_store(&over, false);
	assert_int_equal(pthread_create(&thread, NULL, exchange, path), 0);
	for (unsigned i = 0; i < 5000 || (!opened && i < 100000); i++) {
		if (walk(ROOT_FID, 1, "file", NULL, NULL) < 0)
			continue;
		if (lopen(1, O_RDONLY) == 0) {
			assert_contents(1, "text");
			opened++;
		}
		clunk(1);
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	assert_true(opened);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_hostile_names),
		TEST(test_above_root),
		TEST(test_links_are_not_followed),
		TEST(test_special_files_are_not_opened),
		TEST(test_exchanged_directories),
		TEST(test_exchanged_fifo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
