/* Which mode is the CPU in?
 *
 * Most of the mode is read from registers. One part is a choice: which delta should be the GS base,
 * so that an access with that delta needs no instruction besides itself and no scratch register. Of
 * two loops that no data dependency slows down, sum and fields, that makes 0.96 and 0.97 times
 * native out of 1.51 and 1.66 (docs/binary-translation.md, "How a memory operand is reached":
 * elided_gs, elided); sort gains a tenth. Accesses with another delta load it.
 *
 * It is the delta of the home zone: a program's is made to hold all of its memory (window_home.c);
 * the kernel's is one slot, which is guessed. */
#include "engine/bt/window.h"
#include "engine/options.h"

#include "cpu/fpu.h"

/* How far a relative branch leads from anywhere in a page. */
#define BRANCH_REACH ((UINT64_C(1) << 31) + 2 * PAGE_SIZE)
/* In 32-bit code branches wrap around, and so does what follows the last page. */
#define LAST_PAGE_32 (UINT32_MAX & PAGE_MASK)

/* bt->modes.fpu before it was asked for first: no value of bt_mode.fpu. */
#define FPU_UNKNOWN ~0u

void bt_mode_init(struct bt *bt)
{
	bt->modes.fpu = FPU_UNKNOWN;
	bt->modes.kernel_home = -1;
}

static unsigned fpu_part(struct bt *bt)
{
	const struct cpu *cpu = bt->cpu;

	if (likely(bt->modes.fpu != FPU_UNKNOWN && cpu->cr0 == bt->modes.fpu_cr0 &&
		    cpu->cr4 == bt->modes.fpu_cr4 && cpu->xcr0 == bt->modes.fpu_xcr0))
		return bt->modes.fpu;
	bt->modes.fpu_cr0 = cpu->cr0;
	bt->modes.fpu_cr4 = cpu->cr4;
	bt->modes.fpu_xcr0 = cpu->xcr0;
	bt->modes.fpu = (fpu_enabled(cpu, FPU_CLASS_X87) ? BT_X87 : 0u) |
			(fpu_enabled(cpu, FPU_CLASS_SSE) ? BT_SSE : 0u) |
			(fpu_enabled(cpu, FPU_CLASS_AVX) ? BT_AVX : 0u) |
			(fpu_enabled(cpu, FPU_CLASS_AVX512) ? BT_AVX512 : 0u);
	return bt->modes.fpu;
}

/* The kernel's home zone is the slot with its per-CPU data: for Linux the direct map, where most of
 * its data is. Early in its life Linux has that data in the last slot, with the kernel's code. -1:
 * not known yet. Slot 0xff00 is the first of the upper half. */
static int kernel_home(struct bt *bt)
{
	uint16_t slot = SLOT_OF(bt->cpu->segment_base[SEG_GS]);

	if (bt->modes.kernel_home < 0 && slot > 0xff00 && slot < 0xffff)
		bt->modes.kernel_home = slot;
	return bt->modes.kernel_home;
}

static bool home_delta(struct bt *bt, bool user, uint64_t *delta)
{
	int slot;

	if (user) {
		*delta = bt->zone_delta[ZONE_HOME];
		return windows_have_home(bt);
	}
	slot = kernel_home(bt);
	if (slot < 0)
		return false;
	*delta = bt->delta[1][slot];
	return *delta != windows_no_delta((uint16_t)slot);
}

/* The GS base has to be canonical; deltas of the upper half often are not. */
bool bt_mode_gs_base(struct bt *bt, struct bt_mode mode, uint64_t *base)
{
	return home_delta(bt, mode.user, base) && (int64_t)*base == (int64_t)(*base << 16) >> 16;
}

static void choose_home(struct bt *bt, struct bt_mode *mode)
{
	uint64_t base;

	mode->home = bt_mode_gs_base(bt, *mode, &base);
	mode->low_home = mode->home && mode->user && bt->zone[0] == ZONE_HOME;
}

/* Windows show 48-bit linear addresses. */
static bool windows_usable(const struct bt *bt)
{
	return bt->windows && !(bt->cpu->cr4 & CR4_LA57);
}

/* Supervisor windows show the upper half only. */
static bool kernel_goes_by_windows(const struct bt *bt, uint64_t rip)
{
	return windows_usable(bt) && (int64_t)rip < 0;
}

/* Whether a relative branch leads to a canonical address is found out when code is translated. Near
 * the end of the lower half that depends on where the code is. Kernels stay where they are, and
 * units that are bound are a little faster. */
static bool is_bound(struct bt_mode mode, uint64_t rip)
{
	return !mode.user || rip >= (mode.code32 ? LAST_PAGE_32 : BIT(47) - BRANCH_REACH);
}

static bool user_goes_by_windows(struct bt *bt)
{
	return windows_usable(bt) && windows_is_mature(bt);
}

bool bt_mode_changes_at(const struct bt *bt, struct bt_mode mode, uint64_t rip)
{
	return !mode.user && mode.windows != kernel_goes_by_windows(bt, rip);
}

struct bt_mode bt_mode_for(const struct bt *bt, struct bt_mode mode, uint64_t rip)
{
	mode.bound = is_bound(mode, rip);
	mode.code_home = mode.user && mode.home && bt->zone[SLOT_OF(rip)] == ZONE_HOME;
	return mode;
}

/* A segment of data in which an offset is a linear address, whatever it is. The same with another
 * base, where `based`. */
static bool is_flat(const struct segment *segment, bool based)
{
	return (based || !segment->base) && segment->limit == UINT32_MAX &&
	       (segment->access & (AR_UNUSABLE | AR_CODE | AR_WRITABLE | AR_EXPAND_DOWN)) ==
		       AR_WRITABLE;
}

static bool code32_is_flat(const struct cpu *cpu)
{
	const struct segment *cs = &cpu->segment[SEG_CS], *ss = &cpu->segment[SEG_SS];

	return !cpu_real_segments(cpu) && (cs->access & AR_DB) && !cs->base &&
	       cs->limit == UINT32_MAX && (ss->access & AR_DB) && is_flat(ss, false) &&
	       is_flat(&cpu->segment[SEG_DS], false) && is_flat(&cpu->segment[SEG_ES], false);
}

void bt_mode_note_segments(struct bt *bt)
{
	for (enum seg seg = SEG_FS; seg <= SEG_GS; seg++)
		bt->run.segment_checked[seg == SEG_GS] = !is_flat(&bt->cpu->segment[seg], true);
}

bool bt_mode_now(struct bt *bt, struct bt_mode *mode)
{
	struct cpu *cpu = bt->cpu;
	struct bt_mode now = {.key = 0};

	if (cpu->system_flags & (RFLAGS_TF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT))
		return false;
	now.code32 = !cpu_code64(cpu);
	if (now.code32 && !code32_is_flat(cpu))
		return false;
	if (cpu->cpl == 3 && cpu->tlb == cpu->tlb_views[TLB_USER])
		now.user = true;
	else if (cpu->cpl == 0)
		now.ac = cpu->tlb == cpu->tlb_views[TLB_SUPERVISOR_AC];
	else
		return false;
	now.fpu = fpu_part(bt);
	if (!now.code32)
		now.windows =
			now.user ? user_goes_by_windows(bt) : kernel_goes_by_windows(bt, cpu->rip);
	if (now.windows)
		windows_use_space(bt);
	if (now.windows && bt->host.fsgsbase && !bt->options.hardened)
		choose_home(bt, &now);
	*mode = bt_mode_for(bt, now, cpu->rip);
	return true;
}

struct bt_mode bt_mode_at_exit(const struct bt *bt, struct bt_mode entered)
{
	entered.ac = bt->cpu->tlb == bt->cpu->tlb_views[TLB_SUPERVISOR_AC];
	return entered;
}

struct bt_mode bt_mode_inside(const struct bt *bt, uint64_t rip)
{
	return bt_mode_for(bt, bt_mode_at_exit(bt, bt->modes.entered), rip);
}
