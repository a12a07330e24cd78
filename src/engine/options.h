/* What the command line tells the engine of a machine. */
#ifndef VENEER_ENGINE_OPTIONS_H
#define VENEER_ENGINE_OPTIONS_H

#include <stdbool.h>

struct engine_options {
	/* The first four are for engines that translate. */
	bool traced;   /* page tables are traced, so that a flush puts less in doubt */
	bool hardened; /* no address check in translated code that the processor could mispredict */
	bool verify;   /* compare everything that translated code does with the interpreter */
	const char *trace; /* file to write every translation to; NULL: none */
	unsigned heat; /* a block is translated at this of its runs; 0: the engine's own choice */
	bool predict;  /* check addresses by prediction everywhere, not only in loops; for tests */
	bool count;    /* statistics are wanted: count what costs time to count, too */
	/* enum host_feature: features that the translator must not use, for tests */
	unsigned without;
};

/* Features of the host that the translator has another way for. Without AVX or AVX-512 the guest's
 * CPUID does not show them either, since the guest's vector registers are kept in the host's. */
enum host_feature {
	HOST_BMI2 = 1,
	HOST_FSGSBASE = 2,
	HOST_AVX = 4,
	HOST_AVX512 = 8,
	HOST_HOMES = 16,     /* room for all of a program's slots at one delta */
	HOST_CODE_ROOM = 32, /* room for more than a little translated code */
};

/* For tests: words separated by commas, "hot" (translate code when it runs for the first time),
 * "predict" (check addresses by prediction everywhere) and "no-bmi2", "no-fsgsbase", "no-avx",
 * "no-avx512", "no-homes", "no-room" (do without that feature of the host). 0, or -EINVAL without a
 * message. */
int engine_options_test(struct engine_options *options, const char *words);

#endif
