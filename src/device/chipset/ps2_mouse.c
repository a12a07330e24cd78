/* IBM's "Personal System/2 Hardware Interface Technical Reference", mouse; Microsoft's
 * IntelliMouse.
 *
 * A movement that comes while a packet waits is added to those that the next packet will tell, so
 * that none is lost and the queue stays short. What the buttons do is told in its order: a press or
 * a release makes a packet at once, as long as there is room. */
#include "device/chipset/ps2_mouse.h"

#include "base/bits.h"
#include "host/input.h"

#define SCALE_1_1   0xe6
#define SCALE_2_1   0xe7
#define RESOLUTION  0xe8
#define STATUS      0xe9
#define STREAM_MODE 0xea
#define READ_PACKET 0xeb
#define WRAP_OFF    0xec
#define WRAP_ON     0xee
#define REMOTE_MODE 0xf0

#define PACKET_ALWAYS BIT(3)
#define PACKET_X_SIGN BIT(4)
#define PACKET_Y_SIGN BIT(5)

#define STATUS_SCALE     BIT(4)
#define STATUS_REPORTING BIT(5)
#define STATUS_REMOTE    BIT(6)

#define LONGEST_PACKET 4
#define MOST_MOVEMENT  255 /* that a packet can tell */
#define MOST_WHEEL     7
#define MOST_KEPT      4096 /* counts that are remembered */

static void forget_movement(struct ps2_mouse *mouse)
{
	mouse->x = mouse->y = mouse->z = 0;
	ps2_queue_clear(&mouse->link.events);
}

static void set_defaults(struct ps2_mouse *mouse)
{
	mouse->reporting = mouse->remote = mouse->double_scale = false;
	mouse->resolution = 2;
	mouse->sample_rate = 100;
	forget_movement(mouse);
}

void ps2_mouse_init(struct ps2_mouse *mouse)
{
	*mouse = (struct ps2_mouse){0};
	set_defaults(mouse);
}

/* --- packets --- */

static int clamp(int value, int most)
{
	return MIN(MAX(value, -most), most);
}

/* Take up to `most` counts from what is kept. */
static int take_counts(uint16_t *kept, int most)
{
	int counts = clamp((int16_t)*kept, most);

	*kept = (uint16_t)((int16_t)*kept - counts);
	return counts;
}

static void keep_counts(uint16_t *kept, int counts)
{
	*kept = (uint16_t)clamp((int16_t)*kept + clamp(counts, MOST_KEPT), MOST_KEPT);
}

/* Scaling 2:1: small movements are made smaller, others twice as large. */
static int scaled(int counts)
{
	static const uint8_t small[] = {0, 1, 1, 3, 6, 9};
	unsigned size = (unsigned)(counts < 0 ? -counts : counts);
	int result = size < ARRAY_SIZE(small) ? small[size] : 2 * (int)size;

	return counts < 0 ? -result : result;
}

static void add_packet(struct ps2_mouse *mouse, struct ps2_queue *queue, bool scale)
{
	int most = scale ? MOST_MOVEMENT / 2 : MOST_MOVEMENT;
	int x = take_counts(&mouse->x, most), y = -take_counts(&mouse->y, most), z = 0;
	uint8_t wheel;

	if (scale) {
		x = scaled(x);
		y = scaled(y);
	}
	if (mouse->id != PS2_MOUSE_STANDARD)
		z = take_counts(&mouse->z, MOST_WHEEL);
	mouse->told = mouse->buttons;
	ps2_queue_add(queue, (uint8_t)((mouse->buttons & 7) | PACKET_ALWAYS |
				       (x < 0 ? PACKET_X_SIGN : 0) | (y < 0 ? PACKET_Y_SIGN : 0)));
	ps2_queue_add(queue, (uint8_t)x);
	ps2_queue_add(queue, (uint8_t)y);
	if (mouse->id == PS2_MOUSE_STANDARD)
		return;
	wheel = (uint8_t)z;
	if (mouse->id == PS2_MOUSE_FIVE_BUTTONS) /* side and extra button above the wheel */
		wheel = (uint8_t)((wheel & 15) | (mouse->buttons >> 3 & 3) << 4);
	ps2_queue_add(queue, wheel);
}

/* The buttons that a packet can tell. */
static uint8_t visible(const struct ps2_mouse *mouse, uint8_t buttons)
{
	return mouse->id == PS2_MOUSE_FIVE_BUTTONS ? buttons : buttons & 7;
}

void ps2_mouse_continue(struct ps2_mouse *mouse)
{
	const struct ps2_queue *queue = &mouse->link.events;
	bool pressed = visible(mouse, mouse->buttons) != visible(mouse, mouse->told);
	bool moved = mouse->x || mouse->y || (mouse->z && mouse->id != PS2_MOUSE_STANDARD);

	if (!mouse->reporting || mouse->remote || mouse->wrap)
		return;
	if ((pressed && queue->count + LONGEST_PACKET <= PS2_QUEUE_SIZE) ||
		(moved && !queue->count))
		add_packet(mouse, &mouse->link.events, mouse->double_scale);
}

void ps2_mouse_move(struct ps2_mouse *mouse, int dx, int dy, int dz, unsigned buttons)
{
	keep_counts(&mouse->x, dx);
	keep_counts(&mouse->y, dy);
	keep_counts(&mouse->z, dz);
	mouse->buttons = buttons & 31;
	ps2_mouse_continue(mouse);
}

/* --- commands --- */

/* The host knocks by setting three sample rates. */
static void set_sample_rate(struct ps2_mouse *mouse, uint8_t rate)
{
	if (mouse->knock[0] == 200 && rate == 80) {
		if (mouse->knock[1] == 100)
			mouse->id = PS2_MOUSE_WHEEL;
		else if (mouse->knock[1] == 200)
			mouse->id = PS2_MOUSE_FIVE_BUTTONS;
	}
	mouse->knock[0] = mouse->knock[1];
	mouse->knock[1] = rate;
	mouse->sample_rate = rate;
}

static void parameter(struct ps2_mouse *mouse, uint8_t command, uint8_t value)
{
	ps2_answer(&mouse->link, PS2_ACK);
	if (command == RESOLUTION)
		mouse->resolution = value & 3;
	else
		set_sample_rate(mouse, value);
}

static void answer_status(struct ps2_mouse *mouse)
{
	uint8_t buttons = mouse->buttons;

	ps2_answer(&mouse->link,
		(uint8_t)((mouse->remote ? STATUS_REMOTE : 0) |
			  (mouse->reporting ? STATUS_REPORTING : 0) |
			  (mouse->double_scale ? STATUS_SCALE : 0) |
			  (buttons & INPUT_LEFT ? 4 : 0) | (buttons & INPUT_MIDDLE ? 2 : 0) |
			  (buttons & INPUT_RIGHT ? 1 : 0)));
	ps2_answer(&mouse->link, mouse->resolution);
	ps2_answer(&mouse->link, mouse->sample_rate);
}

/* False: there is no such command. */
static bool execute(struct ps2_mouse *mouse, uint8_t command)
{
	ps2_answer(&mouse->link, PS2_ACK);
	switch (command) {
	case SCALE_1_1:
	case SCALE_2_1:
		mouse->double_scale = command == SCALE_2_1;
		return true;
	case RESOLUTION:
	case PS2_RATE:
		mouse->link.expecting = command;
		return true;
	case STATUS:
		answer_status(mouse);
		return true;
	case READ_PACKET: /* 2:1 is for stream mode only */
		ps2_queue_clear(&mouse->link.events);
		add_packet(mouse, &mouse->link.answers, false);
		return true;
	case STREAM_MODE:
	case REMOTE_MODE:
		mouse->remote = command == REMOTE_MODE;
		forget_movement(mouse);
		return true;
	case WRAP_OFF:
	case WRAP_ON:
		mouse->wrap = command == WRAP_ON;
		forget_movement(mouse);
		return true;
	case PS2_IDENTIFY:
		ps2_answer(&mouse->link, mouse->id);
		return true;
	case PS2_ENABLE:
	case PS2_DISABLE:
		mouse->reporting = command == PS2_ENABLE;
		forget_movement(mouse);
		return true;
	case PS2_DEFAULTS:
		set_defaults(mouse);
		return true;
	case PS2_RESET:
		mouse->id = PS2_MOUSE_STANDARD;
		mouse->wrap = false;
		set_defaults(mouse);
		ps2_answer(&mouse->link, PS2_TEST_GOOD);
		ps2_answer(&mouse->link, PS2_MOUSE_STANDARD);
		return true;
	}
	return false;
}

/* An answer that is still queued is dropped, as the host does not wait for it any more. A command
 * in the place of a parameter is a command. */
void ps2_mouse_receive(struct ps2_mouse *mouse, uint8_t byte)
{
	uint8_t command = mouse->link.expecting;

	ps2_queue_clear(&mouse->link.answers);
	mouse->link.expecting = 0;
	if (mouse->wrap && byte != WRAP_OFF && byte != PS2_RESET) {
		ps2_answer(&mouse->link, byte);
	} else if (command && byte < PS2_FIRST_COMMAND) {
		parameter(mouse, command, byte);
	} else if (byte == PS2_SEND_AGAIN) {
		ps2_answer(&mouse->link, mouse->link.last_sent);
	} else if (!execute(mouse, byte)) {
		ps2_queue_clear(&mouse->link.answers);
		ps2_answer(&mouse->link, PS2_RESEND);
	}
}

static bool small_enough(uint16_t kept)
{
	return (int16_t)kept >= -MOST_KEPT && (int16_t)kept <= MOST_KEPT;
}

bool ps2_mouse_valid(const struct ps2_mouse *mouse)
{
	return small_enough(mouse->x) && small_enough(mouse->y) && small_enough(mouse->z) &&
	       (mouse->id == PS2_MOUSE_STANDARD || mouse->id == PS2_MOUSE_WHEEL ||
		       mouse->id == PS2_MOUSE_FIVE_BUTTONS);
}

const struct state_field ps2_mouse_fields[] = {
	STATE_STRUCT(struct ps2_mouse, link, ps2_link_fields),
	STATE_BOOL(struct ps2_mouse, reporting),
	STATE_BOOL(struct ps2_mouse, remote),
	STATE_BOOL(struct ps2_mouse, wrap),
	STATE_BOOL(struct ps2_mouse, double_scale),
	STATE_FIELD(struct ps2_mouse, resolution, 0, 3),
	STATE_ANY(struct ps2_mouse, sample_rate),
	STATE_ARRAY_ANY(struct ps2_mouse, knock),
	STATE_ANY(struct ps2_mouse, id),
	STATE_FIELD(struct ps2_mouse, buttons, 0, 31),
	STATE_FIELD(struct ps2_mouse, told, 0, 31),
	STATE_ANY(struct ps2_mouse, x),
	STATE_ANY(struct ps2_mouse, y),
	STATE_ANY(struct ps2_mouse, z),
	STATE_END,
};
