/* What happens between instructions: pending requests and their order, shadows, halting and waking,
 * debug traps and breakpoints. */
#include "cpu/debug.h"
#include "cpu_fixture.h"

#include <pthread.h>
#include <unistd.h>

#define HANDLER(vector) (0x6000 + (vector)*16)

static void idt_everything(void)
{
	for (unsigned vector = 0; vector < 256; vector++)
		idt_set64(vector, SYS_INTERRUPT_GATE32, CODE0, HANDLER(vector), 3, 0);
}

static void request_interrupt(unsigned vector)
{
	next_vector = (int)vector;
	cpu_set_pending(cpu, PENDING_INTR);
}

static bool attention(void)
{
	return atomic_load(&cpu->attention);
}

/* --- interrupts --- */

static void interrupt_when_enabled(void **state)
{
	enter_long(0);
	idt_everything();
	request_interrupt(0x40);
	assert_true(attention());
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, 0x1234); /* IF is clear */
	assert_false(attention());
	cpu_set_rflags(cpu, RFLAGS_IF);
	assert_true(attention());
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, HANDLER(0x40));
	assert_false(cpu->system_flags & RFLAGS_IF);
	assert_false(attention());
}

static void request_that_went_away(void **state)
{
	enter_long(0);
	idt_everything();
	cpu_set_rflags(cpu, RFLAGS_IF);
	cpu_set_pending(cpu, PENDING_INTR);
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, 0x1234);
}

static void shadow_of_sti(void **state)
{
	enter_long(0);
	idt_everything();
	request_interrupt(0x40);
	assert_completes(insn_sti(cpu));
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, 0x1234);
	assert_true(attention()); /* to come back after one instruction */
	cpu->interrupt_shadow = SHADOW_NONE;
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, HANDLER(0x40));
}

static void nmi_blocks_itself(void **state)
{
	enter_long(0);
	idt_everything();
	cpu_queue_nmi(cpu);
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, HANDLER(VECTOR_NMI));
	assert_true(cpu->nmi_blocked);
	cpu_queue_nmi(cpu);
	cpu->rip = 0x1234;
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, 0x1234);
	assert_false(attention());
	assert_completes(transfer_iret(cpu, 8));
	assert_true(attention());
	cpu->rip = cpu->next_rip;
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, HANDLER(VECTOR_NMI));
}

/* One in its handler, one waiting; a third is lost. */
static void nmis_queue_up(void **state)
{
	unsigned delivered = 0;

	enter_long(0);
	idt_everything();
	for (unsigned i = 0; i < 3; i++)
		cpu_queue_nmi(cpu);
	while (cpu_has_wakeup(cpu)) {
		assert_true(cpu_service_pending(cpu));
		cpu_unblock_nmi(cpu);
		delivered++;
	}
	assert_int_equal(delivered, 2);
}

/* Of those that come while one is handled one is left: the handler's return decides. */
static void nmis_during_an_nmi(void **state)
{
	enter_long(0);
	idt_everything();
	cpu_queue_nmi(cpu);
	assert_true(cpu_service_pending(cpu));
	for (unsigned i = 0; i < 3; i++)
		cpu_queue_nmi(cpu);
	assert_int_equal(atomic_load(&cpu->nmi_queued), 2);
	assert_true(cpu_service_pending(cpu));
	assert_false(attention());
	cpu_unblock_nmi(cpu);
	assert_true(attention());
	assert_int_equal(atomic_load(&cpu->nmi_queued), 1);
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, HANDLER(VECTOR_NMI));
	cpu_unblock_nmi(cpu);
	assert_false(cpu_has_wakeup(cpu));
}

/* The request comes a little after the NMI that asked for it: the one that was delivered as part of
 * an earlier request does not come again. */
static void request_after_its_nmi(void **state)
{
	enter_long(0);
	idt_everything();
	cpu_set_pending(cpu, PENDING_NMI);
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, 0x1234);
	assert_false(cpu->nmi_blocked);
	cpu->activity = ACTIVITY_HALTED;
	cpu_set_pending(cpu, PENDING_NMI);
	assert_false(cpu_service_pending(cpu));
	assert_false(cpu_has_wakeup(cpu));
}

/* Debug trap, then NMI, then the interrupt: one at each boundary. */
static void priorities(void **state)
{
	enter_long(0);
	idt_everything();
	cpu_set_rflags(cpu, RFLAGS_IF);
	request_interrupt(0x40);
	cpu_queue_nmi(cpu);
	debug_trap(cpu, DR6_BS);
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, HANDLER(VECTOR_DB));
	assert_true(attention());
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, HANDLER(VECTOR_NMI));
	assert_int_equal(get(cpu->gpr[RSP], 8), HANDLER(VECTOR_DB));
	assert_false(attention()); /* the handlers run with IF clear */
	cpu_set_rflags(cpu, RFLAGS_IF);
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, HANDLER(0x40));
}

static void stop_leaves(void **state)
{
	enter_long(0);
	cpu_set_pending(cpu, PENDING_STOP);
	assert_false(cpu_service_pending(cpu));
	assert_true(attention());
	cpu_clear_pending(cpu, PENDING_STOP);
	assert_true(cpu_service_pending(cpu));
}

/* --- halting and waking --- */

static void halt(void **state)
{
	enter_long(0);
	idt_everything();
	cpu_set_rflags(cpu, RFLAGS_IF);
	assert_completes(insn_hlt(cpu));
	assert_false(cpu_service_pending(cpu));
	assert_false(cpu_has_wakeup(cpu));
	request_interrupt(0x40);
	assert_true(cpu_has_wakeup(cpu));
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->activity, ACTIVITY_RUNNING);
	assert_int_equal(cpu->rip, HANDLER(0x40));
	/* With IF clear only an NMI wakes it. */
	cpu->activity = ACTIVITY_HALTED;
	cpu_set_rflags(cpu, 0);
	request_interrupt(0x40);
	assert_false(cpu_has_wakeup(cpu));
	assert_false(cpu_service_pending(cpu));
	cpu_queue_nmi(cpu);
	assert_true(cpu_has_wakeup(cpu));
	assert_true(cpu_service_pending(cpu));
}

static void init_and_startup(void **state)
{
	enter_long(0);
	cpu->fpu.mxcsr = 0x1234;
	cpu->index = 1;
	cpu_set_pending(cpu, PENDING_INIT);
	assert_false(cpu_service_pending(cpu));
	assert_int_equal(cpu->activity, ACTIVITY_WAIT_FOR_SIPI);
	assert_int_equal(cpu->cr0, CR0_CD | CR0_NW | CR0_ET); /* CD and NW stay */
	assert_int_equal(cpu->efer, 0);
	assert_int_equal(cpu->fpu.mxcsr, 0x1234); /* INIT leaves the FPU alone */
	request_interrupt(0x40);
	assert_false(cpu_has_wakeup(cpu));
	cpu->sipi_vector = 0x9a;
	cpu_set_pending(cpu, PENDING_SIPI);
	assert_true(cpu_has_wakeup(cpu));
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->segment[SEG_CS].base, 0x9a000);
	assert_int_equal(cpu->segment[SEG_CS].selector, 0x9a00);
	assert_int_equal(cpu->rip, 0);
	cpu->rip = 0x55; /* a second SIPI does nothing */
	cpu_set_pending(cpu, PENDING_SIPI);
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, 0x55);
	cpu->index = 0;
}

static void power_up_state(void **state)
{
	assert_int_equal(cpu->segment_base[SEG_CS] + cpu->rip, 0xfffffff0);
	assert_int_equal(cpu->cr0, CR0_CD | CR0_NW | CR0_ET);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_FIXED1);
	assert_int_equal(cpu->dr6, 0xffff0ff0);
	assert_int_equal(cpu->dr7, 0x400);
	assert_int_equal(cpu->pat, UINT64_C(0x0007040600070406));
	assert_int_equal(cpu->idtr.limit, 0xffff);
	assert_int_equal(cpu_code_bits(cpu), 16);
	assert_int_not_equal(cpu->gpr[RDX], 0); /* the processor's signature */
}

static void *wake_later(void *unused)
{
	usleep(20000);
	cpu_queue_nmi(cpu);
	return NULL;
}

/* A wait that began before the request ends with it; one that begins after it does not block. */
static void waiting_thread_is_woken(void **state)
{
	pthread_t thread;

	enter_long(0);
	cpu->activity = ACTIVITY_HALTED;
	assert_int_equal(pthread_create(&thread, NULL, wake_later, NULL), 0);
	while (!cpu_has_wakeup(cpu))
		cpu_wait_pending(cpu);
	pthread_join(thread, NULL);
	cpu_wait_pending(cpu);
	assert_int_equal(atomic_load(&cpu->pending), PENDING_NMI);
}

/* --- debug traps --- */

static void single_step(void **state)
{
	enter_long(0);
	idt_everything();
	cpu_set_rflags(cpu, RFLAGS_TF);
	assert_true(attention());
	debug_single_step_done(cpu);
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, HANDLER(VECTOR_DB));
	assert_int_equal(cpu->dr6, 0xffff4ff0);
	assert_false(cpu->system_flags & RFLAGS_TF);
	assert_true(get(cpu->gpr[RSP] + 16, 8) & RFLAGS_TF);
	assert_int_equal(cpu->pending_debug, 0);
}

static void mov_ss_holds_traps_back(void **state)
{
	enter_long(0);
	idt_everything();
	cpu->interrupt_shadow = SHADOW_MOV_SS;
	debug_trap(cpu, 1);
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, 0x1234);
	assert_true(attention());
	cpu->interrupt_shadow = SHADOW_NONE;
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, HANDLER(VECTOR_DB));
	assert_int_equal(cpu->dr6 & 0xf, 1);
}

/* INT1 makes a #DB of its own, and a trap held back until then becomes part of it; the #DB of INT 1
 * is an ordinary software interrupt. */
static void trap_before_int1(void **state)
{
	for (volatile unsigned n = 0; n < 2; n++) {
		enter_long(0);
		idt_everything();
		debug_trap(cpu, 2);
		assert_true(RAISED(transfer_software_interrupt(
			cpu, VECTOR_DB, n ? SOFTWARE_INT_N : SOFTWARE_INT1)));
		assert_true(exception_deliver(cpu));
		assert_int_equal(cpu->dr6 & 0xf, n ? 0 : 2);
		assert_true(cpu_service_pending(cpu));
		assert_int_equal(cpu->gpr[RSP], STACK0 - 40 * (n + 1) - 8 * n);
	}
}

/* SYSCALL takes its trap by the TF it leaves with. */
static void syscall_that_clears_tf(void **state)
{
	enter_long(3);
	cpu_set_rflags(cpu, RFLAGS_TF);
	cpu->star = (uint64_t)CODE0 << 32;
	cpu->sfmask = RFLAGS_TF;
	assert_completes(transfer_syscall(cpu));
	debug_single_step_done(cpu);
	assert_int_equal(cpu->pending_debug, 0);
	cpu_set_rflags(cpu, RFLAGS_TF);
	debug_single_step_done(cpu); /* the next one traps again */
	assert_int_equal(cpu->pending_debug, DR6_BS);
}

/* A faulting instruction will run again, so its breakpoints have not been hit yet. */
static void fault_forgets_breakpoints(void **state)
{
	enter_long(0);
	idt_everything();
	debug_trap(cpu, 1);
	assert_true(RAISED(cpu_raise(cpu, VECTOR_UD)));
	assert_true(exception_deliver(cpu));
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->rip, HANDLER(VECTOR_UD));
	assert_int_equal(cpu->dr6, 0xffff0ff0);
}

/* --- breakpoints --- */

static void arm(unsigned n, uint64_t address, unsigned kind, unsigned length)
{
	assert_completes(debug_write(cpu, n, address));
	assert_completes(debug_write(cpu, 7, 2u << (2 * n) | (kind | length << 2) << (16 + 4 * n)));
}

static void data_breakpoints(void **state)
{
	enter_long(0);
	assert_completes(access_load(cpu, 0x300000, 8, ACCESS_SUPERVISOR)); /* in the TLB */
	arm(1, 0x300010, 1, 3);                                             /* writes of 4 bytes */
	assert_true(debug_page_watched(cpu, 0x300000));
	assert_false(debug_page_watched(cpu, 0x301000));
	assert_completes(access_load(cpu, 0x300010, 8, ACCESS_SUPERVISOR));
	assert_completes(access_store(cpu, 0x300008, 0, 8, ACCESS_SUPERVISOR));
	assert_completes(access_store(cpu, 0x300014, 0, 1, ACCESS_SUPERVISOR));
	assert_int_equal(cpu->pending_debug, 0);
	assert_completes(access_store(cpu, 0x30000d, 0, 4, ACCESS_SUPERVISOR)); /* its last byte */
	assert_int_equal(cpu->pending_debug, 2);
	cpu->pending_debug = 0;
	arm(2, 0x300fff, 3, 0); /* reads and writes of 1 byte */
	assert_completes(
		access_load(cpu, 0x300ffc, 8, ACCESS_SUPERVISOR)); /* across the page end */
	assert_int_equal(cpu->pending_debug, 4);
	/* Moved while armed, to a page in the TLB. */
	cpu->pending_debug = 0;
	assert_completes(access_store(cpu, 0x301008, 0, 1, ACCESS_SUPERVISOR));
	assert_completes(debug_write(cpu, 2, 0x301008));
	assert_int_equal(cpu->pending_debug, 0);
	assert_completes(access_store(cpu, 0x301008, 0, 1, ACCESS_SUPERVISOR));
	assert_int_equal(cpu->pending_debug, 4);
}

static void execute_breakpoints(void **state)
{
	enter_long(0);
	assert_false(debug_execute_armed(cpu));
	arm(3, 0x1234, 0, 0);
	assert_true(debug_execute_armed(cpu));
	assert_false(debug_match_execute(cpu, 0x1235));
	cpu->dr6 |= 1;
	assert_true(debug_match_execute(cpu, 0x1234));
	assert_int_equal(cpu->dr6 & 0xf, 8);
	cpu_set_rflags(cpu, RFLAGS_RF);
	assert_false(debug_match_execute(cpu, 0x1234)); /* once */
	assert_true(debug_match_execute(cpu, 0x1234));
	assert_false(debug_page_watched(cpu, 0x1000));
}

static void io_breakpoints(void **state)
{
	enter_long(0);
	arm(0, 0x80, 2, 1);
	assert_completes(insn_out(cpu, 0x81, 0, 1));
	assert_int_equal(cpu->pending_debug, 0); /* needs CR4.DE */
	cpu->cr4 |= CR4_DE;
	assert_completes(insn_in(cpu, 0x82, 1));
	assert_int_equal(cpu->pending_debug, 0);
	assert_completes(insn_out(cpu, 0x7f, 0, 4));
	assert_int_equal(cpu->pending_debug, 1);
}

static void debug_registers(void **state)
{
	enter_long(0);
	assert_completes(debug_write(cpu, 6, 0));
	assert_int_equal(debug_read(cpu, 6), 0xffff0ff0);
	assert_int_equal(debug_read(cpu, 4), 0xffff0ff0); /* an alias */
	assert_raises(VECTOR_GP, 0, debug_write(cpu, 7, BIT(32)));
	assert_raises(VECTOR_UD, 0, debug_read(cpu, 8));
	cpu->cr4 |= CR4_DE;
	assert_raises(VECTOR_UD, 0, debug_read(cpu, 4));
	assert_completes(debug_write(cpu, 7, DR7_GD));
	assert_raises(VECTOR_DB, 0, debug_read(cpu, 0));
	assert_int_equal(cpu->dr6, 0xffff2ff0);
	idt_everything();
	assert_true(exception_deliver(cpu));
	assert_int_equal(cpu->dr7, 0x400); /* delivery clears GD */
	assert_completes(debug_read(cpu, 0));
	set_privilege(3);
	assert_raises(VECTOR_GP, 0, debug_read(cpu, 0));
}

/* --- deciding by itself --- */

static void next_event_by_priority(void **state)
{
	enter_long(0);
	idt_everything();
	assert_int_equal(cpu_next_event(cpu), CPU_EVENT_NONE);
	request_interrupt(0x40);
	assert_int_equal(cpu_next_event(cpu), CPU_EVENT_NONE); /* IF is clear */
	cpu_set_rflags(cpu, RFLAGS_IF);
	assert_int_equal(cpu_next_event(cpu), CPU_EVENT_INTERRUPT);
	cpu_queue_nmi(cpu);
	assert_int_equal(cpu_next_event(cpu), CPU_EVENT_NMI);
	cpu->interrupt_shadow = SHADOW_STI;
	assert_int_equal(cpu_next_event(cpu), CPU_EVENT_NONE);
	cpu->pending_debug = DR6_BS;
	cpu_set_pending(cpu, PENDING_DEBUG);
	assert_int_equal(cpu_next_event(cpu), CPU_EVENT_DEBUG);
	cpu->interrupt_shadow = SHADOW_MOV_SS;
	assert_int_equal(cpu_next_event(cpu), CPU_EVENT_NONE);
	cpu_set_pending(cpu, PENDING_SIPI);
	assert_int_equal(cpu_next_event(cpu), CPU_EVENT_SIPI);
	cpu_set_pending(cpu, PENDING_INIT | PENDING_STOP);
	assert_int_equal(cpu_next_event(cpu), CPU_EVENT_INIT);
	/* To decide has changed nothing. */
	assert_int_equal(cpu->rip, 0x1234);
	assert_int_equal(next_vector, 0x40);
	assert_int_equal(atomic_load(&cpu->nmi_queued), 1);
	cpu_take_event(cpu, CPU_EVENT_INIT);
	assert_int_equal(cpu->rip, 0xfff0);
	assert_int_equal(atomic_load(&cpu->pending) & PENDING_INIT, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(interrupt_when_enabled),
		cpu_test(request_that_went_away),
		cpu_test(shadow_of_sti),
		cpu_test(nmi_blocks_itself),
		cpu_test(nmis_queue_up),
		cpu_test(nmis_during_an_nmi),
		cpu_test(request_after_its_nmi),
		cpu_test(priorities),
		cpu_test(stop_leaves),
		cpu_test(halt),
		cpu_test(init_and_startup),
		cpu_test(power_up_state),
		cpu_test(waiting_thread_is_woken),
		cpu_test(single_step),
		cpu_test(mov_ss_holds_traps_back),
		cpu_test(trap_before_int1),
		cpu_test(syscall_that_clears_tf),
		cpu_test(fault_forgets_breakpoints),
		cpu_test(data_breakpoints),
		cpu_test(execute_breakpoints),
		cpu_test(io_breakpoints),
		cpu_test(next_event_by_priority),
		cpu_test(debug_registers),
	};

	return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
