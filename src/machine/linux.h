/* Linux's boot_params, the "zero page": Documentation/arch/x86/zero-page.rst. Shared by the images
 * that are entered by the Linux/x86 boot protocol. */
#ifndef VENEER_MACHINE_LINUX_H
#define VENEER_MACHINE_LINUX_H

#include "machine/boot.h"

#include <asm/bootparam.h>

/* Fill in what is the same for all images (memory map, command line, initrd, ACPI), and write the
 * structure to LAYOUT_BOOT_PARAMS. The caller has set params->hdr; `initrd` is a guest-physical
 * address, `cmdline_max` as in boot_write_cmdline(). 0, or -errno with a message. */
int linux_write_boot_params(const struct boot_request *request, struct boot_params *params,
	uint64_t initrd, uint64_t cmdline_max);

#endif
