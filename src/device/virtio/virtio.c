/* The life of a virtio device (virtio 1.2, 2.1 and 3.1): features are agreed on, the queues start,
 * the device runs on its worker, and is stopped. virtio_pci.c has the registers.
 *
 * Three things stop it: the driver's reset, a broken ring (it only stops taking chains), and the
 * machine, which stops or is reset. The first is asynchronous, as requests may take their time:
 *
 *	vCPU, machine lock	worker				I/O thread, machine lock
 *	status = 0
 *	  resetting = true
 *	  stop_task ----------> ops->stop()
 *	status reads as before	  ... requests end ...
 *				virtio_stopped()
 *				  stopped_work ---------------> registers are reset
 *	status reads 0
 *
 * The registers that say where queues are do not change from DRIVER_OK on till the reset is over,
 * so the worker reads them without a lock. */
#include "device/virtio/internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* --- features and status --- */

uint64_t virtio_offered(const struct virtio_device *device)
{
	return device->offered | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
	       VIRTIO_F_RING_PACKED | VIRTIO_F_RING_RESET;
}

static bool features_possible(const struct virtio_device *device, uint64_t features)
{
	return !(features & ~virtio_offered(device)) && (features & VIRTIO_F_VERSION_1);
}

bool virtio_is_configurable(const struct virtio_device *device, unsigned index)
{
	if (device->state.resetting || device->state.queue[index].enabled)
		return false;
	return !(device->state.status & STATUS_DRIVER_OK) ||
	       (device->state.queues_reset & BIT(index));
}

static void clear_queue(struct virtio_device *device, unsigned index)
{
	struct virtio_device_state *state = &device->state;

	state->queue_vector[index] = PCI_NO_VECTOR;
	state->queue[index] = (struct virtqueue_setup){
		.size = index < device->queue_count ? device->queue_size : 0};
}

static void clear_state(struct virtio_device *device)
{
	struct virtio_device_state *state = &device->state;

	*state = (struct virtio_device_state){
		.config_generation = state->config_generation,
		.config_vector = PCI_NO_VECTOR,
	};
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		clear_queue(device, i);
	atomic_store(&device->queues_drained, 0);
}

/* With the machine lock, and nothing of the device's on the worker. */
static void reset_registers(struct virtio_device *device)
{
	clear_state(device);
	atomic_store(&device->needs_reset, false);
	virtio_pci_update_pin(device);
}

void virtio_begin_reset(struct virtio_device *device)
{
	if (device->state.resetting)
		return;
	if (!(device->state.status & STATUS_DRIVER_OK)) {
		reset_registers(device);
		return;
	}
	device->state.resetting = true;
	atomic_store(&device->reset_possible, false);
	worker_post(device->worker, &device->stop_task);
}

/* Bits are added only. FEATURES_OK stays clear where the features cannot be (3.1.1), and DRIVER_OK
 * is nothing without it. */
void virtio_set_status(struct virtio_device *device, uint8_t value)
{
	struct virtio_device_state *state = &device->state;
	uint8_t added = value & STATUS_ALL & (uint8_t) ~(state->status | STATUS_NEEDS_RESET);

	if (device->state.resetting)
		return;
	if (!value) {
		virtio_begin_reset(device);
		return;
	}
	if ((added & STATUS_FEATURES_OK) && !features_possible(device, state->driver_features))
		added &= (uint8_t)~STATUS_FEATURES_OK;
	if (!((state->status | added) & STATUS_FEATURES_OK))
		added &= (uint8_t)~STATUS_DRIVER_OK;
	state->status |= added;
	if (added & STATUS_DRIVER_OK)
		worker_post(device->worker, &device->start_task);
}

/* --- a queue alone (2.6.1) --- */

void virtio_enable_queue(struct virtio_device *device, unsigned index)
{
	device->state.queue[index].enabled = true;
	if (!(device->state.status & STATUS_DRIVER_OK))
		return;
	device->state.queues_reset &= ~(uint32_t)BIT(index);
	atomic_fetch_or(&device->queues_to_start, (uint32_t)BIT(index));
	worker_post(device->worker, &device->queues_task);
}

void virtio_reset_queue(struct virtio_device *device, unsigned index)
{
	struct virtio_device_state *state = &device->state;

	if (!(state->driver_features & VIRTIO_F_RING_RESET) ||
		!(state->status & STATUS_DRIVER_OK) || state->resetting ||
		!state->queue[index].enabled || (state->queues_resetting & BIT(index)))
		return;
	state->queues_resetting |= (uint32_t)BIT(index);
	atomic_fetch_or(&device->queues_to_reset, (uint32_t)BIT(index));
	worker_post(device->worker, &device->queues_task);
}

/* The worker has nothing to do with these queues any more. Machine lock held. */
static void finish_queue_resets(struct virtio_device *device, uint32_t queues)
{
	struct virtio_device_state *state = &device->state;

	queues &= state->queues_resetting;
	for (unsigned i = 0; i < device->queue_count; i++)
		if (queues & BIT(i))
			clear_queue(device, i);
	state->queues_resetting &= ~queues;
	state->queues_reset |= queues;
}

/* --- on the worker --- */

static void interrupt(void *opaque, struct virtqueue *queue)
{
	struct virtio_device *device = opaque;

	virtio_pci_interrupt(device, &device->state.queue_vector[queue->index], ISR_QUEUE);
}

/* A queue that was reset is empty for ever, until it is started again. */
static void drained(void *opaque, struct virtqueue *queue)
{
	struct virtio_device *device = opaque;

	atomic_fetch_or(&device->queues_drained, (uint32_t)BIT(queue->index));
	event_loop_post(device->loop, &device->drained_work);
}

static void init_queue(struct virtio_device *device, unsigned index)
{
	device->queue[index] = (struct virtqueue){.interrupt = interrupt,
		.drained = drained,
		.opaque = device,
		.index = index,
		.broken = true};
}

static int start_queue(struct virtio_device *device, unsigned index)
{
	const struct virtqueue_setup *setup = &device->state.queue[index];
	struct virtqueue *queue = &device->queue[index];

	init_queue(device, index);
	if (!setup->enabled)
		return 0;
	return virtqueue_start(queue, &device->pci.dma, setup, index, device->features);
}

static void run_notify(void *opaque)
{
	struct virtqueue *queue = opaque;
	struct virtio_device *device = queue->opaque;

	if (device->running && queue->setup.enabled && !queue->broken)
		device->ops->notified(device, queue);
}

/* The queues may have chains already: those that the driver added before DRIVER_OK, or what a
 * machine that was saved had not got to. */
static void run_start(void *opaque)
{
	struct virtio_device *device = opaque;
	int error = 0;

	if (device->running || device->stopping || atomic_load(&device->quiet_wanted))
		return;
	device->features = device->state.driver_features;
	for (unsigned i = 0; i < device->queue_count; i++)
		error |= start_queue(device, i);
	if (error) {
		virtio_needs_reset(device);
		return;
	}
	device->running = true;
	if (device->ops->start)
		device->ops->start(device);
	for (unsigned i = 0; i < device->queue_count; i++)
		run_notify(&device->queue[i]);
}

static void reset_queue(struct virtio_device *device, struct virtqueue *queue)
{
	if (device->running && device->ops->queue_reset)
		device->ops->queue_reset(device, queue);
	virtqueue_stop(queue);
}

static void restart_queue(struct virtio_device *device, struct virtqueue *queue)
{
	if (!device->running || (queue->setup.enabled && !queue->stopped))
		return;
	if (start_queue(device, queue->index) < 0)
		virtio_needs_reset(device);
	else
		run_notify(queue);
}

static void run_queues(void *opaque)
{
	struct virtio_device *device = opaque;
	uint32_t reset = atomic_exchange(&device->queues_to_reset, 0);
	uint32_t start = atomic_exchange(&device->queues_to_start, 0);

	for (unsigned i = 0; i < device->queue_count; i++) {
		if (reset & BIT(i))
			reset_queue(device, &device->queue[i]);
		if (start & BIT(i))
			restart_queue(device, &device->queue[i]);
	}
}

static void stop(struct virtio_device *device)
{
	if (device->stopping)
		return;
	device->stopping = true;
	if (!device->running || !device->ops->stop) {
		virtio_stopped(device);
		return;
	}
	device->running = false;
	device->ops->stop(device);
}

static void run_stop(void *opaque)
{
	struct virtio_device *device = opaque;

	device->reset_wanted = true;
	if (device->stopping && device->ops->stop)
		device->ops->stop(device); /* for a pause, which was called off */
	else
		stop(device);
}

/* The positions are for quiesce; a reset forgets them. */
void virtio_stopped(struct virtio_device *device)
{
	for (unsigned i = 0; i < device->queue_count; i++) {
		struct virtqueue *queue = &device->queue[i];

		if (!queue->broken && !queue->stopped)
			virtqueue_position(queue, &device->state.queue[i]);
		queue->broken = true;
	}
	device->running = device->stopping = false;
	if (device->waited_for)
		sem_post(&device->quiet);
	if (device->reset_wanted)
		atomic_store(&device->reset_possible, true);
	device->waited_for = device->reset_wanted = false;
	event_loop_post(device->loop, &device->stopped_work);
}

void virtio_needs_reset(struct virtio_device *device)
{
	if (!atomic_exchange(&device->needs_reset, true))
		event_loop_post(device->loop, &device->reset_needed_work);
}

/* --- on the I/O thread, with the machine lock --- */

static void start(struct virtio_device *device)
{
	if ((device->state.status & STATUS_DRIVER_OK) && !device->state.resetting &&
		!atomic_load(&device->needs_reset))
		worker_post(device->worker, &device->start_task);
}

/* It was stopped for a reset, or for a pause that has been called off since. */
static void run_stopped(void *opaque)
{
	struct virtio_device *device = opaque;

	if (device->state.resetting && atomic_load(&device->reset_possible))
		reset_registers(device);
	else if (!atomic_load(&device->quiet_wanted))
		start(device);
}

static void run_drained(void *opaque)
{
	struct virtio_device *device = opaque;

	finish_queue_resets(device, atomic_exchange(&device->queues_drained, 0));
}

static void run_reset_needed(void *opaque)
{
	struct virtio_device *device = opaque;

	if (!atomic_load(&device->needs_reset) || device->state.resetting)
		return;
	device->state.status |= STATUS_NEEDS_RESET;
	virtio_pci_interrupt(device, &device->state.config_vector, ISR_CONFIG);
}

static void run_intx(void *opaque)
{
	virtio_pci_update_pin(opaque);
}

void virtio_config_changed(struct virtio_device *device)
{
	device->state.config_generation++;
	if (device->state.status & STATUS_DRIVER_OK)
		virtio_pci_interrupt(device, &device->state.config_vector, ISR_CONFIG);
}

/* --- as one of the machine's devices --- */

static void device_reset(void *opaque)
{
	reset_registers(opaque); /* quiesce has stopped it */
}

/* Where the pause was called off before the worker got here, nothing stops. */
static void run_quiesce(void *opaque)
{
	struct virtio_device *device = opaque;

	if (!atomic_load(&device->quiet_wanted))
		return;
	device->waited_for = true;
	stop(device);
}

/* The first question, not one of those that follow while the answer is out. What an earlier pause
 * that was called off has left in the semaphore is thrown away: after quiet_wanted, from when on
 * the worker starts nothing. */
static void ask_for_quiet(struct virtio_device *device)
{
	atomic_store(&device->quiet_wanted, true);
	while (sem_trywait(&device->quiet) == 0)
		;
	worker_post(device->worker, &device->quiesce_task);
}

/* What was posted to the I/O thread waits for it. Of that, a device that needs a reset is noted
 * here; a reset that was under way ends when the machine goes on. The worker is not waited for
 * without a deadline: it may be in a system call that does not return. */
static bool device_quiesce(void *opaque, uint64_t deadline_ns)
{
	struct virtio_device *device = opaque;
	struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / NS_PER_SECOND),
		.tv_nsec = (long)(deadline_ns % NS_PER_SECOND)};
	int error;

	if (!device->quiescing)
		ask_for_quiet(device);
	do
		error = sem_clockwait(&device->quiet, CLOCK_MONOTONIC, &deadline) < 0 ? errno : 0;
	while (error == EINTR);
	device->quiescing = error;
	if (!error && atomic_load(&device->needs_reset))
		device->state.status |= STATUS_NEEDS_RESET;
	return !error;
}

static void run_abandon(void *opaque)
{
	struct virtio_device *device = opaque;

	device->ops->abandon(device);
}

static void device_abandon(void *opaque)
{
	struct virtio_device *device = opaque;

	if (device->ops->abandon)
		worker_post(device->worker, &device->abandon_task);
}

/* Where the worker has not answered yet (device.h), the device runs on, or has stopped by now, or
 * is about to stop, and run_stopped() goes on. */
static void device_resume(void *opaque)
{
	struct virtio_device *device = opaque;

	atomic_store(&device->quiet_wanted, false);
	if (device->state.resetting && !device->quiescing)
		reset_registers(device);
	if (!device->quiescing) {
		atomic_store(&device->queues_drained, 0);
		finish_queue_resets(device, UINT32_MAX);
	}
	device->quiescing = false;
	start(device);
}

static void device_destroy(void *opaque)
{
	struct virtio_device *device = opaque;

	device_quiesce(device, UINT64_MAX);
	worker_destroy(device->worker);
	sem_destroy(&device->quiet);
	event_loop_unpost(device->loop, &device->stopped_work);
	event_loop_unpost(device->loop, &device->reset_needed_work);
	event_loop_unpost(device->loop, &device->intx_work);
	event_loop_unpost(device->loop, &device->drained_work);
	device->ops->destroy(device);
}

static bool queue_valid(
	const struct virtio_device *device, const struct virtio_device_state *state, unsigned index)
{
	const struct virtqueue_setup *setup = &state->queue[index];
	uint16_t vector = state->queue_vector[index];

	if (index >= device->queue_count)
		return !setup->size && !setup->enabled && vector == PCI_NO_VECTOR;
	return setup->size <= device->queue_size &&
	       (vector <= device->queue_count || vector == PCI_NO_VECTOR);
}

/* Where a ring lies, and where it goes on, is checked when it is started. */
static bool device_valid(const void *opaque, const void *loaded)
{
	const struct virtio_device *device = opaque;
	const struct virtio_device_state *state = loaded;

	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		if (!queue_valid(device, state, i))
			return false;
	if (state->config_vector > device->queue_count && state->config_vector != PCI_NO_VECTOR)
		return false;
	if ((state->status & STATUS_DRIVER_OK) && !(state->status & STATUS_FEATURES_OK))
		return false;
	if ((state->queues_resetting | state->queues_reset) >> device->queue_count)
		return false;
	return !(state->status & ~STATUS_ALL) &&
	       (!(state->status & STATUS_FEATURES_OK) ||
		       features_possible(device, state->driver_features));
}

static void device_loaded(void *opaque)
{
	struct virtio_device *device = opaque;

	atomic_store(&device->needs_reset, device->state.status & STATUS_NEEDS_RESET);
	virtio_pci_update_pin(device);
}

static const struct state_field queue_fields[] = {
	STATE_ANY(struct virtqueue_setup, size),
	STATE_ANY(struct virtqueue_setup, descriptors),
	STATE_ANY(struct virtqueue_setup, driver),
	STATE_ANY(struct virtqueue_setup, device),
	STATE_BOOL(struct virtqueue_setup, enabled),
	STATE_ANY(struct virtqueue_setup, next_available),
	STATE_ANY(struct virtqueue_setup, next_used),
	STATE_END,
};

static const struct state_field device_fields[] = {
	STATE_ANY(struct virtio_device_state, driver_features),
	STATE_ANY(struct virtio_device_state, feature_select),
	STATE_ANY(struct virtio_device_state, driver_feature_select),
	STATE_ANY(struct virtio_device_state, status),
	STATE_ANY(struct virtio_device_state, config_generation),
	STATE_BOOL(struct virtio_device_state, resetting),
	STATE_ANY(struct virtio_device_state, queues_resetting),
	STATE_ANY(struct virtio_device_state, queues_reset),
	STATE_FIELD(struct virtio_device_state, isr, 0, ISR_QUEUE | ISR_CONFIG),
	STATE_ANY(struct virtio_device_state, queue_select),
	STATE_ANY(struct virtio_device_state, config_vector),
	STATE_ARRAY_ANY(struct virtio_device_state, queue_vector),
	STATE_STRUCTS(struct virtio_device_state, queue, queue_fields),
	STATE_END,
};

static const struct device_ops device_ops = {
	.version = 3,
	DEVICE_STATE(struct virtio_device, device_fields),
	.reset = device_reset,
	.valid = device_valid,
	.loaded = device_loaded,
	.quiesce = device_quiesce,
	.abandon = device_abandon,
	.resume = device_resume,
	.destroy = device_destroy,
};

static void init_work(struct virtio_device *device)
{
	worker_task_init(&device->start_task, run_start, device);
	worker_task_init(&device->stop_task, run_stop, device);
	worker_task_init(&device->quiesce_task, run_quiesce, device);
	worker_task_init(&device->abandon_task, run_abandon, device);
	sem_init(&device->quiet, 0, 0);
	for (unsigned i = 0; i < device->queue_count; i++) {
		init_queue(device, i);
		worker_task_init(&device->notify_task[i], run_notify, &device->queue[i]);
	}
	worker_task_init(&device->queues_task, run_queues, device);
	event_work_init(&device->drained_work, run_drained, device);
	event_work_init(&device->stopped_work, run_stopped, device);
	event_work_init(&device->reset_needed_work, run_reset_needed, device);
	event_work_init(&device->intx_work, run_intx, device);
}

int virtio_add(struct virtio_device *device, struct pci_bus *bus, int slot, uint32_t instance)
{
	const char *name = device->ops->name, *type = strchr(name, '-');
	char thread[16];
	int error;

	snprintf(thread, sizeof(thread), "%s%u", type ? type + 1 : name, instance);
	device->worker = worker_create(thread);
	if (!device->worker)
		return -EAGAIN;
	device->loop = pci_bus_config(bus)->loop;
	init_work(device);
	clear_state(device);
	error = virtio_pci_add(device, bus, slot);
	if (error) {
		worker_destroy(device->worker);
		sem_destroy(&device->quiet);
		return error;
	}
	device->device_ops = device_ops;
	device->device_ops.name = name;
	device_list_add(
		pci_bus_config(bus)->devices, &device->device, &device->device_ops, instance);
	return 0;
}
