/* What the files of the virtio transport share. */
#ifndef VENEER_DEVICE_VIRTIO_INTERNAL_H
#define VENEER_DEVICE_VIRTIO_INTERNAL_H

#include "device/virtio/virtio.h"

/* 2.1 Device Status Field */
enum virtio_status {
	STATUS_ACKNOWLEDGE = 1,
	STATUS_DRIVER = 2,
	STATUS_DRIVER_OK = 4,
	STATUS_FEATURES_OK = 8,
	STATUS_NEEDS_RESET = 64,
	STATUS_FAILED = 128,
	STATUS_ALL = 207,
};

enum virtio_isr { ISR_QUEUE = 1, ISR_CONFIG = 2 }; /* 4.1.4.5 */

/* --- virtio.c: the device's life; machine lock held --- */

/* The driver writes the status register. */
void virtio_set_status(struct virtio_device *device, uint8_t value);
/* All that the device offers. */
uint64_t virtio_offered(const struct virtio_device *device);
/* May the driver change the queue? Once the device runs, it is the worker's to read, until it is
 * reset. */
bool virtio_is_configurable(const struct virtio_device *device, unsigned index);
/* The driver enables a queue that it may change; and resets it while the device runs. */
void virtio_enable_queue(struct virtio_device *device, unsigned index);
void virtio_reset_queue(struct virtio_device *device, unsigned index);
/* Begin anew, as if the driver had written 0 to the status register. */
void virtio_begin_reset(struct virtio_device *device);

/* --- virtio_pci.c --- */

/* Put the function on the bus. 0 or -errno with a message. */
int virtio_pci_add(struct virtio_device *device, struct pci_bus *bus, int slot);
/* Interrupt the driver, from any thread: with the queue's or the configuration's vector, or by ISR
 * and pin. */
void virtio_pci_interrupt(
	struct virtio_device *device, _Atomic uint16_t *vector, enum virtio_isr reason);
/* Drive the pin as ISR says; machine lock held. */
void virtio_pci_update_pin(struct virtio_device *device);

#endif
