/* The table of regions, ROMs, and the pieces of memory that a device's request consists of. */
#include "memory/internal.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

static uint64_t region_end(const struct memory_region *region)
{
	return region->gpa + region->size;
}

const struct memory_region *memory_region_at(const struct memory *memory, uint64_t gpa)
{
	for (unsigned i = 0; i < memory->region_count; i++)
		if (gpa - memory->region[i].gpa < memory->region[i].size)
			return &memory->region[i];
	return NULL;
}

static uint8_t *region_pointer(
	const struct memory *memory, const struct memory_region *region, uint64_t gpa)
{
	return memory->ram + region->offset + (gpa - region->gpa);
}

/* Stored and read without a lock: who finds it in the midst of a change has a host pointer to the
 * ROM, and is then told to forget it. */
static bool is_hidden(const struct memory *memory, const uint8_t *host)
{
	return memory_page_flags(memory, host) & PAGE_HIDDEN;
}

uint8_t *memory_outside_ram(const struct memory *memory, uint64_t gpa)
{
	const struct memory_region *region = memory_region_at(memory, gpa);
	uint8_t *host;

	if (!region || region->kind == MEMORY_HOLE)
		return memory_aperture_pointer(memory, gpa);
	host = region_pointer(memory, region, gpa);
	return is_hidden(memory, host) ? NULL : host;
}

bool memory_around(const struct memory *memory, uint64_t gpa, uint64_t *start, uint64_t *end)
{
	const struct memory_region *region = memory_region_at(memory, gpa);

	if (!region || region->kind == MEMORY_HOLE)
		return memory_aperture_around(memory, gpa, start, end);
	if (is_hidden(memory, region_pointer(memory, region, gpa)))
		return false;
	*start = region->gpa;
	*end = region_end(region);
	return true;
}

/* --- changing the table --- */

static void tell(struct memory *memory, const struct memory_region *region, bool present)
{
	for (struct memory_listener *l = memory->listeners; l; l = l->next)
		if (l->region_changed)
			l->region_changed(l->opaque, region, present);
}

static void insert(struct memory *memory, unsigned index, const struct memory_region *region)
{
	memmove(&memory->region[index + 1], &memory->region[index],
		(memory->region_count - index) * sizeof(*region));
	memory->region[index] = *region;
	memory->region_count++;
	tell(memory, region, true);
}

static void take_out(struct memory *memory, unsigned index)
{
	struct memory_region region = memory->region[index];

	memory->region_count--;
	memmove(&memory->region[index], &memory->region[index + 1],
		(memory->region_count - index) * sizeof(region));
	tell(memory, &region, false);
}

/* Where a region that begins at `gpa` belongs. */
static unsigned index_for(const struct memory *memory, uint64_t gpa)
{
	unsigned index = 0;

	while (index < memory->region_count && memory->region[index].gpa < gpa)
		index++;
	return index;
}

void memory_region_add(struct memory *memory, const struct memory_region *region)
{
	if (region->size)
		insert(memory, index_for(memory, region->gpa), region);
}

/* The part [gpa, end) of a region. */
static struct memory_region part(const struct memory_region *region, uint64_t gpa, uint64_t end)
{
	struct memory_region result = *region;

	result.gpa = gpa;
	result.size = end - gpa;
	result.offset += gpa - region->gpa;
	return result;
}

/* Replace the region at `index` by `middle` and what is left of the old region on either side of
 * it. */
static void carve(struct memory *memory, unsigned index, const struct memory_region *middle)
{
	struct memory_region around = memory->region[index];
	struct memory_region below = part(&around, around.gpa, middle->gpa);
	struct memory_region above = part(&around, region_end(middle), region_end(&around));

	take_out(memory, index);
	memory_region_add(memory, &below);
	memory_region_add(memory, middle);
	memory_region_add(memory, &above);
}

static bool joins(const struct memory_region *a, const struct memory_region *b)
{
	return a->kind == MEMORY_RAM && b->kind == MEMORY_RAM && region_end(a) == b->gpa &&
	       a->offset + a->size == b->offset;
}

/* RAM that lies side by side, also in the file, is one region. */
static void join(struct memory *memory, unsigned index)
{
	struct memory_region both;

	if (index + 1 >= memory->region_count ||
		!joins(&memory->region[index], &memory->region[index + 1]))
		return;
	both = part(&memory->region[index], memory->region[index].gpa,
		region_end(&memory->region[index + 1]));
	take_out(memory, index + 1);
	take_out(memory, index);
	insert(memory, index, &both);
}

void memory_regions_set_logged(struct memory *memory, bool logged)
{
	for (unsigned i = 0; i < memory->region_count; i++) {
		if (memory->region[i].kind != MEMORY_RAM)
			continue;
		memory->region[i].logged = logged;
		tell(memory, &memory->region[i], true);
	}
}

/* --- ROM --- */

/* Room for a ROM behind RAM in the file: the first place that no other one has. */
static uint64_t rom_room(const struct memory *memory, uint64_t size)
{
	uint64_t offset = memory->ram_size;

	for (unsigned i = 0; i < memory->region_count; i++) {
		const struct memory_region *other = &memory->region[i];

		if (other->kind != MEMORY_ROM || other->offset >= offset + size ||
			other->offset + other->size <= offset)
			continue;
		offset = other->offset + other->size;
		i = -1u; /* from the beginning again */
	}
	return offset;
}

static void set_flag(
	struct memory *memory, const struct memory_region *place, enum page_flags flag, bool on)
{
	for (uint64_t at = place->offset; at < place->offset + place->size; at += PAGE_SIZE) {
		_Atomic uint8_t *flags = &memory->page_flags[at >> PAGE_SHIFT];

		if (on)
			atomic_fetch_or(flags, flag);
		else
			atomic_fetch_and(flags, (uint8_t)~flag);
	}
}

/* The region of RAM that all of `rom` lies in, or NULL with *error 0: it lies where nothing is. */
static const struct memory_region *ram_around(
	const struct memory *memory, const struct memory_region *rom, int *error)
{
	const struct memory_region *at = memory_region_at(memory, rom->gpa);
	unsigned next = index_for(memory, rom->gpa);

	*error = 0;
	if (at && at->kind == MEMORY_RAM && region_end(at) >= region_end(rom))
		return at;
	if (!at && next < memory->region_count && memory->region[next].gpa < region_end(rom))
		at = &memory->region[next];
	if (at) {
		log_error("%s at 0x%" PRIx64 " overlaps %s at 0x%" PRIx64, rom->name, rom->gpa,
			at->name, at->gpa);
		*error = -EEXIST;
	}
	return NULL;
}

int memory_rom_add(
	struct memory *memory, uint64_t gpa, uint64_t size, const void *image, const char *name)
{
	struct memory_region rom = {
		.gpa = gpa, .size = size, .kind = MEMORY_ROM, .fd = memory->fd, .name = name};
	const uint64_t rom_end = memory->ram_size + MEMORY_ROM_ROOM;
	const struct memory_region *ram;
	int error;

	if (!size || ((gpa | size) & ~PAGE_MASK) || gpa + size - 1 < gpa) {
		log_error("%s at 0x%" PRIx64 " is not whole pages", name, gpa);
		return -EINVAL;
	}
	ram = ram_around(memory, &rom, &error);
	if (error)
		return error;
	rom.offset = ram ? ram->offset + (gpa - ram->gpa) : rom_room(memory, size);
	/* In the middle of a region it makes three of one. */
	if (memory->region_count + 2 > MEMORY_REGIONS || size > rom_end ||
		rom.offset > rom_end - size) {
		log_error("no room for %s at 0x%" PRIx64, name, gpa);
		return -ENOSPC;
	}
	memcpy(memory->ram + rom.offset, image, size);
	pthread_mutex_lock(&memory->lock);
	if (ram)
		carve(memory, (unsigned)(ram - memory->region), &rom);
	else
		memory_region_add(memory, &rom);
	set_flag(memory, &rom, PAGE_ROM, true);
	memory_revoke_locked(memory, rom.offset >> PAGE_SHIFT, size >> PAGE_SHIFT);
	pthread_mutex_unlock(&memory->lock);
	return 0;
}

/* The ROM that begins there, or NULL. */
static const struct memory_region *rom_at(const struct memory *memory, uint64_t gpa)
{
	unsigned index = index_for(memory, gpa);
	const struct memory_region *rom = &memory->region[index];

	return index < memory->region_count && rom->gpa == gpa && rom->kind == MEMORY_ROM ? rom
											  : NULL;
}

void memory_rom_hide(struct memory *memory, uint64_t gpa, bool hidden)
{
	const struct memory_region *rom = rom_at(memory, gpa);

	assert(rom && rom->offset >= memory->ram_size);
	pthread_mutex_lock(&memory->lock);
	set_flag(memory, rom, PAGE_HIDDEN, hidden);
	memory_revoke_locked(memory, rom->offset >> PAGE_SHIFT, rom->size >> PAGE_SHIFT);
	pthread_mutex_unlock(&memory->lock);
}

int memory_rom_remove(struct memory *memory, uint64_t gpa)
{
	const struct memory_region *found = rom_at(memory, gpa);
	struct memory_region rom;
	unsigned index;

	if (!found)
		return -ENOENT;
	index = (unsigned)(found - memory->region);
	rom = *found;
	pthread_mutex_lock(&memory->lock);
	take_out(memory, index);
	set_flag(memory, &rom, PAGE_ROM, false);
	set_flag(memory, &rom, PAGE_HIDDEN, false);
	if (rom.offset < memory->ram_size) {
		rom.kind = MEMORY_RAM;
		rom.name = "RAM";
		rom.logged = memory->log != NULL;
		insert(memory, index, &rom);
		join(memory, index);
		if (index)
			join(memory, index - 1);
	}
	memory_revoke_locked(memory, rom.offset >> PAGE_SHIFT, rom.size >> PAGE_SHIFT);
	pthread_mutex_unlock(&memory->lock);
	return 0;
}

void memory_guard(struct memory *memory, uint64_t gpa, uint64_t size, bool guarded)
{
	const struct memory_region place = {.offset = gpa, .size = size};

	if (gpa + size > memory->low_size)
		return;
	pthread_mutex_lock(&memory->lock);
	set_flag(memory, &place, PAGE_ROM, guarded);
	memory_revoke_locked(memory, gpa >> PAGE_SHIFT, size >> PAGE_SHIFT);
	pthread_mutex_unlock(&memory->lock);
}

/* --- DMA --- */

/* The host address of `gpa`, or NULL, and how many bytes from there are of one kind and lie side by
 * side. */
static uint8_t *find_run(const struct memory *memory, uint64_t gpa, uint64_t *size)
{
	const struct memory_region *region = memory_region_at(memory, gpa);
	uint8_t *host;

	if (!region || region->kind == MEMORY_HOLE)
		return memory_aperture_run(memory, gpa, size);
	*size = region_end(region) - gpa;
	host = region_pointer(memory, region, gpa);
	return is_hidden(memory, host) ? NULL : host;
}

/* RAM may have guarded pages anywhere. */
static bool is_writable(const struct memory *memory, const uint8_t *host, uint64_t size)
{
	uint64_t last = memory_page_number(memory, host + size - 1);

	for (uint64_t page = memory_page_number(memory, host); page <= last; page++)
		if (!memory_page_writable(memory, page))
			return false;
	return true;
}

int memory_range(const struct memory *memory, uint64_t gpa, uint64_t size, bool write,
	struct iovec *pieces, unsigned limit)
{
	unsigned count = 0;

	if (size && gpa + (size - 1) < gpa)
		return -EFAULT;
	while (size) {
		uint64_t some;
		uint8_t *host = find_run(memory, gpa, &some);

		if (!host)
			return -EFAULT;
		some = MIN(size, some);
		if (write && !is_writable(memory, host, some))
			return -EFAULT;
		if (count &&
			(uint8_t *)pieces[count - 1].iov_base + pieces[count - 1].iov_len == host) {
			pieces[count - 1].iov_len += some;
		} else if (count == limit) {
			return -E2BIG;
		} else {
			pieces[count++] = (struct iovec){host, some};
		}
		gpa += some;
		size -= some;
	}
	return (int)count;
}

int memory_read(const struct memory *memory, uint64_t gpa, void *buffer, uint64_t size)
{
	struct iovec pieces[MEMORY_REGIONS];
	int count = memory_range(memory, gpa, size, false, pieces, MEMORY_REGIONS);

	for (int i = 0; i < count; i++) {
		memcpy(buffer, pieces[i].iov_base, pieces[i].iov_len);
		buffer = (uint8_t *)buffer + pieces[i].iov_len;
	}
	return MIN(count, 0);
}

int memory_write(struct memory *memory, uint64_t gpa, const void *buffer, uint64_t size)
{
	struct iovec pieces[MEMORY_REGIONS];
	int count = memory_range(memory, gpa, size, true, pieces, MEMORY_REGIONS);

	for (int i = 0; i < count; i++) {
		memcpy(pieces[i].iov_base, buffer, pieces[i].iov_len);
		buffer = (const uint8_t *)buffer + pieces[i].iov_len;
	}
	if (count > 0)
		memory_range_written(memory, pieces, (unsigned)count, size);
	return MIN(count, 0);
}
