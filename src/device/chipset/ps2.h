/* What a PS/2 keyboard and a PS/2 mouse have in common: the bytes of the host's commands and of the
 * answers, and the two queues in which bytes wait until the controller fetches them. An answer goes
 * before what the user does, and is forgotten when the host sends the next command. */
#ifndef VENEER_DEVICE_CHIPSET_PS2_H
#define VENEER_DEVICE_CHIPSET_PS2_H

#include "base/state.h"

/* What the host sends to either. Parameters of commands are below the first command. */
#define PS2_FIRST_COMMAND 0xe6
#define PS2_IDENTIFY      0xf2
#define PS2_RATE          0xf3 /* typematic rate or sample rate */
#define PS2_ENABLE        0xf4
#define PS2_DISABLE       0xf5
#define PS2_DEFAULTS      0xf6
#define PS2_SEND_AGAIN    0xfe
#define PS2_RESET         0xff

#define PS2_ACK       0xfa
#define PS2_RESEND    0xfe /* not understood */
#define PS2_TEST_GOOD 0xaa

#define PS2_QUEUE_SIZE 64

struct ps2_queue {
	uint8_t bytes[PS2_QUEUE_SIZE];
	uint8_t head, count;
};

struct ps2_link {
	struct ps2_queue answers, events;
	uint8_t expecting; /* command whose parameter comes next; 0: none */
	uint8_t last_sent;
};

extern const struct state_field ps2_link_fields[];

/* Add a byte; where the queue is full it is dropped. */
void ps2_queue_add(struct ps2_queue *queue, uint8_t byte);
void ps2_queue_clear(struct ps2_queue *queue);

void ps2_answer(struct ps2_link *link, uint8_t byte);
/* The next byte on its way to the controller. There must be one. */
uint8_t ps2_take(struct ps2_link *link);

#endif
