/* Address spaces of the windows, and what flushes do to them.
 *
 * A space is a root of page tables and the PCID that was last used with it. When CR3 changes, the
 * new space's windows take the place of the old one's in bt->delta[0], which costs a store for each
 * window. A space that the guest flushes is not emptied. It is put in doubt, and before its user
 * code runs again each of its pages is looked up in the page tables: mostly they are as they were,
 * and a look-up costs a fiftieth of a fault. A page is kept if a new walk would enter the same, so
 * to keep it is exactly as good as to drop it and enter it again.
 *
 * A guest may give a root to another process. Then it uses another PCID or flushes, and the space
 * is in doubt. If no page at all is as it was, this is a new process, and starts young.
 *
 * All spaces share the global pages of the upper half. Those that are not global (local ones) are
 * valid for one root and PCID. Kernels have few of them, so under another CR3 they are looked up
 * again; where there are many, their windows are hidden until an access faults there. */
#include "engine/bt/window_internal.h"

#include "cpu/mappable.h"

/* So many local pages of the upper half are looked up at once when CR3 changes. */
#define FEW_LOCAL 32
/* A space that had at least so many pages and loses all of them belongs to another process. */
#define PROCESS_PAGES 4

/* --- looking up again --- */

/* May all of the mapping be mapped, in the vCPU's present state? While data breakpoints are armed
 * (which is rare) no large mapping is kept or made. */
static bool range_allowed(const struct windows *w, const struct mapping *m, uint64_t gpa)
{
	uint64_t start, end;

	if (m->size == SIZE_4K)
		return cpu_mappable(w->cpu, m->linear, gpa);
	return cpu_mappable_around(w->cpu, gpa, &start, &end) && end - gpa >= (uint64_t)m->pages
										      << PAGE_SHIFT;
}

/* Would a fault now enter this mapping as it is? Where it would enter it read-only, the mapping is
 * made read-only here. */
static bool still_good(struct windows *w, uint32_t index)
{
	struct mapping *m = &w->mapping[index];
	bool upper = linear_is_upper(m->linear);
	struct translation page;
	uint8_t *host;

	if (paging_walk(w->cpu, m->linear, PAGING_PROBE | (upper ? 0 : PAGING_USER), &page) !=
			WALKED ||
		!page.accessed || (upper && page.user) ||
		(upper ? page.global != (m->list == LIST_GLOBAL) : page.key != m->key) ||
		page.page_size != BIT(m->guest_shift))
		return false;
	host = memory_ram_pointer(w->cpu->memory, page.gpa);
	if (!host || memory_page_number(w->cpu->memory, host) != m->page ||
		!range_allowed(w, m, page.gpa & PAGE_MASK))
		return false;
	if (m->writable && !page.can_write) {
		if (m->size != SIZE_4K)
			return false;
		mapping_forbid_write(w, index, m->linear);
	}
	m->global = page.global;
	return true;
}

/* The page tables that a round of look-ups has come to. Mappings of a process lie together, and
 * what their walks have in common is looked up once. */
#define ROUND_TABLES 64
struct round {
	bool remember; /* no breakpoint is armed: one in the page would count, too */
	struct {
		uint64_t block; /* linear address / 2 MiB; ~0: none */
		uint8_t key;
		bool found;
		struct paging_table table;
	} of[ROUND_TABLES];
};

static void round_begin(struct round *round, const struct windows *w)
{
	round->remember = !(w->cpu->dr7 & 0xff);
	for (unsigned i = 0; i < ROUND_TABLES; i++)
		round->of[i].block = ~UINT64_C(0);
}

/* Is the mapping as the page tables have it, with nothing to be changed? This answers for most
 * mappings, those of user pages of 4 KiB where all is as it was; still_good() does for the
 * others. */
static bool same_as_before(struct windows *w, struct round *round, struct mapping *m)
{
	uint64_t block = m->linear / (2 * MIB);
	typeof(round->of[0]) *at = &round->of[block % ROUND_TABLES];
	struct paging_page page;
	const uint8_t *host;

	if (m->guest_shift != PAGE_SHIFT || linear_is_upper(m->linear) || !round->remember)
		return false;
	if (unlikely(at->block != block || at->key != m->key)) {
		at->block = block;
		at->key = m->key;
		at->found = paging_find_user_table(w->cpu, m->linear, m->key, &at->table);
	}
	if (unlikely(!at->found || !paging_look_up(&at->table, m->linear, &page) ||
		     (m->writable && !page.can_write)))
		return false;
	host = cpu_memory_pointer(w->cpu, page.gpa);
	if (unlikely(!host || memory_page_number(w->cpu->memory, host) != m->page))
		return false;
	m->global = page.global;
	return true;
}

bool mapping_still_good(struct windows *w, struct round *round, uint32_t index)
{
	return same_as_before(w, round, &w->mapping[index]) || still_good(w, index);
}

/* Look up again all mappings of a list, and drop those that are wrong. Returns how many stay. */
static unsigned revalidate_list(struct windows *w, struct window *window, enum mapping_list list)
{
	struct unmap_run run = {.windows = w};
	struct round round;
	unsigned kept = 0;

	if (!window->count[list])
		return 0;
	round_begin(&round, w);
	if (w->traced && list == LIST_LOCAL && window->owner >= 0)
		return traced_revalidate(w, window, &round);
	w->bt->stats.revalidations += window->count[list];
	for_mappings_in(index, w, window, list) {
		if (mapping_still_good(w, &round, index))
			kept++;
		else
			mapping_drop_in_run(&run, index);
	}
	unmap_run_flush(&run);
	return kept;
}

/* --- the lower half --- */

static void hide_lower(struct windows *w)
{
	if (w->current < 0 || w->lower_hidden)
		return;
	for_windows_of(window, w, w->current)
		window_hide(w, window);
	w->lower_hidden = true;
}

static void show_lower(struct windows *w)
{
	for_windows_of(window, w, w->current)
		window_show(w, window);
	w->lower_hidden = false;
}

static void space_forget(struct windows *w, int number)
{
	for_windows_of(window, w, number)
		window_release(w, window);
	home_destroy(w, &w->space[number]);
	w->space[number].used = false;
	if (w->current == number) {
		w->current = -1;
		w->pending_count = 0;
		w->lower_hidden = false;
	}
}

/* Drop the guest's page at `linear`: the mapping there, and where the page is large all pieces of
 * it. */
static void drop_guest_page(
	struct windows *w, struct window *window, uint64_t linear, struct unmap_run *run)
{
	uint32_t index = mapping_find(w, window, linear);

	if (index && w->mapping[index].list == LIST_HOLES) {
		mapping_drop(w, index);
		index = NO_MAPPING;
	}
	if (index)
		mapping_drop_in_run(run, index);
	if (likely(!window->pieces))
		return;
	for (unsigned list = 0; list < LIST_HOLES; list++)
		for_mappings_in(piece, w, window, list) {
			const struct mapping *m = &w->mapping[piece];

			if (!((m->linear ^ linear) >> m->guest_shift))
				mapping_drop_in_run(run, piece);
		}
}

static void drop_pending(struct windows *w)
{
	struct unmap_run run = {.windows = w};

	for (unsigned i = 0; i < w->pending_count; i++) {
		struct window *window = window_find(w, w->current, SLOT_OF(w->pending[i]));

		if (window)
			drop_guest_page(w, window, w->pending[i], &run);
	}
	unmap_run_flush(&run);
	w->pending_count = 0;
}

void space_settle_lower(struct windows *w)
{
	struct space *space;
	unsigned before = 0, kept = 0;

	if (w->current < 0 || !w->lower_hidden)
		return;
	space = &w->space[w->current];
	drop_pending(w);
	if (space->doubt) {
		for_windows_of(window, w, w->current) {
			before += window_mappings(window);
			kept += revalidate_list(w, window, LIST_LOCAL);
			kept += revalidate_list(w, window, LIST_KEYED);
		}
		space->doubt = false;
		if (before >= PROCESS_PAGES && !kept) {
			space_forget(w, w->current);
			return;
		}
	} else if (space->keys_doubt) {
		for_windows_of(window, w, w->current)
			revalidate_list(w, window, LIST_KEYED);
	}
	space->keys_doubt = 0;
	show_lower(w);
}

static void put_in_doubt(struct windows *w, int number)
{
	w->space[number].doubt = true;
	if (number == w->current) {
		hide_lower(w);
		w->pending_count = 0;
	}
}

static int space_of_tables(const struct windows *w, struct address_space is)
{
	for (unsigned i = 0; i < w->space_limit; i++)
		if (w->space[i].used && address_space_same_tables(w->space[i].is, is))
			return (int)i;
	return -1;
}

static void switch_lower(struct windows *w)
{
	struct address_space now = cpu_address_space(w->cpu);
	int number = space_of_tables(w, now);

	if (number != w->current) {
		drop_pending(w);
		hide_lower(w);
		w->current = number;
		w->lower_hidden = true;
	}
	if (number < 0) {
		w->lower_hidden = false;
		return;
	}
	w->space[number].last_use = w->clock;
	if (!address_space_same_tag(w->space[number].is, now)) {
		w->space[number].is = now;
		put_in_doubt(w, number);
	}
	for_windows_of(window, w, number)
		window->last_use = w->clock;
	if (w->lower_hidden && !w->space[number].doubt && !w->space[number].keys_doubt &&
		!w->pending_count)
		show_lower(w);
}

/* --- the upper half --- */

static unsigned upper_local(struct windows *w)
{
	unsigned count = 0;

	for_windows_of(window, w, OWNER_UPPER)
		count += window->count[LIST_LOCAL];
	return count;
}

void space_settle_upper(struct windows *w)
{
	struct address_space now = cpu_address_space(w->cpu);
	bool same = address_space_equal(w->upper, now);

	for_windows_of(window, w, OWNER_UPPER) {
		if (!same || w->upper_doubt)
			revalidate_list(w, window, LIST_LOCAL);
		window_show(w, window);
	}
	w->upper = now;
	w->upper_doubt = w->upper_hidden = false;
}

static void switch_upper(struct windows *w)
{
	bool same = address_space_equal(w->upper, cpu_address_space(w->cpu));

	/* The windows that a kernel uses all the time see no faults, and would look old. */
	for_windows_of(window, w, OWNER_UPPER)
		window->last_use = w->clock;
	if (w->global_doubt)
		for_windows_of(window, w, OWNER_UPPER)
			revalidate_list(w, window, LIST_GLOBAL);
	w->global_doubt = false;
	if ((same && !w->upper_doubt) || upper_local(w) <= FEW_LOCAL) {
		if (!same || w->upper_doubt || w->upper_hidden)
			space_settle_upper(w);
		return;
	}
	for_windows_of(window, w, OWNER_UPPER)
		if (window->count[LIST_LOCAL])
			window_hide(w, window);
	w->upper_hidden = true;
}

void space_sync(struct windows *w)
{
	if (!w->stale)
		return;
	w->clock++;
	/* When it is mature again it gets another home. */
	if (w->current >= 0 && home_outgrown(w, &w->space[w->current]))
		space_forget(w, w->current);
	switch_lower(w);
	switch_upper(w);
	w->stale = false;
}

/* --- what others call --- */

void windows_use_space(struct bt *bt)
{
	struct windows *w = bt->windows;
	bool settle = w->lower_hidden && w->cpu->cpl == 3;

	if (likely(!w->stale && !settle))
		return;
	pthread_mutex_lock(&w->lock);
	space_sync(w);
	if (w->lower_hidden && w->cpu->cpl == 3) {
		if (w->traced && w->space[w->current].doubt)
			traced_renew(w);
		space_settle_lower(w);
	}
	pthread_mutex_unlock(&w->lock);
}

bool windows_is_mature(struct bt *bt)
{
	windows_use_space(bt);
	return bt->windows->current >= 0;
}

static int space_unused(struct windows *w)
{
	int oldest = 0;

	for (unsigned i = 0; i < w->space_limit; i++) {
		if (!w->space[i].used)
			return (int)i;
		if (w->space[i].last_use < w->space[oldest].last_use)
			oldest = (int)i;
	}
	return oldest;
}

void windows_mature(struct bt *bt)
{
	struct windows *w = bt->windows;
	int number;

	if (windows_is_mature(bt))
		return;
	pthread_mutex_lock(&w->lock);
	number = space_unused(w);
	if (w->space[number].used)
		space_forget(w, number);
	w->space[number] = (struct space){
		.used = true,
		.is = cpu_address_space(w->cpu),
		.last_use = ++w->clock,
	};
	w->current = number;
	w->lower_hidden = false;
	w->pending_count = 0;
	home_create(w);
	bt->stats.spaces++;
	pthread_mutex_unlock(&w->lock);
}

/* Has a space that is not current a mapping that this INVLPG reaches? INVLPG drops translations of
 * the address under the current PCID, and global ones under any PCID (SDM vol. 3A 4.10.4.1). */
static bool space_has_page(struct windows *w, int number, const struct tlb_request *request)
{
	const struct space *space = &w->space[number];
	struct window *window = window_find(w, number, SLOT_OF(request->linear));
	uint32_t index;

	if (!space->used || space->doubt || !window)
		return false;
	index = mapping_find(w, window, request->linear);
	if (!index)
		return window->pieces;
	return w->mapping[index].global || address_space_same_tag(space->is, request->space);
}

static void flush_upper_page(struct windows *w, uint64_t linear)
{
	struct window *window = window_find(w, OWNER_UPPER, SLOT_OF(linear));
	struct unmap_run run = {.windows = w};

	if (window)
		drop_guest_page(w, window, linear, &run);
	unmap_run_flush(&run);
}

static void flush_page(struct windows *w, const struct tlb_request *request)
{
	uint64_t linear = request->linear;

	if (linear_is_upper(linear)) {
		flush_upper_page(w, linear);
		return;
	}
	for (unsigned i = 0; i < w->space_limit; i++)
		if ((int)i != w->current && space_has_page(w, (int)i, request))
			put_in_doubt(w, (int)i);
	if (w->current < 0 || w->space[w->current].doubt ||
		!window_find(w, w->current, SLOT_OF(linear)))
		return;
	if (w->pending_count == PENDING_PAGES) {
		put_in_doubt(w, w->current);
		return;
	}
	hide_lower(w);
	w->pending[w->pending_count++] = linear & PAGE_MASK;
}

/* Does a flush of the address space `named` reach mappings that were entered in `is`? */
static bool flush_reaches(struct address_space is, struct address_space named)
{
	if (named.pcid == TLB_EVERY_PCID)
		named.pcid = is.pcid;
	return address_space_same_tag(is, named);
}

static void flush_tag(struct windows *w, struct address_space named)
{
	for (unsigned i = 0; i < w->space_limit; i++)
		if (w->space[i].used && flush_reaches(w->space[i].is, named))
			put_in_doubt(w, (int)i);
	if (flush_reaches(w->upper, named))
		w->upper_doubt = true;
}

/* The rights by these protection keys have changed. Key 0 is that of nearly all pages. */
static void flush_keys(struct windows *w, uint16_t keys)
{
	if (w->traced && (keys & BIT(0)))
		traced_rules_changed(w);
	for (unsigned i = 0; i < w->space_limit; i++) {
		if (!w->space[i].used)
			continue;
		if (keys & BIT(0)) {
			put_in_doubt(w, (int)i);
			continue;
		}
		w->space[i].keys_doubt |= keys;
		if ((int)i == w->current)
			hide_lower(w);
	}
}

static void flush_everything(struct windows *w)
{
	for (unsigned i = 0; i < w->space_limit; i++)
		if (w->space[i].used)
			put_in_doubt(w, (int)i);
	w->upper_doubt = w->global_doubt = true;
	if (w->traced)
		traced_rules_changed(w);
}

void windows_flush(struct bt *bt, const struct tlb_request *request)
{
	struct windows *w = bt->windows;

	pthread_mutex_lock(&w->lock);
	switch (request->what) {
	case TLB_FLUSH_ALL:
		flush_everything(w);
		break;
	case TLB_FLUSH_NON_GLOBAL:
	case TLB_FLUSH_PCID:
		flush_tag(w, request->space);
		break;
	case TLB_FLUSH_SPACE_KEPT:
		break;
	case TLB_FLUSH_KEYS:
		flush_keys(w, request->keys);
		break;
	case TLB_FLUSH_PAGE:
	case TLB_FLUSH_LARGE_PAGE:
		/* The address space may have changed since the last call. */
		space_sync(w);
		if (cpu_canonical(w->cpu, request->linear))
			flush_page(w, request);
		pthread_mutex_unlock(&w->lock);
		return;
	}
	w->stale = true;
	pthread_mutex_unlock(&w->lock);
}
