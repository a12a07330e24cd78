/* What is on the screen, as those want it who show it: how the registers put a picture together,
 * and which part of it has changed.
 *
 * Stores to video memory are logged while somebody asks for frames, and not when nobody has for a
 * second. Each change has a number; a frame remembers the last one that is in it, so that any
 * number of people can look at one screen. */
#include "device/display/internal.h"

#include <string.h>

#define PATIENCE_NS (1 * NS_PER_SECOND)
#define PHASE_NS    (NS_PER_SECOND / 4)

/* --- the picture --- */

static unsigned bits_of(const struct vga_state *state, unsigned low, unsigned bit8, unsigned bit9)
{
	uint8_t overflow = state->crtc[CRTC_OVERFLOW];

	return state->crtc[low] | (overflow >> bit8 & 1) << 8 | (overflow >> bit9 & 1) << 9;
}

/* Bochs' modes of four planes: the CRTC's registers count no more. */
static struct vga_scan vbe_scan(const struct vga_state *state)
{
	return (struct vga_scan){
		.columns = state->vbe[VBE_WIDTH] / 8u,
		.dots = 8,
		.dot_width = 1,
		.lines = state->vbe[VBE_HEIGHT],
		.row_lines = 1,
		.repeats = 1,
		.start =
			state->vbe[VBE_Y_OFFSET] * vbe_pitch(state) + state->vbe[VBE_X_OFFSET] / 8u,
		.pitch = vbe_pitch(state),
		.compare = ~0u,
	};
}

struct vga_scan vga_scan(const struct vga_state *state)
{
	const uint8_t *crtc = state->crtc;
	bool graphics = state->graphics[GRAPHICS_MISC] & 1;
	struct vga_scan scan = {
		.columns = crtc[CRTC_HORIZONTAL_END] + 1u,
		.dots = graphics || (state->sequencer[SEQUENCER_CLOCKING] & 1) ? 8 : 9,
		.dot_width = state->sequencer[SEQUENCER_CLOCKING] & 8 ? 2 : 1,
		.lines = bits_of(state, CRTC_VERTICAL_END, 1, 6) + 1,
		.row_lines = (crtc[CRTC_MAXIMUM_SCAN] & 0x1fu) + 1,
		.repeats = crtc[CRTC_MAXIMUM_SCAN] & 0x80 ? 2 : 1,
		.start = (unsigned)crtc[CRTC_START_HIGH] << 8 | crtc[CRTC_START_LOW],
		.pitch = crtc[CRTC_OFFSET] * 2u,
		.row_scan = crtc[CRTC_ROW_SCAN] & 0x1f,
		.pan = state->attribute[ATTRIBUTE_PAN] & 7,
		.compare = crtc[CRTC_LINE_COMPARE] | (crtc[CRTC_OVERFLOW] >> 4 & 1u) << 8 |
			   (crtc[CRTC_MAXIMUM_SCAN] >> 6 & 1u) << 9,
		.pan_below = !(state->attribute[ATTRIBUTE_MODE] & 0x20),
	};

	if (vbe_enabled(state))
		return vbe_scan(state);
	scan.start += crtc[CRTC_ROW_SCAN] >> 5 & 3;
	/* With nine dots, 8 is no panning, and 0 one dot. */
	if (scan.dots == 9)
		scan.pan = state->attribute[ATTRIBUTE_PAN] & 8 ? 0 : scan.pan + 1;
	scan.columns = MIN(scan.columns, DISPLAY_MAX_WIDTH / (scan.dots * scan.dot_width));
	scan.columns = MIN(scan.columns, (unsigned)DISPLAY_MAX_COLUMNS);
	return scan;
}

unsigned vga_address(const struct vga_state *state, unsigned counter, unsigned row)
{
	uint8_t mode = state->crtc[CRTC_MODE];
	unsigned address = counter & 0xffff;

	if (vbe_enabled(state))
		return counter;
	if (!(mode & 0x40) && !(state->crtc[CRTC_UNDERLINE] & 0x40))
		address = address << 1 | (address >> (mode & 0x20 ? 15 : 13) & 1);
	if (!(mode & 0x01))
		address = (address & ~0x2000u) | (row & 1) << 13;
	if (!(mode & 0x02))
		address = (address & ~0x4000u) | (row >> 1 & 1) << 14;
	return address & 0xffff;
}

/* --- colours --- */

void vga_palette(const struct vga_state *state, uint32_t palette[256])
{
	bool wide = vbe_enabled(state) && (state->vbe[VBE_ENABLE] & VBE_DAC_8BIT);

	for (unsigned i = 0; i < 256; i++) {
		const uint8_t *dac = &state->dac[3 * (i & state->dac_mask)];

		palette[i] = 0;
		for (unsigned part = 0; part < 3; part++) {
			uint8_t six = dac[part] & 0x3f;

			palette[i] = palette[i] << 8 |
				     (wide ? dac[part] : (uint8_t)(six << 2 | six >> 4));
		}
	}
}

void vga_attribute_palette(const struct vga_state *state, uint32_t palette[16])
{
	uint8_t select = state->attribute[ATTRIBUTE_COLOUR];
	uint32_t all[256];

	vga_palette(state, all);
	for (unsigned i = 0; i < 16; i++) {
		uint8_t colour = state->attribute[i] | (select & 0x0c) << 4;

		if (state->attribute[ATTRIBUTE_MODE] & 0x80)
			colour = (uint8_t)((colour & 0xcf) | (select & 3) << 4);
		palette[i] = all[colour];
	}
}

/* --- what has changed --- */

static void stop_logging(void *opaque)
{
	struct vga *vga = opaque;
	uint64_t until = vga->asked_ns + PATIENCE_NS;

	if (clock_ns(vga->clock) < until) {
		timer_arm(&vga->unwatch, until);
		return;
	}
	memory_video_log_stop(vga->memory);
	vga->logging = false;
}

static void take_log(struct vga *vga)
{
	uint64_t pages[MEMORY_VIDEO_PAGES / 64] = {0};

	vga->asked_ns = clock_ns(vga->clock);
	if (!vga->logging) {
		vga->logging = true;
		memory_video_log_start(vga->memory);
		timer_arm(&vga->unwatch, vga->asked_ns + PATIENCE_NS);
		vga_screen_changed(vga);
		return;
	}
	if (!memory_video_log_take(vga->memory, pages))
		return;
	vga->changes++;
	for (unsigned i = 0; i < MEMORY_VIDEO_PAGES; i++)
		if (pages[i / 64] >> (i % 64) & 1)
			vga->page_changed[i] = vga->changes;
}

static bool is_blank(const struct vga_state *state)
{
	return (state->sequencer[SEQUENCER_CLOCKING] & 0x20) || !(state->attribute_index & 0x20);
}

static void move_phase(struct vga *vga)
{
	unsigned phase = (unsigned)(clock_ns(vga->clock) / PHASE_NS) & 3;

	if (phase == vga->phase)
		return;
	vga->phase = phase;
	if (vga_is_text(&vga->state))
		vga_changed(vga);
}

void vga_screen_changed(struct vga *vga)
{
	vga_changed(vga);
}

/* Rows [*first, *end) of a linear picture whose pages have changed. */
static void changed_rows(
	const struct vga *vga, uint64_t seen, unsigned height, unsigned *first, unsigned *end)
{
	const struct vga_state *state = &vga->state;
	unsigned pitch = vbe_pitch(state);
	uint64_t start = (uint64_t)state->vbe[VBE_Y_OFFSET] * pitch,
		 size = (uint64_t)height * pitch;

	*first = height;
	*end = 0;
	for (uint64_t page = start >> PAGE_SHIFT; page <= (start + size - 1) >> PAGE_SHIFT;
		page++) {
		uint64_t from = MAX(page << PAGE_SHIFT, start) - start;
		uint64_t to = MIN((page + 1) << PAGE_SHIFT, start + size) - start;

		if (vga->page_changed[page] <= seen)
			continue;
		*first = MIN(*first, (unsigned)(from / pitch));
		*end = MAX(*end, (unsigned)((to + pitch - 1) / pitch));
	}
}

static bool planes_changed(const struct vga *vga, uint64_t seen)
{
	unsigned pages = vbe_enabled(&vga->state) ? MEMORY_VIDEO_PAGES : VGA_PLANES >> PAGE_SHIFT;

	for (unsigned i = 0; i < pages; i++)
		if (vga->page_changed[i] > seen)
			return true;
	return false;
}

/* --- the calls --- */

static bool draw(void *opaque, struct display_frame *frame)
{
	struct vga *vga = opaque;
	const struct vga_state *state = &vga->state;
	bool linear = vbe_enabled(state) && state->vbe[VBE_DEPTH] > 4;
	struct vga_scan scan = vga_scan(state);
	unsigned width = scan.columns * scan.dots * scan.dot_width, height = scan.lines;
	uint64_t seen = frame->seen;
	bool all;

	take_log(vga);
	move_phase(vga);
	all = vga->registers_changed > seen || frame->width != width || frame->height != height;
	frame->width = width;
	frame->height = height;
	frame->seen = vga->changes;
	frame->first = 0;
	frame->end = height;
	if (!all && is_blank(state))
		return false;
	if (!all && linear)
		changed_rows(vga, seen, height, &frame->first, &frame->end);
	else if (!all && !planes_changed(vga, seen))
		return false;
	if (frame->first >= frame->end)
		return false;
	if (is_blank(state))
		memset(frame->pixels, 0, (size_t)width * height * sizeof(*frame->pixels));
	else if (linear)
		vga_draw_linear(vga, frame);
	else if (vga_is_text(state))
		vga_draw_text(vga, &scan, frame);
	else
		vga_draw_planes(vga, &scan, frame);
	return true;
}

static bool read_text(void *opaque, struct display_text *text)
{
	struct vga *vga = opaque;
	struct vga_scan scan = vga_scan(&vga->state);

	move_phase(vga);
	if (vga_is_text(&vga->state) && !is_blank(&vga->state)) {
		vga_read_text(vga, &scan, text);
		return true;
	}
	text->columns = scan.columns * scan.dots * scan.dot_width;
	text->rows = scan.lines;
	return false;
}

const struct display_ops vga_display = {.draw = draw, .read_text = read_text};

void vga_screen_init(struct vga *vga, struct event_loop *loop)
{
	timer_init(&vga->unwatch, loop, stop_logging, vga);
	vga_changed(vga);
}

void vga_screen_destroy(struct vga *vga)
{
	timer_cancel(&vga->unwatch);
	if (vga->logging)
		memory_video_log_stop(vga->memory);
}
