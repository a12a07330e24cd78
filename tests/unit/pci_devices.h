/* For test_device_state.c: what a machine may have on its PCI bus, and a guest that does anything
 * with the bus, and one that drives a disk behind a root port and has requests in flight. Back ends
 * are the test's own, so that what a guest sees depends on nothing else than what it does. */
#ifndef VENEER_TESTS_UNIT_PCI_DEVICES_H
#define VENEER_TESTS_UNIT_PCI_DEVICES_H

#include "device/edu.h"
#include "device/i6300esb.h"
#include "device/pci_iotest.h"
#include "device/pci_testdev.h"
#include "device/pvpanic.h"
#include "device/virtio/block.h"
#include "device/virtio/console.h"
#include "device/virtio/entropy.h"
#include "device/virtio/net.h"
#include "device/virtio/scsi.h"
#include "device_fixture.h"
#include "slow_disk.h"
#include "virtio_driver.h"

#include <linux/pci.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_pci.h>
#include <sched.h>
#include <stdlib.h>

/* Slots, in the order of creation. Bus numbers are firmware's. */
#define TESTDEV_SLOT 1
#define PORT_SLOT    2 /* of bus 1, with another such function */
#define DISK_SLOT    3 /* of bus 2, with the disk */

#define DISK_RING    UINT64_C(0x10000) /* in RAM; its requests lie behind it */
#define DISK_BUFFERS UINT64_C(0x20000)
#define DISK_REQUEST UINT64_C(0x800) /* header, data, status */
#define DISK_SIZE    16
#define DISK_MEMORY  (DISK_BUFFERS + DISK_SIZE * DISK_REQUEST - DISK_RING)

/* --- back ends --- */

static inline int idle_net_start(
	struct net_backend *net, struct worker *worker, const struct net_port *port)
{
	return 0;
}

static inline int idle_net_send(struct net_backend *net, unsigned queue, const struct iovec *pieces,
	unsigned count, size_t bytes)
{
	return 0;
}

static inline ssize_t idle_net_receive(
	struct net_backend *net, unsigned queue, const struct iovec *pieces, unsigned count)
{
	return -EAGAIN;
}

static inline void idle_net_want_receive(struct net_backend *net, unsigned queue, bool wanted)
{
}

static inline void idle_net_destroy(struct net_backend *net)
{
}

static inline void ignore_expiry(void *opaque)
{
}

static inline void ignore_panic(void *opaque, unsigned what)
{
}

/* --- making them --- */

static inline void create_pci_devices(struct pci_bus *bus, struct device_list *devices)
{
	static const struct net_backend_ops net_ops = {
		.start = idle_net_start,
		.send = idle_net_send,
		.receive = idle_net_receive,
		.want_receive = idle_net_want_receive,
		.destroy = idle_net_destroy,
	};
	static struct net_backend net = {.ops = &net_ops, .queues = 2};
	static const struct console_port_config ports[] = {
		{.console = true}, {.name = "log", .number = 1}};
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	static const struct pvpanic_config panic = {.happened = ignore_panic};
	struct console_device *console;

	assert_int_equal(pci_testdev_create(bus, devices, TESTDEV_SLOT), 0);
	assert_int_equal(pci_testdev_create(bus, devices, PCI_OWN_PORT), 0);
	assert_int_equal(virtio_block_create(bus, PCI_OWN_PORT, 0, slow_disk_create(), "s", 1), 0);
	assert_int_equal(virtio_net_create(bus, PCI_ANY_SLOT, 0, &net, mac), 0);
	assert_int_equal(virtio_console_create(bus, 0, ports, 2, &console), 0);
	assert_int_equal(virtio_entropy_create(bus), 0);
	assert_int_equal(edu_create(bus, devices, PCI_ANY_SLOT), 0);
	assert_int_equal(i6300esb_create(bus, devices, PCI_ANY_SLOT, ignore_expiry, NULL), 0);
	assert_int_equal(pvpanic_create(bus, devices, PCI_ANY_SLOT, &panic), 0);
	assert_int_equal(pci_iotest_create(bus, devices, PCI_ANY_SLOT), 0);
	assert_int_equal(virtio_scsi_create(bus, PCI_ANY_SLOT, 0, NULL, 0, 1), 0);
}

/* --- a guest that does anything with the bus --- */

static inline uint64_t pci_config_address(unsigned bus, unsigned slot, unsigned offset)
{
	return PCI_ECAM_BASE + (bus << 20) + (slot << 15) + offset;
}

/* Of one of those that a guest may do anything with. */
static inline uint64_t any_function(void)
{
	switch (rand() % 3) {
	case 0:
		return pci_config_address(0, TESTDEV_SLOT, 0);
	case 1:
		return pci_config_address(0, PORT_SLOT, 0);
	default:
		return pci_config_address(1, 0, 0);
	}
}

static inline uint64_t touch_pci(void)
{
	static const unsigned registers[] = {PCI_COMMAND, PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_1,
		PCI_BASE_ADDRESS_2, PCI_BASE_ADDRESS_4, PCI_IO_BASE, PCI_MEMORY_BASE,
		PCI_BRIDGE_CONTROL, 0x44, 0x48, 0x54, 0x6c};
	static const uint32_t values[] = {7, 6, 0, 0xc0100000, 0xc0101000, 0xd000, 0xc000c010,
		0xf0f0, 0xc0000000, 0x80000000, 0x8000, UINT32_MAX};
	struct io_space *mmio = &f.memory.mmio;
	unsigned any = (unsigned)rand();
	/* Of the test functions' registers; the configuration spaces' region is an other one. */
	uint64_t registers_base = 0xc0100000 + (any >> 8 & 1) * 0x1000;

	switch (any % 6) {
	case 0 ... 1:
		io_space_write(mmio, any_function() + registers[rand() % ARRAY_SIZE(registers)],
			values[rand() % ARRAY_SIZE(values)], 4);
		return 0;
	case 2:
		return io_space_read(mmio, any_function() + (any >> 8 & 0xfc), 4);
	case 3:
		io_space_write(mmio, registers_base + (any >> 12 & 0x3c), (uint32_t)rand() & 3, 4);
		return 0;
	case 4: /* an entry of a vector table, with a message that some local APIC takes */
		io_space_write(mmio, registers_base + (any >> 12 & 0x3c),
			any & 64 ? 0xfee00000 : 0x40 + (any >> 20 & 15), 4);
		return 0;
	default:
		return io_space_read(mmio, registers_base + (any >> 12 & 0x3c), 4);
	}
}

/* --- a guest that drives the disk --- */

/* All that it remembers: the rest is in RAM. */
static struct disk_guest {
	struct driver driver;
	bool ready;
} disk_guest;

static inline uint64_t disk_register(uint64_t offset)
{
	uint64_t config = pci_config_address(2, 0, PCI_BASE_ADDRESS_4);

	return (io_space_read(&f.memory.mmio, config, 4) & ~15u) + offset;
}

static inline void disk_write(uint64_t offset, uint64_t value, unsigned size)
{
	io_space_write(&f.memory.mmio, disk_register(offset), value, size);
}

static inline void start_disk(void)
{
	struct io_space *mmio = &f.memory.mmio;
	struct driver *driver = &disk_guest.driver;

	io_space_write(mmio, pci_config_address(0, DISK_SLOT, PCI_COMMAND), 6, 2);
	io_space_write(mmio, pci_config_address(2, 0, PCI_COMMAND), 6, 2);
	disk_write(VIRTIO_PCI_COMMON_STATUS, 3, 1);
	disk_write(VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	disk_write(VIRTIO_PCI_COMMON_GF, 1 | (rand() & 1 ? 4 : 0), 4);
	disk_write(VIRTIO_PCI_COMMON_STATUS, 11, 1);
	driver_init(driver, f.memory.ram, DISK_RING, DISK_SIZE,
		io_space_read(mmio, disk_register(VIRTIO_PCI_COMMON_GF), 4) & 4, false);
	disk_write(VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	disk_write(VIRTIO_PCI_COMMON_Q_SIZE, DISK_SIZE, 2);
	disk_write(VIRTIO_PCI_COMMON_Q_DESCLO, driver->descriptors, 8);
	disk_write(VIRTIO_PCI_COMMON_Q_AVAILLO, driver->driver, 8);
	disk_write(VIRTIO_PCI_COMMON_Q_USEDLO, driver->device, 8);
	disk_write(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	disk_write(VIRTIO_PCI_COMMON_STATUS, 15, 1);
	disk_guest.ready = true;
}

/* Buffers are by the place in the ring, so no two requests in flight have the same. */
static inline void add_disk_request(void)
{
	struct driver *driver = &disk_guest.driver;
	uint64_t at = DISK_BUFFERS + driver->free[driver->free_count - 1] * DISK_REQUEST;
	bool read = rand() & 1;
	const struct virtio_blk_outhdr header = {
		.type = read ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT,
		.sector = (uint64_t)rand() % 130,
	};
	const struct buffer buffers[] = {
		{at, sizeof(header), 0},
		{at + 64, 512, read ? VRING_DESC_F_WRITE : 0},
		{at + 1024, 1, VRING_DESC_F_WRITE},
	};

	if (driver->room < ARRAY_SIZE(buffers))
		return;
	memcpy(f.memory.ram + at, &header, sizeof(header));
	if (!read)
		memset(f.memory.ram + at + 64, rand(), 512);
	driver_add(driver, buffers, ARRAY_SIZE(buffers));
	disk_write(0x3000, 0, 2);
}

static atomic_bool disk_idle;

static inline void note_disk_idle(void *opaque)
{
	atomic_store(&disk_idle, true);
}

static inline void want_disk_idle(void *opaque)
{
	atomic_store(&disk_idle, false);
	assert_int_equal(worker_add_idle(slow.worker, note_disk_idle, &disk_idle), 0);
	worker_want_idle(slow.worker);
}

static inline void forget_disk_idle(void *opaque)
{
	worker_remove_idle(slow.worker, &disk_idle);
}

static inline void run_posted_works(void)
{
	event_loop_stop(f.loop);
	assert_int_equal(event_loop_run(f.loop), 0);
}

/* The disk's worker and the I/O thread have done what they have been asked to. */
static inline void settle_disk(void)
{
	worker_call(slow.worker, want_disk_idle, NULL);
	while (!atomic_load(&disk_idle))
		sched_yield();
	worker_call(slow.worker, forget_disk_idle, NULL);
	run_posted_works();
}

static inline uint64_t take_disk_answer(void)
{
	uint32_t written = 0;
	int id = driver_get(&disk_guest.driver, &written);
	const uint8_t *at = f.memory.ram + DISK_BUFFERS + (unsigned)id * DISK_REQUEST;

	return id < 0 ? 1 : (uint64_t)written << 32 | at[1024] << 16 | at[64] << 8 | (unsigned)id;
}

/* The device's reset ends when nothing is in flight. */
static inline void reset_disk(void)
{
	disk_write(VIRTIO_PCI_COMMON_STATUS, 0, 1);
	worker_call(slow.worker, slow_disk_complete_all, NULL);
	settle_disk();
	disk_guest.ready = false;
}

static inline uint64_t touch_disk(void)
{
	uint64_t seen = 0;

	if (!disk_guest.ready)
		start_disk();
	switch (rand() % 8) {
	case 0 ... 2:
		add_disk_request();
		break;
	case 3:
		worker_call(slow.worker, slow_disk_complete_one, NULL);
		break;
	case 4:
		if (rand() % 16 == 0)
			reset_disk();
		break;
	case 5:
		seen = io_space_read(&f.memory.mmio, disk_register(0x1000), 1); /* ISR */
		break;
	default:
		seen = take_disk_answer();
	}
	settle_disk();
	return seen;
}

/* --- stopping --- */

/* Wait for what is in flight, as a machine that is about to be saved does. True: there was some. */
static inline bool quiesce(struct device_list *devices)
{
	bool in_flight = slow.first;

	if (in_flight) {
		assert_false(device_list_quiesce(devices, 0));
		worker_call(slow.worker, slow_disk_complete_all, NULL);
	}
	assert_true(device_list_quiesce(devices, UINT64_MAX));
	run_posted_works();
	return in_flight;
}

/* What is not a device's: RAM, the disk's bytes, what the guest remembers. */
struct outside {
	uint8_t ram[DISK_MEMORY], disk[SLOW_DISK_SIZE];
	struct disk_guest guest;
};

static inline void keep_outside(struct outside *outside)
{
	memcpy(outside->ram, f.memory.ram + DISK_RING, sizeof(outside->ram));
	memcpy(outside->disk, slow.bytes, sizeof(outside->disk));
	outside->guest = disk_guest;
}

static inline void bring_outside(const struct outside *outside)
{
	memcpy(f.memory.ram + DISK_RING, outside->ram, sizeof(outside->ram));
	memcpy(slow.bytes, outside->disk, sizeof(outside->disk));
	disk_guest = outside->guest;
}

#endif
