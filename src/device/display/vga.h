/* The graphics device: a VGA (IBM's, as chips of the nineties have it) with Bochs' extensions for
 * modes of up to 32 bits a pixel, on the PCI bus as QEMU's "stdvga" (1234:1111), so that Linux's
 * bochs-drm, SeaVGABIOS and OVMF have drivers for it.
 *
 * Its memory is the machine's video memory (memory_video()): it is saved as the guest's RAM is. */
#ifndef VENEER_DEVICE_DISPLAY_VGA_H
#define VENEER_DEVICE_DISPLAY_VGA_H

#include "device/pci/pci.h"
#include "host/display/display.h"

#define VGA_FONT_SIZE 4096 /* 256 characters of 8x16, a byte a row */

struct vga_config {
	struct pci_bus *bus;
	const struct clock *clock;
	/* Where no firmware runs: the characters that text mode has at the start; NULL: none, and
	 * the picture of a text screen is empty until the guest has loaded some. Copied. */
	const uint8_t *font;
	/* The guest starts in text mode 3, as firmware would have left it. */
	bool text_mode;
};

/* Add the device to the bus and its list of devices, and fill in `display`, which is valid as long
 * as the device. 0, or -errno with a message. Once a machine. */
int vga_create(const struct vga_config *config, struct display *display);

#endif
