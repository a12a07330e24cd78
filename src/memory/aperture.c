/* Apertures: where the guest finds video memory.
 *
 * A reader sees the address and the offset one after the other, without a lock. Whatever mixture of
 * an old and a new pair it gets, `gpa - base` is below the size and `from` plus the size is within
 * video memory, so its pointer is; and since the pages of both pairs are revoked after the change,
 * nobody keeps it. */
#include "memory/internal.h"

#include <assert.h>

struct memory_aperture *memory_aperture_add(struct memory *memory, uint64_t size)
{
	for (unsigned i = 0; i < MEMORY_APERTURES; i++) {
		struct memory_aperture *aperture = &memory->aperture[i];

		if (aperture->size)
			continue;
		atomic_store(&aperture->gpa, MEMORY_NOWHERE);
		aperture->size = size;
		return aperture;
	}
	assert(!"more apertures than MEMORY_APERTURES");
	return NULL;
}

static void revoke(struct memory *memory, const struct memory_aperture *aperture)
{
	uint64_t first = (uint64_t)(memory_video(memory) - memory->ram) + aperture->from;

	memory_revoke_locked(memory, first >> PAGE_SHIFT, aperture->size >> PAGE_SHIFT);
}

void memory_aperture_move(
	struct memory *memory, struct memory_aperture *aperture, uint64_t gpa, uint64_t from)
{
	assert(from <= MEMORY_VIDEO - aperture->size && !(from & ~PAGE_MASK));
	if (aperture->gpa == gpa && (gpa == MEMORY_NOWHERE || aperture->from == from))
		return;
	pthread_mutex_lock(&memory->lock);
	if (atomic_exchange(&aperture->gpa, MEMORY_NOWHERE) != MEMORY_NOWHERE)
		revoke(memory, aperture);
	atomic_store(&aperture->from, from);
	atomic_store(&aperture->gpa, gpa);
	if (gpa != MEMORY_NOWHERE)
		revoke(memory, aperture);
	pthread_mutex_unlock(&memory->lock);
}

static const struct memory_aperture *find(const struct memory *memory, uint64_t gpa, uint64_t *base)
{
	for (unsigned i = 0; i < MEMORY_APERTURES; i++) {
		*base = atomic_load(&memory->aperture[i].gpa);
		if (*base != MEMORY_NOWHERE && gpa - *base < memory->aperture[i].size)
			return &memory->aperture[i];
	}
	return NULL;
}

uint8_t *memory_aperture_run(const struct memory *memory, uint64_t gpa, uint64_t *size)
{
	uint64_t base;
	const struct memory_aperture *aperture = find(memory, gpa, &base);

	if (!aperture)
		return NULL;
	*size = aperture->size - (gpa - base);
	return memory_video(memory) + atomic_load(&aperture->from) + (gpa - base);
}

uint8_t *memory_aperture_pointer(const struct memory *memory, uint64_t gpa)
{
	uint64_t size;

	return memory_aperture_run(memory, gpa, &size);
}

bool memory_aperture_around(
	const struct memory *memory, uint64_t gpa, uint64_t *start, uint64_t *end)
{
	const struct memory_aperture *aperture = find(memory, gpa, start);

	if (aperture)
		*end = *start + aperture->size;
	return aperture;
}
