#include "host/disk/internal.h"

#include "base/log.h"
#include "base/words.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OFFSET    (UINT64_C(1) << 62)
#define MAX_RECONNECT 86400
/* Of SCSI controllers (virtio 1.2, 5.6). */
#define MAX_CONTROLLER 7
#define MAX_TARGET     255
#define MAX_LUN        16383

static int set_read_only(void *opaque, const char *option, const char *value)
{
	((struct disk_config *)opaque)->read_only = true;
	return 0;
}

static int set_snapshot(void *opaque, const char *option, const char *value)
{
	((struct disk_config *)opaque)->snapshot = true;
	return 0;
}

static int set_serial(void *opaque, const char *option, const char *value)
{
	struct disk_config *config = opaque;
	size_t length = strlen(value), i = 0;

	while (i < length && isgraph((unsigned char)value[i]))
		i++;
	if (length >= sizeof(config->serial) || i < length) {
		log_error("%s%s: expected up to 20 printable characters", option, value);
		return -EINVAL;
	}
	memcpy(config->serial, value, length + 1);
	return 0;
}

static int set_offset(void *opaque, const char *option, const char *value)
{
	return words_size(
		option, value, 0, MAX_OFFSET, DISK_SECTOR, &((struct disk_config *)opaque)->offset);
}

static int set_size(void *opaque, const char *option, const char *value)
{
	return words_size(option, value, DISK_SECTOR, MAX_OFFSET, DISK_SECTOR,
		&((struct disk_config *)opaque)->size);
}

/* The name goes on to a helper's command line, which knows whether there is such a format. */
static int set_format(void *opaque, const char *option, const char *value)
{
	struct disk_config *config = opaque;
	size_t length = strlen(value), i = 0;

	while (i < length && (isalnum((unsigned char)value[i]) || value[i] == '-'))
		i++;
	if (length >= sizeof(config->format) || i < length) {
		log_error("%s%s: expected a format such as raw, qcow2, vmdk, vhdx or vdi", option,
			value);
		return -EINVAL;
	}
	memcpy(config->format, value, length + 1);
	return 0;
}

static int set_backing(void *opaque, const char *option, const char *value)
{
	if (strcmp(value, "none") != 0) {
		log_error("%s%s: expected none: the image itself names its backing file", option,
			value);
		return -EINVAL;
	}
	((struct disk_config *)opaque)->no_backing = true;
	return 0;
}

/* The index of `value` in a list that ends with NULL; -EINVAL with a message. */
static int choose(
	const char *option, const char *value, const char *expected, const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(value, names[i]) == 0)
			return i;
	log_error("%s%s: expected %s", option, value, expected);
	return -EINVAL;
}

static int set_cache(void *opaque, const char *option, const char *value)
{
	static const char *const names[] = {[DISK_WRITEBACK] = "writeback",
		[DISK_DIRECT] = "none",
		[DISK_UNSAFE] = "unsafe",
		NULL};
	int choice = choose(option, value, "writeback, none or unsafe", names);

	if (choice >= 0)
		((struct disk_config *)opaque)->cache = (enum disk_cache)choice;
	return choice < 0 ? choice : 0;
}

static int set_share(void *opaque, const char *option, const char *value)
{
	static const char *const names[] = {"off", "on", NULL};
	int choice = choose(option, value, "on or off", names);

	((struct disk_config *)opaque)->share = choice == 1;
	return choice < 0 ? choice : 0;
}

static int set_io(void *opaque, const char *option, const char *value)
{
	static const char *const names[] = {"auto", "threads", NULL};
	int choice = choose(option, value, "auto or threads", names);

	((struct disk_config *)opaque)->threads = choice == 1;
	return choice < 0 ? choice : 0;
}

static int set_reconnect(void *opaque, const char *option, const char *value)
{
	uint64_t seconds = 0;
	int error = words_number(option, value, "a number of seconds", 0, MAX_RECONNECT, &seconds);

	((struct disk_config *)opaque)->reconnect_s = (unsigned)seconds;
	return error;
}

static int set_port(void *opaque, const char *option, const char *value)
{
	((struct disk_config *)opaque)->port = true;
	return 0;
}

static int set_boot_index(void *opaque, const char *option, const char *value)
{
	uint64_t index = 0;
	int error = words_number(option, value, "a place in the order", 0, 9999, &index);

	((struct disk_config *)opaque)->boot_index = (unsigned)index + 1;
	return error;
}

static int set_bus(void *opaque, const char *option, const char *value)
{
	static const char *const names[] = {[DISK_BUS_ANY] = "auto",
		[DISK_BUS_VIRTIO] = "virtio",
		[DISK_BUS_IDE] = "ide",
		[DISK_BUS_AHCI] = "ahci",
		[DISK_BUS_NVME] = "nvme",
		[DISK_BUS_SCSI] = "scsi",
		NULL};
	int choice = choose(option, value, "virtio, scsi, nvme, ide or ahci", names);

	if (choice >= 0)
		((struct disk_config *)opaque)->bus = (enum disk_bus)choice;
	return choice < 0 ? choice : 0;
}

static int set_place(
	const char *option, const char *value, const char *expected, unsigned max, int *place)
{
	uint64_t number = 0;
	int error = words_number(option, value, expected, 0, max, &number);

	*place = (int)number;
	return error;
}

static int set_controller(void *opaque, const char *option, const char *value)
{
	return set_place(option, value, "a controller's number", MAX_CONTROLLER,
		&((struct disk_config *)opaque)->controller);
}

static int set_target(void *opaque, const char *option, const char *value)
{
	return set_place(option, value, "a target's number", MAX_TARGET,
		&((struct disk_config *)opaque)->target);
}

static int set_lun(void *opaque, const char *option, const char *value)
{
	return set_place(
		option, value, "a unit's number", MAX_LUN, &((struct disk_config *)opaque)->lun);
}

static const struct words_row table[] = {
	{"bus=B", set_bus},
	{"controller=N", set_controller},
	{"target=N", set_target},
	{"lun=N", set_lun},
	{"readonly", set_read_only},
	{"snapshot", set_snapshot},
	{"serial=S", set_serial},
	{"offset=N", set_offset},
	{"size=N", set_size},
	{"format=F", set_format},
	{"backing=none", set_backing},
	{"cache=C", set_cache},
	{"share=on", set_share},
	{"io=auto|threads", set_io},
	{"reconnect=SECONDS", set_reconnect},
	{"port", set_port},
	{"bootindex=N", set_boot_index},
	{0},
};

bool disk_is_uri(const char *path)
{
	return strncmp(path, "nbd://", 6) == 0 || strncmp(path, "nbd+unix://", 11) == 0;
}

static int check(const struct disk_config *config, const char *option)
{
	bool whole = !config->offset && !config->size;

	if (config->bus != DISK_BUS_SCSI &&
		(config->controller >= 0 || config->target >= 0 || config->lun >= 0)) {
		log_error("%s %s: controller=, target= and lun= are for bus=scsi", option,
			config->path);
		return -EINVAL;
	}
	if (config->port && (config->bus == DISK_BUS_IDE || config->bus == DISK_BUS_AHCI ||
				    config->bus == DISK_BUS_SCSI)) {
		log_error("%s %s: port is for bus=virtio and bus=nvme", option, config->path);
		return -EINVAL;
	}
	if (!*config->path) {
		log_error("%s: expected a file's name first", option);
		return -EINVAL;
	}
	if (disk_is_uri(config->path) && (config->format[0] || !whole)) {
		log_error("%s %s: offset=, size= and format= are for files", option, config->path);
		return -EINVAL;
	}
	if (config->format[0] && strcmp(config->format, "raw") != 0 && !whole) {
		log_error("%s %s: offset= and size= are for format=raw", option, config->path);
		return -EINVAL;
	}
	return 0;
}

int disk_config_parse(struct disk_config *config, const char *option, const char *value)
{
	char *list = strdup(value), *rest = list;
	int error = -EINVAL;

	*config = (struct disk_config){
		.reconnect_s = DISK_RECONNECT_S, .controller = -1, .target = -1, .lun = -1};
	if (list) {
		config->path = strdup(words_take(&rest));
		error = config->path ? words_parse(option, &rest, table, config) : -ENOMEM;
	}
	if (!error)
		error = check(config, option);
	free(list);
	if (error) {
		free(config->path);
		config->path = NULL;
	}
	return error;
}

int disk_config_parse_cdrom(struct disk_config *config, const char *option, const char *value)
{
	int error = disk_config_parse(config, option, value);

	if (error)
		return error;
	if (config->bus == DISK_BUS_VIRTIO || config->bus == DISK_BUS_NVME || config->snapshot) {
		log_error("%s %s: a CD-ROM is read-only, and at bus=ide, ahci or scsi", option,
			config->path);
		free(config->path);
		config->path = NULL;
		return -EINVAL;
	}
	config->read_only = config->cdrom = true;
	return 0;
}
