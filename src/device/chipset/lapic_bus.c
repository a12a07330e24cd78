#include "device/chipset/lapic_internal.h"

#include <errno.h>
#include <stdlib.h>

#define DFR_MODEL(dfr) ((dfr) >> 28)
#define DFR_FLAT       0xf
#define DFR_CLUSTER    0x0

#define ICR_LOGICAL      BIT(11)
#define ICR_ASSERT       BIT(14)
#define ICR_LEVEL        BIT(15)
#define ICR_SHORTHAND(l) ((l) >> 18 & 3)

enum shorthand { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

/* The logical ID of an x2APIC follows from its ID: cluster 31..16, one bit in 15..0. */
uint32_t lapic_x2apic_ldr(const struct lapic *lapic)
{
	return lapic->id >> 4 << 16 | UINT32_C(1) << (lapic->id & 15);
}

/* SDM vol. 3A 11.6.2.2. */
static bool matches_logical(const struct lapic *lapic, uint32_t destination)
{
	uint32_t ldr;

	if (destination == APIC_BROADCAST)
		return true;
	if (lapic_is_x2apic(lapic)) {
		ldr = lapic_x2apic_ldr(lapic);
		return destination >> 16 == ldr >> 16 && (destination & ldr & 0xffff);
	}
	ldr = lapic->state.ldr >> 24;
	if (destination > 0xff)
		return false;
	if (DFR_MODEL(lapic->state.dfr) == DFR_FLAT)
		return ldr & destination;
	if (DFR_MODEL(lapic->state.dfr) == DFR_CLUSTER)
		return (destination >> 4 == 0xf || destination >> 4 == ldr >> 4) &&
		       (destination & ldr & 0xf);
	return false;
}

static bool matches(const struct lapic *lapic, const struct apic_message *message)
{
	if (!lapic_is_enabled(lapic))
		return false;
	if (message->logical)
		return matches_logical(lapic, message->destination);
	return message->destination == APIC_BROADCAST || message->destination == lapic->id;
}

/* Of the local APICs addressed, the one whose processor priority is lowest. The search starts
 * behind the last winner, so that equals take turns. */
static bool deliver_lowest_priority(struct lapic_bus *bus, const struct apic_message *message)
{
	struct lapic *best = NULL;
	unsigned first = bus->state.next;

	for (unsigned i = 0; i < bus->count; i++) {
		struct lapic *lapic = &bus->lapics[(first + i) % bus->count];

		if (matches(lapic, message) && lapic_takes_interrupts(lapic) &&
			(!best || lapic_ppr(lapic) < lapic_ppr(best)))
			best = lapic;
	}
	if (!best)
		return false;
	bus->state.next = (unsigned)(best - bus->lapics + 1) % bus->count;
	return lapic_accept(best, message);
}

bool lapic_bus_deliver(struct lapic_bus *bus, const struct apic_message *message)
{
	bool taken = false;

	if (message->delivery == APIC_LOWEST_PRIORITY)
		return deliver_lowest_priority(bus, message);
	for (unsigned i = 0; i < bus->count; i++)
		if (matches(&bus->lapics[i], message))
			taken |= lapic_accept(&bus->lapics[i], message);
	return taken;
}

bool lapic_bus_deliver_to(struct lapic_bus *bus, uint32_t id, const struct apic_message *message)
{
	return id < bus->count && lapic_is_enabled(&bus->lapics[id]) &&
	       lapic_accept(&bus->lapics[id], message);
}

/* The destination field of an xAPIC's ICR has eight bits, all ones mean all CPUs. */
static uint32_t icr_destination(const struct lapic *lapic)
{
	uint32_t destination = lapic->state.icr_high >> 24;

	if (lapic_is_x2apic(lapic))
		return lapic->state.icr_high;
	return destination == 0xff ? APIC_BROADCAST : destination;
}

void lapic_send_ipi(struct lapic *lapic)
{
	uint32_t icr = lapic->state.icr_low;
	enum shorthand shorthand = ICR_SHORTHAND(icr);
	struct lapic_bus *bus = lapic->bus;
	struct apic_message message = {
		.destination = icr_destination(lapic),
		.logical = icr & ICR_LOGICAL,
		.delivery = icr >> 8 & 7,
		.vector = (uint8_t)icr,
	};

	/* INIT level de-assert was for the 82489DX and the P5; it has no effect. */
	if (message.delivery == APIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
		return;
	if (message.delivery <= APIC_LOWEST_PRIORITY && message.vector < 16) {
		lapic_error(lapic, ESR_SEND_ILLEGAL_VECTOR);
		return;
	}
	if (shorthand == SHORTHAND_NONE) {
		lapic_bus_deliver(bus, &message);
		return;
	}
	/* Only fixed interrupts may be sent to oneself (SDM vol. 3A table 11-3). */
	if (shorthand != SHORTHAND_OTHERS && message.delivery == APIC_FIXED)
		lapic_accept(lapic, &message);
	if (shorthand == SHORTHAND_SELF)
		return;
	for (unsigned i = 0; i < bus->count; i++)
		if (&bus->lapics[i] != lapic && lapic_is_enabled(&bus->lapics[i]))
			lapic_accept(&bus->lapics[i], &message);
}

static bool bus_valid(const void *device, const void *loaded)
{
	const struct lapic_bus *bus = device;
	const struct lapic_bus_state *state = loaded;

	return state->next < bus->count;
}

static void bus_destroy(void *device)
{
	struct lapic_bus *bus = device;

	free(bus->lapics);
	bus->lapics = NULL;
}

static const struct state_field bus_fields[] = {
	STATE_ANY(struct lapic_bus_state, next),
	STATE_END,
};

static const struct device_ops bus_device = {
	.name = "lapic-bus",
	.version = 1,
	DEVICE_STATE(struct lapic_bus, bus_fields),
	.valid = bus_valid,
	.destroy = bus_destroy,
};

int lapic_bus_init(struct lapic_bus *bus, struct device_list *devices, struct cpu **cpus,
	unsigned count, struct event_loop *loop, struct clock *clock)
{
	*bus = (struct lapic_bus){.count = count, .clock = clock};
	bus->lapics = calloc(count, sizeof(*bus->lapics));
	if (!bus->lapics)
		return -ENOMEM;
	/* Before the local APICs, since it owns them and is destroyed after them. */
	device_list_add(devices, &bus->device, &bus_device, 0);
	for (unsigned i = 0; i < count; i++) {
		struct lapic *lapic = &bus->lapics[i];

		lapic->bus = bus;
		lapic->cpu = cpus[i];
		lapic->id = i;
		lapic_timer_init(lapic, loop);
		device_list_add(devices, &lapic->device, &lapic_device, i);
		lapic_device.reset(lapic);
	}
	return 0;
}
