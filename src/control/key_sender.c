#include "control/key_sender.h"

static void add(struct key_sender *sender, uint64_t at_ns, uint16_t code, bool down)
{
	unsigned tail = (sender->head + sender->count++) % KEY_SENDER_EVENTS;

	sender->events[tail] = (struct key_event){at_ns, code, down};
}

static void send_due(void *opaque)
{
	struct key_sender *sender = opaque;
	uint64_t now = clock_ns(sender->clock);

	while (sender->count && sender->events[sender->head].at_ns <= now) {
		const struct key_event *event = &sender->events[sender->head];

		sender->head = (sender->head + 1) % KEY_SENDER_EVENTS;
		sender->count--;
		input_key(sender->input, event->code, event->down);
	}
	if (sender->count)
		timer_arm(&sender->timer, sender->events[sender->head].at_ns);
}

void key_sender_init(struct key_sender *sender, const struct input *input, struct event_loop *loop,
	const struct clock *clock)
{
	*sender = (struct key_sender){.input = input, .clock = clock};
	timer_init(&sender->timer, loop, send_due, sender);
}

void key_sender_stop(struct key_sender *sender)
{
	timer_cancel(&sender->timer);
	sender->count = 0;
}

bool key_sender_add(
	struct key_sender *sender, const uint16_t *codes, unsigned count, uint64_t hold_ns)
{
	uint64_t now = clock_ns(sender->clock);
	uint64_t start = sender->free_ns > now ? sender->free_ns : now;

	if (2 * count > KEY_SENDER_EVENTS - sender->count)
		return false;
	for (unsigned i = 0; i < count; i++)
		add(sender, start, codes[i], true);
	for (unsigned i = count; i > 0; i--)
		add(sender, start + hold_ns, codes[i - 1], false);
	sender->free_ns = start + hold_ns;
	send_due(sender);
	return true;
}
