/* The window at 0xa0000: how the processor's bytes become those of four planes, and back (IBM VGA,
 * "Video Memory Read/Write Operations"). */
#include "device/display/internal.h"

#include <string.h>

/* Where in the window memory is, by GRAPHICS_MISC's bits 3 and 2. */
static const struct {
	uint32_t start, size;
} places[] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};

static bool is_chained(const struct vga_state *state)
{
	return state->sequencer[SEQUENCER_MEMORY] & 0x08;
}

static bool is_odd_even(const struct vga_state *state)
{
	return !(state->sequencer[SEQUENCER_MEMORY] & 0x04);
}

/* A bit for each plane becomes a byte for each. */
static uint32_t spread(unsigned planes)
{
	uint32_t mask = 0;

	for (unsigned plane = 0; plane < 4; plane++)
		mask |= planes >> plane & 1 ? 0xffu << 8 * plane : 0;
	return mask;
}

static uint32_t in_all_planes(uint8_t value)
{
	return value * 0x01010101u;
}

static uint32_t load(const struct vga *vga, uint32_t address)
{
	uint32_t word;

	memcpy(&word, vga->video + 4 * address, 4);
	return word;
}

static void touch(struct vga *vga, uint32_t byte)
{
	vga->page_changed[byte >> PAGE_SHIFT] = ++vga->changes;
	/* A guest may have code there, seen through the BAR or the window. */
	if (unlikely(memory_page_flags(vga->memory, vga->video + byte)))
		memory_written(vga->memory, vga->video + byte, 1);
}

/* With Bochs' modes of four planes there is more memory than the window shows. */
static uint32_t bank(const struct vga_state *state)
{
	return vbe_enabled(state) ? (uint32_t)state->vbe[VBE_BANK] * VGA_PLANE_SIZE : 0;
}

/* The offset in the window's memory of an access to it; false: nothing is there. */
static bool find(const struct vga_state *state, uint32_t address, uint32_t *offset)
{
	unsigned place = state->graphics[GRAPHICS_MISC] >> 2 & 3;

	*offset = address - places[place].start;
	if (*offset >= places[place].size)
		return false;
	if (!is_chained(state))
		*offset &= VGA_PLANE_SIZE - 1; /* 128 KiB: the planes' 64 KiB twice */
	*offset += bank(state);
	return *offset < MEMORY_VIDEO / 4;
}

uint8_t vga_window_read(struct vga *vga, uint32_t address)
{
	struct vga_state *state = &vga->state;
	uint32_t offset, differs;
	unsigned plane = state->graphics[GRAPHICS_READ_MAP];

	if (!find(state, address, &offset))
		return 0xff;
	if (is_chained(state)) {
		state->latch = load(vga, offset / 4);
		return vga->video[offset];
	}
	if (is_odd_even(state)) {
		plane = (plane & 2) | (offset & 1);
		offset &= ~1u;
	}
	state->latch = load(vga, offset);
	if (!(state->graphics[GRAPHICS_MODE] & 0x08))
		return (uint8_t)(state->latch >> 8 * plane);
	/* Read mode 1: a bit is set where all planes that count have the colour compared with. */
	differs = (state->latch ^ spread(state->graphics[GRAPHICS_COMPARE])) &
		  spread(state->graphics[GRAPHICS_CARE]);
	return (uint8_t) ~(differs | differs >> 8 | differs >> 16 | differs >> 24);
}

/* Combine with the latch, as GRAPHICS_ROTATE says, and keep the latch where the mask has no bit. */
static uint32_t combine(const struct vga_state *state, uint32_t value, uint8_t mask)
{
	uint32_t bits = in_all_planes(mask);

	switch (state->graphics[GRAPHICS_ROTATE] >> 3) {
	case 1:
		value &= state->latch;
		break;
	case 2:
		value |= state->latch;
		break;
	case 3:
		value ^= state->latch;
		break;
	default:
		break;
	}
	return (value & bits) | (state->latch & ~bits);
}

static uint8_t rotate(const struct vga_state *state, uint8_t value)
{
	unsigned by = state->graphics[GRAPHICS_ROTATE] & 7;

	return (uint8_t)(value >> by | value << (8 - by));
}

/* What the four planes are to get. */
static uint32_t apply_write_mode(const struct vga_state *state, uint8_t value)
{
	uint32_t set = spread(state->graphics[GRAPHICS_SET_RESET]), enabled;
	uint8_t mask = state->graphics[GRAPHICS_BIT_MASK];

	switch (state->graphics[GRAPHICS_MODE] & 3) {
	case 0:
		enabled = spread(state->graphics[GRAPHICS_ENABLE_SET_RESET]);
		value = rotate(state, value);
		return combine(state, (set & enabled) | (in_all_planes(value) & ~enabled), mask);
	case 1:
		return state->latch;
	case 2:
		return combine(state, spread(value & 15), mask);
	default:
		return combine(state, set, rotate(state, value) & mask);
	}
}

void vga_window_write(struct vga *vga, uint32_t address, uint8_t value)
{
	const struct vga_state *state = &vga->state;
	unsigned planes = state->sequencer[SEQUENCER_MAP_MASK];
	uint32_t offset, mask, word;

	if (!find(state, address, &offset))
		return;
	if (is_chained(state)) {
		if (planes >> (offset & 3) & 1) {
			vga->video[offset] = value;
			touch(vga, offset);
		}
		return;
	}
	if (is_odd_even(state)) {
		planes &= offset & 1 ? 10 : 5;
		offset &= ~1u;
	}
	mask = spread(planes);
	word = (load(vga, offset) & ~mask) | (apply_write_mode(state, value) & mask);
	memcpy(vga->video + 4 * offset, &word, 4);
	touch(vga, 4 * offset);
}

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
	return vga_window_read(opaque, (uint32_t)offset);
}

static void window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	vga_window_write(opaque, (uint32_t)offset, (uint8_t)value);
}

const struct io_ops vga_window = {.read = window_read, .write = window_write, .width = 1};

/* Bytes are just bytes in chain-4 mode with all planes, and in Bochs' modes of a byte and more a
 * pixel. (Write modes have no effect in either.) */
void vga_place_window(struct vga *vga)
{
	const struct vga_state *state = &vga->state;
	bool linear = is_chained(state) && state->sequencer[SEQUENCER_MAP_MASK] == 15 &&
		      (state->graphics[GRAPHICS_MISC] >> 2 & 3) == 1;
	uint32_t from = 0;

	if (vbe_enabled(state) && state->vbe[VBE_DEPTH] > 4) {
		linear = (state->graphics[GRAPHICS_MISC] >> 2 & 3) <= 1;
		from = bank(state);
	}
	memory_aperture_move(
		vga->memory, vga->window, linear ? MEMORY_VGA_START : MEMORY_NOWHERE, from);
}
