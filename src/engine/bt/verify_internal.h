/* What verify.c writes down, for verify_report.c to print. */
#ifndef VENEER_ENGINE_BT_VERIFY_INTERNAL_H
#define VENEER_ENGINE_BT_VERIFY_INTERNAL_H

#include "engine/bt/rewrite.h"
#include "engine/bt/verify.h"
#include "isa/address.h"

#define MAX_STEPS    1024 /* instructions in one visit to a unit, which may be a loop */
#define MAX_REGIONS  (2 * MAX_STEPS)
#define MAX_VECTORS  256 /* states of the vector registers, of the x87 stack */
#define MAX_OPERANDS 3
#define MAX_STRING   (64 * KIB) /* bytes of a repeated string instruction that are verified */
#define POOL_BYTES   (2 * MIB)

/* An operand in memory. */
struct plan_operand {
	struct isa_address address;
	uint32_t size;
	bool write, repeated;
};

/* One instruction of a unit, ready for the interpreter. */
struct plan_insn {
	struct insn run[2];
	uint64_t rip;
	uint64_t undefined; /* flags that the interpreter may leave otherwise than the processor */
	uint64_t defined;   /* flags that it sets, whatever they were */
	uint64_t tested, overwritten; /* overwritten: by something defined or not */
	struct plan_operand operand[MAX_OPERANDS];
	uint8_t operand_count;
	bool vector, x87, string, sti;
	bool back;        /* a branch to an earlier one, or itself */
	bool interpreted; /* the unit leaves it to the interpreter */
	bool apart;       /* not run twice */
};

struct verify_plan {
	struct verify_plan *next; /* all there are */
	uint64_t base;            /* bt->run.base, for which its addresses are */
	bool vector, x87;
	bool loops; /* the unit may run an instruction again */
	unsigned count;
	struct plan_insn insn[];
};

struct vector_state {
	uint8_t zmm[32][64];
	uint64_t opmask[8];
	uint32_t mxcsr;
};

struct x87_state {
	uint8_t image[160];
	uint64_t fip, fdp;
	uint16_t fop, fcs;
};

/* The state between two instructions. */
struct boundary {
	uint64_t gpr[16], rip, rflags;
	uint64_t base[3];   /* FS, GS, and the one that SWAPGS brings */
	uint64_t undefined; /* flags that are not comparable */
	struct tlb_entry *tlb;
	uint8_t insn;        /* of the unit: the next one; its count where there is none */
	uint8_t vector, x87; /* the latest of these, as index */
};

/* Bytes of RAM that a step touched, within a page. */
struct region {
	uint8_t *host;
	uint64_t linear;
	uint32_t size;
	uint32_t before, after; /* the bytes, in the pool; after: of writes */
	uint16_t step;
	bool write;
};

struct verify {
	struct bt_unit *unit; /* NULL: nothing to be compared */
	struct verify_plan *plan;
	uint64_t forgettings;
	unsigned done; /* steps that the interpreter has taken */
	bool left;     /* and then it was out of the unit */
	bool complete; /* left, or at an instruction that the unit does not pass either */
	bool looped;   /* there was a way back */
	bool failed;
	struct boundary boundary[MAX_STEPS + 1];
	struct vector_state vector[MAX_VECTORS];
	struct x87_state x87[MAX_VECTORS];
	unsigned vector_count, x87_count;
	struct region region[MAX_REGIONS];
	unsigned region_count;
	uint8_t *pool;
	uint32_t pool_used;
	struct verify_plan *plans;
	struct verify_counts counts;
};

/* Where translated code came back. */
struct verify_place {
	const struct bt_exit *exit;
	unsigned insn; /* of the unit */
	bool after;    /* after it; else before it */
	bool last;     /* behind all of them, wherever that is */
	uint64_t rip;
	bool rip_known;
	bool string;       /* some of the instruction there may be done */
	unsigned boundary; /* which that is: after so many steps */
};

/* verify_plan.c: allocated; NULL where there is no memory. */
struct verify_plan *verify_make_plan(struct bt *bt, const struct bt_unit *unit);
/* The same anew, for another bt->run.base. */
void verify_fill_plan(struct bt *bt, const struct bt_unit *unit, struct verify_plan *plan);

/* What a byte of RAM in one of the regions must be at a boundary. */
uint8_t verify_expected_byte(const struct verify *v, unsigned boundary, const uint8_t *host);

/* The flags that are compared there. */
uint64_t verify_flags(const struct verify *v, const struct verify_place *place);

/* verify_report.c */

/* Say what differs at `place`. */
void verify_report(const struct bt *bt, const struct verify *v, const struct verify_place *place);

/* Say that the `size` bytes at `made`, which will run at `at`, are not what the rewriting was to
 * yield. */
void verify_report_rewrite(const struct bt *bt, const struct rewrite *rewrite, const uint8_t *made,
	uintptr_t at, unsigned size, const char *difference);

/* The parts of an FXSAVE image that are state of the program: offset and size. */
struct x87_part {
	const char *name;
	uint8_t offset, size;
};
#define X87_PARTS 11
extern const struct x87_part verify_x87_parts[X87_PARTS];

#endif
