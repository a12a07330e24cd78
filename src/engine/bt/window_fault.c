/* Windows: hidden faults, and what is mapped when the guest touches a page.
 *
 *	- A page goes in with the rights that need no further bit set in the page tables: writable
 *	  if this is a write, or if D is set already.
 *	- A page whose stores must be noticed goes in read-only whatever the page tables say. The
 *	  interpreter does a write to it.
 *	- A large page goes in large, in one call, as far as it is RAM.
 *	- A page of the lower half goes in when it faults for the second time: a process touches
 *	  many pages once, and mapping one costs as much as some hundred interpreted instructions.
 *	- Its neighbours go in with it if they lie side by side in RAM, too, and the guest has used
 *	  them. */
#include "engine/bt/window_internal.h"

#include "cpu/mappable.h"

/* So many faults in a page of the lower half are interpreted before it is mapped. */
#define RENT_FAULTS 1
#define AROUND      16 /* pages: neighbours are looked for in a block of so many */
#define HOLES_MAX   64 /* a large page with more watched pages goes in by smaller pieces */

struct fault {
	uint64_t linear; /* of the page */
	bool write, user;
	struct translation page;
	uint64_t ram_page;
};

/* Has this page faulted before in this space? The table is small, and forgets after a while. */
static bool rent_paid(struct windows *w, uint64_t linear)
{
	uint64_t tag = (linear >> PAGE_SHIFT) ^ w->space[w->current].is.root << 24;
	uint64_t *entry = &w->touched[hash_slot(tag, TOUCHED_BITS)];

	if (*entry == tag)
		return true;
	*entry = tag;
	return RENT_FAULTS == 0;
}

/* Walk the page tables, which sets A and D as the access would. True: there is RAM there that may
 * be mapped. */
static bool find_page(struct windows *w, struct fault *fault)
{
	unsigned access = (fault->write ? PAGING_WRITE : 0) | (fault->user ? PAGING_USER : 0);
	uint8_t *host;

	if (paging_walk(w->cpu, fault->linear, access, &fault->page) != WALKED) {
		w->bt->stats.true_faults++;
		return false;
	}
	host = cpu_mappable(w->cpu, fault->linear, fault->page.gpa);
	/* SMAP and protection keys would take user pages of the upper half out again and again. */
	if (!host || (!fault->user && fault->page.user))
		return false;
	fault->ram_page = memory_page_number(w->cpu->memory, host);
	return true;
}

static bool ram_page_watched(const struct windows *w, uint64_t ram_page)
{
	return memory_page_watched(w->cpu->memory, ram_page);
}

/* Is the page `distance` pages on a neighbour that may go in together with the fault's page? */
static bool is_neighbour(struct windows *w, const struct window *window, const struct fault *fault,
	int64_t distance, bool writable)
{
	uint64_t linear = fault->linear + (uint64_t)distance * PAGE_SIZE;
	uint64_t expected = (fault->page.gpa & PAGE_MASK) + (uint64_t)distance * PAGE_SIZE;
	struct translation page;
	uint8_t *host = cpu_mappable(w->cpu, linear, expected);

	if (!host ||
		memory_page_number(w->cpu->memory, host) != fault->ram_page + (uint64_t)distance ||
		mapping_find(w, window, linear) ||
		paging_walk(w->cpu, linear, PAGING_PROBE | (fault->user ? PAGING_USER : 0),
			&page) != WALKED)
		return false;
	return page.gpa == expected && page.accessed && page.page_size == PAGE_SIZE &&
	       page.can_write == writable && page.global == fault->page.global &&
	       page.user == fault->page.user && page.key == fault->page.key &&
	       !(writable && ram_page_watched(w, fault->ram_page + (uint64_t)distance));
}

/* Map one 4-KiB page, and neighbours. */
static bool map_small(
	struct windows *w, struct window *window, const struct fault *fault, struct mapping *new)
{
	uint64_t block = fault->linear & ~(AROUND * PAGE_SIZE - 1);
	int64_t first = 0, last = 0;
	int64_t lowest = -(int64_t)((fault->linear - block) >> PAGE_SHIFT);

	new->linear = fault->linear;
	new->page = (uint32_t)fault->ram_page;
	new->pages = 1;
	new->size = SIZE_4K;
	new->writable = new->writable && !ram_page_watched(w, fault->ram_page);
	/* A page that is writable for the guest but watched goes in alone: it differs from its
	 * neighbours. */
	if (new->guest_shift == PAGE_SHIFT && fault->page.can_write == new->writable) {
		while (last + 1 < lowest + AROUND &&
			is_neighbour(w, window, fault, last + 1, new->writable))
			last++;
		while (first > lowest && is_neighbour(w, window, fault, first - 1, new->writable))
			first--;
	}
	new->linear += (uint64_t)first *PAGE_SIZE;
	new->page += (uint32_t)first;
	if (!mapping_add(w, window, new, (unsigned)(last - first + 1)))
		return false;
	if (last > first)
		window_host_populate(window, fault->linear);
	return true;
}

/* Map the block of `size` around the fault, as far as it is RAM in one piece. False: the guest's
 * page is smaller, too many of its pages are watched, or there is no room. */
static bool map_large(struct windows *w, struct window *window, const struct fault *fault,
	struct mapping *new, enum mapping_size size)
{
	uint64_t bytes = BIT(SIZE_SHIFT(size)), gpa = fault->page.gpa & PAGE_MASK, start, end;
	unsigned holes;

	if (fault->page.page_size < bytes || (fault->linear | (bytes - 1)) == ~UINT64_C(0) ||
		!cpu_mappable_around(w->cpu, gpa, &start, &end))
		return false;
	start = MAX(start, gpa & ~(bytes - 1));
	end = MIN(end, (gpa | (bytes - 1)) + 1);
	new->linear = fault->linear - (gpa - start);
	new->page = (uint32_t)(fault->ram_page - ((gpa - start) >> PAGE_SHIFT));
	new->pages = (uint32_t)((end - start) >> PAGE_SHIFT);
	new->size = (uint8_t)size;
	holes = new->writable ? watched_pages(w->cpu->memory, new->page, new->pages, HOLES_MAX) : 0;
	if (holes > HOLES_MAX)
		return false;
	budget_make_room(w, 1 + holes, 2 + 2 * holes);
	if (!mapping_add(w, window, new, 1))
		return false;
	window_host_populate(window, fault->linear);
	return true;
}

static bool map_fault(struct windows *w, struct window *window, const struct fault *fault)
{
	struct mapping new = {
		.guest_shift = (uint8_t)__builtin_ctzll(fault->page.page_size),
		.writable = fault->page.can_write,
		.list = fault->user ? (fault->page.key ? LIST_KEYED : LIST_LOCAL)
				    : (fault->page.global ? LIST_GLOBAL : LIST_LOCAL),
		.global = fault->page.global,
		.key = fault->page.key,
	};

	for (unsigned size = SIZE_1G; size > SIZE_4K; size--) {
		if (map_large(w, window, fault, &new, size))
			return true;
	}
	budget_make_room(w, AROUND, 2);
	return map_small(w, window, fault, &new);
}

/* A mapping is there, yet the access faulted: the mapping is read-only and this is a write, or it
 * is older than the page tables, as a TLB entry may be. */
static bool change_mapping(struct windows *w, struct window *window, uint32_t index,
	const struct fault *fault, bool hidden)
{
	const struct mapping *m = &w->mapping[index];
	bool same = m->page + ((fault->linear - m->linear) >> PAGE_SHIFT) == fault->ram_page &&
		    BIT(m->guest_shift) <= fault->page.page_size;

	if (m->list == LIST_HOLES)
		same = fault->write;
	if (same && fault->write && !m->writable) {
		budget_make_room(w, HOLES_MAX, 2 * HOLES_MAX);
		/* That may have emptied this very window. */
		if (mapping_find(w, window, fault->linear) == index)
			return mapping_allow_write(w, index, fault->linear);
		return map_fault(w, window, fault);
	}
	if (same && hidden)
		return true;
	/* The mapping is right, so the access should not have faulted. Another thread may have made
	 * it read-only just now; a second fault in the same page has another cause. */
	if (same && w->last_spurious == fault->linear)
		return false;
	w->last_spurious = same ? fault->linear : ~UINT64_C(0);
	mapping_drop(w, index);
	return map_fault(w, window, fault);
}

/* Called with the lock held. */
static bool enter_faulting_page(struct windows *w, const struct fault *fault, bool hidden)
{
	int owner = fault->user ? w->current : OWNER_UPPER;
	struct window *window;
	bool evicted = false;
	uint32_t index;

	if (fault->write && ram_page_watched(w, fault->ram_page))
		return false;
	window = window_find(w, owner, SLOT_OF(fault->linear));
	index = window ? mapping_find(w, window, fault->linear) : NO_MAPPING;
	if (!index && fault->user && !rent_paid(w, fault->linear)) {
		w->bt->stats.rents++;
		return false;
	}
	if (!window) {
		window = window_claim(w, owner, SLOT_OF(fault->linear), &evicted);
		if (!window)
			return false;
		window_show(w, window);
	}
	window->last_use = w->clock;
	if (index)
		return change_mapping(w, window, index, fault, hidden);
	return map_fault(w, window, fault) && !evicted;
}

bool windows_fault(struct bt *bt, uint64_t linear, bool write, bool user)
{
	struct windows *w = bt->windows;
	struct fault fault = {.linear = linear & PAGE_MASK, .write = write, .user = user};
	unsigned revocations = atomic_load(&w->revocations);
	bool mapped, hidden;

	/* The last page of the address space is left out, because its end would be address 0. */
	if (!cpu_canonical(bt->cpu, linear) || linear_is_upper(linear) == user ||
		fault.linear == -PAGE_SIZE || !find_page(w, &fault))
		return false;
	pthread_mutex_lock(&w->lock);
	/* The page that was found may have been revoked since. */
	if (unlikely(w->revocations != revocations)) {
		pthread_mutex_unlock(&w->lock);
		return false;
	}
	w->clock++;
	space_sync(w);
	hidden = user ? w->lower_hidden : w->upper_hidden;
	if (user && hidden)
		space_settle_lower(w);
	else if (hidden)
		space_settle_upper(w);
	mapped = (!user || w->current >= 0) && enter_faulting_page(w, &fault, hidden);
	bt->stats.hidden_faults += mapped;
	pthread_mutex_unlock(&w->lock);
	return mapped;
}
