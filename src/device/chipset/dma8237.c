#include "device/chipset/dma8237.h"

#include "base/bits.h"

#include <string.h>

#define FIRST_PORTS  0x00 /* 16 ports, a byte each */
#define SECOND_PORTS 0xc0 /* 16 registers, two bytes each */
#define PAGE_PORTS   0x80

enum { STATUS = 8, REQUEST, MASK_ONE, MODE, CLEAR_FLIP_FLOP, MASTER_CLEAR, CLEAR_MASK, MASK_ALL };

#define COMMAND_DISABLE BIT(2)

#define MODE_TYPE(mode) ((mode) >> 2 & 3)
#define MODE_AUTO       BIT(4)
#define MODE_DOWN       BIT(5)
enum { TYPE_VERIFY, TYPE_TO_MEMORY, TYPE_FROM_MEMORY };

/* Where in the page registers each channel's is. */
static const uint8_t page_index[8] = {7, 3, 1, 2, 15, 11, 9, 10};

/* --- moving --- */

/* The address of the channel's next byte: bytes do not carry into the page register. */
static uint32_t address_of(const struct dma8237 *dma, unsigned channel, bool odd)
{
	uint32_t page = dma->state.page[page_index[channel]];
	uint32_t address = dma->state.chip[channel / 4].channel[channel % 4].address;

	return channel < 4 ? page << 16 | address : (page & 0xfe) << 16 | address << 1 | odd;
}

static bool may_move(const struct dma8237 *dma, unsigned channel, bool to_memory)
{
	const struct dma8237_chip *chip = &dma->state.chip[channel / 4];
	const struct dma8237_chip *cascade = &dma->state.chip[1];
	unsigned type = MODE_TYPE(chip->channel[channel % 4].mode);

	if ((chip->command & COMMAND_DISABLE) || (chip->mask & 1u << channel % 4))
		return false;
	if (channel < 4 && ((cascade->command & COMMAND_DISABLE) || (cascade->mask & 1)))
		return false;
	return type == TYPE_VERIFY || type == (to_memory ? TYPE_TO_MEMORY : TYPE_FROM_MEMORY);
}

static void reach_count(struct dma8237_chip *chip, unsigned index)
{
	struct dma8237_channel *channel = &chip->channel[index];

	chip->reached |= (uint8_t)(1u << index);
	if (channel->mode & MODE_AUTO) {
		channel->address = channel->base_address;
		channel->count = channel->base_count;
	} else {
		chip->mask |= (uint8_t)(1u << index);
	}
}

static void move_byte(
	const struct dma8237 *dma, unsigned channel, uint8_t *byte, bool odd, bool to_memory)
{
	const struct dma8237_chip *chip = &dma->state.chip[channel / 4];
	uint32_t address = address_of(dma, channel, odd);

	if (MODE_TYPE(chip->channel[channel % 4].mode) == TYPE_VERIFY)
		return;
	if (to_memory)
		memory_write(dma->memory, address, byte, 1);
	else if (memory_read(dma->memory, address, byte, 1) < 0)
		*byte = 0xff;
}

/* Many bytes at once, where they are one after the other and the count is not reached. */
static uint32_t move_run(
	const struct dma8237 *dma, unsigned index, uint8_t *buffer, uint32_t size, bool to_memory)
{
	const struct dma8237_channel *channel = &dma->state.chip[index / 4].channel[index % 4];
	uint32_t run = MIN(size, MIN(channel->count, 0xffffu - channel->address));
	uint32_t address = address_of(dma, index, false);

	if (index >= 4 || channel->mode & MODE_DOWN || MODE_TYPE(channel->mode) == TYPE_VERIFY)
		return 0;
	if (to_memory)
		return memory_write(dma->memory, address, buffer, run) < 0 ? 0 : run;
	return memory_read(dma->memory, address, buffer, run) < 0 ? 0 : run;
}

uint32_t dma8237_move(struct dma8237 *dma, unsigned index, void *buffer, uint32_t size,
	bool to_memory, bool *terminal)
{
	struct dma8237_chip *chip = &dma->state.chip[index / 4];
	struct dma8237_channel *channel = &chip->channel[index % 4];
	unsigned unit = index < 4 ? 1 : 2;
	uint8_t *bytes = buffer;
	uint32_t done;

	*terminal = false;
	if (!may_move(dma, index, to_memory))
		return 0;
	done = move_run(dma, index, bytes, size, to_memory);
	channel->address = (uint16_t)(channel->address + done);
	channel->count = (uint16_t)(channel->count - done);
	while (size - done >= unit && !*terminal) {
		for (unsigned i = 0; i < unit; i++)
			move_byte(dma, index, bytes + done + i, i, to_memory);
		done += unit;
		channel->address = (uint16_t)(channel->mode & MODE_DOWN ? channel->address - 1
									: channel->address + 1);
		*terminal = channel->count-- == 0;
	}
	if (*terminal)
		reach_count(chip, index % 4);
	return done;
}

void dma8237_connect(
	struct dma8237 *dma, unsigned channel, void (*ready)(void *opaque), void *opaque)
{
	dma->user[channel].ready = ready;
	dma->user[channel].opaque = opaque;
}

/* --- registers --- */

static void tell_users(struct dma8237 *dma)
{
	for (unsigned i = 0; i < ARRAY_SIZE(dma->user); i++)
		if (dma->user[i].ready)
			dma->user[i].ready(dma->user[i].opaque);
}

static void master_clear(struct dma8237_chip *chip)
{
	chip->command = chip->reached = 0;
	chip->high = false;
	chip->mask = 15;
}

static uint8_t read_word_part(struct dma8237_chip *chip, uint16_t word)
{
	chip->high = !chip->high;
	return (uint8_t)(chip->high ? word : word >> 8);
}

static void write_word_part(struct dma8237_chip *chip, uint16_t *word, uint8_t value)
{
	*word = (uint16_t)(chip->high ? (*word & 0xff) | value << 8 : (*word & 0xff00) | value);
	chip->high = !chip->high;
}

static uint8_t read_register(struct dma8237 *dma, unsigned chip_index, unsigned index)
{
	struct dma8237_chip *chip = &dma->state.chip[chip_index];
	const struct dma8237_channel *channel = &chip->channel[index / 2 % 4];
	uint8_t reached = chip->reached;

	if (index < STATUS)
		return read_word_part(chip, index & 1 ? channel->count : channel->address);
	if (index == STATUS) {
		chip->reached = 0;
		return reached;
	}
	return index == MASK_ALL ? chip->mask | 0xf0 : 0;
}

static void write_count_or_address(struct dma8237_chip *chip, unsigned index, uint8_t value)
{
	struct dma8237_channel *channel = &chip->channel[index / 2];

	if (index & 1) {
		write_word_part(chip, &channel->base_count, value);
		channel->count = channel->base_count;
	} else {
		write_word_part(chip, &channel->base_address, value);
		channel->address = channel->base_address;
	}
}

static void write_register(struct dma8237 *dma, unsigned chip_index, unsigned index, uint8_t value)
{
	struct dma8237_chip *chip = &dma->state.chip[chip_index];
	uint8_t bit = (uint8_t)(1u << (value & 3));

	switch (index) {
	case STATUS: /* the command register */
		chip->command = value;
		break;
	case REQUEST: /* memory to memory: not on a PC */
		break;
	case MASK_ONE:
		chip->mask = (uint8_t)(value & 4 ? chip->mask | bit : chip->mask & ~bit);
		break;
	case MODE:
		chip->channel[value & 3].mode = value & 0xfc;
		break;
	case CLEAR_FLIP_FLOP:
		chip->high = false;
		break;
	case MASTER_CLEAR:
		master_clear(chip);
		break;
	case CLEAR_MASK:
		chip->mask = 0;
		break;
	case MASK_ALL:
		chip->mask = value & 15;
		break;
	default:
		write_count_or_address(chip, index, value);
	}
	tell_users(dma);
}

/* --- ports --- */

static uint64_t first_read(void *opaque, uint64_t offset, unsigned size)
{
	return read_register(opaque, 0, (unsigned)offset);
}

static void first_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	write_register(opaque, 0, (unsigned)offset, (uint8_t)value);
}

static uint64_t second_read(void *opaque, uint64_t offset, unsigned size)
{
	return offset & 1 ? UINT64_MAX : read_register(opaque, 1, (unsigned)offset / 2);
}

static void second_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	if (!(offset & 1))
		write_register(opaque, 1, (unsigned)offset / 2, (uint8_t)value);
}

static uint64_t page_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct dma8237 *dma = opaque;

	return dma->state.page[offset];
}

static void page_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct dma8237 *dma = opaque;

	dma->state.page[offset] = (uint8_t)value;
}

/* --- the device --- */

static void dma_reset(void *device)
{
	struct dma8237 *dma = device;

	memset(&dma->state, 0, sizeof(dma->state));
	for (unsigned i = 0; i < 2; i++)
		master_clear(&dma->state.chip[i]);
}

/* The cascade: the first controller asks for the bus through the second's channel 0. */
static void dma_firmware_setup(void *device)
{
	struct dma8237_chip *chip = &((struct dma8237 *)device)->state.chip[1];

	chip->channel[0].mode = 0xc0;
	chip->mask = 14;
}

static const struct state_field channel_fields[] = {
	STATE_ANY(struct dma8237_channel, base_address),
	STATE_ANY(struct dma8237_channel, base_count),
	STATE_ANY(struct dma8237_channel, address),
	STATE_ANY(struct dma8237_channel, count),
	STATE_ANY(struct dma8237_channel, mode),
	STATE_END,
};

static const struct state_field chip_fields[] = {
	STATE_STRUCTS(struct dma8237_chip, channel, channel_fields),
	STATE_ANY(struct dma8237_chip, command),
	STATE_FIELD(struct dma8237_chip, mask, 0, 15),
	STATE_FIELD(struct dma8237_chip, reached, 0, 15),
	STATE_BOOL(struct dma8237_chip, high),
	STATE_END,
};

static const struct state_field dma_fields[] = {
	STATE_STRUCTS(struct dma8237_state, chip, chip_fields),
	STATE_ARRAY_ANY(struct dma8237_state, page),
	STATE_END,
};

static const struct device_ops dma_device = {
	.name = "dma8237",
	.version = 1,
	DEVICE_STATE(struct dma8237, dma_fields),
	.reset = dma_reset,
	.firmware_setup = dma_firmware_setup,
};

int dma8237_init(struct dma8237 *dma, struct device_list *devices, struct io_space *ports,
	struct memory *memory)
{
	static const struct io_ops first = {.read = first_read, .write = first_write, .width = 1};
	static const struct io_ops second = {
		.read = second_read, .write = second_write, .width = 1};
	static const struct io_ops page = {.read = page_read, .write = page_write, .width = 1};
	int error;

	*dma = (struct dma8237){.memory = memory};
	dma_reset(dma);
	device_list_add(devices, &dma->device, &dma_device, 0);
	error = io_space_add(ports, FIRST_PORTS, 16, "DMA controller 1", &first, dma);
	if (!error)
		error = io_space_add(ports, SECOND_PORTS, 32, "DMA controller 2", &second, dma);
	if (!error)
		error = io_space_add(ports, PAGE_PORTS, 16, "DMA pages", &page, dma);
	return error;
}
