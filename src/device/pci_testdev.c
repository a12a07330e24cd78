#include "device/pci_testdev.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

struct pci_testdev_state {
	uint32_t latch, resets, written;
	uint64_t address;
	_Atomic uint32_t rings, rung;
};

struct pci_testdev {
	struct device device;
	struct pci_testdev_state state;
	struct pci_function function;
};

static uint64_t latch_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct pci_testdev *testdev = opaque;

	return testdev->state.latch;
}

static void latch_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_testdev *testdev = opaque;

	testdev->state.latch = (uint32_t)value;
}

static uint64_t registers_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct pci_testdev_state *state = &((const struct pci_testdev *)opaque)->state;

	switch (offset) {
	case PCI_TESTDEV_LATCH:
		return state->latch;
	case PCI_TESTDEV_RESETS:
		return state->resets;
	case PCI_TESTDEV_RINGS:
		return atomic_load(&state->rings);
	case PCI_TESTDEV_RUNG:
		return atomic_load(&state->rung);
	case PCI_TESTDEV_ADDRESS:
		return (uint32_t)state->address;
	case PCI_TESTDEV_ADDRESS + 4:
		return state->address >> 32;
	case PCI_TESTDEV_DMA:
		return state->written;
	default:
		return 0;
	}
}

static void registers_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_testdev *testdev = opaque;
	struct pci_testdev_state *state = &testdev->state;
	uint32_t low = (uint32_t)value;

	switch (offset) {
	case PCI_TESTDEV_LATCH:
		state->latch = low;
		break;
	case PCI_TESTDEV_NOTIFY:
		pci_notify(&testdev->function, low);
		break;
	case PCI_TESTDEV_PIN:
		pci_set_intx(&testdev->function, low & 1);
		break;
	case PCI_TESTDEV_ADDRESS:
		state->address = (state->address & ~UINT64_C(0xffffffff)) | low;
		break;
	case PCI_TESTDEV_ADDRESS + 4:
		state->address = (uint32_t)state->address | (uint64_t)low << 32;
		break;
	case PCI_TESTDEV_DMA:
		state->written =
			dma_write(&testdev->function.dma, state->address, &low, sizeof(low)) == 0;
		break;
	default:
		break;
	}
}

static void doorbell(void *opaque, uint64_t offset, uint64_t value)
{
	struct pci_testdev *testdev = opaque;

	atomic_store(&testdev->state.rung,
		(uint32_t)(offset - PCI_TESTDEV_DOORBELL) << 16 | (uint16_t)value);
	atomic_fetch_add(&testdev->state.rings, 1);
}

/* All but the count, so that what was reset is seen. */
static void function_reset(void *opaque)
{
	struct pci_testdev *testdev = opaque;

	testdev->state = (struct pci_testdev_state){.resets = testdev->state.resets + 1};
}

static void testdev_reset(void *device)
{
	struct pci_testdev *testdev = device;

	testdev->state = (struct pci_testdev_state){0};
}

static const struct state_field testdev_fields[] = {
	STATE_ANY(struct pci_testdev_state, latch),
	STATE_ANY(struct pci_testdev_state, resets),
	STATE_FIELD(struct pci_testdev_state, written, 0, 1),
	STATE_ANY(struct pci_testdev_state, address),
	STATE_ANY(struct pci_testdev_state, rings),
	STATE_ANY(struct pci_testdev_state, rung),
	STATE_END,
};

static const struct device_ops testdev_device = {
	.name = "pci-testdev",
	.version = 1,
	DEVICE_STATE(struct pci_testdev, testdev_fields),
	.reset = testdev_reset,
	.destroy = free,
};

int pci_testdev_create(struct pci_bus *bus, struct device_list *devices, int slot)
{
	static const struct io_ops registers = {
		.read = registers_read, .write = registers_write, .width = 4};
	static const struct io_ops latch = {.read = latch_read, .write = latch_write, .width = 4};
	struct pci_testdev *testdev = calloc(1, sizeof(*testdev));
	struct pci_description description = {
		.name = "pci-testdev",
		.vendor = PCI_TESTDEV_VENDOR,
		.device = PCI_TESTDEV_DEVICE,
		.class_code = 0x00ff00,
		.intx = true,
		.msi = true,
		.msix_vectors = PCI_TESTDEV_VECTORS,
		.msix_bar = 4,
		.bar = {{.kind = PCI_BAR_MEMORY32,
				.size = 4096,
				.ops = &registers,
				.opaque = testdev,
				.doorbell = doorbell,
				.doorbell_start = PCI_TESTDEV_DOORBELL,
				.doorbell_size = 16},
			{.kind = PCI_BAR_IO, .size = 8, .ops = &latch, .opaque = testdev},
			{.kind = PCI_BAR_MEMORY64,
				.prefetchable = true,
				.size = 16384,
				.ops = &latch,
				.opaque = testdev}},
		.opaque = testdev,
		.reset = function_reset,
	};
	int error;

	if (!testdev) {
		log_error("out of memory for pci-testdev");
		return -ENOMEM;
	}
	error = pci_add(bus, &testdev->function, slot, &description);
	if (error) {
		free(testdev);
		return error;
	}
	device_list_add(
		devices, &testdev->device, &testdev_device, testdev->function.device.instance);
	return 0;
}
