/* The SCSI controller: chains become commands to units (scsi_request.c) and functions that manage
 * them (scsi_control.c). The queues, and what disks have in flight, are kept as the block device
 * keeps them (block.c); here one worker serves the disks of all units.
 *
 * The event queue is the driver's to fill; there are no events, since units neither come nor go. */
#include "device/virtio/scsi_internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SCSI_CLASS  0x010000 /* mass storage, SCSI */
#define MAX_SECTORS 0xffff   /* in one request */

/* --- units --- */

/* 1, the target, and a LUN of one level: peripheral or flat addressing; zeroes. */
struct virtio_scsi_unit *scsi_find_unit(
	struct virtio_scsi *scsi, const uint8_t lun[8], bool *target_exists)
{
	static const uint8_t zeroes[4];
	struct virtio_scsi_unit *found = NULL;
	uint16_t number = get16(lun + 2) & 0x3fff;
	bool valid = lun[0] == 1 && (lun[2] >> 6 == 1 || !lun[2]) && !memcmp(lun + 4, zeroes, 4);

	*target_exists = false;
	for (unsigned i = 0; lun[0] == 1 && i < scsi->unit_count; i++) {
		struct virtio_scsi_unit *unit = &scsi->units[i];

		if (unit->target != lun[1])
			continue;
		*target_exists = true;
		if (valid && unit->lun == number)
			found = unit;
	}
	return found;
}

/* --- the pool --- */

static struct scsi_request *request_get(struct virtio_scsi *scsi)
{
	struct scsi_request *request = scsi->free;

	if (request)
		scsi->free = request->next;
	else if (scsi->fresh < scsi->request_count)
		request = &scsi->requests[scsi->fresh++];
	return request;
}

static void request_put(struct virtio_scsi *scsi, struct scsi_request *request)
{
	free(request->more_pieces);
	request->more_pieces = NULL;
	request->next = scsi->free;
	scsi->free = request;
}

/* --- ends --- */

void scsi_give_back(struct virtio_scsi *scsi, struct virtqueue *queue,
	const struct virtio_chain *chain, uint64_t written)
{
	virtqueue_give_back(queue, chain, (uint32_t)written);
	scsi->given_back |= 1u << queue->index;
	worker_want_idle(scsi->device.worker);
}

static void tell_driver(struct virtio_scsi *scsi)
{
	uint32_t given_back = scsi->given_back;

	scsi->given_back = 0;
	for (unsigned i = 0; i < scsi->device.queue_count; i++)
		if (given_back & 1u << i)
			virtqueue_tell_driver(&scsi->device.queue[i]);
}

static void stop_when_done(struct virtio_scsi *scsi)
{
	if (scsi->in_flight)
		return;
	tell_driver(scsi);
	virtio_stopped(&scsi->device);
}

/* All of a chain's writable bytes may have been stored to, also by a read that failed half-way. */
void scsi_request_ended(struct scsi_request *request)
{
	struct virtio_scsi *scsi = request->scsi;
	bool was_in_flight = request->in_flight, awaited = request->awaited;

	request->in_flight = request->awaited = false;
	scsi_give_back(scsi, request->queue, &request->chain, request->chain.writable_bytes);
	request_put(scsi, request);
	if (!was_in_flight)
		return;
	scsi->in_flight--;
	if (awaited)
		scsi_awaited_ended(scsi);
	if (scsi->stopping)
		stop_when_done(scsi);
	else if (scsi->unserved && !scsi->broken)
		worker_post(scsi->device.worker, &scsi->serve_task);
}

/* --- the queues --- */

/* Keep the chain whose pieces are in scsi->pieces: the next one will be taken into them. Behind
 * them is room for the pieces of its data. */
static bool keep_pieces(struct scsi_request *request)
{
	struct virtio_chain *chain = &request->chain;
	unsigned count = chain->readable + chain->writable;
	struct iovec *pieces = request->pieces;

	if (2 * count > INLINE_PIECES) {
		pieces = request->more_pieces = malloc(2 * count * sizeof(*pieces));
		if (!pieces)
			return false;
	}
	memcpy(pieces, chain->pieces, count * sizeof(*pieces));
	chain->pieces = pieces;
	request->data = pieces + count;
	return true;
}

/* 0; -EINVAL: there is nowhere to say what came of it; -ENOMEM. */
static int begin_request(struct virtio_scsi *scsi, struct virtqueue *queue,
	const struct virtio_chain *chain, struct scsi_request *request)
{
	int error = -ENOMEM;

	request->scsi = scsi;
	request->queue = queue;
	request->chain = *chain;
	request->unit = NULL;
	request->transferred = 0;
	request->in_flight = request->awaited = false;
	if (keep_pieces(request))
		error = scsi_begin_request(request);
	if (error)
		request_put(scsi, request);
	return error;
}

/* 1: a chain was taken; 0: there is none, or no room for it; or -errno: the queue is broken. */
static int serve_one(struct virtio_scsi *scsi, struct virtqueue *queue)
{
	bool control = queue->index == CONTROL_QUEUE;
	struct scsi_request *request = NULL;
	struct virtio_chain chain = {.pieces = scsi->pieces, .limit = ARRAY_SIZE(scsi->pieces)};
	int got;

	if (control ? scsi->task.active : !(request = request_get(scsi))) {
		scsi->unserved |= 1u << queue->index;
		return 0;
	}
	got = virtqueue_take(queue, &chain);
	if (got <= 0) {
		if (request)
			request_put(scsi, request);
		return got;
	}
	got = control ? scsi_begin_control(scsi, &chain)
		      : begin_request(scsi, queue, &chain, request);
	return got < 0 ? got : 1;
}

/* Take what is in the queue: at most as many chains as it can hold, since the driver may add some
 * as fast as they are answered. */
static void serve_queue(struct virtio_scsi *scsi, struct virtqueue *queue)
{
	int got = 1;

	for (unsigned i = 0; got > 0 && i < QUEUE_SIZE; i++)
		got = serve_one(scsi, queue);
	if (got < 0) {
		scsi->broken = true;
		virtio_needs_reset(&scsi->device);
	} else if (got) {
		scsi->unserved |= 1u << queue->index;
		worker_post(scsi->device.worker, &scsi->serve_task);
	}
}

static void scsi_notified(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_scsi *scsi = container_of(device, struct virtio_scsi, device);

	if (!scsi->stopping && !scsi->broken && queue->index != EVENT_QUEUE)
		serve_queue(scsi, queue);
}

static void scsi_serve(void *opaque)
{
	struct virtio_scsi *scsi = opaque;
	uint32_t unserved = scsi->unserved;

	scsi->unserved = 0;
	for (unsigned i = 0; i < scsi->device.queue_count; i++)
		if (unserved & 1u << i)
			scsi_notified(&scsi->device, &scsi->device.queue[i]);
}

/* Before the worker sleeps: one system call for all that was submitted to a disk, one interrupt for
 * all that was given back. */
static void scsi_idle(void *opaque)
{
	struct virtio_scsi *scsi = opaque;

	for (unsigned i = 0; i < scsi->unit_count; i++) {
		struct virtio_scsi_unit *unit = &scsi->units[i];

		if (!unit->submitted)
			continue;
		unit->submitted = false;
		unit->disk->ops->flush_queue(unit->disk);
	}
	tell_driver(scsi);
}

/* --- settings --- */

static void show_settings(struct virtio_scsi *scsi)
{
	const uint32_t sense_size = scsi->settings.state.sense_size,
		       cdb_size = scsi->settings.state.cdb_size;
	uint8_t *shown = scsi->device.config;

	memcpy(shown + offsetof(struct virtio_scsi_config, sense_size), &sense_size, 4);
	memcpy(shown + offsetof(struct virtio_scsi_config, cdb_size), &cdb_size, 4);
}

static void set_sizes(struct virtio_scsi *scsi, uint32_t sense_size, uint32_t cdb_size)
{
	atomic_store(&scsi->settings.state.sense_size, sense_size);
	atomic_store(&scsi->settings.state.cdb_size, cdb_size);
	show_settings(scsi);
}

/* What cannot be stays as it was. */
static void scsi_config_written(struct virtio_device *device, unsigned offset, unsigned size)
{
	struct virtio_scsi *scsi = container_of(device, struct virtio_scsi, device);
	struct virtio_scsi_config written;

	memcpy(&written, device->config, sizeof(written));
	memcpy(device->config, &scsi->config, sizeof(scsi->config));
	set_sizes(scsi,
		written.sense_size <= MAX_SENSE_SIZE ? written.sense_size
						     : scsi->settings.state.sense_size,
		written.cdb_size <= MAX_CDB_SIZE ? written.cdb_size
						 : scsi->settings.state.cdb_size);
}

static void settings_reset(void *opaque)
{
	struct virtio_scsi *scsi = container_of(opaque, struct virtio_scsi, settings);

	set_sizes(scsi, VIRTIO_SCSI_SENSE_DEFAULT_SIZE, VIRTIO_SCSI_CDB_DEFAULT_SIZE);
	for (unsigned i = 0; i < scsi->unit_count; i++)
		scsi_power_up(&scsi->units[i].scsi);
}

static void settings_loaded(void *opaque)
{
	show_settings(container_of(opaque, struct virtio_scsi, settings));
}

static const struct state_field settings_fields[] = {
	STATE_FIELD(struct scsi_settings_state, sense_size, 0, MAX_SENSE_SIZE),
	STATE_FIELD(struct scsi_settings_state, cdb_size, 0, MAX_CDB_SIZE),
	STATE_STRUCTS(struct scsi_settings_state, units, scsi_unit_state_fields),
	STATE_END,
};

static const struct device_ops settings_ops = {
	.name = "virtio-scsi-set",
	.version = 1,
	DEVICE_STATE(struct scsi_settings, settings_fields),
	.reset = settings_reset,
	.loaded = settings_loaded,
};

/* --- the device --- */

static void scsi_start(struct virtio_device *device)
{
	struct virtio_scsi *scsi = container_of(device, struct virtio_scsi, device);

	scsi->stopping = scsi->broken = false;
}

/* The next driver finds the sizes that there are at first, and units that were reset; where only
 * the machine stops, all stays. */
static void scsi_stop(struct virtio_device *device)
{
	struct virtio_scsi *scsi = container_of(device, struct virtio_scsi, device);

	scsi->stopping = true;
	scsi->unserved = 0;
	if (device->state.resetting) {
		set_sizes(scsi, VIRTIO_SCSI_SENSE_DEFAULT_SIZE, VIRTIO_SCSI_CDB_DEFAULT_SIZE);
		for (unsigned i = 0; i < scsi->unit_count; i++)
			scsi_reset(&scsi->units[i].scsi);
	}
	stop_when_done(scsi);
}

static void scsi_abandon(struct virtio_device *device)
{
	struct virtio_scsi *scsi = container_of(device, struct virtio_scsi, device);

	for (unsigned i = 0; i < scsi->unit_count; i++) {
		struct disk *disk = scsi->units[i].disk;

		if (disk->ops->abandon)
			disk->ops->abandon(disk);
	}
}

/* --- making and destroying --- */

static void scsi_free(struct virtio_scsi *scsi)
{
	for (unsigned i = 0; i < scsi->unit_count; i++)
		scsi->units[i].disk->ops->destroy(scsi->units[i].disk);
	free(scsi->requests);
	free(scsi);
}

static void scsi_destroy(struct virtio_device *device)
{
	scsi_free(container_of(device, struct virtio_scsi, device));
}

static const struct virtio_ops scsi_ops = {
	.name = "virtio-scsi",
	.type = VIRTIO_SCSI,
	.pci_class = SCSI_CLASS,
	.start = scsi_start,
	.notified = scsi_notified,
	.stop = scsi_stop,
	.abandon = scsi_abandon,
	.config_written = scsi_config_written,
	.destroy = scsi_destroy,
};

static void add_units(
	struct virtio_scsi *scsi, const struct scsi_unit_config *configs, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct virtio_scsi_unit *unit = &scsi->units[i];

		unit->target = configs[i].target;
		unit->lun = configs[i].lun;
		unit->disk = configs[i].disk;
		memcpy(unit->serial, configs[i].serial, strnlen(configs[i].serial, SERIAL_SIZE));
		unit->scsi = (struct scsi_unit){.state = &scsi->settings.state.units[i],
			.disk = unit->disk,
			.serial = unit->serial,
			.cdrom = configs[i].cdrom};
	}
	scsi->unit_count = count;
}

/* A driver looks for units at all addresses up to the last one. */
static void describe(struct virtio_scsi *scsi, unsigned queues)
{
	scsi->config = (struct virtio_scsi_config){
		.num_queues = queues,
		.seg_max = QUEUE_SIZE - 2,
		.max_sectors = MAX_SECTORS,
		.cmd_per_lun = QUEUE_SIZE / 2,
		.event_info_size = sizeof(struct virtio_scsi_event),
		.sense_size = VIRTIO_SCSI_SENSE_DEFAULT_SIZE,
		.cdb_size = VIRTIO_SCSI_CDB_DEFAULT_SIZE,
	};
	for (unsigned i = 0; i < scsi->unit_count; i++) {
		scsi->config.max_target = MAX(scsi->config.max_target, scsi->units[i].target);
		scsi->config.max_lun = MAX(scsi->config.max_lun, scsi->units[i].lun);
	}
	memcpy(scsi->device.config, &scsi->config, sizeof(scsi->config));
}

struct begin_disks {
	struct virtio_scsi *scsi;
	int error;
};

/* On the worker. */
static void begin_disks(void *opaque)
{
	struct begin_disks *begin = opaque;
	struct virtio_scsi *scsi = begin->scsi;
	struct worker *worker = scsi->device.worker;

	for (unsigned i = 0; !begin->error && i < scsi->unit_count; i++)
		begin->error = scsi->units[i].disk->ops->start(scsi->units[i].disk, worker);
	if (!begin->error)
		begin->error = worker_add_idle(worker, scsi_idle, scsi);
}

static void destroy_disks(const struct scsi_unit_config *units, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		units[i].disk->ops->destroy(units[i].disk);
}

int virtio_scsi_create(struct pci_bus *bus, int slot, uint32_t instance,
	const struct scsi_unit_config *units, unsigned count, unsigned cpu_count)
{
	unsigned queues = MIN(cpu_count, SCSI_QUEUES);
	struct virtio_scsi *scsi = calloc(1, sizeof(*scsi));
	struct begin_disks begin = {.scsi = scsi};
	int error = -ENOMEM;

	if (!scsi) {
		log_error("no memory for a SCSI controller");
		destroy_disks(units, count);
		return error;
	}
	add_units(scsi, units, count);
	scsi->request_count = queues * QUEUE_SIZE;
	scsi->requests = calloc(scsi->request_count, sizeof(*scsi->requests));
	if (!scsi->requests) {
		log_error("no memory for a SCSI controller's requests");
		goto failed;
	}
	worker_task_init(&scsi->serve_task, scsi_serve, scsi);
	scsi->device.ops = &scsi_ops;
	scsi->device.queue_count = FIRST_REQUEST_QUEUE + queues;
	scsi->device.queue_size = QUEUE_SIZE;
	scsi->device.config_size = sizeof(scsi->config);
	describe(scsi, queues);
	settings_reset(&scsi->settings);
	error = virtio_add(&scsi->device, bus, slot, instance);
	if (error)
		goto failed;
	device_list_add(
		pci_bus_config(bus)->devices, &scsi->settings.device, &settings_ops, instance);
	worker_call(scsi->device.worker, begin_disks, &begin);
	return begin.error;

failed:
	scsi_free(scsi);
	return error;
}
