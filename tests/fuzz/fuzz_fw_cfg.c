/* fw_cfg at the hands of a hostile guest: any access to its ports, DMA structs and contents of any
 * kind, resets and saved states. The input is a list of steps of eight bytes. */
#include "device/fw_cfg.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define FILE_SIZE 40

struct step {
	uint8_t action; /* enum action, modulo */
	uint8_t choice; /* access size in bits 0 and 1 */
	uint16_t offset;
	uint32_t value;
};

enum action { READ, WRITE, SELECT, STORE, DMA, RESET, SAVE_AND_LOAD, ACTIONS };

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;
static struct io_space ports;
static struct device_list devices;

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void make(void *opaque, uint8_t *bytes, uint32_t size)
{
	require(size == FILE_SIZE);
	memset(bytes, 1, size);
}

static void on_written(void *opaque, const uint8_t *bytes, uint32_t size)
{
	require(size == FILE_SIZE);
}

static void create(void)
{
	static const uint8_t bytes[FILE_SIZE];
	struct fw_cfg *fw_cfg;

	io_space_init(&ports, &lock);
	fw_cfg = fw_cfg_create(&devices, &ports, &memory);
	require(fw_cfg);
	require(fw_cfg_add_file(fw_cfg, "etc/file", bytes, sizeof(bytes)) == 0);
	require(fw_cfg_add_made_file(fw_cfg, "etc/made", FILE_SIZE, make, NULL) == 0);
	require(fw_cfg_add_writable_file(
			fw_cfg, "etc/written", bytes, FILE_SIZE, on_written, NULL) == 0);
}

static void destroy(void)
{
	device_list_destroy(&devices);
	io_space_destroy(&ports);
}

static void save_and_load(const struct step *step)
{
	struct state_writer saved = {0};
	struct state_reader reader;

	device_list_save(&devices, &saved);
	if (step->choice & 1)
		saved.bytes[step->offset % saved.size] = (uint8_t)step->value;
	destroy();
	create();
	reader = (struct state_reader){saved.bytes, saved.size};
	require(device_list_load(&devices, &reader) == 0 || (step->choice & 1));
	free(saved.bytes);
}

static void run(const struct step *step)
{
	unsigned size = 1u << (step->choice & 3);
	uint16_t port = FW_CFG_PORT + step->offset % 16;

	switch (step->action % ACTIONS) {
	case READ:
		io_space_read(&ports, port, size);
		break;
	case WRITE:
		io_space_write(&ports, port, step->value, size);
		break;
	case SELECT:
		io_space_write(&ports, FW_CFG_PORT, step->offset, 2);
		break;
	case STORE: /* a part of a DMA struct */
		memory_write(&memory, step->offset % 16, &step->value, 4);
		break;
	case DMA:
		io_space_write(&ports, FW_CFG_PORT + 8, htobe32(step->value % 64), 4);
		break;
	case RESET:
		device_list_reset(&devices);
		break;
	case SAVE_AND_LOAD:
		save_and_load(step);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct step step;

	if (!memory.ram)
		require(memory_create(&memory, 2 * MIB, 40, &lock) == 0);
	memset(memory.ram, 0, PAGE_SIZE);
	create();
	for (; size >= sizeof(step); data += sizeof(step), size -= sizeof(step)) {
		memcpy(&step, data, sizeof(step));
		run(&step);
	}
	destroy();
	return 0;
}
