/* Devices that come and go while the machine runs. All with the machine lock held, on the I/O
 * thread, unless it is said otherwise. */
#ifndef VENEER_MACHINE_PLUG_H
#define VENEER_MACHINE_PLUG_H

#include "host/disk/disk.h"
#include "host/event_loop.h"
#include "host/net/net_backend.h"

struct machine;
struct pci_function;

/* The machine's own. */
struct machine_plug {
	struct event_work ejected_work;
	int timer_fd; /* -1: there is none */
};

/* Plug in a disk or a network card, as the configuration says. The guest is told, and finds it if
 * it wants to. The disk is opened here, which may take as long as its server does. What `config`
 * holds is the machine's where this is 0; or -errno, with a message. */
int machine_plug_disk(struct machine *machine, const struct disk_config *config);
int machine_plug_card(struct machine *machine, const struct net_config *config);

/* Ask the guest to let go of the device with that name; it is removed when the guest has, or when
 * the machine is reset, and then listeners are told MACHINE_DEVICE_DELETED. 0; -ENOENT: there is
 * none; -EINPROGRESS: it has been asked already; -EOPNOTSUPP: it stays. No message. */
int machine_unplug(struct machine *machine, const char *id);

/* --- for machine/ --- */
void machine_plug_init(struct machine *machine);
/* For pci/: the guest has let go of what is behind the port. From any thread. */
void machine_port_ejected(void *machine, struct pci_function *port);
/* Go on with removals; false: a device that goes still works. */
bool machine_unplug_step(struct machine *machine);
/* The machine is reset: what the guest was asked for is done without it. */
void machine_unplug_at_reset(struct machine *machine);
/* The machine ends; their devices' requests are to end. Without the lock. */
void machine_unplug_abandon(struct machine *machine);
void machine_plug_destroy(struct machine *machine);

#endif
