/* Delivery of exceptions and interrupts: through the IDT, the real-mode vector table, in
 * virtual-8086 mode, and faults during delivery. */
#include "cpu_fixture.h"

#define INTERRUPT32 SYS_INTERRUPT_GATE32
#define TRAP32      SYS_TRAP_GATE32

static uint64_t stacked(unsigned index, unsigned size)
{
	return get(cpu->gpr[RSP] + index * size, size);
}

static bool deliver(unsigned vector, uint32_t error)
{
	/* As the engine does it: raise, land, deliver. */
	if (_setjmp(cpu->unwind) == 0)
		cpu_raise_error(cpu, vector, error);
	return exception_deliver(cpu);
}

static bool deliver_interrupt(unsigned vector)
{
	cpu->exception = (struct exception){.vector = (uint8_t)vector, .external = true};
	return exception_deliver(cpu);
}

static bool deliver_software(unsigned vector, enum software_interrupt kind)
{
	if (_setjmp(cpu->unwind) == 0) {
		transfer_software_interrupt(cpu, (uint8_t)vector, kind);
		return true;
	}
	return exception_deliver(cpu);
}

/* --- protected mode --- */

static void same_privilege(void **state)
{
	enter_protected(0);
	idt_set32(VECTOR_GP, INTERRUPT32, CODE0, 0xc0001234, 0);
	cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_TF | RFLAGS_NT | RFLAGS_CF);
	assert_true(deliver(VECTOR_GP, 0x50));
	assert_int_equal(cpu->rip, 0xc0001234);
	assert_int_equal(cpu->next_rip, 0xc0001234);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_CF | RFLAGS_FIXED1);
	assert_int_equal(cpu->gpr[RSP], STACK0 - 16);
	assert_int_equal(stacked(0, 4), 0x50);
	assert_int_equal(stacked(1, 4), 0x1234);
	assert_int_equal(stacked(2, 4), CODE0);
	/* RF is set in the image of a fault. */
	assert_int_equal(stacked(3, 4),
		RFLAGS_IF | RFLAGS_TF | RFLAGS_NT | RFLAGS_CF | RFLAGS_RF | RFLAGS_FIXED1);
}

static void trap_gate_keeps_interrupts(void **state)
{
	enter_protected(0);
	idt_set32(0x20, TRAP32, CODE0, 0x1000, 0);
	cpu_set_rflags(cpu, RFLAGS_IF);
	assert_true(deliver_interrupt(0x20));
	assert_int_equal(cpu_rflags(cpu), RFLAGS_IF | RFLAGS_FIXED1);
	assert_int_equal(stacked(2, 4), RFLAGS_IF | RFLAGS_FIXED1); /* no RF: not a fault */
	assert_int_equal(cpu->gpr[RSP], STACK0 - 12);
}

static void to_more_privilege(void **state)
{
	enter_protected(3);
	idt_set32(VECTOR_PF, INTERRUPT32, CODE0, 0x1000, 0);
	assert_true(deliver(VECTOR_PF, 7));
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->segment[SEG_SS].selector, DATA0);
	assert_int_equal(cpu->gpr[RSP], STACK0 - 24);
	assert_int_equal(stacked(0, 4), 7);
	assert_int_equal(stacked(4, 4), STACK3);
	assert_int_equal(stacked(5, 4), DATA3);
	/* ES and DS stay. */
	assert_int_equal(cpu->segment[SEG_DS].selector, DATA3);
}

static void sixteen_bit_gate(void **state)
{
	enter_protected(0);
	idt_set32(0x30, SYS_INTERRUPT_GATE16, CODE0, 0x5678, 0);
	assert_true(deliver_interrupt(0x30));
	assert_int_equal(cpu->rip, 0x5678);
	assert_int_equal(cpu->gpr[RSP], STACK0 - 6);
	assert_int_equal(stacked(0, 2), 0x1234);
}

static void conforming_handler(void **state)
{
	enter_protected(3);
	idt_set32(0x30, INTERRUPT32, CONFORM, 0x1000, 3);
	assert_true(deliver_interrupt(0x30));
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->segment[SEG_CS].selector, CONFORM | 3);
	assert_int_equal(cpu->gpr[RSP], STACK3 - 12);
}

static void software_interrupts(void **state)
{
	enter_protected(3);
	idt_set32(0x80, TRAP32, CODE0, 0x1000, 3);
	assert_true(deliver_software(0x80, SOFTWARE_INT_N));
	assert_int_equal(stacked(0, 4), 0x1236); /* after the instruction */
	/* The gate's DPL, for INT n and INT3 but not for INT1: error code vector * 8 + IDT. */
	enter_protected(3);
	idt_set32(0x80, TRAP32, CODE0, 0x1000, 0);
	idt_set32(VECTOR_GP, TRAP32, CODE0, 0x2000, 0);
	assert_true(deliver_software(0x80, SOFTWARE_INT_N));
	assert_int_equal(cpu->rip, 0x2000);
	assert_int_equal(stacked(0, 4), 0x402);
	assert_int_equal(stacked(1, 4), 0x1234); /* of the instruction */
	enter_protected(3);
	idt_set32(VECTOR_BP, TRAP32, CODE0, 0x1000, 0);
	assert_true(deliver_software(VECTOR_BP, SOFTWARE_INT3));
	assert_int_equal(stacked(0, 4), 0x1a);
	enter_protected(3);
	idt_set32(VECTOR_DB, TRAP32, CODE0, 0x1000, 0);
	assert_true(deliver_software(VECTOR_DB, SOFTWARE_INT1));
	assert_int_equal(cpu->rip, 0x1000);
	assert_int_equal(stacked(0, 4), 0x1236);
}

/* INT1 counts as an event of the processor's own: a selector's error code has EXT set (SDM vol. 3A
 * 6.13). INT3 is the program's. */
static void int1_is_external(void **state)
{
	static const struct {
		unsigned vector;
		enum software_interrupt kind;
		unsigned error;
	} rows[] = {{VECTOR_DB, SOFTWARE_INT1, 1 * 8 + 3}, {VECTOR_BP, SOFTWARE_INT3, 3 * 8 + 2}};

	for (volatile unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		enter_protected(0);
		idt_set32(VECTOR_NP, INTERRUPT32, CODE0, 0x2000, 0);
		put(IDT + rows[i].vector * 8, make_gate(TRAP32, CODE0, 0, 3, 0) & ~BIT(47), 8);
		assert_true(deliver_software(rows[i].vector, rows[i].kind));
		assert_int_equal(cpu->rip, 0x2000);
		assert_int_equal(stacked(0, 4), rows[i].error);
	}
}

/* RF in the pushed image, so that an instruction breakpoint does not hit again (SDM vol. 3B
 * 18.3.1.1). */
static void faults_push_rf(void **state)
{
	static const struct {
		unsigned vector;
		bool rf;
	} rows[] = {
		{VECTOR_DE, true},
		{VECTOR_DB, false},
		{VECTOR_BR, true},
		{VECTOR_UD, true},
		{VECTOR_NM, true},
		{VECTOR_DF, false},
		{VECTOR_TS, true},
		{VECTOR_NP, true},
		{VECTOR_SS, true},
		{VECTOR_GP, true},
		{VECTOR_PF, true},
		{VECTOR_MF, true},
		{VECTOR_AC, true},
		{18, false},
		{VECTOR_XM, true},
	};

	for (volatile unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		enter_protected(0);
		idt_set32(rows[i].vector, INTERRUPT32, CODE0, 0x2000, 0);
		cpu_set_rflags(cpu, 0);
		assert_true(deliver(rows[i].vector, 0));
		assert_int_equal(cpu->rip, 0x2000);
		assert_int_equal(get(STACK0 - 4, 4), RFLAGS_FIXED1 | (rows[i].rf ? RFLAGS_RF : 0));
	}
}

/* Each flaw in a gate, and the exception it turns an interrupt into. EXT (bit 0) tells an external
 * event. */
static void flawed_gates(void **state)
{
	static const struct {
		unsigned type;
		uint16_t selector;
		unsigned vector, error;
	} flaw[] = {
		{SYS_CALL_GATE32, CODE0, VECTOR_GP, 0x30 * 8 + 3},
		{AR_S | SYS_INTERRUPT_GATE32, CODE0, VECTOR_GP, 0x30 * 8 + 3},
		{INTERRUPT32, 0, VECTOR_GP, 1}, {INTERRUPT32, DATA0, VECTOR_GP, DATA0 | 1},
		{INTERRUPT32, 0x200, VECTOR_GP, 0x200 | 1},
		{INTERRUPT32, CODE3, VECTOR_GP, (CODE3 & ~3) | 1}, /* less privileged */
		{INTERRUPT32, FREE_SEL, VECTOR_NP, FREE_SEL | 1},  /* not present */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(flaw); i++) {
		enter_protected(0);
		gdt_set(FREE_SEL, 0, ~0u, TYPE_CODE);
		idt_set32(flaw[i].vector, INTERRUPT32, CODE0, 0x2000 + flaw[i].vector, 0);
		idt_set32(0x30, flaw[i].type, flaw[i].selector, 0x1000, 0);
		assert_true(deliver_interrupt(0x30));
		assert_int_equal(cpu->rip, 0x2000 + flaw[i].vector);
		assert_int_equal(stacked(0, 4), flaw[i].error);
	}
	enter_protected(0);
	idt_set32(VECTOR_NP, INTERRUPT32, CODE0, 0x2000, 0);
	put(IDT + 0x30 * 8, make_gate(INTERRUPT32, CODE0, 0, 0, 0) & ~BIT(47), 8);
	assert_true(deliver_interrupt(0x30));
	assert_int_equal(stacked(0, 4), 0x30 * 8 + 3);
	enter_protected(0);
	idt_set32(VECTOR_GP, INTERRUPT32, CODE0, 0x2000, 0);
	idt_set32(0x30, INTERRUPT32, CODE0, 0x1000, 0);
	cpu->idtr.limit = 0x30 * 8 + 6;
	assert_true(deliver_interrupt(0x30));
	assert_int_equal(cpu->rip, 0x2000);
	assert_int_equal(stacked(0, 4), 0x30 * 8 + 3);
}

static void bad_inner_stack(void **state)
{
	enter_protected(3);
	idt_set32(0x30, INTERRUPT32, CODE0, 0x1000, 0);
	idt_set32(VECTOR_TS, TRAP32, CONFORM, 0x2000, 0);
	put(TSS + 8, DATA3, 2);
	assert_true(deliver_interrupt(0x30));
	assert_int_equal(cpu->rip, 0x2000);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(stacked(0, 4), (DATA3 & ~3) | 1);
}

/* Bytes 4 to 9 of the TSS say where the inner stack is. */
static void tss_too_short(void **state)
{
	for (volatile unsigned limit = 8; limit <= 9; limit++) {
		enter_protected(3);
		idt_set32(0x30, INTERRUPT32, CODE0, 0x1000, 0);
		idt_set32(VECTOR_TS, TRAP32, CONFORM, 0x2000, 0);
		cpu->segment[SEG_TR].limit = limit;
		assert_true(deliver_interrupt(0x30));
		assert_int_equal(cpu->rip, limit == 8 ? 0x2000 : 0x1000);
		if (limit == 8)
			assert_int_equal(stacked(0, 4), (cpu->segment[SEG_TR].selector & ~3) | 1);
	}
}

/* --- long mode --- */

static void long_mode_frame(void **state)
{
	enter_long(0);
	idt_set64(VECTOR_GP, INTERRUPT32, CODE0, HIGH_HALF + 0x1234, 0, 0);
	cpu->gpr[RSP] = STACK0 - 3; /* aligned down */
	assert_true(deliver(VECTOR_GP, 0x50));
	assert_int_equal(cpu->rip, HIGH_HALF + 0x1234);
	assert_int_equal(cpu->gpr[RSP], STACK0 - 16 - 48);
	assert_int_equal(stacked(0, 8), 0x50);
	assert_int_equal(stacked(1, 8), 0x1234);
	assert_int_equal(stacked(2, 8), CODE0);
	assert_int_equal(stacked(4, 8), STACK0 - 3);
	assert_int_equal(stacked(5, 8), DATA0);
	assert_int_equal(cpu->segment[SEG_SS].selector, DATA0); /* unchanged */
}

static void long_mode_from_user(void **state)
{
	enter_long(3);
	idt_set64(0x30, INTERRUPT32, CODE0, 0x1000, 0, 0);
	assert_true(deliver_interrupt(0x30));
	assert_int_equal(cpu->gpr[RSP], STACK0 - 40);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->segment[SEG_SS].selector, 0);
	assert_true(cpu->segment[SEG_SS].access & AR_UNUSABLE);
	assert_int_equal(stacked(3, 8), STACK3);
	assert_int_equal(stacked(4, 8), DATA3);
	/* From compatibility mode as well. */
	enter_long(3);
	load_segment(SEG_CS, CODE3_32);
	assert_true(deliver_interrupt(0x30));
	assert_int_equal(stacked(1, 8), CODE3_32);
	assert_int_equal(cpu_code_bits(cpu), 64);
}

static void interrupt_stack_table(void **state)
{
	enter_long(0);
	put(TSS + 36 + 8 * 2, STACK_X, 8); /* IST3 */
	idt_set64(VECTOR_DF, INTERRUPT32, CODE0, 0x1000, 0, 3);
	assert_true(deliver(VECTOR_DF, 0));
	assert_int_equal(cpu->gpr[RSP], STACK_X - 48);
	assert_int_equal(cpu->segment[SEG_SS].selector, DATA0);
}

static void long_mode_flaws(void **state)
{
	enter_long(0);
	idt_set64(VECTOR_GP, INTERRUPT32, CODE0, 0x2000, 0, 0);
	idt_set64(0x30, INTERRUPT32, CODE0_32, 0x1000, 0, 0); /* not 64-bit code */
	assert_true(deliver_interrupt(0x30));
	assert_int_equal(stacked(0, 8), CODE0_32 | 1);
	enter_long(0);
	idt_set64(0x30, SYS_INTERRUPT_GATE16, CODE0, 0x1000, 0, 0);
	assert_true(deliver_interrupt(0x30));
	assert_int_equal(stacked(0, 8), 0x30 * 8 + 3);
	enter_long(0);
	idt_set64(0x30, INTERRUPT32, CODE0, BIT(47), 0, 0);
	assert_true(deliver_interrupt(0x30));
	assert_int_equal(stacked(0, 8), 1);
	enter_long(3);
	idt_set64(0x30, INTERRUPT32, CODE0, 0x1000, 0, 1);
	put(TSS + 36, BIT(50), 8); /* stack not canonical */
	idt_set64(VECTOR_SS, INTERRUPT32, CODE0, 0x3000, 0, 0);
	assert_true(deliver_interrupt(0x30));
	assert_int_equal(cpu->rip, 0x3000);
	assert_int_equal(stacked(0, 8), 1);
}

/* --- faults on the way --- */

static void page_fault_on_the_stack(void **state)
{
	enter_long(3);
	idt_set64(0x30, INTERRUPT32, CODE0, 0x1000, 0, 0);
	idt_set64(VECTOR_PF, INTERRUPT32, CODE0, 0x2000, 0, 1);
	put(TSS + 4, RAM_SIZE + 0x1000, 8); /* not mapped */
	put(TSS + 36, STACK_X, 8);
	assert_true(deliver_interrupt(0x30));
	assert_int_equal(cpu->rip, 0x2000);
	assert_int_equal(cpu->cr2, RAM_SIZE + 0xff8);
	assert_int_equal(stacked(0, 8), PF_WRITE);
	assert_int_equal(stacked(1, 8), 0x1234); /* the interrupted state is whole */
	assert_int_equal(stacked(4, 8), STACK3);
}

/* SDM vol. 3A table 6-5: rows are the first exception, columns the second. */
static void double_fault_table(void **state)
{
	static const struct {
		unsigned first, second;
		bool becomes_double;
	} pair[] = {
		{VECTOR_DE, VECTOR_NP, true},
		{VECTOR_GP, VECTOR_NP, true},
		{VECTOR_TS, VECTOR_GP, true},
		{VECTOR_GP, VECTOR_PF, false},
		{VECTOR_PF, VECTOR_NP, true},
		{VECTOR_PF, VECTOR_PF, true},
		{VECTOR_UD, VECTOR_NP, false},
		{VECTOR_DB, VECTOR_GP, false},
		{VECTOR_NMI, VECTOR_NP, false},
		{VECTOR_AC, VECTOR_PF, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(pair); i++) {
		enter_long(0);
		idt_set64(VECTOR_DF, INTERRUPT32, CODE0, 0x8000, 0, 0);
		idt_set64(pair[i].second, INTERRUPT32, CODE0, 0x2000, 0, 0);
		/* The first one's delivery meets the second. */
		switch (pair[i].second) {
		case VECTOR_NP:
			put(IDT + pair[i].first * 16,
				make_gate(INTERRUPT32, CODE0, 0, 0, 0) & ~BIT(47), 8);
			break;
		case VECTOR_GP:
			put(IDT + pair[i].first * 16, 0, 8);
			break;
		default:
			idt_set64(pair[i].first, INTERRUPT32, CODE0, 0x1000, 0, 1);
			put(TSS + 36, RAM_SIZE + 0x1000, 8);
		}
		assert_true(pair[i].first == VECTOR_NMI ? deliver_interrupt(VECTOR_NMI)
							: deliver(pair[i].first, 0));
		assert_int_equal(cpu->rip, pair[i].becomes_double ? 0x8000 : 0x2000);
		if (pair[i].becomes_double)
			assert_int_equal(stacked(0, 8), 0);
		assert_int_equal(cpu->activity, ACTIVITY_RUNNING);
	}
}

static void triple_fault(void **state)
{
	enter_protected(0);
	cpu->idtr.limit = 0;
	assert_false(deliver(VECTOR_UD, 0));
	assert_int_equal(cpu->activity, ACTIVITY_SHUTDOWN);
	assert_int_equal(cpu->rip, 0x1234);
}

/* The caller's own landing place is back after a delivery that used setjmp. */
static void unwind_is_restored(void **state)
{
	enter_protected(0);
	idt_set32(VECTOR_GP, INTERRUPT32, CODE0, 0x1000, 0);
	assert_true(RAISED(deliver_interrupt(0x30); cpu_raise(cpu, VECTOR_UD)));
	assert_int_equal(cpu->exception.vector, VECTOR_UD);
}

/* --- real mode --- */

static void real_mode(void **state)
{
	cpu->gpr[RSP] = 0x1000;
	cpu->rip = 0x42;
	cpu->next_rip = 0x44;
	cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_TF | RFLAGS_ZF);
	put(0x21 * 4, 0x12345678, 4);
	assert_true(deliver_software(0x21, SOFTWARE_INT_N));
	assert_int_equal(cpu->rip, 0x5678);
	assert_int_equal(cpu->segment[SEG_CS].base, 0x12340);
	assert_int_equal(cpu->gpr[RSP], 0xffa);
	assert_int_equal(get(0xffa, 2), 0x44);
	assert_int_equal(get(0xffc, 2), 0xf000);
	assert_int_equal(get(0xffe, 2), RFLAGS_IF | RFLAGS_TF | RFLAGS_ZF | RFLAGS_FIXED1);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_ZF | RFLAGS_FIXED1);
	put(VECTOR_GP * 4, 0x00010002, 4);
	assert_true(deliver(VECTOR_GP, 0x1234)); /* no error code is pushed */
	assert_int_equal(cpu->gpr[RSP], 0xff4);
}

static void real_mode_table_too_short(void **state)
{
	cpu->gpr[RSP] = 0x1000;
	cpu->idtr.limit = VECTOR_GP * 4 + 3;
	put(VECTOR_GP * 4, 0x00010002, 4);
	assert_true(deliver_interrupt(0x21));
	assert_int_equal(cpu->rip, 2);
	cpu->idtr.limit = 3;
	assert_false(deliver_interrupt(0x21));
	assert_int_equal(cpu->activity, ACTIVITY_SHUTDOWN);
}

/* --- virtual-8086 mode --- */

static void v86_to_monitor(void **state)
{
	enter_v86(0);
	idt_set32(VECTOR_GP, INTERRUPT32, CODE0, 0x1000, 0);
	assert_true(deliver_software(0x21, SOFTWARE_INT_N)); /* IOPL 0: #GP(0) */
	assert_int_equal(cpu->rip, 0x1000);
	assert_false(cpu_v86(cpu));
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->gpr[RSP], STACK0 - 40);
	assert_int_equal(stacked(0, 4), 0);
	assert_int_equal(stacked(1, 4), 0x100);
	assert_int_equal(stacked(2, 4), 0x2000);
	assert_int_equal(stacked(3, 4), RFLAGS_VM | RFLAGS_IF | RFLAGS_RF | RFLAGS_FIXED1);
	assert_int_equal(stacked(4, 4), 0x1000);
	assert_int_equal(stacked(5, 4), 0x3000);
	assert_int_equal(stacked(6, 4), 0x4000); /* ES */
	assert_int_equal(stacked(7, 4), 0x5000); /* DS */
	assert_int_equal(stacked(8, 4), 0x6000); /* FS */
	assert_int_equal(stacked(9, 4), 0x7000); /* GS */
	for (enum seg seg = SEG_ES; seg <= SEG_GS; seg++)
		if (seg != SEG_CS && seg != SEG_SS)
			assert_true(cpu->segment[seg].access & AR_UNUSABLE);
}

static void v86_software_interrupts(void **state)
{
	enter_v86(3);
	idt_set32(0x21, INTERRUPT32, CODE0, 0x1000, 3);
	assert_true(deliver_software(0x21, SOFTWARE_INT_N));
	assert_int_equal(cpu->rip, 0x1000);
	/* INT3 does not depend on IOPL. */
	enter_v86(0);
	idt_set32(VECTOR_BP, INTERRUPT32, CODE0, 0x1000, 3);
	assert_true(deliver_software(VECTOR_BP, SOFTWARE_INT3));
	assert_int_equal(cpu->rip, 0x1000);
	/* The handler must run at CPL 0. */
	enter_v86(3);
	idt_set32(0x21, INTERRUPT32, CODE1, 0x1000, 3);
	put(TSS + 12, STACK_X, 4);
	put(TSS + 16, DATA1, 2);
	idt_set32(VECTOR_GP, INTERRUPT32, CODE0, 0x2000, 0);
	assert_true(deliver_software(0x21, SOFTWARE_INT_N));
	assert_int_equal(cpu->rip, 0x2000);
	assert_int_equal(stacked(0, 4), CODE1 & ~3);
}

static void v86_redirection(void **state)
{
	for (unsigned iopl3 = 0; iopl3 < 2; iopl3++) {
		enter_v86(iopl3 ? 3 : 0);
		cpu->cr4 |= CR4_VME;
		put(TSS + 0x66, 0x88, 2);
		for (unsigned i = 0; i < 32; i++)
			put(TSS + 0x68 + i, 0, 1);
		put(0x21 * 4, 0x77770042, 4);
		cpu_set_rflags(cpu, cpu_rflags(cpu) | (iopl3 ? 0 : RFLAGS_VIF));
		assert_true(deliver_software(0x21, SOFTWARE_INT_N));
		assert_int_equal(cpu->next_rip, 0x42);
		assert_int_equal(cpu->segment[SEG_CS].base, 0x77770);
		assert_true(cpu_v86(cpu));
		assert_int_equal(cpu->gpr[RSP], 0xffa);
		assert_int_equal(get(0x30ffa, 2), 0x102);
		assert_int_equal(get(0x30ffc, 2), 0x2000);
		assert_int_equal(get(0x30ffe, 2), RFLAGS_IF | RFLAGS_IOPL | RFLAGS_FIXED1);
		assert_int_equal(cpu_rflags(cpu) & (RFLAGS_IF | RFLAGS_VIF), iopl3 ? 0 : RFLAGS_IF);
	}
	/* The bit set: the usual way. */
	enter_v86(0);
	cpu->cr4 |= CR4_VME;
	put(TSS + 0x66, 0x88, 2);
	put(TSS + 0x68 + 0x21 / 8, 1 << (0x21 % 8), 1);
	idt_set32(VECTOR_GP, INTERRUPT32, CODE0, 0x2000, 0);
	assert_true(deliver_software(0x21, SOFTWARE_INT_N));
	assert_int_equal(cpu->rip, 0x2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(same_privilege),
		cpu_test(trap_gate_keeps_interrupts),
		cpu_test(to_more_privilege),
		cpu_test(sixteen_bit_gate),
		cpu_test(conforming_handler),
		cpu_test(software_interrupts),
		cpu_test(int1_is_external),
		cpu_test(faults_push_rf),
		cpu_test(flawed_gates),
		cpu_test(bad_inner_stack),
		cpu_test(tss_too_short),
		cpu_test(long_mode_frame),
		cpu_test(long_mode_from_user),
		cpu_test(interrupt_stack_table),
		cpu_test(long_mode_flaws),
		cpu_test(page_fault_on_the_stack),
		cpu_test(double_fault_table),
		cpu_test(triple_fault),
		cpu_test(unwind_is_restored),
		cpu_test(real_mode),
		cpu_test(real_mode_table_too_short),
		cpu_test(v86_to_monitor),
		cpu_test(v86_software_interrupts),
		cpu_test(v86_redirection),
	};

	return cmocka_run_group_tests_name("exception", tests, NULL, NULL);
}
