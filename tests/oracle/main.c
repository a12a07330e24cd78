/* oracle [--seconds N] [--seed S] [--bits 64|32] [--only MNEMONIC] [--show N] [--undefined]
 *        [--engine NAME] [--windows] [--hardened] [--prefixes] [--cpu MODEL]
 *
 * Goes round all instruction forms, one random instance of each a round, until the time is over but
 * for at least one round. Exits with 1 where anything architecturally defined differed; differences
 * in flags that the manuals leave undefined are counted, and shown on request. */
#include "cpu/cpu_model.h"
#include "engine/options.h"
#include "oracle.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static struct options {
	double seconds;
	uint64_t seed;
	unsigned bits; /* 0: both */
	const char *only;
	unsigned show;  /* failures printed in full */
	bool undefined; /* and differences in undefined flags */
	const char *engine;
	bool prefixes; /* more of them than an instruction has use for */
	bool windows;  /* of engine bt; else its soft TLB */
} options = {.seconds = 10, .seed = 1, .show = 20, .engine = "interp"};

/* All is translated that can be, before it runs. */
static struct engine_options engine_options = {.heat = 1};

#define CLASSES 8

static struct report {
	struct class
	{
		const char *name;
		unsigned forms, absent, faulting;
		uint64_t runs;
	} classes[CLASSES];
	uint64_t runs, different, undefined;
	unsigned shown;
	unsigned failed_forms;
} report;

/* Per form: how it went. */
struct tally {
	unsigned runs, completed, absent, different, undefined;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct class *find_class(const char *name)
{
	struct class *class = report.classes;

	while (class->name && strcmp(class->name, name))
		class ++;
	class->name = name;
	return class;
}

/* A random address may lie in memory of this process, where the native run can reach what the guest
 * cannot. */
static bool hit_our_own_memory(const struct oracle_state *native, const struct oracle_state *guest)
{
	unsigned char resident;

	return guest->vector == 14 && native->vector != 14 &&
	       mincore((void *)(uintptr_t)(guest->cr2 & ~UINT64_C(4095)), 4096, &resident) == 0;
}

/* Without BMI1 and LZCNT there is no TZCNT and LZCNT but with a prefix BSF and BSR; the host's
 * processor would not take them for that. */
static bool is_something_else_natively(const struct oracle_case *test)
{
	bool scan = test->instruction.mnemonic == ZYDIS_MNEMONIC_BSF ||
		    test->instruction.mnemonic == ZYDIS_MNEMONIC_BSR;

	return scan && memchr(test->bytes, 0xf3, test->instruction.raw.modrm.offset);
}

/* The guest has no more registers than its XCR0 says; so there is nothing in the host's. */
static void clear_absent_state(struct oracle_state *state)
{
	if ((oracle_model()->xcr0 & XCR0_AVX512) == XCR0_AVX512)
		return;
	for (unsigned i = 0; i < 16; i++)
		memset(state->zmm[i] + 32, 0, 32);
	memset(state->zmm[16], 0, 16 * sizeof(state->zmm[0]));
	memset(state->opmask, 0, sizeof(state->opmask));
}

static void run_on_host(const struct oracle_case *test, const struct oracle_state *start,
	struct oracle_state *native)
{
	if (!guest_is_denied(test)) {
		native_run(test, start, native);
		return;
	}
	*native = *start;
	native->vector = 6; /* #UD, and nothing else */
}

static void run_case(
	const struct oracle_case *instance, struct oracle_random *random, struct tally *tally)
{
	static struct oracle_state start, native, guest;
	struct oracle_case test = *instance;
	enum oracle_verdict verdict;

	if (is_something_else_natively(&test))
		return;
	random_state(random, &test, &start);
	clear_absent_state(&start);
	run_on_host(&test, &start, &native);
	guest_run(&test, &start, &guest);
	if (hit_our_own_memory(&native, &guest))
		return;
	tally->runs++;
	tally->completed += native.vector == 3;
	tally->absent += native.vector == 6;
	verdict = compare_states(&test, &start, &native, &guest, false);
	if (verdict == ORACLE_SAME)
		return;
	if (verdict == ORACLE_DIFFERENT)
		tally->different++;
	else
		tally->undefined++;
	if (verdict == ORACLE_UNDEFINED_FLAGS && !options.undefined)
		return;
	/* The first of each form is worth reading. */
	if (report.shown < options.show &&
		(verdict == ORACLE_DIFFERENT ? tally->different : tally->undefined) == 1) {
		report.shown++;
		print_case(&test);
		compare_states(&test, &start, &native, &guest, true);
	}
}

static void run_one(const struct oracle_forms *forms, unsigned index, struct oracle_random *random,
	struct tally *tally)
{
	struct oracle_case test;

	if (forms_instantiate(forms, index, random, &test) &&
		(!options.prefixes || forms_add_prefixes(forms, random, &test)))
		run_case(&test, random, tally);
}

static bool uses_stack(const ZydisDecodedInstruction *in)
{
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_PUSH:
	case ZYDIS_CATEGORY_POP:
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
		return true;
	default:
		return in->mnemonic == ZYDIS_MNEMONIC_ENTER || in->mnemonic == ZYDIS_MNEMONIC_LEAVE;
	}
}

#define STACK_RUNS 8

/* The prefixes for operand and address size where Zydis, engines and processors may see the stack
 * differently: chance alone would not often bring them together. */
static void run_stack_form(const struct oracle_forms *forms, unsigned index,
	struct oracle_random *random, struct tally *tally)
{
	struct oracle_case test;

	for (unsigned i = 0; i < 3 * STACK_RUNS; i++) {
		if (!forms_instantiate(forms, index, random, &test) ||
			!uses_stack(&test.instruction))
			return;
		if (forms_add_size_prefixes(forms, i % 3 + 1, &test))
			run_case(&test, random, tally);
	}
}

static void summarise(const struct oracle_forms *forms, const struct tally *tallies)
{
	for (unsigned i = 0; i < forms->count; i++) {
		const struct tally *tally = &tallies[i];
		struct class *class;

		if (!tally->runs)
			continue;
		class = find_class(forms_class(forms, i));
		class->forms++;
		class->runs += tally->runs;
		class->absent += tally->absent == tally->runs;
		class->faulting += !tally->completed && tally->absent != tally->runs;
		report.runs += tally->runs;
		report.different += tally->different;
		report.undefined += tally->undefined;
		if (!tally->different)
			continue;
		report.failed_forms++;
		printf("DIFFERENT: %u-bit %s: %u of %u runs%s\n", forms->code_bits,
			forms_mnemonic(forms, i), tally->different, tally->runs,
			tally->completed ? "" : " (natively never completes)");
	}
}

static bool is_wanted(const struct oracle_forms *forms, unsigned index)
{
	return !options.only || !strcasecmp(options.only, forms_mnemonic(forms, index));
}

static void run_all(unsigned bits, double seconds)
{
	struct oracle_random random = {.state = options.seed * 2 + (bits == 64)};
	struct oracle_forms forms;
	struct tally *tallies;
	double end;

	forms_enumerate(&forms, bits);
	end = now() + seconds;
	tallies = calloc(forms.count, sizeof(*tallies));
	if (!tallies)
		exit(2);
	for (unsigned i = 0; i < forms.count; i++)
		if (is_wanted(&forms, i))
			run_stack_form(&forms, i, &random, &tallies[i]);
	do {
		for (unsigned i = 0; i < forms.count; i++) {
			if (is_wanted(&forms, i))
				run_one(&forms, i, &random, &tallies[i]);
		}
	} while (now() < end);
	summarise(&forms, tallies);
	free(tallies);
	forms_free(&forms);
}

static void print_report(void)
{
	unsigned forms = 0;

	printf("%-8s %7s %9s %16s %13s\n", "class", "forms", "runs", "undefined here",
		"only faulted");
	for (struct class *class = report.classes; class->name; class ++) {
		printf("%-8s %7u %9lu %16u %13u\n", class->name, class->forms,
			(unsigned long)class->runs, class->absent, class->faulting);
		forms += class->forms;
	}
	printf("%u forms, %lu runs, seed %lu: %lu different (%u forms), %lu in undefined flags "
	       "only\n",
		forms, (unsigned long)report.runs, (unsigned long)options.seed,
		(unsigned long)report.different, report.failed_forms,
		(unsigned long)report.undefined);
}

static void usage(FILE *to)
{
	fprintf(to, "usage: oracle [--seconds N] [--seed S] [--bits 64|32] [--only MNEMONIC] "
		    "[--show N]\n"
		    "              [--undefined] [--engine NAME] [--windows] [--hardened] "
		    "[--prefixes] [--bt-test WORDS] [--cpu MODEL]\n");
}

static bool parse(int argc, char **argv)
{
	static const struct option names[] = {{"seconds", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'r'}, {"bits", required_argument, NULL, 'b'},
		{"only", required_argument, NULL, 'o'}, {"show", required_argument, NULL, 'n'},
		{"undefined", no_argument, NULL, 'u'}, {"engine", required_argument, NULL, 'e'},
		{"windows", no_argument, NULL, 'w'}, {"hardened", no_argument, NULL, 'h'},
		{"prefixes", no_argument, NULL, 'p'}, {"bt-test", required_argument, NULL, 't'},
		{"cpu", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 's':
			options.seconds = atof(optarg);
			break;
		case 'r':
			options.seed = strtoull(optarg, NULL, 0);
			break;
		case 'b':
			options.bits = (unsigned)atoi(optarg);
			break;
		case 'o':
			options.only = optarg;
			break;
		case 'n':
			options.show = (unsigned)atoi(optarg);
			break;
		case 'u':
			options.undefined = true;
			break;
		case 'e':
			options.engine = optarg;
			break;
		case 'w':
			options.windows = true;
			break;
		case 'p':
			options.prefixes = true;
			break;
		case 'c':
			guest_use_model(optarg);
			break;
		case 'h':
			engine_options.hardened = true;
			break;
		case 't':
			if (engine_options_test(&engine_options, optarg) < 0)
				return false;
			break;
		default:
			return false;
		}
	}
	return optind == argc && (!options.bits || options.bits == 32 || options.bits == 64);
}

int main(int argc, char **argv)
{
	if (!parse(argc, argv)) {
		usage(stderr);
		return 2;
	}
	if (strcmp(options.engine, "interp"))
		native_init(true);
	if (!guest_init(options.engine, &engine_options, options.windows))
		return 2;
	/* After the engine's own handlers of signals, which native ones pass on to. */
	if (!strcmp(options.engine, "interp"))
		native_init(false);
	if (options.bits != 32)
		run_all(64, options.bits ? options.seconds : options.seconds * 0.6);
	if (options.bits != 64)
		run_all(32, options.bits ? options.seconds : options.seconds * 0.4);
	print_report();
	guest_destroy();
	return report.different || !report.runs;
}
