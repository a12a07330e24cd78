/* Root ports that the configuration asks for, and which device is behind which. Devices that the
 * user places, at a slot of bus 0 or behind a port, are made between machine_spot_take() and
 * machine_spot_done(), at the start and while the machine runs alike. */
#ifndef VENEER_MACHINE_PORTS_H
#define VENEER_MACHINE_PORTS_H

#include "device/device.h"
#include "host/place.h"

#define MACHINE_MAX_PORTS 40

struct machine;
struct pci_function;

/* -device pcie-root-port. */
struct port_config {
	struct device_place place;
	unsigned slot_number;
	bool hot_plug;
	bool bus_0; /* another bridge, which there is none of: what is behind it is on bus 0 */
};

enum port_content {
	PORT_EMPTY,
	PORT_FIXED, /* a device that stays */
	PORT_DISK,  /* config.disks[index] */
	PORT_CARD,  /* config.nets[index] */
};

struct machine_port {
	const struct port_config *config; /* NULL: a spare one */
	struct pci_function *function;
	enum port_content content;
	unsigned index;
	uint32_t group; /* the devices', in the machine's list */
	bool asked;     /* to let go of it */
	bool ejected;   /* the guest has */
	bool going;     /* the devices have been taken out of the list, and are here: */
	struct device_list taken;
};

/* The bus exists. 0, or -errno with a message. */
int machine_create_ports(struct machine *machine);

struct machine_spot {
	int place; /* as pci_add() has it */
	struct machine_port
		*port; /* NULL: it is on bus 0, or behind a port that --disk's word made */
};

/* Where a device is to be. `own_port`: behind a port of its own, where no place is said. While the
 * machine runs only a port with hot plug will do, and any where none is said. From then on devices
 * are those of the spot. 0, or -errno with a message. */
int machine_spot_take(struct machine *machine, const struct device_place *place, bool own_port,
	struct machine_spot *spot);
/* The device has been made, or has not; then nothing of it is left behind. Its `index` is that in
 * the configuration. */
void machine_spot_done(struct machine *machine, struct machine_spot *spot,
	enum port_content content, unsigned index, int error);
/* What tells the device apart from others of its kind in a saved state: its index or, behind a port
 * with hot plug, where it is, since others may come and go before it. */
uint32_t machine_spot_instance(const struct machine_spot *spot, unsigned index);

#endif
