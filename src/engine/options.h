/* What the command line tells engines. Set before the first vCPU is created, and constant then. */
#ifndef VENEER_ENGINE_OPTIONS_H
#define VENEER_ENGINE_OPTIONS_H

#include <stdbool.h>

struct engine_options {
	/* The first three are for engines with `translates`. */
	bool hardened; /* no address check in translated code that the processor could mispredict */
	bool verify;   /* compare everything that translated code does with the interpreter */
	const char *trace; /* file to write every translation to; NULL: none */
	unsigned heat; /* a block is translated at this of its runs; 0: the engine's own choice */
	bool count;    /* statistics are wanted: count what costs time to count, too */
};
extern struct engine_options engine_options;

#endif
