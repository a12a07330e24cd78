/* Direct boot: a kernel image is put into guest RAM and the boot processor starts in it, as a boot
 * loader would have left things, with no firmware run before.
 *
 * Each image format is one file with one struct boot_protocol, found by looking at the image:
 *
 *	bzimage.c	Linux bzImage: Documentation/arch/x86/boot.rst, "Linux/x86 Boot Protocol"
 *	multiboot.c	Multiboot 0.6.96
 *	elf.c		ELF executables, vmlinux among them
 *
 * Images are written by strangers. Every field is checked where it is read; a bad one is refused
 * with a message and -EINVAL, and never reaches outside guest RAM. */
#ifndef VENEER_MACHINE_BOOT_H
#define VENEER_MACHINE_BOOT_H

#include "cpu/cpu.h"
#include "machine/image.h"

struct boot_request {
	struct memory *memory; /* all zero but for ACPI and SMBIOS tables */
	const struct image *kernel;
	const struct image *initrd; /* NULL: none */
	/* In its place, for multiboot kernels. */
	const struct boot_module *modules;
	unsigned module_count;
	const char *cmdline; /* "" where there is none */
	uint64_t rsdp;       /* guest-physical address of ACPI's root pointer */
	bool text_screen;    /* there is a VGA, in text mode 3 */
};

#define BOOT_MAX_MODULES 16

struct boot_module {
	struct image image;
	const char *string; /* what the kernel is given with it */
};

/* The boot processor's state at the kernel's first instruction: flat segments, interrupts off,
 * general registers zero but for these. */
struct boot_start {
	enum boot_mode {
		BOOT_PROTECTED_MODE, /* 32-bit, paging off */
		BOOT_LONG_MODE,      /* 64-bit, the first 4 GiB mapped to themselves */
	} mode;
	uint64_t rip;
	uint64_t rax, rbx, rsi;
	/* It expects that a BIOS has enabled the PCI bus's functions; else it does so itself. */
	bool after_bios;
};

#define BOOT_HEADER_SIZE 8192 /* of an image's beginning, for recognition */

struct boot_protocol {
	const char *name; /* for messages */
	/* Is the image that begins with these bytes of this format? */
	bool (*recognizes)(const uint8_t *header, uint64_t size);
	/* Load kernel, initrd and command line; fill `start`. 0, or -errno with a message. */
	int (*load)(const struct boot_request *request, struct boot_start *start);
};

extern const struct boot_protocol boot_bzimage, boot_multiboot, boot_elf;

/* Find the image's format and load it. 0, or -errno with a message. */
int boot_load(const struct boot_request *request, struct boot_start *start);

/* Put the boot processor, in its power-up state, into the state `start` says, with the GDT and
 * page tables that takes written to guest RAM. */
void boot_start_cpu(struct cpu *cpu, const struct boot_start *start);

/* Put the boot processor, in its power-up state, into real mode at `address`, below 1 MiB: CS is a
 * 16th of it. */
void boot_start_real_mode(struct cpu *cpu, uint32_t address);

/* --- for the protocols --- */

/* Host pointer to [gpa, gpa + size) if all of it is RAM in one piece that kernels may be
 * loaded to (machine/layout.h), else NULL. */
uint8_t *boot_ram(const struct memory *memory, uint64_t gpa, uint64_t size);

/* Bytes of whole pages that the initrd takes; 0 without one. */
uint64_t boot_initrd_room(const struct boot_request *request);

/* Print that the guest's RAM does not hold a kernel that ends at `kernel_end` and its initrd, and
 * how much would. Returns -EINVAL. */
int boot_memory_too_small(const struct boot_request *request, uint64_t kernel_end);

/* Load the initrd on a page boundary in [start, limit) of low RAM, as high as it goes. `*gpa` is
 * where it is; 0 without an initrd. 0, or -errno with a message. */
int boot_load_initrd_high(
	const struct boot_request *request, uint64_t start, uint64_t limit, uint64_t *gpa);

/* The first page boundary at or above `start` and 1 MiB, likewise. */
int boot_load_initrd_low(const struct boot_request *request, uint64_t start, uint64_t *gpa);

/* Put `cmdline` and its zero at LAYOUT_CMDLINE. `max`: most characters the kernel takes. 0, or
 * -errno with a message. */
int boot_write_cmdline(const struct boot_request *request, const char *cmdline, uint64_t max);

#endif
