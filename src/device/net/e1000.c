/* Intel's "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual"
 * (317453), the 82540EM's registers. */
#include "device/net/e1000.h"

#include "base/log.h"
#include "device/net/e1000_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VENDOR_INTEL   0x8086
#define DEVICE_82540EM 0x100e
#define MEMORY_SIZE    0x20000
#define IO_SIZE        0x40

#define STATUS_LINK   0x83 /* full duplex, link up, 1000 Mbit/s */
#define ADDRESS_VALID BIT(31)
#define INTERRUPTS    UINT32_C(0x1ffff)
#define ITR_NS        256 /* what the interval is counted in */
#define LONGEST_NS    (UINT64_C(0xffff) * ITR_NS)

/* --- interrupts --- */

/* At most one interrupt in the time that the driver has set. */
static void update_interrupt(struct e1000 *card)
{
	bool wanted = *e1000_register(card, E1000_ICR) & *e1000_register(card, E1000_IMS);
	uint64_t now = clock_ns(card->clock);

	if (!wanted || card->function.state.intx) {
		pci_set_intx(&card->function, wanted);
		return;
	}
	if (now < card->state.quiet_ns) {
		timer_arm(&card->throttle, card->state.quiet_ns);
		return;
	}
	card->state.quiet_ns = now + (*e1000_register(card, E1000_ITR) & 0xffff) * ITR_NS;
	pci_set_intx(&card->function, true);
}

static void throttle_expired(void *card)
{
	update_interrupt(card);
}

void e1000_interrupt(struct e1000 *card, uint32_t causes)
{
	*e1000_register(card, E1000_ICR) |= causes & INTERRUPTS;
	update_interrupt(card);
}

/* --- registers --- */

bool e1000_ring(struct e1000 *card, unsigned base, struct e1000_ring *ring)
{
	const uint32_t *registers = e1000_register(card, base);

	/* In this order: base low and high, length, -, head, -, tail. */
	*ring = (struct e1000_ring){
		.base = (registers[0] & ~UINT64_C(15)) | (uint64_t)registers[1] << 32,
		.count = (registers[2] & 0xfff80) / 16,
		.head = registers[4] & 0xffff,
		.tail = registers[6] & 0xffff,
	};
	return ring->count && ring->head < ring->count && ring->tail < ring->count;
}

/* What the card finds in its EEPROM, and what the manual says. */
static void reset_registers(struct e1000 *card)
{
	uint32_t *registers = card->state.registers;

	memset(registers, 0, sizeof(card->state.registers));
	registers[E1000_STATUS / 4] = STATUS_LINK;
	registers[E1000_VET / 4] = 0x8100;
	registers[E1000_PBA / 4] = 0x00100030;
	memcpy(&registers[E1000_RA / 4], card->mac, sizeof(card->mac));
	registers[E1000_RA / 4 + 1] |= ADDRESS_VALID;
}

static void reset(struct e1000 *card)
{
	card->state.eeprom_bits = 0;
	card->state.eeprom_command = 0;
	card->state.quiet_ns = 0;
	card->state.context = (struct e1000_context){0};
	reset_registers(card);
	timer_cancel(&card->throttle);
	update_interrupt(card);
}

static uint32_t read_register(struct e1000 *card, unsigned offset)
{
	uint32_t *place = e1000_register(card, offset), value = *place;

	switch (offset) {
	case E1000_EECD:
		return e1000_read_eecd(card);
	case E1000_ICR:
		*place = 0;
		update_interrupt(card);
		return value;
	case E1000_ICS:
	case E1000_IMC:
		return 0;
	case E1000_STATISTICS ... E1000_STATISTICS_END - 4:
		*place = 0;
		return value;
	}
	return value;
}

static void write_register(struct e1000 *card, unsigned offset, uint32_t value)
{
	switch (offset) {
	case E1000_STATUS:
	case E1000_STATISTICS ... E1000_STATISTICS_END - 4:
		break;
	case E1000_CTRL:
		if (value & E1000_CTRL_RESET)
			reset(card);
		else
			*e1000_register(card, offset) = value;
		break;
	case E1000_EECD:
		e1000_write_eecd(card, value);
		break;
	case E1000_EERD:
		e1000_write_eerd(card, value);
		break;
	case E1000_MDIC:
		e1000_write_mdic(card, value);
		break;
	case E1000_ICR:
		*e1000_register(card, offset) &= ~value;
		update_interrupt(card);
		break;
	case E1000_ICS:
		e1000_interrupt(card, value);
		break;
	case E1000_IMS:
		*e1000_register(card, offset) |= value & INTERRUPTS;
		update_interrupt(card);
		break;
	case E1000_IMC:
		*e1000_register(card, E1000_IMS) &= ~value;
		update_interrupt(card);
		break;
	case E1000_TDT:
	case E1000_TCTL:
		*e1000_register(card, offset) = value;
		worker_post(card->worker, &card->transmit);
		break;
	case E1000_RDT:
	case E1000_RCTL:
		*e1000_register(card, offset) = value;
		worker_post(card->worker, &card->receive);
		break;
	default:
		*e1000_register(card, offset) = value;
	}
}

static uint64_t memory_bar_read(void *opaque, uint64_t offset, unsigned size)
{
	return offset < E1000_REGISTERS_SIZE ? read_register(opaque, offset & ~UINT64_C(3)) : 0;
}

static void memory_bar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	if (offset < E1000_REGISTERS_SIZE && size == 4 && !(offset & 3))
		write_register(opaque, (unsigned)offset, (uint32_t)value);
}

/* The I/O BAR has an address and a data register. */
static uint64_t io_read(void *opaque, uint64_t offset, unsigned size)
{
	struct e1000 *card = opaque;

	if (offset < 4)
		return card->state.io_address;
	return memory_bar_read(card, card->state.io_address, 4);
}

static void io_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct e1000 *card = opaque;

	if (offset == 0)
		card->state.io_address = (uint32_t)value & (MEMORY_SIZE - 4);
	else if (offset == 4)
		memory_bar_write(card, card->state.io_address, value, size);
}

/* --- the device --- */

static void function_reset(void *card)
{
	reset(card);
}

static void device_reset(void *opaque)
{
	struct e1000 *card = opaque;

	e1000_reset_phy(card);
	card->state.io_address = 0;
	reset(card);
}

static bool device_valid(const void *device, const void *loaded)
{
	const struct e1000 *card = device;
	const struct e1000_state *state = loaded;

	return state->quiet_ns <= clock_ns(card->clock) + LONGEST_NS;
}

static void device_loaded(void *card)
{
	update_interrupt(card);
}

/* The worker does its work under the machine lock, and only while the machine runs. */
static bool device_quiesce(void *opaque, uint64_t deadline_ns)
{
	struct e1000 *card = opaque;

	priority_lock_take(card->lock);
	card->running = false;
	priority_lock_release(card->lock);
	return true;
}

static void device_resume(void *opaque)
{
	struct e1000 *card = opaque;

	card->running = true;
	worker_post(card->worker, &card->transmit);
	worker_post(card->worker, &card->receive);
}

static void device_destroy(void *opaque)
{
	struct e1000 *card = opaque;

	timer_cancel(&card->throttle);
	worker_destroy(card->worker);
	card->backend->ops->destroy(card->backend);
	free(card);
}

static const struct state_field context_fields[] = {
	STATE_ANY(struct e1000_context, ip_start),
	STATE_ANY(struct e1000_context, ip_offset),
	STATE_ANY(struct e1000_context, tcp_start),
	STATE_ANY(struct e1000_context, tcp_offset),
	STATE_ANY(struct e1000_context, ip_end),
	STATE_ANY(struct e1000_context, tcp_end),
	STATE_ANY(struct e1000_context, header_size),
	STATE_ANY(struct e1000_context, flags),
	STATE_ANY(struct e1000_context, mss),
	STATE_END,
};

static const struct state_field e1000_fields[] = {
	STATE_ARRAY_ANY(struct e1000_state, registers),
	STATE_ARRAY_ANY(struct e1000_state, phy),
	STATE_FIELD(struct e1000_state, eeprom_bits, 0, 25),
	STATE_ANY(struct e1000_state, eeprom_command),
	STATE_FIELD(struct e1000_state, io_address, 0, MEMORY_SIZE - 4),
	STATE_ANY(struct e1000_state, quiet_ns),
	STATE_STRUCT(struct e1000_state, context, context_fields),
	STATE_END,
};

static const struct device_ops e1000_device = {
	.name = "e1000",
	.version = 1,
	DEVICE_STATE(struct e1000, e1000_fields),
	.reset = device_reset,
	.valid = device_valid,
	.loaded = device_loaded,
	.quiesce = device_quiesce,
	.resume = device_resume,
	.destroy = device_destroy,
};

/* --- the back end's calls, on the worker --- */

static void on_receive_ready(void *opaque, unsigned queue)
{
	e1000_receive(opaque);
}

static void on_send_ready(void *opaque, unsigned queue)
{
	struct e1000 *card = opaque;

	card->blocked = false;
	e1000_transmit(card);
}

struct beginning {
	struct e1000 *card;
	int error;
};

static void start_backend(void *opaque)
{
	struct beginning *beginning = opaque;
	struct e1000 *card = beginning->card;
	const struct net_port port = {on_receive_ready, on_send_ready, card};

	beginning->error = card->backend->ops->start(card->backend, card->worker, &port);
	if (!beginning->error && card->backend->ops->guest_takes)
		card->backend->ops->guest_takes(card->backend, 0);
}

static int add_function(struct e1000 *card, struct pci_bus *bus, int slot)
{
	static const struct io_ops memory_ops = {
		.read = memory_bar_read, .write = memory_bar_write, .width = 4};
	static const struct io_ops io_ops = {.read = io_read, .write = io_write, .width = 4};
	const struct pci_description description = {
		.name = "e1000",
		.vendor = VENDOR_INTEL,
		.device = DEVICE_82540EM,
		.subsystem_vendor = VENDOR_INTEL,
		.subsystem = 0x001e, /* PRO/1000 MT desktop adapter */
		.class_code = 0x020000,
		.revision = 2,
		.intx = true,
		.bar[0] = {.kind = PCI_BAR_MEMORY32,
			.size = MEMORY_SIZE,
			.ops = &memory_ops,
			.opaque = card},
		.bar[1] = {.kind = PCI_BAR_IO, .size = IO_SIZE, .ops = &io_ops, .opaque = card},
		.opaque = card,
		.reset = function_reset,
	};

	return pci_add(bus, &card->function, slot, &description);
}

int e1000_create(struct pci_bus *bus, int slot, uint32_t instance, struct net_backend *backend,
	const uint8_t mac[6])
{
	const struct pci_config *config = pci_bus_config(bus);
	struct e1000 *card = calloc(1, sizeof(*card));
	struct beginning beginning = {card, 0};
	char name[16];
	int error = -ENOMEM;

	snprintf(name, sizeof(name), "e1000-%u", instance);
	if (card)
		card->worker = worker_create(name);
	if (card && card->worker) {
		card->backend = backend;
		card->lock = config->memory->mmio.lock;
		card->clock = event_loop_clock(config->loop);
		memcpy(card->mac, mac, sizeof(card->mac));
		timer_init(&card->throttle, config->loop, throttle_expired, card);
		worker_task_init(&card->transmit, e1000_transmit, card);
		worker_task_init(&card->receive, e1000_receive, card);
		error = add_function(card, bus, slot);
	}
	if (error) {
		log_error("e1000: cannot be made: %s", strerror(-error));
		worker_destroy(card ? card->worker : NULL);
		backend->ops->destroy(backend);
		free(card);
		return error;
	}
	device_reset(card);
	/* From here on the list of devices destroys the card, also where this fails. */
	device_list_add(config->devices, &card->device, &e1000_device, instance);
	worker_call(card->worker, start_backend, &beginning);
	return beginning.error;
}
