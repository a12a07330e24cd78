/* Far jumps, calls, returns, IRET, and the fast system calls. */
#include "cpu_fixture.h"

static uint64_t stacked(unsigned index, unsigned size)
{
	return get(cpu->gpr[RSP] + index * size, size);
}

static void push(uint64_t value, unsigned size)
{
	cpu->gpr[RSP] -= size;
	put(cpu->gpr[RSP], value, size);
}

/* --- real mode --- */

static void real_far_call_and_return(void **state)
{
	cpu->gpr[RSP] = 0xfff0000000001000;
	cpu->next_rip = 0x55;
	assert_completes(transfer_far_call(cpu, 0x1234, 0x5678, 2));
	assert_int_equal(cpu->segment[SEG_CS].base, 0x12340);
	assert_int_equal(cpu->next_rip, 0x5678);
	assert_int_equal(cpu->gpr[RSP], 0xfff0000000000ffc); /* SP only */
	assert_int_equal(get(0xffc, 4), 0xf0000055);
	assert_completes(transfer_far_return(cpu, 2, 6));
	assert_int_equal(cpu->segment[SEG_CS].base, 0xf0000);
	assert_int_equal(cpu->next_rip, 0x55);
	assert_int_equal(cpu->gpr[RSP], 0xfff0000000001006);
	assert_raises(VECTOR_GP, 0, transfer_far_jump(cpu, 0, 0x10000, 4));
}

static void real_iret(void **state)
{
	cpu->gpr[RSP] = 0x1000;
	cpu_set_rflags(cpu, RFLAGS_VIP);
	push(0xffff, 2);
	push(0x1000, 2);
	push(0x20, 2);
	assert_completes(transfer_iret(cpu, 2));
	assert_int_equal(cpu->next_rip, 0x20);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_VIP | 0x7fd7);
}

/* --- direct far jumps --- */

static void jump_same_privilege(void **state)
{
	enter_protected(0);
	assert_completes(transfer_far_jump(cpu, CODE0_32, 0x12345678, 4));
	assert_int_equal(cpu->next_rip, 0x12345678);
	assert_int_equal(cpu->segment[SEG_CS].selector, CODE0_32);
	assert_completes(transfer_far_jump(cpu, CODE0_32, 0x12345678, 2));
	assert_int_equal(cpu->next_rip, 0x5678);
}

static void jump_checks(void **state)
{
	enter_protected(3);
	assert_raises(VECTOR_GP, 0, transfer_far_jump(cpu, 0, 0, 4));
	assert_raises(VECTOR_GP, 0x200, transfer_far_jump(cpu, 0x200, 0, 4));
	assert_raises(VECTOR_GP, DATA3 & ~3, transfer_far_jump(cpu, DATA3, 0, 4));
	assert_raises(VECTOR_GP, CODE0, transfer_far_jump(cpu, CODE0, 0, 4));
	assert_completes(transfer_far_jump(cpu, CONFORM, 0x10, 4));
	assert_int_equal(cpu->segment[SEG_CS].selector, CONFORM | 3); /* CPL stays */
	assert_int_equal(cpu->cpl, 3);
	gdt_set(FREE_SEL, 0, 0xfff, TYPE_CODE | AR_P | DPL(3));
	assert_raises(VECTOR_GP, 0, transfer_far_jump(cpu, FREE_SEL | 3, 0x1000, 4)); /* limit */
	gdt_set(FREE_SEL, 0, 0xfff, TYPE_CODE | DPL(3));
	assert_raises(VECTOR_NP, FREE_SEL, transfer_far_jump(cpu, FREE_SEL | 3, 0, 4));
	enter_protected(0);
	assert_raises(VECTOR_GP, CODE3 & ~3, transfer_far_jump(cpu, CODE3, 0, 4)); /* outwards */
}

static void jump_between_64_and_compatibility(void **state)
{
	enter_long(0);
	assert_completes(transfer_far_jump(cpu, CODE0_32, 0x1000, 4));
	assert_int_equal(cpu_code_bits(cpu), 32);
	assert_completes(transfer_far_jump(cpu, CODE0, 0x2000, 4));
	assert_int_equal(cpu_code_bits(cpu), 64);
	assert_raises(VECTOR_GP, 0, transfer_far_jump(cpu, CODE0, BIT(47), 8));
	gdt_set(FREE_SEL, 0, ~0u, TYPE_CODE | AR_P | AR_L | AR_DB); /* no such thing */
	assert_raises(VECTOR_GP, FREE_SEL, transfer_far_jump(cpu, FREE_SEL, 0, 8));
}

/* The base of a 64-bit code segment does not count. */
static void base_of_64bit_code(void **state)
{
	enter_long(0);
	gdt_set(FREE_SEL, 0x1000, ~0u, TYPE_CODE | AR_P | AR_L);
	assert_completes(transfer_far_jump(cpu, FREE_SEL, 0x100, 4));
	assert_int_equal(cpu->segment_base[SEG_CS], 0);
}

/* --- far calls --- */

static void call_and_return_same_privilege(void **state)
{
	enter_long(3);
	assert_completes(transfer_far_call(cpu, CODE3_32, 0x4000, 8));
	assert_int_equal(stacked(0, 8), 0x1236);
	assert_int_equal(stacked(1, 8), CODE3);
	assert_int_equal(cpu_code_bits(cpu), 32);
	cpu->gpr[RSP] -= 8;
	put(cpu->gpr[RSP], 0x7777, 4);
	put(cpu->gpr[RSP] + 4, CODE3, 4);
	assert_completes(transfer_far_return(cpu, 4, 8));
	assert_int_equal(cpu->gpr[RSP], STACK3 - 16 + 8);
	assert_int_equal(cpu_code_bits(cpu), 64);
	assert_int_equal(cpu->next_rip, 0x7777);
}

static void call_faults_before_it_changes_anything(void **state)
{
	uint64_t rsp;

	enter_long(0);
	cpu->gpr[RSP] = RAM_SIZE + 4; /* the second push would be the first on an absent page */
	rsp = cpu->gpr[RSP] += 8;
	assert_raises(VECTOR_PF, PF_WRITE, transfer_far_call(cpu, CODE0_32, 0x4000, 8));
	assert_int_equal(cpu->gpr[RSP], rsp);
	assert_int_equal(cpu->segment[SEG_CS].selector, CODE0);
	assert_int_equal(cpu->next_rip, 0x1236);
}

/* --- call gates --- */

#define GATE FREE_SEL

static void gate32(unsigned type, uint16_t selector, unsigned dpl, unsigned parameters)
{
	put(GDT + GATE, make_gate(type, selector, 0xabcd0010, dpl, parameters), 8);
}

static void gate_to_more_privilege(void **state)
{
	enter_protected(3);
	gate32(SYS_CALL_GATE32, CODE0, 3, 2);
	push(0x1111, 4);
	push(0x2222, 4);
	assert_completes(transfer_far_call(cpu, GATE | 3, 0xdead, 4));
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->next_rip, 0xabcd0010);
	assert_int_equal(cpu->segment[SEG_SS].selector, DATA0);
	assert_int_equal(cpu->gpr[RSP], STACK0 - 6 * 4);
	assert_int_equal(stacked(0, 4), 0x1236);
	assert_int_equal(stacked(1, 4), CODE3);
	assert_int_equal(stacked(2, 4), 0x2222);
	assert_int_equal(stacked(3, 4), 0x1111);
	assert_int_equal(stacked(4, 4), STACK3 - 8);
	assert_int_equal(stacked(5, 4), DATA3);
	/* And back, dropping the parameters on both stacks, and what CPL 3 may not keep. */
	load_segment(SEG_ES, DATA0);
	load_segment(SEG_FS, CONFORM);
	assert_completes(transfer_far_return(cpu, 4, 8));
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->gpr[RSP], STACK3);
	assert_int_equal(cpu->segment[SEG_SS].selector, DATA3);
	assert_int_equal(cpu->segment[SEG_ES].selector, 0);
	assert_true(cpu->segment[SEG_ES].access & AR_UNUSABLE);
	assert_int_equal(cpu->segment[SEG_FS].selector, CONFORM);
	assert_int_equal(cpu->segment[SEG_DS].selector, DATA3);
}

static void gate16_pushes_words(void **state)
{
	enter_protected(3);
	gate32(SYS_CALL_GATE16, CODE0, 3, 1);
	push(0x1111, 2);
	assert_completes(transfer_far_call(cpu, GATE, 0, 2));
	assert_int_equal(cpu->next_rip, 0x10);
	assert_int_equal(cpu->gpr[RSP], STACK0 - 10);
	assert_int_equal(stacked(2, 2), 0x1111);
}

static void gate_checks(void **state)
{
	enter_protected(3);
	gate32(SYS_CALL_GATE32, CODE0, 2, 0);
	assert_raises(VECTOR_GP, GATE, transfer_far_call(cpu, GATE, 0, 4)); /* gate DPL */
	put(GDT + GATE, make_gate(SYS_CALL_GATE32, CODE0, 0, 3, 0) & ~BIT(47), 8);
	assert_raises(VECTOR_NP, GATE, transfer_far_call(cpu, GATE, 0, 4));
	gate32(SYS_CALL_GATE32, 0, 3, 0);
	assert_raises(VECTOR_GP, 0, transfer_far_call(cpu, GATE, 0, 4));
	gate32(SYS_CALL_GATE32, DATA0, 3, 0);
	assert_raises(VECTOR_GP, DATA0, transfer_far_call(cpu, GATE, 0, 4));
	gate32(SYS_CALL_GATE32, CODE0, 3, 0);
	assert_raises(VECTOR_GP, CODE0, transfer_far_jump(cpu, GATE, 0, 4)); /* JMP keeps CPL */
	put(TSS + 8, DATA3, 2);
	assert_raises(VECTOR_TS, DATA3 & ~3, transfer_far_call(cpu, GATE, 0, 4));
	put(TSS + 8, 0, 2);
	assert_raises(VECTOR_TS, 0, transfer_far_call(cpu, GATE, 0, 4));
	cpu->segment[SEG_TR].limit = 8;
	assert_raises(VECTOR_TS, TSS_SEL, transfer_far_call(cpu, GATE, 0, 4));
	/* Same privilege: no TSS is looked at. */
	gate32(SYS_CALL_GATE32, CODE3 & ~3, 3, 5);
	assert_completes(transfer_far_call(cpu, GATE, 0, 4));
	assert_int_equal(cpu->gpr[RSP], STACK3 - 8);
}

static void inner_stack_too_small(void **state)
{
	enter_protected(3);
	gate32(SYS_CALL_GATE32, CODE0, 3, 0);
	gdt_set(FREE_SEL + 8, 0, STACK0 - 9, TYPE_DATA | AR_P | AR_DB | AR_EXPAND_DOWN);
	put(TSS + 8, FREE_SEL + 8, 2);
	assert_raises(VECTOR_SS, FREE_SEL + 8, transfer_far_call(cpu, GATE, 0, 4));
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->gpr[RSP], STACK3);
}

static void gate_in_long_mode(void **state)
{
	enter_long(3);
	gate32(SYS_CALL_GATE32, CODE0, 3, 3);
	put(GDT + GATE + 8, 0xffff8000, 8);
	assert_completes(transfer_far_call(cpu, GATE, 0, 4));
	assert_int_equal(cpu->next_rip, UINT64_C(0xffff8000abcd0010));
	assert_int_equal(cpu->cpl, 0);
	assert_true(cpu->segment[SEG_SS].access & AR_UNUSABLE);
	assert_int_equal(cpu->segment[SEG_SS].selector, 0);
	assert_int_equal(cpu->gpr[RSP], STACK0 - 32);
	assert_int_equal(stacked(0, 8), 0x1236);
	assert_int_equal(stacked(1, 8), CODE3);
	assert_int_equal(stacked(2, 8), STACK3);
	assert_int_equal(stacked(3, 8), DATA3);
	enter_long(3);
	gate32(SYS_CALL_GATE32, CODE0_32, 3, 0); /* compatibility code behind a gate */
	assert_raises(VECTOR_GP, CODE0_32, transfer_far_call(cpu, GATE, 0, 4));
	gate32(SYS_CALL_GATE16, CODE0, 3, 0);
	assert_raises(VECTOR_GP, GATE, transfer_far_call(cpu, GATE, 0, 4));
	gate32(SYS_TASK_GATE, TSS_B_SEL, 3, 0);
	assert_raises(VECTOR_GP, GATE, transfer_far_call(cpu, GATE, 0, 4));
}

/* --- far return --- */

static void return_checks(void **state)
{
	enter_protected(3);
	push(CODE0, 4);
	push(0x10, 4);
	assert_raises(VECTOR_GP, CODE0, transfer_far_return(cpu, 4, 0)); /* inwards */
	enter_protected(0);
	push(DATA0, 4); /* SS: CPL 0's */
	push(STACK3, 4);
	push(CODE3, 4);
	push(0x10, 4);
	assert_raises(VECTOR_GP, DATA0, transfer_far_return(cpu, 4, 0));
	put(cpu->gpr[RSP] + 12, 0, 4);
	assert_raises(VECTOR_GP, 0, transfer_far_return(cpu, 4, 0));
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->gpr[RSP], STACK0 - 16);
}

/* --- IRET --- */

static void push_frame(
	uint64_t rip, uint16_t cs, uint64_t flags, uint64_t rsp, uint16_t ss, unsigned size)
{
	push(ss, size);
	push(rsp, size);
	push(flags, size);
	push(cs, size);
	push(rip, size);
}

static void iret_to_user(void **state)
{
	enter_long(0);
	cpu->nmi_blocked = true;
	push_frame(0x400000, CODE3, RFLAGS_IF | RFLAGS_CF, UINT64_C(0x7fffffffe000), DATA3, 8);
	assert_completes(transfer_iret(cpu, 8));
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->next_rip, 0x400000);
	assert_int_equal(cpu->gpr[RSP], UINT64_C(0x7fffffffe000));
	assert_int_equal(cpu_rflags(cpu), RFLAGS_IF | RFLAGS_CF | RFLAGS_FIXED1);
	assert_false(cpu->nmi_blocked);
	assert_ptr_equal(cpu->tlb, cpu->tlb_views[TLB_USER]);
}

/* In 64-bit mode SS:RSP are popped at the same privilege, too. */
static void iret_same_privilege_64(void **state)
{
	enter_long(0);
	push_frame(0x5000, CODE0, 0, 0x9000, 0, 8);
	assert_completes(transfer_iret(cpu, 8));
	assert_int_equal(cpu->gpr[RSP], 0x9000);
	assert_true(cpu->segment[SEG_SS].access & AR_UNUSABLE);
	assert_int_equal(cpu->cpl, 0);
}

static void iret_checks(void **state)
{
	enter_long(0);
	push_frame(BIT(47), CODE3, 0, 0x9000, DATA3, 8);
	assert_raises(VECTOR_GP, 0, transfer_iret(cpu, 8));
	enter_long(0);
	push_frame(0x5000, CODE3, 0, 0x9000, 3, 8); /* null SS for CPL 3 */
	assert_raises(VECTOR_GP, 0, transfer_iret(cpu, 8));
	enter_long(0);
	push_frame(0x5000, CODE0_32, 0, 0x9000, 0, 8); /* null SS for 32-bit code */
	assert_raises(VECTOR_GP, 0, transfer_iret(cpu, 8));
	enter_long(0);
	cpu_set_rflags(cpu, RFLAGS_NT);
	assert_raises(VECTOR_GP, 0, transfer_iret(cpu, 8));
}

/* IRET pops with the old stack's width, RSP is set with the new one's. */
static void iret_to_16_bit_stack(void **state)
{
	enter_long(0);
	gdt_set(FREE_SEL, 0, 0xffff, TYPE_DATA | AR_P | DPL(3));
	push_frame(0x5000, CODE3_32, 0, 0x12345678, FREE_SEL | 3, 8);
	assert_completes(transfer_iret(cpu, 8));
	assert_int_equal(cpu->gpr[RSP] & 0xffff, 0x5678);
	assert_int_equal(cpu_stack_bits(cpu), 16);
}

static void iret_flags_by_privilege(void **state)
{
	uint64_t all = RFLAGS_IF | RFLAGS_IOPL | RFLAGS_AC | RFLAGS_ID | RFLAGS_VIF | RFLAGS_TF;
	uint64_t always = RFLAGS_AC | RFLAGS_ID | RFLAGS_TF | RFLAGS_FIXED1;

	for (volatile unsigned n = 0; n < 3; n++) {
		enter_protected(n == 0 ? 0 : 3);
		cpu_set_rflags(cpu, n == 2 ? RFLAGS_IOPL : 0);
		push(all, 4);
		push(n == 0 ? CODE0 : CODE3, 4);
		push(0x10, 4);
		assert_completes(transfer_iret(cpu, 4));
		if (n == 0)
			assert_int_equal(cpu_rflags(cpu), all | RFLAGS_FIXED1);
		else if (n == 1)
			assert_int_equal(cpu_rflags(cpu), always);
		else
			assert_int_equal(cpu_rflags(cpu), always | RFLAGS_IF | RFLAGS_IOPL);
	}
	enter_protected(0);
	cpu_set_rflags(cpu, RFLAGS_AC);
	push(RFLAGS_IF | RFLAGS_CF, 2);
	push(CODE0, 2);
	push(0x10, 2);
	assert_completes(transfer_iret(cpu, 2)); /* the upper half stays */
	assert_int_equal(cpu_rflags(cpu), RFLAGS_AC | RFLAGS_IF | RFLAGS_CF | RFLAGS_FIXED1);
}

static void iret_into_v86(void **state)
{
	enter_protected(0);
	for (unsigned i = 0; i < 4; i++)
		push(0x7000 - i * 0x1000, 4); /* GS FS DS ES */
	push_frame(0x100, 0x2000, RFLAGS_VM | RFLAGS_IF, 0xfffe, 0x3000, 4);
	assert_completes(transfer_iret(cpu, 4));
	assert_true(cpu_v86(cpu));
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->segment[SEG_CS].base, 0x20000);
	assert_int_equal(cpu->segment[SEG_SS].base, 0x30000);
	assert_int_equal(cpu->segment[SEG_GS].base, 0x70000);
	assert_int_equal(cpu->segment[SEG_FS].base, 0x60000);
	assert_int_equal(cpu->segment[SEG_DS].base, 0x50000);
	assert_int_equal(cpu->segment[SEG_ES].base, 0x40000);
	assert_int_equal(cpu->gpr[RSP], 0xfffe);
	assert_int_equal(cpu->next_rip, 0x100);
	/* From CPL 3 the VM bit in the image does nothing. */
	enter_protected(3);
	push_frame(0x100, CODE3, RFLAGS_VM, 0, 0, 4);
	assert_completes(transfer_iret(cpu, 4));
	assert_false(cpu_v86(cpu));
}

static void iret_in_v86(void **state)
{
	enter_v86(3);
	put(0x31000, 0x0555, 2);
	put(0x31002, 0x2100, 2);
	put(0x31004, RFLAGS_CF, 2); /* IF and IOPL clear */
	assert_completes(transfer_iret(cpu, 2));
	assert_int_equal(cpu->segment[SEG_CS].base, 0x21000);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_VM | RFLAGS_IOPL | RFLAGS_CF | RFLAGS_FIXED1);
	enter_v86(0);
	assert_raises(VECTOR_GP, 0, transfer_iret(cpu, 2));
	/* VME: IF stands for VIF. */
	cpu->cr4 |= CR4_VME;
	put(0x31004, RFLAGS_IF, 2);
	assert_completes(transfer_iret(cpu, 2));
	assert_int_equal(cpu_rflags(cpu), RFLAGS_VM | RFLAGS_IF | RFLAGS_VIF | RFLAGS_FIXED1);
	enter_v86(0);
	cpu->cr4 |= CR4_VME;
	cpu_set_rflags(cpu, cpu_rflags(cpu) | RFLAGS_VIP);
	assert_raises(VECTOR_GP, 0, transfer_iret(cpu, 2));
}

/* --- SYSCALL, SYSRET --- */

static void syscall_and_back(void **state)
{
	enter_long(3);
	cpu->star = (uint64_t)0x13 << 48 | (uint64_t)CODE0 << 32;
	cpu->lstar = HIGH_HALF;
	cpu->sfmask = RFLAGS_IF | RFLAGS_TF;
	cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_CF);
	assert_completes(transfer_syscall(cpu));
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->next_rip, HIGH_HALF);
	assert_int_equal(cpu->gpr[RCX], 0x1236);
	assert_int_equal(cpu->gpr[R11], RFLAGS_IF | RFLAGS_CF | RFLAGS_FIXED1);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_CF | RFLAGS_FIXED1);
	assert_int_equal(cpu->segment[SEG_CS].selector, CODE0);
	assert_int_equal(cpu->segment[SEG_SS].selector, DATA0);
	assert_int_equal(cpu->gpr[RSP], STACK3); /* not switched */
	assert_completes(transfer_sysret(cpu, 8));
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->next_rip, 0x1236);
	assert_int_equal(cpu->segment[SEG_CS].selector, 0x23);
	assert_int_equal(cpu->segment[SEG_SS].selector, 0x1b);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_IF | RFLAGS_CF | RFLAGS_FIXED1);
	assert_int_equal(cpu_code_bits(cpu), 64);
}

static void syscall_checks(void **state)
{
	enter_long(3);
	assert_raises(VECTOR_GP, 0, transfer_sysret(cpu, 8)); /* CPL */
	cpu->efer &= ~EFER_SCE;
	assert_raises(VECTOR_UD, 0, transfer_syscall(cpu));
	assert_raises(VECTOR_UD, 0, transfer_sysret(cpu, 8));
}

static void vendors_differ(void **state)
{
	for (volatile int amd = 0; amd < 2; amd++) {
		enter_long(0);
		cpu->amd = amd;
		cpu->star = (uint64_t)0x13 << 48 | (uint64_t)CODE0 << 32;
		cpu->sysenter_cs = CODE0;
		cpu->gpr[RCX] = BIT(47);
		if (amd) {
			assert_raises(VECTOR_UD, 0, transfer_sysenter(cpu));
			assert_raises(VECTOR_UD, 0, transfer_sysexit(cpu, 8));
			assert_completes(transfer_sysret(cpu, 8)); /* faults at the target, later */
			assert_int_equal(cpu->next_rip, BIT(47));
		} else {
			assert_raises(VECTOR_GP, 0, transfer_sysexit(cpu, 8));
			assert_raises(VECTOR_GP, 0, transfer_sysret(cpu, 8));
			assert_int_equal(cpu->cpl, 0);
		}
		set_privilege(3);
		load_segment(SEG_CS, CODE3_32); /* compatibility mode */
		cpu->cstar = 0x7000;
		if (amd) {
			assert_completes(transfer_syscall(cpu));
			assert_int_equal(cpu->next_rip, 0x7000);
		} else {
			assert_raises(VECTOR_UD, 0, transfer_syscall(cpu));
		}
	}
}

/* --- SYSENTER, SYSEXIT --- */

static void sysenter_and_back(void **state)
{
	enter_protected(3);
	cpu_set_rflags(cpu, RFLAGS_IF);
	assert_raises(VECTOR_GP, 0, transfer_sysenter(cpu)); /* selector 0 */
	cpu->sysenter_cs = CODE0;
	cpu->sysenter_esp = 0x8800;
	cpu->sysenter_eip = 0xc0001000;
	assert_completes(transfer_sysenter(cpu));
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->gpr[RSP], 0x8800);
	assert_int_equal(cpu->next_rip, 0xc0001000);
	assert_int_equal(cpu_rflags(cpu) & RFLAGS_IF, 0);
	cpu->gpr[RCX] = 0x9900;
	cpu->gpr[RDX] = 0x400000;
	assert_completes(transfer_sysexit(cpu, 4));
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->segment[SEG_CS].selector, (CODE0 + 16) | 3);
	assert_int_equal(cpu->segment[SEG_SS].selector, (CODE0 + 24) | 3);
	assert_int_equal(cpu->gpr[RSP], 0x9900);
	assert_int_equal(cpu->next_rip, 0x400000);
	assert_raises(VECTOR_GP, 0, transfer_sysexit(cpu, 4));
}

static void near_branches(void **state)
{
	enter_long(0);
	assert_raises(VECTOR_GP, 0, transfer_check_near(cpu, BIT(47)));
	assert_completes(transfer_check_near(cpu, ~UINT64_C(0)));
	enter_protected(0);
	cpu->segment[SEG_CS].limit = 0xfff;
	assert_raises(VECTOR_GP, 0, transfer_check_near(cpu, 0x1000));
	assert_completes(transfer_check_near(cpu, 0xfff));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(real_far_call_and_return),
		cpu_test(real_iret),
		cpu_test(jump_same_privilege),
		cpu_test(jump_checks),
		cpu_test(jump_between_64_and_compatibility),
		cpu_test(base_of_64bit_code),
		cpu_test(call_and_return_same_privilege),
		cpu_test(call_faults_before_it_changes_anything),
		cpu_test(gate_to_more_privilege),
		cpu_test(gate16_pushes_words),
		cpu_test(gate_checks),
		cpu_test(inner_stack_too_small),
		cpu_test(gate_in_long_mode),
		cpu_test(return_checks),
		cpu_test(iret_to_user),
		cpu_test(iret_same_privilege_64),
		cpu_test(iret_checks),
		cpu_test(iret_to_16_bit_stack),
		cpu_test(iret_flags_by_privilege),
		cpu_test(iret_into_v86),
		cpu_test(iret_in_v86),
		cpu_test(syscall_and_back),
		cpu_test(syscall_checks),
		cpu_test(vendors_differ),
		cpu_test(sysenter_and_back),
		cpu_test(near_branches),
	};

	return cmocka_run_group_tests_name("transfer", tests, NULL, NULL);
}
