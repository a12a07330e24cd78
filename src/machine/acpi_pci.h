/* The root of PCI in the ACPI tables: what the host bridge passes on, and where the functions'
 * interrupt pins end. */
#ifndef VENEER_MACHINE_ACPI_PCI_H
#define VENEER_MACHINE_ACPI_PCI_H

#include "machine/aml.h"
#include "memory/memory.h"

#define ACPI_LAST_BUS 255 /* that ECAM has room for */

/* Write the devices; inside of \_SB. `ecam`: where firmware has mapped configuration space, and has
 * given out all the rest of the hole; 0: nobody has, and it is at PCI_ECAM_BASE. */
void acpi_describe_pci(struct aml *aml, const struct memory *memory, uint64_t ecam);

#endif
