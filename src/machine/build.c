/* How a machine is made, reset and taken apart. */
#include "machine/build.h"

#include "base/log.h"
#include "base/sanitizer.h"
#include "device/chipset/chipset.h"
#include "device/pc_testdev.h"
#include "host/display/vnc.h"
#include "machine/acpi.h"
#include "machine/guest_image.h"
#include "machine/incident.h"
#include "machine/io_devices.h"
#include "machine/layout.h"
#include "machine/vcpu_thread.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

_Static_assert(MACHINE_MAX_CPUS <= ACPI_MAX_CPUS, "the ACPI tables list all vCPUs");

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

void machine_on_quit(void *opaque)
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

	machine->chardevs = char_devices_create(machine->loop, machine_on_quit, machine);
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

/* --- reset --- */

int machine_reset(struct machine *machine)
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
