#include "device/lpc_bridge.h"

#include "base/log.h"
#include "device/chipset/acpi_pm.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_REGISTER 0x40

enum {
	PMBASE = 0x40,
	ACPI_CNTL = 0x44,
	PIRQ_A = 0x60, /* to D; E to H are at 0x68 */
	PIRQ_E = 0x68,
	SIRQ_CNTL = 0x64,
	LPC_DECODE = 0x80, /* to 0x93 */
	GEN_PMCON = 0xa0,  /* to 0xa5 */
	RCBA = 0xf0,
};

#define ACPI_ENABLE   0x80
#define PIRQ_DISABLED 0x80

struct lpc_bridge {
	struct pci_function function;
	struct device device;
};

/* The interrupts of the PCI slots are said by ACPI and go to the IOAPIC; what is programmed here
 * reads back and has no effect. */
static void add_registers(struct pci_function *function)
{
	uint8_t bytes[PCI_CONFIG_SIZE] = {[PMBASE] = 1, [SIRQ_CNTL] = 0x10};
	uint8_t writable[PCI_CONFIG_SIZE] = {
		[PMBASE] = 0x80, [PMBASE + 1] = 0xff, [ACPI_CNTL] = 0x87, [SIRQ_CNTL] = 0xc0};

	memset(bytes + PIRQ_A, PIRQ_DISABLED, 4);
	memset(bytes + PIRQ_E, PIRQ_DISABLED, 4);
	memset(writable + PIRQ_A, 0x8f, 4);
	memset(writable + PIRQ_E, 0x8f, 4);
	memset(writable + LPC_DECODE, 0xff, 0x14);
	memset(writable + GEN_PMCON, 0xff, 6);
	writable[RCBA] = 0x01;
	memset(writable + RCBA + 1, 0xff, 3);
	writable[RCBA + 1] = 0xc0;
	pci_add_registers(function, FIRST_REGISTER, bytes + FIRST_REGISTER,
		writable + FIRST_REGISTER, PCI_CONFIG_SIZE - FIRST_REGISTER);
}

static void firmware_setup(void *device)
{
	struct lpc_bridge *bridge = container_of(device, struct lpc_bridge, device);
	uint8_t *config = bridge->function.state.config;

	config[PMBASE + 1] = ACPI_PM1_EVENT_PORT >> 8;
	config[ACPI_CNTL] = ACPI_ENABLE;
}

static void destroy(void *device)
{
	free(container_of(device, struct lpc_bridge, device));
}

static const struct device_ops lpc_bridge_device = {
	.name = "lpc-bridge",
	.version = 1,
	.firmware_setup = firmware_setup,
	.destroy = destroy,
};

int lpc_bridge_create(struct pci_bus *bus)
{
	static const struct pci_description description = {
		.name = "LPC bridge",
		.vendor = 0x8086,
		.device = 0x2918,
		.subsystem_vendor = 0x1af4,
		.subsystem = 0x1100,
		.class_code = 0x060100,
		.revision = 2,
		.conventional = true,
	};
	struct lpc_bridge *bridge = calloc(1, sizeof(*bridge));
	int error;

	if (!bridge) {
		log_error("out of memory for the LPC bridge");
		return -ENOMEM;
	}
	error = pci_add(bus, &bridge->function, LPC_BRIDGE_SLOT, &description);
	if (error) {
		free(bridge);
		return error;
	}
	add_registers(&bridge->function);
	device_list_add(pci_bus_config(bus)->devices, &bridge->device, &lpc_bridge_device, 0);
	return 0;
}
