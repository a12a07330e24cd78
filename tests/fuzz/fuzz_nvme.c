/* The NVMe controller at the hands of a hostile driver: any register and doorbell at any moment,
 * queues, commands and lists of any content. What must hold, besides the sanitizers: the disk sees
 * requests within it only (it checks), all commands come to an end, and what was saved can be
 * loaded. */
#include "fuzz_storage.h"

#include "device/storage/nvme.h"

#define MMIO    UINT64_C(0xc8000000)
#define QUEUES  0x10000 /* admin and I/O queues, 4 KiB each */
#define LIST    0x20000
#define DATA    0x100000
#define ENTRIES 16

static uint16_t tails[2];

static bool no_msi(void *opaque, uint64_t address, uint32_t data)
{
	return true;
}

static void set(unsigned offset, uint32_t value)
{
	io_space_write(&memory.mmio, MMIO + offset, value, 4);
}

static void run_posted(void)
{
	event_loop_stop(loop);
	require(event_loop_run(loop) == 0);
}

/* Put a command into the admin or the I/O queue, as its driver does. */
static void put(unsigned queue, const uint32_t command[16])
{
	uint64_t at = QUEUES + queue * 0x2000 + tails[queue] * 64u;

	memory_write(&memory, at, command, 64);
	tails[queue] = (tails[queue] + 1) % ENTRIES;
	set(0x1000 + 8 * queue, tails[queue]);
}

static void enable(void)
{
	static const uint32_t create_cq[16] = {
		5, 0, 0, 0, 0, 0, QUEUES + 0x3000, 0, 0, 0, (ENTRIES - 1) << 16 | 1, 3};
	static const uint32_t create_sq[16] = {
		1, 0, 0, 0, 0, 0, QUEUES + 0x2000, 0, 0, 0, (ENTRIES - 1) << 16 | 1, 1 << 16 | 1};

	set(0x14, 0);
	run_worker();
	run_posted();
	tails[0] = tails[1] = 0;
	set(0x24, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	set(0x28, QUEUES);
	set(0x30, QUEUES + 0x1000);
	set(0x14, 0x00460001);
	put(0, create_cq);
	put(0, create_sq);
	run_worker();
	set(0x1004, 2);
}

void storage_create(void)
{
	static const uint64_t list[8] = {
		DATA, DATA + 0x1000, DATA + 0x3000, DATA + 0x2000, 0x3ff000, DATA, LIST};
	struct pci_config config = {.memory = &memory,
		.ports = &ports,
		.devices = &devices,
		.loop = loop,
		.msi = no_msi};
	struct pci_bus *bus = pci_create(&config);
	struct memory_disk *disk = memory_disk(300);

	disk->disk.can_write_zeroes = true;
	require(bus && nvme_create(bus, 5, 0, &disk->disk, "a") == 0);
	io_space_write(&ports, 0xcf8, 0x80002810, 4);
	io_space_write(&ports, 0xcfc, (uint32_t)MMIO, 4);
	io_space_write(&ports, 0xcf8, 0x80002804, 4);
	io_space_write(&ports, 0xcfc, 6, 2);
	memory_write(&memory, LIST + 0x1000 - sizeof(list), list, sizeof(list));
	enable();
}

/* A command that is nearly well-formed: the input's bytes are the rest of it. */
static void put_command(unsigned queue, const struct step *step, const uint8_t *data, size_t size)
{
	uint32_t command[16] = {(step->choice & 15) | (uint32_t)step->value << 16, 1, 0, 0, 0, 0,
		DATA + (step->choice & 0xc0) * 8u, 0, DATA + 0x1000, 0, step->value % 310};

	if (step->choice & 0x10)
		command[8] = LIST + 0xfc0;
	if (step->choice & 0x20)
		memcpy(command + 1, data, MIN(size, 60));
	else
		memcpy(command + 11, data, MIN(size, 20));
	put(queue, command);
}

void storage_step(const struct step *step, const uint8_t *data, size_t size)
{
	switch (step->action % 10) {
	case 0:
		io_space_read(&memory.mmio, MMIO + step->value % 0x1100, 1u << (step->choice & 3));
		break;
	case 1:
		set((step->choice & 0x0f) * 4, step->value);
		break;
	case 2:
		set(0x1000 + (step->choice & 0x3f) * 4, step->value);
		break;
	case 3:
		put_command(0, step, data, size);
		break;
	case 4:
	case 5:
		put_command(1, step, data, size);
		break;
	case 6:
		if (step->value % 16 == 0)
			save_and_load();
		else
			run_worker();
		break;
	case 7:
		run_posted();
		break;
	case 8:
		memory_write(&memory, LIST + step->choice * 16u, data, MIN(size, 16));
		break;
	case 9: /* take what was completed */
		if (step->choice & 1)
			enable();
		set(0x1004, step->value % ENTRIES);
		set(0x100c, step->choice % ENTRIES);
		break;
	}
}
