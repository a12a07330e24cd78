/* A PCI bus to put functions on, as a guest's processor reaches it, and the messages that its
 * functions send. */
#ifndef VENEER_TESTS_UNIT_PCI_FIXTURE_H
#define VENEER_TESTS_UNIT_PCI_FIXTURE_H

#include "device/pci/pci.h"
#include "device_fixture.h"

#include <linux/pci.h>

static struct pci_bus *bus;

static struct {
	uint64_t address;
	uint32_t data;
} last;
static atomic_uint messages;

static inline bool on_message(void *opaque, uint64_t address, uint32_t data)
{
	last.address = address;
	last.data = data;
	atomic_fetch_add(&messages, 1);
	return true;
}

static inline void create_with(
	void (*ejected)(void *opaque, struct pci_function *port), void *opaque)
{
	struct pci_config config = {
		.memory = &f.memory,
		.ports = &f.ports,
		.devices = &f.devices,
		.loop = f.loop,
		.msi = on_message,
		.ejected = ejected,
		.eject_opaque = opaque,
	};

	for (unsigned i = 0; i < PCI_INTX_GSIS; i++)
		config.intx[i] = fixture_irq(i);
	bus = pci_create(&config);
	assert_non_null(bus);
}

static inline void create(void)
{
	create_with(NULL, NULL);
}

/* `slot`: 32 times the bus number, plus the device's. */
static inline uint64_t ecam(unsigned slot, unsigned offset)
{
	return PCI_ECAM_BASE + (slot << 15) + offset;
}

static inline uint32_t config_read(unsigned slot, unsigned offset, unsigned size)
{
	return (uint32_t)io_space_read(&f.memory.mmio, ecam(slot, offset), size);
}

static inline void config_write(unsigned slot, unsigned offset, uint32_t value, unsigned size)
{
	io_space_write(&f.memory.mmio, ecam(slot, offset), value, size);
}

/* Where the capability with that ID is. */
static inline unsigned capability_of(unsigned slot, uint8_t id)
{
	unsigned at = config_read(slot, PCI_CAPABILITY_LIST, 1);

	for (unsigned i = 0; at && i < 48; i++, at = config_read(slot, at + 1, 1))
		if (config_read(slot, at, 1) == id)
			return at;
	fail_msg("no capability %u", id);
	return 0;
}

static inline uint32_t read32(uint64_t address)
{
	return (uint32_t)io_space_read(&f.memory.mmio, address, 4);
}

static inline void write32(uint64_t address, uint32_t value)
{
	io_space_write(&f.memory.mmio, address, value, 4);
}

static inline unsigned take_messages(void)
{
	return atomic_exchange(&messages, 0);
}

#endif
