/* The VGA: known bytes become known pixels in each kind of mode, known stores become known bytes in
 * each write mode. */
#include "device/display/vga.h"

#include "device_fixture.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW    0xa0000
#define BAR       0xd0000000
#define MMIO      0xd1000000
#define BLACK     0
#define GREY      0xaaaaaa
#define RED       0xaa0000
#define YELLOW    0xffff55
#define VBE_INDEX 0x1ce
#define VBE_DATA  0x1cf

static struct pci_bus *bus;
static struct display display;
static struct display_frame frame;
static struct display_text text;
static uint8_t font[VGA_FONT_SIZE];

static bool no_message(void *opaque, uint64_t address, uint32_t data)
{
	return false;
}

static void set_config(unsigned devfn, unsigned offset, uint32_t value)
{
	io_space_write(&f.ports, 0xcf8, 0x80000000u | devfn << 8 | offset, 4);
	io_space_write(&f.ports, 0xcfc, value, 4);
}

static int setup(void **state)
{
	struct pci_config config;
	struct vga_config vga;

	fixture_setup();
	config = (struct pci_config){.memory = &f.memory,
		.ports = &f.ports,
		.devices = &f.devices,
		.loop = f.loop,
		.msi = no_message};
	bus = pci_create(&config);
	assert_non_null(bus);
	/* Character n's row r has the dots n ^ r. */
	for (unsigned i = 0; i < VGA_FONT_SIZE; i++)
		font[i] = (uint8_t)(i / 16 ^ i % 16);
	vga = (struct vga_config){.bus = bus, .clock = &f.clock, .font = font, .text_mode = true};
	assert_int_equal(vga_create(&vga, &display), 0);
	device_list_firmware_setup(&f.devices);
	set_config(1 << 3, 0x10, BAR);
	set_config(1 << 3, 0x18, MMIO);
	set_config(1 << 3, 0x04, 2);
	frame = (struct display_frame){.pixels = calloc(DISPLAY_MAX_PIXELS, 4)};
	return 0;
}

static int teardown(void **state)
{
	free(frame.pixels);
	fixture_teardown();
	return 0;
}

/* As a processor does: where there is memory, it does not ask the device. */
static void store(uint64_t address, uint8_t value)
{
	if (memory_write(&f.memory, address, &value, 1) < 0)
		io_space_write(&f.memory.mmio, address, value, 1);
}

static uint8_t load(uint64_t address)
{
	uint8_t value;

	if (memory_read(&f.memory, address, &value, 1) < 0)
		value = (uint8_t)io_space_read(&f.memory.mmio, address, 1);
	return value;
}

static void set(uint16_t port, uint8_t index, uint8_t value)
{
	io_space_write(&f.ports, port, (uint16_t)(value << 8 | index), 2);
}

#define sequencer(index, value) set(0x3c4, index, value)
#define crtc(index, value)      set(0x3d4, index, value)
#define graphics(index, value)  set(0x3ce, index, value)

static void attribute(uint8_t index, uint8_t value)
{
	inb(0x3da);
	outb(0x3c0, index);
	outb(0x3c0, value);
	outb(0x3c0, 0x20);
}

static void colour(uint8_t index, uint8_t red, uint8_t green, uint8_t blue)
{
	outb(0x3c8, index);
	outb(0x3c9, red);
	outb(0x3c9, green);
	outb(0x3c9, blue);
}

static void vbe(uint16_t index, uint16_t value)
{
	io_space_write(&f.ports, VBE_INDEX, index, 2);
	io_space_write(&f.ports, VBE_DATA, value, 2);
}

static uint16_t vbe_get(uint16_t index)
{
	io_space_write(&f.ports, VBE_INDEX, index, 2);
	return (uint16_t)io_space_read(&f.ports, VBE_DATA, 2);
}

static uint32_t pixel(unsigned x, unsigned y)
{
	assert_true(x < frame.width && y < frame.height);
	return frame.pixels[y * frame.width + x];
}

static uint8_t plane(unsigned number, uint16_t address)
{
	return memory_video(&f.memory)[4 * address + number];
}

/* --- text --- */

static void text_is_drawn_with_the_guests_font(void **state)
{
	assert_true(display_draw(&display, &frame));
	assert_int_equal(frame.width, 720);
	assert_int_equal(frame.height, 400);
	assert_int_equal(pixel(0, 0), GREY & 0); /* a space's first row has the dots 0x20 */
	assert_int_equal(pixel(2, 0), GREY);
	/* Column 3 of row 1: yellow on red. */
	store(WINDOW + 0x18000 + 2 * 83, 0x81);
	store(WINDOW + 0x18000 + 2 * 83 + 1, 0x4e);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(pixel(27, 16), YELLOW); /* 0x81 ^ 0 */
	assert_int_equal(pixel(28, 16), RED);
	assert_int_equal(pixel(34, 16), YELLOW);
	assert_int_equal(pixel(35, 16), RED); /* the ninth dot */
	assert_int_equal(pixel(34, 17), RED); /* 0x81 ^ 1 */
	assert_int_equal(load(WINDOW + 0x18000 + 2 * 83 + 1), 0x4e);
	/* In box drawing characters the ninth dot is the eighth. */
	store(WINDOW + 0x18000 + 2 * 83, 0xc1);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(pixel(35, 16), YELLOW);
	assert_false(display_draw(&display, &frame));
	/* Another font, of the same plane. */
	sequencer(2, 4);
	sequencer(4, 6);
	graphics(5, 0);
	graphics(6, 4);
	store(WINDOW + 32 * 0xc1, 0x7e);
	sequencer(2, 3);
	sequencer(4, 2);
	graphics(5, 0x10);
	graphics(6, 0x0e);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(pixel(27, 16), RED);
	assert_int_equal(pixel(28, 16), YELLOW);
	/* The screen begins a row later. */
	crtc(0x0d, 80);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(pixel(28, 0), YELLOW);
}

static void text_is_read_as_characters(void **state)
{
	static const char hello[] = "Hello";

	for (unsigned i = 0; hello[i]; i++)
		store(WINDOW + 0x18000 + 2 * (160 + i), (uint8_t)hello[i]);
	crtc(0x0e, 0);
	crtc(0x0f, 165);
	assert_true(display_read_text(&display, &text));
	assert_int_equal(text.columns, 80);
	assert_int_equal(text.rows, 25);
	assert_int_equal(text.cell[160], 0x0700 | 'H');
	assert_int_equal(text.cell[164], 0x0700 | 'o');
	assert_int_equal(text.palette[7], GREY);
	assert_true(text.cursor);
	assert_int_equal(text.cursor_column, 5);
	assert_int_equal(text.cursor_row, 2);
	crtc(0x0a, 0x20);
	assert_true(display_read_text(&display, &text));
	assert_false(text.cursor);
}

static void cursor_and_characters_blink(void **state)
{
	unsigned lit = 0, cursor = 0;

	attribute(0x10, 0x0c);
	store(WINDOW + 0x18000 + 2, 0xff);
	store(WINDOW + 0x18000 + 3, 0x87);
	for (unsigned i = 0; i < 8; i++) {
		advance(250 * MS);
		assert_true(display_draw(&display, &frame));
		lit += pixel(9, 0) == GREY;
		cursor += pixel(1, 14) == GREY; /* a space has no dot there */
	}
	assert_int_equal(lit, 4);
	assert_int_equal(cursor, 4);
}

/* --- planes --- */

static void mode_12h(void)
{
	memset(memory_video(&f.memory), 0, 0x40000);
	graphics(5, 0);
	graphics(6, 5);
	sequencer(1, 1);
	sequencer(4, 6);
	crtc(0x11, 0);
	crtc(0x07, 0x3e);
	crtc(0x09, 0x40);
	crtc(0x12, 0xdf);
	crtc(0x13, 0x28);
	crtc(0x17, 0xe3);
	for (uint8_t i = 0; i < 16; i++)
		attribute(i, i);
}

static void write_modes(void **state)
{
	mode_12h();
	sequencer(2, 0x0f);
	graphics(8, 0xff);
	/* 0: the byte, rotated; with set/reset in planes 0 and 1 instead. */
	graphics(3, 1);
	store(WINDOW, 0x81);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(plane(i, 0), 0xc0);
	graphics(3, 0);
	graphics(0, 0x01);
	graphics(1, 0x03);
	store(WINDOW, 0x5a);
	assert_int_equal(plane(0, 0), 0xff);
	assert_int_equal(plane(1, 0), 0x00);
	assert_int_equal(plane(2, 0), 0x5a);
	/* The bit mask keeps the latch's bits, the map mask planes. */
	graphics(1, 0);
	assert_int_equal(load(WINDOW), 0xff);
	graphics(8, 0x0f);
	sequencer(2, 0x0e);
	store(WINDOW, 0x00);
	assert_int_equal(plane(0, 0), 0xff);
	assert_int_equal(plane(2, 0), 0x50);
	/* With the latch: and, or, xor. */
	graphics(8, 0xff);
	sequencer(2, 0x0f);
	store(WINDOW, 0x33);
	load(WINDOW);
	for (unsigned function = 1; function <= 3; function++) {
		static const uint8_t expected[] = {0, 0x11, 0x77, 0x66};

		graphics(3, (uint8_t)(function << 3));
		store(WINDOW + 1, 0x55);
		assert_int_equal(plane(3, 1), expected[function]);
	}
	graphics(3, 0);
	/* 1: the latch. */
	store(WINDOW, 0x96);
	load(WINDOW);
	graphics(5, 1);
	store(WINDOW + 2, 0);
	assert_int_equal(plane(3, 2), 0x96);
	/* 2: a colour, in the bits of the mask. */
	graphics(5, 2);
	graphics(8, 0xf0);
	load(WINDOW + 100);
	store(WINDOW + 100, 0x05);
	assert_int_equal(plane(0, 100), 0xf0);
	assert_int_equal(plane(1, 100), 0x00);
	assert_int_equal(plane(2, 100), 0xf0);
	/* 3: set/reset's colour where the byte and the mask have bits. */
	graphics(5, 3);
	graphics(0, 0x0a);
	load(WINDOW + 100);
	store(WINDOW + 100, 0x3c);
	assert_int_equal(plane(0, 100), 0xc0);
	assert_int_equal(plane(1, 100), 0x30);
	/* Read mode 1: where the colour is 10, by all planes or by some. */
	graphics(5, 8);
	graphics(2, 0x0a);
	graphics(7, 0x0f);
	assert_int_equal(load(WINDOW + 100), 0x30);
	graphics(7, 0x00);
	assert_int_equal(load(WINDOW + 100), 0xff);
}

static void planes_are_drawn(void **state)
{
	mode_12h();
	graphics(8, 0xff);
	/* The pixel at (9, 2) has colour 5, that at (10, 2) colour 14. */
	sequencer(2, 1);
	store(WINDOW + 161, 0x40);
	sequencer(2, 4);
	store(WINDOW + 161, 0x60);
	sequencer(2, 10);
	store(WINDOW + 161, 0x20);
	colour(5, 63, 0, 1);
	colour(14, 1, 2, 3);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(frame.width, 640);
	assert_int_equal(frame.height, 480);
	assert_int_equal(pixel(8, 2), BLACK);
	assert_int_equal(pixel(9, 2), 0xff0004);
	assert_int_equal(pixel(10, 2), 0x04080c);
	/* Pixel panning, and a split screen. */
	attribute(0x13, 2);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(pixel(7, 2), 0xff0004);
	crtc(0x18, 99);
	crtc(0x07, 0x2e);
	crtc(0x09, 0x00);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(pixel(7, 102), 0xff0004);
	assert_false(display_read_text(&display, &text));
	assert_int_equal(text.columns, 640);
	sequencer(1, 0x21); /* screen off */
	assert_true(display_draw(&display, &frame));
	assert_int_equal(pixel(7, 2), BLACK);
}

static void mode_13h(void)
{
	memset(memory_video(&f.memory), 0, 0x40000);
	graphics(5, 0x40);
	graphics(6, 5);
	sequencer(1, 1);
	sequencer(2, 15);
	sequencer(4, 0x0e);
	crtc(0x11, 0);
	crtc(0x09, 0x41);
	crtc(0x14, 0x40);
	crtc(0x17, 0xa3);
	attribute(0x10, 0x41);
}

static void bytes_are_pixels_in_mode_13h_and_x(void **state)
{
	mode_13h();
	assert_ptr_equal(memory_ram_pointer(&f.memory, WINDOW), memory_video(&f.memory));
	assert_null(memory_ram_pointer(&f.memory, WINDOW + 0x10000));
	store(WINDOW + 320 + 7, 200);
	colour(200, 10, 20, 30);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(frame.width, 640);
	assert_int_equal(frame.height, 400);
	assert_int_equal(pixel(14, 2), 0x285179);
	assert_int_equal(pixel(15, 3), 0x285179);
	assert_int_equal(pixel(16, 2), BLACK);
	assert_int_equal(pixel(14, 4), BLACK);
	assert_false(display_draw(&display, &frame));
	store(WINDOW, 200);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(pixel(0, 0), 0x285179);
	/* Unchained: the same byte is in plane 3 at address 81. */
	sequencer(4, 0x06);
	assert_null(memory_ram_pointer(&f.memory, WINDOW));
	graphics(4, 3);
	assert_int_equal(load(WINDOW + 81), 200);
	crtc(0x14, 0);
	crtc(0x17, 0xe3);
	sequencer(2, 8);
	store(WINDOW + 82, 200);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(pixel(14, 2), 0x285179);
	assert_int_equal(pixel(22, 2), 0x285179);
}

static void cga_pixels(void **state)
{
	graphics(5, 0x30);
	graphics(6, 0x0f);
	sequencer(1, 9);
	crtc(0x11, 0);
	crtc(0x01, 39);
	crtc(0x09, 0xc1);
	crtc(0x13, 20);
	crtc(0x17, 0xa2);
	for (uint8_t i = 0; i < 4; i++)
		attribute(i, i);
	/* Row 0: 0 1 2 3 and 3 2 1 0; row 1, 8 KiB further: 3 ... */
	store(WINDOW + 0x18000, 0x1b);
	store(WINDOW + 0x18001, 0xe4);
	store(WINDOW + 0x1a000, 0xc0);
	for (uint8_t i = 0; i < 4; i++)
		colour(i, i, 0, 0);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(frame.width, 640);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(pixel(2 * i, 0), (i < 4 ? i : 7 - i) << 18);
	assert_int_equal(pixel(0, 2), 3 << 18);
	assert_int_equal(pixel(2, 2), 0);
}

/* --- Bochs' modes --- */

static void vbe_mode(uint16_t width, uint16_t height, uint16_t depth)
{
	vbe(4, 0);
	vbe(1, width);
	vbe(2, height);
	vbe(3, depth);
	vbe(4, 0x41);
}

static void linear_modes_are_drawn(void **state)
{
	static const struct {
		uint16_t depth;
		uint8_t bytes[4];
		uint32_t pixel;
	} modes[] = {
		{32, {0x33, 0x22, 0x11, 0xff}, 0x112233},
		{24, {0x33, 0x22, 0x11}, 0x112233},
		{16, {0x1f, 0x84}, 0x8482ff},
		{15, {0x1f, 0x40}, 0x8400ff},
		{8, {9}, 0x0c1014},
	};

	colour(9, 3, 4, 5);
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		unsigned bytes = (modes[i].depth + 7) / 8;

		vbe_mode(800, 600, modes[i].depth);
		memory_write(&f.memory, BAR + (2 * 800 + 3) * bytes, modes[i].bytes, bytes);
		assert_true(display_draw(&display, &frame));
		assert_int_equal(frame.width, 800);
		assert_int_equal(frame.height, 600);
		assert_int_equal(pixel(3, 2), modes[i].pixel);
		assert_int_equal(pixel(4, 2), 0);
		/* One line further down and two pixels to the right. */
		vbe(6, 808);
		vbe(8, 8);
		vbe(9, 1);
		memory_write(&f.memory, BAR + (808 + 9) * bytes, modes[i].bytes, bytes);
		assert_true(display_draw(&display, &frame));
		assert_int_equal(pixel(1, 0), modes[i].pixel);
	}
}

static void only_changed_rows_are_drawn(void **state)
{
	uint32_t white = 0xffffff;
	struct display_frame other = {.pixels = calloc(DISPLAY_MAX_PIXELS, 4)};

	vbe_mode(1024, 768, 32);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(frame.end, 768);
	assert_false(display_draw(&display, &frame));
	memory_write(&f.memory, BAR + 4096 * 100 + 40, &white, 4);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(frame.first, 100);
	assert_int_equal(frame.end, 101);
	assert_int_equal(pixel(10, 100), white);
	assert_false(display_draw(&display, &frame));
	/* Somebody else sees it, too. */
	assert_true(display_draw(&display, &other));
	assert_int_equal(other.end, 768);
	/* Nobody asks for a while: then all is drawn. */
	advance(5000 * MS);
	assert_int_equal(memory_page_flags(&f.memory, memory_video(&f.memory)), 0);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(frame.end, 768);
	free(other.pixels);
}

static void vbe_registers_stay_in_range(void **state)
{
	assert_int_equal(vbe_get(0), 0xb0c5);
	assert_int_equal(vbe_get(10), 256);
	vbe(4, 2);
	assert_int_equal(vbe_get(1), 2560);
	assert_int_equal(vbe_get(2), 1600);
	assert_int_equal(vbe_get(3), 32);
	vbe_mode(0xffff, 0xffff, 77);
	assert_int_equal(vbe_get(1), 2560);
	assert_int_equal(vbe_get(2), 1600);
	assert_int_equal(vbe_get(3), 8);
	vbe(9, 0xffff);
	vbe(8, 0xffff);
	assert_true(display_draw(&display, &frame));
	vbe_mode(2560, 1600, 32);
	vbe(6, 0xffff);
	assert_true(vbe_get(2) * vbe_get(6) * 4 <= 16 << 20);
	assert_true(display_draw(&display, &frame));
	/* The mode's size cannot be changed while it is on. */
	vbe_mode(640, 480, 32);
	vbe(1, 800);
	assert_int_equal(vbe_get(1), 640);
	assert_int_equal(vbe_get(7), (16 << 20) / (640 * 4));
}

static void banks_and_mmio(void **state)
{
	vbe_mode(640, 480, 8);
	graphics(6, 5);
	vbe(5, 3);
	assert_ptr_equal(
		memory_ram_pointer(&f.memory, WINDOW), memory_video(&f.memory) + 3 * 0x10000);
	vbe(4, 0);
	assert_null(memory_ram_pointer(&f.memory, WINDOW));
	/* The registers again, in BAR 2. */
	assert_int_equal(io_space_read(&f.memory.mmio, MMIO + 0x500, 2), 0xb0c5);
	io_space_write(&f.memory.mmio, MMIO + 0x502, 320, 2);
	assert_int_equal(vbe_get(1), 320);
	io_space_write(&f.memory.mmio, MMIO + 0x404, 0x0702, 2);
	assert_int_equal(inb(0x3c4), 2);
	assert_int_equal(inb(0x3c5), 7);
	assert_int_equal(io_space_read(&f.memory.mmio, MMIO + 0x405, 1), 7);
	assert_int_equal(io_space_read(&f.memory.mmio, MMIO + 0x604, 4), 0x1e1e1e1e);
}

/* Four planes: more of them than the VGA has. */
static void vbe_planes(void **state)
{
	vbe_mode(800, 600, 4);
	graphics(5, 0);
	graphics(6, 5);
	graphics(8, 0xff);
	sequencer(2, 2);
	sequencer(4, 6);
	attribute(2, 2);
	vbe(5, 1);
	store(WINDOW, 0x80); /* pixel 524288 */
	vbe(9, 300);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(pixel(524288 % 800, 524288 / 800 - 300), 0x00aa00);
}

/* --- the rest --- */

static void retrace_comes_and_goes(void **state)
{
	unsigned retrace = 0, blank = 0;

	for (unsigned i = 0; i < 1000; i++) {
		uint8_t status = inb(0x3da);

		retrace += status >> 3 & 1;
		blank += status & 1;
		advance(14286 * US / 1000);
	}
	assert_in_range(retrace, 2, 20);
	assert_in_range(blank, 150, 500);
}

static void ports_follow_misc(void **state)
{
	crtc(0x0e, 0x12);
	assert_int_equal(inb(0x3d5), 0x12);
	assert_int_equal(inb(0x3b5), 0xff);
	outb(0x3c2, 0x66);
	assert_int_equal(inb(0x3cc), 0x66);
	assert_int_equal(inb(0x3b5), 0x12);
	assert_int_equal(inb(0x3d5), 0xff);
	/* Registers 0 to 7 are protected, but for a bit. */
	set(0x3b4, 0x11, 0x8e);
	set(0x3b4, 0x01, 0x11);
	assert_int_equal(inb(0x3b5), 0x4f);
	set(0x3b4, 0x07, 0x00);
	assert_int_equal(inb(0x3b5), 0x0f);
}

static void dac_is_read_as_written(void **state)
{
	colour(77, 0x3f, 0x55, 3);
	outb(0x3c7, 77);
	assert_int_equal(inb(0x3c7) & 3, 3);
	assert_int_equal(inb(0x3c9), 0x3f);
	assert_int_equal(inb(0x3c9), 0x15);
	assert_int_equal(inb(0x3c9), 3);
	assert_int_equal(inb(0x3c9), 0); /* the next one's */
	vbe_mode(640, 480, 8);
	vbe(4, 0x61);
	colour(77, 0xff, 0x55, 3);
	store(BAR, 77);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(pixel(0, 0), 0xff5503);
}

static void saved_and_loaded(void **state)
{
	struct state_writer writer = {0};
	struct state_reader reader;

	vbe_mode(640, 480, 32);
	device_list_save(&f.devices, &writer);
	vbe_mode(800, 600, 8);
	assert_true(display_draw(&display, &frame));
	reader = (struct state_reader){writer.bytes, writer.size};
	assert_int_equal(device_list_load(&f.devices, &reader), 0);
	assert_int_equal(vbe_get(3), 32);
	assert_true(display_draw(&display, &frame));
	assert_int_equal(frame.width, 640);
	/* A height that is not in video memory. The VGA's section is the last, and VBE_HEIGHT the
	 * third of its last sixteen words. */
	memset(writer.bytes + writer.size - 28, 0xff, 2);
	reader = (struct state_reader){writer.bytes, writer.size};
	assert_int_equal(device_list_load(&f.devices, &reader), -EINVAL);
	assert_int_equal(vbe_get(2), 480);
	free(writer.bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(text_is_drawn_with_the_guests_font),
		TEST(text_is_read_as_characters),
		TEST(cursor_and_characters_blink),
		TEST(write_modes),
		TEST(planes_are_drawn),
		TEST(bytes_are_pixels_in_mode_13h_and_x),
		TEST(cga_pixels),
		TEST(linear_modes_are_drawn),
		TEST(only_changed_rows_are_drawn),
		TEST(vbe_registers_stay_in_range),
		TEST(banks_and_mmio),
		TEST(vbe_planes),
		TEST(retrace_comes_and_goes),
		TEST(ports_follow_misc),
		TEST(dac_is_read_as_written),
		TEST(saved_and_loaded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
