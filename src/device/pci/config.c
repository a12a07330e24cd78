/* A function's configuration space (PCI Local Bus 3.0 chapter 6; PCI Express Base 3.0 chapter 7).
 *
 * The bytes are as the guest reads them. A write changes the bits that `writable` allows; all that
 * follows from them (which addresses the BARs have, whether DMA is allowed, where interrupts go) is
 * worked out anew by update(), after a write, a reset and a load alike. */
#include "device/pci/internal.h"

#include "base/log.h"

#include <stdlib.h>

#define COMMAND_WRITABLE                                                                           \
	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |           \
		PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)

#define FIRST_CAPABILITY 0x40

#define EXPRESS_SIZE 60 /* of version 2 of the capability */
#define EXPRESS_DEVICE_CONTROL                                                                     \
	(PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE | PCI_EXP_DEVCTL_FERE | PCI_EXP_DEVCTL_URRE |  \
		PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ)

#define POWER_D0    0
#define POWER_D3HOT 3

/* --- making it --- */

unsigned pci_add_capability(
	struct pci_function *function, const void *bytes, const void *writable, unsigned size)
{
	unsigned at = function->next_capability;
	uint8_t *config = function->state.config;

	if (size > PCI_CONFIG_SIZE - at) {
		log_error("%s: no room for a capability of %u bytes", function->description.name,
			size);
		return 0;
	}
	memcpy(config + at, bytes, size);
	if (writable)
		memcpy(function->writable + at, writable, size);
	config[at + PCI_CAP_LIST_NEXT] = 0;
	config[function->last_capability ? function->last_capability + PCI_CAP_LIST_NEXT
					 : PCI_CAPABILITY_LIST] = (uint8_t)at;
	config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	function->last_capability = (uint8_t)at;
	function->next_capability = ALIGN_UP(at + size, 4);
	memcpy(function->initial, config, PCI_CONFIG_SIZE);
	return at;
}

void pci_add_registers(struct pci_function *function, unsigned at, const void *bytes,
	const void *writable, unsigned size)
{
	memcpy(function->state.config + at, bytes, size);
	memcpy(function->initial + at, bytes, size);
	memcpy(function->writable + at, writable, size);
	function->next_capability = MAX(function->next_capability, at + size);
}

/* PCI Power Management 1.2: D0 and D3hot, and the way back is a reset (No_Soft_Reset is 0), but for
 * a root port, which keeps its bus number and windows. */
static void add_power_management(struct pci_function *function)
{
	uint8_t bytes[PCI_PM_SIZEOF] = {PCI_CAP_ID_PM}, writable[PCI_PM_SIZEOF] = {0};

	pci_put16(bytes, PCI_PM_PMC, 3);
	pci_put16(bytes, PCI_PM_CTRL, function->is_port ? PCI_PM_CTRL_NO_SOFT_RESET : 0);
	pci_put16(writable, PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
	function->power_capability =
		(uint8_t)pci_add_capability(function, bytes, writable, sizeof(bytes));
}

static void add_msix(struct pci_function *function)
{
	uint8_t bytes[PCI_CAP_MSIX_SIZEOF] = {PCI_CAP_ID_MSIX}, writable[PCI_CAP_MSIX_SIZEOF] = {0};
	const struct pci_description *description = &function->description;

	pci_put16(bytes, PCI_MSIX_FLAGS, (uint16_t)(description->msix_vectors - 1));
	pci_put32(bytes, PCI_MSIX_TABLE, description->msix_bar);
	pci_put32(bytes, PCI_MSIX_PBA, PCI_MSIX_PENDING | description->msix_bar);
	pci_put16(writable, PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	function->msix_capability =
		(uint8_t)pci_add_capability(function, bytes, writable, sizeof(bytes));
}

static void add_msi(struct pci_function *function)
{
	uint8_t bytes[PCI_MSI_DATA_64 + 2] = {PCI_CAP_ID_MSI}, writable[PCI_MSI_DATA_64 + 2] = {0};

	pci_put16(bytes, PCI_MSI_FLAGS, PCI_MSI_FLAGS_64BIT);
	pci_put16(writable, PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE);
	pci_put32(writable, PCI_MSI_ADDRESS_LO, ~UINT32_C(3));
	pci_put32(writable, PCI_MSI_ADDRESS_HI, ~UINT32_C(0));
	pci_put16(writable, PCI_MSI_DATA_64, 0xffff);
	function->msi_capability =
		(uint8_t)pci_add_capability(function, bytes, writable, sizeof(bytes));
}

/* Both ends of a link: one lane at 2.5 GT/s, which saves no power. */
static void describe_link(uint8_t *bytes, uint8_t *writable)
{
	pci_put32(bytes, PCI_EXP_LNKCAP, PCI_EXP_LNKCAP_SLS_2_5GB | 1 << 4);
	pci_put16(bytes, PCI_EXP_LNKSTA,
		PCI_EXP_LNKSTA_CLS_2_5GB | PCI_EXP_LNKSTA_NLW_X1 | PCI_EXP_LNKSTA_SLC);
	pci_put32(bytes, PCI_EXP_LNKCAP2, PCI_EXP_LNKCAP2_SLS_2_5GB);
	pci_put16(bytes, PCI_EXP_LNKCTL2, PCI_EXP_LNKCTL2_TLS_2_5GT);
	pci_put16(writable, PCI_EXP_LNKCTL,
		PCI_EXP_LNKCTL_ASPMC | PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES);
}

/* A function on bus 0 is a root complex integrated endpoint, which has no link: all registers about
 * one are 0. */
static void add_express(struct pci_function *function)
{
	uint8_t bytes[EXPRESS_SIZE] = {PCI_CAP_ID_EXP}, writable[EXPRESS_SIZE] = {0};
	unsigned type = function->is_port ? PCI_EXP_TYPE_ROOT_PORT
			: function->port  ? PCI_EXP_TYPE_ENDPOINT
					  : PCI_EXP_TYPE_RC_END;

	pci_put16(bytes, PCI_EXP_FLAGS, (uint16_t)(2 | type << 4));
	pci_put32(bytes, PCI_EXP_DEVCAP,
		PCI_EXP_DEVCAP_RBER | (function->is_port ? 0 : PCI_EXP_DEVCAP_FLR));
	/* As after power-up: relaxed ordering, no snoop, reads of 512 bytes. */
	pci_put16(bytes, PCI_EXP_DEVCTL,
		PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ_512B);
	pci_put16(writable, PCI_EXP_DEVCTL, EXPRESS_DEVICE_CONTROL);
	if (type != PCI_EXP_TYPE_RC_END)
		describe_link(bytes, writable);
	if (function->is_port)
		pci_root_port_init_express(function, bytes, writable);
	function->express_capability =
		(uint8_t)pci_add_capability(function, bytes, writable, sizeof(bytes));
}

/* Pins of what is behind a port are the port's (PCI-to-PCI Bridge 1.2, 9.1: device 0). */
static uint8_t interrupt_line(const struct pci_function *function)
{
	unsigned devfn = function->port ? function->port->devfn : function->devfn;

	return (uint8_t)(PCI_INTX_GSI + PCI_SLOT(devfn) % PCI_INTX_GSIS);
}

static void fill_header(struct pci_function *function)
{
	const struct pci_description *description = &function->description;
	uint8_t *config = function->state.config;

	pci_put16(config, PCI_VENDOR_ID, description->vendor);
	pci_put16(config, PCI_DEVICE_ID, description->device);
	pci_put32(config, PCI_CLASS_REVISION, description->class_code << 8 | description->revision);
	if (function->is_port) {
		pci_root_port_init_header(function);
	} else {
		pci_put16(config, PCI_SUBSYSTEM_VENDOR_ID, description->subsystem_vendor);
		pci_put16(config, PCI_SUBSYSTEM_ID, description->subsystem);
	}
	pci_put16(function->writable, PCI_COMMAND, COMMAND_WRITABLE);
	function->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	if (description->intx) {
		config[PCI_INTERRUPT_PIN] = 1;
		config[PCI_INTERRUPT_LINE] = interrupt_line(function);
		function->writable[PCI_INTERRUPT_LINE] = 0xff;
	}
	for (unsigned i = 0; i < PCI_BARS; i++)
		pci_bar_init(function, i);
}

void pci_config_init(struct pci_function *function, bool capabilities)
{
	const struct pci_description *description = &function->description;

	fill_header(function);
	memcpy(function->initial, function->state.config, PCI_CONFIG_SIZE);
	function->next_capability = FIRST_CAPABILITY;
	if (capabilities) {
		add_power_management(function);
		if (description->msix_vectors)
			add_msix(function);
		if (description->msi)
			add_msi(function);
		add_express(function);
	}
	function->device_capabilities = function->next_capability;
}

/* --- what follows from it --- */

bool pci_powered(const struct pci_function *function)
{
	const uint8_t *power = function->state.config + function->power_capability;

	return !function->power_capability ||
	       (power[PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK) == POWER_D0;
}

/* May it write to memory, and have its port do so for it? */
static bool is_master(const struct pci_function *function)
{
	if (!(pci_get16(function->state.config, PCI_COMMAND) & PCI_COMMAND_MASTER) ||
		!pci_powered(function))
		return false;
	return !function->port ||
	       (is_master(function->port) && pci_root_port_link_up(function->port));
}

static void update_alone(struct pci_function *function)
{
	atomic_store(&function->dma.enabled, is_master(function));
	pci_interrupts_update(function);
}

void pci_update_function(struct pci_function *function)
{
	update_alone(function);
	for (struct pci_function *each = function->child; each; each = each->sibling)
		update_alone(each);
	pci_map_bars(function->bus);
}

static void function_reset(void *device)
{
	struct pci_function *function = device;

	memcpy(function->state.config, function->initial, PCI_CONFIG_SIZE);
	pci_interrupts_reset(function);
	if (function->is_port)
		pci_slot_reset(function);
	pci_update_function(function);
}

void pci_reset_function(struct pci_function *function)
{
	function_reset(function);
	if (function->description.reset)
		function->description.reset(function->description.opaque);
}

/* --- the guest's accesses --- */

static bool is_device_capability(
	const struct pci_function *function, unsigned offset, unsigned size)
{
	return offset + size > function->device_capabilities && offset < function->next_capability;
}

uint32_t pci_config_read(struct pci_function *function, unsigned offset, unsigned size)
{
	const struct pci_description *description = &function->description;
	uint32_t value = 0;

	if (description->capability_read && is_device_capability(function, offset, size))
		description->capability_read(description->opaque, offset, size);
	memcpy(&value, function->state.config + offset, size);
	return value;
}

/* Was 1 written to that bit of the byte at `at`? For bits that always read as 0. */
static bool writes_one(unsigned at, unsigned bit, unsigned offset, uint32_t value, unsigned size)
{
	return at >= offset && at < offset + size && (value >> (8 * (at - offset)) & 1u << bit);
}

static bool starts_reset(
	const struct pci_function *function, unsigned offset, uint32_t value, unsigned size)
{
	return function->express_capability && !function->is_port &&
	       writes_one(
		       function->express_capability + PCI_EXP_DEVCTL + 1u, 7, offset, value, size);
}

/* The power state just written, where it was `before`: D1 and D2 do not exist, so a write of them
 * has no effect. True: this was the way from D3hot to D0. */
static bool change_power(struct pci_function *function, uint8_t before)
{
	uint8_t *power = &function->state.config[function->power_capability + PCI_PM_CTRL];
	uint8_t now = *power & PCI_PM_CTRL_STATE_MASK;

	if (now != POWER_D0 && now != POWER_D3HOT)
		*power = before;
	return now == POWER_D0 && (before & PCI_PM_CTRL_STATE_MASK) == POWER_D3HOT &&
	       !(before & PCI_PM_CTRL_NO_SOFT_RESET);
}

void pci_config_write(struct pci_function *function, unsigned offset, uint32_t value, unsigned size)
{
	const struct pci_description *description = &function->description;
	uint8_t *config = function->state.config;
	uint8_t power = config[function->power_capability + PCI_PM_CTRL];
	bool held = function->is_port && pci_root_port_holds_reset(function);
	struct pci_slot_before slot = {0};

	if (function->is_port)
		slot = pci_slot_before(function);
	for (unsigned i = 0; i < size; i++) {
		uint8_t writable = function->writable[offset + i];
		uint8_t byte = (uint8_t)(value >> (8 * i));

		config[offset + i] =
			(uint8_t)((config[offset + i] & ~writable) | (byte & writable));
	}
	if (is_device_capability(function, offset, size)) {
		if (description->capability_written)
			description->capability_written(description->opaque, offset, size);
		return;
	}
	if ((function->power_capability && change_power(function, power)) ||
		starts_reset(function, offset, value, size))
		pci_reset_function(function);
	else
		pci_update_function(function);
	if (!function->is_port)
		return;
	if (!held && pci_root_port_holds_reset(function))
		for (struct pci_function *each = function->child; each; each = each->sibling)
			pci_reset_function(each);
	pci_slot_written(function, &slot, offset, value, size);
}

/* --- saved state --- */

/* What is not writable is as it is in this function, but for the bit that shows the pin. */
static bool config_valid(
	const struct pci_function *function, const struct pci_function_state *state)
{
	uint8_t fixed[PCI_CONFIG_SIZE];

	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
		fixed[i] = (uint8_t)~function->writable[i];
	fixed[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	if (function->is_port)
		pci_slot_mask_fixed(function, fixed);
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
		if ((state->config[i] ^ function->initial[i]) & fixed[i])
			return false;
	if (function->is_port && !pci_slot_valid(function, state->config))
		return false;
	return !(state->config[PCI_STATUS] & PCI_STATUS_INTERRUPT) == !state->intx;
}

static bool function_valid(const void *device, const void *loaded)
{
	const struct pci_function *function = device;
	const struct pci_function_state *state = loaded;
	unsigned vectors = function->description.msix_vectors;
	uint64_t exist = vectors == 64 ? UINT64_MAX : BIT(vectors) - 1;
	uint8_t power = state->config[function->power_capability + PCI_PM_CTRL];

	if (function->description.msi)
		exist |= 1;
	for (unsigned i = 0; i < vectors; i++)
		if (state->msix[i].address & 3)
			return false;
	for (unsigned i = vectors; i < PCI_MSIX_VECTORS; i++)
		if (state->msix[i].address || state->msix[i].data || state->msix[i].control != 1)
			return false;
	if (function->power_capability && (power & PCI_PM_CTRL_STATE_MASK) != POWER_D0 &&
		(power & PCI_PM_CTRL_STATE_MASK) != POWER_D3HOT)
		return false;
	return !(state->msix_pending & ~exist) && (!state->intx || function->description.intx) &&
	       config_valid(function, state);
}

static void function_loaded(void *device)
{
	pci_update_function(device);
	if (((struct pci_function *)device)->is_port)
		pci_slot_loaded(device);
}

static const struct state_field msix_fields[] = {
	STATE_ANY(struct pci_msix_entry, address),
	STATE_ANY(struct pci_msix_entry, data),
	STATE_FIELD(struct pci_msix_entry, control, 0, 1),
	STATE_END,
};

static const struct state_field function_fields[] = {
	STATE_ARRAY_ANY(struct pci_function_state, config),
	STATE_STRUCTS(struct pci_function_state, msix, msix_fields),
	STATE_ANY(struct pci_function_state, msix_pending),
	STATE_BOOL(struct pci_function_state, intx),
	STATE_END,
};

#define FUNCTION_OPS                                                                               \
	.name = "pci-function", .version = 1, DEVICE_STATE(struct pci_function, function_fields),  \
	.reset = function_reset, .valid = function_valid, .loaded = function_loaded

const struct device_ops pci_function_device = {FUNCTION_OPS};
const struct device_ops pci_root_port_device = {FUNCTION_OPS, .destroy = free};
