/* Floppy: commands, by the table of the 82077AA's data sheet (chapter 5), and those that move no
 * data. Heads move at once. */
#include "device/storage/floppy_internal.h"

#include "base/bits.h"

#include <string.h>

#define VERSION_82077 0x90
#define INVALID       FLOPPY_ST0_INVALID

#define ST3_WRITE_PROTECTED 0x40
#define ST3_TRACK_0         0x10
#define ST3_TWO_SIDES       0x08
#define ST3_ALWAYS          0x20 /* ready */

static void give(struct floppy *floppy, const uint8_t *bytes, unsigned count)
{
	floppy_result(floppy, bytes, count, false);
}

static void end(struct floppy *floppy)
{
	floppy->state.phase = FLOPPY_COMMAND;
}

/* --- heads --- */

static void seek_to(struct floppy *floppy, unsigned cylinder)
{
	struct floppy_state *state = &floppy->state;
	unsigned drive = floppy_selected(state);
	bool there = floppy_medium(floppy, state);

	state->cylinder[drive] = (uint8_t)cylinder;
	state->seek_status = (uint8_t)(FLOPPY_ST0_SEEK | (state->command[1] & 7));
	if (!there)
		state->seek_status |= FLOPPY_ST0_ABNORMAL | 0x10; /* track 0 was not found */
	else
		state->changed[drive] = false;
	state->seek_done = true;
	end(floppy);
	floppy_set_irq(floppy, true);
}

static void recalibrate(struct floppy *floppy)
{
	seek_to(floppy, 0);
}

static void seek(struct floppy *floppy)
{
	seek_to(floppy, floppy->state.command[2]);
}

static void relative_seek(struct floppy *floppy)
{
	const struct floppy_state *state = &floppy->state;
	int steps = state->command[2], now = state->cylinder[floppy_selected(state)];

	now = state->command[0] & 0x40 ? now + steps : now - steps;
	seek_to(floppy, (unsigned)MIN(MAX(now, 0), 255));
}

/* After a reset it tells of four drives; then of the end of a seek; else it is invalid. */
static void sense_interrupt(struct floppy *floppy)
{
	struct floppy_state *state = &floppy->state;
	uint8_t drive;

	floppy_set_irq(floppy, false);
	if (state->resets_to_tell) {
		drive = (uint8_t)(4 - state->resets_to_tell--);
		give(floppy,
			(const uint8_t[]){
				(uint8_t)(FLOPPY_ST0_CHANGED | drive), state->cylinder[drive]},
			2);
	} else if (state->seek_done) {
		state->seek_done = false;
		give(floppy,
			(const uint8_t[]){
				state->seek_status, state->cylinder[state->seek_status & 3]},
			2);
	} else {
		give(floppy, (const uint8_t[]){INVALID}, 1);
	}
}

static void sense_drive(struct floppy *floppy)
{
	const struct floppy_state *state = &floppy->state;
	unsigned drive = floppy_selected(state);
	const struct floppy_medium *medium = floppy_medium(floppy, state);
	uint8_t status = (uint8_t)(ST3_ALWAYS | (state->command[1] & 7));

	if (!state->cylinder[drive])
		status |= ST3_TRACK_0;
	if (medium && medium->heads == 2)
		status |= ST3_TWO_SIDES;
	if (medium && floppy->drive[drive].disk->read_only)
		status |= ST3_WRITE_PROTECTED;
	give(floppy, &status, 1);
}

/* The first sector's ID is always the next to come by. */
static void read_id(struct floppy *floppy)
{
	const struct floppy_state *state = &floppy->state;
	const struct floppy_medium *medium = floppy_medium(floppy, state);
	uint8_t cylinder = state->cylinder[floppy_selected(state)],
		head = state->command[1] >> 2 & 1;
	uint8_t result[7] = {state->command[1] & 7, 0, 0, cylinder, head, 1, 2};

	if (!medium || state->rate != medium->rate || cylinder >= medium->cylinders ||
		head >= medium->heads) {
		result[0] |= FLOPPY_ST0_ABNORMAL;
		result[1] = 1; /* no address mark */
	}
	floppy_result(floppy, result, sizeof(result), true);
}

/* --- settings --- */

static void specify(struct floppy *floppy)
{
	memcpy(floppy->state.specify, &floppy->state.command[1], 2);
	end(floppy);
}

static void configure(struct floppy *floppy)
{
	memcpy(floppy->state.configure, &floppy->state.command[1], 3);
	end(floppy);
}

static void perpendicular(struct floppy *floppy)
{
	floppy->state.perpendicular = floppy->state.command[1];
	end(floppy);
}

static void lock(struct floppy *floppy)
{
	floppy->state.locked = floppy->state.command[0] & 0x80;
	give(floppy, (const uint8_t[]){floppy->state.locked ? 0x10 : 0}, 1);
}

static void dump_registers(struct floppy *floppy)
{
	const struct floppy_state *state = &floppy->state;

	give(floppy,
		(const uint8_t[]){state->cylinder[0], state->cylinder[1], state->cylinder[2],
			state->cylinder[3], state->specify[0], state->specify[1], state->command[6],
			(uint8_t)(state->locked << 7 | (state->perpendicular & 0x7f)),
			state->configure[1], state->configure[2]},
		10);
}

static void version(struct floppy *floppy)
{
	give(floppy, (const uint8_t[]){VERSION_82077}, 1);
}

static void invalid(struct floppy *floppy)
{
	give(floppy, (const uint8_t[]){INVALID}, 1);
}

/* --- the table --- */

static const struct row {
	uint8_t code, mask; /* of the bits that name the command; others are options */
	uint8_t length;
	void (*run)(struct floppy *floppy);
} rows[] = {
	{0x02, 0x9f, 9, floppy_begin_transfer}, /* READ TRACK */
	{0x03, 0xff, 3, specify},
	{0x04, 0xff, 2, sense_drive},
	{0x05, 0x3f, 9, floppy_begin_transfer}, /* WRITE DATA */
	{0x06, 0x1f, 9, floppy_begin_transfer}, /* READ DATA */
	{0x07, 0xff, 2, recalibrate},
	{0x08, 0xff, 1, sense_interrupt},
	{0x09, 0x3f, 9, floppy_begin_transfer}, /* WRITE DELETED DATA */
	{0x0a, 0xbf, 2, read_id},
	{0x0c, 0x1f, 9, floppy_begin_transfer}, /* READ DELETED DATA */
	{0x0d, 0xbf, 6, floppy_begin_transfer}, /* FORMAT TRACK */
	{0x0e, 0xff, 1, dump_registers},
	{0x0f, 0xff, 3, seek},
	{0x10, 0xff, 1, version},
	{0x12, 0xff, 2, perpendicular},
	{0x13, 0xff, 4, configure},
	{0x14, 0x7f, 1, lock},
	{0x16, 0x1f, 9, floppy_begin_transfer}, /* VERIFY */
	{0x8f, 0xbf, 3, relative_seek},
};

static const struct row *row_of(uint8_t code)
{
	static const struct row none = {.length = 1, .run = invalid};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if ((code & rows[i].mask) == rows[i].code)
			return &rows[i];
	return &none;
}

unsigned floppy_command_length(uint8_t code)
{
	return row_of(code)->length;
}

void floppy_run_command(struct floppy *floppy)
{
	row_of(floppy->state.command[0])->run(floppy);
}
