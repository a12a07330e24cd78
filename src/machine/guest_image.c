#include "machine/guest_image.h"

#include "base/log.h"
#include "host/disk_boot.h"
#include "machine/real_mode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* Cut "FILE ARGUMENTS,..." at its first comma that is not doubled, and make those single. Returns
 * what follows. */
static char *cut_module(char *text)
{
	char *to = text;

	for (; *text && (*text != ',' || text[1] == ','); text++) {
		text += *text == ',';
		*to++ = *text;
	}
	text += *text == ',';
	*to = '\0';
	return text;
}

static int open_module(struct machine *machine, const char *string)
{
	struct boot_module *module = &machine->modules[machine->module_count];
	char *path = strndup(string, strcspn(string, " "));
	int error;

	if (!path)
		return -ENOMEM;
	module->string = string;
	error = image_open(&module->image, "--initrd", path);
	/* The string is what lives as long. */
	module->image.path = string;
	free(path);
	machine->module_count += !error;
	return error;
}

static int open_modules(struct machine *machine)
{
	char *rest = machine->module_strings = strdup(machine->config.initrd_path);
	int error = rest ? 0 : -ENOMEM;

	while (!error && *rest) {
		char *string = rest;

		if (machine->module_count == BOOT_MAX_MODULES) {
			log_error("--initrd: expected at most %d modules", BOOT_MAX_MODULES);
			return -EINVAL;
		}
		rest = cut_module(string);
		error = open_module(machine, string);
	}
	return error;
}

/* A name with a space or a comma in it is one where there is such a file. */
static bool has_modules(const struct machine *machine)
{
	const char *path = machine->config.initrd_path;
	uint8_t header[BOOT_HEADER_SIZE];
	uint64_t size = MIN(machine->kernel.size, sizeof(header));

	return strpbrk(path, " ,") && access(path, F_OK) != 0 &&
	       image_read(&machine->kernel, 0, header, size) == 0 &&
	       boot_multiboot.recognizes(header, size);
}

static int open_files(struct machine *machine)
{
	const struct machine_config *config = &machine->config;
	int error;

	error = image_open(&machine->kernel, "--kernel", config->kernel_path);
	if (!error && config->initrd_path)
		error = has_modules(machine)
				? open_modules(machine)
				: image_open(&machine->initrd, "--initrd", config->initrd_path);
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
	while (machine->module_count)
		image_close(&machine->modules[--machine->module_count].image);
	free(machine->module_strings);
	machine->module_strings = NULL;
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
