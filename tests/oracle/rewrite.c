/* rewrite [--rounds N] [--seed S]
 *
 * What the translator copies is the guest's instruction, with exactly the registers and the memory
 * operand replaced that were to be. Every form of instruction that it copies is given to the code
 * that does so, with each kind of memory operand, and what comes out is decoded again, as --verify
 * does (engine/bt/verify_rewrite.c). Nothing is run, so the guest's processor may have everything.
 * In every second round it is one without BMI1, where TZCNT and LZCNT are BSF and BSR. */
#include "cpu/cpu_model.h"
#include "cpu/cpuid.h"
#include "engine/bt/stack.h"
#include "engine/bt/analyze.h"
#include "engine/bt/identical.h"
#include "engine/bt/operand.h"
#include "engine/bt/push_pop.h"
#include "engine/bt/verify.h"
#include "engine/options.h"
#include "isa/register.h"
#include "oracle.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t made[4096];
static struct translator translator;
static struct bt bt;
static struct bt_exit exits[16];
static struct bt_unit unit;
static const uint8_t not_adapted[UNIT_MAX_INSNS];
static struct cpu_platform platform = {.cpu_count = 1};
static struct cpu processor; /* what the translator asks about it: features, CR4 */
static struct cpu_model everything, older;
static uint64_t copies, failures;
static unsigned kinds; /* of memory operands */

/* All that there is, whatever the host has. */
const struct cpu_model *oracle_model(void)
{
	if (!everything.signature) {
		struct cpuid_host host;

		cpuid_host_read(&host);
		cpu_model_build(&everything, &host, NULL, NULL);
		memset(&everything.features, 0xff, sizeof(everything.features));
		older = everything;
		older.amd = !everything.amd;
		older.features.word[CPUID_WORD(CPUID_BMI1)] &= ~CPUID_BIT(CPUID_BMI1);
		older.features.word[CPUID_WORD(CPUID_LZCNT)] &= ~CPUID_BIT(CPUID_LZCNT);
	}
	return &everything;
}

/* Displacements that are short, just not, scaled by EVEX, or long. */
static int32_t random_displacement(struct oracle_random *random)
{
	static const int32_t edges[] = {
		0, 1, 64, 127, 128, 8128, 8192, -1, -64, -128, -129, -8192, INT32_MAX, INT32_MIN};

	if (random_one_in(random, 3))
		return (int32_t)random_u64(random);
	return edges[random_below(random, ARRAY_SIZE(edges))];
}

static struct host_memory random_memory(struct oracle_random *random)
{
	struct host_memory memory = {.base = NO_REGISTER,
		.index = NO_REGISTER,
		.gs = random_one_in(random, 4),
		.disp = random_displacement(random)};

	if (!random_one_in(random, 5))
		memory.base = (int8_t)random_below(random, 16);
	if (random_one_in(random, 2)) {
		memory.index = (int8_t)random_below(random, 16);
		memory.scale = (uint8_t)random_below(random, 4);
	}
	if (memory.index == RSP)
		memory.index = NO_REGISTER;
	kinds |= 1u << ((memory.base != NO_REGISTER) | (memory.index != NO_REGISTER) << 1 |
			 memory.gs << 2);
	return memory;
}

/* Have it copied. False: the translator does something else with it. */
static bool copy(struct oracle_random *random)
{
	struct translator *t = &translator;
	const struct guest_insn *g = &t->insn[0];
	struct host_memory memory = random_memory(random);

	t->code = (struct code){.bt = &bt,
		.start = (uintptr_t)made,
		.at = (uintptr_t)made,
		.limit = (uintptr_t)made + sizeof(made)};
	unit.code = (uintptr_t)made;
	t->mark_count = bt.code.region[0].exit_count = 0;
	mark(t, 0, MARK_BEFORE);
	switch (g->kind) {
	case GUEST_IDENTICAL:
		emit_identical(t, 0, memory);
		return true;
	case GUEST_STACK_ALU:
		translate_stack_alu(t, 0);
		return true;
	case GUEST_STACK_SET:
		return g->in.mnemonic != ZYDIS_MNEMONIC_POP && stack_translate(t, 0);
	default:
		return false;
	}
}

static void try_form(const struct oracle_forms *forms, unsigned index, struct oracle_random *random)
{
	struct translator *t = &translator;
	struct oracle_case test;

	if (!forms_instantiate(forms, index, random, &test))
		return;
	if (random_one_in(random, 2))
		t->mode.windows ^= true;
	if (!analyze(t, test.bytes, test.length, ORACLE_CODE + test.offset) || !copy(random))
		return;
	copies++;
	if (!verify_failed(&bt))
		return;
	failures++;
	print_case(&test);
	verify_destroy(&bt);
}

static void set_up(void)
{
	bt.options.verify = true;
	oracle_model();
	processor.platform = &platform;
	processor.engine_ops = &cpu_engine_ops_none;
	bt.cpu = &processor;
	bt.code.exits = exits;
	bt.code.exit_limit = ARRAY_SIZE(exits);
	translator.bt = &bt;
	translator.cpu = &processor;
	translator.unit = &unit;
	translator.adapted = not_adapted;
	translator.mode = (struct bt_mode){
		.windows = true, .user = true, .fpu = BT_X87 | BT_SSE | BT_AVX | BT_AVX512};
}

int main(int argc, char **argv)
{
	static const struct option names[] = {{"rounds", required_argument, NULL, 'n'},
		{"seed", required_argument, NULL, 'r'}, {NULL, 0, NULL, 0}};
	struct oracle_random random = {.state = 1};
	struct oracle_forms forms;
	unsigned rounds = 8;
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (option == 'n') {
			rounds = (unsigned)atoi(optarg);
		} else if (option == 'r') {
			random.state = strtoull(optarg, NULL, 0);
		} else {
			fprintf(stderr, "usage: rewrite [--rounds N] [--seed S]\n");
			return 2;
		}
	}
	set_up();
	forms_enumerate(&forms, 64);
	for (unsigned round = 0; round < rounds; round++) {
		processor.model = round & 1 ? &older : &everything;
		for (unsigned i = 0; i < forms.count; i++)
			try_form(&forms, i, &random);
	}
	printf("%lu instructions of %u forms copied, %lu of them wrong\n", (unsigned long)copies,
		forms.count, (unsigned long)failures);
	forms_free(&forms);
	return failures || !copies || kinds != 0xff;
}
