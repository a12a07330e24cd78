/* What differs between two runs, and which differences are allowed. */
#include "oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VECTOR_BREAKPOINT         3
#define VECTOR_STACK_FAULT        12
#define VECTOR_GENERAL_PROTECTION 13
#define VECTOR_PAGE_FAULT         14
#define FLAGS_ARITHMETIC          0x8d5u
#define FLAGS_COMPARED            (FLAGS_ARITHMETIC | 0x40500) /* and AC, DF, TF */

static const char *const gpr_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};

struct comparison {
	bool print, differs;
};

static void check(
	struct comparison *c, const char *what, uint64_t start, uint64_t native, uint64_t guest)
{
	if (native == guest)
		return;
	c->differs = true;
	if (c->print)
		printf("    %-8s was %016" PRIx64 "  native %016" PRIx64 "  guest %016" PRIx64 "\n",
			what, start, native, guest);
}

static void check_bytes(struct comparison *c, const char *what, const uint8_t *start,
	const uint8_t *native, const uint8_t *guest, unsigned size)
{
	if (!memcmp(native, guest, size))
		return;
	c->differs = true;
	if (!c->print)
		return;
	printf("    %s differs:\n", what);
	for (unsigned i = 0; i < size; i += 16) {
		if (!memcmp(native + i, guest + i, MIN(16, size - i)))
			continue;
		for (unsigned row = 0; row < 3; row++) {
			const uint8_t *from = row == 0 ? start : row == 1 ? native : guest;

			printf("      +%04x %s ", i,
				row == 0   ? "was   "
				: row == 1 ? "native"
					   : "guest ");
			for (unsigned j = MIN(16, size - i); j-- > 0;)
				printf("%02x", from[i + j]);
			printf("\n");
		}
	}
}

static bool is_of_case(uint64_t address)
{
	return address - ORACLE_CODE < ORACLE_CODE_SIZE || address - ORACLE_DATA < ORACLE_DATA_SIZE;
}

/* Was a page there? Elsewhere than in the case's own memory the process that runs it natively may
 * have one, and Linux always says so for addresses of its own. */
static uint64_t page_fault_error(const struct oracle_state *state)
{
	return is_of_case(state->cr2) ? state->error : state->error & ~UINT64_C(1);
}

static const ZydisDecodedOperand *memory_operand(const struct oracle_case *test)
{
	for (unsigned i = 0; i < test->instruction.operand_count_visible; i++) {
		if (test->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return &test->operands[i];
	}
	return NULL;
}

static bool is_store(const struct oracle_case *test)
{
	const ZydisDecodedOperand *memory = memory_operand(test);

	return memory && (memory->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
}

/* A store of some of a vector's elements. */
static bool is_masked_store(const struct oracle_case *test)
{
	const ZydisDecodedInstruction *in = &test->instruction;
	ZydisRegister mask = in->avx.mask.reg;

	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		return is_store(test);
	default:
		return mask != ZYDIS_REGISTER_NONE && mask != ZYDIS_REGISTER_K0 && is_store(test);
	}
}

/* Where an operand is accessed in pieces, which byte of the page is told first is the processor's:
 * for a masked store, AMD's tell the first byte to be stored, Intel's often the operand's last. */
static uint64_t page_fault_address(const struct oracle_case *test, uint64_t cr2)
{
	switch (test->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_ENTER:
	case ZYDIS_MNEMONIC_PUSHA:
	case ZYDIS_MNEMONIC_PUSHAD:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		return cr2 & ~UINT64_C(4095);
	default:
		return is_masked_store(test) ? cr2 & ~UINT64_C(4095) : cr2;
	}
}

/* Whether an operand at the end of a 4-GiB segment may go on at its start is the processor's choice
 * (SDM vol. 3A 5.3): Intel's then report what paging says, AMD's and we a segment fault. */
static bool goes_past_segment(const struct oracle_case *test, const struct oracle_state *native,
	const struct oracle_state *guest)
{
	return test->code_bits == 32 && native->vector == VECTOR_PAGE_FAULT &&
	       native->cr2 > UINT32_MAX - 64 &&
	       (guest->vector == VECTOR_STACK_FAULT || guest->vector == VECTOR_GENERAL_PROTECTION);
}

static void check_outcome(struct comparison *c, const struct oracle_case *test,
	const struct oracle_state *start, const struct oracle_state *native,
	const struct oracle_state *guest)
{
	if (goes_past_segment(test, native, guest))
		return;
	check(c, "vector", start->vector, native->vector, guest->vector);
	check(c, "rip", start->rip, native->rip, guest->rip);
	if (native->vector != guest->vector)
		return;
	if (native->vector == VECTOR_PAGE_FAULT) {
		check(c, "cr2", start->cr2, page_fault_address(test, native->cr2),
			page_fault_address(test, guest->cr2));
		check(c, "error", 0, page_fault_error(native), page_fault_error(guest));
	} else {
		check(c, "error", 0, native->error, guest->error);
	}
}

/* --- what a faulting instruction may have done before --- */

struct range {
	uint64_t start, end; /* linear addresses */
};

/* Stores that Intel's processors have done in part where the instruction then faults, and AMD's
 * have not: a call's return address below the stack pointer, where its target is not canonical or
 * beyond the segment; and what lies on the first page of an 80-bit operand across two. */
static struct range partial_store(const struct oracle_case *test, const struct oracle_state *start,
	const struct oracle_state *native)
{
	const ZydisDecodedInstruction *in = &test->instruction;
	uint64_t rsp = start->gpr[4], page = native->cr2 & ~UINT64_C(4095);

	if (in->meta.category == ZYDIS_CATEGORY_CALL && native->vector == VECTOR_GENERAL_PROTECTION)
		return (struct range){rsp - 8, rsp};
	if ((in->mnemonic == ZYDIS_MNEMONIC_FSTP || in->mnemonic == ZYDIS_MNEMONIC_FBSTP) &&
		native->vector == VECTOR_PAGE_FAULT && test->operands[0].size == 80)
		return (struct range){page - 10, page};
	return (struct range){0, 0};
}

static void check_data(struct comparison *c, const struct oracle_case *test,
	const struct oracle_state *start, const struct oracle_state *native,
	const struct oracle_state *guest)
{
	struct range partial = partial_store(test, start, native);
	uint8_t forgiven[ORACLE_DATA_SIZE];

	memcpy(forgiven, guest->data, sizeof(forgiven));
	for (uint64_t at = partial.start; at != partial.end; at++) {
		if (at - ORACLE_DATA < ORACLE_DATA_SIZE)
			forgiven[at - ORACLE_DATA] = native->data[at - ORACLE_DATA];
	}
	check_bytes(c, "data", start->data, native->data, forgiven, ORACLE_DATA_SIZE);
}

/* An MMX instruction resets the x87 stack's top. Where it is a store that faults, Intel's
 * processors have done so already. */
static bool may_have_reset_top(const struct oracle_case *test, const struct oracle_state *native)
{
	bool mmx = false;

	for (unsigned i = 0; i < test->instruction.operand_count_visible; i++)
		mmx |= test->operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		       ZydisRegisterGetClass(test->operands[i].reg.value) == ZYDIS_REGCLASS_MMX;
	return mmx && native->vector != VECTOR_BREAKPOINT && is_store(test);
}

/* The same x87 registers as an FXSAVE image with its top at 0. */
static void reset_top(const uint8_t *from, uint8_t *to)
{
	unsigned top = from[3] >> 3 & 7;

	memcpy(to, from, 32);
	to[3] &= ~0x38;
	for (unsigned i = 0; i < 8; i++)
		memcpy(to + 32 + 16 * ((i + top) & 7), from + 32 + 16 * i, 16);
}

static void check_x87(struct comparison *c, const struct oracle_case *test,
	const struct oracle_state *start, const struct oracle_state *native,
	const struct oracle_state *guest)
{
	uint8_t native_x87[160], guest_x87[160];
	char name[16];

	if (may_have_reset_top(test, native)) {
		reset_top(native->x87, native_x87);
		reset_top(guest->x87, guest_x87);
	} else {
		memcpy(native_x87, native->x87, sizeof(native_x87));
		memcpy(guest_x87, guest->x87, sizeof(guest_x87));
	}
	check_bytes(c, "x87 control, status, tags", start->x87, native_x87, guest_x87, 5);
	for (unsigned i = 0; i < 8; i++) {
		unsigned at = 32 + 16 * i;

		snprintf(name, sizeof(name), "st%u", i);
		check_bytes(c, name, start->x87 + at, native_x87 + at, guest_x87 + at, 10);
	}
}

static void check_registers(struct comparison *c, const struct oracle_case *test,
	const struct oracle_state *start, const struct oracle_state *native,
	const struct oracle_state *guest)
{
	uint64_t mask = test->code_bits == 64 ? ~UINT64_C(0) : 0xffffffff;
	char name[16];

	for (unsigned i = 0; i < (test->code_bits == 64 ? 16u : 8u); i++)
		check(c, gpr_names[i], start->gpr[i] & mask, native->gpr[i] & mask,
			guest->gpr[i] & mask);
	for (unsigned i = 0; i < 32; i++) {
		snprintf(name, sizeof(name), "zmm%u", i);
		check_bytes(c, name, start->zmm[i], native->zmm[i], guest->zmm[i], 64);
	}
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "k%u", i);
		check(c, name, start->opmask[i], native->opmask[i], guest->opmask[i]);
	}
	check(c, "mxcsr", start->mxcsr, native->mxcsr, guest->mxcsr);
	check_x87(c, test, start, native, guest);
	check_data(c, test, start, native, guest);
}

enum oracle_verdict compare_states(const struct oracle_case *test, const struct oracle_state *start,
	const struct oracle_state *native, const struct oracle_state *guest, bool print)
{
	const ZydisAccessedFlags *flags = test->instruction.cpu_flags;
	uint64_t undefined = flags ? flags->undefined & FLAGS_ARITHMETIC : 0;
	struct comparison c = {.print = print};

	check_outcome(&c, test, start, native, guest);
	check_registers(&c, test, start, native, guest);
	check(&c, "flags", start->rflags & FLAGS_COMPARED,
		native->rflags & FLAGS_COMPARED & ~undefined,
		guest->rflags & FLAGS_COMPARED & ~undefined);
	if (c.differs)
		return ORACLE_DIFFERENT;
	check(&c, "undefined flags", start->rflags & undefined, native->rflags & undefined,
		guest->rflags & undefined);
	return c.differs ? ORACLE_UNDEFINED_FLAGS : ORACLE_SAME;
}

void print_case(const struct oracle_case *test)
{
	ZydisFormatter formatter;
	char text[96] = "?";

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterFormatInstruction(&formatter, &test->instruction, test->operands,
		test->instruction.operand_count_visible, text, sizeof(text),
		ORACLE_CODE + test->offset, NULL);
	printf("  %u-bit:", test->code_bits);
	for (unsigned i = 0; i < test->length; i++)
		printf(" %02x", test->bytes[i]);
	printf("   %s\n", text);
}
