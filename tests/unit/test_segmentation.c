/* Loading and using segment registers: each check of the manuals once passed and once failed. */
#include "cpu_fixture.h"

#define ANY_DPL3 (TYPE_DATA | AR_P | AR_DB | AR_G | DPL(3))

static void load(enum seg seg, uint16_t selector)
{
	segment_load(cpu, seg, selector);
}

/* --- real and virtual-8086 mode --- */

static void real_mode_keeps_limits(void **state)
{
	struct segment big = cpu->segment[SEG_DS];

	big.limit = 0xffffffff;
	cpu_set_segment(cpu, SEG_DS, &big);
	assert_completes(load(SEG_DS, 0x1234));
	assert_int_equal(cpu->segment[SEG_DS].base, 0x12340);
	assert_int_equal(cpu->segment_base[SEG_DS], 0x12340);
	assert_int_equal(cpu->segment[SEG_DS].limit, 0xffffffff);
	assert_int_equal(segment_linear(cpu, SEG_DS, 0x100000, 4, true), 0x112340);
	assert_raises(VECTOR_GP, 0, segment_linear(cpu, SEG_ES, 0xffff, 2, false));
	assert_raises(VECTOR_SS, 0, segment_linear(cpu, SEG_SS, 0x10000, 1, false));
}

/* CS is an ordinary writable segment there, whatever its type byte says. */
static void real_mode_writes_code(void **state)
{
	assert_int_equal(segment_linear(cpu, SEG_CS, 0x10, 2, true), 0xffff0010);
}

static void v86_segments(void **state)
{
	enter_v86(3);
	assert_completes(load(SEG_DS, 0x4321));
	assert_int_equal(cpu->segment[SEG_DS].base, 0x43210);
	assert_int_equal(cpu->segment[SEG_DS].limit, 0xffff);
	assert_int_equal(bits_get(cpu->segment[SEG_DS].access, 6, 5), 3);
	assert_raises(VECTOR_UD, 0, segment_verify(cpu, 8, false));
}

/* --- data segments --- */

static void flat_data(void **state)
{
	enter_protected(3);
	gdt_set(FREE_SEL, 0x12345678, 0xfffff000, ANY_DPL3);
	assert_completes(load(SEG_ES, FREE_SEL | 3));
	assert_int_equal(cpu->segment[SEG_ES].base, 0x12345678);
	assert_int_equal(cpu->segment[SEG_ES].limit, 0xffffffff);
	assert_int_equal(cpu->segment[SEG_ES].selector, FREE_SEL | 3);
	assert_true(cpu->segment[SEG_ES].access & AR_ACCESSED);
	assert_true(get(GDT + FREE_SEL, 8) & BIT(40)); /* and in memory */
}

static void null_data_segment(void **state)
{
	enter_protected(3);
	assert_completes(load(SEG_DS, 3));
	assert_raises(VECTOR_GP, 0, segment_linear(cpu, SEG_DS, 0, 1, false));
}

static void outside_the_table(void **state)
{
	enter_protected(3);
	assert_raises(VECTOR_GP, 0x200, load(SEG_DS, 0x203));
	cpu->gdtr.limit = FREE_SEL + 6; /* one byte short */
	gdt_set(FREE_SEL, 0, ~0u, ANY_DPL3);
	assert_raises(VECTOR_GP, FREE_SEL, load(SEG_DS, FREE_SEL | 3));
	cpu->gdtr.limit++;
	assert_completes(load(SEG_DS, FREE_SEL | 3));
	/* No LDT loaded. */
	assert_raises(VECTOR_GP, 0x0c, load(SEG_DS, 0x0f));
}

static void from_the_ldt(void **state)
{
	enter_protected(0);
	assert_completes(insn_lldt(cpu, LDT_SEL));
	put(LDT + 8, make_descriptor(0x777000, 0xfff, TYPE_DATA | AR_P), 8);
	assert_completes(load(SEG_DS, 8 | SELECTOR_TI));
	assert_int_equal(cpu->segment[SEG_DS].base, 0x777000);
	assert_raises(VECTOR_GP, 0x104, load(SEG_DS, 0x104));
	assert_completes(insn_lldt(cpu, 0));
	assert_raises(VECTOR_GP, 0x0c, load(SEG_DS, 8 | SELECTOR_TI));
}

/* MAX(CPL, RPL) <= DPL, for all 64 combinations and for conforming code, which has no such rule. */
static void data_privilege(void **state)
{
	for (volatile unsigned n = 0; n < 64; n++) {
		unsigned cpl = n & 3, rpl = n >> 2 & 3, dpl = n >> 4;

		enter_protected(0);
		cpu_set_cpl(cpu, cpl);
		gdt_set(FREE_SEL, 0, ~0u, TYPE_DATA | AR_P | AR_G | DPL(dpl));
		if (cpl <= dpl && rpl <= dpl)
			assert_completes(load(SEG_FS, FREE_SEL | rpl));
		else
			assert_raises(VECTOR_GP, FREE_SEL, load(SEG_FS, FREE_SEL | rpl));
		gdt_set(FREE_SEL, 0, ~0u, TYPE_CONFORMING | AR_P | AR_G | DPL(dpl));
		assert_completes(load(SEG_FS, FREE_SEL | rpl));
	}
}

static void data_types(void **state)
{
	enter_protected(0);
	for (volatile unsigned type = 0; type < 32; type++) {
		volatile bool readable =
			(type & AR_S) && (type & (AR_CODE | AR_READABLE)) != AR_CODE;

		gdt_set(FREE_SEL, 0, ~0u, type | AR_P | AR_G);
		if (readable)
			assert_completes(load(SEG_GS, FREE_SEL));
		else
			assert_raises(VECTOR_GP, FREE_SEL, load(SEG_GS, FREE_SEL));
		gdt_set(FREE_SEL, 0, ~0u, type | AR_G); /* not present comes after type */
		assert_raises(readable ? VECTOR_NP : VECTOR_GP, FREE_SEL, load(SEG_GS, FREE_SEL));
	}
}

/* --- the stack segment --- */

static void stack_segment(void **state)
{
	enter_protected(3);
	assert_completes(load(SEG_SS, DATA3));
	assert_raises(VECTOR_GP, 0, load(SEG_SS, 0));
	assert_raises(VECTOR_GP, DATA3 & ~3, load(SEG_SS, DATA3 & ~3)); /* RPL */
	assert_raises(VECTOR_GP, DATA0, load(SEG_SS, DATA0 | 3));       /* DPL */
	assert_raises(VECTOR_GP, CODE3 & ~3, load(SEG_SS, CODE3));      /* type */
	gdt_set(FREE_SEL, 0, ~0u, AR_S | AR_P | DPL(3));                /* read-only */
	assert_raises(VECTOR_GP, FREE_SEL, load(SEG_SS, FREE_SEL | 3));
	gdt_set(FREE_SEL, 0, ~0u, TYPE_DATA | DPL(3)); /* not present */
	assert_raises(VECTOR_SS, FREE_SEL, load(SEG_SS, FREE_SEL | 3));
}

static void null_stack_in_long_mode(void **state)
{
	enter_long(0);
	assert_completes(load(SEG_SS, 0));
	assert_true(cpu->segment[SEG_SS].access & AR_UNUSABLE);
	assert_raises(VECTOR_GP, 0, load(SEG_SS, 3)); /* RPL is not CPL */
	enter_long(3);
	assert_raises(VECTOR_GP, 0, load(SEG_SS, 3));
	enter_long(0);
	load_segment(SEG_CS, CODE0_32); /* compatibility mode */
	assert_raises(VECTOR_GP, 0, load(SEG_SS, 0));
}

/* --- a fault leaves the register --- */

static void fault_changes_nothing(void **state)
{
	struct segment before;

	enter_long(0);
	before = cpu->segment[SEG_DS];
	put(TABLES + 0x2000, 0, 8); /* the GDT's page */
	tlb_flush_all(cpu);
	assert_raises(VECTOR_PF, 0, load(SEG_DS, DATA0));
	assert_int_equal(cpu->cr2, GDT + DATA0);
	assert_memory_equal(&before, &cpu->segment[SEG_DS], sizeof(before));
}

/* A GDT in a read-only page: reading works, setting the accessed bit faults. */
static void accessed_bit_needs_a_writable_table(void **state)
{
	enter_long(0);
	put(TABLES + 0x2000, 0xe5, 8);
	tlb_flush_all(cpu);
	assert_raises(VECTOR_PF, PF_PRESENT | PF_WRITE, load(SEG_ES, DATA16));
	put(GDT + DATA16, get(GDT + DATA16, 8) | BIT(40), 8);
	assert_completes(load(SEG_ES, DATA16));
}

/* User code loads segments although the tables are supervisor pages (implicit accesses), and SMAP
 * does not let EFLAGS.AC excuse a table in user pages. */
static void tables_are_supervisor_accesses(void **state)
{
	enter_long(3);
	put(TABLES + 0x2000, 0xe3, 8); /* low 2 MiB: supervisor */
	tlb_flush_all(cpu);
	assert_completes(load(SEG_ES, DATA3));
	put(TABLES + 0x2000, 0xe7, 8);
	cpu->cr4 |= CR4_SMAP;
	tlb_flush_all(cpu);
	cpu_set_rflags(cpu, RFLAGS_AC);
	assert_raises(VECTOR_PF, PF_PRESENT, load(SEG_ES, DATA3));
}

/* --- LDTR and TR --- */

static void load_tr(void **state)
{
	enter_protected(0);
	assert_int_equal(cpu->segment[SEG_TR].base, TSS);
	assert_int_equal(cpu->segment[SEG_TR].access & AR_TYPE_MASK, SYS_TSS32_BUSY);
	assert_int_equal(bits_get(get(GDT + TSS_SEL, 8), 43, 40), SYS_TSS32_BUSY);
	assert_raises(VECTOR_GP, TSS_SEL, insn_ltr(cpu, TSS_SEL)); /* busy already */
	assert_raises(VECTOR_GP, 0, insn_ltr(cpu, 0));
	assert_raises(VECTOR_GP, DATA0, insn_ltr(cpu, DATA0));
	assert_raises(VECTOR_GP, TSS_B_SEL | 4, insn_ltr(cpu, TSS_B_SEL | 4));
	gdt_set(FREE_SEL, 0, 0x67, SYS_TSS32);
	assert_raises(VECTOR_NP, FREE_SEL, insn_ltr(cpu, FREE_SEL));
	assert_completes(insn_ltr(cpu, TSS_B_SEL));
	set_privilege(3);
	assert_raises(VECTOR_GP, 0, insn_ltr(cpu, TSS_B_SEL));
}

static void load_tr_long(void **state)
{
	enter_long(0);
	put(GDT + FREE_SEL, make_descriptor(0x12345678, 0x67, SYS_TSS32 | AR_P), 8);
	put(GDT + FREE_SEL + 8, 0xffff8000, 8);
	assert_completes(insn_ltr(cpu, FREE_SEL));
	assert_int_equal(cpu->segment[SEG_TR].base, UINT64_C(0xffff800012345678));
	/* The second half's type field must be 0, and inside the limit. */
	put(GDT + TSS_B_SEL + 8, BIT(40), 8);
	assert_raises(VECTOR_GP, TSS_B_SEL, insn_ltr(cpu, TSS_B_SEL));
	put(GDT + TSS_B_SEL + 8, 0, 8);
	cpu->gdtr.limit = TSS_B_SEL + 14;
	assert_raises(VECTOR_GP, TSS_B_SEL, insn_ltr(cpu, TSS_B_SEL));
	cpu->gdtr.limit = GDT_LIMIT;
	gdt_set(FREE_SEL, 0, 0x67, SYS_TSS16 | AR_P); /* none of those here */
	assert_raises(VECTOR_GP, FREE_SEL, insn_ltr(cpu, FREE_SEL));
	/* Not canonical. */
	put(GDT + FREE_SEL, make_descriptor(0, 0x67, SYS_TSS32 | AR_P), 8);
	put(GDT + FREE_SEL + 8, 0x01000000, 8);
	assert_raises(VECTOR_GP, FREE_SEL, insn_ltr(cpu, FREE_SEL));
}

/* --- LAR, LSL, VERR, VERW --- */

static void lar_types(void **state)
{
	unsigned legacy = BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(9) | BIT(11) | BIT(12);
	unsigned long_mode = BIT(2) | BIT(9) | BIT(11) | BIT(12);
	unsigned lsl_legacy = BIT(1) | BIT(2) | BIT(3) | BIT(9) | BIT(11);
	unsigned lsl_long = BIT(2) | BIT(9) | BIT(11);
	uint32_t out;

	for (unsigned mode = 0; mode < 2; mode++) {
		mode ? enter_long(0) : enter_protected(0);
		for (unsigned type = 0; type < 16; type++) {
			gdt_set(FREE_SEL, 0, 0x12345, type | AR_P);
			assert_int_equal(segment_lar(cpu, FREE_SEL, &out),
				(mode ? long_mode : legacy) >> type & 1);
			assert_int_equal(segment_lsl(cpu, FREE_SEL, &out),
				(mode ? lsl_long : lsl_legacy) >> type & 1);
		}
	}
}

static void lar_and_lsl_results(void **state)
{
	uint32_t out;

	enter_protected(3);
	gdt_set(FREE_SEL, 0x12345678, 0xabcdefff, TYPE_DATA | AR_P | AR_G | AR_AVL | DPL(3));
	assert_true(segment_lar(cpu, FREE_SEL | 3, &out));
	assert_int_equal(out & 0xf0ff00, 0x90f200);
	assert_true(segment_lsl(cpu, FREE_SEL | 3, &out));
	assert_int_equal(out, 0xabcdefff);
	assert_false(segment_lar(cpu, 0, &out));
	assert_false(segment_lar(cpu, 0x3f8, &out));
	assert_false(segment_lar(cpu, DATA0, &out));  /* DPL */
	assert_true(segment_lar(cpu, CONFORM, &out)); /* which has none */
}

static void verify(void **state)
{
	enter_protected(3);
	assert_true(segment_verify(cpu, DATA3, false));
	assert_true(segment_verify(cpu, DATA3, true));
	assert_false(segment_verify(cpu, DATA0, false));
	assert_true(segment_verify(cpu, CODE3, false));
	assert_false(segment_verify(cpu, CODE3, true));
	assert_false(segment_verify(cpu, TSS_SEL, false));
	gdt_set(FREE_SEL, 0, 0, AR_S | AR_CODE | AR_P | DPL(3)); /* execute-only */
	assert_false(segment_verify(cpu, FREE_SEL | 3, false));
}

/* --- use --- */

static void limits(void **state)
{
	enter_protected(0);
	assert_completes(load(SEG_DS, DATA16));
	assert_int_equal(segment_linear(cpu, SEG_DS, 0xfffc, 4, true), 0x1fffc);
	assert_raises(VECTOR_GP, 0, segment_linear(cpu, SEG_DS, 0xfffd, 4, true));
	assert_raises(VECTOR_GP, 0, segment_linear(cpu, SEG_DS, 0xffffffff, 4, true));
}

static void expand_down(void **state)
{
	enter_protected(0);
	gdt_set(FREE_SEL, 0x10000, 0xfff, TYPE_DATA | AR_P | AR_EXPAND_DOWN);
	assert_completes(load(SEG_SS, FREE_SEL));
	assert_raises(VECTOR_SS, 0, segment_linear(cpu, SEG_SS, 0xfff, 1, true));
	assert_int_equal(segment_linear(cpu, SEG_SS, 0x1000, 1, true), 0x11000);
	assert_raises(VECTOR_SS, 0, segment_linear(cpu, SEG_SS, 0xffff, 2, true));
	gdt_set(FREE_SEL, 0, 0xfff, TYPE_DATA | AR_P | AR_EXPAND_DOWN | AR_DB);
	assert_completes(load(SEG_SS, FREE_SEL));
	assert_int_equal(segment_linear(cpu, SEG_SS, 0xfffffffe, 2, true), 0xfffffffe);
}

static void access_types(void **state)
{
	enter_protected(0);
	assert_int_equal(segment_linear(cpu, SEG_CS, 0x10, 4, false), 0x10);
	assert_raises(VECTOR_GP, 0, segment_linear(cpu, SEG_CS, 0x10, 4, true));
	gdt_set(FREE_SEL, 0, ~0u, AR_S | AR_P | AR_G);
	assert_completes(load(SEG_DS, FREE_SEL));
	assert_completes(segment_linear(cpu, SEG_DS, 0x10, 4, false));
	assert_raises(VECTOR_GP, 0, segment_linear(cpu, SEG_DS, 0x10, 4, true));
}

static void base_wraps_at_4_gib(void **state)
{
	enter_protected(0);
	gdt_set(FREE_SEL, 0xfffff000, ~0u, TYPE_DATA | AR_P | AR_G);
	assert_completes(load(SEG_DS, FREE_SEL));
	assert_int_equal(segment_linear(cpu, SEG_DS, 0x2000, 4, false), 0x1000);
}

static void long_mode_addresses(void **state)
{
	enter_long(0);
	assert_completes(load(SEG_DS, DATA16)); /* base and limit are ignored */
	assert_int_equal(segment_linear(cpu, SEG_DS, 0x123456789, 8, true), 0x123456789);
	assert_raises(VECTOR_GP, 0, segment_linear(cpu, SEG_DS, BIT(47), 8, true));
	assert_raises(VECTOR_GP, 0, segment_linear(cpu, SEG_DS, BIT(47) - 4, 8, true));
	assert_raises(VECTOR_SS, 0, segment_linear(cpu, SEG_SS, BIT(47), 8, true));
	assert_true(msr_write(cpu, 0xc0000100, HIGH_HALF));
	assert_int_equal(segment_linear(cpu, SEG_FS, 0x10, 8, true), HIGH_HALF + 0x10);
	assert_int_equal(
		segment_linear(cpu, SEG_FS, -UINT64_C(0x10) - HIGH_HALF, 8, true), -UINT64_C(0x10));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(real_mode_keeps_limits),
		cpu_test(real_mode_writes_code),
		cpu_test(v86_segments),
		cpu_test(flat_data),
		cpu_test(null_data_segment),
		cpu_test(outside_the_table),
		cpu_test(from_the_ldt),
		cpu_test(data_privilege),
		cpu_test(data_types),
		cpu_test(stack_segment),
		cpu_test(null_stack_in_long_mode),
		cpu_test(fault_changes_nothing),
		cpu_test(accessed_bit_needs_a_writable_table),
		cpu_test(tables_are_supervisor_accesses),
		cpu_test(load_tr),
		cpu_test(load_tr_long),
		cpu_test(lar_types),
		cpu_test(lar_and_lsl_results),
		cpu_test(verify),
		cpu_test(limits),
		cpu_test(expand_down),
		cpu_test(access_types),
		cpu_test(base_wraps_at_4_gib),
		cpu_test(long_mode_addresses),
	};

	return cmocka_run_group_tests_name("segmentation", tests, NULL, NULL);
}
