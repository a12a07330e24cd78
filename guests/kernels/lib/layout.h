/*
 * Numbers that C and assembly share: selectors, vectors, physical addresses.
 *
 * The GDT order serves SYSCALL/SYSRET and SYSENTER/SYSEXIT, which derive selectors from one
 * another by adding 8, 16, 24, 32 or 40 (SDM vol. 2, SYSRET and SYSEXIT).
 */
#ifndef LAYOUT_H
#define LAYOUT_H

#define SEL_CODE32      0x08
#define SEL_CODE        0x10 /* 64-bit in a 64-bit kernel, else 32-bit */
#define SEL_DATA        0x18
#define SEL_USER_CODE32 0x23
#define SEL_USER_DATA   0x2b
#define SEL_USER_CODE   0x33 /* 64-bit in a 64-bit kernel, else 32-bit */
#define SEL_USER_DATA2  0x3b
#define SEL_CODE16      0x40
#define SEL_DATA16      0x48
#define SEL_TEST        0x50  /* the first of the entries a kernel may define for itself */
#define SEL_TSS         0x100 /* of CPU 0; 16 bytes for each CPU */
#define GDT_ENTRIES     64
#define MAX_CPUS        16

#define VECTOR_USER_RETURN 0x80

/* Below 1 MiB a kernel owns everything but the BIOS data area and what lies from 0x9f000. */
#define LOW_CODE 0x8000 /* where real-mode code is copied: CS = 0x800 */
#define LOW_DATA 0x20000
#define AP_START 0x7000

#define DEBUG_EXIT_PORT 0xf4
#define SERIAL_PORT     0x3f8

#define MULTIBOOT_HEADER_MAGIC 0x1badb002

#define CR0_PE (1 << 0)
#define CR0_MP (1 << 1)
#define CR0_EM (1 << 2)
#define CR0_TS (1 << 3)
#define CR0_ET (1 << 4)
#define CR0_NE (1 << 5)
#define CR0_WP (1 << 16)
#define CR0_AM (1 << 18)
#define CR0_NW (1 << 29)
#define CR0_CD (1 << 30)
#define CR0_PG (1 << 31)

#define CR4_VME        (1 << 0)
#define CR4_PVI        (1 << 1)
#define CR4_TSD        (1 << 2)
#define CR4_DE         (1 << 3)
#define CR4_PSE        (1 << 4)
#define CR4_PAE        (1 << 5)
#define CR4_PGE        (1 << 7)
#define CR4_PCE        (1 << 8)
#define CR4_OSFXSR     (1 << 9)
#define CR4_OSXMMEXCPT (1 << 10)
#define CR4_UMIP       (1 << 11)
#define CR4_LA57       (1 << 12)
#define CR4_FSGSBASE   (1 << 16)
#define CR4_PCIDE      (1 << 17)
#define CR4_OSXSAVE    (1 << 18)
#define CR4_SMEP       (1 << 20)
#define CR4_SMAP       (1 << 21)
#define CR4_PKE        (1 << 22)

#define MSR_EFER 0xc0000080
#define EFER_SCE (1 << 0)
#define EFER_LME (1 << 8)
#define EFER_LMA (1 << 10)
#define EFER_NXE (1 << 11)

#endif
