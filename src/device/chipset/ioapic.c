#include "device/chipset/ioapic.h"

#include "base/bits.h"

#define REGISTER_SELECT 0x00
#define REGISTER_WINDOW 0x10
#define REGISTER_EOI    0x40

#define INDEX_ID          0x00
#define INDEX_VERSION     0x01
#define INDEX_ARBITRATION 0x02
#define INDEX_REDIRECTION 0x10

#define VERSION (0x20 | (IOAPIC_PINS - 1) << 16)

#define RTE_VECTOR(rte)      ((uint8_t)(rte))
#define RTE_DELIVERY(rte)    ((rte) >> 8 & 7)
#define RTE_DESTINATION(rte) ((rte) >> 56)
#define RTE_LOGICAL          BIT(11)
#define RTE_REMOTE_IRR       BIT(14)
#define RTE_LEVEL            BIT(15)
#define RTE_MASKED           BIT(16)
#define RTE_READ_ONLY        (BIT(12) | RTE_REMOTE_IRR)
#define RTE_WRITABLE         (UINT64_C(0xff0000000001ffff) & ~RTE_READ_ONLY)

static bool is_level(uint64_t rte)
{
	return rte & RTE_LEVEL;
}

/* Send the pin's message. A level-triggered interrupt that was taken waits for its EOI. */
static void send(struct ioapic *ioapic, unsigned pin)
{
	uint64_t *rte = &ioapic->state.redirection[pin];
	uint32_t destination = (uint32_t)RTE_DESTINATION(*rte);
	struct apic_message message = {
		.destination = destination == 0xff ? APIC_BROADCAST : destination,
		.logical = *rte & RTE_LOGICAL,
		.level = is_level(*rte),
		.delivery = RTE_DELIVERY(*rte),
		.vector = RTE_VECTOR(*rte),
	};

	if (lapic_bus_deliver(ioapic->bus, &message) && message.level &&
		message.delivery <= APIC_LOWEST_PRIORITY)
		*rte |= RTE_REMOTE_IRR;
}

/* Send the message of a level-triggered pin that is asserted, not masked, and waits for no EOI. */
static void service_level(struct ioapic *ioapic, unsigned pin)
{
	uint64_t rte = ioapic->state.redirection[pin];

	if (is_level(rte) && !(rte & (RTE_MASKED | RTE_REMOTE_IRR)) &&
		(ioapic->state.lines >> pin & 1))
		send(ioapic, pin);
}

void ioapic_set_irq(struct ioapic *ioapic, unsigned pin, bool level)
{
	uint64_t rte;
	bool rising;

	if (pin >= IOAPIC_PINS)
		return;
	rte = ioapic->state.redirection[pin];
	rising = level && !(ioapic->state.lines >> pin & 1);
	ioapic->state.lines = (ioapic->state.lines & ~(UINT32_C(1) << pin)) | (uint32_t)level
										      << pin;
	if (is_level(rte))
		service_level(ioapic, pin);
	else if (rising && !(rte & RTE_MASKED)) /* an edge at a masked pin is lost */
		send(ioapic, pin);
}

void ioapic_eoi(struct ioapic *ioapic, uint8_t vector)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t *rte = &ioapic->state.redirection[pin];

		if (RTE_VECTOR(*rte) != vector || !(*rte & RTE_REMOTE_IRR))
			continue;
		*rte &= ~RTE_REMOTE_IRR;
		service_level(ioapic, pin);
	}
}

static void write_redirection(struct ioapic *ioapic, unsigned index, uint32_t value)
{
	unsigned pin = index / 2, shift = index % 2 * 32;
	uint64_t *rte = &ioapic->state.redirection[pin];
	uint64_t written = (UINT64_C(0xffffffff) << shift) & RTE_WRITABLE;

	*rte = (*rte & ~written) | ((uint64_t)value << shift & written);
	/* Edge-triggered interrupts have no remote IRR; software clears a stuck one this way. */
	if (!is_level(*rte))
		*rte &= ~RTE_REMOTE_IRR;
	service_level(ioapic, pin);
}

static uint32_t read_window(const struct ioapic *ioapic)
{
	unsigned redirection = ioapic->state.index - INDEX_REDIRECTION;

	switch (ioapic->state.index) {
	case INDEX_ID:
	case INDEX_ARBITRATION:
		return (uint32_t)ioapic->state.id << 24;
	case INDEX_VERSION:
		return VERSION;
	}
	if (ioapic->state.index < INDEX_REDIRECTION || redirection >= 2 * IOAPIC_PINS)
		return 0;
	return (uint32_t)(ioapic->state.redirection[redirection / 2] >> (redirection % 2 * 32));
}

static void write_window(struct ioapic *ioapic, uint32_t value)
{
	if (ioapic->state.index == INDEX_ID)
		ioapic->state.id = value >> 24 & 15;
	else if (ioapic->state.index >= INDEX_REDIRECTION &&
		 ioapic->state.index < INDEX_REDIRECTION + 2 * IOAPIC_PINS)
		write_redirection(ioapic, ioapic->state.index - INDEX_REDIRECTION, value);
}

/* Registers behind the window, and EOI, have 32 bits, and are accessed as a whole (82093AA data
 * sheet, 3.1); other accesses have no effect, as in QEMU. The register that selects has 8. */
static uint64_t ioapic_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ioapic *ioapic = opaque;

	switch (offset) {
	case REGISTER_SELECT:
		return ioapic->state.index;
	case REGISTER_WINDOW:
		return size == 4 ? read_window(ioapic) : 0;
	default:
		return 0;
	}
}

static void ioapic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ioapic *ioapic = opaque;

	switch (offset) {
	case REGISTER_SELECT:
		ioapic->state.index = (uint8_t)value;
		break;
	case REGISTER_WINDOW:
		if (size == 4)
			write_window(ioapic, (uint32_t)value);
		break;
	case REGISTER_EOI:
		if (size == 4)
			ioapic_eoi(ioapic, (uint8_t)value);
		break;
	}
}

static void ioapic_reset(void *device)
{
	struct ioapic *ioapic = device;

	ioapic->state.id = ioapic->state.index = 0;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic->state.redirection[pin] = RTE_MASKED;
}

static bool ioapic_valid(const void *device, const void *loaded)
{
	const struct ioapic_state *state = loaded;

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		if (state->redirection[pin] & ~(RTE_WRITABLE | RTE_READ_ONLY))
			return false;
	return true;
}

static const struct state_field ioapic_fields[] = {
	STATE_ARRAY_ANY(struct ioapic_state, redirection),
	STATE_FIELD(struct ioapic_state, lines, 0, (UINT32_C(1) << IOAPIC_PINS) - 1),
	STATE_FIELD(struct ioapic_state, id, 0, 15),
	STATE_ANY(struct ioapic_state, index),
	STATE_END,
};

static const struct device_ops ioapic_device = {
	.name = "ioapic",
	.version = 1,
	DEVICE_STATE(struct ioapic, ioapic_fields),
	.reset = ioapic_reset,
	.valid = ioapic_valid,
};

int ioapic_init(struct ioapic *ioapic, struct device_list *devices, struct io_space *mmio,
	struct lapic_bus *bus)
{
	static const struct io_ops ops = {.read = ioapic_read, .write = ioapic_write, .width = 4};

	*ioapic = (struct ioapic){.bus = bus};
	device_list_add(devices, &ioapic->device, &ioapic_device, 0);
	ioapic_reset(ioapic);
	return io_space_add(mmio, IOAPIC_BASE, IOAPIC_SIZE, "IOAPIC", &ops, ioapic);
}
