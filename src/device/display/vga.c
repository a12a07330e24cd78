#include "device/display/internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VENDOR    0x1234
#define DEVICE    0x1111
#define REVISION  2
#define VGA_CLASS 0x030000
#define MMIO_SIZE 4096

#define VBE_PORTS 0x1ce

#define FIELD(member, high) STATE_FIELD(struct vga_state, member, 0, high)

static const struct state_field vga_fields[] = {
	STATE_ANY(struct vga_state, misc),
	STATE_ANY(struct vga_state, feature),
	FIELD(sequencer_index, SEQUENCER_COUNT - 1),
	STATE_ARRAY_ANY(struct vga_state, sequencer),
	FIELD(crtc_index, CRTC_COUNT - 1),
	STATE_ARRAY_ANY(struct vga_state, crtc),
	FIELD(graphics_index, GRAPHICS_COUNT - 1),
	STATE_ARRAY_ANY(struct vga_state, graphics),
	FIELD(attribute_index, 0x3f),
	STATE_ARRAY_ANY(struct vga_state, attribute),
	STATE_BOOL(struct vga_state, attribute_data),
	STATE_ARRAY_ANY(struct vga_state, dac),
	STATE_ANY(struct vga_state, dac_mask),
	STATE_ANY(struct vga_state, dac_read),
	STATE_ANY(struct vga_state, dac_write),
	FIELD(dac_component, 2),
	STATE_BOOL(struct vga_state, dac_reading),
	STATE_ANY(struct vga_state, latch),
	STATE_ANY(struct vga_state, vbe_index),
	STATE_ARRAY_ANY(struct vga_state, vbe),
	STATE_END,
};

static void vga_reset(void *device)
{
	struct vga *vga = device;

	vga->state = (struct vga_state){0};
	vbe_reset(&vga->state);
	vga_screen_changed(vga);
	vga_place_window(vga);
}

static void function_reset(void *opaque)
{
	vga_reset(opaque);
}

static void vga_firmware_setup(void *device)
{
	struct vga *vga = device;

	if (vga->text_mode)
		vga_set_text_mode(vga);
}

/* A mode of Bochs' that is on must be one that the registers would have taken; font, map mask and
 * read map are used as they are. */
static bool vga_valid(const void *device, const void *saved)
{
	struct vga_state state = *(const struct vga_state *)saved;

	return state.sequencer[SEQUENCER_MAP_MASK] <= 15 &&
	       state.graphics[GRAPHICS_READ_MAP] <= 3 && state.graphics[GRAPHICS_SET_RESET] <= 15 &&
	       (!vbe_enabled(&state) || vbe_check(&state));
}

static void vga_loaded(void *device)
{
	struct vga *vga = device;

	vga_screen_changed(vga);
	vga_place_window(vga);
}

static void vga_destroy(void *device)
{
	struct vga *vga = device;

	vga_screen_destroy(vga);
	free(vga);
}

static const struct device_ops vga_device = {
	.name = "vga",
	.version = 1,
	DEVICE_STATE(struct vga, vga_fields),
	.reset = vga_reset,
	.firmware_setup = vga_firmware_setup,
	.valid = vga_valid,
	.loaded = vga_loaded,
	.destroy = vga_destroy,
};

static int add_ports(struct vga *vga, struct io_space *ports)
{
	int error;

	if ((error = io_space_add(ports, VGA_MONO_PORTS, 8, "VGA", &vga_mono_ports, vga)) ||
		(error = io_space_add(ports, VGA_PORTS, 0x20, "VGA", &vga_ports, vga)) ||
		(error = io_space_add(ports, VBE_PORTS, 3, "VBE", &vga_vbe_ports, vga)))
		return error;
	return io_space_add(&vga->memory->mmio, MEMORY_VGA_START, MEMORY_VGA_END - MEMORY_VGA_START,
		"VGA window", &vga_window, vga);
}

static int add_function(struct vga *vga, struct pci_bus *bus)
{
	/* All of BAR 0 is video memory. */
	static const struct io_ops none = {.read = NULL};
	struct pci_description description = {
		.name = "vga",
		.vendor = VENDOR,
		.device = DEVICE,
		.subsystem_vendor = 0x1af4,
		.subsystem = 0x1100,
		.class_code = VGA_CLASS,
		.revision = REVISION,
		.bar = {[0] = {.kind = PCI_BAR_MEMORY32,
				.prefetchable = true,
				.size = MEMORY_VIDEO,
				.ops = &none,
				.opaque = vga,
				.aperture = vga->bar},
			[2] = {.kind = PCI_BAR_MEMORY32,
				.size = MMIO_SIZE,
				.ops = &vga_mmio,
				.opaque = vga}},
		.opaque = vga,
		.reset = function_reset,
	};

	return pci_add(bus, &vga->function, PCI_ANY_SLOT, &description);
}

int vga_create(const struct vga_config *config, struct display *display)
{
	const struct pci_config *bus = pci_bus_config(config->bus);
	struct vga *vga = calloc(1, sizeof(*vga));
	int error;

	if (!vga) {
		log_error("out of memory for the VGA");
		return -ENOMEM;
	}
	vga->memory = bus->memory;
	vga->video = memory_video(bus->memory);
	vga->clock = config->clock;
	vga->text_mode = config->text_mode;
	vga->has_font = config->font;
	if (config->font)
		memcpy(vga->font, config->font, VGA_FONT_SIZE);
	vga->bar = memory_aperture_add(bus->memory, MEMORY_VIDEO);
	vga->window = memory_aperture_add(bus->memory, VGA_PLANE_SIZE);
	vga_screen_init(vga, bus->loop);
	error = add_function(vga, config->bus);
	if (error) {
		free(vga);
		return error;
	}
	/* From here on the list destroys it. */
	device_list_add(bus->devices, &vga->device, &vga_device, vga->function.devfn);
	vga_reset(vga);
	error = add_ports(vga, bus->ports);
	if (!error)
		*display = (struct display){&vga_display, vga};
	return error;
}
