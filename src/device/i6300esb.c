#include "device/i6300esb.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BAR_SIZE     16
#define PRELOAD_MASK UINT32_C(0xfffff)
#define CLOCK_HZ     33000000
#define CONFIG_BITS  (I6300ESB_CONFIG_INTERRUPT | I6300ESB_CONFIG_FAST | I6300ESB_CONFIG_NO_OUTPUT)
#define LOCK_BITS    (I6300ESB_LOCK_LOCKED | I6300ESB_LOCK_ENABLED | I6300ESB_LOCK_FREE_RUNNING)

enum keys { NO_KEY, FIRST_KEY, BOTH_KEYS };

struct i6300esb_state {
	uint32_t preload[2];
	uint16_t config;
	uint8_t lock;
	uint8_t keys;  /* enum keys: what has been written to RELOAD */
	uint8_t stage; /* that is counted down: 0 or 1 */
	bool counting;
	bool interrupt;  /* the first stage has ended */
	bool timed_out;  /* outlives the reset that it is the cause of */
	uint64_t end_ns; /* machine time; where it is counting */
};

struct i6300esb {
	struct device device;
	struct i6300esb_state state;
	struct pci_function function;
	struct timer timer;
	void (*expired)(void *opaque);
	void *opaque;
};

static void update_interrupt(struct i6300esb *esb)
{
	bool wired = !(esb->state.config & I6300ESB_CONFIG_INTERRUPT);

	pci_set_intx(&esb->function, wired && esb->state.interrupt);
}

/* --- counting --- */

static uint64_t stage_ns(const struct i6300esb_state *state)
{
	unsigned shift = state->config & I6300ESB_CONFIG_FAST ? 5 : 15;
	/* Counting to zero takes a tick even where there is nothing to count. */
	uint64_t ticks = MAX(state->preload[state->stage], UINT32_C(1));

	return (ticks << shift) * (NS_PER_SECOND / 1000) / (CLOCK_HZ / 1000);
}

static void begin_stage(struct i6300esb *esb, uint8_t stage)
{
	esb->state.stage = stage;
	esb->state.counting = true;
	esb->state.end_ns = clock_ns(event_loop_clock(esb->timer.loop)) + stage_ns(&esb->state);
	timer_arm(&esb->timer, esb->state.end_ns);
}

static void stop_counting(struct i6300esb *esb)
{
	esb->state.counting = false;
	timer_cancel(&esb->timer);
}

static void stage_ends(void *opaque)
{
	struct i6300esb *esb = opaque;
	struct i6300esb_state *state = &esb->state;

	if (state->stage == 0 && !(state->lock & I6300ESB_LOCK_FREE_RUNNING)) {
		state->interrupt = true;
		update_interrupt(esb);
		begin_stage(esb, 1);
		return;
	}
	stop_counting(esb);
	if (state->lock & I6300ESB_LOCK_FREE_RUNNING)
		begin_stage(esb, 0);
	if (state->config & I6300ESB_CONFIG_NO_OUTPUT)
		return;
	state->timed_out = true;
	esb->expired(esb->opaque);
}

/* --- registers in configuration space --- */

static void lock_written(struct i6300esb *esb, uint8_t value)
{
	struct i6300esb_state *state = &esb->state;
	bool was = state->lock & I6300ESB_LOCK_ENABLED;

	if (state->lock & I6300ESB_LOCK_LOCKED)
		return;
	state->lock = value & LOCK_BITS;
	if (!(state->lock & I6300ESB_LOCK_ENABLED))
		stop_counting(esb);
	else if (!was)
		begin_stage(esb, 0);
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
	struct i6300esb *esb = opaque;
	const uint8_t *config = esb->function.state.config;

	if (offset < I6300ESB_CONFIG + 2 && offset + size > I6300ESB_CONFIG) {
		memcpy(&esb->state.config, config + I6300ESB_CONFIG, 2);
		esb->state.config &= CONFIG_BITS;
		update_interrupt(esb);
	}
	if (offset <= I6300ESB_LOCK && offset + size > I6300ESB_LOCK)
		lock_written(esb, config[I6300ESB_LOCK]);
}

/* A locked register reads as it was, whatever has been written. */
static void config_read(void *opaque, unsigned offset, unsigned size)
{
	struct i6300esb *esb = opaque;

	esb->function.state.config[I6300ESB_LOCK] = esb->state.lock;
}

/* --- registers in the BAR --- */

static uint64_t esb_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct i6300esb_state *state = &((const struct i6300esb *)opaque)->state;

	switch (offset & ~UINT64_C(3)) {
	case I6300ESB_STATUS:
		return state->interrupt;
	case I6300ESB_RELOAD:
		return state->timed_out ? I6300ESB_RELOAD_TIMED_OUT : 0;
	default:
		return 0;
	}
}

/* Both keys are there, and are used up. */
static bool take_keys(struct i6300esb_state *state)
{
	bool both = state->keys == BOTH_KEYS;

	state->keys = NO_KEY;
	return both;
}

static void reload_written(struct i6300esb *esb, uint32_t value)
{
	struct i6300esb_state *state = &esb->state;

	if (state->keys == NO_KEY && value == I6300ESB_KEY1) {
		state->keys = FIRST_KEY;
	} else if (state->keys == FIRST_KEY && value == I6300ESB_KEY2) {
		state->keys = BOTH_KEYS;
	} else if (take_keys(state)) {
		if ((value & I6300ESB_RELOAD_RELOAD) && (state->lock & I6300ESB_LOCK_ENABLED))
			begin_stage(esb, 0);
		if (value & I6300ESB_RELOAD_TIMED_OUT)
			state->timed_out = false;
	}
}

static void esb_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i6300esb *esb = opaque;

	switch (offset) {
	case I6300ESB_TIMER1:
	case I6300ESB_TIMER2:
		if (take_keys(&esb->state))
			esb->state.preload[offset / 4] = (uint32_t)value & PRELOAD_MASK;
		break;
	case I6300ESB_STATUS:
		if (take_keys(&esb->state) && (value & 1)) {
			esb->state.interrupt = false;
			update_interrupt(esb);
		}
		break;
	case I6300ESB_RELOAD:
		reload_written(esb, (uint32_t)value);
		break;
	default:
		break;
	}
}

/* --- the device --- */

static void esb_reset(void *device)
{
	struct i6300esb *esb = device;

	stop_counting(esb);
	esb->state = (struct i6300esb_state){
		.preload = {PRELOAD_MASK, PRELOAD_MASK}, .timed_out = esb->state.timed_out};
	update_interrupt(esb);
}

static void esb_loaded(void *device)
{
	struct i6300esb *esb = device;

	timer_cancel(&esb->timer);
	if (esb->state.counting)
		timer_arm(&esb->timer, esb->state.end_ns);
	update_interrupt(esb);
}

static void esb_destroy(void *device)
{
	struct i6300esb *esb = device;

	timer_cancel(&esb->timer);
	free(esb);
}

static const struct state_field esb_fields[] = {
	STATE_ARRAY(struct i6300esb_state, preload, 0, PRELOAD_MASK),
	STATE_FIELD(struct i6300esb_state, config, 0, CONFIG_BITS),
	STATE_FIELD(struct i6300esb_state, lock, 0, LOCK_BITS),
	STATE_FIELD(struct i6300esb_state, keys, 0, BOTH_KEYS),
	STATE_FIELD(struct i6300esb_state, stage, 0, 1),
	STATE_BOOL(struct i6300esb_state, counting),
	STATE_BOOL(struct i6300esb_state, interrupt),
	STATE_BOOL(struct i6300esb_state, timed_out),
	STATE_ANY(struct i6300esb_state, end_ns),
	STATE_END,
};

static const struct device_ops esb_device = {
	.name = "i6300esb",
	.version = 1,
	DEVICE_STATE(struct i6300esb, esb_fields),
	.reset = esb_reset,
	.loaded = esb_loaded,
	.destroy = esb_destroy,
};

static void add_registers(struct i6300esb *esb)
{
	const uint16_t config_bits = CONFIG_BITS, zero = 0;
	const uint8_t lock_bits = LOCK_BITS;

	pci_add_registers(&esb->function, I6300ESB_CONFIG, &zero, &config_bits, 2);
	pci_add_registers(&esb->function, I6300ESB_LOCK, &zero, &lock_bits, 1);
}

int i6300esb_create(struct pci_bus *bus, struct device_list *devices, int slot,
	void (*expired)(void *opaque), void *opaque)
{
	static const struct io_ops registers = {.read = esb_read, .write = esb_write, .width = 4};
	struct i6300esb *esb = calloc(1, sizeof(*esb));
	struct pci_description description = {
		.name = "i6300esb",
		.vendor = I6300ESB_VENDOR,
		.device = I6300ESB_DEVICE,
		.class_code = 0x088000, /* a system peripheral, other */
		.intx = true,
		.conventional = true,
		.bar = {{.kind = PCI_BAR_MEMORY32,
			.size = BAR_SIZE,
			.ops = &registers,
			.opaque = esb}},
		.opaque = esb,
		.reset = esb_reset,
		.capability_read = config_read,
		.capability_written = config_written,
	};
	int error;

	if (!esb) {
		log_error("out of memory for i6300esb");
		return -ENOMEM;
	}
	esb->expired = expired;
	esb->opaque = opaque;
	timer_init(&esb->timer, pci_bus_config(bus)->loop, stage_ends, esb);
	error = pci_add(bus, &esb->function, slot, &description);
	if (error) {
		free(esb);
		return error;
	}
	add_registers(esb);
	device_list_add(devices, &esb->device, &esb_device, esb->function.device.instance);
	esb_reset(esb);
	return 0;
}
