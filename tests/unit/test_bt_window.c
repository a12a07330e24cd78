/* Windows: pages enter them with the rights and the A and D bits that a processor would have given,
 * and leave when a guest's flush says so; code is read-only in them; limits hold; and, with random
 * page tables and flushes, what a window shows is what the page tables say. */
#include "window_fixture.h"
#include "sanitized.h"

#include <sys/resource.h>

/* Is all of [start, end) reserved with no right to anything? */
static bool inaccessible(uint64_t start, uint64_t end)
{
	FILE *file = fopen("/proc/self/maps", "re");
	uint64_t from, to;
	char rights[8];

	assert_non_null(file);
	while (start < end && fscanf(file, "%lx-%lx %7s%*[^\n]", &from, &to, rights) == 3)
		if (from <= start && start < to && strcmp(rights, "---p") == 0)
			start = to;
	fclose(file);
	return start >= end;
}

/* The upper address bits that a processor may ignore, if only speculatively: 48 to 63, or 57 to
 * 63. */
static void slot_without_window_leads_nowhere(void **state)
{
	uint64_t nowhere = windows_no_delta(0), first = nowhere - WINDOW_GUARD;
	uint64_t end = nowhere + WINDOW_SIZE + WINDOW_GUARD;

	assert_true(first > 0 && end < BIT(47));
	assert_true(inaccessible(first, end));
	for (unsigned slot = 0; slot < SLOTS; slot++)
		for (unsigned top = 0; top < 512; top += slot % 256 ? 511 : 1) {
			uint64_t start = (uint64_t)top << 55 | (uint64_t)slot << SLOT_SHIFT;
			uint64_t delta = bt->delta[slot & 1][slot];

			for (int side = 0; side < 4; side++) {
				uint64_t drift[] = {-WINDOW_GUARD, 0, WINDOW_SIZE - 1,
					WINDOW_SIZE - 1 + WINDOW_GUARD};
				uint64_t at = (start + delta + drift[side]) & (BIT(48) - 1);

				if (at < first || at >= end)
					fail_msg("slot %#x top %#x leads to %#lx", slot, top, at);
			}
		}
	for (unsigned view = 0; view < 2; view++)
		for (unsigned slot = 0; slot < SLOTS; slot++)
			if (bt->delta[view][slot] != windows_no_delta((uint16_t)slot))
				fail_msg("slot %#x of view %u leads elsewhere", slot, view);
}

static void first_access_sets_a_then_d(void **state)
{
	uint64_t value, linear;

	map_high(3, (FRAME + 0x3000) | P | W);
	assert_loads(high(3) + 0, 0x1003);
	assert_int_equal(get(PT_UP + 3 * 8, 8) & (A | D), A);
	assert_false(mapped(high(3), true));
	assert_true(store(high(3), 77));
	assert_int_equal(get(PT_UP + 3 * 8, 8) & (A | D), A | D);
	assert_int_equal(get(FRAME + 0x3000, 8), 77);
	assert_true(mapped(high(3), true));
	assert_int_equal(bt->stats.hidden_faults, 2);
	assert_int_equal(bt->stats.true_faults, 0);
	assert_true(windows_linear(bt, (uintptr_t)host_of(high(3) + 5, false), &linear));
	assert_int_equal(linear, high(3) + 5);
	assert_false(windows_linear(bt, (uintptr_t)&value, &linear));
	/* Written first: both at once, and one fault. */
	map_high(9, (FRAME + 0x9000) | P | W);
	assert_true(store(high(9), 78));
	assert_int_equal(get(PT_UP + 9 * 8, 8) & (A | D), A | D);
	assert_int_equal(bt->stats.hidden_faults, 3);
	assert_true(load(high(9), &value));
	assert_int_equal(value, 78);
}

static void young_space_has_no_windows(void **state)
{
	uint64_t value;

	map_low(0, FRAME | P | W | U);
	assert_false(windows_is_mature(bt));
	assert_false(load_twice(low(0), &value));
	mature();
	assert_false(load(low(0), &value)); /* a page that is touched once is not worth it */
	assert_true(load(low(0), &value));
	assert_int_equal(value, 0x1000);
}

static void rights_are_kept(void **state)
{
	uint64_t value;

	mature();
	map_low(0, FRAME | P | W);                /* the supervisor's */
	map_low(1, (FRAME + 0x1000) | P | U | A); /* read-only */
	map_high(0, (FRAME + 0x2000) | P | A);    /* read-only */
	put(PT_UP + 8, 0, 8);                     /* not there */
	assert_false(load_twice(low(0), &value));
	assert_loads(low(1), 0x1001);
	assert_false(store(low(1), 1) || store(low(1), 1));
	assert_loads(high(0), 0x1002);
	assert_false(store(high(0), 1));
	assert_false(load(high(1), &value));
	assert_int_equal(bt->stats.true_faults, 2 + 2 + 1 + 1);
	/* The user's view has no upper half, and the supervisor's no lower one. */
	assert_false(reach(high(0), false, true, &value));
	assert_false(reach(low(1), false, false, &value));
	assert_false(windows_fault(bt, UINT64_C(0x0000800000000000), false, true));
	assert_false(windows_fault(bt, UINT64_C(0xffff7ffffffff000), false, false));
	assert_false(windows_fault(bt, -UINT64_C(8), false, false));
}

static void no_ram_is_not_mapped(void **state)
{
	uint64_t value;

	map_high(0, 0xa0000 | P | W);
	map_high(1, RAM_SIZE | P | W);
	map_high(2, (FRAME + 0x5000) | P | W | A | D);
	map_high(3, (FRAME + 0x6000) | P | W | A | D);
	assert_false(load(high(0), &value));
	assert_false(load(high(1), &value));
	cpu->apic_page = FRAME + 0x5000;
	assert_false(load(high(2), &value));
	cpu->dr[0] = high(3) + 8;
	cpu->dr7 |= 1 | 3 << 16;
	assert_false(load(high(3), &value));
	/* And what is mapped goes when the APIC page comes there. */
	cpu->dr7 = 0x400;
	cpu->apic_page = ~UINT64_C(0);
	assert_loads(high(2), 0x1005);
	cpu->apic_page = FRAME + 0x5000;
	tlb_flush_all(cpu);
	assert_false(mapped(high(2), false));
}

static void invlpg_drops_the_page(void **state)
{
	mature();
	map_low(0, FRAME | P | W | U | A | D);
	map_low(1, (FRAME + 0x2000) | P | W | U | A | D);
	map_high(0, FRAME | P | W | A | D | G);
	assert_loads(low(0), 0x1000);
	assert_loads(low(1), 0x1002);
	assert_loads(high(0), 0x1000);
	/* Not flushed: the old translation stays, as in a TLB. */
	map_low(0, (FRAME + 0x7000) | P | W | U | A | D);
	map_high(0, (FRAME + 0x8000) | P | W | A | D | G);
	assert_loads(low(0), 0x1000);
	assert_loads(high(0), 0x1000);
	tlb_flush_page(cpu, low(0));
	tlb_flush_page(cpu, high(0));
	assert_true(mapped(low(1), true));
	assert_false(mapped(low(0), false));
	assert_loads(low(0), 0x1007);
	assert_loads(high(0), 0x1008);
	/* More pages than are recorded singly. */
	for (unsigned i = 0; i < 64; i++)
		tlb_flush_page(cpu, low(i));
	assert_true(mapped(low(1), true));
	map_low(1, 0);
	for (unsigned i = 0; i < 64; i++)
		tlb_flush_page(cpu, low(i));
	assert_false(mapped(low(1), true));
	assert_true(mapped(low(0), true));
}

static void flush_looks_up_again(void **state)
{
	uint64_t maps;

	mature();
	for (unsigned i = 0; i < 8; i++) {
		map_low(i, (FRAME + 0x2000 * i) | P | W | U | A | D);
		assert_loads(low(i), 0x1000 + 2 * i);
	}
	maps = bt->stats.maps;
	map_low(1, (FRAME + 0x2000) | P | W | U | D);     /* A cleared */
	map_low(2, (FRAME + 0x4000) | P | W | U | A);     /* D cleared */
	map_low(3, (FRAME + 0xe000) | P | W | U | A | D); /* moved */
	map_low(4, 0);                                    /* gone */
	map_low(5, (FRAME + 0xa000) | P | W | A | D);     /* the supervisor's */
	map_low(6, (FRAME + 0xc000) | P | U | A | D);     /* write-protected */
	tlb_flush_non_global(cpu);
	assert_true(mapped(low(0), true));
	assert_false(mapped(low(1), false));
	assert_true(mapped(low(2), false));
	assert_false(mapped(low(2), true));
	assert_false(mapped(low(3), false));
	assert_false(mapped(low(4), false));
	assert_false(mapped(low(5), false));
	assert_true(mapped(low(6), false));
	assert_false(mapped(low(6), true));
	assert_true(mapped(low(7), true));
	assert_int_equal(bt->stats.maps, maps);
	assert_loads(low(1), 0x1002);
	assert_int_equal(get(PT + 8, 8) & (A | D), A | D);
	assert_true(store(low(2), 5));
	assert_int_equal(get(PT + 16, 8) & (A | D), A | D);
}

static void flush_looks_up_upper_entries_again(void **state)
{
	static const struct {
		uint64_t entry;
		bool reads, writes;
	} directory[] = {
		{PT | P | W | U | A, true, true},
		{PT | P | U | A, true, false},
		{PT | P | W | U, false, false},
		{PT | P | W | A, false, false},
		{PT | W | U | A, false, false},
		{FRAME | P | W | U | A | D | PS, false, false},
		{PT_UP | P | W | U | A, false, false},
	};

	mature();
	for (unsigned i = 0; i < ARRAY_SIZE(directory); i++) {
		put(PD + 8, PT | P | W | U | A, 8);
		tlb_flush_non_global(cpu);
		for (unsigned page = 0; page < 3; page++) {
			map_low(page, (FRAME + page * PAGE_SIZE) | P | W | U | A | D);
			/* Where the page is not mapped it goes in with the second fault. */
			assert_true(store(low(page), 1) || store(low(page), 1));
		}
		put(PD + 8, directory[i].entry, 8);
		tlb_flush_non_global(cpu);
		for (unsigned page = 0; page < 3; page++) {
			assert_int_equal(mapped(low(page), false), directory[i].reads);
			assert_int_equal(mapped(low(page), true), directory[i].writes);
		}
	}
}

#define KEEP     BIT(63)
#define KEY(key) ((uint64_t)(key) << 59)

static void keys_put_only_their_pages_in_doubt(void **state)
{
	uint64_t looked_up;

	cpu->cr4 |= CR4_PKE | CR4_PCIDE;
	mature();
	for (unsigned i = 0; i < 6; i++) {
		map_low(i, (FRAME + 0x2000 * i) | P | W | U | A | D | KEY(i / 2));
		assert_loads(low(i), 0x1000 + 2 * i);
	}
	looked_up = bt->stats.revalidations;
	fpu_set_pkru(cpu, 2 << 2); /* no writes with key 1 */
	for (unsigned i = 0; i < 6; i++) {
		assert_true(mapped(low(i), false));
		assert_int_equal(mapped(low(i), true), i / 2 != 1);
	}
	fpu_set_pkru(cpu, 1 << 2 | 2 << 4); /* no access with key 1, no writes with 2 */
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(mapped(low(i), false), i / 2 != 1);
		assert_int_equal(mapped(low(i), true), i / 2 == 0);
	}
	assert_int_equal(bt->stats.revalidations, looked_up + 8);
	/* Another key takes effect with the flush of its page. */
	map_low(0, FRAME | P | W | U | A | D | KEY(2));
	tlb_flush_non_global(cpu);
	assert_false(mapped(low(0), true));
	assert_loads(low(0), 0x1000);
	assert_false(mapped(low(0), true));
	fpu_set_pkru(cpu, 2); /* no writes with key 0 */
	assert_false(mapped(low(1), true));
	assert_true(store(low(0), 5));
	/* A space that is not the current one. */
	fpu_set_pkru(cpu, 0);
	assert_true(mapped(low(1), false));
	load_cr3(KEEP | ROOT_B);
	looked_up = bt->stats.revalidations;
	fpu_set_pkru(cpu, 1 << 4);
	load_cr3(KEEP | ROOT);
	assert_false(mapped(low(0), false));
	assert_true(mapped(low(1), false));
	assert_int_equal(bt->stats.revalidations, looked_up + 3);
}

/* How many pages are looked up after a flush? */
static unsigned looked_up(void (*flush)(struct cpu *cpu))
{
	uint64_t before = bt->stats.revalidations;

	flush(cpu);
	assert_true(mapped(low(0), false));
	return (unsigned)(bt->stats.revalidations - before);
}

static void tracing_spares_look_ups(void **state)
{
	mature();
	for (unsigned i = 0; i < 8; i++) {
		map_low(i, (FRAME + 0x2000 * i) | P | W | U | A);
		assert_loads(low(i), 0x1000 + 2 * i);
	}
	assert_int_equal(looked_up(tlb_flush_non_global), 8);
	assert_int_equal(looked_up(tlb_flush_non_global), 8); /* now they are traced */
	assert_int_equal(looked_up(tlb_flush_non_global), 0);
	/* A walk that sets a bit is no store. */
	assert_true(store(low(3), 0x1006));
	assert_int_equal(get(PT + 24, 8) & D, D);
	assert_int_equal(looked_up(tlb_flush_non_global), 0);
	/* One that came later; it needed no store, for it was there already. */
	assert_int_equal(looked_up(tlb_flush_all), 8);
	assert_int_equal(looked_up(tlb_flush_all), 8);
	assert_int_equal(looked_up(tlb_flush_non_global), 0);
	/* A store to each of the tables, by whatever address, through whatever space. */
	const uint64_t tables[] = {ROOT, PDPT, PD, PT};
	for (unsigned i = 0; i < 4; i++) {
		put(tables[i] + 0xff8, 0, 8);
		assert_int_equal(looked_up(tlb_flush_non_global), 8);
		assert_int_equal(looked_up(tlb_flush_non_global), 8);
		assert_int_equal(looked_up(tlb_flush_non_global), 0);
	}
	/* What was stored is seen after the flush. */
	map_low(5, 0);
	assert_true(mapped(low(5), false));
	assert_int_equal(looked_up(tlb_flush_non_global), 8);
	assert_false(mapped(low(5), false));
	assert_int_equal(looked_up(tlb_flush_non_global), 7);
	assert_int_equal(looked_up(tlb_flush_non_global), 0);
	/* Another table in the place of this one. */
	put(PD + 8, PT_UP | P | W | U, 8);
	map_high(0, (FRAME + 0x6000) | P | W | U | A);
	tlb_flush_non_global(cpu);
	assert_false(mapped(low(0), false));
	mature(); /* nothing of it was left */
	assert_loads(low(0), 0x1006);
}

static void traced_tables_are_bounded(void **state)
{
	uint32_t version;

	mature();
	map_low(0, FRAME | P | W | U | A);
	assert_loads(low(0), 0x1000);
	for (unsigned i = 0; i < 3; i++)
		looked_up(tlb_flush_non_global);
	assert_int_equal(looked_up(tlb_flush_non_global), 0);
	version = memory_table_trace(cpu->memory, 1);
	assert_int_equal(memory_table_trace(cpu->memory, 1), version);
	for (unsigned i = 0; i <= MEMORY_TABLES_MAX; i++)
		memory_table_trace(cpu->memory, i);
	assert_true(cpu->memory->tables <= MEMORY_TABLES_MAX);
	assert_int_not_equal(cpu->memory->table_version[1], version);
	assert_int_equal(looked_up(tlb_flush_non_global), 1);
}

static void global_pages_survive_cr3(void **state)
{
	uint64_t looked_up;

	map_high(0, FRAME | P | W | A | D | G);
	map_high(1, (FRAME + 0x3000) | P | W | A | D);
	assert_loads(high(0), 0x1000);
	assert_loads(high(1), 0x1003);
	map_high(0, 0);
	map_high(1, 0);
	looked_up = bt->stats.revalidations;
	load_cr3(ROOT_B);
	assert_true(mapped(high(0), true));
	assert_false(mapped(high(1), false));
	assert_int_equal(bt->stats.revalidations, looked_up + 1);
	tlb_flush_all(cpu);
	assert_false(mapped(high(0), false));
}

/* A root of its own: only its lower half's last table differs. */
#define PDPT_B (TABLES + 0x11000)
#define PD_B   (TABLES + 0x12000)
#define PT_B   (TABLES + 0x13000)

static void second_space(void)
{
	put(ROOT_B + 8, PDPT_B | P | W | U, 8);
	put(PDPT_B + 8, PD_B | P | W | U, 8);
	put(PD_B + 8, PT_B | P | W | U, 8);
	cpu->cr4 |= CR4_PCIDE;
	tlb_flush_all(cpu);
}

static void pcid_keeps_spaces_apart(void **state)
{
	uint64_t looked_up, descriptor[2] = {1, 0};

	second_space();
	map_low(0, FRAME | P | W | U | A | D);
	put(PT_B, (FRAME + 0x1000) | P | W | U | A | D, 8);
	load_cr3(ROOT | 1);
	mature();
	assert_loads(low(0), 0x1000);
	load_cr3(ROOT_B | 2);
	assert_false(windows_is_mature(bt));
	mature();
	assert_loads(low(0), 0x1001);
	looked_up = bt->stats.revalidations;
	/* Back and forth with nothing flushed: nothing is looked up, stale or not. */
	for (unsigned i = 0; i < 3; i++) {
		load_cr3(KEEP | ROOT | 1);
		assert_true(mapped(low(0), true));
		assert_loads(low(0), 0x1000);
		load_cr3(KEEP | ROOT_B | 2);
		assert_loads(low(0), 0x1001);
	}
	map_low(0, (FRAME + 0x5000) | P | W | U | A | D);
	load_cr3(KEEP | ROOT | 1);
	assert_loads(low(0), 0x1000);
	load_cr3(KEEP | ROOT_B | 2);
	assert_int_equal(bt->stats.revalidations, looked_up);
	/* INVPCID of the other one. */
	cpu->cpl = 0;
	memory_write(&memory, FRAME + 0x1ff000, descriptor, sizeof(descriptor));
	map_high(0, (FRAME + 0x1ff000) | P | W | A | D | G);
	insn_invpcid(cpu, 1, high(0));
	assert_true(mapped(low(0), true));
	assert_int_equal(bt->stats.revalidations, looked_up);
	load_cr3(KEEP | ROOT | 1);
	assert_false(mapped(low(0), false));
	assert_loads(low(0), 0x1005);
	/* The same root by another PCID has nothing cached. */
	map_low(0, (FRAME + 0x6000) | P | W | U | A | D);
	load_cr3(KEEP | ROOT | 3);
	assert_loads(low(0), 0x1006);
	/* A CR3 write without bit 63 flushes. */
	map_low(0, (FRAME + 0x7000) | P | W | U | A | D);
	load_cr3(KEEP | ROOT_B | 2);
	load_cr3(ROOT | 3);
	assert_loads(low(0), 0x1007);
}

/* INVLPG of a global page reaches it under every PCID, that of another one under its own PCID only;
 * but that in each space that has it (SDM vol. 3A 4.10.4.1). */
static void invlpg_reaches_other_spaces(void **state)
{
	second_space();
	map_low(0, FRAME | P | W | U | A | D | G);
	map_low(2, (FRAME + 0x2000) | P | W | U | A | D);
	load_cr3(ROOT | 1);
	mature();
	assert_loads(low(0), 0x1000);
	assert_loads(low(2), 0x1002);
	load_cr3(ROOT_B | 2);
	map_low(0, (FRAME + 0x5000) | P | W | U | A | D | G);
	map_low(2, (FRAME + 0x6000) | P | W | U | A | D);
	tlb_flush_page(cpu, low(2));
	load_cr3(KEEP | ROOT | 1);
	assert_loads(low(2), 0x1002);
	load_cr3(KEEP | ROOT_B | 2);
	tlb_flush_page(cpu, low(0));
	load_cr3(KEEP | ROOT | 1);
	assert_loads(low(0), 0x1005);
	/* Two roots under one PCID, where nothing was flushed between them. */
	map_low(2, (FRAME + 0x6000) | P | W | U | A | D);
	assert_loads(low(2), 0x1006);
	load_cr3(KEEP | ROOT_B | 1);
	mature();
	map_low(2, (FRAME + 0x8000) | P | W | U | A | D);
	tlb_flush_page(cpu, low(2));
	load_cr3(KEEP | ROOT | 1);
	assert_loads(low(2), 0x1008);
}

static void invpcid_all_reaches_other_spaces(void **state)
{
	uint64_t descriptor[2] = {0};

	second_space();
	map_low(0, FRAME | P | W | U | A | D);
	load_cr3(ROOT | 1);
	mature();
	assert_loads(low(0), 0x1000);
	load_cr3(ROOT_B | 2);
	map_low(0, (FRAME + 0x5000) | P | W | U | A | D);
	memory_write(&memory, FRAME + 0x1ff000, descriptor, sizeof(descriptor));
	map_high(0, (FRAME + 0x1ff000) | P | W | A | D | G);
	insn_invpcid(cpu, 3, high(0));
	load_cr3(KEEP | ROOT | 1);
	assert_loads(low(0), 0x1005);
}

/* The upper half has too many pages that are not global to be looked up under another PCID: it is
 * hidden. What is flushed meanwhile is looked up when it is shown again. */
static void hidden_upper_half_is_flushed(void **state)
{
	uint64_t descriptor[2] = {1, 0};

	second_space();
	for (unsigned i = 1; i < 64; i++)
		map_high(i, (FRAME + i * PAGE_SIZE) | P | W | A | D);
	memory_write(&memory, FRAME + 0x1ff000, descriptor, sizeof(descriptor));
	map_high(0, (FRAME + 0x1ff000) | P | W | A | D | G);
	load_cr3(ROOT | 1);
	for (unsigned i = 1; i < 64; i++)
		assert_loads(high(i), 0x1000 + i);
	load_cr3(KEEP | ROOT_B | 2);
	windows_use_space(bt);
	map_high(5, (FRAME + 0x7000) | P | W | A | D);
	insn_invpcid(cpu, 1, high(0));
	load_cr3(KEEP | ROOT | 1);
	assert_loads(high(5), 0x1007);
	assert_loads(high(6), 0x1006);
}

static void reused_root_is_young(void **state)
{
	mature();
	for (unsigned i = 0; i < 8; i++) {
		map_low(i, (FRAME + 0x2000 * i) | P | W | U | A | D);
		assert_loads(low(i), 0x1000 + 2 * i);
	}
	for (unsigned i = 0; i < 8; i++)
		map_low(i, (FRAME + 0x100000 + 0x2000 * i) | P | W | U | A | D);
	load_cr3(ROOT);
	cpu->cpl = 3;
	assert_false(windows_is_mature(bt));
	assert_int_equal(bt->delta[0][SLOT_OF(LOWER)], windows_no_delta(SLOT_OF(LOWER)));
}

static void spaces_are_bounded(void **state)
{
	windows_destroy(bt);
	windows_limits.spaces = 2;
	assert_int_equal(windows_create(bt), 0);
	for (unsigned i = 0; i < 6; i++) {
		uint64_t root = TABLES + 0x20000 + (i % 3) * 0x1000;

		fill_tables(root);
		map_low(0, FRAME | P | W | U | A | D);
		load_cr3(root);
		assert_false(windows_is_mature(bt));
		mature();
		assert_loads(low(0), 0x1000);
	}
}

/* --- large pages and code --- */

static void large_page_is_one_mapping(void **state)
{
	put(PD_UP + 16, FRAME | P | W | A | D | PS | G, 8);
	assert_loads(UPPER + 2 * MIB + 5 * PAGE_SIZE, 0x1005);
	assert_int_equal(bt->stats.maps, 1);
	for (unsigned i = 0; i < 512; i++)
		assert_true(mapped(UPPER + 2 * MIB + i * PAGE_SIZE, true));
	assert_int_equal(bt->windows->borders, 2);
	put(PD_UP + 16, 0, 8);
	tlb_flush_page(cpu, UPPER + 2 * MIB + 77 * PAGE_SIZE);
	assert_false(mapped(UPPER + 2 * MIB, false));
	assert_false(mapped(UPPER + 4 * MIB - PAGE_SIZE, false));
	assert_int_equal(bt->windows->borders, 0);
}

/* A page with a data breakpoint in it is never mapped, nor is one that it would come along with. */
static void large_page_with_a_breakpoint(void **state)
{
	uint64_t value, base = UPPER + 2 * MIB;

	put(PD_UP + 16, FRAME | P | W | A | D | PS, 8);
	cpu->dr[0] = base + 5 * PAGE_SIZE + 8;
	cpu->dr7 |= 1 | 3 << 16;
	assert_loads(base + 4 * PAGE_SIZE, 0x1004);
	assert_false(mapped(base + 5 * PAGE_SIZE, false));
	assert_false(load(base + 5 * PAGE_SIZE, &value));
	assert_loads(base + 6 * PAGE_SIZE, 0x1006);
}

static void large_page_is_clipped(void **state)
{
	uint64_t value, base = UPPER + 2 * MIB;

	put(PD_UP + 16, 0 | P | W | A | D | PS, 8);
	put(0x9f000, 11, 8);
	put(0xc0000, 12, 8);
	assert_loads(base + 0x9f000, 11);
	assert_false(load(base + 0xa0000, &value));
	assert_false(load(base + 0xbf000, &value));
	assert_loads(base + 0xc0000, 12);
	assert_int_equal(bt->stats.maps, 2);
	/* A flush of any address in it drops both pieces. */
	tlb_flush_page(cpu, base + 0x1ff000);
	assert_false(mapped(base, false));
	assert_false(mapped(base + 0xc0000, false));
	cpu->apic_page = 0x110000;
	assert_loads(base + 0xc0000, 12);
	assert_true(mapped(base + 0x10f000, true));
	assert_false(load(base + 0x110000, &value));
	assert_true(load(base + 0x111000, &value));
	assert_false(load(base + 0x110000, &value));
	/* 1 GiB is more than there is RAM. */
	put(PDPT_UP + 16, 0 | P | W | A | D | PS, 8);
	base = UPPER - BIT(30) - BIT(21) + 2 * GIB;
	assert_loads(base + FRAME + 0x5000, 0x1005);
	assert_true(mapped(base + RAM_SIZE - PAGE_SIZE, true));
	assert_false(load(base + RAM_SIZE, &value));
}

static void large_page_read_first(void **state)
{
	uint64_t linear = UPPER + 2 * MIB;

	put(PD_UP + 16, FRAME | P | W | PS, 8);
	memory_code_track(&memory, (FRAME >> PAGE_SHIFT) + 9, 0, 16);
	assert_loads(linear, 0x1000);
	assert_int_equal(get(PD_UP + 16, 8) & (A | D), A);
	assert_false(mapped(linear, true));
	assert_true(store(linear, 1));
	assert_int_equal(get(PD_UP + 16, 8) & (A | D), A | D);
	assert_true(mapped(linear + 511 * PAGE_SIZE, true));
	assert_false(mapped(linear + 9 * PAGE_SIZE, true));
	assert_int_equal(bt->windows->borders, 4);
}

static void code_is_read_only(void **state)
{
	uint64_t first = FRAME >> PAGE_SHIFT, large = UPPER + 2 * MIB;

	mature();
	map_low(0, FRAME | P | W | U | A | D);
	map_high(7, FRAME | P | W | A | D);
	put(PD_UP + 16, FRAME | P | W | A | D | PS, 8);
	assert_loads(low(0), 0x1000);
	assert_loads(high(7), 0x1000);
	assert_loads(large, 0x1000);
	assert_true(mapped(low(0), true));
	memory_code_track(&memory, first, 0, 16);
	windows_protect(bt, first, 1);
	windows_protect(bt, first, 1);
	assert_false(mapped(low(0), true));
	assert_false(mapped(high(7), true));
	assert_false(mapped(large, true));
	assert_true(mapped(low(0), false));
	assert_true(mapped(large + PAGE_SIZE, true));
	assert_false(store(low(0), 1) || store(low(0), 1));
	assert_false(store(large, 1));
	/* Mapped anew, it stays so. */
	tlb_flush_page(cpu, large);
	assert_true(store(large + PAGE_SIZE, 3));
	assert_false(mapped(large, true));
	/* When the code is gone, the next write may. */
	assert_true(memory_written(&memory, memory.ram + FRAME, 8));
	assert_true(store(large, 5));
	assert_true(store(high(7), 5));
	assert_loads(low(0), 5);
	assert_true(store(low(0), 6));
	assert_int_equal(
		bt->windows->window[0].count[LIST_HOLES] + bt->windows->window[1].count[LIST_HOLES],
		0);
}

static void listen_protect(void *opaque, uint64_t page, uint64_t count)
{
	windows_protect(bt, page, count);
}

static void listen_revoke(void *opaque, uint64_t page, uint64_t count)
{
	windows_revoke(bt, page, count);
}

static struct memory_listener listener = {.protect = listen_protect, .revoke = listen_revoke};

static void traced_tables_are_not_writable(void **state)
{
	memory_listen(&memory, &listener);
	map_high(0, PT | P | W | A | D | G);
	map_high(1, PT | P | W | A | D | G);
	mature();
	map_low(0, FRAME | P | W | U | A);
	assert_loads(low(0), 0x1000);
	assert_true(store(high(0) + 0x800, 0));
	for (unsigned i = 0; i < 3; i++)
		looked_up(tlb_flush_non_global);
	assert_int_equal(looked_up(tlb_flush_non_global), 0);
	assert_false(mapped(high(0), true));
	assert_false(store(high(0), 0)); /* the interpreter's */
	assert_false(store(high(1), 0));
	/* Out of sync, it is written by whoever likes, and traced again after the flush. */
	map_low(1, 0);
	assert_true(store(high(0) + 0x800, 0));
	assert_true(store(high(1) + 0x800, 0));
	looked_up(tlb_flush_non_global);
	looked_up(tlb_flush_non_global);
	assert_false(mapped(high(1), true));
	assert_int_equal(looked_up(tlb_flush_non_global), 0);
	memory_unlisten(&memory, &listener);
}

/* Under every address, small or part of something large, and whatever its rights. */
static void revoked_pages_are_mapped_no_more(void **state)
{
	uint64_t first = FRAME >> PAGE_SHIFT, large = UPPER + 2 * MIB;

	memory_listen(&memory, &listener);
	mature();
	for (unsigned i = 0; i < 4; i++) {
		map_low(i, (FRAME + i * PAGE_SIZE) | P | W | U | A | D);
		map_high(i, (FRAME + i * PAGE_SIZE) | P | A | D);
	}
	put(PD_UP + 16, FRAME | P | W | A | D | PS, 8);
	for (unsigned i = 0; i < 4; i++) {
		assert_loads(low(i), 0x1000 + i);
		assert_loads(high(i), 0x1000 + i);
	}
	assert_loads(large, 0x1000);
	memory_code_track(&memory, first + 2, 0, 16); /* a hole in it */
	memory_revoke(&memory, first + 1, 2);
	for (unsigned i = 0; i < 4; i++) {
		bool gone = i == 1 || i == 2;

		assert_int_equal(mapped(low(i), false), !gone);
		assert_int_equal(mapped(high(i), false), !gone);
		assert_false(mapped(large + i * PAGE_SIZE, false)); /* with its neighbours */
	}
	/* The next access finds out anew. */
	assert_loads(low(1), 0x1001);
	assert_loads(high(2), 0x1002);
	assert_loads(large + PAGE_SIZE, 0x1001);
	/* More pages than are searched for singly. */
	memory_revoke(&memory, 0, RAM_SIZE / PAGE_SIZE);
	assert_false(mapped(low(0), false));
	assert_false(mapped(high(3), false));
	assert_false(mapped(large, false));
	assert_int_equal(bt->windows->mapping_used, 0);
	assert_int_equal(bt->windows->borders, 0);
	memory_unlisten(&memory, &listener);
}

static void rom_is_mapped_read_only(void **state)
{
	static const uint8_t image[PAGE_SIZE] = {0x77};
	uint64_t large = UPPER + 2 * MIB;

	memory_listen(&memory, &listener);
	mature();
	map_low(0, FRAME | P | W | U | A | D);
	put(PD_UP + 16, FRAME | P | W | A | D | PS, 8);
	assert_loads(low(0), 0x1000);
	assert_true(store(low(0), 0x1000));
	assert_true(store(large + PAGE_SIZE, 1));
	assert_int_equal(memory_rom_add(&memory, FRAME, PAGE_SIZE, image, "ROM"), 0);
	assert_loads(low(0), 0x77);
	assert_loads(large, 0x77);
	assert_false(store(low(0), 1) || store(low(0), 1));
	assert_false(store(large, 1));
	assert_true(store(large + PAGE_SIZE, 2));
	assert_int_equal(get(FRAME, 8), 0x77);
	assert_int_equal(memory_rom_remove(&memory, FRAME), 0);
	assert_true(store(large, 1));
	assert_loads(low(0), 1);
	memory_unlisten(&memory, &listener);
}

/* The first store to each page is left to the interpreter, and with that in the log. */
static void logged_pages_are_read_only_until_stored_to(void **state)
{
	uint64_t first = FRAME >> PAGE_SHIFT, pages[RAM_SIZE / PAGE_SIZE / 64] = {0};

	memory_listen(&memory, &listener);
	mature();
	map_low(0, FRAME | P | W | U | A | D);
	put(PD_UP + 16, FRAME | P | W | A | D | PS, 8);
	assert_loads(low(0), 0x1000);
	assert_true(store(low(0), 1));
	assert_int_equal(memory_log_start(&memory), 0);
	for (unsigned round = 0; round < 3; round++) {
		assert_false(mapped(low(0), true));
		assert_false(mapped(UPPER + 2 * MIB, true));
		assert_false(store(low(0), 2) || store(low(0), 2));
		memory_written(&memory, memory.ram + FRAME, 8);
		assert_true(store(low(0), 3) || store(low(0), 3));
		assert_true(store(UPPER + 2 * MIB, 3));
		assert_false(store(UPPER + 2 * MIB + PAGE_SIZE, 3));
		assert_true(memory_log_take(&memory, 0, RAM_SIZE / PAGE_SIZE, pages) > 0);
		assert_int_equal(pages[first / 64] >> (first % 64) & 3, 1);
		memset(pages, 0, sizeof(pages));
	}
	memory_log_stop(&memory);
	assert_true(store(UPPER + 2 * MIB + PAGE_SIZE, 3));
	memory_unlisten(&memory, &listener);
}

static atomic_bool writer_stop, writer_ready;

static void *writer(void *argument)
{
	/* The main thread's SIGSEGV handler also serves this thread, which must never fault: it
	 * writes only while the page is writable. */
	volatile uint64_t *counter = argument;
	volatile uint64_t n = 0;

	while (!atomic_load(&writer_stop)) {
		if (sigsetjmp(landing, 0))
			break;
		*counter = ++n;
		atomic_store(&writer_ready, true);
	}
	return NULL;
}

static void no_store_slips_by(void **state)
{
	uint64_t first = FRAME >> PAGE_SHIFT;
	pthread_t thread;

	map_high(0, FRAME | P | W | A | D);
	assert_true(store(high(0), 0));
	for (unsigned round = 0; round < 50; round++) {
		uint64_t seen;

		assert_true(store(high(0), 0));
		atomic_store(&writer_ready, false);
		pthread_create(&thread, NULL, writer, (void *)host_of(high(0), false));
		while (!atomic_load(&writer_ready))
			;
		memory_code_track(&memory, first, 0, 16);
		windows_protect(bt, first, 1);
		seen = get(FRAME, 8);
		for (unsigned i = 0; i < 1000; i++)
			assert_int_equal(get(FRAME, 8), seen);
		atomic_store(&writer_stop, true);
		pthread_join(thread, NULL);
		atomic_store(&writer_stop, false);
		memory_written(&memory, memory.ram + FRAME, 8);
	}
}

/* --- neighbours, limits --- */

static void neighbours_come_along(void **state)
{
	mature();
	for (unsigned i = 0; i < 16; i++)
		map_low(i, (FRAME + i * PAGE_SIZE) | P | W | U | A | D);
	map_low(3, (FRAME + 0x3000) | P | W | U | D);  /* not accessed */
	map_low(12, (FRAME + 0xc000) | P | W | U | A); /* not dirty */
	assert_loads(low(8), 0x1008);
	assert_int_equal(bt->stats.maps, 1);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(mapped(low(i), false), i > 3 && i < 12);
	assert_int_equal(get(PT + 3 * 8, 8) & (A | D), D);
	assert_int_equal(get(PT + 12 * 8, 8) & (A | D), A);
	tlb_flush_page(cpu, low(8));
	assert_true(mapped(low(7), true));
	assert_false(mapped(low(8), false));
	assert_true(mapped(low(9), true));
}

/* Whether the kernel reaches a page of the user's depends on EFLAGS.AC and protection keys, which
 * windows know nothing of. */
static void the_users_pages_are_not_the_kernels(void **state)
{
	uint64_t value;

	put(ROOT + 257 * 8, PDPT_UP | P | W | U, 8);
	put(PDPT_UP + 8, PD_UP | P | W | U, 8);
	put(PD_UP + 8, PT_UP | P | W | U, 8);
	for (unsigned i = 0; i < 8; i++)
		map_high(i, (FRAME + i * PAGE_SIZE) | P | W | A | D | (i & 4 ? U : 0));
	assert_loads(high(3), 0x1003);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(mapped(high(i), false), i < 4);
	assert_false(load(high(4), &value));
	assert_false(mapped(high(4), false));
	assert_false(mapped(high(5), false));
}

static unsigned host_mappings(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	unsigned lines = 0;
	int c;

	assert_non_null(file);
	while ((c = fgetc(file)) != EOF)
		lines += c == '\n';
	fclose(file);
	return lines;
}

/* Pages all over RAM, in more of them than the limit lets in. Returns the most host mappings there
 * were. */
static unsigned storm(struct windows_limits limits)
{
	unsigned before, most = 0;

	windows_destroy(bt);
	windows_limits = limits;
	assert_int_equal(windows_create(bt), 0);
	mature();
	for (unsigned i = 0; i < 512; i++) {
		unsigned frame = i * 37 % 512;

		map_low(i, (FRAME + frame * PAGE_SIZE) | P | W | U | A | D);
		map_high(i, (FRAME + frame * PAGE_SIZE) | P | W | A | D);
	}
	bt->stats.window_evictions = 0;
	before = host_mappings();
	for (unsigned i = 0; i < 1500; i++) {
		unsigned page = i * 191 % 512;

		assert_loads(i % 3 ? low(page) : high(page), 0x1000 + page * 37 % 512);
		most = MAX(most, host_mappings());
	}
	assert_true(bt->stats.window_evictions > 5);
	return most - before;
}

static void storms_are_bounded(void **state)
{
	unsigned most = storm((struct windows_limits){.host_mappings = 120});

	assert_true(most > 60 && most <= 124);
	most = storm((struct windows_limits){.records = 100});
	assert_true(most > 60 && most <= 204);
}

/* KiB of page tables that the host has for this process. */
static unsigned page_tables(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	unsigned kib = 0;
	char line[128];

	assert_non_null(file);
	while (!kib && fgets(line, sizeof(line), file))
		sscanf(line, "VmPTE: %u kB", &kib);
	fclose(file);
	return kib;
}

/* A page in each of very many blocks of 2 MiB, and taken away again at once: the host keeps a page
 * table for each. */
static void page_tables_are_bounded(void **state)
{
	unsigned before = page_tables(), most = 0;
	uint64_t bound = 2 * (2048 + 2 * RAM_SIZE / (2 * MIB)) * 4;

	for (unsigned slot = 256; slot < 512; slot++)
		put(ROOT + slot * 8, PDPT_UP | P | W, 8);
	for (unsigned i = 0; i < 512; i++) {
		put(PDPT_UP + i * 8, PD_UP | P | W, 8);
		put(PD_UP + i * 8, PT_UP | P | W, 8);
	}
	map_high(0, FRAME | P | W | A | D | G);
	for (unsigned i = 0; i < 12000; i++) {
		uint64_t linear = UINT64_C(0xffff800000000000) + ((uint64_t)(i % 3) << SLOT_SHIFT) +
				  (uint64_t)i * 2 * MIB;

		assert_loads(linear, 0x1000);
		tlb_flush_page(cpu, linear);
		most = i % 64 ? most : MAX(most, page_tables());
	}
	assert_true(most - before > 1024);
	/* AddressSanitizer keeps a shadow, with page tables of its own, of all that is accessed. */
	if (!UNDER_SANITIZER && most - before > bound)
		fail_msg("%u KiB of page tables, at most %lu expected", most - before, bound);
	windows_destroy(bt);
	if (!UNDER_SANITIZER)
		assert_true(page_tables() <= before + 64);
	assert_int_equal(windows_create(bt), 0);
}

/* A window that is released, mapped or not, leaves no page tables behind. */
static void released_window_has_no_page_tables(void **state)
{
	unsigned before;

	for (unsigned i = 0; i < 512; i++)
		put(PD + i * 8, PT | P | W | U, 8);
	map_low(0, FRAME | P | W | U | A | D);
	windows_destroy(bt);
	windows_limits.spaces = 1;
	assert_int_equal(windows_create(bt), 0);
	before = page_tables();
	mature();
	for (unsigned i = 0; i < 512; i++) {
		uint64_t linear = (LOWER & ~(GIB - 1)) + (uint64_t)i * 2 * MIB;

		assert_loads(linear, 0x1000);
		tlb_flush_page(cpu, linear);
		assert_false(mapped(linear, false));
	}
	assert_true(page_tables() > before + 1024);
	assert_int_equal(bt->windows->mapping_used, 0);
	load_cr3(ROOT_B);
	mature(); /* the only space there may be */
	/* As above: the sanitizer's shadow has page tables of its own. */
	if (!UNDER_SANITIZER)
		assert_true(page_tables() < before + 128);
}

/* Most of one window's frames are mapped in another one, too, and later: chains of records that
 * begin with the others'. Emptying it must not search them. */
static void emptying_is_linear(void **state)
{
	struct windows *w = bt->windows;
	struct window *window[2];
	struct rusage before, after;
	bool evicted;
	int64_t spent;

	for (unsigned i = 0; i < 2; i++) {
		uint64_t start = UINT64_C(0xffff800000000000) + ((uint64_t)i << SLOT_SHIFT);

		window[i] = window_claim(w, OWNER_UPPER, SLOT_OF(start), &evicted);
		for (unsigned page = 0; page < 13000; page++) {
			struct mapping new = {
				.linear = start + page * PAGE_SIZE,
				.page = FRAME >> PAGE_SHIFT,
				.pages = 1,
				.guest_shift = PAGE_SHIFT,
			};

			assert_true(mapping_add(w, window[i], &new, 1));
		}
	}
	getrusage(RUSAGE_THREAD, &before);
	window_empty(w, window[0]);
	getrusage(RUSAGE_THREAD, &after);
	assert_int_equal(window[0]->count[LIST_LOCAL], 0);
	assert_int_equal(w->mapping_used, 13000);
	spent = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 +
		(after.ru_utime.tv_usec - before.ru_utime.tv_usec);
	if (spent > 50000)
		fail_msg("emptying a window of 13,000 records took %ld us", spent);
}

static void windows_are_bounded(void **state)
{
	uint64_t value;
	unsigned got = 0;

	windows_destroy(bt);
	windows_limits = (struct windows_limits){.windows = 3};
	assert_int_equal(windows_create(bt), 0);
	map_high(0, FRAME | P | W | A | D | G);
	for (unsigned slot = 256; slot < 512; slot++)
		put(ROOT + slot * 8, PDPT_UP | P | W, 8);
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t linear = UPPER + ((uint64_t)(i % 200) << SLOT_SHIFT);

		uint64_t evictions = bt->stats.window_evictions;
		bool done = load(linear, &value);

		/* Host addresses in registers may be of the window that was taken away: translated
		 * code has to be left. */
		if (bt->stats.window_evictions > evictions) {
			assert_false(done);
			done = load(linear, &value);
		}
		if (done) {
			assert_int_equal(value, 0x1000);
			got++;
		}
	}
	assert_true(got >= 3);
	/* Each took another one's place only after that had been idle. */
	assert_true(bt->stats.window_evictions > 0 && bt->stats.window_evictions <= 2000 / 20);
}

/* --- random page tables --- */

static uint64_t random_state = 12345;

static unsigned random_below(unsigned limit)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (unsigned)(random_state >> 33) % limit;
}

#define FUZZ_PAGES 24

static uint64_t random_entry(unsigned page)
{
	/* Mostly in order, so that there are neighbours. */
	unsigned frame = random_below(4) ? page : random_below(64);

	return (FRAME + frame * PAGE_SIZE) | (random_below(8) ? P : 0) | (random_below(4) ? W : 0) |
	       (random_below(8) ? U : 0) | (random_below(2) ? A | D : 0) |
	       (random_below(3) ? 0 : G);
}

/* What the page tables say of an access; sets no bit. */
static bool expected(uint64_t linear, bool write, uint64_t *gpa)
{
	struct translation page;
	unsigned access = PAGING_PROBE | (linear >> 63 ? 0 : PAGING_USER);
	uint64_t ram_page;

	if (paging_walk(cpu, linear, access | (write ? PAGING_WRITE : 0), &page) != WALKED ||
		(linear >> 63 && page.user))
		return false;
	*gpa = page.gpa;
	ram_page = page.gpa >> PAGE_SHIFT;
	return !write || !(memory.page_flags[ram_page] & PAGE_CODE);
}

static void check_access(uint64_t linear, bool write)
{
	uint64_t gpa = 0, value = random_below(1u << 30);
	bool good = expected(linear, write, &gpa), user = !(linear >> 63);
	bool done = write ? store(linear, value) : load(linear, &value);

	if (!done && good && user)
		done = write ? store(linear, value) : load(linear, &value);
	if (done != good)
		fail_msg("%s of %#lx: %d, page tables say %d", write ? "store" : "load", linear,
			done, good);
	if (good)
		assert_int_equal(get(gpa, 8), value);
}

/* All that is mapped at this moment must agree with the page tables, and so must the count of
 * mappings. */
static void check_all(unsigned before)
{
	for (unsigned page = 0; page < FUZZ_PAGES; page++)
		for (unsigned half = 0; half < 2; half++) {
			uint64_t linear = half ? high(page) : low(page), gpa = 0;
			bool writable = mapped(linear, true), readable = mapped(linear, false);
			uint64_t entry = get((half ? PT_UP : PT) + page * 8, 8);

			if ((readable && !(expected(linear, false, &gpa) && (entry & A))) ||
				(writable && !(expected(linear, true, &gpa) && (entry & D))))
				fail_msg("%#lx is mapped %d%d, entry %#lx", linear, readable,
					writable, entry);
		}
	assert_int_equal(host_mappings() - before, bt->windows->borders);
}

static void random_operations(void **state)
{
	unsigned before;

	mature();
	/* Two windows there from the beginning. */
	map_low(511, (FRAME + 0x1ff000) | P | W | U | A | D);
	map_high(511, (FRAME + 0x1ff000) | P | W | A | D | G);
	assert_loads(low(511), 0x11ff);
	assert_loads(high(511), 0x11ff);
	before = host_mappings() - bt->windows->borders;
	for (unsigned round = 0; round < 6000; round++) {
		unsigned page = random_below(FUZZ_PAGES);
		bool upper = random_below(2);
		uint64_t linear = upper ? high(page) : low(page);
		uint64_t ram_page = (FRAME >> PAGE_SHIFT) + page;

		switch (random_below(8)) {
		case 0:
			if (upper)
				map_high(page, random_entry(page) & ~(uint64_t)U);
			else
				map_low(page, random_entry(page));
			tlb_flush_page(cpu, linear);
			break;
		case 1:
			for (unsigned i = 0; i < 3; i++)
				map_low((page + i) % FUZZ_PAGES, random_entry(page + i));
			if (random_below(2))
				load_cr3(ROOT);
			else
				tlb_flush_all(cpu);
			check_all(before);
			break;
		case 2:
			memory_code_track(&memory, ram_page, 0, 16);
			windows_protect(bt, ram_page, 1);
			break;
		case 3:
			memory_written(&memory, memory.ram + (ram_page << PAGE_SHIFT), 4096);
			break;
		default:
			mature();
			check_access(linear, random_below(2));
		}
	}
	check_all(before);
}

/* --- homes --- */

/* The same small table in several slots of the lower half, as `slot` lists them, in a new space. */
static void enter_program(const uint16_t *slot, unsigned count)
{
	for (unsigned i = 0; i < 256; i++)
		put(ROOT_B + 8 * i, 0, 8);
	for (unsigned i = 0; i < count; i++)
		put(ROOT_B + 8 * slot[i], PDPT | P | W | U, 8);
	map_low(1, (FRAME + 0x1000) | P | W | U);
	load_cr3(ROOT_B | 7);
	mature();
	cpu->cpl = 3;
	windows_use_space(bt);
}

static uint64_t in_slot(uint16_t slot)
{
	return (low(1) & (WINDOW_SIZE - 1)) | (uint64_t)slot << SLOT_SHIFT;
}

/* A position-independent program's two clusters, and what lies between them. */
static void slots_of_a_program_have_one_delta(void **state)
{
	static const uint16_t slots[] = {0xaa, 0xab, 0xfd, 0xff};
	uint64_t home, value;

	enter_program(slots, ARRAY_SIZE(slots));
	assert_true(windows_have_home(bt));
	home = bt->zone_delta[ZONE_HOME];
	for (unsigned i = 0; i < ARRAY_SIZE(slots); i++) {
		assert_int_equal(bt->zone[slots[i]], ZONE_HOME);
		assert_int_equal(bt->delta[0][slots[i]], home);
		assert_loads(in_slot(slots[i]), 0x1001);
	}
	assert_int_equal(bt->zone[0xfe], NO_ZONE);
	/* Drifting out of a slot at either side leads into a guard. */
	for (unsigned i = 0; i < ARRAY_SIZE(slots); i++) {
		uint64_t start = ((uint64_t)slots[i] << SLOT_SHIFT) + home;

		if (slots[i] != 0xab)
			assert_true(inaccessible(start - WINDOW_GUARD, start));
		if (slots[i] != 0xaa)
			assert_true(inaccessible(
				start + WINDOW_SIZE, start + WINDOW_SIZE + WINDOW_GUARD));
	}
	/* Another program's home is elsewhere, and none of this one is left in the tables. */
	load_cr3(ROOT | 1);
	mature();
	cpu->cpl = 3;
	windows_use_space(bt);
	for (unsigned i = 0; i < ARRAY_SIZE(slots); i++) {
		assert_int_equal(bt->zone[slots[i]], NO_ZONE);
		assert_int_equal(bt->delta[0][slots[i]], windows_no_delta(slots[i]));
	}
	assert_int_not_equal(bt->zone_delta[ZONE_HOME], home);
	assert_true(load_twice(low(1), &value));
}

/* The bottom and the top have no common delta but 0: what is highest has a zone of its own. */
static void what_does_not_fit_at_home_has_its_own_zone(void **state)
{
	static const uint16_t slots[] = {0, 0xff};

	enter_program(slots, ARRAY_SIZE(slots));
	assert_int_equal(bt->zone[0], ZONE_HOME);
	assert_int_equal(bt->zone[0xff], NO_ZONE);
	assert_loads(in_slot(0xff), 0x1001);
	assert_int_equal(bt->zone[0xff], 1);
	assert_int_equal(bt->zone_delta[1], bt->delta[0][0xff]);
	assert_loads(in_slot(0), 0x1001);
	assert_int_equal(bt->zone[0], ZONE_HOME);
}

/* A program that scatters its memory has a home with all the slots that it may use, also those that
 * it begins to use later; windows are left for others. */
static void a_scattered_program_has_a_large_home(void **state)
{
	uint16_t slots[100];
	uint64_t value;

	for (unsigned i = 0; i < ARRAY_SIZE(slots); i++)
		slots[i] = (uint16_t)(20 + i);
	enter_program(slots, ARRAY_SIZE(slots));
	for (unsigned i = 0; i < ARRAY_SIZE(slots); i++)
		assert_int_equal(bt->zone[slots[i]], ZONE_HOME);
	assert_int_equal(bt->zone[127], NO_ZONE);
	assert_true(windows_home_has(bt, 127));
	put(ROOT_B + 8 * 127, PDPT | P | W | U, 8);
	assert_loads(in_slot(127), 0x1001);
	assert_int_equal(bt->zone[127], ZONE_HOME);
	assert_int_equal(bt->delta[0][127], bt->zone_delta[ZONE_HOME]);
	map_high(1, (FRAME + 0x1000) | P | W | G);
	assert_true(load(high(1), &value));
}

/* Its home was made before it scattered its memory: it gets another. */
static void a_home_is_outgrown(void **state)
{
	static const uint16_t few[] = {0x50, 0xaa};
	uint16_t slots[] = {0x50, 0xaa, 3, 9, 20, 33, 47, 60, 100, 101};

	enter_program(few, ARRAY_SIZE(few));
	for (unsigned i = 0; i < ARRAY_SIZE(slots); i++)
		put(ROOT_B + 8 * slots[i], PDPT | P | W | U, 8);
	for (unsigned i = 2; i < 7; i++)
		assert_loads(in_slot(slots[i]), 0x1001);
	windows_use_space(bt);
	assert_true(windows_is_mature(bt));
	assert_int_not_equal(bt->zone[3], ZONE_HOME);
	assert_loads(in_slot(slots[7]), 0x1001);
	assert_false(windows_is_mature(bt));
	mature();
	cpu->cpl = 3;
	windows_use_space(bt);
	for (unsigned i = 0; i < ARRAY_SIZE(slots); i++)
		if (slots[i] < 128)
			assert_int_equal(bt->zone[slots[i]], ZONE_HOME);
	/* Those above do not make it young again. */
	for (unsigned i = 240; i < 250; i++) {
		put(ROOT_B + 8 * i, PDPT | P | W | U, 8);
		assert_loads(in_slot((uint16_t)i), 0x1001);
		assert_true(windows_is_mature(bt));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bt_test(slot_without_window_leads_nowhere),
		bt_test(slots_of_a_program_have_one_delta),
		bt_test(what_does_not_fit_at_home_has_its_own_zone),
		bt_test(a_scattered_program_has_a_large_home),
		bt_test(a_home_is_outgrown),
		bt_test(first_access_sets_a_then_d),
		bt_test(young_space_has_no_windows),
		bt_test(rights_are_kept),
		bt_test(no_ram_is_not_mapped),
		bt_test(invlpg_drops_the_page),
		bt_test(flush_looks_up_again),
		bt_test(flush_looks_up_upper_entries_again),
		bt_test(keys_put_only_their_pages_in_doubt),
		traced_test(tracing_spares_look_ups),
		traced_test(traced_tables_are_not_writable),
		traced_test(traced_tables_are_bounded),
		traced_test(flush_looks_up_again),
		traced_test(pcid_keeps_spaces_apart),
		traced_test(invlpg_reaches_other_spaces),
		traced_test(reused_root_is_young),
		traced_test(random_operations),
		bt_test(global_pages_survive_cr3),
		bt_test(pcid_keeps_spaces_apart),
		bt_test(invlpg_reaches_other_spaces),
		bt_test(invpcid_all_reaches_other_spaces),
		bt_test(hidden_upper_half_is_flushed),
		bt_test(reused_root_is_young),
		bt_test(spaces_are_bounded),
		bt_test(large_page_is_one_mapping),
		bt_test(large_page_with_a_breakpoint),
		bt_test(large_page_is_clipped),
		bt_test(large_page_read_first),
		bt_test(code_is_read_only),
		bt_test(revoked_pages_are_mapped_no_more),
		bt_test(rom_is_mapped_read_only),
		bt_test(logged_pages_are_read_only_until_stored_to),
		bt_test(no_store_slips_by),
		bt_test(neighbours_come_along),
		bt_test(the_users_pages_are_not_the_kernels),
		bt_test(storms_are_bounded),
		bt_test(page_tables_are_bounded),
		bt_test(released_window_has_no_page_tables),
		bt_test(emptying_is_linear),
		bt_test(windows_are_bounded),
		bt_test(random_operations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
