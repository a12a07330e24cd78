/* What the files of the windows share:
 *
 *	window.c		windows: created, given to a slot, shown, emptied
 *	window_fault.c		a hidden fault: what is mapped when the guest touches a page
 *	window_space.c		address spaces, and what a flush puts in doubt
 *	window_traced.c		page tables traced, so that less is in doubt (--shadow=traced)
 *	window_home.c		a program's slots at one delta
 *	window_mapping.c	one mapping: made, made writable or read-only, dropped; holes
 *	window_record.c		the records of mappings, and how they are found
 *	window_budget.c		what windows may cost the host, and which are emptied for it
 *	window_host.c		the system calls
 *
 * struct windows' lock protects everything here, except that the vCPU's own thread may read the
 * windows' places and the spaces without it, since it alone changes them. Another thread comes in
 * only by windows_protect() and windows_revoke(). The lock is taken in the SIGSEGV handler: that is
 * safe, because the handler runs only where the thread was in translated code, which holds no lock.
 * A walk that sets bits in page tables may take memory->lock, and a thread that holds that lock may
 * be waiting for ours in windows_protect(). So such walks are made before our lock is taken, and
 * their result is not used if windows_revoke() came in between. */
#ifndef VENEER_ENGINE_BT_WINDOW_INTERNAL_H
#define VENEER_ENGINE_BT_WINDOW_INTERNAL_H

#include "engine/bt/window.h"

#include "cpu/paging.h"

#include <pthread.h>

#define WINDOWS_MAX   192 /* a vCPU; a multiple of 64 */
#define WINDOW_BLOCKS (WINDOW_SIZE / (2 * MIB))
#define SPACES_MAX    8
#define NO_MAPPING    0 /* record 0 is not used */
#define HOME_PIECES   4
#define HOME_SLOTS    8 /* in all pieces together, but for a scattered program */
#define HOMES_CPUS    4 /* more vCPUs' homes would fill our address space */

/* A mapping has one of three sizes; a look-up tries one after the other. A mapping of the larger
 * two lies within one block of its size, in linear addresses and in RAM, and fills the block unless
 * RAM ends or the VGA memory lies there. */
enum mapping_size { SIZE_4K, SIZE_2M, SIZE_1G, SIZES };
#define SIZE_SHIFT(size) (PAGE_SHIFT + 9 * (unsigned)(size))

enum mapping_list {
	LIST_LOCAL,  /* not global, or in the lower half */
	LIST_GLOBAL, /* survives a change of CR3 */
	LIST_KEYED,  /* as LIST_LOCAL, and with a protection key other than 0; in the lower half */
	LIST_HOLES,  /* watched pages, read-only inside a large writable mapping */
	LISTS
};

struct mapping {
	uint64_t linear;
	uint32_t page, pages; /* of RAM: the first one, and how many */
	uint32_t next_by_linear, next_by_page, previous_by_page, next, previous;
	uint32_t block; /* what window_traced.c knows it by; 0: by nothing */
	uint8_t size, list, window;
	uint8_t guest_shift; /* log2 of the size of the guest's page; this may be a piece of it */
	bool writable;
	bool global; /* the guest's page is global: INVLPG reaches it under any PCID */
	uint8_t key; /* its protection key */
};

/* Owners of a window; from 0 on they are numbers of spaces. */
#define OWNER_NONE  (-2) /* the window is not in use, and empty */
#define OWNER_UPPER (-1) /* all of the vCPU's spaces: the slot is in the upper half */

struct window {
	uintptr_t base; /* 0: not even reserved */
	uint16_t slot;
	int8_t owner;
	uint8_t zone; /* of a window in the lower half, or NO_ZONE */
	bool at_home; /* it lies in its space's home, and not in a reservation of its own */
	uint32_t first[LISTS], count[LISTS];
	uint32_t sizes[SIZES]; /* how many mappings of each size, holes included */
	uint32_t pieces;       /* how many mappings are smaller than the guest's page */
	uint32_t borders;      /* between host mappings, inside the window */
	/* Blocks of 2 MiB in which something was mapped since the window was last empty: each may
	 * cost the host a page table, even if nothing is mapped there now. And how many blocks the
	 * present large mappings span. */
	uint32_t blocks, large_blocks;
	uint64_t last_use;
};

struct space {
	bool used;
	bool doubt;          /* flushed: each page must be looked up again before it is used */
	uint16_t keys_doubt; /* the same for pages with these protection keys, a bit each */
	struct address_space is;
	uint64_t last_use;
	/* The home zone: host addresses reserved for slots at one delta, each piece with its
	 * guards. Without pieces, one ordinary window may be the home. */
	bool has_home;
	bool scattered;   /* the program uses slots here and there (window_home.c) */
	unsigned misfits; /* slots that got a window outside the home */
	uint64_t home_delta;
	struct home_piece {
		uint16_t first, last; /* slots */
	} home[HOME_PIECES];
	unsigned home_count;
};

#define PENDING_PAGES 32
#define TOUCHED_BITS  10

struct windows {
	struct bt *bt;
	struct cpu *cpu;
	pthread_mutex_t lock;
	struct window window[WINDOWS_MAX];
	/* The windows of each owner, a bit each; [0] is OWNER_UPPER's. */
	uint64_t owned[1 + SPACES_MAX][WINDOWS_MAX / 64];
	struct space space[SPACES_MAX];
	unsigned window_limit, space_limit;
	unsigned reserved, reserve_limit; /* windows with addresses of their own, not of a home */
	uint64_t clock;                   /* counts faults and changes of space */

	int current;       /* number of the space that the vCPU is in; -1: it is young */
	bool lower_hidden; /* its windows are not in bt->delta[0]: pages are in doubt or pending */
	bool stale;        /* space_sync() has work to do: windows_flush() was called, as it is for
			    * every change of the address space */

	/* The upper half's local mappings are valid in this address space only. */
	struct address_space upper;
	bool upper_doubt, upper_hidden, global_doubt;

	/* Pages of the current space's lower half that were flushed one by one. They are unmapped
	 * when user code is about to run, neighbours in one system call. */
	uint64_t pending[PENDING_PAGES];
	unsigned pending_count;

	struct mapping *mapping;
	uint32_t mapping_limit, mapping_top, mapping_free, mapping_used;
	uint32_t *by_linear, *by_page;
	uint64_t hash_multiplier; /* odd, and unknown to the guest */
	uint64_t *block_map;      /* WINDOW_BLOCKS bits for each window */
	uint32_t borders, border_share, blocks, block_share;

	struct traced *traced; /* NULL: page tables are not traced */

	_Atomic unsigned revocations; /* counts calls of windows_revoke() */
	uint64_t last_spurious;
	uint64_t touched[1 << TOUCHED_BITS];
};

static inline uint64_t mapping_end(const struct mapping *m)
{
	return m->linear + ((uint64_t)m->pages << PAGE_SHIFT);
}

/* How many mappings, without holes, which belong to one. */
static inline uint32_t window_mappings(const struct window *window)
{
	return window->count[LIST_LOCAL] + window->count[LIST_GLOBAL] + window->count[LIST_KEYED];
}

static inline bool linear_is_upper(uint64_t linear)
{
	return linear >> 63;
}

/* The linear address at which a slot begins, canonical. */
static inline uint64_t slot_start(uint16_t slot)
{
	return (uint64_t)((int64_t)((uint64_t)slot << 48) >> (48 - SLOT_SHIFT));
}

static inline unsigned window_number(const struct windows *w, const struct window *window)
{
	return (unsigned)(window - w->window);
}

/* --- window.c: windows as a whole --- */

/* The window of `owner` that shows `slot`, or NULL. */
struct window *window_find(struct windows *w, int owner, uint16_t slot);

/* The next window of `owner` from number `from` on, or NULL. */
struct window *window_next(struct windows *w, int owner, unsigned from);
#define for_windows_of(window, w, owner)                                                           \
	for (struct window *window = window_next(w, owner, 0); window;                             \
		window = window_next(w, owner, window_number(w, window) + 1))

/* Find a window for `owner` and `slot`, which have none: in the owner's home, if that has the slot.
 * *evicted: another slot has lost its window for it, and that window's delta is hidden. NULL: there
 * is none to be had now. */
struct window *window_claim(struct windows *w, int owner, uint16_t slot, bool *evicted);

/* Unmap all of a window, which also frees the host's page tables for it. This cannot fail: the
 * process is ended rather than the guest let out. window_release() also lets the window be used for
 * another slot. */
void window_empty(struct windows *w, struct window *window);
void window_release(struct windows *w, struct window *window);

/* Put a window's delta into its table, or take it out. */
void window_show(struct windows *w, const struct window *window);
void window_hide(struct windows *w, const struct window *window);

/* --- window_home.c --- */

/* Reserve a home for the current space's slots that its page tables use now, and make windows for
 * them. Without room for all, for as many as possible, the lowest first. */
void home_create(struct windows *w);
/* The space's windows have been released. */
void home_destroy(struct windows *w, struct space *space);
/* Is the slot's place in the space's home? */
bool home_has(const struct space *space, uint16_t slot);
/* The space uses so many slots that its home does not have that another home would serve it better.
 */
bool home_outgrown(const struct windows *w, const struct space *space);

/* --- window_host.c: system calls --- */

/* Reserve addresses exactly there. False: something is in the way. */
bool window_host_reserve_at(uintptr_t start, uint64_t size);
void window_host_free_range(uintptr_t start, uint64_t size);

/* Reserve a window with its guards, empty. Returns where the window begins, or 0. That is a
 * multiple of 2 MiB, so that its blocks are those of the host's page tables. */
uintptr_t window_host_reserve(void);
void window_host_free(uintptr_t base);

/* Map RAM from `page` on, make what is mapped writable or read-only, unmap. `linear` and `size` (in
 * bytes) are whole pages of this one window; false: they are not, or the host has refused. */
bool window_host_map(struct windows *w, struct window *window, uint64_t linear, uint64_t size,
	uint64_t page, bool writable);
bool window_host_protect(struct windows *w, const struct window *window, uint64_t linear,
	uint64_t size, bool writable);
bool window_host_unmap(
	struct windows *w, const struct window *window, uint64_t linear, uint64_t size);

/* Have the host's kernel enter the page at `linear` in its page tables, as a read would. It then
 * enters up to 15 neighbours, too, as far as they have memory already, and they can be written. So
 * call it where more than one page was mapped. A write, which may be the guest's next access, would
 * enter one page only, at the same price. */
void window_host_populate(const struct window *window, uint64_t linear);

/* --- window_budget.c: what windows may cost the host --- */

/* 0; -ENOSPC or -ENOMEM as windows_create(). May be destroyed after a failure, too. */
int budget_create(struct windows *w);
void budget_destroy(struct windows *w);

/* Count borders. Call budget_borders() before [start, end) changes, and budget_count_borders() with
 * its result (`before`) afterwards. The range must be all alike both times: no border within. */
unsigned budget_borders(
	const struct windows *w, const struct window *window, uint64_t start, uint64_t end);
void budget_count_borders(
	struct windows *w, struct window *window, uint64_t start, uint64_t end, unsigned before);

/* Something was mapped there: the host may keep a page table for each block of it. */
void budget_count_blocks(struct windows *w, struct window *window, uint64_t linear, uint64_t size);

/* All of the window was unmapped: no borders, no blocks. */
void budget_forget_window(struct windows *w, struct window *window);

/* Make room for `borders` more borders, `records` more records, and the page tables of one more
 * mapping. This empties windows if it must. */
void budget_make_room(struct windows *w, unsigned records, unsigned borders);

/* Of the windows with an owner, or (`with_records`) only of those in which something is mapped.
 * NULL: there is none. */
struct window *budget_least_recently_used(struct windows *w, bool with_records);

/* --- window_record.c: the records of mappings --- */

int records_create(struct windows *w); /* 0 or -ENOMEM; may be destroyed after a failure, too */
void records_destroy(struct windows *w);

/* A record not in use, or NO_MAPPING; fill in the fields that mapping_add() names, and `window`. */
uint32_t record_new(struct windows *w);
void record_free(struct windows *w, uint32_t index);

/* Enter a record so that it is found; remove it, which frees it, too. */
void record_enter(struct windows *w, uint32_t index);
void record_remove(struct windows *w, uint32_t index);
void records_remove_window(struct windows *w, struct window *window);

/* What is mapped at a linear address, holes before the mapping they are in; or NO_MAPPING. */
uint32_t mapping_find(const struct windows *w, const struct window *window, uint64_t linear);

/* The same among the mappings of one size; and among those of the two large sizes, which finds the
 * mapping that a hole is in. */
uint32_t mapping_find_sized(
	const struct windows *w, const struct window *window, unsigned size, uint64_t linear);
uint32_t mapping_find_large(const struct windows *w, const struct window *window, uint64_t linear);

/* Call `act` for every mapping that shows the page, with the linear address; holes are part of the
 * mapping they are in. It may drop mappings. */
void mappings_of_page(struct windows *w, uint64_t page,
	void (*act)(struct windows *w, uint32_t index, uint64_t linear));

/* --- window_mapping.c: a mapping made, changed, dropped --- */

/* Make a mapping, and holes where its pages are watched. `new` gives linear, page, pages, size,
 * guest_shift, writable, list and global. A `run` of 4-KiB pages may be entered at once: each is as
 * `new`, one page further on. Mappings that overlap are dropped first. False: there is no room. */
bool mapping_add(struct windows *w, struct window *window, const struct mapping *new, unsigned run);
void mapping_drop(struct windows *w, uint32_t index);

/* Make the page at `linear` writable or read-only, in the mapping that was found there. Where a
 * mapping is read-only as a whole, all of it becomes writable except its watched pages. False: the
 * host has refused, and the mapping is gone. */
bool mapping_allow_write(struct windows *w, uint32_t index, uint64_t linear);
void mapping_forbid_write(struct windows *w, uint32_t index, uint64_t linear);

/* Count the pages of [page, page + pages) whose stores must be noticed (memory_page_watched()).
 * Where there are more than `limit` it stops early and returns more than `limit`. */
unsigned watched_pages(const struct memory *memory, uint64_t page, uint64_t pages, unsigned limit);

/* Drop many mappings: neighbours are unmapped in one system call. After the last one call
 * unmap_run_flush(). */
struct unmap_run {
	struct windows *windows;
	struct window *window;
	uint64_t start, end; /* linear */
};
void mapping_drop_in_run(struct unmap_run *run, uint32_t index);
void unmap_run_flush(struct unmap_run *run);

/* Go through the mappings in one list of a window. The body may drop the mapping that it is called
 * for. Where the host refuses that the whole window is emptied, and the loop ends. */
#define for_mappings_in(index, w, window, list)                                                    \
	for (uint32_t index = (window)->first[list], next_##index = (w)->mapping[index].next;      \
		index; index = (window)->first[list] ? next_##index : NO_MAPPING,                  \
		      next_##index = (w)->mapping[index].next)

/* --- window_space.c: address spaces --- */

/* Make `current`, the deltas and the upper half those of the address space that the vCPU is in. */
void space_sync(struct windows *w);
/* Look up again what is in doubt in the current space's lower half, or in the upper half, and show
 * its windows. */
void space_settle_lower(struct windows *w);
void space_settle_upper(struct windows *w);

/* Look up a mapping again, in a round of look-ups. False: it has to go. */
struct round;
bool mapping_still_good(struct windows *w, struct round *round, uint32_t index);

/* --- window_traced.c --- */

int traced_create(struct windows *w); /* 0 or -ENOMEM; may be destroyed after a failure, too */
void traced_destroy(struct windows *w);

/* A mapping of a space is about to be entered: which of the window's list is it to follow? Or
 * NO_MAPPING: none, it comes first. And one is about to be removed. */
uint32_t traced_enter(struct windows *w, uint32_t index);
void traced_remove(struct windows *w, uint32_t index);

/* A walk may give another result even where no page table has changed. */
void traced_rules_changed(struct windows *w);

/* Before what is in doubt in the current space is looked up again: trace page tables where that
 * will be worth it. This lets go of the lock for a while. */
void traced_renew(struct windows *w);

/* Look up again those mappings of a window that may be wrong, and drop what is wrong. Returns how
 * many mappings stay, with those that were not looked up. */
unsigned traced_revalidate(struct windows *w, struct window *window, struct round *round);

#endif
