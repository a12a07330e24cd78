/* A program's home: windows for all its slots at one delta.
 *
 * A position-independent program has its data in two clusters of slots: the program and its heap,
 * and far above them libraries, mapped files and the stack. Which slots these are is different each
 * time it runs. If all have the same delta, translated code need not know in which of them an
 * address lies, only that it lies in one of them (bt->zone), and one GS base serves all of them.
 *
 * The clusters' distance is given, and our own address space is no larger than the guest's. So the
 * delta is searched for: one at which nothing of ours is in the way of any cluster. A program with
 * something at the very bottom and something at the very top has no such delta but 0, and there we
 * are ourselves; then what is highest is left out, and gets windows of its own.
 *
 * Some programs scatter their memory. V8 asks for a random address below 2^46 for each piece of its
 * heap, and soon has a few pages in each of a hundred slots. Their home has all slots up to there,
 * used yet or not. Most have just begun to do so when their home is made, and get another when they
 * have outgrown it. */
#include "engine/bt/window_internal.h"

#include "engine/options.h"

#define STEP       (UINT64_C(64) << 30) /* deltas are multiples of it */
#define LOWEST     (UINT64_C(4) << 30)  /* host addresses for homes */
#define HIGHEST    (BIT(47) - (UINT64_C(64) << 30))
#define LOWER_HALF 256 /* slots */
/* V8 and others ask for random addresses of 46 bits. */
#define SCATTERED_LAST 127
/* A space that gets so many windows outside its home is made anew. */
#define MISFITS_MAX 6

/* --- which slots --- */

/* The slots of the lower half that have an entry in the guest's root page table. Returns how many.
 */
static unsigned find_slots(const struct windows *w, bool used[LOWER_HALF])
{
	const uint8_t *table =
		memory_ram_pointer(w->cpu->memory, cpu_address_space(w->cpu).root & PAGE_MASK);
	unsigned count = 0;

	for (unsigned slot = 0; slot < LOWER_HALF; slot++) {
		used[slot] = table && table[8 * slot] & 1; /* P (SDM vol. 3A 4.5) */
		count += used[slot];
	}
	return count;
}

/* Those from `first` on as pieces of neighbours, `limit` slots at most; from piece[count] on.
 * Pieces that there is no room for are left out. Returns how many there are then. */
static unsigned add_pieces(const bool used[LOWER_HALF], unsigned first, unsigned limit,
	struct home_piece piece[HOME_PIECES], unsigned count)
{
	for (unsigned slot = first; slot < LOWER_HALF && limit; slot++) {
		if (!used[slot])
			continue;
		limit--;
		if (count && piece[count - 1].last + 1u == slot)
			piece[count - 1].last = (uint16_t)slot;
		else if (count < HOME_PIECES)
			piece[count++] = (struct home_piece){(uint16_t)slot, (uint16_t)slot};
	}
	return count;
}

/* What the home is to have room for: the slots in use, so many; of a scattered program all that it
 * may use. */
static unsigned find_pieces(struct space *space, const bool used[LOWER_HALF], unsigned slots)
{
	unsigned first = 0;

	while (first < LOWER_HALF && !used[first])
		first++;
	space->scattered = slots > HOME_SLOTS && first < SCATTERED_LAST;
	if (!space->scattered)
		return add_pieces(used, first, HOME_SLOTS, space->home, 0);
	space->home[0] = (struct home_piece){(uint16_t)first, SCATTERED_LAST};
	return add_pieces(used, SCATTERED_LAST + 1, HOME_SLOTS, space->home, 1);
}

/* --- where --- */

static uintptr_t piece_start(const struct home_piece *piece, uint64_t delta)
{
	return slot_start(piece->first) + delta - WINDOW_GUARD;
}

static uint64_t piece_size(const struct home_piece *piece)
{
	return (piece->last - piece->first + 1) * WINDOW_SIZE + 2 * WINDOW_GUARD;
}

static void free_pieces(const struct home_piece *piece, unsigned count, uint64_t delta)
{
	for (unsigned i = 0; i < count; i++)
		window_host_free_range(piece_start(&piece[i], delta), piece_size(&piece[i]));
}

static bool reserve_pieces(const struct home_piece *piece, unsigned count, uint64_t delta)
{
	for (unsigned i = 0; i < count; i++)
		if (!window_host_reserve_at(piece_start(&piece[i], delta), piece_size(&piece[i]))) {
			free_pieces(piece, i, delta);
			return false;
		}
	return true;
}

/* The first delta tried is where the last search, of any vCPU, ended. */
static bool search(const struct home_piece *piece, unsigned count, uint64_t *delta)
{
	static _Atomic uint64_t where;
	uint64_t start = slot_start(piece[0].first);
	uint64_t span = slot_start(piece[count - 1].last) + WINDOW_SIZE - start;
	uint64_t lowest = LOWEST + WINDOW_GUARD, steps;

	if (span + lowest + WINDOW_GUARD > HIGHEST)
		return false;
	steps = (HIGHEST - WINDOW_GUARD - lowest - span) / STEP + 1;
	for (uint64_t i = 0; i < steps; i++) {
		uint64_t step = (where + i) % steps;

		*delta = lowest + step * STEP - start;
		if (reserve_pieces(piece, count, *delta)) {
			where = step;
			return true;
		}
	}
	return false;
}

/* --- a space's home --- */

static bool may_have_homes(const struct windows *w)
{
	/* A test that limits the number of windows wants to see them given out one by one. */
	return w->cpu->platform->cpu_count <= HOMES_CPUS && !windows_limits.windows &&
	       !(w->bt->options.without & HOST_HOMES);
}

/* Windows for the slots of the home that are in use. */
static void fill_home(struct windows *w, const bool used[LOWER_HALF])
{
	const struct space *space = &w->space[w->current];
	bool evicted;

	for (unsigned slot = 0; slot < LOWER_HALF; slot++) {
		struct window *window = NULL;

		if (used[slot] && home_has(space, (uint16_t)slot))
			window = window_claim(w, w->current, (uint16_t)slot, &evicted);
		if (window)
			window_show(w, window);
	}
}

void home_create(struct windows *w)
{
	struct space *space = &w->space[w->current];
	bool used[LOWER_HALF];
	unsigned count;

	if (!may_have_homes(w))
		return;
	count = find_slots(w, used);
	count = find_pieces(space, used, count);
	while (count && !search(space->home, count, &space->home_delta))
		count--;
	space->home_count = count;
	space->has_home = count;
	fill_home(w, used);
}

bool home_outgrown(const struct windows *w, const struct space *space)
{
	return may_have_homes(w) && !space->scattered && space->misfits >= MISFITS_MAX;
}

bool home_has(const struct space *space, uint16_t slot)
{
	for (unsigned i = 0; i < space->home_count; i++)
		if (slot >= space->home[i].first && slot <= space->home[i].last)
			return true;
	return false;
}

void home_destroy(struct windows *w, struct space *space)
{
	free_pieces(space->home, space->home_count, space->home_delta);
	space->home_count = 0;
	space->has_home = false;
}

bool windows_have_home(const struct bt *bt)
{
	const struct windows *w = bt->windows;

	return w->current >= 0 && w->space[w->current].has_home;
}

bool windows_home_has(const struct bt *bt, uint16_t slot)
{
	const struct windows *w = bt->windows;

	return w->current >= 0 && home_has(&w->space[w->current], slot);
}
