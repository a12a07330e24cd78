/* A device, as the machine sees it: something to reset, to save and load, to destroy.
 *
 * A device is a struct whose first member is a struct device. What the guest could notice is in one
 * member, its state: plain data, described by a table (base/state.h). Everything else is wiring:
 * interrupt lines, timers, callbacks, what it was configured with. Wiring is made when the device
 * is created and is never saved; timers and line levels follow from the state.
 *
 * Everything here is called with the machine lock held, or before the machine runs; `quiesce` and
 * `abandon` are called without it. */
#ifndef VENEER_DEVICE_DEVICE_H
#define VENEER_DEVICE_DEVICE_H

#include "base/state.h"

struct device_ops {
	const char *name;                 /* of its section in a saved machine */
	uint32_t version;                 /* of the table */
	const struct state_field *fields; /* NULL: it has no state */
	size_t state_offset, state_size;

	/* All get the device, and all may be NULL. */
	/* Back to the state at power-up, except what a machine reset keeps (the RTC's time). */
	void (*reset)(void *device);
	/* The machine goes into S3, in which most power is off. NULL: the device loses its state,
	 * as by a reset. */
	void (*sleep)(void *device);
	/* What firmware does to it before it starts an operating system. */
	void (*firmware_setup)(void *device);
	/* May this state be loaded into this device? Each field is allowed by its row; this checks
	 * how fields must fit each other, and the device's configuration. */
	bool (*valid)(const void *device, const void *state);
	/* The states of this and all other devices have been replaced: drive the lines, arm the
	 * timers and tell the CPU accordingly. */
	void (*loaded)(void *device);
	/* No vCPU runs any more: wait until no thread of the device's works on guest memory, and
	 * put into the state what follows from that. False: it still works at deadline_ns
	 * (CLOCK_MONOTONIC), and is to be asked again. Without the machine lock. */
	bool (*quiesce)(void *device, uint64_t deadline_ns);
	/* The machine ends: what quiesce waits for is to end, with errors if it must. Without the
	 * machine lock. */
	void (*abandon)(void *device);
	/* The vCPUs are about to run, at first or again. After a quiesce() that was false, too: a
	 * pause is called off where the user resumes the machine before all devices are quiet. */
	void (*resume)(void *device);
	/* Cancel the timers, close what is open, and free the struct where it was allocated. */
	void (*destroy)(void *device);
};

/* The ops' members about the state of a struct with a member `state`. */
#define DEVICE_STATE(type, table)                                                                  \
	.fields = table, .state_offset = offsetof(type, state),                                    \
	.state_size = sizeof(((type *)0)->state)

struct device {
	const struct device_ops *ops;
	uint32_t instance; /* tells devices of one name apart */
	uint32_t group;    /* that it came with; 0: the machine's own */
	struct device *next;
};

/* Devices in the order in which they were added. Zero-initialise. */
struct device_list {
	struct device *first, *last;
	uint32_t group; /* of the devices that are added now; 0: not to be removed by themselves */
};

/* Add a device that is ready for use. The list does not own it, but device_list_destroy() calls its
 * destroy operation. */
void device_list_add(struct device_list *list, struct device *device, const struct device_ops *ops,
	uint32_t instance);

/* Take the devices of a group, not 0, out of the list, in their order; all that they are a part of
 * is in the group. */
struct device_list device_list_take(struct device_list *list, uint32_t group);

void device_list_reset(struct device_list *list);
void device_list_sleep(struct device_list *list);
void device_list_firmware_setup(struct device_list *list);
/* False: one of them still works. */
bool device_list_quiesce(struct device_list *list, uint64_t deadline_ns);
void device_list_abandon(struct device_list *list);
void device_list_resume(struct device_list *list);
/* Destroy all, the last one first. The list is empty then. */
void device_list_destroy(struct device_list *list);

/* Append a section for each device that has state. With the vCPUs and the clock stopped. */
void device_list_save(const struct device_list *list, struct state_writer *writer);
/* Load what device_list_save() wrote of devices with the same names, instances and versions. All or
 * nothing: 0; or -EINVAL or -ENOMEM, with a message, and no device has changed. With the vCPUs and
 * the clock stopped, and the clock showing the time at which it was saved. */
int device_list_load(struct device_list *list, struct state_reader *reader);

#endif
