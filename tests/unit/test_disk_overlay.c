/* Snapshots: writes are kept apart, cluster by cluster. */
#include "../../src/host/disk/internal.h"

#include "disk_fixture.h"

#define SIZE (1 * MIB + 3 * 512) /* the last cluster is not whole */

/* --- a disk below that takes its time, and answers in any order --- */

struct slow {
	struct disk disk;
	struct worker *worker;
	const uint8_t *contents;
	struct worker_timer timer;
	struct disk_request *waiting;
	int error;
	unsigned reads;
};

/* Serve one of those that wait. */
static void serve(void *opaque)
{
	struct slow *slow = opaque;
	struct disk_request **link = &slow->waiting, *request;

	while ((*link)->next && rand() % 2)
		link = &(*link)->next;
	request = *link;
	*link = request->next;
	if (slow->waiting)
		worker_timer_arm(&slow->timer, (uint64_t)rand() % 50000);
	if (!slow->error)
		pieces_copy_in(request->pieces, request->piece_count, 0,
			slow->contents + request->offset, request->bytes);
	slow->reads++;
	request->done(request, slow->error);
}

static int slow_start(struct disk *disk, struct worker *worker)
{
	struct slow *slow = container_of(disk, struct slow, disk);

	slow->worker = worker;
	worker_timer_init(&slow->timer, worker, serve, slow);
	return 0;
}

static void slow_submit(struct disk *disk, struct disk_request *request)
{
	struct slow *slow = container_of(disk, struct slow, disk);

	assert_int_equal(request->operation, DISK_READ);
	assert_true(request->offset + request->bytes <= disk->size && request->bytes);
	request->next = slow->waiting;
	slow->waiting = request;
	if (!slow->timer.armed)
		worker_timer_arm(&slow->timer, 10000);
}

static void slow_flush_queue(struct disk *disk)
{
}

static void slow_destroy(struct disk *disk)
{
}

static const struct disk_ops slow_ops = {
	slow_start, slow_submit, slow_flush_queue, slow_destroy, NULL};

static struct slow make_slow(const uint8_t *contents)
{
	return (struct slow){
		.disk = {.ops = &slow_ops, .size = SIZE, .block_size = 512}, .contents = contents};
}

static struct started start_above(struct slow *slow)
{
	struct disk_config config = {.path = (char *)"/nowhere/at/all", .snapshot = true};
	struct disk *disk = NULL;

	assert_int_equal(overlay_open(&slow->disk, &config, &disk), 0);
	return start(disk);
}

static void random_requests_are_as_in_the_model(void **state)
{
	for (unsigned i = 0; i < 6; i++) {
		uint8_t *contents = malloc(SIZE), *before = malloc(SIZE);
		struct slow slow = make_slow(contents);
		struct started on = start_above(&slow);

		fill_random(contents, SIZE);
		memcpy(before, contents, SIZE);
		memcpy(model, contents, SIZE);
		check_random(&on, model, SIZE, 60, 512);
		stop(&on);
		assert_memory_equal(before, contents, SIZE);
		free(contents);
		free(before);
	}
}

/* Sixteen writes of 4 KiB into one cluster, at the same time: below is read for the first only. */
static void writes_to_one_cluster_are_ordered(void **state)
{
	struct io ios[16];
	uint8_t *contents = malloc(SIZE), *data = malloc(64 * KIB);
	struct slow slow = make_slow(contents);
	struct started on = start_above(&slow);

	fill_random(contents, SIZE);
	fill_random(data, 64 * KIB);
	for (unsigned i = 0; i < ARRAY_SIZE(ios); i++) {
		ios[i] = (struct io){.data = data + i * 4 * KIB};
		io_scatter(&ios[i], 4 * KIB, 512);
		io_begin(&ios[i], &on, DISK_WRITE, 64 * KIB + i * 4 * KIB, 4 * KIB);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(ios); i++)
		assert_int_equal(io_wait(&ios[i]), 0);
	assert_int_equal(slow.reads, 1); /* the tail of the first */
	memcpy(model, contents, SIZE);
	memcpy(model + 64 * KIB, data, 64 * KIB);
	assert_int_equal(transfer(&on, DISK_READ, 0, contents, SIZE, false), 0);
	assert_memory_equal(contents, model, SIZE);
	stop(&on);
	free(contents);
	free(data);
}

static void an_error_below_is_told_and_leaves_the_cluster(void **state)
{
	static uint8_t data[4096], got[4096];
	uint8_t *contents = malloc(SIZE);
	struct slow slow = make_slow(contents);
	struct started on = start_above(&slow);

	fill_random(contents, SIZE);
	slow.error = -EIO;
	assert_int_equal(transfer(&on, DISK_WRITE, 4096, data, 4096, false), -EIO);
	assert_int_equal(transfer(&on, DISK_READ, 0, data, 4096, false), -EIO);
	/* A whole cluster needs nothing from below. */
	assert_int_equal(transfer(&on, DISK_WRITE_ZEROES, 0, NULL, 64 * KIB, true), 0);
	assert_int_equal(transfer(&on, DISK_READ, 0, got, 4096, false), 0);
	memset(data, 0, sizeof(data));
	assert_memory_equal(got, data, 4096);
	slow.error = 0;
	assert_int_equal(transfer(&on, DISK_READ, 68 * KIB, got, 4096, false), 0);
	assert_memory_equal(got, contents + 68 * KIB, 4096);
	stop(&on);
	free(contents);
}

static void a_file_below_stays_as_it_is(void **state)
{
	static const char *const ways[] = {",snapshot", ",snapshot,io=threads",
		",snapshot,cache=none", ",snapshot,offset=128K,size=512K"};

	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		uint8_t *before = malloc(SIZE), *after = malloc(SIZE);
		char *path = make_file("below", SIZE, before);
		struct started on;
		FILE *file;

		if (i != 2 || try_config(words("%s%s", path, ways[i])) == 0) {
			on = start_config(words("%s%s", path, ways[i]));
			assert_int_equal(on.disk->size, i == 3 ? 512 * KIB : SIZE);
			assert_false(on.disk->read_only);
			memcpy(model, before + (i == 3 ? 128 * KIB : 0), on.disk->size);
			check_random(&on, model, on.disk->size, 50, 512);
			stop(&on);
		}
		file = fopen(path, "r");
		assert_int_equal(fread(after, 1, SIZE, file), SIZE);
		fclose(file);
		assert_memory_equal(before, after, SIZE);
		unlink(path);
		free(path);
		free(before);
		free(after);
	}
}

/* It has no name, so nothing is left in the directory. The image's own need not be writable. */
static void the_file_is_private(void **state)
{
	char *path = make_file("image", SIZE, NULL);
	struct started on;

	unsetenv("TMPDIR");
	on = start_config(words("%s,snapshot", path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(directory), 0);
	assert_int_equal(mkdir(directory, 0700), 0);
	stop(&on);
	free(path);

	path = make_file("image", SIZE, NULL);
	setenv("TMPDIR", "/nowhere", 1);
	assert_int_equal(try_config(words("%s,snapshot", path)), -ENOENT);
	setenv("TMPDIR", "/tmp", 1);
	assert_int_equal(try_config(words("%s,snapshot", path)), 0);
	assert_int_equal(try_config(words("%s,snapshot,readonly", path)), 0);
	unlink(path);
	free(path);
}

static int setup(void **state)
{
	return make_model(state, SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_requests_are_as_in_the_model),
		cmocka_unit_test(writes_to_one_cluster_are_ordered),
		cmocka_unit_test(an_error_below_is_told_and_leaves_the_cluster),
		cmocka_unit_test(a_file_below_stays_as_it_is),
		cmocka_unit_test(the_file_is_private),
	};

	return cmocka_run_group_tests(tests, setup, free_model);
}
