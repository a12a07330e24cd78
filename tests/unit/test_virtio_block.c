#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "block_fixture.h"

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };
enum { OK, IOERR, UNSUPP, NOTHING = 0x77 };

#define FEATURE_FLUSH BIT(9)

struct header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct range {
	uint64_t sector;
	uint32_t sectors, flags;
};

/* One request, in the test's memory. */
static struct header header;
static uint8_t data[64 * 1024], status;
static struct iovec pieces[2048];

static void create(void)
{
	assert_int_equal(
		virtio_block_create(NULL, -1, 0, &fake.disk, "serial-of-20-letters", 8), 0);
	played.device->features = FEATURE_FLUSH;
	played.device->ops->start(played.device);
}

static int setup(void **state)
{
	memset(&played, 0, sizeof(played));
	fake_disk_setup();
	for (unsigned i = 0; i < sizeof(fake.bytes); i++)
		fake.bytes[i] = (uint8_t)(i / DISK_SECTOR + i * 7);
	create();
	return 0;
}

static int teardown(void **state)
{
	while (fake_complete(0))
		;
	if (played.device)
		played.device->ops->destroy(played.device);
	assert_int_equal(fake.destroyed, 1);
	return 0;
}

/* Make a chain of these pieces available. */
static void offer(const struct iovec *from, unsigned readable, unsigned writable)
{
	struct virtio_chain *chain = &played.chains[played.chain_count++];

	*chain = (struct virtio_chain){
		.pieces = (struct iovec *)from, .readable = readable, .writable = writable};
	for (unsigned i = 0; i < readable + writable; i++)
		*(i < readable ? &chain->readable_bytes : &chain->writable_bytes) +=
			from[i].iov_len;
}

static void notify(void)
{
	played.device->ops->notified(played.device, &played.device->queue[0]);
	idle();
}

/* A request with one piece of data, as drivers make it; not completed. */
static void send_request(uint32_t type, uint64_t sector, bool to_device, size_t bytes)
{
	unsigned readable = 1;

	header = (struct header){type, 0, sector};
	status = NOTHING;
	pieces[0] = (struct iovec){&header, sizeof(header)};
	pieces[1] = (struct iovec){data, bytes};
	if (bytes && to_device)
		readable = 2;
	pieces[bytes ? 2 : 1] = (struct iovec){&status, 1};
	offer(pieces, readable, (bytes ? 3 : 2) - readable);
	notify();
}

/* And what came of it. */
static uint8_t answer(uint32_t type, uint64_t sector, bool to_device, size_t bytes)
{
	unsigned given_back = played.given_back, told = played.told;

	send_request(type, sector, to_device, bytes);
	while (fake_complete(0))
		;
	idle();
	assert_int_equal(played.given_back, given_back + 1);
	assert_int_equal(played.told, told + 1);
	assert_int_equal(played.needs_reset, 0);
	return status;
}

static uint8_t answer_ranges(uint32_t type, const struct range *ranges, size_t count)
{
	memcpy(data, ranges, count * sizeof(*ranges));
	return answer(type, 0, true, count * sizeof(*ranges));
}

static void reads_and_writes(void **state)
{
	assert_int_equal(answer(IN, 3, false, 1024), OK);
	assert_memory_equal(data, fake.bytes + 3 * DISK_SECTOR, 1024);
	assert_int_equal(played.written, 1025);
	memset(data, 0xa5, 512);
	assert_int_equal(answer(OUT, FAKE_SECTORS - 1, true, 512), OK);
	assert_memory_equal(data, fake.bytes + (FAKE_SECTORS - 1) * DISK_SECTOR, 512);
	assert_int_equal(played.written, 1);
	assert_int_equal(answer(FLUSH, 0, false, 0), OK);
	assert_int_equal(fake.submitted, 3);
}

/* 2.7.4: nothing may be assumed about how a request is cut into descriptors. */
static void any_cut(void **state)
{
	static uint8_t out[16 + 1024], in[1024 + 1];
	unsigned count;

	for (unsigned cut = 2; cut < 600; cut += cut < 20 ? 1 : 97) {
		/* No driver makes more pieces of 1 KiB than seg_max allows. */
		bool fits = cut >= 4;

		header = (struct header){OUT, 0, 5};
		memcpy(out, &header, sizeof(header));
		memset(out + 16, (int)cut, 1024);
		count = 0;
		for (size_t at = 0; at < sizeof(out); at += cut)
			pieces[count++] = (struct iovec){out + at, MIN(cut, sizeof(out) - at)};
		pieces[count] = (struct iovec){&status, 1};
		status = NOTHING;
		offer(pieces, count, 1);
		notify();
		assert_int_equal(fake_complete(0), fits);
		assert_int_equal(status, fits ? OK : IOERR);
		if (status == OK)
			assert_memory_equal(fake.bytes + 5 * DISK_SECTOR, out + 16, 1024);

		header.type = IN;
		memset(in, NOTHING, sizeof(in));
		pieces[0] = (struct iovec){&header, 7};
		pieces[1] = (struct iovec){(uint8_t *)&header + 7, 0};
		pieces[2] = (struct iovec){(uint8_t *)&header + 7, 9};
		count = 0;
		for (size_t at = 0; at < sizeof(in); at += cut)
			pieces[3 + count++] = (struct iovec){in + at, MIN(cut, sizeof(in) - at)};
		pieces[3 + count++] = (struct iovec){in, 0};
		offer(pieces, 3, count);
		notify();
		while (fake_complete(0))
			;
		assert_int_equal(in[1024], fits ? OK : IOERR);
		if (fits)
			assert_memory_equal(fake.bytes + 5 * DISK_SECTOR, in, 1024);
	}
	assert_int_equal(played.needs_reset, 0);
}

static void refuses_what_does_not_fit(void **state)
{
	assert_int_equal(answer(IN, FAKE_SECTORS, false, 512), IOERR);
	assert_int_equal(answer(IN, FAKE_SECTORS - 1, false, 1024), IOERR);
	assert_int_equal(answer(OUT, UINT64_MAX, true, 512), IOERR);
	assert_int_equal(answer(OUT, UINT64_MAX / 512 + 1, true, 512), IOERR);
	assert_int_equal(answer(IN, 0, false, 511), IOERR);
	assert_int_equal(answer(OUT, 0, true, 513), IOERR);
	assert_int_equal(answer(OUT, 0, false, 512), IOERR); /* data on the wrong side */
	assert_int_equal(answer(IN, 0, true, 512), IOERR);
	assert_int_equal(answer(2, 0, true, 512), UNSUPP);
	assert_int_equal(answer(0x80000000, 0, false, 512), UNSUPP);
	assert_int_equal(fake.submitted, 0);
	assert_int_equal(answer(IN, FAKE_SECTORS, false, 0), OK);
	/* Half a header. */
	pieces[0] = (struct iovec){&header, 15};
	pieces[1] = (struct iovec){&status, 1};
	status = NOTHING;
	offer(pieces, 1, 1);
	notify();
	assert_int_equal(status, IOERR);
}

static void needs_reset_without_a_status_byte(void **state)
{
	header = (struct header){OUT, 0, 0};
	pieces[0] = (struct iovec){&header, sizeof(header)};
	pieces[1] = (struct iovec){data, 512};
	pieces[2] = (struct iovec){&status, 0};
	offer(pieces, 2, 1);
	notify();
	assert_int_equal(played.needs_reset, 1);
	assert_int_equal(played.given_back, 0);
	assert_int_equal(fake.submitted, 0);
	/* Nothing more is taken. */
	send_request(FLUSH, 0, false, 0);
	assert_int_equal(played.taken, 1);
	assert_int_equal(played.needs_reset, 1);
	/* Till it has been reset. */
	played.device->ops->stop(played.device);
	assert_int_equal(played.stopped, 1);
	played.device->ops->start(played.device);
	notify();
	assert_int_equal(played.taken, 2);
}

static void needs_reset_when_the_queue_is_broken(void **state)
{
	played.malformed = true;
	notify();
	notify();
	assert_int_equal(played.needs_reset, 1);
}

static void errors_of_the_disk(void **state)
{
	static const struct {
		int error;
		uint8_t status;
	} cases[] = {{-EIO, IOERR}, {-ENOSPC, IOERR}, {-EOPNOTSUPP, UNSUPP}};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		send_request(OUT, 0, true, 512);
		assert_int_equal(status, NOTHING);
		assert_true(fake_complete(cases[i].error));
		assert_int_equal(status, cases[i].status);
	}
}

static void serial(void **state)
{
	data[20] = NOTHING;
	assert_int_equal(answer(GET_ID, 0, false, 20), OK);
	assert_memory_equal(data, "serial-of-20-letters", 20);
	assert_int_equal(data[20], NOTHING);
	assert_int_equal(answer(GET_ID, 0, false, 19), IOERR);
	assert_int_equal(answer(GET_ID, 0, true, 20), IOERR);
}

static void ranges(void **state)
{
	static const uint8_t zeroes[3 * DISK_SECTOR];
	struct range some[17] = {{2, 1, 0}, {4, 2, 0}};

	assert_int_equal(answer_ranges(DISCARD, some, 2), OK);
	assert_int_equal(fake.submitted, 2);
	assert_memory_equal(fake.bytes + 2 * DISK_SECTOR, zeroes, DISK_SECTOR);
	assert_memory_not_equal(fake.bytes + 3 * DISK_SECTOR, zeroes, DISK_SECTOR);
	assert_memory_equal(fake.bytes + 4 * DISK_SECTOR, zeroes, 2 * DISK_SECTOR);
	some[1].flags = 1; /* unmap */
	assert_int_equal(answer_ranges(DISCARD, some, 2), UNSUPP);
	assert_int_equal(answer_ranges(WRITE_ZEROES, some, 2), OK);
	some[1].flags = 2;
	assert_int_equal(answer_ranges(WRITE_ZEROES, some, 2), UNSUPP);
	assert_int_equal(fake.submitted, 4);
	/* The second one does not fit: the first one is not begun either. */
	some[1] = (struct range){FAKE_SECTORS - 1, 2, 0};
	assert_int_equal(answer_ranges(DISCARD, some, 2), IOERR);
	some[1] = (struct range){UINT64_MAX, 1, 0};
	assert_int_equal(answer_ranges(DISCARD, some, 2), IOERR);
	some[1] = (struct range){0, 0, 0};
	assert_int_equal(answer_ranges(DISCARD, some, 2), IOERR);
	some[1] = (struct range){0, UINT32_MAX, 0};
	assert_int_equal(answer_ranges(DISCARD, some, 2), IOERR);
	assert_int_equal(answer(DISCARD, 0, true, 0), IOERR);
	assert_int_equal(answer(DISCARD, 0, true, 15), IOERR);
	for (unsigned i = 0; i < 17; i++)
		some[i] = (struct range){i, 1, 0};
	assert_int_equal(answer_ranges(WRITE_ZEROES, some, 17), IOERR);
	assert_int_equal(fake.submitted, 4);
	assert_int_equal(answer_ranges(WRITE_ZEROES, some, 16), OK);
	assert_int_equal(fake.submitted, 20);
}

/* An error ends a request: the ranges after it are not begun. */
static void a_failed_range_is_the_last(void **state)
{
	struct range some[3] = {{2, 1, 0}, {4, 2, 0}, {6, 2, 0}};

	memcpy(data, some, sizeof(some));
	send_request(DISCARD, 0, true, sizeof(some));
	assert_true(fake_complete(0));
	assert_true(fake_complete(-EIO));
	assert_false(fake_complete(0));
	assert_int_equal(status, IOERR);
}

static void read_only(void **state)
{
	const struct range range = {0, 1, 0};

	teardown(state);
	memset(&played, 0, sizeof(played));
	fake_disk_setup();
	fake.disk.read_only = true;
	create();
	assert_true(played.device->offered & BIT(5));
	assert_false(played.device->offered & (BIT(13) | BIT(14)));
	assert_int_equal(answer(OUT, 0, true, 512), IOERR);
	assert_int_equal(answer_ranges(DISCARD, &range, 1), IOERR);
	assert_int_equal(answer_ranges(WRITE_ZEROES, &range, 1), IOERR);
	assert_int_equal(answer(IN, 0, false, 512), OK);
	assert_int_equal(answer(FLUSH, 0, false, 0), OK);
}

static void what_the_disk_cannot_do(void **state)
{
	const struct range range = {0, 1, 0};

	teardown(state);
	memset(&played, 0, sizeof(played));
	fake_disk_setup();
	fake.disk.can_discard = fake.disk.can_write_zeroes = false;
	create();
	assert_false(played.device->offered & (BIT(13) | BIT(14) | BIT(5)));
	assert_int_equal(answer_ranges(DISCARD, &range, 1), UNSUPP);
	assert_int_equal(answer_ranges(WRITE_ZEROES, &range, 1), UNSUPP);
}

/* Many are in flight at once, come back out of order, and the driver is told once. */
static void many_at_once(void **state)
{
	struct disk_request *second;

	header = (struct header){IN, 0, 0};
	pieces[0] = (struct iovec){&header, sizeof(header)};
	pieces[1] = (struct iovec){data, 512};
	pieces[2] = (struct iovec){&status, 1};
	for (unsigned i = 0; i < 200; i++)
		offer(pieces, 1, 2);
	notify();
	assert_int_equal(fake.sent, 200);
	assert_int_equal(played.told, 0);
	second = fake.first->next;
	fake.first->next = second->next;
	second->next = fake.first;
	fake.first = second;
	while (fake_complete(0))
		;
	assert_int_equal(played.given_back, 200);
	idle();
	assert_int_equal(played.told, 1);
}

/* A driver that adds requests as fast as they are answered does not keep the worker. */
static void bounded_turns(void **state)
{
	header = (struct header){99, 0, 0};
	pieces[0] = (struct iovec){&header, sizeof(header)};
	pieces[1] = (struct iovec){&status, 1};
	for (unsigned i = 0; i < CHAINS; i++)
		offer(pieces, 1, 1);
	notify();
	assert_true(played.taken < CHAINS);
	while (played.posted) {
		struct worker_task *task = played.posted;

		played.posted = NULL;
		task->run(task->opaque);
	}
	assert_int_equal(played.given_back, CHAINS);
}

/* However many chains the queue lets through, the pool bounds what is in flight, and what waited
 * is taken when there is room. */
static void bounded_pool(void **state)
{
	header = (struct header){FLUSH, 0, 0};
	pieces[0] = (struct iovec){&header, sizeof(header)};
	pieces[1] = (struct iovec){&status, 1};
	for (unsigned i = 0; i < CHAINS; i++)
		offer(pieces, 1, 1);
	notify();
	for (unsigned i = 0; i < 20; i++)
		notify();
	assert_int_equal(fake.submitted, 4 * 256);
	while (fake_complete(0))
		if (played.posted) {
			struct worker_task *task = played.posted;

			played.posted = NULL;
			task->run(task->opaque);
		}
	assert_int_equal(played.given_back, CHAINS);
}

/* A stop waits for what is in flight, which the driver gets back (the machine may only stand still
 * for a while), and takes nothing meanwhile. */
static void stop_with_requests_in_flight(void **state)
{
	struct range some[2] = {{2, 1, 0}, {4, 2, 0}};

	send_request(OUT, 0, true, 512);
	memcpy(data, some, sizeof(some));
	send_request(WRITE_ZEROES, 0, true, sizeof(some));
	assert_int_equal(fake.submitted, 2);
	played.device->ops->stop(played.device);
	assert_int_equal(played.stopped, 0);
	send_request(OUT, 0, true, 512);
	assert_int_equal(fake.submitted, 2);
	assert_true(fake_complete(0));
	assert_true(fake_complete(0)); /* its second range follows */
	assert_int_equal(played.stopped, 0);
	idle();
	assert_int_equal(fake.sent, 3);
	assert_true(fake_complete(0));
	assert_int_equal(played.stopped, 1);
	assert_int_equal(played.given_back, 2);
	assert_int_equal(played.told, 2); /* the last one before it has stopped */
	assert_false(fake_complete(0));
	/* What was left in the queue is there when it goes on. */
	played.device->ops->start(played.device);
	notify();
	assert_true(fake_complete(0));
	assert_int_equal(played.given_back, 3);
}

static void store_writeback(uint8_t value)
{
	played.device->config[32] = value;
	played.device->ops->config_written(played.device, 32, 1);
}

static void write_cache(void **state)
{
	struct range range = {2, 1, 0};

	assert_int_equal(played.device->config[32], 1);
	send_request(OUT, 0, true, 512);
	assert_false(fake.first->fua);
	fake_complete(0);
	store_writeback(0);
	send_request(OUT, 0, true, 512);
	assert_true(fake.first->fua);
	fake_complete(0);
	memcpy(data, &range, sizeof(range));
	send_request(WRITE_ZEROES, 0, true, sizeof(range));
	assert_true(fake.first->fua);
	fake_complete(0);
	store_writeback(7);
	assert_int_equal(played.device->config[32], 1);
	send_request(OUT, 0, true, 512);
	assert_false(fake.first->fua);
	fake_complete(0);
	/* Nothing else is the driver's. */
	memset(played.device->config, 0xff, played.device->config_size);
	played.device->ops->config_written(played.device, 0, 4);
	assert_int_equal(played.device->config[0], FAKE_SECTORS);
	assert_int_equal(played.device->config[4], 0);
	/* A stop of the machine changes nothing; a reset switches the cache on again, by the driver
	 * or of the machine. */
	store_writeback(0);
	played.device->ops->stop(played.device);
	assert_int_equal(played.device->config[32], 0);
	played.device->state.resetting = true;
	played.device->ops->stop(played.device);
	assert_int_equal(played.device->config[32], 1);
	played.device->state.resetting = false;
	store_writeback(0);
	played.settings_ops->reset(played.settings);
	assert_int_equal(played.device->config[32], 1);
	/* A driver that cannot flush does without. */
	played.device->features = 0;
	played.device->ops->start(played.device);
	send_request(OUT, 0, true, 512);
	assert_true(fake.first->fua);
	fake_complete(0);
}

static void describes_the_disk(void **state)
{
	uint32_t field;

	assert_int_equal(played.device->queue_count, 4);
	memcpy(&field, played.device->config + 12, 4);
	assert_int_equal(field, 254); /* seg_max */
	memcpy(&field, played.device->config + 20, 4);
	assert_int_equal(field, 512);                   /* blk_size */
	assert_int_equal(played.device->config[24], 3); /* physical blocks of 8 */
	assert_int_equal(played.device->config[34], 4); /* num_queues */
	assert_int_equal(played.device->config[56], 1); /* write_zeroes_may_unmap */
}

static void the_disk_goes_with_a_device_that_fails(void **state)
{
	teardown(state);
	memset(&played, 0, sizeof(played));
	fake_disk_setup();
	played.add_error = -ENOSPC;
	assert_int_equal(virtio_block_create(NULL, -1, 0, &fake.disk, "", 1), -ENOSPC);
	assert_int_equal(fake.destroyed, 1);
	played.add_error = 0;
	fake_disk_setup();
	fake.start_error = -EIO;
	assert_int_equal(virtio_block_create(NULL, -1, 0, &fake.disk, "", 1), -EIO);
	assert_int_equal(fake.destroyed, 0); /* the bus has the device */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reads_and_writes),
		TEST(any_cut),
		TEST(refuses_what_does_not_fit),
		TEST(needs_reset_without_a_status_byte),
		TEST(needs_reset_when_the_queue_is_broken),
		TEST(errors_of_the_disk),
		TEST(serial),
		TEST(ranges),
		TEST(a_failed_range_is_the_last),
		TEST(read_only),
		TEST(what_the_disk_cannot_do),
		TEST(many_at_once),
		TEST(bounded_turns),
		TEST(bounded_pool),
		TEST(stop_with_requests_in_flight),
		TEST(write_cache),
		TEST(describes_the_disk),
		TEST(the_disk_goes_with_a_device_that_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
