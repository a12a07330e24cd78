/* Two flash chips at the hands of a hostile guest: any loads and stores, resets and saved states.
 * The chip that is read-only never changes, and the other one's store gets every change. The input
 * is a list of steps of four bytes. */
#include "device/flash.h"

#include <stdlib.h>
#include <string.h>

#define SIZE (2 * FLASH_BLOCK)
#define CHIP (MEMORY_HIGH_START - 2 * SIZE)

struct step {
	uint8_t action; /* enum action, modulo; the access size in bits 6 and 7 */
	uint8_t value;
	uint16_t offset; /* modulo both chips' size */
};

enum action { STORE, LOAD, RESET, SAVE_AND_LOAD, ACTIONS };

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;
static struct device_list devices;
static uint8_t kept[SIZE];

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void keep(void *opaque, uint32_t offset, const uint8_t *bytes, uint32_t size)
{
	require(size && offset <= SIZE && size <= SIZE - offset);
	memcpy(kept + offset, bytes, size);
}

static void create(const uint8_t *contents)
{
	for (unsigned i = 0; i < 2; i++) {
		struct flash_config config = {.memory = &memory,
			.devices = &devices,
			.name = "flash",
			.gpa = CHIP + i * SIZE,
			.size = SIZE,
			.contents = contents + i * SIZE,
			.read_only = i,
			.store = {.keep = i ? NULL : keep},
			.instance = i};

		require(flash_create(&config) == 0);
	}
}

static void destroy(void)
{
	device_list_destroy(&devices);
	for (unsigned i = 0; i < 2; i++) {
		io_space_remove(&memory.mmio, CHIP + i * SIZE);
		require(memory_rom_remove(&memory, CHIP + i * SIZE) == 0);
	}
}

static void save_and_load(const struct step *step, const uint8_t *array)
{
	static uint8_t contents[2 * SIZE];
	struct state_writer saved = {0};
	struct state_reader reader;

	memcpy(contents, array, sizeof(contents));
	device_list_quiesce(&devices, 0); /* as before a machine is saved, or ends */
	device_list_save(&devices, &saved);
	if (step->action & 0x80)
		saved.bytes[step->offset % saved.size] = step->value;
	destroy();
	create(contents);
	reader = (struct state_reader){saved.bytes, saved.size};
	require(device_list_load(&devices, &reader) == 0 || (step->action & 0x80));
	free(saved.bytes);
}

static void run(const struct step *step, const uint8_t *array)
{
	unsigned size = 1u << (step->action >> 6);
	uint64_t at = CHIP + step->offset % (2 * SIZE);

	switch ((step->action & 0x3f) % ACTIONS) {
	case STORE:
		io_space_write(&memory.mmio, at, step->value, size);
		break;
	case LOAD:
		if (!memory_ram_pointer(&memory, at))
			io_space_read(&memory.mmio, at, size);
		break;
	case RESET:
		device_list_reset(&devices);
		break;
	case SAVE_AND_LOAD:
		save_and_load(step, array);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t contents[2 * SIZE];
	const uint8_t *array;
	struct step step;

	if (!memory.ram)
		require(memory_create(&memory, 2 * MIB, 40, &lock) == 0);
	memset(contents, 0x5a, sizeof(contents));
	memset(kept, 0x5a, sizeof(kept));
	create(contents);
	array = memory_ram_pointer(&memory, CHIP);
	require(memory_ram_pointer(&memory, CHIP + SIZE) == array + SIZE);
	for (; size >= sizeof(step); data += sizeof(step), size -= sizeof(step)) {
		memcpy(&step, data, sizeof(step));
		run(&step, array);
	}
	device_list_quiesce(&devices, 0);
	require(memcmp(kept, array, SIZE) == 0);
	require(memcmp(contents + SIZE, array + SIZE, SIZE) == 0);
	destroy();
	return 0;
}
