/* engine/bt/cache.c, soft_tlb.c: what flushes and stores take away, and what they leave. */
#include "engine_fixture.h"

#include "engine/bt/emit.h"
#include "engine/bt/bt.h"
#include "engine/bt/cache_internal.h"
#include "engine/bt/stale.h"
#include "engine/bt/soft_tlb.h"

#define MANY 300 /* more pages than the list of pages to drop has room for */

static const struct bt_mode windowed = {.bound = true, .windows = true};
static struct bt *bt;

static int setup(void **state)
{
	if (engine_fixture_setup(state, &engine_bt))
		return -1;
	bt = bt_of(cpu);
	return bt ? 0 : -1;
}

static int teardown(void **state)
{
	return engine_fixture_teardown(state, &engine_bt);
}

#define cache_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

/* A unit of nothing, at this linear address and place in RAM. */
static struct bt_unit *add_straddling(
	struct bt_mode mode, uint64_t rip, uint64_t key, uint64_t second)
{
	struct bt_unit *unit = cache_take(bt, sizeof(*unit));

	*unit = (struct bt_unit){
		.rip = rip, .key = key, .second = second, .mode = mode, .size = 16};
	unit->code_page = (uint16_t)cache_code_page(bt, key >> PAGE_SHIFT);
	unit->code = unit->linked = unit->entry = cache_code_start(bt);
	cache_code_used(bt, unit->code + unit->size);
	cache_add(bt, unit);
	cache_listen(bt, key >> PAGE_SHIFT);
	if (second != UNIT_ONE_PAGE)
		cache_listen(bt, second >> PAGE_SHIFT);
	return unit;
}

static struct bt_unit *add_unit_of(struct bt_mode mode, uint64_t rip, uint64_t key)
{
	return add_straddling(mode, rip, key, UNIT_ONE_PAGE);
}

static struct bt_unit *add_unit(uint64_t rip, uint64_t key)
{
	return add_unit_of(windowed, rip, key);
}

static struct bt_unit *find(struct bt *of, uint64_t rip, uint64_t key, struct bt_mode mode)
{
	struct bt_unit *unit = cache_find(of, rip, key, mode);

	return unit && !unit->dropped ? unit : NULL;
}

static struct bt_unit *find_stale(struct bt *of, uint64_t rip, uint64_t key, struct bt_mode mode)
{
	struct bt_unit *unit = cache_find(of, rip, key, mode);

	return unit && unit->dropped ? unit : NULL;
}

/* --- jump tables --- */

/* The unit that translated code gets to by its jump table and code map. */
static struct bt_unit *reached(struct bt *of, uint64_t rip, struct bt_mode mode)
{
	uintptr_t entry = of->jump[bt_mode_table(mode)][rip % JUMP_ENTRIES];
	struct bt_unit *unit;

	if (entry == of->glue.miss)
		return NULL;
	unit = ((struct bt_unit **)entry)[-1];
	return unit->rip == bt_mode_offset(mode, rip) &&
			       of->code_map[mode.user][unit->code_page] == CODE_PLACE(rip)
		       ? unit
		       : NULL;
}

#define LOCAL  UINT64_C(0x401230)
#define GLOBAL UINT64_C(0xffffffff81004560)

static void enter_both(void)
{
	static struct bt_unit *local, *global;
	static struct bt *of;

	if (of != bt) {
		local = add_unit(LOCAL, 0x5230);
		global = add_unit(GLOBAL, 0x6560);
		of = bt;
	}
	cache_enter_jump(bt, local, local->rip, false);
	cache_enter_jump(bt, global, global->rip, true);
}

/* 'l' and 'g' where they are in the table. */
static const char *left_by(enum tlb_flush what, uint64_t linear)
{
	static const char *const both[] = {"", "l", "g", "lg"};

	enter_both();
	cache_flush_jumps(bt, what, linear);
	return both[(reached(bt, LOCAL, windowed) != NULL) +
		    2 * (reached(bt, GLOBAL, windowed) != NULL)];
}

static void flushes_empty_jump_tables(void **state)
{
	assert_string_equal(left_by(TLB_FLUSH_PCID, 0), "lg"); /* of another PCID */
	assert_string_equal(left_by(TLB_FLUSH_NON_GLOBAL, 0), "g");
	assert_string_equal(left_by(TLB_FLUSH_SPACE_KEPT, 0), "g");
	assert_string_equal(left_by(TLB_FLUSH_ALL, 0), "");
	assert_string_equal(left_by(TLB_FLUSH_KEYS, 0), "lg"); /* of data only */
	assert_string_equal(left_by(TLB_FLUSH_PAGE, LOCAL & PAGE_MASK), "g");
	assert_string_equal(left_by(TLB_FLUSH_PAGE, GLOBAL & PAGE_MASK), "l");
	assert_string_equal(left_by(TLB_FLUSH_PAGE, GLOBAL + PAGE_SIZE), "lg");
	assert_string_equal(left_by(TLB_FLUSH_LARGE_PAGE, GLOBAL & -(2 * MIB)), "");
}

/* User code is known by its place in a page, wherever that is. */
static void code_that_moves(void **state)
{
	const struct bt_mode user = {.user = true, .windows = true};
	const uint64_t a = UINT64_C(0x7f0000001230), b = UINT64_C(0x550000002230);
	struct bt_unit *unit = add_unit_of(user, 0x230, 0x5230), *other;

	assert_null(reached(bt, a, user));
	assert_ptr_equal(find(bt, a, 0x5230, user), unit);
	assert_null(find(bt, a + 1, 0x5230, user));
	cache_enter_jump(bt, unit, a, false);
	assert_ptr_equal(reached(bt, a, user), unit);
	/* A page is known at one place. */
	cache_enter_jump(bt, unit, b, false);
	assert_null(reached(bt, a, user));
	assert_ptr_equal(reached(bt, b, user), unit);
	assert_null(reached(bt, b + BIT(28), user));
	cache_flush_jumps(bt, TLB_FLUSH_PAGE, a & PAGE_MASK);
	cache_enter_jump(bt, unit, b, false);
	assert_ptr_equal(reached(bt, b, user), unit);
	cache_flush_jumps(bt, TLB_FLUSH_PAGE, b & PAGE_MASK);
	assert_null(reached(bt, b, user));
	/* Another page lies there now. */
	other = add_unit_of(user, 0x230, 0x9230);
	cache_enter_jump(bt, other, a, false);
	assert_ptr_equal(reached(bt, a, user), other);
	cache_enter_jump(bt, unit, a, false);
	assert_ptr_equal(reached(bt, a, user), unit);
	cache_flush_jumps(bt, TLB_FLUSH_NON_GLOBAL, 0);
	assert_null(reached(bt, a, user));
}

/* The hash grows with the units; what was forgotten does not come back by that. */
static void many_units_are_found(void **state)
{
	struct bt_unit *gone = add_unit(0x30, 0x30);

	assert_true(cache_remove(bt, gone));
	for (uint64_t i = 1; i <= 40000; i++)
		add_unit(0x10 * i, 0x10 * (i % 0x1000) | i / 0x1000 << 1);
	for (uint64_t i = 1; i <= 40000; i++)
		assert_non_null(
			find(bt, 0x10 * i, 0x10 * (i % 0x1000) | i / 0x1000 << 1, windowed));
	assert_null(find_stale(bt, 0x30, 0x30, windowed));
	cache_flush(bt);
	for (uint64_t i = 1; i <= 40000; i++)
		assert_null(find(bt, 0x10 * i, 0x10 * (i % 0x1000) | i / 0x1000 << 1, windowed));
}

/* Two places with the same low bits: what a flush could not name is not known. */
static void no_place_escapes_a_flush(void **state)
{
	const struct bt_mode user = {.user = true, .windows = true};
	const uint64_t a = UINT64_C(0x7f0000001230), c = a + BIT(28) + 0x1000 * 0x100;
	struct bt_unit *first = add_unit_of(user, 0x230, 0x5230);
	struct bt_unit *second = add_unit_of(user, 0x230, 0x9230);

	cache_enter_jump(bt, first, a, false);
	cache_enter_jump(bt, second, a + BIT(28), false);
	cache_flush_jumps(bt, TLB_FLUSH_PAGE, a & PAGE_MASK);
	assert_int_equal(bt->code_map[true][first->code_page], CODE_PLACE_UNKNOWN);
	assert_int_equal(bt->code_map[true][second->code_page], CODE_PLACE_UNKNOWN);
	cache_enter_jump(bt, first, a, false);
	cache_enter_jump(bt, second, c, false);
	cache_flush_jumps(bt, TLB_FLUSH_PAGE, a & PAGE_MASK);
	assert_int_equal(bt->code_map[true][first->code_page], CODE_PLACE_UNKNOWN);
	assert_int_equal(bt->code_map[true][second->code_page], CODE_PLACE(c));
	/* Numbers begin anew with an empty cache. */
	cache_flush(bt);
	assert_int_equal(cache_code_page(bt, 7), 1);
	assert_int_equal(cache_code_page(bt, 5), 2);
	assert_int_equal(cache_code_page(bt, 7), 1);
}

/* --- the soft TLB --- */

static bool soft_hit(uint64_t linear, bool write)
{
	const struct soft_tlb *tlb = &bt->soft_tlb[TLB_SUPERVISOR];
	unsigned index = (linear >> PAGE_SHIFT) & (SOFT_TLB_SIZE - 1);

	return (write ? tlb->minus_write : tlb->minus_read)[index] == -(linear & PAGE_MASK);
}

static void fill(uint64_t linear, bool writable, bool global)
{
	soft_tlb_fill(bt, TLB_SUPERVISOR, linear, memory.ram, writable, global);
}

static void soft_entries_have_rights(void **state)
{
	fill(0x5000, true, false);
	fill(0x6000, false, false);
	assert_true(soft_hit(0x5000, false) && soft_hit(0x5000, true));
	assert_true(soft_hit(0x6000, false) && !soft_hit(0x6000, true));
	assert_false(soft_hit(0x7000, false) || soft_hit(0x7000, true));
}

static void flushes_empty_the_soft_tlb(void **state)
{
	fill(0x5000, true, false);
	fill(0x6000, true, true);
	soft_tlb_flush(bt, TLB_FLUSH_NON_GLOBAL, 0);
	assert_true(!soft_hit(0x5000, false) && soft_hit(0x6000, true));
	fill(0x5000, true, false);
	soft_tlb_flush(bt, TLB_FLUSH_PAGE, 0x6000);
	assert_true(soft_hit(0x5000, false) && !soft_hit(0x6000, true));
	fill(0x6000, true, true);
	soft_tlb_flush(bt, TLB_FLUSH_LARGE_PAGE, 0x5000);
	assert_false(soft_hit(0x5000, false) || soft_hit(0x6000, true));
}

/* More have been made than the list of those that are not global has room for. */
static void no_soft_entry_escapes_the_list(void **state)
{
	for (unsigned i = 0; i < SOFT_TLB_SIZE; i++)
		fill(0x5000, true, false);
	fill(0x6000, true, false);
	soft_tlb_flush(bt, TLB_FLUSH_NON_GLOBAL, 0);
	assert_false(soft_hit(0x5000, false) || soft_hit(0x6000, true));
}

/* --- stores to code --- */

static void written_pages_lose_their_units(unsigned count)
{
	for (unsigned i = 0; i <= count; i++)
		add_unit(i * PAGE_SIZE + 0x10, i * PAGE_SIZE + 0x10);
	for (unsigned i = 0; i < count; i++)
		cache_page_written(bt, i);
	assert_true(atomic_load(&bt->code.drops_pending));
	cache_process_drops(bt);
	assert_false(atomic_load(&bt->code.drops_pending));
	for (unsigned i = 0; i < count; i++)
		assert_null(find(bt, i * PAGE_SIZE + 0x10, i * PAGE_SIZE + 0x10, windowed));
}

static void few_pages_are_dropped_one_by_one(void **state)
{
	written_pages_lose_their_units(3);
	assert_non_null(find(bt, 3 * PAGE_SIZE + 0x10, 3 * PAGE_SIZE + 0x10, windowed));
}

static void too_many_pages_are_all_dropped(void **state)
{
	written_pages_lose_their_units(MANY);
}

/* Its page, from `from` on, whose units are listed beside those of `page`, or are not. */
static uint64_t page_listed(uint64_t page, uint64_t from, bool beside)
{
	while ((cache_page_list(bt, from) == cache_page_list(bt, page)) != beside)
		from++;
	return from;
}

/* A unit of two pages is dropped with either, and the other units of both pages are found as
 * before; whether or not the pages are in one list. */
static void straddling_units_have_two_pages(void **state)
{
	const uint64_t first = 3;

	for (unsigned beside = 0; beside < 2; beside++)
		for (unsigned written = 0; written < 2; written++) {
			uint64_t second = page_listed(first, 5, beside), at = 0x7ffe;
			uint64_t pages[] = {first, second};
			uint64_t keys[] = {first << PAGE_SHIFT | 0xffe, first << PAGE_SHIFT | 0x10,
				second << PAGE_SHIFT | 0x10};

			cache_flush(bt);
			add_unit(0x7010, keys[1]);
			add_straddling(windowed, at, keys[0], second << PAGE_SHIFT);
			add_unit(0x8010, keys[2]);
			cache_page_written(bt, pages[written]);
			cache_process_drops(bt);
			assert_null(find(bt, at, keys[0], windowed));
			assert_non_null(find_stale(bt, at, keys[0], windowed));
			assert_true(!find(bt, 0x7010, keys[1], windowed) == (written == 0));
			assert_true(!find(bt, 0x8010, keys[2], windowed) == (written == 1));
			assert_true(cache_remove(bt, find_stale(bt, at, keys[0], windowed)));
			assert_null(find_stale(bt, at, keys[0], windowed));
			/* Both lists still lead to the others. */
			cache_page_written(bt, pages[!written]);
			cache_process_drops(bt);
			assert_non_null(find_stale(bt, 0x7010, keys[1], windowed));
			assert_non_null(find_stale(bt, 0x8010, keys[2], windowed));
		}
}

/* --- room --- */

/* Empty the region that is filled now, and go on in it. */
static void empty_this_region(void)
{
	for (unsigned i = 0; i < CODE_REGIONS; i++)
		cache_make_room(bt);
}

static uint64_t jump_entry(uint64_t rip)
{
	return bt->jump[bt_mode_table(windowed)][rip & (JUMP_ENTRIES - 1)];
}

/* The units that were made first are forgotten first, the others stay. */
static void room_is_made_region_by_region(void **state)
{
	struct bt_unit *unit[CODE_REGIONS];

	for (unsigned i = 0; i < CODE_REGIONS; i++) {
		unit[i] = add_unit(0x1000 * i + 8, 0x1000 * i + 8);
		cache_enter_jump(bt, unit[i], unit[i]->rip, false);
		cache_make_room(bt);
	}
	assert_null(find(bt, unit[0]->rip, unit[0]->key, windowed));
	assert_int_equal(jump_entry(8), bt->glue.miss);
	for (unsigned i = 1; i < CODE_REGIONS; i++) {
		assert_int_equal(jump_entry(0x1000 * i + 8), unit[i]->code);
		assert_ptr_equal(find(bt, 0x1000 * i + 8, unit[i]->key, windowed), unit[i]);
	}
	assert_int_equal(bt->stats.regions_emptied, 1);
	assert_int_equal(bt->stats.cache_flushes, 0);
}

/* A jump that was patched to lead to a forgotten unit leads to its exit again. */
static void jumps_to_forgotten_units_are_exits_again(void **state)
{
	struct bt_unit *to = add_unit(8, 8), *from;
	struct bt_exit exit = {.kind = BT_EXIT_BRANCH, .to = to}, *made;
	uint32_t id;

	cache_make_room(bt);
	from = add_unit(0x1008, 0x1008);
	exit.unit = from;
	exit.patch = (uint32_t)from->code;
	exit.unlinked = from->code + 11;
	assert_true(cache_add_exit(bt, &exit, &id));
	made = cache_exit(bt, id);
	emit_patch(bt, made->patch, to->entry);
	for (unsigned i = 2; i < CODE_REGIONS; i++)
		cache_make_room(bt);
	assert_int_equal(emit_patch_target(bt, made->patch), to->entry);
	cache_make_room(bt);
	assert_int_equal(emit_patch_target(bt, made->patch), from->code + 11);
	assert_null(made->to);
}

/* Where that jump is the first thing in a stale unit, the way to its gate is in its place. */
static void jumps_of_stale_units_are_exits_again(void **state)
{
	struct bt_unit *to = add_unit(8, 8), *from;
	struct bt_exit exit = {.kind = BT_EXIT_BRANCH, .to = to};
	uint32_t id;

	cache_make_room(bt);
	from = add_unit(0x1008, 0x1008);
	emit_redirect(bt, from->entry, to->entry);
	exit.unit = from;
	exit.patch = (uint32_t)from->entry + 1;
	exit.unlinked = from->code + 11;
	assert_true(cache_add_exit(bt, &exit, &id));
	assert_true(stale_make(bt, from));
	for (unsigned i = 1; i < CODE_REGIONS; i++)
		cache_make_room(bt);
	assert_null(cache_exit(bt, id)->to);
	assert_int_equal(emit_patch_target(bt, exit.patch), from->gate);
	assert_true(stale_take_back(bt, from));
	assert_int_equal(emit_patch_target(bt, exit.patch), exit.unlinked);
}

/* An instruction is decoded in the region that is being filled, which may not be its unit's. */
static void decoded_instructions_are_forgotten(void **state)
{
	struct bt_exit exit = {.kind = BT_EXIT_INTERPRET};
	uint32_t id;

	add_unit(0x1008, 0x1008);
	exit.insns = cache_take(bt, 2 * sizeof(*exit.insns));
	cache_make_room(bt);
	exit.unit = add_unit(8, 8);
	assert_true(cache_add_exit(bt, &exit, &id));
	for (unsigned i = 2; i < CODE_REGIONS; i++)
		cache_make_room(bt);
	assert_ptr_equal(cache_exit(bt, id)->insns, exit.insns);
	cache_make_room(bt);
	assert_null(cache_exit(bt, id)->insns);
}

/* A unit inherits the gate of one in an older region. When that is emptied the unit stays, without
 * the gate, unless it is stale, and its entry leads there. */
static void gates_of_forgotten_units_are_closed(void **state)
{
	for (unsigned stale = 0; stale < 2; stale++) {
		struct bt_unit *old, *new;

		cache_flush(bt);
		old = add_unit(8, 8);
		assert_true(cache_remove(bt, old));
		cache_make_room(bt);
		new = add_unit(8, 8);
		stale_succeed(bt, old, new);
		if (stale)
			assert_true(stale_make(bt, new));
		for (unsigned i = 1; i < CODE_REGIONS; i++)
			cache_make_room(bt);
		if (stale) {
			assert_null(find_stale(bt, 8, 8, windowed));
		} else {
			assert_ptr_equal(find(bt, 8, 8, windowed), new);
			assert_int_equal(new->gate, 0);
		}
	}
}

/* The other way round: who comes by the gate of a forgotten unit looks for one anew. */
static void gates_to_forgotten_units_lead_to_miss(void **state)
{
	struct bt_unit *unit = add_unit(8, 8), *stays;
	uintptr_t gate, to_miss;

	cache_make_room(bt);
	stays = add_unit(0x1008, 0x1008);
	assert_true(stale_make(bt, unit) && stale_make(bt, stays));
	gate = unit->gate;
	to_miss = emit_patch_target(bt, gate + 1);
	emit_redirect(bt, gate, unit->entry); /* as for a unit that has taken another's place */
	for (unsigned i = 1; i < CODE_REGIONS; i++)
		cache_make_room(bt);
	assert_int_equal(emit_patch_target(bt, gate + 1), to_miss);
	assert_ptr_equal(find_stale(bt, 0x1008, 0x1008, windowed), stays);
	assert_null(find_stale(bt, 8, 8, windowed));
	empty_this_region();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cache_test(flushes_empty_jump_tables),
		cache_test(code_that_moves),
		cache_test(many_units_are_found),
		cache_test(no_place_escapes_a_flush),
		cache_test(soft_entries_have_rights),
		cache_test(flushes_empty_the_soft_tlb),
		cache_test(no_soft_entry_escapes_the_list),
		cache_test(few_pages_are_dropped_one_by_one),
		cache_test(too_many_pages_are_all_dropped),
		cache_test(straddling_units_have_two_pages),
		cache_test(room_is_made_region_by_region),
		cache_test(jumps_to_forgotten_units_are_exits_again),
		cache_test(jumps_of_stale_units_are_exits_again),
		cache_test(decoded_instructions_are_forgotten),
		cache_test(gates_of_forgotten_units_are_closed),
		cache_test(gates_to_forgotten_units_lead_to_miss),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
