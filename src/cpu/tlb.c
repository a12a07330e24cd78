/* The software TLB's maintenance: dropping entries as INVLPG, INVPCID and writes to CR3 and CR4
 * promise (SDM vol. 3A 4.10.4). Filling it is access.c's.
 *
 * Two things keep flushes cheap. A change of address space drops only what is not global, and that
 * is mostly a few entries: they are listed as they are made, and only when the list overflows is
 * the whole array searched. And INVLPG of a small page touches one slot in each view, unless large
 * pages were entered around that address: each large page may stand in many slots, so
 * then all slots are searched. */
#include "cpu/access.h"
#include "cpu/tlb.h"

static void entry_clear(struct cpu *cpu, unsigned view, unsigned slot)
{
	struct tlb_entry *entry = &cpu->tlb_views[view][slot];

	entry->read = entry->write = entry->fetch = TLB_INVALID;
}

static void request(struct cpu *cpu, const struct tlb_request *request)
{
	cpu->stats.tlb_flushes++;
	cpu->engine_ops->tlb_flushed(cpu, request);
}

static void notify(struct cpu *cpu, enum tlb_flush what, uint64_t linear)
{
	request(cpu, &(struct tlb_request){
			     .what = what, .space = cpu_address_space(cpu), .linear = linear});
}

static void forget_large(struct cpu *cpu)
{
	for (unsigned half = 0; half < 2; half++) {
		cpu->tlb_large[half].low = ~UINT64_C(0);
		cpu->tlb_large[half].high = 0;
	}
}

static void clear_all(struct cpu *cpu)
{
	for (unsigned view = 0; view < TLB_VIEWS; view++)
		for (unsigned slot = 0; slot < TLB_SIZE; slot++)
			entry_clear(cpu, view, slot);
	cpu->tlb_recent_count = 0;
	forget_large(cpu);
}

void tlb_flush_all(struct cpu *cpu)
{
	clear_all(cpu);
	notify(cpu, TLB_FLUSH_ALL, 0);
}

void tlb_flush_keys(struct cpu *cpu, uint32_t changed)
{
	struct tlb_request keys = {.what = TLB_FLUSH_KEYS, .space = cpu_address_space(cpu)};

	for (unsigned key = 0; key < 16; key++)
		if ((changed >> (2 * key)) & 3)
			keys.keys |= (uint16_t)BIT(key);
	clear_all(cpu);
	request(cpu, &keys);
}

/* --- revoked pages --- */

/* Drop all entries: which of them lead to a page is not recorded, and revoking is rare. */
static void drop_revoked(struct cpu *cpu)
{
	tlb_flush_all(cpu);
	memory_pair_forget(&cpu->split.pair);
}

/* memory_listener.revoke */
static void on_revoke(void *opaque, uint64_t page, uint64_t count)
{
	struct cpu *cpu = opaque;

	if (cpu == cpu_current) {
		drop_revoked(cpu);
		return;
	}
	atomic_fetch_add(&cpu->revokes_asked, 1);
	cpu_set_pending(cpu, PENDING_RECHECK);
}

void tlb_catch_up(struct cpu *cpu)
{
	uint32_t asked = atomic_load(&cpu->revokes_asked);

	if (likely(asked == atomic_load_explicit(&cpu->revokes_done, memory_order_relaxed)))
		return;
	drop_revoked(cpu);
	atomic_store(&cpu->revokes_done, asked);
}

void tlb_listen(struct cpu *cpu)
{
	cpu->memory_listener = (struct memory_listener){.revoke = on_revoke, .opaque = cpu};
	memory_listen(cpu->memory, &cpu->memory_listener);
}

/* --- flushing --- */

static void drop_local(struct cpu *cpu)
{
	if (cpu->tlb_recent_count <= TLB_RECENT) {
		for (unsigned i = 0; i < cpu->tlb_recent_count; i++) {
			unsigned view = cpu->tlb_recent[i] / TLB_SIZE;
			unsigned slot = cpu->tlb_recent[i] % TLB_SIZE;

			if (!(cpu->tlb_attributes[view][slot] & TLB_GLOBAL))
				entry_clear(cpu, view, slot);
		}
	} else {
		for (unsigned view = 0; view < TLB_VIEWS; view++)
			for (unsigned slot = 0; slot < TLB_SIZE; slot++)
				if (!(cpu->tlb_attributes[view][slot] & TLB_GLOBAL))
					entry_clear(cpu, view, slot);
	}
	cpu->tlb_recent_count = 0;
}

void tlb_flush_non_global(struct cpu *cpu)
{
	drop_local(cpu);
	notify(cpu, TLB_FLUSH_NON_GLOBAL, 0);
}

void tlb_switch_space(struct cpu *cpu)
{
	drop_local(cpu);
	notify(cpu, TLB_FLUSH_SPACE_KEPT, 0);
}

void tlb_flush_pcid(struct cpu *cpu, struct address_space space)
{
	request(cpu, &(struct tlb_request){.what = TLB_FLUSH_PCID, .space = space});
}

/* The bytes that an entry's own page spans. */
static uint64_t entry_page_mask(uint8_t attributes)
{
	static const uint64_t size[] = {4 * KIB, 2 * MIB, 4 * MIB, GIB};

	return ~(size[(attributes & TLB_SIZE_MASK) >> TLB_SIZE_SHIFT] - 1);
}

static bool entry_covers(const struct cpu *cpu, unsigned view, unsigned slot, uint64_t linear)
{
	const struct tlb_entry *entry = &cpu->tlb_views[view][slot];
	uint64_t mask = entry_page_mask(cpu->tlb_attributes[view][slot]);
	uint64_t tag = entry->read & entry->write & entry->fetch;

	/* Valid tags of one entry are equal; an invalid one is 1. */
	if (tag == TLB_INVALID)
		return false;
	tag = entry->read != TLB_INVALID    ? entry->read
	      : entry->write != TLB_INVALID ? entry->write
					    : entry->fetch;
	return ((tag ^ linear) & mask) == 0;
}

void tlb_flush_page(struct cpu *cpu, uint64_t linear)
{
	unsigned half = linear >> 63;

	linear &= PAGE_MASK;
	if (linear >= cpu->tlb_large[half].low && linear <= cpu->tlb_large[half].high) {
		for (unsigned view = 0; view < TLB_VIEWS; view++)
			for (unsigned slot = 0; slot < TLB_SIZE; slot++)
				if (entry_covers(cpu, view, slot, linear))
					entry_clear(cpu, view, slot);
		notify(cpu, TLB_FLUSH_LARGE_PAGE, linear);
		return;
	}
	for (unsigned view = 0; view < TLB_VIEWS; view++)
		entry_clear(cpu, view, (linear >> PAGE_SHIFT) & (TLB_SIZE - 1));
	notify(cpu, TLB_FLUSH_PAGE, linear);
}

void tlb_enter(struct cpu *cpu, enum tlb_view view, uint64_t linear, const struct translation *page,
	uint8_t *host)
{
	unsigned slot = (linear >> PAGE_SHIFT) & (TLB_SIZE - 1);
	struct tlb_entry *entry = &cpu->tlb_views[view][slot];
	uint8_t attributes = page->global ? TLB_GLOBAL : 0;

	linear &= PAGE_MASK;
	if (page->page_size > PAGE_SIZE) {
		unsigned half = linear >> 63;
		uint64_t first = linear & ~(page->page_size - 1);

		cpu->tlb_large[half].low = MIN(cpu->tlb_large[half].low, first);
		cpu->tlb_large[half].high =
			MAX(cpu->tlb_large[half].high, first + page->page_size - 1);
		attributes |= (page->page_size == GIB              ? 3
				      : page->page_size == 4 * MIB ? 2
								   : 1)
			      << TLB_SIZE_SHIFT;
	}
	entry->read = page->can_read ? linear : TLB_INVALID;
	entry->write = page->can_write ? linear : TLB_INVALID;
	entry->fetch = page->can_fetch ? linear : TLB_INVALID;
	entry->addend = (uintptr_t)host - linear;
	cpu->tlb_attributes[view][slot] = attributes;
	if (!(attributes & TLB_GLOBAL)) {
		if (cpu->tlb_recent_count < TLB_RECENT)
			cpu->tlb_recent[cpu->tlb_recent_count] = (uint16_t)(view * TLB_SIZE + slot);
		cpu->tlb_recent_count += cpu->tlb_recent_count <= TLB_RECENT;
	}
}
