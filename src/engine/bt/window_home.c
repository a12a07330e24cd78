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
 * are ourselves; then what is highest is left out, and gets windows of its own. */
#include "engine/bt/window_internal.h"

#include "engine/options.h"

#define STEP       (UINT64_C(64) << 30) /* deltas are multiples of it */
#define LOWEST     (UINT64_C(4) << 30)  /* host addresses for homes */
#define HIGHEST    (BIT(47) - (UINT64_C(64) << 30))
#define LOWER_HALF 256 /* slots */
#define CPUS_MAX   4   /* more vCPUs' homes would fill our address space */

/* --- which slots --- */

/* Slots of the lower half that have an entry in the guest's root page table, as pieces of
 * neighbours. More pieces than there is room for are left out. */
static unsigned find_pieces(struct windows *w, struct home_piece piece[HOME_PIECES])
{
	const uint8_t *table =
		memory_ram_pointer(w->cpu->memory, cpu_address_space(w->cpu).root & PAGE_MASK);
	unsigned count = 0, slots = 0;

	for (unsigned slot = 0; table && slot < LOWER_HALF; slot++) {
		if (!(table[8 * slot] & 1)) /* P (SDM vol. 3A 4.5) */
			continue;
		if (++slots > HOME_SLOTS)
			break;
		if (count && piece[count - 1].last + 1u == slot)
			piece[count - 1].last = (uint16_t)slot;
		else if (count < HOME_PIECES)
			piece[count++] = (struct home_piece){(uint16_t)slot, (uint16_t)slot};
	}
	return count;
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

void home_create(struct windows *w)
{
	struct space *space = &w->space[w->current];
	unsigned count;

	/* A test that limits the number of windows wants to see them given out one by one. */
	if (w->cpu->platform->cpu_count > CPUS_MAX || windows_limits.windows ||
		(w->bt->options.without & HOST_HOMES))
		return;
	count = find_pieces(w, space->home);
	while (count && !search(space->home, count, &space->home_delta))
		count--;
	space->home_count = count;
	space->has_home = count;
	for (unsigned i = 0; i < count; i++)
		for (unsigned slot = space->home[i].first; slot <= space->home[i].last; slot++) {
			struct window *window = window_claim_at_home(w, w->current, (uint16_t)slot);

			if (window)
				window_show(w, window);
		}
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
	const struct space *space;

	if (w->current < 0)
		return false;
	space = &w->space[w->current];
	for (unsigned i = 0; i < space->home_count; i++)
		if (slot >= space->home[i].first && slot <= space->home[i].last)
			return true;
	return false;
}
