#include "memory/memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;

static int setup(void **state)
{
	return memory_create(&memory, 16 * MIB, &lock);
}

static int setup_large(void **state)
{
	return memory_create(&memory, 4 * GIB, &lock);
}

static int teardown(void **state)
{
	memory_destroy(&memory);
	return 0;
}

static void bad_sizes(void **state)
{
	struct memory bad;

	assert_int_equal(memory_create(&bad, 0, &lock), -EINVAL);
	assert_int_equal(memory_create(&bad, MIB - PAGE_SIZE, &lock), -EINVAL);
	assert_int_equal(memory_create(&bad, MIB + 1, &lock), -EINVAL);
	assert_int_equal(memory_create(&bad, UINT64_MAX & PAGE_MASK, &lock), -EINVAL);
}

static void small_ram_is_one_piece(void **state)
{
	assert_int_equal(memory.low_size, 16 * MIB);
	assert_int_equal(memory.high_size, 0);
	assert_ptr_equal(memory_ram_pointer(&memory, 0), memory.ram);
	assert_null(memory_ram_pointer(&memory, 0xa0000));
	assert_null(memory_ram_pointer(&memory, 0xbffff));
	assert_ptr_equal(memory_ram_pointer(&memory, 0xc0000), memory.ram + 0xc0000);
	assert_null(memory_ram_pointer(&memory, 16 * MIB));
	assert_null(memory_ram_pointer(&memory, 4 * GIB));
	assert_null(memory_ram_pointer(&memory, UINT64_MAX));
}

static void large_ram_goes_round_the_hole(void **state)
{
	assert_int_equal(memory.low_size, 3 * GIB);
	assert_int_equal(memory.high_size, 1 * GIB);
	assert_null(memory_ram_pointer(&memory, 3 * GIB));
	assert_null(memory_ram_pointer(&memory, 4 * GIB - 1));
	assert_ptr_equal(memory_ram_pointer(&memory, 4 * GIB), memory.ram + 3 * GIB);
	assert_null(memory_ram_pointer(&memory, 5 * GIB));
}

static void copies_only_what_is_wholly_ram(void **state)
{
	char buffer[PAGE_SIZE] = "hello", back[PAGE_SIZE];

	assert_int_equal(memory_write(&memory, 0x1ffe, buffer, 6), 0);
	assert_int_equal(memory_read(&memory, 0x1ffe, back, 6), 0);
	assert_string_equal(back, "hello");

	assert_int_equal(memory_write(&memory, 0x9fffe, buffer, 6), -EFAULT);
	assert_int_equal(memory.ram[0x9fffe], 0);
	assert_int_equal(memory_write(&memory, 16 * MIB - 2, buffer, 6), -EFAULT);
	assert_int_equal(memory_read(&memory, 0xa0000, back, 1), -EFAULT);
	assert_int_equal(memory_read(&memory, UINT64_MAX, back, 2), -EFAULT);
	assert_int_equal(memory_read(&memory, 0x1000, back, UINT64_MAX), -EFAULT);
	/* Both ends are RAM, the middle is not. */
	assert_int_equal(memory_read(&memory, 0x9f000, NULL, 0x30000), -EFAULT);
	assert_int_equal(memory_read(&memory, UINT64_MAX, back, 0), 0);
}

static void copies_do_not_cross_the_hole(void **state)
{
	assert_int_equal(memory_read(&memory, 3 * GIB - 16, NULL, 1 * GIB + 32), -EFAULT);
}

static void write_to_tracked_line_starts_a_generation(void **state)
{
	uint32_t generation = memory_code_track(&memory, 5, 0x100, 0x10);

	assert_int_equal(memory.page_flags[5], PAGE_CODE);
	assert_int_equal(memory.code_lines[5], 1 << 2);
	assert_true(memory_code_written(&memory, memory.ram + 0x5100, 1));
	assert_int_not_equal(memory.code_generation[5], generation);
	/* The page is data again until somebody decodes it. */
	assert_int_equal(memory.page_flags[5], 0);
	assert_false(memory_code_written(&memory, memory.ram + 0x5100, 1));
}

static void write_beside_code_does_not(void **state)
{
	uint32_t generation = memory_code_track(&memory, 5, 0x17f, 2); /* lines 2 and 3 */

	assert_int_equal(memory.code_lines[5], 3 << 2);
	assert_false(memory_code_written(&memory, memory.ram + 0x50f8, 8));
	assert_false(memory_code_written(&memory, memory.ram + 0x5200, 8));
	assert_int_equal(memory.code_generation[5], generation);
	/* One byte reaches in. */
	assert_true(memory_code_written(&memory, memory.ram + 0x50f9, 8));
}

static void last_line_of_a_page(void **state)
{
	memory_code_track(&memory, 5, 0xfff, 15); /* an instruction that goes on in page 6 */
	assert_int_equal(memory.code_lines[5], UINT32_C(1) << 31);
	assert_int_equal(memory.code_lines[6], 0);
	memory_code_track(&memory, 6, 0, 4096);
	assert_int_equal(memory.code_lines[6], UINT32_MAX);
}

static void dma_drops_code_in_every_page_it_touches(void **state)
{
	static const uint8_t zeros[3 * PAGE_SIZE];
	uint32_t before[3];

	for (unsigned i = 0; i < 3; i++)
		before[i] = memory_code_track(&memory, 8 + i, 0, 16);
	assert_int_equal(memory_write(&memory, 0x8800, zeros, PAGE_SIZE), 0);
	assert_int_equal(memory.code_generation[8], before[0]); /* only its second half */
	assert_int_not_equal(memory.code_generation[9], before[1]);
	assert_int_equal(memory.code_generation[10], before[2]);
}

/* A vCPU stores to code, with no fence between its store and its look at the flag, while another
 * decodes: a decoded copy that is taken for good must not be older than the store. */
static _Atomic uint64_t code_word __attribute__((aligned(64)));
static atomic_bool stop;

static void *storing_thread(void *opaque)
{
	_Atomic uint64_t *code = (_Atomic uint64_t *)(memory.ram + 0x7000);

	for (uint64_t i = 1; !stop; i++) {
		atomic_store_explicit(code, i, memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst);
		if (atomic_load_explicit(&memory.page_flags[7], memory_order_relaxed))
			memory_code_written(&memory, code, 8);
		/* What an old copy must be seen to be older than. */
		atomic_store_explicit(&code_word, i, memory_order_release);
		/* Time for the other side to look before the next round sets things right. */
		for (unsigned spin = 0; spin < 30; spin++)
			__builtin_ia32_pause();
	}
	return NULL;
}

static void no_stale_copy_survives_a_race(void **state)
{
	_Atomic uint64_t *code = (_Atomic uint64_t *)(memory.ram + 0x7000);
	pthread_t thread;
	uint64_t copy = 0, stale = 0, fresh = 0;
	uint32_t generation = 0;

	memory.needs_membarrier = true;
	pthread_create(&thread, NULL, storing_thread, NULL);
	for (unsigned i = 0; i < 300000; i++) {
		uint64_t promised;

		generation = memory_code_track(&memory, 7, 0, 8);
		copy = atomic_load_explicit(code, memory_order_relaxed);
		for (unsigned spin = 0; spin < i % 8; spin++)
			__builtin_ia32_pause();
		promised = atomic_load_explicit(&code_word, memory_order_acquire);
		/* Everything up to `promised` was stored and looked after before we read it. */
		if (memory.code_generation[7] == generation) {
			fresh++;
			stale += copy < promised;
		}
		/* Let the other side have the lock. */
		for (unsigned spin = 0; spin < 20 + i % 16; spin++)
			__builtin_ia32_pause();
	}
	stop = true;
	pthread_join(thread, NULL);
	assert_int_equal(stale, 0);
	assert_int_not_equal(fresh, 0);
}

static unsigned tracked_count, dropped_count;
static uint64_t hooked_page;

static void note_tracked(void *opaque, uint64_t page)
{
	assert_ptr_equal(opaque, &memory);
	assert_true(memory.page_flags[page] & PAGE_CODE);
	tracked_count++;
	hooked_page = page;
}

/* The generation has moved on; who still sees lines waits for the lock, and so for this. */
static void note_dropped(void *opaque, uint64_t page)
{
	assert_ptr_equal(opaque, &memory);
	assert_int_equal(memory.code_generation[page], 1);
	assert_int_not_equal(memory.code_lines[page], 0);
	dropped_count++;
	hooked_page = page;
}

static void hooks_see_pages_become_code_and_change(void **state)
{
	tracked_count = dropped_count = 0;
	memory.code_hooks = (struct memory_code_hooks){note_tracked, note_dropped, &memory};
	memory_code_track(&memory, 9, 0x100, 4);
	assert_int_equal(tracked_count, 1);
	assert_int_equal(hooked_page, 9);
	memory_code_track(&memory, 9, 0x200, 4); /* the page is code already */
	assert_int_equal(tracked_count, 1);
	memory_code_written(&memory, memory.ram + 0x9300, 4); /* data in it */
	assert_int_equal(dropped_count, 0);
	memory_code_written(&memory, memory.ram + 0x9200, 4);
	assert_int_equal(dropped_count, 1);
	memory_code_written(&memory, memory.ram + 0x9100, 4); /* all gone with the first */
	assert_int_equal(dropped_count, 1);
	hooked_page = 0;
	memory_code_track(&memory, 9, 0x100, 4);
	assert_int_equal(tracked_count, 2);
	assert_int_equal(hooked_page, 9);
}

#ifdef __has_feature
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Sanitizers have these addresses for themselves; then there is no displacement, and it says so. */
static void flags_are_a_displacement_away(void **state)
{
	int32_t displacement = 0;
	bool reachable = memory_flags_displacement(&memory, &displacement);
	uint64_t last = memory.ram_size - 1;

	if (!SANITIZED)
		assert_true(reachable);
	if (!reachable)
		return;
	assert_ptr_equal((void *)(((uintptr_t)memory.ram >> PAGE_SHIFT) + (uintptr_t)displacement),
		memory.page_flags);
	assert_ptr_equal(
		(void *)(((uintptr_t)(memory.ram + last) >> PAGE_SHIFT) + (uintptr_t)displacement),
		&memory.page_flags[last >> PAGE_SHIFT]);
	assert_true((uintptr_t)memory.ram + last < UINT64_C(1) << 42);
	assert_int_equal((uintptr_t)memory.ram % (2 * MIB), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_sizes),
		cmocka_unit_test_setup_teardown(small_ram_is_one_piece, setup, teardown),
		cmocka_unit_test_setup_teardown(
			large_ram_goes_round_the_hole, setup_large, teardown),
		cmocka_unit_test_setup_teardown(copies_only_what_is_wholly_ram, setup, teardown),
		cmocka_unit_test_setup_teardown(
			copies_do_not_cross_the_hole, setup_large, teardown),
		cmocka_unit_test_setup_teardown(
			write_to_tracked_line_starts_a_generation, setup, teardown),
		cmocka_unit_test_setup_teardown(write_beside_code_does_not, setup, teardown),
		cmocka_unit_test_setup_teardown(last_line_of_a_page, setup, teardown),
		cmocka_unit_test_setup_teardown(
			dma_drops_code_in_every_page_it_touches, setup, teardown),
		cmocka_unit_test_setup_teardown(no_stale_copy_survives_a_race, setup, teardown),
		cmocka_unit_test_setup_teardown(
			hooks_see_pages_become_code_and_change, setup, teardown),
		cmocka_unit_test_setup_teardown(flags_are_a_displacement_away, setup, teardown),
		cmocka_unit_test_setup_teardown(
			flags_are_a_displacement_away, setup_large, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
