#include "machine/guest_image.h"

#include "base/log.h"
#include "host/disk_boot.h"
#include "machine/real_mode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A boot loader's line may name a screen only, or nothing. */
#define SERIAL_CONSOLE "console=ttyS0"
#define VIRTIO_CONSOLE "console=hvc0"

/* The loader's words, the console, and what the user appends, which prevails. */
static int compose_cmdline(struct machine *machine, const char *loader)
{
	const char *append = machine->config.cmdline;
	const char *console = machine->config.virtio_console ? VIRTIO_CONSOLE : SERIAL_CONSOLE;
	bool said = strstr(loader, console);

	free(machine->cmdline);
	if (asprintf(&machine->cmdline, "%s%s%s%s%s", loader, said ? "" : " ", said ? "" : console,
		    *append ? " " : "", append) >= 0)
		return 0;
	machine->cmdline = NULL;
	return -ENOMEM;
}

static int open_disk(struct machine *machine)
{
	const struct machine_config *config = &machine->config;
	struct disk_config *disk = &machine->config.disks[0];
	const char *path = disk->path;
	struct disk_boot boot;
	int error;

	error = disk_boot_read(&boot, disk);
	if (error)
		return error;
	error = image_from_fd(&machine->kernel, "the kernel of", path, boot.kernel_fd);
	boot.kernel_fd = -1;
	if (!error && config->initrd_path) {
		error = image_open(&machine->initrd, "--initrd", config->initrd_path);
	} else if (!error && boot.initrd_fd >= 0) {
		error = image_from_fd(&machine->initrd, "the initrd of", path, boot.initrd_fd);
		boot.initrd_fd = -1;
	}
	if (!error)
		error = compose_cmdline(machine, boot.cmdline);
	disk_boot_free(&boot);
	return error;
}

static int open_files(struct machine *machine)
{
	const struct machine_config *config = &machine->config;
	int error;

	error = image_open(&machine->kernel, "--kernel", config->kernel_path);
	if (!error && config->initrd_path)
		error = image_open(&machine->initrd, "--initrd", config->initrd_path);
	if (!error && !(machine->cmdline = strdup(config->cmdline)))
		error = -ENOMEM;
	return error;
}

/* Most kernels are booted without firmware. */
static int open_kernel(struct machine *machine)
{
	struct firmware_config *firmware = &machine->config.firmware;
	int error = open_files(machine);

	if (!error && real_mode_is_needed(&machine->kernel))
		firmware->path = FIRMWARE_DEFAULT;
	if (!error && firmware->log_path && !firmware->path) {
		log_error("--firmware-log %s: expected no --kernel, or one that firmware starts; "
			  "%s is booted without",
			firmware->log_path, machine->config.kernel_path);
		return -EINVAL;
	}
	return error;
}

int guest_image_open(struct machine *machine)
{
	int error;

	if (firmware_is_used(machine))
		return 0;
	if (machine->config.kernel_path)
		return open_kernel(machine);
	error = open_disk(machine);
	if (error != -ENODATA)
		return error;
	log_info("%s: booted by its own loader", machine->config.disks[0].path);
	machine->config.firmware.path = FIRMWARE_DEFAULT;
	return 0;
}

void guest_image_close(struct machine *machine)
{
	image_close(&machine->kernel);
	image_close(&machine->initrd);
	machine->initrd.size = 0;
	free(machine->cmdline);
	machine->cmdline = NULL;
}

void guest_image_loaded(struct machine *machine)
{
	if (!machine->config.kernel_path)
		guest_image_close(machine);
}

int guest_image_reopen(struct machine *machine)
{
	return machine->config.kernel_path || firmware_is_used(machine) ? 0 : open_disk(machine);
}
