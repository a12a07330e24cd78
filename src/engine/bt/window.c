/* A vCPU's windows: created, given to a slot of an address space, shown in the tables of deltas,
 * emptied and taken back.
 *
 * See window.h for what windows are. What is mapped in them, and when: window_fault.c. */
#include "engine/bt/cache.h"
#include "engine/bt/window_internal.h"

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

static bool window_reserve(struct window *window)
{
	window->base = window_host_reserve();
	return window->base != 0;
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
	if (error < 0)
		return error;
	for (unsigned i = 0; i < WINDOWS_MAX; i++)
		w->window[i].owner = OWNER_NONE;
	/* Where the host has no room for a few, it is better to do without any from the beginning:
	 * each access in a slot without a window is a fault. */
	pthread_once(&nowhere_once, reserve_nowhere);
	for (unsigned i = 0; i < MIN(w->window_limit, (unsigned)WINDOWS_MIN); i++)
		if (!nowhere || !window_reserve(&w->window[i]))
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
		if (w->window[i].base && !w->window[i].at_home)
			window_host_free(w->window[i].base);
	for (unsigned i = 0; i < SPACES_MAX; i++)
		home_destroy(w, &w->space[i]);
	budget_destroy(w);
	records_destroy(w);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* --- found --- */

bool windows_linear(const struct bt *bt, uintptr_t host, uint64_t *linear)
{
	const struct windows *w = bt->windows;

	for (unsigned i = 0; i < WINDOWS_MAX; i++) {
		const struct window *window = &w->window[i];
		uint64_t offset = host - window->base;

		if (window->owner == OWNER_NONE || offset >= WINDOW_SIZE)
			continue;
		*linear = slot_start(window->slot) | offset;
		return true;
	}
	return false;
}

struct window *window_find(struct windows *w, int owner, uint16_t slot)
{
	for (unsigned i = 0; i < w->window_limit; i++)
		if (w->window[i].owner == owner && w->window[i].slot == slot)
			return &w->window[i];
	return NULL;
}

/* --- given out, taken back --- */

static struct window *window_unused(struct windows *w)
{
	struct window *window;

	for (window = w->window; window < w->window + w->window_limit; window++)
		if (window->owner == OWNER_NONE && window->base)
			return window;
	/* Where the host has no address space left, the windows that there are must do. */
	for (window = w->window; window < w->window + w->window_limit; window++)
		if (window->owner == OWNER_NONE)
			return window_reserve(window) ? window : NULL;
	return NULL;
}

static uint64_t window_delta(const struct window *window)
{
	return window->base - slot_start(window->slot);
}

static void window_give(struct windows *w, struct window *window, int owner, uint16_t slot)
{
	window->owner = (int8_t)owner;
	window->slot = slot;
	window->last_use = w->clock;
}

/* The lowest number that no window of the space has. Number 0 is the home's; where nothing was
 * reserved for that, the first window is the home. */
static uint8_t zone_unused(struct windows *w, struct space *space)
{
	uint32_t used = space->has_home ? BIT(ZONE_HOME) : 0;

	for (unsigned i = 0; i < WINDOWS_MAX; i++)
		if (w->window[i].owner == space - w->space && w->window[i].zone != NO_ZONE)
			used |= 1u << w->window[i].zone;
	for (unsigned zone = 0; zone < ZONES; zone++)
		if (!(used & BIT(zone)))
			return (uint8_t)zone;
	return NO_ZONE;
}

static void choose_zone(struct windows *w, struct window *window)
{
	struct space *space = &w->space[window->owner];

	window->zone = zone_unused(w, space);
	if (window->zone != ZONE_HOME)
		return;
	space->has_home = true;
	space->home_delta = window_delta(window);
}

struct window *window_claim_at_home(struct windows *w, int owner, uint16_t slot)
{
	struct window *window = NULL;

	for (unsigned i = 0; i < w->window_limit; i++) {
		struct window *this = &w->window[i];

		if (this->owner == OWNER_NONE && (!window || window->base))
			window = this;
	}
	if (!window)
		return NULL;
	if (window->base)
		window_host_free(window->base);
	window_give(w, window, owner, slot);
	window->base = slot_start(slot) + w->space[owner].home_delta;
	window->at_home = true;
	window->zone = ZONE_HOME;
	return window;
}

struct window *window_claim(struct windows *w, int owner, uint16_t slot, bool *evicted)
{
	struct window *window = window_unused(w);

	*evicted = false;
	if (!window) {
		window = budget_least_recently_used(w, false);
		/* With too few windows for what is in use all would be emptied again and again; the
		 * interpreter is better than that. */
		if (!window || window->last_use + IDLE_FAULTS > w->clock)
			return NULL;
		window_release(w, window);
		w->bt->stats.window_evictions++;
		*evicted = true;
		if (!window->base && !window_reserve(window))
			return NULL;
	}
	window_give(w, window, owner, slot);
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
	window->owner = OWNER_NONE;
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
