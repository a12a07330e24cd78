/* The IOAPIC (82093AA; ICH's version 0x20 with an EOI register): 24 pins at 0xfec00000. */
#ifndef VENEER_DEVICE_CHIPSET_IOAPIC_H
#define VENEER_DEVICE_CHIPSET_IOAPIC_H

#include "device/chipset/lapic.h"
#include "device/device.h"
#include "memory/io_space.h"

#define IOAPIC_BASE UINT64_C(0xfec00000)
#define IOAPIC_SIZE 0x1000
#define IOAPIC_PINS 24

struct ioapic_state {
	uint64_t redirection[IOAPIC_PINS];
	uint32_t lines; /* levels of the pins */
	uint8_t id, index;
};

struct ioapic {
	struct device device;
	struct ioapic_state state;
	struct lapic_bus *bus;
};

/* Add the MMIO region, and the device to the list. 0 or -errno. */
int ioapic_init(struct ioapic *ioapic, struct device_list *devices, struct io_space *mmio,
	struct lapic_bus *bus);

void ioapic_set_irq(struct ioapic *ioapic, unsigned pin, bool level);
/* A local APIC completed a level-triggered interrupt: clear remote IRR, and send again for pins
 * that are still asserted. */
void ioapic_eoi(struct ioapic *ioapic, uint8_t vector);

#endif
