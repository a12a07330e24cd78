#include "machine/efi.h"

#include "base/log.h"
#include "device/chipset/chipset.h"
#include "device/flash.h"
#include "machine/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPTION "--firmware-vars"
#define ALIGNMENT                                                                                  \
	MIB /* of both chips together: the code looks for its variables where they are then */

/* --- images --- */

/* The beginning of a firmware volume. */
struct volume {
	uint8_t zero[16], file_system[16];
	uint64_t size;
	char signature[4];
};

static const uint8_t variables_guid[16] = {0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9,
	0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50};

bool efi_is_image(const uint8_t *bytes, uint32_t size)
{
	const struct volume *volume = (const void *)bytes;

	return size >= sizeof(*volume) && memcmp(volume->signature, "_FVH", 4) == 0;
}

static bool has_variables(const uint8_t *bytes, uint32_t size)
{
	const struct volume *volume = (const void *)bytes;

	return efi_is_image(bytes, size) &&
	       memcmp(volume->file_system, variables_guid, sizeof(variables_guid)) == 0;
}

/* Images with Secure Boot keep their variables from the system by system management mode, and wait
 * for ever where there is none. Nothing in the image that is not packed says so, but its name does.
 */
static int check_mode(const char *path)
{
	char real[PATH_MAX];

	if (!realpath(path, real) || !strstr(real, ".secboot"))
		return 0;
	log_error(
		"--firmware %s: firmware with Secure Boot needs system management mode, which this "
		"machine does not have; expected an image without, such as "
		"/usr/share/OVMF/OVMF_CODE_4M.fd",
		path);
	return -ENOTSUP;
}

/* --- the file with variables --- */

static int check_variables(
	const struct machine *machine, const struct image *image, const uint8_t *bytes)
{
	const char *firmware = machine->config.firmware.path;

	/* OVMF would make it a store of variables. */
	if (!has_variables(bytes, (uint32_t)image->size)) {
		image_error(image, "expected EFI variables, such as a copy of OVMF's template");
		return -EINVAL;
	}
	if ((image->size + machine->firmware.size) % ALIGNMENT) {
		image_error(image,
			"%llu bytes; expected variables of the size that belongs to --firmware %s",
			(unsigned long long)image->size, firmware);
		return -EINVAL;
	}
	return 0;
}

static int read_variables(struct machine *machine, const struct image *image)
{
	struct efi *efi = &machine->firmware.efi;
	int error;

	if (image->size > FLASH_MOST || image->size % FLASH_BLOCK) {
		image_error(image, "%llu bytes; expected EFI variables, in whole 4 KiB",
			(unsigned long long)image->size);
		return -EINVAL;
	}
	efi->size = (uint32_t)image->size;
	efi->variables = malloc(efi->size);
	if (!efi->variables)
		return -ENOMEM;
	error = image_read(image, 0, efi->variables, efi->size);
	return error ? error : check_variables(machine, image, efi->variables);
}

/* The template is beside the code, and has VARS in its name where that has CODE. */
static int read_template(struct machine *machine)
{
	const char *code = machine->config.firmware.path, *slash = strrchr(code, '/');
	const char *word = strstr(slash ? slash : code, "CODE");
	char path[PATH_MAX];
	struct image image;
	int error;

	if (!word) {
		log_error("--firmware %s: its name does not tell where the template of its "
			  "variables is; "
			  "expected --firmware-vars FILE, a copy of it",
			code);
		return -EINVAL;
	}
	snprintf(path, sizeof(path), "%.*sVARS%s", (int)(word - code), code, word + 4);
	error = image_open(&image, "the variables of --firmware", path);
	if (error)
		return error;
	error = read_variables(machine, &image);
	image_close(&image);
	return error;
}

static int write_all(int fd, const uint8_t *bytes, uint32_t size, uint32_t offset)
{
	while (size) {
		ssize_t done = pwrite(fd, bytes, size, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		bytes += done;
		offset += (uint32_t)done;
		size -= (uint32_t)done;
	}
	return fdatasync(fd) < 0 ? -errno : 0;
}

/* Whole, or not at all: the file gets its name when all of it is there. */
static int make_file(struct efi *efi)
{
	char made[PATH_MAX];
	int error;

	snprintf(made, sizeof(made), "%s.XXXXXX", efi->path);
	efi->fd = mkostemp(made, O_CLOEXEC);
	error = efi->fd < 0 ? -errno : write_all(efi->fd, efi->variables, efi->size, 0);
	if (!error && link(made, efi->path) < 0)
		error = -errno;
	if (efi->fd >= 0)
		unlink(made);
	if (error)
		log_error(OPTION " %s: cannot make the file: %s", efi->path, strerror(-error));
	return error;
}

/* Two machines that write one file would destroy it. */
static int lock_file(const struct efi *efi)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(efi->fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES))
		return 0;
	log_error(OPTION " %s: another machine has it open; expected a file for each", efi->path);
	return -EBUSY;
}

static int open_file(struct machine *machine)
{
	struct efi *efi = &machine->firmware.efi;
	struct image image;
	int error;

	efi->fd = open(efi->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (efi->fd < 0 && errno == ENOENT) {
		error = read_template(machine);
		if (!error)
			error = make_file(efi);
	} else {
		error = image_from_fd(&image, OPTION, efi->path, efi->fd);
		efi->fd = image.fd;
		if (!error)
			error = read_variables(machine, &image);
	}
	return error ? error : lock_file(efi);
}

/* --- the chips --- */

/* A failed write is said once; the machine goes on with the variables that it has. */
static void keep(void *opaque, uint32_t offset, const uint8_t *bytes, uint32_t size)
{
	struct efi *efi = opaque;
	int error = write_all(efi->fd, bytes, size, offset);

	if (error && !efi->failed)
		log_error(OPTION " %s: cannot write: %s; changes of variables are lost when the "
				 "machine ends",
			efi->path, strerror(-error));
	efi->failed |= error != 0;
}

int efi_open(struct machine *machine)
{
	struct firmware *firmware = &machine->firmware;
	struct efi *efi = &firmware->efi;
	int error;

	*efi = (struct efi){
		.used = true, .fd = -1, .path = machine->config.firmware.variables_path};
	error = check_mode(machine->config.firmware.path);
	if (error)
		return error;
	if (!has_variables(firmware->rom, firmware->size))
		return efi->path ? open_file(machine) : read_template(machine);
	if (!efi->path)
		return 0;
	log_error(OPTION
		" %s: --firmware %s has variables of its own; expected an image of code, such as "
		"/usr/share/OVMF/OVMF_CODE_4M.fd",
		efi->path, machine->config.firmware.path);
	return -EINVAL;
}

int efi_create_flash(struct machine *machine)
{
	struct firmware *firmware = &machine->firmware;
	struct efi *efi = &firmware->efi;
	struct flash_config code = {
		.memory = &machine->memory,
		.devices = chipset_devices(machine->chipset),
		.name = "firmware's flash",
		.gpa = MEMORY_HIGH_START - firmware->size,
		.size = firmware->size,
		.contents = firmware->rom,
		.read_only = efi->variables != NULL,
	};
	struct flash_config variables = code;
	int error = flash_create(&code);

	if (error || !efi->variables)
		return error;
	variables.name = "variables' flash";
	variables.gpa = code.gpa - efi->size;
	variables.size = efi->size;
	variables.contents = efi->variables;
	variables.read_only = false;
	variables.instance = 1;
	if (efi->fd >= 0)
		variables.store = (struct flash_store){.keep = keep, .opaque = efi};
	return flash_create(&variables);
}

void efi_close(struct efi *efi)
{
	free(efi->variables);
	if (efi->used && efi->fd >= 0)
		close(efi->fd);
}

unsigned efi_physical_bits(unsigned bits, bool amd, uint64_t memory_size)
{
	unsigned quick = amd ? 39 : 40;

	return memory_size <= BIT(quick - 1) ? MIN(bits, quick) : bits;
}
