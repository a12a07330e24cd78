/* The devices that a machine has beside its chipset: what is on its PCI bus. */
#ifndef VENEER_MACHINE_IO_DEVICES_H
#define VENEER_MACHINE_IO_DEVICES_H

struct machine;

/* Make the bus and put on it what the machine's configuration says. They are added to the chipset's
 * list of devices, which destroys them. 0, or -errno with a message. */
int io_devices_create(struct machine *machine);

/* Make the disk, or the card, of that row of the configuration, at the start or while the machine
 * runs; then with the machine lock held. 0; or -errno with a message, and nothing is left of it. */
int machine_make_disk(struct machine *machine, unsigned index);
int machine_make_card(struct machine *machine, unsigned index);

#endif
