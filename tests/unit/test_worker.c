/* The worker's thread: tasks from many threads, descriptors, idle callbacks, timers. */
#include "host/worker.h"

#include "base/bits.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define POSTERS 4
#define POSTS   5000

static struct worker *worker;

static int setup(void **state)
{
	worker = worker_create("test-worker");
	return !worker;
}

static int teardown(void **state)
{
	worker_destroy(worker);
	return 0;
}

static void nothing(void *opaque)
{
}

/* All that was posted or ready before has been served when this returns. */
static void settle(void)
{
	worker_call(worker, nothing, NULL);
	worker_call(worker, nothing, NULL);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* Plain variables: what post and call promise to carry over is what the thread sanitizer checks. */
static unsigned order[3], ordered;

static void note_order(void *opaque)
{
	order[ordered++] = (unsigned)(uintptr_t)opaque;
}

static void post_all(void *opaque)
{
	struct worker_task *tasks = opaque;

	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		worker_post(worker, &tasks[i]);
	worker_post(worker, &tasks[0]); /* waits already */
}

static void tasks_run_once_in_the_order_of_posting(void **state)
{
	struct worker_task tasks[ARRAY_SIZE(order)];

	ordered = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		worker_task_init(&tasks[i], note_order, (void *)(uintptr_t)(i + 1));
	worker_call(worker, post_all, tasks);
	settle();
	assert_int_equal(ordered, 3);
	assert_int_equal(order[0], 1);
	assert_int_equal(order[1], 2);
	assert_int_equal(order[2], 3);
}

/* Each poster raises its own count, then posts the one task. A post without effect must not lose
 * what was written before it: the last run sees all. */
static struct {
	struct worker_task task;
	atomic_uint written[POSTERS];
	unsigned seen[POSTERS], runs;
} shared;

static void look(void *opaque)
{
	shared.runs++;
	for (unsigned i = 0; i < POSTERS; i++)
		shared.seen[i] = atomic_load_explicit(&shared.written[i], memory_order_relaxed);
}

static void *poster(void *opaque)
{
	atomic_uint *written = opaque;

	for (unsigned i = 1; i <= POSTS; i++) {
		atomic_store_explicit(written, i, memory_order_relaxed);
		worker_post(worker, &shared.task);
		if (i % 64 == 0)
			usleep(1); /* the worker goes to sleep in between */
	}
	return NULL;
}

static void no_post_is_lost(void **state)
{
	pthread_t threads[POSTERS];

	memset(&shared, 0, sizeof(shared));
	worker_task_init(&shared.task, look, NULL);
	for (unsigned i = 0; i < POSTERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, poster, &shared.written[i]), 0);
	for (unsigned i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);
	settle();
	for (unsigned i = 0; i < POSTERS; i++)
		assert_int_equal(shared.seen[i], POSTS);
	assert_in_range(shared.runs, 1, POSTERS * POSTS);
}

/* Many tasks from many threads: each runs as often as it was posted, since its poster waits. */
struct own {
	struct worker_task task;
	unsigned plain; /* written by the poster, then by run(), then read by the poster */
	atomic_uint runs;
};

static void run_own(void *opaque)
{
	struct own *own = opaque;

	own->plain++;
	atomic_fetch_add(&own->runs, 1);
}

static void *own_poster(void *opaque)
{
	struct own *own = opaque;

	for (unsigned i = 0; i < POSTS / 10; i++) {
		own->plain++;
		worker_post(worker, &own->task);
		while (atomic_load(&own->runs) != i + 1)
			sched_yield();
	}
	return NULL;
}

static void each_thread_s_tasks_run(void **state)
{
	static struct own owns[POSTERS];
	pthread_t threads[POSTERS];

	for (unsigned i = 0; i < POSTERS; i++) {
		worker_task_init(&owns[i].task, run_own, &owns[i]);
		assert_int_equal(pthread_create(&threads[i], NULL, own_poster, &owns[i]), 0);
	}
	for (unsigned i = 0; i < POSTERS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(owns[i].plain, 2 * (POSTS / 10));
	}
}

struct again {
	struct worker_task task;
	unsigned planned;
	atomic_uint runs;
};

static void run_again(void *opaque)
{
	struct again *again = opaque;

	if (atomic_fetch_add(&again->runs, 1) + 1 < again->planned)
		worker_post(worker, &again->task);
}

static void a_task_may_post_itself(void **state)
{
	struct again again = {.planned = 100};

	worker_task_init(&again.task, run_again, &again);
	worker_post(worker, &again.task);
	do
		worker_call(worker, nothing, NULL);
	while (atomic_load(&again.runs) < again.planned);
	settle();
	assert_int_equal(atomic_load(&again.runs), again.planned);
}

/* --- descriptors --- */

struct pipe_end {
	int fds[2];
	atomic_uint calls;
	uint32_t events;
	int error;
};

static void read_one(void *opaque, uint32_t events)
{
	struct pipe_end *end = opaque;
	char byte;

	end->events = events;
	atomic_fetch_add(&end->calls, 1);
	assert_int_equal(read(end->fds[0], &byte, 1), 1);
}

static void watch_it(void *opaque)
{
	struct pipe_end *end = opaque;

	end->error = worker_watch(worker, end->fds[0], EPOLLIN, read_one, end);
}

static void unwatch_it(void *opaque)
{
	struct pipe_end *end = opaque;

	worker_unwatch(worker, end->fds[0]);
}

/* Each worker_call() is a turn of its own or more, and a turn serves what was ready before it. */
static void descriptors_are_level_triggered(void **state)
{
	struct pipe_end end = {0};

	assert_int_equal(pipe(end.fds), 0);
	worker_call(worker, watch_it, &end);
	assert_int_equal(end.error, 0);
	assert_int_equal(write(end.fds[1], "abc", 3), 3);
	while (atomic_load(&end.calls) < 3)
		settle();
	settle();
	assert_int_equal(atomic_load(&end.calls), 3);
	assert_int_equal(end.events, EPOLLIN);

	worker_call(worker, watch_it, &end); /* a second time: a change */
	assert_int_equal(end.error, 0);
	worker_call(worker, unwatch_it, &end);
	assert_int_equal(write(end.fds[1], "d", 1), 1);
	settle();
	assert_int_equal(atomic_load(&end.calls), 3);
	close(end.fds[0]);
	close(end.fds[1]);
}

/* Two that are ready in one turn, of which the first one served unwatches the other. */
static struct {
	int fds[2][2];
	unsigned calls;
} pair;

static void unwatch_both(void *opaque, uint32_t events)
{
	pair.calls++;
	worker_unwatch(worker, pair.fds[0][0]);
	worker_unwatch(worker, pair.fds[1][0]);
}

static void watch_ready_pair(void *opaque)
{
	for (unsigned i = 0; i < 2; i++)
		worker_watch(worker, pair.fds[i][0], EPOLLIN, unwatch_both, NULL);
}

static void no_callback_comes_after_unwatch(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(pipe(pair.fds[i]), 0);
		assert_int_equal(write(pair.fds[i][1], "x", 1), 1);
	}
	worker_call(worker, watch_ready_pair, NULL);
	settle();
	settle();
	assert_int_equal(pair.calls, 1);
	for (unsigned i = 0; i < 2; i++) {
		close(pair.fds[i][0]);
		close(pair.fds[i][1]);
	}
}

static void what_cannot_be_watched_is_refused(void **state)
{
	struct pipe_end end = {.fds = {-1, -1}};

	worker_call(worker, watch_it, &end);
	assert_int_equal(end.error, -EBADF);
}

/* --- idle callbacks --- */

struct gather {
	struct worker_task tasks[3];
	unsigned gathered, sent, batches;
};

static void gather_one(void *opaque)
{
	struct gather *gather = opaque;

	gather->gathered++;
}

static void send_on(void *opaque)
{
	struct gather *gather = opaque;

	if (gather->sent != gather->gathered)
		gather->batches++;
	gather->sent = gather->gathered;
}

static void begin_gathering(void *opaque)
{
	struct gather *gather = opaque;

	assert_int_equal(worker_add_idle(worker, send_on, gather), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(gather->tasks); i++)
		worker_post(worker, &gather->tasks[i]);
}

static void end_gathering(void *opaque)
{
	worker_remove_idle(worker, opaque);
}

static void idle_callbacks_follow_all_that_was_ready(void **state)
{
	struct gather gather = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(gather.tasks); i++)
		worker_task_init(&gather.tasks[i], gather_one, &gather);
	worker_call(worker, begin_gathering, &gather);
	settle();
	assert_int_equal(gather.sent, 3);
	assert_int_equal(gather.batches, 1);
	worker_call(worker, end_gathering, &gather);
	worker_call(worker, gather_one, &gather);
	settle();
	assert_int_equal(gather.sent, 3);
}

/* What a callback that comes late gathers for one that comes early is not left till the worker
 * happens to wake. */
struct round {
	unsigned wanted;
	atomic_uint calls;
};

static void want_more(void *opaque)
{
	struct round *round = opaque;

	if (atomic_fetch_add(&round->calls, 1) + 1 < round->wanted)
		worker_want_idle(worker);
}

static void add_round(void *opaque)
{
	assert_int_equal(worker_add_idle(worker, want_more, opaque), 0);
}

static void idle_callbacks_may_ask_for_another_round(void **state)
{
	struct round round = {.wanted = 10};

	worker_call(worker, add_round, &round);
	while (atomic_load(&round.calls) < round.wanted)
		usleep(100);
	worker_call(worker, end_gathering, &round);
}

/* --- timers --- */

struct shot {
	struct worker_timer timer;
	uint64_t delay_ns, armed_ns, fired_ns;
	atomic_bool again;
	atomic_uint fired;
};
static unsigned shots;

static void fire(void *opaque)
{
	struct shot *shot = opaque;

	shot->fired_ns = now_ns();
	shots++;
	if (atomic_load(&shot->again))
		worker_timer_arm(&shot->timer, 0);
	atomic_fetch_add(&shot->fired, 1);
}

static void arm(void *opaque)
{
	struct shot *shot = opaque;

	worker_timer_init(&shot->timer, worker, fire, shot);
	shot->armed_ns = now_ns();
	worker_timer_arm(&shot->timer, 10 * NS_PER_SECOND);
	worker_timer_arm(&shot->timer, shot->delay_ns); /* moves it */
}

static void cancel(void *opaque)
{
	struct shot *shot = opaque;

	worker_timer_cancel(&shot->timer);
	worker_timer_cancel(&shot->timer);
}

static void timers_fire_in_order_and_not_early(void **state)
{
	static struct shot list[] = {{.delay_ns = 30000000}, {.delay_ns = 300000},
		{.delay_ns = 20000000}, {.delay_ns = 0}};

	for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
		worker_call(worker, arm, &list[i]);
	worker_call(worker, cancel, &list[2]);
	while (!atomic_load(&list[0].fired))
		usleep(1000);
	for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
		assert_int_equal(atomic_load(&list[i].fired), i != 2);
		assert_false(list[i].timer.armed);
		if (i != 2)
			assert_true(list[i].fired_ns >= list[i].armed_ns + list[i].delay_ns);
	}
	assert_true(list[1].fired_ns < list[0].fired_ns);
	assert_true(list[3].fired_ns < list[0].fired_ns);
}

/* Tasks go on beside a timer that is always due. */
static void a_timer_that_arms_itself_keeps_nothing_out(void **state)
{
	static struct shot shot = {.again = true};

	worker_call(worker, arm, &shot);
	for (unsigned i = 0; i < 10; i++)
		worker_call(worker, nothing, NULL);
	atomic_store(&shot.again, false);
	settle();
	assert_int_not_equal(atomic_load(&shot.fired), 0);
	worker_call(worker, cancel, &shot);
}

/* --- the end --- */

static void hold(void *opaque)
{
	usleep(20000);
}

static void tasks_that_wait_are_not_run_at_the_end(void **state)
{
	struct worker *other = worker_create("other");
	struct worker_task slow, fast;

	ordered = 0;
	worker_task_init(&slow, hold, NULL);
	worker_task_init(&fast, note_order, NULL);
	worker_post(other, &slow);
	usleep(5000);
	worker_post(other, &fast);
	worker_destroy(other);
	/* It may have run where the host was slow to get here; not afterwards. */
	assert_in_range(ordered, 0, 1);
	worker_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tasks_run_once_in_the_order_of_posting),
		cmocka_unit_test(no_post_is_lost),
		cmocka_unit_test(each_thread_s_tasks_run),
		cmocka_unit_test(a_task_may_post_itself),
		cmocka_unit_test(descriptors_are_level_triggered),
		cmocka_unit_test(no_callback_comes_after_unwatch),
		cmocka_unit_test(what_cannot_be_watched_is_refused),
		cmocka_unit_test(idle_callbacks_follow_all_that_was_ready),
		cmocka_unit_test(idle_callbacks_may_ask_for_another_round),
		cmocka_unit_test(timers_fire_in_order_and_not_early),
		cmocka_unit_test(a_timer_that_arms_itself_keeps_nothing_out),
		cmocka_unit_test(tasks_that_wait_are_not_run_at_the_end),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
