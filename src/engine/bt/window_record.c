/* The records of what is mapped in windows.
 *
 * The host's kernel knows what is mapped where, but it cannot be asked cheaply. So each mapping has
 * a record of 56 bytes. A record is found by linear address (a fault, INVLPG) and by RAM page (code
 * appears there), and each window lists its own (all of them go, or are looked up again).
 *
 * A vCPU has a fixed number of records. A guest chooses which linear addresses and which frames
 * there are, but not which of them share a hash chain, for the hash's multiplier is random. And one
 * frame may be mapped at very many addresses, so its chain is linked in both directions: to remove
 * a record takes the same time whatever else is mapped. */
#include "engine/bt/window_internal.h"

#include "host/zeroed_memory.h"

#include <errno.h>
#include <sys/random.h>

#define RECORDS     131072 /* of 56 bytes; memory for them is used as they are */
#define BUCKET_BITS 15
#define BUCKETS     (1u << BUCKET_BITS)

int records_create(struct windows *w)
{
	w->mapping_limit = windows_limits.records ? windows_limits.records : RECORDS;
	w->mapping_top = NO_MAPPING + 1;
	w->mapping = zeroed_memory_map(w->mapping_limit * sizeof(*w->mapping));
	w->by_linear = zeroed_memory_map(BUCKETS * sizeof(*w->by_linear));
	w->by_page = zeroed_memory_map(BUCKETS * sizeof(*w->by_page));
	if (getrandom(&w->hash_multiplier, sizeof(w->hash_multiplier), GRND_NONBLOCK) < 0)
		w->hash_multiplier = HASH_MULTIPLIER;
	w->hash_multiplier |= 1;
	return w->mapping && w->by_linear && w->by_page ? 0 : -ENOMEM;
}

void records_destroy(struct windows *w)
{
	zeroed_memory_unmap(w->mapping, w->mapping_limit * sizeof(*w->mapping));
	zeroed_memory_unmap(w->by_linear, BUCKETS * sizeof(*w->by_linear));
	zeroed_memory_unmap(w->by_page, BUCKETS * sizeof(*w->by_page));
}

/* --- in and out --- */

static unsigned linear_bucket(
	const struct windows *w, unsigned window, unsigned size, uint64_t linear)
{
	uint64_t key = (linear >> SIZE_SHIFT(size)) ^ (uint64_t)(window * SIZES + size) << 46;

	return (key * w->hash_multiplier) >> (64 - BUCKET_BITS);
}

static unsigned page_bucket(const struct windows *w, unsigned size, uint64_t page)
{
	uint64_t key = (page >> (9 * size)) ^ (uint64_t)size << 46;

	return (key * w->hash_multiplier) >> (64 - BUCKET_BITS);
}

uint32_t record_new(struct windows *w)
{
	uint32_t index = w->mapping_free;

	if (index)
		w->mapping_free = w->mapping[index].next;
	else if (w->mapping_top < w->mapping_limit)
		index = w->mapping_top++;
	w->mapping_used += index != NO_MAPPING;
	return index;
}

void record_free(struct windows *w, uint32_t index)
{
	w->mapping[index].next = w->mapping_free;
	w->mapping_free = index;
	w->mapping_used--;
}

/* Does the guest's page begin or end outside of the mapping? */
static bool is_piece(const struct mapping *m)
{
	return m->list != LIST_HOLES && (uint64_t)m->pages << PAGE_SHIFT < BIT(m->guest_shift);
}

static uint32_t large_blocks(const struct mapping *m)
{
	return m->size == SIZE_4K ? 0 : (m->pages + 511) / 512;
}

void record_enter(struct windows *w, uint32_t index)
{
	struct mapping *m = &w->mapping[index];
	struct window *window = &w->window[m->window];
	uint32_t *linear = &w->by_linear[linear_bucket(w, m->window, m->size, m->linear)];
	uint32_t *page = &w->by_page[page_bucket(w, m->size, m->page)], *next;

	m->next_by_linear = *linear;
	m->next_by_page = *page;
	m->previous_by_page = NO_MAPPING;
	if (*page)
		w->mapping[*page].previous_by_page = index;
	*linear = *page = index;
	m->block = 0;
	m->previous = w->traced ? traced_enter(w, index) : NO_MAPPING;
	next = m->previous ? &w->mapping[m->previous].next : &window->first[m->list];
	m->next = *next;
	if (m->next)
		w->mapping[m->next].previous = index;
	*next = index;
	window->count[m->list]++;
	window->sizes[m->size]++;
	window->pieces += is_piece(m);
	window->large_blocks += large_blocks(m);
}

void record_remove(struct windows *w, uint32_t index)
{
	struct mapping *m = &w->mapping[index];
	struct window *window = &w->window[m->window];
	uint32_t *at = &w->by_linear[linear_bucket(w, m->window, m->size, m->linear)];

	if (m->block)
		traced_remove(w, index);
	while (*at != index)
		at = &w->mapping[*at].next_by_linear;
	*at = m->next_by_linear;
	if (m->previous_by_page)
		w->mapping[m->previous_by_page].next_by_page = m->next_by_page;
	else
		w->by_page[page_bucket(w, m->size, m->page)] = m->next_by_page;
	if (m->next_by_page)
		w->mapping[m->next_by_page].previous_by_page = m->previous_by_page;
	if (m->previous)
		w->mapping[m->previous].next = m->next;
	else
		window->first[m->list] = m->next;
	if (m->next)
		w->mapping[m->next].previous = m->previous;
	window->count[m->list]--;
	window->sizes[m->size]--;
	window->pieces -= is_piece(m);
	window->large_blocks -= large_blocks(m);
	record_free(w, index);
}

void records_remove_window(struct windows *w, struct window *window)
{
	for (unsigned list = 0; list < LISTS; list++)
		while (window->first[list])
			record_remove(w, window->first[list]);
}

/* --- found --- */

uint32_t mapping_find_sized(
	const struct windows *w, const struct window *window, unsigned size, uint64_t linear)
{
	unsigned number = window_number(w, window);
	uint32_t index;

	if (!window->sizes[size])
		return NO_MAPPING;
	for (index = w->by_linear[linear_bucket(w, number, size, linear)]; index;
		index = w->mapping[index].next_by_linear) {
		const struct mapping *m = &w->mapping[index];

		if (m->size == size && m->window == number && linear >= m->linear &&
			linear < mapping_end(m))
			return index;
	}
	return NO_MAPPING;
}

uint32_t mapping_find(const struct windows *w, const struct window *window, uint64_t linear)
{
	uint32_t index = NO_MAPPING;

	linear &= PAGE_MASK;
	for (unsigned size = SIZE_4K; size < SIZES && !index; size++)
		index = mapping_find_sized(w, window, size, linear);
	return index;
}

uint32_t mapping_find_large(const struct windows *w, const struct window *window, uint64_t linear)
{
	uint32_t index = mapping_find_sized(w, window, SIZE_2M, linear);

	return index ? index : mapping_find_sized(w, window, SIZE_1G, linear);
}

void mappings_of_page(struct windows *w, uint64_t page,
	void (*act)(struct windows *w, uint32_t index, uint64_t linear))
{
	uint32_t index, next;

	for (unsigned size = SIZE_4K; size < SIZES; size++)
		for (index = w->by_page[page_bucket(w, size, page)]; index; index = next) {
			const struct mapping *m = &w->mapping[index];
			uint32_t used = w->mapping_used;

			next = m->next_by_page;
			if (m->size != size || m->list == LIST_HOLES || page < m->page ||
				page >= (uint64_t)m->page + m->pages)
				continue;
			act(w, index, m->linear + ((page - m->page) << PAGE_SHIFT));
			/* Where `act` has dropped mappings, `next` may be one of them. */
			if (w->mapping_used < used)
				next = w->by_page[page_bucket(w, size, page)];
		}
}
