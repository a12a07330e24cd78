/* Each structure is a fixed part, whose strings are numbers, and after it the strings with these
 * numbers, ended by an empty one (6.1). */
#include "machine/smbios.h"

#include "base/bits.h"
#include "base/log.h"
#include "base/words.h"
#include "machine/layout.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_POINT  UINT64_C(0xf0000)
#define TABLE        (ENTRY_POINT + 0x20)
#define TABLE_SIZE   (LAYOUT_BIOS_END - TABLE)
#define MAX_STRINGS  SMBIOS_MAX_OEM
#define NO_HANDLE    0xfffe
#define MEMORY_ARRAY 0x1000 /* its handle */

/* --- what can be said of it --- */

enum field {
	BIOS_VENDOR,
	BIOS_VERSION,
	BIOS_DATE,
	SYSTEM_MANUFACTURER,
	SYSTEM_PRODUCT,
	SYSTEM_VERSION,
	SYSTEM_SERIAL,
	SYSTEM_UUID,
	SYSTEM_SKU,
	SYSTEM_FAMILY,
	CHASSIS_MANUFACTURER,
	CHASSIS_VERSION,
	CHASSIS_SERIAL,
	CHASSIS_ASSET,
	CHASSIS_SKU,
	PROCESSOR_MANUFACTURER,
	PROCESSOR_VERSION,
	FIELDS,
};

_Static_assert(FIELDS <= SMBIOS_MAX_FIELDS, "each has its place in struct smbios_config");

static const struct {
	unsigned type;
	const char *name, *value; /* NULL: there is none */
} fields[FIELDS] = {
	[BIOS_VENDOR] = {0, "vendor", "veneer"},
	[BIOS_VERSION] = {0, "version", VENEER_VERSION},
	[BIOS_DATE] = {0, "date", "01/01/2026"},
	[SYSTEM_MANUFACTURER] = {1, "manufacturer", "veneer"},
	[SYSTEM_PRODUCT] = {1, "product", "veneer virtual machine"},
	[SYSTEM_VERSION] = {1, "version", VENEER_VERSION},
	[SYSTEM_SERIAL] = {1, "serial", NULL},
	[SYSTEM_UUID] = {1, "uuid", NULL},
	[SYSTEM_SKU] = {1, "sku", NULL},
	[SYSTEM_FAMILY] = {1, "family", NULL},
	[CHASSIS_MANUFACTURER] = {3, "manufacturer", "veneer"},
	[CHASSIS_VERSION] = {3, "version", VENEER_VERSION},
	[CHASSIS_SERIAL] = {3, "serial", NULL},
	[CHASSIS_ASSET] = {3, "asset", NULL},
	[CHASSIS_SKU] = {3, "sku", NULL},
	[PROCESSOR_MANUFACTURER] = {4, "manufacturer", "veneer"},
	[PROCESSOR_VERSION] = {4, "version", NULL},
};

/* The bytes of a UUID in the order that SMBIOS has them: the first three fields little-endian
 * (7.2.1). */
static bool parse_uuid(const char *text, uint8_t uuid[16])
{
	static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
	unsigned byte;
	int length;

	for (unsigned i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			if (*text++ != '-')
				return false;
		if (sscanf(text, "%2x%n", &byte, &length) != 1 || length != 2)
			return false;
		uuid[order[i]] = (uint8_t)byte;
		text += 2;
	}
	return !*text;
}

/* Takes `value`, from malloc(). */
static int add_oem(struct smbios_config *config, const char *option, char *value)
{
	if (!value)
		return -ENOMEM;
	if (config->oem_count == SMBIOS_MAX_OEM) {
		log_error("%s %s: expected at most %u strings", option, value, SMBIOS_MAX_OEM);
		free(value);
		return -EINVAL;
	}
	config->oem[config->oem_count++] = value;
	return 0;
}

static int set_field(
	struct smbios_config *config, const char *option, unsigned type, const char *word)
{
	const char *value = strchr(word, '=');
	size_t length = value ? (size_t)(value++ - word) : 0;
	uint8_t uuid[16];

	if (!value || !*value) {
		log_error("%s type=%u,%s: expected a field and its value", option, type, word);
		return -EINVAL;
	}
	if (type == 11 && length == 5 && memcmp(word, "value", 5) == 0)
		return add_oem(config, option, strdup(value));
	for (unsigned i = 0; i < FIELDS; i++) {
		if (fields[i].type != type || strlen(fields[i].name) != length ||
			memcmp(fields[i].name, word, length) != 0)
			continue;
		if (i == SYSTEM_UUID && !parse_uuid(value, uuid)) {
			log_error("%s uuid=%s: expected 32 hexadecimal digits in five groups",
				option, value);
			return -EINVAL;
		}
		free(config->fields[i]);
		config->fields[i] = strdup(value);
		return config->fields[i] ? 0 : -ENOMEM;
	}
	log_error("%s type=%u,%s: no such field; there are vendor, version, date of type 0; "
		  "manufacturer, product, version, serial, uuid, sku, family of 1; manufacturer, "
		  "version, serial, asset, sku of 3; manufacturer, version of 4; value of 11",
		option, type, word);
	return -EINVAL;
}

int smbios_config_parse(struct smbios_config *config, const char *option, const char *value)
{
	char *list = strdup(value), *rest = list, *word;
	uint64_t type = 0;
	int error = -EINVAL;

	if (!list)
		return -ENOMEM;
	word = words_take(&rest);
	if (word && strncmp(word, "type=", 5) == 0)
		error = words_number(option, word + 5, "a type of structure", 0, 127, &type);
	else
		log_error("%s %s: expected type=N first", option, value);
	while (!error && (word = words_take(&rest)))
		error = set_field(config, option, (unsigned)type, word);
	free(list);
	return error;
}

int smbios_config_credential(struct smbios_config *config, const char *option, const char *value)
{
	const char *equals = strchr(value, '=');
	char *text;

	if (!equals || equals == value) {
		log_error("%s %s: expected NAME=VALUE", option, value);
		return -EINVAL;
	}
	if (asprintf(&text, "io.systemd.credential:%s", value) < 0)
		return -ENOMEM;
	return add_oem(config, option, text);
}

void smbios_config_free(struct smbios_config *config)
{
	for (unsigned i = 0; i < FIELDS; i++)
		free(config->fields[i]);
	for (unsigned i = 0; i < config->oem_count; i++)
		free(config->oem[i]);
	*config = (struct smbios_config){0};
}

/* --- the tables --- */

struct tables {
	const struct smbios_config *config;
	uint8_t bytes[TABLE_SIZE];
	size_t used;
	const char *strings[MAX_STRINGS]; /* of the structure that is being made */
	unsigned string_count;
	bool full;
};

struct header {
	uint8_t type, length;
	uint16_t handle;
} __attribute__((packed));

struct bios { /* 7.1 */
	struct header header;
	uint8_t vendor, version;
	uint16_t segment;
	uint8_t date, rom_size;
	uint64_t characteristics;
	uint8_t extension[2];
	uint8_t major, minor, controller_major, controller_minor;
	uint16_t extended_rom_size;
} __attribute__((packed));

struct system { /* 7.2 */
	struct header header;
	uint8_t manufacturer, product, version, serial;
	uint8_t uuid[16];
	uint8_t wake_up, sku, family;
} __attribute__((packed));

struct chassis { /* 7.4 */
	struct header header;
	uint8_t manufacturer, type, version, serial, asset;
	uint8_t boot_state, power_state, thermal_state, security;
	uint32_t oem;
	uint8_t height, cords, elements, element_size, sku;
} __attribute__((packed));

struct processor { /* 7.5 */
	struct header header;
	uint8_t socket, type, family, manufacturer;
	uint64_t id;
	uint8_t version, voltage;
	uint16_t clock, max_speed, speed;
	uint8_t status, upgrade;
	uint16_t cache[3];
	uint8_t serial, asset, part;
	uint8_t cores, enabled, threads;
	uint16_t characteristics, family2, cores2, enabled2, threads2;
} __attribute__((packed));

struct memory_array { /* 7.17 */
	struct header header;
	uint8_t location, use, error_correction;
	uint32_t capacity_kib;
	uint16_t error_handle, devices;
	uint64_t capacity;
} __attribute__((packed));

struct memory_device { /* 7.18 */
	struct header header;
	uint16_t array, error_handle, total_width, data_width, size_mib;
	uint8_t form_factor, set, locator, bank, type;
	uint16_t detail, speed;
	uint8_t manufacturer, serial, asset, part, attributes;
	uint32_t extended_size_mib;
	uint16_t configured_speed, voltage[3];
} __attribute__((packed));

struct memory_range_entry { /* 7.20 */
	struct header header;
	uint32_t start_kib, end_kib;
	uint16_t array;
	uint8_t width;
	uint64_t start, end;
} __attribute__((packed));

struct oem_strings { /* 7.12 */
	struct header header;
	uint8_t count;
} __attribute__((packed));

struct boot_status { /* 7.33 */
	struct header header;
	uint8_t reserved[6], status;
} __attribute__((packed));

_Static_assert(
	sizeof(struct bios) == 0x1a && sizeof(struct system) == 0x1b &&
		sizeof(struct chassis) == 0x16 && sizeof(struct processor) == 0x30 &&
		sizeof(struct memory_array) == 0x17 && sizeof(struct memory_device) == 0x28 &&
		sizeof(struct memory_range_entry) == 0x1f && sizeof(struct boot_status) == 0x0b,
	"lengths of SMBIOS 3.0");

/* A string's number in the structure that is being made. */
static uint8_t string(struct tables *tables, const char *text)
{
	if (!text || !*text || tables->string_count == MAX_STRINGS)
		return 0;
	tables->strings[tables->string_count++] = text;
	return (uint8_t)tables->string_count;
}

static uint8_t field(struct tables *tables, enum field which)
{
	const char *said = tables->config->fields[which];

	return string(tables, said ? said : fields[which].value);
}

static void put(struct tables *tables, const void *bytes, size_t size)
{
	if (size > TABLE_SIZE - tables->used) {
		tables->full = true;
		return;
	}
	memcpy(tables->bytes + tables->used, bytes, size);
	tables->used += size;
}

/* The structure is complete: it and its strings go into the table. Handles: the type, and a number
 * among its kind. */
static void finish(
	struct tables *tables, struct header *header, uint8_t type, size_t length, unsigned number)
{
	*header = (struct header){type, (uint8_t)length, (uint16_t)(type << 8 | number)};
	put(tables, header, length);
	for (unsigned i = 0; i < tables->string_count; i++)
		put(tables, tables->strings[i], strlen(tables->strings[i]) + 1);
	put(tables, "\0", tables->string_count ? 1 : 2);
	tables->string_count = 0;
}

static void write_bios(struct tables *tables)
{
	struct bios bios = {.vendor = field(tables, BIOS_VENDOR),
		.version = field(tables, BIOS_VERSION),
		.date = field(tables, BIOS_DATE),
		.characteristics = 1 << 3, /* none of these is told */
		.extension = {0, 1 << 4},  /* a virtual machine */
		.controller_major = 0xff,
		.controller_minor = 0xff};

	finish(tables, &bios.header, 0, sizeof(bios), 0);
}

static void write_system(struct tables *tables)
{
	const char *uuid = tables->config->fields[SYSTEM_UUID];
	struct system system = {.manufacturer = field(tables, SYSTEM_MANUFACTURER),
		.product = field(tables, SYSTEM_PRODUCT),
		.version = field(tables, SYSTEM_VERSION),
		.serial = field(tables, SYSTEM_SERIAL),
		.wake_up = 6, /* the power switch */
		.sku = field(tables, SYSTEM_SKU),
		.family = field(tables, SYSTEM_FAMILY)};

	if (uuid)
		parse_uuid(uuid, system.uuid);
	finish(tables, &system.header, 1, sizeof(system), 0);
}

static void write_chassis(struct tables *tables)
{
	struct chassis chassis = {.manufacturer = field(tables, CHASSIS_MANUFACTURER),
		.type = 1, /* other */
		.version = field(tables, CHASSIS_VERSION),
		.serial = field(tables, CHASSIS_SERIAL),
		.asset = field(tables, CHASSIS_ASSET),
		.boot_state = 3, /* safe */
		.power_state = 3,
		.thermal_state = 3,
		.security = 2, /* unknown */
		.sku = field(tables, CHASSIS_SKU)};

	finish(tables, &chassis.header, 3, sizeof(chassis), 0);
}

/* One socket with all processors as its cores. */
static void write_processor(struct tables *tables, unsigned cpu_count)
{
	struct processor processor = {.socket = string(tables, "CPU 0"),
		.type = 3,   /* central processor */
		.family = 1, /* other */
		.manufacturer = field(tables, PROCESSOR_MANUFACTURER),
		.version = field(tables, PROCESSOR_VERSION),
		.status = 0x41, /* populated, enabled */
		.upgrade = 1,
		.cache = {0xffff, 0xffff, 0xffff},
		.cores = (uint8_t)cpu_count,
		.enabled = (uint8_t)cpu_count,
		.threads = (uint8_t)cpu_count,
		.characteristics = 1 << 2, /* 64 bits */
		.family2 = 1,
		.cores2 = (uint16_t)cpu_count,
		.enabled2 = (uint16_t)cpu_count,
		.threads2 = (uint16_t)cpu_count};

	finish(tables, &processor.header, 4, sizeof(processor), 0);
}

static void write_oem_strings(struct tables *tables)
{
	struct oem_strings oem = {.count = (uint8_t)tables->config->oem_count};

	if (!oem.count)
		return;
	for (unsigned i = 0; i < oem.count; i++)
		string(tables, tables->config->oem[i]);
	finish(tables, &oem.header, 11, sizeof(oem), 0);
}

static void write_range(struct tables *tables, uint64_t start, uint64_t size, unsigned number)
{
	uint64_t end = start + size - 1;
	bool fits = end / KIB < UINT32_MAX;
	struct memory_range_entry range = {.start_kib = fits ? (uint32_t)(start / KIB) : UINT32_MAX,
		.end_kib = fits ? (uint32_t)(end / KIB) : UINT32_MAX,
		.array = MEMORY_ARRAY,
		.width = 1,
		.start = fits ? 0 : start,
		.end = fits ? 0 : end};

	finish(tables, &range.header, 19, sizeof(range), number);
}

static void write_memory(struct tables *tables, const struct memory *memory)
{
	uint64_t mib = memory->ram_size / MIB, kib = memory->ram_size / KIB;
	bool fits = kib < 0x80000000;
	struct memory_array array = {.location = 1, /* other */
		.use = 3,                           /* system memory */
		.error_correction = 3,              /* none */
		.capacity_kib = fits ? (uint32_t)kib : 0x80000000,
		.error_handle = NO_HANDLE,
		.devices = 1,
		.capacity = fits ? 0 : memory->ram_size};
	struct memory_device device = {.array = MEMORY_ARRAY,
		.error_handle = NO_HANDLE,
		.total_width = 0xffff,
		.data_width = 0xffff,
		.size_mib = mib < 0x7fff ? (uint16_t)mib : 0x7fff,
		.form_factor = 9, /* DIMM */
		.type = 7,        /* RAM */
		.detail = 1 << 1, /* other */
		.extended_size_mib = mib < 0x7fff ? 0 : (uint32_t)mib};

	finish(tables, &array.header, 16, sizeof(array), 0);
	device.locator = string(tables, "DIMM 0");
	device.manufacturer = string(tables, "veneer");
	finish(tables, &device.header, 17, sizeof(device), 0);
	write_range(tables, 0, memory->low_size, 0);
	if (memory->high_size)
		write_range(tables, MEMORY_HIGH_START, memory->high_size, 1);
}

static void write_boot_status(struct tables *tables)
{
	struct boot_status status = {.status = 0}; /* no errors */

	finish(tables, &status.header, 32, sizeof(status), 0);
}

static void make_entry_point(uint8_t bytes[SMBIOS_ENTRY_SIZE], uint64_t table, uint32_t size)
{
	struct {
		char anchor[5];
		uint8_t checksum, length, major, minor, revision, entry_revision, reserved;
		uint32_t max_size;
		uint64_t table;
	} __attribute__((packed)) entry = {.anchor = {'_', 'S', 'M', '3', '_'},
		.length = sizeof(entry),
		.major = 3,
		.entry_revision = 1,
		.max_size = size,
		.table = table}; /* 5.2.2 */

	_Static_assert(sizeof(entry) == SMBIOS_ENTRY_SIZE, "the SMBIOS 3.0 entry point");
	memcpy(bytes, &entry, sizeof(entry));
	for (unsigned i = 0; i < sizeof(entry); i++)
		if (i != 5)
			bytes[5] -= bytes[i];
}

/* NULL with a message; free() it. */
static struct tables *build_tables(
	const struct memory *memory, const struct smbios_config *config, unsigned cpu_count)
{
	struct tables *tables = calloc(1, sizeof(*tables));
	struct header end;

	if (!tables) {
		log_error("out of memory for the SMBIOS tables");
		return NULL;
	}
	tables->config = config;
	write_bios(tables);
	write_system(tables);
	write_chassis(tables);
	write_processor(tables, cpu_count);
	write_oem_strings(tables);
	write_memory(tables, memory);
	write_boot_status(tables);
	finish(tables, &end, 127, sizeof(end), 0);
	if (!tables->full)
		return tables;
	log_error("--smbios: the strings take more than %llu KiB",
		(unsigned long long)(TABLE_SIZE / KIB));
	free(tables);
	return NULL;
}

int smbios_write_tables(
	struct memory *memory, const struct smbios_config *config, unsigned cpu_count)
{
	struct tables *tables = build_tables(memory, config, cpu_count);
	uint8_t entry[SMBIOS_ENTRY_SIZE];
	int error;

	if (!tables)
		return -ENOSPC;
	make_entry_point(entry, TABLE, (uint32_t)tables->used);
	error = memory_write(memory, TABLE, tables->bytes, tables->used);
	if (!error)
		error = memory_write(memory, ENTRY_POINT, entry, sizeof(entry));
	free(tables);
	return error;
}

int smbios_build_files(const struct memory *memory, const struct smbios_config *config,
	unsigned cpu_count, uint8_t entry[SMBIOS_ENTRY_SIZE], uint8_t **table, uint32_t *size)
{
	struct tables *tables = build_tables(memory, config, cpu_count);

	if (!tables)
		return -ENOSPC;
	*size = (uint32_t)tables->used;
	*table = malloc(tables->used);
	if (*table)
		memcpy(*table, tables->bytes, tables->used);
	make_entry_point(entry, 0, *size);
	free(tables);
	return *table ? 0 : -ENOMEM;
}
