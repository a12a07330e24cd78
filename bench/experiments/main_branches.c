/* Calls, returns and indirect jumps in several translations, as ratios to native. */
#include "experiment.h"

#include <stdbool.h>

uint64_t branch_table[65536], branch_pairs[65536][2];
uint64_t branch_private_stack, branch_guest_stack;
static uint64_t private_stack[1 << 20];

_Noreturn void branch_failed(void)
{
	fprintf(stderr, "branches: a check failed\n");
	exit(1);
}

typedef int recursive(int a, int b);
typedef int dispatcher(const uint8_t *code, const uint64_t *handlers);
struct site {
	uint64_t guest, host;
};
extern const struct site __start_sites[], __stop_sites[];

#define CALLS(X)        X(native) X(table) X(table64) X(hash) X(cache) X(shadow) X(xchg) X(unsafe)
#define DISPATCHES(X)   X(native) X(table) X(hash) X(cache)
#define DECLARE_CALL(v) recursive fib_##v, ackermann_##v;
#define DECLARE_DISPATCH(v)                                                                        \
	dispatcher dispatch_##v;                                                                   \
	extern const struct site dispatch_sites_##v[];
CALLS(DECLARE_CALL)
DISPATCHES(DECLARE_DISPATCH)

static const struct {
	const char *name;
	recursive *fib, *ackermann;
} calls[] = {
#define CALL(v) {#v, fib_##v, ackermann_##v},
	CALLS(CALL)};
static const struct {
	const char *name;
	dispatcher *run;
	const struct site *sites;
} dispatches[] = {
#define DISPATCH(v) {#v, dispatch_##v, dispatch_sites_##v},
	DISPATCHES(DISPATCH)};
#define CALL_COUNT     (sizeof(calls) / sizeof(*calls))
#define DISPATCH_COUNT (sizeof(dispatches) / sizeof(*dispatches))

static double sample[16][ROUNDS];

static void print_heading(const char *what, size_t count, const char *(*contender)(size_t))
{
	printf("| %s |", what);
	for (size_t v = 0; v < count; v++)
		printf(" %s |", contender(v));
	printf("\n|---|");
	for (size_t v = 0; v < count; v++)
		printf("---|");
	printf("\n");
}

/* Print one row of ratios to the first contender's median. */
static void report(const char *name, size_t count)
{
	double native = 0;
	printf("| %s |", name);
	for (size_t v = 0; v < count; v++) {
		double median = experiment_median(sample[v], ROUNDS);
		if (!v)
			native = median;
		printf(" %.2f |", median / native);
	}
	printf("\n");
}

static const char *call_name(size_t v)
{
	return calls[v].name;
}

static const char *dispatch_name(size_t v)
{
	return dispatches[v].name;
}

static void check(int is, int expected, const char *what)
{
	if (is != expected) {
		fprintf(stderr, "branches: %s computed something else\n", what);
		exit(1);
	}
}

static void measure_calls(bool ackermann, const char *name, int a, int b)
{
	int expected = 0;
	for (int round = 0; round < ROUNDS; round++)
		for (size_t v = 0; v < CALL_COUNT; v++) {
			branch_private_stack =
				(uint64_t)(private_stack + sizeof(private_stack) / 8);
			double start = experiment_now();
			int result = (ackermann ? calls[v].ackermann : calls[v].fib)(a, b);
			sample[v][round] = experiment_now() - start;
			if (!round && !v)
				expected = result;
			check(result, expected, calls[v].name);
		}
	report(name, CALL_COUNT);
}

/* `common`: how many in 8 operations are the first handler's, the one the inline cache predicts. */
static void measure_dispatch(const char *name, size_t period, unsigned common)
{
	static uint8_t code[50001];
	uint32_t random = 1;
	for (size_t i = 0; i < sizeof(code) - 1; i++) {
		random = random * 1664525u + 1013904223u;
		unsigned op = random >> 24 & 7;
		code[i] = i >= period   ? code[i - period]
			  : op < common ? 0
					: (uint8_t)((random >> 16) % 7);
	}
	code[sizeof(code) - 1] = 7;
	int expected = 0;
	for (int round = 0; round < ROUNDS; round++)
		for (size_t v = 0; v < DISPATCH_COUNT; v++) {
			uint64_t handlers[8];
			for (int i = 0; i < 8; i++)
				handlers[i] = v ? dispatches[v].sites[i].guest
						: dispatches[v].sites[i].host;
			double start = experiment_now();
			int result = dispatches[v].run(code, handlers);
			sample[v][round] = experiment_now() - start;
			if (!round && !v)
				expected = result;
			check(result, expected, dispatches[v].name);
		}
	report(name, DISPATCH_COUNT);
}

int main(void)
{
	for (const struct site *s = __start_sites; s < __stop_sites; s++) {
		if (branch_table[(uint16_t)s->guest]) {
			fprintf(stderr, "branches: two sites with one index\n");
			return 1;
		}
		branch_table[(uint16_t)s->guest] = s->host;
		branch_pairs[(uint16_t)s->guest][0] = s->guest;
		branch_pairs[(uint16_t)s->guest][1] = s->host;
	}
	print_heading("calls and returns", CALL_COUNT, call_name);
	measure_calls(false, "fib(22)", 22, 0);
	measure_calls(true, "ackermann(2, 200)", 2, 200);
	printf("\n");
	print_heading("indirect jumps of an interpreter", DISPATCH_COUNT, dispatch_name);
	measure_dispatch("sequence of 97 repeated", 97, 0);
	measure_dispatch("sequence of 5000 repeated", 5000, 0);
	measure_dispatch("the same, 3 of 4 jumps to one handler", 5000, 6);
	return 0;
}
