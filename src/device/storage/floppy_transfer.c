/* Floppy: commands that move data, a run of sectors of one track at a time.
 *
 *	READ	begin_run() -> BUSY -> IN: pump() until the run is moved; the next run
 *	WRITE	begin_run() -> OUT: pump() until the run is there -> BUSY; the next run
 *
 * By DMA a transfer ends with the channel's terminal count, and without DMA at the end of the
 * track, which the 82077AA's data sheet calls an abnormal end. The result says what sector would be
 * next (table 5-6). */
#include "device/storage/floppy_internal.h"

#include "base/bits.h"

#include <string.h>

#define CODE(state)    ((state)->command[0] & 0x1f)
#define MULTI_TRACK(s) ((s)->command[0] & 0x80)
#define READ_TRACK     0x02
#define WRITE_DATA     0x05
#define WRITE_DELETED  0x09
#define FORMAT_TRACK   0x0d
#define VERIFY         0x16
#define CONFIGURE_SEEK 0x40 /* implied seek */

/* ST1. */
#define NO_ADDRESS_MARK 0x01
#define NOT_WRITABLE    0x02
#define NO_DATA         0x04
#define BAD_DATA        0x20
#define END_OF_CYLINDER 0x80
/* ST2. */
#define WRONG_CYLINDER 0x10

#define SIZE_CODE 2 /* 512 bytes */

static bool is_write(const struct floppy_state *state)
{
	return CODE(state) == WRITE_DATA || CODE(state) == WRITE_DELETED ||
	       CODE(state) == FORMAT_TRACK;
}

/* The last sector of a track that the transfer is to reach. */
static unsigned end_of_track(const struct floppy_state *state)
{
	return state->command[6];
}

/* The result of a transfer, with the sector that comes after `state->sector` - 1. */
static void finish(struct floppy *floppy, uint8_t status0, uint8_t status1, uint8_t status2)
{
	struct floppy_state *state = &floppy->state;
	uint8_t cylinder = state->command[2], head = state->head, sector = state->sector;

	if (sector > end_of_track(state) && CODE(state) != FORMAT_TRACK) {
		sector = 1;
		if (MULTI_TRACK(state) && !head) {
			head = 1;
		} else {
			cylinder++;
			head = MULTI_TRACK(state) ? 0 : head;
		}
	}
	floppy_result(floppy,
		(const uint8_t[]){(uint8_t)(status0 | state->head << 2 | floppy_selected(state)),
			status1, status2, cylinder, head, sector, SIZE_CODE},
		7, true);
}

static void refuse(struct floppy *floppy, uint8_t status1, uint8_t status2)
{
	finish(floppy, FLOPPY_ST0_ABNORMAL, status1, status2);
}

static uint64_t offset_of(
	const struct floppy_medium *medium, unsigned cylinder, unsigned head, unsigned sector)
{
	return ((uint64_t)(cylinder * medium->heads + head) * medium->sectors + sector - 1) *
	       DISK_SECTOR;
}

static uint64_t run_offset(const struct floppy *floppy, const struct floppy_state *state)
{
	const struct floppy_medium *medium = floppy_medium(floppy, state);

	return offset_of(medium, state->cylinder[floppy_selected(state)], state->head,
		CODE(state) == FORMAT_TRACK ? 1 : state->sector);
}

/* How many bytes the guest is to move in this run. */
static uint32_t run_bytes(const struct floppy_state *state)
{
	return CODE(state) == FORMAT_TRACK ? state->command[3] * 4u : state->run * DISK_SECTOR;
}

static void begin_run(struct floppy *floppy);

/* A run has been moved to its end. */
static void next_run(struct floppy *floppy, bool terminal)
{
	struct floppy_state *state = &floppy->state;
	const struct floppy_medium *medium = floppy_medium(floppy, state);

	state->sector =
		(uint8_t)(state->sector + (state->position + DISK_SECTOR - 1) / DISK_SECTOR);
	if (terminal) {
		finish(floppy, 0, 0, 0);
		return;
	}
	if (state->sector > end_of_track(state)) {
		if (!MULTI_TRACK(state) || state->head || medium->heads < 2 ||
			CODE(state) == READ_TRACK) {
			finish(floppy, FLOPPY_ST0_ABNORMAL, END_OF_CYLINDER, 0);
			return;
		}
		state->head = 1;
		state->sector = 1;
	}
	begin_run(floppy);
}

static bool over(struct floppy *floppy, int error)
{
	if (floppy->reset_wanted) {
		floppy->reset_wanted = false;
		floppy->state.phase = FLOPPY_COMMAND;
		return true;
	}
	if (error)
		refuse(floppy, BAD_DATA, 0);
	return error;
}

static void loaded(struct transfer *transfer, int error)
{
	struct floppy *floppy = container_of(transfer, struct floppy, transfer);

	if (over(floppy, error))
		return;
	floppy->state.phase = FLOPPY_IN;
	floppy->state.position = 0;
	if (floppy_uses_dma(&floppy->state))
		floppy_pump(floppy);
	else
		floppy_set_irq(floppy, true);
}

static void stored(struct transfer *transfer, int error)
{
	struct floppy *floppy = container_of(transfer, struct floppy, transfer);

	if (over(floppy, error))
		return;
	if (CODE(&floppy->state) == FORMAT_TRACK)
		finish(floppy, 0, 0, 0);
	else
		next_run(floppy, floppy->ended);
}

static void run_disk(struct floppy *floppy, enum disk_operation operation, uint32_t bytes)
{
	struct floppy_state *state = &floppy->state;

	state->phase = FLOPPY_BUSY;
	floppy->transfer.done = operation == DISK_READ ? loaded : stored;
	transfer_buffer(&floppy->transfer, &floppy->drive[floppy_selected(state)], operation,
		run_offset(floppy, state), state->buffer, bytes, false);
}

/* The sectors from state->sector to the end of the track, or of the transfer. */
static void begin_run(struct floppy *floppy)
{
	struct floppy_state *state = &floppy->state;
	const struct floppy_medium *medium = floppy_medium(floppy, state);
	unsigned last = MIN(end_of_track(state), medium->sectors);

	if (state->head >= medium->heads) {
		refuse(floppy, NO_ADDRESS_MARK, 0);
		return;
	}
	if (!state->sector || state->sector > last) {
		refuse(floppy, NO_DATA, 0);
		return;
	}
	state->run = (uint8_t)(last - state->sector + 1);
	state->position = 0;
	if (!is_write(state)) {
		run_disk(floppy, DISK_READ, run_bytes(state));
		return;
	}
	state->phase = FLOPPY_OUT;
	if (floppy_uses_dma(state))
		floppy_pump(floppy);
	else
		floppy_set_irq(floppy, true);
}

/* --- moving the data --- */

/* FORMAT TRACK's data names the track's sectors, in any order; all of them are to be there. */
static void format_track(struct floppy *floppy)
{
	struct floppy_state *state = &floppy->state;
	const struct floppy_medium *medium = floppy_medium(floppy, state);
	uint64_t seen = 0;

	for (unsigned i = 0; i < state->command[3]; i++) {
		uint8_t sector = state->buffer[4 * i + 2];

		if (sector && sector <= medium->sectors && state->buffer[4 * i + 3] == SIZE_CODE)
			seen |= BIT(sector - 1);
	}
	if (seen != BIT(medium->sectors) - 1) {
		refuse(floppy, NO_DATA, 0);
		return;
	}
	memset(state->buffer, state->command[5], medium->sectors * DISK_SECTOR);
	run_disk(floppy, DISK_WRITE, medium->sectors * DISK_SECTOR);
}

/* What the guest has written of the run is there. */
static void store(struct floppy *floppy, bool terminal)
{
	struct floppy_state *state = &floppy->state;
	uint32_t whole = (uint32_t)ALIGN_UP(state->position, DISK_SECTOR);

	if (CODE(state) == FORMAT_TRACK) {
		if (state->position < run_bytes(state))
			refuse(floppy, NO_DATA, 0);
		else
			format_track(floppy);
		return;
	}
	if (!state->position) {
		next_run(floppy, terminal);
		return;
	}
	memset(state->buffer + state->position, 0, whole - state->position);
	floppy->ended = terminal;
	run_disk(floppy, DISK_WRITE, whole);
}

static void moved(struct floppy *floppy, bool terminal)
{
	struct floppy_state *state = &floppy->state;

	if (!terminal && state->position < run_bytes(state))
		return;
	if (state->phase == FLOPPY_OUT)
		store(floppy, terminal);
	else
		next_run(floppy, terminal);
}

void floppy_pump(struct floppy *floppy)
{
	struct floppy_state *state = &floppy->state;
	bool terminal;
	uint32_t count;

	if ((state->phase != FLOPPY_IN && state->phase != FLOPPY_OUT) || !floppy_uses_dma(state))
		return;
	count = dma8237_move(floppy->dma, FLOPPY_DMA_CHANNEL, state->buffer + state->position,
		run_bytes(state) - state->position, state->phase == FLOPPY_IN, &terminal);
	state->position += count;
	if (count)
		moved(floppy, terminal);
}

uint8_t floppy_read_byte(struct floppy *floppy)
{
	struct floppy_state *state = &floppy->state;
	uint8_t value = state->buffer[state->position++];

	floppy_set_irq(floppy, false);
	moved(floppy, false);
	return value;
}

void floppy_write_byte(struct floppy *floppy, uint8_t value)
{
	struct floppy_state *state = &floppy->state;

	state->buffer[state->position++] = value;
	floppy_set_irq(floppy, false);
	moved(floppy, false);
}

/* --- beginning --- */

/* VERIFY reads, and moves nothing: it is enough that the sectors are there. */
static void verify(struct floppy *floppy)
{
	struct floppy_state *state = &floppy->state;
	const struct floppy_medium *medium = floppy_medium(floppy, state);
	unsigned last = end_of_track(state);

	if (state->command[1] & 0x80) /* the number of sectors is given */
		last = state->sector + state->command[8] - 1u;
	if (!state->sector || last > medium->sectors || state->head >= medium->heads) {
		refuse(floppy, NO_DATA, 0);
		return;
	}
	state->sector = (uint8_t)(last + 1);
	finish(floppy, 0, 0, 0);
}

static void begin_format(struct floppy *floppy)
{
	struct floppy_state *state = &floppy->state;

	state->head = state->command[1] >> 2 & 1;
	state->sector = 1;
	state->position = 0;
	if (state->command[2] != SIZE_CODE ||
		state->command[3] != floppy_medium(floppy, state)->sectors ||
		state->head >= floppy_medium(floppy, state)->heads) {
		refuse(floppy, NO_DATA, 0);
		return;
	}
	state->phase = FLOPPY_OUT;
	if (floppy_uses_dma(state))
		floppy_pump(floppy);
	else
		floppy_set_irq(floppy, true);
}

void floppy_begin_transfer(struct floppy *floppy)
{
	struct floppy_state *state = &floppy->state;
	const struct floppy_medium *medium = floppy_medium(floppy, state);
	unsigned drive = floppy_selected(state);

	state->head =
		CODE(state) == FORMAT_TRACK ? state->command[1] >> 2 & 1 : state->command[3] & 1;
	state->sector = CODE(state) == READ_TRACK ? 1 : state->command[4];
	if (!medium) {
		finish(floppy, FLOPPY_ST0_ABNORMAL | FLOPPY_ST0_NOT_READY, 0, 0);
		return;
	}
	if (CODE(state) != FORMAT_TRACK && (state->configure[1] & CONFIGURE_SEEK))
		state->cylinder[drive] = state->command[2];
	if (state->rate != medium->rate || state->cylinder[drive] >= medium->cylinders) {
		refuse(floppy, NO_ADDRESS_MARK, 0);
		return;
	}
	if (is_write(state) && floppy->drive[drive].disk->read_only) {
		refuse(floppy, NOT_WRITABLE, 0);
		return;
	}
	if (CODE(state) == FORMAT_TRACK) {
		begin_format(floppy);
		return;
	}
	if (state->command[2] != state->cylinder[drive]) {
		refuse(floppy, NO_DATA, WRONG_CYLINDER);
		return;
	}
	if (state->command[5] != SIZE_CODE) {
		refuse(floppy, NO_DATA, 0);
		return;
	}
	if (CODE(state) == VERIFY)
		verify(floppy);
	else
		begin_run(floppy);
}

bool floppy_transfer_valid(const struct floppy *floppy, const struct floppy_state *state)
{
	const struct floppy_medium *medium = floppy_medium(floppy, state);
	bool format = CODE(state) == FORMAT_TRACK;

	if (state->phase != FLOPPY_IN && state->phase != FLOPPY_OUT)
		return true;
	if (!medium || state->head >= medium->heads || state->position >= run_bytes(state) ||
		state->cylinder[floppy_selected(state)] >= medium->cylinders)
		return false;
	if (is_write(state) != (state->phase == FLOPPY_OUT) ||
		(is_write(state) && floppy->drive[floppy_selected(state)].disk->read_only))
		return false;
	if (format)
		return state->command[3] == medium->sectors;
	return state->sector && state->run && state->sector + state->run - 1 <= medium->sectors;
}
