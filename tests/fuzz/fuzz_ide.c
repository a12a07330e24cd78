/* The IDE controller at the hands of a hostile driver: any register at any moment, tables of any
 * content. What must hold, besides the sanitizers: disks see requests within them only (they
 * check), all jobs come to an end, and what was saved can be loaded. */
#include "fuzz_storage.h"

#include "device/storage/ide.h"

#define MASTER 0xc000

static bool no_msi(void *opaque, uint64_t address, uint32_t data)
{
	return false;
}

void storage_create(void)
{
	struct pci_config config = {.memory = &memory,
		.ports = &ports,
		.devices = &devices,
		.loop = loop,
		.msi = no_msi};
	struct pci_bus *bus = pci_create(&config);
	struct ide_drive_config drives[IDE_MAX_DRIVES] = {{&memory_disk(300)->disk, false, "a"},
		{NULL, false, ""}, {&memory_disk(64)->disk, false, "b"},
		{&memory_disk(100)->disk, true, "c"}};
	struct irq_line lines[2] = {{.set = ignore_irq}, {.set = ignore_irq}};

	require(bus && ide_create(bus, 5, drives, lines) == 0);
	io_space_write(&ports, 0xcf8, 0x80002820, 4);
	io_space_write(&ports, 0xcfc, MASTER, 4);
	io_space_write(&ports, 0xcf8, 0x80002804, 4);
	io_space_write(&ports, 0xcfc, 5, 2);
}

void storage_step(const struct step *step, const uint8_t *data, size_t size)
{
	static const uint16_t bases[] = {0x1f0, 0x170};
	uint16_t base = bases[step->choice >> 7];
	unsigned index = step->choice & 7, width = 1u << (step->choice >> 4 & 3) % 3;

	switch (step->action % 8) {
	case 0:
		io_space_read(&ports, base + index, width);
		break;
	case 1:
		io_space_write(&ports, base + index, step->value, width);
		break;
	case 2: /* a block, or a packet */
		for (unsigned i = 0; i < step->value % 8192; i++)
			io_space_read(&ports, base, 2);
		break;
	case 3:
		for (unsigned i = 0; i < step->value % 8192; i++)
			io_space_write(&ports, base, step->value + i, 2);
		break;
	case 4:
		io_space_write(&ports, MASTER + (step->choice & 15), step->value, width);
		break;
	case 5:
		io_space_write(&ports, base + 0x206, step->value, 1);
		break;
	case 6:
		if (step->value % 16 == 0)
			save_and_load();
		else
			settle();
		break;
	case 7: /* a few entries at the address that is likely */
		memory_write(&memory, step->choice * 8u, step, sizeof(*step));
		break;
	}
}
