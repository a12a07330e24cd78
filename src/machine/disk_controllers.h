/* The disks and CD-ROM drives of a machine that are not virtio's, and its floppies. */
#ifndef VENEER_MACHINE_DISK_CONTROLLERS_H
#define VENEER_MACHINE_DISK_CONTROLLERS_H

#include "host/disk/disk.h"

struct machine;

/* The bus that a disk of the machine is at: not DISK_BUS_ANY. */
enum disk_bus machine_disk_bus(const struct machine *machine, const struct disk_config *config);

/* Make the controllers that the machine's disks and floppies ask for. 0, or -errno with a
 * message. */
int machine_create_controllers(struct machine *machine);

#endif
