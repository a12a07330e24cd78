/* -drive, -blockdev and the images that have options of their own. Each becomes words of --disk. */
#include "cli/qemu.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What both -drive and -blockdev have. */
#define COMMON_KEYS                                                                                \
	{"read-only", QEMU_FLAG, "readonly"}, {"auto-read-only", QEMU_IGNORED, NULL},              \
		{"cache.direct", QEMU_CHOICE, "on:cache=none|off"},                                \
		{"cache.no-flush", QEMU_CHOICE, "on:cache=unsafe|off"},                            \
		{"cache.writeback", QEMU_IGNORED, NULL}, {"discard", QEMU_IGNORED, NULL},          \
		{"detect-zeroes", QEMU_IGNORED, NULL}, {"force-share", QEMU_FLAG, "share=on"},     \
		{"aio", QEMU_CHOICE, "threads:io=threads|native|io_uring"},                        \
		{"locking", QEMU_CHOICE, "on|auto|off:share=on"}, {"driver", QEMU_OWN, NULL},      \
		{"protocol", QEMU_OWN, NULL}, {"filename", QEMU_OWN, NULL},                        \
		{"node-name", QEMU_OWN, NULL}, {"file", QEMU_OWN, NULL},                           \
		{"export", QEMU_OWN, NULL}, {"path", QEMU_OWN, NULL}, {"host", QEMU_OWN, NULL},    \
		{"port", QEMU_OWN, NULL}, {"server.type", QEMU_OWN, NULL},                         \
		{"server.path", QEMU_OWN, NULL}, {"server.host", QEMU_OWN, NULL},                  \
		{"server.port", QEMU_OWN, NULL}, {"offset", QEMU_COPY, "offset"},                  \
		{"size", QEMU_COPY, "size"}, {"lazy-refcounts", QEMU_IGNORED, NULL},               \
		{"l2-cache-size", QEMU_IGNORED, NULL},                                             \
	{                                                                                          \
		"cache-size", QEMU_IGNORED, NULL                                                   \
	}

static const struct qemu_key drive_keys[] = {
	{"id", QEMU_OWN, NULL},
	{"if", QEMU_OWN, NULL},
	{"media", QEMU_OWN, NULL},
	{"snapshot", QEMU_OWN, NULL},
	{"format", QEMU_OWN, NULL},
	{"unit", QEMU_IGNORED, NULL},
	{"bus", QEMU_IGNORED, NULL},
	{"index", QEMU_IGNORED, NULL},
	{"readonly", QEMU_FLAG, "readonly"},
	{"serial", QEMU_COPY, "serial"},
	{"cache", QEMU_CHOICE,
		"writeback|writethrough|none:cache=none|directsync:cache=none|unsafe:cache=unsafe"},
	/* What the guest sees of errors here is what these do by default. */
	{"werror", QEMU_CHOICE, "report|enospc"},
	{"rerror", QEMU_CHOICE, "report"},
	{"copy-on-read", QEMU_CHOICE, "off"},
	COMMON_KEYS,
	{NULL, QEMU_END, NULL},
};

static const struct qemu_key blockdev_keys[] = {
	COMMON_KEYS, {"backing", QEMU_OWN, NULL}, {NULL, QEMU_END, NULL}};

/* Protocols: what a node without a node below it has its bytes from. */
static const struct protocol {
	const char *name;
	bool nbd;
} protocols[] = {{"file", false}, {"host_device", false}, {"host_cdrom", false}, {"nbd", true}};

static const struct protocol *find_protocol(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(protocols); i++)
		if (name && strcmp(protocols[i].name, name) == 0)
			return &protocols[i];
	return NULL;
}

/* The file that `filename` names, which may have a protocol before it. */
static void put_file(FILE *out, const char *filename)
{
	const char *path, *name;

	if (strncmp(filename, "file:", 5) == 0)
		filename += 5;
	path = strncmp(filename, "nbd:unix:", 9) == 0 ? filename + 9 : NULL;
	if (!path) {
		qemu_words_put(out, filename);
		return;
	}
	name = strstr(path, ":exportname=");
	fprintf(out, "nbd+unix:///%s?socket=", name ? name + 12 : "");
	for (; *path && path != name; path++)
		fprintf(out, *path == ',' ? ",," : "%c", *path);
}

static void put_nbd(FILE *out, const struct qemu_words *words)
{
	const char *path = qemu_words_get(words, "server.path"),
		   *host = qemu_words_get(words, "server.host"),
		   *port = qemu_words_get(words, "server.port"),
		   *name = qemu_words_get(words, "export");

	path = path ? path : qemu_words_get(words, "path");
	host = host ? host : qemu_words_get(words, "host");
	port = port ? port : qemu_words_get(words, "port");
	if (path) {
		fprintf(out, "nbd+unix:///%s?socket=", name ? name : "");
		qemu_words_put(out, path);
	} else {
		fprintf(out, "nbd://%s:%s/%s", host ? host : "localhost", port ? port : "10809",
			name ? name : "");
	}
}

struct qemu_drive *qemu_find_drive(struct qemu *qemu, const char *option, const char *id)
{
	for (unsigned i = 0; i < qemu->drive_count; i++)
		if (*id && !qemu->drives[i].gone && strcmp(qemu->drives[i].id, id) == 0)
			return &qemu->drives[i];
	log_error("%s: there is no -drive or -blockdev '%s'", option, id);
	return NULL;
}

static struct qemu_drive *new_drive(struct qemu *qemu, const char *option, const char *id)
{
	struct qemu_drive *drive = qemu->drives;

	while (drive < qemu->drives + qemu->drive_count && !drive->gone)
		drive++;
	if (drive == qemu->drives + QEMU_MAX_DRIVES) {
		log_error("%s: expected at most %d drives", option, QEMU_MAX_DRIVES);
		return NULL;
	}
	for (unsigned i = 0; *id && i < qemu->drive_count; i++) {
		if (!qemu->drives[i].gone && strcmp(qemu->drives[i].id, id) == 0) {
			log_error("%s: there are two drives '%s'", option, id);
			return NULL;
		}
	}
	*drive = (struct qemu_drive){.id = qemu_keep_copy(qemu, id), .interface = "none"};
	qemu->drive_count = MAX(qemu->drive_count, (unsigned)(drive - qemu->drives) + 1);
	return drive;
}

void qemu_delete_drive(struct qemu *qemu, struct qemu_drive *drive)
{
	if (drive->below)
		drive->below->used = false;
	if (drive->backing)
		drive->backing->used = false;
	qemu_drop(qemu, drive->id);
	qemu_drop(qemu, drive->disk);
	qemu_drop(qemu, drive->interface);
	qemu_drop(qemu, drive->device);
	*drive = (struct qemu_drive){.id = "", .interface = "none", .used = true, .gone = true};
}

/* A client that has read an image's header names a node for the file that it names; no node is no
 * such file. */
static int put_backing(
	struct qemu *qemu, struct qemu_drive *drive, const struct qemu_words *words, FILE *out)
{
	const char *backing = qemu_words_get(words, "backing");
	struct qemu_drive *below;

	if (!backing)
		return 0;
	if (!*backing) {
		fputs(",backing=none", out);
		return 0;
	}
	below = qemu_find_drive(qemu, "-blockdev backing=", backing);
	if (!below)
		return -EINVAL;
	below->used = true;
	drive->backing = below;
	return 0;
}

/* Write what a node is to `out`: of its file, and its own words. */
static int put_node(struct qemu *qemu, struct qemu_drive *drive, const struct qemu_words *words,
	const struct qemu_key *table, bool *empty, FILE *out)
{
	const char *driver = qemu_words_get(words, "driver"), *file = qemu_words_get(words, "file");
	const char *filename = qemu_words_get(words, "filename"),
		   *format = qemu_words_get(words, "format");
	const char *below_driver = qemu_words_get(words, "protocol");
	const struct protocol *protocol = find_protocol(below_driver ? below_driver : driver);
	struct qemu_drive *below;

	if (protocol && protocol->nbd) {
		put_nbd(out, words);
	} else if (filename) {
		put_file(out, filename);
	} else if (file && table == blockdev_keys) {
		below = qemu_find_drive(qemu, words->option, file);
		if (!below)
			return -EINVAL;
		if (below->used) {
			log_error("%s: two use the node '%s'", words->option, file);
			return -EINVAL;
		}
		fputs(below->disk ? below->disk : "", out);
		below->used = true;
		drive->below = below;
	} else if (file && *file) {
		put_file(out, file);
	} else {
		*empty = true;
	}
	if (!format && driver && !find_protocol(driver))
		format = driver;
	/* What a server has is raw to us, whatever is said of it. */
	if (format && !(protocol && protocol->nbd) && !(file && strncmp(file, "nbd", 3) == 0))
		fprintf(out, ",format=%s", format);
	if (table == blockdev_keys && put_backing(qemu, drive, words, out) < 0)
		return -EINVAL;
	return qemu_words_translate(words, table, NULL, out);
}

/* "file.filename" and the like are those of the node below, which has no name of its own. */
static int join_node_below(struct qemu_words *words)
{
	for (unsigned i = 0; i < words->count; i++) {
		char *key = words->word[i].key;
		if (strncmp(key, "file.", 5) != 0)
			continue;
		if (strcmp(key, "file.driver") != 0) {
			memmove(key, key + 5, strlen(key + 5) + 1);
			continue;
		}
		if (!find_protocol(words->word[i].value)) {
			log_error("%s %s=%s: expected file or nbd", words->option, key,
				words->word[i].value);
			return -EINVAL;
		}
		memcpy(key, "protocol", sizeof("protocol"));
	}
	return 0;
}

static int make_node(struct qemu *qemu, struct qemu_drive *drive, const struct qemu_words *words,
	const struct qemu_key *table)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	bool empty = false;
	int error = out ? put_node(qemu, drive, words, table, &empty, out) : -ENOMEM;

	if (out)
		fclose(out);
	if (error) {
		free(text);
		return error;
	}
	drive->disk = qemu_keep(qemu, text);
	if (empty)
		drive->disk = NULL;
	return 0;
}

static int parse_drive(struct qemu *qemu, struct qemu_words *words)
{
	const char *id = qemu_words_get(words, "id"), *media = qemu_words_get(words, "media"),
		   *interface = qemu_words_get(words, "if"),
		   *snapshot = qemu_words_get(words, "snapshot"), *node;
	struct qemu_drive *drive;
	bool on = false;

	node = qemu_words_get(words, "node-name");
	drive = new_drive(qemu, words->option, id ? id : node ? node : "");
	if (!drive)
		return -EINVAL;
	if (snapshot && qemu_words_bool(words->option, "snapshot", snapshot, &on) < 0)
		return -EINVAL;
	if (media && strcmp(media, "cdrom") != 0 && strcmp(media, "disk") != 0) {
		log_error("%s media=%s: expected disk or cdrom", words->option, media);
		return -EINVAL;
	}
	drive->cdrom = media && *media == 'c';
	drive->interface = interface ? qemu_keep_copy(qemu, interface) : "ide";
	if (make_node(qemu, drive, words, drive_keys) < 0) {
		qemu_delete_drive(qemu, drive);
		return -EINVAL;
	}
	if (on && drive->disk) {
		char *text;

		if (asprintf(&text, "%s,snapshot", drive->disk) < 0)
			return -ENOMEM;
		qemu_drop(qemu, drive->disk);
		drive->disk = qemu_keep(qemu, text);
	}
	return 0;
}

int qemu_add_drive(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	int error = qemu_words_parse(&words, "-drive", value, NULL);

	if (error)
		return error;
	error = join_node_below(&words);
	if (!error)
		error = parse_drive(qemu, &words);
	qemu_words_free(&words);
	return error;
}

int qemu_add_blockdev(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	struct qemu_drive *drive;
	const char *name;
	int error = qemu_words_parse(&words, "-blockdev", value, "driver");

	if (error)
		return error;
	error = join_node_below(&words);
	name = qemu_words_get(&words, "node-name");
	if (!error && !name) {
		log_error("-blockdev: expected node-name=NAME");
		error = -EINVAL;
	}
	if (!error) {
		drive = new_drive(qemu, "-blockdev", name);
		error = drive ? make_node(qemu, drive, &words, blockdev_keys) : -EINVAL;
		if (drive)
			drive->is_node = true;
		if (drive && error)
			qemu_delete_drive(qemu, drive);
	}
	qemu_words_free(&words);
	return error;
}

int qemu_add_image(struct qemu *qemu, const char *file, const char *words)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int error;

	if (!out)
		return -ENOMEM;
	fputs("file=", out);
	qemu_words_put(out, file);
	fprintf(out, ",%s", words);
	fclose(out);
	error = qemu_add_drive(qemu, text);
	free(text);
	return error;
}

/* --- as disks of the machine --- */

static int use_floppy(struct qemu *qemu, const char *disk)
{
	struct machine_config *machine = &qemu->machine;

	if (machine->floppy_count == MACHINE_MAX_FLOPPIES) {
		log_error("-drive if=floppy: expected at most %u", MACHINE_MAX_FLOPPIES);
		return -EINVAL;
	}
	return disk_config_parse(&machine->floppies[machine->floppy_count], "-drive", disk)
		       ? -EINVAL
		       : (machine->floppy_count++, 0);
}

int qemu_use_drive(struct qemu *qemu, struct qemu_drive *drive, const char *words)
{
	struct machine_config *machine = &qemu->machine;
	struct disk_config *config = &machine->disks[machine->disk_count];
	bool floppy = strcmp(words, ",floppy") == 0;
	char *text;
	int error;

	if (drive->used) {
		log_error("-device: two use the drive '%s'", drive->id);
		return -EINVAL;
	}
	drive->used = true;
	drive->device = *qemu->place.id ? qemu_keep_copy(qemu, qemu->place.id) : NULL;
	qemu->used_drive = drive;
	if (!drive->disk)
		return 0;
	if (!floppy && machine->disk_count == MACHINE_MAX_DISKS) {
		log_error("-drive: expected at most %u disks", MACHINE_MAX_DISKS);
		return -EINVAL;
	}
	if (asprintf(&text, "%s%s%s", drive->disk, floppy ? "" : words,
		    qemu->snapshot && !drive->cdrom ? ",snapshot" : "") < 0)
		return -ENOMEM;
	if (floppy)
		error = use_floppy(qemu, text);
	else if (drive->cdrom)
		error = disk_config_parse_cdrom(config, "-drive", text);
	else
		error = disk_config_parse(config, "-drive", text);
	free(text);
	if (error || floppy)
		return error;
	config->place = qemu->place;
	config->is_drive = !drive->is_node;
	snprintf(config->node, sizeof(config->node), "%s", drive->id);
	machine->disk_count++;
	return 0;
}

/* What -drive's if= means here. */
static const struct {
	const char *name, *words, *q35_words;
	const char *missing; /* why it is refused; NULL: it is not */
} interfaces[] = {
	{"ide", ",bus=ide", ",bus=ahci", NULL},
	{"virtio", ",bus=virtio", ",bus=virtio", NULL},
	{"floppy", ",floppy", ",floppy", NULL},
	{"scsi", NULL, NULL,
		"this board has no SCSI controller of its own; -device has virtio-scsi-pci and "
		"scsi-hd"},
	{"sd", NULL, NULL, "there are no SD cards"},
	{"mtd", NULL, NULL, "there is no flash but if=pflash"},
};

static int finish_drive(struct qemu *qemu, struct qemu_drive *drive)
{
	for (unsigned i = 0; i < ARRAY_SIZE(interfaces); i++) {
		if (strcmp(drive->interface, interfaces[i].name) != 0)
			continue;
		if (!interfaces[i].missing)
			return qemu_use_drive(qemu, drive,
				qemu->q35 ? interfaces[i].q35_words : interfaces[i].words);
		log_error("-drive if=%s: %s", drive->interface, interfaces[i].missing);
		return -EINVAL;
	}
	if (strcmp(drive->interface, "none") == 0)
		return 0;
	log_error("-drive if=%s: expected ide, virtio, floppy, pflash or none", drive->interface);
	return -EINVAL;
}

/* The first flash is the firmware, the second one keeps its variables. */
static int finish_flash(struct qemu *qemu, struct qemu_drive *drive)
{
	size_t length = drive->disk ? strcspn(drive->disk, ",") : 0;
	struct firmware_config *firmware = &qemu->machine.firmware;

	drive->used = true;
	if (!length || firmware->variables_path) {
		log_error("-drive if=pflash: expected one with the firmware in it, and one for its "
			  "variables");
		return -EINVAL;
	}
	*(firmware->path ? &firmware->variables_path : &firmware->path) =
		qemu_keep(qemu, strndup(drive->disk, length));
	return 0;
}

int qemu_finish_drives(struct qemu *qemu)
{
	int error = 0;

	for (unsigned i = 0; !error && i < qemu->drive_count; i++) {
		struct qemu_drive *drive = &qemu->drives[i];

		if (drive->used)
			continue;
		error = strcmp(drive->interface, "pflash") == 0 ? finish_flash(qemu, drive)
								: finish_drive(qemu, drive);
	}
	return error;
}
