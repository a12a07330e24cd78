/* Raw disks, by io_uring and by threads, through the page cache and past it. The file under test
 * is included, for what the host's storage does not have: other blocks, fewer system calls. */
#include "../../src/host/disk/raw.c"

#include "disk_fixture.h"

#include <sys/resource.h>
#include <signal.h>

#define SIZE (1 * MIB)

/* What the test is run with: the words after the file. */
static const char *const ways[] = {
	"", ",io=threads", ",cache=none", ",cache=none,io=threads", ",cache=unsafe"};

static bool can_open(const char *path, const char *way)
{
	int error = try_config(words("%s%s", path, way));

	if (error && strstr(way, "cache=none"))
		return false; /* a file system without */
	assert_int_equal(error, 0);
	return true;
}

static void random_requests_are_as_in_the_model(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		char *path = make_file("random", SIZE, model);
		struct started on;

		if (can_open(path, ways[i])) {
			on = start_config(words("%s%s", path, ways[i]));
			assert_int_equal(on.disk->size, SIZE);
			if (strstr(ways[i], "threads"))
				assert_string_equal(on.disk->how, "threads");
			check_random(&on, model, SIZE, 100, strstr(ways[i], "none") ? 1 : 512);
			check_random(&on, model, SIZE, 20, 512);
			stop(&on);
		}
		unlink(path);
		free(path);
	}
}

/* Requests of 512 bytes and more on storage that wants 4096: told so, the file takes either. */
static void larger_blocks_than_the_guest_s_are_read_first(void **state)
{
	char *path = make_file("blocks", SIZE, model);

	for (unsigned i = 2; i < 4 && can_open(path, ways[i]); i++) {
		struct started on = start_config(words("%s%s", path, ways[i]));

		container_of(on.disk, struct raw, disk)->alignment = 4096;
		check_random(&on, model, SIZE, 200, 1);
		/* The file system is without calls that make zeros. */
		container_of(on.disk, struct raw, disk)->missing = 3;
		check_random(&on, model, SIZE, 200, 1);
		stop(&on);
	}
	unlink(path);
	free(path);
}

static void zeros_are_written_where_nothing_else_is_to_be_had(void **state)
{
	char *path = make_file("zeros", SIZE, model);
	struct started on = start_config(path);

	container_of(on.disk, struct raw, disk)->missing = 3;
	check_random(&on, model, SIZE, 100, 512);
	/* What was asked for has been counted. */
	assert_true(on.disk->count[DISK_READ].requests && on.disk->count[DISK_WRITE].requests);
	assert_true(on.disk->count[DISK_READ].bytes >= 512 * on.disk->count[DISK_READ].requests);
	stop(&on);
	unlink(path);
	free(path);
}

static void a_part_is_a_disk_of_its_own(void **state)
{
	static uint8_t before[SIZE], after[SIZE];
	char *path = make_file("part", SIZE, before);
	struct started on = start_config(words("%s,offset=64K,size=128K", path));
	struct started other = start_config(words("%s,offset=192K", path));
	int fd;

	assert_int_equal(on.disk->size, 128 * KIB);
	assert_int_equal(other.disk->size, SIZE - 192 * KIB);
	memcpy(model, before + 64 * KIB, 128 * KIB);
	check_random(&on, model, 128 * KIB, 50, 512);
	stop(&on);
	stop(&other);
	fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, after, SIZE), SIZE);
	close(fd);
	memcpy(before + 64 * KIB, model, 128 * KIB);
	assert_memory_equal(before, after, SIZE);

	assert_int_equal(try_config(words("%s,offset=1M", path)), -EINVAL);
	assert_int_equal(try_config(words("%s,offset=512K,size=513K", path)), -EINVAL);
	unlink(path);
	free(path);
}

static void two_machines_are_refused_where_their_parts_overlap(void **state)
{
	static const struct {
		const char *first, *second;
		int error;
	} pairs[] = {
		{"", "", -EBUSY},
		{"", ",readonly", -EBUSY},
		{",readonly", "", -EBUSY},
		{",readonly", ",readonly", 0},
		{",readonly", ",snapshot", 0},
		{",snapshot", "", -EBUSY},
		{",share=on", ",share=on", 0},
		{",share=on", "", -EBUSY},
		{"", ",share=on", -EBUSY},
		{",offset=0,size=512K", ",offset=512K", 0},
		{",offset=0,size=512K", ",offset=512K,size=512K", 0},
		{",offset=0,size=513K", ",offset=512K", -EBUSY},
		{",offset=0,size=512K", ",readonly", -EBUSY},
	};
	char *path = make_file("locked", SIZE, NULL);

	for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct started on = start_config(words("%s%s", path, pairs[i].first));

		assert_int_equal(try_config(words("%s%s", path, pairs[i].second)), pairs[i].error);
		stop(&on);
		assert_int_equal(try_config(words("%s%s", path, pairs[i].second)), 0);
	}
	unlink(path);
	free(path);
}

static void a_file_may_end_within_a_sector(void **state)
{
	static uint8_t data[2048], expected[2048];

	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		char *path = make_file("odd", 1100, expected);
		struct started on;
		struct stat status;

		memset(expected + 1100, 0, sizeof(expected) - 1100);
		if (can_open(path, ways[i])) {
			on = start_config(words("%s%s", path, ways[i]));
			assert_int_equal(on.disk->size, 1536);
			memset(data, 0xaa, sizeof(data));
			assert_int_equal(transfer(&on, DISK_READ, 0, data, 1536, false), 0);
			assert_memory_equal(data, expected, 1536);
			memset(data, 0xaa, sizeof(data));
			assert_int_equal(transfer(&on, DISK_READ, 1024, data, 512, false), 0);
			assert_memory_equal(data, expected + 1024, 512);
			memset(data, 0x55, 512);
			assert_int_equal(transfer(&on, DISK_WRITE, 1024, data, 512, true), 0);
			assert_int_equal(transfer(&on, DISK_READ, 1024, data, 512, false), 0);
			assert_int_equal(data[511], 0x55);
			stop(&on);
			assert_int_equal(stat(path, &status), 0);
			assert_true(status.st_size >= 1536);
		}
		unlink(path);
		free(path);
	}
}

static void a_file_that_shrinks_gives_errors(void **state)
{
	static uint8_t data[8192];

	for (unsigned i = 0; i < 2; i++) {
		char *path = make_file("shrinks", SIZE, NULL);
		struct started on = start_config(words("%s%s", path, ways[i]));

		assert_int_equal(truncate(path, 512 * KIB + 100), 0);
		assert_int_equal(transfer(&on, DISK_READ, 768 * KIB, data, 4096, false), -EIO);
		assert_int_equal(
			transfer(&on, DISK_READ, 512 * KIB - 4096, data, 8192, false), -EIO);
		assert_int_equal(transfer(&on, DISK_READ, 512 * KIB, data, 512, false), -EIO);
		assert_int_equal(transfer(&on, DISK_READ, 512 * KIB - 4096, data, 4096, false), 0);
		stop(&on);
		unlink(path);
		free(path);
	}
}

/* The limit of a file's size stands for a full disk: both make write(2) return less, then fail. */
static void a_full_file_system_is_told(void **state)
{
	struct rlimit before, limit;
	static uint8_t data[128 * KIB];
	char *path = make_file("full", 100, NULL);
	struct started on;

	assert_int_equal(truncate(path, SIZE), 0);
	on = start_config(words("%s,io=threads", path));
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = before;
	limit.rlim_cur = 512 * KIB;
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_int_equal(transfer(&on, DISK_WRITE, 448 * KIB, data, sizeof(data), false), -ENOSPC);
	assert_int_equal(transfer(&on, DISK_WRITE, 600 * KIB, data, 4096, false), -ENOSPC);
	assert_int_equal(transfer(&on, DISK_WRITE, 64 * KIB, data, sizeof(data), false), 0);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(transfer(&on, DISK_WRITE, 600 * KIB, data, 4096, false), 0);
	stop(&on);
	unlink(path);
	free(path);
}

static void discarding_gives_room_back(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		char *path = make_file("sparse", SIZE, model);
		struct started on = start_config(words("%s%s", path, ways[i]));
		struct stat before, after;

		assert_int_equal(transfer(&on, DISK_FLUSH, 0, NULL, 0, false), 0);
		assert_int_equal(stat(path, &before), 0);
		assert_int_equal(transfer(&on, DISK_DISCARD, 0, NULL, 512 * KIB, false), 0);
		assert_int_equal(stat(path, &after), 0);
		assert_true(after.st_blocks < before.st_blocks);
		assert_int_equal(after.st_size, SIZE);
		stop(&on);
		unlink(path);
		free(path);
	}
}

static void a_disk_that_is_only_read_is_not_written(void **state)
{
	static uint8_t data[512];
	char *path = make_file("readonly", SIZE, NULL);
	struct started on;

	assert_int_equal(chmod(path, 0444), 0);
	on = start_config(words("%s,readonly", path));
	assert_true(on.disk->read_only);
	assert_false(on.disk->can_discard || on.disk->can_write_zeroes);
	assert_int_equal(transfer(&on, DISK_READ, 0, data, 512, false), 0);
	assert_int_equal(transfer(&on, DISK_FLUSH, 0, NULL, 0, false), 0);
	assert_int_equal(transfer(&on, DISK_WRITE, 0, data, 512, false), -EIO);
	assert_int_equal(transfer(&on, DISK_DISCARD, 0, NULL, 512, false), -EIO);
	assert_int_equal(transfer(&on, DISK_WRITE_ZEROES, 0, NULL, 512, false), -EIO);
	stop(&on);
	unlink(path);
	free(path);
}

static void what_is_no_disk_is_refused(void **state)
{
	char *path = make_file("empty", 0, NULL);

	assert_int_equal(try_config(path), -EINVAL);
	assert_int_equal(try_config(words("%s.none", path)), -ENOENT);
	assert_int_equal(try_config(words("%s,readonly", directory)), -EINVAL);
	assert_int_equal(try_config("/dev/null"), -EINVAL);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(try_config(words("%s,readonly", path)), -EINVAL);
	unlink(path);
	free(path);
}

/* More at one time than a ring holds. */
static void many_requests_wait_for_their_turn(void **state)
{
	enum { COUNT = 3000 };
	struct io *ios = calloc(COUNT, sizeof(*ios));
	char *path = make_file("many", SIZE, model);

	for (unsigned way = 0; way < 2; way++) {
		struct started on = start_config(words("%s%s", path, ways[way]));

		for (unsigned i = 0; i < COUNT; i++) {
			ios[i] = (struct io){.data = malloc(512)};
			io_scatter(&ios[i], 512, 512);
			io_begin(&ios[i], &on, DISK_READ, i % 2048 * 512, 512);
		}
		for (unsigned i = 0; i < COUNT; i++) {
			assert_int_equal(io_wait(&ios[i]), 0);
			assert_memory_equal(ios[i].data, model + i % 2048 * 512, 512);
			free(ios[i].data);
		}
		stop(&on);
	}
	unlink(path);
	free(path);
	free(ios);
}

static int setup(void **state)
{
	return make_model(state, SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_requests_are_as_in_the_model),
		cmocka_unit_test(larger_blocks_than_the_guest_s_are_read_first),
		cmocka_unit_test(zeros_are_written_where_nothing_else_is_to_be_had),
		cmocka_unit_test(a_part_is_a_disk_of_its_own),
		cmocka_unit_test(two_machines_are_refused_where_their_parts_overlap),
		cmocka_unit_test(a_file_may_end_within_a_sector),
		cmocka_unit_test(a_file_that_shrinks_gives_errors),
		cmocka_unit_test(a_full_file_system_is_told),
		cmocka_unit_test(discarding_gives_room_back),
		cmocka_unit_test(a_disk_that_is_only_read_is_not_written),
		cmocka_unit_test(what_is_no_disk_is_refused),
		cmocka_unit_test(many_requests_wait_for_their_turn),
	};

	return cmocka_run_group_tests(tests, setup, free_model);
}
