/* The ACPI tables (ACPI 6.4): what the machine tells an operating system about itself. They
 * describe the chipset of device/chipset and the root of PCI, and nothing else: no VGA. */
#ifndef VENEER_MACHINE_ACPI_H
#define VENEER_MACHINE_ACPI_H

#include "memory/memory.h"

#define ACPI_MAX_CPUS 128 /* that the tables have room for */

struct acpi_config {
	unsigned cpu_count; /* APIC IDs 0 to cpu_count - 1 */
	bool com2;
	bool vga;
	/* Tell of the HPET. A kernel that knows of better clocks spends some time on it all the
	 * same. */
	bool hpet;
};

/* Write all tables to the BIOS area, LAYOUT_BIOS, which e820 reserves. `*rsdp` is the root
 * pointer's guest-physical address. 0, or -errno with a message. */
int acpi_write_tables(struct memory *memory, const struct acpi_config *config, uint64_t *rsdp);

#endif
