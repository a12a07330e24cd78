/* A function's interrupts: MSI-X (PCI Local Bus 3.0, 6.8.2), MSI (6.8.1) and the INTx pin.
 *
 * pci_notify() comes from any thread and takes no lock, while a vCPU under the machine lock masks,
 * unmasks and retargets vectors. Two things make that safe:
 *
 * - What a vector's message is, and whether it may be sent, is one 64-bit word, which the vCPU's
 *   thread works out and pci_notify() reads at once: never half of a message.
 * - A vector found masked is marked pending, and then looked at again; the vCPU's thread stores the
 *   word first and looks for pending bits then. All four accesses are sequentially consistent, so
 *   at least one of the two sees what the other has done, and the one that takes the bit away
 *   sends. */
#include "device/pci/internal.h"

/* Of a vector's word: address bits 31..0, data bits 15..0 (SDM vol. 3A 11.11 has no more). */
#define MESSAGE_READY      BIT(63)
#define MESSAGE_ADDRESS(m) ((m) >> 16 & 0xffffffff)
#define MESSAGE_DATA(m)    ((uint32_t)((m)&0xffff))

#define ENTRY_SIZE 16

static uint64_t message_word(uint64_t address, uint32_t data)
{
	/* A write above 4 GiB is no interrupt; nor is one to address 0, which stands for it. */
	uint64_t low = address >> 32 ? 0 : address;

	return MESSAGE_READY | low << 16 | (data & 0xffff);
}

static uint16_t msix_flags(const struct pci_function *function)
{
	return function->msix_capability ? pci_get16(function->state.config,
						   function->msix_capability + PCI_MSIX_FLAGS)
					 : 0;
}

static bool msi_on(const struct pci_function *function)
{
	return function->msi_capability &&
	       (function->state.config[function->msi_capability + PCI_MSI_FLAGS] &
		       PCI_MSI_FLAGS_ENABLE);
}

/* What pci_notify() is to find for the vector now. */
static uint64_t message_of(const struct pci_function *function, unsigned vector)
{
	const struct pci_msix_entry *entry = &function->state.msix[vector];
	const uint8_t *msi = function->state.config + function->msi_capability;
	uint16_t flags = msix_flags(function);

	/* A message is a write to memory. */
	if (!dma_enabled(&function->dma))
		return 0;
	if (flags & PCI_MSIX_FLAGS_ENABLE) {
		if (vector >= function->description.msix_vectors ||
			(flags & PCI_MSIX_FLAGS_MASKALL) ||
			(entry->control & PCI_MSIX_ENTRY_CTRL_MASKBIT))
			return 0;
		return message_word(entry->address, entry->data);
	}
	if (!msi_on(function) || vector != 0)
		return 0;
	return message_word(pci_get32(msi, PCI_MSI_ADDRESS_LO) |
				    (uint64_t)pci_get32(msi, PCI_MSI_ADDRESS_HI) << 32,
		pci_get16(msi, PCI_MSI_DATA_64));
}

static void send(struct pci_function *function, uint64_t message)
{
	const struct pci_config *config = &function->bus->config;

	config->msi(config->opaque, MESSAGE_ADDRESS(message), MESSAGE_DATA(message));
}

static bool take_pending(struct pci_function *function, unsigned vector)
{
	return atomic_fetch_and(&function->state.msix_pending, ~BIT(vector)) & BIT(vector);
}

static unsigned vector_count(const struct pci_function *function)
{
	return function->description.msix_vectors ? function->description.msix_vectors
						  : function->description.msi;
}

bool pci_msi_enabled(const struct pci_function *function)
{
	return atomic_load(&function->msi_enabled);
}

void pci_notify(struct pci_function *function, unsigned vector)
{
	uint64_t message, sent;

	if (vector >= vector_count(function) || !pci_msi_enabled(function))
		return;
	message = atomic_load(&function->message[vector]);
	if (!message) {
		atomic_fetch_or(&function->state.msix_pending, BIT(vector));
		message = atomic_load(&function->message[vector]);
		if (!message || !take_pending(function, vector))
			return;
	}
	send(function, message);
	/* Where the guest has retargeted the vector meanwhile, it does not look at the old place
	 * any more. */
	sent = message;
	message = atomic_load(&function->message[vector]);
	if (message && message != sent)
		send(function, message);
}

static void update_vector(struct pci_function *function, unsigned vector)
{
	uint64_t message = message_of(function, vector);

	atomic_store(&function->message[vector], message);
	if (message && (atomic_load(&function->state.msix_pending) & BIT(vector)) &&
		take_pending(function, vector))
		send(function, message);
}

static void update_pin(struct pci_function *function)
{
	struct pci_function_state *state = &function->state;
	uint16_t command = pci_get16(state->config, PCI_COMMAND);

	if (state->intx)
		state->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		state->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	irq_set(&function->line, state->intx && !(command & PCI_COMMAND_INTX_DISABLE) &&
					 !pci_msi_enabled(function) && pci_powered(function));
}

void pci_interrupts_update(struct pci_function *function)
{
	bool enabled = (msix_flags(function) & PCI_MSIX_FLAGS_ENABLE) || msi_on(function);

	atomic_store(&function->msi_enabled, enabled);
	for (unsigned vector = 0; vector < vector_count(function); vector++)
		update_vector(function, vector);
	if (!enabled)
		atomic_store(&function->state.msix_pending, 0);
	update_pin(function);
}

void pci_interrupts_reset(struct pci_function *function)
{
	for (unsigned i = 0; i < PCI_MSIX_VECTORS; i++)
		function->state.msix[i] =
			(struct pci_msix_entry){.control = PCI_MSIX_ENTRY_CTRL_MASKBIT};
	atomic_store(&function->state.msix_pending, 0);
	function->state.intx = false;
}

void pci_set_intx(struct pci_function *function, bool level)
{
	function->state.intx = level && function->description.intx;
	update_pin(function);
}

/* --- the table and the pending bits, in their BAR --- */

static uint32_t read_doubleword(const struct pci_function *function, uint64_t offset)
{
	const struct pci_msix_entry *entry;

	if (offset == PCI_MSIX_PENDING || offset == PCI_MSIX_PENDING + 4)
		return (uint32_t)(atomic_load(&function->state.msix_pending) >>
				  (8 * (offset - PCI_MSIX_PENDING)));
	if (offset >= function->description.msix_vectors * ENTRY_SIZE)
		return 0;
	entry = &function->state.msix[offset / ENTRY_SIZE];
	switch (offset % ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		return (uint32_t)entry->address;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		return (uint32_t)(entry->address >> 32);
	case PCI_MSIX_ENTRY_DATA:
		return entry->data;
	default:
		return entry->control;
	}
}

static void write_doubleword(struct pci_function *function, uint64_t offset, uint32_t value)
{
	struct pci_msix_entry *entry;

	if (offset >= function->description.msix_vectors * ENTRY_SIZE)
		return;
	entry = &function->state.msix[offset / ENTRY_SIZE];
	switch (offset % ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		entry->address = (entry->address & ~UINT64_C(0xffffffff)) | (value & ~UINT32_C(3));
		break;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		entry->address = (uint32_t)entry->address | (uint64_t)value << 32;
		break;
	case PCI_MSIX_ENTRY_DATA:
		entry->data = value;
		break;
	default:
		entry->control = value & PCI_MSIX_ENTRY_CTRL_MASKBIT;
	}
	update_vector(function, (unsigned)(offset / ENTRY_SIZE));
}

/* Software must use whole doublewords or quadwords (6.8.2); what else is written is ignored. */
static uint64_t msix_read(void *opaque, uint64_t offset, unsigned size)
{
	uint64_t at = offset & ~UINT64_C(3), value = read_doubleword(opaque, at);

	if (size == 8)
		value |= (uint64_t)read_doubleword(opaque, at + 4) << 32;
	return value >> (8 * (offset & 3));
}

static void msix_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	if (size < 4 || (offset & 3))
		return;
	write_doubleword(opaque, offset, (uint32_t)value);
	if (size == 8)
		write_doubleword(opaque, offset + 4, (uint32_t)(value >> 32));
}

const struct io_ops pci_msix_ops = {.read = msix_read, .write = msix_write};
