#include "device/device.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void append(struct device_list *list, struct device *device)
{
	if (list->last)
		list->last->next = device;
	else
		list->first = device;
	list->last = device;
}

void device_list_add(struct device_list *list, struct device *device, const struct device_ops *ops,
	uint32_t instance)
{
	*device = (struct device){.ops = ops, .instance = instance, .group = list->group};
	append(list, device);
}

struct device_list device_list_take(struct device_list *list, uint32_t group)
{
	struct device_list kept = {.group = list->group}, taken = {0};
	struct device *next;

	for (struct device *device = list->first; device; device = next) {
		next = device->next;
		device->next = NULL;
		append(device->group == group ? &taken : &kept, device);
	}
	*list = kept;
	return taken;
}

void device_list_reset(struct device_list *list)
{
	for (struct device *device = list->first; device; device = device->next)
		if (device->ops->reset)
			device->ops->reset(device);
}

void device_list_sleep(struct device_list *list)
{
	for (struct device *device = list->first; device; device = device->next) {
		void (*sleep)(void *) =
			device->ops->sleep ? device->ops->sleep : device->ops->reset;

		if (sleep)
			sleep(device);
	}
}

void device_list_firmware_setup(struct device_list *list)
{
	for (struct device *device = list->first; device; device = device->next)
		if (device->ops->firmware_setup)
			device->ops->firmware_setup(device);
}

bool device_list_quiesce(struct device_list *list, uint64_t deadline_ns)
{
	bool quiet = true;

	/* All of them are asked, so that they wait for their requests at the same time. */
	for (struct device *device = list->first; device; device = device->next)
		if (device->ops->quiesce && !device->ops->quiesce(device, deadline_ns))
			quiet = false;
	return quiet;
}

void device_list_abandon(struct device_list *list)
{
	for (struct device *device = list->first; device; device = device->next)
		if (device->ops->abandon)
			device->ops->abandon(device);
}

void device_list_resume(struct device_list *list)
{
	for (struct device *device = list->first; device; device = device->next)
		if (device->ops->resume)
			device->ops->resume(device);
}

void device_list_destroy(struct device_list *list)
{
	struct device *reversed = NULL, *next;

	/* One that has nothing to destroy may be a part of another, and goes with it. */
	for (struct device *device = list->first; device; device = next) {
		next = device->next;
		if (!device->ops->destroy)
			continue;
		device->next = reversed;
		reversed = device;
	}
	for (; reversed; reversed = next) {
		next = reversed->next;
		reversed->ops->destroy(reversed);
	}
	*list = (struct device_list){0};
}

/* --- state --- */

static void *state_of(const struct device *device)
{
	return (uint8_t *)device + device->ops->state_offset;
}

void device_list_save(const struct device_list *list, struct state_writer *writer)
{
	for (struct device *device = list->first; device; device = device->next)
		if (device->ops->fields)
			state_write(writer, device->ops->name, device->instance,
				device->ops->version, device->ops->fields, state_of(device));
}

/* A device's new state, kept here until the states of all devices are known to be good. */
struct incoming {
	struct device *device;
	void *state; /* NULL: no section has come yet */
};

static struct incoming *find_incoming(
	struct incoming *all, unsigned count, const struct state_section *section)
{
	for (unsigned i = 0; i < count; i++)
		if (all[i].device->instance == section->instance &&
			!strcmp(all[i].device->ops->name, section->name))
			return &all[i];
	return NULL;
}

static int take_section(struct incoming *to, const struct state_section *section)
{
	const struct device_ops *ops = to->device->ops;

	if (to->state || section->version != ops->version)
		return -EINVAL;
	to->state = malloc(ops->state_size);
	if (!to->state)
		return -ENOMEM;
	/* What no row names stays as it is. */
	memcpy(to->state, state_of(to->device), ops->state_size);
	if (state_read(section, ops->fields, to->state) < 0)
		return -EINVAL;
	return !ops->valid || ops->valid(to->device, to->state) ? 0 : -EINVAL;
}

static int take_all(struct incoming *all, unsigned count, struct state_reader *reader)
{
	struct state_section section;
	int error;

	while (!(error = state_next(reader, &section))) {
		struct incoming *to = find_incoming(all, count, &section);

		error = to ? take_section(to, &section) : -EINVAL;
		if (error) {
			log_error("saved state of device %s %u, version %u: %s", section.name,
				section.instance, section.version,
				to ? strerror(-error) : "this machine has no such device");
			return error;
		}
	}
	if (error != -ENOENT) {
		log_error("saved state of devices: not a list of sections");
		return error;
	}
	for (unsigned i = 0; i < count; i++)
		if (!all[i].state) {
			log_error("saved state of device %s %u is missing",
				all[i].device->ops->name, all[i].device->instance);
			return -EINVAL;
		}
	return 0;
}

int device_list_load(struct device_list *list, struct state_reader *reader)
{
	struct incoming *all;
	unsigned count = 0, i = 0;
	struct device *device;
	int error;

	for (device = list->first; device; device = device->next)
		count += device->ops->fields != NULL;
	all = calloc(count ? count : 1, sizeof(*all));
	if (!all) {
		log_error("out of memory for the state of %u devices", count);
		return -ENOMEM;
	}
	for (device = list->first; device; device = device->next)
		if (device->ops->fields)
			all[i++].device = device;
	error = take_all(all, count, reader);
	for (i = 0; !error && i < count; i++)
		memcpy(state_of(all[i].device), all[i].state, all[i].device->ops->state_size);
	for (i = 0; !error && i < count; i++)
		if (all[i].device->ops->loaded)
			all[i].device->ops->loaded(all[i].device);
	for (i = 0; i < count; i++)
		free(all[i].state);
	free(all);
	return error;
}
