/* A virtio device on the PCI bus at the hands of a driver, good and bad: with the bus, a worker and
 * an event loop as in a machine. The device answers each request with one byte, or keeps it. */
#include "device/virtio/virtio.h"
#include "device_fixture.h"
#include "virtio_driver.h"

#include <linux/pci.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>

#define SLOT   3
#define GSI    (SLOT % PCI_INTX_GSIS) /* the fixture's number of the line */
#define QUEUES 2
#define SIZE   16

#define RING   UINT64_C(0x10000)
#define BUFFER UINT64_C(0x100000)
#define CONFIG UINT64_C(0x2000) /* in the BAR */
#define ISR    UINT64_C(0x1000)
#define NOTIFY UINT64_C(0x3000)

#define READY                                                                                      \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |      \
		VIRTIO_CONFIG_S_DRIVER_OK)

/* --- the device --- */

struct answerer {
	struct virtio_device virtio;
	struct iovec pieces[VIRTIO_CHAIN_PIECES];
	atomic_uint starts, stops, notified, answered, destroyed;
	atomic_bool keep; /* the next request */
	struct virtio_chain kept;
	bool in_flight, stop_wanted; /* worker */
};

static struct answerer answerer;
static unsigned written_offset, written_size;

static void start(struct virtio_device *device)
{
	answerer.starts++;
}

static void notified(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_chain chain = {.pieces = answerer.pieces, .limit = VIRTIO_CHAIN_PIECES};
	int got;

	answerer.notified++;
	while ((got = virtqueue_take(queue, &chain)) > 0) {
		if (answerer.keep) {
			answerer.kept = chain;
			answerer.in_flight = true;
			return;
		}
		virtio_chain_write(&chain, 0, "!", 1);
		virtqueue_give_back(queue, &chain, 1);
		answerer.answered++;
	}
	virtqueue_tell_driver(queue);
	if (got < 0)
		virtio_needs_reset(device);
}

static void stop(struct virtio_device *device)
{
	answerer.stops++;
	answerer.stop_wanted = answerer.in_flight;
	if (!answerer.in_flight)
		virtio_stopped(device);
}

/* On the worker: what was kept ends. */
static void let_go(void *opaque)
{
	virtqueue_give_back(&answerer.virtio.queue[0], &answerer.kept, 0);
	answerer.in_flight = false;
	if (answerer.stop_wanted)
		virtio_stopped(&answerer.virtio);
	answerer.stop_wanted = false;
}

static void config_written(struct virtio_device *device, unsigned offset, unsigned size)
{
	written_offset = offset;
	written_size = size;
}

static void destroy(struct virtio_device *device)
{
	answerer.destroyed++;
}

static const struct virtio_ops ops = {
	.name = "virtio-test",
	.type = VIRTIO_BLOCK,
	.pci_class = 0x010000,
	.start = start,
	.notified = notified,
	.stop = stop,
	.config_written = config_written,
	.destroy = destroy,
};

static uint64_t extra; /* features that the driver takes, too */

/* --- the machine around it --- */

static struct pci_bus *bus;
static struct {
	uint64_t address;
	uint32_t data;
} last;
static atomic_uint messages;

static bool on_message(void *opaque, uint64_t address, uint32_t data)
{
	last.address = address;
	last.data = data;
	messages++;
	return true;
}

static uint64_t config_space; /* where the device's is mapped */

static void config_write(unsigned offset, uint32_t value, unsigned size)
{
	io_space_write(&f.memory.mmio, config_space + offset, value, size);
}

static uint32_t config_read(unsigned offset, unsigned size)
{
	return (uint32_t)io_space_read(&f.memory.mmio, config_space + offset, size);
}

static void port_write(unsigned offset, uint32_t value, unsigned size)
{
	io_space_write(&f.memory.mmio, PCI_ECAM_BASE + (1 << 15) + offset, value, size);
}

/* `place`: a slot, or PCI_OWN_PORT: behind a root port, the first, on bus 1. */
static void create_device(unsigned place)
{
	answerer = (struct answerer){0};
	answerer.virtio.ops = &ops;
	answerer.virtio.offered = BIT(5);
	answerer.virtio.queue_count = QUEUES;
	answerer.virtio.queue_size = SIZE;
	answerer.virtio.config_size = 8;
	memcpy(answerer.virtio.config, "config!", 8);
	assert_int_equal(virtio_add(&answerer.virtio, bus, place, 0), 0);
	config_space = PCI_ECAM_BASE + (place == SLOT ? SLOT << 15 : 1 << 20);
}

static void switch_on(void)
{
	device_list_firmware_setup(&f.devices);
	if (config_space != PCI_ECAM_BASE + (SLOT << 15))
		port_write(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	config_write(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static int setup_at(unsigned place)
{
	struct pci_config config;

	fixture_setup();
	config = (struct pci_config){.memory = &f.memory,
		.ports = &f.ports,
		.devices = &f.devices,
		.loop = f.loop,
		.msi = on_message};
	for (unsigned i = 0; i < PCI_INTX_GSIS; i++)
		config.intx[i] = fixture_irq(i);
	bus = pci_create(&config);
	assert_non_null(bus);
	create_device(place);
	switch_on();
	messages = 0;
	extra = 0;
	return 0;
}

static int setup(void **state)
{
	return setup_at(SLOT);
}

static int setup_behind_a_port(void **state)
{
	return setup_at(PCI_OWN_PORT);
}

static int teardown(void **state)
{
	fixture_teardown();
	assert_int_equal(answerer.destroyed, 1);
	return 0;
}

static void nothing(void *opaque)
{
}

/* Worker and I/O thread do what they have been asked to. */
static void settle(void)
{
	worker_call(answerer.virtio.worker, nothing, NULL);
	event_loop_stop(f.loop);
	assert_int_equal(event_loop_run(f.loop), 0);
}

/* --- the driver --- */

static uint64_t bar(unsigned index)
{
	return config_read(PCI_BASE_ADDRESS_0 + 4 * index, 4) & ~15u;
}

static uint64_t reg_read(uint64_t offset, unsigned size)
{
	return bits_zero_extend(io_space_read(&f.memory.mmio, bar(4) + offset, size), size);
}

static void reg_write(uint64_t offset, uint64_t value, unsigned size)
{
	io_space_write(&f.memory.mmio, bar(4) + offset, value, size);
}

static uint64_t offered(void)
{
	uint64_t low;

	reg_write(VIRTIO_PCI_COMMON_DFSELECT, 0, 4);
	low = reg_read(VIRTIO_PCI_COMMON_DF, 4);
	reg_write(VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
	return low | reg_read(VIRTIO_PCI_COMMON_DF, 4) << 32;
}

static void set_features(uint64_t features)
{
	for (unsigned i = 0; i < 2; i++) {
		reg_write(VIRTIO_PCI_COMMON_GFSELECT, i, 4);
		reg_write(VIRTIO_PCI_COMMON_GF, features >> (32 * i) & UINT32_MAX, 4);
	}
}

static uint8_t status(void)
{
	return (uint8_t)reg_read(VIRTIO_PCI_COMMON_STATUS, 1);
}

static void set_status(uint8_t value)
{
	reg_write(VIRTIO_PCI_COMMON_STATUS, value, 1);
}

static void set_queue(unsigned index, const struct driver *driver)
{
	reg_write(VIRTIO_PCI_COMMON_Q_SELECT, index, 2);
	reg_write(VIRTIO_PCI_COMMON_Q_SIZE, driver->size, 2);
	reg_write(VIRTIO_PCI_COMMON_Q_MSIX, index + 1, 2);
	reg_write(VIRTIO_PCI_COMMON_Q_DESCLO, driver->descriptors, 8);
	reg_write(VIRTIO_PCI_COMMON_Q_AVAILLO, driver->driver, 8);
	reg_write(VIRTIO_PCI_COMMON_Q_USEDLO, driver->device, 8);
	reg_write(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
}

static void use_msix(void)
{
	unsigned at = config_read(PCI_CAPABILITY_LIST, 1);

	while (at && config_read(at, 1) != PCI_CAP_ID_MSIX)
		at = config_read(at + 1, 1);
	assert_true(at);
	for (unsigned i = 0; i <= QUEUES; i++) {
		uint64_t entry = bar(1) + 16 * i;

		io_space_write(&f.memory.mmio, entry, 0xfee00000, 4);
		io_space_write(&f.memory.mmio, entry + 8, 0x40 + i, 4);
		io_space_write(&f.memory.mmio, entry + 12, 0, 4);
	}
	config_write(at + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
	reg_write(VIRTIO_PCI_COMMON_MSIX, 0, 2);
}

static struct driver driver;

/* The handshake of 3.1.1 with one queue. */
static void begin(bool packed)
{
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE);
	set_status(status() | VIRTIO_CONFIG_S_DRIVER);
	set_features(VIRTIO_F_VERSION_1 | extra | (packed ? VIRTIO_F_RING_PACKED : 0));
	set_status(status() | VIRTIO_CONFIG_S_FEATURES_OK);
	assert_true(status() & VIRTIO_CONFIG_S_FEATURES_OK);
	driver_init(&driver, f.memory.ram, RING, SIZE, packed, false);
	set_queue(0, &driver);
	set_status(status() | VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(status(), READY);
	settle();
}

static void add_request(void)
{
	const struct buffer buffer = {BUFFER, 16, VRING_DESC_F_WRITE};

	memset(f.memory.ram + BUFFER, 0, 16);
	assert_true(driver_add(&driver, &buffer, 1) >= 0);
}

static void ring_doorbell(unsigned queue)
{
	reg_write(NOTIFY + 4 * queue, queue, 2);
}

static void request_is_answered(void)
{
	uint32_t written;

	add_request();
	ring_doorbell(0);
	settle();
	assert_true(driver_get(&driver, &written) >= 0);
	assert_int_equal(written, 1);
	assert_int_equal(f.memory.ram[BUFFER], '!');
}

/* --- tests --- */

static unsigned find_virtio_capability(unsigned type)
{
	unsigned at = config_read(PCI_CAPABILITY_LIST, 1);

	while (at && (config_read(at, 1) != PCI_CAP_ID_VNDR || config_read(at + 3, 1) != type))
		at = config_read(at + 1, 1);
	assert_true(at);
	return at;
}

static void says_what_it_is(void **state)
{
	static const uint32_t places[][3] = {
		{VIRTIO_PCI_CAP_COMMON_CFG, 0, 60},
		{VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY, 4 * QUEUES},
		{VIRTIO_PCI_CAP_ISR_CFG, ISR, 1},
		{VIRTIO_PCI_CAP_DEVICE_CFG, CONFIG, 8},
	};

	assert_int_equal(config_read(PCI_VENDOR_ID, 4), 0x10421af4);
	assert_int_equal(config_read(PCI_CLASS_REVISION, 4), 0x01000001);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		unsigned at = find_virtio_capability(places[i][0]);

		assert_int_equal(config_read(at + VIRTIO_PCI_CAP_BAR, 1), 4);
		assert_int_equal(config_read(at + VIRTIO_PCI_CAP_OFFSET, 4), places[i][1]);
		assert_int_equal(config_read(at + VIRTIO_PCI_CAP_LENGTH, 4), places[i][2]);
	}
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
	reg_write(VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_SIZE, 2), SIZE);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_NOFF, 2), 1);
	reg_write(VIRTIO_PCI_COMMON_Q_SELECT, QUEUES, 2);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
}

/* Drivers must not (4.1.3.1), but iPXE of 2019 reads the lower half of 32-bit registers only. */
static void a_part_of_a_register_can_be_read(void **state)
{
	uint64_t features;

	reg_write(VIRTIO_PCI_COMMON_DFSELECT, 0, 4);
	features = reg_read(VIRTIO_PCI_COMMON_DF, 4);
	assert_int_not_equal(features & UINT16_MAX, 0);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_DF, 2), features & UINT16_MAX);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_DF + 2, 2), features >> 16);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_DF + 1, 1), features >> 8 & 0xff);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_MSIX, 4), 0);
	reg_write(VIRTIO_PCI_COMMON_DFSELECT, 1, 2);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_DFSELECT, 4), 0);
}

static void features_are_negotiated(void **state)
{
	const uint64_t wrong[] = {0, BIT(5), VIRTIO_F_VERSION_1 | BIT(6)};

	assert_int_equal(offered(), BIT(5) | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC |
					    VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED |
					    VIRTIO_F_RING_RESET);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
		set_features(wrong[i]);
		set_status(READY);
		assert_int_equal(status(), VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
		set_status(0);
		assert_int_equal(status(), 0);
	}
	settle();
	assert_int_equal(answerer.starts, 0);
	begin(false);
	assert_int_equal(answerer.starts, 1);
	assert_int_equal(answerer.virtio.features, VIRTIO_F_VERSION_1);
	set_features(VIRTIO_F_VERSION_1 | BIT(5)); /* too late */
	reg_write(VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_GF, 4), 0);
}

static void requests_are_answered(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		use_msix();
		begin(packed);
		messages = 0;
		for (unsigned i = 1; i <= 3 * SIZE; i++) {
			request_is_answered();
			assert_int_equal(messages, i);
			assert_int_equal(last.data, 0x41);
		}
		assert_false(f.level[GSI]);
		ring_doorbell(1); /* not enabled */
		settle();
		set_status(0);
		settle();
		assert_int_equal(status(), 0);
	}
}

static void pin_is_asserted_until_isr_is_read(void **state)
{
	begin(false);
	request_is_answered();
	assert_true(f.level[GSI]);
	assert_int_equal(messages, 0);
	assert_int_equal(reg_read(ISR, 1), 1);
	assert_false(f.level[GSI]);
	assert_int_equal(reg_read(ISR, 1), 0);
	memcpy(answerer.virtio.config, "CONFIG!", 8);
	virtio_config_changed(&answerer.virtio);
	settle();
	assert_true(f.level[GSI]);
	assert_int_equal(reg_read(ISR, 1), 2);
	assert_false(f.level[GSI]);
}

static void configuration_is_read_and_written(void **state)
{
	uint8_t generation = (uint8_t)reg_read(VIRTIO_PCI_COMMON_CFGGENERATION, 1);
	char text[8];

	use_msix();
	begin(false);
	memcpy(text, &(uint64_t){reg_read(CONFIG, 8)}, 8);
	assert_string_equal(text, "config!");
	assert_int_equal(reg_read(CONFIG + 5, 1), 'g');
	assert_int_equal(reg_read(CONFIG + 8, 4), 0);
	reg_write(CONFIG + 2, 'X' | 'Y' << 8, 2);
	assert_int_equal(written_offset, 2);
	assert_int_equal(written_size, 2);
	assert_memory_equal(answerer.virtio.config, "coXYig!", 8);
	reg_write(CONFIG + 6, 0, 4); /* past its end */
	assert_memory_equal(answerer.virtio.config, "coXYig!", 8);
	virtio_config_changed(&answerer.virtio);
	assert_int_equal(messages, 1);
	assert_int_equal(last.data, 0x40);
	assert_int_not_equal(reg_read(VIRTIO_PCI_COMMON_CFGGENERATION, 1), generation);
}

static void vectors_that_there_are_not_are_refused(void **state)
{
	reg_write(VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	reg_write(VIRTIO_PCI_COMMON_Q_MSIX, QUEUES, 2);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_MSIX, 2), QUEUES);
	reg_write(VIRTIO_PCI_COMMON_Q_MSIX, QUEUES + 1, 2);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	reg_write(VIRTIO_PCI_COMMON_MSIX, 0x8000, 2);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
}

static void broken_ring_needs_a_reset(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		const struct buffer nowhere = {BIT(40), 16, 0};
		unsigned calls;

		use_msix();
		begin(packed);
		messages = 0;
		driver_add(&driver, &nowhere, 1);
		ring_doorbell(0);
		settle();
		assert_int_equal(status(), READY | VIRTIO_CONFIG_S_NEEDS_RESET);
		assert_int_equal(messages, 1);
		assert_int_equal(last.data, 0x40);
		calls = answerer.notified;
		ring_doorbell(0);
		settle();
		assert_int_equal(answerer.notified, calls);
		set_status(READY); /* only a reset clears it */
		assert_true(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
		set_status(0);
		settle();
		assert_int_equal(status(), 0);
		begin(packed);
		request_is_answered();
		set_status(0);
		settle();
	}
}

static void impossible_queue_needs_a_reset(void **state)
{
	begin(false);
	set_status(0);
	settle();
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	set_features(VIRTIO_F_VERSION_1);
	set_status(status() | VIRTIO_CONFIG_S_FEATURES_OK);
	driver.descriptors = BIT(40);
	set_queue(0, &driver);
	set_status(READY);
	settle();
	assert_int_equal(status(), READY | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(answerer.starts, 1);
	set_status(0);
	settle();
	assert_int_equal(status(), 0);
	assert_int_equal(answerer.stops, 1);
	begin(false);
	request_is_answered();
}

static void reset_waits_for_what_is_in_flight(void **state)
{
	use_msix();
	begin(false);
	answerer.keep = true;
	add_request();
	ring_doorbell(0);
	settle();
	set_status(0);
	settle();
	assert_int_equal(status(), READY);
	/* What the driver sets meanwhile is lost. */
	set_features(0);
	set_status(READY);
	reg_write(VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	ring_doorbell(0);
	settle();
	assert_int_equal(status(), READY);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
	worker_call(answerer.virtio.worker, let_go, NULL);
	settle();
	assert_int_equal(status(), 0);
	assert_int_equal(answerer.stops, 1);
	answerer.keep = false;
	begin(false);
	request_is_answered();
}

static void function_reset_resets_the_device(void **state)
{
	unsigned at = config_read(PCI_CAPABILITY_LIST, 1);

	begin(false);
	while (at && config_read(at, 1) != PCI_CAP_ID_EXP)
		at = config_read(at + 1, 1);
	config_write(at + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR, 2);
	settle();
	switch_on();
	assert_int_equal(status(), 0);
	assert_int_equal(answerer.stops, 1);
	begin(false);
	request_is_answered();
}

/* The driver has given the device up: what ends after the reset goes nowhere. */
static void bus_reset_with_a_request_in_flight(void **state)
{
	uint32_t written;

	begin(false);
	answerer.keep = true;
	add_request();
	ring_doorbell(0);
	settle();
	assert_true(answerer.in_flight);
	port_write(PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_BUS_RESET, 2);
	assert_int_equal(config_read(0, 4), UINT32_MAX);
	port_write(PCI_BRIDGE_CONTROL, 0, 2);
	assert_int_equal(config_read(PCI_VENDOR_ID, 2), 0x1af4);
	assert_int_equal(config_read(PCI_COMMAND, 2), 0);
	settle();
	assert_int_equal(answerer.stops, 1);
	answerer.keep = false;
	worker_call(answerer.virtio.worker, let_go, NULL);
	settle();
	assert_true(driver_get(&driver, &written) < 0);
	switch_on();
	assert_int_equal(status(), 0);
	begin(false);
	request_is_answered();
}

static void queues_are_frozen_while_it_runs(void **state)
{
	begin(false);
	reg_write(VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	reg_write(VIRTIO_PCI_COMMON_Q_SIZE, 2, 2);
	reg_write(VIRTIO_PCI_COMMON_Q_DESCLO, 0x1000, 4);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_SIZE, 2), SIZE);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_DESCLO, 4), RING);
	reg_write(VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	reg_write(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
}

#define QUEUE_RESET VIRTIO_PCI_COMMON_Q_RESET

static void reset_queue(unsigned index)
{
	reg_write(VIRTIO_PCI_COMMON_Q_SELECT, index, 2);
	reg_write(QUEUE_RESET, 1, 2);
}

/* It begins anew, with another ring, while the device runs on. */
static void queue_is_reset_alone(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		extra = VIRTIO_F_RING_RESET;
		use_msix();
		begin(packed);
		request_is_answered();
		reset_queue(0);
		assert_int_equal(reg_read(QUEUE_RESET, 2), 1);
		settle();
		assert_int_equal(reg_read(QUEUE_RESET, 2), 0);
		assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
		assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0);
		assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_SIZE, 2), SIZE);
		assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
		ring_doorbell(0); /* there is nobody */
		settle();
		assert_int_equal(status(), READY);
		driver_init(&driver, f.memory.ram, RING + 0x4000, SIZE / 2, packed, false);
		set_queue(0, &driver);
		settle();
		assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
		for (unsigned i = 0; i < 2 * SIZE; i++)
			request_is_answered();
		assert_int_equal(answerer.stops, packed);
		assert_int_equal(status(), READY);
		set_status(0);
		settle();
	}
}

static void queue_reset_waits_for_what_is_in_flight(void **state)
{
	extra = VIRTIO_F_RING_RESET;
	begin(false);
	answerer.keep = true;
	add_request();
	ring_doorbell(0);
	settle();
	reset_queue(0);
	settle();
	assert_int_equal(reg_read(QUEUE_RESET, 2), 1);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	reg_write(VIRTIO_PCI_COMMON_Q_SIZE, 2, 2); /* too early */
	reset_queue(0);
	worker_call(answerer.virtio.worker, let_go, NULL);
	settle();
	assert_int_equal(reg_read(QUEUE_RESET, 2), 0);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_SIZE, 2), SIZE);
	answerer.keep = false;
	driver_init(&driver, f.memory.ram, RING, SIZE, false, false);
	set_queue(0, &driver);
	settle();
	request_is_answered();
}

/* The machine is saved between the two halves. */
static void queue_reset_outlives_a_stop(void **state)
{
	struct state_writer writer = {0};
	struct state_reader reader;

	extra = VIRTIO_F_RING_RESET;
	begin(false);
	request_is_answered();
	reset_queue(0);
	assert_true(device_list_quiesce(&f.devices, UINT64_MAX));
	device_list_save(&f.devices, &writer);
	reader = (struct state_reader){writer.bytes, writer.size};
	device_list_reset(&f.devices);
	assert_int_equal(device_list_load(&f.devices, &reader), 0);
	free(writer.bytes);
	device_list_resume(&f.devices);
	settle();
	assert_int_equal(reg_read(QUEUE_RESET, 2), 0);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	driver_init(&driver, f.memory.ram, RING, SIZE, false, false);
	set_queue(0, &driver);
	settle();
	request_is_answered();
}

/* Nor for a queue that there is not, or that does not run. */
static void no_queue_reset_without_the_feature(void **state)
{
	begin(false);
	reset_queue(0);
	assert_int_equal(reg_read(QUEUE_RESET, 2), 0);
	request_is_answered();
	set_status(0);
	settle();
	extra = VIRTIO_F_RING_RESET;
	begin(false);
	reset_queue(1);
	reset_queue(QUEUES);
	reg_write(VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	reg_write(QUEUE_RESET, 2, 2);
	assert_int_equal(reg_read(QUEUE_RESET, 2), 0);
	request_is_answered();
}

static uint32_t access_read(uint32_t offset, uint32_t length)
{
	unsigned at = find_virtio_capability(VIRTIO_PCI_CAP_PCI_CFG);

	config_write(at + VIRTIO_PCI_CAP_BAR, 4, 1);
	config_write(at + VIRTIO_PCI_CAP_OFFSET, offset, 4);
	config_write(at + VIRTIO_PCI_CAP_LENGTH, length, 4);
	return config_read(at + 16, length == 3 ? 4 : length);
}

static void access_write(uint32_t offset, uint32_t length, uint32_t value)
{
	access_read(CONFIG, length); /* nothing that reading changes */
	config_write(
		find_virtio_capability(VIRTIO_PCI_CAP_PCI_CFG) + VIRTIO_PCI_CAP_OFFSET, offset, 4);
	config_write(find_virtio_capability(VIRTIO_PCI_CAP_PCI_CFG) + 16, value, length);
}

static void registers_by_configuration_space(void **state)
{
	unsigned at = find_virtio_capability(VIRTIO_PCI_CAP_PCI_CFG);

	assert_int_equal(access_read(VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
	access_write(VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	assert_int_equal(reg_read(VIRTIO_PCI_COMMON_Q_SELECT, 2), 1);
	access_write(VIRTIO_PCI_COMMON_STATUS, 1, 1);
	assert_int_equal(status(), 1);
	/* Impossible ones do nothing. */
	config_write(at + 16, 0x12345678, 4);
	config_write(at + VIRTIO_PCI_CAP_OFFSET, 0x4000, 4);
	assert_int_equal(config_read(at + 16, 4), config_read(at + 16, 4));
	access_read(UINT32_MAX - 3, 4);
	access_read(2, 4);
	access_read(0, 3);
	config_write(at + VIRTIO_PCI_CAP_BAR, 1, 1);
	config_write(at + VIRTIO_PCI_CAP_OFFSET, VIRTIO_PCI_COMMON_STATUS, 4);
	config_write(at + VIRTIO_PCI_CAP_LENGTH, 1, 4);
	config_write(at + 16, 0, 1);
	assert_int_equal(status(), 1);
}

/* The machine stops and goes on, in this device or in another one. */
static void queues_go_on_after_a_stop(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct state_writer writer = {0};
		struct state_reader reader;

		begin(packed);
		for (unsigned i = 0; i < SIZE + 5; i++)
			request_is_answered();
		assert_true(device_list_quiesce(&f.devices, UINT64_MAX));
		add_request();
		ring_doorbell(0);
		settle();
		assert_int_equal(f.memory.ram[BUFFER], 0);
		assert_true(device_list_quiesce(
			&f.devices, UINT64_MAX)); /* once more changes nothing */
		device_list_save(&f.devices, &writer);
		assert_false(writer.failed);

		reader = (struct state_reader){writer.bytes, writer.size};
		device_list_reset(&f.devices);
		assert_int_equal(device_list_load(&f.devices, &reader), 0);
		free(writer.bytes);
		device_list_resume(&f.devices);
		settle();
		assert_int_equal(status(), READY);
		assert_int_equal(f.memory.ram[BUFFER], '!');
		assert_true(driver_get(&driver, &(uint32_t){0}) >= 0);
		request_is_answered();
		set_status(0);
		settle();
	}
}

/* A request is in flight longer than the user wants to wait for a pause. */
static void call_a_pause_off(void)
{
	begin(false);
	answerer.keep = true;
	add_request();
	ring_doorbell(0);
	settle();
	answerer.keep = false;
	assert_false(device_list_quiesce(&f.devices, 0));
	settle();
	assert_false(device_list_quiesce(&f.devices, 0)); /* asked again */
	device_list_resume(&f.devices);
	settle();
	assert_int_equal(status(), READY);
}

static void end_request(void)
{
	worker_call(answerer.virtio.worker, let_go, NULL);
	settle();
	settle(); /* the I/O thread has asked the worker for something */
}

static void a_pause_is_called_off(void **state)
{
	for (unsigned round = 0; round < 2; round++) {
		unsigned starts;

		call_a_pause_off();
		starts = answerer.starts;
		/* The device has begun to stop, and starts again after that. */
		add_request();
		ring_doorbell(0);
		settle();
		assert_int_equal(answerer.starts, starts);
		end_request();
		assert_int_equal(answerer.starts, starts + 1);
		assert_true(driver_get(&driver, &(uint32_t){0}) >= 0);
		assert_true(driver_get(&driver, &(uint32_t){0}) >= 0);
		request_is_answered();
		/* That pause's answer is not taken for the next one's. */
		assert_true(device_list_quiesce(&f.devices, UINT64_MAX));
		assert_false(answerer.virtio.running);
		device_list_resume(&f.devices);
		settle();
		request_is_answered();
		set_status(0);
		settle();
	}
}

/* The driver resets a device that still stops for the pause. */
static void a_pause_is_called_off_and_a_reset_follows(void **state)
{
	unsigned stops;

	call_a_pause_off();
	stops = answerer.stops;
	set_status(0);
	settle();
	assert_int_equal(status(), READY);
	assert_int_equal(answerer.stops, stops + 1); /* it is told that it is a reset now */
	end_request();
	assert_int_equal(status(), 0);
	begin(true);
	request_is_answered();
}

/* Another pause comes before the device has stopped for the first; and it is called off when the
 * device has stopped, but nobody has heard of it. */
static void pauses_come_and_go_quickly(void **state)
{
	call_a_pause_off();
	assert_false(device_list_quiesce(&f.devices, 0));
	worker_call(answerer.virtio.worker, let_go, NULL);
	assert_true(device_list_quiesce(&f.devices, UINT64_MAX));
	settle();
	assert_false(answerer.virtio.running);
	device_list_resume(&f.devices);
	settle();
	assert_true(driver_get(&driver, &(uint32_t){0}) >= 0);
	request_is_answered();
	set_status(0);
	settle();

	call_a_pause_off();
	assert_false(device_list_quiesce(&f.devices, 0));
	end_request();
	assert_false(answerer.virtio.running);
	device_list_resume(&f.devices);
	settle();
	assert_true(driver_get(&driver, &(uint32_t){0}) >= 0);
	request_is_answered();
}

static void stop_ends_a_reset(void **state)
{
	begin(false);
	set_status(0);
	assert_true(device_list_quiesce(&f.devices, UINT64_MAX));
	assert_int_equal(answerer.stops, 1);
	device_list_resume(&f.devices);
	assert_int_equal(status(), 0);
	begin(false);
	request_is_answered();
}

static void machine_reset(void **state)
{
	begin(false);
	request_is_answered();
	assert_true(device_list_quiesce(&f.devices, UINT64_MAX));
	device_list_reset(&f.devices);
	switch_on();
	device_list_resume(&f.devices);
	settle();
	assert_int_equal(status(), 0);
	assert_false(f.level[GSI]);
	begin(true);
	request_is_answered();
}

static void state_that_cannot_be_is_refused(void **state)
{
	static const struct {
		unsigned offset;
		uint8_t value;
	} changes[] = {
		{0, 1},     /* a feature that is not offered */
		{16, 0x10}, /* status */
		{16, READY & ~VIRTIO_CONFIG_S_FEATURES_OK}, {18, 2}, /* resetting */
		{19, 1 << QUEUES}, {23, 1 << QUEUES},                /* queues in reset */
		{27, 4},                                             /* ISR */
		{30, QUEUES + 1}, /* the configuration's vector */
		{32, QUEUES + 1}, /* a queue's */
		{68, SIZE + 1},   /* a queue's size */
	};

	begin(false);
	assert_true(device_list_quiesce(&f.devices, UINT64_MAX));
	for (unsigned i = 0; i <= ARRAY_SIZE(changes); i++) {
		struct state_writer writer = {0};
		struct state_reader reader;
		uint8_t *section;

		device_list_save(&f.devices, &writer);
		section = memmem(writer.bytes, writer.size, "virtio-test", 11);
		assert_non_null(section);
		if (i < ARRAY_SIZE(changes))
			section[28 + changes[i].offset] = changes[i].value;
		reader = (struct state_reader){writer.bytes, writer.size};
		assert_int_equal(device_list_load(&f.devices, &reader),
			i < ARRAY_SIZE(changes) ? -EINVAL : 0);
		free(writer.bytes);
	}
}

static struct worker_timer timer;

static void let_go_soon(void *opaque)
{
	worker_timer_init(&timer, answerer.virtio.worker, let_go, NULL);
	worker_timer_arm(&timer, 20 * MS);
}

/* teardown() destroys it. */
static void destroyed_with_a_request_in_flight(void **state)
{
	begin(false);
	answerer.keep = true;
	add_request();
	ring_doorbell(0);
	worker_call(answerer.virtio.worker, let_go_soon, NULL);
	assert_true(answerer.in_flight);
	assert_int_equal(answerer.stops, 0);
}

static int teardown_in_flight(void **state)
{
	teardown(state);
	assert_int_equal(answerer.stops, 1);
	assert_false(answerer.in_flight);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(says_what_it_is),
		TEST(a_part_of_a_register_can_be_read),
		TEST(features_are_negotiated),
		TEST(requests_are_answered),
		TEST(pin_is_asserted_until_isr_is_read),
		TEST(configuration_is_read_and_written),
		TEST(vectors_that_there_are_not_are_refused),
		TEST(broken_ring_needs_a_reset),
		TEST(impossible_queue_needs_a_reset),
		TEST(reset_waits_for_what_is_in_flight),
		TEST(function_reset_resets_the_device),
		cmocka_unit_test_setup_teardown(
			bus_reset_with_a_request_in_flight, setup_behind_a_port, teardown),
		TEST(queues_are_frozen_while_it_runs),
		TEST(queue_is_reset_alone),
		TEST(queue_reset_waits_for_what_is_in_flight),
		TEST(queue_reset_outlives_a_stop),
		TEST(no_queue_reset_without_the_feature),
		TEST(registers_by_configuration_space),
		TEST(queues_go_on_after_a_stop),
		TEST(a_pause_is_called_off),
		TEST(a_pause_is_called_off_and_a_reset_follows),
		TEST(pauses_come_and_go_quickly),
		TEST(stop_ends_a_reset),
		TEST(machine_reset),
		TEST(state_that_cannot_be_is_refused),
		cmocka_unit_test_setup_teardown(
			destroyed_with_a_request_in_flight, setup, teardown_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
