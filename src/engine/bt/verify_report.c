/* A difference that --verify has found, as text:
 *
 *	veneer: --verify: translated code and the interpreter disagree
 *	veneer: unit 0x200000, kernel, windows, at RAM offset 0x200000:
 *	veneer:     0x200000  48 83 c0 05        add rax, 0x05
 *	veneer:     0x200004  48 89 07           mov [rdi], rax
 *	veneer: after 2 steps, by a branch at or to 0x200020
 *	veneer:            before            interpreter       translation
 *	veneer: RAX        0000000000000001  0000000000000006  0000000000000007
 *	veneer: 0x300000   0000000000000000  0600000000000000  0700000000000000  by 0x200004
 *
 * Bytes of memory and of vector registers are in the order of their addresses. */
#include "engine/bt/verify_internal.h"

#include "base/log.h"
#include "isa/decode.h"
#include "cpu/fpu.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MEMORY_SHOWN 16 /* differing pieces */
#define PIECE        16 /* bytes */
#define HEX_BYTES(n) (2 * (n) + 1)

static const char *hex(const uint8_t *bytes, unsigned size, char *out)
{
	for (unsigned i = 0; i < size; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	return out;
}

static void report_number(const char *name, uint64_t before, uint64_t want, uint64_t have)
{
	if (want != have)
		log_error("%-10s %016" PRIx64 "  %016" PRIx64 "  %016" PRIx64, name, before, want,
			have);
}

static void report_bytes(const char *name, const uint8_t *before, const uint8_t *want,
	const uint8_t *have, unsigned size, const char *note)
{
	char text[3][HEX_BYTES(64)];

	if (memcmp(want, have, size) != 0)
		log_error("%-10s %-16s  %-16s  %-16s%s", name, hex(before, size, text[0]),
			hex(want, size, text[1]), hex(have, size, text[2]), note);
}

/* --- which unit --- */

/* `model` as isa_decode() has it. */
static void report_code(enum isa_mode mode, const struct cpu_model *model, const uint8_t *bytes,
	unsigned length, uint64_t rip, const char *note)
{
	ZydisDecodedInstruction in;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisFormatter formatter;
	char text[128] = "?", code[HEX_BYTES(15)];

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	if (isa_decode(mode, model, bytes, length, &in, operands) == ISA_DECODED)
		ZydisFormatterFormatInstruction(&formatter, &in, operands, in.operand_count_visible,
			text, sizeof(text), rip, NULL);
	log_error("    0x%" PRIx64 "  %-20s %s%s", rip, hex(bytes, length, code), text, note);
}

static void report_instruction(const struct bt *bt, const struct bt_unit *unit, unsigned i)
{
	const struct bt_insn *insn = &unit->insns[i];

	report_code(bt_mode_isa(unit->mode), bt->cpu->model,
		unit->guest + (insn->offset - unit->guest_start), insn->length,
		bt_rip(bt, (unit->rip & PAGE_MASK) + insn->offset),
		insn->interpreted ? "  (left to the interpreter)" : "");
}

static void report_unit(const struct bt *bt, const struct bt_unit *unit)
{
	log_error("unit 0x%" PRIx64 ", %s%s, %s, at RAM offset 0x%" PRIx64 ":",
		bt_rip(bt, unit->rip), unit->mode.user ? "user" : "kernel",
		unit->mode.ac ? " with AC" : "", unit->mode.windows ? "windows" : "soft TLB",
		unit->key);
	for (unsigned i = 0; i < unit->count; i++)
		report_instruction(bt, unit, i);
}

static void report_place(const struct verify *v, const struct verify_place *place)
{
	static const char *const names[] = {
		[BT_EXIT_BRANCH] = "a branch",
		[BT_EXIT_JUMP] = "an indirect branch, or one to another page,",
		[BT_EXIT_INTERPRET] = "an exit to the interpreter",
		[BT_EXIT_SOFT_MISS] = "a miss of the soft TLB",
		[BT_EXIT_WRITTEN] = "a store to a page with code",
		[BT_EXIT_MATURE] = "its count of runs",
		[BT_EXIT_SECOND] = "a second page that is not known",
		[BT_EXIT_KICK] = "a kick",
		[BT_EXIT_FAULT] = "a fault",
	};
	const struct boundary *at = &v->boundary[place->boundary];

	log_error("after %u steps, by %s at or to 0x%" PRIx64, place->boundary,
		names[place->exit->kind], place->rip);
	if (!place->last && (place->after ? !place->boundary || at[-1].insn != place->insn
					  : at->insn != place->insn))
		log_error(
			"where the interpreter has not been: it is at 0x%" PRIx64 " then", at->rip);
	if (v->looped)
		log_error("in a loop: compared with the last pass");
}

/* --- registers --- */

static void report_general(
	const struct verify *v, const struct cpu *cpu, const struct verify_place *place)
{
	static const char *const names[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
		"R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"};
	const struct boundary *before = &v->boundary[0], *want = &v->boundary[place->boundary];

	uint64_t compared = verify_flags(v, place);

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		report_number(names[i], before->gpr[i], want->gpr[i], cpu->gpr[i]);
	if (place->rip_known)
		report_number("RIP", before->rip, want->rip, place->rip);
	report_number("RFLAGS", before->rflags & compared, want->rflags & compared,
		cpu_rflags(cpu) & compared);
	report_number("FS base", before->base[0], want->base[0], cpu->segment_base[SEG_FS]);
	report_number("GS base", before->base[1], want->base[1], cpu->segment_base[SEG_GS]);
	report_number("FS base 2", before->base[0], want->base[0], cpu->segment[SEG_FS].base);
	report_number("GS base 2", before->base[1], want->base[1], cpu->segment[SEG_GS].base);
	report_number("kernel GS", before->base[2], want->base[2], cpu->kernel_gs_base);
	if (want->tlb != cpu->tlb)
		log_error("another view of the address space (see enum tlb_view)");
}

static void report_flags(
	const struct verify *v, const struct cpu *cpu, const struct verify_place *place)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} flags[] = {{RFLAGS_CF, "CF"}, {RFLAGS_PF, "PF"}, {RFLAGS_AF, "AF"}, {RFLAGS_ZF, "ZF"},
		{RFLAGS_SF, "SF"}, {RFLAGS_OF, "OF"}, {RFLAGS_IF, "IF"}, {RFLAGS_DF, "DF"},
		{RFLAGS_AC, "AC"}};
	const struct boundary *want = &v->boundary[place->boundary];
	uint64_t wrong = (want->rflags ^ cpu_rflags(cpu)) & verify_flags(v, place);

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (wrong & flags[i].bit)
			log_error("  %s         %u                 %u                 %u",
				flags[i].name, !!(v->boundary[0].rflags & flags[i].bit),
				!!(want->rflags & flags[i].bit), !(want->rflags & flags[i].bit));
}

static void report_vectors(const struct verify *v, struct cpu *cpu, const struct boundary *at)
{
	const struct vector_state *before = &v->vector[0], *want = &v->vector[at->vector];
	char name[16];

	if (!v->vector_count)
		return;
	for (unsigned i = 0; i < 32; i++) {
		snprintf(name, sizeof(name), "ZMM%u", i);
		report_bytes(name, before->zmm[i], want->zmm[i], cpu->fpu.zmm[i], 64, "");
	}
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "K%u", i);
		report_number(name, before->opmask[i], want->opmask[i], cpu->fpu.opmask[i]);
	}
	report_number("MXCSR", before->mxcsr, want->mxcsr, fpu_stmxcsr(cpu));
}

static void report_x87(const struct verify *v, struct cpu *cpu, const struct boundary *at)
{
	const struct x87_state *before = &v->x87[0], *want = &v->x87[at->x87];

	if (!v->x87_count)
		return;
	fpu_sync(cpu);
	report_number("FIP", before->fip, want->fip, cpu->fpu.fip);
	report_number("FDP", before->fdp, want->fdp, cpu->fpu.fdp);
	report_number("FOP", before->fop, want->fop, cpu->fpu.fop);
	report_number("FCS", before->fcs, want->fcs, cpu->fpu.fcs);
	for (unsigned i = 0; i < X87_PARTS; i++) {
		const struct x87_part *part = &verify_x87_parts[i];

		report_bytes(part->name, before->image + part->offset, want->image + part->offset,
			cpu->fpu.x87 + part->offset, part->size, "");
	}
}

/* --- memory --- */

/* What the byte was before the unit. */
static uint8_t original_byte(const struct verify *v, const uint8_t *host)
{
	return verify_expected_byte(v, 0, host);
}

static bool report_piece(const struct verify *v, const struct verify_place *place,
	const struct region *r, uint32_t from)
{
	unsigned size = MIN(r->size - from, (uint32_t)PIECE);
	uint8_t before[PIECE], want[PIECE];
	char name[32], note[64];

	for (unsigned i = 0; i < size; i++) {
		before[i] = original_byte(v, r->host + from + i);
		want[i] = verify_expected_byte(v, place->boundary, r->host + from + i);
	}
	snprintf(name, sizeof(name), "0x%" PRIx64, r->linear + from);
	snprintf(note, sizeof(note), "  by 0x%" PRIx64,
		v->plan->insn[v->boundary[r->step].insn].rip);
	report_bytes(name, before, want, r->host + from, size, note);
	return memcmp(want, r->host + from, size) != 0;
}

/* Is there a later write to the same bytes? */
static bool is_overwritten(const struct verify *v, unsigned i)
{
	for (unsigned k = i + 1; k < v->region_count; k++)
		if (v->region[k].write && v->region[k].host == v->region[i].host &&
			v->region[k].size == v->region[i].size)
			return true;
	return false;
}

static void report_memory(const struct verify *v, const struct verify_place *place)
{
	unsigned shown = 0;

	for (unsigned i = 0; i < v->region_count; i++) {
		if (!v->region[i].write || is_overwritten(v, i))
			continue;
		for (uint32_t from = 0; from < v->region[i].size; from += PIECE) {
			shown += report_piece(v, place, &v->region[i], from);
			if (shown == MEMORY_SHOWN) {
				log_error("(and perhaps more)");
				return;
			}
		}
	}
}

void verify_report(const struct bt *bt, const struct verify *v, const struct verify_place *place)
{
	const struct boundary *at = &v->boundary[place->boundary];

	log_error("--verify: translated code and the interpreter disagree");
	report_unit(bt, v->unit);
	report_place(v, place);
	log_error("%-10s %-16s  %-16s  %-16s", "", "before", "interpreter", "translation");
	report_general(v, bt->cpu, place);
	report_flags(v, bt->cpu, place);
	report_vectors(v, bt->cpu, at);
	report_x87(v, bt->cpu, at);
	report_memory(v, place);
}

void verify_report_rewrite(const struct bt *bt, const struct rewrite *r, const uint8_t *made,
	uintptr_t at, unsigned size, const char *difference)
{
	log_error("--verify: an instruction was copied wrong: %s", difference);
	report_code(r->in->machine_mode == ZYDIS_MACHINE_MODE_LONG_64 ? ISA_64 : ISA_32,
		bt->cpu->model, r->bytes, r->in->length, 0, "  (the guest's)");
	report_code(ISA_64, NULL, made, MIN(size, INSN_LENGTH_MAX), at, "  (the copy)");
}
