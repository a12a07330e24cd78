/* The translator, watched: units written as text.
 *
 *	unit 0x400080, kernel, windows: 8 instructions, 23 bytes at RAM offset 0x...; 160 bytes of
 * ... checked entry: +0000	lea rcx, [r10-0x400080]
 *		...
 *	0x400080	8b 01		mov eax, [rcx]		; why it is not identical
 *		+0010	...
 *	    the loop from its second turn on, with what is known then:
 *	0x400080 ...
 *	    out of line, for 0x400080:
 *		...
 *
 * A guest instruction is at the left margin, its translation below it, each host instruction with
 * its offset in the unit. What the host code names by absolute address is printed by name. */
#include "engine/bt/trace.h"
#include "engine/bt/cache.h"

#include "base/log.h"
#include "isa/decode.h"
#include "engine/options.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
	pthread_mutex_t lock; /* guards the rest */
	FILE *file;
	bool failed;
	ZydisFormatter guest, host;
	const void *print_memory, *print_immediate; /* the formatter's own */
} trace = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* What the formatter's hooks know. */
struct subject {
	const struct bt *bt;
	const struct bt_unit *unit;
	uint64_t base; /* of the RIP that it was made for */
};

/* --- names --- */

struct field {
	const char *name;
	size_t offset;
	unsigned element, count;
};

#define FIELD(type, name, member)                                                                  \
	{                                                                                          \
		name, offsetof(struct type, member), sizeof(((struct type *)0)->member), 1         \
	}
#define ARRAY(type, name, member)                                                                  \
	{                                                                                          \
		name, offsetof(struct type, member), sizeof(((struct type *)0)->member[0]),        \
			ARRAY_SIZE(((struct type *)0)->member)                                     \
	}
#define SOFT_TLB(name, view)                                                                       \
	ARRAY(bt, "soft_tlb." name ".minus_read", soft_tlb[view].minus_read),                      \
		ARRAY(bt, "soft_tlb." name ".minus_write", soft_tlb[view].minus_write),            \
		ARRAY(bt, "soft_tlb." name ".addend", soft_tlb[view].addend)

/* The first that fits gives the name. */
static const struct field cpu_fields[] = {
	FIELD(cpu, "guest.rax", gpr[RAX]),
	FIELD(cpu, "guest.rcx", gpr[RCX]),
	FIELD(cpu, "guest.rsp", gpr[RSP]),
	FIELD(cpu, "guest.r10", gpr[R10]),
	FIELD(cpu, "guest.r11", gpr[R11]),
	ARRAY(cpu, "guest.gpr", gpr),
	FIELD(cpu, "guest.arithmetic_flags", arithmetic_flags),
	FIELD(cpu, "guest.system_flags", system_flags),
	FIELD(cpu, "guest.fs_base", segment_base[SEG_FS]),
	FIELD(cpu, "guest.gs_base", segment_base[SEG_GS]),
	FIELD(cpu, "guest.fs.base", segment[SEG_FS].base),
	FIELD(cpu, "guest.gs.base", segment[SEG_GS].base),
	FIELD(cpu, "guest.kernel_gs_base", kernel_gs_base),
	FIELD(cpu, "guest.cr2", cr2),
	FIELD(cpu, "guest.tsc_aux", tsc_aux),
	FIELD(cpu, "guest.pkru", fpu.pkru),
	FIELD(cpu, "cpu.tlb", tlb),
	FIELD(cpu, "cpu.attention", attention),
	FIELD(cpu, "cpu.pending", pending),
};
static const struct field bt_fields[] = {
	FIELD(bt, "bt.vectors_away", run.vectors_away),
	FIELD(bt, "bt.wide_away", run.wide_away),
	FIELD(bt, "bt.stack_delta", run.stack_delta),
	FIELD(bt, "bt.minus_stack_delta", run.minus_stack_delta),
	ARRAY(bt, "bt.string_delta", run.string_delta),
	ARRAY(bt, "bt.scratch", run.scratch),
	FIELD(bt, "bt.rax", run.saved_rax),
	FIELD(bt, "bt.flags", run.saved_flags),
	FIELD(bt, "bt.count", run.count),
	FIELD(bt, "bt.tsc_offset", run.tsc_offset),
	FIELD(bt, "bt.branch", run.branch),
	FIELD(bt, "bt.base", run.base),
	FIELD(bt, "bt.last_x87", run.last_x87),
	FIELD(bt, "bt.last_x87_base", run.last_x87_base),
	FIELD(bt, "bt.pauses_left", run.pauses_left),
	FIELD(bt, "bt.young_left", run.young_left),
	FIELD(bt, "bt.mask_index", run.mask_index),
	FIELD(bt, "bt.mask_page", run.mask_page),
	FIELD(bt, "bt.mask_offset", run.mask_offset),
	ARRAY(bt, "bt.mask_bit", run.mask_bit),
	FIELD(bt, "exit", glue.exit),
	FIELD(bt, "miss", glue.miss),
	FIELD(bt, "miss_unit", glue.miss_unit),
	FIELD(bt, "load_vectors", glue.load_vectors),
	FIELD(bt, "load_wide", glue.load_wide),
	SOFT_TLB("user", TLB_USER),
	SOFT_TLB("kernel", TLB_SUPERVISOR),
	SOFT_TLB("kernel_ac", TLB_SUPERVISOR_AC),
	ARRAY(bt, "delta.user", delta[0]),
	ARRAY(bt, "delta.kernel", delta[1]),
	ARRAY(bt, "zone_delta", zone_delta),
	ARRAY(bt, "code_map.kernel", code_map[0]),
	ARRAY(bt, "code_map.user", code_map[1]),
	{"jump", offsetof(struct bt, jump), sizeof(uint64_t), BT_TABLES *JUMP_ENTRIES},
};

/* "name", "name[element]" or, for an instruction with an index register, "name[register]". */
static bool name_field(const struct field *fields, size_t count, uint64_t offset, const char *index,
	char *out, size_t size)
{
	for (size_t i = 0; i < count; i++) {
		const struct field *f = &fields[i];
		uint64_t inside = offset - f->offset, element = inside / f->element;

		if (inside >= (uint64_t)f->element * f->count)
			continue;
		if (f->count == 1 && !index)
			snprintf(out, size, inside ? "%s+%u" : "%s", f->name, (unsigned)inside);
		else if (index && element % JUMP_ENTRIES == 0)
			snprintf(out, size, "%s[%s]", f->name, index);
		else
			snprintf(out, size, "%s[0x%x%s%s]", f->name,
				(unsigned)(element % JUMP_ENTRIES), index ? "+" : "",
				index ? index : "");
		return true;
	}
	return false;
}

/* What lies at an absolute address of ours. */
static bool name_address(
	const struct bt *bt, uint64_t address, const char *index, char *out, size_t size)
{
	uint64_t in_cpu = address - (uintptr_t)bt->cpu, in_bt = address - (uintptr_t)bt;

	if (in_cpu < sizeof(*bt->cpu)) {
		if (!name_field(cpu_fields, ARRAY_SIZE(cpu_fields), in_cpu, index, out, size))
			snprintf(out, size, "cpu+0x%x", (unsigned)in_cpu);
		return true;
	}
	if (in_bt < sizeof(*bt)) {
		if (!name_field(bt_fields, ARRAY_SIZE(bt_fields), in_bt, index, out, size))
			snprintf(out, size, "bt+0x%x", (unsigned)in_bt);
		return true;
	}
	return false;
}

static uint64_t rip_of(const struct subject *s, unsigned i)
{
	return s->base + (s->unit->rip & PAGE_MASK) + s->unit->insns[i].offset;
}

/* Where a jump leads. */
static void name_code(const struct subject *s, uint64_t address, char *out, size_t size)
{
	const struct bt *bt = s->bt;
	const struct bt_unit *unit = s->unit;

	if (address - unit->code < unit->size) {
		for (unsigned i = 0; i < unit->count; i++)
			if (unit->code + unit->insns[i].host == address) {
				snprintf(out, size, "+%04x (0x%" PRIx64 ")",
					(unsigned)(address - unit->code), rip_of(s, i));
				return;
			}
		snprintf(out, size, "+%04x", (unsigned)(address - unit->code));
	} else if (address == bt->glue.miss) {
		snprintf(out, size, "miss");
	} else if (address == bt->glue.miss_unit) {
		snprintf(out, size, "miss_unit");
	} else if (address == bt->glue.exit) {
		snprintf(out, size, "exit");
	} else {
		snprintf(out, size, "0x%" PRIx64, address);
	}
}

/* --- the formatter's hooks --- */

static ZyanStatus append(ZydisFormatterBuffer *buffer, const char *text)
{
	ZyanString *string;
	ZyanStringView view;
	ZyanStatus status = ZydisFormatterBufferAppend(buffer, ZYDIS_TOKEN_SYMBOL);

	if (ZYAN_SUCCESS(status))
		status = ZydisFormatterBufferGetString(buffer, &string);
	if (ZYAN_SUCCESS(status))
		status = ZyanStringViewInsideBuffer(&view, text);
	return ZYAN_SUCCESS(status) ? ZyanStringAppend(string, &view) : status;
}

static ZyanStatus print_memory(const ZydisFormatter *formatter, ZydisFormatterBuffer *buffer,
	ZydisFormatterContext *context)
{
	const struct subject *s = context->user_data;
	const ZydisDecodedOperandMem *m = &context->operand->mem;
	const char *index =
		m->index == ZYDIS_REGISTER_NONE ? NULL : ZydisRegisterGetString(m->index);
	char name[64], text[80];

	if (m->base == ZYDIS_REGISTER_RCX && !index &&
		m->disp.value == s->bt->host.flags_displacement && s->bt->host.flags_displacement)
		return append(buffer, "byte [page_flags+rcx]");
	if (m->base == ZYDIS_REGISTER_RCX && !index &&
		m->disp.value == (int64_t)(uintptr_t)s->bt->zone)
		return append(buffer, "byte [zone+rcx]");
	if (m->base != ZYDIS_REGISTER_NONE ||
		!name_address(s->bt, (uint64_t)m->disp.value, index, name, sizeof(name)))
		return ((ZydisFormatterFunc)trace.print_memory)(formatter, buffer, context);
	snprintf(text, sizeof(text), "[%s]", name);
	return append(buffer, text);
}

static ZyanStatus print_immediate(const ZydisFormatter *formatter, ZydisFormatterBuffer *buffer,
	ZydisFormatterContext *context)
{
	char text[64];
	ZyanU64 target;

	if (!context->operand->imm.is_relative ||
		!ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(
			context->instruction, context->operand, context->runtime_address, &target)))
		return ((ZydisFormatterFunc)trace.print_immediate)(formatter, buffer, context);
	name_code(context->user_data, target, text, sizeof(text));
	return append(buffer, text);
}

static void init_formatters(void)
{
	trace.print_memory = (const void *)print_memory;
	trace.print_immediate = (const void *)print_immediate;
	ZydisFormatterInit(&trace.guest, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterInit(&trace.host, ZYDIS_FORMATTER_STYLE_INTEL);
	for (int i = 0; i < 2; i++) {
		ZydisFormatter *f = i ? &trace.host : &trace.guest;

		ZydisFormatterSetProperty(f, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
		ZydisFormatterSetProperty(
			f, ZYDIS_FORMATTER_PROP_ADDR_PADDING_ABSOLUTE, ZYDIS_PADDING_DISABLED);
		ZydisFormatterSetProperty(
			f, ZYDIS_FORMATTER_PROP_DISP_PADDING, ZYDIS_PADDING_DISABLED);
		ZydisFormatterSetProperty(
			f, ZYDIS_FORMATTER_PROP_IMM_PADDING, ZYDIS_PADDING_DISABLED);
	}
	ZydisFormatterSetHook(
		&trace.host, ZYDIS_FORMATTER_FUNC_FORMAT_OPERAND_MEM, &trace.print_memory);
	ZydisFormatterSetHook(
		&trace.host, ZYDIS_FORMATTER_FUNC_FORMAT_OPERAND_IMM, &trace.print_immediate);
}

/* --- host code --- */

static const char *const exit_names[] = {
	[BT_EXIT_BRANCH] = "continuation: branch to 0x%" PRIx64,
	[BT_EXIT_JUMP] = "look for the unit that R10 means",
	[BT_EXIT_INTERPRET] = "interpret the instruction at 0x%" PRIx64,
	[BT_EXIT_SOFT_MISS] = "the address in R10 is not in the soft TLB",
	[BT_EXIT_WRITTEN] = "the page of the store holds code",
	[BT_EXIT_MATURE] = "so much has run in this young address space that it gets windows",
	[BT_EXIT_SECOND] = "the code map does not have the page that the instruction runs on into",
	[BT_EXIT_KICK] = "kick",
	[BT_EXIT_FAULT] = "fault",
};

static void print_exit(const struct subject *s, uint64_t id)
{
	const struct bt *bt = s->bt;
	const struct bt_exit *exit = cache_exit(bt, (uint32_t)id);

	if (id >= cache_next_exit(bt) || exit->kind >= ARRAY_SIZE(exit_names) ||
		!exit_names[exit->kind])
		return;
	fprintf(trace.file, "\t; exit %" PRIu64 ": ", id);
	/* Not all names use it. */
	fprintf(trace.file, exit_names[exit->kind], s->base + exit->rip);
}

struct decoded_insn {
	ZydisDecodedInstruction in;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

static bool decode_host(const uint8_t *bytes, size_t available, struct decoded_insn *insn)
{
	return isa_decode(ISA_64, NULL, bytes, available, &insn->in, insn->operands) == ISA_DECODED;
}

/* The unit's instruction number i. */
static bool decode_guest(const struct subject *s, unsigned i, struct decoded_insn *insn)
{
	const struct bt_unit *unit = s->unit;
	const struct bt_insn *guest = &unit->insns[i];

	return isa_decode(bt_mode_isa(s->unit->mode), s->bt->cpu->model,
		       unit->guest + (guest->offset - unit->guest_start), guest->length, &insn->in,
		       insn->operands) == ISA_DECODED;
}

/* MOV ECX, id */
static bool is_exit_id(const struct decoded_insn *insn)
{
	return insn->in.mnemonic == ZYDIS_MNEMONIC_MOV &&
	       insn->operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       insn->operands[0].reg.value == ZYDIS_REGISTER_ECX &&
	       insn->operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

static bool is_jump_to_exit(const struct bt *bt, const struct decoded_insn *insn)
{
	return insn->in.mnemonic == ZYDIS_MNEMONIC_JMP &&
	       insn->operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
	       insn->operands[0].mem.base == ZYDIS_REGISTER_NONE &&
	       (uint64_t)insn->operands[0].mem.disp.value == (uintptr_t)&bt->glue.exit;
}

/* Host code from offset `from` of the unit up to `to`. */
static void print_host_code(const struct subject *s, unsigned from, unsigned to)
{
	const struct bt_unit *unit = s->unit;
	uint64_t id = UINT64_MAX;

	while (from < to) {
		const uint8_t *bytes = (const uint8_t *)unit->code + from;
		struct decoded_insn insn;
		char text[128];

		if (!decode_host(bytes, to - from, &insn) ||
			!ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&trace.host, &insn.in,
				insn.operands, insn.in.operand_count_visible, text, sizeof(text),
				unit->code + from, (void *)(uintptr_t)s))) {
			fprintf(trace.file, "\t+%04x\t(not decodable: 0x%02x)\n", from++, *bytes);
			continue;
		}
		fprintf(trace.file, "\t+%04x\t%s", from, text);
		if (is_jump_to_exit(s->bt, &insn))
			print_exit(s, id);
		id = is_exit_id(&insn) ? insn.operands[1].imm.value.u : UINT64_MAX;
		fputc('\n', trace.file);
		from += insn.in.length;
	}
}

/* --- the unit --- */

static void print_heading(const struct subject *s)
{
	const struct bt_unit *unit = s->unit;
	static const struct {
		unsigned bit;
		const char *name;
	} may[] = {{BT_X87, "x87"}, {BT_SSE, "SSE"}, {BT_AVX, "AVX"}, {BT_AVX512, "AVX-512"}};

	fprintf(trace.file, "\nunit 0x%" PRIx64 ", vCPU %u, %s%s, %s", s->base + unit->rip,
		s->bt->cpu->index, unit->mode.user ? "user" : "kernel",
		unit->mode.ac ? " with AC" : "", unit->mode.windows ? "windows" : "soft TLB");
	for (size_t i = 0; i < ARRAY_SIZE(may); i++)
		if (unit->mode.fpu & may[i].bit)
			fprintf(trace.file, ", %s", may[i].name);
	fprintf(trace.file,
		": %u instructions in %u bytes at RAM offset 0x%" PRIx64 ", %" PRIu32
		" bytes of host code at 0x%" PRIxPTR "\n",
		unit->count, unit->guest_bytes, unit->key, unit->size, unit->code);
}

static void print_guest(const struct subject *s, unsigned i)
{
	const struct bt_unit *unit = s->unit;
	const struct bt_insn *insn = &unit->insns[i];
	const uint8_t *bytes = unit->guest + (insn->offset - unit->guest_start);
	struct decoded_insn decoded;
	char text[128] = "?";
	int width;

	if (decode_guest(s, i, &decoded))
		ZydisFormatterFormatInstruction(&trace.guest, &decoded.in, decoded.operands,
			decoded.in.operand_count_visible, text, sizeof(text), rip_of(s, i), NULL);
	fprintf(trace.file, "0x%" PRIx64 "  ", rip_of(s, i));
	for (width = 0; width < insn->length; width++)
		fprintf(trace.file, "%02x ", bytes[width]);
	fprintf(trace.file, "%*s %s", 3 * MAX(8 - width, 0), "", text);
	if (insn->reason)
		fprintf(trace.file, "\t; %s", insn->reason);
	if (insn->adapted)
		fprintf(trace.file, "\t; %u faults so far", insn->adapted);
	fputc('\n', trace.file);
}

/* A unit whose last instruction does not end it goes on to the next one: from where? */
static unsigned way_on(const struct subject *s)
{
	const struct bt_unit *unit = s->unit;
	unsigned last = unit->count - 1, on = unit->again;
	const struct bt_insn *insn = &unit->insns[last];
	struct decoded_insn guest;

	if (!decode_guest(s, last, &guest) || guest.in.meta.category == ZYDIS_CATEGORY_UNCOND_BR ||
		guest.in.meta.category == ZYDIS_CATEGORY_CALL ||
		guest.in.meta.category == ZYDIS_CATEGORY_RET)
		return on;
	for (unsigned i = 0; i < unit->mark_count && unit->marks[i].host < unit->again; i++)
		if (unit->marks[i].insn == last && unit->marks[i].state == MARK_AFTER &&
			unit->marks[i].host > insn->host)
			on = unit->marks[i].host;
	return on;
}

static unsigned mark_end(const struct bt_unit *unit, unsigned i)
{
	return i + 1 < unit->mark_count ? unit->marks[i + 1].host : unit->size;
}

/* The second codes of loops. */
static void print_again(const struct subject *s)
{
	const struct bt_unit *unit = s->unit;
	int insn = UNIT_MAX_INSNS;

	for (unsigned i = 0; i < unit->mark_count; i++) {
		const struct bt_mark *mark = &unit->marks[i];

		if (mark->host < unit->again || mark->host >= unit->cold)
			continue;
		if (mark->state == MARK_BEFORE && mark->insn != insn) {
			if (mark->insn < insn)
				fputs("    the loop from its second turn on, with what is known "
				      "then:\n",
					trace.file);
			print_guest(s, mark->insn);
		}
		insn = mark->insn;
		print_host_code(s, mark->host, MIN(mark_end(unit, i), (unsigned)unit->cold));
	}
}

static void print_cold(const struct subject *s)
{
	const struct bt_unit *unit = s->unit;

	for (unsigned i = 0; i < unit->mark_count; i++) {
		const struct bt_mark *mark = &unit->marks[i];

		if (mark->host < unit->cold)
			continue;
		/* The way back to the body has a mark, too. */
		if (mark->state != MARK_AFTER || mark->host == unit->cold ||
			mark[-1].insn != mark->insn)
			fprintf(trace.file, "    out of line, for 0x%" PRIx64 ":\n",
				rip_of(s, mark->insn));
		print_host_code(s, mark->host, mark_end(unit, i));
	}
}

static void print_unit(const struct subject *s)
{
	const struct bt_unit *unit = s->unit;
	unsigned entry = (unsigned)(unit->entry - unit->code), first = unit->insns[0].host;
	unsigned on = way_on(s);

	print_heading(s);
	fputs("    checked entry:\n", trace.file);
	print_host_code(s, 0, entry);
	if (first > entry) {
		fputs("    entry:\n", trace.file);
		print_host_code(s, entry, first);
	}
	for (unsigned i = 0; i < unit->count; i++) {
		print_guest(s, i);
		print_host_code(
			s, unit->insns[i].host, i + 1 < unit->count ? unit->insns[i + 1].host : on);
	}
	if (on < unit->again) {
		fputs("    on to the next unit:\n", trace.file);
		print_host_code(s, on, unit->again);
	}
	print_again(s);
	print_cold(s);
}

void bt_trace_unit(const struct bt *bt, const struct bt_unit *unit, uint64_t rip)
{
	struct subject s = {bt, unit, rip - unit->rip};

	if (!bt->options.trace)
		return;
	pthread_mutex_lock(&trace.lock);
	if (trace.file && !trace.failed) {
		print_unit(&s);
		if (fflush(trace.file) == EOF) {
			log_error("--trace-bt: cannot go on writing: %s; the trace ends here",
				strerror(errno));
			trace.failed = true;
		}
	}
	pthread_mutex_unlock(&trace.lock);
}

/* NULL with errno set; EBUSY where another process writes its trace there. What the file held is
 * gone. */
static FILE *open_alone(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	struct stat status;
	FILE *file = NULL;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
		if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
			close(fd);
			errno = EBUSY;
			return NULL;
		}
		if (ftruncate(fd, 0) == 0)
			file = fdopen(fd, "w");
	} else {
		file = fdopen(fd, "w");
	}
	if (!file)
		close(fd);
	return file;
}

int bt_trace_open(const char *file)
{
	int error = 0;

	pthread_mutex_lock(&trace.lock);
	if (!trace.file) {
		init_formatters();
		trace.file = open_alone(file);
		if (!trace.file) {
			error = -errno;
			log_error("--trace-bt %s: cannot write: %s; expected a file that can "
				  "be made or replaced, and that no other machine writes",
				file, strerror(-error));
		} else {
			setvbuf(trace.file, NULL, _IOFBF, 1 << 16);
			fputs("# Guest instructions at the margin, host instructions below, with "
			      "offsets in the unit.\n"
			      "# The guest's RCX is in R11, its R10 and R11 in memory; RCX and R10 "
			      "are scratch;\n"
			      "# with windows, RSP is the guest's plus bt.stack_delta. Other "
			      "registers are their own.\n",
				trace.file);
		}
	}
	pthread_mutex_unlock(&trace.lock);
	return error;
}
