/* The clock's registers are not ticked: they are computed from the machine clock when they are
 * read, and the flags of register C (periodic, alarm, update-ended) are brought up to date when it
 * is. Timers run only while their interrupt is enabled and has not been raised already. */
#include "device/chipset/rtc.h"

#include "base/bits.h"

#define SECOND_NS     ((int64_t)NS_PER_SECOND) /* signed: a guest may set a time before 1970 */
#define DAY_S         86400
#define OSCILLATOR_HZ 32768
#define UPDATE_NS     244000 /* UIP is on for so long before each second */

enum {
	SECONDS = 0,
	SECONDS_ALARM = 1,
	MINUTES = 2,
	MINUTES_ALARM = 3,
	HOURS = 4,
	HOURS_ALARM = 5,
	DAY_OF_WEEK = 6,
	DAY = 7,
	MONTH = 8,
	YEAR = 9,
	REGISTER_A = 10,
	REGISTER_B = 11,
	REGISTER_C = 12,
	REGISTER_D = 13,
};

#define A_UIP          BIT(7)
#define A_DIVIDER      0x70
#define A_DIVIDER_RUNS 0x20
#define B_SET          BIT(7)
#define B_24_HOURS     BIT(1)
#define B_BINARY       BIT(2)
#define FLAG_UPDATE    BIT(4) /* in C; the enable bits in B have the same places */
#define FLAG_ALARM     BIT(5)
#define FLAG_PERIODIC  BIT(6)
#define FLAG_ANY       BIT(7)
#define FLAGS          (FLAG_UPDATE | FLAG_ALARM | FLAG_PERIODIC)
#define HOURS_PM       BIT(7)

/* --- time --- */

/* The host's wall clock, which the guest's differs from by whole seconds. */
static int64_t wall_ns(const struct rtc *rtc)
{
	return (int64_t)(rtc->state.wall_base_ns + clock_ns(rtc->clock));
}

/* Seconds since 1970 by the guest's clock. */
static int64_t rtc_seconds(const struct rtc *rtc)
{
	return wall_ns(rtc) / SECOND_NS + rtc->state.offset_s;
}

/* The machine time at which the guest's clock shows `second`. */
static uint64_t machine_ns_of(const struct rtc *rtc, int64_t second)
{
	int64_t ns = (second - rtc->state.offset_s) * SECOND_NS - (int64_t)rtc->state.wall_base_ns;

	return (uint64_t)MAX(ns, 0);
}

/* Days since 1970 of a date of the Gregorian calendar. Month and day may be out of range. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
	int64_t era_year;

	year += (month - 1) / 12;
	month = (month - 1) % 12 + 1;
	/* Years from March to February, so that the leap day comes last. */
	era_year = month <= 2 ? year - 1 : year;
	return era_year * 365 + era_year / 4 - era_year / 100 + era_year / 400 +
	       (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1 - 719468;
}

static void date_from_days(int64_t days, int *year, int *month, int *day)
{
	int64_t in_era = (days + 719468) % 146097, era = (days + 719468) / 146097;
	int64_t in_era_year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	int64_t in_year = in_era - (365 * in_era_year + in_era_year / 4 - in_era_year / 100);
	int64_t shifted_month = (5 * in_year + 2) / 153;

	*day = (int)(in_year - (153 * shifted_month + 2) / 5 + 1);
	*month = (int)(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
	*year = (int)(era * 400 + in_era_year + (*month <= 2));
}

static uint8_t encode(const struct rtc *rtc, int value)
{
	return (uint8_t)(rtc->state.cmos[REGISTER_B] & B_BINARY ? value
								: value / 10 << 4 | value % 10);
}

static int decode(const struct rtc *rtc, uint8_t value)
{
	return rtc->state.cmos[REGISTER_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 15);
}

static uint8_t encode_hours(const struct rtc *rtc, int hours)
{
	if (rtc->state.cmos[REGISTER_B] & B_24_HOURS)
		return encode(rtc, hours);
	return encode(rtc, (hours + 11) % 12 + 1) | (hours >= 12 ? HOURS_PM : 0);
}

static int decode_hours(const struct rtc *rtc, uint8_t value)
{
	if (rtc->state.cmos[REGISTER_B] & B_24_HOURS)
		return decode(rtc, value);
	return decode(rtc, value & (uint8_t)~HOURS_PM) % 12 + (value & HOURS_PM ? 12 : 0);
}

/* Write the time into the registers, as the chip does once a second. */
static void show_time(struct rtc *rtc)
{
	int64_t now = rtc_seconds(rtc);
	int in_day = (int)(now % DAY_S), year, month, day;

	if (rtc->state.cmos[REGISTER_B] & B_SET)
		return;
	date_from_days(now / DAY_S, &year, &month, &day);
	rtc->state.cmos[SECONDS] = encode(rtc, in_day % 60);
	rtc->state.cmos[MINUTES] = encode(rtc, in_day / 60 % 60);
	rtc->state.cmos[HOURS] = encode_hours(rtc, in_day / 3600);
	rtc->state.cmos[DAY_OF_WEEK] = encode(rtc, (int)((now / DAY_S + 4) % 7 + 1));
	rtc->state.cmos[DAY] = encode(rtc, day);
	rtc->state.cmos[MONTH] = encode(rtc, month);
	rtc->state.cmos[YEAR] = encode(rtc, year % 100);
	rtc->state.cmos[RTC_CMOS_CENTURY] = encode(rtc, year / 100);
}

/* The guest wrote the registers: set the clock to what they say. */
static void take_time(struct rtc *rtc)
{
	int year = decode(rtc, rtc->state.cmos[YEAR]) +
		   100 * decode(rtc, rtc->state.cmos[RTC_CMOS_CENTURY]);
	int month = MAX(decode(rtc, rtc->state.cmos[MONTH]), 1);
	int64_t days = days_from_date(year, month, decode(rtc, rtc->state.cmos[DAY]));
	int64_t seconds = days * DAY_S + decode_hours(rtc, rtc->state.cmos[HOURS]) * 3600 +
			  decode(rtc, rtc->state.cmos[MINUTES]) * 60 +
			  decode(rtc, rtc->state.cmos[SECONDS]);

	/* Time before 1970 would need a sign in all that follows; no guest has it. */
	rtc->state.offset_s += MAX(seconds, 0) - rtc_seconds(rtc);
	rtc->state.flags_s = rtc_seconds(rtc);
}

/* --- interrupts --- */

#define EVERY -1 /* the alarm does not care about this field */
#define NEVER -2 /* the alarm waits for a value that the field never has */

/* What the alarm waits for in the field whose alarm register this is. */
static int alarm_field(const struct rtc *rtc, unsigned alarm)
{
	uint8_t wanted = rtc->state.cmos[alarm];
	bool hours = alarm == HOURS_ALARM;
	int value = hours ? decode_hours(rtc, wanted) : decode(rtc, wanted);

	if (wanted >= 0xc0)
		return EVERY;
	/* The chip compares bytes: one that is no encoding of a value never matches. */
	if (value >= (hours ? 24 : 60) ||
		wanted != (hours ? encode_hours(rtc, value) : encode(rtc, value)))
		return NEVER;
	return value;
}

/* The first time from `second` on whose field, `unit` seconds a step, has the wanted value. Where
 * that is later, it is the start of the step. */
static int64_t move_to(int64_t second, int wanted, int unit, int steps)
{
	int have = (int)(second / unit % steps);

	if (wanted == EVERY || wanted == have)
		return second;
	return second - second % unit + (int64_t)((wanted - have + steps) % steps) * unit;
}

/* The first second after `after` at which the alarm goes off; 0 if there is none, ever. */
static int64_t next_alarm(const struct rtc *rtc, int64_t after)
{
	int hour = alarm_field(rtc, HOURS_ALARM), minute = alarm_field(rtc, MINUTES_ALARM);
	int second = alarm_field(rtc, SECONDS_ALARM);
	int64_t when = after + 1;

	if (hour == NEVER || minute == NEVER || second == NEVER)
		return 0;
	/* Moving a field may carry into the larger ones, which sets the smaller ones to 0. */
	when = move_to(when, second, 1, 60);
	when = move_to(when, minute, 60, 60);
	when = move_to(when, hour, 3600, 24);
	when = move_to(when, minute, 60, 60);
	return move_to(when, second, 1, 60);
}

/* Ticks of the oscillator between periodic interrupts; 0: none. */
static uint64_t periodic_ticks(const struct rtc *rtc)
{
	unsigned rate = rtc->state.cmos[REGISTER_A] & 15;

	if (!rate || (rtc->state.cmos[REGISTER_A] & A_DIVIDER) != A_DIVIDER_RUNS)
		return 0;
	return UINT64_C(1) << (rate < 3 ? rate + 6 : rate - 1);
}

static uint64_t periods_now(const struct rtc *rtc)
{
	uint64_t ticks = periodic_ticks(rtc);

	return ticks ? clock_ns_to_ticks(clock_ns(rtc->clock), OSCILLATOR_HZ) / ticks : 0;
}

/* Drive the line as register C says, and arm the timers for flags that are not set yet. */
static void wait_for_flags(struct rtc *rtc)
{
	uint8_t flags = rtc->state.cmos[REGISTER_C];
	/* A flag that is set already needs no timer. */
	uint8_t wanted = rtc->state.cmos[REGISTER_B] & FLAGS & (uint8_t)~flags;
	int64_t alarm = next_alarm(rtc, rtc->state.flags_s);

	irq_set(&rtc->irq, flags & FLAG_ANY);
	timer_cancel(&rtc->periodic_timer);
	timer_cancel(&rtc->second_timer);
	if ((wanted & FLAG_PERIODIC) && periodic_ticks(rtc))
		timer_arm(&rtc->periodic_timer,
			clock_ticks_to_ns((rtc->state.flags_periodic + 1) * periodic_ticks(rtc),
				OSCILLATOR_HZ));
	if (wanted & FLAG_UPDATE)
		timer_arm(&rtc->second_timer, machine_ns_of(rtc, rtc->state.flags_s + 1));
	else if ((wanted & FLAG_ALARM) && alarm)
		timer_arm(&rtc->second_timer, machine_ns_of(rtc, alarm));
}

/* Bring register C up to date. */
static void update_flags(struct rtc *rtc)
{
	struct rtc_state *state = &rtc->state;
	uint8_t *flags = &state->cmos[REGISTER_C], enabled = state->cmos[REGISTER_B] & FLAGS;
	int64_t now = rtc_seconds(rtc), alarm = next_alarm(rtc, state->flags_s);
	uint64_t periods = periods_now(rtc);
	bool interrupted = *flags & FLAG_ANY;

	if (now > state->flags_s && !(state->cmos[REGISTER_B] & B_SET)) {
		*flags |= FLAG_UPDATE;
		if (alarm && alarm <= now)
			*flags |= FLAG_ALARM;
	}
	state->flags_s = now;
	if (periods > state->flags_periodic)
		*flags |= FLAG_PERIODIC;
	state->flags_periodic = periods;
	*flags = (*flags & FLAGS) | (*flags & enabled ? FLAG_ANY : 0);
	wait_for_flags(rtc);
	if ((*flags & FLAG_ANY) && !interrupted && rtc->interrupts)
		rtc->interrupts(rtc->opaque);
}

static void timer_expired(void *opaque)
{
	update_flags(opaque);
}

/* --- registers --- */

static bool is_time(unsigned index)
{
	return index == RTC_CMOS_CENTURY || (index <= YEAR && index != SECONDS_ALARM &&
						    index != MINUTES_ALARM && index != HOURS_ALARM);
}

static uint8_t read_register(struct rtc *rtc)
{
	uint8_t value;

	if (is_time(rtc->state.index))
		show_time(rtc);
	value = rtc->state.cmos[rtc->state.index];
	if (rtc->state.index == REGISTER_A && !(rtc->state.cmos[REGISTER_B] & B_SET) &&
		wall_ns(rtc) % SECOND_NS >= SECOND_NS - UPDATE_NS)
		value |= A_UIP;
	if (rtc->state.index == REGISTER_C) {
		update_flags(rtc);
		value = rtc->state.cmos[REGISTER_C];
		rtc->state.cmos[REGISTER_C] = 0;
		update_flags(rtc);
	}
	return value;
}

static void write_register_b(struct rtc *rtc, uint8_t value)
{
	bool set_before = rtc->state.cmos[REGISTER_B] & B_SET;

	/* The registers stand still from here on, in the format they had ... */
	if (value & B_SET)
		show_time(rtc);
	rtc->state.cmos[REGISTER_B] = value;
	/* ... and count as the time in the format they have now. */
	if (set_before && !(value & B_SET))
		take_time(rtc);
}

static void write_register(struct rtc *rtc, uint8_t value)
{
	update_flags(rtc);
	switch (rtc->state.index) {
	case REGISTER_A:
		rtc->state.cmos[REGISTER_A] = value & (uint8_t)~A_UIP;
		rtc->state.flags_periodic = periods_now(rtc);
		break;
	case REGISTER_B:
		write_register_b(rtc, value);
		break;
	case REGISTER_C:
	case REGISTER_D:
		return;
	default:
		if (!is_time(rtc->state.index)) {
			rtc->state.cmos[rtc->state.index] = value;
			break;
		}
		show_time(rtc);
		rtc->state.cmos[rtc->state.index] = value;
		if (!(rtc->state.cmos[REGISTER_B] & B_SET))
			take_time(rtc);
	}
	update_flags(rtc);
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
	return offset ? read_register(opaque) : 0xff;
}

static void rtc_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct rtc *rtc = opaque;

	if (offset)
		write_register(rtc, (uint8_t)value);
	else
		rtc->state.index =
			value & (RTC_CMOS_SIZE - 1); /* bit 7 masks NMI: nothing raises it */
}

static void put16(struct rtc *rtc, unsigned low_index, uint64_t value)
{
	rtc->state.cmos[low_index] = (uint8_t)value;
	rtc->state.cmos[low_index + 1] = (uint8_t)(value >> 8);
}

/* The checksum by which a BIOS knows that the battery was never empty. */
static void sum_cmos(struct rtc *rtc)
{
	unsigned sum = 0;

	for (unsigned index = 0x10; index < RTC_CMOS_CHECKSUM; index++)
		sum += rtc->state.cmos[index];
	rtc->state.cmos[RTC_CMOS_CHECKSUM] = (uint8_t)(sum >> 8);
	rtc->state.cmos[RTC_CMOS_CHECKSUM + 1] = (uint8_t)sum;
}

/* What firmware looks for. `low` is RAM below 4 GiB, `high` above. */
static void fill_cmos(struct rtc *rtc, uint64_t low, uint64_t high, unsigned cpu_count)
{
	uint64_t extended_kib = MIN((low - MIN(low, MIB)) / KIB, 0xffff);
	uint64_t above_16m = MIN((low - MIN(low, 16 * MIB)) / (64 * KIB), 0xffff);

	rtc->state.cmos[0x14] = 0x06; /* equipment: FPU, PS/2 mouse */
	put16(rtc, 0x15, 640);
	put16(rtc, 0x17, extended_kib);
	put16(rtc, 0x30, extended_kib);
	put16(rtc, 0x34, above_16m);
	put16(rtc, 0x5b, high / (64 * KIB));
	rtc->state.cmos[0x5d] = (uint8_t)(high / (64 * KIB) >> 16);
	rtc->state.cmos[RTC_CMOS_CPU_COUNT] = (uint8_t)(cpu_count - 1);
	sum_cmos(rtc);
}

void rtc_shift(struct rtc *rtc, int64_t seconds)
{
	rtc->state.offset_s += MAX(seconds, -rtc_seconds(rtc));
	rtc->state.flags_s = rtc_seconds(rtc);
}

void rtc_set_cmos(struct rtc *rtc, unsigned index, uint8_t value)
{
	rtc->state.cmos[index % RTC_CMOS_SIZE] = value;
	sum_cmos(rtc);
}

static void rtc_reset(void *device)
{
	struct rtc *rtc = device;

	rtc->state.cmos[REGISTER_B] &= (uint8_t)~FLAGS;
	rtc->state.cmos[REGISTER_C] = 0;
	rtc->state.index = 0;
	update_flags(rtc);
}

/* The battery is not switched off: an alarm goes off. */
static void rtc_sleep(void *device)
{
	struct rtc *rtc = device;

	rtc->state.index = 0;
}

/* Times that the arithmetic here has room for: clocks set up to 35,000 years from now, machines
 * that were started before the year 2116, and that have run for a century. */
#define LARGEST_OFFSET_S (INT64_C(1) << 40)
#define LATEST_BASE_NS   (UINT64_C(1) << 62)
#define LONGEST_RUN_S    (INT64_C(1) << 32)

static bool rtc_valid(const void *device, const void *loaded)
{
	const struct rtc *rtc = device;
	const struct rtc_state *state = loaded;
	uint64_t now_s;
	int64_t start;

	if (state->wall_base_ns > LATEST_BASE_NS || state->offset_s > LARGEST_OFFSET_S ||
		state->offset_s < -LARGEST_OFFSET_S)
		return false;
	/* The guest's clock at machine time 0, and now, when it must be 1970 or later. */
	start = (int64_t)(state->wall_base_ns / NS_PER_SECOND) + state->offset_s;
	now_s = (state->wall_base_ns + clock_ns(rtc->clock)) / NS_PER_SECOND;
	return (int64_t)now_s + state->offset_s >= 0 && state->flags_s >= MAX(start, 0) &&
	       state->flags_s - start <= LONGEST_RUN_S;
}

static void rtc_loaded(void *device)
{
	wait_for_flags(device);
}

static void rtc_destroy(void *device)
{
	struct rtc *rtc = device;

	timer_cancel(&rtc->periodic_timer);
	timer_cancel(&rtc->second_timer);
}

static const struct state_field rtc_fields[] = {
	STATE_ANY(struct rtc_state, wall_base_ns),
	STATE_ANY(struct rtc_state, offset_s),
	STATE_ANY(struct rtc_state, flags_s),
	STATE_ANY(struct rtc_state, flags_periodic),
	STATE_FIELD(struct rtc_state, index, 0, RTC_CMOS_SIZE - 1),
	STATE_ARRAY_ANY(struct rtc_state, cmos),
	STATE_END,
};

static const struct device_ops rtc_device = {
	.name = "rtc",
	.version = 1,
	DEVICE_STATE(struct rtc, rtc_fields),
	.reset = rtc_reset,
	.sleep = rtc_sleep,
	.valid = rtc_valid,
	.loaded = rtc_loaded,
	.destroy = rtc_destroy,
};

int rtc_init(struct rtc *rtc, struct device_list *devices, struct io_space *ports,
	struct irq_line irq, struct event_loop *loop, struct clock *clock, uint64_t low_ram,
	uint64_t high_ram, unsigned cpu_count)
{
	static const struct io_ops ops = {.read = rtc_read, .write = rtc_write, .width = 1};

	*rtc = (struct rtc){.irq = irq, .clock = clock};
	rtc->state.wall_base_ns = clock_wall_base_ns(clock);
	timer_init(&rtc->periodic_timer, loop, timer_expired, rtc);
	timer_init(&rtc->second_timer, loop, timer_expired, rtc);
	device_list_add(devices, &rtc->device, &rtc_device, 0);
	rtc->state.cmos[REGISTER_A] = A_DIVIDER_RUNS | 6; /* 1024 Hz, as firmware sets it */
	rtc->state.cmos[REGISTER_B] = B_24_HOURS;
	rtc->state.cmos[REGISTER_D] = 0x80; /* the battery is good */
	fill_cmos(rtc, low_ram, high_ram, cpu_count);
	rtc->state.flags_s = rtc_seconds(rtc);
	rtc->state.flags_periodic = periods_now(rtc);
	return io_space_add(ports, 0x70, 2, "RTC", &ops, rtc);
}
