/* A machine of which there is what machine/real_mode.c needs, and what its option ROM will do. For
 * tests and the fuzzer. */
#ifndef VENEER_TESTS_UNIT_REAL_MODE_FIXTURE_H
#define VENEER_TESTS_UNIT_REAL_MODE_FIXTURE_H

#include "device/fw_cfg.h"
#include "machine/machine.h"
#include "machine/real_mode.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define ROM_BYTES    512
#define ROM_REQUESTS 0x80

static struct machine machine;
static struct device_list devices;

/* False: out of memory. */
static inline bool real_mode_setup(uint64_t memory_size)
{
	machine = (struct machine){.cmdline = (char *)""};
	devices = (struct device_list){0};
	priority_lock_init(&machine.lock);
	io_space_init(&machine.ports, &machine.lock);
	if (memory_create(&machine.memory, memory_size, 40, &machine.lock) < 0)
		return false;
	machine.fw_cfg = fw_cfg_create(&devices, &machine.ports, &machine.memory);
	return machine.fw_cfg;
}

static inline void real_mode_teardown(void)
{
	device_list_destroy(&devices);
	free(machine.firmware.kernel);
	free(machine.firmware.initrd);
	io_space_destroy(&machine.ports);
	memory_destroy(&machine.memory);
	priority_lock_destroy(&machine.lock);
}

/* What an item begins with; zeros behind its end. */
static inline void read_item(uint16_t key, void *bytes, unsigned size)
{
	io_space_write(&machine.ports, FW_CFG_PORT, key, 2);
	for (unsigned i = 0; i < size; i++)
		((uint8_t *)bytes)[i] = (uint8_t)io_space_read(&machine.ports, FW_CFG_PORT + 1, 1);
}

/* The only file there is. */
static inline void read_rom(uint8_t *rom)
{
	read_item(FW_CFG_FIRST_FILE, rom, ROM_BYTES);
}

/* One of the ROM's DMA structs. */
struct rom_request {
	uint32_t key, size;
	uint64_t place;
};

static inline struct rom_request rom_request(const uint8_t *rom, unsigned i)
{
	uint32_t words[4];

	memcpy(words, rom + ROM_REQUESTS + i * sizeof(words), sizeof(words));
	return (struct rom_request){be32toh(words[0]) >> 16, be32toh(words[1]), be32toh(words[3])};
}

#endif
