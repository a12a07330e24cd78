#include "cpu/mappable.h"

#include "cpu/access.h"

uint8_t *cpu_mappable(const struct cpu *cpu, uint64_t linear, uint64_t gpa)
{
	return debug_page_watched(cpu, linear & PAGE_MASK) ? NULL : cpu_memory_pointer(cpu, gpa);
}

void cpu_set_apic_page(struct cpu *cpu, uint64_t page)
{
	if (cpu->apic_page == page)
		return;
	cpu->apic_page = page;
	tlb_flush_all(cpu);
}

/* DR7's enable bits. While any breakpoint is armed, the guest's or another debugger's, large ranges
 * are refused wherever it lies: debuggers are rare. */
#define DR7_ENABLED 0xff

bool cpu_mappable_around(const struct cpu *cpu, uint64_t gpa, uint64_t *start, uint64_t *end)
{
	if (cpu_at_apic(cpu, gpa) || (cpu->dr7 & DR7_ENABLED) || cpu->debugger.active ||
		!memory_around(cpu->memory, gpa, start, end))
		return false;
	if (cpu->apic_page < gpa)
		*start = MAX(*start, cpu->apic_page + PAGE_SIZE);
	else
		*end = MIN(*end, cpu->apic_page);
	return true;
}
