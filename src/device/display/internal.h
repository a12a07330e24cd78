/* What the VGA's own files share.
 *
 * Memory. A VGA has four planes of 64 KiB, a byte of each at every address; plane p's byte at
 * address a is byte 4 * a + p of video memory, so that one address is one 32-bit word. Chain-4
 * mode, in which the guest finds the four planes' bytes one after the other, is then the bytes as
 * they are. (On IBM's chip only every fourth address is used in that mode; here, as on many later
 * ones, they are close together, and doubleword addressing, which shows them, changes nothing.) */
#ifndef VENEER_DEVICE_DISPLAY_INTERNAL_H
#define VENEER_DEVICE_DISPLAY_INTERNAL_H

#include "device/display/vga.h"
#include "host/clock.h"

#define VGA_PLANE_SIZE 0x10000
#define VGA_PLANES     (4 * VGA_PLANE_SIZE) /* bytes of video memory */

#define SEQUENCER_COUNT 8
#define CRTC_COUNT      0x20
#define GRAPHICS_COUNT  16
#define ATTRIBUTE_COUNT 0x20
#define DAC_COUNT       (3 * 256)
#define VBE_COUNT       16

/* Registers by their index, and the bits that are looked at (IBM VGA; Intel's PRM vol. 5). */
enum {
	SEQUENCER_CLOCKING = 1, /* 0x01: 8 dots a character; 0x08: dot clock / 2; 0x20: off */
	SEQUENCER_MAP_MASK = 2, /* planes that stores reach */
	SEQUENCER_FONT = 3,
	SEQUENCER_MEMORY = 4, /* 0x04: no odd/even; 0x08: chain-4 */

	CRTC_HORIZONTAL_TOTAL = 0x00,
	CRTC_HORIZONTAL_END = 0x01,
	CRTC_VERTICAL_TOTAL = 0x06,
	CRTC_OVERFLOW = 0x07,
	CRTC_ROW_SCAN = 0x08,
	CRTC_MAXIMUM_SCAN = 0x09, /* 0x80: every line twice */
	CRTC_CURSOR_START = 0x0a, /* 0x20: off */
	CRTC_CURSOR_END = 0x0b,
	CRTC_START_HIGH = 0x0c,
	CRTC_START_LOW = 0x0d,
	CRTC_CURSOR_HIGH = 0x0e,
	CRTC_CURSOR_LOW = 0x0f,
	CRTC_RETRACE_START = 0x10,
	CRTC_RETRACE_END = 0x11, /* 0x80: registers 0 to 7 are protected */
	CRTC_VERTICAL_END = 0x12,
	CRTC_OFFSET = 0x13,
	CRTC_UNDERLINE = 0x14,
	CRTC_MODE = 0x17, /* 0x01, 0x02: no row bit in the address; 0x20: A15; 0x40: bytes */
	CRTC_LINE_COMPARE = 0x18,

	GRAPHICS_SET_RESET = 0,
	GRAPHICS_ENABLE_SET_RESET = 1,
	GRAPHICS_COMPARE = 2,
	GRAPHICS_ROTATE = 3,
	GRAPHICS_READ_MAP = 4,
	GRAPHICS_MODE = 5, /* 0x03: write mode; 0x08: read mode; 0x20, 0x40: shift registers */
	GRAPHICS_MISC = 6, /* 0x01: graphics; 0x02: odd/even; 0x0c: where the window is */
	GRAPHICS_CARE = 7,
	GRAPHICS_BIT_MASK = 8,

	ATTRIBUTE_MODE = 0x10, /* 0x04: 9th dot; 0x08: blinking; 0x20: panning; 0x80: P5, P4 */
	ATTRIBUTE_OVERSCAN = 0x11,
	ATTRIBUTE_PLANES = 0x12,
	ATTRIBUTE_PAN = 0x13,
	ATTRIBUTE_COLOUR = 0x14,
};

/* Bochs' extension: registers of 16 bits. */
enum {
	VBE_ID,
	VBE_WIDTH,
	VBE_HEIGHT,
	VBE_DEPTH,
	VBE_ENABLE,
	VBE_BANK,
	VBE_VIRTUAL_WIDTH,
	VBE_VIRTUAL_HEIGHT,
	VBE_X_OFFSET,
	VBE_Y_OFFSET,
	VBE_MEMORY, /* in units of 64 KiB */
};

#define VBE_ENABLED      0x01
#define VBE_CAPABILITIES 0x02 /* WIDTH, HEIGHT and DEPTH read as the largest there are */
#define VBE_DAC_8BIT     0x20
#define VBE_NO_CLEAR     0x80

struct vga_state {
	uint8_t misc, feature;
	uint8_t sequencer_index, sequencer[SEQUENCER_COUNT];
	uint8_t crtc_index, crtc[CRTC_COUNT];
	uint8_t graphics_index, graphics[GRAPHICS_COUNT];
	uint8_t attribute_index, attribute[ATTRIBUTE_COUNT];
	bool attribute_data; /* the next byte to port 0x3c0 is data */
	uint8_t dac[DAC_COUNT], dac_mask, dac_read, dac_write, dac_component;
	bool dac_reading;
	uint32_t latch; /* plane p in bits 8p..8p+7 */
	uint16_t vbe_index, vbe[VBE_COUNT];
};

struct vga {
	struct device device;
	struct vga_state state;
	struct pci_function function;
	struct memory *memory;
	uint8_t *video;
	const struct clock *clock;
	bool text_mode, has_font;
	uint8_t font[VGA_FONT_SIZE];
	struct memory_aperture *bar, *window;

	/* What has changed, for frames: the number of the last change, that of the last change of
	 * anything but video memory, and of each of its pages. */
	uint64_t changes, registers_changed;
	uint64_t page_changed[MEMORY_VIDEO_PAGES];
	bool logging;   /* somebody has asked for a frame lately, and stores are logged */
	unsigned phase; /* of what blinks; moves on some times a second */
	uint64_t asked_ns;
	struct timer unwatch;
};

/* --- registers.c --- */

#define VGA_MONO_PORTS 0x3b4 /* to 0x3bb */
#define VGA_PORTS      0x3c0 /* to 0x3df */
extern const struct io_ops vga_mono_ports, vga_ports;
uint8_t vga_port_read(struct vga *vga, uint16_t port);
void vga_port_write(struct vga *vga, uint16_t port, uint8_t value);

/* --- vbe.c --- */

extern const struct io_ops vga_vbe_ports, vga_mmio;
static inline bool vbe_enabled(const struct vga_state *state)
{
	return state->vbe[VBE_ENABLE] & VBE_ENABLED;
}
/* Bytes from one line of the picture to the next. */
unsigned vbe_pitch(const struct vga_state *state);
void vbe_reset(struct vga_state *state);
/* Bring into range what does not fit together. True: nothing had to be changed. */
bool vbe_check(struct vga_state *state);

/* --- planar.c --- */

extern const struct io_ops vga_window;
uint8_t vga_window_read(struct vga *vga, uint32_t address);
void vga_window_write(struct vga *vga, uint32_t address, uint8_t value);
/* Registers have changed: map video memory into the window where it is just bytes, or take it out
 * again. */
void vga_place_window(struct vga *vga);

/* --- screen.c --- */

extern const struct display_ops vga_display;
/* Something that is not in video memory has changed. */
static inline void vga_changed(struct vga *vga)
{
	vga->registers_changed = ++vga->changes;
}
void vga_screen_init(struct vga *vga, struct event_loop *loop);
void vga_screen_destroy(struct vga *vga);
/* Everything is to be drawn anew: a state was loaded, the device was reset. */
void vga_screen_changed(struct vga *vga);

/* How the picture is put together, from the CRTC's registers or from Bochs' ones. */
struct vga_scan {
	unsigned columns;   /* character clocks */
	unsigned dots;      /* of each, 8 or 9 */
	unsigned dot_width; /* pixels of the picture, 1 or 2 */
	unsigned lines;
	unsigned row_lines;    /* lines of a row of characters, or how often a line is repeated */
	unsigned repeats;      /* each of these is shown so often */
	unsigned start, pitch; /* addresses: of the first row, from one to the next */
	unsigned row_scan;     /* the first line's number in its row */
	unsigned pan;          /* dots that are left out on the left */
	unsigned compare;      /* after this line, begin at address 0 */
	bool pan_below;        /* what is below is panned, too */
};

/* What a line of the picture is made of. */
struct vga_line {
	unsigned counter; /* the CRTC's address counter at its begin */
	unsigned row;     /* the line's number in its row of characters */
	unsigned pan, repeat;
};

static inline struct vga_line vga_first_line(const struct vga_scan *scan)
{
	return (struct vga_line){scan->start, scan->row_scan, scan->pan, 0};
}

/* From line `y` to the next one. True: that one looks the same. */
static inline bool vga_next_line(const struct vga_scan *scan, unsigned y, struct vga_line *line)
{
	if (y == scan->compare) {
		*line = (struct vga_line){.pan = scan->pan_below ? scan->pan : 0};
		return false;
	}
	if (++line->repeat < scan->repeats)
		return true;
	line->repeat = 0;
	if (++line->row >= scan->row_lines) {
		line->row = 0;
		line->counter += scan->pitch;
	}
	return false;
}

struct vga_scan vga_scan(const struct vga_state *state);
/* The address in a plane for the CRTC's counter, in line `row` of its row. */
unsigned vga_address(const struct vga_state *state, unsigned counter, unsigned row);
/* 0x00rrggbb of each of the DAC's 256 colours, and of the 16 of the attribute controller. */
void vga_palette(const struct vga_state *state, uint32_t palette[256]);
void vga_attribute_palette(const struct vga_state *state, uint32_t palette[16]);

/* What is shown of the cursor, and of blinking characters, at this time. */
static inline bool vga_cursor_on(const struct vga *vga)
{
	return vga->phase & 1;
}

static inline bool vga_blink_on(const struct vga *vga)
{
	return vga->phase & 2;
}

static inline bool vga_is_text(const struct vga_state *state)
{
	return !vbe_enabled(state) && !(state->graphics[GRAPHICS_MISC] & 1);
}

/* --- text.c, pixels.c: draw all of the picture, or of a linear one rows [first, end) --- */

void vga_draw_text(const struct vga *vga, const struct vga_scan *scan, struct display_frame *frame);
void vga_read_text(const struct vga *vga, const struct vga_scan *scan, struct display_text *text);
void vga_draw_planes(
	const struct vga *vga, const struct vga_scan *scan, struct display_frame *frame);
void vga_draw_linear(const struct vga *vga, struct display_frame *frame);

/* --- setup.c --- */

/* What a video BIOS does for mode 3: 80 by 25 characters of 9 by 16 dots. */
void vga_set_text_mode(struct vga *vga);

#endif
