#include "machine/e820.h"

#include "device/pci/pci.h"
#include "machine/layout.h"

unsigned e820_build(const struct memory *memory, struct e820_range map[E820_MAX])
{
	unsigned count = 0;

	map[count++] = (struct e820_range){0, LAYOUT_EBDA, E820_USABLE};
	map[count++] =
		(struct e820_range){LAYOUT_EBDA, LAYOUT_LOW_END - LAYOUT_EBDA, E820_RESERVED};
	map[count++] =
		(struct e820_range){LAYOUT_BIOS, LAYOUT_BIOS_END - LAYOUT_BIOS, E820_RESERVED};
	if (memory->low_size > LAYOUT_HIGH)
		map[count++] = (struct e820_range){
			LAYOUT_HIGH, memory->low_size - LAYOUT_HIGH, E820_USABLE};
	map[count++] = (struct e820_range){PCI_ECAM_BASE, PCI_ECAM_SIZE, E820_RESERVED};
	if (memory->high_size)
		map[count++] =
			(struct e820_range){MEMORY_HIGH_START, memory->high_size, E820_USABLE};
	return count;
}
