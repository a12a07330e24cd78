/* Saved state that nobody has saved. A machine does some steps and is saved, bytes of that are
 * changed, and what results is loaded: refused, or the machine must go on as a sound one does. The
 * input is a count of steps, a count of changes, the changes, and the steps. Beside the chipset the
 * machine has a PCI bus with a function, one behind a root port, and behind another one a disk,
 * whose requests may be in flight at the save. */
#include "fuzz_chipset.h"

#include "../unit/slow_disk.h"
#include "device/edu.h"
#include "device/i6300esb.h"
#include "device/pci_iotest.h"
#include "device/pci_testdev.h"
#include "device/virtio/block.h"
#include "device/virtio/entropy.h"
#include "host/worker.h"

#include <linux/pci.h>
#include <linux/virtio_pci.h>

struct header {
	uint8_t steps_before, changes;
};

struct change {
	uint16_t offset;
	uint8_t value, cut; /* cut 1: the state ends here; other odd ones: far behind */
};

/* --- in place of workers: what is posted waits --- */

static struct worker_task *tasks[64];
static unsigned task_count;
static void (*idle)(void *opaque);
static void *idle_opaque;

struct worker *worker_create(const char *name)
{
	static int some;

	return (struct worker *)&some;
}

void worker_destroy(struct worker *worker)
{
	task_count = 0;
	idle = NULL;
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

int worker_add_idle(struct worker *worker, void (*run)(void *opaque), void *opaque)
{
	idle = run;
	idle_opaque = opaque;
	return 0;
}

void worker_remove_idle(struct worker *worker, void *opaque)
{
	idle = NULL;
}

void worker_want_idle(struct worker *worker)
{
}

static void run_workers(void)
{
	for (unsigned i = 0; task_count && i < 1000; i++) {
		struct worker_task *task = tasks[0];

		memmove(tasks, tasks + 1, --task_count * sizeof(tasks[0]));
		task->run(task->opaque);
	}
	if (idle)
		idle(idle_opaque);
}

void worker_call(struct worker *worker, void (*run)(void *opaque), void *opaque)
{
	run_workers();
	run(opaque);
}

/* Real workers go on while a device waits for the end of what is in flight. */
int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *deadline)
{
	run_workers();
	slow_disk_complete_all(NULL);
	run_workers();
	return sem_trywait(semaphore);
}

/* --- the bus --- */

#define DISK_CONFIG (PCI_ECAM_BASE + (2 << 20))
#define RINGS       UINT64_C(0x10000)

static bool send_message(void *opaque, uint64_t address, uint32_t data)
{
	return chipset_msi(opaque, address, data);
}

static void watchdog_expired(void *opaque)
{
}

static void create_bus(void)
{
	struct device_list *devices = chipset_devices(chipset);
	struct pci_config config = {
		.memory = &memory,
		.ports = &ports,
		.devices = devices,
		.loop = loop,
		.msi = send_message,
		.opaque = chipset,
	};
	struct pci_bus *bus;

	for (unsigned i = 0; i < PCI_INTX_GSIS; i++)
		config.intx[i] = chipset_irq_line(chipset, PCI_INTX_GSI + i);
	bus = pci_create(&config);
	require(bus && pci_testdev_create(bus, devices, PCI_ANY_SLOT) == 0);
	require(pci_testdev_create(bus, devices, PCI_OWN_PORT) == 0);
	require(virtio_block_create(bus, PCI_OWN_PORT, 0, slow_disk_create(), "s", 1) == 0);
	require(virtio_entropy_create(bus) == 0);
	require(edu_create(bus, devices, PCI_ANY_SLOT) == 0);
	require(i6300esb_create(bus, devices, PCI_ANY_SLOT, watchdog_expired, NULL) == 0);
	require(pci_iotest_create(bus, devices, PCI_ANY_SLOT) == 0);
	chipset_firmware_setup(chipset);
}

static void stop(void)
{
	require(device_list_quiesce(chipset_devices(chipset), UINT64_MAX));
	require(!slow.first);
}

static void run_posted_works(void)
{
	event_loop_stop(loop);
	require(event_loop_run(loop) == 0);
}

static void go_on(void)
{
	device_list_resume(chipset_devices(chipset));
	run_workers();
	run_posted_works();
}

static void destroy_all(void)
{
	stop();
	destroy();
	io_space_destroy(&memory.mmio);
	io_space_init(&memory.mmio, &lock);
	memset(memory.ram + RINGS, 0, 0x4000);
}

static uint64_t disk_register(unsigned offset)
{
	return (io_space_read(&memory.mmio, DISK_CONFIG + PCI_BASE_ADDRESS_4, 4) & ~15u) + offset;
}

static void disk_write(unsigned offset, uint64_t value, unsigned size)
{
	io_space_write(&memory.mmio, disk_register(offset), value, size);
}

/* The driver's handshake; the rings are what steps have written there. */
static void start_disk(bool packed)
{
	for (unsigned slot = 2; slot < 4; slot++)
		io_space_write(&memory.mmio, PCI_ECAM_BASE + (slot << 15) + PCI_COMMAND, 7, 2);
	io_space_write(&memory.mmio, DISK_CONFIG + PCI_COMMAND, 6, 2);
	disk_write(VIRTIO_PCI_COMMON_STATUS, 3, 1);
	disk_write(VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	disk_write(VIRTIO_PCI_COMMON_GF, 1 | (packed ? 4 : 0), 4);
	disk_write(VIRTIO_PCI_COMMON_STATUS, 11, 1);
	disk_write(VIRTIO_PCI_COMMON_Q_SIZE, 8, 2);
	disk_write(VIRTIO_PCI_COMMON_Q_DESCLO, RINGS, 4);
	disk_write(VIRTIO_PCI_COMMON_Q_AVAILLO, RINGS + 0x1000, 4);
	disk_write(VIRTIO_PCI_COMMON_Q_USEDLO, RINGS + 0x2000, 4);
	disk_write(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	disk_write(VIRTIO_PCI_COMMON_STATUS, 15, 1);
}

/* A split ring's request `index`: a sector to read, or to write. */
static void add_request(unsigned index, uint32_t sector)
{
	uint64_t at = RINGS + 0x3000 + (index & 1) * 0x800, table = RINGS + (index & 1) * 64;
	bool write = sector & 0x100;
	const uint32_t header[4] = {write, 0, sector & 0x7f, 0};
	const struct {
		uint64_t address;
		uint32_t length;
		uint16_t flags, next;
	} descriptors[3] = {
		{at, sizeof(header), 1, (uint16_t)((index & 1) * 4 + 1)},
		{at + 64, 512, write ? 1 : 3, (uint16_t)((index & 1) * 4 + 2)},
		{at + 1024, 1, 2, 0},
	};
	uint16_t head = (uint16_t)((index & 1) * 4), available;

	memcpy(memory.ram + at, header, sizeof(header));
	memcpy(memory.ram + table, descriptors, sizeof(descriptors));
	memcpy(&available, memory.ram + RINGS + 0x1002, 2);
	memcpy(memory.ram + RINGS + 0x1004 + 2 * (available % 8), &head, 2);
	available++;
	memcpy(memory.ram + RINGS + 0x1002, &available, 2);
	disk_write(0x3000, 0, 2);
}

/* Steps of a number that no action of the chipset has. */
static void run_bus_step(const struct step *step)
{
	const struct io_region *region = &memory.mmio.regions[step->choice / 4 % memory.mmio.count];
	/* Of configuration space, what there is: buses 0 to 3. */
	uint64_t at =
		region->start +
		(region->start == PCI_ECAM_BASE
				? (step->address & 0x3000) << 8 | (step->address & 0xc00) << 6 |
					  (step->address & 0x300) << 7 | (step->address & 0xfc)
				: step->address % region->size);

	switch (step->action % 8) {
	case 0 ... 1:
		io_space_write(&memory.mmio, at, step->value, 1u << step->choice % 4);
		break;
	case 2:
		io_space_read(&memory.mmio, at, 1u << step->choice % 4);
		break;
	case 3:
		start_disk(step->choice & 1);
		break;
	case 4:
		add_request(step->choice, step->value);
		break;
	case 5:
		slow_disk_complete_one(NULL);
		break;
	case 6:
		run_workers();
		break;
	default:
		run_posted_works();
	}
}

static void run_all_steps(const uint8_t *data, size_t size)
{
	struct step step;

	for (; size >= sizeof(step); data += sizeof(step), size -= sizeof(step)) {
		memcpy(&step, data, sizeof(step));
		if (step.action >= 0x80)
			run_bus_step(&step);
		else if (step.action % ACTIONS != RESET)
			run_steps(data, sizeof(step));
	}
}

/* --- changed states --- */

static void change_bytes(struct state_writer *state, const uint8_t *changes, unsigned count)
{
	struct change change;
	size_t at;

	for (; count; count--, changes += sizeof(change)) {
		memcpy(&change, changes, sizeof(change));
		if (!state->size)
			return;
		at = (change.offset + (change.cut & 2 ? 0x10000u : 0)) % state->size;
		state->bytes[at] = change.value;
		if (change.cut == 1)
			state->size = at;
	}
}

static bool same(const struct state_writer *a, const struct state_writer *b)
{
	return a->size == b->size && !memcmp(a->bytes, b->bytes, a->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state_writer before = {0}, changed = {0}, after = {0};
	struct state_reader reader;
	struct header header;
	size_t steps;

	if (size < sizeof(header))
		return 0;
	memcpy(&header, data, sizeof(header));
	data += sizeof(header);
	size -= sizeof(header);
	header.changes = (uint8_t)MIN(header.changes, size / sizeof(struct change));
	steps = size - header.changes * sizeof(struct change);
	steps = MIN(steps, header.steps_before * sizeof(struct step));

	create();
	create_bus();
	run_all_steps(data + header.changes * sizeof(struct change), steps);
	stop();
	chipset_save(chipset, &before);
	chipset_save(chipset, &changed);
	change_bytes(&changed, data, header.changes);
	reader = (struct state_reader){changed.bytes, changed.size};
	if (chipset_load(chipset, &reader) < 0) {
		require(header.changes);
		chipset_save(chipset, &after);
		require(same(&before, &after)); /* all or nothing */
	}
	go_on();
	run_all_steps(data + header.changes * sizeof(struct change) + steps,
		size - header.changes * sizeof(struct change) - steps);
	destroy_all();
	free(before.bytes);
	free(changed.bytes);
	free(after.bytes);
	return 0;
}
