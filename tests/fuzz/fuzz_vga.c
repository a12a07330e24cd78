/* The VGA at the hands of a hostile guest: all of its registers, ports and window, Bochs' modes,
 * its BARs wherever they may be, and states that nobody has saved; and somebody who looks at the
 * screen meanwhile. The input is a list of steps of eight bytes. */
#include "device/display/internal.h"
#include "device/pci/internal.h"

#include <stdlib.h>
#include <string.h>

struct step {
	uint8_t action; /* enum action, modulo */
	uint8_t choice; /* a register's index; an access's size in bits 0 and 1 */
	uint16_t offset;
	uint32_t value;
};

enum action {
	PORT_READ,
	PORT_WRITE,
	INDEXED_WRITE,
	VBE_WRITE,
	WINDOW_READ,
	WINDOW_WRITE,
	MMIO_READ,
	MMIO_WRITE,
	VIDEO_WRITE,
	PLACE_BAR,
	DRAW,
	READ_TEXT,
	PASS_TIME,
	LOAD_CHANGED,
	ACTIONS
};

#define VGA_DEVFN   (1 << 3)
#define MOST_FRAMES 8 /* of an input: large ones take long */

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;
static struct io_space ports;
static struct device_list devices;
static struct clock machine_clock;
static struct event_loop *loop;
static struct display display;
static struct display_text text;
static struct display_frame frame;
static unsigned frames;

static void require(bool condition)
{
	if (!condition)
		abort();
}

static bool take_message(void *opaque, uint64_t address, uint32_t data)
{
	return true;
}

static void create(void)
{
	struct pci_config config = {.memory = &memory,
		.ports = &ports,
		.devices = &devices,
		.loop = loop,
		.msi = take_message};
	struct vga_config vga = {.clock = &machine_clock, .text_mode = true};

	memset(memory.aperture, 0, sizeof(memory.aperture));
	io_space_init(&ports, &lock);
	io_space_init(&memory.mmio, &lock);
	vga.bus = pci_create(&config);
	require(vga.bus && vga_create(&vga, &display) == 0);
	device_list_firmware_setup(&devices);
}

static void destroy(void)
{
	device_list_destroy(&devices);
	io_space_destroy(&ports);
	io_space_destroy(&memory.mmio);
}

static void place_bar(const struct step *step)
{
	static const uint32_t places[] = {
		0, 0xa0000, 0xb8000, 0xfff000, 0xc0000000, 0xd0000000, 0xe0000000, 0xff000000};
	uint32_t where = 0x80000000 | VGA_DEVFN << 8;

	io_space_write(&ports, 0xcf8, where | (step->choice & 1 ? 0x10 : 0x18), 4);
	io_space_write(&ports, 0xcfc, places[step->value % ARRAY_SIZE(places)], 4);
	io_space_write(&ports, 0xcf8, where | 4, 4);
	io_space_write(&ports, 0xcfc, step->choice & 2 ? 2 : 0, 2);
}

/* Where the processor's store would go: into memory, or to the device. */
static void store(uint64_t address, uint64_t value, unsigned size)
{
	if (memory_write(&memory, address, &value, size) < 0)
		io_space_write(&memory.mmio, address, value, size);
}

static void load(uint64_t address, unsigned size)
{
	uint64_t value;

	if (memory_read(&memory, address, &value, size) < 0)
		io_space_read(&memory.mmio, address, size);
}

static void draw(void)
{
	if (++frames > MOST_FRAMES)
		return;
	if (display_draw(&display, &frame))
		require(frame.first < frame.end && frame.end <= frame.height);
	require(frame.width && frame.width <= DISPLAY_MAX_WIDTH);
	require(frame.height && frame.height <= DISPLAY_MAX_HEIGHT);
}

static void read_text(void)
{
	if (!display_read_text(&display, &text))
		return;
	require(text.columns && text.columns <= DISPLAY_MAX_COLUMNS);
	require(text.rows && text.rows <= DISPLAY_MAX_ROWS);
	require(!text.cursor || (text.cursor_column < text.columns && text.cursor_row < text.rows));
}

static void pass_time(const struct step *step)
{
	machine_clock.paused_tsc += step->value;
	event_loop_run_timers(loop);
}

static void load_changed(const struct step *step)
{
	struct state_writer saved = {0};
	struct state_reader reader;

	device_list_save(&devices, &saved);
	saved.bytes[step->offset % saved.size] = (uint8_t)step->value;
	saved.bytes[saved.size - 1 - (step->value >> 16) % 64] = (uint8_t)(step->value >> 8);
	reader = (struct state_reader){saved.bytes, saved.size};
	device_list_load(&devices, &reader);
	free(saved.bytes);
}

static void run_step(const struct step *step)
{
	static const uint16_t indexed[] = {0x3c4, 0x3ce, 0x3d4, 0x3b4};
	unsigned size = 1u << (step->choice & 3);
	uint64_t wide = (uint64_t)step->value << 32 | step->value;
	uint64_t window = MEMORY_VGA_START + (step->offset | (step->choice & 4u) << 14);
	uint64_t mmio = memory.mmio.regions[memory.mmio.count - 1].start + step->offset % 4096;

	switch ((enum action)(step->action % ACTIONS)) {
	case PORT_READ:
		io_space_read(&ports, VGA_MONO_PORTS + step->offset % 0x2c, MIN(size, 4u));
		break;
	case PORT_WRITE:
		io_space_write(
			&ports, VGA_MONO_PORTS + step->offset % 0x2c, step->value, MIN(size, 4u));
		break;
	case INDEXED_WRITE:
		io_space_write(&ports, indexed[step->offset % ARRAY_SIZE(indexed)],
			(step->choice & 0x1f) | (step->value & 0xff) << 8, 2);
		break;
	case VBE_WRITE:
		io_space_write(&ports, 0x1ce, step->choice % 12, 2);
		io_space_write(&ports, 0x1cf, step->value, 2);
		io_space_read(&ports, 0x1cf, 2);
		break;
	case WINDOW_READ:
		load(window, size);
		break;
	case WINDOW_WRITE:
		store(window, wide, size);
		break;
	case MMIO_READ:
		io_space_read(&memory.mmio, mmio, size);
		break;
	case MMIO_WRITE:
		io_space_write(&memory.mmio, mmio, wide, size);
		break;
	case VIDEO_WRITE:
		store(memory.aperture[0].gpa + (step->value & (MEMORY_VIDEO - 1)), wide, size);
		break;
	case PLACE_BAR:
		place_bar(step);
		break;
	case DRAW:
		draw();
		break;
	case READ_TEXT:
		read_text();
		break;
	case PASS_TIME:
		pass_time(step);
		break;
	case LOAD_CHANGED:
		load_changed(step);
		break;
	case ACTIONS:
		break;
	}
}

/* What the guest finds through an aperture is in video memory. */
static void check(void)
{
	for (unsigned i = 0; i < MEMORY_APERTURES; i++)
		require(memory.aperture[i].from + memory.aperture[i].size <= MEMORY_VIDEO);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	clock_init(&machine_clock);
	machine_clock.paused = true;
	loop = event_loop_create(&machine_clock, &lock);
	frame.pixels = malloc(DISPLAY_MAX_PIXELS * sizeof(*frame.pixels));
	require(loop && frame.pixels && memory_create(&memory, 1 * MIB, 40, &lock) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct step step;

	frames = 0;
	frame.seen = 0;
	create();
	for (; size >= sizeof(step); data += sizeof(step), size -= sizeof(step)) {
		memcpy(&step, data, sizeof(step));
		run_step(&step);
		check();
	}
	destroy();
	return 0;
}
