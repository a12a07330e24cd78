/* What the chip does with a store depends on `step`, and what a load gives on `mode`. Commands of
 * several stores are the command, its arguments, and some a confirmation.
 *
 * Durability. When the chip goes back to read array mode, after it was programmed or erased, the
 * changes are given to the store, and the vCPU waits until they are kept. So a guest that has come
 * that far, or sees its next change in the array, finds the earlier ones after a power failure, as
 * on the chip; and a guest that programs byte by byte does not wait at each.
 *
 * OVMF tells a chip from a ROM by its status after CLEAR STATUS, which is to be 0. A J3's is 0x80,
 * ready. Here it is 0 until the next program or erase. */
#include "device/flash.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS (FLASH_MOST / FLASH_BLOCK)

enum command {
	PROGRAM_ALTERNATE = 0x10,
	BLOCK_ERASE = 0x20,
	PROGRAM = 0x40,
	CLEAR_STATUS = 0x50,
	LOCK_SETUP = 0x60,
	READ_STATUS = 0x70,
	READ_ID = 0x90,
	READ_QUERY = 0x98,
	SUSPEND = 0xb0,
	CONFIRM = 0xd0, /* and RESUME */
	BUFFERED_PROGRAM = 0xe8,
	READ_ARRAY = 0xff,
};

enum { LOCK_BLOCK = 0x01 }; /* after LOCK_SETUP; CONFIRM unlocks */

enum mode { MODE_ARRAY, MODE_STATUS, MODE_ID, MODE_QUERY, MODES };

enum step {
	STEP_COMMAND,
	STEP_PROGRAM,
	STEP_ERASE,
	STEP_LOCK,
	STEP_COUNT, /* of the buffer's bytes, minus one */
	STEP_FIRST, /* byte, whose address is that of the buffer */
	STEP_DATA,
	STEP_BUFFER, /* its confirmation */
	STEPS
};

enum status {
	STATUS_LOCKED = BIT(1),
	STATUS_PROGRAM_ERROR = BIT(4),
	STATUS_ERASE_ERROR = BIT(5),
	STATUS_SEQUENCE_ERROR = STATUS_PROGRAM_ERROR | STATUS_ERASE_ERROR,
	STATUS_READY = BIT(7),
};

#define MANUFACTURER 0x89 /* Intel */
#define DEVICE_CODE  0x16 /* 28F320J3: 4 MiB */

struct flash_state {
	uint8_t mode, step, status;
	uint8_t buffer_left;   /* bytes that are still to be stored to the buffer */
	uint8_t buffer_size;   /* all of them */
	uint32_t buffer_start; /* offset in the chip */
	uint8_t buffer[FLASH_BUFFER];
	uint8_t locked[BLOCKS / 8]; /* a bit a block */
};

struct flash {
	struct device device;
	struct flash_state state;
	struct flash_config config;
	uint8_t *array;                     /* the bytes, in guest memory */
	uint32_t changed_from, changed_end; /* not kept yet */
};

/* --- its contents --- */

static bool is_locked(const struct flash *flash, uint32_t offset)
{
	uint32_t block = offset / FLASH_BLOCK;

	return flash->config.read_only || (flash->state.locked[block / 8] & BIT(block % 8));
}

static void note_change(struct flash *flash, uint32_t offset, uint32_t size)
{
	struct iovec piece = {flash->array + offset, size};

	memory_range_written(flash->config.memory, &piece, 1, size);
	if (flash->changed_from == flash->changed_end) {
		flash->changed_from = offset;
		flash->changed_end = offset + size;
	}
	flash->changed_from = MIN(flash->changed_from, offset);
	flash->changed_end = MAX(flash->changed_end, offset + size);
}

/* Programming can only clear bits. */
static void program(struct flash *flash, uint32_t offset, const uint8_t *bytes, uint32_t size)
{
	flash->state.status |= STATUS_READY;
	if (is_locked(flash, offset) || is_locked(flash, offset + size - 1)) {
		flash->state.status |= STATUS_PROGRAM_ERROR | STATUS_LOCKED;
		return;
	}
	for (uint32_t i = 0; i < size; i++)
		flash->array[offset + i] &= bytes[i];
	note_change(flash, offset, size);
}

static void erase_block(struct flash *flash, uint32_t offset)
{
	offset -= offset % FLASH_BLOCK;
	flash->state.status |= STATUS_READY;
	if (is_locked(flash, offset)) {
		flash->state.status |= STATUS_ERASE_ERROR | STATUS_LOCKED;
		return;
	}
	memset(flash->array + offset, 0xff, FLASH_BLOCK);
	note_change(flash, offset, FLASH_BLOCK);
}

/* Without the machine lock. */
static void keep_changes(void *opaque)
{
	struct flash *flash = opaque;
	struct priority_lock *lock = flash->config.memory->mmio.lock;
	uint32_t from, size;

	priority_lock_take(lock);
	from = flash->changed_from;
	size = flash->changed_end - from;
	flash->changed_from = flash->changed_end = 0;
	priority_lock_release(lock);
	if (size && flash->config.store.keep)
		flash->config.store.keep(
			flash->config.store.opaque, from, flash->array + from, size);
}

/* --- loads --- */

/* What CFI defines, from offset 0x10 on. */
static uint8_t query(const struct flash *flash, uint32_t offset)
{
	const uint32_t blocks = flash->config.size / FLASH_BLOCK - 1;
	const uint8_t table[] = {
		'Q', 'R', 'Y', 0x01, 0x00, /* Intel's extended command set */
		0x31, 0x00,                /* whose table is there */
		0, 0, 0, 0,                /* no other one */
		0x45, 0x55, 0, 0,          /* 4.5 to 5.5 V; no pin for programming */
		7, 7, 10, 0,               /* 2^n us a byte and a buffer, 2^n ms a block */
		4, 4, 4, 0,                /* 2^n times that at most */
		(uint8_t)(32 - __builtin_clz(flash->config.size - 1)), /* 2^n bytes hold it */
		0, 0,                                                  /* 8 bits wide */
		__builtin_ctz(FLASH_BUFFER), 0, 1,                     /* one kind of blocks */
		(uint8_t)blocks, (uint8_t)(blocks >> 8), (uint8_t)(FLASH_BLOCK >> 8),
		(uint8_t)(FLASH_BLOCK >> 16), 'P', 'R', 'I', '1', '1', BIT(5), 0, 0,
		0,          /* blocks are locked one by one */
		0,          /* what can be done while it is suspended */
		0x01, 0x00, /* READ_ID tells whether a block is locked */
		0x50, 0x00, /* 5.0 V */
		0,          /* no protection registers */
	};

	return offset >= 0x10 && offset - 0x10 < sizeof(table) ? table[offset - 0x10] : 0;
}

static uint8_t identity(const struct flash *flash, uint32_t offset)
{
	switch (offset % FLASH_BLOCK) {
	case 0:
		return MANUFACTURER;
	case 1:
		return DEVICE_CODE;
	case 2:
		return is_locked(flash, offset);
	default:
		return 0;
	}
}

static uint64_t flash_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct flash *flash = opaque;

	switch ((enum mode)flash->state.mode) {
	case MODE_STATUS:
		return flash->state.status;
	case MODE_ID:
		return identity(flash, (uint32_t)offset);
	case MODE_QUERY:
		return query(flash, (uint32_t)offset);
	case MODE_ARRAY:
	case MODES:
		break;
	}
	return flash->array[offset];
}

/* --- stores --- */

static void show_array(struct flash *flash)
{
	memory_rom_hide(flash->config.memory, flash->config.gpa, flash->state.mode != MODE_ARRAY);
}

static void set_mode(struct flash *flash, enum mode mode)
{
	bool was_array = flash->state.mode == MODE_ARRAY, is_array = mode == MODE_ARRAY;

	flash->state.mode = (uint8_t)mode;
	if (was_array != is_array)
		show_array(flash);
	if (is_array && flash->changed_end > flash->changed_from)
		io_space_wait_after(keep_changes, flash);
}

static void begin(struct flash *flash, enum mode mode, enum step step)
{
	flash->state.step = (uint8_t)step;
	set_mode(flash, mode);
}

static void take_command(struct flash *flash, uint32_t offset, uint8_t value)
{
	static const struct {
		uint8_t command, mode, step;
	} table[] = {
		{PROGRAM, MODE_STATUS, STEP_PROGRAM},
		{PROGRAM_ALTERNATE, MODE_STATUS, STEP_PROGRAM},
		{BLOCK_ERASE, MODE_STATUS, STEP_ERASE},
		{BUFFERED_PROGRAM, MODE_STATUS, STEP_COUNT},
		{LOCK_SETUP, MODE_STATUS, STEP_LOCK},
		{READ_STATUS, MODE_STATUS, STEP_COMMAND},
		{SUSPEND, MODE_STATUS, STEP_COMMAND}, /* there is nothing left to be suspended */
		{CONFIRM, MODE_STATUS, STEP_COMMAND},
		{READ_ID, MODE_ID, STEP_COMMAND},
		{READ_QUERY, MODE_QUERY, STEP_COMMAND},
	};

	if (value == CLEAR_STATUS) {
		flash->state.status = 0;
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].command != value)
			continue;
		if (value == BUFFERED_PROGRAM) /* the buffer is free */
			flash->state.status |= STATUS_READY;
		begin(flash, table[i].mode, table[i].step);
		return;
	}
	set_mode(flash, MODE_ARRAY); /* READ_ARRAY, and what is no command */
}

/* It ends, and nothing is done. */
static void refuse_sequence(struct flash *flash)
{
	flash->state.status |= STATUS_READY | STATUS_SEQUENCE_ERROR;
	flash->state.step = STEP_COMMAND;
}

static void set_lock(struct flash *flash, uint32_t offset, bool locked)
{
	uint32_t block = offset / FLASH_BLOCK;
	uint8_t *byte = &flash->state.locked[block / 8];

	*byte = (uint8_t)(locked ? *byte | BIT(block % 8) : *byte & ~BIT(block % 8));
	flash->state.status |= STATUS_READY;
}

static void take_count(struct flash *flash, uint8_t value)
{
	struct flash_state *state = &flash->state;

	if (value >= FLASH_BUFFER) {
		refuse_sequence(flash);
		return;
	}
	state->buffer_size = state->buffer_left = value + 1;
	memset(state->buffer, 0xff, sizeof(state->buffer));
	state->step = STEP_FIRST;
}

static void take_data(struct flash *flash, uint32_t offset, uint8_t value)
{
	struct flash_state *state = &flash->state;

	if (state->step == STEP_FIRST)
		state->buffer_start = offset;
	state->step = STEP_DATA;
	if (offset - state->buffer_start >= state->buffer_size ||
		state->buffer_size > flash->config.size - state->buffer_start) {
		refuse_sequence(flash);
		return;
	}
	state->buffer[offset - state->buffer_start] = value;
	if (--state->buffer_left == 0)
		state->step = STEP_BUFFER;
}

static void flash_write(void *opaque, uint64_t at, uint64_t value64, unsigned size)
{
	struct flash *flash = opaque;
	struct flash_state *state = &flash->state;
	uint32_t offset = (uint32_t)at;
	uint8_t value = (uint8_t)value64;
	enum step step = state->step;

	switch (step) {
	case STEP_COUNT:
		take_count(flash, value);
		return;
	case STEP_FIRST:
	case STEP_DATA:
		take_data(flash, offset, value);
		return;
	default:
		state->step = STEP_COMMAND;
	}
	if (step == STEP_PROGRAM)
		program(flash, offset, &value, 1);
	else if (step == STEP_COMMAND)
		take_command(flash, offset, value);
	else if (step == STEP_LOCK && value == LOCK_BLOCK)
		set_lock(flash, offset, true);
	else if (value != CONFIRM)
		refuse_sequence(flash);
	else if (step == STEP_LOCK)
		set_lock(flash, offset, false);
	else if (step == STEP_ERASE)
		erase_block(flash, offset);
	else
		program(flash, state->buffer_start, state->buffer, state->buffer_size);
}

/* --- the device --- */

static void power_up(struct flash *flash)
{
	memset(&flash->state, 0, sizeof(flash->state));
	flash->state.status = STATUS_READY;
}

static void flash_reset(void *device)
{
	struct flash *flash = device;

	power_up(flash);
	show_array(flash);
}

static bool flash_valid(const void *device, const void *loaded)
{
	const struct flash *flash = device;
	const struct flash_state *state = loaded;
	bool filling = state->step == STEP_FIRST || state->step == STEP_DATA;

	/* The buffer lies in the chip, and its bytes are counted. */
	return state->buffer_start < flash->config.size &&
	       (state->step < STEP_DATA ||
		       state->buffer_size <= flash->config.size - state->buffer_start) &&
	       (!filling || (state->buffer_left && state->buffer_left <= state->buffer_size)) &&
	       (state->step != STEP_BUFFER || state->buffer_size);
}

/* The contents came with guest memory, and are not what the store has. */
static void flash_loaded(void *device)
{
	struct flash *flash = device;

	show_array(flash);
	flash->changed_from = 0;
	flash->changed_end = flash->config.size;
}

static bool flash_quiesce(void *device, uint64_t deadline_ns)
{
	keep_changes(device);
	return true;
}

static void flash_destroy(void *device)
{
	free(device);
}

static const struct state_field flash_fields[] = {
	STATE_FIELD(struct flash_state, mode, 0, MODES - 1),
	STATE_FIELD(struct flash_state, step, 0, STEPS - 1),
	STATE_ANY(struct flash_state, status),
	STATE_FIELD(struct flash_state, buffer_left, 0, FLASH_BUFFER),
	STATE_FIELD(struct flash_state, buffer_size, 0, FLASH_BUFFER),
	STATE_FIELD(struct flash_state, buffer_start, 0, FLASH_MOST - 1),
	STATE_ARRAY_ANY(struct flash_state, buffer),
	STATE_ARRAY_ANY(struct flash_state, locked),
	STATE_END,
};

static const struct device_ops flash_device = {
	.name = "flash",
	.version = 1,
	DEVICE_STATE(struct flash, flash_fields),
	.reset = flash_reset,
	.valid = flash_valid,
	.loaded = flash_loaded,
	.quiesce = flash_quiesce,
	.destroy = flash_destroy,
};

int flash_create(const struct flash_config *config)
{
	static const struct io_ops ops = {.read = flash_read, .write = flash_write, .width = 1};
	struct memory *memory = config->memory;
	struct flash *flash;
	int error;

	if (!config->size || config->size % FLASH_BLOCK || config->size > FLASH_MOST) {
		log_error(
			"%s: flash memory has whole blocks of 4 KiB, 8 MiB at most", config->name);
		return -EINVAL;
	}
	flash = calloc(1, sizeof(*flash));
	if (!flash) {
		log_error("out of memory for %s", config->name);
		return -ENOMEM;
	}
	flash->config = *config;
	power_up(flash);
	error = memory_rom_add(memory, config->gpa, config->size, config->contents, config->name);
	if (!error)
		error = io_space_add(
			&memory->mmio, config->gpa, config->size, config->name, &ops, flash);
	if (error) {
		free(flash);
		return error;
	}
	flash->array = memory_ram_pointer(memory, config->gpa);
	device_list_add(config->devices, &flash->device, &flash_device, config->instance);
	return 0;
}
