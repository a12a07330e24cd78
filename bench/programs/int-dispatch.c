/*
 * A bytecode interpreter with one function per operation: every step is an indirect call whose
 * target changes, which is what object-oriented and interpreted guests spend their time on.
 */
#include "bench.h"

struct machine {
	const uint8_t *pc;
	uint64_t accumulator;
	uint64_t loops;
	uint64_t slots[16];
};

typedef bool operation(struct machine *machine);

static bool op_load(struct machine *machine)
{
	machine->accumulator = machine->slots[*machine->pc++];
	return true;
}

static bool op_store(struct machine *machine)
{
	machine->slots[*machine->pc++] = machine->accumulator;
	return true;
}

static bool op_add(struct machine *machine)
{
	machine->accumulator += machine->slots[*machine->pc++];
	return true;
}

static bool op_xor(struct machine *machine)
{
	machine->accumulator ^= machine->slots[*machine->pc++];
	return true;
}

static bool op_shift(struct machine *machine)
{
	machine->accumulator = machine->accumulator << 5 | machine->accumulator >> 59;
	return true;
}

static bool op_skip_odd(struct machine *machine)
{
	uint8_t distance = *machine->pc++;

	if (machine->accumulator & 1)
		machine->pc += distance;
	return true;
}

static bool op_loop(struct machine *machine)
{
	uint8_t distance = *machine->pc++;

	if (--machine->loops == 0)
		return false;
	machine->pc -= distance;
	return true;
}

enum { LOAD, STORE, ADD, XOR, SHIFT, SKIP_ODD, LOOP };

static operation *const operations[] = {
	[LOAD] = op_load,
	[STORE] = op_store,
	[ADD] = op_add,
	[XOR] = op_xor,
	[SHIFT] = op_shift,
	[SKIP_ODD] = op_skip_odd,
	[LOOP] = op_loop,
};

static const uint8_t program[] = {
	LOAD,
	0,
	ADD,
	1,
	STORE,
	2,
	SHIFT,
	XOR,
	3,
	SKIP_ODD,
	4,
	ADD,
	2,
	STORE,
	3,
	SHIFT,
	STORE,
	0,
	XOR,
	2,
	SKIP_ODD,
	2,
	STORE,
	1,
	ADD,
	3,
	STORE,
	4,
	LOOP,
	30,
};

static uint64_t dispatch(uint64_t count)
{
	struct machine machine = {
		.pc = program,
		.loops = count,
		.slots = {1, 2, 3, 5, 7},
	};

	_Static_assert(sizeof(program) == 30, "LOOP jumps to the first operation");
	while (operations[*machine.pc++](&machine))
		;
	return bench_mix(machine.accumulator, machine.slots[4]);
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "int-dispatch", 1000000, dispatch);
}
