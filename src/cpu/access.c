/* Guest memory by linear address, the slow path: what happens when the inlined TLB look-up misses.
 *
 * The walk function here is locate(): it turns one linear address into either a host pointer to RAM
 * or a guest-physical address of something else, and enters the TLB on the way. Everything below
 * it is about accesses that touch two pages, and about devices. */
#include "cpu/access.h"
#include "cpu/debugger.h"
#include "cpu/mappable.h"
#include "cpu/tlb.h"

#include <string.h>

/* Where one linear address, and the rest of its page, leads. */
struct place {
	uint8_t *host; /* RAM; else NULL */
	uint64_t gpa;
	bool watched; /* a data breakpoint in this page */
};

static unsigned view_access(enum tlb_view view)
{
	static const unsigned access[TLB_VIEWS] = {
		[TLB_SUPERVISOR] = PAGING_IMPLICIT,
		[TLB_SUPERVISOR_AC] = 0,
		[TLB_USER] = PAGING_USER,
		[TLB_USER_ALIGNED] = PAGING_USER,
	};

	return access[view];
}

static bool is_writable(const struct cpu *cpu, const uint8_t *host)
{
	return memory_page_writable(cpu->memory, memory_page_number(cpu->memory, host));
}

static struct place locate(struct cpu *cpu, enum tlb_view view, uint64_t linear, unsigned what)
{
	struct tlb_entry *entry = &cpu->tlb_views[view][(linear >> PAGE_SHIFT) & (TLB_SIZE - 1)];
	uint64_t tag = what & PAGING_WRITE   ? entry->write
		       : what & PAGING_FETCH ? entry->fetch
					     : entry->read;
	struct translation page;
	struct place place;
	enum walk_outcome outcome;

	if (tag == (linear & PAGE_MASK))
		return (struct place){.host = (uint8_t *)(linear + entry->addend)};

	cpu->stats.tlb_misses++;
	outcome = paging_walk(cpu, linear, what | view_access(view), &page);
	if (unlikely(outcome != WALKED))
		paging_raise(cpu, linear, outcome, &page);
	place.gpa = page.gpa;
	place.host = cpu_memory_pointer(cpu, page.gpa);
	place.watched = debug_page_watched(cpu, linear & PAGE_MASK);
	if (unlikely(place.watched) && !(what & PAGING_FETCH) &&
		debugger_page_watched(cpu, linear & PAGE_MASK))
		debugger_before_access(cpu);
	if (unlikely(!place.host))
		return place;
	if (unlikely(!is_writable(cpu, place.host)))
		page.can_write = false;
	if (!place.watched && view != TLB_USER_ALIGNED)
		tlb_enter(cpu, view, linear, &page, place.host - (linear & ~PAGE_MASK));
	/* The bus drops stores to a ROM. */
	if (unlikely((what & PAGING_WRITE) && !is_writable(cpu, place.host)))
		place.host = NULL;
	return place;
}

static uint64_t host_load(const uint8_t *host, unsigned size)
{
	typedef uint16_t __attribute__((aligned(1), may_alias)) u16;
	typedef uint32_t __attribute__((aligned(1), may_alias)) u32;
	typedef uint64_t __attribute__((aligned(1), may_alias)) u64;
	uint64_t value = 0;

	switch (size) {
	case 1:
		return *(volatile const uint8_t *)host;
	case 2:
		return *(volatile const u16 *)host;
	case 4:
		return *(volatile const u32 *)host;
	case 8:
		return *(volatile const u64 *)host;
	default:
		memcpy(&value, host, size);
		return value;
	}
}

static void host_store(uint8_t *host, uint64_t value, unsigned size)
{
	typedef uint16_t __attribute__((aligned(1), may_alias)) u16;
	typedef uint32_t __attribute__((aligned(1), may_alias)) u32;
	typedef uint64_t __attribute__((aligned(1), may_alias)) u64;

	switch (size) {
	case 1:
		*(volatile uint8_t *)host = (uint8_t)value;
		break;
	case 2:
		*(volatile u16 *)host = (uint16_t)value;
		break;
	case 4:
		*(volatile u32 *)host = (uint32_t)value;
		break;
	case 8:
		*(volatile u64 *)host = value;
		break;
	default:
		memcpy(host, &value, size);
	}
}

static uint64_t device_load(struct cpu *cpu, uint64_t gpa, unsigned size)
{
	cpu->stats.mmio++;
	if (cpu_at_apic(cpu, gpa))
		return cpu->platform->apic_mmio_read(
			cpu->platform->opaque, cpu, gpa & ~PAGE_MASK, size);
	return io_space_read(&cpu->memory->mmio, gpa, size);
}

static void device_store(struct cpu *cpu, uint64_t gpa, uint64_t value, unsigned size)
{
	cpu->stats.mmio++;
	if (cpu_at_apic(cpu, gpa))
		cpu->platform->apic_mmio_write(
			cpu->platform->opaque, cpu, gpa & ~PAGE_MASK, value, size);
	else
		io_space_write(&cpu->memory->mmio, gpa, value, size);
}

/* Device registers take 1, 2, 4 or 8 bytes; the pieces of a crossing access may be odd. */
static unsigned device_chunk(unsigned size)
{
	return size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
}

/* `size` bytes within one page. */
static void load_piece(
	struct cpu *cpu, enum tlb_view view, uint64_t linear, void *buffer, unsigned size)
{
	struct place at = locate(cpu, view, linear, 0);

	if (at.host) {
		memcpy(buffer, at.host, size);
	} else {
		for (unsigned done = 0, chunk; done < size; done += chunk) {
			uint64_t value;

			chunk = device_chunk(size - done);
			value = device_load(cpu, at.gpa + done, chunk);
			memcpy((uint8_t *)buffer + done, &value, chunk);
		}
	}
	if (unlikely(at.watched))
		debug_check_access(cpu, linear, size, false);
}

static bool store_piece(
	struct cpu *cpu, enum tlb_view view, uint64_t linear, const void *buffer, unsigned size)
{
	struct place at = locate(cpu, view, linear, PAGING_WRITE);
	bool stale = false;

	if (at.host) {
		memcpy(at.host, buffer, size);
		stale = access_written(cpu, at.host, size);
	} else {
		for (unsigned done = 0, chunk; done < size; done += chunk) {
			uint64_t value = 0;

			chunk = device_chunk(size - done);
			memcpy(&value, (const uint8_t *)buffer + done, chunk);
			device_store(cpu, at.gpa + done, value, chunk);
		}
	}
	if (unlikely(at.watched))
		debug_check_access(cpu, linear, size, true);
	return stale;
}

static unsigned in_page(uint64_t linear, unsigned size)
{
	return MIN(size, (unsigned)(PAGE_SIZE - (linear & ~PAGE_MASK)));
}

/* Outside 64-bit mode the linear address space wraps at 4 GiB. */
static uint64_t advance(const struct cpu *cpu, uint64_t linear, unsigned bytes)
{
	linear += bytes;
	return cpu_long_mode(cpu) ? linear : (uint32_t)linear;
}

/* #AC, for the sizes that have a natural alignment (SDM vol. 3A 6.15, interrupt 17). */
static void check_alignment(struct cpu *cpu, enum tlb_view view, uint64_t linear, unsigned size)
{
	if (unlikely(view == TLB_USER_ALIGNED && size <= 8 && (linear & (size - 1)) &&
		     !(size & (size - 1))))
		cpu_raise_error(cpu, VECTOR_AC, 0);
}

/* Every page that [linear, linear + size) touches, in order: raises the fault of the first that has
 * one. */
static void probe_view(
	struct cpu *cpu, enum tlb_view view, uint64_t linear, unsigned size, unsigned what)
{
	for (unsigned done = 0; done < size;
		done += in_page(advance(cpu, linear, done), size - done))
		locate(cpu, view, advance(cpu, linear, done), what);
}

static enum tlb_view mode_view(const struct cpu *cpu, enum access_mode mode)
{
	if (likely(mode == ACCESS_PROGRAM))
		return tlb_current_view(cpu);
	return mode == ACCESS_USER ? TLB_USER : TLB_SUPERVISOR;
}

/* A fault on a later page must come before a device on an earlier one is read. */
static void read_view(
	struct cpu *cpu, enum tlb_view view, uint64_t linear, void *buffer, unsigned size)
{
	if (in_page(linear, size) < size)
		probe_view(cpu, view, linear, size, 0);
	for (unsigned done = 0, piece; done < size; done += piece) {
		uint64_t at = advance(cpu, linear, done);

		piece = in_page(at, size - done);
		load_piece(cpu, view, at, (uint8_t *)buffer + done, piece);
	}
}

static bool write_view(
	struct cpu *cpu, enum tlb_view view, uint64_t linear, const void *buffer, unsigned size)
{
	bool stale = false;

	if (in_page(linear, size) < size)
		probe_view(cpu, view, linear, size, PAGING_WRITE);
	for (unsigned done = 0, piece; done < size; done += piece) {
		uint64_t at = advance(cpu, linear, done);

		piece = in_page(at, size - done);
		stale |= store_piece(cpu, view, at, (const uint8_t *)buffer + done, piece);
	}
	return stale;
}

void access_read(
	struct cpu *cpu, uint64_t linear, void *buffer, unsigned size, enum access_mode mode)
{
	read_view(cpu, mode_view(cpu, mode), linear, buffer, size);
}

bool access_write(
	struct cpu *cpu, uint64_t linear, const void *buffer, unsigned size, enum access_mode mode)
{
	return write_view(cpu, mode_view(cpu, mode), linear, buffer, size);
}

uint64_t access_load(struct cpu *cpu, uint64_t linear, unsigned size, enum access_mode mode)
{
	enum tlb_view view = mode_view(cpu, mode);
	uint64_t value = 0;

	check_alignment(cpu, view, linear, size);
	if (likely(in_page(linear, size) == size)) {
		struct place at = locate(cpu, view, linear, 0);

		value = at.host ? host_load(at.host, size) : device_load(cpu, at.gpa, size);
		if (unlikely(at.host == NULL || at.watched))
			debug_check_access(cpu, linear, size, false);
		return value;
	}
	read_view(cpu, view, linear, &value, size);
	return value;
}

bool access_store(
	struct cpu *cpu, uint64_t linear, uint64_t value, unsigned size, enum access_mode mode)
{
	enum tlb_view view = mode_view(cpu, mode);

	check_alignment(cpu, view, linear, size);
	if (likely(in_page(linear, size) == size)) {
		struct place at = locate(cpu, view, linear, PAGING_WRITE);
		bool stale = false;

		if (at.host) {
			host_store(at.host, value, size);
			stale = access_written(cpu, at.host, size);
		} else {
			device_store(cpu, at.gpa, value, size);
		}
		if (unlikely(at.host == NULL || at.watched))
			debug_check_access(cpu, linear, size, true);
		return stale;
	}
	return write_view(cpu, view, linear, &value, size);
}

void access_probe_write(struct cpu *cpu, uint64_t linear, unsigned size, enum access_mode mode)
{
	enum tlb_view view = mode_view(cpu, mode);

	check_alignment(cpu, view, linear, size);
	probe_view(cpu, view, linear, size, PAGING_WRITE);
}

uint64_t access_load_for_update(struct cpu *cpu, uint64_t linear, unsigned size)
{
	access_probe_write(cpu, linear, size, ACCESS_PROGRAM);
	return access_load(cpu, linear, size, ACCESS_PROGRAM);
}

void *access_pointer(struct cpu *cpu, uint64_t linear, unsigned size, bool write)
{
	struct place at;

	if (in_page(linear, size) < size)
		return NULL;
	at = locate(cpu, tlb_current_view(cpu), linear, write ? PAGING_WRITE : 0);
	return at.watched ? NULL : at.host;
}

void *access_watched_pointer(struct cpu *cpu, uint64_t linear)
{
	return locate(cpu, tlb_current_view(cpu), linear, PAGING_WRITE).host;
}

bool access_written_slow(struct cpu *cpu, void *pointer, unsigned size)
{
	if (!memory_written(cpu->memory, pointer, size))
		return false;
	cpu->stats.code_invalidations++;
	return true;
}

const uint8_t *access_fetch(struct cpu *cpu, uint64_t linear)
{
	return locate(cpu, tlb_current_view(cpu), linear, PAGING_FETCH).host;
}
