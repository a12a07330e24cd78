/* A virtio device's registers on the PCI bus (virtio 1.2, 4.1). One 64-bit BAR has the four groups
 * of registers, each a page of its own, and vendor-specific capabilities say which is where:
 *
 *	0x0000	common configuration	features, status, queues
 *	0x1000	ISR			read to find out why the pin is asserted, and to let it go
 *	0x2000	device configuration	the device type's
 *	0x3000	notifications		a doorbell a queue; see struct pci_bar
 *
 * A fifth capability is another way to them, through configuration space. MSI-X has a BAR and a
 * vector for each queue and one for changes of the configuration. */
#include "device/virtio/internal.h"

#include "base/log.h"

#include <linux/virtio_pci.h>
#include <string.h>

#define VENDOR            0x1af4
#define FIRST_DEVICE      0x1040
#define CAPABILITY_VENDOR 0x09
#define MSIX_BAR          1
#define BAR               4
#define COMMON            0x0000
#define COMMON_SIZE       (VIRTIO_PCI_COMMON_Q_RESET + 2)
#define ISR               0x1000
#define CONFIG            0x2000
#define NOTIFY            0x3000
#define GROUP_SIZE        0x1000
#define BAR_SIZE          0x4000
#define NOTIFY_MULTIPLIER 4

/* --- interrupts --- */

void virtio_pci_update_pin(struct virtio_device *device)
{
	pci_set_intx(&device->pci, atomic_load(&device->state.isr));
}

void virtio_pci_interrupt(
	struct virtio_device *device, _Atomic uint16_t *vector, enum virtio_isr reason)
{
	if (pci_msi_enabled(&device->pci)) {
		pci_notify(&device->pci, atomic_load_explicit(vector, memory_order_relaxed));
		return;
	}
	atomic_fetch_or(&device->state.isr, (uint8_t)reason);
	event_loop_post(device->loop, &device->intx_work);
}

/* --- common configuration (4.1.4.3) --- */

/* The queue that is selected, or NULL: there is none. */
static struct virtqueue_setup *selected(struct virtio_device *device)
{
	unsigned index = device->state.queue_select;

	return index < device->queue_count ? &device->state.queue[index] : NULL;
}

static uint32_t half(uint64_t value, uint32_t select)
{
	return select < 2 ? (uint32_t)(value >> (32 * select)) : 0;
}

static void set_half(uint64_t *value, uint32_t select, uint32_t half)
{
	if (select < 2)
		*value = (*value & ~(UINT64_C(0xffffffff) << (32 * select))) |
			 (uint64_t)half << (32 * select);
}

static uint32_t read_feature_select(struct virtio_device *device)
{
	return device->state.feature_select;
}

static void write_feature_select(struct virtio_device *device, uint32_t value)
{
	device->state.feature_select = value;
}

static uint32_t read_features(struct virtio_device *device)
{
	return half(virtio_offered(device), device->state.feature_select);
}

static uint32_t read_driver_feature_select(struct virtio_device *device)
{
	return device->state.driver_feature_select;
}

static void write_driver_feature_select(struct virtio_device *device, uint32_t value)
{
	device->state.driver_feature_select = value;
}

static uint32_t read_driver_features(struct virtio_device *device)
{
	return half(device->state.driver_features, device->state.driver_feature_select);
}

static void write_driver_features(struct virtio_device *device, uint32_t value)
{
	if (!(device->state.status & STATUS_FEATURES_OK))
		set_half(
			&device->state.driver_features, device->state.driver_feature_select, value);
}

/* A vector that there is not reads back as none (4.1.5.1.2.1). */
static void set_vector(struct virtio_device *device, _Atomic uint16_t *vector, uint32_t value)
{
	*vector = value <= device->queue_count ? (uint16_t)value : PCI_NO_VECTOR;
}

static uint32_t read_config_vector(struct virtio_device *device)
{
	return device->state.config_vector;
}

static void write_config_vector(struct virtio_device *device, uint32_t value)
{
	set_vector(device, &device->state.config_vector, value);
}

static uint32_t read_queue_count(struct virtio_device *device)
{
	return device->queue_count;
}

static uint32_t read_status(struct virtio_device *device)
{
	return device->state.status;
}

static void write_status(struct virtio_device *device, uint32_t value)
{
	virtio_set_status(device, (uint8_t)value);
}

static uint32_t read_generation(struct virtio_device *device)
{
	return device->state.config_generation;
}

static uint32_t read_queue_select(struct virtio_device *device)
{
	return device->state.queue_select;
}

static void write_queue_select(struct virtio_device *device, uint32_t value)
{
	device->state.queue_select = (uint16_t)value;
}

static uint32_t read_queue_size(struct virtio_device *device)
{
	const struct virtqueue_setup *queue = selected(device);

	return queue ? queue->size : 0;
}

static void write_queue_size(struct virtio_device *device, uint32_t value)
{
	struct virtqueue_setup *queue = selected(device);

	if (queue && virtio_is_configurable(device, device->state.queue_select) &&
		value <= device->queue_size)
		queue->size = (uint16_t)value;
}

static uint32_t read_queue_vector(struct virtio_device *device)
{
	return selected(device) ? device->state.queue_vector[device->state.queue_select]
				: PCI_NO_VECTOR;
}

static void write_queue_vector(struct virtio_device *device, uint32_t value)
{
	if (selected(device))
		set_vector(device, &device->state.queue_vector[device->state.queue_select], value);
}

static uint32_t read_queue_enable(struct virtio_device *device)
{
	const struct virtqueue_setup *queue = selected(device);

	return queue && queue->enabled;
}

/* Only a reset disables a queue. */
static void write_queue_enable(struct virtio_device *device, uint32_t value)
{
	unsigned index = device->state.queue_select;

	if (selected(device) && virtio_is_configurable(device, index) && value == 1)
		virtio_enable_queue(device, index);
}

static uint32_t read_queue_reset(struct virtio_device *device)
{
	return selected(device) &&
	       (device->state.queues_resetting & BIT(device->state.queue_select));
}

static void write_queue_reset(struct virtio_device *device, uint32_t value)
{
	if (selected(device) && value == 1)
		virtio_reset_queue(device, device->state.queue_select);
}

static uint32_t read_notify_off(struct virtio_device *device)
{
	return selected(device) ? device->state.queue_select : 0;
}

/* The three addresses, each of which has a lower and an upper register. */
static uint64_t *address(struct virtio_device *device, unsigned which)
{
	struct virtqueue_setup *queue = selected(device);
	uint64_t *addresses[] = {NULL, NULL, NULL};

	if (queue) {
		addresses[0] = &queue->descriptors;
		addresses[1] = &queue->driver;
		addresses[2] = &queue->device;
	}
	return addresses[which];
}

static uint32_t read_address(struct virtio_device *device, unsigned offset)
{
	const uint64_t *at = address(device, offset / 8);

	return at ? half(*at, offset / 4 % 2) : 0;
}

static void write_address(struct virtio_device *device, unsigned offset, uint32_t value)
{
	uint64_t *at = address(device, offset / 8);

	if (at && virtio_is_configurable(device, device->state.queue_select))
		set_half(at, offset / 4 % 2, value);
}

/* Drivers access a register as a whole (4.1.3.1). */
static const struct common_register {
	uint8_t offset, size;
	uint32_t (*read)(struct virtio_device *device);
	void (*write)(struct virtio_device *device, uint32_t value);
} common_registers[] = {
	{VIRTIO_PCI_COMMON_DFSELECT, 4, read_feature_select, write_feature_select},
	{VIRTIO_PCI_COMMON_DF, 4, read_features, NULL},
	{VIRTIO_PCI_COMMON_GFSELECT, 4, read_driver_feature_select, write_driver_feature_select},
	{VIRTIO_PCI_COMMON_GF, 4, read_driver_features, write_driver_features},
	{VIRTIO_PCI_COMMON_MSIX, 2, read_config_vector, write_config_vector},
	{VIRTIO_PCI_COMMON_NUMQ, 2, read_queue_count, NULL},
	{VIRTIO_PCI_COMMON_STATUS, 1, read_status, write_status},
	{VIRTIO_PCI_COMMON_CFGGENERATION, 1, read_generation, NULL},
	{VIRTIO_PCI_COMMON_Q_SELECT, 2, read_queue_select, write_queue_select},
	{VIRTIO_PCI_COMMON_Q_SIZE, 2, read_queue_size, write_queue_size},
	{VIRTIO_PCI_COMMON_Q_MSIX, 2, read_queue_vector, write_queue_vector},
	{VIRTIO_PCI_COMMON_Q_ENABLE, 2, read_queue_enable, write_queue_enable},
	{VIRTIO_PCI_COMMON_Q_NOFF, 2, read_notify_off, NULL},
	{VIRTIO_PCI_COMMON_Q_RESET, 2, read_queue_reset, write_queue_reset},
};

/* The register that has these bytes, or NULL. */
static const struct common_register *find_register(uint64_t offset, unsigned size)
{
	for (unsigned i = 0; i < ARRAY_SIZE(common_registers); i++) {
		const struct common_register *at = &common_registers[i];

		if (offset >= at->offset && offset + size <= at->offset + at->size)
			return at;
	}
	return NULL;
}

static bool is_address(uint64_t offset, unsigned size)
{
	return offset >= VIRTIO_PCI_COMMON_Q_DESCLO && offset <= VIRTIO_PCI_COMMON_Q_USEDHI &&
	       size == 4 && offset % 4 == 0;
}

/* A part of a register can be read, too: iPXE of 2019 (Debian's ROMs) reads features by 16 bits. */
static uint32_t read_common(struct virtio_device *device, uint64_t offset, unsigned size)
{
	const struct common_register *at = find_register(offset, size);

	if (is_address(offset, size))
		return read_address(device, (unsigned)offset - VIRTIO_PCI_COMMON_Q_DESCLO);
	return at ? at->read(device) >> 8 * (offset - at->offset) : 0;
}

/* While a reset is under way, nothing is taken: what the driver sets would be lost with it. */
static void write_common(
	struct virtio_device *device, uint64_t offset, uint32_t value, unsigned size)
{
	const struct common_register *at = find_register(offset, size);

	if (device->state.resetting)
		return;
	if (is_address(offset, size))
		write_address(device, (unsigned)offset - VIRTIO_PCI_COMMON_Q_DESCLO, value);
	else if (at && at->write && at->size == size)
		at->write(device, value);
}

/* --- the other groups --- */

/* Reading lets the pin go, for reasons that are in what was read. */
static uint32_t read_isr(struct virtio_device *device, uint64_t offset, unsigned size)
{
	uint8_t value;

	if (offset)
		return 0;
	value = atomic_exchange(&device->state.isr, 0);
	virtio_pci_update_pin(device);
	return value;
}

static uint32_t read_config(struct virtio_device *device, uint64_t offset, unsigned size)
{
	uint32_t value = 0;

	if (offset < device->config_size)
		memcpy(&value, device->config + offset, MIN(size, device->config_size - offset));
	return value;
}

static void write_config(
	struct virtio_device *device, uint64_t offset, uint32_t value, unsigned size)
{
	if (!device->ops->config_written || offset + size > device->config_size)
		return;
	memcpy(device->config + offset, &value, size);
	device->ops->config_written(device, (unsigned)offset, size);
}

/* Without a lock, but where the guest rings by configuration space. What was written says nothing
 * that the address does not. */
static void doorbell(void *opaque, uint64_t offset, uint64_t value)
{
	struct virtio_device *device = opaque;
	uint64_t index = (offset - NOTIFY) / NOTIFY_MULTIPLIER;

	if (index < device->queue_count)
		worker_post(device->worker, &device->notify_task[index]);
}

static void write_notify(
	struct virtio_device *device, uint64_t offset, uint32_t value, unsigned size)
{
	doorbell(device, NOTIFY + offset, value);
}

/* By page of the BAR. */
static const struct group {
	uint32_t (*read)(struct virtio_device *device, uint64_t offset, unsigned size);
	void (*write)(struct virtio_device *device, uint64_t offset, uint32_t value, unsigned size);
} groups[BAR_SIZE / GROUP_SIZE] = {
	[COMMON / GROUP_SIZE] = {read_common, write_common},
	[ISR / GROUP_SIZE] = {read_isr, NULL},
	[CONFIG / GROUP_SIZE] = {read_config, write_config},
	[NOTIFY / GROUP_SIZE] = {NULL, write_notify},
};

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct group *group = &groups[offset / GROUP_SIZE];

	return group->read ? group->read(opaque, offset % GROUP_SIZE, size) : 0;
}

static void bar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	const struct group *group = &groups[offset / GROUP_SIZE];

	if (group->write)
		group->write(opaque, offset % GROUP_SIZE, (uint32_t)value, size);
}

/* --- access through configuration space (4.1.4.9) --- */

/* What the guest has set up there; false: it is impossible, or not about our data. */
static bool config_access(const struct virtio_device *device, unsigned offset, unsigned size,
	uint32_t *at, uint32_t *length)
{
	const uint8_t *bytes = device->pci.state.config + device->config_access;
	unsigned data = device->config_access + sizeof(struct virtio_pci_cap);

	if (offset >= data + 4 || offset + size <= data)
		return false;
	memcpy(at, bytes + VIRTIO_PCI_CAP_OFFSET, sizeof(*at));
	memcpy(length, bytes + VIRTIO_PCI_CAP_LENGTH, sizeof(*length));
	return bytes[VIRTIO_PCI_CAP_BAR] == BAR && (*length == 1 || *length == 2 || *length == 4) &&
	       *at % *length == 0 && *at < BAR_SIZE;
}

static void capability_read(void *opaque, unsigned offset, unsigned size)
{
	struct virtio_device *device = opaque;
	uint32_t at, length, value;

	if (!config_access(device, offset, size, &at, &length))
		return;
	value = (uint32_t)bar_read(device, at, length);
	memcpy(device->pci.state.config + device->config_access + sizeof(struct virtio_pci_cap),
		&value, length);
}

static void capability_written(void *opaque, unsigned offset, unsigned size)
{
	struct virtio_device *device = opaque;
	uint32_t at, length, value = 0;

	if (!config_access(device, offset, size, &at, &length))
		return;
	memcpy(&value,
		device->pci.state.config + device->config_access + sizeof(struct virtio_pci_cap),
		length);
	bar_write(device, at, value, length);
}

/* --- making it --- */

/* They have room: their sizes are known. */
static void add_capabilities(struct virtio_device *device)
{
	static const struct {
		uint8_t type, size;
		uint32_t offset, length;
	} places[] = {
		{VIRTIO_PCI_CAP_COMMON_CFG, sizeof(struct virtio_pci_cap), COMMON, COMMON_SIZE},
		{VIRTIO_PCI_CAP_ISR_CFG, sizeof(struct virtio_pci_cap), ISR, 1},
		{VIRTIO_PCI_CAP_DEVICE_CFG, sizeof(struct virtio_pci_cap), CONFIG, 0},
		{VIRTIO_PCI_CAP_NOTIFY_CFG, sizeof(struct virtio_pci_notify_cap), NOTIFY, 0},
		{VIRTIO_PCI_CAP_PCI_CFG, sizeof(struct virtio_pci_cfg_cap), 0, 0},
	};
	/* Of the last one: bar, offset, length and data. */
	static const struct virtio_pci_cfg_cap writable = {
		.cap = {.bar = 0xff, .offset = UINT32_MAX, .length = UINT32_MAX},
		.pci_cfg_data = {0xff, 0xff, 0xff, 0xff},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		bool access = places[i].type == VIRTIO_PCI_CAP_PCI_CFG;
		struct virtio_pci_notify_cap bytes = {
			.cap = {.cap_vndr = CAPABILITY_VENDOR,
				.cap_len = places[i].size,
				.cfg_type = places[i].type,
				.bar = access ? 0 : BAR,
				.offset = places[i].offset,
				.length = places[i].length},
		};

		if (places[i].type == VIRTIO_PCI_CAP_DEVICE_CFG)
			bytes.cap.length = device->config_size;
		if (places[i].type == VIRTIO_PCI_CAP_NOTIFY_CFG) {
			bytes.cap.length = device->queue_count * NOTIFY_MULTIPLIER;
			bytes.notify_off_multiplier = NOTIFY_MULTIPLIER;
		}
		if (!bytes.cap.length && !access) /* it has no configuration */
			continue;
		device->config_access = pci_add_capability(
			&device->pci, &bytes, access ? &writable : NULL, places[i].size);
	}
}

static void function_reset(void *opaque)
{
	virtio_begin_reset(opaque);
}

int virtio_pci_add(struct virtio_device *device, struct pci_bus *bus, int slot)
{
	static const struct io_ops ops = {.read = bar_read, .write = bar_write, .width = 4};
	uint16_t id = (uint16_t)(FIRST_DEVICE + device->ops->type);
	struct pci_description description = {
		.name = device->ops->name,
		.vendor = VENDOR,
		.device = id,
		.subsystem_vendor = VENDOR,
		.subsystem = id,
		.class_code = device->ops->pci_class,
		.revision = 1,
		.intx = true,
		.msix_vectors = device->queue_count + 1,
		.msix_bar = MSIX_BAR,
		.bar[BAR] = {.kind = PCI_BAR_MEMORY64,
			.size = BAR_SIZE,
			.ops = &ops,
			.opaque = device,
			.doorbell = doorbell,
			.doorbell_start = NOTIFY,
			.doorbell_size = device->queue_count * NOTIFY_MULTIPLIER},
		.opaque = device,
		.reset = function_reset,
		.capability_read = capability_read,
		.capability_written = capability_written,
	};
	int error = pci_add(bus, &device->pci, slot, &description);

	if (!error)
		add_capabilities(device);
	return error;
}
