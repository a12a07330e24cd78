#include "machine/machine.h"

#include "base/log.h"
#include "base/sanitizer.h"
#include "device/chipset/chipset.h"
#include "device/pc_testdev.h"
#include "host/display/text_screen.h"
#include "host/display/vnc.h"
#include "machine/acpi.h"
#include "machine/cpu_dump.h"
#include "machine/guest_image.h"
#include "machine/incident.h"
#include "machine/io_devices.h"
#include "machine/layout.h"
#include "machine/sleep.h"
#include "machine/vcpu_thread.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

/* Where the devices' requests do not end: so long till the I/O thread looks who wants something of
 * it, and so many times, when the machine ends, till they are abandoned, and then till it is
 * believed that they are stuck in the host's kernel. */
#define DEVICES_TURN_NS  (NS_PER_SECOND / 10)
#define DEVICES_PATIENCE 8
#define DEVICES_STUCK    14

_Static_assert(MACHINE_MAX_CPUS <= ACPI_MAX_CPUS, "the ACPI tables list all vCPUs");

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

/* --- what devices and the console ask for --- */

static void on_power_off(void *opaque)
{
	machine_guest_ended(opaque, MACHINE_POWERED_OFF, 0);
}

static void on_reset(void *opaque)
{
	machine_guest_ended(opaque, MACHINE_RESET, false);
}

static void on_sleep(void *opaque)
{
	machine_request_end(opaque, MACHINE_SLEEPS, 0);
}

static void on_wake(void *opaque)
{
	machine_request_end(opaque, MACHINE_WAKES, 0);
}

static void on_debug_exit(void *opaque, int status)
{
	machine_request_end(opaque, MACHINE_DEBUG_EXIT, status);
}

static void on_quit(void *opaque)
{
	machine_request_end(opaque, MACHINE_QUIT, 0);
}

void machine_press_power_button(struct machine *machine)
{
	chipset_power_button(machine->chipset);
	machine_tell(machine, MACHINE_POWER_BUTTON, (struct machine_result){MACHINE_RUNS_ON, 0});
}

void machine_inject_nmi(struct machine *machine)
{
	chipset_nmi(machine->chipset);
}

bool machine_wake_up(struct machine *machine)
{
	if (machine->asleep)
		chipset_power_button(machine->chipset);
	return machine->asleep;
}

/* --- building --- */

static int create_cpus(struct machine *machine)
{
	const struct engine *engine = machine->config.engine;
	unsigned i;
	int error = engine->machine_create(
		&machine->engine_machine, &machine->platform, &machine->config.engine_options);

	if (error)
		return error;
	for (i = 0; i < machine->config.cpu_count; i++) {
		machine->cpus[i] = cpu_create(&machine->platform, i);
		if (!machine->cpus[i])
			return -ENOMEM;
		error = engine->vcpu_create(machine->engine_machine, machine->cpus[i]);
		if (error) {
			cpu_destroy(machine->cpus[i]);
			machine->cpus[i] = NULL;
			return error;
		}
	}
	return 0;
}

static int create_testdev(struct machine *machine)
{
	struct irq_line lines[PC_TESTDEV_LINES];

	for (unsigned gsi = 0; gsi < PC_TESTDEV_LINES; gsi++)
		lines[gsi] = chipset_irq_line(machine->chipset, gsi);
	return pc_testdev_create(
		chipset_devices(machine->chipset), &machine->ports, &machine->memory.mmio, lines);
}

/* A front of a character device; *front is NULL where there is no ID. */
static int use_chardev(struct machine *machine, const char *id, struct char_backend **front)
{
	struct char_device *device = id ? char_devices_find(machine->chardevs, id) : NULL;

	*front = NULL;
	if (device)
		return char_device_use(device, true, id, front);
	if (!id)
		return 0;
	log_error("there is no character device '%s'", id);
	return -ENOENT;
}

static int add_chardev(struct machine *machine, const struct char_config *config)
{
	return char_devices_add(
		machine->chardevs, config, config->option ? config->option : "-chardev");
}

static int use_chardevs(struct machine *machine, struct chipset_config *chipset)
{
	const struct machine_config *config = &machine->config;
	int error = 0;

	machine->chardevs = char_devices_create(machine->loop, on_quit, machine);
	if (!machine->chardevs)
		return -ENOMEM;
	for (unsigned i = 0; !error && i < config->chardev_count; i++)
		error = add_chardev(machine, &config->chardevs[i]);
	for (unsigned i = 1; !error && i < CHIPSET_SERIAL_PORTS; i++)
		error = use_chardev(machine, config->serial[i], &chipset->more_serial[i - 1]);
	return error ? error : use_chardev(machine, config->parallel, &chipset->printer);
}

static int connect_com1(struct machine *machine)
{
	struct char_backend *front;
	int error = use_chardev(machine, machine->config.serial[0], &front);

	if (!error && front)
		chipset_connect_console(machine->chipset, front);
	return error;
}

static int create_devices(struct machine *machine)
{
	struct chipset_config config = {
		.platform = &machine->platform,
		.loop = machine->loop,
		.machine_lock = &machine->lock,
		.debug_exit_port = machine->config.debug_exit_port,
		.rtc_offset_s = machine->config.rtc_offset_s,
		.opaque = machine,
		.power_off = on_power_off,
		.sleep = on_sleep,
		.wake = on_wake,
		.reset = on_reset,
		.debug_exit = on_debug_exit,
	};
	int error;

	error = use_chardevs(machine, &config);
	if (error)
		return error;
	machine->chipset = chipset_create(&config);
	if (!machine->chipset)
		return -ENODEV;
	machine->input = chipset_input(machine->chipset);
	error = connect_com1(machine);
	if (error)
		return error;
	if (machine->config.pc_testdev && (error = create_testdev(machine)))
		return error;
	return io_devices_create(machine);
}

/* Those who show the screen from the start; the terminal does while the machine runs. */
static int create_viewers(struct machine *machine)
{
	struct vnc_config config = {
		.display = &machine->config.display,
		.screen = &machine->display,
		.input = &machine->input,
		.loop = machine->loop,
	};

	if (config.display->kind != DISPLAY_VNC)
		return 0;
	machine->vnc = vnc_create(&config);
	return machine->vnc ? 0 : -EIO;
}

/* ThreadSanitizer shall report races in the monitor's own data, and not those of guest processors
 * that store to the same bytes. */
#if THREAD_SANITIZED
void AnnotateBenignRaceSized(const char *file, int line, const volatile void *memory, size_t size,
	const char *description);
#define ALLOW_RACES(memory, size)                                                                  \
	AnnotateBenignRaceSized(__FILE__, __LINE__, memory, size, "guest memory")
#else
#define ALLOW_RACES(memory, size) ((void)0)
#endif

static int build_model(struct machine *machine)
{
	const struct engine *engine = machine->config.engine;
	struct cpu_features withheld = {{0}};
	struct cpuid_host host;
	int error;

	if (engine->withheld)
		engine->withheld(&machine->config.engine_options, &withheld);
	cpuid_host_read(&host);
	error = cpu_model_build(&machine->model, &host, &withheld, machine->config.cpu);
	if (!error && machine->firmware.efi.used)
		machine->model.physical_bits = efi_physical_bits(machine->model.physical_bits,
			machine->model.amd, machine->config.memory_size);
	return error;
}

static int create_memory(struct machine *machine)
{
	const struct machine_config *config = &machine->config;
	int file = config->memory_path ? memory_open_file(config->memory_path) : -1;
	int error;

	if (config->memory_path && file < 0)
		return file;
	error = memory_create_in(&machine->memory, config->memory_size,
		machine->model.physical_bits, &machine->lock, file);
	if (!error && config->memory_allocated)
		error = memory_allocate(&machine->memory);
	if (error)
		return error;
	ALLOW_RACES(machine->memory.ram, machine->memory.ram_size);
	machine->memory.needs_membarrier = config->cpu_count > 1;
	return firmware_is_used(machine) ? firmware_load(machine) : 0;
}

/* Everything but the memory and the guest in it. */
static int build(struct machine *machine)
{
	int error;

	machine->loop = event_loop_create(&machine->clock, &machine->lock);
	if (!machine->loop) {
		error = -errno;
		log_error("cannot make the event loop: %s", strerror(errno));
		return error;
	}
	machine->platform = (struct cpu_platform){
		.memory = &machine->memory,
		.model = &machine->model,
		.ports = &machine->ports,
		.clock = &machine->clock,
		.cpu_count = machine->config.cpu_count,
		.cpus = machine->cpus,
	};
	error = create_cpus(machine);
	if (!error)
		error = create_devices(machine);
	return error ? error : create_viewers(machine);
}

/* What a BIOS leaves in its data area, and kernels look up: where base memory ends. */
static int write_bios_data(struct memory *memory)
{
	const uint16_t ebda_segment = LAYOUT_EBDA >> 4, base_kib = LAYOUT_EBDA / KIB;
	int error;

	error = memory_write(memory, LAYOUT_BDA_EBDA_SEGMENT, &ebda_segment, 2);
	return error ? error : memory_write(memory, LAYOUT_BDA_BASE_KIB, &base_kib, 2);
}

/* Put into zeroed RAM what firmware and boot loader would have: tables, kernel, initrd. */
static int load_guest(struct machine *machine)
{
	const struct machine_config *config = &machine->config;
	const struct acpi_config acpi = machine_acpi_config(config);
	struct boot_request request = {
		.memory = &machine->memory,
		.kernel = &machine->kernel,
		.initrd = machine->initrd.size ? &machine->initrd : NULL,
		.modules = machine->modules,
		.module_count = machine->module_count,
		.cmdline = machine->cmdline,
		.text_screen = machine_has_vga(config),
	};
	int error;

	if (firmware_is_used(machine))
		return 0;
	if ((error = write_bios_data(&machine->memory)) ||
		(error = acpi_write_tables(&machine->memory, &acpi, &request.rsdp)) ||
		(error = smbios_write_tables(&machine->memory, &config->smbios, config->cpu_count)))
		return error;
	error = boot_load(&request, &machine->start);
	guest_image_loaded(machine);
	return error;
}

/* Put processor and chipset into the state in which the kernel would have found them. With firmware
 * that is as after power-up. */
static void prepare_start(struct machine *machine)
{
	if (firmware_is_used(machine)) {
		firmware_power_up(machine);
		return;
	}
	boot_start_cpu(machine->cpus[0], &machine->start);
	priority_lock_take(&machine->lock);
	chipset_firmware_setup(machine->chipset);
	if (machine->start.after_bios)
		pci_enable_decoding(machine->pci);
	priority_lock_release(&machine->lock);
}

static void *measure_clock(void *clock)
{
	clock_init(clock);
	return NULL;
}

/* Where the host does not say how fast its TSC is, measuring it takes some milliseconds of waiting,
 * and loading the kernel takes some of copying: both at once. */
static int load_guest_and_start_clock(struct machine *machine)
{
	pthread_t thread;
	int error;

	error = pthread_create(&thread, NULL, measure_clock, &machine->clock);
	if (error) {
		clock_init(&machine->clock);
		return load_guest(machine);
	}
	error = load_guest(machine);
	pthread_join(thread, NULL);
	return error;
}

int machine_create(struct machine *machine, const struct machine_config *config)
{
	int error;

	*machine = (struct machine){
		.config = *config, .memory.fd = -1, .kernel.fd = -1, .initrd.fd = -1};
	priority_lock_init(&machine->lock);
	pthread_cond_init(&machine->phase_changed, NULL);
	io_space_init(&machine->ports, &machine->lock);
	machine_plug_init(machine);

	error = guest_image_open(machine);
	if (!error)
		error = firmware_open(machine);
	if (!error)
		error = build_model(machine);
	if (!error)
		error = create_memory(machine);
	if (!error)
		error = load_guest_and_start_clock(machine);
	if (!error)
		error = build(machine);
	if (error)
		machine_destroy(machine);
	else
		prepare_start(machine);
	machine->built = !error;
	return error;
}

void machine_destroy(struct machine *machine)
{
	unsigned i;

	if (machine->vnc)
		vnc_destroy(machine->vnc);
	/* A thread that is stuck uses all the rest when it goes on. */
	if (machine->stuck) {
		for (i = 0; i < machine->config.disk_count; i++)
			disk_server_remove_files(machine->config.disks[i].server);
		return;
	}
	machine_plug_destroy(machine);
	if (machine->chipset)
		chipset_destroy(machine->chipset);
	char_devices_destroy(machine->chardevs, machine->patience_ms);
	for (i = 0; i < ARRAY_SIZE(machine->cpus) && machine->cpus[i]; i++) {
		machine->config.engine->vcpu_destroy(machine->cpus[i]);
		cpu_destroy(machine->cpus[i]);
		machine->cpus[i] = NULL;
	}
	if (machine->engine_machine)
		machine->config.engine->machine_destroy(machine->engine_machine);
	for (i = 0; i < machine->config.disk_count; i++)
		disk_server_drop(machine->config.disks[i].server);
	if (machine->loop)
		event_loop_destroy(machine->loop);
	if (machine->memory.ram)
		memory_destroy(&machine->memory);
	io_space_destroy(&machine->ports);
	firmware_destroy(machine);
	guest_image_close(machine);
	pthread_cond_destroy(&machine->phase_changed);
	priority_lock_destroy(&machine->lock);
}

/* --- running --- */

/* Machine reset: as if switched off and on, the RTC apart. */
static int reset(struct machine *machine)
{
	unsigned i;
	int error;

	machine->resets++;
	for (i = 0; i < machine->config.cpu_count; i++)
		cpu_reset(machine->cpus[i]); /* calls the chipset, which takes the lock */
	priority_lock_take(&machine->lock);
	machine->request = (struct machine_result){MACHINE_RUNS_ON, 0};
	machine->asleep = false;
	machine->stopped = machine->phase == MACHINE_PHASE_RUNNING ? MACHINE_STOP_USER
								   : MACHINE_STOP_PRELAUNCH;
	machine_unplug_at_reset(machine);
	chipset_reset(machine->chipset);
	priority_lock_release(&machine->lock);
	error = memory_clear(&machine->memory);
	if (!error)
		error = guest_image_reopen(machine);
	if (!error)
		error = load_guest(machine);
	if (!error)
		prepare_start(machine);
	return error;
}

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
		if (reset(machine) < 0)
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
		.quit = on_quit,
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
