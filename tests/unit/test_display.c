/* Those who show a screen: --display's words, keys by their names elsewhere, what a terminal sends,
 * pictures in files, the font of a video BIOS. */
#include "host/display/config.h"
#include "host/display/cp437.h"
#include "host/display/font.h"
#include "host/display/keysym.h"
#include "host/display/picture.h"
#include "host/display/text_keys.h"

#include "base/bits.h"

#include <errno.h>
#include <linux/input-event-codes.h>
#include <png.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void words_of_display(void **state)
{
	static const struct {
		const char *text;
		enum display_kind kind;
		const char *address;
		unsigned port;
	} good[] = {
		{"none", DISPLAY_NONE, "", 0},
		{"text", DISPLAY_TEXT, "", 0},
		{"vnc=:1", DISPLAY_VNC, "127.0.0.1", 5901},
		{"vnc=0.0.0.0:99", DISPLAY_VNC, "0.0.0.0", 5999},
		{"vnc=[::1]:0", DISPLAY_VNC, "::1", 5900},
		{"vnc=./socket,password-file=x", DISPLAY_VNC, "./socket", 0},
	};
	static const char *const bad[] = {"", "sdl", "text,none", "vnc", "vnc=", "vnc=5",
		"vnc=:100", "vnc=:-1", "vnc=:1x", "vnc=example.org:1", "text,password-file=x",
		"password-file=x"};
	struct display_config config;

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(display_config_parse(&config, "--display", good[i].text), 0);
		assert_int_equal(config.kind, good[i].kind);
		assert_string_equal(config.address, good[i].address);
		assert_int_equal(config.port, good[i].port);
		free(config.password_file);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(display_config_parse(&config, "--display", bad[i]), -EINVAL);
		free(config.password_file);
	}
}

static void keysyms_are_keys(void **state)
{
	assert_int_equal(keysym_code('a'), KEY_A);
	assert_int_equal(keysym_code('A'), KEY_A);
	assert_int_equal(keysym_code('~'), KEY_GRAVE);
	assert_int_equal(keysym_code(0xff0d), KEY_ENTER);
	assert_int_equal(keysym_code(0xffc9), KEY_F12);
	assert_int_equal(keysym_code(0xffea), KEY_RIGHTALT);
	assert_int_equal(keysym_code(0), 0);
	assert_int_equal(keysym_code(0xe4), 0);
	assert_int_equal(keysym_code(UINT32_MAX), 0);
	/* Each character that can be seen has a key, with Shift or without. */
	for (char c = ' '; c <= '~'; c++)
		assert_int_not_equal(keysym_stroke(c).code, 0);
	assert_true(keysym_stroke('%').shift);
	assert_int_equal(keysym_stroke('%').code, KEY_5);
	assert_true(keysym_stroke(3).control);
	assert_int_equal(keysym_stroke(3).code, KEY_C);
	assert_int_equal(keysym_stroke(0x7f).code, KEY_BACKSPACE);
	assert_int_equal(keysym_stroke((char)0x80).code, 0);
}

static void strokes_of_a_terminal(void **state)
{
	static const struct {
		const char *typed;
		size_t taken;
		struct text_keys keys;
	} cases[] = {
		{"x", 1, {{KEY_X}, 1}},
		{"Xy", 1, {{KEY_LEFTSHIFT, KEY_X}, 2}},
		{"\x1b[A", 3, {{KEY_UP}, 1}},
		{"\x1b[5~z", 4, {{KEY_PAGEUP}, 1}},
		{"\x1bOP", 3, {{KEY_F1}, 1}},
		{"\x1b[24~", 5, {{KEY_F12}, 1}},
		{"\x1b", 1, {{KEY_ESC}, 1}},
		{"\x1b\x1b", 1, {{KEY_ESC}, 1}},
		{"\x1bX", 2, {{KEY_LEFTALT, KEY_LEFTSHIFT, KEY_X}, 3}},
		{"\x1b[1;99Rz", 7, {{0}, 0}},
		{"\x1b[", 2, {{KEY_LEFTALT, KEY_LEFTBRACE}, 2}},
		{"\x03", 1, {{KEY_LEFTCTRL, KEY_C}, 2}},
		{"\xc3", 1, {{0}, 0}},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct text_keys keys = {0};

		assert_int_equal(text_keys_take((const uint8_t *)cases[i].typed,
					 strlen(cases[i].typed), &keys),
			cases[i].taken);
		assert_int_equal(keys.count, cases[i].keys.count);
		for (unsigned k = 0; k < keys.count; k++)
			assert_int_equal(keys.code[k], cases[i].keys.code[k]);
	}
}

static void code_page_437(void **state)
{
	assert_string_equal(cp437_utf8('A'), "A");
	assert_string_equal(cp437_utf8(0), " ");
	assert_string_equal(cp437_utf8(1), "\xe2\x98\xba");
	assert_string_equal(cp437_utf8(0xb3), "\xe2\x94\x82");
	assert_string_equal(cp437_utf8(0xff), " ");
	for (unsigned i = 0; i < 256; i++)
		assert_in_range(strlen(cp437_utf8((uint8_t)i)), 1, 3);
}

/* Read back by libpng's own simple reader. */
static void check_png(const char *path, const struct display_frame *frame)
{
	png_image image = {.version = PNG_IMAGE_VERSION};
	uint8_t *rgb = malloc((size_t)frame->width * frame->height * 3);

	assert_true(png_image_begin_read_from_file(&image, path));
	assert_int_equal(image.width, frame->width);
	assert_int_equal(image.height, frame->height);
	image.format = PNG_FORMAT_RGB;
	assert_true(png_image_finish_read(&image, NULL, rgb, 0, NULL));
	for (unsigned i = 0; i < frame->width * frame->height; i++)
		assert_int_equal(
			rgb[3 * i] << 16 | rgb[3 * i + 1] << 8 | rgb[3 * i + 2], frame->pixels[i]);
	free(rgb);
}

static void pictures_have_the_frames_pixels(void **state)
{
	static const unsigned colours[] = {1, 2, 16, 17, 256, 257, 3000};
	char path[] = "/tmp/test_display.XXXXXX", header[16] = {0};
	uint8_t pixel[3];
	struct display_frame frame = {.width = 61, .height = 53};
	FILE *file;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	frame.pixels = malloc(61 * 53 * 4);
	for (unsigned i = 0; i < ARRAY_SIZE(colours); i++) {
		for (unsigned k = 0; k < 61 * 53; k++)
			frame.pixels[k] = (k % colours[i] * 0x010305) & 0xffffff;
		assert_int_equal(picture_write(path, PICTURE_PNG, &frame), 0);
		check_png(path, &frame);
	}
	assert_int_equal(picture_write(path, PICTURE_PPM, &frame), 0);
	file = fopen(path, "rb");
	assert_int_equal(fread(header, 1, 13, file), 13);
	assert_string_equal(header, "P6\n61 53\n255\n");
	assert_int_equal(fseek(file, 13 + 3 * 100, SEEK_SET), 0);
	assert_int_equal(fread(pixel, 1, 3, file), 3);
	assert_int_equal(pixel[0] << 16 | pixel[1] << 8 | pixel[2], frame.pixels[100]);
	fclose(file);
	assert_int_equal(picture_write("/nowhere/x.png", PICTURE_PNG, &frame), -ENOENT);
	unlink(path);
	free(frame.pixels);
}

static void no_screen_no_picture(void **state)
{
	struct display none = {0};

	assert_int_equal(picture_write_screen("/tmp/x.png", PICTURE_PNG, &none), -ENODEV);
}

static void font_is_found_in_a_bios(void **state)
{
	static uint8_t bios[3 * FONT_SIZE];
	static const uint8_t face[] = {0x7e, 0x81, 0xa5, 0x81, 0x81, 0xbd, 0x99, 0x81, 0x81, 0x7e};

	assert_null(font_find(bios, sizeof(bios)));
	memset(bios, 0xff, 1000);
	memcpy(bios + 1000 + 18, face, sizeof(face));
	assert_ptr_equal(font_find(bios, sizeof(bios)), bios + 1000);
	assert_null(font_find(bios, 1000 + FONT_SIZE - 1)); /* not all of it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_of_display),
		cmocka_unit_test(keysyms_are_keys),
		cmocka_unit_test(strokes_of_a_terminal),
		cmocka_unit_test(code_page_437),
		cmocka_unit_test(pictures_have_the_frames_pixels),
		cmocka_unit_test(no_screen_no_picture),
		cmocka_unit_test(font_is_found_in_a_bios),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
