/* fw_cfg: what the monitor tells firmware, in items that have a number and, most of them, a name
 * (QEMU's docs/specs/fw_cfg: the interface that SeaBIOS, OVMF and option ROMs expect).
 *
 * The guest selects an item by its number, and reads its bytes one by one from a port, or all at
 * once into RAM (DMA). Numbers below 0x20 have a fixed meaning; files get the next number from
 * 0x20 on, and item 0x19 lists them.
 *
 * Add everything before the machine runs, in an order that depends on the configuration alone:
 * numbers are part of a machine's saved state. */
#ifndef VENEER_DEVICE_FW_CFG_H
#define VENEER_DEVICE_FW_CFG_H

#include "device/device.h"
#include "memory/memory.h"

#define FW_CFG_PORT     0x510
#define FW_CFG_ITEMS    96   /* at most */
#define FW_CFG_WRITABLE 1024 /* bytes of all items that the guest may write */
#define FW_CFG_NAME     56   /* of a file, its zero included */

enum fw_cfg_key {
	FW_CFG_SIGNATURE = 0x00, /* "QEMU" */
	FW_CFG_ID = 0x01,        /* bit 0: there are ports; bit 1: there is DMA */
	FW_CFG_RAM_SIZE = 0x03,
	FW_CFG_NO_GRAPHIC = 0x04,
	FW_CFG_CPU_COUNT = 0x05,
	FW_CFG_KERNEL_ADDRESS = 0x07,
	FW_CFG_KERNEL_SIZE = 0x08,
	FW_CFG_INITRD_ADDRESS = 0x0a,
	FW_CFG_INITRD_SIZE = 0x0b,
	FW_CFG_BOOT_MENU = 0x0e,
	FW_CFG_MAX_CPUS = 0x0f,
	FW_CFG_KERNEL_ENTRY = 0x10,
	FW_CFG_KERNEL_DATA = 0x11,
	FW_CFG_INITRD_DATA = 0x12,
	FW_CFG_CMDLINE_ADDRESS = 0x13,
	FW_CFG_CMDLINE_SIZE = 0x14,
	FW_CFG_CMDLINE_DATA = 0x15,
	FW_CFG_SETUP_ADDRESS = 0x16,
	FW_CFG_SETUP_SIZE = 0x17,
	FW_CFG_SETUP_DATA = 0x18,
	FW_CFG_DIRECTORY = 0x19,
	FW_CFG_FIRST_FILE = 0x20,
};

struct fw_cfg;

/* Make one, add its ports, and add it to the list of devices, which frees it. It has signature, ID
 * and an empty directory. NULL with a message. */
struct fw_cfg *fw_cfg_create(
	struct device_list *devices, struct io_space *ports, struct memory *memory);

/* Items with fixed numbers; an item that exists is replaced. The bytes are copied. 0; -ENOSPC,
 * -ENOMEM with a message. */
int fw_cfg_add(struct fw_cfg *fw_cfg, uint16_t key, const void *bytes, uint32_t size);
/* A number of `size` bytes (1 to 8), little-endian. */
int fw_cfg_add_number(struct fw_cfg *fw_cfg, uint16_t key, uint64_t value, unsigned size);
/* Without a copy: the bytes outlive fw_cfg. For kernels and what else is large. */
int fw_cfg_add_borrowed(struct fw_cfg *fw_cfg, uint16_t key, const void *bytes, uint32_t size);

/* Files: "etc/table-loader", "vgaroms/NAME", "genroms/NAME", "bootorder". As above; -EEXIST where
 * the name is taken, -EINVAL where it is too long. */
int fw_cfg_add_file(struct fw_cfg *fw_cfg, const char *name, const void *bytes, uint32_t size);
int fw_cfg_add_file_number(struct fw_cfg *fw_cfg, const char *name, uint64_t value, unsigned size);
/* A file whose bytes depend on what firmware has done: make() fills all `size` bytes of it each
 * time that it is selected. Machine lock held. */
int fw_cfg_add_made_file(struct fw_cfg *fw_cfg, const char *name, uint32_t size,
	void (*make)(void *opaque, uint8_t *bytes, uint32_t size), void *opaque);
/* A file that the guest may write, by DMA, and that a reset brings back. written() is called when
 * it has, and when a saved state has been loaded, with all of it; NULL: nothing to do. Machine lock
 * held. All such files together have FW_CFG_WRITABLE bytes. */
int fw_cfg_add_writable_file(struct fw_cfg *fw_cfg, const char *name, const void *bytes,
	uint32_t size, void (*written)(void *opaque, const uint8_t *bytes, uint32_t size),
	void *opaque);

#endif
