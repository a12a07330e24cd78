#include "host/display/text_screen.h"

#include "base/bits.h"
#include "base/log.h"
#include "host/display/cp437.h"
#include "host/display/text_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define FRAME_NS  (NS_PER_SECOND / 30)
#define STROKE_NS (NS_PER_SECOND / 100) /* a keyboard's queue is short */

/* The longest text for a cell: where it is, its colours, its character; and for a frame. */
#define CELL_BYTES (16 + 24 + 4)
#define OUT_BYTES  ((size_t)DISPLAY_MAX_COLUMNS * DISPLAY_MAX_ROWS * CELL_BYTES + 256)

#define ENTER "\033[?1049h\033[0m\033[2J"
#define LEAVE "\033[0m\033[?25h\033[?1049l"

struct text_screen {
	struct text_screen_config config;
	struct timer timer;
	uint64_t next_frame_ns, next_stroke_ns;
	struct display_text now, shown;
	bool known;             /* `shown` is what the terminal shows */
	bool graphics;          /* what it shows is the note */
	unsigned columns, rows; /* of the terminal */
	unsigned top;           /* the first row that is shown, where the terminal is smaller */
	char *out;              /* not yet taken by the console */
	size_t out_size, out_done;
};

/* --- output --- */

static void put(struct text_screen *s, const char *text)
{
	size_t size = strlen(text);

	if (size > OUT_BYTES - s->out_size)
		return;
	memcpy(s->out + s->out_size, text, size);
	s->out_size += size;
}

/* False: the console has no room for all of it. */
static bool flush(struct text_screen *s)
{
	struct char_backend *console = s->config.console;

	s->out_done +=
		console->ops->write(console, s->out + s->out_done, s->out_size - s->out_done);
	if (s->out_done < s->out_size)
		return false;
	s->out_size = s->out_done = 0;
	return true;
}

static void move_to(struct text_screen *s, unsigned column, unsigned row)
{
	char text[32];

	snprintf(text, sizeof(text), "\033[%u;%uH", row + 1, column + 1);
	put(s, text);
}

/* A VGA's colours have blue in bit 0, a terminal's red; bit 3 makes both bright. */
static unsigned ansi(unsigned colour, unsigned normal, unsigned bright)
{
	unsigned swapped = (colour & 2) | (colour >> 2 & 1) | (colour & 1) << 2;

	return (colour & 8 ? bright : normal) + swapped;
}

static void set_colours(struct text_screen *s, uint8_t attribute)
{
	char text[32];

	snprintf(text, sizeof(text), "\033[%u;%um", ansi(attribute & 15, 30, 90),
		ansi(attribute >> 4, 40, 100));
	put(s, text);
}

/* The rows around the cursor, where the terminal has too few for all. */
static unsigned choose_top(const struct text_screen *s)
{
	unsigned top = s->top;

	if (s->now.rows <= s->rows)
		return 0;
	if (s->now.cursor_row < top)
		top = s->now.cursor_row;
	if (s->now.cursor_row >= top + s->rows)
		top = s->now.cursor_row - s->rows + 1;
	return MIN(top, s->now.rows - s->rows);
}

static void put_cells(struct text_screen *s)
{
	unsigned columns = MIN(s->now.columns, s->columns), rows = MIN(s->now.rows, s->rows);
	int colours = -1;

	for (unsigned row = 0; row < rows; row++) {
		const uint16_t *cell = s->now.cell + (row + s->top) * s->now.columns;
		const uint16_t *old = s->shown.cell + (row + s->top) * s->now.columns;
		unsigned at = ~0u; /* the column where the terminal writes next */

		for (unsigned column = 0; column < columns; column++) {
			if (s->known && cell[column] == old[column])
				continue;
			if (at != column)
				move_to(s, column, row);
			if (colours != cell[column] >> 8) {
				colours = cell[column] >> 8;
				set_colours(s, (uint8_t)colours);
			}
			put(s, cp437_utf8((uint8_t)cell[column]));
			at = column + 1;
		}
	}
}

static void put_cursor(struct text_screen *s)
{
	const struct display_text *now = &s->now;

	if (!now->cursor || now->cursor_column >= s->columns) {
		put(s, "\033[?25l");
		return;
	}
	move_to(s, now->cursor_column, now->cursor_row - s->top);
	put(s, "\033[?25h");
}

static bool same_cursor(const struct display_text *a, const struct display_text *b)
{
	return a->cursor == b->cursor && a->cursor_column == b->cursor_column &&
	       a->cursor_row == b->cursor_row;
}

static void clear(struct text_screen *s)
{
	put(s, "\033[0m\033[2J");
	s->known = false;
}

static void show_text(struct text_screen *s)
{
	unsigned top;

	if (s->graphics || s->now.columns != s->shown.columns || s->now.rows != s->shown.rows)
		clear(s);
	s->graphics = false;
	top = choose_top(s);
	if (top != s->top)
		s->known = false;
	s->top = top;
	put_cells(s);
	if (s->out_size || !same_cursor(&s->now, &s->shown))
		put_cursor(s);
	s->shown = s->now;
	s->known = true;
}

static void show_note(struct text_screen *s)
{
	char text[120];

	if (s->graphics && s->known && s->now.columns == s->shown.columns &&
		s->now.rows == s->shown.rows)
		return;
	clear(s);
	move_to(s, 0, 0);
	snprintf(text, sizeof(text),
		"[%u x %u pixels: 'veneer screenshot' and --display vnc show "
		"them]",
		s->now.columns, s->now.rows);
	put(s, text);
	put(s, "\033[?25l");
	s->graphics = s->known = true;
	s->shown = s->now;
}

static void take_size(struct text_screen *s)
{
	struct winsize size;
	unsigned columns = 80, rows = 25;

	if (ioctl(s->config.terminal_fd, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row) {
		columns = size.ws_col;
		rows = size.ws_row;
	}
	if (columns == s->columns && rows == s->rows)
		return;
	s->columns = columns;
	s->rows = rows;
	clear(s);
}

static void show(struct text_screen *s)
{
	if (!flush(s))
		return;
	take_size(s);
	if (display_read_text(s->config.screen, &s->now))
		show_text(s);
	else
		show_note(s);
	flush(s);
}

/* --- input --- */

static void press(const struct text_screen *s, unsigned code, bool down)
{
	if (code)
		input_key(s->config.input, code, down);
}

/* One stroke at a time. */
static size_t receive(void *opaque, const void *bytes, size_t size)
{
	struct text_screen *s = opaque;
	uint64_t now = clock_ns(s->config.clock);
	struct text_keys keys;
	size_t taken;

	if (now < s->next_stroke_ns) {
		timer_arm(&s->timer, MIN(s->next_stroke_ns, s->next_frame_ns));
		return 0;
	}
	taken = text_keys_take(bytes, size, &keys);
	for (unsigned i = 0; i < keys.count; i++)
		press(s, keys.code[i], true);
	for (unsigned i = keys.count; i--;)
		press(s, keys.code[i], false);
	s->next_stroke_ns = now + STROKE_NS;
	if (taken < size)
		timer_arm(&s->timer, MIN(s->next_stroke_ns, s->next_frame_ns));
	return taken;
}

static void output_ready(void *opaque)
{
	flush(opaque);
}

static void tick(void *opaque)
{
	struct text_screen *s = opaque;
	uint64_t now = clock_ns(s->config.clock);

	if (now >= s->next_frame_ns) {
		show(s);
		s->next_frame_ns = now + FRAME_NS;
	}
	timer_arm(&s->timer, s->next_frame_ns);
	s->config.console->ops->input_ready(s->config.console);
}

/* --- life --- */

struct text_screen *text_screen_create(const struct text_screen_config *config)
{
	struct text_screen *s = calloc(1, sizeof(*s));

	if (s)
		s->out = malloc(OUT_BYTES);
	if (!s || !s->out) {
		log_error("--display text: out of memory");
		free(s);
		return NULL;
	}
	s->config = *config;
	config->console->port =
		(struct char_port){.receive = receive, .output_ready = output_ready, .opaque = s};
	put(s, ENTER);
	timer_init(&s->timer, config->loop, tick, s);
	timer_arm(&s->timer, clock_ns(config->clock));
	return s;
}

void text_screen_destroy(struct text_screen *s)
{
	struct char_backend *console = s->config.console;

	timer_cancel(&s->timer);
	console->port = (struct char_port){0};
	console->ops->write_last(console, LEAVE, sizeof(LEAVE) - 1);
	free(s->out);
	free(s);
}
