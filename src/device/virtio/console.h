/* The virtio console device (virtio 1.2, 5.3), for named ports: byte streams between programs of
 * the guest and of the host. It is no console for the guest's kernel. */
#ifndef VENEER_DEVICE_VIRTIO_CONSOLE_H
#define VENEER_DEVICE_VIRTIO_CONSOLE_H

#include "device/pci/pci.h"

#include <stdbool.h>

#define CONSOLE_MAX_PORTS 7
#define CONSOLE_MAX_NAME  63

/* A port as the command line says. Zero it before it is parsed. */
struct console_port_config {
	char *name, *path; /* the port's own */
	bool to_file;      /* path: of a file for the guest's output; else of a socket to make */
};

/* Parse "name=NAME,path=SOCKET" or "name=NAME,file=FILE". 0; or -EINVAL or -ENOMEM, with a message
 * where the words are wrong, and `config` is zero. */
int console_port_config_parse(
	struct console_port_config *config, const char *option, const char *value);
void console_port_config_free(struct console_port_config *config);

/* Put a device with `count` ports, 1 to CONSOLE_MAX_PORTS, on the bus, in the next free slot. The
 * bus's list of devices owns it; `ports` must outlive it. 0, or -errno with a message. */
int virtio_console_create(
	struct pci_bus *bus, const struct console_port_config *ports, unsigned count);

#endif
