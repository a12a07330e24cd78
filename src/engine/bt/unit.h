/* The unit in the making: what all files that make it share. */
#ifndef VENEER_ENGINE_BT_UNIT_H
#define VENEER_ENGINE_BT_UNIT_H

#include "engine/bt/cache.h"
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
	GUEST_JRCXZ, /* JECXZ, too */
	GUEST_LOOP,
	GUEST_JMP,
	GUEST_JMP_INDIRECT,
	GUEST_CALL,
	GUEST_CALL_INDIRECT,
	GUEST_RET,
	GUEST_CLI,
	GUEST_STAC,
	GUEST_CLAC,
	GUEST_STI, /* this and the following: special.c */
	GUEST_SWAPGS,
	GUEST_CLD,
	GUEST_PAUSE,
	GUEST_PUSHFQ, /* PUSHFD, too */
	GUEST_RDTSC,  /* RDTSCP, too */
	GUEST_RDPKRU,
	GUEST_READ_BASE,  /* RDFSBASE, RDGSBASE */
	GUEST_WRITE_BASE, /* WRFSBASE, WRGSBASE */
	GUEST_MOV_CR2,
	GUEST_BIT_STRING, /* bit_string.c */
	GUEST_STRING,     /* string.c */
	GUEST_INTERPRET,  /* by the interpreter, then on in the unit */
	GUEST_END,        /* by the interpreter, and the unit ends */
};

struct translator;

/* What there is to know about a kind. */
struct guest_kind_row {
	/* Is `g`, whose mnemonic makes it a candidate for this kind (analyze.c), of this kind in
	 * the unit's mode? Called with the kind and the row's reason set already; it may set
	 * others. False: no; the instruction is copied or left to the interpreter. */
	bool (*recognise)(const struct translator *t, struct guest_insn *g);
	/* Emit instruction i. It may find that the interpreter has to run the instruction. */
	void (*translate)(struct translator *t, unsigned i);
	const char *reason; /* why it is not identical */
	bool direct;        /* a jump with a displacement, which may stay in the unit */
	bool ends;          /* control never goes on to the next instruction in the unit */
	bool stack;         /* it accesses the stack at RSP and moves RSP */
	/* Where such an instruction is left to the interpreter after all, nothing that was decoded
	 * behind it has to be doubted after it. */
	bool goes_on;
};
extern const struct guest_kind_row guest_kinds[]; /* translate.c; by enum guest_kind */

struct guest_insn {
	ZydisDecodedInstruction in;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	const uint8_t *bytes;
	uint64_t rip; /* less the base, as in struct bt_unit */
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

/* Of a direct branch, less the base. In 32-bit code addresses wrap. */
static inline uint64_t branch_target(const struct guest_insn *g)
{
	uint64_t target = guest_next(g) + (uint64_t)g->in.raw.imm[0].value.s;

	return g->in.machine_mode == ZYDIS_MACHINE_MODE_LONG_64 ? target : (uint32_t)target;
}

typedef void access_op(struct translator *t, unsigned i, struct host_memory memory);

enum cold_kind {
	COLD_EXIT,    /* leave by exit `id` */
	COLD_TABLE,   /* the access again, by the table of windows */
	COLD_JUMP,    /* to `rip` in another page */
	COLD_VECTORS, /* load vector registers: `id` says how many */
	COLD_MISS,    /* at the checked entry: the unit's page is not where it was */
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

/* A branch within the unit whose target had not been emitted when the branch was. */
struct forward {
	uintptr_t patch;
	unsigned insn;
	/* to the head of its second code; NULL: to the straight run, or where `inside` */
	struct loop *loop;
	bool inside;
};

#define CONSTANT_TWICE UINT16_MAX /* the host code has it more than once */

struct translator {
	struct bt *bt;
	struct cpu *cpu;
	struct code code;
	struct bt_unit *unit;
	struct bt_mode mode;
	struct facts facts; /* here */
	uintptr_t here;     /* where the code of the instruction at hand begins */
	unsigned count, cold_count, mark_count;
	bool more; /* what follows the instructions decoded is cut off by the page's end */
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
	uint32_t zones[UNIT_MAX_INSNS];      /* predicted, of memory operands */
	uint16_t constant[UNIT_MAX_INSNS];   /* as bt_insn.constant; or CONSTANT_TWICE */
	const uint8_t *adapted;
	struct decode_cache *shapes; /* the interpreter's; NULL: none is used */
	uint64_t base; /* of this first run of the code; bt->run.base is what counts */
	struct {
		uint64_t value;
		bool is_rip; /* less the base */
	} push;              /* what an instruction pushes */
};

/* --- unit.c --- */

/* The code emitted next belongs to instruction `insn`, in that state. */
void mark(struct translator *t, unsigned insn, enum bt_mark_state state);
/* A piece of code to be made at the unit's end, which the jump at `patch` leads to. The last three
 * as in struct cold. */
void add_cold(struct translator *t, enum cold_kind kind, unsigned insn, uintptr_t patch,
	uint32_t id, access_op *op);
/* A new exit; returns its ID. It goes on at the beginning of the instruction at hand. */
uint32_t add_exit(struct translator *t, enum bt_exit_kind kind, unsigned insn);
static inline struct bt_exit *exit_of(struct translator *t, uint32_t id)
{
	return cache_exit(t->bt, id);
}
/* Leave the unit by an exit. */
void emit_exit(struct translator *t, uint32_t id);
/* The RIP that the unit knows as `rip`, to a register. */
void emit_rip(struct translator *t, unsigned reg, uint64_t rip);
/* emit_extract(), marked so that no roll-back falls between its saving and restoring the flags. */
void extract_field(struct translator *t, enum extract field, unsigned to, unsigned from);
/* The size of what PUSH, CALL and RET move, in bytes. */
static inline unsigned word_size(const struct translator *t)
{
	return bt_mode_word(t->mode);
}
/* Is the operand a whole general register, as PUSH may have it? */
static inline bool is_word_register(const struct translator *t, const ZydisDecodedOperand *op)
{
	return isa_operand_is_gpr(op) && op->size == 8 * word_size(t);
}
static inline bool windowed(const struct translator *t)
{
	return t->mode.windows;
}
static inline unsigned host_register(unsigned guest)
{
	return guest == RCX ? HOST_RCX : guest;
}

#endif
