#include "device/edu.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define BAR_SIZE     MIB
#define DMA_NS       (NS_PER_SECOND / 10) /* so long a transfer takes */
#define ADDRESS_MASK (BIT(28) - 1)        /* of addresses in memory: it has 28 lines */
#define FACTORIAL_0  34                   /* from there on the lower 32 bits are all zero */

struct edu_state {
	uint32_t inverted, factorial, status, interrupts;
	uint64_t source, target, count, command;
	uint64_t done_ns; /* when the transfer ends, where command has EDU_DMA_START */
	uint8_t buffer[EDU_BUFFER_SIZE];
};

struct edu {
	struct device device;
	struct edu_state state;
	struct pci_function function;
	struct timer timer;
};

static void update_interrupt(struct edu *edu)
{
	pci_set_intx(&edu->function, edu->state.interrupts != 0);
}

/* By a message, where the driver wants those. */
static void raise_interrupt(struct edu *edu, uint32_t bits)
{
	edu->state.interrupts |= bits;
	if (edu->state.interrupts)
		pci_notify(&edu->function, 0);
	update_interrupt(edu);
}

static uint32_t factorial(uint32_t n)
{
	uint32_t product = 1;

	for (uint32_t i = 2; i <= MIN(n, FACTORIAL_0); i++)
		product *= i;
	return product;
}

/* --- DMA --- */

static bool in_buffer(uint64_t address, uint64_t count)
{
	return address >= EDU_BUFFER && count <= EDU_BUFFER_SIZE &&
	       address - EDU_BUFFER <= EDU_BUFFER_SIZE - count;
}

/* A transfer that would leave the buffer, or has no memory at its other end, moves nothing. */
static void transfer(struct edu *edu)
{
	struct edu_state *state = &edu->state;
	struct dma *dma = &edu->function.dma;

	if (state->command & EDU_DMA_TO_RAM) {
		if (in_buffer(state->source, state->count))
			dma_write(dma, state->target & ADDRESS_MASK,
				state->buffer + (state->source - EDU_BUFFER), state->count);
	} else if (in_buffer(state->target, state->count)) {
		dma_read(dma, state->source & ADDRESS_MASK,
			state->buffer + (state->target - EDU_BUFFER), state->count);
	}
}

static void transfer_ends(void *opaque)
{
	struct edu *edu = opaque;

	transfer(edu);
	edu->state.command &= ~(uint64_t)EDU_DMA_START;
	if (edu->state.command & EDU_DMA_INTERRUPT)
		raise_interrupt(edu, EDU_INTERRUPT_DMA);
}

static void start_transfer(struct edu *edu, uint64_t command)
{
	const struct clock *clock = event_loop_clock(edu->timer.loop);

	edu->state.command = command;
	if (!(command & EDU_DMA_START))
		return;
	edu->state.done_ns = clock_ns(clock) + DMA_NS;
	timer_arm(&edu->timer, edu->state.done_ns);
}

/* --- registers --- */

/* A register of 8 bytes, NULL for none; *shift: where in it an access of 4 bytes begins. */
static uint64_t *wide_register(struct edu_state *state, uint64_t offset, unsigned *shift)
{
	*shift = offset & 4 ? 32 : 0;
	switch (offset & ~UINT64_C(4)) {
	case EDU_DMA_SOURCE:
		return &state->source;
	case EDU_DMA_TARGET:
		return &state->target;
	case EDU_DMA_COUNT:
		return &state->count;
	case EDU_DMA_COMMAND:
		return &state->command;
	default:
		return NULL;
	}
}

static bool good_access(uint64_t offset, unsigned size)
{
	return offset % size == 0 && (size == 4 || (size == 8 && offset >= EDU_DMA_SOURCE));
}

static uint64_t edu_read(void *opaque, uint64_t offset, unsigned size)
{
	struct edu_state *state = &((struct edu *)opaque)->state;
	unsigned shift;
	uint64_t *wide = wide_register(state, offset, &shift);

	if (!good_access(offset, size))
		return UINT64_MAX;
	if (wide)
		return *wide >> shift;
	switch (offset) {
	case EDU_ID:
		return EDU_ID_VALUE;
	case EDU_INVERT:
		return state->inverted;
	case EDU_FACTORIAL:
		return state->factorial;
	case EDU_STATUS:
		return state->status;
	case EDU_INTERRUPTS:
		return state->interrupts;
	default:
		return UINT64_MAX;
	}
}

/* While a transfer is under way its registers stay. */
static void write_wide(
	struct edu *edu, uint64_t *wide, unsigned shift, uint64_t value, unsigned size)
{
	if (edu->state.command & EDU_DMA_START)
		return;
	if (size == 4)
		value = (*wide & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)(uint32_t)value
									     << shift;
	if (wide == &edu->state.command)
		start_transfer(edu, value);
	else
		*wide = value;
}

static void edu_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct edu *edu = opaque;
	unsigned shift;
	uint64_t *wide = wide_register(&edu->state, offset, &shift);

	if (!good_access(offset, size))
		return;
	if (wide) {
		write_wide(edu, wide, shift, value, size);
		return;
	}
	switch (offset) {
	case EDU_INVERT:
		edu->state.inverted = ~(uint32_t)value;
		break;
	case EDU_FACTORIAL:
		edu->state.factorial = factorial((uint32_t)value);
		if (edu->state.status & EDU_STATUS_INTERRUPT)
			raise_interrupt(edu, EDU_INTERRUPT_FACTORIAL);
		break;
	case EDU_STATUS:
		edu->state.status = (uint32_t)value & EDU_STATUS_INTERRUPT;
		break;
	case EDU_RAISE:
		raise_interrupt(edu, (uint32_t)value);
		break;
	case EDU_ACKNOWLEDGE:
		edu->state.interrupts &= ~(uint32_t)value;
		update_interrupt(edu);
		break;
	default:
		break;
	}
}

/* --- the device --- */

static void edu_reset(void *device)
{
	struct edu *edu = device;

	timer_cancel(&edu->timer);
	edu->state = (struct edu_state){0};
	update_interrupt(edu);
}

static void edu_loaded(void *device)
{
	struct edu *edu = device;

	timer_cancel(&edu->timer);
	if (edu->state.command & EDU_DMA_START)
		timer_arm(&edu->timer, edu->state.done_ns);
	update_interrupt(edu);
}

static void edu_destroy(void *device)
{
	struct edu *edu = device;

	timer_cancel(&edu->timer);
	free(edu);
}

static const struct state_field edu_fields[] = {
	STATE_ANY(struct edu_state, inverted),
	STATE_ANY(struct edu_state, factorial),
	STATE_FIELD(struct edu_state, status, 0, EDU_STATUS_INTERRUPT),
	STATE_ANY(struct edu_state, interrupts),
	STATE_ANY(struct edu_state, source),
	STATE_ANY(struct edu_state, target),
	STATE_ANY(struct edu_state, count),
	STATE_ANY(struct edu_state, command),
	STATE_ANY(struct edu_state, done_ns),
	STATE_ARRAY_ANY(struct edu_state, buffer),
	STATE_END,
};

static const struct device_ops edu_device = {
	.name = "edu",
	.version = 1,
	DEVICE_STATE(struct edu, edu_fields),
	.reset = edu_reset,
	.loaded = edu_loaded,
	.destroy = edu_destroy,
};

int edu_create(struct pci_bus *bus, struct device_list *devices, int slot)
{
	static const struct io_ops registers = {.read = edu_read, .write = edu_write};
	struct edu *edu = calloc(1, sizeof(*edu));
	struct pci_description description = {
		.name = "edu",
		.vendor = EDU_VENDOR,
		.device = EDU_DEVICE,
		.class_code = 0x00ff00,
		.revision = 0x10,
		.intx = true,
		.msi = true,
		.bar = {{.kind = PCI_BAR_MEMORY32,
			.size = BAR_SIZE,
			.ops = &registers,
			.opaque = edu}},
		.opaque = edu,
		.reset = edu_reset,
	};
	int error;

	if (!edu) {
		log_error("out of memory for edu");
		return -ENOMEM;
	}
	timer_init(&edu->timer, pci_bus_config(bus)->loop, transfer_ends, edu);
	error = pci_add(bus, &edu->function, slot, &description);
	if (error) {
		free(edu);
		return error;
	}
	device_list_add(devices, &edu->device, &edu_device, edu->function.device.instance);
	return 0;
}
