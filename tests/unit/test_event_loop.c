#include "host/event_loop.h"

#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct clock machine_clock;
static struct event_loop *loop;

static int setup(void **state)
{
	clock_init(&machine_clock);
	loop = event_loop_create(&machine_clock, &lock);
	return !loop;
}

static int teardown(void **state)
{
	event_loop_destroy(loop);
	return 0;
}

static void stop_loop(void *opaque)
{
	event_loop_stop(loop);
}

/* Run the loop for some time, by a timer of its own. What another thread is to do meanwhile ends
 * the run itself, since that may take longer on a busy host. */
static void run_for(uint64_t ns)
{
	struct timer end;

	priority_lock_take(&lock);
	timer_init(&end, loop, stop_loop, NULL);
	timer_arm(&end, clock_ns(&machine_clock) + ns);
	priority_lock_release(&lock);
	event_loop_run(loop);
	timer_cancel(&end);
}

struct shot {
	struct timer timer;
	uint64_t fired_ns;
	unsigned order;
};
static unsigned shots;

static void fire(void *opaque)
{
	struct shot *shot = opaque;

	/* Callbacks run with the machine lock held. */
	assert_int_equal(pthread_mutex_trylock(&lock.mutex), EBUSY);
	shot->fired_ns = clock_ns(&machine_clock);
	shot->order = shots++;
}

static void timers_fire_in_order_and_not_early(void **state)
{
	static struct shot list[40];
	uint64_t start = clock_ns(&machine_clock);

	shots = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
		timer_init(&list[i].timer, loop, fire, &list[i]);
		timer_arm(&list[i].timer, start + (i * 17 % 40 + 1) * MS / 2);
	}
	run_for(25 * MS);
	assert_int_equal(shots, ARRAY_SIZE(list));
	for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
		assert_int_equal(list[i].order, i * 17 % 40);
		assert_true(list[i].fired_ns >= list[i].timer.deadline_ns);
		assert_false(timer_armed(&list[i].timer));
	}
}

static void moved_and_cancelled_timers(void **state)
{
	struct shot list[4];
	uint64_t now = clock_ns(&machine_clock);

	shots = 0;
	for (unsigned i = 0; i < 4; i++) {
		list[i].fired_ns = 0;
		timer_init(&list[i].timer, loop, fire, &list[i]);
		timer_arm(&list[i].timer, now + (i + 1) * 2 * MS);
	}
	timer_cancel(&list[0].timer);
	timer_cancel(&list[0].timer);            /* harmless */
	timer_arm(&list[3].timer, now + 1 * MS); /* forward */
	timer_arm(&list[1].timer, now + 9 * MS); /* back */
	assert_false(timer_armed(&list[0].timer));
	assert_true(timer_armed(&list[3].timer));
	run_for(15 * MS);
	assert_int_equal(list[0].fired_ns, 0);
	assert_int_equal(list[3].order, 0);
	assert_int_equal(list[2].order, 1);
	assert_int_equal(list[1].order, 2);
}

static void heap_survives_random_use(void **state)
{
	static struct shot list[64];
	uint64_t now = clock_ns(&machine_clock);

	srand(1);
	for (unsigned i = 0; i < 64; i++)
		timer_init(&list[i].timer, loop, fire, &list[i]);
	for (unsigned i = 0; i < 20000; i++) {
		struct timer *timer = &list[rand() % 64].timer;
		uint64_t next = UINT64_MAX;

		if (rand() % 3)
			timer_arm(timer, now + 1000 * MS + (unsigned)rand() % 1000);
		else
			timer_cancel(timer);
		for (unsigned j = 0; j < 64; j++)
			if (timer_armed(&list[j].timer))
				next = MIN(next, list[j].timer.deadline_ns);
		assert_true(event_loop_next_deadline(loop) == next);
	}
	for (unsigned i = 0; i < 64; i++)
		timer_cancel(&list[i].timer);
	assert_true(event_loop_next_deadline(loop) == UINT64_MAX);
}

static struct timer end_soon;

static void rearm_for_the_past(void *opaque)
{
	struct shot *shot = opaque;

	timer_arm(&shot->timer, 0);
	if (++shots == 2)
		timer_arm(&end_soon, clock_ns(&machine_clock) + 1 * MS);
}

/* A device that always wants to be called again must not keep the loop from anything else: the run
 * comes to its end. */
static void timer_in_the_past_does_not_starve(void **state)
{
	struct shot shot;

	shots = 0;
	timer_init(&end_soon, loop, stop_loop, NULL);
	timer_init(&shot.timer, loop, rearm_for_the_past, &shot);
	timer_arm(&shot.timer, 0);
	event_loop_run(loop);
	assert_true(shots > 2);
	timer_cancel(&shot.timer);
}

static void fire_and_stop(void *opaque)
{
	fire(opaque);
	event_loop_stop(loop);
}

static void *arm_from_outside(void *opaque)
{
	struct shot *shot = opaque;

	usleep(10000); /* the loop sleeps now, for long */
	priority_lock_take(&lock);
	timer_arm(&shot->timer, clock_ns(&machine_clock) + 1 * MS);
	priority_lock_release(&lock);
	return NULL;
}

static void earlier_timer_of_another_thread_wakes_the_loop(void **state)
{
	struct shot shot;
	pthread_t thread;

	shot.fired_ns = 0;
	timer_init(&shot.timer, loop, fire_and_stop, &shot);
	pthread_create(&thread, NULL, arm_from_outside, &shot);
	/* The timer that the loop sleeps for is much later. */
	run_for(60000 * MS);
	pthread_join(thread, NULL);
	assert_in_range(shot.fired_ns, shot.timer.deadline_ns, shot.timer.deadline_ns + 30000 * MS);
}

static void *resume_later(void *opaque)
{
	usleep(20000);
	priority_lock_take(&lock);
	clock_resume(&machine_clock);
	event_loop_clock_changed(loop);
	priority_lock_release(&lock);
	return NULL;
}

static void no_timer_while_the_clock_stands(void **state)
{
	struct shot shot = {.fired_ns = 0};
	pthread_t thread;

	timer_init(&shot.timer, loop, fire, &shot);
	timer_arm(&shot.timer, clock_ns(&machine_clock) + 2 * MS);
	clock_pause(&machine_clock);
	event_loop_clock_changed(loop);
	shots = 0;
	pthread_create(&thread, NULL, resume_later, NULL);
	run_for(10 * MS);
	pthread_join(thread, NULL);
	/* Counted from zero after the clock went on. */
	assert_int_equal(shots, 1);
	assert_true(shot.fired_ns >= shot.timer.deadline_ns);
}

/* There may be any number of timers, and the loop keeps no memory for them. */
static void timers_need_no_memory_of_the_loop(void **state)
{
	struct shot *list = calloc(5000, sizeof(*list));
	uint64_t now = clock_ns(&machine_clock), last = 0;

	assert_non_null(list);
	for (unsigned i = 0; i < 5000; i++) {
		timer_init(&list[i].timer, loop, fire, &list[i]);
		timer_arm(&list[i].timer, now + 1000 * MS + i * 7919 % 5000);
	}
	/* Taken out from the front they come in order. */
	for (unsigned i = 0; i < 5000; i++) {
		uint64_t next = event_loop_next_deadline(loop);

		assert_true(next >= last && next != UINT64_MAX);
		last = next;
		timer_cancel(&list[(next - now - 1000 * MS) * 2679 % 5000].timer);
	}
	assert_true(event_loop_next_deadline(loop) == UINT64_MAX);
	free(list);
}

struct job {
	struct event_work work;
	unsigned runs;
	bool last; /* ends the run */
	pthread_t thread;
};
static pthread_t loop_thread;

static void do_job(void *opaque)
{
	struct job *job = opaque;

	/* On the I/O thread, under the machine lock. */
	assert_true(pthread_equal(pthread_self(), loop_thread));
	assert_int_equal(pthread_mutex_trylock(&lock.mutex), EBUSY);
	job->runs++;
	if (job->last)
		event_loop_stop(loop);
}

static void *post_from_outside(void *opaque)
{
	struct job *job = opaque;

	usleep(10000); /* the loop sleeps now */
	event_loop_post(loop, &job->work);
	return NULL;
}

static void posted_work_runs_once(void **state)
{
	struct job jobs[3] = {0};
	pthread_t thread;

	loop_thread = pthread_self();
	for (unsigned i = 0; i < 3; i++)
		event_work_init(&jobs[i].work, do_job, &jobs[i]);
	event_loop_post(loop, &jobs[0].work);
	event_loop_post(loop, &jobs[0].work); /* waits already */
	event_loop_post(loop, &jobs[1].work);
	event_loop_unpost(loop, &jobs[1].work);
	event_loop_unpost(loop, &jobs[1].work); /* harmless */
	jobs[2].last = true;
	pthread_create(&thread, NULL, post_from_outside, &jobs[2]);
	run_for(60000 * MS);
	pthread_join(thread, NULL);
	assert_int_equal(jobs[0].runs, 1);
	assert_int_equal(jobs[1].runs, 0);
	assert_int_equal(jobs[2].runs, 1);
	/* The list is intact after its last element was taken back. */
	event_loop_post(loop, &jobs[0].work);
	event_loop_post(loop, &jobs[1].work);
	event_loop_unpost(loop, &jobs[1].work);
	event_loop_post(loop, &jobs[2].work);
	run_for(60000 * MS);
	assert_int_equal(jobs[0].runs, 2);
	assert_int_equal(jobs[1].runs, 0);
	assert_int_equal(jobs[2].runs, 2);
}

static void do_it_again(void *opaque)
{
	struct job *job = opaque;

	event_loop_post(loop, &job->work);
	if (++job->runs == 20)
		timer_arm(&end_soon, clock_ns(&machine_clock) + 1 * MS);
}

/* Work that posts itself goes on for ever, and keeps neither timers nor a stop from the loop: the
 * run comes to its end. */
static void posted_again_does_not_starve(void **state)
{
	struct job job = {0};

	timer_init(&end_soon, loop, stop_loop, NULL);
	event_work_init(&job.work, do_it_again, &job);
	event_loop_post(loop, &job.work);
	event_loop_run(loop);
	assert_true(job.runs >= 20);
	event_loop_unpost(loop, &job.work);
}

static void *post_many(void *opaque)
{
	struct job *job = opaque;

	for (unsigned i = 0; i < 20000; i++)
		event_loop_post(loop, &job->work);
	return NULL;
}

static void posted_by_many_threads(void **state)
{
	struct job jobs[4] = {0};

	loop_thread = pthread_self();
	for (unsigned i = 0; i < 4; i++) {
		event_work_init(&jobs[i].work, do_job, &jobs[i]);
		pthread_create(&jobs[i].thread, NULL, post_many, &jobs[i]);
	}
	run_for(5 * MS);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(jobs[i].thread, NULL);
	run_for(1 * MS);
	for (unsigned i = 0; i < 4; i++) {
		assert_in_range(jobs[i].runs, 1, 20000);
		assert_false(jobs[i].work.posted);
	}
}

static int pipe_fds[2];
static char got[64];
static unsigned calls;

static void read_pipe(void *opaque, uint32_t events)
{
	ssize_t size = read(pipe_fds[0], got, sizeof(got));

	calls++;
	assert_true(events & EPOLLIN);
	assert_true(size > 0);
	event_loop_stop(loop);
}

static void descriptor_callback(void **state)
{
	calls = 0;
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(event_loop_watch(loop, pipe_fds[0], EPOLLIN, read_pipe, NULL), 0);
	assert_int_equal(event_loop_watch(loop, pipe_fds[0], EPOLLIN, read_pipe, NULL), -EEXIST);
	assert_int_equal(write(pipe_fds[1], "abc", 3), 3);
	event_loop_run(loop);
	assert_int_equal(calls, 1);
	assert_memory_equal(got, "abc", 3);
	assert_int_equal(event_loop_unwatch(loop, pipe_fds[0]), 0);
	assert_int_equal(event_loop_unwatch(loop, pipe_fds[0]), -ENOENT);
	assert_int_equal(write(pipe_fds[1], "abc", 3), 3);
	run_for(3 * MS);
	assert_int_equal(calls, 1);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	assert_int_equal(event_loop_watch(loop, pipe_fds[0], EPOLLIN, read_pipe, NULL), -EBADF);
}

static int both[4];

/* Both pipes are readable in the same turn: the callback that comes first unwatches the other. */
static void unwatch_the_other(void *opaque, uint32_t events)
{
	int mine = *(int *)opaque;

	calls++;
	event_loop_unwatch(loop, both[0]);
	event_loop_unwatch(loop, both[2]);
	assert_true(mine == both[0] || mine == both[2]);
}

static void unwatched_in_the_same_turn(void **state)
{
	calls = 0;
	assert_int_equal(pipe(both) || pipe(both + 2), 0);
	for (unsigned i = 0; i < 4; i += 2) {
		assert_int_equal(
			event_loop_watch(loop, both[i], EPOLLIN, unwatch_the_other, &both[i]), 0);
		assert_int_equal(write(both[i + 1], "x", 1), 1);
	}
	run_for(3 * MS);
	assert_int_equal(calls, 1);
	for (unsigned i = 0; i < 4; i++)
		close(both[i]);
}

static void read_to_the_end(void *opaque, uint32_t events)
{
	int fd = *(int *)opaque;
	char byte;

	calls++;
	if (read(fd, &byte, 1) == 0) {
		event_loop_unwatch(loop, fd);
		event_loop_stop(loop);
	}
}

static void files_are_always_ready(void **state)
{
	char name[] = "/tmp/veneer-test-XXXXXX";
	int fd = mkstemp(name), null = open("/dev/null", O_RDONLY);

	calls = 0;
	unlink(name);
	assert_int_equal(write(fd, "abc", 3), 3);
	lseek(fd, 0, SEEK_SET);
	assert_int_equal(event_loop_watch(loop, fd, EPOLLIN, read_to_the_end, &fd), 0);
	event_loop_run(loop);
	assert_int_equal(calls, 4);
	assert_int_equal(event_loop_watch(loop, null, EPOLLIN, read_to_the_end, &null), 0);
	event_loop_run(loop);
	assert_int_equal(calls, 5);
	close(fd);
	close(null);
}

/* An error of epoll_wait() ends the run instead of spinning: here its descriptor is closed. */
static void broken_epoll_ends_the_run(void **state)
{
	int next = dup(0), epoll = next;

	/* The loop's descriptors are the last ones opened before: find epoll's by its name. */
	close(next);
	while (--epoll >= 0) {
		char link[32], name[32] = "";

		snprintf(link, sizeof(link), "/proc/self/fd/%d", epoll);
		if (readlink(link, name, sizeof(name) - 1) > 0 && strstr(name, "eventpoll"))
			break;
	}
	assert_true(epoll >= 0);
	dup2(0, epoll);
	assert_int_equal(event_loop_run(loop), -EINVAL);
}

static void stop_before_run(void **state)
{
	event_loop_stop(loop);
	event_loop_run(loop); /* returns */
	run_for(1 * MS);      /* and can run again */
}

static void count_and_read(void *opaque, uint32_t events)
{
	char byte;

	assert_int_equal(read(((int *)opaque)[0], &byte, 1), 1);
	((int *)opaque)[1]++;
}

/* A stop before each run must not keep descriptors that are ready from being served. */
static void stop_before_run_serves_what_is_ready(void **state)
{
	int fds[2], served[2] = {-1, 0};

	assert_int_equal(pipe(fds), 0);
	served[0] = fds[0];
	assert_int_equal(event_loop_watch(loop, fds[0], EPOLLIN, count_and_read, served), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	event_loop_stop(loop);
	event_loop_run(loop);
	assert_int_equal(served[1], 1);
	event_loop_unwatch(loop, fds[0]);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			timers_fire_in_order_and_not_early, setup, teardown),
		cmocka_unit_test_setup_teardown(moved_and_cancelled_timers, setup, teardown),
		cmocka_unit_test_setup_teardown(heap_survives_random_use, setup, teardown),
		cmocka_unit_test_setup_teardown(timer_in_the_past_does_not_starve, setup, teardown),
		cmocka_unit_test_setup_teardown(
			earlier_timer_of_another_thread_wakes_the_loop, setup, teardown),
		cmocka_unit_test_setup_teardown(no_timer_while_the_clock_stands, setup, teardown),
		cmocka_unit_test_setup_teardown(timers_need_no_memory_of_the_loop, setup, teardown),
		cmocka_unit_test_setup_teardown(posted_work_runs_once, setup, teardown),
		cmocka_unit_test_setup_teardown(posted_again_does_not_starve, setup, teardown),
		cmocka_unit_test_setup_teardown(posted_by_many_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(descriptor_callback, setup, teardown),
		cmocka_unit_test_setup_teardown(unwatched_in_the_same_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(files_are_always_ready, setup, teardown),
		cmocka_unit_test_setup_teardown(broken_epoll_ends_the_run, setup, teardown),
		cmocka_unit_test_setup_teardown(stop_before_run, setup, teardown),
		cmocka_unit_test_setup_teardown(
			stop_before_run_serves_what_is_ready, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
