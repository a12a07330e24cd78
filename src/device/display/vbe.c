/* Bochs' extension, as QEMU has it (docs/specs/standard-vga): an index at port 0x1ce and a register
 * of 16 bits at 0x1cf; all registers again in BAR 2, with those of the VGA. */
#include "device/display/internal.h"

#include <string.h>

#define ID_FIRST 0xb0c0
#define ID_LAST  0xb0c5

#define MMIO_VGA         0x400 /* ports from 0x3c0 on */
#define MMIO_VGA_END     0x420
#define MMIO_VBE         0x500
#define MMIO_VBE_END     0x516
#define MMIO_QEXT_SIZE   0x600 /* how many bytes there are from here on */
#define MMIO_QEXT_ENDIAN 0x604
#define LITTLE_ENDIAN_IS 0x1e1e1e1e

unsigned vbe_pitch(const struct vga_state *state)
{
	unsigned bits = state->vbe[VBE_DEPTH] == 15 ? 16 : state->vbe[VBE_DEPTH];

	/* In four planes, addresses of one plane. */
	return bits == 4 ? state->vbe[VBE_VIRTUAL_WIDTH] / 8
			 : state->vbe[VBE_VIRTUAL_WIDTH] * bits / 8;
}

static unsigned memory_size(const struct vga_state *state)
{
	return state->vbe[VBE_DEPTH] == 4 ? MEMORY_VIDEO / 4 : MEMORY_VIDEO;
}

static bool is_depth(unsigned depth)
{
	return depth == 4 || depth == 8 || depth == 15 || depth == 16 || depth == 24 || depth == 32;
}

/* A multiple of 8 pixels, as the CRTC has it. */
static uint16_t bounded(unsigned value, unsigned low, unsigned high)
{
	return (uint16_t)MAX(MIN(value, high), low);
}

static unsigned picture_size(const struct vga_state *state)
{
	return state->vbe[VBE_HEIGHT] * vbe_pitch(state);
}

bool vbe_check(struct vga_state *state)
{
	uint16_t *vbe = state->vbe, before[VBE_COUNT];
	unsigned lines;

	memcpy(before, vbe, sizeof(before));
	vbe[VBE_DEPTH] = is_depth(vbe[VBE_DEPTH]) ? vbe[VBE_DEPTH] : 8;
	vbe[VBE_WIDTH] = bounded(vbe[VBE_WIDTH], 8, DISPLAY_MAX_WIDTH) & ~7u;
	vbe[VBE_HEIGHT] = bounded(vbe[VBE_HEIGHT], 1, DISPLAY_MAX_HEIGHT);
	vbe[VBE_VIRTUAL_WIDTH] = bounded(vbe[VBE_VIRTUAL_WIDTH], vbe[VBE_WIDTH], UINT16_MAX) & ~7u;
	/* What is not in video memory cannot be shown. */
	while (picture_size(state) > memory_size(state) && vbe[VBE_HEIGHT] > 1)
		vbe[VBE_HEIGHT] = (uint16_t)MAX(memory_size(state) / vbe_pitch(state), 1u);
	lines = memory_size(state) / vbe_pitch(state);
	vbe[VBE_VIRTUAL_HEIGHT] = bounded(lines, 1, UINT16_MAX);
	vbe[VBE_X_OFFSET] = bounded(vbe[VBE_X_OFFSET], 0, vbe[VBE_VIRTUAL_WIDTH] - vbe[VBE_WIDTH]);
	vbe[VBE_Y_OFFSET] = bounded(vbe[VBE_Y_OFFSET], 0, lines - vbe[VBE_HEIGHT]);
	vbe[VBE_BANK] &= MEMORY_VIDEO / VGA_PLANE_SIZE - 1;
	return memcmp(before, vbe, sizeof(before)) == 0;
}

void vbe_reset(struct vga_state *state)
{
	memset(state->vbe, 0, sizeof(state->vbe));
	state->vbe[VBE_ID] = ID_LAST;
	state->vbe[VBE_MEMORY] = MEMORY_VIDEO / VGA_PLANE_SIZE;
	vbe_check(state);
}

static void clear(struct vga *vga)
{
	const struct iovec all = {vga->video, picture_size(&vga->state)};

	memset(all.iov_base, 0, all.iov_len);
	memory_range_written(vga->memory, &all, 1, all.iov_len);
}

static void enable(struct vga *vga, uint16_t value)
{
	struct vga_state *state = &vga->state;
	bool was = vbe_enabled(state);

	state->vbe[VBE_ENABLE] = value;
	if (!vbe_enabled(state) || was)
		return;
	state->vbe[VBE_VIRTUAL_WIDTH] = 0; /* that is, as wide as the picture */
	state->vbe[VBE_X_OFFSET] = state->vbe[VBE_Y_OFFSET] = state->vbe[VBE_BANK] = 0;
	vbe_check(state);
	if (!(value & VBE_NO_CLEAR))
		clear(vga);
}

static void vbe_write(struct vga *vga, unsigned index, uint16_t value)
{
	struct vga_state *state = &vga->state;

	switch (index) {
	case VBE_ID:
		if (value < ID_FIRST || value > ID_LAST)
			return;
		state->vbe[VBE_ID] = value;
		return;
	case VBE_ENABLE:
		enable(vga, value);
		break;
	case VBE_WIDTH:
	case VBE_HEIGHT:
	case VBE_DEPTH:
		/* The mode is chosen while it is off. */
		if (vbe_enabled(state))
			return;
		state->vbe[index] = value;
		state->vbe[VBE_VIRTUAL_WIDTH] = state->vbe[VBE_WIDTH];
		break;
	case VBE_BANK:
	case VBE_VIRTUAL_WIDTH:
	case VBE_X_OFFSET:
	case VBE_Y_OFFSET:
		state->vbe[index] = value;
		break;
	default:
		return;
	}
	if (vbe_enabled(state))
		vbe_check(state);
	vga_changed(vga);
	vga_place_window(vga);
}

static uint16_t vbe_read(const struct vga_state *state, unsigned index)
{
	if (state->vbe[VBE_ENABLE] & VBE_CAPABILITIES) {
		if (index == VBE_WIDTH)
			return DISPLAY_MAX_WIDTH;
		if (index == VBE_HEIGHT)
			return DISPLAY_MAX_HEIGHT;
		if (index == VBE_DEPTH)
			return 32;
	}
	return index < VBE_COUNT ? state->vbe[index] : 0;
}

/* --- ports 0x1ce to 0x1d0: QEMU has the data at 0x1d0 besides, so that it is aligned --- */

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct vga *vga = opaque;

	return offset ? vbe_read(&vga->state, vga->state.vbe_index) : vga->state.vbe_index;
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = opaque;

	if (offset)
		vbe_write(vga, vga->state.vbe_index, (uint16_t)value);
	else
		vga->state.vbe_index = (uint16_t)value;
}

const struct io_ops vga_vbe_ports = {.read = ports_read, .write = ports_write, .width = 2};

/* --- BAR 2 --- */

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
	struct vga *vga = opaque;

	if (offset >= MMIO_VGA && offset < MMIO_VGA_END && size == 1)
		return vga_port_read(vga, (uint16_t)(0x3c0 + offset - MMIO_VGA));
	if (offset >= MMIO_VBE && offset < MMIO_VBE_END && size == 2)
		return vbe_read(&vga->state, (unsigned)(offset - MMIO_VBE) / 2);
	if (offset == MMIO_QEXT_SIZE)
		return 8;
	if (offset == MMIO_QEXT_ENDIAN)
		return LITTLE_ENDIAN_IS;
	return 0;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = opaque;

	if (offset >= MMIO_VGA && offset < MMIO_VGA_END) {
		for (unsigned i = 0; i < MIN(size, 2u); i++)
			vga_port_write(vga, (uint16_t)(0x3c0 + offset - MMIO_VGA + i),
				(uint8_t)(value >> 8 * i));
	} else if (offset >= MMIO_VBE && offset < MMIO_VBE_END && size == 2) {
		vbe_write(vga, (unsigned)(offset - MMIO_VBE) / 2, (uint16_t)value);
	}
}

const struct io_ops vga_mmio = {.read = mmio_read, .write = mmio_write, .width = 4};
