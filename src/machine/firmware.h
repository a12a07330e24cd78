/* Firmware: a BIOS's ROM is put below 4 GiB, the boot processor starts at its reset vector, and
 * fw_cfg tells it what the machine has.
 *
 * What direct boot does in a firmware's place (machine/boot.h) is not done then. */
#ifndef VENEER_MACHINE_FIRMWARE_H
#define VENEER_MACHINE_FIRMWARE_H

#include "machine/efi.h"

#include <stdbool.h>
#include <stdint.h>

#define FIRMWARE_DEFAULT    "/usr/share/seabios/bios-256k.bin"
#define FIRMWARE_MAX_DEVICE 32 /* that it can boot from */

struct machine;

#define FIRMWARE_MAX_ROMS  8
#define FIRMWARE_MAX_FILES 8
#define FIRMWARE_PATH      80 /* bytes of a device's path */

struct firmware_config {
	const char *path;           /* of the ROM; NULL: no firmware */
	const char *variables_path; /* file that keeps EFI's variables; NULL: none */
	const char *log_path;       /* file that gets its messages; NULL: none */
	char order[8];              /* letters of what is tried first; "": FIRMWARE_ORDER */
	char once[8];               /* the same, until the machine is reset; "": as `order` */
	bool menu;                  /* it waits a while for the user to choose */
	const char *option_rom[FIRMWARE_MAX_ROMS];
	unsigned option_rom_count;
	/* There is fw_cfg without firmware, too, for kernels that count processors by it; and files
	 * of the user's in it. */
	bool fw_cfg;
	struct firmware_file {
		const char *name;
		const char *path, *text; /* one is NULL */
	} file[FIRMWARE_MAX_FILES];
	unsigned file_count;
};

/* Hard disks, CDs, floppies, networks. */
#define FIRMWARE_ORDER "cdan"

struct firmware {
	uint8_t *rom;
	uint32_t size;
	struct efi efi;
	uint8_t *shadow;          /* what is at PCI_SHADOW_BASE when the machine is switched on */
	uint8_t *kernel, *initrd; /* machine/real_mode.h; NULL: none */
	struct char_backend *log;
	struct {
		char kind;      /* a letter of FIRMWARE_ORDER */
		unsigned index; /* 1 and up: before those without, in this order */
		char path[FIRMWARE_PATH];
	} device[FIRMWARE_MAX_DEVICE];
	unsigned device_count;
};

/* Parse --boot's "order=LETTERS,once=LETTERS,menu=on". 0, or -EINVAL with a message. */
int firmware_config_boot(struct firmware_config *config, const char *option, const char *value);

/* Is the machine booted by firmware? */
bool firmware_is_used(const struct machine *machine);

/* Read it. Nothing is done where there is none. 0, or -errno with a message. */
int firmware_open(struct machine *machine);
/* Put a BIOS's ROM below 4 GiB; memory exists. 0, or -errno with a message. */
int firmware_load(struct machine *machine);
/* Make fw_cfg, machine->fw_cfg; the bus exists. Devices then add their files to it. */
int firmware_create(struct machine *machine);
/* Firmware may boot from the device that was put on the bus last. `kind`: a letter of
 * FIRMWARE_ORDER; `rest`: its name on the bus, "@", and what follows in an Open Firmware path: as
 * "scsi" and "disk@0,0". Those of one kind are tried in the order in which they are added. */
void firmware_can_boot(struct machine *machine, char kind, const char *name, const char *rest);
/* The same of one that is not on the bus: the whole path, of less than FIRMWARE_PATH bytes. */
void firmware_can_boot_path(struct machine *machine, char kind, const char *path);
/* Of that which was added last: its place in the order, 1 and up, before all that have none; 0:
 * none. */
void firmware_boot_index(struct machine *machine, unsigned index);
/* All devices exist. */
int firmware_finish(struct machine *machine);
/* The machine is switched on, or reset: RAM is zero. */
void firmware_power_up(struct machine *machine);
void firmware_destroy(struct machine *machine);

#endif
