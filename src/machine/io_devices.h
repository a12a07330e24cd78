/* The devices that a machine has beside its chipset: what is on its PCI bus. */
#ifndef VENEER_MACHINE_IO_DEVICES_H
#define VENEER_MACHINE_IO_DEVICES_H

struct machine;

/* Make the bus and put on it what the machine's configuration says. They are added to the chipset's
 * list of devices, which destroys them. 0, or -errno with a message. */
int io_devices_create(struct machine *machine);

#endif
