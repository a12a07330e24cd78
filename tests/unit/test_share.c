/* Shared directories in the monitor: their option, and the helper that serves them. */
#include "helper/share/message.h"
#include "host/share/share.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the option --- */

static void test_words(void **state)
{
	struct share_config config;

	assert_int_equal(share_config_parse(&config, "--share", "/a,,b,tag=t,readonly,sync"), 0);
	assert_string_equal(config.path, "/a,b");
	assert_string_equal(config.tag, "t");
	assert_true(config.read_only && config.sync);
	assert_int_equal(config.security, SHARE_NONE);
	share_config_free(&config);
	assert_int_equal(share_config_parse(&config, "--share", "/a,security=mapped"), 0);
	assert_int_equal(config.security, SHARE_MAPPED);
	assert_string_equal(config.tag, "");
	share_config_free(&config);
	assert_int_equal(share_config_parse(&config, "--share", ",tag=t"), -EINVAL);
	assert_null(config.path);
	assert_int_equal(share_config_parse(&config, "--share", "/a,tag="), -EINVAL);
	assert_null(config.path);
}

/* --- the helper --- */

#define MEMORY_SIZE 65536
#define REPLY       8192 /* where replies go */

static struct fixture {
	struct share *share;
	struct worker *worker;
	uint8_t *memory;
	int fd;
	char directory[64];
	sem_t answers, losses;
	uint32_t slot, bytes;
	bool refuse; /* the next answer is said to be against the rules */
	int result;
	struct iovec pieces[2];
	unsigned count;
} f;

static bool answered(void *opaque, uint32_t slot, uint32_t bytes)
{
	f.slot = slot;
	f.bytes = bytes;
	sem_post(&f.answers);
	return !f.refuse;
}

static void lost(void *opaque)
{
	sem_post(&f.losses);
}

static bool wait_for(sem_t *semaphore)
{
	struct timespec deadline;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 20;
	return sem_timedwait(semaphore, &deadline) == 0;
}

static void on_worker_start(void *opaque)
{
	f.result = share_start(f.share, f.worker, &(struct share_port){answered, lost, NULL});
}

static int setup(void **state)
{
	struct share_config config = {.path = f.directory, .tag = "t"};

	memset(&f, 0, sizeof(f));
	strcpy(f.directory, "/tmp/veneer-share-XXXXXX");
	f.fd = memfd_create("guest", MFD_CLOEXEC);
	if (!mkdtemp(f.directory) || f.fd < 0 || ftruncate(f.fd, MEMORY_SIZE) < 0)
		return -1;
	f.memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f.fd, 0);
	sem_init(&f.answers, 0, 0);
	sem_init(&f.losses, 0, 0);
	f.worker = worker_create("test");
	if (!f.worker || f.memory == MAP_FAILED ||
		share_open(&config, &(struct share_memory){f.fd, f.memory, MEMORY_SIZE}, &f.share) <
			0)
		return -1;
	worker_call(f.worker, on_worker_start, NULL);
	return f.result;
}

static int teardown(void **state)
{
	worker_destroy(f.worker);
	share_close(f.share);
	munmap(f.memory, MEMORY_SIZE);
	close(f.fd);
	return rmdir(f.directory);
}

static void on_worker_submit(void *opaque)
{
	f.result = share_submit(f.share, 5, f.pieces, 1, f.count - 1);
	share_flush(f.share);
}

/* Tversion, from guest memory and with the reply there. */
static int ask_version(void)
{
	struct p9_writer out = {.bytes = f.memory + 4096, .limit = 4096};

	p9_put32(&out, 21);
	p9_put8(&out, 100);
	p9_put16(&out, 0xffff);
	p9_put32(&out, 8192);
	p9_put_string(&out, "9P2000.L", 8);
	f.pieces[0] = (struct iovec){f.memory + 4096, out.size};
	f.pieces[1] = (struct iovec){f.memory + REPLY, 4096};
	f.count = 2;
	worker_call(f.worker, on_worker_submit, NULL);
	return f.result;
}

static void test_answers(void **state)
{
	for (unsigned i = 0; i < 100; i++) {
		memset(f.memory + REPLY, 0, 32);
		assert_int_equal(ask_version(), 0);
		assert_true(wait_for(&f.answers));
		assert_int_equal(f.slot, 5);
		assert_int_equal(f.bytes, 21);
		assert_int_equal(f.memory[REPLY + 4], 101);
		assert_memory_equal(f.memory + REPLY + 13, "9P2000.L", 8);
	}
}

static void on_worker_abandon(void *opaque)
{
	share_abandon(f.share);
}

/* Told once, when the helper has ended; and nothing can be asked then. */
static void test_abandoned(void **state)
{
	worker_call(f.worker, on_worker_abandon, NULL);
	assert_int_equal(ask_version(), -EIO);
	assert_true(wait_for(&f.losses));
	worker_call(f.worker, on_worker_abandon, NULL);
	assert_int_equal(ask_version(), -EIO);
	assert_int_equal(sem_trywait(&f.losses), -1);
}

/* An answer that the device does not accept is the helper's end. */
static void test_broken_rules(void **state)
{
	f.refuse = true;
	assert_int_equal(ask_version(), 0);
	assert_true(wait_for(&f.losses));
	assert_int_equal(ask_version(), -EIO);
}

static void test_not_a_directory(void **state)
{
	struct share_config config = {.path = (char[]){"/dev/null"}, .tag = "t"};
	struct share *share;

	assert_int_equal(
		share_open(&config, &(struct share_memory){f.fd, f.memory, MEMORY_SIZE}, &share),
		-ENOTDIR);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		TEST(test_answers),
		TEST(test_abandoned),
		TEST(test_broken_rules),
		TEST(test_not_a_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
