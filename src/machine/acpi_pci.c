#include "machine/acpi_pci.h"

#include "device/chipset/ioapic.h"
#include "device/pci/pci.h"

#define CONFIG_PORTS      0xcf8
#define CONFIG_PORT_COUNT 8
#define PORT_COUNT        0x10000
#define PINS              4 /* INTA# to INTD# */

/* Name (_CRS, ...): bus numbers, the bridge's own ports, the ports and memory that it passes on. */
static void describe_windows(struct aml *aml, const struct memory *memory, uint64_t ecam)
{
	uint64_t high = pci_window64_base(memory);

	aml_resources(aml);
	aml_window(aml, AML_WINDOW_BUSES, 0, ACPI_LAST_BUS + 1);
	aml_io(aml, CONFIG_PORTS, CONFIG_PORT_COUNT);
	aml_window(aml, AML_WINDOW_PORTS, 0, CONFIG_PORTS);
	aml_window(aml, AML_WINDOW_PORTS, CONFIG_PORTS + CONFIG_PORT_COUNT,
		PORT_COUNT - CONFIG_PORTS - CONFIG_PORT_COUNT);
	if (!ecam) {
		aml_window(aml, AML_WINDOW_MEMORY32, PCI_WINDOW_BASE, PCI_WINDOW_SIZE);
	} else {
		/* Firmware may have put BARs on either side of configuration space. */
		if (memory->low_size < ecam)
			aml_window(aml, AML_WINDOW_MEMORY32, memory->low_size,
				ecam - memory->low_size);
		if (ecam + PCI_ECAM_SIZE < IOAPIC_BASE)
			aml_window(aml, AML_WINDOW_MEMORY32, ecam + PCI_ECAM_SIZE,
				IOAPIC_BASE - (ecam + PCI_ECAM_SIZE));
	}
	if (high)
		aml_window(aml, AML_WINDOW_MEMORY64, high, PCI_WINDOW64_SIZE);
	aml_close_resources(aml);
}

/* Name (_PRT, ...): a row for each pin of each slot (6.2.13). Source 0 says that the last number is
 * a global system interrupt, which cannot be set. */
static void describe_pins(struct aml *aml)
{
	aml_name(aml, "_PRT");
	aml_package(aml, PCI_SLOTS * PINS);
	for (uint32_t slot = 0; slot < PCI_SLOTS; slot++)
		for (uint32_t pin = 0; pin < PINS; pin++) {
			aml_package(aml, 4);
			aml_integer(aml, slot << 16 | 0xffff);
			aml_integer(aml, pin);
			aml_integer(aml, 0);
			aml_integer(aml, PCI_INTX_GSI + (slot + pin) % PCI_INTX_GSIS);
			aml_close(aml);
		}
	aml_close(aml);
}

static void describe_bridge(struct aml *aml, const struct memory *memory, uint64_t ecam)
{
	static const char *const zeros[] = {"_UID", "_SEG", "_BBN"};

	aml_device(aml, "PCI0");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0A08");
	aml_name(aml, "_CID");
	aml_eisa_id(aml, "PNP0A03");
	for (unsigned i = 0; i < ARRAY_SIZE(zeros); i++) {
		aml_name(aml, zeros[i]);
		aml_integer(aml, 0);
	}
	/* The system may control every feature that it asks for: firmware does nothing of it. */
	aml_method_returning(aml, "_OSC", 4, 3);
	describe_windows(aml, memory, ecam);
	describe_pins(aml);
	aml_close(aml);
}

/* Operating systems use ECAM only where a motherboard device has it among its resources (PCI
 * Firmware 3.0, 4.1.2). */
static void describe_ecam(struct aml *aml, uint64_t ecam)
{
	aml_device(aml, "ECAM");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0C02");
	aml_resources(aml);
	aml_memory_fixed(aml, (uint32_t)ecam, (uint32_t)PCI_ECAM_SIZE);
	aml_close_resources(aml);
	aml_close(aml);
}

void acpi_describe_pci(struct aml *aml, const struct memory *memory, uint64_t ecam)
{
	describe_bridge(aml, memory, ecam);
	describe_ecam(aml, ecam ? ecam : PCI_ECAM_BASE);
}
