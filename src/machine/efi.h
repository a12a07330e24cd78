/* EFI firmware: OVMF, whose image is flash memory and not a ROM, because it keeps its variables
 * there.
 *
 * There are two chips that end at 4 GiB, variables below code, which Debian's package has as two
 * files:
 *
 *	OVMF_VARS_4M.fd		variables, each machine's own
 *	OVMF_CODE_4M.fd		code, which nobody writes
 *
 * or one that has both (OVMF.fd). */
#ifndef VENEER_MACHINE_EFI_H
#define VENEER_MACHINE_EFI_H

#include <stdbool.h>
#include <stdint.h>

struct machine;

struct efi {
	bool used;          /* the firmware is EFI's */
	uint8_t *variables; /* the contents of their chip; NULL: there is one chip */
	uint32_t size;
	int fd; /* of the file that keeps them; -1: nothing does */
	const char *path;
	bool failed; /* a write did, and the user knows */
};

/* Is this the image of EFI firmware: does it begin with a firmware volume (UEFI PI 1.7 vol. 3,
 * 3.2.1)? */
bool efi_is_image(const uint8_t *bytes, uint32_t size);

/* Get machine->firmware.efi ready for its image, machine->firmware.rom: variables are read from the
 * file that config.firmware.variables_path names, which is made where there is none, or from a
 * template beside the image. 0, or -errno with a message. */
int efi_open(struct machine *machine);
/* Put the chips into memory. 0, or -errno with a message. */
int efi_create_flash(struct machine *machine);
/* After the chips are gone. */
void efi_close(struct efi *efi);

/* Address bits of the processor that are enough for `memory_size` and for which OVMF is quick; no
 * more than `bits`. OVMF maps whatever the processor can address, 2 MiB by 2 MiB, before it does
 * anything else. It does not where the number is one that QEMU has made up, 40 with an Intel
 * processor (OVMF's PlatformAddressWidthFromCpuid()), and counts RAM and PCI's windows instead. */
unsigned efi_physical_bits(unsigned bits, bool amd, uint64_t memory_size);

#endif
