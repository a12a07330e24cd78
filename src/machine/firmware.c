#include "machine/firmware.h"

#include "base/log.h"
#include "base/words.h"
#include "device/chipset/acpi_pm.h"
#include "device/chipset/chipset.h"
#include "device/chipset/uart16550.h"
#include "device/fw_cfg.h"
#include "device/pci/pci.h"
#include "host/char_file.h"
#include "machine/e820.h"
#include "machine/machine.h"
#include "machine/real_mode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_SIZE       (8 * MIB)
#define GRANULARITY     (64 * KIB)
#define TOP_SIZE        (128 * KIB) /* of its end: it is below 1 MiB, too */
#define MOST_OPTION_ROM MIB
#define MOST_USER_FILE  (16 * MIB)
#define LOG_PORT        0x402
#define LOG_PORT_VALUE  0xe9 /* what a read gives: there is such a port */
#define FAIL_WAIT_EVER  UINT32_MAX

/* A byte for each sleeping state, S0 first: SLP_TYP, and bit 7 where there is such a state. */
#define SYSTEM_STATE(s, type) ((UINT64_C(0x80) | (type)) << (8 * (s)))
#define SYSTEM_STATES                                                                              \
	(SYSTEM_STATE(0, 0) | SYSTEM_STATE(3, ACPI_SLEEP_TYPE_S3) |                                \
		SYSTEM_STATE(5, ACPI_SLEEP_TYPE_S5))

bool firmware_is_used(const struct machine *machine)
{
	return machine->config.firmware.path;
}

/* --- the ROM --- */

/* The Debian package of a file that is missing, or NULL. */
static const char *package_of(const char *path)
{
	static const struct {
		const char *directory, *package;
	} packages[] = {
		{"/usr/share/seabios/", "seabios"},
		{"/usr/share/OVMF/", "ovmf"},
		{"/usr/share/ovmf/", "ovmf"},
		{"/usr/lib/ipxe/", "ipxe-qemu"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(packages); i++)
		if (strncmp(path, packages[i].directory, strlen(packages[i].directory)) == 0)
			return packages[i].package;
	return NULL;
}

static int open_file(struct image *image, const char *option, const char *path)
{
	const char *package = package_of(path);

	if (package && access(path, F_OK) < 0) {
		log_error("%s %s: there is no such file; expected Debian's package %s to be "
			  "installed, or another file",
			option, path, package);
		return -ENOENT;
	}
	return image_open(image, option, path);
}

static int refuse_size(const struct image *image)
{
	image_error(image, "%llu bytes; expected a ROM of whole 64 KiB, at most 8 MiB",
		(unsigned long long)image->size);
	return -EINVAL;
}

static int read_rom(struct firmware *firmware, const struct image *image)
{
	int error;

	if (image->size > MOST_SIZE)
		return refuse_size(image);
	firmware->size = (uint32_t)image->size;
	firmware->rom = malloc(firmware->size);
	firmware->shadow = malloc(PCI_SHADOW_SIZE);
	if (!firmware->rom || !firmware->shadow)
		return -ENOMEM;
	error = image_read(image, 0, firmware->rom, firmware->size);
	/* Flash memory has smaller blocks, and OVMF's code begins at any. */
	if (!error && firmware->size % GRANULARITY && !efi_is_image(firmware->rom, firmware->size))
		error = refuse_size(image);
	if (!error) {
		uint32_t top = MIN(firmware->size, (uint32_t)TOP_SIZE);

		memset(firmware->shadow, 0xff, PCI_SHADOW_SIZE);
		memcpy(firmware->shadow + PCI_SHADOW_SIZE - top,
			firmware->rom + firmware->size - top, top);
	}
	return error;
}

int firmware_open(struct machine *machine)
{
	const struct firmware_config *config = &machine->config.firmware;
	struct firmware *firmware = &machine->firmware;
	struct image image;
	int error = 0;

	if (config->path) {
		error = open_file(&image, "--firmware", config->path);
		if (error)
			return error;
		error = read_rom(firmware, &image);
		image_close(&image);
		if (!error && efi_is_image(firmware->rom, firmware->size))
			return efi_open(machine);
	}
	if (!error && config->variables_path) {
		log_error("--firmware-vars %s: expected --firmware FILE with EFI firmware, such as "
			  "/usr/share/OVMF/OVMF_CODE_4M.fd",
			config->variables_path);
		error = -EINVAL;
	}
	return error;
}

int firmware_load(struct machine *machine)
{
	const struct firmware *firmware = &machine->firmware;

	if (machine->memory.low_size < MIB) {
		log_error("--memory: firmware needs at least 1 MiB");
		return -EINVAL;
	}
	if (firmware->efi.used)
		return 0;
	return memory_rom_add(&machine->memory, MEMORY_HIGH_START - firmware->size, firmware->size,
		firmware->rom, "firmware");
}

/* --- its messages --- */

static uint64_t log_read(void *opaque, uint64_t offset, unsigned size)
{
	return LOG_PORT_VALUE;
}

static void log_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct char_backend *log = opaque;
	uint8_t byte = (uint8_t)value;

	log->ops->write(log, &byte, 1);
}

/* Firmware that finds no such port writes no messages, which saves time. */
static int create_log(struct machine *machine)
{
	static const struct io_ops ops = {.read = log_read, .write = log_write, .width = 1};
	const char *path = machine->config.firmware.log_path;

	if (!path)
		return 0;
	machine->firmware.log = char_file_create("--firmware-log", path, 0);
	if (!machine->firmware.log)
		return -EIO;
	return io_space_add(
		&machine->ports, LOG_PORT, 1, "firmware's log", &ops, machine->firmware.log);
}

/* --- what fw_cfg says --- */

/* RAM, from which firmware makes the map that it hands on. */
static int add_memory_map(struct machine *machine)
{
	const struct memory *memory = &machine->memory;
	const struct {
		uint64_t start, size;
		uint32_t type;
	} __attribute__((packed)) map[2] = {{0, memory->low_size, E820_USABLE},
		{MEMORY_HIGH_START, memory->high_size, E820_USABLE}};

	return fw_cfg_add_file(machine->fw_cfg, "etc/e820", map,
		(memory->high_size ? 2 : 1) * (uint32_t)sizeof(map[0]));
}

static int add_numbers(struct machine *machine)
{
	const struct machine_config *config = &machine->config;
	const struct {
		uint16_t key;
		uint64_t value;
		unsigned size;
	} items[] = {
		{FW_CFG_RAM_SIZE, machine->memory.ram_size, 8},
		{FW_CFG_NO_GRAPHIC, 1, 2},
		{FW_CFG_CPU_COUNT, config->cpu_count, 2},
		{FW_CFG_MAX_CPUS, config->cpu_count, 2},
		{FW_CFG_BOOT_MENU, config->firmware.menu, 2},
	};
	const struct {
		const char *name;
		uint64_t value;
		unsigned size;
	} files[] = {
		{"etc/max-cpus", config->cpu_count, 4},
		{"etc/show-boot-menu", config->firmware.menu, 2},
		{"etc/boot-fail-wait", FAIL_WAIT_EVER, 4},
		{"etc/system-states", SYSTEM_STATES, 6},
		{"etc/reserved-memory-end", pci_window64_base(&machine->memory), 8},
		/* What it and boot loaders print goes to the serial port, too, unless this terminal
		 * shows the screen. 0: not. */
		{"etc/sercon-port", config->display.kind == DISPLAY_TEXT ? 0 : UART_COM1_PORT, 2},
	};
	int error = 0;

	for (unsigned i = 0; !error && i < ARRAY_SIZE(items); i++)
		error = fw_cfg_add_number(
			machine->fw_cfg, items[i].key, items[i].value, items[i].size);
	for (unsigned i = 0; !error && i < ARRAY_SIZE(files); i++)
		error = fw_cfg_add_file_number(
			machine->fw_cfg, files[i].name, files[i].value, files[i].size);
	return error;
}

/* --- tables --- */

static void build_acpi(void *opaque, struct acpi_files *files)
{
	const struct machine *machine = opaque;
	struct acpi_config config = machine_acpi_config(&machine->config);

	config.ecam = pci_ecam_base(machine->pci);
	config.hpet = true; /* systems that know no better clock come this way */
	/* Firmware finds no tables rather than what was on our stack. */
	if (acpi_build_files(&machine->memory, &config, files) < 0)
		*files = (struct acpi_files){0};
}

/* Each of the three files is made anew when it is read: by then firmware has mapped configuration
 * space. */
static void make_rsdp(void *opaque, uint8_t *bytes, uint32_t size)
{
	struct acpi_files files;

	build_acpi(opaque, &files);
	memcpy(bytes, files.rsdp, size);
}

static void make_tables(void *opaque, uint8_t *bytes, uint32_t size)
{
	struct acpi_files files;

	build_acpi(opaque, &files);
	memcpy(bytes, files.tables, size);
}

static void make_loader(void *opaque, uint8_t *bytes, uint32_t size)
{
	struct acpi_files files;

	build_acpi(opaque, &files);
	memcpy(bytes, files.loader, size);
}

static int add_tables(struct machine *machine)
{
	struct fw_cfg *fw_cfg = machine->fw_cfg;
	uint8_t entry[SMBIOS_ENTRY_SIZE], *table = NULL;
	uint32_t size;
	int error =
		fw_cfg_add_made_file(fw_cfg, "etc/acpi/rsdp", ACPI_RSDP_SIZE, make_rsdp, machine);

	if (!error)
		error = fw_cfg_add_made_file(
			fw_cfg, "etc/acpi/tables", ACPI_TABLES_SIZE, make_tables, machine);
	if (!error)
		error = fw_cfg_add_made_file(fw_cfg, "etc/table-loader",
			ACPI_LOADER_ROWS * sizeof(struct acpi_loader_row), make_loader, machine);
	if (!error)
		error = smbios_build_files(&machine->memory, &machine->config.smbios,
			machine->config.cpu_count, entry, &table, &size);
	if (!error)
		error = fw_cfg_add_file(fw_cfg, "etc/smbios/smbios-anchor", entry, sizeof(entry));
	if (!error)
		error = fw_cfg_add_file(fw_cfg, "etc/smbios/smbios-tables", table, size);
	free(table);
	return error;
}

/* --- option ROMs --- */

/* What an option ROM boots, if it does, is almost always a network. */
static int add_option_rom(struct machine *machine, const char *path)
{
	const char *slash = strrchr(path, '/');
	char name[FW_CFG_NAME], path_of_rom[FIRMWARE_PATH];
	struct image image;
	uint8_t *bytes;
	int error = open_file(&image, "--option-rom", path);

	if (error)
		return error;
	bytes = image.size <= MOST_OPTION_ROM ? malloc(image.size) : NULL;
	if (!bytes) {
		image_error(&image, "expected an option ROM of at most 1 MiB");
		error = -EINVAL;
	} else if (!(error = image_read(&image, 0, bytes, image.size))) {
		snprintf(name, sizeof(name), "genroms/%s", slash ? slash + 1 : path);
		error = fw_cfg_add_file(machine->fw_cfg, name, bytes, (uint32_t)image.size);
	}
	free(bytes);
	image_close(&image);
	if (!error) {
		snprintf(path_of_rom, sizeof(path_of_rom), "/rom@%s", name);
		firmware_can_boot_path(machine, 'n', path_of_rom);
	}
	return error;
}

static int add_option_roms(struct machine *machine)
{
	const struct firmware_config *config = &machine->config.firmware;
	int error = 0;

	for (unsigned i = 0; !error && i < config->option_rom_count; i++)
		error = add_option_rom(machine, config->option_rom[i]);
	return error;
}

/* --- files of the user's --- */

static int add_user_file(struct machine *machine, const struct firmware_file *file)
{
	struct image image;
	uint8_t *bytes;
	int error;

	if (file->text)
		return fw_cfg_add_file(
			machine->fw_cfg, file->name, file->text, (uint32_t)strlen(file->text));
	error = image_open(&image, "-fw_cfg", file->path);
	if (error)
		return error;
	bytes = image.size <= MOST_USER_FILE ? malloc(image.size) : NULL;
	if (!bytes) {
		image_error(&image, "expected a file of at most 16 MiB");
		error = -EINVAL;
	} else if (!(error = image_read(&image, 0, bytes, image.size))) {
		error = fw_cfg_add_file(machine->fw_cfg, file->name, bytes, (uint32_t)image.size);
	}
	free(bytes);
	image_close(&image);
	return error;
}

static int add_user_files(struct machine *machine)
{
	const struct firmware_config *config = &machine->config.firmware;
	int error = 0;

	for (unsigned i = 0; !error && i < config->file_count; i++)
		error = add_user_file(machine, &config->file[i]);
	return error;
}

int firmware_create(struct machine *machine)
{
	int error;

	if (!firmware_is_used(machine) && !machine->config.firmware.fw_cfg)
		return 0;
	machine->fw_cfg =
		fw_cfg_create(chipset_devices(machine->chipset), &machine->ports, &machine->memory);
	if (!machine->fw_cfg)
		return -ENODEV;
	error = create_log(machine);
	if (!error && machine->firmware.efi.used)
		error = efi_create_flash(machine);
	if (!error)
		error = add_memory_map(machine);
	if (!error)
		error = add_numbers(machine);
	if (!error)
		error = add_user_files(machine);
	/* A kernel that is loaded directly has its tables in memory already. */
	if (error || !firmware_is_used(machine))
		return error;
	error = add_tables(machine);
	if (!error && machine->kernel.size)
		error = real_mode_add(machine);
	return error ? error : add_option_roms(machine);
}

/* --- what is booted --- */

static int parse_letters(char *order, size_t size, const char *option, const char *value)
{
	if (!*value || strspn(value, FIRMWARE_ORDER) != strlen(value) || strlen(value) >= size) {
		log_error("%s%s: expected letters of a (floppies), c (hard disks), d (CDs) and n "
			  "(networks)",
			option, value);
		return -EINVAL;
	}
	strcpy(order, value);
	return 0;
}

static int parse_order(void *settings, const char *option, const char *value)
{
	struct firmware_config *config = settings;

	return parse_letters(config->order, sizeof(config->order), option, value);
}

static int parse_once(void *settings, const char *option, const char *value)
{
	struct firmware_config *config = settings;

	return parse_letters(config->once, sizeof(config->once), option, value);
}

static int parse_menu(void *settings, const char *option, const char *value)
{
	struct firmware_config *config = settings;

	config->menu = strcmp(value, "on") == 0;
	if (config->menu || strcmp(value, "off") == 0)
		return 0;
	log_error("%s%s: expected on or off", option, value);
	return -EINVAL;
}

int firmware_config_boot(struct firmware_config *config, const char *option, const char *value)
{
	static const struct words_row table[] = {{"order=LETTERS", parse_order},
		{"once=LETTERS", parse_once}, {"menu=on", parse_menu}, {0}};
	char *list = strdup(value), *rest = list;
	int error = list ? words_parse(option, &rest, table, config) : -ENOMEM;

	free(list);
	return error;
}

void firmware_can_boot_path(struct machine *machine, char kind, const char *path)
{
	struct firmware *firmware = &machine->firmware;

	if (!machine->fw_cfg || firmware->device_count == FIRMWARE_MAX_DEVICE)
		return;
	firmware->device[firmware->device_count].kind = kind;
	snprintf(firmware->device[firmware->device_count++].path, FIRMWARE_PATH, "%s", path);
}

void firmware_can_boot(struct machine *machine, char kind, const char *name, const char *rest)
{
	const struct pci_function *function = pci_newest(machine->pci);
	char port[24] = "", place[12], path[FIRMWARE_PATH];

	if (function->port)
		snprintf(port, sizeof(port), "/pci-bridge@%x", function->port->devfn >> 3);
	snprintf(place, sizeof(place), function->devfn & 7 ? "%x,%x" : "%x", function->devfn >> 3,
		function->devfn & 7);
	snprintf(path, sizeof(path), "/pci@i0cf8%s/%s@%s/%s", port, name, place, rest);
	firmware_can_boot_path(machine, kind, path);
}

void firmware_boot_index(struct machine *machine, unsigned index)
{
	struct firmware *firmware = &machine->firmware;

	if (machine->fw_cfg && firmware->device_count)
		firmware->device[firmware->device_count - 1].index = index;
}

/* Paths, a line each. */
struct boot_list {
	char text[(FIRMWARE_MAX_DEVICE + 1) * FIRMWARE_PATH];
	uint32_t used;
};

static void list_path(struct boot_list *list, const char *path)
{
	if (list->used + FIRMWARE_PATH < sizeof(list->text))
		list->used += (uint32_t)snprintf(list->text + list->used, FIRMWARE_PATH, "%s%s",
			list->used ? "\n" : "", path);
}

/* Those with a place in the order come by that, equals in the order in which they were added. */
static void list_indexed(struct boot_list *list, const struct firmware *firmware)
{
	bool listed[FIRMWARE_MAX_DEVICE] = {false};

	for (;;) {
		unsigned least = firmware->device_count;

		for (unsigned i = 0; i < firmware->device_count; i++)
			if (firmware->device[i].index && !listed[i] &&
				(least == firmware->device_count ||
					firmware->device[i].index < firmware->device[least].index))
				least = i;
		if (least == firmware->device_count)
			return;
		listed[least] = true;
		list_path(list, firmware->device[least].path);
	}
}

static void list_devices(struct boot_list *list, const struct machine *machine, const char *order)
{
	const struct firmware *firmware = &machine->firmware;

	*list = (struct boot_list){.used = 0};
	if (firmware->kernel)
		list_path(list, "/rom@genroms/" REAL_MODE_ROM);
	list_indexed(list, firmware);
	for (order = *order ? order : FIRMWARE_ORDER; *order; order++)
		for (unsigned i = 0; i < firmware->device_count; i++)
			if (firmware->device[i].kind == *order && !firmware->device[i].index)
				list_path(list, firmware->device[i].path);
}

/* When it is read: what is tried once is no more after a reset. Room that is left is zeros. */
static void make_order(void *opaque, uint8_t *bytes, uint32_t size)
{
	const struct machine *machine = opaque;
	const struct firmware_config *config = &machine->config.firmware;
	struct boot_list list;

	list_devices(
		&list, machine, *config->once && !machine->resets ? config->once : config->order);
	memset(bytes, 0, size);
	memcpy(bytes, list.text, MIN(list.used, size - 1));
}

int firmware_finish(struct machine *machine)
{
	const struct firmware_config *config = &machine->config.firmware;
	struct boot_list list, once;

	if (!machine->fw_cfg)
		return 0;
	list_devices(&list, machine, config->order);
	if (!*config->once)
		return list.used ? fw_cfg_add_file(
					   machine->fw_cfg, "bootorder", list.text, list.used + 1)
				 : 0;
	list_devices(&once, machine, config->once);
	return fw_cfg_add_made_file(
		machine->fw_cfg, "bootorder", MAX(list.used, once.used) + 1, make_order, machine);
}

void firmware_power_up(struct machine *machine)
{
	pci_show_rom(machine->pci, machine->firmware.shadow);
}

void firmware_destroy(struct machine *machine)
{
	struct firmware *firmware = &machine->firmware;

	if (firmware->log)
		char_file_destroy(firmware->log);
	efi_close(&firmware->efi);
	free(firmware->rom);
	free(firmware->shadow);
	free(firmware->kernel);
	free(firmware->initrd);
	*firmware = (struct firmware){0};
}
