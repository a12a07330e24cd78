/* The interpreter's inside: decoded instructions, the cache of blocks, and how one instruction
 * hands over to the next.
 *
 * Guest code is decoded once, into blocks of struct insn. Each insn names a C function, its
 * handler, chosen so finely (operation, operand kinds, size, form of address) that the handler has
 * nothing left to decide. A handler ends by jumping to the next insn's handler: in C that is a call
 * in tail position, which the compiler turns into a jump ("direct-threaded" code). `cpu` and `in`
 * stay in two host registers all along.
 *
 *	static const struct insn *op_x(struct cpu *cpu, const struct insn *in)
 *	{
 *		... the work ...
 *		NEXT;
 *	}
 *
 * A handler may instead return NULL: then the run loop (run.c) takes over with cpu->rip set. It
 * does so when something must be looked at between blocks: interrupts, single-stepping, a mode
 * change. An exception never returns at all, it unwinds to the run loop by longjmp.
 *
 * RIP is not kept up to date. While a block runs, cpu->code_base holds the RIP of the start of the
 * page that the block lies in, and each insn knows where in the page it ends. sync_rip() makes
 * cpu->rip and cpu->next_rip true; everything that may raise an exception is called after it.
 *
 * Blocks. A block starts where it was jumped to and runs on, through conditional branches not
 * taken, to an unconditional transfer, an instruction that may change the mode, a page's end, or
 * BLOCK_MAX. It is found by the RAM offset of its first byte and the decode mode; it remembers the
 * page's code generation and may not be entered when that has moved on (memory/memory.h), unless
 * its bytes turn out to be what they were. Only the instruction that straddles a page boundary
 * stands in two pages: it is a block of its own, with both generations. Finding a block by RIP goes
 * through a cache (struct jump_slot) that is emptied, by changing a number, when mappings or modes
 * change.
 *
 * Under a translator. An engine that translates hot code runs the rest of it here: it makes its
 * machine and vCPUs with interp_machine_create() and interp_vcpu_create(), sets
 * interp->translated, and calls interp_vcpu_run(). Blocks that may get hot then begin with one
 * more insn, op_heat, which counts their runs and, when they are many, leaves for the run loop,
 * which asks `translated`. */
#ifndef VENEER_ENGINE_INTERP_INTERP_H
#define VENEER_ENGINE_INTERP_INTERP_H

#include "base/sanitizer.h"
#include "cpu/access.h"
#include "cpu/cpu.h"
#include "engine/engine.h"
#include "engine/interp/stub.h"

struct insn;
struct block;

/* A handler. Returns NULL to leave for the run loop; see NEXT for what else. */
typedef const struct insn *op_fn(struct cpu *cpu, const struct insn *in);
/* The work of a handler that is called rather than threaded. */
typedef void slow_fn(struct cpu *cpu, const struct insn *in);

enum insn_attributes {
	INSN_ADDRESS_16 = 1 << 0, /* effective address is cut to 16 or 32 bits; else 64 */
	INSN_ADDRESS_32 = 1 << 1,
	INSN_MEMORY = 1 << 2, /* the operand given by base, index... is memory; else `dst`/`src` say
				 it all */
	INSN_STACK = 1 << 3,  /* default segment is SS: a bad address is #SS, not #GP */
	INSN_REP = 1 << 4,    /* REP or REPE */
	INSN_REPNE = 1 << 5,
	INSN_LOCK = 1 << 6,
	INSN_IMMEDIATE = 1 << 7, /* slow handlers: the operand is imm */
};

/* Registers are named by byte offset in struct cpu, so that AH is RAX's offset plus one and a
 * handler adds instead of scaling. Two things that are not guest registers can stand in an address
 * as one, and so have an offset, too: cpu->code_base and cpu->zero. */
struct insn {
	op_fn *run;
	uint64_t imm;
	union {
		struct block *link; /* a branch within the page: where it went, once known */
		const struct stub *stub;
		slow_fn *call;
	};
	int32_t disp;
	uint8_t dst, src, base, index;
	uint8_t scale;   /* shift count 0..3 */
	uint8_t segment; /* enum seg; SEG_NONE where its base is zero by definition */
	uint8_t size;    /* operand size in bytes */
	uint8_t length;
	uint8_t attributes;
	uint8_t remaining; /* instructions after this one in its block */
	uint16_t next; /* offset in the page of the byte after this instruction; may be over 4096 */
};

#define BLOCK_MAX 64 /* instructions */

/* What decoding depends on besides the bytes. */
enum block_mode {
	MODE_CODE_32 = 1,
	MODE_CODE_64 = 2,
	MODE_STACK_32 = 4,   /* outside 64-bit mode */
	MODE_FLAT_CODE = 16, /* CS limit is 4 GiB or ignored: a branch within the page needs no
				limit check */
	MODE_CHECKED_BRANCHES = 32, /* a relative branch out of the page may lead out of CS or to
				       an address that is not canonical: block_at() says so */
	MODE_SINGLE =
		8, /* one instruction, then back to the run loop: stepping, breakpoints, shadows */
};

struct block {
	uint64_t key; /* RAM offset of the first byte */
	struct block *hash_next;
	_Atomic uint32_t *generation_now; /* of the page, in struct memory */
	_Atomic uint32_t
		*generation_now2; /* of the second page; same as the first where there is none */
	uint32_t generation, generation2;
	uint16_t mode;
	uint16_t count; /* instructions */
	uint16_t bytes;
	const uint8_t *code; /* copy of what was decoded; NULL for one that straddles pages */
	uint16_t accesses;   /* instructions that load or store; for statistics */
	uint64_t key2;       /* RAM offset of the second page; ~0 where there is none */
	struct insn insn[];
};

/* RIP to block. Slots of one page lie together, so that INVLPG can drop them. */
#define JUMP_PAGES 256
#define JUMP_SLOTS 64 /* per page */

struct jump_slot {
	uint64_t rip;
	uint64_t context;
	struct block *block;
};

/* Of a machine, under this engine and those that are built on it. */
struct engine_machine {
	struct engine_options options;
};

/* Per-vCPU state of this engine; cpu->engine_state. */
struct interp {
	/* A jump slot is good if its context is one of these two: for pages that are global, and
	 * others. Both hold a serial number, the view (user or not), and the mode. */
	uint64_t context_local, context_global;
	uint64_t serial, global_serial;
	uint64_t rip_mask;
	const struct insn *current; /* set by sync_rip() */
	bool single;                /* run one instruction: no jump slot or link may be followed */
	bool stepping;              /* the same, and string instructions stop after one element */
	unsigned first_heat;        /* where a block's count of runs begins */
	bool leave;                 /* a slow handler wants the block left after this instruction */
	uint16_t mode;              /* enum block_mode, without MODE_SINGLE */
	struct jump_slot jump[JUMP_PAGES * JUMP_SLOTS];
	struct block **hash;
	uint8_t *arena;
	size_t arena_used, arena_size;
	size_t arena_limit; /* so much of it is used; twice as much each time that was too little */
	uint64_t drops;     /* times the arena was emptied */
	struct stub_cache *stubs;
	struct decode_cache *shapes; /* of 64-bit code */
	uint64_t stub_resets;        /* times its stubs were forgotten */
	/* NULL, or a translator's: called by the run loop between blocks, with cpu->rip what comes
	 * next, no event waiting and nothing to be stepped. True: it ran some code, look again;
	 * false: nothing has changed, interpret. May raise. */
	bool (*translated)(struct cpu *cpu);
	struct block *hot; /* op_heat left this block, at hot_rip; see interp_hot() */
	uint64_t hot_rip;
	void *translator; /* the translator's own state of this vCPU */
};

static inline struct interp *interp_of(const struct cpu *cpu)
{
	return cpu->engine_state;
}

/* --- handing over --- */

/* Optimizing compilers make a call in this place a jump. Clang's musttail would promise it, but
 * wants the same parameter types on both sides; and sanitizers put work of their own after the
 * call. */
#if defined(__OPTIMIZE__) && !ADDRESS_SANITIZED && !THREAD_SANITIZED && !UNDEFINED_SANITIZED
#define TAIL_CALL(call) return call
#else
/* No guaranteed tail calls: return the next instruction, the run loop calls it. */
#define LOOP_DISPATCH
#endif

#ifdef LOOP_DISPATCH
#define CONTINUE_AT(insn_) return (insn_)
#else
#define CONTINUE_AT(insn_)                                                                         \
	do {                                                                                       \
		const struct insn *at_ = (insn_);                                                  \
		TAIL_CALL(at_->run(cpu, at_));                                                     \
	} while (0)
#endif
#define NEXT CONTINUE_AT(in + 1)

#define OP(name) const struct insn *name(struct cpu *cpu, const struct insn *in)

/* Out of line; make cpu->rip and cpu->next_rip true for this instruction. */
void sync_rip(struct cpu *cpu, const struct insn *in);

/* Leave for the run loop, continuing at the next instruction. */
const struct insn *leave_after(struct cpu *cpu, const struct insn *in);

/* The block at `rip`, ready to run (cpu->code_base set, counted), or NULL with cpu->rip = rip
 * where the run loop must look first. May raise a page fault for the fetch, with cpu->rip = rip. */
struct block *block_find(struct cpu *cpu, uint64_t rip);

static inline bool block_fresh(const struct block *block)
{
	return atomic_load_explicit(block->generation_now, memory_order_relaxed) ==
	       block->generation;
}

static inline struct jump_slot *jump_slot(struct interp *interp, uint64_t rip)
{
	unsigned page = (rip >> PAGE_SHIFT) & (JUMP_PAGES - 1);

	return &interp->jump[page * JUMP_SLOTS + ((rip ^ (rip >> 6)) & (JUMP_SLOTS - 1))];
}

/* Every block starts here: it is counted, and `attention` is tested, which is tested nowhere else
 * while blocks follow each other. */
#define ENTER_BLOCK(block_)                                                                        \
	do {                                                                                       \
		struct block *to_ = (block_);                                                      \
		cpu->stats.instructions += to_->count;                                             \
		cpu->stats.accesses += to_->accesses;                                              \
		cpu->stats.blocks++;                                                               \
		CONTINUE_AT(to_->insn);                                                            \
	} while (0)

#ifdef LOOP_DISPATCH
#define CONTINUE_SLOW(call) return call
#else
#define CONTINUE_SLOW(call) TAIL_CALL(call)
#endif

/* Find the block and enter it, or leave for the run loop. */
const struct insn *jump_slow(struct cpu *cpu, uint64_t rip);

/* Go to an arbitrary RIP. */
#define JUMP_TO(rip_)                                                                              \
	do {                                                                                       \
		uint64_t target_ = (rip_);                                                         \
		struct interp *interp_ = interp_of(cpu);                                           \
		struct jump_slot *slot_ = jump_slot(interp_, target_);                             \
		if (likely(slot_->rip == target_ &&                                                \
			    (slot_->context == interp_->context_local ||                           \
				    slot_->context == interp_->context_global) &&                  \
			    block_fresh(slot_->block) &&                                           \
			    !atomic_load_explicit(&cpu->attention, memory_order_relaxed))) {       \
			cpu->code_base = target_ - (slot_->block->key & ~PAGE_MASK);               \
			ENTER_BLOCK(slot_->block);                                                 \
		}                                                                                  \
		CONTINUE_SLOW(jump_slow(cpu, target_));                                            \
	} while (0)

/* Go where a direct branch goes: imm is the target relative to cpu->code_base. BRANCH is for
 * targets in the same page, which are remembered; JUMP_TO for others. */
const struct insn *branch_slow(struct cpu *cpu, const struct insn *in);
#define BRANCH                                                                                     \
	do {                                                                                       \
		struct block *link_ = in->link;                                                    \
		if (likely(link_ && block_fresh(link_) &&                                          \
			    !atomic_load_explicit(&cpu->attention, memory_order_relaxed)))         \
			ENTER_BLOCK(link_);                                                        \
		CONTINUE_SLOW(branch_slow(cpu, in));                                               \
	} while (0)

/* --- operands --- */

#define REG_OFFSET(number) ((uint8_t)(offsetof(struct cpu, gpr) + 8 * (number)))
#define CODE_BASE_OFFSET   ((uint8_t)offsetof(struct cpu, code_base))
#define ZERO_OFFSET        ((uint8_t)offsetof(struct cpu, zero))
_Static_assert(offsetof(struct cpu, gpr) + sizeof(((struct cpu *)0)->gpr) <= 256,
	"struct insn names registers by offsets of eight bits");

typedef uint8_t __attribute__((may_alias)) guest_1;
typedef uint16_t __attribute__((aligned(1), may_alias)) guest_2;
typedef uint32_t __attribute__((aligned(1), may_alias)) guest_4;
typedef uint64_t __attribute__((aligned(1), may_alias)) guest_8;

#define REG(type, offset) (*(type *)((uint8_t *)cpu + (offset)))

/* A 32-bit result clears the register's upper half. */
#define SET_REG(type, offset, value)                                                               \
	do {                                                                                       \
		if (sizeof(type) == 4)                                                             \
			REG(guest_8, offset) = (uint32_t)(value);                                  \
		else                                                                               \
			REG(type, offset) = (type)(value);                                         \
	} while (0)

/* Effective addresses, three ways, giving a linear address. */
static inline uint64_t ea_simple(struct cpu *cpu, const struct insn *in)
{
	return REG(guest_8, in->base) + (uint64_t)(int64_t)in->disp;
}

static inline uint64_t ea_full(struct cpu *cpu, const struct insn *in)
{
	return REG(guest_8, in->base) + (REG(guest_8, in->index) << in->scale) +
	       (uint64_t)(int64_t)in->disp + cpu->segment_base[in->segment];
}

/* Offset in the segment, cut to the address size; what LEA gives. */
uint64_t ea_offset(struct cpu *cpu, const struct insn *in);
/* Any mode and form, all checks; sync_rip() is done. */
uint64_t ea_checked(struct cpu *cpu, const struct insn *in, unsigned size, bool write);
/* The same including sync_rip(). */
uint64_t ea_legacy(struct cpu *cpu, const struct insn *in, unsigned size, bool write);

/* Slow halves of memory operands: sync, canonical check, and access. Handlers reach them through
 * thunks (thunk.S), which is why all take the same arguments. Stores return true where the running
 * block may have been written. */
uint64_t load_slow(
	struct cpu *cpu, const struct insn *in, uint64_t linear, uint64_t unused, unsigned size);
uint64_t store_slow(
	struct cpu *cpu, const struct insn *in, uint64_t linear, uint64_t value, unsigned size);
uint64_t update_slow(
	struct cpu *cpu, const struct insn *in, uint64_t linear, uint64_t unused, unsigned size);
/* access_written_slow() in the same form; `linear` is the host pointer. */
uint64_t written_slow(
	struct cpu *cpu, const struct insn *in, uint64_t host, uint64_t unused, unsigned size);
/* Raise #GP where a near branch may not go to `target`. */
uint64_t check_target_slow(
	struct cpu *cpu, const struct insn *in, uint64_t target, uint64_t unused, unsigned size);
/* #SS(0) or #GP(0) where a linear address computed in 64-bit mode is not canonical. sync_rip() is
 * done. */
void check_canonical(struct cpu *cpu, const struct insn *in, uint64_t linear, unsigned size);

static inline bool attention(const struct cpu *cpu)
{
	return atomic_load_explicit(&cpu->attention, memory_order_relaxed);
}

/* --- the rest of the engine --- */

/* The block that stands for one instruction at RIP; for the run loop's stepping. */
struct block *block_find_single(struct cpu *cpu, uint64_t rip);

/* What a block's decoder knows of an instruction besides its handler.
 *
 * Most flags that instructions make are never looked at: the next arithmetic instruction overwrites
 * them. Where that is certain, because nothing in between reads flags, leaves the block or can
 * fault, the block uses the instruction's quiet handler. */
struct decoded {
	op_fn *quiet;        /* does the same and leaves the flags alone; NULL: there is none */
	bool plain;          /* touches registers only, cannot fault, reads no flag */
	bool sets_all_flags; /* all six, whatever they were */
	bool ends;           /* the block must end after it */
};

/* Decode one instruction's handler and operands. `bytes` holds `available` (1..15) bytes; returns
 * the length, or 0 where more bytes are needed. Invalid bytes decode to a handler that raises #UD.
 */
unsigned decode_instruction(struct cpu *cpu, unsigned mode, const uint8_t *bytes,
	unsigned available, unsigned page_offset, struct insn *out, struct decoded *info);

op_fn op_block_end, op_page_end; /* continue at the next instruction, in another block */
op_fn op_leave;                  /* same, but through the run loop */
op_fn op_heat;                   /* counts down runs of its block; not a guest instruction */
op_fn op_undefined;              /* #UD */
op_fn op_too_long;               /* #GP(0): longer than 15 bytes */

void interp_context_changed(struct cpu *cpu);
void interp_tlb_flushed(struct cpu *cpu, const struct tlb_request *request);
void interp_drop_blocks(struct cpu *cpu);
/* Size of interp->hash. */
size_t block_hash_bytes(void);

/* --- for engines that are built on this one --- */

#define HEAT_THRESHOLD 50 /* runs of a block before `translated` is asked about it */

/* What engine_interp is made of. A translator sets interp->translated before the first run.
 * Where it puts its own cpu->engine_ops in place, these must go on calling
 * interp_context_changed() and interp_tlb_flushed(). */
int interp_machine_create(struct engine_machine **machine, struct cpu_platform *platform,
	const struct engine_options *options);
void interp_machine_destroy(struct engine_machine *machine);
int interp_vcpu_create(struct engine_machine *machine, struct cpu *cpu);
void interp_vcpu_destroy(struct cpu *cpu);
enum vcpu_exit interp_vcpu_run(struct cpu *cpu);

/* For use in `translated`: the block that begins at cpu->rip, if the run loop asks because that
 * block has become hot; else NULL. Where it stays untranslated it will be asked about each time it
 * runs, so call interp_set_heat(). */
struct block *interp_hot(const struct cpu *cpu);
/* Do not ask about the block before it has run `count` times more. */
void interp_set_heat(struct block *block, unsigned count);

/* Decode one instruction for interp_run_one(), for the CPU's current mode. `bytes` holds
 * `available` bytes (up to 15 are looked at), the first at page_offset in its page. Returns its
 * length, or 0 where more bytes are needed; what is no instruction gives one that raises, and the
 * number of bytes that make it so. May make a stub, and their room is shared with the blocks. */
unsigned interp_decode_one(struct cpu *cpu, const uint8_t *bytes, unsigned available,
	unsigned page_offset, struct insn out[2]);
/* Run it, at cpu->rip, as one guest instruction: counted, with string instructions run to their end
 * if nothing is pending, but without what comes before and after it (breakpoints, traps, shadows;
 * interrupt_shadow may be set by it). Then cpu->rip says where to go on: true where that is the
 * next instruction in memory. It may have changed anything: mode, mappings, attention, the very
 * code. Raises as ever, to cpu->unwind. */
bool interp_run_one(struct cpu *cpu, const struct insn in[2]);

#endif
