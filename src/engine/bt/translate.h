/* What the translator's files share: the unit in the making. */
#ifndef VENEER_ENGINE_BT_TRANSLATE_H
#define VENEER_ENGINE_BT_TRANSLATE_H

#include "engine/bt/emit.h"
#include "engine/bt/facts.h"
#include "engine/bt/rewrite.h"
#include "isa/native.h"
#include "isa/register.h"

/* What is to be done with an instruction. */
enum guest_kind {
	GUEST_IDENTICAL, /* registers renamed, memory operand redirected */
	GUEST_LEA,
	GUEST_NOP,
	GUEST_PUSH,
	GUEST_POP,
	GUEST_LEAVE,
	GUEST_STACK_ALU, /* arithmetic with RSP as destination */
	GUEST_STACK_SET, /* MOV RSP, x */
	GUEST_JCC,
	GUEST_JRCXZ,
	GUEST_LOOP,
	GUEST_JMP,
	GUEST_JMP_INDIRECT,
	GUEST_CALL,
	GUEST_CALL_INDIRECT,
	GUEST_RET,
	GUEST_CLI,
	GUEST_STAC,
	GUEST_CLAC,
	GUEST_SPECIAL,   /* special.c */
	GUEST_STRING,    /* string.c */
	GUEST_INTERPRET, /* by the interpreter, then on in the unit */
	GUEST_END,       /* by the interpreter, and the unit ends */
};

struct guest_insn {
	ZydisDecodedInstruction in;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	const uint8_t *bytes;
	uint64_t rip;
	enum guest_kind kind;
	const char *reason;                /* why it is not identical */
	const ZydisDecodedOperand *memory; /* explicit memory operand, or NULL */
	unsigned memory_size;
	bool writes_memory;
	bool other_faults; /* something may have to be raised before its page fault */
	bool x87; /* leaves its address, opcode and operand for FNSTENV and others to show */
	uint16_t fop;
	uint8_t vectors; /* which vector registers have to be here: enum bt_vectors */
	bool high_byte;
	bool masked; /* may touch nothing of its operand, or a part: a mask suppresses faults */
	/* Where it succeeds it has touched its operand (facts.h): not where masked, and not a store
	 * of the x87 unit, which on Intel's processors leaves memory alone, mapped or not, where it
	 * meets an unmasked exception; the next x87 instruction raises that. */
	bool touches;
	/* Registers among the operands that have no host register of their own: R10, R11, and
	 * RSP where it is read only. */
	uint8_t spilled[3], spill_count;
	uint16_t spill_load, spill_store; /* guest register masks */
	bool implicit_rcx, implicit_rcx_written;
	bool explicit_rcx, explicit_rcx_written;
	bool target; /* some branch of the unit leads here */
};

static inline uint64_t guest_next(const struct guest_insn *g)
{
	return g->rip + g->in.length;
}

/* Of a direct branch. */
static inline uint64_t branch_target(const struct guest_insn *g)
{
	return guest_next(g) + (uint64_t)g->in.raw.imm[0].value.s;
}

struct translator;
typedef void access_op(struct translator *t, unsigned i, struct host_memory memory);

enum cold_kind {
	COLD_EXIT,    /* leave by exit `id` */
	COLD_TABLE,   /* the access again, by the table of windows */
	COLD_JUMP,    /* to `rip` in another page */
	COLD_VECTORS, /* load vector registers: `id` says how many */
};

struct cold {
	uint8_t kind, insn;
	struct bt_mode mode;
	uintptr_t patch, resume;
	uint32_t id;
	uint64_t rip;
	access_op *op;
};

#define MAX_COLD  (UNIT_MAX_INSNS * 8)
#define MAX_LOOPS 3

/* A loop within the unit, instructions head to back. The first turn is in the unit's straight run;
 * the code for all others is made a second time, knowing what the first has checked. */
struct loop {
	unsigned head, back;
	struct facts start; /* holds at the head, from the second turn on */
	struct facts end;   /* what the straight run knows after it */
	uintptr_t host;     /* of the second code; 0: not made yet */
};

/* A branch to code of the unit that was not there yet. */
struct forward {
	uintptr_t patch;
	unsigned insn;
	/* to the head of its second code; NULL: to the straight run, or where `inside` */
	struct loop *loop;
	bool inside;
};

struct translator {
	struct bt *bt;
	struct cpu *cpu;
	struct code code;
	struct bt_unit *unit;
	struct bt_mode mode;
	struct facts facts; /* here */
	uintptr_t here;     /* where the code of the instruction at hand begins */
	int gs_slot;        /* the slot whose delta is the GS base, or -1 */
	unsigned count, cold_count, mark_count;
	uint32_t first_exit;
	struct guest_insn insn[UNIT_MAX_INSNS];
	uintptr_t host[UNIT_MAX_INSNS]; /* where each instruction's code starts */
	struct bt_mode insn_mode[UNIT_MAX_INSNS];
	struct cold cold[MAX_COLD];
	struct bt_mark marks[UNIT_MAX_INSNS * 16];
	struct forward forward[UNIT_MAX_INSNS * 4];
	unsigned forward_count;
	struct loop loop[MAX_LOOPS], *inside; /* inside: whose second code is being made */
	unsigned loop_count;
	struct facts join[UNIT_MAX_INSNS];   /* what is known on the branches that lead here */
	uint64_t joined;                     /* which of them are set */
	uint64_t host_again[UNIT_MAX_INSNS]; /* as `host`, in a loop's second code */
	bool failed;                         /* ran out of something */
	uint16_t slots[UNIT_MAX_INSNS];      /* predicted */
	const uint8_t *adapted;
};

/* --- analyze.c --- */

/* Decode and classify from `bytes` (of one page, `available` of them) on, at `rip`. Returns the
 * number of instructions; 0: nothing worth a unit. */
unsigned analyze(struct translator *t, const uint8_t *bytes, unsigned available, uint64_t rip);
/* Does control never go on to the next instruction in the unit? */
bool ends_unit(enum guest_kind kind);

/* --- operand.c --- */

struct access {
	unsigned insn, size;
	bool write;
	const ZydisDecodedOperand *memory; /* NULL: the stack, at RSP + disp */
	int32_t disp;
	access_op *op;
};

/* The access, with `op` emitted to do it: once, or once more out of line. After it the access is
 * done and so are its consequences for tracked code. */
void emit_access(struct translator *t, const struct access *access);
/* Out of line: the same by the table. */
void emit_access_table(struct translator *t, const struct cold *cold);
/* The linear address of an operand to `to` (R10); changes RCX. */
void emit_linear(struct translator *t, const struct guest_insn *g,
	const ZydisDecodedOperand *memory, unsigned to, bool segment);
/* After the access of an x87 instruction: its linear address to RCX; changes R10 where that is not
 * needed any more. */
void emit_linear_again(struct translator *t, unsigned insn);
/* Are the operand's registers in host registers of their own? Then it can stand as it is: *out. */
bool operand_is_direct(
	const struct guest_insn *g, const ZydisDecodedOperand *memory, struct host_memory *out);
/* Is it [RSP + displacement]? In window mode that needs no check. */
bool operand_is_stack(const struct guest_insn *g, const ZydisDecodedOperand *memory);
/* Does instruction i reach the stack through the soft TLB? Always without windows; with them, where
 * it has faulted often because the stack's slot has none. */
bool stack_is_soft(const struct translator *t, unsigned i);
/* A soft access to the stack that moves RSP. In window mode RSP rides on a window that was not
 * touched, so it is set anew. Changes R10. */
void emit_soft_stack(struct translator *t, const struct access *access);
/* Guest RSP becomes R10; changes RCX. */
void emit_set_stack(struct translator *t);
/* Guest RSP + disp to a register. */
void emit_stack_value(struct translator *t, unsigned to, int32_t disp);

/* --- identical.c --- */

static inline unsigned host_register(unsigned guest)
{
	return guest == RCX ? HOST_RCX : guest;
}

/* Is it an x87 instruction that leaves no record of itself? */
bool x87_unrecorded(const struct translator *t, unsigned i);

/* --- push_pop.c --- */

void translate_push(struct translator *t, unsigned i);
void translate_pop(struct translator *t, unsigned i);
void translate_leave(struct translator *t, unsigned i);
void translate_stack_alu(struct translator *t, unsigned i);
void translate_stack_set(struct translator *t, unsigned i);
/* The memory operand of instruction i, 8 bytes, to bt->scratch[0]. */
void load_to_scratch(struct translator *t, unsigned i);
void push_constant(struct translator *t, unsigned i, uint64_t value);
/* Loads 8 bytes to R10. */
access_op op_to_address;

/* --- branch.c --- */

/* Conditions of emit_branch(), besides the processor's, 0 to 15. */
#define ALWAYS            (-1)
#define ALWAYS_IN_5_BYTES (-2) /* a JRCXZ before it relies on the length */

/* Go to `rip`, if `condition` holds. */
void emit_branch(struct translator *t, unsigned i, int condition, uint64_t rip);
void emit_far_page_jump(struct translator *t, uint64_t rip, struct bt_mode mode);
/* Which instruction of the unit begins at `rip`; -1: none. */
int unit_index(const struct translator *t, uint64_t rip);
void translate_jrcxz(struct translator *t, unsigned i);
void translate_loop(struct translator *t, unsigned i);
void translate_call(struct translator *t, unsigned i);
void translate_jmp_indirect(struct translator *t, unsigned i);
void translate_call_indirect(struct translator *t, unsigned i);
void translate_return(struct translator *t, unsigned i);

/* --- translate.c --- */

/* What is known after instructions first to last, if `f` is before them. */
void facts_walk(const struct translator *t, struct facts *f, unsigned first, unsigned last);

void mark(struct translator *t, unsigned insn, enum bt_mark_state state);
void add_cold(struct translator *t, enum cold_kind kind, unsigned insn, uintptr_t patch,
	uint32_t id, access_op *op);
/* A new exit; returns its ID. */
uint32_t add_exit(struct translator *t, enum bt_exit_kind kind, unsigned insn);
static inline struct bt_exit *exit_of(struct translator *t, uint32_t id)
{
	return &t->bt->exits[id];
}
void emit_exit(struct translator *t, uint32_t id);
/* emit_extract(), and where that puts flags aside, nothing is rolled back in between. */
void extract_field(struct translator *t, enum extract field, unsigned to, unsigned from);
static inline bool same_page(uint64_t a, uint64_t b)
{
	return ((a ^ b) & PAGE_MASK) == 0;
}
static inline bool windowed(const struct translator *t)
{
	return t->mode.windows;
}
/* A guest register's value in some host register; `temporary` is used where it has none. */
unsigned value_of(struct translator *t, unsigned guest, unsigned temporary);
void set_register(struct translator *t, unsigned guest, unsigned from);
/* Push bt->scratch[0]: the commit. */
void push_scratch(struct translator *t, unsigned i);
/* The identical instruction on a host memory operand (or none: base and index unset and `memory` of
 * the instruction NULL), with what renamed and spilled registers need around it. */
access_op emit_identical;

/* `adapted` has the faults seen so far, for each instruction that could be in it (UNIT_MAX_INSNS).
 *
 * Make a unit for RAM offset `key` at `rip`; NULL where that is not possible (now or ever). The
 * code and the bookkeeping are in place, the unit is not yet findable. */
struct bt_unit *translate_unit(
	struct bt *bt, uint64_t rip, uint64_t key, struct bt_mode mode, const uint8_t *adapted);

#endif
