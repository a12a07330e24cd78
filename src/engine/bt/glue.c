/* Between C and translated code: generated, because it names struct cpu by its address, and so that
 * it lies in the code area, where a signal handler knows what it interrupts.
 *
 * enter:		called by C with no arguments. Looks at cpu->attention first. A
 *			thread that sets that and then sees bt->running sends a signal, so the
 *			vCPU cannot miss it.
 * exit:		RCX = exit ID, R10 = address. Saves everything and returns to enter's
 *			caller. Vector registers are saved only where a unit had them
 *			(bt->run.vectors_away == 0).
 * miss:		what empty entries of the jump tables lead to, with RIP in R10. Asks
 *			bt_find_jump(), and goes on there. Where that knows of no unit, or the vCPU
 *			is wanted:
 * miss_unit:		the same from a unit's own check: RCX is its number, and one.
 * exit_jump:		exit BT_EXIT_ID_JUMP.
 * load_vectors:	fills XMM0 to XMM15 and goes on at R10.
 * load_wide:		fills all vector and mask registers, whether or not the former were here. */
#include "engine/bt/glue.h"
#include "engine/bt/cache.h"
#include "engine/bt/emit.h"

#include "cpu/cpuid.h"

static const uint8_t callee_saved[] = {RBX, RBP, R12, R13, R14, R15};

/* Guest registers that are loaded into the host register of the same number, and stored from it.
 * RCX goes to HOST_RCX, R10 and R11 stay in memory, RSP gets the stack's delta added. */
static const uint8_t moved[] = {RBX, RDX, RSI, RDI, RBP, R8, R9, R12, R13, R14, R15};

static void emit_leave(struct code *c)
{
	for (unsigned i = ARRAY_SIZE(callee_saved); i--;)
		emit_pop(c, callee_saved[i]);
	emit_byte(c, 0xc3); /* ret */
}

static void emit_compare_attention(struct code *c)
{
	emit_memory_op(c, false, 0x83, 7, /* cmp attention, 0 */
		at_address((const void *)&c->bt->cpu->attention));
	emit_byte(c, 0);
}

static void emit_set_gs(struct code *c)
{
	struct bt *bt = c->bt;
	uintptr_t patch;

	emit_load(c, RAX, at_address(&bt->run.gs_base));
	emit_memory_op(c, true, 0x3b, RAX, at_address(&bt->run.gs_base_now)); /* cmp */
	patch = emit_jcc(c, CONDITION_ZERO);
	emit_store(c, at_address(&bt->run.gs_base_now), RAX);
	emit_byte(c, 0xf3);
	emit_register_op(c, true, 0x0fae, 3, RAX); /* wrgsbase rax */
	emit_patch(bt, patch, c->at);
}

static void emit_enter(struct code *c)
{
	struct bt *bt = c->bt;
	struct cpu *cpu = bt->cpu;
	uintptr_t patch;

	bt->glue.enter = c->at;
	for (unsigned i = 0; i < ARRAY_SIZE(callee_saved); i++)
		emit_push(c, callee_saved[i]);
	emit_store(c, at_address(&bt->run.host_rsp), RSP);
	emit_compare_attention(c);
	patch = emit_jcc(c, CONDITION_ZERO);
	emit_constant(c, RAX, GLUE_NOT_ENTERED);
	emit_leave(c);
	emit_patch(bt, patch, c->at);
	if (bt->host.fsgsbase)
		emit_set_gs(c);
	for (unsigned i = 0; i < ARRAY_SIZE(moved); i++)
		emit_load(c, moved[i], at_address(&cpu->gpr[moved[i]]));
	emit_load(c, HOST_RCX, at_address(&cpu->gpr[RCX]));
	emit_load(c, R10, at_address(&bt->run.entry_r10));
	emit_load(c, RSP, at_address(&bt->run.entry_rsp));
	emit_memory_op(c, false, 0x0fb7, RAX, at_address(&cpu->arithmetic_flags));
	emit_flags_from_rax(c);
	emit_load(c, RAX, at_address(&cpu->gpr[RAX]));
	emit_jump_memory(c, at_address(&bt->run.entry));
}

/* --- vector registers --- */

static const struct vex vmovups_load = {VEX_0F, VEX_256, 0x10}; /* of a YMM register */
static const struct vex vmovups_store = {VEX_0F, VEX_256, 0x11};
static const struct vex kmovq_load = {VEX_0F, VEX_W1, 0x90};
static const struct vex kmovq_store = {VEX_0F, VEX_W1, 0x91};
static const struct vex vzeroupper = {VEX_0F, 0, 0x77};
static const struct vex vpxor = {VEX_0F, VEX_66, 0xef};
static const struct vex vpor = {VEX_0F, VEX_66, 0xeb};
static const struct vex vpshufd = {VEX_0F, VEX_66, 0x70};
static const struct vex vmovq_to_gpr = {VEX_0F, VEX_66 | VEX_W1, 0x7e};

/* VMOVUPS of a ZMM register: EVEX.512.0F.W0. R and R', the register number's bits 3 and 4, and vvvv
 * are stored inverted (SDM vol. 2A 2.7.1). */
static void emit_vmovups_zmm(struct code *c, bool store, unsigned number, struct host_memory memory)
{
	unsigned not_r = number & 8 ? 0 : 0x80, not_r_high = number & 16 ? 0 : 0x10;

	emit_bytes(c,
		(uint8_t[]){0x62, (uint8_t)(not_r | 0x60 | not_r_high | VEX_0F), 0x7c, 0x48,
			store ? 0x11 : 0x10},
		5);
	emit_modrm_memory(c, number & 7, &memory, false);
}

static void emit_movups(struct code *c, bool store, unsigned number)
{
	emit_memory_op(
		c, false, store ? 0x0f11 : 0x0f10, number, at_address(c->bt->cpu->fpu.zmm[number]));
}

/* All of a vector register that the guest has. */
static void emit_move_vector(struct code *c, bool store, unsigned number)
{
	struct host_memory memory = at_address(c->bt->cpu->fpu.zmm[number]);

	if (cpu_model_has(c->bt->cpu->model, CPUID_AVX512F))
		emit_vmovups_zmm(c, store, number, memory);
	else if (cpu_model_has(c->bt->cpu->model, CPUID_AVX))
		emit_vex_memory(c, store ? vmovups_store : vmovups_load, number, 0, memory);
	else
		emit_movups(c, store, number);
}

static void emit_move_mask(struct code *c, bool store, unsigned number)
{
	emit_vex_memory(c, store ? kmovq_store : kmovq_load, number, 0,
		at_address(&c->bt->cpu->fpu.opmask[number]));
}

/* Vector registers 16 to 31, and mask registers. */
static void emit_move_others(struct code *c, bool store)
{
	for (unsigned i = 16; cpu_model_has(c->bt->cpu->model, CPUID_AVX512F) && i < 32; i++)
		emit_move_vector(c, store, i);
	for (unsigned i = 0; cpu_model_has(c->bt->cpu->model, CPUID_AVX512BW) && i < 8; i++)
		emit_move_mask(c, store, i);
}

static void emit_move_wide(struct code *c, bool store)
{
	for (unsigned i = 0; i < 16; i++)
		emit_move_vector(c, store, i);
	emit_move_others(c, store);
}

/* The low 128 bits of the first sixteen, which is all that SSE knows of. */
static void emit_move_narrow(struct code *c, bool store)
{
	for (unsigned i = 0; i < 16; i++)
		emit_movups(c, store, i);
}

static void emit_vzeroupper(struct code *c)
{
	if (cpu_model_has(c->bt->cpu->model, CPUID_AVX))
		emit_vex_opcode(c, vzeroupper);
}

static void emit_compare_zero(struct code *c, const uint64_t *variable)
{
	emit_memory_op(c, true, 0x83, 7, at_address(variable)); /* cmp */
	emit_byte(c, 0);
}

/* Flags may be changed here. */
static void emit_save_vectors(struct code *c)
{
	struct bt *bt = c->bt;
	uintptr_t away, narrow, saved;

	emit_store_constant(c, at_address(&bt->run.vectors_were_here), VECTORS_AWAY);
	emit_compare_zero(c, &bt->run.vectors_away);
	away = emit_jcc(c, CONDITION_NOT_ZERO);
	emit_compare_zero(c, &bt->run.wide_away);
	narrow = emit_jcc(c, CONDITION_NOT_ZERO);
	emit_move_wide(c, true);
	emit_vzeroupper(c);
	emit_store_constant(c, at_address(&bt->run.wide_away), 1);
	emit_store_constant(c, at_address(&bt->run.vectors_were_here), VECTORS_WIDE);
	saved = emit_jump(c);
	emit_patch(bt, narrow, c->at);
	emit_move_narrow(c, true);
	emit_store_constant(c, at_address(&bt->run.vectors_were_here), VECTORS_NARROW);
	emit_patch(bt, saved, c->at);
	emit_store_constant(c, at_address(&bt->run.vectors_away), 1);
	emit_patch(bt, away, c->at);
}

/* Registers whose upper parts are known to be zero are faster: an SSE instruction has to merge its
 * result with what is there else. */
static void emit_load_narrow(struct code *c)
{
	c->bt->glue.load_vectors = c->at;
	emit_vzeroupper(c);
	emit_move_narrow(c, false);
	emit_store_constant(c, at_address(&c->bt->run.vectors_away), 0);
	emit_register_op(c, false, 0xff, 4, R10); /* jmp r10 */
}

/* RCX = 0 if the first sixteen registers are zero above the low 128 bits. Changes XMM0 and XMM1. */
static void emit_test_upper(struct code *c)
{
	unsigned parts = cpu_model_has(c->bt->cpu->model, CPUID_AVX512F) ? 4 : 2;

	emit_vex_register(c, vpxor, 0, 0, 0);
	for (unsigned i = 0; i < 16; i++)
		for (unsigned part = 1; part < parts; part++) {
			struct host_memory memory = at_address(c->bt->cpu->fpu.zmm[i]);

			memory.disp += (int32_t)(16 * part);
			emit_vex_memory(c, vpor, 0, 0, memory);
		}
	/* The upper half of XMM0 joined to the lower. */
	emit_vex_register(c, vpshufd, 1, 0, 0);
	emit_byte(c, 0x4e);
	emit_vex_register(c, vpor, 0, 0, 1);
	emit_vex_register(c, vmovq_to_gpr, 0, 0, RCX);
}

/* Loading a wide register makes its upper part count as used, even with zeros in it, and then SSE
 * code is three times slower (AMD Zen 4). A program that keeps to the rules has nothing there
 * (VZEROUPPER), and must not pay for wide instructions elsewhere, in the C library's memset() say.
 */
static void emit_load_first_sixteen(struct code *c)
{
	uintptr_t dirty, done;

	if (!cpu_model_has(c->bt->cpu->model, CPUID_AVX)) {
		emit_move_narrow(c, false);
		return;
	}
	emit_test_upper(c);
	dirty = emit_unless_rcx_zero(c);
	emit_vzeroupper(c);
	emit_move_narrow(c, false);
	done = emit_jump(c);
	emit_patch(c->bt, dirty, c->at);
	for (unsigned i = 0; i < 16; i++)
		emit_move_vector(c, false, i);
	emit_patch(c->bt, done, c->at);
}

static void emit_load_wide(struct code *c)
{
	struct bt *bt = c->bt;
	uintptr_t away;

	bt->glue.load_wide = c->at;
	emit_load(c, SCRATCH, at_address(&bt->run.vectors_away));
	away = emit_unless_rcx_zero(c);
	emit_move_narrow(c, true);
	emit_patch(bt, away, c->at);
	emit_load_first_sixteen(c);
	emit_move_others(c, false);
	emit_store_constant(c, at_address(&bt->run.vectors_away), 0);
	emit_store_constant(c, at_address(&bt->run.wide_away), 0);
	emit_register_op(c, false, 0xff, 4, R10);
}

static void emit_exit_path(struct code *c)
{
	struct bt *bt = c->bt;
	struct cpu *cpu = bt->cpu;

	bt->glue.exit = bt->glue.exit_rolled_back = c->at;
	emit_store(c, at_address(&bt->run.exit_address), R10);
	emit_store(c, at_address(&cpu->gpr[RAX]), RAX);
	emit_flags_to_rax(c);
	emit_byte(c, 0x66); /* of 16 bits: */
	emit_memory_op(c, false, 0x89, RAX, at_address(&cpu->arithmetic_flags));
	for (unsigned i = 0; i < ARRAY_SIZE(moved); i++)
		emit_store(c, at_address(&cpu->gpr[moved[i]]), moved[i]);
	emit_store(c, at_address(&cpu->gpr[RCX]), HOST_RCX);
	emit_store(c, at_address(&cpu->gpr[RSP]), RSP);
	emit_load(c, RSP, at_address(&bt->run.host_rsp));
	emit_save_vectors(c);
	emit_register_op(c, false, 0x89, RCX, RAX);
	emit_leave(c);
}

/* What C functions may change, of what translated code holds. RAX has gone with the flags, RCX is
 * scratch. */
static const uint8_t call_clobbered[] = {RDX, RSI, RDI, R8, R9, R10, R11};

static void emit_call_find_jump(struct code *c)
{
	struct bt *bt = c->bt;

	for (unsigned i = 0; i < ARRAY_SIZE(call_clobbered); i++)
		emit_store(c, at_address(&bt->run.miss_saved[i]), call_clobbered[i]);
	emit_store(c, at_address(&bt->run.miss_saved[7]), RSP);
	/* As glue_enter() was called, less what has been pushed: a multiple of 16, less 8. */
	emit_load(c, RSP, at_address(&bt->run.host_rsp));
	emit_lea(c, RSP, at_register(RSP, -8));
	emit_constant(c, RDI, (uintptr_t)bt);
	emit_move(c, RSI, R10);
	emit_constant(c, RAX, (uintptr_t)bt_find_jump);
	emit_register_op(c, false, 0xff, 2, RAX); /* call rax */
	emit_store(c, at_address(&bt->run.miss_target), RAX);
	emit_load(c, RSP, at_address(&bt->run.miss_saved[7]));
	for (unsigned i = 0; i < ARRAY_SIZE(call_clobbered); i++)
		emit_load(c, call_clobbered[i], at_address(&bt->run.miss_saved[i]));
}

/* A kick that comes while C runs does nothing but set cpu->attention, so that is looked at after
 * it. One that comes later, or before, is stepped on with (fault.c). */
static void emit_miss(struct code *c)
{
	struct bt *bt = c->bt;
	uintptr_t wanted, unknown;

	bt->glue.miss_unit = c->at;
	emit_store(c, at_address(&bt->run.miss_unit), SCRATCH);
	bt->glue.miss = c->at;
	emit_save_flags(c);
	emit_call_find_jump(c);
	emit_compare_attention(c);
	wanted = emit_jcc(c, CONDITION_NOT_ZERO);
	emit_compare_zero(c, &bt->run.miss_target);
	unknown = emit_jcc(c, CONDITION_ZERO);
	emit_restore_flags(c);
	emit_jump_memory(c, at_address(&bt->run.miss_target));
	emit_patch(bt, wanted, c->at);
	emit_patch(bt, unknown, c->at);
	emit_restore_flags(c);
	emit_jump_to(c, bt->glue.exit_jump);
}

void glue_generate(struct bt *bt)
{
	struct code c = {
		.bt = bt, .start = bt->code.start, .at = bt->code.start, .limit = bt->code.end};

	emit_enter(&c);
	emit_exit_path(&c);
	bt->glue.exit_jump = c.at;
	emit_constant(&c, SCRATCH, BT_EXIT_ID_JUMP);
	emit_jump_to(&c, bt->glue.exit);
	emit_load_narrow(&c);
	emit_load_wide(&c);
	emit_miss(&c);
	bt->code.units_start = ALIGN_UP(c.at, 64);
}

uint32_t glue_enter(struct bt *bt, uintptr_t entry, uint64_t r10)
{
	struct cpu *cpu = bt->cpu;
	uint32_t id;

	bt->run.entry = entry;
	bt->run.entry_r10 = r10;
	bt->run.entry_rsp = cpu->gpr[RSP] + bt->run.stack_delta;
	atomic_store(&bt->running, 1);
	id = ((uint32_t(*)(void))bt->glue.enter)();
	atomic_store_explicit(&bt->running, 0, memory_order_release);
	if (id != GLUE_NOT_ENTERED)
		cpu->gpr[RSP] -= bt->run.stack_delta;
	return id;
}
