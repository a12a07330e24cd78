/* The AHCI controller at the hands of a hostile driver: any register at any moment, command lists
 * and tables of any content. What must hold, besides the sanitizers: disks see requests within them
 * only (they check), all jobs come to an end, and what was saved can be loaded. */
#include "fuzz_storage.h"

#include "device/storage/ahci.h"

#define MMIO   UINT64_C(0xc8000000)
#define LIST   0x1000 /* of both ports: their lists, FISes and tables are the same bytes */
#define TABLES 0x2000
#define DATA   0x8000

static bool no_msi(void *opaque, uint64_t address, uint32_t data)
{
	return true;
}

static void set(unsigned offset, uint32_t value)
{
	io_space_write(&memory.mmio, MMIO + offset, value, 4);
}

void storage_create(void)
{
	struct pci_config config = {.memory = &memory,
		.ports = &ports,
		.devices = &devices,
		.loop = loop,
		.msi = no_msi};
	struct pci_bus *bus = pci_create(&config);
	struct ide_drive_config drives[AHCI_PORTS] = {
		{&memory_disk(300)->disk, false, "a"}, {&memory_disk(100)->disk, true, "b"}};

	require(bus && ahci_create(bus, 5, drives) == 0);
	io_space_write(&ports, 0xcf8, 0x80002824, 4);
	io_space_write(&ports, 0xcfc, (uint32_t)MMIO, 4);
	io_space_write(&ports, 0xcf8, 0x80002804, 4);
	io_space_write(&ports, 0xcfc, 6, 2);
	for (unsigned port = 0x100; port < 0x200; port += 0x80) {
		set(port, LIST);
		set(port + 8, LIST + 0x800);
		set(port + 0x14, ~0u);
		set(port + 0x18, 0x11);
	}
}

/* A command that is nearly well-formed: the input's bytes are its FIS and packet. */
static void put_command(unsigned slot, const uint8_t *data, size_t size)
{
	uint64_t table = TABLES + slot * 0x100;
	uint32_t header[4] = {5 | 3 << 16, 0, (uint32_t)table, 0};
	uint8_t bytes[0x50] = {0};
	uint32_t regions[12] = {
		DATA, 0, 0, 0x1ff, DATA + 0x1000, 0, 0, 0xfff, 0x3ff000, 0, 0, 0x3ffffe};

	memcpy(bytes, data, MIN(size, sizeof(bytes)));
	bytes[0] = 0x27;
	memory_write(&memory, LIST + slot * 32, header, sizeof(header));
	memory_write(&memory, table, bytes, sizeof(bytes));
	memory_write(&memory, table + 0x80, regions, sizeof(regions));
}

void storage_step(const struct step *step, const uint8_t *data, size_t size)
{
	unsigned port = step->choice & 0x80 ? 0x180 : 0x100, slot = step->value & 31;

	switch (step->action % 8) {
	case 0:
		io_space_read(&memory.mmio, MMIO + step->value % 0x500, 1u << (step->choice & 3));
		break;
	case 1:
		io_space_write(&memory.mmio, MMIO + (step->choice & 0x3f) * 4, step->value, 4);
		break;
	case 2:
		set(port + (step->choice & 0x1f) * 4, step->value);
		break;
	case 3:
		put_command(slot, data, size);
		break;
	case 4:
		if (step->choice & 1)
			set(port + 0x34, 1u << slot);
		set(port + 0x38, 1u << slot);
		break;
	case 5:
		if (step->value % 16 == 0)
			save_and_load();
		else
			settle();
		break;
	case 6: /* stop and start */
		set(port + 0x18, 0);
		set(port + 0x18, 0x11);
		break;
	case 7:
		memory_write(&memory, LIST + step->choice * 16u, step, sizeof(*step));
		break;
	}
}
