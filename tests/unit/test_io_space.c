#include "memory/io_space.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct io_space space;

/* The accesses a device has seen. */
static struct access {
	void *opaque;
	uint64_t offset, value;
	unsigned size;
} seen[16];
static unsigned count;

static uint64_t read_pattern(void *opaque, uint64_t offset, unsigned size)
{
	seen[count++] = (struct access){opaque, offset, 0, size};
	return UINT64_C(0x8877665544332211) >> (8 * (offset & 7));
}

static void record_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	/* The machine lock is held in every callback. */
	assert_int_equal(pthread_mutex_trylock(&lock.mutex), EBUSY);
	seen[count++] = (struct access){opaque, offset, value, size};
}

static const struct io_ops any = {.read = read_pattern, .write = record_write};
static const struct io_ops bytes_only = {.read = read_pattern, .write = record_write, .width = 1};
static const struct io_ops words = {.read = read_pattern, .write = record_write, .width = 2};
static const struct io_ops silent = {0};
static const struct io_ops undivided_byte = {
	.read = read_pattern, .write = record_write, .width = 1, .undivided = true};
static const struct io_ops undivided_word = {
	.read = read_pattern, .write = record_write, .width = 2, .undivided = true};

static int setup(void **state)
{
	io_space_init(&space, &lock);
	count = 0;
	return 0;
}

static int teardown(void **state)
{
	io_space_destroy(&space);
	return 0;
}

static void idle_bus_reads_all_ones(void **state)
{
	assert_int_equal(io_space_read(&space, 0x80, 1), 0xff);
	assert_int_equal(io_space_read(&space, 0x80, 4), 0xffffffff);
	assert_true(io_space_read(&space, 0x80, 8) == UINT64_MAX);
	io_space_write(&space, 0x80, 1, 1);
}

static void finds_the_region_among_many(void **state)
{
	/* Added out of order. */
	for (uint64_t i = 0; i < 64; i++) {
		uint64_t slot = i * 37 % 64;

		assert_int_equal(io_space_add(&space, slot * 16, 8, "x", &any,
					 (void *)(uintptr_t)(slot + 1)),
			0);
	}
	for (uint64_t slot = 0; slot < 64; slot++) {
		count = 0;
		assert_int_equal(io_space_read(&space, slot * 16 + 3, 1), 0x44);
		assert_int_equal(count, 1);
		assert_ptr_equal(seen[0].opaque, (void *)(uintptr_t)(slot + 1));
		assert_int_equal(seen[0].offset, 3);
		assert_int_equal(io_space_read(&space, slot * 16 + 8, 1), 0xff);
	}
}

static void overlap_is_refused(void **state)
{
	assert_int_equal(io_space_add(&space, 0x100, 0x10, "a", &any, NULL), 0);
	assert_int_equal(io_space_add(&space, 0x10f, 1, "b", &any, NULL), -EEXIST);
	assert_int_equal(io_space_add(&space, 0xff, 2, "b", &any, NULL), -EEXIST);
	assert_int_equal(io_space_add(&space, 0xf0, 0x100, "b", &any, NULL), -EEXIST);
	assert_int_equal(io_space_add(&space, 0x110, 1, "b", &any, NULL), 0);
	assert_int_equal(io_space_add(&space, 0xff, 1, "b", &any, NULL), 0);
	assert_int_equal(io_space_add(&space, 0, 0, "b", &any, NULL), -EINVAL);
	assert_int_equal(io_space_add(&space, UINT64_MAX, 2, "b", &any, NULL), -EINVAL);
}

static void removed_region_is_gone(void **state)
{
	io_space_add(&space, 0x100, 4, "a", &any, NULL);
	io_space_add(&space, 0x200, 4, "b", &any, NULL);
	assert_int_equal(io_space_remove(&space, 0x101), -ENOENT);
	assert_int_equal(io_space_remove(&space, 0x100), 0);
	assert_int_equal(io_space_remove(&space, 0x100), -ENOENT);
	assert_int_equal(io_space_read(&space, 0x100, 1), 0xff);
	assert_int_equal(io_space_read(&space, 0x200, 1), 0x11);
}

static void access_past_the_end_is_split(void **state)
{
	io_space_add(&space, 0x100, 4, "a", &any, NULL);
	/* Two bytes of the device, two of the idle bus. */
	assert_int_equal(io_space_read(&space, 0x102, 4), 0xffff4433);
	assert_int_equal(count, 2);
	count = 0;
	io_space_write(&space, 0xff, 0xddccbbaa, 4);
	assert_int_equal(count, 3);
	assert_int_equal(seen[0].offset, 0);
	assert_int_equal(seen[0].value, 0xbb);
	assert_int_equal(seen[0].size, 1);
	assert_int_equal(seen[2].value, 0xdd);
}

static void wide_access_to_narrow_device_is_split(void **state)
{
	io_space_add(&space, 0x70, 2, "rtc", &bytes_only, NULL);
	io_space_write(&space, 0x70, 0x1234, 2);
	assert_int_equal(count, 2);
	assert_int_equal(seen[0].offset, 0);
	assert_int_equal(seen[0].value, 0x34);
	assert_int_equal(seen[1].offset, 1);
	assert_int_equal(seen[1].value, 0x12);

	io_space_add(&space, 0x600, 8, "acpi", &words, NULL);
	count = 0;
	assert_int_equal(io_space_read(&space, 0x600, 4), 0x44332211);
	assert_int_equal(count, 2);
	assert_int_equal(seen[1].size, 2);
}

/* Parts of an access do not reach a region that is `undivided`, whatever it was that split the
 * access: the region's width, its end, or a neighbour. */
static void undivided_region_sees_no_parts(void **state)
{
	io_space_add(&space, 0x101, 1, "byte", &undivided_byte, NULL);
	io_space_add(&space, 0x102, 2, "neighbour", &any, NULL);
	io_space_add(&space, 0x200, 4, "words", &undivided_word, NULL);

	assert_int_equal(io_space_read(&space, 0x100, 4), 0x2211ffff);
	assert_int_equal(count, 2); /* the neighbour's bytes */
	count = 0;
	io_space_write(&space, 0x101, 0x0605, 2);
	assert_int_equal(count, 1);
	assert_int_equal(seen[0].value, 0x06);
	count = 0;
	io_space_write(&space, 0x101, 0x06, 1);
	assert_int_equal(count, 1);

	count = 0;
	assert_int_equal(io_space_read(&space, 0x200, 4), 0xffffffff);
	io_space_write(&space, 0x1fe, 0x12345678, 4);
	io_space_write(&space, 0x202, 0x12345678, 4);
	assert_int_equal(count, 0);
	assert_int_equal(io_space_read(&space, 0x202, 2), 0x4433);
	io_space_write(&space, 0x200, 0x1234, 2);
	assert_int_equal(count, 2);
}

/* A device whose register decides where it is, as a PCI function's BAR does. */
static void move_myself(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	static const struct io_ops moving = {.write = move_myself, .width = 1};

	count++;
	assert_int_equal(io_space_remove(&space, *(uint64_t *)opaque), 0);
	*(uint64_t *)opaque = 0x1000 * value;
	assert_int_equal(io_space_add(&space, 0x1000 * value, 4, "moving", &moving, opaque), 0);
	/* Enough of them for the table to be moved in memory. */
	for (uint64_t i = 0; i < 64; i++)
		io_space_add(&space, 0x100000 + 0x10000 * value + i, 1, "more", &any, NULL);
}

static void regions_change_inside_a_callback(void **state)
{
	static const struct io_ops moving = {.write = move_myself, .width = 1};
	uint64_t start = 0x1000;

	assert_int_equal(io_space_add(&space, start, 4, "moving", &moving, &start), 0);
	io_space_write(&space, 0x1000, 2, 1);
	assert_int_equal(start, 0x2000);
	assert_int_equal(count, 1);
	/* An access in parts: the first moves the region away, the others find an idle bus. */
	io_space_write(&space, 0x2000, 0x09080703, 4);
	assert_int_equal(start, 0x3000);
	assert_int_equal(count, 2);
	io_space_write(&space, 0x2000, 5, 1);
	assert_int_equal(count, 2);
	io_space_write(&space, 0x3003, 4, 1);
	assert_int_equal(start, 0x4000);
}

static void result_is_cut_to_size(void **state)
{
	io_space_add(&space, 0, 8, "a", &any, NULL);
	assert_int_equal(io_space_read(&space, 0, 1), 0x11);
	assert_int_equal(io_space_read(&space, 0, 2), 0x2211);
	io_space_write(&space, 0, 0xffffff12, 1);
	assert_int_equal(seen[2].value, 0x12);
}

static void missing_operations(void **state)
{
	io_space_add(&space, 0, 8, "a", &silent, NULL);
	assert_int_equal(io_space_read(&space, 0, 2), 0xffff);
	io_space_write(&space, 0, 1, 1);
}

/* A doubleword register in whose second byte another device's register is, as ports 0xcf8 and 0xcf9
 * have it. */
static void whole_register_reaches_past_its_region(void **state)
{
	static const struct io_ops whole = {
		.read = read_pattern, .write = record_write, .whole = 4};

	io_space_add(&space, 0xcf8, 1, "doubleword", &whole, NULL);
	io_space_add(&space, 0xcf9, 1, "byte", &undivided_byte, NULL);
	io_space_write(&space, 0xcf8, 0x12345678, 4);
	assert_int_equal(count, 1);
	assert_int_equal(seen[0].size, 4);
	assert_int_equal(seen[0].value, 0x12345678);
	assert_int_equal(io_space_read(&space, 0xcf8, 4), 0x44332211);
	count = 0;
	io_space_write(&space, 0xcf9, 6, 1);
	io_space_write(&space, 0xcf8, 6, 2);
	assert_int_equal(count, 2);
	assert_int_equal(seen[0].size, 1);
	assert_int_equal(seen[1].size, 1);
	assert_int_equal(seen[1].offset, 0);
}

/* --- doorbells --- */

static void record_ring(void *opaque, uint64_t offset, uint64_t value)
{
	assert_int_equal(pthread_mutex_trylock(&lock.mutex), 0);
	pthread_mutex_unlock(&lock.mutex);
	seen[count++] = (struct access){opaque, offset, value, 0};
}

static void doorbell_takes_stores_without_the_lock(void **state)
{
	io_space_add(&space, 0x1000, 0x1000, "device", &any, NULL);
	assert_int_equal(io_space_add_doorbell(&space, 0x1800, 8, 0x1000, record_ring, &count), 0);
	io_space_write(&space, 0x1804, UINT64_C(0xfffff0007), 4);
	assert_int_equal(count, 1);
	assert_ptr_equal(seen[0].opaque, &count);
	assert_int_equal(seen[0].offset, 0x804);
	assert_int_equal(seen[0].value, 0xffff0007);
	assert_int_equal(seen[0].size, 0);
	/* Loads, and stores that lie in it in part only, are the region's. */
	io_space_read(&space, 0x1804, 4);
	io_space_write(&space, 0x17fe, 1, 4);
	io_space_write(&space, 0x1806, 1, 4);
	assert_int_equal(count, 4);
	for (unsigned i = 1; i < count; i++)
		assert_int_equal(seen[i].size, 4);
	count = 0;
	assert_int_equal(io_space_remove_doorbell(&space, 0x1804), -ENOENT);
	assert_int_equal(io_space_remove_doorbell(&space, 0x1800), 0);
	io_space_write(&space, 0x1804, 1, 4);
	assert_int_equal(seen[0].size, 4);
}

static void as_many_doorbells_as_there_is_room_for(void **state)
{
	static char opaques[IO_DOORBELLS];

	for (unsigned i = 0; i < IO_DOORBELLS; i++)
		assert_int_equal(io_space_add_doorbell(&space, 0x1000 * i, 4, 0x1000 * i,
					 record_ring, &opaques[i]),
			0);
	assert_int_equal(io_space_add_doorbell(&space, 0x100000, 4, 0, record_ring, NULL), -ENOSPC);
	assert_int_equal(io_space_remove_doorbell(&space, 0x5000), 0);
	for (unsigned i = 0; i < IO_DOORBELLS; i++) {
		count = 0;
		io_space_write(&space, 0x1000 * i, i, 4);
		assert_int_equal(count, i != 5);
		if (count)
			assert_ptr_equal(seen[0].opaque, &opaques[i]);
	}
}

/* Two doorbells trade places in the table again and again: each store reaches the one at its
 * address, with that one's own offset and opaque, or none. */
static atomic_bool stop;
static atomic_uint wrong, rung;

static void check_ring(void *opaque, uint64_t offset, uint64_t value)
{
	atomic_fetch_add(&rung, 1);
	if ((uintptr_t)opaque != value || offset != 0x10 * value)
		atomic_fetch_add(&wrong, 1);
}

static void *ring_both(void *unused)
{
	while (!atomic_load(&stop))
		for (uint64_t i = 1; i <= 2; i++)
			io_space_write(&space, 0x10000 * i + 0x10 * i, i, 4);
	return NULL;
}

static void doorbells_change_under_stores(void **state)
{
	pthread_t thread;

	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&thread, NULL, ring_both, NULL), 0);
	for (unsigned i = 0; i < 20000 || atomic_load(&rung) < 100; i++) {
		uint64_t n = i % 2 + 1;

		priority_lock_take(&lock);
		io_space_remove_doorbell(&space, 0x10000 * n);
		assert_int_equal(io_space_add_doorbell(&space, 0x10000 * n, 0x100, 0x10000 * n,
					 check_ring, (void *)(uintptr_t)n),
			0);
		priority_lock_release(&lock);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&wrong), 0);
}

/* What a doorbell leads to may go once it was removed and none is being rung. */
static void ring_alive(void *opaque, uint64_t offset, uint64_t value)
{
	if (!atomic_load((atomic_bool *)opaque))
		atomic_fetch_add(&wrong, 1);
	atomic_fetch_add(&rung, 1);
}

static void *ring_one(void *unused)
{
	while (!atomic_load(&stop))
		io_space_write(&space, 0x10000, 0, 4);
	return NULL;
}

static void removed_doorbell_is_quiet(void **state)
{
	static atomic_bool alive[2];
	pthread_t thread;

	atomic_store(&stop, false);
	atomic_store(&wrong, 0);
	assert_int_equal(pthread_create(&thread, NULL, ring_one, NULL), 0);
	for (unsigned i = 0; i < 20000; i++) {
		atomic_store(&alive[i % 2], true);
		priority_lock_take(&lock);
		io_space_add_doorbell(&space, 0x10000, 4, 0x10000, ring_alive, &alive[i % 2]);
		priority_lock_release(&lock);
		if (i % 100 == 0)
			for (unsigned before = atomic_load(&rung); atomic_load(&rung) == before;)
				;
		priority_lock_take(&lock);
		io_space_remove_doorbell(&space, 0x10000);
		while (!io_space_doorbells_quiet(&space))
			;
		atomic_store(&alive[i % 2], false);
		priority_lock_release(&lock);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&wrong), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(idle_bus_reads_all_ones, setup, teardown),
		cmocka_unit_test_setup_teardown(finds_the_region_among_many, setup, teardown),
		cmocka_unit_test_setup_teardown(overlap_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(removed_region_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(access_past_the_end_is_split, setup, teardown),
		cmocka_unit_test_setup_teardown(
			wide_access_to_narrow_device_is_split, setup, teardown),
		cmocka_unit_test_setup_teardown(undivided_region_sees_no_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(regions_change_inside_a_callback, setup, teardown),
		cmocka_unit_test_setup_teardown(result_is_cut_to_size, setup, teardown),
		cmocka_unit_test_setup_teardown(missing_operations, setup, teardown),
		cmocka_unit_test_setup_teardown(
			whole_register_reaches_past_its_region, setup, teardown),
		cmocka_unit_test_setup_teardown(
			doorbell_takes_stores_without_the_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(
			as_many_doorbells_as_there_is_room_for, setup, teardown),
		cmocka_unit_test_setup_teardown(doorbells_change_under_stores, setup, teardown),
		cmocka_unit_test_setup_teardown(removed_doorbell_is_quiet, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
