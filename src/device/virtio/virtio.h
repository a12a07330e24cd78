/* A virtio device on the PCI bus (virtio 1.2, chapters 2 and 4.1; modern only).
 *
 * Who may touch what:
 *
 *	registers, status, features, queue setup	the machine lock
 *	queues in use, and all that a device does	the device's worker, no lock
 *
 * The two meet when the driver sets DRIVER_OK (start() on the worker) and when it resets the
 * device: stop() on the worker begins to end what is in flight; the status register reads as 0,
 * and the driver may set it up again, when the device has called virtio_stopped(). A doorbell
 * posts a task to the worker and takes no lock. */
#ifndef VENEER_DEVICE_VIRTIO_VIRTIO_H
#define VENEER_DEVICE_VIRTIO_VIRTIO_H

#include "device/pci/pci.h"
#include "device/virtio/queue.h"
#include "host/worker.h"

#include <semaphore.h>

#include <linux/virtio_config.h>

#define VIRTIO_MAX_QUEUES  30 /* fewer than queues_resetting has bits */
#define VIRTIO_CONFIG_SIZE 64

enum virtio_type { /* 5. Device Types */
	VIRTIO_NET = 1,
	VIRTIO_BLOCK = 2,
	VIRTIO_CONSOLE = 3,
	VIRTIO_ENTROPY = 4,
	VIRTIO_SCSI = 8,
	VIRTIO_9P = 9,
};

/* Feature bits. The kernel's header, which others include, has their numbers under these names. */
#undef VIRTIO_F_VERSION_1
#undef VIRTIO_F_RING_PACKED
#undef VIRTIO_F_IN_ORDER
#undef VIRTIO_F_RING_RESET
#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX     BIT(29)
#define VIRTIO_F_VERSION_1     BIT(32)
#define VIRTIO_F_RING_PACKED   BIT(34)
#define VIRTIO_F_IN_ORDER      BIT(35)
#define VIRTIO_F_RING_RESET    BIT(40)

struct virtio_device;

struct virtio_ops {
	const char *name; /* "virtio-block": of its section in a saved machine, and for messages */
	enum virtio_type type;
	uint32_t pci_class;

	/* On the worker, no lock. */
	/* The driver is ready (DRIVER_OK); device->features is what it took, the enabled queues are
	 * started. NULL: nothing to do. */
	void (*start)(struct virtio_device *device);
	/* The driver has made chains available in that queue. Spurious calls happen. */
	void (*notified)(struct virtio_device *device, struct virtqueue *queue);
	/* The device is to be reset: take nothing more from the queues, and call virtio_stopped(),
	 * now or later on the worker, when no request is in flight. May be called again before
	 * that. NULL: nothing ever is. */
	void (*stop)(struct virtio_device *device);
	/* The driver resets this queue alone (2.6.1): give up what has been taken from it and is
	 * not in flight; nothing more can be taken. What is in flight ends by itself. NULL: nothing
	 * is kept. */
	void (*queue_reset)(struct virtio_device *device, struct virtqueue *queue);
	/* The machine ends, after stop(): what is in flight is to end soon, with errors if it must.
	 * May be called again. NULL: it does. */
	void (*abandon)(struct virtio_device *device);

	/* Machine lock held. */
	/* The driver wrote [offset, offset + size) of device->config. It has been stored there only
	 * where this is not NULL. */
	void (*config_written)(struct virtio_device *device, unsigned offset, unsigned size);
	/* Free the device; no worker runs any more, nothing is in flight. */
	void (*destroy)(struct virtio_device *device);
};

/* What the driver has set, and what it may read back. */
struct virtio_device_state {
	uint64_t driver_features;
	uint32_t feature_select, driver_feature_select;
	uint8_t status;
	uint8_t config_generation;
	bool resetting; /* the driver's reset is not over yet */
	/* Queues whose own reset is not over yet; and those for which it is, and that the driver
	 * may set up anew. By bit. */
	uint32_t queues_resetting, queues_reset;
	_Atomic uint8_t isr;
	uint16_t queue_select;
	_Atomic uint16_t config_vector, queue_vector[VIRTIO_MAX_QUEUES];
	struct virtqueue_setup queue[VIRTIO_MAX_QUEUES];
};

/* The first member of a device. Zero it, fill in what is marked so, and call virtio_add(). */
struct virtio_device {
	struct device device;
	struct virtio_device_state state;
	const struct virtio_ops *ops; /* fill in */
	uint64_t offered;             /* fill in: features of the type; the queue's are added */
	unsigned queue_count;         /* fill in */
	uint16_t queue_size;          /* fill in: the largest; a power of two */
	uint8_t config[VIRTIO_CONFIG_SIZE]; /* fill in: device configuration, little-endian */
	unsigned config_size;               /* fill in */

	/* Set by virtio_add(). */
	struct pci_function pci;
	struct worker *worker;
	struct event_loop *loop;

	/* The worker's. */
	uint64_t features; /* as negotiated */
	struct virtqueue queue[VIRTIO_MAX_QUEUES];
	bool running; /* between start() and stop() */

	/* The transport's own. */
	struct device_ops device_ops; /* with the device's name */
	unsigned config_access;       /* where that capability is in configuration space */
	bool stopping;                /* worker: stop() has been called, virtio_stopped() not yet */
	bool waited_for;              /* worker: virtio_stopped() is to post `quiet` */
	bool reset_wanted;            /* worker: it stops for a reset */
	atomic_bool reset_possible;   /* it has stopped for that, nothing is in flight */
	atomic_bool quiet_wanted;     /* from quiesce to resume: the worker starts nothing */
	bool quiescing;               /* I/O thread: the worker was asked, and has not posted it */
	sem_t quiet;
	struct worker_task start_task, stop_task, quiesce_task, abandon_task;
	struct worker_task notify_task[VIRTIO_MAX_QUEUES];
	struct event_work stopped_work, reset_needed_work, intx_work;
	/* Queues to be reset, and to be started, by the worker; and that it has reset. */
	_Atomic uint32_t queues_to_reset, queues_to_start, queues_drained;
	struct worker_task queues_task;
	struct event_work drained_work;
	atomic_bool needs_reset;
};

/* Put the device on the bus (`slot` as for pci_add()), with a worker of its own, named like the
 * device and `instance`. 0, or -errno with a message; on failure ops->destroy is not called. */
int virtio_add(struct virtio_device *device, struct pci_bus *bus, int slot, uint32_t instance);

/* --- for the device, on its worker --- */

/* What stop() asked for has happened. */
void virtio_stopped(struct virtio_device *device);
/* The driver has broken the rules so that the device cannot go on (2.1.2): DEVICE_NEEDS_RESET, and
 * an interrupt. */
void virtio_needs_reset(struct virtio_device *device);

/* --- for the device, anywhere --- */

/* device->config has been changed: a new generation, and an interrupt. Any thread that holds the
 * machine lock. */
void virtio_config_changed(struct virtio_device *device);

#endif
