#include "cli/qemu.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MEMORY (128 * MIB)

void qemu_init(struct qemu *qemu)
{
	*qemu = (struct qemu){.machine = {.cmdline = "",
				      .reboot = true,
				      .triple_fault_resets = true,
				      .cpu_count = 1,
				      .memory_size = DEFAULT_MEMORY,
				      .firmware.fw_cfg = true,
				      .console_input = -1,
				      .console_output = -1}};
}

void qemu_free(struct qemu *qemu)
{
	for (unsigned i = 0; i < qemu->device_count; i++)
		qemu_words_free(&qemu->devices[i]);
	for (unsigned i = 0; i < qemu->machine.disk_count; i++)
		free(qemu->machine.disks[i].path);
	for (unsigned i = 0; i < qemu->machine.floppy_count; i++)
		free(qemu->machine.floppies[i].path);
	for (unsigned i = 0; i < qemu->machine.net_count; i++)
		net_config_free(&qemu->machine.nets[i]);
	for (unsigned i = 0; i < qemu->machine.share_count; i++)
		share_config_free(&qemu->machine.shares[i]);
	smbios_config_free(&qemu->machine.smbios);
	free(qemu->machine.display.password_file);
	for (size_t i = 0; i < qemu->kept_count; i++)
		free(qemu->kept[i]);
	free(qemu->kept);
}

const char *qemu_keep(struct qemu *qemu, char *text)
{
	char **kept = text ? realloc(qemu->kept, (qemu->kept_count + 1) * sizeof(*kept)) : NULL;

	if (!kept) {
		free(text);
		return "";
	}
	qemu->kept = kept;
	return kept[qemu->kept_count++] = text;
}

const char *qemu_words_text(struct qemu *qemu, const struct qemu_words *words,
	int (*put)(const struct qemu_words *words, FILE *out))
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int error = out ? put(words, out) : -ENOMEM;

	if (out)
		fclose(out);
	if (error) {
		free(text);
		return NULL;
	}
	return qemu_keep(qemu, text);
}

void qemu_drop(struct qemu *qemu, const char *text)
{
	for (size_t i = 0; i < qemu->kept_count; i++)
		if (qemu->kept[i] == text) {
			free(qemu->kept[i]);
			qemu->kept[i] = qemu->kept[--qemu->kept_count];
			return;
		}
}

const char *qemu_keep_copy(struct qemu *qemu, const char *text)
{
	return qemu_keep(qemu, strdup(text));
}

/* --- what was not said --- */

static bool has_serial_device(const struct qemu *qemu)
{
	for (unsigned i = 0; i < qemu->device_count; i++)
		if (strcmp(qemu_words_get(&qemu->devices[i], "driver"), "isa-serial") == 0)
			return true;
	return false;
}

/* -nographic has on standard input and output what was not said to be elsewhere: the first serial
 * port, the monitor, or both. */
static int default_devices(struct qemu *qemu)
{
	bool ports = qemu->no_graphic || !qemu->no_defaults, monitor = !qemu->monitor_said;
	bool stdio = qemu->no_graphic && !qemu->daemonize;
	const char *serial = !stdio ? "vc" : monitor ? "mon:stdio" : "stdio";

	if (ports && !qemu->serial_said && !has_serial_device(qemu))
		return qemu_add_serial(qemu, serial);
	if (stdio && monitor && !qemu->no_defaults)
		return qemu_add_monitor(qemu, "-monitor", "stdio", false);
	return 0;
}

static void choose_screen(struct qemu *qemu)
{
	struct display_config *display = &qemu->machine.display;
	bool vga = qemu->vga ? strcmp(qemu->vga, "none") != 0
			     : !qemu->no_defaults && !qemu->no_graphic;

	if (vga && display->kind == DISPLAY_UNSAID)
		display->kind = DISPLAY_NONE;
}

static int choose_firmware(struct qemu *qemu)
{
	struct firmware_config *firmware = &qemu->machine.firmware;
	const char *kernel = qemu->machine.kernel_path;

	if (!kernel) {
		if (qemu->machine.initrd_path || *qemu->machine.cmdline) {
			log_error("-append and -initrd: only allowed with -kernel");
			return -EINVAL;
		}
		if (!firmware->path)
			firmware->path = FIRMWARE_DEFAULT;
		return 0;
	}
	/* A kernel that is given is loaded directly. */
	firmware->path = NULL;
	if (access(kernel, R_OK) == 0)
		return 0;
	log_error("could not open kernel '%s': %s", kernel, strerror(errno));
	return -EINVAL;
}

/* Whoever starts it has gone on with the terminal. */
static int check_daemon(const struct qemu *qemu)
{
	for (unsigned i = 0; qemu->daemonize && i < qemu->chardev_count; i++)
		if (qemu->chardevs[i].config.kind == CHAR_STDIO) {
			log_error("-daemonize: cannot use stdio for a serial port or a monitor");
			return -EINVAL;
		}
	return 0;
}

int qemu_finish(struct qemu *qemu)
{
	int error;

	if (qemu->firmware_drive) {
		struct qemu_drive *drive =
			qemu_find_drive(qemu, "-machine pflash0=", qemu->firmware_drive);

		if (!drive)
			return -EINVAL;
		drive->interface = "pflash";
	}
	if (!qemu->machine.cpu && qemu_set_cpu(qemu, "qemu64") < 0)
		return -EINVAL;
	if ((error = qemu_finish_memory(qemu)) || (error = default_devices(qemu)) ||
		(error = check_daemon(qemu)) || (error = qemu_finish_devices(qemu)) ||
		(error = qemu_finish_drives(qemu)) || (error = qemu_finish_nets(qemu)))
		return error;
	choose_screen(qemu);
	if (qemu->logs_code && qemu->log_path)
		qemu->machine.engine_options.trace = qemu->log_path;
	qemu->about.machine_type = qemu->no_machine ? "none"
				   : qemu->q35      ? "pc-q35-7.2"
						    : "pc-i440fx-7.2";
	error = choose_firmware(qemu);
	qemu->machine.engine = engine_find(qemu->engine_name ? qemu->engine_name : "bt");
	return error;
}
