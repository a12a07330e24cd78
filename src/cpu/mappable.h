/* Which guest-physical memory may be accessed through a host address. The TLB and the translator's
 * windows, which keep host addresses or mappings, ask here, and so does code that looks at guest
 * memory once; no other place knows the reasons against it. All other accesses go to the bus, one
 * by one. A new reason (an APIC-access page, a page that is kept elsewhere) is a new line here.
 *
 * Code that stores asks memory_page_writable() besides, and follows "Page flags" in
 * memory/memory.h. */
#ifndef VENEER_CPU_MAPPABLE_H
#define VENEER_CPU_MAPPABLE_H

#include "cpu/cpu.h"

/* Does this vCPU find its local APIC's registers there? */
static inline bool cpu_at_apic(const struct cpu *cpu, uint64_t gpa)
{
	return (gpa & PAGE_MASK) == cpu->apic_page;
}

/* The registers of its local APIC are at this page from now on, or at none (~0): what the vCPU has
 * kept of guest memory is dropped. On the vCPU's thread, or while it has none. */
void cpu_set_apic_page(struct cpu *cpu, uint64_t page);

/* The host address of `gpa` for this one access; NULL: a device or nothing is there. Valid to the
 * end of that page. */
static inline uint8_t *cpu_memory_pointer(const struct cpu *cpu, uint64_t gpa)
{
	return unlikely(cpu_at_apic(cpu, gpa)) ? NULL : memory_ram_pointer(cpu->memory, gpa);
}

/* The host address of the page that `linear` leads to, at `gpa`, if it may be kept for accesses
 * that nobody looks at: also not where a data breakpoint lies in that page. */
uint8_t *cpu_mappable(const struct cpu *cpu, uint64_t linear, uint64_t gpa);

/* The same for what lies around `gpa` on both sides, one after the other in the file too: the
 * largest [*start, *end). False: nothing, or no more than single pages (a data breakpoint is
 * armed). */
bool cpu_mappable_around(const struct cpu *cpu, uint64_t gpa, uint64_t *start, uint64_t *end);

#endif
