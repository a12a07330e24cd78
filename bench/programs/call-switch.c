/*
 * A register machine's interpreter with one switch in a loop: a single indirect jump, by a table of
 * 32-bit offsets, that leads everywhere.
 */
#include "bench.h"

enum { MOVE, ADD, SUBTRACT, XOR, SHIFT, MULTIPLY, JUMP_ODD, LOOP };

struct instruction {
	uint8_t operation, to, from, number;
};

static const struct instruction program[] = {
	{ADD, 0, 1, 0},
	{SHIFT, 2, 0, 7},
	{XOR, 1, 2, 0},
	{JUMP_ODD, 0, 1, 2},
	{MULTIPLY, 3, 1, 0},
	{SUBTRACT, 0, 3, 0},
	{MOVE, 4, 0, 0},
	{SHIFT, 5, 4, 13},
	{JUMP_ODD, 0, 5, 1},
	{XOR, 3, 5, 0},
	{ADD, 1, 3, 0},
	{LOOP, 0, 0, 0},
};

static uint64_t run(uint64_t count)
{
	uint64_t reg[8] = {1, 2, 3, 5, 7, 11, 13, 17};

	for (const struct instruction *in = program;; in++) {
		uint64_t *to = &reg[in->to & 7], from = reg[in->from & 7];

		switch (in->operation) {
		case MOVE:
			*to = from;
			break;
		case ADD:
			*to += from;
			break;
		case SUBTRACT:
			*to -= from;
			break;
		case XOR:
			*to ^= from;
			break;
		case SHIFT:
			*to = from << in->number | from >> (64 - in->number);
			break;
		case MULTIPLY:
			*to *= from | 1;
			break;
		case JUMP_ODD:
			if (from & 1)
				in += in->number;
			break;
		case LOOP:
			if (--count == 0)
				return bench_mix(reg[0], reg[1]);
			in = program - 1;
			break;
		}
	}
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "call-switch", 2500000, run);
}
