/* Registers, for a human. */
#include "control/human.h"

#include "cpu/cpu.h"

#include <inttypes.h>
#include <string.h>

static void print_segment(FILE *out, const char *name, const struct segment *segment)
{
	fprintf(out, "%-3s=%04x %016" PRIx64 " %08x %08x\n", name, segment->selector, segment->base,
		segment->limit, (segment->access & 0xf0ff) << 8);
}

static void print_fpu(FILE *out, const struct fpu *fpu)
{
	uint64_t low, high;
	uint16_t word, control;

	memcpy(&control, fpu->x87, 2);
	memcpy(&word, fpu->x87 + 2, 2);
	fprintf(out, "FCW=%04x FSW=%04x MXCSR=%08x\n", control, word, fpu->mxcsr);
	for (unsigned i = 0; i < 8; i++) {
		memcpy(&low, fpu->x87 + 32 + 16 * i, 8);
		memcpy(&word, fpu->x87 + 40 + 16 * i, 2);
		fprintf(out, "FPR%u=%016" PRIx64 " %04x%s", i, low, word, i & 1 ? "\n" : " ");
	}
	for (unsigned i = 0; i < 16; i++) {
		memcpy(&low, fpu->zmm[i], 8);
		memcpy(&high, fpu->zmm[i] + 8, 8);
		fprintf(out, "XMM%02u=%016" PRIx64 " %016" PRIx64 "%s", i, high, low,
			i & 1 ? "\n" : " ");
	}
}

static void print_registers(FILE *out, struct cpu *cpu)
{
	static const char *const gpr[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
		"R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
	static const uint8_t order[] = {
		RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15};
	static const char *const segments[] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"};
	struct cpu_state state;

	cpu_get_state(cpu, &state);
	fprintf(out, "\nCPU#%u\n", cpu->index);
	for (unsigned i = 0; i < 16; i++)
		fprintf(out, "%s=%016" PRIx64 "%s", gpr[order[i]], state.gpr[order[i]],
			i % 4 == 3 ? "\n" : " ");
	fprintf(out, "RIP=%016" PRIx64 " RFL=%08" PRIx64 " CPL=%u HLT=%u\n", state.rip,
		cpu_rflags(cpu), state.cpl, state.activity == ACTIVITY_HALTED);
	for (unsigned i = 0; i < ARRAY_SIZE(segments); i++)
		print_segment(out, segments[i], &state.segment[i]);
	fprintf(out, "GDT=     %016" PRIx64 " %08x\nIDT=     %016" PRIx64 " %08x\n",
		state.gdtr.base, state.gdtr.limit, state.idtr.base, state.idtr.limit);
	fprintf(out, "CR0=%08" PRIx64 " CR2=%016" PRIx64 " CR3=%016" PRIx64 " CR4=%08" PRIx64 "\n",
		state.cr0, state.cr2, state.cr3, state.cr4);
	fprintf(out,
		"DR0=%016" PRIx64 " DR1=%016" PRIx64 " DR2=%016" PRIx64 " DR3=%016" PRIx64 "\n",
		state.dr[0], state.dr[1], state.dr[2], state.dr[3]);
	fprintf(out, "DR6=%016" PRIx64 " DR7=%016" PRIx64 "\nEFER=%016" PRIx64 "\n", state.dr6,
		state.dr7, state.efer);
	print_fpu(out, &state.fpu);
}

void human_registers(struct human *human, const char *words)
{
	if (!strstr(words, "-a")) {
		if (human->cpu)
			print_registers(human->out, human->cpu);
		return;
	}
	for (unsigned i = 0; i < human->machine->config.cpu_count; i++)
		print_registers(human->out, human->machine->cpus[i]);
}
