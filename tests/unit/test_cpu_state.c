/* The architected state as one value: all of it is copied out and in, and what follows from it
 * follows. */
#include "cpu/cpuid.h"
#include "cpu_fixture.h"

#include <errno.h>

static struct cpu_state state;

/* Every byte of the union's other name is the field's. */
static void test_one_object_two_names(void **unused)
{
	cpu->rip = 0x1122334455;
	assert_int_equal(cpu->state.rip, 0x1122334455);
	cpu->state.gpr[R15] = 7;
	assert_int_equal(cpu->gpr[R15], 7);
	assert_ptr_equal(&cpu->state.fpu, &cpu->fpu);
}

/* A processor in the middle of work: 64-bit user code, things waiting. */
static void busy(void)
{
	enter_long(3);
	for (unsigned i = 0; i < 16; i++)
		cpu->gpr[i] = UINT64_C(0x0101010101010101) * (i + 1);
	cpu->segment[SEG_FS].base = UINT64_C(0x7f0000001000);
	cpu->lstar = UINT64_C(0xffffffff81000000);
	cpu->cr2 = 0xdead;
	cpu->dr[2] = 0x4000;
	cpu->mtrr_variable[15] = 0x800;
	cpu->pvclock_version = 12;
	cpu->steal_ns = 34;
	cpu_unhalt(cpu);
	cpu->fpu.fop = 0x123;
	memset(cpu->fpu.zmm, 0x5a, sizeof(cpu->fpu.zmm));
	cpu_set_rflags(cpu, RFLAGS_FIXED1 | RFLAGS_IF | RFLAGS_CF | RFLAGS_OF | RFLAGS_AC);
	cpu->cr0 |= CR0_AM;
	cpu->pending_debug = 1;
	cpu->sipi_vector = 0x9a;
	cpu->interrupt_shadow = SHADOW_MOV_SS;
	cpu->nmi_blocked = true;
	cpu_queue_nmi(cpu);
	cpu_set_pending(cpu, PENDING_DEBUG | PENDING_INTR | PENDING_STOP);
}

/* A state with a value in every field is set in another vCPU, and read from there byte for byte the
 * same. */
static void test_round_trip(void **unused)
{
	struct cpu *other = cpu_create(&platform, 1);
	struct cpu_state again;

	busy();
	cpu_get_state(cpu, &state);
	assert_int_equal(state.events, PENDING_NMI | PENDING_DEBUG | PENDING_UNHALT);
	assert_int_equal(state.events_nmi, 1);
	assert_non_null(other);
	assert_int_equal(cpu_set_state(other, &state), 0);
	cpu_get_state(other, &again);
	assert_memory_equal(&again, &state, sizeof(state));

	assert_int_equal(other->next_rip, cpu->rip);
	assert_int_equal(other->segment_base[SEG_FS], UINT64_C(0x7f0000001000));
	assert_int_equal(other->segment_base[SEG_CS], 0);
	assert_ptr_equal(other->tlb, other->tlb_views[TLB_USER_ALIGNED]);
	assert_int_equal(cpu_rflags(other), cpu_rflags(cpu));
	assert_true(atomic_load(&other->attention));
	/* The monitor's own fields do not change. */
	assert_int_equal(atomic_load(&other->pending) & (PENDING_STOP | PENDING_INTR), 0);
	assert_int_equal(other->index, 1);
	cpu_destroy(other);
}

/* Requests that waited before are forgotten; those in the state wait now. */
static void test_events_are_replaced(void **unused)
{
	cpu_get_state(cpu, &state);
	cpu_queue_nmi(cpu);
	cpu_queue_nmi(cpu);
	cpu_set_pending(cpu, PENDING_INIT | PENDING_INTR);
	assert_int_equal(cpu_set_state(cpu, &state), 0);
	assert_int_equal(atomic_load(&cpu->nmi_queued), 0);
	assert_int_equal(atomic_load(&cpu->pending) & (PENDING_NMI | PENDING_INIT), 0);
	assert_int_equal(atomic_load(&cpu->pending) & PENDING_INTR, PENDING_INTR);
}

static unsigned contexts, flushes;

static void note_context(struct cpu *c)
{
	contexts++;
}

static void note_flush(struct cpu *c, const struct tlb_request *request)
{
	assert_int_equal(request->what, TLB_FLUSH_ALL);
	flushes++;
}

/* This engine has RAX elsewhere. */
static uint64_t engine_rax;

static void pull_rax(struct cpu *c, unsigned groups)
{
	if (groups & STATE_GPRS)
		c->gpr[RAX] = engine_rax;
}

static void push_rax(struct cpu *c, unsigned groups)
{
	if (groups & STATE_GPRS)
		engine_rax = c->gpr[RAX];
}

static const struct cpu_engine_ops noting_ops = {
	.code_context_changed = note_context,
	.tlb_flushed = note_flush,
	.kick = cpu_no_kick,
	.pull = pull_rax,
	.push = push_rax,
};

static void test_engine_is_told(void **unused)
{
	cpu_get_state(cpu, &state);
	cpu->engine_ops = &noting_ops;
	contexts = flushes = 0;
	assert_int_equal(cpu_set_state(cpu, &state), 0);
	assert_true(contexts > 0);
	assert_int_equal(flushes, 1);
}

static void test_state_is_pulled_and_pushed(void **unused)
{
	cpu->engine_ops = &noting_ops;
	engine_rax = 0x1234;
	cpu_get_state(cpu, &state);
	assert_int_equal(state.gpr[RAX], 0x1234);
	state.gpr[RAX] = 0x5678;
	assert_int_equal(cpu_set_state(cpu, &state), 0);
	assert_int_equal(engine_rax, 0x5678);
	cpu_reset(cpu);
	assert_int_equal(engine_rax, 0);
}

/* A state from elsewhere is not believed. */
#define assert_refused(field, value)                                                               \
	do {                                                                                       \
		struct cpu_state bad_ = state;                                                     \
		bad_.field = value;                                                                \
		assert_int_equal(cpu_set_state(cpu, &bad_), -EINVAL);                              \
		cpu_get_state(cpu, &bad_);                                                         \
		assert_memory_equal(&bad_, &state, sizeof(state));                                 \
	} while (0)

static void test_refused(void **unused)
{
	busy();
	cpu_get_state(cpu, &state);
	assert_refused(cpl, 4);
	assert_refused(activity, 9);
	assert_refused(interrupt_shadow, 3);
	assert_refused(events, PENDING_STOP);
	assert_refused(events_nmi, 3);
	assert_refused(system_flags, 0);
	assert_refused(system_flags, RFLAGS_FIXED1 | RFLAGS_CF);
	assert_refused(system_flags, RFLAGS_FIXED1 | RFLAGS_VM);
	assert_refused(cr0, CR0_PG);
	assert_refused(efer, state.efer & ~EFER_LMA); /* paging and LME make LMA */
	assert_refused(efer, state.efer & ~EFER_LME);
	assert_refused(cr4, state.cr4 & ~CR4_PAE); /* long mode needs it */
	assert_refused(cr4, state.cr4 | BIT(63));
	assert_refused(efer, state.efer | BIT(40));
	assert_refused(xcr0, 0);
	assert_refused(xcr0, BIT(62) | 1);
	assert_refused(xss, BIT(8));
	assert_refused(fpu.mxcsr, BIT(31)); /* FXRSTOR would fault, in the monitor */
	assert_refused(gdtr.base, BIT(62));
	assert_refused(segment[SEG_GS].base, BIT(62));
	assert_refused(kernel_gs_base, BIT(62));
	assert_refused(system_flags, RFLAGS_FIXED1 | BIT(22));
	assert_refused(arithmetic_flags, 2);
	assert_refused(cr0, state.cr0 | BIT(6));
	assert_refused(cr0, (state.cr0 | CR0_NW) & ~CR0_CD);
	assert_refused(cr3, state.cr3 | BIT(fixture_model.physical_bits));
	assert_refused(xcr0, BIT(XSTATE_X87) | BIT(XSTATE_AVX)); /* AVX needs SSE */
	assert_refused(dr6, 0);
	assert_refused(dr7, state.dr7 | BIT(32));
	assert_refused(pending_debug, BIT(4));
	assert_refused(segment[SEG_SS].base, BIT(32));
	assert_refused(segment[SEG_DS].access, BIT(8));
	assert_refused(segment[SEG_CS].access, state.segment[SEG_CS].access | AR_DB);
}

/* A guest is there for the time between two instructions. */
static void test_rip_outside_the_address_space(void **unused)
{
	static const uint64_t rip[] = {BIT(47), BIT(56), BIT(62)};

	busy();
	cpu_get_state(cpu, &state);
	for (unsigned i = 0; i < ARRAY_SIZE(rip); i++) {
		state.rip = rip[i];
		assert_int_equal(cpu_set_state(cpu, &state), 0);
		assert_int_equal(cpu->next_rip, rip[i]);
	}
}

/* What depends on the mode, in others than that of a busy processor. */
static void test_refused_by_mode(void **unused)
{
	enter_protected(0);
	cpu_get_state(cpu, &state);
	assert_int_equal(cpu_set_state(cpu, &state), 0);
	assert_refused(rip, BIT(32));
	cpu->cr4 |= CR4_PAE;
	cpu->cr0 |= CR0_PG;
	cpu_get_state(cpu, &state);
	assert_refused(pdpte[3], BIT(1) | 1);
	cpu_reset(cpu);
	cpu_get_state(cpu, &state);
	assert_refused(cpl, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(test_one_object_two_names),
		cpu_test(test_round_trip),
		cpu_test(test_events_are_replaced),
		cpu_test(test_engine_is_told),
		cpu_test(test_state_is_pulled_and_pushed),
		cpu_test(test_refused),
		cpu_test(test_rip_outside_the_address_space),
		cpu_test(test_refused_by_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
