/* touch [--seconds N] [--seed S]
 *
 * An access that succeeded has touched its memory: on that rests what the translator knows of
 * addresses (engine/bt/facts.h), and so the confinement of the guest. Here the host's processor is
 * asked. Every form of instruction after which the translator would conclude that memory was
 * touched, or that the stack was, is run with that memory out of reach: not mapped, mapped but for
 * the last byte, or, for stores, read-only; with masks of zeroes, of one bit and of ones, with
 * shift counts that do nothing, with x87 exceptions masked and not. None may be completed.
 *
 * Goes round all forms until the time is over but for at least all combinations once. */
#include "cpu/cpu_model.h"
#include "cpu/cpuid.h"
#include "engine/bt/analyze.h"
#include "engine/bt/operand.h"
#include "isa/register.h"
#include "oracle.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define NOT_MAPPED (ORACLE_DATA + ORACLE_DATA_SIZE) /* nothing is, for a page and more */
#define READ_ONLY  (ORACLE_DATA + UINT64_C(0x100000))

enum place { PLACE_NOT_MAPPED, PLACE_PAGE_END, PLACE_READ_ONLY, PLACES };

static const char *const place_names[PLACES] = {
	"not mapped", "mapped but for its last byte", "read-only"};
static const uint64_t masks[] = {0, 1, ~UINT64_C(0)};
static const uint8_t counts[] = {0, 3, 32};

#define ROUNDS (PLACES * ARRAY_SIZE(masks) * ARRAY_SIZE(counts))

static struct translator translator;
static struct bt bt; /* a host of the fewest features, so that the most is left to copying */
static const uint8_t not_adapted[UNIT_MAX_INSNS];
static struct cpu_platform platform = {.cpu_count = 1};
static struct cpu processor; /* what analyze() asks about it: features, CR4 */
static uint64_t runs, failures;

/* What does the translator conclude from the instruction's success? */
struct conclusion {
	bool operand, stack;
};

static struct conclusion conclude(const struct oracle_case *test)
{
	struct translator *t = &translator;
	struct conclusion c = {false, false};
	struct expression e;

	if (!analyze(t, test->bytes, test->length, ORACLE_CODE + test->offset))
		return c;
	t->insn_mode[0] = t->mode;
	c.operand = t->insn[0].touches && facts_expression(t, 0, &e);
	c.stack = facts_touches_stack(t, 0);
	return c;
}

/* Where the instruction touches the stack, relative to RSP: a push below it. */
static int64_t stack_offset(const struct guest_insn *g)
{
	switch (g->kind) {
	case GUEST_IDENTICAL:
		return g->memory->mem.disp.value;
	case GUEST_PUSH:
	case GUEST_CALL:
	case GUEST_CALL_INDIRECT:
		return -8;
	default:
		return 0;
	}
}

static uint64_t target_of(enum place place, unsigned size)
{
	switch (place) {
	case PLACE_PAGE_END:
		return NOT_MAPPED - size + 1;
	case PLACE_READ_ONLY:
		return READ_ONLY + 1024;
	default:
		return NOT_MAPPED;
	}
}

/* Make the operand's address `target` by its base register, or its index where there is no base.
 * False where that cannot be. */
static bool aim_at(struct oracle_state *state, const ZydisDecodedOperand *memory, uint64_t target)
{
	uint64_t rest = target - (uint64_t)memory->mem.disp.value;
	int base = -1, index = -1;

	if (memory->mem.base != ZYDIS_REGISTER_NONE)
		base = (int)isa_gpr_number(memory->mem.base);
	if (memory->mem.index != ZYDIS_REGISTER_NONE)
		index = (int)isa_gpr_number(memory->mem.index);
	if (base == index || (base < 0 && memory->mem.scale != 1))
		return false;
	if (base < 0) {
		state->gpr[index] = rest;
		return true;
	}
	if (index >= 0)
		rest -= state->gpr[index] * memory->mem.scale;
	state->gpr[base] = rest;
	return true;
}

static void vary(struct oracle_state *state, struct oracle_random *random, unsigned round)
{
	uint64_t mask = masks[round / PLACES % ARRAY_SIZE(masks)];
	uint16_t control = random_one_in(random, 2) ? 0x037f : 0x0340;

	state->gpr[1] = (state->gpr[1] & ~UINT64_C(0xff)) |
			counts[round / PLACES / ARRAY_SIZE(masks) % ARRAY_SIZE(counts)];
	for (unsigned i = 0; i < 8; i++)
		state->opmask[i] = mask;
	if (random_one_in(random, 2)) /* masks that are vectors, and operands without effect */
		for (unsigned i = 0; i < 32; i++)
			memset(state->zmm[i], mask ? 0xff : 0, sizeof(state->zmm[i]));
	/* No exception is pending: it would come first. */
	memcpy(state->x87, &control, 2);
	state->x87[2] &= 0x40;
	state->x87[3] &= 0x7f;
	state->rflags &= ~UINT64_C(0x40000);
}

static void run_out_of_reach(const struct oracle_case *test, struct oracle_random *random,
	struct conclusion c, unsigned round)
{
	static struct oracle_state start, end;
	const struct guest_insn *g = &translator.insn[0];
	enum place place = round % PLACES;
	bool stack = c.stack && (!c.operand || random_one_in(random, 2));
	bool pushes = stack && stack_offset(g) == -8 && g->kind != GUEST_IDENTICAL;
	unsigned size = stack && g->kind != GUEST_IDENTICAL ? 8 : g->memory_size;

	if (place == PLACE_READ_ONLY && !(g->kind == GUEST_IDENTICAL ? g->writes_memory : pushes))
		return;
	random_state(random, test, &start);
	vary(&start, random, round);
	if (stack)
		start.gpr[4] = target_of(place, size) - (uint64_t)stack_offset(g);
	else if (!aim_at(&start, g->memory, target_of(place, size)))
		return;
	native_run(test, &start, &end);
	runs++;
	if (end.vector != 3)
		return;
	failures++;
	print_case(test);
	printf("    was completed although its %s is %s\n", stack ? "stack" : "operand",
		place_names[place]);
}

static void try_form(const struct oracle_forms *forms, unsigned index, struct oracle_random *random,
	unsigned round)
{
	struct oracle_case test;
	struct conclusion c;

	if (!forms_instantiate(forms, index, random, &test))
		return;
	c = conclude(&test);
	if (c.operand || c.stack)
		run_out_of_reach(&test, random, c, round);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* All that the host has. */
const struct cpu_model *oracle_model(void)
{
	static struct cpu_model model;
	struct cpuid_host host;

	if (!model.signature) {
		cpuid_host_read(&host);
		cpu_model_build(&model, &host, NULL, NULL);
	}
	return &model;
}

static void set_up(void)
{
	const struct cpu_model *model = oracle_model();
	struct bt_mode state = {.windows = true, .user = true, .fpu = BT_X87 | BT_SSE};

	if (mmap((void *)(uintptr_t)READ_ONLY, 4096, PROT_READ,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED) {
		perror("touch: mmap");
		exit(2);
	}
	native_init(false);
	processor.model = model;
	processor.platform = &platform;
	if (cpu_model_has(model, CPUID_AVX))
		state.fpu |= BT_AVX;
	if (cpu_model_has(model, CPUID_AVX512F))
		state.fpu |= BT_AVX512;
	translator.bt = &bt;
	translator.cpu = &processor;
	translator.adapted = not_adapted;
	translator.mode = state;
}

int main(int argc, char **argv)
{
	static const struct option names[] = {{"seconds", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'r'}, {NULL, 0, NULL, 0}};
	struct oracle_random random = {.state = 1};
	struct oracle_forms forms;
	unsigned round = 0;
	double end = now();
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (option == 's') {
			end += atof(optarg);
		} else if (option == 'r') {
			random.state = strtoull(optarg, NULL, 0);
		} else {
			fprintf(stderr, "usage: touch [--seconds N] [--seed S]\n");
			return 2;
		}
	}
	set_up();
	forms_enumerate(&forms, 64);
	do {
		for (unsigned i = 0; i < forms.count; i++)
			try_form(&forms, i, &random, round);
	} while (++round < ROUNDS || now() < end);
	printf("%lu instructions run with their memory out of reach, %lu completed\n",
		(unsigned long)runs, (unsigned long)failures);
	forms_free(&forms);
	return failures || !runs;
}
