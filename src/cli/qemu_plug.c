/* What monitors have plugged in and made while the machine runs: device_add, blockdev-add and the
 * like take the words of QEMU's options, and the same tables become rows of the machine's
 * configuration. */
#include "cli/qemu.h"

#include "base/log.h"
#include "control/plug.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A device that was not made uses nothing. */
static void let_go(struct qemu *qemu, const char *device)
{
	for (unsigned i = 0; i < qemu->drive_count; i++) {
		struct qemu_drive *drive = &qemu->drives[i];

		if (!drive->device || strcmp(drive->device, device) != 0)
			continue;
		qemu_drop(qemu, drive->device);
		drive->device = NULL;
		drive->used = false;
		/* One of -drive or drive_add goes with its device. */
		if (!drive->is_node)
			qemu_delete_drive(qemu, drive);
	}
	for (unsigned i = 0; i < qemu->netdev_count; i++) {
		struct qemu_netdev *netdev = &qemu->netdevs[i];

		if (!netdev->device || strcmp(netdev->device, device) != 0)
			continue;
		qemu_drop(qemu, netdev->device);
		netdev->device = NULL;
		netdev->used = false;
	}
}

/* The back end of the device that is made now, and that was not. */
static void undo(struct qemu *qemu)
{
	struct qemu_drive *drive = qemu->used_drive;
	struct qemu_netdev *netdev = qemu->used_netdev;

	if (drive) {
		qemu_drop(qemu, drive->device);
		drive->device = NULL;
		drive->used = false;
	}
	if (netdev) {
		qemu_drop(qemu, netdev->device);
		netdev->device = NULL;
		netdev->used = false;
	}
}

static int plug(struct qemu *qemu, struct machine *machine)
{
	struct machine_config *made = &qemu->machine;
	int error;

	if (made->disk_count) {
		error = machine_plug_disk(machine, &made->disks[0]);
		if (error)
			free(made->disks[0].path);
		return error;
	}
	if (!made->net_count)
		return -EINVAL;
	error = machine_plug_card(machine, &made->nets[0]);
	if (error)
		net_config_free(&made->nets[0]);
	return error;
}

/* The machine has a copy of what the configuration was: its rows are free to be made here. */
static int add_device(struct qemu *qemu, struct machine *machine, const char *text)
{
	struct machine_config *made = &qemu->machine;
	int error;

	made->disk_count = made->net_count = 0;
	qemu->used_drive = NULL;
	qemu->used_netdev = NULL;
	error = qemu_make_device(qemu, text);
	if (!error)
		error = plug(qemu, machine);
	if (error)
		undo(qemu);
	made->disk_count = made->net_count = 0;
	return error;
}

static int add_blockdev(struct qemu *qemu, struct machine *machine, const char *text)
{
	return qemu_add_blockdev(qemu, text);
}

static int delete_blockdev(struct qemu *qemu, struct machine *machine, const char *text)
{
	struct qemu_drive *drive = qemu_find_drive(qemu, "blockdev-del", text);

	if (!drive)
		return -ENOENT;
	if (drive->used || !drive->is_node) {
		log_error("Node '%s' is in use", text);
		return -EBUSY;
	}
	qemu_delete_drive(qemu, drive);
	return 0;
}

static int add_drive(struct qemu *qemu, struct machine *machine, const char *text)
{
	int error = qemu_add_drive(qemu, text);

	/* What the command line has made is in use, or is without an interface. */
	for (unsigned i = 0; !error && i < qemu->drive_count; i++)
		if (!qemu->drives[i].used && strcmp(qemu->drives[i].interface, "none") != 0) {
			log_error("drive_add: expected if=none, and device_add for its device");
			qemu_delete_drive(qemu, &qemu->drives[i]);
			error = -EINVAL;
		}
	return error;
}

static int add_netdev(struct qemu *qemu, struct machine *machine, const char *text)
{
	return qemu_add_netdev(qemu, text);
}

static int delete_netdev(struct qemu *qemu, struct machine *machine, const char *text)
{
	return qemu_delete_netdev(qemu, text);
}

static int run(void *opaque, struct machine *machine, enum control_plug_kind kind, const char *text)
{
	static int (*const actions[])(
		struct qemu * qemu, struct machine * machine, const char *text) = {
		[PLUG_DEVICE_ADD] = add_device,
		[PLUG_BLOCKDEV_ADD] = add_blockdev,
		[PLUG_BLOCKDEV_DELETE] = delete_blockdev,
		[PLUG_DRIVE_ADD] = add_drive,
		[PLUG_NETDEV_ADD] = add_netdev,
		[PLUG_NETDEV_DELETE] = delete_netdev,
	};

	return actions[kind](opaque, machine, text);
}

static void on_deleted(void *opaque, const char *device)
{
	if (*device)
		let_go(opaque, device);
}

struct control_plug qemu_plug(struct qemu *qemu)
{
	return (struct control_plug){.opaque = qemu, .run = run, .deleted = on_deleted};
}
