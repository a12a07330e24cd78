#include "machine/cpu_dump.h"

#include <stdio.h>

static void print_segment(const char *name, const struct segment *segment)
{
	fprintf(stderr, "%-4s %04x base %016llx limit %08x access %05x\n", name, segment->selector,
		(unsigned long long)segment->base, segment->limit, segment->access);
}

void cpu_dump_print(struct cpu *cpu)
{
	static const char *const gpr_names[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI",
		"RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"};
	static const char *const segment_names[] = {
		"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};
	unsigned i;

	cpu_pull(cpu, STATE_GPRS | STATE_SEGMENTS | STATE_CONTROL);
	for (i = 0; i < ARRAY_SIZE(gpr_names); i++)
		fprintf(stderr, "%-3s %016llx%s", gpr_names[i], (unsigned long long)cpu->gpr[i],
			i % 4 == 3 ? "\n" : "  ");
	fprintf(stderr, "RIP %016llx  RFLAGS %08llx  CPL %u\n", (unsigned long long)cpu->rip,
		(unsigned long long)cpu_rflags(cpu), cpu->cpl);
	for (i = 0; i < ARRAY_SIZE(segment_names); i++)
		print_segment(segment_names[i], &cpu->segment[i]);
	fprintf(stderr, "GDTR %016llx limit %04x  IDTR %016llx limit %04x\n",
		(unsigned long long)cpu->gdtr.base, cpu->gdtr.limit,
		(unsigned long long)cpu->idtr.base, cpu->idtr.limit);
	fprintf(stderr, "CR0 %08llx  CR2 %016llx  CR3 %016llx  CR4 %08llx  EFER %04llx\n",
		(unsigned long long)cpu->cr0, (unsigned long long)cpu->cr2,
		(unsigned long long)cpu->cr3, (unsigned long long)cpu->cr4,
		(unsigned long long)cpu->efer);
}
