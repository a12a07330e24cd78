/* What differs between two runs, and what may. */
#include "oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VECTOR_BREAKPOINT 3
#define VECTOR_PAGE_FAULT 14
#define FLAGS_ARITHMETIC  0x8d5u
#define FLAGS_COMPARED    (FLAGS_ARITHMETIC | 0x40500) /* and AC, DF, TF */

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

/* For an address that is not a program's, Linux always says that a page was there. */
#define PROGRAM_END UINT64_C(0x7ffffffff000)

static uint64_t page_fault_error(const struct oracle_state *state)
{
	return state->cr2 >= PROGRAM_END ? state->error & ~UINT64_C(1) : state->error;
}

/* Where an operand is accessed in pieces, which byte of the page is told first is the processor's.
 */
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
		return cr2;
	}
}

static void check_outcome(struct comparison *c, const struct oracle_case *test,
	const struct oracle_state *start, const struct oracle_state *native,
	const struct oracle_state *guest)
{
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
	check_bytes(c, "x87 control, status, tags", start->x87, native->x87, guest->x87, 5);
	for (unsigned i = 0; i < 8; i++) {
		unsigned at = 32 + 16 * i;

		snprintf(name, sizeof(name), "st%u", i);
		check_bytes(c, name, start->x87 + at, native->x87 + at, guest->x87 + at, 10);
	}
	check_bytes(c, "data", start->data, native->data, guest->data, ORACLE_DATA_SIZE);
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
