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
	return UINT64_C(0x8877665544332211) >> (8 * offset);
}

static void record_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	/* The machine lock is held in every callback. */
	assert_int_equal(pthread_mutex_trylock(&lock.mutex), EBUSY);
	seen[count++] = (struct access){opaque, offset, value, size};
}

static const struct io_ops any = {read_pattern, record_write, 0, false};
static const struct io_ops bytes_only = {read_pattern, record_write, 1, false};
static const struct io_ops words = {read_pattern, record_write, 2, false};
static const struct io_ops silent = {0};
static const struct io_ops undivided_byte = {read_pattern, record_write, 1, true};
static const struct io_ops undivided_word = {read_pattern, record_write, 2, true};

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
