/* The virtio console device (virtio 1.2, 5.3): the user's terminal as the console of the guest's
 * kernel, and named ports, byte streams between programs of the guest and of the host. */
#ifndef VENEER_DEVICE_VIRTIO_CONSOLE_H
#define VENEER_DEVICE_VIRTIO_CONSOLE_H

#include "device/pci/pci.h"
#include "host/char_backend.h"
#include "host/char_config.h"

#include <stdbool.h>

#define CONSOLE_MAX_PORTS 14 /* each has two queues */
#define CONSOLE_MAX_NAME  63

/* A port. */
struct console_port_config {
	char name[CONSOLE_MAX_NAME + 1]; /* "": none */
	bool console;                    /* hvcN in the guest; else /dev/virtio-ports/NAME */
	bool lossy; /* of output that the far end has no room for: it waits for a moment only */
	int number; /* below CONSOLE_MAX_PORTS; -1: the next one */
	unsigned controller;          /* the machine's: which device it is a port of */
	char chardev[CHAR_MAX_ID];    /* the machine's: its far end; "": connected later */
	struct char_backend *backend; /* the far end, which outlives the device; NULL: likewise */
};

/* Parse "name=NAME,path=SOCKET", "name=NAME,connect=SOCKET" or "name=NAME,file=FILE", into the port
 * and its character device, both without an ID. 0; or -EINVAL with a message. */
int console_port_config_parse(struct console_port_config *config, struct char_config *chardev,
	const char *option, const char *value);
/* Give the ports numbers that have none; port 0 is for a console. 0, or -EINVAL with a message. */
int console_ports_number(struct console_port_config *ports, unsigned count, const char *option);

struct console_device;

/* Put a device on the bus, in the next free slot, with ports that have numbers: one at least. One
 * console alone is offered as a device that knows of one port only. The bus's list of devices owns
 * it. 0, or -errno with a message. */
int virtio_console_create(struct pci_bus *bus, uint32_t instance,
	const struct console_port_config *ports, unsigned count, struct console_device **created);
/* Connect a port to `backend`, NULL for none: what it says without a lock, by write(), is said on
 * the device's worker. Machine lock held. */
void virtio_console_connect(
	struct console_device *console, unsigned number, struct char_backend *backend);

#endif
