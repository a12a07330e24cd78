/*
 * A bytecode interpreter whose every operation ends in an indirect jump to the next (the compiler's
 * computed goto), as Python's and many others are built.
 */
#include "bench.h"

enum { ADD, SUBTRACT, MULTIPLY, DUPLICATE, SWAP, PUSH, SKIP_ODD, LOOP };

static const uint8_t program[] = {
	PUSH,
	3,
	ADD,
	DUPLICATE,
	PUSH,
	7,
	MULTIPLY,
	SWAP,
	SKIP_ODD,
	2,
	PUSH,
	11,
	SUBTRACT,
	DUPLICATE,
	ADD,
	SKIP_ODD,
	1,
	DUPLICATE,
	PUSH,
	5,
	MULTIPLY,
	SWAP,
	ADD,
	LOOP,
};

/* The stack is used modulo its size, so that no program can leave it. */
static uint64_t run(uint64_t count)
{
	static const void *const operation[] = {
		[ADD] = &&add,
		[SUBTRACT] = &&subtract,
		[MULTIPLY] = &&multiply,
		[DUPLICATE] = &&duplicate,
		[SWAP] = &&swap,
		[PUSH] = &&push,
		[SKIP_ODD] = &&skip_odd,
		[LOOP] = &&loop,
	};
	const uint8_t *pc = program;
	uint64_t stack[256] = {1, 2, 3}, top = 1, old;
	uint8_t depth = 2;

	goto *operation[*pc++];
add:
	top += stack[depth--];
	goto *operation[*pc++];
subtract:
	top = stack[depth--] - top;
	goto *operation[*pc++];
multiply:
	top *= stack[depth--] | 1;
	goto *operation[*pc++];
duplicate:
	stack[++depth] = top;
	goto *operation[*pc++];
swap:
	old = stack[depth];
	stack[depth] = top;
	top = old;
	goto *operation[*pc++];
push:
	stack[++depth] = top;
	top = *pc++;
	goto *operation[*pc++];
skip_odd:
	old = *pc++;
	if (top & 1)
		pc += old;
	goto *operation[*pc++];
loop:
	if (--count == 0)
		return bench_mix(top, depth);
	pc = program;
	goto *operation[*pc++];
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "call-goto", 4000000, run);
}
