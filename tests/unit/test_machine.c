#include "machine/action.h"
#include "machine/incident.h"
#include "machine/vcpu_thread.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct machine machine;

/* As much of a machine as requests need: no vCPUs to tell. */
static int setup(void **state)
{
	machine = (struct machine){0};
	priority_lock_init(&machine.lock);
	clock_init(&machine.clock);
	machine.loop = event_loop_create(&machine.clock, &machine.lock);
	machine.chardevs = char_devices_create(machine.loop, NULL, NULL);
	return !machine.loop || !machine.chardevs;
}

static int teardown(void **state)
{
	char_devices_destroy(machine.chardevs, 0);
	event_loop_destroy(machine.loop);
	priority_lock_destroy(&machine.lock);
	return 0;
}

/* --- what ends a run --- */

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

/* --- pausing: the threads of vCPUs are played by the test --- */

static char told[16];

static void note(void *opaque, const struct machine_event *event)
{
	static const char letters[] = {[MACHINE_PAUSED] = 'p',
		[MACHINE_RESUMED] = 'r',
		[MACHINE_SHUT_DOWN] = 'd',
		[MACHINE_PANICKED] = 'k',
		[MACHINE_CRASH_LOADED] = 'c',
		[MACHINE_WATCHDOG] = 'w'};
	size_t length = strlen(told);

	if (length < sizeof(told) - 1)
		told[length] = letters[event->kind];
}

static int setup_pause(void **state)
{
	static struct machine_listener listener = {.notify = note};
	int error = setup(state);

	machine_listen(&machine, &listener);
	memset(told, 0, sizeof(told));
	return error;
}

/* Two vCPUs run, which need not exist but for being told to stop. */
static void with_vcpus(unsigned parked)
{
	static struct cpu cpus[2];

	machine.config.cpu_count = 2;
	for (unsigned i = 0; i < 2; i++) {
		cpus[i].engine_ops = &cpu_engine_ops_none;
		machine.cpus[i] = &cpus[i];
		cpu_clear_pending(&cpus[i], PENDING_STOP);
	}
	machine.parked = parked;
}

static bool told_to_stop(unsigned i)
{
	return atomic_load(&machine.cpus[i]->pending) & PENDING_STOP;
}

/* What the I/O thread does between two turns of its loop, where it is to; the devices are none. */
static void stop_devices(void)
{
	if (machine.devices_to_stop)
		machine_devices_stopped(&machine, true);
}

static void park(void)
{
	machine.parked++;
	machine_vcpu_parked(&machine);
	stop_devices();
}

static void the_last_vcpu_to_stop_pauses_the_machine(void **state)
{
	uint64_t before;

	with_vcpus(0);
	machine_pause(&machine);
	assert_true(told_to_stop(0) && told_to_stop(1));
	park();
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSING);
	assert_false(machine.clock.paused);
	park();
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSED);
	assert_true(machine.clock.paused);
	assert_string_equal(told, "p");
	before = clock_cycles(&machine.clock);
	machine_pause(&machine); /* is so already */
	machine_resume(&machine);
	assert_string_equal(told, "pr");
	assert_int_equal(machine.phase, MACHINE_PHASE_RUNNING);
	assert_false(told_to_stop(0) || told_to_stop(1));
	/* Not a jump by what has passed: the clock goes on where it stood. */
	assert_in_range(clock_cycles(&machine.clock), before, before + 1000000000);
	machine_resume(&machine);
	assert_string_equal(told, "pr");
}

/* A pause that comes before the vCPUs have woken up from the last one must not wait for ever. */
static void a_pause_finds_vcpus_that_are_parked_still(void **state)
{
	with_vcpus(0);
	machine_pause(&machine);
	park();
	park();
	machine_resume(&machine);
	machine_pause(&machine);
	stop_devices();
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSED);
	assert_string_equal(told, "prp");
}

/* The last vCPU's thread only asks the I/O thread to stop them. */
static void a_pause_waits_for_devices(void **state)
{
	with_vcpus(2);
	machine_pause(&machine);
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSING);
	assert_true(machine.clock.paused && machine.devices_to_stop);
	assert_string_equal(told, "");
	machine_resume(&machine);
	assert_true(machine.clock.paused);
	stop_devices();
	assert_int_equal(machine.phase, MACHINE_PHASE_RUNNING);
	assert_false(machine.clock.paused);
	assert_string_equal(told, "pr");
}

/* They have requests in flight whose end may never come. */
static void a_pause_that_waits_for_devices_is_called_off(void **state)
{
	with_vcpus(2);
	machine_pause(&machine);
	machine_resume(&machine);
	assert_true(machine.resume_wanted);
	machine_devices_stopped(&machine, false);
	assert_int_equal(machine.phase, MACHINE_PHASE_RUNNING);
	assert_false(machine.clock.paused || machine.devices_to_stop || told_to_stop(0));
	assert_string_equal(told, "r");
}

/* Its vCPUs have no threads, for which a pause would wait. */
static void a_machine_that_sleeps_is_paused(void **state)
{
	with_vcpus(0);
	machine.asleep = true;
	machine_pause(&machine);
	assert_true(machine.clock.paused && machine.devices_to_stop);
	stop_devices();
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSED);
	machine_resume(&machine);
	assert_int_equal(machine.phase, MACHINE_PHASE_RUNNING);
	assert_true(machine.asleep);
	assert_string_equal(told, "pr");
}

static void only_a_machine_that_sleeps_can_be_woken(void **state)
{
	assert_false(machine_wake_up(&machine));
	assert_int_equal(machine.request.end, MACHINE_RUNS_ON);
}

/* Another processor resets the machine while it falls asleep, or the user does. */
static void a_reset_outranks_sleep(void **state)
{
	request(MACHINE_SLEEPS, 0);
	request(MACHINE_WAKES, 0);
	assert_int_equal(machine.request.end, MACHINE_SLEEPS);
	request(MACHINE_RESET, 1);
	request(MACHINE_SLEEPS, 0);
	assert_int_equal(machine.request.end, MACHINE_RESET);
}

static void a_resume_amid_a_pause_follows_it(void **state)
{
	with_vcpus(1);
	machine_pause(&machine);
	machine_resume(&machine);
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSING);
	park();
	assert_int_equal(machine.phase, MACHINE_PHASE_RUNNING);
	assert_false(machine.clock.paused || told_to_stop(0));
	assert_string_equal(told, "pr");

	/* And is forgotten where a pause was asked for after it. */
	machine.parked = 1;
	machine_pause(&machine);
	machine_resume(&machine);
	machine_pause(&machine);
	park();
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSED);
	assert_string_equal(told, "prp");
}

/* They stay parked, and are still told to stop, until a resume lets them go, too. */
static void vcpus_are_held_back_from_a_resume(void **state)
{
	with_vcpus(2);
	machine_pause(&machine);
	stop_devices();
	machine.cpus[0]->debugger.stop = machine.cpus[1]->debugger.stop = DEBUGGER_STEPPED;
	machine_resume_without(&machine, BIT(1));
	assert_int_equal(machine.phase, MACHINE_PHASE_RUNNING);
	assert_int_equal(machine.held, BIT(1));
	assert_false(told_to_stop(0));
	assert_true(told_to_stop(1));
	assert_int_equal(machine.cpus[0]->debugger.stop, DEBUGGER_RUNS_ON);
	assert_int_equal(machine.cpus[1]->debugger.stop, DEBUGGER_STEPPED);
	machine_pause(&machine);
	stop_devices();
	machine_resume(&machine);
	assert_int_equal(machine.held, 0);
	assert_false(told_to_stop(0) || told_to_stop(1));
}

static void a_machine_can_start_paused(void **state)
{
	with_vcpus(2);
	machine_start_paused(&machine);
	assert_true(machine.clock.paused);
	machine_resume(&machine);
	assert_int_equal(machine.phase, MACHINE_PHASE_RUNNING);
	assert_false(machine.clock.paused);
}

/* --- what the guest does to itself --- */

static void finish_pause(void)
{
	park();
	park();
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSED);
	machine.parked = 0;
}

static void a_guest_that_ends_stays_where_that_is_wanted(void **state)
{
	with_vcpus(0);
	machine_guest_ended(&machine, MACHINE_POWERED_OFF, 0);
	assert_int_equal(machine.request.end, MACHINE_POWERED_OFF);
	assert_string_equal(told, "");
	machine.request.end = MACHINE_RUNS_ON;
	machine.config.actions.stays = true;
	machine_guest_ended(
		&machine, MACHINE_RESET, false); /* is an end where it does not reboot */
	machine_guest_ended(&machine, MACHINE_POWERED_OFF, 0);
	finish_pause();
	assert_int_equal(machine.request.end, MACHINE_RUNS_ON);
	assert_int_equal(machine.stopped, MACHINE_STOP_SHUT_DOWN);
	machine_resume(&machine); /* is of no use to it */
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSED);
	assert_string_equal(told, "dp");
	machine_request_end(&machine, MACHINE_RESET, true);
	assert_int_equal(machine.request.end, MACHINE_RESET);
}

static void a_guest_that_resets_itself_does_so_where_it_stays(void **state)
{
	with_vcpus(0);
	machine.config.actions.stays = machine.config.reboot = true;
	machine_guest_ended(&machine, MACHINE_RESET, false);
	assert_int_equal(machine.request.end, MACHINE_RESET);
}

static void a_panic_ends_pauses_or_is_told(void **state)
{
	with_vcpus(0);
	machine_guest_panicked(&machine, true);
	assert_string_equal(told, "c");
	machine.config.actions.panic = PANIC_RUNS_ON;
	machine_guest_panicked(&machine, false);
	assert_int_equal(machine.phase, MACHINE_PHASE_RUNNING);
	machine.config.actions.panic = PANIC_POWEROFF;
	machine.config.actions.stays = true;
	machine_guest_panicked(&machine, false);
	finish_pause();
	assert_int_equal(machine.stopped, MACHINE_STOP_PANICKED);
	machine_resume(&machine);
	assert_int_equal(machine.stopped, MACHINE_STOP_USER);
	assert_string_equal(told, "ckkpr");
	machine.config.actions.stays = false;
	machine_guest_panicked(&machine, false);
	assert_int_equal(machine.request.end, MACHINE_GUEST_PANICKED);
	assert_false(machine.request.value);
	machine.request.end = MACHINE_RUNS_ON;
	machine.config.actions.panic = PANIC_FAILS;
	machine_guest_panicked(&machine, false);
	assert_true(machine.request.value);
}

static void a_watchdog_does_what_is_configured(void **state)
{
	static const enum machine_end ends[] = {[WATCHDOG_RESETS] = MACHINE_RESET,
		[WATCHDOG_POWERS_OFF] = MACHINE_POWERED_OFF,
		[WATCHDOG_PAUSES] = MACHINE_RUNS_ON,
		[WATCHDOG_REPORTS] = MACHINE_RUNS_ON,
		[WATCHDOG_IS_TOLD] = MACHINE_RUNS_ON};

	with_vcpus(0);
	for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
		/* The power button is the chipset's, which is not there. */
		if (i == WATCHDOG_SHUTS_DOWN)
			continue;
		machine.request.end = MACHINE_RUNS_ON;
		machine.config.actions.watchdog = (enum watchdog_action)i;
		machine_watchdog_expired(&machine);
		assert_int_equal(machine.request.end, ends[i]);
	}
	finish_pause();
	assert_int_equal(machine.stopped, MACHINE_STOP_WATCHDOG);
	assert_string_equal(told, "wwwwwp");
	assert_int_equal(
		machine_action_find(machine_watchdog_actions, "inject-nmi"), WATCHDOG_INTERRUPTS);
	assert_int_equal(machine_action_find(machine_panic_actions, "frob"), -EINVAL);
}

static void a_listener_that_leaves_is_told_nothing(void **state)
{
	static struct machine_listener second = {.notify = note};

	with_vcpus(2);
	machine_listen(&machine, &second);
	machine_pause(&machine);
	stop_devices();
	assert_string_equal(told, "pp");
	machine_unlisten(&machine, &second);
	machine_resume(&machine);
	assert_string_equal(told, "ppr");
}

static void stop_loop(void *opaque)
{
	event_loop_stop(opaque);
}

static struct timer timer;

static void *run_loop(void *loop)
{
	while (timer_armed(&timer))
		event_loop_run(loop);
	return NULL;
}

static void with_lock(void (*act)(struct machine *machine))
{
	priority_lock_take(&machine.lock);
	act(&machine);
	priority_lock_release(&machine.lock);
}

static void devices_stopped(struct machine *paused)
{
	machine_devices_stopped(paused, true);
}

/* The event loop sleeps when the pause ends, after the time at which the timer was due at first. */
static void timers_go_on_after_a_pause(void **state)
{
	pthread_t thread;

	with_vcpus(2);
	timer_init(&timer, machine.loop, stop_loop, machine.loop);
	timer_arm(&timer, clock_ns(&machine.clock) + 50000000);
	pthread_create(&thread, NULL, run_loop, machine.loop);
	with_lock(machine_pause);
	with_lock(devices_stopped);
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSED);
	usleep(150000);
	assert_true(timer_armed(&timer));
	with_lock(machine_resume);
	alarm(10); /* or else it would wait for ever */
	pthread_join(thread, NULL);
	alarm(0);
	assert_false(timer_armed(&timer));
}

static void an_end_reaches_vcpus_that_are_paused(void **state)
{
	with_vcpus(2);
	machine_pause(&machine);
	stop_devices();
	request(MACHINE_SIGNAL, 15);
	machine_resume(&machine);
	assert_true(told_to_stop(0) && told_to_stop(1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			what_the_user_asks_outranks_what_the_guest_asks, setup, teardown),
		cmocka_unit_test_setup_teardown(
			between_equals_the_first_request_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(
			the_last_vcpu_to_stop_pauses_the_machine, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(
			a_pause_finds_vcpus_that_are_parked_still, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(a_pause_waits_for_devices, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(
			a_pause_that_waits_for_devices_is_called_off, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(
			a_machine_that_sleeps_is_paused, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(
			only_a_machine_that_sleeps_can_be_woken, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reset_outranks_sleep, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_resume_amid_a_pause_follows_it, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(timers_go_on_after_a_pause, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(
			an_end_reaches_vcpus_that_are_paused, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(
			vcpus_are_held_back_from_a_resume, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(a_machine_can_start_paused, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(
			a_guest_that_ends_stays_where_that_is_wanted, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(
			a_guest_that_resets_itself_does_so_where_it_stays, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(
			a_panic_ends_pauses_or_is_told, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(
			a_watchdog_does_what_is_configured, setup_pause, teardown),
		cmocka_unit_test_setup_teardown(
			a_listener_that_leaves_is_told_nothing, setup_pause, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
