/* The machine's disks, by QMP. */
#include "control/qmp_internal.h"

#include <stdio.h>
#include <string.h>

static json_t *describe_image(const struct disk_config *config, const struct disk *disk)
{
	const char *path = config->path ? config->path : "";
	const char *format = config->format[0] ? config->format : "raw";
	json_int_t size = disk ? (json_int_t)disk->size : 0;

	return json_pack(
		"{s:s, s:s, s:I}", "filename", path, "format", format, "virtual-size", size);
}

/* NULL where the path is no text that JSON can have. */
static json_t *describe_node(
	const struct disk_config *config, const struct disk *disk, const char *node)
{
	return json_pack("{s:s, s:s, s:b, s:s, s:i, s:b, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:o, "
			 "s:{s:b, s:b, s:b}, s:i}",
		"file", config->path ? config->path : "", "node-name", node, "ro",
		config->read_only, "drv", config->format[0] ? config->format : "raw",
		"backing_file_depth", 0, "encrypted", 0, "detect_zeroes", "off", "bps", 0, "bps_rd",
		0, "bps_wr", 0, "iops", 0, "iops_rd", 0, "iops_wr", 0, "image",
		describe_image(config, disk), "cache", "writeback", 1, "direct",
		config->cache == DISK_DIRECT, "no-flush", config->cache == DISK_UNSAFE,
		"write_threshold", 0);
}

/* As QEMU names the device that a disk is in. */
static void add_device(json_t *block, const struct disk_config *config)
{
	char path[PLACE_NAME + 64];

	if (!*config->place.id)
		return;
	snprintf(path, sizeof(path),
		config->bus == DISK_BUS_VIRTIO ? "/machine/peripheral/%s/virtio-backend" : "%s",
		config->place.id);
	json_object_set_new(block, "qdev", json_string(path));
}

/* `name`: for a disk that has none. A node of -blockdev has no name as a drive. */
static void add_block(
	json_t *list, const struct disk_config *config, const struct disk *disk, const char *name)
{
	const char *drive = !*config->node ? name : config->is_drive ? config->node : "";
	json_t *node = describe_node(
		config, disk, *config->node && !config->is_drive ? config->node : name);
	json_t *block = json_pack("{s:s, s:s, s:b, s:b, s:s}", "device", drive, "type", "unknown",
		"removable", config->cdrom, "locked", 0, "io-status", "ok");

	add_device(block, config);
	if (node)
		json_object_set_new(block, "inserted", node);
	if (config->cdrom)
		json_object_set_new(block, "tray_open", json_false());
	json_array_append_new(list, block);
}

static json_t *describe_all(const struct machine *machine, bool nodes)
{
	json_t *list = json_array(), *names = json_array(), *block;
	char name[32];
	size_t i;

	for (unsigned disk = 0; disk < machine->config.disk_count; disk++) {
		if (!machine->config.disks[disk].path)
			continue;
		snprintf(name, sizeof(name), "disk%u", disk);
		add_block(list, &machine->config.disks[disk], machine->disk[disk], name);
	}
	for (unsigned floppy = 0; floppy < machine->config.floppy_count; floppy++) {
		snprintf(name, sizeof(name), "floppy%u", floppy);
		add_block(list, &machine->config.floppies[floppy], NULL, name);
	}
	if (!nodes) {
		json_decref(names);
		return list;
	}
	json_array_foreach(list, i, block)
	{
		if (json_object_get(block, "inserted"))
			json_array_append(names, json_object_get(block, "inserted"));
	}
	json_decref(list);
	return names;
}

/* Requests of devices, as they come: a machine with `snapshot` counts what its guest writes. */
static json_t *describe_count(const struct disk *disk)
{
	static const struct {
		const char *requests, *bytes;
		enum disk_operation operation;
	} counts[] = {
		{"rd_operations", "rd_bytes", DISK_READ},
		{"wr_operations", "wr_bytes", DISK_WRITE},
		{"flush_operations", NULL, DISK_FLUSH},
		{"unmap_operations", "unmap_bytes", DISK_DISCARD},
	};
	json_t *stats = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		const struct disk_count *count = disk ? &disk->count[counts[i].operation] : NULL;

		json_object_set_new(stats, counts[i].requests,
			json_integer(count ? (json_int_t)count->requests : 0));
		if (counts[i].bytes)
			json_object_set_new(stats, counts[i].bytes,
				json_integer(count ? (json_int_t)count->bytes : 0));
	}
	return stats;
}

/* Disks come first in the list of blocks, in the machine's order. */
json_t *qmp_query_block_stats(struct qmp_session *session, json_t *arguments)
{
	const struct machine *machine = session->machine;
	json_t *blocks = describe_all(machine, false), *list = json_array(), *block, *one, *node;
	unsigned disk = 0;
	size_t i;

	json_array_foreach(blocks, i, block)
	{
		while (disk < machine->config.disk_count && !machine->config.disks[disk].path)
			disk++;
		one = json_pack("{s:O, s:o}", "device", json_object_get(block, "device"), "stats",
			describe_count(
				disk < machine->config.disk_count ? machine->disk[disk] : NULL));
		node = json_object_get(json_object_get(block, "inserted"), "node-name");
		if (json_object_get(block, "qdev"))
			json_object_set(one, "qdev", json_object_get(block, "qdev"));
		/* libvirt keeps the counts by each name, and takes no name twice. */
		if (node && !json_equal(node, json_object_get(block, "device")))
			json_object_set(one, "node-name", node);
		json_array_append_new(list, one);
		disk++;
	}
	json_decref(blocks);
	return list;
}

json_t *qmp_query_block(struct qmp_session *session, json_t *arguments)
{
	return describe_all(session->machine, false);
}

json_t *qmp_query_named_block_nodes(struct qmp_session *session, json_t *arguments)
{
	return describe_all(session->machine, true);
}
