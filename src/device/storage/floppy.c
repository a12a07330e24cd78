#include "device/storage/floppy_internal.h"

#include "base/bits.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORTS      0x3f0 /* to 0x3f5; 0x3f6 is an IDE controller's */
#define PORT_LAST  0x3f7 /* DIR, and CCR */
#define LAST_INDEX (PORT_LAST - PORTS)

enum { DOR = 2, TAPE, MAIN_STATUS, FIFO, INPUT = LAST_INDEX };

#define RATE_SELECT MAIN_STATUS /* write */
#define CONTROL     INPUT       /* write */

#define DOR_SELECT 0x03
#define DOR_RUNS   0x04 /* 0: reset */
#define DOR_ENABLE 0x08 /* interrupts and DMA */

#define STATUS_READY 0x80
#define STATUS_IN    0x40 /* the guest is to read */
#define STATUS_BYTES 0x20 /* data, without DMA */
#define STATUS_BUSY  0x10

#define RATE_RESET 0x80

/* Data rates, as CCR has them. */
#define RATE_500K 0
#define RATE_250K 2
#define RATE_1M   3

static const struct floppy_medium media[] = {
	{160, 40, 1, 8, RATE_250K, 1},
	{180, 40, 1, 9, RATE_250K, 1},
	{320, 40, 2, 8, RATE_250K, 1},
	{360, 40, 2, 9, RATE_250K, 1},
	{720, 80, 2, 9, RATE_250K, 4},
	{1200, 80, 2, 15, RATE_500K, 2},
	{1440, 80, 2, 18, RATE_500K, 4},
	{1680, 80, 2, 21, RATE_500K, 4},
	{2880, 80, 2, 36, RATE_1M, 5},
};

static const struct floppy_medium *medium_of(uint64_t size)
{
	for (unsigned i = 0; i < ARRAY_SIZE(media); i++)
		if (media[i].size * KIB == size)
			return &media[i];
	return NULL;
}

uint8_t floppy_drive_type(uint64_t size)
{
	const struct floppy_medium *medium = medium_of(size);

	return medium ? medium->drive : 0;
}

/* --- interrupts and results --- */

static void update_line(struct floppy *floppy)
{
	irq_set(&floppy->irq, floppy->state.irq && (floppy->state.dor & DOR_ENABLE));
}

void floppy_set_irq(struct floppy *floppy, bool level)
{
	floppy->state.irq = level;
	update_line(floppy);
}

void floppy_result(struct floppy *floppy, const uint8_t *bytes, unsigned count, bool interrupt)
{
	struct floppy_state *state = &floppy->state;

	memcpy(state->result, bytes, count);
	state->result_length = (uint8_t)count;
	state->result_position = 0;
	state->command_length = 0;
	state->phase = FLOPPY_RESULT;
	if (interrupt)
		floppy_set_irq(floppy, true);
}

/* --- reset --- */

/* What a reset by DOR or DSR does (4.2): heads stay where they are. A job in flight is left alone,
 * and the controller is busy until it has come back. */
static void reset_controller(struct floppy *floppy)
{
	struct floppy_state *state = &floppy->state;

	if (state->phase == FLOPPY_BUSY)
		floppy->reset_wanted = true;
	else
		state->phase = FLOPPY_COMMAND;
	state->command_length = 0;
	state->seek_done = false;
	state->resets_to_tell = 0;
	if (!state->locked)
		memset(state->configure, 0, sizeof(state->configure));
	floppy_set_irq(floppy, false);
}

static void leave_reset(struct floppy *floppy)
{
	floppy->state.resets_to_tell = 4;
	floppy_set_irq(floppy, true);
}

static void write_dor(struct floppy *floppy, uint8_t value)
{
	uint8_t before = floppy->state.dor;

	floppy->state.dor = value;
	if (before & ~value & DOR_RUNS)
		reset_controller(floppy);
	else if (value & ~before & DOR_RUNS)
		leave_reset(floppy);
	update_line(floppy);
}

static void write_rate_select(struct floppy *floppy, uint8_t value)
{
	floppy->state.rate = value & 3;
	if (value & RATE_RESET) {
		reset_controller(floppy);
		leave_reset(floppy);
	}
}

/* --- registers --- */

static bool moves_bytes(const struct floppy_state *state)
{
	return (state->phase == FLOPPY_IN || state->phase == FLOPPY_OUT) && !floppy_uses_dma(state);
}

static uint8_t main_status(const struct floppy *floppy)
{
	const struct floppy_state *state = &floppy->state;

	if (!(state->dor & DOR_RUNS))
		return 0;
	if (moves_bytes(state))
		return (uint8_t)(STATUS_READY | STATUS_BYTES | STATUS_BUSY |
				 (state->phase == FLOPPY_IN ? STATUS_IN : 0));
	if (state->phase == FLOPPY_COMMAND)
		return state->command_length ? STATUS_READY | STATUS_BUSY : STATUS_READY;
	if (state->phase == FLOPPY_RESULT)
		return STATUS_READY | STATUS_IN | STATUS_BUSY;
	return STATUS_BUSY;
}

static uint8_t read_fifo(struct floppy *floppy)
{
	struct floppy_state *state = &floppy->state;
	uint8_t value;

	if (state->phase == FLOPPY_IN && moves_bytes(state))
		return floppy_read_byte(floppy);
	if (state->phase != FLOPPY_RESULT)
		return 0;
	value = state->result[state->result_position++];
	floppy_set_irq(floppy, state->resets_to_tell || state->seek_done ? state->irq : false);
	if (state->result_position == state->result_length)
		state->phase = FLOPPY_COMMAND;
	return value;
}

static void write_fifo(struct floppy *floppy, uint8_t value)
{
	struct floppy_state *state = &floppy->state;

	if (!(state->dor & DOR_RUNS))
		return;
	if (state->phase == FLOPPY_OUT && moves_bytes(state)) {
		floppy_write_byte(floppy, value);
		return;
	}
	if (state->phase != FLOPPY_COMMAND)
		return;
	state->command[state->command_length++] = value;
	if (state->command_length < floppy_command_length(state->command[0]))
		return;
	state->command_length = 0;
	floppy_run_command(floppy);
}

/* The change line is the selected drive's, while its motor runs. Bits 6:0 are not driven. */
static uint8_t read_input(const struct floppy *floppy)
{
	const struct floppy_state *state = &floppy->state;
	unsigned drive = state->dor & DOR_SELECT;

	if (drive >= FLOPPY_DRIVES || !floppy->medium[drive] || !(state->dor >> (4 + drive) & 1))
		return 0;
	return state->changed[drive] ? 0x80 : 0;
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
	struct floppy *floppy = opaque;

	switch (offset) {
	case DOR:
		return floppy->state.dor;
	case TAPE:
		return floppy->state.tape;
	case MAIN_STATUS:
		return main_status(floppy);
	case FIFO:
		return read_fifo(floppy);
	default:
		return UINT64_MAX;
	}
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct floppy *floppy = opaque;

	switch (offset) {
	case DOR:
		write_dor(floppy, (uint8_t)value);
		break;
	case TAPE:
		floppy->state.tape = value & 3;
		break;
	case RATE_SELECT:
		write_rate_select(floppy, (uint8_t)value);
		break;
	case FIFO:
		write_fifo(floppy, (uint8_t)value);
		break;
	}
}

static uint64_t last_read(void *opaque, uint64_t offset, unsigned size)
{
	return read_input(opaque);
}

static void last_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	((struct floppy *)opaque)->state.rate = value & 3;
}

static void dma_ready(void *opaque)
{
	floppy_pump(opaque);
}

/* --- the device --- */

static void floppy_reset(void *device)
{
	struct floppy *floppy = device;

	memset(&floppy->state, 0, sizeof(floppy->state));
	floppy->state.rate = RATE_250K;
	for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
		floppy->state.changed[i] = floppy->medium[i];
	floppy->reset_wanted = false;
	update_line(floppy);
}

static bool floppy_valid(const void *device, const void *loaded)
{
	const struct floppy_state *state = loaded;

	if (state->phase == FLOPPY_COMMAND && state->command_length &&
		state->command_length >= floppy_command_length(state->command[0]))
		return false;
	if (state->phase == FLOPPY_RESULT && state->result_position >= state->result_length)
		return false;
	return floppy_transfer_valid(device, state);
}

static void floppy_loaded(void *device)
{
	update_line(device);
}

static bool floppy_quiesce(void *device, uint64_t deadline_ns)
{
	struct floppy *floppy = device;
	bool first = drive_quiesce(&floppy->drive[0], deadline_ns);

	return drive_quiesce(&floppy->drive[1], deadline_ns) && first;
}

static void floppy_abandon(void *device)
{
	struct floppy *floppy = device;

	for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
		drive_abandon(&floppy->drive[i]);
}

static void floppy_destroy(void *device)
{
	struct floppy *floppy = device;

	for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
		drive_destroy(&floppy->drive[i]);
	free(floppy);
}

static const struct state_field floppy_fields[] = {
	STATE_ANY(struct floppy_state, dor),
	STATE_FIELD(struct floppy_state, rate, 0, 3),
	STATE_FIELD(struct floppy_state, tape, 0, 3),
	STATE_FIELD(struct floppy_state, phase, FLOPPY_COMMAND, FLOPPY_RESULT),
	STATE_ARRAY_ANY(struct floppy_state, command),
	STATE_FIELD(struct floppy_state, command_length, 0, 8),
	STATE_ARRAY_ANY(struct floppy_state, result),
	STATE_FIELD(struct floppy_state, result_length, 0, 10),
	STATE_FIELD(struct floppy_state, result_position, 0, 10),
	STATE_ARRAY_ANY(struct floppy_state, cylinder),
	STATE_ARRAY(struct floppy_state, changed, 0, 1),
	STATE_FIELD(struct floppy_state, resets_to_tell, 0, 4),
	STATE_BOOL(struct floppy_state, seek_done),
	STATE_ANY(struct floppy_state, seek_status),
	STATE_ARRAY_ANY(struct floppy_state, specify),
	STATE_ARRAY_ANY(struct floppy_state, configure),
	STATE_ANY(struct floppy_state, perpendicular),
	STATE_BOOL(struct floppy_state, locked),
	STATE_BOOL(struct floppy_state, irq),
	STATE_FIELD(struct floppy_state, head, 0, 1),
	STATE_ANY(struct floppy_state, sector),
	STATE_FIELD(struct floppy_state, run, 0, FLOPPY_BUFFER / DISK_SECTOR),
	STATE_FIELD(struct floppy_state, position, 0, FLOPPY_BUFFER),
	STATE_ARRAY_ANY(struct floppy_state, buffer),
	STATE_END,
};

static const struct device_ops floppy_device = {
	.name = "floppy",
	.version = 1,
	DEVICE_STATE(struct floppy, floppy_fields),
	.reset = floppy_reset,
	.valid = floppy_valid,
	.loaded = floppy_loaded,
	.quiesce = floppy_quiesce,
	.abandon = floppy_abandon,
	.destroy = floppy_destroy,
};

/* --- making it --- */

/* Every disk is either a drive's or destroyed, whatever happens. */
static int start_drives(struct floppy *floppy, const struct floppy_config *config)
{
	int error = 0;

	for (unsigned i = 0; i < FLOPPY_DRIVES; i++) {
		struct disk *disk = config->disks[i];
		char name[16];

		if (!disk)
			continue;
		floppy->medium[i] = medium_of(disk->size);
		if (!floppy->medium[i] && !error) {
			log_error("a floppy of %llu bytes: expected 160, 180, 320, 360, 720, 1200, "
				  "1440, 1680 or 2880 KiB",
				(unsigned long long)disk->size);
			error = -EINVAL;
		}
		if (error) {
			disk->ops->destroy(disk);
			continue;
		}
		snprintf(name, sizeof(name), "floppy%u", i);
		error = drive_create(
			&floppy->drive[i], disk, name, config->loop, config->machine_lock);
	}
	return error;
}

int floppy_create(const struct floppy_config *config)
{
	static const struct io_ops ops = {.read = port_read, .write = port_write, .width = 1};
	static const struct io_ops last = {.read = last_read, .write = last_write, .width = 1};
	struct floppy *floppy = calloc(1, sizeof(*floppy));
	int error;

	if (!floppy) {
		log_error("out of memory for a floppy disk controller");
		for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
			if (config->disks[i])
				config->disks[i]->ops->destroy(config->disks[i]);
		return -ENOMEM;
	}
	floppy->dma = config->dma;
	floppy->irq = config->irq;
	error = start_drives(floppy, config);
	if (error) {
		floppy_destroy(floppy);
		return error;
	}
	floppy_reset(floppy);
	device_list_add(config->devices, &floppy->device, &floppy_device, 0);
	dma8237_connect(config->dma, FLOPPY_DMA_CHANNEL, dma_ready, floppy);
	error = io_space_add(config->ports, PORTS, 6, "floppy", &ops, floppy);
	if (!error)
		error = io_space_add(config->ports, PORT_LAST, 1, "floppy", &last, floppy);
	return error;
}
