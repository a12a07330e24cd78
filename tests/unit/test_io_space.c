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

static const struct io_ops any = {read_pattern, record_write, 0};
static const struct io_ops bytes_only = {read_pattern, record_write, 1};
static const struct io_ops words = {read_pattern, record_write, 2};
static const struct io_ops silent = {0};

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
		cmocka_unit_test_setup_teardown(result_is_cut_to_size, setup, teardown),
		cmocka_unit_test_setup_teardown(missing_operations, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
