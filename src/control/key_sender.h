/* Keys that a client sends to the guest: pressed together, held for a while, and released; the next
 * ones when these are up. Called with the machine lock held; the times are the machine's, so that
 * keys wait while it is paused. */
#ifndef VENEER_CONTROL_KEY_SENDER_H
#define VENEER_CONTROL_KEY_SENDER_H

#include "host/event_loop.h"
#include "host/input.h"

#define KEY_SENDER_EVENTS 4096

struct key_sender {
	const struct input *input;
	const struct clock *clock;
	struct timer timer;
	struct key_event {
		uint64_t at_ns;
		uint16_t code;
		bool down;
	} events[KEY_SENDER_EVENTS]; /* a ring, in the order of their times */
	unsigned head, count;
	uint64_t free_ns; /* when the last of them is up */
};

void key_sender_init(struct key_sender *sender, const struct input *input, struct event_loop *loop,
	const struct clock *clock);
/* Forget what waits. Before its memory goes. */
void key_sender_stop(struct key_sender *sender);
/* Press keys, by Linux's codes, and release them in the opposite order after hold_ns. False: too
 * many wait already, and nothing was done. */
bool key_sender_add(
	struct key_sender *sender, const uint16_t *codes, unsigned count, uint64_t hold_ns);

#endif
