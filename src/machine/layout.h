/* Where the monitor puts things in guest-physical memory before the guest's first instruction. See
 * docs/boot.md for the whole map. Kernels are loaded at 1 MiB and above, or between 0x2000 and
 * 0x20000, so nothing here is in their way. A guest may overwrite all of it.
 *
 *	0x00000  real-mode IVT: zero
 *	0x00400  BIOS data area: size of base memory, EBDA segment
 *	0x01000  GDT of the start state
 *	0x02000  free, for kernels that start in low memory
 *	0x20000  command line
 *	0x30000  multiboot information
 *	0x40000  Linux boot_params ("zero page")
 *	0x41000  page tables of the start state: PML4, PDPT, four page directories
 *	0x9fc00  EBDA (reserved)
 *	0xa0000  not RAM
 *	0xe0000  ACPI tables (reserved)
 *	0xf0000  SMBIOS tables (reserved)
 *	0x100000 RAM, up to memory->low_size */
#ifndef VENEER_MACHINE_LAYOUT_H
#define VENEER_MACHINE_LAYOUT_H

#include <stdint.h>

#define LAYOUT_BDA_EBDA_SEGMENT UINT64_C(0x40e)
#define LAYOUT_BDA_BASE_KIB     UINT64_C(0x413)
#define LAYOUT_GDT              UINT64_C(0x1000)
#define LAYOUT_LOW_FREE         UINT64_C(0x2000)
#define LAYOUT_LOW_FREE_END     UINT64_C(0x20000)
#define LAYOUT_BOOT_PARAMS      UINT64_C(0x40000)
#define LAYOUT_PAGE_TABLES      UINT64_C(0x41000)
#define LAYOUT_CMDLINE          UINT64_C(0x20000)
#define LAYOUT_CMDLINE_MAX      UINT64_C(0x10000) /* terminating zero included */
#define LAYOUT_MULTIBOOT        UINT64_C(0x30000)
#define LAYOUT_MULTIBOOT_MAX    UINT64_C(0x10000)
#define LAYOUT_EBDA             UINT64_C(0x9fc00)
#define LAYOUT_LOW_END          UINT64_C(0xa0000)
#define LAYOUT_BIOS             UINT64_C(0xe0000)
#define LAYOUT_BIOS_END         UINT64_C(0x100000)
#define LAYOUT_HIGH             UINT64_C(0x100000)

#endif
