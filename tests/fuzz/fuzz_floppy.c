/* The floppy controller and the DMA controllers at the hands of a hostile driver: any register at
 * any moment. What must hold, besides the sanitizers: disks see requests within them only (they
 * check), all jobs come to an end, and what was saved can be loaded. */
#include "fuzz_storage.h"

#include "device/storage/floppy.h"

static struct dma8237 dma;

void storage_create(void)
{
	struct floppy_config config = {.devices = &devices,
		.ports = &ports,
		.dma = &dma,
		.irq = {.set = ignore_irq},
		.loop = loop,
		.machine_lock = &lock,
		.disks = {&memory_disk(2880)->disk, &memory_disk(720)->disk}};

	require(dma8237_init(&dma, &devices, &ports, &memory) == 0);
	require(floppy_create(&config) == 0);
	io_space_write(&ports, 0x3f2, 0x0c, 1);
	io_space_write(&ports, 0x3f7, 0, 1);
	io_space_write(&ports, 0xd4, 0, 1);
}

static void program_dma(const struct step *step)
{
	io_space_write(&ports, 0x0c, 0, 1);
	io_space_write(&ports, 0x0b, step->choice & 1 ? 0x46 : 0x4a, 1);
	io_space_write(&ports, 0x04, step->choice, 1);
	io_space_write(&ports, 0x04, 0x40, 1);
	io_space_write(&ports, 0x05, step->value & 0xff, 1);
	io_space_write(&ports, 0x05, step->value >> 8, 1);
	io_space_write(&ports, 0x0a, 2, 1);
}

void storage_step(const struct step *step, const uint8_t *data, size_t size)
{
	switch (step->action % 8) {
	case 0:
		io_space_read(&ports, 0x3f0 + (step->choice & 7), 1);
		break;
	case 1:
		io_space_write(&ports, 0x3f0 + (step->choice & 7), step->value, 1);
		break;
	case 2: /* a command */
		for (size_t i = 0; i < MIN(size, 9u); i++)
			io_space_write(&ports, 0x3f5, data[i], 1);
		break;
	case 3: /* results, or data */
		for (unsigned i = 0; i < step->value % 2048; i++)
			io_space_read(&ports, 0x3f5, 1);
		break;
	case 4:
		for (unsigned i = 0; i < step->value % 2048; i++)
			io_space_write(&ports, 0x3f5, i, 1);
		break;
	case 5:
		program_dma(step);
		break;
	case 6:
		if (step->value % 16 == 0)
			save_and_load();
		else
			settle();
		break;
	case 7:
		io_space_write(&ports,
			step->choice & 0x80 ? 0xc0 + (step->choice & 31) : step->choice & 15,
			step->value, 1);
		break;
	}
}
