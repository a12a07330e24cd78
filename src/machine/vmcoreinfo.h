/* Where the guest's kernel has the ELF note VMCOREINFO, which says to readers of dumps what they
 * must know of it: it writes that to a file of fw_cfg (QEMU's docs/specs/vmcoreinfo; Linux's driver
 * is qemu_fw_cfg). */
#ifndef VENEER_MACHINE_VMCOREINFO_H
#define VENEER_MACHINE_VMCOREINFO_H

#include "memory/memory.h"

struct fw_cfg;

struct vmcoreinfo {
	uint64_t address;
	uint32_t size; /* 0: none was said */
};

/* Add the file. `vmcoreinfo` must outlive fw_cfg. 0, or -errno with a message. */
int vmcoreinfo_add(struct vmcoreinfo *vmcoreinfo, struct fw_cfg *fw_cfg);

/* The note, padded to 4 bytes, for the caller to free, and its size. NULL, and 0: the guest has
 * none there. */
uint8_t *vmcoreinfo_read(
	const struct vmcoreinfo *vmcoreinfo, const struct memory *memory, uint64_t *size);

#endif
