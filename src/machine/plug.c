/* A device that is plugged in is made as one of the start is, behind a root port with hot plug
 * (machine/ports.h), and the port tells the guest.
 *
 * It goes in steps, since none may be waited for under the machine lock:
 *
 *	machine_unplug()	the port's button is pressed
 *	the guest		lets go of it, and powers the slot off: machine_port_ejected()
 *	on the I/O thread	the function leaves the bus, its devices the list
 *	every 10 ms		are they quiet? Then they are destroyed, and listeners are told
 *
 * Requests in flight end by themselves, as in a pause. A pause waits for removals that have begun,
 * so that a machine that stands has no device that goes. */
#include "machine/plug.h"

#include "base/log.h"
#include "device/chipset/chipset.h"
#include "device/pci/pci.h"
#include "machine/io_devices.h"
#include "machine/machine.h"
#include "machine/vcpu_thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define STEP_NS 10000000

/* --- plugging in --- */

static bool has_name(const struct machine *machine, const char *id)
{
	const struct machine_config *config = &machine->config;
	bool taken = false;

	for (unsigned i = 0; i < config->disk_count; i++)
		taken |= strcmp(config->disks[i].place.id, id) == 0;
	for (unsigned i = 0; i < config->net_count; i++)
		taken |= strcmp(config->nets[i].place.id, id) == 0;
	for (unsigned i = 0; i < config->port_count; i++)
		taken |= strcmp(config->ports[i].place.id, id) == 0;
	return *id && taken;
}

static bool name_is_taken(const struct machine *machine, const char *id)
{
	bool taken = has_name(machine, id);

	if (taken)
		log_error("Duplicate device ID '%s'", id);
	return taken;
}

int machine_plug_disk(struct machine *machine, const struct disk_config *disk)
{
	struct machine_config *config = &machine->config;
	unsigned index = 0;
	int error;

	if (name_is_taken(machine, disk->place.id))
		return -EEXIST;
	while (index < config->disk_count && config->disks[index].path)
		index++;
	if (index == MACHINE_MAX_DISKS) {
		log_error("expected at most %u disks", MACHINE_MAX_DISKS);
		return -ENOSPC;
	}
	config->disks[index] = *disk;
	error = machine_make_disk(machine, index);
	if (error)
		config->disks[index] = (struct disk_config){0};
	else
		config->disk_count = MAX(config->disk_count, index + 1);
	return error;
}

/* The lowest number that no user network of the machine's has. */
static unsigned free_number(const struct machine_config *config)
{
	unsigned number = 0;

	for (unsigned i = 0; i < config->net_count; i++)
		if (config->nets[i].kind == NET_USER && !config->nets[i].gone &&
			config->nets[i].number == number) {
			number++;
			i = UINT32_MAX; /* from the beginning */
		}
	return number;
}

int machine_plug_card(struct machine *machine, const struct net_config *net)
{
	struct machine_config *config = &machine->config;
	unsigned index = 0, number;
	int error;

	if (name_is_taken(machine, net->place.id))
		return -EEXIST;
	while (index < config->net_count && !config->nets[index].gone)
		index++;
	if (index == MACHINE_MAX_NETS) {
		log_error("expected at most %u networks", MACHINE_MAX_NETS);
		return -ENOSPC;
	}
	number = free_number(config);
	config->nets[index] = *net;
	config->nets[index].number = number;
	error = machine_make_card(machine, index);
	if (error)
		config->nets[index] = (struct net_config){.gone = true};
	else
		config->net_count = MAX(config->net_count, index + 1);
	return error;
}

/* --- unplugging --- */

static const char *id_of(const struct machine *machine, const struct machine_port *port)
{
	switch (port->content) {
	case PORT_DISK:
		return machine->config.disks[port->index].place.id;
	case PORT_CARD:
		return machine->config.nets[port->index].place.id;
	case PORT_EMPTY:
	case PORT_FIXED:
		break;
	}
	return "";
}

int machine_unplug(struct machine *machine, const char *id)
{
	for (unsigned i = 0; *id && i < machine->root_port_count; i++) {
		struct machine_port *port = &machine->root_ports[i];

		if (!port->group || strcmp(id_of(machine, port), id) != 0)
			continue;
		if (port->asked || port->going)
			return -EINPROGRESS;
		port->asked = true;
		if (!pci_port_ask_to_eject(port->function))
			machine_port_ejected(machine, port->function);
		return 0;
	}
	return has_name(machine, id) ? -EOPNOTSUPP : -ENOENT;
}

void machine_port_ejected(void *opaque, struct pci_function *function)
{
	struct machine *machine = opaque;

	for (unsigned i = 0; i < machine->root_port_count; i++)
		if (machine->root_ports[i].function == function && machine->root_ports[i].group)
			machine->root_ports[i].ejected = true;
	event_loop_post(machine->loop, &machine->plug.ejected_work);
}

static void free_config(struct machine *machine, const struct machine_port *port)
{
	if (port->content == PORT_DISK) {
		struct disk_config *disk = &machine->config.disks[port->index];

		disk_server_drop(disk->server);
		free(disk->path);
		*disk = (struct disk_config){0};
		machine->disk[port->index] = NULL;
	} else if (port->content == PORT_CARD) {
		struct net_config *net = &machine->config.nets[port->index];

		net_config_free(net);
		*net = (struct net_config){.gone = true};
	}
}

static void begin_removal(struct machine *machine, struct machine_port *port)
{
	if (port->content == PORT_DISK)
		machine->disk[port->index] = NULL;
	pci_port_eject(port->function);
	port->taken = device_list_take(chipset_devices(machine->chipset), port->group);
	port->ejected = false;
	port->going = true;
}

/* False: it cannot be ended yet. */
static bool end_removal(struct machine *machine, struct machine_port *port)
{
	struct machine_event event = {.kind = MACHINE_DEVICE_DELETED};
	char id[PLACE_NAME];

	if (!io_space_doorbells_quiet(&machine->memory.mmio) ||
		!io_space_doorbells_quiet(&machine->ports) || !device_list_quiesce(&port->taken, 0))
		return false;
	strcpy(id, id_of(machine, port));
	device_list_destroy(&port->taken);
	free_config(machine, port);
	*port = (struct machine_port){.config = port->config, .function = port->function};
	event.device = id;
	machine_tell_event(machine, &event);
	return true;
}

bool machine_unplug_step(struct machine *machine)
{
	bool done = true;

	for (unsigned i = 0; i < machine->root_port_count; i++) {
		struct machine_port *port = &machine->root_ports[i];

		if (port->ejected && !port->going)
			begin_removal(machine, port);
		if (port->going && !end_removal(machine, port))
			done = false;
	}
	return done;
}

/* --- till they are quiet --- */

static void set_timer(struct machine *machine, bool wanted)
{
	const struct itimerspec time = {.it_value.tv_nsec = wanted ? STEP_NS : 0,
		.it_interval.tv_nsec = wanted ? STEP_NS : 0};

	timerfd_settime(machine->plug.timer_fd, 0, &time, NULL);
}

static void on_timer(void *opaque, uint32_t events)
{
	struct machine *machine = opaque;
	uint64_t count;

	if (read(machine->plug.timer_fd, &count, sizeof(count)) != sizeof(count))
		return;
	set_timer(machine, !machine_unplug_step(machine));
}

static bool has_timer(struct machine *machine)
{
	struct machine_plug *plug = &machine->plug;

	if (plug->timer_fd >= 0)
		return true;
	plug->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (plug->timer_fd < 0)
		return false;
	if (event_loop_watch(machine->loop, plug->timer_fd, EPOLLIN, on_timer, machine) == 0)
		return true;
	close(plug->timer_fd);
	plug->timer_fd = -1;
	return false;
}

/* Without a timer the removal goes on with the next one, or a pause. */
static void run_ejected(void *opaque)
{
	struct machine *machine = opaque;

	if (machine_unplug_step(machine))
		return;
	if (has_timer(machine))
		set_timer(machine, true);
	else
		log_warning("no timer for a device that is unplugged: it stays for a while");
}

void machine_plug_init(struct machine *machine)
{
	machine->plug.timer_fd = -1;
	event_work_init(&machine->plug.ejected_work, run_ejected, machine);
}

void machine_unplug_at_reset(struct machine *machine)
{
	for (unsigned i = 0; i < machine->root_port_count; i++)
		if (machine->root_ports[i].asked && !machine->root_ports[i].going)
			machine_port_ejected(machine, machine->root_ports[i].function);
	machine_unplug_step(machine);
}

void machine_unplug_abandon(struct machine *machine)
{
	for (unsigned i = 0; i < machine->root_port_count; i++)
		device_list_abandon(&machine->root_ports[i].taken);
}

void machine_plug_destroy(struct machine *machine)
{
	if (machine->loop)
		event_loop_unpost(machine->loop, &machine->plug.ejected_work);
	if (machine->plug.timer_fd >= 0) {
		event_loop_unwatch(machine->loop, machine->plug.timer_fd);
		close(machine->plug.timer_fd);
	}
	for (unsigned i = 0; i < machine->root_port_count; i++)
		device_list_destroy(&machine->root_ports[i].taken);
}
