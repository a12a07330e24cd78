/* veneer qemu, and qemu-system-x86_64 by name: run the machine that a command line of QEMU's
 * describes. */
#include "base/bits.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/qemu.h"
#include "cli/run.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* What QEMU exits with. */
enum { QEMU_OK, QEMU_FAILED };

static int open_null(int flags)
{
	return open("/dev/null", flags | O_CLOEXEC);
}

static bool goes_nowhere(const struct qemu_chardev *chardev)
{
	return !chardev || chardev->kind == QEMU_CHAR_NULL || chardev->kind == QEMU_CHAR_VC;
}

/* The descriptors of the first serial port, or of the virtio console: one of them. */
static int open_console(struct qemu *qemu)
{
	struct machine_config *machine = &qemu->machine;
	const struct qemu_chardev *chardev = qemu->serial_count ? qemu->serials[0] : NULL;

	if (qemu->console && !goes_nowhere(chardev)) {
		log_error("-device virtconsole: expected no first serial port: -serial none");
		return -EINVAL;
	}
	machine->virtio_console = qemu->console;
	if (qemu->console)
		chardev = qemu->console;

	switch (chardev ? chardev->kind : QEMU_CHAR_NULL) {
	case QEMU_CHAR_STDIO:
		machine->console_input = STDIN_FILENO;
		machine->console_output = STDOUT_FILENO;
		return 0;
	case QEMU_CHAR_FILE:
		machine->console_output =
			chardev->fd >= 0 ? chardev->fd
					 : open(chardev->path,
						   O_WRONLY | O_CREAT | O_CLOEXEC |
							   (chardev->append ? O_APPEND : O_TRUNC),
						   0666);
		break;
	case QEMU_CHAR_NULL:
	case QEMU_CHAR_VC:
		machine->console_output = open_null(O_WRONLY);
		break;
	default:
		log_error("-serial: expected stdio, file:NAME, null or none");
		return -EINVAL;
	}
	if (machine->console_output >= 0)
		return 0;
	log_error("-serial file:%s: %s", chardev ? chardev->path : "", strerror(errno));
	return -EINVAL;
}

static int open_second_serial(struct qemu *qemu)
{
	const struct qemu_chardev *chardev = qemu->serial_count > 1 ? qemu->serials[1] : NULL;

	if (!chardev)
		return 0;
	if (chardev->kind == QEMU_CHAR_FILE)
		qemu->machine.serial2_path = chardev->path;
	else if (chardev->kind == QEMU_CHAR_NULL || chardev->kind == QEMU_CHAR_VC)
		qemu->machine.serial2_path = "/dev/null";
	else {
		log_error("-serial: the second one: expected file:NAME, null or none");
		return -EINVAL;
	}
	return 0;
}

static int open_parallel(struct qemu *qemu)
{
	if (!qemu->parallel)
		return 0;
	if (qemu->parallel->kind == QEMU_CHAR_FILE)
		qemu->machine.parallel_path = qemu->parallel->path;
	else if (qemu->parallel->kind == QEMU_CHAR_NULL || qemu->parallel->kind == QEMU_CHAR_VC)
		qemu->machine.parallel_path = "/dev/null";
	else {
		log_error("-parallel: expected file:NAME, null or none");
		return -EINVAL;
	}
	return 0;
}

static bool is_console(const struct qemu *qemu, const struct qemu_chardev *chardev)
{
	return (qemu->serial_count && qemu->serials[0] == chardev) || qemu->console == chardev;
}

static int set_monitor(
	const struct qemu *qemu, const struct qemu_monitor *monitor, struct control_config *config)
{
	const struct qemu_chardev *chardev = monitor->chardev;

	*config = (struct control_config){.option = monitor->control ? "-qmp" : "-monitor",
		.label = chardev->id,
		.path = chardev->path,
		.input = chardev->fd,
		.human = !monitor->control};
	if (chardev->kind == QEMU_CHAR_STDIO && !is_console(qemu, chardev)) {
		config->kind = CONTROL_STREAM;
		config->input = STDIN_FILENO;
		config->output = STDOUT_FILENO;
		return 0;
	}
	if ((chardev->kind == QEMU_CHAR_UNIX || chardev->kind == QEMU_CHAR_TCP) &&
		chardev->server) {
		config->kind = chardev->fd >= 0                  ? CONTROL_LISTENER
			       : chardev->kind == QEMU_CHAR_UNIX ? CONTROL_UNIX
								 : CONTROL_TCP;
		return 0;
	}
	log_error(
		"%s: expected stdio, or unix:PATH or tcp:HOST:PORT with 'server'", config->option);
	return -EINVAL;
}

/* A monitor that leads nowhere is none. With -nographic the serial port and a monitor share
 * standard input; the port has it. */
static int set_monitors(const struct qemu *qemu, struct run_services *services)
{
	for (unsigned i = 0; i < qemu->monitor_count; i++) {
		const struct qemu_monitor *monitor = &qemu->monitors[i];

		if (goes_nowhere(monitor->chardev) ||
			(monitor->chardev->mux && is_console(qemu, monitor->chardev)))
			continue;
		if (services->monitor_count == CONTROL_MONITORS) {
			log_error("-mon: more than %u monitors", CONTROL_MONITORS);
			return -EINVAL;
		}
		if (set_monitor(qemu, monitor, &services->monitors[services->monitor_count]) < 0)
			return -EINVAL;
		services->monitor_count++;
	}
	return 0;
}

static int write_pidfile(const char *path)
{
	char text[16];
	int fd, length;

	if (!path)
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	length = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (fd < 0 || write(fd, text, (size_t)length) != length) {
		log_error("-pidfile %s: cannot write: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -EIO;
	}
	return close(fd);
}

static int status_of(const struct machine_result *result)
{
	switch (result->end) {
	case MACHINE_POWERED_OFF:
	case MACHINE_RESET:
	case MACHINE_QUIT:
	case MACHINE_TRIPLE_FAULT:
		return QEMU_OK;
	case MACHINE_GUEST_PANICKED:
		return result->value ? QEMU_FAILED : QEMU_OK;
	case MACHINE_DEBUG_EXIT:
		return result->value & 0xff;
	case MACHINE_SIGNAL:
		/* Callers look for these words. */
		log_error("terminating on signal %d", result->value);
		return QEMU_OK;
	case MACHINE_FAILED:
	case MACHINE_RUNS_ON:
	case MACHINE_SLEEPS:
	case MACHINE_WAKES:
		break;
	}
	return QEMU_FAILED;
}

static int run(struct qemu *qemu)
{
	struct run_services services = {
		.paused = qemu->paused, .gdb = qemu->gdb, .about = &qemu->about};
	struct qemu_daemon daemon;
	struct machine_result result;

	if (qemu->daemonize) {
		if (qemu_daemon_begin(&daemon) < 0)
			return QEMU_FAILED;
		services.ready = qemu_daemon_ready;
		services.opaque = &daemon;
	}
	if (set_monitors(qemu, &services) < 0 || open_console(qemu) < 0 ||
		open_second_serial(qemu) < 0 || open_parallel(qemu) < 0 ||
		write_pidfile(qemu->pidfile) < 0)
		return QEMU_FAILED;
	result = run_configured(&qemu->machine, &services);
	if (qemu->pidfile)
		unlink(qemu->pidfile);
	return status_of(&result);
}

int qemu_main(int argc, char **argv)
{
	/* What its parts have allocated is theirs as long as the process lives. */
	static struct qemu qemu;

	qemu_init(&qemu);
	if (qemu_parse(&qemu, argc, argv) < 0)
		return QEMU_FAILED;
	if (qemu.listed) {
		qemu_list_properties(qemu.listed);
		return QEMU_OK;
	}
	if (qemu.list) {
		qemu.list();
		return QEMU_OK;
	}
	return qemu_finish(&qemu) < 0 ? QEMU_FAILED : run(&qemu);
}

const struct subcommand subcommand_qemu = {
	"qemu", "take QEMU's options in place of ours", qemu_main};
