#include "device/chipset/pic.h"

#include "base/bits.h"

#include <string.h>

#define CASCADE 2
#define NONE    8

#define ICW1        BIT(4)
#define ICW1_ICW4   BIT(0)
#define ICW1_SINGLE BIT(1)
#define ICW4_AEOI   BIT(1)
#define ICW4_SFNM   BIT(4)
#define OCW3        BIT(3)

static bool is_master(const struct pic *pic, const struct pic_chip *chip)
{
	return chip == &pic->state.chip[0];
}

/* The position in the priority order (0: most urgent) of the most urgent bit; NONE. */
static unsigned priority_of(const struct pic_chip *chip, uint8_t bits)
{
	unsigned position = 0;

	if (!bits)
		return NONE;
	while (!(bits & (1 << ((position + chip->priority_add) & 7))))
		position++;
	return position;
}

/* What IRR shows: latched edges, and the current levels of level-triggered inputs. */
static uint8_t requests(const struct pic_chip *chip)
{
	return (chip->irr & ~chip->elcr) | (chip->lines & chip->elcr);
}

/* The input that the chip would interrupt for now, or -1. */
static int pending_input(const struct pic *pic, const struct pic_chip *chip)
{
	unsigned wanted = priority_of(chip, requests(chip) & ~chip->imr);
	uint8_t in_service = chip->isr;

	if (chip->special_mask)
		in_service &= ~chip->imr;
	/* A more urgent request of the slave may interrupt the slave's own handler. */
	if (chip->special_fully_nested && is_master(pic, chip))
		in_service &= ~(1 << CASCADE);
	if (wanted >= priority_of(chip, in_service))
		return -1;
	return (int)((wanted + chip->priority_add) & 7);
}

static void update(struct pic *pic)
{
	struct pic_chip *master = &pic->state.chip[0], *slave = &pic->state.chip[1];

	slave->output = pending_input(pic, slave) >= 0;
	/* The slave's output falls in each INTA cycle and rises again for the next request; that
	 * comes to the same as a level. */
	master->irr = (master->irr & ~(1 << CASCADE)) | (slave->output << CASCADE);
	master->output = pending_input(pic, master) >= 0;
	irq_set(&pic->output, master->output);
}

void pic_set_irq(struct pic *pic, unsigned irq, bool level)
{
	struct pic_chip *chip = &pic->state.chip[irq >> 3 & 1];
	uint8_t bit = 1 << (irq & 7);

	if (irq > 15 || irq == CASCADE)
		return;
	/* An edge stays latched even if the line falls before it is acknowledged: timers pulse. */
	if (level && !(chip->lines & bit))
		chip->irr |= bit;
	chip->lines = level ? chip->lines | bit : chip->lines & ~bit;
	update(pic);
}

static void acknowledge(struct pic_chip *chip, unsigned input)
{
	if (!chip->auto_eoi)
		chip->isr |= 1 << input;
	else if (chip->rotate_on_auto_eoi)
		chip->priority_add = (input + 1) & 7;
	chip->irr &= ~(1 << input);
}

uint8_t pic_acknowledge(struct pic *pic)
{
	struct pic_chip *master = &pic->state.chip[0], *slave = &pic->state.chip[1];
	int input = pending_input(pic, master);
	uint8_t vector;

	if (input == CASCADE) {
		int slave_input = pending_input(pic, slave);

		if (slave_input >= 0)
			acknowledge(slave, (unsigned)slave_input);
		vector = slave->vector_base + (slave_input < 0 ? 7 : slave_input);
	} else {
		vector = master->vector_base + (input < 0 ? 7 : input);
	}
	if (input >= 0)
		acknowledge(master, (unsigned)input);
	update(pic);
	return vector;
}

static void write_icw1(struct pic_chip *chip, uint8_t value)
{
	/* Initialisation keeps the levels of the lines, and ELCR, which is not part of the
	 * 8259A. */
	*chip = (struct pic_chip){.lines = chip->lines,
		.elcr = chip->elcr,
		.init_step = 2,
		.init_icw4 = value & ICW1_ICW4,
		.single = value & ICW1_SINGLE};
}

static void write_icw(struct pic_chip *chip, uint8_t value)
{
	switch (chip->init_step) {
	case 2:
		chip->vector_base = value & 0xf8;
		chip->init_step = !chip->single ? 3 : chip->init_icw4 ? 4 : 0;
		break;
	case 3: /* ICW3 tells where the slave is; a PC's wiring is fixed */
		chip->init_step = chip->init_icw4 ? 4 : 0;
		break;
	default:
		chip->auto_eoi = value & ICW4_AEOI;
		chip->special_fully_nested = value & ICW4_SFNM;
		chip->init_step = 0;
	}
}

/* End of interrupt and rotation. */
static void write_ocw2(struct pic_chip *chip, uint8_t value)
{
	bool rotate = value & BIT(7), specific = value & BIT(6), eoi = value & BIT(5);
	unsigned input = value & 7, position;

	if (!eoi && !specific) {
		chip->rotate_on_auto_eoi = rotate;
		return;
	}
	if (eoi && !specific) {
		position =
			priority_of(chip, chip->special_mask ? chip->isr & ~chip->imr : chip->isr);
		if (position == NONE)
			return;
		input = (position + chip->priority_add) & 7;
	}
	if (eoi)
		chip->isr &= ~(1 << input);
	if (rotate)
		chip->priority_add = (input + 1) & 7;
}

static void write_ocw3(struct pic_chip *chip, uint8_t value)
{
	if (value & BIT(2))
		chip->poll = true;
	if (value & BIT(1))
		chip->read_isr = value & BIT(0);
	if (value & BIT(6))
		chip->special_mask = value & BIT(5);
}

static void chip_write(struct pic *pic, struct pic_chip *chip, bool data_port, uint8_t value)
{
	if (data_port && chip->init_step)
		write_icw(chip, value);
	else if (data_port)
		chip->imr = value;
	else if (value & ICW1)
		write_icw1(chip, value);
	else if (value & OCW3)
		write_ocw3(chip, value);
	else
		write_ocw2(chip, value);
	update(pic);
}

static uint8_t poll(struct pic *pic, struct pic_chip *chip)
{
	int input = pending_input(pic, chip);

	chip->poll = false;
	if (input < 0)
		return 0;
	acknowledge(chip, (unsigned)input);
	update(pic);
	return (uint8_t)(0x80 | input);
}

static uint8_t chip_read(struct pic *pic, struct pic_chip *chip, bool data_port)
{
	if (chip->poll)
		return poll(pic, chip);
	if (data_port)
		return chip->imr;
	return chip->read_isr ? chip->isr : requests(chip);
}

static uint64_t master_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pic *pic = opaque;

	return chip_read(pic, &pic->state.chip[0], offset);
}

static void master_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pic *pic = opaque;

	chip_write(pic, &pic->state.chip[0], offset, (uint8_t)value);
}

static uint64_t slave_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pic *pic = opaque;

	return chip_read(pic, &pic->state.chip[1], offset);
}

static void slave_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pic *pic = opaque;

	chip_write(pic, &pic->state.chip[1], offset, (uint8_t)value);
}

static uint64_t elcr_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pic *pic = opaque;

	return pic->state.chip[offset].elcr;
}

static void elcr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	/* The timer, the keyboard, the cascade, the RTC and the FPU are edge-triggered for good. */
	static const uint8_t selectable[2] = {0xf8, 0xde};
	struct pic *pic = opaque;

	pic->state.chip[offset].elcr = value & selectable[offset];
	update(pic);
}

static void pic_reset(void *device)
{
	struct pic *pic = device;

	for (unsigned i = 0; i < 2; i++)
		pic->state.chip[i] = (struct pic_chip){.lines = pic->state.chip[i].lines};
	update(pic);
}

static void pic_firmware_setup(void *device)
{
	struct pic *pic = device;

	for (unsigned i = 0; i < 2; i++) {
		write_icw1(&pic->state.chip[i], ICW1 | ICW1_ICW4);
		write_icw(&pic->state.chip[i], i ? 0x70 : 0x08);
		write_icw(&pic->state.chip[i], i ? CASCADE : 1 << CASCADE);
		write_icw(&pic->state.chip[i], 1);
	}
	/* Open: the cascade, and 10 and 11, which PCs leave to PCI. Nothing drives them here. */
	pic->state.chip[0].imr = 0xfb;
	pic->state.chip[1].imr = 0xf3;
	pic->state.chip[0].elcr = (uint8_t)pic->level_triggered;
	pic->state.chip[1].elcr = (uint8_t)(pic->level_triggered >> 8);
	update(pic);
}

static void pic_loaded(void *device)
{
	update(device);
}

static const struct state_field chip_fields[] = {
	STATE_ANY(struct pic_chip, irr),
	STATE_ANY(struct pic_chip, isr),
	STATE_ANY(struct pic_chip, imr),
	STATE_ANY(struct pic_chip, lines),
	STATE_ANY(struct pic_chip, elcr),
	STATE_ANY(struct pic_chip, vector_base),
	STATE_FIELD(struct pic_chip, priority_add, 0, 7),
	STATE_FIELD(struct pic_chip, init_step, 0, 4),
	STATE_BOOL(struct pic_chip, init_icw4),
	STATE_BOOL(struct pic_chip, single),
	STATE_BOOL(struct pic_chip, read_isr),
	STATE_BOOL(struct pic_chip, poll),
	STATE_BOOL(struct pic_chip, special_mask),
	STATE_BOOL(struct pic_chip, auto_eoi),
	STATE_BOOL(struct pic_chip, rotate_on_auto_eoi),
	STATE_BOOL(struct pic_chip, special_fully_nested),
	STATE_BOOL(struct pic_chip, output),
	STATE_END,
};

static const struct state_field pic_fields[] = {
	STATE_STRUCTS(struct pic_state, chip, chip_fields),
	STATE_END,
};

static const struct device_ops pic_device = {
	.name = "pic",
	.version = 1,
	DEVICE_STATE(struct pic, pic_fields),
	.reset = pic_reset,
	.firmware_setup = pic_firmware_setup,
	.loaded = pic_loaded,
};

int pic_init(struct pic *pic, struct device_list *devices, struct io_space *ports,
	struct irq_line output, uint16_t level_triggered)
{
	static const struct io_ops master = {
		.read = master_read, .write = master_write, .width = 1};
	static const struct io_ops slave = {.read = slave_read, .write = slave_write, .width = 1};
	static const struct io_ops elcr = {.read = elcr_read, .write = elcr_write, .width = 1};
	int error;

	*pic = (struct pic){.output = output, .level_triggered = level_triggered};
	device_list_add(devices, &pic->device, &pic_device, 0);
	pic_reset(pic);
	error = io_space_add(ports, 0x20, 2, "PIC", &master, pic);
	if (!error)
		error = io_space_add(ports, 0xa0, 2, "PIC", &slave, pic);
	if (!error)
		error = io_space_add(ports, 0x4d0, 2, "PIC edge/level control", &elcr, pic);
	return error;
}
