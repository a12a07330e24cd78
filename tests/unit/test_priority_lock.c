#include "base/priority_lock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#define HOGS   4
#define ROUNDS 20

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static atomic_bool enough;
static unsigned taken; /* by hogs; under the lock */

/* Much longer than the host needs to wake a thread. */
static void hold_it(void)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((now.tv_sec - start.tv_sec) * 1000000000L + now.tv_nsec - start.tv_nsec < 300000);
}

static void *hog(void *opaque)
{
	while (!atomic_load(&enough)) {
		priority_lock_take(&lock);
		taken++;
		hold_it();
		priority_lock_release(&lock);
	}
	return NULL;
}

/* While we wait each of the other threads gets the lock at most once, besides the times before we
 * were known to wait. With a mutex alone they get it some hundred times in each round. */
static void who_comes_first_waits_for_each_other_once(void **state)
{
	pthread_t threads[HOGS];
	unsigned before = 0, between = 0;

	for (unsigned i = 0; i < HOGS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hog, NULL), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
		priority_lock_take(&lock);
		before = taken;
		priority_lock_release(&lock);
		priority_lock_take_first(&lock);
		between += taken - before;
		priority_lock_release(&lock);
	}
	atomic_store(&enough, true);
	for (unsigned i = 0; i < HOGS; i++)
		pthread_join(threads[i], NULL);
	assert_in_range(between, 0, ROUNDS * (HOGS + 8));
}

static void *wake_up(void *opaque)
{
	bool *flag = ((void **)opaque)[0];

	priority_lock_take_first(&lock);
	*flag = true;
	pthread_cond_signal(((void **)opaque)[1]);
	priority_lock_release(&lock);
	return NULL;
}

static void a_condition_gives_it_up_and_takes_it_again(void **state)
{
	pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
	bool flag = false;
	void *arguments[] = {&flag, &condition};
	pthread_t thread;

	priority_lock_take(&lock);
	assert_int_equal(pthread_create(&thread, NULL, wake_up, arguments), 0);
	while (!flag)
		priority_lock_wait(&lock, &condition);
	assert_int_not_equal(pthread_mutex_trylock(&lock.mutex), 0);
	priority_lock_release(&lock);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_comes_first_waits_for_each_other_once),
		cmocka_unit_test(a_condition_gives_it_up_and_takes_it_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
