/* Task switches: the two TSS layouts, all four ways to switch, and the two sides of the commit
 * point. */
#include "cpu/debug.h"
#include "cpu_fixture.h"

#define TASK_EIP   0x2222
#define TASK_FLAGS (RFLAGS_IF | RFLAGS_CF | RFLAGS_FIXED1)

/* The second task, runnable at CPL `cpl`. */
static void fill_task(unsigned cpl)
{
	static const unsigned selector_offset[] = {0x48, 0x4c, 0x50, 0x54, 0x58, 0x5c};

	for (unsigned i = 0; i < 0x68; i++)
		put(TSS_B + i, 0, 1);
	put(TSS_B + 4, STACK0, 4);
	put(TSS_B + 8, DATA0, 2);
	put(TSS_B + 0x1c, 0x300000, 4);
	put(TSS_B + 0x20, TASK_EIP, 4);
	put(TSS_B + 0x24, TASK_FLAGS, 4);
	for (unsigned i = 0; i < 8; i++)
		put(TSS_B + 0x28 + 4 * i, 0xb0000000 + i, 4);
	put(TSS_B + 0x38, STACK_X, 4); /* ESP */
	for (unsigned i = 0; i < 6; i++)
		put(TSS_B + selector_offset[i],
			i == SEG_CS ? (cpl ? CODE3 : CODE0)
			: cpl       ? DATA3
				    : DATA0,
			2);
}

static unsigned tss_type(uint16_t selector)
{
	return bits_get(get(GDT + (selector & ~7), 8), 43, 40);
}

static void jump(void **state)
{
	enter_protected(0);
	fill_task(3);
	for (unsigned i = 0; i < 8; i++)
		cpu->gpr[i] = 0xa0000000 + i;
	cpu_set_rflags(cpu, RFLAGS_ZF);
	assert_completes(transfer_far_jump(cpu, TSS_B_SEL, 0, 4));
	assert_int_equal(cpu->next_rip, TASK_EIP);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu_rflags(cpu), TASK_FLAGS);
	assert_int_equal(cpu->gpr[RAX], 0xb0000000);
	assert_int_equal(cpu->gpr[RSP], STACK_X);
	assert_int_equal(cpu->gpr[RDI], 0xb0000007);
	assert_int_equal(cpu->segment[SEG_CS].selector, CODE3);
	assert_int_equal(cpu->segment[SEG_SS].selector, DATA3);
	assert_int_equal(cpu->segment[SEG_TR].selector, TSS_B_SEL);
	assert_true(cpu->cr0 & CR0_TS);
	assert_int_equal(cpu->cr3, 0); /* paging is off: not loaded */
	/* The old task, where JMP found it, and not busy any more. */
	assert_int_equal(tss_type(TSS_SEL), SYS_TSS32);
	assert_int_equal(tss_type(TSS_B_SEL), SYS_TSS32_BUSY);
	assert_int_equal(get(TSS + 0x20, 4), 0x1236);
	assert_int_equal(get(TSS + 0x24, 4), RFLAGS_ZF | RFLAGS_FIXED1);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(get(TSS + 0x28 + 4 * i, 4), 0xa0000000 + i);
	assert_int_equal(get(TSS + 0x4c, 2), CODE0);
	assert_int_equal(get(TSS_B, 2), 0); /* no back link */
}

static void call_and_return(void **state)
{
	enter_protected(0);
	fill_task(0);
	assert_completes(transfer_far_call(cpu, TSS_B_SEL, 0, 4));
	assert_int_equal(get(TSS_B, 2), TSS_SEL);
	assert_int_equal(tss_type(TSS_SEL), SYS_TSS32_BUSY);
	assert_true(cpu->system_flags & RFLAGS_NT);
	assert_raises(VECTOR_GP, TSS_SEL, transfer_far_call(cpu, TSS_SEL, 0, 4)); /* busy */
	cpu->next_rip = 0x3333;
	assert_completes(transfer_iret(cpu, 4));
	assert_int_equal(cpu->segment[SEG_TR].selector, TSS_SEL);
	assert_int_equal(cpu->next_rip, 0x1236);
	assert_int_equal(tss_type(TSS_B_SEL), SYS_TSS32);
	assert_int_equal(tss_type(TSS_SEL), SYS_TSS32_BUSY);
	assert_int_equal(get(TSS_B + 0x20, 4), 0x3333);
	assert_int_equal(get(TSS_B + 0x24, 4) & RFLAGS_NT, 0);
	assert_false(cpu->system_flags & RFLAGS_NT);
}

static void return_to_a_free_task(void **state)
{
	enter_protected(0);
	cpu_set_rflags(cpu, RFLAGS_NT);
	put(TSS, TSS_B_SEL, 2); /* not busy */
	assert_raises(VECTOR_TS, TSS_B_SEL, transfer_iret(cpu, 4));
	put(TSS, DATA0, 2);
	assert_raises(VECTOR_TS, DATA0, transfer_iret(cpu, 4));
	put(TSS, 0, 2);
	assert_raises(VECTOR_TS, 0, transfer_iret(cpu, 4));
}

/* An exception with an error code, which goes on the new task's stack. */
static void through_the_idt(void **state)
{
	enter_protected(3);
	fill_task(0);
	put(IDT + VECTOR_GP * 8, make_gate(SYS_TASK_GATE, TSS_B_SEL, 0, 0, 0), 8);
	cpu->exception = (struct exception){.vector = VECTOR_GP, .has_error = true, .error = 0x50};
	assert_true(exception_deliver(cpu));
	assert_int_equal(cpu->rip, TASK_EIP);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->gpr[RSP], STACK_X - 4);
	assert_int_equal(get(STACK_X - 4, 4), 0x50);
	assert_int_equal(get(TSS + 0x20, 4), 0x1234); /* a fault: the instruction itself */
	assert_int_equal(get(TSS_B, 2), TSS_SEL);
	assert_true(cpu->system_flags & RFLAGS_NT);
}

static void through_a_task_gate(void **state)
{
	enter_protected(3);
	fill_task(3);
	put(GDT + FREE_SEL, make_gate(SYS_TASK_GATE, TSS_B_SEL, 0, 2, 0), 8);
	assert_raises(VECTOR_GP, FREE_SEL, transfer_far_jump(cpu, FREE_SEL, 0, 4));
	assert_raises(VECTOR_GP, TSS_B_SEL, transfer_far_jump(cpu, TSS_B_SEL, 0, 4)); /* DPL 0 */
	put(GDT + FREE_SEL, make_gate(SYS_TASK_GATE, TSS_B_SEL, 0, 3, 0), 8);
	assert_completes(transfer_far_jump(cpu, FREE_SEL, 0, 4));
	assert_int_equal(cpu->next_rip, TASK_EIP);
}

static void sixteen_bit_task(void **state)
{
	enter_protected(0);
	gdt_set(TSS_B_SEL, TSS_B, 0x2b, SYS_TSS16 | AR_P);
	for (unsigned i = 0; i < 0x2c; i += 2)
		put(TSS_B + i, 0, 2);
	put(TSS_B + 0x0e, 0x4444, 2);
	put(TSS_B + 0x10, RFLAGS_CF, 2);
	put(TSS_B + 0x12, 0x5555, 2);
	put(TSS_B + 0x1a, 0x9000, 2);
	put(TSS_B + 0x22, DATA0, 2);
	put(TSS_B + 0x24, CODE0, 2);
	put(TSS_B + 0x26, DATA0, 2);
	put(TSS_B + 0x28, DATA0, 2);
	cpu->gpr[RAX] = 0x12345678;
	assert_completes(transfer_far_call(cpu, TSS_B_SEL, 0, 4));
	assert_int_equal(cpu->next_rip, 0x4444);
	assert_int_equal(cpu->gpr[RAX], 0x12345555);
	assert_int_equal(cpu->segment[SEG_FS].selector, 0);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_NT | RFLAGS_CF | RFLAGS_FIXED1);
	assert_int_equal(get(TSS + 0x28, 4), 0x12345678); /* saved in the 32-bit layout */
}

static void into_v86(void **state)
{
	enter_protected(0);
	fill_task(3);
	put(TSS_B + 0x24, TASK_FLAGS | RFLAGS_VM, 4);
	put(TSS_B + 0x4c, 0x2000, 2);
	put(TSS_B + 0x20, 0x100, 4);
	assert_completes(transfer_far_jump(cpu, TSS_B_SEL, 0, 4));
	assert_true(cpu_v86(cpu));
	assert_int_equal(cpu->segment[SEG_CS].base, 0x20000);
	assert_int_equal(cpu->cpl, 3);
}

/* --- before the commit point: the old task faults, untouched --- */

static void flaws_of_the_tss(void **state)
{
	enter_protected(0);
	fill_task(0);
	gdt_set(TSS_B_SEL, TSS_B, 0x66, SYS_TSS32 | AR_P);
	assert_raises(VECTOR_TS, TSS_B_SEL, transfer_far_jump(cpu, TSS_B_SEL, 0, 4));
	gdt_set(TSS_B_SEL, TSS_B, 0x67, SYS_TSS32);
	assert_raises(VECTOR_NP, TSS_B_SEL, transfer_far_jump(cpu, TSS_B_SEL, 0, 4));
	assert_raises(VECTOR_GP, TSS_SEL, transfer_far_jump(cpu, TSS_SEL, 0, 4)); /* busy */
	put(GDT + FREE_SEL, make_gate(SYS_TASK_GATE, TSS_B_SEL | 4, 0, 0, 0), 8);
	assert_raises(VECTOR_GP, TSS_B_SEL | 4, transfer_far_jump(cpu, FREE_SEL, 0, 4));
	assert_int_equal(cpu->segment[SEG_TR].selector, TSS_SEL);
	assert_int_equal(tss_type(TSS_SEL), SYS_TSS32_BUSY);
	assert_int_equal(cpu->next_rip, 0x1236);
}

/* 2-level paging where the new TSS's second page is not there. */
static void new_tss_not_mapped(void **state)
{
	enter_protected(0);
	for (unsigned i = 0; i < 1024; i++)
		put(TABLES + 0x1000 + 4 * i, i << 12 | 7, 4);
	put(TABLES, (TABLES + 0x1000) | 7, 4);
	put(TABLES + 0x1000 + 4 * 6, 0, 4);
	gdt_set(TSS_B_SEL, 0x5fe0, 0x67, SYS_TSS32 | AR_P);
	cpu->cr3 = TABLES;
	cpu->cr0 |= CR0_PG | CR0_WP;
	tlb_flush_all(cpu);
	assert_raises(VECTOR_PF, 0, transfer_far_jump(cpu, TSS_B_SEL, 0, 4));
	assert_int_equal(cpu->cr2, 0x6000);
	assert_int_equal(cpu->segment[SEG_TR].selector, TSS_SEL);
	assert_int_equal(tss_type(TSS_SEL), SYS_TSS32_BUSY);
	/* With the page there, CR3 is loaded with the task. */
	put(TABLES + 0x1000 + 4 * 6, 0x6007, 4);
	gdt_set(TSS_B_SEL, TSS_B, 0x67, SYS_TSS32 | AR_P);
	fill_task(0);
	put(TSS_B + 0x1c, TABLES, 4);
	assert_completes(transfer_far_jump(cpu, TSS_B_SEL, 0, 4));
	assert_int_equal(cpu->cr3, TABLES);
}

/* --- after it: the new task faults, with its own CS:EIP --- */

static void flaws_of_the_new_state(void **state)
{
	static const struct {
		unsigned offset, value, vector, error;
	} flaw[] = {
		{0x60, DATA0, VECTOR_TS, DATA0},                                      /* LDT */
		{0x60, LDT_SEL | 4, VECTOR_TS, LDT_SEL | 4}, {0x4c, 0, VECTOR_TS, 0}, /* CS */
		{0x4c, DATA0, VECTOR_TS, DATA0}, {0x4c, CODE3 & ~3, VECTOR_TS, CODE3 & ~3},
		{0x50, 0, VECTOR_TS, 0},                                                   /* SS */
		{0x50, DATA3, VECTOR_TS, DATA3 & ~3}, {0x54, TSS_SEL, VECTOR_TS, TSS_SEL}, /* DS */
		{0x58, FREE_SEL, VECTOR_NP, FREE_SEL}, /* FS: not present */
	};

	for (volatile unsigned i = 0; i < ARRAY_SIZE(flaw); i++) {
		enter_protected(0);
		gdt_set(FREE_SEL, 0, ~0u, TYPE_DATA);
		fill_task(0);
		put(TSS_B + flaw[i].offset, flaw[i].value, 2);
		assert_raises(
			flaw[i].vector, flaw[i].error, transfer_far_jump(cpu, TSS_B_SEL, 0, 4));
		assert_int_equal(cpu->segment[SEG_TR].selector, TSS_B_SEL);
		assert_int_equal(cpu->rip, TASK_EIP);
	}
	enter_protected(0);
	fill_task(0);
	gdt_set(FREE_SEL, 0, 0xfff, TYPE_CODE | AR_P);
	put(TSS_B + 0x4c, FREE_SEL, 2);
	assert_raises(VECTOR_GP, 0, transfer_far_jump(cpu, TSS_B_SEL, 0, 4)); /* EIP */
}

static void debug_state(void **state)
{
	enter_protected(0);
	fill_task(0);
	put(TSS_B + 0x64, 1, 2); /* T */
	cpu->dr7 = 0x7ff;
	assert_completes(transfer_far_jump(cpu, TSS_B_SEL, 0, 4));
	assert_int_equal(cpu->dr7, 0x6aa); /* the local enables are gone */
	assert_int_equal(cpu->pending_debug, DR6_BT);
	assert_true(atomic_load(&cpu->pending) & PENDING_DEBUG);
}

/* --- the I/O permission map --- */

static void io_permission_map(void **state)
{
	enter_protected(3);
	put(TSS + 0x66, 0x70, 2);
	for (unsigned i = 0x70; i < 0x100; i++)
		put(TSS + i, 0, 1);
	put(TSS + 0x70 + 0x3f8 / 8, 0x10, 1); /* port 0x3fc */
	cpu->segment[SEG_TR].limit = 0x70 + 0x80;
	assert_completes(insn_check_io(cpu, 0x3f8, 4));
	assert_raises(VECTOR_GP, 0, insn_check_io(cpu, 0x3f9, 4));
	assert_raises(VECTOR_GP, 0, insn_check_io(cpu, 0x3fc, 1));
	assert_completes(insn_check_io(cpu, 0x3fd, 1));
	assert_completes(insn_check_io(cpu, 0x3ff, 1));
	assert_raises(VECTOR_GP, 0, insn_check_io(cpu, 0x400, 1)); /* past the limit */
	cpu_set_rflags(cpu, RFLAGS_IOPL);
	assert_completes(insn_check_io(cpu, 0x400, 1));
	enter_v86(3); /* where IOPL does not count */
	cpu->segment[SEG_TR].limit = 0x67;
	assert_raises(VECTOR_GP, 0, insn_check_io(cpu, 0x80, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(jump),
		cpu_test(call_and_return),
		cpu_test(return_to_a_free_task),
		cpu_test(through_the_idt),
		cpu_test(through_a_task_gate),
		cpu_test(sixteen_bit_task),
		cpu_test(into_v86),
		cpu_test(flaws_of_the_tss),
		cpu_test(new_tss_not_mapped),
		cpu_test(flaws_of_the_new_state),
		cpu_test(debug_state),
		cpu_test(io_permission_map),
	};

	return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
