/* The VGA's ports, 0x3b4 to 0x3da. */
#include "device/display/internal.h"

#define MISC_COLOUR    0x01 /* the CRTC is at 0x3d4, else at 0x3b4 */
#define STATUS_BLANK   0x01
#define STATUS_RETRACE 0x08

#define DOT_CLOCK_LOW  25175000u
#define DOT_CLOCK_HIGH 28322000u

/* Bits that exist; what is written to others reads as 0. */
static const uint8_t sequencer_bits[SEQUENCER_COUNT] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const uint8_t graphics_bits[GRAPHICS_COUNT] = {
	0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
static const uint8_t attribute_bits[ATTRIBUTE_COUNT] = {0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
	0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f};

/* --- the beam --- */

static unsigned vertical(const struct vga_state *state, unsigned low, unsigned bit8, unsigned bit9)
{
	uint8_t overflow = state->crtc[CRTC_OVERFLOW];

	return state->crtc[low] | (overflow >> bit8 & 1) << 8 | (overflow >> bit9 & 1) << 9;
}

/* Where the beam is, computed from the clock: nothing has to tick for it. Guests wait for retrace
 * to begin and to end, and some count how long that takes. */
static uint8_t beam(const struct vga *vga)
{
	const struct vga_state *state = &vga->state;
	unsigned dots = state->sequencer[SEQUENCER_CLOCKING] & 1 ? 8 : 9;
	unsigned hz = (state->misc >> 2 & 3) == 1 ? DOT_CLOCK_HIGH : DOT_CLOCK_LOW;
	unsigned width = state->crtc[CRTC_HORIZONTAL_TOTAL] + 5u;
	unsigned height = vertical(state, CRTC_VERTICAL_TOTAL, 0, 5) + 2;
	unsigned shown = vertical(state, CRTC_VERTICAL_END, 1, 6) + 1;
	unsigned retrace = vertical(state, CRTC_RETRACE_START, 2, 7), length;
	uint64_t character;
	unsigned line, column;

	if (state->sequencer[SEQUENCER_CLOCKING] & 0x08)
		hz /= 2;
	character = clock_ns_to_ticks(clock_ns(vga->clock), hz / dots) % ((uint64_t)width * height);
	line = (unsigned)(character / width);
	column = (unsigned)(character % width);
	length = ((state->crtc[CRTC_RETRACE_END] - retrace) & 15);
	length = length ? length : 16;
	return (line >= shown || column > state->crtc[CRTC_HORIZONTAL_END] ? STATUS_BLANK : 0) |
	       (line - retrace < length ? STATUS_RETRACE : 0);
}

/* --- attribute controller --- */

static void write_attribute(struct vga *vga, uint8_t value)
{
	struct vga_state *state = &vga->state;
	unsigned index = state->attribute_index & 0x1f;

	state->attribute_data = !state->attribute_data;
	if (state->attribute_data)
		state->attribute_index = value & 0x3f;
	/* While bit 5 is set the display uses the palette, and the processor cannot. */
	else if (index >= 16 || !(state->attribute_index & 0x20))
		state->attribute[index] = value & attribute_bits[index];
}

/* --- DAC --- */

static uint8_t read_dac(struct vga_state *state)
{
	uint8_t value = state->dac[3 * state->dac_read + state->dac_component];

	if (++state->dac_component == 3) {
		state->dac_component = 0;
		state->dac_read++;
	}
	return value;
}

static void write_dac(struct vga_state *state, uint8_t value)
{
	bool wide = vbe_enabled(state) && (state->vbe[VBE_ENABLE] & VBE_DAC_8BIT);

	state->dac[3 * state->dac_write + state->dac_component] = wide ? value : value & 0x3f;
	if (++state->dac_component == 3) {
		state->dac_component = 0;
		state->dac_write++;
	}
}

/* --- CRTC --- */

static void write_crtc(struct vga_state *state, uint8_t value)
{
	uint8_t *to = &state->crtc[state->crtc_index];

	if (state->crtc_index > CRTC_LINE_COMPARE)
		return;
	if (!(state->crtc[CRTC_RETRACE_END] & 0x80) || state->crtc_index > CRTC_OVERFLOW)
		*to = value;
	else if (state->crtc_index == CRTC_OVERFLOW)
		*to = (uint8_t)((*to & ~0x10) | (value & 0x10));
}

/* --- ports --- */

/* Ports 0x3b0 to 0x3bf and 0x3d0 to 0x3df: those of them answer that MISC selects. */
static bool is_selected(const struct vga_state *state, uint16_t port)
{
	return (port >= 0x3d0) == (state->misc & MISC_COLOUR);
}

uint8_t vga_port_read(struct vga *vga, uint16_t port)
{
	struct vga_state *state = &vga->state;

	switch (port) {
	case 0x3c0:
		return state->attribute_index;
	case 0x3c1:
		return state->attribute[state->attribute_index & 0x1f];
	case 0x3c2:
		return 0x10; /* the monitor is there */
	case 0x3c4:
		return state->sequencer_index;
	case 0x3c5:
		return state->sequencer[state->sequencer_index];
	case 0x3c6:
		return state->dac_mask;
	case 0x3c7:
		return state->dac_reading ? 3 : 0;
	case 0x3c8:
		return state->dac_write;
	case 0x3c9:
		return read_dac(state);
	case 0x3ca:
		return state->feature;
	case 0x3cc:
		return state->misc;
	case 0x3ce:
		return state->graphics_index;
	case 0x3cf:
		return state->graphics[state->graphics_index];
	case 0x3b4:
	case 0x3d4:
		return is_selected(state, port) ? state->crtc_index : 0xff;
	case 0x3b5:
	case 0x3d5:
		return is_selected(state, port) ? state->crtc[state->crtc_index] : 0xff;
	case 0x3ba:
	case 0x3da:
		if (!is_selected(state, port))
			return 0xff;
		state->attribute_data = false;
		return beam(vga);
	default:
		return 0xff;
	}
}

void vga_port_write(struct vga *vga, uint16_t port, uint8_t value)
{
	struct vga_state *state = &vga->state;

	switch (port) {
	case 0x3c0:
		write_attribute(vga, value);
		break;
	case 0x3c2:
		state->misc = value;
		break;
	case 0x3c4:
		state->sequencer_index = value & (SEQUENCER_COUNT - 1);
		return;
	case 0x3c5:
		state->sequencer[state->sequencer_index] =
			value & sequencer_bits[state->sequencer_index];
		break;
	case 0x3c6:
		state->dac_mask = value;
		break;
	case 0x3c7:
		state->dac_read = value;
		state->dac_component = 0;
		state->dac_reading = true;
		return;
	case 0x3c8:
		state->dac_write = value;
		state->dac_component = 0;
		state->dac_reading = false;
		return;
	case 0x3c9:
		write_dac(state, value);
		break;
	case 0x3ce:
		state->graphics_index = value & (GRAPHICS_COUNT - 1);
		return;
	case 0x3cf:
		state->graphics[state->graphics_index] =
			value & graphics_bits[state->graphics_index];
		break;
	case 0x3b4:
	case 0x3d4:
		if (is_selected(state, port))
			state->crtc_index = value & (CRTC_COUNT - 1);
		return;
	case 0x3b5:
	case 0x3d5:
		if (is_selected(state, port))
			write_crtc(state, value);
		break;
	case 0x3ba:
	case 0x3da:
		state->feature = value;
		return;
	default:
		return;
	}
	vga_changed(vga);
	vga_place_window(vga);
}

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	return vga_port_read(opaque, (uint16_t)(VGA_PORTS + offset));
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	vga_port_write(opaque, (uint16_t)(VGA_PORTS + offset), (uint8_t)value);
}

static uint64_t mono_read(void *opaque, uint64_t offset, unsigned size)
{
	return vga_port_read(opaque, (uint16_t)(VGA_MONO_PORTS + offset));
}

static void mono_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	vga_port_write(opaque, (uint16_t)(VGA_MONO_PORTS + offset), (uint8_t)value);
}

const struct io_ops vga_ports = {.read = ports_read, .write = ports_write, .width = 1};
const struct io_ops vga_mono_ports = {.read = mono_read, .write = mono_write, .width = 1};
