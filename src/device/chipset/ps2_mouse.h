/* A PS/2 mouse: a standard one, which becomes an IntelliMouse (wheel) or an IntelliMouse Explorer
 * (wheel, five buttons) when the host knocks. It is a part of the keyboard controller's state. */
#ifndef VENEER_DEVICE_CHIPSET_PS2_MOUSE_H
#define VENEER_DEVICE_CHIPSET_PS2_MOUSE_H

#include "device/chipset/ps2.h"

enum ps2_mouse_id { PS2_MOUSE_STANDARD = 0, PS2_MOUSE_WHEEL = 3, PS2_MOUSE_FIVE_BUTTONS = 4 };

struct ps2_mouse {
	struct ps2_link link;
	bool reporting; /* sends packets of its own accord, in stream mode */
	bool remote;    /* sends packets only when asked */
	bool wrap;      /* sends back what it is sent */
	bool double_scale;
	uint8_t resolution; /* 2^n counts a millimetre; reported only */
	uint8_t sample_rate;
	uint8_t knock[2]; /* the two sample rates before that one */
	uint8_t id;       /* enum ps2_mouse_id */
	uint8_t buttons;  /* that are down: enum input_button */
	uint8_t told;     /* that the host knows of */
	uint16_t x, y,
		z; /* signed: movement that the host does not know of, in input.h's directions */
};

extern const struct state_field ps2_mouse_fields[];

/* As at power-up; no button is down. */
void ps2_mouse_init(struct ps2_mouse *mouse);
/* A byte from the host. */
void ps2_mouse_receive(struct ps2_mouse *mouse, uint8_t byte);
/* See struct input_ops. */
void ps2_mouse_move(struct ps2_mouse *mouse, int dx, int dy, int dz, unsigned buttons);
/* There may be room for a packet again: make the next one, if there is something to tell. */
void ps2_mouse_continue(struct ps2_mouse *mouse);
bool ps2_mouse_valid(const struct ps2_mouse *mouse);

#endif
