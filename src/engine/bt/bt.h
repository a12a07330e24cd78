/* The binary translator's inside: what its files share.
 *
 * Hot guest code (of 64 bits, and flat code of 32) is translated into units of host code; cold code
 * stays in the interpreter, whose run loop (engine/interp/run.c) asks bt_translated() first. A unit
 * is made for a place in RAM and a mode, some for a RIP, too. It never leaves one guest page, but
 * for a single instruction that straddles two, which is a unit of its own.
 *
 * The words used here:
 *
 *	unit	the host code made for a run of guest instructions, and its bookkeeping
 *	exit	a place where a unit leaves for C, numbered; bt_exit says what C has to do
 *	mark	says which guest instruction a stretch of host code belongs to, and whether that
 *		instruction has done anything yet
 *	commit	the one host instruction with which a guest instruction takes effect
 *	slot	an aligned 512 GiB of the guest's linear addresses
 *	window	512 GiB of our own address space that shows one slot, by host mappings
 *	delta	a window's host address less its slot's linear address
 *	bound	said of a unit: it is made for one RIP, as a kernel's are; others may run anywhere
 *	base	where the page begins that the running unit's code is in; 0 if that is bound
 *	zone	slots of a program whose windows have the same delta; `home` is zone 0
 *	hole	a page of a large writable mapping that is read-only, since stores must be noticed
 *	border	where two host mappings meet in a window; the host limits their number
 *	space	a guest address space (root of page tables, PCID) and its windows
 *	young	a space in which little code has run: it has no windows, but the soft TLB
 *	doubt	after a flush: a page's mapping must be looked up again before it is used
 *	settle	look up what is in doubt, and then show its windows again
 *	show	put a window's delta into its table; hide: put the delta that leads nowhere there
 *	watched	said of a page in RAM: its stores must be noticed
 *	rent	an access of user code that is interpreted, its page not mapped yet: that waits
 *		until the page has faulted often enough to be worth a mapping
 *	heat	how often a place was passed through; hot code is translated
 *	adapt	translate an instruction that keeps faulting again, with the soft TLB
 *
 * A unit's life:
 *
 *	made	The interpreter has run a block so often that it is hot. bt_translated() (run.c)
 *		finds no unit for it (lookup.c). analyze() decodes and classifies instructions up
 *		to the end of the page or an unconditional transfer; translate_unit() emits each
 *		by its row of guest_kinds[], then what is rare, out of line, and cache_add() makes
 *		the unit findable: by RAM offset and mode, and by RIP in a jump table.
 *	entered	glue_enter() loads the guest's registers and jumps to unit->entry. Other units
 *		come by a direct jump, patched in when it was first taken: from the same page
 *		to unit->entry as well, from others to unit->linked; or by the jump table to
 *		unit->code. There it is first compared whether the unit is what lies at RIP.
 *	left	An exit puts its number into RCX and jumps to glue.exit, which stores the guest's
 *		registers. serve_exit() (serve.c) does what the exit asks for and says where to go
 *		on. A host fault is left in the same way, but from a signal handler (fault.c), with
 *		the guest in the state before the instruction.
 *	dropped	when its page is written: no way leads to it any more. If its code turns out to be
 *		the same still it is taken back (stale.c). Its memory is free again when its region
 *		of the cache is emptied (evict.c), with all other units there.
 *
 *	mode.c		which mode the CPU is in
 *	lookup.c	a unit is found, or made
 *	run.c		the loop: enter, serve the exit, enter again; serve.c: exits
 *	engine.c	a vCPU's translator is created; what cpu/ and memory/ tell it
 *	analyze.c	a run of guest instructions, decoded and classified
 *	translate.c	a unit from them; unit.c: the unit in the making
 *	identical.c	instructions that stay as they are
 *	branch.c	control transfers
 *	push_pop.c	the stack; stack.c: RSP from the stack or from a register
 *	special.c	system instructions done in place
 *	string.c	MOVS and STOS
 *	operand.c	how a guest address becomes a host address
 *	facts.c		what is known about addresses, so that it need not be checked
 *	rewrite.c	one instruction with its registers and memory operand replaced
 *	emit.c		a small assembler
 *	cache.c		where units live, and are dropped; soft_tlb.c: the soft TLB
 *	evict.c		how room is made for new ones
 *	find.c		how units are found; jump tables and code maps
 *	stale.c		units whose page was written
 *	glue.c		the generated code between C and units
 *	window*.c	shadow page tables made of host mappings; window_internal.h lists the files
 *	fault.c		signals: faults in units, and kicks
 *	verify*.c	--verify
 *	trace.c stats.c	--trace-bt, --stats
 *
 * Where the guest's state is while a unit runs:
 *
 *	RAX RBX RDX RSI RDI RBP R8 R9 R12 R13 R14 R15	in the host register of that name
 *	RCX		in host R11
 *	RSP		in host RSP, plus bt->run.stack_delta
 *	R10 R11		in memory, cpu->gpr[]
 *	flags		the six arithmetic ones in the host's flags, exact at every instruction;
 *			others in cpu->system_flags; host DF, AC, TF are clear
 *	vectors		in the host's, if bt->run.vectors_away is 0; else in cpu->fpu
 *	x87, MXCSR	in the host's
 *
 * Host RCX and R10 are scratch. RCX, because JRCXZ is the only conditional jump that looks at no
 * flag: all address checks end in one. Everything translated code reaches besides the guest's
 * memory lies in the low 2 GiB of the address space (struct cpu, struct bt, the code), so an
 * absolute 32-bit address names it and no register is spent on a pointer.
 *
 * Every guest instruction's translation does nothing visible up to one host instruction that does
 * it all (the commit), and at most tidying after that. So a fault or kick before the commit is
 * repaired by forgetting scratch registers, and any instruction can be handed to the interpreter
 * instead. */
#ifndef VENEER_ENGINE_BT_BT_H
#define VENEER_ENGINE_BT_BT_H

#include "cpu/cpu.h"
#include "engine/bt/mode.h"
#include "engine/interp/interp.h"

#include <Zydis/Zydis.h>
#include <pthread.h>

struct windows;
struct bt_unit;
struct verify;
struct verify_plan;

/* Host registers with a role. */
#define HOST_RCX     R11 /* where guest RCX is */
#define SCRATCH      RCX
#define SCRATCH_ADDR R10

/* The soft TLB: like struct cpu's, but in the form that code without flags can use. Indexed by
 * bits 12..21 of a linear address. minus_read + address is below 4096 on a hit. */
#define SOFT_TLB_SIZE 1024
struct soft_tlb {
	/* addend: to a linear address; hardened: to an offset in the page. */
	uint64_t minus_read[SOFT_TLB_SIZE], minus_write[SOFT_TLB_SIZE], addend[SOFT_TLB_SIZE];
	/* Indices of entries that are not global; SOFT_TLB_SIZE + 1 of them: not all are listed. */
	uint16_t local[SOFT_TLB_SIZE];
	unsigned local_count;
};
/* No address with this index can hit, nor one just below its page: for an entry without a page. */
#define SOFT_TLB_EMPTY(index) (-((uint64_t)((index) ^ 2) << PAGE_SHIFT))

#define SLOT_SHIFT      39 /* a slot: 512 GiB of linear addresses, what one window shows */
#define SLOT_OF(linear) ((uint16_t)((linear) >> SLOT_SHIFT))
#define SLOTS           65536

/* Zones: slots whose windows have the same delta, so that code need not know in which of them an
 * address lies. A program's zones have small numbers, and so code can be shared by programs whose
 * slots are different ones. For a kernel, each slot is a zone, by its own number. */
#define ZONES     16
#define ZONE_HOME 0    /* the program's main zone */
#define NO_ZONE   0xff /* in bt->zone: the slot has no window, or there was no number left for it */
/* What else may be known of an operand: it is in slot 0, whatever zone that is in; or nothing. */
#define ZONE_LOW  0x10000
#define ZONE_NONE 0x10001

/* The table from RIP, by its low 16 bits, to a unit's checked entry; or bt->glue.miss. */
#define JUMP_ENTRIES 65536

/* A unit is reached from other pages by what it was when that way was made: an entry in a jump
 * table, a direct jump. Both stay when the guest changes its page tables or runs another process.
 * So there the unit compares whether its page still is where control is about to go. Each page of
 * RAM that holds translated code has a number, from 1 on, and an entry in the code map: one less
 * the linear address at which it lies, if it may be fetched there without a look at the page
 * tables. That is odd; zero is not, and so equals nothing: it stands for what is not known. */
#define CODE_PAGES         65536
#define CODE_PLACE_UNKNOWN 0
#define CODE_PLACE(linear) (1 - ((linear)&PAGE_MASK))

/* Why a unit came back. */
enum bt_exit_kind {
	BT_EXIT_BRANCH, /* direct branch to a place with no unit yet: patch it */
	BT_EXIT_JUMP,   /* to R10, where glue.miss has found no unit */
	/* this instruction by the interpreter, then on at `resume` (0: find out) */
	BT_EXIT_INTERPRET,
	BT_EXIT_SOFT_MISS, /* address in R10 is not in the soft TLB */
	BT_EXIT_WRITTEN, /* a store hit a page with code; host address in R10; go on at `resume` */
	BT_EXIT_MATURE,  /* much code has run in a young address space */
	BT_EXIT_SECOND,  /* the code map does not have the page that the code runs on into */
	BT_EXIT_KICK,    /* from a signal handler: state is that before cpu->rip */
	BT_EXIT_FAULT,   /* the same, and the interpreter should run the instruction there */
};

struct bt_exit {
	/* size: of the access, for SOFT_MISS and WRITTEN; 0: anything in its page */
	uint8_t kind, size;
	bool write;
	/* SOFT_MISS: the instruction may have to raise something else than a page fault */
	bool other_faults;
	bool masked;    /* SOFT_MISS: nothing of the operand may have to be touched */
	uint16_t fop;   /* opcode of the x87 instruction that bt->run.last_x87 names by this */
	uint16_t insn;  /* which instruction of the unit it belongs to */
	uint32_t patch; /* BRANCH: where in the code the rel32 is to be patched, as cache offset */
	/* Less bt->run.base, as in struct bt_unit: */
	uint64_t rip; /* BRANCH: target; else of the instruction */
	uint64_t next_rip;
	bool next_in_scratch; /* WRITTEN: it is in bt->run.scratch[0] instead, and complete */
	uintptr_t resume;     /* host address to go on at */
	/* by how much RSP has changed, where the instruction may have to be undone */
	int32_t moved;
	struct bt_unit *unit;
	union {
		struct { /* INTERPRET, SOFT_MISS */
			/* cpu/'s routine for the instruction; NULL: the interpreter's, by insns */
			void (*routine)(struct cpu *cpu);
			/* the instruction decoded for the interpreter, then op_leave */
			struct insn *insns;
		};
		struct {                    /* BRANCH */
			struct bt_unit *to; /* the unit that the patched jump leads to, or NULL */
			uintptr_t unlinked; /* where that jump led before */
		};
	};
};

/* Which guest instruction a stretch of host code belongs to; sorted by `host`. */
struct bt_mark {
	uint16_t host; /* offset from the unit's code */
	uint8_t insn;
	uint8_t state; /* enum bt_mark_state */
};

enum bt_mark_state {
	MARK_BEFORE, /* nothing has happened yet: may roll back to the instruction's start */
	/* committed, or (without BMI2) flags are put aside: must run on to the next mark */
	MARK_AFTER,
	MARK_STRINGS, /* as BEFORE; RSI and RDI hold host addresses (bt->run.string_delta) */
};

#define UNIT_MAX_INSNS 64
#define UNIT_ONE_PAGE  (~UINT64_C(0))
#define ADAPT_FAULTS   128

/* How much of the vector registers is in the host's. SSE code needs NARROW; what is above its 128
 * bits then stays in cpu->fpu, unchanged. */
enum bt_vectors { VECTORS_AWAY, VECTORS_NARROW, VECTORS_WIDE };

struct bt_insn {
	uint16_t offset; /* of its first byte, in the guest page */
	uint8_t length;
	bool shadowed;   /* it follows an STI */
	uint8_t adapted; /* faults seen; at ADAPT_FAULTS it is translated with the soft TLB */
	uint16_t host;   /* offset of its code in the unit */
	uint16_t
		x87_before; /* opcode of the x87 instruction before it, where that left no record */
	/* Its last `constant_size` bytes are a constant that the host code has once, at this offset
	 * in the unit, and that nothing else depends on. 0: no. */
	uint16_t constant;
	uint8_t constant_size;
	bool interpreted;   /* it leaves the unit, which does not run it itself */
	bool stack;         /* it uses the stack by the host's RSP */
	const char *reason; /* why it is not identical; NULL where it is (string constant) */
};

struct bt_unit {
	/* First what cache_find() looks at, in one cache line. */
	uint64_t rip; /* less bt->run.base: an offset in the page, or all of it where mode.bound */
	uint64_t key; /* RAM offset of the first byte */
	struct bt_mode mode;
	struct bt_unit *hash_next;
	uintptr_t entry; /* the entry that checks nothing */
	/* A straddling instruction is a unit of its own: the RAM offset of the page that it runs
	 * on into. UNIT_ONE_PAGE: all code is in the page of the key. */
	uint64_t second;
	uint16_t code_page; /* the number of its page, of the key */
	uint16_t count;     /* guest instructions */
	uint16_t mark_count;
	/* Its page was written, or it was replaced: no way leads into it. Where it was only written
	 * it may be taken back (stale.c). Its first bytes are not what they were. */
	bool dropped;
	bool evicted;     /* it is about to be forgotten, for good */
	uint8_t first[5]; /* those, of the entry, while it is dropped */
	bool gate_shared; /* units that it has replaced lead through its gate, too */
	uint8_t along;    /* so many times more it is taken back when another one is wanted */
	uint8_t stores;   /* its page has been written so often while it was stale */
	uint32_t size;    /* bytes of host code, from `code` on */
	uintptr_t code;   /* host address; here is the checked entry (RIP in R10) */
	uintptr_t linked; /* the entry for direct jumps from other pages, RIP in R10, too */
	uintptr_t gate;   /* where the entry leads while the unit is dropped; 0: none yet */
	uint16_t again,
		cold; /* where loops' second codes begin, and what is out of line; for the trace */
	struct bt_unit *page_next, *second_next; /* for both: cache_page_next() */
	struct bt_insn *insns;
	struct bt_mark *marks;
	/* copy of the guest code: the bytes from the first to the last instruction */
	uint8_t *guest;
	uint16_t guest_bytes;
	uint16_t guest_start;     /* offset in the page of guest[0] */
	uint64_t runs;            /* counted only with engine_options.count */
	struct verify_plan *plan; /* --verify */
	bool straight;            /* no branch stays within it */
};

/* Counters for --stats. */
struct bt_stats {
	uint64_t units, guest_instructions_translated, identical, translated_bytes, chained,
		jump_misses, interpreted, soft_misses, hidden_faults, rents, true_faults,
		other_faults, retranslations, maps, unmaps, protects, revalidations, spared, traces,
		window_evictions, spaces, cache_flushes, regions_emptied, pages_dropped, kicks,
		steps, instructions, entries, jumps_found, units_taken_back, units_patched;
};

/* What translated code and the glue read and write, each by its absolute address. */
struct bt_run {
	uint64_t vectors_away; /* 1: XMM0..15 are in cpu->fpu; 0: in the host's registers */
	uint64_t wide_away;    /* the same of all other vector and mask state; 1 if vectors_away */
	uint64_t stack_delta;  /* host RSP less guest RSP; 0 outside window mode */
	uint64_t minus_stack_delta;
	uint64_t string_delta[2]; /* added to RSI, RDI while a string instruction runs */
	uint64_t scratch[4];
	uint64_t saved_rax, saved_flags;
	uint64_t count;       /* instructions run, with engine_options.count */
	uint64_t pauses_left; /* PAUSEs until the host's processor is given up */
	uint64_t tsc_offset;  /* the guest's TSC less the host's */
	uint64_t host_rsp, entry_rsp;
	uint64_t gs_base, gs_base_now; /* what translated code wants, and what is in force */
	/* Where the page begins that the running unit's code is in; 0 for a unit that is bound to
	 * its address (bt_mode.bound). What units and exits know as `rip` is to be added. */
	uint64_t base;
	/* In 32-bit code: operands in FS, GS need checks, and are the interpreter's */
	uint64_t segment_checked[2];
	uint64_t branch; /* exit ID of the indirect branch under way: for #GP on a wild target */
	/* exit ID that tells of the last x87 instruction since the last exit; or 0 */
	uint64_t last_x87;
	uint64_t last_x87_base; /* bt->run.base there */
	uint64_t young_left;    /* runs of code in this young address space until it is mature */
	uint64_t vectors_were_here; /* at the last exit: enum bt_vectors */
	uint64_t entry, entry_r10;  /* where glue.enter goes, and R10 then */
	uint64_t exit_address;      /* R10 on exit */
	uint64_t
		miss_unit; /* glue.miss: one and the number of the unit that was not where it was */
	uint64_t miss_saved[8], miss_target; /* while bt_find_jump() runs */
	/* Field masks for PEXT. */
	uint64_t mask_index, mask_page, mask_offset, mask_bit[2]; /* of 32 bits, of 64 */
};

/* Addresses of the glue's routines (glue.c). Translated code jumps through these variables. */
struct bt_glue {
	uintptr_t enter, exit, exit_jump, load_vectors, load_wide, miss, miss_unit;
	/* Handlers set RIP here: RCX = exit ID; all other registers are the guest's. */
	uintptr_t exit_rolled_back;
};

/* The cache is filled, and emptied, region by region (evict.c). Units, their exits and their
 * bookkeeping are in one, each kind with a range of numbers or addresses of its own. */
#define CODE_REGIONS 8
struct code_region {
	uintptr_t start, end, used; /* code; used: the end of the last unit */
	uint8_t *book;              /* bookkeeping */
	size_t book_used;
	uint32_t first_unit, unit_count;
	uint32_t first_exit, exit_count;
};

/* The cache of units (cache.h), as far as run loop and signal handlers look into it themselves. */
struct bt_code {
	uintptr_t start, end;  /* executable: glue first, then units */
	uintptr_t units_start; /* end of the glue */
	struct code_region region[CODE_REGIONS];
	unsigned filling;  /* the region that units are made in */
	intptr_t writable; /* added to a code address: where it can be written */
	bool full;         /* a unit did not fit: make room before the next */
	/* So often units have been forgotten to make room: a pointer to one may be worthless. */
	uint64_t forgettings;
	_Atomic bool drops_pending; /* pages wait in the cache's queue */
	struct bt_exit *exits;
	uint32_t exit_limit, unit_limit; /* of one region */
	struct bt_unit **units; /* by number; those of a region in the order of their code */
};

/* What code is emitted for: the host, and where the memory's page flags lie. */
struct bt_host {
	bool fsgsbase, bmi2;
	int32_t flags_displacement; /* host address >> 12, plus this: address of the page's flags */
};

/* Per vCPU; bt_of(). One mapping in the low 2 GiB. */
struct bt {
	struct cpu *cpu;
	struct bt_run run;
	struct bt_glue glue;
	struct bt_code code;
	struct bt_modes modes;
	struct bt_host host;

	_Atomic uint32_t running; /* in translated code, or about to be: kicks need a signal */
	pid_t tid;
	struct {
		struct bt_unit *unit;
		unsigned insn;
	} rolled_back; /* the instruction whose fault was rolled back last */

	struct engine_options options; /* the machine's */
	struct memory_listener memory_listener;
	struct bt_cache *cache;
	struct windows *windows;
	struct translator *translator; /* working space */
	struct verify *verify;         /* --verify */
	struct bt_stats stats;

	/* Tables that translated code indexes. */
	struct soft_tlb soft_tlb[TLB_VIEWS];
	/* Added to a linear address: the host's. By view: [0] user, [1] supervisor; index
	 * SLOT_OF(). A slot without a window has a value that leads nowhere (window.h). */
	uint64_t delta[2][SLOTS];
	/* Of the user's view: the zone of each slot, and the delta of each zone. */
	uint8_t zone[SLOTS];
	uint64_t zone_delta[ZONES];
	uint64_t jump[BT_TABLES][JUMP_ENTRIES];
	/* Where pages of code lie, by view, index their numbers. */
	uint64_t code_map[2][CODE_PAGES];
};

static inline bool same_page(uint64_t a, uint64_t b)
{
	return ((a ^ b) & PAGE_MASK) == 0;
}

/* The table of deltas that a mode's code goes by. */
static inline uint64_t *bt_deltas(struct bt *bt, struct bt_mode mode)
{
	return bt->delta[!mode.user];
}

static inline struct bt *bt_of(const struct cpu *cpu)
{
	struct interp *interp = interp_of(cpu);

	return interp ? interp->translator : NULL;
}

/* The RIP that the running unit, or an exit of it, knows as `rip`. */
static inline uint64_t bt_rip(const struct bt *bt, uint64_t rip)
{
	rip += bt->run.base;
	return bt->modes.entered.code32 ? (uint32_t)rip : rip;
}

/* Is `pc` in this vCPU's translated code or glue? */
static inline bool bt_owns_pc(const struct bt *bt, uintptr_t pc)
{
	return pc >= bt->code.start && pc < bt->code.end;
}

/* What was the guest doing at host address `pc`? False: glue, or between units; step on. */
struct bt_where {
	struct bt_unit *unit;
	unsigned insn;
	uint64_t rip; /* of that instruction */
	enum bt_mark_state state;
};
bool bt_locate(const struct bt *bt, uintptr_t pc, struct bt_where *where);

/* Exit IDs that every vCPU has. */
#define BT_EXIT_ID_KICK  0
#define BT_EXIT_ID_FAULT 1
#define BT_EXIT_ID_JUMP  2
#define BT_EXIT_ID_NONE  3 /* where there was no room for one: of code that will not run */
#define BT_EXIT_ID_FIRST 4

#endif
