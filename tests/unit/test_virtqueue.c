/* The device's end of a virtqueue against a driver that keeps to the rules (virtio_driver.h), and
 * against rings full of nonsense. Each test runs with split and packed rings, with and without
 * event indices. */
#include "virtio_driver.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define RING   UINT64_C(0x10000)
#define BUFFER UINT64_C(0x100000)
#define TABLE  UINT64_C(0x80000)
#define ROM    UINT64_C(0xf0000)
#define RAM    (16 * MIB)

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;
static struct dma dma;
static struct driver driver;
static struct virtqueue queue;
static struct iovec pieces[VIRTIO_CHAIN_PIECES];
static struct virtio_chain chain;
static unsigned interrupts;

static void interrupt(void *opaque, struct virtqueue *from)
{
	assert_ptr_equal(from, &queue);
	interrupts++;
}

static int setup(void **state)
{
	static const uint8_t rom[PAGE_SIZE];

	if (memory_create(&memory, RAM, 40, &lock) < 0)
		return -1;
	dma = (struct dma){.memory = &memory, .enabled = true};
	return memory_rom_add(&memory, ROM, sizeof(rom), rom, "test");
}

static int teardown(void **state)
{
	memory_destroy(&memory);
	return 0;
}

/* What a ring is like: bit 0: packed, bit 1: event index. */
static uint64_t features_of(unsigned kind)
{
	return VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | (kind & 1 ? VIRTIO_F_RING_PACKED : 0) |
	       (kind & 2 ? VIRTIO_F_EVENT_IDX : 0);
}

static void begin(unsigned kind, uint16_t size)
{
	struct virtqueue_setup as;

	driver_init(&driver, memory.ram, RING, size, kind & 1, kind & 2);
	as = driver_setup(&driver);
	queue = (struct virtqueue){.interrupt = interrupt};
	assert_int_equal(virtqueue_start(&queue, &dma, &as, 3, features_of(kind)), 0);
	chain = (struct virtio_chain){.pieces = pieces, .limit = VIRTIO_CHAIN_PIECES};
	interrupts = 0;
}

#define EACH_KIND(kind, size) for (unsigned kind = 0; kind < 4 && (begin(kind, size), true); kind++)

static const struct buffer one_read = {BUFFER, 16, 0};

static void take_one(void)
{
	assert_int_equal(virtqueue_take(&queue, &chain), 1);
}

static void chain_goes_there_and_back(void **state)
{
	const struct buffer buffers[] = {{BUFFER, 10, 0}, {BUFFER + 100, 20, 0},
		{BUFFER + 200, 5, VRING_DESC_F_WRITE}, {BUFFER + 300, 50, VRING_DESC_F_WRITE}};
	char text[64];
	uint32_t written;
	int id;

	EACH_KIND(kind, 8)
	{
		assert_int_equal(virtqueue_take(&queue, &chain), 0);
		assert_false(virtqueue_has_more(&queue));
		memcpy(memory.ram + BUFFER, "read these", 10);
		memcpy(memory.ram + BUFFER + 100, " and those", 11);
		id = driver_add(&driver, buffers, 4);
		assert_true(virtqueue_has_more(&queue));
		take_one();
		assert_int_equal(chain.readable, 2);
		assert_int_equal(chain.writable, 2);
		assert_int_equal(chain.readable_bytes, 30);
		assert_int_equal(chain.writable_bytes, 55);
		assert_int_equal(virtio_chain_read(&chain, 5, text, 64), 25);
		assert_string_equal(text, "these and those");
		assert_int_equal(virtio_chain_write(&chain, 2, "answer", 7), 7);
		assert_memory_equal(memory.ram + BUFFER + 202, "ans", 3);
		assert_string_equal(memory.ram + BUFFER + 300, "wer");
		assert_int_equal(driver_get(&driver, &written), -1);
		virtqueue_give_back(&queue, &chain, 9);
		assert_int_equal(driver_get(&driver, &written), id);
		assert_int_equal(written, 9);
		assert_int_equal(driver_get(&driver, &written), -1);
		assert_int_equal(virtqueue_take(&queue, &chain), 0);
	}
}

static void chains_come_back_together(void **state)
{
	const struct buffer buffers[] = {
		{BUFFER, 10, VRING_DESC_F_WRITE}, {BUFFER + 16, 10, VRING_DESC_F_WRITE}};
	static const uint32_t lengths[] = {10, 5, 0};
	struct iovec their_pieces[3][4];
	struct virtio_chain chains[3];
	uint32_t written;
	int id[3];

	EACH_KIND(kind, 8)
	{
		for (unsigned round = 0; round < 20; round++) {
			for (unsigned i = 0; i < 3; i++) {
				id[i] = driver_add(&driver, buffers, 1 + (i + round) % 2);
				chains[i] = (struct virtio_chain){
					.pieces = their_pieces[i], .limit = 4};
				assert_int_equal(virtqueue_take(&queue, &chains[i]), 1);
			}
			if (round % 3 == 0) { /* untake several, the last one first */
				for (unsigned i = 3; i--;)
					virtqueue_untake(&queue, &chains[i]);
				for (unsigned i = 0; i < 3; i++)
					assert_int_equal(virtqueue_take(&queue, &chains[i]), 1);
			}
			virtqueue_give_back_together(&queue, chains, lengths, 3);
			for (unsigned i = 0; i < 3; i++) {
				assert_int_equal(driver_get(&driver, &written), id[i]);
				assert_int_equal(written, lengths[i]);
			}
			assert_int_equal(driver_get(&driver, &written), -1);
		}
	}
}

static void more_than_there_is_was_not_written(void **state)
{
	uint32_t written;

	EACH_KIND(kind, 8)
	{
		driver_add(&driver, &one_read, 1);
		take_one();
		virtqueue_give_back(&queue, &chain, 100);
		assert_true(driver_get(&driver, &written) >= 0);
		assert_int_equal(written, 0);
	}
}

/* Chains of random lengths, given back in random order, many times round the ring. */
static void ring_goes_round(unsigned kind, uint16_t size)
{
	struct virtio_chain taken[64];
	unsigned count = 0, given = 0, seen = 0;
	struct buffer buffers[4];
	uint32_t written;

	begin(kind, size);
	while (seen < 20000) {
		unsigned length = 1 + (unsigned)rand() % MIN(4u, size), pick;

		for (unsigned i = 0; i < length; i++)
			buffers[i] = (struct buffer){BUFFER + 16 * i, 16, VRING_DESC_F_WRITE};
		while (driver_add(&driver, buffers, length) >= 0)
			;
		while (virtqueue_take(&queue, &chain) > 0) {
			assert_true(count < size);
			assert_int_equal(chain.writable_bytes % 16, 0);
			taken[count++] = chain;
		}
		assert_false(queue.broken);
		if (count) {
			pick = (unsigned)rand() % count;
			virtqueue_give_back(&queue, &taken[pick], ++given % 16);
			taken[pick] = taken[--count];
			if (rand() % 3)
				continue;
		}
		for (; driver_get(&driver, &written) >= 0; seen++)
			assert_int_equal(written, (seen + 1) % 16);
		assert_int_equal(seen, given);
	}
	assert_int_equal(queue.in_flight, count);
}

static void rings_go_round(void **state)
{
	for (unsigned kind = 0; kind < 4; kind++) {
		ring_goes_round(kind, 1);
		ring_goes_round(kind, 8);
		ring_goes_round(kind, 64);
	}
	ring_goes_round(1, 7); /* a packed ring need not be a power of two */
	ring_goes_round(3, 33);
}

static void driver_notifies_when_asked(void **state)
{
	for (unsigned kind = 0; kind < 4; kind++) {
		begin(kind, 8);
		for (unsigned round = 0; round < 100; round++) {
			uint32_t written;

			assert_int_equal(virtqueue_take(&queue, &chain), 0);
			driver_add(&driver, &one_read, 1);
			assert_true(driver_must_notify(&driver));
			driver_add(&driver, &one_read, 1);
			take_one();
			virtqueue_give_back(&queue, &chain, 0);
			/* It has been told to be quiet, or is past the index that we asked for. */
			assert_false(driver_must_notify(&driver));
			take_one();
			virtqueue_give_back(&queue, &chain, 0);
			assert_true(driver_get(&driver, &written) >= 0);
			assert_true(driver_get(&driver, &written) >= 0);
		}
	}
}

static void driver_is_interrupted_when_it_wants(void **state)
{
	for (unsigned kind = 0; kind < 4; kind++) {
		begin(kind, 8);
		for (unsigned round = 0; round < 100; round++) {
			bool wanted = round % 3;
			uint32_t written;

			interrupts = 0;
			driver_want_interrupt(&driver, wanted);
			virtqueue_tell_driver(&queue);
			assert_int_equal(interrupts, 0);
			for (unsigned i = 0; i < 5; i++) {
				driver_add(&driver, &one_read, 1);
				take_one();
				virtqueue_give_back(&queue, &chain, 0);
			}
			virtqueue_tell_driver(&queue);
			virtqueue_tell_driver(&queue);
			assert_int_equal(interrupts, wanted);
			for (unsigned i = 0; i < 5; i++)
				assert_true(driver_get(&driver, &written) >= 0);
		}
	}
}

static void chain_is_put_back(void **state)
{
	const struct buffer two[] = {{BUFFER, 16, 0}, {BUFFER, 16, 0}};
	uint32_t written;

	for (unsigned kind = 0; kind < 4; kind++) {
		begin(kind, 8);
		for (unsigned round = 0; round < 50; round++) {
			int id = driver_add(&driver, two, 1 + round % 2);

			take_one();
			virtqueue_untake(&queue, &chain);
			assert_int_equal(queue.in_flight, 0);
			take_one();
			virtqueue_give_back(&queue, &chain, 0);
			assert_int_equal(driver_get(&driver, &written), id);
		}
	}
}

static void queue_goes_on_from_its_position(void **state)
{
	struct virtqueue_setup as;
	uint32_t written;

	for (unsigned kind = 0; kind < 4; kind++) {
		begin(kind, 8);
		for (unsigned round = 0; round < 50; round++) {
			as = driver_setup(&driver);
			virtqueue_position(&queue, &as);
			assert_int_equal(
				virtqueue_start(&queue, &dma, &as, 3, features_of(kind)), 0);
			/* The first look at an empty ring turns notifications on. */
			assert_int_equal(virtqueue_take(&queue, &chain), 0);
			driver_add(&driver, &one_read, 1);
			assert_true(driver_must_notify(&driver));
			take_one();
			virtqueue_give_back(&queue, &chain, 0);
			assert_true(driver_get(&driver, &written) >= 0);
		}
	}
}

static void impossible_queues_do_not_start(void **state)
{
	static const struct {
		uint16_t size;
		int64_t descriptors, driver, device; /* by how much the address is moved */
		uint16_t next_available;
		bool split_only, packed_only;
	} cases[] = {
		{0},
		{.size = 2048},
		{.size = 6, .split_only = true},
		{.size = 8, .descriptors = 8},
		{.size = 8, .driver = 1},
		{.size = 8, .device = 2},
		{.size = 8, .descriptors = RAM},
		{.size = 8, .driver = RAM},
		{.size = 8, .device = -(int64_t)RING - 0x2000 - 64},
		{.size = 8, .descriptors = RAM - RING - 112},
		{.size = 8, .device = 0xb0000 - RING},
		{.size = 8, .descriptors = 0xa0000 - RING - 16},
		{.size = 8, .device = ROM - RING - 0x2000},
		{.size = 8, .next_available = 8, .packed_only = true},
	};

	for (unsigned i = 0; i < 4 * ARRAY_SIZE(cases); i++) {
		unsigned kind = i % 4, at = i / 4;
		struct virtqueue_setup as;

		if (kind & 1 ? cases[at].split_only : cases[at].packed_only)
			continue;
		begin(kind, 8);
		as = driver_setup(&driver);
		/* On addresses that all alignments go with. */
		as.driver = RING + 0x1000;
		as.device = RING + 0x2000;
		as.size = cases[at].size;
		as.descriptors += (uint64_t)cases[at].descriptors;
		as.driver += (uint64_t)cases[at].driver;
		as.device += (uint64_t)cases[at].device;
		as.next_available = cases[at].next_available;
		assert_int_equal(virtqueue_start(&queue, &dma, &as, 0, features_of(kind)), -EINVAL);
		assert_int_equal(virtqueue_take(&queue, &chain), -EINVAL);
		assert_false(virtqueue_has_more(&queue));
	}
}

static void is_broken(void)
{
	assert_int_equal(virtqueue_take(&queue, &chain), -EINVAL);
	assert_true(queue.broken);
	assert_int_equal(virtqueue_take(&queue, &chain), -EINVAL);
	assert_false(virtqueue_has_more(&queue));
}

static void bad_buffers_break_the_queue(void **state)
{
	static const struct {
		unsigned count;
		struct buffer buffers[3];
	} cases[] = {
		{1, {{BUFFER, 0, 0}}},
		{1, {{RAM, 1, 0}}},
		{1, {{RAM - 1, 2, VRING_DESC_F_WRITE}}},
		{1, {{0x9ffff, 2, 0}}},
		{1, {{0xfee00000, 4, VRING_DESC_F_WRITE}}},
		{1, {{UINT64_MAX, 1, 0}}},
		{1, {{UINT64_MAX, 2, 0}}},
		{1, {{BUFFER, UINT32_MAX, 0}}},
		{1, {{ROM, 16, VRING_DESC_F_WRITE}}},
		{2, {{BUFFER, 16, VRING_DESC_F_WRITE}, {BUFFER, 16, 0}}},
		/* Indirect tables: size, place, more behind them, two. */
		{1, {{TABLE, 8, VRING_DESC_F_INDIRECT}}},
		{1, {{TABLE, 0, VRING_DESC_F_INDIRECT}}},
		{1, {{TABLE, 24, VRING_DESC_F_INDIRECT}}},
		{1, {{TABLE, 16 * (VIRTQUEUE_MAX_SIZE + 1), VRING_DESC_F_INDIRECT}}},
		{1, {{RAM - 8, 16, VRING_DESC_F_INDIRECT}}},
		{2, {{TABLE, 16, VRING_DESC_F_INDIRECT}, {BUFFER, 16, 0}}},
	};

	for (unsigned i = 0; i < 4 * ARRAY_SIZE(cases); i++) {
		begin(i % 4, 8);
		memcpy(memory.ram + TABLE, &(struct vring_desc){BUFFER, 16, 0, 0}, 16);
		assert_true(driver_add(&driver, cases[i / 4].buffers, cases[i / 4].count) >= 0);
		is_broken();
	}
}

static void rom_may_be_read(void **state)
{
	EACH_KIND(kind, 8)
	{
		driver_add(&driver, &(struct buffer){ROM, 16, 0}, 1);
		take_one();
	}
}

/* Descriptors of an indirect table, in the form of each ring. */
static void table_entry(unsigned kind, unsigned index, struct buffer buffer, uint16_t next)
{
	struct vring_desc split = {buffer.address, buffer.length, buffer.flags, next};
	struct vring_packed_desc packed = {buffer.address, buffer.length, 0, buffer.flags};

	memcpy(memory.ram + TABLE + 16 * index, kind & 1 ? (void *)&packed : (void *)&split, 16);
}

static void indirect_tables(void **state)
{
	const struct buffer direct[] = {{BUFFER, 16, 0}, {TABLE, 48, VRING_DESC_F_INDIRECT}};
	uint32_t written;

	EACH_KIND(kind, 8)
	{
		uint16_t next = kind & 1 ? 0 : VRING_DESC_F_NEXT;

		table_entry(kind, 0, (struct buffer){BUFFER, 1, next}, 1);
		table_entry(kind, 1, (struct buffer){BUFFER, 2, next | VRING_DESC_F_WRITE}, 2);
		table_entry(kind, 2, (struct buffer){BUFFER, 4, VRING_DESC_F_WRITE}, 9);
		for (unsigned before = 0; before < 2; before++) {
			int id = driver_add(&driver, direct + 1 - before, 1 + before);

			take_one();
			assert_int_equal(chain.readable, 1 + before);
			assert_int_equal(chain.readable_bytes, 1 + 16 * before);
			assert_int_equal(chain.writable_bytes, 6);
			virtqueue_give_back(&queue, &chain, 6);
			assert_int_equal(driver_get(&driver, &written), id);
		}
	}
}

static void bad_indirect_tables_break_the_queue(void **state)
{
	const struct buffer direct = {TABLE, 32, VRING_DESC_F_INDIRECT};

	EACH_KIND(kind, 8) /* another table in a table */
	{
		table_entry(kind, 0, (struct buffer){TABLE + 32, 16, VRING_DESC_F_INDIRECT}, 0);
		table_entry(kind, 1, one_read, 0);
		table_entry(kind, 2, one_read, 0);
		driver_add(&driver, &direct, 1);
		is_broken();
	}
	EACH_KIND(kind, 8) /* not negotiated */
	{
		struct virtqueue_setup as = driver_setup(&driver);

		virtqueue_start(&queue, &dma, &as, 0, features_of(kind) & ~VIRTIO_F_INDIRECT_DESC);
		table_entry(kind, 0, one_read, 0);
		table_entry(kind, 1, one_read, 0);
		driver_add(&driver, &direct, 1);
		is_broken();
	}
	for (unsigned next = 0; next < 4; next++) { /* loops, and indices past the table */
		begin(0, 8);
		table_entry(0, 0, (struct buffer){BUFFER, 16, VRING_DESC_F_NEXT}, 1);
		table_entry(0, 1, (struct buffer){BUFFER, 16, VRING_DESC_F_NEXT}, (uint16_t)next);
		driver_add(&driver, &direct, 1);
		is_broken();
	}
}

static void longest_indirect_table_fits(void **state)
{
	const struct buffer direct = {TABLE, 16 * VIRTQUEUE_MAX_SIZE, VRING_DESC_F_INDIRECT};

	EACH_KIND(kind, 8)
	{
		for (unsigned i = 0; i < VIRTQUEUE_MAX_SIZE; i++)
			table_entry(kind, i,
				(struct buffer){BUFFER + 32 * i, 16,
					i + 1 < VIRTQUEUE_MAX_SIZE ? VRING_DESC_F_NEXT : 0},
				(uint16_t)(i + 1));
		driver_add(&driver, &direct, 1);
		take_one();
		assert_int_equal(chain.readable, VIRTQUEUE_MAX_SIZE);
		virtqueue_untake(&queue, &chain);
		chain.limit = VIRTQUEUE_MAX_SIZE - 1;
		is_broken();
	}
}

static void longest_chain_has_4_gib(void **state)
{
	const struct buffer direct = {TABLE, 16 * VIRTQUEUE_MAX_SIZE, VRING_DESC_F_INDIRECT};

	for (unsigned more = 0; more < 2; more++) {
		EACH_KIND(kind, 8)
		{
			for (unsigned i = 0; i < VIRTQUEUE_MAX_SIZE; i++)
				table_entry(kind, i,
					(struct buffer){BUFFER, (uint32_t)(4 * MIB + more * !i),
						i + 1 < VIRTQUEUE_MAX_SIZE ? VRING_DESC_F_NEXT : 0},
					(uint16_t)(i + 1));
			driver_add(&driver, &direct, 1);
			if (more)
				is_broken();
			else
				take_one();
		}
	}
}

static void loops_and_indices_break_the_queue(void **state)
{
	begin(0, 8); /* a loop */
	driver_add(&driver, &one_read, 1);
	split_descriptors(&driver)[0] = (struct vring_desc){BUFFER, 16, VRING_DESC_F_NEXT, 0};
	is_broken();

	begin(0, 8); /* a descriptor that there is not */
	driver_add(&driver, &one_read, 1);
	split_descriptors(&driver)[0] = (struct vring_desc){BUFFER, 16, VRING_DESC_F_NEXT, 8};
	is_broken();

	begin(0, 8); /* a head that there is not */
	driver_add(&driver, &one_read, 1);
	*driver_word(&driver, driver.driver + 4) = 8;
	is_broken();

	begin(0, 8); /* more chains than the ring has room for */
	*driver_word(&driver, driver.driver + 2) = 9;
	is_broken();

	begin(1, 8); /* a packed chain without an end */
	driver_add(&driver, &one_read, 1);
	for (unsigned i = 0; i < 8; i++) {
		packed_descriptors(&driver)[i] = packed_descriptors(&driver)[0];
		packed_descriptors(&driver)[i].flags |= VRING_DESC_F_NEXT;
	}
	is_broken();
}

/* A driver that makes chains available again which have not come back. */
static void chains_in_flight_are_bounded(void **state)
{
	begin(0, 8);
	for (unsigned i = 0; i < 8; i++) {
		*driver_word(&driver, driver.driver + 2) = (uint16_t)(i + 1);
		split_descriptors(&driver)[0] = (struct vring_desc){BUFFER, 16, 0, 0};
		take_one();
	}
	*driver_word(&driver, driver.driver + 2) = 9;
	is_broken();
}

static void without_bus_mastering_there_is_nothing(void **state)
{
	uint32_t written;

	EACH_KIND(kind, 8)
	{
		driver_add(&driver, &one_read, 1);
		driver_add(&driver, &one_read, 1);
		take_one();
		dma.enabled = false;
		virtqueue_give_back(&queue, &chain, 0);
		virtqueue_tell_driver(&queue);
		assert_int_equal(interrupts, 0);
		assert_int_equal(driver_get(&driver, &written), -1);
		assert_false(virtqueue_has_more(&queue));
		assert_int_equal(virtqueue_take(&queue, &chain), 0);
		dma.enabled = true;
		take_one();
	}
}

/* The log of stores to RAM has the pages of data and of the ring. */
static void stores_are_reported(void **state)
{
	struct buffer buffer = {BUFFER, 16, VRING_DESC_F_WRITE};
	static uint64_t log[RAM / PAGE_SIZE / 64];

	assert_int_equal(memory_log_start(&memory), 0);
	EACH_KIND(kind, 8)
	{
		driver_add(&driver, &buffer, 1);
		take_one();
		memory_log_take(&memory, 0, RAM / PAGE_SIZE, log);
		virtqueue_give_back(&queue, &chain, 16);
		virtqueue_tell_driver(&queue);
		memory_log_take(&memory, 0, RAM / PAGE_SIZE, log);
		assert_true(log[BUFFER / PAGE_SIZE / 64] >> (BUFFER / PAGE_SIZE % 64) & 1);
		assert_true(log[RING / PAGE_SIZE / 64] >> (RING / PAGE_SIZE % 64) & 1);
	}
	memory_log_stop(&memory);
}

/* --- two threads that sleep until the other one calls --- */

#define CHAINS 30000

static sem_t doorbell, interrupted;

static void post_interrupt(void *opaque, struct virtqueue *from)
{
	sem_post(&interrupted);
}

/* False: nobody has called for ten seconds. */
static bool sleep_until(sem_t *call)
{
	struct timespec limit;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 10;
	return sem_timedwait(call, &limit) == 0;
}

static void *device_thread(void *opaque)
{
	for (unsigned count = 0; count < CHAINS;) {
		unsigned before = count;

		for (; virtqueue_take(&queue, &chain) > 0; count++) {
			virtio_chain_write(&chain, 0, &(uint32_t){count}, 4);
			virtqueue_give_back(&queue, &chain, 4);
			if (count % 3 == 0)
				virtqueue_tell_driver(&queue);
		}
		virtqueue_tell_driver(&queue);
		if (queue.broken || (count == before && !sleep_until(&doorbell)))
			return "a notification was lost";
	}
	return NULL;
}

static void nobody_misses_a_call(void **state)
{
	for (unsigned kind = 0; kind < 4; kind++) {
		unsigned added = 0, seen = 0;
		uint32_t written, last;
		pthread_t thread;
		void *message;

		begin(kind, 16);
		queue.interrupt = post_interrupt;
		sem_init(&doorbell, 0, 0);
		sem_init(&interrupted, 0, 0);
		assert_int_equal(pthread_create(&thread, NULL, device_thread, NULL), 0);
		while (seen < CHAINS) {
			unsigned before = seen;
			int id;

			for (; added < CHAINS; added++) {
				struct buffer buffer = {
					BUFFER + 8 * (added % 16), 4, VRING_DESC_F_WRITE};

				if (driver_add(&driver, &buffer, 1) < 0)
					break;
				if (driver_must_notify(&driver))
					sem_post(&doorbell);
			}
			driver_want_interrupt(&driver, false);
			for (; (id = driver_get(&driver, &written)) >= 0; seen++) {
				memcpy(&last, memory.ram + BUFFER + 8 * (seen % 16), 4);
				assert_int_equal(last, seen);
			}
			if (seen != before)
				continue;
			driver_want_interrupt(&driver, true);
			if ((id = driver_get(&driver, &written)) >= 0)
				seen++;
			else
				assert_true(sleep_until(&interrupted));
		}
		pthread_join(thread, &message);
		assert_null(message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chain_goes_there_and_back),
		cmocka_unit_test(chains_come_back_together),
		cmocka_unit_test(more_than_there_is_was_not_written),
		cmocka_unit_test(rings_go_round),
		cmocka_unit_test(driver_notifies_when_asked),
		cmocka_unit_test(driver_is_interrupted_when_it_wants),
		cmocka_unit_test(chain_is_put_back),
		cmocka_unit_test(queue_goes_on_from_its_position),
		cmocka_unit_test(impossible_queues_do_not_start),
		cmocka_unit_test(bad_buffers_break_the_queue),
		cmocka_unit_test(rom_may_be_read),
		cmocka_unit_test(indirect_tables),
		cmocka_unit_test(bad_indirect_tables_break_the_queue),
		cmocka_unit_test(longest_indirect_table_fits),
		cmocka_unit_test(longest_chain_has_4_gib),
		cmocka_unit_test(loops_and_indices_break_the_queue),
		cmocka_unit_test(chains_in_flight_are_bounded),
		cmocka_unit_test(without_bus_mastering_there_is_nothing),
		cmocka_unit_test(stores_are_reported),
		cmocka_unit_test(nobody_misses_a_call),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
