#include "machine/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct machine machine;

/* As much of a machine as requests need: no vCPUs to tell. */
static int setup(void **state)
{
	machine = (struct machine){0};
	priority_lock_init(&machine.lock);
	clock_init(&machine.clock);
	machine.loop = event_loop_create(&machine.clock, &machine.lock);
	return !machine.loop;
}

static int teardown(void **state)
{
	event_loop_destroy(machine.loop);
	priority_lock_destroy(&machine.lock);
	return 0;
}

static void request(enum machine_end end, int value)
{
	priority_lock_take(&machine.lock);
	machine_request_end(&machine, end, value);
	priority_lock_release(&machine.lock);
}

static const enum machine_end guests_ends[] = {
	MACHINE_POWERED_OFF, MACHINE_RESET, MACHINE_DEBUG_EXIT, MACHINE_TRIPLE_FAULT};
static const enum machine_end strong_ends[] = {MACHINE_QUIT, MACHINE_SIGNAL, MACHINE_FAILED};

static void what_the_user_asks_outranks_what_the_guest_asks(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(guests_ends); i++)
		for (unsigned k = 0; k < ARRAY_SIZE(strong_ends); k++) {
			machine.request = (struct machine_result){MACHINE_RUNS_ON, 0};
			request(guests_ends[i], 1);
			assert_int_equal(machine.request.end, guests_ends[i]);
			request(strong_ends[k], 2);
			assert_int_equal(machine.request.end, strong_ends[k]);
			assert_int_equal(machine.request.value, 2);
			request(guests_ends[i], 3);
			assert_int_equal(machine.request.end, strong_ends[k]);
			assert_int_equal(machine.request.value, 2);
		}
}

static void between_equals_the_first_request_counts(void **state)
{
	request(MACHINE_RESET, 1);
	request(MACHINE_POWERED_OFF, 2);
	assert_int_equal(machine.request.end, MACHINE_RESET);
	request(MACHINE_SIGNAL, 15);
	request(MACHINE_SIGNAL, 2);
	request(MACHINE_QUIT, 3);
	assert_int_equal(machine.request.end, MACHINE_SIGNAL);
	assert_int_equal(machine.request.value, 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			what_the_user_asks_outranks_what_the_guest_asks, setup, teardown),
		cmocka_unit_test_setup_teardown(
			between_equals_the_first_request_counts, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
