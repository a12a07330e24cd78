/* Native hot plug at a root port (PCI Express Base 3.0, 6.7 and 7.8.9 to 7.8.11): a slot with an
 * attention button, a power controller and two indicators.
 *
 *	plug	what is behind the port is complete: presence is detected, and the button pressed;
 *		the system powers the slot on, and finds the function
 *	unplug	the button is pressed; the system lets go of the function, powers the slot off
 *		and switches the power indicator off; then bus->config.ejected() is told, and
 *		what is behind the port may be removed
 *
 * Every command is done as soon as it is written, and says so (Command Completed). While the slot
 * has no power, the link is in reset. The system is interrupted as the first of the events that it
 * wants comes (6.7.3.4). What the status registers show of presence and link follows from what is
 * behind the port and from the other registers. */
#include "device/pci/internal.h"

#define SLOT_NUMBER_SHIFT 19
#define SLOT_NUMBER_MASK  0x1fff

#define EVENTS (PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_CC | PCI_EXP_SLTSTA_DLLSC)

static uint16_t get(const struct pci_function *port, unsigned offset)
{
	return pci_get16(port->state.config, port->express_capability + offset);
}

static void put(struct pci_function *port, unsigned offset, uint16_t value)
{
	pci_put16(port->state.config, port->express_capability + offset, value);
}

void pci_slot_init(
	const struct pci_function *port, unsigned number, uint8_t *capability, uint8_t *writable)
{
	uint32_t slot = (number & SLOT_NUMBER_MASK) << SLOT_NUMBER_SHIFT;

	if (port->hot_plug) {
		slot |= PCI_EXP_SLTCAP_ABP | PCI_EXP_SLTCAP_PCP | PCI_EXP_SLTCAP_AIP |
			PCI_EXP_SLTCAP_PIP | PCI_EXP_SLTCAP_HPC;
		pci_put32(capability, PCI_EXP_LNKCAP,
			pci_get32(capability, PCI_EXP_LNKCAP) | PCI_EXP_LNKCAP_DLLLARC);
		pci_put16(writable, PCI_EXP_SLTCTL,
			PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PDCE | PCI_EXP_SLTCTL_CCIE |
				PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_AIC | PCI_EXP_SLTCTL_PIC |
				PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_DLLSCE);
	} else {
		pci_put16(capability, PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_PDS);
	}
	pci_put32(capability, PCI_EXP_SLTCAP, slot);
}

bool pci_slot_is_off(const struct pci_function *port)
{
	return port->hot_plug && (get(port, PCI_EXP_SLTCTL) & PCI_EXP_SLTCTL_PCC);
}

/* --- events --- */

/* Those that have come and that the system wants to be interrupted for. */
static uint16_t wanted_events(const struct pci_function *port)
{
	uint16_t control = get(port, PCI_EXP_SLTCTL), status = get(port, PCI_EXP_SLTSTA);
	uint16_t wanted =
		control & (PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PDCE | PCI_EXP_SLTCTL_CCIE);

	if (control & PCI_EXP_SLTCTL_DLLSCE)
		wanted |= PCI_EXP_SLTSTA_DLLSC;
	return control & PCI_EXP_SLTCTL_HPIE ? status & wanted : 0;
}

static void add_events(struct pci_function *port, uint16_t events)
{
	put(port, PCI_EXP_SLTSTA, get(port, PCI_EXP_SLTSTA) | events);
}

/* `before`: what was wanted_events() then. */
static void interrupt(struct pci_function *port, uint16_t before)
{
	if (!before && wanted_events(port))
		pci_notify(port, 0);
}

/* The link is active where it is up and there is something behind it; a change is an event. */
static void show_link(struct pci_function *port)
{
	uint16_t status = get(port, PCI_EXP_LNKSTA), now = status & (uint16_t)~PCI_EXP_LNKSTA_DLLLA;

	if (port->present && pci_root_port_link_up(port))
		now |= PCI_EXP_LNKSTA_DLLLA;
	put(port, PCI_EXP_LNKSTA, now);
	if (now != status)
		add_events(port, PCI_EXP_SLTSTA_DLLSC);
}

static void show_presence(struct pci_function *port)
{
	uint16_t status = get(port, PCI_EXP_SLTSTA);
	uint16_t now =
		(status & (uint16_t)~PCI_EXP_SLTSTA_PDS) | (port->present ? PCI_EXP_SLTSTA_PDS : 0);

	put(port, PCI_EXP_SLTSTA, now);
	if (now != status)
		add_events(port, PCI_EXP_SLTSTA_PDC);
}

/* --- the guest --- */

/* Power is on where there is something in the slot. */
void pci_slot_reset(struct pci_function *port)
{
	if (!port->hot_plug)
		return;
	put(port, PCI_EXP_SLTCTL,
		port->present ? PCI_EXP_SLTCTL_ATTN_IND_OFF | PCI_EXP_SLTCTL_PWR_IND_ON
			      : PCI_EXP_SLTCTL_ATTN_IND_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF |
					PCI_EXP_SLTCTL_PCC);
	show_presence(port);
	show_link(port);
	put(port, PCI_EXP_SLTSTA, get(port, PCI_EXP_SLTSTA) & (uint16_t)~EVENTS);
}

struct pci_slot_before pci_slot_before(const struct pci_function *port)
{
	return (struct pci_slot_before){get(port, PCI_EXP_SLTCTL), wanted_events(port)};
}

static bool covers(const struct pci_function *port, unsigned at, unsigned offset, unsigned size)
{
	at += port->express_capability;
	return offset < at + 2 && offset + size > at;
}

/* Ones that are written to events clear them. */
static void clear_events(struct pci_function *port, unsigned offset, uint32_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++) {
		unsigned at = port->express_capability + PCI_EXP_SLTSTA;
		uint8_t ones = (uint8_t)(value >> (8 * i));

		if (offset + i == at)
			port->state.config[at] &= (uint8_t) ~(ones & EVENTS & 0xff);
		else if (offset + i == at + 1)
			port->state.config[at + 1] &= (uint8_t) ~(ones & EVENTS >> 8);
	}
}

/* The system is done with what is in the slot: no power, and the indicator says so. */
static bool lets_go(uint16_t control)
{
	return (control & PCI_EXP_SLTCTL_PCC) &&
	       (control & PCI_EXP_SLTCTL_PIC) == PCI_EXP_SLTCTL_PWR_IND_OFF;
}

void pci_slot_written(struct pci_function *port, const struct pci_slot_before *before,
	unsigned offset, uint32_t value, unsigned size)
{
	const struct pci_config *config = &port->bus->config;
	uint16_t control = get(port, PCI_EXP_SLTCTL);

	if (!port->hot_plug)
		return;
	clear_events(port, offset, value, size);
	show_link(port);
	if (covers(port, PCI_EXP_SLTCTL, offset, size))
		add_events(port, PCI_EXP_SLTSTA_CC);
	interrupt(port, before->events);
	if (lets_go(control) && !lets_go(before->control) && port->present && config->ejected)
		config->ejected(config->eject_opaque, port);
}

/* --- the user --- */

void pci_port_inserted(struct pci_function *port, bool at_power_up)
{
	uint16_t before = wanted_events(port);

	port->present = port->child != NULL;
	if (at_power_up) {
		pci_slot_reset(port);
	} else if (port->hot_plug) {
		show_presence(port);
		show_link(port);
		add_events(port, PCI_EXP_SLTSTA_ABP);
	}
	pci_update_function(port);
	interrupt(port, before);
}

bool pci_port_ask_to_eject(struct pci_function *port)
{
	uint16_t before = wanted_events(port);

	if (lets_go(get(port, PCI_EXP_SLTCTL)))
		return false;
	add_events(port, PCI_EXP_SLTSTA_ABP);
	interrupt(port, before);
	return true;
}

void pci_port_eject(struct pci_function *port)
{
	uint16_t before = wanted_events(port);
	struct pci_function *first = port->child;

	for (struct pci_function *each = first; each; each = each->sibling) {
		pci_reset_function(each);
		port->bus->function_count--;
	}
	port->child = NULL;
	port->present = false;
	port->bus->newest = NULL;
	show_presence(port);
	show_link(port);
	interrupt(port, before);
}

/* --- saved state --- */

void pci_slot_mask_fixed(const struct pci_function *port, uint8_t fixed[PCI_CONFIG_SIZE])
{
	unsigned at = port->express_capability;

	if (!port->hot_plug)
		return;
	fixed[at + PCI_EXP_SLTSTA] &= (uint8_t) ~((EVENTS & 0xff) | PCI_EXP_SLTSTA_PDS);
	fixed[at + PCI_EXP_SLTSTA + 1] &= (uint8_t) ~(EVENTS >> 8);
	fixed[at + PCI_EXP_LNKSTA + 1] &= (uint8_t) ~(PCI_EXP_LNKSTA_DLLLA >> 8);
}

bool pci_slot_valid(const struct pci_function *port, const uint8_t *config)
{
	uint16_t status = pci_get16(config, port->express_capability + PCI_EXP_SLTSTA);

	return !port->hot_plug || !(status & PCI_EXP_SLTSTA_PDS) == !port->present;
}

/* Events and what is shown of the link have been loaded; that the link is up follows from them. */
void pci_slot_loaded(struct pci_function *port)
{
	uint16_t events;

	if (!port->hot_plug)
		return;
	events = get(port, PCI_EXP_SLTSTA);
	show_link(port);
	put(port, PCI_EXP_SLTSTA, events);
}
