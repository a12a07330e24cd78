/* The counter is computed from the machine clock. A timer remembers the machine time of its next
 * match, which changes when the guest writes a register that it depends on, and when it matches. A
 * host timer runs only while the guest gets an interrupt from it. */
#include "device/chipset/hpet.h"

#include "base/bits.h"

#define TICK_NS 10
#define TICK_FS UINT64_C(10000000)
#define NEVER   UINT64_MAX
/* Matches that are further away are never: the machine's time in ns has 64 bits. */
#define LONGEST (UINT64_C(1) << 59)
/* Periodic interrupts come at most so often: a guest shall not keep the I/O thread busy. */
#define SHORTEST_NS (HPET_SHORTEST_TICKS * TICK_NS)

enum {
	CAPABILITIES = 0x000,
	CONFIG = 0x010,
	STATUS = 0x020,
	COUNTER = 0x0f0,
	TIMERS = 0x100,
	TIMER_SIZE = 0x20,
	TIMER_CONFIG = 0x00,
	TIMER_COMPARATOR = 0x08,
};

#define CONFIG_RUNS   BIT(0)
#define CONFIG_LEGACY BIT(1)
#define CONFIG_STORED (CONFIG_RUNS | CONFIG_LEGACY)

#define TIMER_LEVEL        BIT(1)
#define TIMER_INTERRUPTS   BIT(2)
#define TIMER_PERIODIC     BIT(3)
#define TIMER_CAN_PERIODIC BIT(4)
#define TIMER_IS_64_BITS   BIT(5)
#define TIMER_SETS_VALUE   BIT(6)
#define TIMER_32_BITS      BIT(8)
#define TIMER_ROUTE        UINT64_C(0x3e00)
#define TIMER_ROUTE_SHIFT  9
#define TIMER_STORED                                                                               \
	(TIMER_LEVEL | TIMER_INTERRUPTS | TIMER_PERIODIC | TIMER_SETS_VALUE | TIMER_32_BITS |      \
		TIMER_ROUTE)
#define TIMER_CAPABILITIES (TIMER_CAN_PERIODIC | TIMER_IS_64_BITS)
#define TIMER_ROUTES       ((BIT(HPET_GSIS) - 1) << HPET_FIRST_GSI)

static uint64_t ticks_now(const struct hpet *hpet)
{
	return clock_ns(hpet->clock) / TICK_NS;
}

static bool runs(const struct hpet *hpet)
{
	return hpet->state.config & CONFIG_RUNS;
}

bool hpet_replaces_legacy(const struct hpet *hpet)
{
	return hpet->state.config & CONFIG_LEGACY;
}

static uint64_t counter_at(const struct hpet *hpet, uint64_t tick)
{
	const struct hpet_state *state = &hpet->state;

	return runs(hpet) ? state->counter + (tick - state->start_tick) : state->counter;
}

static struct hpet_timer_state *state_of(const struct hpet_timer *timer)
{
	return &timer->hpet->state.timers[timer - timer->hpet->timers];
}

static uint64_t mask_of(const struct hpet_timer_state *state)
{
	return state->config & TIMER_32_BITS ? UINT32_MAX : UINT64_MAX;
}

static bool is_periodic(const struct hpet_timer_state *state)
{
	return (state->config & TIMER_PERIODIC) && state->period;
}

/* --- the lines --- */

/* NULL: the guest has chosen a route that leads nowhere. */
static struct irq_line *line_of(struct hpet_timer *timer)
{
	struct hpet *hpet = timer->hpet;
	unsigned number = (unsigned)(timer - hpet->timers);
	unsigned gsi = (state_of(timer)->config & TIMER_ROUTE) >> TIMER_ROUTE_SHIFT;

	if (hpet_replaces_legacy(hpet) && number < ARRAY_SIZE(hpet->legacy))
		return &hpet->legacy[number];
	if (gsi < HPET_FIRST_GSI || gsi >= HPET_FIRST_GSI + HPET_GSIS)
		return NULL;
	return &timer->lines[gsi - HPET_FIRST_GSI];
}

static bool asserts(struct hpet_timer *timer)
{
	const struct hpet_timer_state *state = state_of(timer);

	return (timer->hpet->state.status >> (timer - timer->hpet->timers) & 1) &&
	       (state->config & TIMER_INTERRUPTS) && (state->config & TIMER_LEVEL);
}

/* Drive all lines as the registers say. */
static void update_lines(struct hpet *hpet)
{
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		struct hpet_timer *timer = &hpet->timers[i];
		const struct irq_line *own = line_of(timer);

		for (unsigned j = 0; j < HPET_GSIS; j++)
			irq_set(&timer->lines[j], asserts(timer) && &timer->lines[j] == own);
		if (i < ARRAY_SIZE(hpet->legacy))
			irq_set(&hpet->legacy[i], asserts(timer) && &hpet->legacy[i] == own);
	}
}

static void signal_match(struct hpet_timer *timer)
{
	struct hpet *hpet = timer->hpet;
	struct irq_line *line = line_of(timer);

	if (state_of(timer)->config & TIMER_LEVEL) {
		hpet->state.status |= UINT32_C(1) << (timer - hpet->timers);
		update_lines(hpet);
	} else if (line) {
		irq_set(line, true);
		irq_set(line, false);
	}
}

/* --- matches --- */

static void arm(struct hpet_timer *timer)
{
	const struct hpet_timer_state *state = state_of(timer);

	if (runs(timer->hpet) && (state->config & TIMER_INTERRUPTS) && state->match_tick != NEVER)
		timer_arm(&timer->timer, MAX(state->match_tick * TICK_NS, state->quiet_ns));
	else
		timer_cancel(&timer->timer);
}

/* The counter, the comparator or the mode has changed. */
static void find_match(struct hpet_timer *timer)
{
	struct hpet_timer_state *state = state_of(timer);
	uint64_t now = ticks_now(timer->hpet);
	uint64_t left = (state->comparator - counter_at(timer->hpet, now)) & mask_of(state);

	state->match_tick = left < LONGEST ? now + left : NEVER;
	arm(timer);
}

/* How many periods end up to now, the one that ends at match_tick included. */
static uint64_t periods_over(const struct hpet_timer_state *state, uint64_t now)
{
	return state->match_tick > now ? 0 : (now - state->match_tick) / state->period + 1;
}

/* Go on to the match after now. Those that were missed are not made up for. */
static void next_match(struct hpet_timer_state *state, uint64_t now)
{
	uint64_t step;

	if (is_periodic(state)) {
		step = periods_over(state, now) * state->period;
		state->comparator = (state->comparator + step) & mask_of(state);
	} else {
		step = state->config & TIMER_32_BITS ? UINT64_C(1) << 32 : NEVER;
	}
	state->match_tick = step < LONGEST ? state->match_tick + step : NEVER;
}

static void expired(void *opaque)
{
	struct hpet_timer *timer = opaque;
	struct hpet_timer_state *state = state_of(timer);

	if (is_periodic(state))
		state->quiet_ns = clock_ns(timer->hpet->clock) + SHORTEST_NS;
	signal_match(timer);
	next_match(state, ticks_now(timer->hpet));
	arm(timer);
}

/* A match that is over and has not been acted upon is, before the guest changes the timer: there
 * was no need of a host timer, or it is late. */
static void catch_up(struct hpet_timer *timer)
{
	struct hpet_timer_state *state = state_of(timer);
	uint64_t now = ticks_now(timer->hpet);

	if (!runs(timer->hpet) || state->match_tick > now)
		return;
	if (timer_armed(&timer->timer))
		expired(timer);
	else
		next_match(state, now);
}

/* --- registers --- */

/* Every register is 64 bits wide, and may be accessed by halves. */
static uint64_t with_half(uint64_t old, uint64_t offset, uint64_t value, unsigned size)
{
	if (size == 8)
		return value;
	if (offset & 4)
		return (old & UINT32_MAX) | value << 32;
	return (old & ~(uint64_t)UINT32_MAX) | (value & UINT32_MAX);
}

static uint64_t read_timer(struct hpet_timer *timer, uint64_t offset)
{
	const struct hpet_timer_state *state = state_of(timer);
	uint64_t missed = 0;

	switch (offset) {
	case TIMER_CONFIG:
		return TIMER_ROUTES << 32 | TIMER_CAPABILITIES | state->config;
	case TIMER_COMPARATOR:
		/* The interrupt may be late; the register is not. */
		if (runs(timer->hpet) && is_periodic(state))
			missed = periods_over(state, ticks_now(timer->hpet)) * state->period;
		return (state->comparator + missed) & mask_of(state);
	}
	return 0;
}

static uint64_t read_register(struct hpet *hpet, uint64_t offset)
{
	unsigned timer = (unsigned)((offset - TIMERS) / TIMER_SIZE);

	switch (offset) {
	case CAPABILITIES:
		return TICK_FS << 32 | HPET_BLOCK_ID;
	case CONFIG:
		return hpet->state.config;
	case STATUS:
		return hpet->state.status;
	case COUNTER:
		return counter_at(hpet, ticks_now(hpet));
	}
	if (offset >= TIMERS && timer < HPET_TIMERS)
		return read_timer(&hpet->timers[timer], offset % TIMER_SIZE);
	return 0;
}

static uint64_t hpet_read(void *opaque, uint64_t offset, unsigned size)
{
	uint64_t value;

	if (size < 4)
		return 0; /* not allowed (2.2) */
	value = read_register(opaque, offset & ~UINT64_C(7));
	return offset & 4 ? value >> 32 : value;
}

static void write_config(struct hpet *hpet, uint32_t value)
{
	uint32_t changed = (hpet->state.config ^ value) & CONFIG_STORED;
	uint64_t now = ticks_now(hpet);

	if (changed & CONFIG_RUNS) {
		hpet->state.counter = counter_at(hpet, now);
		hpet->state.start_tick = now;
	}
	hpet->state.config ^= changed;
	for (unsigned i = 0; i < HPET_TIMERS && (changed & CONFIG_RUNS); i++)
		find_match(&hpet->timers[i]);
	if (changed & CONFIG_LEGACY) {
		hpet->legacy_changed(hpet->opaque);
		update_lines(hpet);
	}
}

static void write_timer_config(struct hpet_timer *timer, uint32_t value)
{
	struct hpet_timer_state *state = state_of(timer);

	catch_up(timer);
	state->config = value & TIMER_STORED;
	state->comparator &= mask_of(state);
	state->period &= mask_of(state);
	find_match(timer);
	update_lines(timer->hpet);
}

/* A write to a periodic timer's comparator sets the period; before, where that was asked for, the
 * comparator, too, and once only. */
static void write_comparator(
	struct hpet_timer *timer, uint64_t offset, uint64_t value, unsigned size)
{
	struct hpet_timer_state *state = state_of(timer);
	bool periodic = state->config & TIMER_PERIODIC;

	catch_up(timer);
	if (periodic)
		state->period = with_half(state->period, offset, value, size) & mask_of(state);
	if (!periodic || (state->config & TIMER_SETS_VALUE))
		state->comparator =
			with_half(state->comparator, offset, value, size) & mask_of(state);
	state->config &= (uint32_t)~TIMER_SETS_VALUE;
	find_match(timer);
}

static void write_timer(struct hpet_timer *timer, uint64_t offset, uint64_t value, unsigned size)
{
	switch (offset & ~UINT64_C(4)) {
	case TIMER_CONFIG:
		if (!(offset & 4))
			write_timer_config(timer, (uint32_t)value);
		break;
	case TIMER_COMPARATOR:
		write_comparator(timer, offset, value, size);
		break;
	}
}

static void hpet_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct hpet *hpet = opaque;
	unsigned timer = (unsigned)((offset - TIMERS) / TIMER_SIZE);

	if (size < 4)
		return;
	if (offset == CONFIG) {
		write_config(hpet, (uint32_t)value);
	} else if (offset == STATUS) {
		hpet->state.status &= (uint32_t)~value;
		update_lines(hpet);
	} else if ((offset & ~UINT64_C(4)) == COUNTER && !runs(hpet)) {
		hpet->state.counter = with_half(hpet->state.counter, offset, value, size);
	} else if (offset >= TIMERS && timer < HPET_TIMERS) {
		write_timer(&hpet->timers[timer], offset % TIMER_SIZE, value, size);
	}
}

/* --- the device --- */

static void hpet_reset(void *device)
{
	struct hpet *hpet = device;
	bool legacy = hpet_replaces_legacy(hpet);

	hpet->state = (struct hpet_state){0};
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		hpet->state.timers[i] =
			(struct hpet_timer_state){.comparator = UINT64_MAX, .match_tick = NEVER};
		timer_cancel(&hpet->timers[i].timer);
	}
	update_lines(hpet);
	if (legacy)
		hpet->legacy_changed(hpet->opaque);
}

static bool hpet_valid(const void *device, const void *loaded)
{
	const struct hpet *hpet = device;
	const struct hpet_state *state = loaded;

	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		const struct hpet_timer_state *timer = &state->timers[i];

		if ((timer->config & ~TIMER_STORED) || (timer->comparator & ~mask_of(timer)) ||
			(timer->period & ~mask_of(timer)) ||
			(timer->match_tick != NEVER && timer->match_tick > 2 * LONGEST) ||
			timer->quiet_ns > clock_ns(hpet->clock) + SHORTEST_NS)
			return false;
	}
	return state->start_tick <= ticks_now(hpet);
}

static void hpet_loaded(void *device)
{
	struct hpet *hpet = device;

	hpet->legacy_changed(hpet->opaque);
	update_lines(hpet);
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		arm(&hpet->timers[i]);
}

static void hpet_destroy(void *device)
{
	struct hpet *hpet = device;

	for (unsigned i = 0; i < HPET_TIMERS; i++)
		timer_cancel(&hpet->timers[i].timer);
}

static const struct state_field timer_fields[] = {
	STATE_ANY(struct hpet_timer_state, config),
	STATE_ANY(struct hpet_timer_state, comparator),
	STATE_ANY(struct hpet_timer_state, period),
	STATE_ANY(struct hpet_timer_state, match_tick),
	STATE_ANY(struct hpet_timer_state, quiet_ns),
	STATE_END,
};

static const struct state_field hpet_fields[] = {
	STATE_FIELD(struct hpet_state, config, 0, CONFIG_STORED),
	STATE_FIELD(struct hpet_state, status, 0, BIT(HPET_TIMERS) - 1),
	STATE_ANY(struct hpet_state, counter),
	STATE_ANY(struct hpet_state, start_tick),
	STATE_STRUCTS(struct hpet_state, timers, timer_fields),
	STATE_END,
};

static const struct device_ops hpet_device = {
	.name = "hpet",
	.version = 1,
	DEVICE_STATE(struct hpet, hpet_fields),
	.reset = hpet_reset,
	.valid = hpet_valid,
	.loaded = hpet_loaded,
	.destroy = hpet_destroy,
};

int hpet_init(struct hpet *hpet, struct device_list *devices, struct io_space *mmio,
	const struct irq_line gsis[HPET_GSIS], const struct irq_line legacy[2],
	struct event_loop *loop, const struct clock *clock, void (*legacy_changed)(void *opaque),
	void *opaque)
{
	static const struct io_ops ops = {.read = hpet_read, .write = hpet_write};

	*hpet = (struct hpet){.clock = clock,
		.legacy = {legacy[0], legacy[1]},
		.legacy_changed = legacy_changed,
		.opaque = opaque};
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		hpet->timers[i].hpet = hpet;
		timer_init(&hpet->timers[i].timer, loop, expired, &hpet->timers[i]);
		for (unsigned j = 0; j < HPET_GSIS; j++)
			hpet->timers[i].lines[j] = gsis[j];
	}
	device_list_add(devices, &hpet->device, &hpet_device, 0);
	hpet_reset(hpet);
	return io_space_add(mmio, HPET_BASE, HPET_SIZE, "HPET", &ops, hpet);
}
