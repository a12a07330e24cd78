/* A vCPU's windows: created, given to a slot of an address space, shown in the tables of deltas,
 * emptied and taken back.
 *
 * See window.h for what windows are. What is mapped in them, and when: window_fault.c. */
#include "engine/bt/cache.h"
#include "engine/bt/window_internal.h"
#include "engine/options.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WINDOWS_MIN 8 /* a program has three or four, a kernel as many */
/* A window must have been idle for so many faults before another one may take its place. */
#define IDLE_FAULTS 64

/* --- nowhere --- */

/* The window in which nothing is ever mapped, of all vCPUs; reserved when first asked for, and
 * kept. */
static uintptr_t nowhere;
static pthread_once_t nowhere_once = PTHREAD_ONCE_INIT;

static void reserve_nowhere(void)
{
	nowhere = window_host_reserve();
}

uint64_t windows_no_delta(uint16_t slot)
{
	return nowhere - slot_start(slot);
}

/* --- creation --- */

static bool window_reserve(struct windows *w, struct window *window)
{
	if (w->reserved == w->reserve_limit)
		return false;
	window->base = window_host_reserve();
	w->reserved += window->base != 0;
	return window->base != 0;
}

static void window_unreserve(struct windows *w, struct window *window)
{
	if (!window->base)
		return;
	window_host_free(window->base);
	window->base = 0;
	w->reserved--;
}

static void fill_deltas(struct bt *bt)
{
	for (unsigned slot = 0; slot < SLOTS; slot++)
		bt->delta[0][slot] = bt->delta[1][slot] = windows_no_delta((uint16_t)slot);
	memset(bt->zone, NO_ZONE, sizeof(bt->zone));
	for (unsigned zone = 0; zone < ZONES; zone++)
		bt->zone_delta[zone] = windows_no_delta(0);
}

/* Once for all vCPUs: it is the same for each. */
static void warn_of_no_room(void)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&said))
		log_warning("engine bt: the host has no room for windows in the address space; "
			    "expected no limit on virtual memory (ulimit -v unlimited). Code will "
			    "be slower");
}

static int create_tables_and_reserve(struct windows *w)
{
	int error = budget_create(w);

	if (!error)
		error = records_create(w);
	if (!error && w->bt->options.traced)
		error = traced_create(w);
	if (error < 0)
		return error;
	for (unsigned i = 0; i < WINDOWS_MAX; i++)
		w->window[i].owner = OWNER_NONE;
	/* Where the host has no room for a few, it is better to do without any from the beginning:
	 * each access in a slot without a window is a fault. */
	pthread_once(&nowhere_once, reserve_nowhere);
	for (unsigned i = 0; i < MIN(w->window_limit, (unsigned)WINDOWS_MIN); i++)
		if (!nowhere || !window_reserve(w, &w->window[i]))
			return -ENOMEM;
	return 0;
}

int windows_create(struct bt *bt)
{
	struct windows *w = calloc(1, sizeof(*w));
	int error;

	if (!w) {
		log_error("no memory for the windows of vCPU %u", bt->cpu->index);
		return -ENOMEM;
	}
	w->bt = bt;
	w->cpu = bt->cpu;
	w->current = -1;
	w->stale = true;
	w->last_spurious = ~UINT64_C(0);
	w->space_limit = windows_limits.spaces ? windows_limits.spaces : SPACES_MAX;
	w->space_limit = MIN(w->space_limit, (unsigned)SPACES_MAX);
	/* Faults are counted from here: a window just made is not idle. */
	w->clock = 1;
	pthread_mutex_init(&w->lock, NULL);
	error = create_tables_and_reserve(w);
	bt->windows = w;
	if (error < 0) {
		windows_destroy(bt);
		if (error != -ENOSPC)
			warn_of_no_room();
		return error;
	}
	fill_deltas(bt);
	return 0;
}

void windows_destroy(struct bt *bt)
{
	struct windows *w = bt->windows;

	if (!w)
		return;
	bt->windows = NULL;
	for (unsigned i = 0; i < WINDOWS_MAX; i++)
		if (!w->window[i].at_home)
			window_unreserve(w, &w->window[i]);
	for (unsigned i = 0; i < SPACES_MAX; i++)
		home_destroy(w, &w->space[i]);
	budget_destroy(w);
	records_destroy(w);
	traced_destroy(w);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* --- found --- */

static bool linear_in(struct windows *w, int owner, uintptr_t host, uint64_t *linear)
{
	for_windows_of(window, w, owner) {
		uint64_t offset = host - window->base;

		if (offset >= WINDOW_SIZE)
			continue;
		*linear = slot_start(window->slot) | offset;
		return true;
	}
	return false;
}

bool windows_linear(const struct bt *bt, uintptr_t host, uint64_t *linear)
{
	struct windows *w = bt->windows;

	return (w->current >= 0 && linear_in(w, w->current, host, linear)) ||
	       linear_in(w, OWNER_UPPER, host, linear);
}

struct window *window_find(struct windows *w, int owner, uint16_t slot)
{
	for_windows_of(window, w, owner)
		if (window->slot == slot)
			return window;
	return NULL;
}

struct window *window_next(struct windows *w, int owner, unsigned from)
{
	for (unsigned word = from / 64; word < WINDOWS_MAX / 64; word++) {
		uint64_t bits = w->owned[owner - OWNER_UPPER][word];

		if (word == from / 64)
			bits &= ~UINT64_C(0) << from % 64;
		if (bits)
			return &w->window[64 * word + (unsigned)__builtin_ctzll(bits)];
	}
	return NULL;
}

/* --- given out, taken back --- */

static void set_owner(struct windows *w, struct window *window, int owner)
{
	unsigned number = window_number(w, window);
	uint64_t bit = BIT(number % 64);

	if (window->owner != OWNER_NONE)
		w->owned[window->owner - OWNER_UPPER][number / 64] &= ~bit;
	window->owner = (int8_t)owner;
	if (owner != OWNER_NONE)
		w->owned[owner - OWNER_UPPER][number / 64] |= bit;
}

/* One that is not in use; for a home rather one without addresses of its own, else one with. */
static struct window *window_unused(struct windows *w, bool for_home)
{
	struct window *found = NULL;

	for (unsigned i = 0; i < w->window_limit; i++) {
		struct window *window = &w->window[i];

		if (window->owner != OWNER_NONE)
			continue;
		if (!found)
			found = window;
		if (!window->base == for_home)
			return window;
	}
	return found;
}

/* Give it addresses. False: there are none for it. */
static bool window_place(struct windows *w, struct window *window, uint64_t home)
{
	if (!home)
		return window->base || window_reserve(w, window);
	window_unreserve(w, window);
	window->base = home;
	window->at_home = true;
	return true;
}

static uint64_t window_delta(const struct window *window)
{
	return window->base - slot_start(window->slot);
}

/* The lowest number that no window of the space has. Number 0 is the home's; where nothing was
 * reserved for that, the first window is the home. */
static uint8_t zone_unused(struct windows *w, struct space *space)
{
	uint32_t used = space->has_home ? BIT(ZONE_HOME) : 0;

	for_windows_of(window, w, (int)(space - w->space))
		if (window->zone != NO_ZONE)
			used |= 1u << window->zone;
	for (unsigned zone = 0; zone < ZONES; zone++)
		if (!(used & BIT(zone)))
			return (uint8_t)zone;
	return NO_ZONE;
}

static void choose_zone(struct windows *w, struct window *window)
{
	struct space *space = &w->space[window->owner];

	window->zone = ZONE_HOME;
	if (window->at_home)
		return;
	window->zone = NO_ZONE;
	window->zone = zone_unused(w, space);
	space->misfits++;
	if (home_outgrown(w, space))
		w->stale = true;
	if (window->zone != ZONE_HOME)
		return;
	space->has_home = true;
	space->home_delta = window_delta(window);
}

/* The window that was not used for longest. With too few windows for what is in use all would be
 * emptied again and again; the interpreter is better than that. */
static struct window *window_evict(struct windows *w)
{
	struct window *window = budget_least_recently_used(w, false);

	if (!window || window->last_use + IDLE_FAULTS > w->clock)
		return NULL;
	window_release(w, window);
	w->bt->stats.window_evictions++;
	return window;
}

struct window *window_claim(struct windows *w, int owner, uint16_t slot, bool *evicted)
{
	bool at_home = owner >= 0 && home_has(&w->space[owner], slot);
	uint64_t home = at_home ? slot_start(slot) + w->space[owner].home_delta : 0;
	struct window *window = window_unused(w, at_home);

	*evicted = false;
	/* Where the host has no address space left, the windows that there are must do. */
	if (!window || !window_place(w, window, home)) {
		window = window_evict(w);
		*evicted = window;
		if (!window || !window_place(w, window, home))
			return NULL;
	}
	set_owner(w, window, owner);
	window->slot = slot;
	window->last_use = w->clock;
	if (owner >= 0)
		choose_zone(w, window);
	return window;
}

void window_empty(struct windows *w, struct window *window)
{
	if (!window->blocks)
		return;
	/* If this fails, nothing is left that would keep the guest to its own memory. */
	if (!window_host_unmap(w, window, slot_start(window->slot), WINDOW_SIZE)) {
		log_error("cannot empty a window of the binary translator: %s", strerror(errno));
		abort();
	}
	records_remove_window(w, window);
	budget_forget_window(w, window);
}

void window_release(struct windows *w, struct window *window)
{
	window_hide(w, window);
	window_empty(w, window);
	if (window->owner >= 0 && window->zone == ZONE_HOME) {
		/* Units that have their code at home are left behind. */
		if (window->owner == w->current)
			cache_flush_jumps(w->bt, TLB_FLUSH_NON_GLOBAL, 0);
		if (!window->at_home)
			w->space[window->owner].has_home = false;
	}
	if (window->at_home)
		window->base = 0;
	window->at_home = false;
	set_owner(w, window, OWNER_NONE);
}

void window_show(struct windows *w, const struct window *window)
{
	bool upper = window->owner == OWNER_UPPER;

	uint64_t delta = window_delta(window);

	w->bt->delta[upper][window->slot] = delta;
	if (upper)
		return;
	w->bt->zone[window->slot] = window->zone;
	if (window->zone != NO_ZONE)
		w->bt->zone_delta[window->zone] = delta;
}

void window_hide(struct windows *w, const struct window *window)
{
	/* A space that is not current has no deltas to hide. */
	if (window->owner == OWNER_UPPER)
		w->bt->delta[1][window->slot] = windows_no_delta(window->slot);
	if (window->owner != w->current || window->owner < 0)
		return;
	w->bt->delta[0][window->slot] = windows_no_delta(window->slot);
	w->bt->zone[window->slot] = NO_ZONE;
	if (window->zone != NO_ZONE && window->zone != ZONE_HOME)
		w->bt->zone_delta[window->zone] = windows_no_delta(window->slot);
}
