#include "device/pci_iotest.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BARS        2
#define NO_TEST     (BARS * PCI_IOTEST_TESTS)
#define ANY_TEST    1 /* that counts writes of anything */
#define WIDTH       1
#define DATA        0xfa
#define UNSAID_DATA 0xce /* what a guest may write where all counts */

static const struct {
	const char *name;
	uint32_t size, first_offset; /* of the BAR; of what its first test writes to */
} bars[BARS] = {{"mmio", 4096, 2048}, {"portio", 256, 128}};

/* What the tests are about is whether a write has to leave the host's kernel. Here it has not to
 * enter it. */
static const char *const names[PCI_IOTEST_TESTS] = {
	"no-eventfd", "wildcard-eventfd", "datamatch-eventfd"};

struct pci_iotest_state {
	uint8_t selected; /* of the first BAR's tests, and then the second's; NO_TEST */
	uint32_t count;
};

struct pci_iotest {
	struct device device;
	struct pci_iotest_state state;
	struct pci_function function;
};

static struct pci_iotest_header header_of(const struct pci_iotest_state *state)
{
	unsigned bar = state->selected / PCI_IOTEST_TESTS;
	uint8_t test = state->selected % PCI_IOTEST_TESTS;
	struct pci_iotest_header header = {0};

	if (state->selected == NO_TEST)
		return header;
	header.test = test;
	header.width = WIDTH;
	header.offset = bars[bar].first_offset + test;
	header.data = test == ANY_TEST ? UNSAID_DATA : DATA;
	header.count = state->count;
	snprintf(header.name, sizeof(header.name), "%s-%s", bars[bar].name, names[test]);
	return header;
}

static uint64_t iotest_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct pci_iotest *iotest = opaque;
	const struct pci_iotest_header header = header_of(&iotest->state);

	return offset < sizeof(header) ? ((const uint8_t *)&header)[offset] : 0;
}

static void iotest_written(struct pci_iotest *iotest, unsigned bar, uint64_t offset, uint8_t value)
{
	struct pci_iotest_state *state = &iotest->state;
	struct pci_iotest_header header;

	if (offset == offsetof(struct pci_iotest_header, test)) {
		*state = (struct pci_iotest_state){.selected = NO_TEST};
		if (value < PCI_IOTEST_TESTS)
			state->selected = (uint8_t)(bar * PCI_IOTEST_TESTS + value);
		return;
	}
	header = header_of(state);
	if (state->selected / PCI_IOTEST_TESTS == bar && offset == header.offset &&
		(header.test == ANY_TEST || value == header.data))
		state->count++;
}

static void memory_bar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	iotest_written(opaque, 0, offset, (uint8_t)value);
}

static void port_bar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	iotest_written(opaque, 1, offset, (uint8_t)value);
}

static void iotest_reset(void *device)
{
	struct pci_iotest *iotest = device;

	iotest->state = (struct pci_iotest_state){.selected = NO_TEST};
}

static const struct state_field iotest_fields[] = {
	STATE_FIELD(struct pci_iotest_state, selected, 0, NO_TEST),
	STATE_ANY(struct pci_iotest_state, count),
	STATE_END,
};

static const struct device_ops iotest_device = {
	.name = "pci-iotest",
	.version = 1,
	DEVICE_STATE(struct pci_iotest, iotest_fields),
	.reset = iotest_reset,
	.destroy = free,
};

int pci_iotest_create(struct pci_bus *bus, struct device_list *devices, int slot)
{
	static const struct io_ops memory = {
		.read = iotest_read, .write = memory_bar_write, .width = WIDTH};
	static const struct io_ops ports = {
		.read = iotest_read, .write = port_bar_write, .width = WIDTH};
	struct pci_iotest *iotest = calloc(1, sizeof(*iotest));
	struct pci_description description = {
		.name = "pci-testdev",
		.vendor = PCI_IOTEST_VENDOR,
		.device = PCI_IOTEST_DEVICE,
		.class_code = 0x00ff00,
		.conventional = true,
		.bar = {{.kind = PCI_BAR_MEMORY32,
				.size = bars[0].size,
				.ops = &memory,
				.opaque = iotest},
			{.kind = PCI_BAR_IO,
				.size = bars[1].size,
				.ops = &ports,
				.opaque = iotest}},
		.opaque = iotest,
		.reset = iotest_reset,
	};
	int error;

	if (!iotest) {
		log_error("out of memory for pci-testdev");
		return -ENOMEM;
	}
	error = pci_add(bus, &iotest->function, slot, &description);
	if (error) {
		free(iotest);
		return error;
	}
	device_list_add(devices, &iotest->device, &iotest_device, iotest->function.device.instance);
	iotest_reset(iotest);
	return 0;
}
