/* A virtio device's registers, configuration space, rings, saved state and life at the hands of a
 * hostile guest, in any order with what the worker and the I/O thread do. The input is a list of
 * steps. The device answers requests, or keeps them for a while.
 *
 * What must hold, besides the sanitizers: the device is started and stopped in turns, a stop waits
 * for what is in flight, the status has no other bits than it may have, and after all that a reset
 * ends and the device can be used. */
#include "device/virtio/internal.h"

#include <linux/pci.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>

#define RAM       (1 * MIB)
#define BAR       4
#define BAR_SIZE  0x4000
#define IN_FLIGHT 8

struct step {
	uint8_t action; /* enum action, modulo */
	uint8_t size;   /* 1 << of it, modulo 4 */
	uint16_t offset;
	uint32_t value;
};

enum action {
	COMMON_WRITE, /* the registers that do most */
	REGISTER_WRITE,
	REGISTER_READ,
	CONFIG_WRITE,
	CONFIG_READ,
	DOORBELL,
	RAM_WRITE,
	WORKER,
	IO_THREAD,
	COMPLETE,
	KEEP,
	CONFIG_CHANGED,
	STOP_AND_GO,
	SAVE_AND_LOAD,
	MACHINE_RESET,
	READY, /* the handshake, with rings at addresses that can be */
	ACTIONS
};

static void require(bool condition)
{
	if (!condition)
		abort();
}

/* --- in place of worker and event loop: what is posted waits --- */

static struct worker_task *tasks[32];
static struct event_work *works[8];
static unsigned task_count, work_count;

struct worker *worker_create(const char *name)
{
	static int some;

	task_count = work_count = 0;
	return (struct worker *)&some;
}

void worker_destroy(struct worker *worker)
{
	task_count = 0;
}

void worker_task_init(struct worker_task *task, void (*run)(void *opaque), void *opaque)
{
	*task = (struct worker_task){.run = run, .opaque = opaque};
}

void worker_post(struct worker *worker, struct worker_task *task)
{
	for (unsigned i = 0; i < task_count; i++)
		if (tasks[i] == task)
			return;
	require(task_count < ARRAY_SIZE(tasks));
	tasks[task_count++] = task;
}

static void run_worker(void)
{
	while (task_count) {
		struct worker_task *task = tasks[0];

		memmove(tasks, tasks + 1, --task_count * sizeof(tasks[0]));
		task->run(task->opaque);
	}
}

void event_work_init(struct event_work *work, void (*run)(void *opaque), void *opaque)
{
	*work = (struct event_work){.run = run, .opaque = opaque};
}

void event_loop_post(struct event_loop *loop, struct event_work *work)
{
	for (unsigned i = 0; i < work_count; i++)
		if (works[i] == work)
			return;
	require(work_count < ARRAY_SIZE(works));
	works[work_count++] = work;
}

void event_loop_unpost(struct event_loop *loop, struct event_work *work)
{
	for (unsigned i = 0; i < work_count; i++)
		if (works[i] == work)
			works[i] = works[--work_count];
}

static void run_io_thread(void)
{
	while (work_count) {
		struct event_work *work = works[0];

		memmove(works, works + 1, --work_count * sizeof(works[0]));
		work->run(work->opaque);
	}
}

/* --- the device --- */

static struct keeper {
	struct virtio_device virtio;
	bool running, stop_wanted, keep;
	struct virtio_chain kept[IN_FLIGHT];
	struct virtqueue *queue[IN_FLIGHT];
	unsigned in_flight;
} keeper;
static struct iovec pieces[IN_FLIGHT + 1][VIRTIO_CHAIN_PIECES];

static void start(struct virtio_device *device)
{
	require(!keeper.running && !keeper.in_flight && !keeper.stop_wanted);
	keeper.running = true;
}

static void notified(struct virtio_device *device, struct virtqueue *queue)
{
	int got = 0;

	require(keeper.running && queue->setup.enabled);
	for (unsigned i = 0; i < 64; i++) {
		struct virtio_chain chain = {
			.pieces = pieces[IN_FLIGHT], .limit = VIRTIO_CHAIN_PIECES};
		bool keep = keeper.keep && keeper.in_flight < IN_FLIGHT;

		if (keep)
			chain.pieces = pieces[keeper.in_flight];
		got = virtqueue_take(queue, &chain);
		if (got <= 0)
			break;
		if (keep) {
			keeper.queue[keeper.in_flight] = queue;
			keeper.kept[keeper.in_flight++] = chain;
		} else {
			virtio_chain_write(&chain, 0, "answer", 6);
			virtqueue_give_back(queue, &chain, 6);
		}
	}
	virtqueue_tell_driver(queue);
	if (got < 0)
		virtio_needs_reset(device);
}

static void complete_all(void)
{
	while (keeper.in_flight) {
		unsigned last = --keeper.in_flight;

		virtqueue_give_back(keeper.queue[last], &keeper.kept[last], 1);
		virtqueue_tell_driver(keeper.queue[last]);
	}
	if (keeper.stop_wanted)
		virtio_stopped(&keeper.virtio);
	keeper.stop_wanted = false;
}

static void stop(struct virtio_device *device)
{
	require(keeper.running);
	keeper.running = false;
	keeper.stop_wanted = keeper.in_flight;
	if (!keeper.in_flight)
		virtio_stopped(device);
}

void worker_call(struct worker *worker, void (*run)(void *opaque), void *opaque)
{
	run_worker();
	run(opaque);
}

/* A real worker goes on while a device waits for the end of what is in flight. */
int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *deadline)
{
	run_worker();
	complete_all();
	return sem_trywait(semaphore);
}

static void config_written(struct virtio_device *device, unsigned offset, unsigned size)
{
	require(offset + size <= device->config_size);
}

static void destroy(struct virtio_device *device)
{
	require(!keeper.running && !keeper.in_flight);
}

static const struct virtio_ops ops = {
	.name = "virtio-test",
	.type = VIRTIO_BLOCK,
	.start = start,
	.notified = notified,
	.stop = stop,
	.config_written = config_written,
	.destroy = destroy,
};

/* --- the machine around it --- */

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;
static struct io_space ports;
static struct device_list devices;
static struct pci_bus *bus;

static bool on_message(void *opaque, uint64_t address, uint32_t data)
{
	return true;
}

static void create(void)
{
	struct pci_config config = {
		.memory = &memory, .ports = &ports, .devices = &devices, .msi = on_message};

	require(memory_create(&memory, RAM, 40, &lock) == 0);
	io_space_init(&ports, &lock);
	bus = pci_create(&config);
	require(bus);
	keeper = (struct keeper){0};
	keeper.virtio.ops = &ops;
	keeper.virtio.offered = BIT(0) | BIT(5);
	keeper.virtio.queue_count = 3;
	keeper.virtio.queue_size = 64;
	keeper.virtio.config_size = 10;
	require(virtio_add(&keeper.virtio, bus, 1, 0) == 0);
	device_list_firmware_setup(&devices);
}

static void destroy_all(void)
{
	device_list_destroy(&devices);
	io_space_destroy(&ports);
	memory_destroy(&memory);
}

static const struct pci_bar *bar(void)
{
	return &keeper.virtio.pci.description.bar[BAR];
}

/* As the bus does it: by four bytes at most. */
static void reg_write(uint64_t offset, uint64_t value, unsigned size)
{
	size = MIN(size, 4u);
	if (offset + size <= BAR_SIZE)
		bar()->ops->write(bar()->opaque, offset, value, size);
}

static uint64_t reg_read(uint64_t offset, unsigned size)
{
	size = MIN(size, 4u);
	return offset + size <= BAR_SIZE ? bar()->ops->read(bar()->opaque, offset, size) : 0;
}

static uint8_t status(void)
{
	return (uint8_t)reg_read(VIRTIO_PCI_COMMON_STATUS, 1);
}

static void config_write(unsigned offset, uint32_t value, unsigned size)
{
	io_space_write(&memory.mmio, PCI_ECAM_BASE + (1 << 15) + offset, value, size);
}

static void handshake(uint32_t choice)
{
	uint64_t features = VIRTIO_F_VERSION_1 | (choice & 1 ? VIRTIO_F_RING_PACKED : 0) |
			    (choice & 2 ? VIRTIO_F_EVENT_IDX : 0) |
			    (choice & 4 ? VIRTIO_F_INDIRECT_DESC : 0) |
			    (choice & 8 ? VIRTIO_F_RING_RESET : 0);

	config_write(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	reg_write(VIRTIO_PCI_COMMON_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER, 1);
	for (unsigned i = 0; i < 2; i++) {
		reg_write(VIRTIO_PCI_COMMON_GFSELECT, i, 4);
		reg_write(VIRTIO_PCI_COMMON_GF, features >> (32 * i) & UINT32_MAX, 4);
	}
	reg_write(VIRTIO_PCI_COMMON_STATUS, STATUS_FEATURES_OK, 1);
	for (unsigned i = 0; i < 3; i++) {
		reg_write(VIRTIO_PCI_COMMON_Q_SELECT, i, 2);
		reg_write(VIRTIO_PCI_COMMON_Q_SIZE, 8, 2);
		reg_write(VIRTIO_PCI_COMMON_Q_DESCLO, 0x1000 * (i + 1), 4);
		reg_write(VIRTIO_PCI_COMMON_Q_AVAILLO, 0x1000 * (i + 1) + 0x100, 4);
		reg_write(VIRTIO_PCI_COMMON_Q_USEDLO, 0x1000 * (i + 1) + 0x200, 4);
		reg_write(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	}
	reg_write(VIRTIO_PCI_COMMON_STATUS, STATUS_DRIVER_OK, 1);
}

static void stop_machine(void)
{
	require(device_list_quiesce(&devices, UINT64_MAX));
	require(!keeper.running && !keeper.in_flight);
}

/* What was saved can be loaded; and what was changed in it is refused, or does no harm. */
static void save_and_load(const struct step *step)
{
	struct state_writer writer = {0};
	struct state_reader reader;
	int error;

	stop_machine();
	device_list_save(&devices, &writer);
	require(!writer.failed);
	if (step->size % 2)
		writer.bytes[step->offset % writer.size] = (uint8_t)step->value;
	reader = (struct state_reader){writer.bytes, writer.size};
	work_count = 0;
	error = device_list_load(&devices, &reader);
	require(!error || step->size % 2);
	free(writer.bytes);
	device_list_resume(&devices);
}

static void run_step(const struct step *step)
{
	unsigned size = 1u << step->size % 4;
	const uint8_t quarter[] = {0x00, 0x10, 0x20, 0x30};

	switch (step->action % ACTIONS) {
	case COMMON_WRITE:
		reg_write(step->offset % 64, step->value, size);
		break;
	case REGISTER_WRITE:
		reg_write(quarter[step->offset >> 8 & 3] << 8 | (step->offset & 0xff), step->value,
			size);
		break;
	case REGISTER_READ:
		reg_read(quarter[step->offset >> 8 & 3] << 8 | (step->offset & 0xff), size);
		break;
	case CONFIG_WRITE:
		config_write(step->offset % 256, step->value, MIN(size, 4u));
		break;
	case CONFIG_READ:
		io_space_read(&memory.mmio, PCI_ECAM_BASE + (1 << 15) + step->offset % 256,
			MIN(size, 4u));
		break;
	case DOORBELL:
		bar()->doorbell(
			bar()->opaque, bar()->doorbell_start + step->offset % 16, step->value);
		break;
	case RAM_WRITE:
		memory_write(&memory, step->offset % 0x5000, &step->value, MIN(size, 4u));
		break;
	case WORKER:
		run_worker();
		break;
	case IO_THREAD:
		run_io_thread();
		break;
	case COMPLETE:
		complete_all();
		break;
	case KEEP:
		keeper.keep = step->value & 1;
		break;
	case CONFIG_CHANGED:
		virtio_config_changed(&keeper.virtio);
		break;
	case STOP_AND_GO:
		stop_machine();
		device_list_resume(&devices);
		break;
	case SAVE_AND_LOAD:
		save_and_load(step);
		break;
	case MACHINE_RESET:
		stop_machine();
		device_list_reset(&devices);
		device_list_firmware_setup(&devices);
		require(status() == 0);
		device_list_resume(&devices);
		break;
	case READY:
		handshake(step->value);
		break;
	}
	require(!(status() & ~STATUS_ALL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct step step;

	create();
	for (; size >= sizeof(step); data += sizeof(step), size -= sizeof(step)) {
		memcpy(&step, data, sizeof(step));
		run_step(&step);
	}
	keeper.keep = false;
	reg_write(VIRTIO_PCI_COMMON_STATUS, 0, 1);
	run_worker();
	complete_all();
	run_io_thread();
	require(status() == 0);
	memset(memory.ram, 0, 0x5000);
	handshake(0);
	run_worker();
	require(keeper.running);
	destroy_all();
	return 0;
}
