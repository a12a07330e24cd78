/* How monitors plug devices in and make what is behind them: the words are those of QEMU's command
 * line, whose parser is of the room above. */
#ifndef VENEER_CONTROL_PLUG_H
#define VENEER_CONTROL_PLUG_H

struct machine;

enum control_plug_kind {
	PLUG_DEVICE_ADD,
	PLUG_BLOCKDEV_ADD,
	PLUG_BLOCKDEV_DELETE,
	PLUG_DRIVE_ADD,
	PLUG_NETDEV_ADD,
	PLUG_NETDEV_DELETE,
};

struct control_plug {
	void *opaque;
	/* `text`: what follows the option, as words or JSON; to delete: a name. 0, or -errno with a
	 * message in the log. Machine lock held, on the I/O thread. */
	int (*run)(void *opaque, struct machine *machine, enum control_plug_kind kind,
		const char *text);
	/* The device is gone, and uses nothing any more. */
	void (*deleted)(void *opaque, const char *device);
};

#endif
