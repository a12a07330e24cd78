/* -device: one row a model. A disk or a card joins a drive or a network of another option, and
 * becomes one of the machine's own. */
#include "cli/qemu.h"

#include "base/bits.h"
#include "base/log.h"
#include "base/words.h"
#include "control/qom_types.h"
#include "control/schema.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Properties that have an effect. What else a type has (control/qom_types.h) changes nothing here:
 * but for id, bus and addr, which take_place() reads. */
static const struct qemu_key common_keys[] = {
	{"driver", QEMU_OWN, NULL},
	{"disable-modern", QEMU_CHOICE, "off|false"},
	{"iommu-platform", QEMU_CHOICE, "off"},
	{"ats", QEMU_CHOICE, "off"},
	{"*", QEMU_IGNORED, NULL},
	{NULL, QEMU_END, NULL},
};

#define DISK_KEYS                                                                                  \
	{"drive", QEMU_OWN, NULL}, {"serial", QEMU_COPY, "serial"},                                \
		{"bootindex", QEMU_COPY, "bootindex"},                                             \
		{"logical-block-size", QEMU_CHOICE, "512|2048"},                                   \
		{"share-rw", QEMU_CHOICE, "on:share=on|off"}, {"removable", QEMU_CHOICE, "off"},   \
		{"scsi", QEMU_CHOICE, "off"}, {"werror", QEMU_CHOICE, "report|enospc|auto"},       \
	{                                                                                          \
		"rerror", QEMU_CHOICE, "report|auto"                                               \
	}

static const struct qemu_key disk_keys[] = {DISK_KEYS, {NULL, QEMU_END, NULL}};
static const struct qemu_key unit_keys[] = {DISK_KEYS, {"scsi-id", QEMU_COPY, "target"},
	{"lun", QEMU_COPY, "lun"}, {"channel", QEMU_CHOICE, "0"}, {NULL, QEMU_END, NULL}};

static const struct qemu_key net_keys[] = {
	{"bootindex", QEMU_COPY, "bootindex"},
	{"netdev", QEMU_OWN, NULL},
	{"mac", QEMU_COPY, "mac"},
	{NULL, QEMU_END, NULL},
};

static const struct qemu_key rng_keys[] = {{"rng", QEMU_OWN, NULL}, {NULL, QEMU_END, NULL}};
static const struct qemu_key share_keys[] = {
	{"fsdev", QEMU_OWN, NULL}, {"mount-tag", QEMU_COPY, "tag"}, {NULL, QEMU_END, NULL}};
static const struct qemu_key debug_exit_keys[] = {{"iobase", QEMU_OWN, NULL},
	{"iosize", QEMU_CHOICE, "4|0x4|0x04|2|0x02|0x2|1|0x1|0x01"}, {NULL, QEMU_END, NULL}};
static const struct qemu_key pvpanic_keys[] = {{"ioport", QEMU_CHOICE, "0x505|1285"},
	{"events", QEMU_CHOICE, "3"}, {NULL, QEMU_END, NULL}};
static const struct qemu_key pci_testdev_keys[] = {
	{"membar", QEMU_CHOICE, "0"}, {NULL, QEMU_END, NULL}};

struct model {
	const char *name;
	const struct qemu_key *keys; /* NULL: none but the common ones */
	/* `words`: what the keys became, for another parser. */
	int (*add)(struct qemu *qemu, const struct model *model, const struct qemu_words *words,
		const char *text);
	const char *more; /* add()'s own: words that this model adds */
};

static int add_disk(struct qemu *qemu, const struct model *model, const struct qemu_words *words,
	const char *text)
{
	const char *id = qemu_words_get(words, "drive");
	bool cdrom = strstr(model->name, "-cd");
	struct qemu_drive *drive;
	char *all;
	int error;

	/* A CD-ROM drive may be empty. */
	if (!id && cdrom)
		return 0;
	if (!id) {
		log_error("-device %s: expected drive=ID", model->name);
		return -EINVAL;
	}
	drive = qemu_find_drive(qemu, "-device", id);
	if (!drive)
		return -EINVAL;
	drive->cdrom |= cdrom;
	if (asprintf(&all, "%s%s", model->more, text) < 0)
		return -ENOMEM;
	error = qemu_use_drive(qemu, drive, all);
	free(all);
	return error;
}

/* An IDE disk is on the board's own controller, which q35 has as AHCI. */
static int add_ide(struct qemu *qemu, const struct model *model, const struct qemu_words *words,
	const char *text)
{
	struct model on_board = *model;

	on_board.more = qemu->q35 ? ",bus=ahci" : ",bus=ide";
	for (unsigned i = 0; i < qemu->device_count; i++)
		if (strcmp(qemu_words_get(&qemu->devices[i], "driver"), "ahci") == 0)
			on_board.more = ",bus=ahci";
	return add_disk(qemu, &on_board, words, text);
}

static bool is_scsi_controller(const struct qemu_words *words)
{
	return strncmp(qemu_words_get(words, "driver"), "virtio-scsi", 11) == 0;
}

/* The number of the controller that a bus belongs to, which is called after it; NULL: of the first
 * one. -ENODEV: there is none. */
static int find_scsi_bus(const struct qemu *qemu, const char *bus)
{
	int number = 0;

	for (unsigned i = 0; i < qemu->device_count; i++) {
		const char *id = qemu_words_get(&qemu->devices[i], "id");

		if (!is_scsi_controller(&qemu->devices[i]))
			continue;
		id = id ? id : "scsi";
		if (!bus ||
			(strncmp(bus, id, strlen(id)) == 0 && strcmp(bus + strlen(id), ".0") == 0))
			return number;
		number++;
	}
	return -ENODEV;
}

/* A disk or CD-ROM drive of a SCSI controller. */
static int add_unit(struct qemu *qemu, const struct model *model, const struct qemu_words *words,
	const char *text)
{
	const char *bus = qemu_words_get(words, "bus");
	int controller = find_scsi_bus(qemu, bus);
	struct model at_controller = *model;
	char more[64];

	if (controller < 0) {
		log_error("-device %s,bus=%s: there is no such SCSI bus; that of "
			  "'-device virtio-scsi-pci,id=ID' is ID.0",
			model->name, bus ? bus : "scsi.0");
		return -EINVAL;
	}
	snprintf(more, sizeof(more), ",bus=scsi,controller=%d", controller);
	at_controller.more = more;
	return add_disk(qemu, &at_controller, words, text);
}

static int add_scsi(struct qemu *qemu, const struct model *model, const struct qemu_words *words,
	const char *text)
{
	qemu->machine.scsi_controllers++;
	return 0;
}

static int add_net(struct qemu *qemu, const struct model *model, const struct qemu_words *words,
	const char *text)
{
	const char *id = qemu_words_get(words, "netdev");
	char *all;
	int error;

	if (!id) {
		log_error("-device %s: expected netdev=ID", model->name);
		return -EINVAL;
	}
	if (asprintf(&all, "%s%s", model->more, text) < 0)
		return -ENOMEM;
	error = qemu_use_netdev(qemu, id, all);
	free(all);
	return error;
}

/* The machine has one anyway, whose bytes are the host kernel's. */
static int add_entropy(struct qemu *qemu, const struct model *model, const struct qemu_words *words,
	const char *text)
{
	const char *id = qemu_words_get(words, "rng");
	const struct qemu_object *object = id ? qemu_find_object(qemu, id) : NULL;

	if (!id || (object && strncmp(object->type, "rng-", 4) == 0))
		return 0;
	log_error(
		"-device %s,rng=%s: there is no -object rng-random with that id", model->name, id);
	return -EINVAL;
}

static int add_9p(struct qemu *qemu, const struct model *model, const struct qemu_words *words,
	const char *text)
{
	const char *id = qemu_words_get(words, "fsdev");

	if (id && qemu_words_get(words, "mount-tag"))
		return qemu_use_fsdev(qemu, "-device", id, text);
	log_error("-device %s: expected fsdev=ID and mount_tag=TAG", model->name);
	return -EINVAL;
}

static int add_pc_testdev(struct qemu *qemu, const struct model *model,
	const struct qemu_words *words, const char *text)
{
	qemu->machine.pc_testdev = true;
	return 0;
}

/* One of the board's devices for tests and panics, by its bit. */
static int add_test_device(struct qemu *qemu, const struct model *model,
	const struct qemu_words *words, const char *text)
{
	static const struct {
		const char *name;
		enum test_device device;
	} rows[] = {{"edu", TEST_EDU}, {"i6300esb", TEST_I6300ESB}, {"pvpanic", TEST_PVPANIC_PORT},
		{"pvpanic-pci", TEST_PVPANIC_PCI}, {"pci-testdev", TEST_PCI},
		{"vmcoreinfo", TEST_VMCOREINFO}};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		if (strcmp(rows[i].name, model->name) != 0)
			continue;
		if (qemu->machine.test_devices & rows[i].device) {
			log_error("-device %s: expected one of them", model->name);
			return -EINVAL;
		}
		qemu->machine.test_devices |= rows[i].device;
	}
	return 0;
}

static int add_debug_exit(struct qemu *qemu, const struct model *model,
	const struct qemu_words *words, const char *text)
{
	const char *value = qemu_words_get(words, "iobase");
	uint64_t port = 0x501;

	if (value && words_number("-device isa-debug-exit,iobase=", value, "an I/O port", 1, 0xfffc,
			     &port) < 0)
		return -EINVAL;
	qemu->machine.debug_exit_port = (uint16_t)port;
	return 0;
}

static int add_serial(struct qemu *qemu, const struct model *model, const struct qemu_words *words,
	const char *text)
{
	const char *id = qemu_words_get(words, "chardev"), *index = qemu_words_get(words, "index");
	uint64_t number = qemu->serial_count;
	struct qemu_chardev *chardev;

	if (!id) {
		log_error("-device %s: expected chardev=ID", model->name);
		return -EINVAL;
	}
	if (index && words_number("-device isa-serial,index=", index, "a number", 0,
			     QEMU_MAX_SERIALS - 1, &number) < 0)
		return -EINVAL;
	chardev = qemu_find_chardev(qemu, "-device", id);
	if (!chardev || number >= QEMU_MAX_SERIALS)
		return -EINVAL;
	qemu->serials[number] = chardev;
	qemu->serial_count = MAX(qemu->serial_count, (unsigned)number + 1);
	return 0;
}

static int add_controller(struct qemu *qemu, const struct model *model,
	const struct qemu_words *words, const char *text)
{
	const char *id = qemu_words_get(words, "id");

	if (qemu->console_count == MACHINE_MAX_CONSOLES) {
		log_error("-device %s: expected at most %d", model->name, MACHINE_MAX_CONSOLES);
		return -EINVAL;
	}
	qemu->consoles[qemu->console_count++] = qemu_keep_copy(qemu, id ? id : "");
	return 0;
}

/* bus=ID.0 of a controller; without it, the first one's, which there then is. */
static int find_controller(
	struct qemu *qemu, const struct model *model, const char *bus, unsigned *controller)
{
	*controller = 0;
	if (!bus)
		return 0;
	for (; *controller < qemu->console_count; ++*controller) {
		const char *id = qemu->consoles[*controller];
		size_t length = strlen(id);

		if (length && strncmp(bus, id, length) == 0 && strcmp(bus + length, ".0") == 0)
			return 0;
	}
	log_error("-device %s,bus=%s: expected ID.0 of a virtio-serial-pci before it", model->name,
		bus);
	return -EINVAL;
}

/* virtserialport and virtconsole. */
static int add_port(struct qemu *qemu, const struct model *model, const struct qemu_words *words,
	const char *text)
{
	const char *id = qemu_words_get(words, "chardev"), *name = qemu_words_get(words, "name"),
		   *number = qemu_words_get(words, "nr");
	struct machine_config *machine = &qemu->machine;
	struct console_port_config *port = &machine->console_ports[machine->console_port_count];
	uint64_t value = 0;

	if (machine->console_port_count == MACHINE_MAX_CONSOLE_PORTS ||
		(name && strlen(name) > CONSOLE_MAX_NAME)) {
		log_error("-device %s: expected a name of at most %d characters, and at most %d "
			  "ports",
			model->name, CONSOLE_MAX_NAME, MACHINE_MAX_CONSOLE_PORTS);
		return -EINVAL;
	}
	*port = (struct console_port_config){
		.console = *model->more, .lossy = *model->more, .number = -1};
	if (find_controller(qemu, model, qemu_words_get(words, "bus"), &port->controller) < 0 ||
		(id && !qemu_find_chardev(qemu, "-device", id)) ||
		(number && words_number("-device nr=", number, "the number of a port", 0,
				   CONSOLE_MAX_PORTS - 1, &value) < 0))
		return -EINVAL;
	if (number)
		port->number = (int)value;
	strcpy(port->name, name ? name : "");
	strcpy(port->chardev, id ? id : "");
	machine->console_port_count++;
	return 0;
}

static int add_vga(struct qemu *qemu, const struct model *model, const struct qemu_words *words,
	const char *text)
{
	qemu->vga = "std";
	return 0;
}

static int add_port_config(struct qemu *qemu, const struct port_config *config)
{
	struct machine_config *machine = &qemu->machine;

	if (machine->port_count == QEMU_MAX_PORTS) {
		log_error("-device pcie-root-port: expected at most %d", QEMU_MAX_PORTS);
		return -EINVAL;
	}
	machine->ports[machine->port_count++] = *config;
	return 0;
}

static int add_root_port(struct qemu *qemu, const struct model *model,
	const struct qemu_words *words, const char *text)
{
	const char *slot = qemu_words_get(words, "slot"),
		   *chassis = qemu_words_get(words, "chassis"),
		   *hot_plug = qemu_words_get(words, "hotplug");
	struct port_config config = {.place = qemu->place, .hot_plug = true};
	uint64_t number = qemu->machine.port_count + 1;

	if (hot_plug && qemu_words_bool("-device pcie-root-port", "hotplug", hot_plug,
				&config.hot_plug) < 0)
		return -EINVAL;
	if (chassis && words_number("-device pcie-root-port,chassis=", chassis, "a number", 0, 255,
			       &number) < 0)
		return -EINVAL;
	if (slot && words_number(
			    "-device pcie-root-port,slot=", slot, "a number", 0, 8191, &number) < 0)
		return -EINVAL;
	config.slot_number = (unsigned)number;
	return add_port_config(qemu, &config);
}

/* There is none of it: what is behind it is on bus 0. */
static int add_bridge(struct qemu *qemu, const struct model *model, const struct qemu_words *words,
	const char *text)
{
	const struct port_config config = {.place = qemu->place, .bus_0 = true};

	return add_port_config(qemu, &config);
}

/* The machine has one anyway, or would do nothing with it. */
static int add_nothing(struct qemu *qemu, const struct model *model, const struct qemu_words *words,
	const char *text)
{
	return 0;
}

/* How each is made. What else there is to say of it is in the table of types. */
static const struct model models[] = {
	{"virtio-blk-pci", disk_keys, add_disk, ",bus=virtio"},
	{"virtio-blk", disk_keys, add_disk, ",bus=virtio"},
	{"nvme", disk_keys, add_disk, ",bus=nvme"},
	{"ide-hd", disk_keys, add_ide, ""},
	{"ide-cd", disk_keys, add_ide, ""},
	{"ide-drive", disk_keys, add_ide, ""},
	{"ahci", NULL, add_nothing, ""},
	{"ich9-ahci", NULL, add_nothing, ""},
	{"virtio-scsi-pci", NULL, add_scsi, ""},
	{"virtio-scsi", NULL, add_scsi, ""},
	{"scsi-hd", unit_keys, add_unit, ""},
	{"scsi-cd", unit_keys, add_unit, ""},
	{"virtio-net-pci", net_keys, add_net, ",model=virtio"},
	{"virtio-net", net_keys, add_net, ",model=virtio"},
	{"e1000", net_keys, add_net, ",model=e1000"},
	{"e1000-82540em", net_keys, add_net, ",model=e1000"},
	{"virtio-9p-pci", share_keys, add_9p, ""},
	{"virtio-9p", share_keys, add_9p, ""},
	{"virtio-serial-pci", NULL, add_controller, ""},
	{"virtio-serial", NULL, add_controller, ""},
	{"virtserialport", NULL, add_port, ""},
	{"virtconsole", NULL, add_port, "console"},
	{"isa-serial", NULL, add_serial, ""},
	{"isa-debug-exit", debug_exit_keys, add_debug_exit, ""},
	{"pc-testdev", NULL, add_pc_testdev, ""},
	{"pci-testdev", pci_testdev_keys, add_test_device, ""},
	{"edu", NULL, add_test_device, ""},
	{"i6300esb", NULL, add_test_device, ""},
	{"pvpanic", pvpanic_keys, add_test_device, ""},
	{"pvpanic-pci", pvpanic_keys, add_test_device, ""},
	{"vmcoreinfo", NULL, add_test_device, ""},
	{"VGA", NULL, add_vga, ""},
	{"virtio-rng-pci", rng_keys, add_entropy, ""},
	{"virtio-rng", rng_keys, add_entropy, ""},
	{"pcie-root-port", NULL, add_root_port, ""},
	{"pci-bridge", NULL, add_bridge, ""},
	{"pcie-pci-bridge", NULL, add_bridge, ""},
};

static const struct model *find_model(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
		if (strcmp(models[i].name, name) == 0)
			return &models[i];
	log_error("-device %s: not a device of this machine; '-device help' lists them", name);
	return NULL;
}

/* "MODEL,help": its properties are to be listed, where there is such a model. */
static bool asks_for_help(struct qemu *qemu, const char *value)
{
	const char *comma = strchr(value, ',');
	char name[64];

	if (!comma || (strcmp(comma, ",help") != 0 && strcmp(comma, ",?") != 0) ||
		(size_t)(comma - value) >= sizeof(name))
		return false;
	snprintf(name, sizeof(name), "%.*s", (int)(comma - value), value);
	qemu->listed = find_model(name) ? qom_type_find(name) : NULL;
	qemu->list = qemu_list_devices;
	return true;
}

int qemu_add_device(struct qemu *qemu, const char *value)
{
	struct qemu_words *words = &qemu->devices[qemu->device_count];
	const char *name;
	int error;

	if (strcmp(value, "help") == 0 || strcmp(value, "?") == 0) {
		qemu->list = qemu_list_devices;
		return 0;
	}
	if (asks_for_help(qemu, value))
		return qemu->listed ? 0 : -EINVAL;
	if (qemu->device_count == QEMU_MAX_DEVICES) {
		log_error("-device %s: expected at most %d devices", value, QEMU_MAX_DEVICES);
		return -EINVAL;
	}
	error = qemu_words_parse(words, "-device", value, "driver");
	if (error)
		return error;
	name = qemu_words_get(words, "driver");
	if (name && find_model(name)) {
		qemu->device_count++;
		return 0;
	}
	if (!name)
		log_error("-device %s: expected driver=NAME", value);
	qemu_words_free(words);
	return -EINVAL;
}

static int check_properties(const struct qemu_words *words, const struct qom_type *type)
{
	for (unsigned i = 0; i < words->count; i++) {
		const char *key = words->word[i].key;

		if (strcmp(key, "driver") == 0 || strcmp(key, "id") == 0 ||
			strcmp(key, "bus") == 0 || qom_type_has(type, key))
			continue;
		log_error("%s: there is no property '%s'; '-device %s,help' lists them",
			words->option, key, type->name);
		return -EINVAL;
	}
	return 0;
}

static int copy_name(const char *key, const char *value, char name[PLACE_NAME])
{
	if (strlen(value ? value : "") >= PLACE_NAME) {
		log_error("-device %s=%s: expected at most %d characters", key, value,
			PLACE_NAME - 1);
		return -EINVAL;
	}
	strcpy(name, value ? value : "");
	return 0;
}

/* addr=SLOT or SLOT.FUNCTION, in hexadecimal digits. */
static int take_address(const char *value, struct device_place *place)
{
	char *end;
	unsigned long slot = strtoul(value, &end, 16), function = 0;

	if (end != value && *end == '.' && isxdigit((unsigned char)end[1]))
		function = strtoul(end + 1, &end, 16);
	if (end == value || *end || slot > 31 || function > 7) {
		log_error("-device addr=%s: expected SLOT or SLOT.FUNCTION, such as 1f.2", value);
		return -EINVAL;
	}
	place->addressed = true;
	place->slot = (uint8_t)slot;
	place->function = (uint8_t)function;
	return 0;
}

static int take_place(
	struct qemu *qemu, const struct qemu_words *words, const struct qom_type *type)
{
	const char *address = qemu_words_get(words, "addr");

	qemu->place = (struct device_place){0};
	if (copy_name("id", qemu_words_get(words, "id"), qemu->place.id) < 0)
		return -EINVAL;
	if (!qom_type_is(type, "pci-device"))
		return 0;
	if (copy_name("bus", qemu_words_get(words, "bus"), qemu->place.bus) < 0)
		return -EINVAL;
	return address ? take_address(address, &qemu->place) : 0;
}

static int finish_device(struct qemu *qemu, const struct qemu_words *words)
{
	const struct model *model = find_model(qemu_words_get(words, "driver"));
	char option[64], *text = NULL;
	struct qemu_words named = *words;
	size_t size;
	FILE *out;
	int error;

	if (!model)
		return -EINVAL;
	out = open_memstream(&text, &size);
	if (!out)
		return -ENOMEM;
	snprintf(option, sizeof(option), "-device %s", model->name);
	named.option = option;
	error = check_properties(&named, qom_type_find(model->name));
	if (!error)
		error = take_place(qemu, &named, qom_type_find(model->name));
	if (!error)
		error = qemu_words_translate(&named, model->keys, common_keys, out);
	fclose(out);
	if (!error)
		error = model->add(qemu, model, words, text);
	qemu->place = (struct device_place){0};
	free(text);
	return error;
}

int qemu_make_device(struct qemu *qemu, const char *value)
{
	const struct model *model;
	struct qemu_words words;
	const char *name;
	bool plugs;
	int error = qemu_words_parse(&words, "device_add", value, "driver");

	if (error)
		return error;
	name = qemu_words_get(&words, "driver");
	model = name ? find_model(name) : NULL;
	/* Of these the machine refuses some more. */
	plugs = model && (model->add == add_disk || model->add == add_net);
	error = plugs ? finish_device(qemu, &words) : -EINVAL;
	if (model && !plugs)
		log_error("Device '%s' does not support hotplugging", name);
	if (!name)
		log_error("Parameter 'driver' is missing");
	qemu_words_free(&words);
	return error;
}

int qemu_finish_devices(struct qemu *qemu)
{
	int error = 0;

	for (unsigned i = 0; !error && i < qemu->device_count; i++)
		error = finish_device(qemu, &qemu->devices[i]);
	return error;
}

void qemu_list_devices(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
		const struct qom_type *type = qom_type_find(models[i].name);

		printf("name \"%s\", bus %s, desc \"%s\"\n", type->name, type->bus, type->help);
	}
}

void qemu_list_properties(const struct qom_type *type)
{
	const char *text = type->properties;
	char word[64], *colon;

	printf("%s options:\n", type->name);
	while ((text = schema_word(text, word, sizeof(word)))) {
		colon = strchr(word, ':');
		*colon = '\0';
		printf("  %s=<%s>\n", word, colon + 1);
	}
}
