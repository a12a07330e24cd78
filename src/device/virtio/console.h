/* The virtio console device (virtio 1.2, 5.3): the user's terminal as the console of the guest's
 * kernel, and named ports, byte streams between programs of the guest and of the host. */
#ifndef VENEER_DEVICE_VIRTIO_CONSOLE_H
#define VENEER_DEVICE_VIRTIO_CONSOLE_H

#include "device/pci/pci.h"
#include "host/char_backend.h"

#include <stdbool.h>

#define CONSOLE_MAX_PORTS 7
#define CONSOLE_MAX_NAME  63

/* A port as the command line says. Zero it before it is parsed. */
struct console_port_config {
	char *name, *path; /* the port's own */
	bool to_file;      /* path: of a file for the guest's output */
	bool connects;     /* path: of a socket at which somebody listens; else of one to make */
};

/* Parse "name=NAME,path=SOCKET", "name=NAME,connect=SOCKET" or "name=NAME,file=FILE". 0; or -EINVAL
 * or -ENOMEM, with a message where the words are wrong, and `config` is zero. */
int console_port_config_parse(
	struct console_port_config *config, const char *option, const char *value);
void console_port_config_free(struct console_port_config *config);

struct console_device;

/* Put a device on the bus, in the next free slot: with a port for a terminal, where `terminal`, and
 * `count` named ones, up to CONSOLE_MAX_PORTS; one port at least. The bus's list of devices owns
 * it; `ports` must outlive it. 0, or -errno with a message. */
int virtio_console_create(struct pci_bus *bus, bool terminal,
	const struct console_port_config *ports, unsigned count, struct console_device **created);
/* Connect the terminal's port to `backend`, NULL for none: what it says without a lock, by write(),
 * is said on the device's worker. Machine lock held. */
void virtio_console_connect(struct console_device *console, struct char_backend *backend);

#endif
