/* Parallel NOR flash memory with Intel's command set (CFI command set 0x0001; JESD68.01; data sheet
 * of the 28FxxxJ3, 319942): one chip of 8 bits' width, whose blocks are all of one size.
 *
 * A chip that is in read array mode is read as any ROM is: its bytes are in guest memory, from
 * which code runs. Stores are commands, and always reach the device. A command that has the chip
 * answer something else (its status, its identity) hides the bytes until it is back in read array
 * mode. Each command is done when the store that starts it is. */
#ifndef VENEER_DEVICE_FLASH_H
#define VENEER_DEVICE_FLASH_H

#include "device/device.h"
#include "memory/memory.h"

#define FLASH_BLOCK  4096      /* what is erased, and locked, at once */
#define FLASH_MOST   (8 * MIB) /* bytes of a chip */
#define FLASH_BUFFER 32        /* bytes that are programmed by one command, at most */

/* Whoever keeps the contents where they outlive the machine. */
struct flash_store {
	/* `bytes` of the chip from `offset` on have changed, and are to be durable when this
	 * returns. Errors are its own affair: the guest has been told already that its command is
	 * done. Called in the order of the changes, without the machine lock; the guest may change
	 * the bytes meanwhile, and then there is another call. */
	void (*keep)(void *opaque, uint32_t offset, const uint8_t *bytes, uint32_t size);
	void *opaque;
};

struct flash_config {
	struct memory *memory;
	struct device_list *devices;
	const char *name; /* of its ROM, for messages; not owned */
	uint64_t gpa;     /* outside RAM */
	uint32_t size;    /* whole FLASH_BLOCKs, at most FLASH_MOST */
	const void *contents;
	bool read_only;           /* no command changes it */
	struct flash_store store; /* keep NULL: the changes are forgotten */
	uint32_t instance;
};

/* Add a chip to memory, and to the list of devices, which frees it. 0, or -errno with a message. */
int flash_create(const struct flash_config *config);

#endif
