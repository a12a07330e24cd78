#include "device/chipset/ps2.h"

void ps2_queue_add(struct ps2_queue *queue, uint8_t byte)
{
	if (queue->count < PS2_QUEUE_SIZE)
		queue->bytes[(queue->head + queue->count++) % PS2_QUEUE_SIZE] = byte;
}

void ps2_queue_clear(struct ps2_queue *queue)
{
	queue->head = queue->count = 0;
}

void ps2_answer(struct ps2_link *link, uint8_t byte)
{
	ps2_queue_add(&link->answers, byte);
}

uint8_t ps2_take(struct ps2_link *link)
{
	struct ps2_queue *queue = link->answers.count ? &link->answers : &link->events;

	link->last_sent = queue->bytes[queue->head];
	queue->head = (queue->head + 1) % PS2_QUEUE_SIZE;
	queue->count--;
	return link->last_sent;
}

static const struct state_field queue_fields[] = {
	STATE_ARRAY_ANY(struct ps2_queue, bytes),
	STATE_FIELD(struct ps2_queue, head, 0, PS2_QUEUE_SIZE - 1),
	STATE_FIELD(struct ps2_queue, count, 0, PS2_QUEUE_SIZE),
	STATE_END,
};

const struct state_field ps2_link_fields[] = {
	STATE_STRUCT(struct ps2_link, answers, queue_fields),
	STATE_STRUCT(struct ps2_link, events, queue_fields),
	STATE_ANY(struct ps2_link, expecting),
	STATE_ANY(struct ps2_link, last_sent),
	STATE_END,
};
