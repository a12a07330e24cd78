/* The lockstep of translator and interpreter.
 *
 * Under --verify nothing is chained, and no jump table leads from one unit to the next. So whatever
 * unit is entered comes back, at a boundary between two of its instructions or where it was left.
 * The interpreter runs the same instructions first, and the state at each boundary is kept. Half of
 * the units are straight lines that every branch leaves, so the place where a unit comes back tells
 * the boundary. The other half may loop, and their state must equal that at one of the boundaries
 * at this place.
 *
 * The guest must not notice that an instruction runs twice. So the first run ends before one that
 * would
 *
 *	- touch something else than RAM, or RAM that holds code,
 *	- be the first to use a page, so that an A or D bit would be set,
 *	- be done by the interpreter under the translator, too,
 *
 * and where an exception is raised, or a loop is too long. The unit is compared up to there only;
 * the counters in --stats say how much is compared. Later visits get further, since TLBs are filled
 * and A bits set by then.
 *
 * There is one vCPU, but the monitor's own threads write to RAM as well: a device's data, the clock
 * page. If anything that the instructions read is not what it was, a difference means nothing. */
#include "engine/bt/verify_internal.h"
#include "engine/bt/cache.h"
#include "engine/options.h"

#include "base/log.h"
#include "cpu/fpu.h"
#include "cpu/mappable.h"
#include "cpu/paging.h"

#include <stdlib.h>
#include <string.h>

/* --- plans --- */

static struct verify_plan *add_plan(struct bt *bt, const struct bt_unit *unit)
{
	struct verify *v = bt->verify;
	struct verify_plan *plan = verify_make_plan(bt, unit);

	if (!plan)
		return NULL;
	plan->next = v->plans;
	v->plans = plan;
	return plan;
}

/* No unit has this base, so the plan is filled again. */
void verify_changed(struct bt_unit *unit)
{
	if (unit->plan)
		unit->plan->base = ~UINT64_C(0);
}

static void free_plans(struct verify *v)
{
	while (v->plans) {
		struct verify_plan *plan = v->plans;

		v->plans = plan->next;
		free(plan);
	}
}

/* --- memory --- */

/* The RAM at `linear`, where nobody will notice that it is accessed; else NULL. */
static uint8_t *quiet_pointer(struct cpu *cpu, uint64_t linear, bool write)
{
	struct tlb_entry *entry = access_tlb(cpu, linear);
	struct translation page;
	unsigned access = PAGING_PROBE | (write ? PAGING_WRITE : 0);
	uint8_t *host;

	if ((write ? entry->write : entry->read) == (linear & PAGE_MASK)) {
		host = (uint8_t *)(linear + entry->addend);
	} else {
		if (cpu->tlb == cpu->tlb_views[TLB_USER])
			access |= PAGING_USER;
		else if (cpu->tlb == cpu->tlb_views[TLB_SUPERVISOR])
			access |= PAGING_IMPLICIT;
		if (!cpu_canonical(cpu, linear) ||
			paging_walk(cpu, linear, access, &page) != WALKED || !page.accessed ||
			(write && !page.can_write))
			return NULL;
		host = cpu_memory_pointer(cpu, page.gpa);
	}
	return host && write && access_flagged(cpu, host) ? NULL : host;
}

static bool add_region(
	struct verify *v, struct cpu *cpu, uint64_t linear, uint32_t size, bool write)
{
	struct region *region = &v->region[v->region_count];
	uint8_t *host = quiet_pointer(cpu, linear, write);

	if (!host || v->region_count == MAX_REGIONS || v->pool_used + 2 * size > POOL_BYTES)
		return false;
	*region = (struct region){.host = host,
		.linear = linear,
		.size = size,
		.before = v->pool_used,
		.after = v->pool_used + size,
		.step = (uint16_t)v->done,
		.write = write};
	memcpy(v->pool + region->before, host, size);
	v->pool_used += 2 * size;
	v->region_count++;
	return true;
}

static bool add_operand(struct verify *v, struct cpu *cpu, const struct plan_operand *o)
{
	uint64_t linear = isa_linear(cpu, &o->address), size = o->size;

	if (o->repeated) {
		uint64_t count = o->address.narrow ? (uint32_t)cpu->gpr[RCX] : cpu->gpr[RCX];

		if (count > MAX_STRING / o->size)
			return false;
		size *= count;
	}
	for (uint64_t done = 0, piece; done < size; done += piece) {
		piece = MIN(size - done, PAGE_SIZE - ((linear + done) & ~PAGE_MASK));
		if (!add_region(v, cpu, linear + done, (uint32_t)piece, o->write))
			return false;
	}
	return true;
}

static void undo_memory(struct verify *v)
{
	for (unsigned i = v->region_count; i--;) {
		const struct region *r = &v->region[i];

		if (r->write && memcmp(r->host, v->pool + r->before, r->size) != 0)
			memcpy(r->host, v->pool + r->before, r->size);
	}
}

static bool covers(const struct region *r, const uint8_t *host)
{
	return r->write && host >= r->host && host < r->host + r->size;
}

uint8_t verify_expected_byte(const struct verify *v, unsigned boundary, const uint8_t *host)
{
	const struct region *first = NULL;
	unsigned i;

	for (i = v->region_count; i--;) {
		const struct region *r = &v->region[i];

		if (!covers(r, host))
			continue;
		if (r->step < boundary)
			return v->pool[r->after + (host - r->host)];
		first = r;
	}
	/* Only to be written later, or only read. */
	return first ? v->pool[first->before + (host - first->host)] : *host;
}

/* Regions that have been looked at: a loop writes to the same ones again and again. */
#define SEEN_BITS 12

struct seen {
	const struct region *slot[1 << SEEN_BITS]; /* more than there are regions */
};

static bool see(struct seen *seen, const struct region *r)
{
	unsigned i = hash_slot((uintptr_t)r->host, SEEN_BITS);

	for (; seen->slot[i]; i = (i + 1) % ARRAY_SIZE(seen->slot))
		if (seen->slot[i]->host == r->host && seen->slot[i]->size == r->size)
			return false;
	seen->slot[i] = r;
	return true;
}

static bool region_agrees(const struct verify *v, const struct verify_place *place,
	const struct region *r, uint32_t want)
{
	if (memcmp(r->host, v->pool + want, r->size) == 0)
		return true;
	/* Another may overlap it. */
	for (uint32_t k = 0; k < r->size; k++)
		if (r->host[k] != verify_expected_byte(v, place->boundary, r->host + k))
			return false;
	return true;
}

/* Of several that are the same, the last one that is done tells; else the first that is not. */
static bool memory_agrees(const struct verify *v, const struct verify_place *place)
{
	static struct seen seen; /* there is one vCPU */
	unsigned done = 0, i;

	while (done < v->region_count && v->region[done].step < place->boundary)
		done++;
	if (v->looped)
		memset(&seen, 0, sizeof(seen));
	for (i = done; i--;) {
		const struct region *r = &v->region[i];

		if (r->write && (!v->looped || see(&seen, r)) &&
			!region_agrees(v, place, r, r->after))
			return false;
	}
	for (i = done; i < v->region_count; i++) {
		const struct region *r = &v->region[i];

		/* Some of a string instruction may have been done. */
		if (r->write && (!v->looped || see(&seen, r)) &&
			!(place->string && r->step == place->boundary) &&
			!region_agrees(v, place, r, r->before))
			return false;
	}
	return true;
}

/* Has another thread changed what the instructions read? */
static bool inputs_changed(const struct verify *v)
{
	for (unsigned i = 0; i < v->region_count; i++) {
		const struct region *r = &v->region[i];
		bool written = false;

		if (r->write)
			continue;
		for (unsigned k = 0; k < v->region_count; k++)
			written |= v->region[k].write && v->region[k].host < r->host + r->size &&
				   r->host < v->region[k].host + v->region[k].size;
		if (!written && memcmp(r->host, v->pool + r->before, r->size) != 0)
			return true;
	}
	return false;
}

/* --- the interpreter's run --- */

static void record_vectors(struct verify *v, struct cpu *cpu)
{
	struct vector_state *to = &v->vector[v->vector_count++];

	memcpy(to->zmm, cpu->fpu.zmm, sizeof(to->zmm));
	memcpy(to->opmask, cpu->fpu.opmask, sizeof(to->opmask));
	to->mxcsr = fpu_stmxcsr(cpu);
}

static void record_x87_state(struct verify *v, struct cpu *cpu)
{
	struct x87_state *to = &v->x87[v->x87_count++];

	fpu_sync(cpu);
	memcpy(to->image, cpu->fpu.x87, sizeof(to->image));
	to->fip = cpu->fpu.fip;
	to->fdp = cpu->fpu.fdp;
	to->fop = cpu->fpu.fop;
	to->fcs = cpu->fpu.fcs;
}

/* The state after v->done steps, of which instruction `last` was the last; NULL: there was none. */
static void record(struct verify *v, struct cpu *cpu, const struct plan_insn *last, unsigned next)
{
	struct boundary *b = &v->boundary[v->done];

	memcpy(b->gpr, cpu->gpr, sizeof(b->gpr));
	b->insn = (uint8_t)next;
	b->rip = cpu->rip;
	b->rflags = cpu_rflags(cpu);
	b->tlb = cpu->tlb;
	b->base[0] = cpu->segment_base[SEG_FS];
	b->base[1] = cpu->segment_base[SEG_GS];
	b->base[2] = cpu->kernel_gs_base;
	b->undefined = last ? (b[-1].undefined & ~last->defined) | last->undefined : 0;
	if (last ? last->vector : v->plan->vector)
		record_vectors(v, cpu);
	if (last ? last->x87 : v->plan->x87)
		record_x87_state(v, cpu);
	b->vector = (uint8_t)(v->vector_count - 1);
	b->x87 = (uint8_t)(v->x87_count - 1);
}

/* The unit's instruction at cpu->rip, after instruction i; its count where there is none. */
static unsigned next_insn(const struct verify *v, const struct cpu *cpu, unsigned i)
{
	unsigned next = i + 1;

	if (next < v->plan->count && v->plan->insn[next].rip == cpu->rip)
		return next;
	if (v->unit->straight)
		return v->plan->count;
	for (next = 0; next < v->plan->count; next++)
		if (v->plan->insn[next].rip == cpu->rip)
			break;
	return next;
}

static bool is_room(const struct verify *v, const struct plan_insn *insn)
{
	return v->done < MAX_STEPS && !(insn->vector && v->vector_count == MAX_VECTORS) &&
	       !(insn->x87 && v->x87_count == MAX_VECTORS);
}

/* One step. False: that was the last one. */
static bool run_one(struct verify *v, struct cpu *cpu)
{
	unsigned i = v->boundary[v->done].insn, next, regions = v->region_count;
	const struct plan_insn *insn = &v->plan->insn[i];

	v->complete = insn->interpreted;
	/* With an event waiting, STI is the interpreter's. */
	if (!is_room(v, insn) || insn->apart || (insn->sti && atomic_load(&cpu->pending)))
		return false;
	for (unsigned k = 0; k < insn->operand_count; k++)
		if (!add_operand(v, cpu, &insn->operand[k])) {
			v->region_count = regions;
			return false;
		}
	cpu->rip = cpu->next_rip = insn->rip;
	interp_run_one(cpu, insn->run);
	cpu->interrupt_shadow = SHADOW_NONE;
	for (unsigned k = regions; k < v->region_count; k++)
		memcpy(v->pool + v->region[k].after, v->region[k].host, v->region[k].size);
	/* A string instruction that an event has interrupted. */
	if (insn->string && cpu->rip == insn->rip)
		return false;
	next = next_insn(v, cpu, i);
	v->done++;
	v->left = v->complete = next == v->plan->count;
	v->looped |= next <= i;
	record(v, cpu, insn, next);
	return !v->left;
}

/* An exception ends it; one within generated code comes as the host's signal, which does the same.
 */
static void run_all(struct verify *v, struct cpu *cpu)
{
	struct interp *interp = interp_of(cpu);
	jmp_buf unwind;

	memcpy(&unwind, &cpu->unwind, sizeof(unwind));
	if (_setjmp(cpu->unwind) == 0) {
		while (run_one(v, cpu))
			;
	} else {
		interp->single = interp->stepping = interp->leave = false;
		interp->current = NULL;
		interp_context_changed(cpu);
	}
	memcpy(&cpu->unwind, &unwind, sizeof(unwind));
}

static void undo_registers(struct verify *v, struct cpu *cpu)
{
	const struct boundary *b = &v->boundary[0];

	memcpy(cpu->gpr, b->gpr, sizeof(b->gpr));
	cpu->rip = cpu->next_rip = b->rip;
	cpu_set_arithmetic_flags(cpu, b->rflags);
	cpu->system_flags = b->rflags & ~RFLAGS_ARITHMETIC;
	if (cpu->tlb != b->tlb)
		cpu_update_view(cpu);
	cpu->segment[SEG_FS].base = cpu->segment_base[SEG_FS] = b->base[0];
	cpu->segment[SEG_GS].base = cpu->segment_base[SEG_GS] = b->base[1];
	cpu->kernel_gs_base = b->base[2];
	if (v->vector_count) {
		memcpy(cpu->fpu.zmm, v->vector[0].zmm, sizeof(v->vector[0].zmm));
		memcpy(cpu->fpu.opmask, v->vector[0].opmask, sizeof(v->vector[0].opmask));
		fpu_ldmxcsr(cpu, v->vector[0].mxcsr);
	}
	if (v->x87_count) {
		fpu_stmxcsr(cpu); /* which is reloaded, too */
		memcpy(cpu->fpu.x87, v->x87[0].image, sizeof(v->x87[0].image));
		fpu_reload(cpu);
		cpu->fpu.fip = v->x87[0].fip;
		cpu->fpu.fdp = v->x87[0].fdp;
		cpu->fpu.fop = v->x87[0].fop;
		cpu->fpu.fcs = v->x87[0].fcs;
	}
}

static void run_twice(struct verify *v, struct cpu *cpu)
{
	struct cpu_stats stats = cpu->stats;

	v->done = v->region_count = v->pool_used = v->vector_count = v->x87_count = 0;
	v->left = v->complete = v->looped = false;
	record(v, cpu, NULL, 0);
	run_all(v, cpu);
	undo_memory(v);
	undo_registers(v, cpu);
	cpu->stats = stats;
}

static bool prepare(struct bt *bt)
{
	struct verify *v = bt->verify;

	if (!v) {
		v = calloc(1, sizeof(*v));
		if (v)
			v->pool = malloc(POOL_BYTES);
		if (!v || !v->pool) {
			log_error("--verify: out of memory");
			free(v);
			return false;
		}
		bt->verify = v;
	}
	/* Units and their plans go together. */
	if (v->forgettings != bt->code.forgettings)
		free_plans(v);
	v->forgettings = bt->code.forgettings;
	return true;
}

void verify_rewritten(struct bt *bt, const struct rewrite *r, uintptr_t at, unsigned size)
{
	const uint8_t *made = cache_writable(bt, at);
	const char *difference;

	if (!bt->options.verify)
		return;
	difference = rewrite_difference(r, made, size);
	if (!difference || !prepare(bt))
		return;
	bt->verify->failed = true;
	verify_report_rewrite(bt, r, made, at, size, difference);
	cpu_set_pending(bt->cpu, PENDING_STOP);
}

void verify_begin(struct bt *bt, struct bt_unit *unit)
{
	struct verify *v;

	if (!bt->options.verify || !prepare(bt))
		return;
	v = bt->verify;
	v->unit = NULL;
	if (!unit->plan)
		unit->plan = add_plan(bt, unit);
	else if (unit->plan->base != bt->run.base)
		verify_fill_plan(bt, unit, unit->plan);
	/* FERR# is a signal to the outside. */
	if (!unit->plan || (unit->plan->x87 && !(bt->cpu->cr0 & CR0_NE)))
		return;
	v->counts.runs++;
	v->unit = unit;
	v->plan = unit->plan;
	run_twice(v, bt->cpu);
}

/* --- comparing --- */

const struct x87_part verify_x87_parts[X87_PARTS] = {
	{"FCW", 0, 2},
	{"FSW", 2, 2},
	{"FTW", 4, 1},
	{"ST0", 32, 10},
	{"ST1", 48, 10},
	{"ST2", 64, 10},
	{"ST3", 80, 10},
	{"ST4", 96, 10},
	{"ST5", 112, 10},
	{"ST6", 128, 10},
	{"ST7", 144, 10},
};

static bool x87_agrees(const struct verify *v, struct cpu *cpu, const struct boundary *b)
{
	const struct x87_state *want = &v->x87[b->x87];

	if (!v->x87_count)
		return true;
	fpu_sync(cpu);
	for (unsigned i = 0; i < X87_PARTS; i++) {
		const struct x87_part *part = &verify_x87_parts[i];

		if (memcmp(cpu->fpu.x87 + part->offset, want->image + part->offset, part->size) !=
			0)
			return false;
	}
	return cpu->fpu.fip == want->fip && cpu->fpu.fdp == want->fdp &&
	       cpu->fpu.fop == want->fop && cpu->fpu.fcs == want->fcs;
}

static bool vectors_agree(const struct verify *v, struct cpu *cpu, const struct boundary *b)
{
	const struct vector_state *want = &v->vector[b->vector];

	return !v->vector_count ||
	       (memcmp(cpu->fpu.zmm, want->zmm, sizeof(want->zmm)) == 0 &&
		       memcmp(cpu->fpu.opmask, want->opmask, sizeof(want->opmask)) == 0 &&
		       fpu_stmxcsr(cpu) == want->mxcsr);
}

/* A kick comes between instructions where nothing else could, and may find flags not made that are
 * overwritten anyway. */
static uint64_t dead_flags(const struct verify *v, unsigned insn)
{
	uint64_t dead = 0, live = 0;

	for (unsigned i = insn; i < v->plan->count; i++) {
		live |= v->plan->insn[i].tested & ~dead;
		dead |= v->plan->insn[i].overwritten & ~live;
	}
	return dead;
}

uint64_t verify_flags(const struct verify *v, const struct verify_place *place)
{
	const struct boundary *b = &v->boundary[place->boundary];

	return ~(b->undefined | (place->exit->kind == BT_EXIT_KICK ? dead_flags(v, b->insn) : 0));
}

static bool registers_agree(
	const struct verify *v, const struct cpu *cpu, const struct verify_place *place)
{
	const struct boundary *b = &v->boundary[place->boundary];

	if (place->rip_known && place->rip != b->rip)
		return false;
	if (b->tlb != cpu->tlb || ((b->rflags ^ cpu_rflags(cpu)) & verify_flags(v, place)))
		return false;
	if (cpu->segment_base[SEG_FS] != b->base[0] || cpu->segment[SEG_FS].base != b->base[0] ||
		cpu->segment_base[SEG_GS] != b->base[1] ||
		cpu->segment[SEG_GS].base != b->base[1] || cpu->kernel_gs_base != b->base[2])
		return false;
	for (unsigned i = 0; i < 16; i++)
		if (cpu->gpr[i] != b->gpr[i] &&
			!(place->string && (i == RCX || i == RSI || i == RDI)))
			return false;
	return true;
}

/* Where in the unit an exit is. False: it says nothing that could be compared. */
static bool find_place(struct bt *bt, uint32_t id, struct verify_place *place)
{
	const struct verify *v = bt->verify;
	const struct bt_exit *exit = cache_exit(bt, id);

	*place = (struct verify_place){
		.exit = exit, .rip = bt_rip(bt, exit->rip), .rip_known = true};
	place->insn = exit->insn;
	switch ((enum bt_exit_kind)exit->kind) {
	case BT_EXIT_BRANCH:
		place->after = true;
		break;
	case BT_EXIT_INTERPRET:
	case BT_EXIT_SOFT_MISS:
	case BT_EXIT_MATURE:
	case BT_EXIT_SECOND:
		break;
	case BT_EXIT_WRITTEN:
		place->after = true;
		place->rip_known = false; /* it has yet to go there */
		break;
	case BT_EXIT_JUMP:
		place->last = true;
		place->rip = bt->run.exit_address;
		/* A branch to where no code can be is undone. */
		return v->left && cpu_canonical(bt->cpu, place->rip);
	case BT_EXIT_KICK:
	case BT_EXIT_FAULT:
		place->insn = bt->rolled_back.insn;
		place->rip = bt->cpu->rip;
		place->string = place->insn < v->plan->count && v->plan->insn[place->insn].string;
		return bt->rolled_back.unit == v->unit;
	}
	return exit->unit == v->unit;
}

static bool may_be(const struct verify *v, const struct verify_place *place, unsigned boundary)
{
	const struct boundary *b = &v->boundary[boundary];

	if (place->last)
		return boundary == v->done;
	if (!place->after)
		return b->insn == place->insn;
	return boundary && b[-1].insn == place->insn;
}

static bool agrees(struct bt *bt, const struct verify_place *place)
{
	const struct verify *v = bt->verify;
	const struct boundary *b = &v->boundary[place->boundary];

	return registers_agree(v, bt->cpu, place) && vectors_agree(v, bt->cpu, b) &&
	       x87_agrees(v, bt->cpu, b) && memory_agrees(v, place);
}

enum verdict { AGREES, DIFFERS, NOT_REACHED };

/* Leaves place->boundary where it agrees; else the last one that it could be. */
static enum verdict compare(struct bt *bt, struct verify_place *place)
{
	const struct verify *v = bt->verify;
	unsigned last = v->done;
	bool found = false;

	for (unsigned i = v->done + 1; i--;) {
		if (!may_be(v, place, i))
			continue;
		place->boundary = i;
		if (agrees(bt, place))
			return AGREES;
		last = found ? last : i;
		found = true;
	}
	place->boundary = last;
	/* Where the interpreter has stopped too early, it might have come by later. */
	return v->complete || (found && !v->plan->loops) ? DIFFERS : NOT_REACHED;
}

static void fail(struct bt *bt, const struct verify_place *place)
{
	bt->verify->failed = true;
	verify_report(bt, bt->verify, place);
	cpu_set_pending(bt->cpu, PENDING_STOP);
}

bool verify_exit(struct bt *bt, uint32_t id)
{
	struct verify *v = bt->verify;
	struct verify_place place;
	enum verdict verdict;
	bool comes_back;

	if (!v || !v->unit)
		return true;
	if (v->forgettings != bt->code.forgettings) {
		v->unit = NULL;
		return true;
	}
	comes_back = cache_exit(bt, id)->kind == BT_EXIT_SOFT_MISS ||
		     cache_exit(bt, id)->kind == BT_EXIT_WRITTEN;
	verdict = find_place(bt, id, &place) ? compare(bt, &place) : NOT_REACHED;
	if (verdict == NOT_REACHED) {
		v->counts.incomplete++;
	} else if (verdict == AGREES) {
		v->counts.compared++;
	} else if (inputs_changed(v)) {
		v->counts.raced++;
	} else {
		fail(bt, &place);
		return false;
	}
	if (!comes_back)
		v->unit = NULL;
	return true;
}

/* --- the rest --- */

bool verify_failed(const struct bt *bt)
{
	return bt->verify && bt->verify->failed;
}

struct verify_counts verify_counts(const struct bt *bt)
{
	return bt->verify ? bt->verify->counts : (struct verify_counts){0};
}

void verify_destroy(struct bt *bt)
{
	if (!bt->verify)
		return;
	free_plans(bt->verify);
	free(bt->verify->pool);
	free(bt->verify);
	bt->verify = NULL;
}
