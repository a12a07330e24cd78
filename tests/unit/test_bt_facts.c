/* engine/bt/facts.c: what may be known of an address and what not, where ways meet, where registers
 * change, and around loops. These rules keep translated code in its windows, so each is tested from
 * both sides: what is known stays known, and nothing else becomes known. */
#include "cpu_fixture.h"

#include "engine/bt/analyze.h"
#include "engine/bt/operand.h"

#define DRIFT (INT64_C(1) << 31)

static struct translator *t;
static struct bt bt;
static uint8_t adapted[UNIT_MAX_INSNS];

static int setup(void **state)
{
	if (fixture_setup(state))
		return -1;
	t = calloc(1, sizeof(*t));
	t->bt = &bt;
	t->cpu = cpu;
	t->mode.windows = true;
	t->adapted = adapted;
	return 0;
}

static int teardown(void **state)
{
	free(t);
	return fixture_teardown(state);
}

#define facts_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

/* Decodes the code of a unit; each memory operand is predicted to be in zone 7. */
static void code(const uint8_t *bytes, size_t size, unsigned count)
{
	uint8_t padded[64 * 15] = {0};

	memcpy(padded, bytes, size);
	assert_int_equal(analyze(t, padded, (unsigned)size, 0xffff800000001000), count);
	for (unsigned i = 0; i < count; i++) {
		t->zones[i] = 7;
		t->insn_mode[i] = t->mode;
	}
}

#define CODE(count, ...)                                                                           \
	code((const uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}), count)

static const struct expression rbx = {.base = RBX, .index = -1};
static const struct expression rsi = {.base = RSI, .index = -1};
static const struct expression rbx_rcx = {.base = RBX, .index = RCX, .scale = 1};
static const struct expression rbx_rcx_8 = {.base = RBX, .index = RCX, .scale = 8};

/* `e` + at is in `zone`. */
static struct facts knows(struct expression e, uint32_t zone, int64_t at)
{
	struct facts f = {.next = 1};

	f.fact[0] = (struct fact){.e = e, .valid = true, .zone = zone, .at = at};
	return f;
}

static struct facts narrow(unsigned reg, struct facts f)
{
	f.narrow |= (uint16_t)(1u << reg);
	return f;
}

/* What is known after all of the code, if `f` is before it. */
static struct facts after(struct facts f)
{
	facts_walk(t, &f, 0, t->count - 1);
	return f;
}

static int zone_of(struct facts f, struct expression e, int64_t disp)
{
	return facts_zone(&f, &e, disp);
}

/* --- where ways meet --- */

static struct facts met(struct facts a, struct facts b)
{
	facts_meet(&a, &b);
	return a;
}

static void ways_that_agree_keep_what_they_know(void **state)
{
	struct facts f = met(knows(rbx, 7, 0), knows(rbx, 7, 0));

	assert_int_equal(zone_of(f, rbx, 8), 7);
	assert_int_equal(met(narrow(RCX, f), narrow(RCX, f)).narrow, 1 << RCX);
}

static void ways_that_differ_know_nothing(void **state)
{
	assert_int_equal(zone_of(met(knows(rbx, 7, 0), knows(rbx, 8, 0)), rbx, 0), -1);
	assert_int_equal(zone_of(met(knows(rbx, 8, 0), knows(rbx, 7, 0)), rbx, 0), -1);
	assert_int_equal(zone_of(met(knows(rbx, 7, 0), knows(rbx, 7, 8)), rbx, 0), -1);
	assert_int_equal(zone_of(met(knows(rbx, 7, 0), knows(rsi, 7, 0)), rbx, 0), -1);
	assert_int_equal(zone_of(met(knows(rbx, 7, 0), (struct facts){0}), rbx, 0), -1);
	assert_int_equal(zone_of(met((struct facts){0}, knows(rbx, 7, 0)), rbx, 0), -1);
	assert_int_equal(
		zone_of(met(knows(rbx_rcx, 7, 0), knows(rbx_rcx_8, 7, 0)), rbx_rcx, 0), -1);
}

static void a_register_is_narrow_only_where_both_ways_say_so(void **state)
{
	struct facts wide = knows(rbx, 7, 0), both = met(narrow(RCX, wide), wide);

	assert_int_equal(both.narrow, 0);
	assert_int_equal(met(wide, narrow(RCX, wide)).narrow, 0);
	assert_int_equal(zone_of(both, rbx_rcx, 0), -1);
	assert_int_equal(zone_of(narrow(RCX, wide), rbx_rcx, 0), 7);
}

static void the_stack_and_vectors_are_the_lesser_of_both(void **state)
{
	struct facts used = {.stack = true, .vectors = VECTORS_WIDE}, moved = used;

	moved.stack_at = 8;
	moved.vectors = VECTORS_NARROW;
	assert_true(met(used, used).stack);
	assert_false(met(used, moved).stack);
	assert_false(met(used, (struct facts){0}).stack);
	assert_false(met((struct facts){0}, used).stack);
	assert_int_equal(met(used, moved).vectors, VECTORS_NARROW);
	assert_int_equal(met(moved, used).vectors, VECTORS_NARROW);
}

static bool includes(struct facts f, struct facts needed)
{
	return facts_include(&f, &needed);
}

static void a_place_is_entered_only_with_all_it_needs(void **state)
{
	struct facts f = narrow(RCX, knows(rbx, 7, 0)), more = f;

	more.fact[1] = (struct fact){.e = rsi, .valid = true, .zone = 9};
	assert_true(includes(f, f));
	assert_true(includes(more, f));
	assert_true(includes(f, (struct facts){0}));
	assert_false(includes(f, more));
	assert_false(includes(knows(rbx, 7, 0), f));
	assert_false(includes(narrow(RCX, knows(rbx, 8, 0)), f));
	assert_false(includes(narrow(RCX, knows(rbx, 7, 1)), f));
	assert_false(includes((struct facts){0}, (struct facts){.stack = true}));
	assert_false(includes(
		(struct facts){.stack = true, .stack_at = 8}, (struct facts){.stack = true}));
	assert_false(includes((struct facts){0}, (struct facts){.vectors = VECTORS_NARROW}));
}

/* --- registers that change --- */

static void an_access_teaches_its_zone(void **state)
{
	CODE(1, 0x48, 0x8b, 0x43, 0x10); /* mov rax, [rbx + 16] */
	assert_int_equal(zone_of(after((struct facts){0}), rbx, 0), 7);
	assert_int_equal(zone_of(after((struct facts){0}), rsi, 0), -1);
	assert_int_equal(zone_of(after(knows(rbx, 9, 0)), rbx, 0), 9);
}

/* An x87 store that finds the stack empty, and that exception masked or not, may touch nothing. */
static void an_x87_store_teaches_nothing(void **state)
{
	t->mode.fpu |= BT_X87;
	CODE(1, 0xdd, 0x03); /* fld qword [rbx] */
	assert_int_equal(zone_of(after((struct facts){0}), rbx, 0), 7);
	CODE(1, 0xdd, 0x1b); /* fstp qword [rbx] */
	assert_int_equal(zone_of(after((struct facts){0}), rbx, 0), -1);
}

static void constants_move_an_address(void **state)
{
	CODE(2, 0x48, 0x83, 0xc3, 0x10, 0x48, 0xff, 0xc3); /* add rbx, 16; inc rbx */
	assert_int_equal(zone_of(after(knows(rbx, 7, 0)), rbx, 0), 7);
	assert_int_equal(after(knows(rbx, 7, 0)).fact[0].at, -17);
	assert_int_equal(after(narrow(RBX, (struct facts){0})).narrow, 0);
	CODE(2, 0x48, 0x83, 0xeb, 0x10, 0x48, 0xff, 0xcb); /* sub rbx, 16; dec rbx */
	assert_int_equal(after(knows(rbx, 7, 0)).fact[0].at, 17);
	CODE(1, 0x48, 0x8d, 0x5b, 0x10); /* lea rbx, [rbx + 16] */
	assert_int_equal(zone_of(after(knows(rbx, 7, 0)), rbx, 0), 7);
	assert_int_equal(after(knows(rbx, 7, 0)).fact[0].at, -16);
	CODE(1, 0x67, 0x48, 0x8d, 0x5b, 0x10); /* lea rbx, [ebx + 16] */
	assert_int_equal(zone_of(after(knows(rbx, 7, 0)), rbx, 0), -1);
	CODE(1, 0x48, 0x8d, 0x5e, 0x10); /* lea rbx, [rsi + 16] */
	assert_int_equal(zone_of(after(knows(rbx, 7, 0)), rbx, 0), -1);
	CODE(1, 0x48, 0x8d, 0x5c, 0x0b, 0x10); /* lea rbx, [rbx + rcx + 16] */
	assert_int_equal(zone_of(after(knows(rbx, 7, 0)), rbx, 0), -1);
	CODE(1, 0x48, 0x01, 0xc3); /* add rbx, rax */
	assert_int_equal(zone_of(after(knows(rbx, 7, 0)), rbx, 0), -1);
	CODE(1, 0x83, 0xc3, 0x10); /* add ebx, 16 */
	assert_int_equal(zone_of(after(knows(rbx, 7, 0)), rbx, 0), -1);
	CODE(1, 0x48, 0x8b, 0x1e); /* mov rbx, [rsi] */
	assert_int_equal(zone_of(after(knows(rbx, 7, 0)), rbx, 0), -1);
}

/* The guards are 64 GiB; a displacement and a narrow index may come on top. */
static void constants_do_not_add_up_beyond_the_guards(void **state)
{
	static const uint8_t add[] = {0x48, 0x81, 0xc3, 0xff, 0xff, 0xff, 0x7f}; /* add rbx, ... */
	static const uint8_t add_rcx[] = {0x48, 0x83, 0xc1, 0x7f};               /* add rcx, 127 */
	uint8_t many[32 * sizeof(add)];

	for (unsigned i = 0; i < 32; i++)
		memcpy(many + i * sizeof(add), add, sizeof(add));
	code(many, sizeof(add), 1);
	assert_int_equal(zone_of(after(knows(rbx, 7, 0)), rbx, 0), 7);
	for (unsigned count = 2; count <= 32; count++) {
		code(many, count * sizeof(add), count);
		assert_int_equal(zone_of(after(knows(rbx, 7, 0)), rbx, 0), -1);
		assert_int_equal(zone_of(after(knows(rbx_rcx, 7, 0)), rbx_rcx, 0), -1);
	}
	assert_int_equal(zone_of(knows(rbx, 7, 0), rbx, DRIFT), 7);
	assert_int_equal(zone_of(knows(rbx, 7, 0), rbx, DRIFT + 1), -1);
	assert_int_equal(zone_of(knows(rbx, 7, -DRIFT), rbx, 1), -1);
	assert_int_equal(zone_of(narrow(RCX, knows(rbx, 7, -DRIFT)), rbx_rcx, 1), -1);
	/* An index moves the address by its scale. */
	code(add_rcx, sizeof(add_rcx), 1);
	assert_int_equal(after(knows(rbx_rcx_8, 7, 0)).fact[0].at, -127 * 8);
	code(add, sizeof(add), 1);
	t->insn[0].operands[0].reg.value = ZYDIS_REGISTER_RCX;
	assert_int_equal(zone_of(after(knows(rbx_rcx_8, 7, 0)), rbx_rcx_8, 0), -1);
}

static void a_copy_knows_what_its_source_knows(void **state)
{
	CODE(1, 0x48, 0x89, 0xf3); /* mov rbx, rsi */
	assert_int_equal(zone_of(after(knows(rsi, 7, 0)), rbx, 0), 7);
	assert_int_equal(zone_of(after(knows(rbx, 9, 0)), rbx, 0), -1);
	assert_true(after(narrow(RSI, (struct facts){0})).narrow & 1 << RBX);
	assert_false(after(narrow(RBX, (struct facts){0})).narrow & 1 << RBX);
	CODE(1, 0x89, 0xf3); /* mov ebx, esi */
	assert_int_equal(zone_of(after(knows(rsi, 7, 0)), rbx, 0), -1);
	assert_true(after((struct facts){0}).narrow & 1 << RBX);
}

static void what_leaves_the_unit_leaves_nothing_known(void **state)
{
	CODE(1, 0x0f, 0xa2); /* cpuid */
	assert_int_equal(zone_of(after(narrow(RSI, knows(rsi, 7, 0))), rsi, 0), -1);
	assert_int_equal(after(narrow(RSI, knows(rsi, 7, 0))).narrow, 0);
}

/* --- within a unit --- */

static void a_label_knows_what_all_ways_to_it_know(void **state)
{
	/* mov rax, [rbx]; jz 1f; mov rbx, rsi; 1: nop */
	CODE(4, 0x48, 0x8b, 0x03, 0x74, 0x03, 0x48, 0x89, 0xf3, 0x90);
	assert_int_equal(zone_of(after((struct facts){0}), rbx, 0), -1);
	assert_int_equal(zone_of(after(knows(rsi, 9, 0)), rbx, 0), -1);
	assert_int_equal(zone_of(after(knows(rsi, 7, 0)), rbx, 0), 7);
	/* jz 1f; mov ecx, ecx; 1: nop */
	CODE(3, 0x74, 0x02, 0x89, 0xc9, 0x90);
	assert_int_equal(after(knows(rbx, 7, 0)).narrow, 0);
	assert_int_equal(after(narrow(RCX, knows(rbx, 7, 0))).narrow, 1 << RCX);
}

static struct facts of_loop(struct facts f)
{
	facts_of_loop(t, &f, 0, t->count - 1);
	return f;
}

static void a_loop_starts_with_what_each_turn_gives_back(void **state)
{
	struct facts f = knows(rbx, 7, 0);

	/* 1: add rbx, 8; jnz 1b: it moves on and touches nothing */
	CODE(2, 0x48, 0x83, 0xc3, 0x08, 0x75, 0xfa);
	assert_int_equal(zone_of(of_loop(f), rbx, 0), -1);
	/* 1: add rbx, 8; mov rax, [rbx]; jnz 1b */
	CODE(3, 0x48, 0x83, 0xc3, 0x08, 0x48, 0x8b, 0x03, 0x75, 0xf7);
	assert_int_equal(zone_of(of_loop(f), rbx, 0), 7);
	/* 1: add rbx, 8; jz 2f; mov rax, [rbx]; 2: jnz 1b: not in each turn */
	CODE(4, 0x48, 0x83, 0xc3, 0x08, 0x74, 0x03, 0x48, 0x8b, 0x03, 0x75, 0xf5);
	assert_int_equal(zone_of(of_loop(f), rbx, 0), -1);
	/* 1: mov rax, [rbx]; mov rbx, rsi; jnz 1b: the next turn's is RSI */
	CODE(3, 0x48, 0x8b, 0x03, 0x48, 0x89, 0xf3, 0x75, 0xf8);
	assert_int_equal(zone_of(of_loop(f), rbx, 0), -1);
	/* 1: mov rcx, rdx; jnz 1b: narrow in the first turn only */
	CODE(2, 0x48, 0x89, 0xd1, 0x75, 0xfb);
	assert_int_equal(of_loop(narrow(RCX, f)).narrow, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		facts_test(ways_that_agree_keep_what_they_know),
		facts_test(ways_that_differ_know_nothing),
		facts_test(a_register_is_narrow_only_where_both_ways_say_so),
		facts_test(the_stack_and_vectors_are_the_lesser_of_both),
		facts_test(a_place_is_entered_only_with_all_it_needs),
		facts_test(an_access_teaches_its_zone),
		facts_test(an_x87_store_teaches_nothing),
		facts_test(constants_move_an_address),
		facts_test(constants_do_not_add_up_beyond_the_guards),
		facts_test(a_copy_knows_what_its_source_knows),
		facts_test(what_leaves_the_unit_leaves_nothing_known),
		facts_test(a_label_knows_what_all_ways_to_it_know),
		facts_test(a_loop_starts_with_what_each_turn_gives_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
