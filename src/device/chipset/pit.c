/* A channel keeps only the time at which its count was loaded. The current count and the level of
 * its output are computed from the time since then:
 *
 *	mode 0	low until the count is over, then high: "interrupt on terminal count"
 *	mode 1	low for the count after each rising edge of the gate
 *	mode 2	high, but low for the last tick of each period
 *	mode 3	high for the first half of each period, low for the second
 *	mode 4	low for one tick when the count is over
 *	mode 5	as 4, started by the gate
 *
 * A low gate holds the count in modes 0 and 4, and stops it, to start afresh, in 2 and 3. */
#include "device/chipset/pit.h"

#include "base/bits.h"

enum { PORT_COMMAND = 3 };
enum { ACCESS_LATCH = 0, ACCESS_LOW = 1, ACCESS_HIGH = 2, ACCESS_BOTH = 3 };

#define STATUS_OUTPUT BIT(7)
#define STATUS_NULL   BIT(6)

#define SPEAKER_GATE   BIT(0)
#define SPEAKER_DATA   BIT(1)
#define SPEAKER_CHECKS 0x0c   /* parity and channel checks off: stored only */
#define SPEAKER_TOGGLE BIT(4) /* once a memory refresh */
#define SPEAKER_OUTPUT BIT(5)
#define REFRESH_NS     15085

/* The interrupt comes at most about every 50 us: a guest shall not keep the I/O thread busy. */
#define SHORTEST_PERIOD 60

static uint64_t ticks_now(const struct pit *pit)
{
	return clock_ns_to_ticks(clock_ns(pit->clock), PIT_HZ);
}

static bool is_periodic(const struct pit_channel *channel)
{
	return channel->mode == 2 || channel->mode == 3;
}

/* Modes 1 and 5 begin to count at a rising edge of the gate, and ignore its level. */
static bool gate_triggers(const struct pit_channel *channel)
{
	return channel->mode == 1 || channel->mode == 5;
}

static uint64_t elapsed(const struct pit_channel *channel, uint64_t now)
{
	return channel->running ? now - channel->start_tick : channel->held_ticks;
}

/* Mode 3: how long the high half of a period is. An odd tick belongs to it. */
static uint32_t high_half(const struct pit_channel *channel)
{
	return (channel->count + 1) / 2;
}

static bool output(const struct pit_channel *channel, uint64_t now)
{
	uint64_t ticks = elapsed(channel, now);

	if (channel->null_count)
		return channel->mode != 0;
	switch (channel->mode) {
	case 0:
		return ticks >= channel->count;
	case 1:
		return !channel->running || ticks >= channel->count;
	case 2:
		return !channel->gate || ticks % channel->count != channel->count - 1;
	case 3:
		return !channel->gate || ticks % channel->count < high_half(channel);
	default:
		return ticks != channel->count;
	}
}

static uint16_t to_bcd(uint32_t value)
{
	return (uint16_t)(value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 |
			  value / 1000 % 10 << 12);
}

static uint32_t from_bcd(uint16_t bcd)
{
	return (bcd & 15) + (bcd >> 4 & 15) * 10u + (bcd >> 8 & 15) * 100u + (bcd >> 12) * 1000u;
}

/* Mode 3 counts by two, twice a period, from the count or, where that is odd, from one below. */
static uint32_t square_wave_counter(const struct pit_channel *channel, uint64_t ticks)
{
	uint32_t phase = (uint32_t)(ticks % channel->count), half = high_half(channel);

	return (channel->count & ~1u) - 2 * (phase < half ? phase : phase - half);
}

/* What the counting element holds, as it is read. */
static uint16_t counter(const struct pit_channel *channel, uint64_t now)
{
	uint64_t ticks = elapsed(channel, now);
	uint32_t wrap = channel->bcd ? 10000 : 0x10000, value;

	if (channel->mode == 2)
		value = (uint32_t)(channel->count - ticks % channel->count);
	else if (channel->mode == 3)
		value = square_wave_counter(channel, ticks);
	else /* goes on below 0 when it is over */
		value = (uint32_t)((channel->count + wrap - ticks % wrap) % wrap);
	return channel->bcd ? to_bcd(value) : (uint16_t)value;
}

static void set_irq(struct pit *pit, bool level)
{
	pit->state.irq = level;
	irq_set(&pit->irq, level);
}

static void arm_timer(struct pit *pit)
{
	timer_cancel(&pit->timer);
	if (pit->state.edge_tick)
		timer_arm(&pit->timer, clock_ticks_to_ns(pit->state.edge_tick, PIT_HZ));
}

/* The PIT clock at which channel 0's output rises next; 0: it does not. */
static uint64_t next_edge(const struct pit_channel *channel, uint64_t now)
{
	uint64_t ticks = elapsed(channel, now), rise, period = channel->count;

	if (channel->null_count || !channel->running)
		return 0;
	if (period < SHORTEST_PERIOD)
		period *= SHORTEST_PERIOD / period;
	if (is_periodic(channel))
		rise = ticks - ticks % period + period;
	else if (channel->mode == 0)
		rise = channel->count;
	else if (channel->mode == 4)
		rise = channel->count + 1;
	else
		return 0;
	return rise > ticks ? channel->start_tick + rise : 0;
}

static void arm_irq(struct pit *pit, uint64_t now)
{
	pit->state.edge_tick = next_edge(&pit->state.channel[0], now);
	arm_timer(pit);
}

/* The low phase before the edge was not worth a wake-up of its own. Periods that were missed,
 * because the host was busy elsewhere, are gone: they do not pile up. */
static void irq_expired(void *opaque)
{
	struct pit *pit = opaque;

	set_irq(pit, false);
	set_irq(pit, true);
	arm_irq(pit, ticks_now(pit));
}

static void start(struct pit *pit, struct pit_channel *channel, uint64_t now)
{
	channel->running = true;
	channel->start_tick = now;
	channel->held_ticks = 0;
	if (channel == &pit->state.channel[0]) {
		set_irq(pit, output(channel, now));
		arm_irq(pit, now);
	}
}

static void load_count(struct pit *pit, struct pit_channel *channel, uint16_t value)
{
	uint32_t count = channel->bcd ? from_bcd(value) : value;

	channel->count = count ? count : channel->bcd ? 10000 : 0x10000;
	/* A count of 1 is not allowed in these modes; it would never show. */
	if (is_periodic(channel) && channel->count == 1)
		channel->count = 2;
	channel->null_count = false;
	if (gate_triggers(channel))
		return;
	start(pit, channel, ticks_now(pit));
	if (!channel->gate)
		channel->running = false;
}

static void set_gate(struct pit *pit, struct pit_channel *channel, bool gate)
{
	uint64_t now = ticks_now(pit);
	bool rising = gate && !channel->gate, falling = !gate && channel->gate;

	if (falling && !gate_triggers(channel) && channel->running) {
		channel->held_ticks = is_periodic(channel) ? 0 : elapsed(channel, now);
		channel->running = false;
	}
	channel->gate = gate;
	if (!rising || channel->null_count)
		return;
	if (gate_triggers(channel) || is_periodic(channel)) {
		start(pit, channel, now);
	} else {
		channel->start_tick = now - channel->held_ticks;
		channel->running = true;
	}
}

static void latch_count(struct pit *pit, struct pit_channel *channel)
{
	if (channel->count_latched)
		return;
	channel->latched_count = counter(channel, ticks_now(pit));
	channel->count_latched = true;
}

static void latch_status(struct pit *pit, struct pit_channel *channel)
{
	if (channel->status_latched)
		return;
	channel->latched_status =
		(uint8_t)(channel->access << 4 | channel->mode << 1 | channel->bcd);
	if (output(channel, ticks_now(pit)))
		channel->latched_status |= STATUS_OUTPUT;
	if (channel->null_count)
		channel->latched_status |= STATUS_NULL;
	channel->status_latched = true;
}

static void read_back(struct pit *pit, uint8_t command)
{
	for (unsigned i = 0; i < 3; i++) {
		if (!(command & (2 << i)))
			continue;
		if (!(command & BIT(5)))
			latch_count(pit, &pit->state.channel[i]);
		if (!(command & BIT(4)))
			latch_status(pit, &pit->state.channel[i]);
	}
}

static void write_command(struct pit *pit, uint8_t command)
{
	unsigned select = command >> 6, mode = command >> 1 & 7;
	struct pit_channel *channel;

	if (select == 3) {
		read_back(pit, command);
		return;
	}
	channel = &pit->state.channel[select];
	if ((command >> 4 & 3) == ACCESS_LATCH) {
		latch_count(pit, channel);
		return;
	}
	channel->access = command >> 4 & 3;
	channel->mode = (uint8_t)(mode > 5 ? mode - 4 : mode);
	channel->bcd = command & 1;
	channel->null_count = true;
	channel->running = false;
	channel->held_ticks = 0;
	channel->write_high_next = channel->read_high_next = false;
	channel->count_latched = channel->status_latched = false;
	if (select == 0) {
		pit->state.edge_tick = 0;
		arm_timer(pit);
		set_irq(pit, output(channel, 0));
	}
}

static void write_count(struct pit *pit, struct pit_channel *channel, uint8_t value)
{
	if (channel->access == ACCESS_LOW) {
		load_count(pit, channel, value);
	} else if (channel->access == ACCESS_HIGH) {
		load_count(pit, channel, (uint16_t)(value << 8));
	} else if (channel->write_high_next) {
		channel->write_high_next = false;
		load_count(pit, channel, (uint16_t)(channel->write_low | value << 8));
	} else {
		channel->write_low = value;
		channel->write_high_next = true;
	}
}

static uint8_t read_count(struct pit *pit, struct pit_channel *channel)
{
	uint16_t value;
	bool high = channel->access == ACCESS_HIGH;

	if (channel->status_latched) {
		channel->status_latched = false;
		return channel->latched_status;
	}
	value = channel->count_latched ? channel->latched_count : counter(channel, ticks_now(pit));
	if (channel->access == ACCESS_BOTH) {
		high = channel->read_high_next;
		channel->read_high_next = !high;
	}
	/* A latched count is used up with its last byte. */
	if (channel->access != ACCESS_BOTH || high)
		channel->count_latched = false;
	return (uint8_t)(high ? value >> 8 : value);
}

static uint64_t pit_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pit *pit = opaque;

	if (offset == PORT_COMMAND)
		return 0xff; /* write-only: nothing drives the bus */
	return read_count(pit, &pit->state.channel[offset]);
}

static void pit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pit *pit = opaque;

	if (offset == PORT_COMMAND)
		write_command(pit, (uint8_t)value);
	else
		write_count(pit, &pit->state.channel[offset], (uint8_t)value);
}

static uint64_t speaker_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pit *pit = opaque;
	const struct pit_channel *channel = &pit->state.channel[2];
	uint8_t value = pit->state.checks;

	if (channel->gate)
		value |= SPEAKER_GATE;
	if (pit->state.speaker_data)
		value |= SPEAKER_DATA;
	if (clock_ns(pit->clock) / REFRESH_NS & 1)
		value |= SPEAKER_TOGGLE;
	if (output(channel, ticks_now(pit)))
		value |= SPEAKER_OUTPUT;
	return value;
}

static void speaker_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pit *pit = opaque;

	pit->state.checks = value & SPEAKER_CHECKS;
	pit->state.speaker_data = value & SPEAKER_DATA;
	set_gate(pit, &pit->state.channel[2], value & SPEAKER_GATE);
}

static void pit_reset(void *device)
{
	struct pit *pit = device;

	pit->state = (struct pit_state){0};
	arm_timer(pit);
	/* The data sheet leaves the channels undefined until they are programmed; in this state
	 * they cause no interrupt. */
	for (unsigned i = 0; i < 3; i++)
		pit->state.channel[i] = (struct pit_channel){.count = 0x10000,
			.mode = 3,
			.access = ACCESS_BOTH,
			.null_count = true,
			.gate = i != 2};
	set_irq(pit, false);
}

static void pit_loaded(void *device)
{
	struct pit *pit = device;

	irq_set(&pit->irq, pit->state.irq);
	arm_timer(pit);
}

static void pit_destroy(void *device)
{
	struct pit *pit = device;

	timer_cancel(&pit->timer);
}

static const struct state_field channel_fields[] = {
	STATE_ANY(struct pit_channel, start_tick),
	STATE_ANY(struct pit_channel, held_ticks),
	STATE_FIELD(struct pit_channel, count, 1, 0x10000),
	STATE_ANY(struct pit_channel, latched_count),
	STATE_FIELD(struct pit_channel, mode, 0, 5),
	STATE_BOOL(struct pit_channel, bcd),
	STATE_FIELD(struct pit_channel, access, ACCESS_LOW, ACCESS_BOTH),
	STATE_BOOL(struct pit_channel, null_count),
	STATE_BOOL(struct pit_channel, gate),
	STATE_BOOL(struct pit_channel, running),
	STATE_ANY(struct pit_channel, write_low),
	STATE_BOOL(struct pit_channel, write_high_next),
	STATE_BOOL(struct pit_channel, read_high_next),
	STATE_BOOL(struct pit_channel, count_latched),
	STATE_BOOL(struct pit_channel, status_latched),
	STATE_ANY(struct pit_channel, latched_status),
	STATE_END,
};

static const struct state_field pit_fields[] = {
	STATE_STRUCTS(struct pit_state, channel, channel_fields),
	STATE_ANY(struct pit_state, edge_tick),
	STATE_BOOL(struct pit_state, irq),
	STATE_BOOL(struct pit_state, speaker_data),
	STATE_FIELD(struct pit_state, checks, 0, SPEAKER_CHECKS),
	STATE_END,
};

static const struct device_ops pit_device = {
	.name = "pit",
	.version = 2,
	DEVICE_STATE(struct pit, pit_fields),
	.reset = pit_reset,
	.loaded = pit_loaded,
	.destroy = pit_destroy,
};

int pit_init(struct pit *pit, struct device_list *devices, struct io_space *ports,
	struct irq_line irq, struct event_loop *loop, struct clock *clock)
{
	static const struct io_ops pit_ops = {.read = pit_read, .write = pit_write, .width = 1};
	static const struct io_ops speaker_ops = {
		.read = speaker_read, .write = speaker_write, .width = 1};
	int error;

	*pit = (struct pit){.irq = irq, .clock = clock};
	timer_init(&pit->timer, loop, irq_expired, pit);
	device_list_add(devices, &pit->device, &pit_device, 0);
	pit_reset(pit);
	error = io_space_add(ports, 0x40, 4, "PIT", &pit_ops, pit);
	if (!error)
		error = io_space_add(ports, 0x61, 1, "speaker", &speaker_ops, pit);
	return error;
}
