/* The ACPI tables (ACPI 6.4): what the machine tells an operating system about itself. They
 * describe the chipset of device/chipset and the root of PCI, and nothing else: no VGA. */
#ifndef VENEER_MACHINE_ACPI_H
#define VENEER_MACHINE_ACPI_H

#include "memory/memory.h"

#define ACPI_MAX_CPUS 128 /* that the tables have room for */

struct acpi_config {
	unsigned cpu_count; /* APIC IDs 0 to cpu_count - 1 */
	bool com2, com3, com4;
	bool floppy;
	bool vga;
	bool pvpanic; /* at its port */
	bool fw_cfg;
	/* Tell of the HPET. A kernel that knows of better clocks spends some time on it all the
	 * same. */
	bool hpet;
	/* Where firmware has mapped configuration space; 0: PCI_ECAM_BASE, as without firmware. */
	uint64_t ecam;
};

/* Write all tables to the BIOS area, LAYOUT_BIOS, which e820 reserves. `*rsdp` is the root
 * pointer's guest-physical address. 0, or -errno with a message. */
int acpi_write_tables(struct memory *memory, const struct acpi_config *config, uint64_t *rsdp);

/* Where a system that was booted with acpi_write_tables()'s tables wants to be woken from S3: an
 * address below 1 MiB, to be entered in real mode. 0: nowhere. */
uint32_t acpi_waking_vector(const struct memory *memory);

/* The same tables for firmware that puts them where it likes: the files "etc/acpi/rsdp" and
 * "etc/acpi/tables", in which addresses are offsets in the latter, and "etc/table-loader", whose
 * rows say where there are addresses and checksums (QEMU's bios-linker-loader). */
#define ACPI_RSDP_SIZE   36
#define ACPI_TABLES_SIZE 8192
#define ACPI_LOADER_ROWS 32

struct acpi_loader_row {
	uint8_t bytes[128];
};

struct acpi_files {
	uint8_t rsdp[ACPI_RSDP_SIZE];
	uint8_t tables[ACPI_TABLES_SIZE];
	struct acpi_loader_row loader[ACPI_LOADER_ROWS]; /* rows of zeros at its end do nothing */
};

/* 0, or -ENOSPC with a message. */
int acpi_build_files(
	const struct memory *memory, const struct acpi_config *config, struct acpi_files *files);

#endif
