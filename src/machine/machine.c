/* How a machine runs: until what it is asked for, over pauses, sleep and resets. */
#include "machine/machine.h"

#include "base/log.h"
#include "device/chipset/chipset.h"
#include "host/display/text_screen.h"
#include "machine/build.h"
#include "machine/cpu_dump.h"
#include "machine/incident.h"
#include "machine/sleep.h"
#include "machine/vcpu_thread.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

/* Where the devices' requests do not end: so long till the I/O thread looks who wants something of
 * it, and so many times, when the machine ends, till they are abandoned, and then till it is
 * believed that they are stuck in the host's kernel. */
#define DEVICES_TURN_NS  (NS_PER_SECOND / 10)
#define DEVICES_PATIENCE 8
#define DEVICES_STUCK    14

/* How urgent a request to end is. A guest can ask for a reset again and again, so its request must
 * not hide the user's, or that an engine has failed. */
static unsigned rank(enum machine_end end)
{
	switch (end) {
	case MACHINE_RUNS_ON:
		return 0;
	case MACHINE_SLEEPS:
	case MACHINE_WAKES:
		return 1;
	case MACHINE_POWERED_OFF:
	case MACHINE_RESET:
	case MACHINE_DEBUG_EXIT:
	case MACHINE_TRIPLE_FAULT:
	case MACHINE_GUEST_PANICKED:
		return 2;
	case MACHINE_QUIT:
	case MACHINE_SIGNAL:
	case MACHINE_FAILED:
		break;
	}
	return 3;
}

void machine_request_end(struct machine *machine, enum machine_end end, int value)
{
	if (rank(end) <= rank(machine->request.end))
		return;
	machine->request = (struct machine_result){end, value};
	vcpu_threads_kick(machine);
	pthread_cond_broadcast(&machine->phase_changed);
	event_loop_stop(machine->loop);
}

/* --- running --- */

static bool end_requested(struct machine *machine)
{
	bool requested;

	priority_lock_take(&machine->lock);
	requested = machine->request.end != MACHINE_RUNS_ON;
	priority_lock_release(&machine->lock);
	return requested;
}

static void request_failure(struct machine *machine)
{
	priority_lock_take(&machine->lock);
	machine_request_end(machine, MACHINE_FAILED, 0);
	priority_lock_release(&machine->lock);
}

static uint64_t host_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* Ends for good, that is: not to start again. */
static bool ends(const struct machine *machine)
{
	enum machine_end end = machine->request.end;

	return rank(end) > 1 && (end != MACHINE_RESET || !machine->config.reboot);
}

/* The user wants it to run while a pause still waits for devices. */
static bool pause_called_off(const struct machine *machine)
{
	return machine->phase == MACHINE_PHASE_PAUSING && machine->resume_wanted &&
	       machine->request.end == MACHINE_RUNS_ON;
}

/* Of those that are being unplugged none is left. */
static bool devices_are_quiet(struct machine *machine)
{
	bool quiet = device_list_quiesce(
		chipset_devices(machine->chipset), host_now_ns() + DEVICES_TURN_NS);

	priority_lock_take(&machine->lock);
	quiet &= machine_unplug_step(machine);
	priority_lock_release(&machine->lock);
	return quiet;
}

/* Wait for the devices' threads; false where that is called off. Who wants something of the I/O
 * thread is served in between: requests may take as long as their disk's server does, and the user
 * may not want to wait. No back end can call back what the host's kernel has, such as a read of a
 * network file system whose server is gone; a machine that ends leaves that to the end of the
 * process. */
static bool stop_devices(struct machine *machine)
{
	struct device_list *devices = chipset_devices(machine->chipset);
	unsigned turns = 0;
	bool called_off;

	while (!machine->stuck && !devices_are_quiet(machine)) {
		event_loop_stop(machine->loop);
		if (event_loop_run(machine->loop) < 0)
			request_failure(machine);
		priority_lock_take(&machine->lock);
		turns += ends(machine);
		called_off = pause_called_off(machine);
		priority_lock_release(&machine->lock);
		if (called_off)
			return false;
		if (turns >= DEVICES_PATIENCE) {
			device_list_abandon(devices);
			machine_unplug_abandon(machine);
		}
		machine->stuck = turns >= DEVICES_STUCK;
		if (machine->stuck)
			log_warning("the host does not complete a device's requests; the machine "
				    "ends without them");
	}
	return true;
}

static void finish_pause(struct machine *machine)
{
	bool wanted, stopped;

	priority_lock_take(&machine->lock);
	wanted = machine->devices_to_stop;
	priority_lock_release(&machine->lock);
	if (!wanted)
		return;
	stopped = stop_devices(machine);
	priority_lock_take(&machine->lock);
	machine_devices_stopped(machine, stopped);
	priority_lock_release(&machine->lock);
}

static struct machine_result run_until_request(struct machine *machine)
{
	int error;

	priority_lock_take(&machine->lock);
	if (machine->phase == MACHINE_PHASE_RUNNING)
		device_list_resume(chipset_devices(machine->chipset));
	priority_lock_release(&machine->lock);
	if (vcpu_threads_start(machine) < 0)
		return (struct machine_result){MACHINE_FAILED, 0};
	do {
		error = event_loop_run(machine->loop);
		finish_pause(machine);
	} while (!error && !end_requested(machine));
	if (error)
		request_failure(machine);
	vcpu_threads_stop(machine);
	stop_devices(machine);
	return machine->request;
}

/* In S3. What ends it is what wakes the machine, or what would end or reset one that runs. */
static struct machine_result sleep_until_request(struct machine *machine)
{
	int error;

	machine_fall_asleep(machine);
	do {
		error = event_loop_run(machine->loop);
		finish_pause(machine);
	} while (!error && !end_requested(machine));
	if (error)
		request_failure(machine);
	stop_devices(machine);
	return machine->request;
}

static void tell_with_lock(
	struct machine *machine, enum machine_event_kind kind, struct machine_result cause)
{
	priority_lock_take(&machine->lock);
	machine_tell(machine, kind, cause);
	priority_lock_release(&machine->lock);
}

/* A machine that was saved asleep still is. */
static struct machine_result run_awake_or_asleep(struct machine *machine)
{
	struct machine_result result = {MACHINE_SLEEPS, 0};

	while (result.end == MACHINE_SLEEPS || result.end == MACHINE_WAKES) {
		if (result.end == MACHINE_WAKES || !chipset_is_asleep(machine->chipset))
			result = run_until_request(machine);
		if (result.end == MACHINE_SLEEPS)
			result = sleep_until_request(machine);
		if (result.end == MACHINE_WAKES && !machine_wake(machine))
			result = (struct machine_result){MACHINE_RESET, 0};
	}
	return result;
}

static struct machine_result run_over_resets(struct machine *machine)
{
	struct machine_result result;

	for (;;) {
		result = run_awake_or_asleep(machine);
		if (result.end != MACHINE_RESET || !machine->config.reboot)
			return result;
		if (machine_reset(machine) < 0)
			return (struct machine_result){MACHINE_FAILED, 0};
		tell_with_lock(machine, MACHINE_WAS_RESET, result);
	}
}

struct signal_watch {
	struct machine *machine;
	int fd;
	sigset_t saved_mask;
};

static void tell_resized(struct machine *machine)
{
	char_devices_resized(machine->chardevs);
	if (machine->console)
		console_resized(machine->console);
}

static void on_signal(void *opaque, uint32_t events)
{
	struct signal_watch *watch = opaque;
	struct signalfd_siginfo info;

	if (read(watch->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo != SIGWINCH)
		machine_request_end(watch->machine, MACHINE_SIGNAL, (int)info.ssi_signo);
	else
		tell_resized(watch->machine);
}

/* Signals that mean "stop" are taken by the event loop, so that they end a run in order; and so is
 * the one that says that a terminal's window has another size. They are blocked before vCPU threads
 * exist, which inherit that. */
static int watch_signals(struct machine *machine, struct signal_watch *watch)
{
	sigset_t set;
	int error;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGWINCH);
	watch->machine = machine;
	watch->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	error = watch->fd < 0
			? -errno
			: event_loop_watch(machine->loop, watch->fd, EPOLLIN, on_signal, watch);
	if (error) {
		log_error("cannot watch for signals: %s", strerror(-error));
		if (watch->fd >= 0)
			close(watch->fd);
		return error;
	}
	pthread_sigmask(SIG_BLOCK, &set, &watch->saved_mask);
	return 0;
}

static void unwatch_signals(struct signal_watch *watch)
{
	event_loop_unwatch(watch->machine->loop, watch->fd);
	close(watch->fd);
	pthread_sigmask(SIG_SETMASK, &watch->saved_mask, NULL);
}

static struct console *create_console(struct machine *machine)
{
	struct console_config config = {
		.input_fd = machine->config.console_input,
		.output_fd = machine->config.console_output,
		.loop = machine->loop,
		.quit = machine_on_quit,
		.opaque = machine,
	};

	return console_create(&config);
}

/* The guest's console, NULL for none: COM1, or a virtio port. Machine lock held. */
static void connect_backend(struct machine *machine, struct char_backend *console)
{
	if (machine->virtio_console)
		virtio_console_connect(machine->virtio_console, 0, console);
	else
		chipset_connect_console(machine->chipset, console);
}

/* The terminal shows what the console sends, or, with --display text, the screen. Machine lock
 * held. */
static int connect_terminal(struct machine *machine, struct char_backend *console)
{
	struct text_screen_config config = {
		.console = console,
		.terminal_fd = machine->config.console_output,
		.screen = &machine->display,
		.input = &machine->input,
		.clock = &machine->clock,
		.loop = machine->loop,
	};

	if (machine->config.display.kind != DISPLAY_TEXT) {
		connect_backend(machine, console);
		return 0;
	}
	machine->text_screen = text_screen_create(&config);
	return machine->text_screen ? 0 : -ENOMEM;
}

static int connect_console(struct machine *machine)
{
	int error;

	priority_lock_take(&machine->lock);
	/* One that was loaded is paused from the start. */
	console_hold(machine->console, machine->phase == MACHINE_PHASE_PAUSED);
	error = connect_terminal(machine, console_backend(machine->console));
	priority_lock_release(&machine->lock);
	return error;
}

/* 0, or -errno with a message; then it is to be closed, if it is there. */
static int open_console(struct machine *machine)
{
	priority_lock_take(&machine->lock);
	char_devices_hold(machine->chardevs, machine->phase == MACHINE_PHASE_PAUSED);
	priority_lock_release(&machine->lock);
	if (machine->config.console_output < 0)
		return 0;
	machine->console = create_console(machine);
	return machine->console ? connect_console(machine) : -EIO;
}

static void disconnect_console(struct machine *machine)
{
	priority_lock_take(&machine->lock);
	if (machine->text_screen)
		text_screen_destroy(machine->text_screen);
	machine->text_screen = NULL;
	connect_backend(machine, NULL);
	priority_lock_release(&machine->lock);
}

/* How long to wait for the console to write its queue: half a second where the user ends the run,
 * else until the guest's last output is written. */
static int patience_ms(const struct machine_result *result)
{
	return result->end == MACHINE_QUIT || result->end == MACHINE_SIGNAL ? 500 : -1;
}

struct machine_result machine_run(struct machine *machine)
{
	struct machine_result result = {MACHINE_FAILED, 0};
	struct signal_watch signals;

	if (watch_signals(machine, &signals) < 0)
		return result;
	if (open_console(machine) == 0)
		result = run_over_resets(machine);
	if (machine->console)
		disconnect_console(machine);
	tell_with_lock(machine, MACHINE_ENDED, result);
	/* From here on a signal ends the process at once, so that it can be ended while it waits
	 * for a reader that does not read our output. */
	unwatch_signals(&signals);
	machine->patience_ms = patience_ms(&result);
	if (machine->console)
		console_destroy(machine->console, machine->patience_ms);
	machine->console = NULL;
	if (result.end == MACHINE_TRIPLE_FAULT) {
		log_error("triple fault on vCPU %d; its registers:", result.value);
		cpu_dump_print(machine->cpus[result.value]);
	}
	return result;
}

void machine_add_stats(const struct machine *machine, struct cpu_stats *sum)
{
	uint64_t *to = (uint64_t *)sum;
	unsigned i, field;

	_Static_assert(sizeof(*sum) % sizeof(*to) == 0, "counters are all of one type");
	*sum = (struct cpu_stats){0};
	for (i = 0; i < machine->config.cpu_count; i++)
		for (field = 0; field < sizeof(*sum) / sizeof(*to); field++)
			to[field] += ((const uint64_t *)&machine->cpus[i]->stats)[field];
}
