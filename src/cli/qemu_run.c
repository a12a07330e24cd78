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

#define SPARE_PORTS 2

/* What QEMU exits with. */
enum { QEMU_OK, QEMU_FAILED };

/* --- monitors --- */

static bool is_shared_by_guest(const struct qemu *qemu, const struct qemu_chardev *chardev)
{
	for (unsigned i = 0; i < qemu->serial_count; i++)
		if (qemu->serials[i] == chardev)
			return true;
	return chardev->config.mux;
}

/* One that listens takes several clients at a time, and one at standard input alone leaves a
 * terminal as it is: those are the monitor's own. Others are character devices of the machine. */
static int set_monitor(
	struct qemu *qemu, const struct qemu_monitor *monitor, struct control_config *config)
{
	struct qemu_chardev *chardev = monitor->chardev;
	const struct char_config *from = &chardev->config;

	*config = (struct control_config){.kind = CONTROL_CHARDEV,
		.option = monitor->control ? "-qmp" : "-monitor",
		.label = from->id,
		.path = from->path,
		.input = from->fd,
		.human = !monitor->control};
	if (is_shared_by_guest(qemu, chardev) || *from->log)
		return 0;
	if (from->kind == CHAR_STDIO) {
		config->kind = CONTROL_STREAM;
		config->input = STDIN_FILENO;
		config->output = STDOUT_FILENO;
	} else if (from->kind == CHAR_SOCKET && from->server) {
		config->kind = from->fd >= 0 ? CONTROL_LISTENER
			       : *from->port ? CONTROL_TCP
					     : CONTROL_UNIX;
		if (config->kind == CONTROL_TCP) {
			char *address;

			if (asprintf(&address, "%s:%s", from->host, from->port) < 0)
				return -ENOMEM;
			config->path = qemu_keep(qemu, address);
		}
	}
	chardev->of_monitor = config->kind != CONTROL_CHARDEV;
	return 0;
}

/* A monitor that leads nowhere is none. */
static int set_monitors(struct qemu *qemu, struct run_services *services)
{
	for (unsigned i = 0; i < qemu->monitor_count; i++) {
		if (qemu->monitors[i].chardev->config.kind == CHAR_NULL)
			continue;
		if (services->monitor_count == CONTROL_MONITORS) {
			log_error("-mon: more than %u monitors", CONTROL_MONITORS);
			return -EINVAL;
		}
		if (set_monitor(qemu, &qemu->monitors[i],
			    &services->monitors[services->monitor_count]) < 0)
			return -EINVAL;
		services->monitor_count++;
	}
	return 0;
}

/* --- character devices --- */

/* Two that read standard input would each get some of it. */
static int check_stdio(const struct qemu *qemu)
{
	unsigned count = 0;

	for (unsigned i = 0; i < qemu->chardev_count; i++)
		count += qemu->chardevs[i].config.kind == CHAR_STDIO;
	if (count <= 1)
		return 0;
	log_error("cannot use stdio by multiple character devices; expected "
		  "-chardev stdio,mux=on,id=ID, or -serial mon:stdio");
	return -EINVAL;
}

static void set_chardevs(struct qemu *qemu)
{
	struct machine_config *machine = &qemu->machine;

	for (unsigned i = 0; i < qemu->chardev_count; i++)
		if (!qemu->chardevs[i].of_monitor)
			machine->chardevs[machine->chardev_count++] = qemu->chardevs[i].config;
	for (unsigned i = 0; i < qemu->serial_count; i++)
		if (qemu->serials[i])
			machine->serial[i] = qemu->serials[i]->config.id;
	if (qemu->parallel)
		machine->parallel = qemu->parallel->config.id;
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
	if (check_stdio(qemu) < 0 || set_monitors(qemu, &services) < 0 ||
		write_pidfile(qemu->pidfile) < 0)
		return QEMU_FAILED;
	set_chardevs(qemu);
	/* Devices without a port of the user's need one, too. */
	if (services.monitor_count && !qemu->machine.port_count)
		qemu->machine.spare_ports = SPARE_PORTS;
	services.plug = qemu_plug(qemu);
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
