/* A floppy disk controller, Intel's 82077AA, with two drives. Images are raw, and their size says
 * what medium they are: 160 KiB to 2.88 MiB. */
#ifndef VENEER_DEVICE_STORAGE_FLOPPY_H
#define VENEER_DEVICE_STORAGE_FLOPPY_H

#include "device/chipset/dma8237.h"
#include "device/irq.h"
#include "host/disk/disk.h"
#include "host/event_loop.h"

#define FLOPPY_DRIVES         2
#define FLOPPY_IRQ            6
#define FLOPPY_DMA_CHANNEL    2
#define FLOPPY_CMOS           0x10 /* the drives' types: the first in bits 7:4 */
#define FLOPPY_CMOS_EQUIPMENT 0x14

struct floppy_config {
	struct device_list *devices;
	struct io_space *ports;
	struct dma8237 *dma;
	struct irq_line irq; /* never driven */
	struct event_loop *loop;
	struct priority_lock *machine_lock;
	struct disk *disks[FLOPPY_DRIVES]; /* NULL: no drive */
};

/* Make the controller and its drives. It owns the disks from now on, and destroys them where it
 * fails. 0, or -errno with a message: a disk's size is no floppy's. */
int floppy_create(const struct floppy_config *config);
/* The type of drive that a medium of that size is for, as in CMOS memory (1: 360 KiB to 5: 2.88
 * MiB). 0: there is none. */
uint8_t floppy_drive_type(uint64_t size);

#endif
