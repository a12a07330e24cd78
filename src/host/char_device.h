/* A machine's character devices: each has a name, a far end of some kind, and a front to which a
 * port is connected; several fronts where it is shared (mux), of which one has the input. A front
 * is a struct char_backend like any other: so ports know nothing of kinds, sharing or logs.
 *
 *	port of the guest ----- front --+
 *	                                +-- device --- far end: socket, file, terminal...
 *	monitor --------------- front --+       \
 *	                                         log
 *
 * All with the machine lock held, or before the machine runs. */
#ifndef VENEER_HOST_CHAR_DEVICE_H
#define VENEER_HOST_CHAR_DEVICE_H

#include "host/char_backend.h"
#include "host/char_config.h"
#include "host/event_loop.h"

#define CHAR_DEVICES 64 /* at most */
#define CHAR_FRONTS  4  /* of a shared one */

struct char_devices;
struct char_device;

/* quit: Ctrl-a x was typed. NULL with a message. */
struct char_devices *char_devices_create(
	struct event_loop *loop, void (*quit)(void *opaque), void *opaque);
/* The event loop runs no more. What is queued is written within timeout_ms, -1: as long as it
 * takes. No port is connected. NULL: nothing. */
void char_devices_destroy(struct char_devices *devices, int timeout_ms);

/* Open one. `option` begins messages, for as long as it lives. 0; -EEXIST where the name is taken,
 * or another -errno, with a message. */
int char_devices_add(
	struct char_devices *devices, const struct char_config *config, const char *option);
/* Close it. 0, -ENOENT, or -EBUSY where a port uses it; without a message. */
int char_devices_remove(struct char_devices *devices, const char *id);
/* NULL: there is none. */
struct char_device *char_devices_find(const struct char_devices *devices, const char *id);
/* The next one after `device`, NULL: the first. NULL: there is none. */
struct char_device *char_devices_next(
	const struct char_devices *devices, const struct char_device *device);

/* A front for a port. of_guest: it stands still while the machine is paused. -EBUSY, with a
 * message, where the device has no other. */
int char_device_use(
	struct char_device *device, bool of_guest, const char *option, struct char_backend **front);
/* The port is connected no more. */
void char_device_release(struct char_backend *front);
/* Is it at standard input and output? */
bool char_device_is_stdio(const struct char_backend *front);
const struct char_config *char_device_config(const struct char_device *device);
/* In QEMU's words: "pty:/dev/pts/3". */
void char_device_describe(const struct char_device *device, char *text, size_t size);
/* Is there a port? */
bool char_device_is_used(const struct char_device *device);
/* The far end, for what only its kind can do. */
struct char_backend *char_device_far_end(struct char_device *device);

/* A paused machine: ports of the guest hear of nothing, and none of their output is taken. When
 * they are let go, they hear of what has come meanwhile. */
void char_devices_hold(struct char_devices *devices, bool on);
/* The terminal's window may have another size. */
void char_devices_resized(struct char_devices *devices);

#endif
