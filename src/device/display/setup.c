/* Text mode 3 as a video BIOS leaves it, for kernels that are started without one. */
#include "device/display/internal.h"

#include <string.h>

static const uint8_t sequencer[] = {0x03, 0x00, 0x03, 0x00, 0x02};
static const uint8_t crtc[] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d,
	0x0e, 0x00, 0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
static const uint8_t graphics[] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x0f, 0xff};
static const uint8_t attribute[] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39,
	0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};

#define MISC_MODE_3 0x67
#define FONT_PLANE  2
#define BLANK       0x0720 /* a space, light grey on black */

/* The 64 colours of an EGA: bits 2 to 0 are red, green, blue at two thirds, 5 to 3 at one third. */
static void set_dac(uint8_t *dac)
{
	for (unsigned i = 0; i < 64; i++)
		for (unsigned part = 0; part < 3; part++)
			dac[3 * i + part] = (uint8_t)((i >> (2 - part) & 1) * 0x2a +
						      (i >> (5 - part) & 1) * 0x15);
}

void vga_set_text_mode(struct vga *vga)
{
	struct vga_state *state = &vga->state;
	const struct iovec planes = {vga->video, VGA_PLANES};

	state->misc = MISC_MODE_3;
	memcpy(state->sequencer, sequencer, sizeof(sequencer));
	memcpy(state->crtc, crtc, sizeof(crtc));
	memcpy(state->graphics, graphics, sizeof(graphics));
	memcpy(state->attribute, attribute, sizeof(attribute));
	state->attribute_index = 0x20;
	state->dac_mask = 0xff;
	set_dac(state->dac);
	memset(vga->video, 0, VGA_PLANES);
	for (unsigned address = 0; address < VGA_PLANE_SIZE; address += 2) {
		vga->video[4 * address] = BLANK & 0xff;
		vga->video[4 * address + 1] = BLANK >> 8;
	}
	for (unsigned i = 0; vga->has_font && i < VGA_FONT_SIZE; i++)
		vga->video[4 * (32 * (i / 16) + i % 16) + FONT_PLANE] = vga->font[i];
	memory_range_written(vga->memory, &planes, 1, VGA_PLANES);
	vga_screen_changed(vga);
	vga_place_window(vga);
}
