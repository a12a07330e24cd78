/* A SCSI controller for the guest (virtio 1.2, 5.6 SCSI Host Device), with disks and CD-ROM drives
 * as its logical units. */
#ifndef VENEER_DEVICE_VIRTIO_SCSI_H
#define VENEER_DEVICE_VIRTIO_SCSI_H

#include "device/virtio/virtio.h"
#include "host/disk/disk.h"

#define SCSI_QUEUES      4  /* of requests, at most: one worker serves them all */
#define SCSI_MAX_UNITS   16 /* of one controller */
#define SCSI_MAX_TARGETS 256
#define SCSI_MAX_LUN     16383

struct scsi_unit_config {
	uint8_t target;
	uint16_t lun;
	struct disk *disk;
	bool cdrom;
	const char *serial; /* up to 20 characters, "" for none; copied */
};

/* Put a controller with these units on the bus (`slot` as for pci_add()), with a queue of requests
 * for each vCPU. No two units are at one address. The disks are the controller's from here on, also
 * where this fails. 0, or -errno with a message. */
int virtio_scsi_create(struct pci_bus *bus, int slot, uint32_t instance,
	const struct scsi_unit_config *units, unsigned count, unsigned cpu_count);

#endif
