/* veneer run: build a machine as the options say, run it on this terminal, and tell by the exit
 * status how it ended. */
#include "cli/run.h"

#include "base/log.h"
#include "cli/cli.h"
#include "cli/run_options.h"
#include "cli/stats.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void print_help(void)
{
	const struct engine *const *engine;

	fputs("usage: veneer run DISK [OPTION...]\n"
	      "       veneer run --kernel FILE [OPTION...]\n"
	      "\n"
	      "Start a virtual machine with its console on standard input and output.\n"
	      "\n"
	      "DISK, a file with the words that --disk takes, is the machine's first disk. The\n"
	      "kernel, initrd and command line are those of its boot loader; options change or\n"
	      "add to that.\n"
	      "\n"
	      "Options:\n",
		stdout);
	options_print(stdout, run_options);
	fputs("\nEngines:\n  auto      the fastest that works on this host\n", stdout);
	for (engine = engines; *engine; engine++)
		printf("  %-10s%s\n", (*engine)->name, (*engine)->summary);
	fputs("\n"
	      "On a terminal, Ctrl-a x stops the machine and Ctrl-a h lists the keys.\n"
	      "\n"
	      "Exit status: 0 the guest powered off, reset itself with --no-reboot, or Ctrl-a x "
	      "or\n"
	      "'veneer quit' ended it; 2 wrong usage; 4 the machine could not be built or run;\n"
	      "6 triple fault; 8 the guest panicked, with --on-panic; odd: the guest wrote to\n"
	      "the --debug-exit port.\n",
		stdout);
}

/* These options say how to translate: an engine that does not translate refuses them. */
static int check_engine_options(const struct run_settings *settings)
{
	const struct engine_options *options = &settings->machine.engine_options;
	const char *option = options->hardened   ? "--hardened"
			     : options->verify   ? "--verify"
			     : options->trace    ? "--trace-bt"
			     : settings->shadow  ? "--shadow"
			     : settings->bt_test ? "--bt-test"
						 : NULL;

	if (option && !(settings->machine.engine->capabilities & ENGINE_TRANSLATES)) {
		log_error("%s: engine %s does not translate code; expected --engine bt", option,
			settings->machine.engine->name);
		return -EINVAL;
	}
	/* With several processors, what another one writes in between would be reported as a
	 * difference. */
	if (options->verify && settings->machine.cpu_count > 1) {
		log_error("--verify: cannot compare with --cpus %u; expected --cpus 1",
			settings->machine.cpu_count);
		return -EINVAL;
	}
	return 0;
}

/* What was not said: more for the system on a disk than for a kernel alone. */
static void set_defaults(struct run_settings *settings)
{
	struct machine_config *machine = &settings->machine;
	bool disk = settings->disk.path;
	cpu_set_t host;

	if (!machine->memory_size)
		machine->memory_size = disk ? GIB : 512 * MIB;
	if (!machine->cpu_count)
		machine->cpu_count = disk && sched_getaffinity(0, sizeof(host), &host) == 0 &&
						     CPU_COUNT(&host) > 1
					     ? 2
					     : 1;
}

/* It comes first, wherever its word stood. */
static int add_boot_disk(struct run_settings *settings)
{
	struct machine_config *machine = &settings->machine;

	if (!settings->disk.path)
		return 0;
	if (machine->disk_count == MACHINE_MAX_DISKS) {
		log_error("run %s: expected at most %u disks", settings->disk.path,
			MACHINE_MAX_DISKS);
		return -EINVAL;
	}
	/* Once, for it is opened twice: for its kernel, and as a disk. */
	if (disk_config_probe(&settings->disk) < 0)
		return -EINVAL;
	memmove(machine->disks + 1, machine->disks, machine->disk_count * sizeof(*machine->disks));
	machine->disks[0] = settings->disk;
	machine->disk_count++;
	return machine->net_count ? 0 : run_set_net(settings, "user");
}

/* The terminal cannot show the screen and be something else. */
static int check_display(const struct machine_config *machine)
{
	if (machine->display.kind != DISPLAY_TEXT ||
		(isatty(machine->console_input) && isatty(machine->console_output)))
		return 0;
	log_error("--display text: expected a terminal on standard input and output");
	return -EINVAL;
}

static int check_settings(struct run_settings *settings)
{
	struct firmware_config *firmware = &settings->machine.firmware;

	if (settings->machine.kernel_path && firmware->path) {
		log_error("--firmware %s: a kernel that is given is booted without firmware; "
			  "expected "
			  "no --kernel",
			firmware->path);
		return -EINVAL;
	}
	if (!settings->machine.kernel_path && !settings->disk.path && !firmware->path)
		firmware->path = FIRMWARE_DEFAULT;
	set_defaults(settings);
	if (add_boot_disk(settings) < 0)
		return -EINVAL;
	settings->machine.engine = engine_find(settings->engine_name);
	if (!settings->machine.engine) {
		log_error("--engine %s: no such engine; 'veneer run --help' lists them",
			settings->engine_name);
		return -EINVAL;
	}
	return check_display(&settings->machine) < 0 ? -EINVAL : check_engine_options(settings);
}

/* Die of the signal that stopped the machine, as if it had never been caught, so that the parent (a
 * shell that runs us in a loop, say) sees it. */
static void die_of_signal(int number)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, number);
	signal(number, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(number);
}

static int status_of(const struct machine_result *result)
{
	switch (result->end) {
	case MACHINE_POWERED_OFF:
	case MACHINE_RESET:
	case MACHINE_QUIT:
		return STATUS_OK;
	case MACHINE_DEBUG_EXIT:
		return result->value & 0xff;
	case MACHINE_TRIPLE_FAULT:
		return STATUS_TRIPLE_FAULT;
	case MACHINE_GUEST_PANICKED:
		return STATUS_PANICKED;
	case MACHINE_SIGNAL:
	case MACHINE_FAILED:
	case MACHINE_RUNS_ON:
	case MACHINE_SLEEPS:
	case MACHINE_WAKES:
		break;
	}
	return STATUS_FAILED;
}

static double now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* NULL with a message in the log. */
static struct control *open_monitors(struct machine *machine, const struct run_services *services)
{
	struct control *control = control_open(machine, services->about);

	if (control && services->plug.run)
		control_set_plug(control, &services->plug);
	for (unsigned i = 0; control && i < services->monitor_count; i++)
		if (control_add(control, &services->monitors[i]) < 0) {
			control_destroy(control);
			return NULL;
		}
	return control;
}

static struct machine_result run_served(
	struct machine *machine, const struct run_services *services)
{
	struct machine_result result = {MACHINE_FAILED, 0};
	struct control *control = NULL;
	struct gdb_server *gdb = NULL;

	if ((services->monitor_count || services->gdb.wanted) &&
		!(control = open_monitors(machine, services)))
		return result;
	if (services->paused)
		machine_start_paused(machine);
	if (services->gdb.wanted)
		gdb = gdb_server_create(machine, &services->gdb, "--gdb");
	if (gdb)
		gdb_server_set_monitor(gdb, control_human, control);
	if (gdb || !services->gdb.wanted) {
		if (services->ready)
			services->ready(services->opaque);
		result = machine_run(machine);
	}
	if (gdb)
		gdb_server_destroy(gdb);
	if (control)
		control_destroy(control);
	return result;
}

struct machine_result run_configured(
	const struct machine_config *config, const struct run_services *services)
{
	static struct machine machine;
	struct machine_result result = {MACHINE_FAILED, 0};
	double created, started, stopped;

	if (config->engine->available() < 0)
		return result;
	created = now_seconds();
	if (machine_create(&machine, config) < 0)
		return result;
	started = now_seconds();
	result = run_served(&machine, services);
	stopped = now_seconds();
	if (config->engine_options.count)
		stats_print(&machine, stopped - started, (started - created) * 1e3);
	machine_destroy(&machine);
	return result;
}

static int run_machine(const struct run_settings *settings)
{
	struct machine_result result = run_configured(&settings->machine, &settings->services);

	if (result.end == MACHINE_SIGNAL)
		die_of_signal(result.value);
	return status_of(&result);
}

static int run_main(int argc, char **argv)
{
	/* What its parts have allocated is theirs as long as the process lives. */
	static struct run_settings settings = {
		.machine = {.cmdline = "",
			.reboot = true,
			.console_input = STDIN_FILENO,
			.console_output = STDOUT_FILENO},
		.engine_name = "auto",
	};

	if (options_parse(argc, argv, run_options, &settings) < 0)
		return STATUS_USAGE;
	if (settings.help) {
		print_help();
		return STATUS_OK;
	}
	if (check_settings(&settings) < 0)
		return STATUS_USAGE;
	return run_machine(&settings);
}

const struct subcommand subcommand_run = {"run", "start a virtual machine", run_main};
