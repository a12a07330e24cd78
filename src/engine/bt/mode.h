/* The mode: what a translation depends on besides RIP and code bytes. */
#ifndef VENEER_ENGINE_BT_MODE_H
#define VENEER_ENGINE_BT_MODE_H

#include "isa/decode.h"
#include "memory/memory.h"

#include <stdbool.h>
#include <stdint.h>

struct bt;

/* Kinds of instructions that the FPU's state lets run; others raise #UD or #NM. */
enum bt_fpu {
	BT_X87 = 1,
	BT_SSE = 2,
	BT_AVX = 4,
	BT_AVX512 = 8,
};

/* Code is translated in 64-bit mode with 48-bit linear addresses, and in protected or compatibility
 * mode, code of 32 bits whose segments are flat: CS, SS, DS and ES begin at 0 and have 4 GiB. TF,
 * DF, IOPL and NT are clear. So none of these is named here.
 *
 * The fields lie in one 64-bit key, by which modes are compared and hashed. The bits that no field
 * names are zero. Whether the processor is in non-root operation (SDM vol. 3C 24.3), once guests
 * may use VT-x, is to become a field here and needs nothing else. */
struct bt_mode {
	union {
		struct {
			bool user : 1; /* CPL 3; else CPL 0 */
			/* EFLAGS.AC suspends SMAP. Never with `user`: there AC means nothing
			 * without CR0.AM, and with both nothing is translated. */
			bool ac : 1;
			bool windows : 1; /* memory through windows; else the soft TLB */
			/* Units are made for one RIP. Others, user code's, are made for a place in
			 * a page, wherever that page is. */
			bool bound : 1;
			uint64_t fpu : 4;   /* enum bt_fpu */
			bool home : 1;      /* the GS base is the delta of the home zone */
			bool low_home : 1;  /* ... and slot 0 is in it */
			bool code_home : 1; /* ... and the unit's own code: user code only */
			bool code32 : 1;
		};
		uint64_t key;
	};
};

_Static_assert(sizeof(struct bt_mode) == sizeof(uint64_t), "a mode is its key");

static inline bool bt_mode_equal(struct bt_mode a, struct bt_mode b)
{
	return a.key == b.key;
}

/* Which jump table the units of a mode are in. bt_mode_common() is the same
 * for all units in a table, which is emptied where that changes. */
#define BT_TABLES 16

static inline unsigned bt_mode_table(struct bt_mode mode)
{
	return mode.user | (unsigned)mode.ac << 1 | (unsigned)mode.windows << 2 |
	       (unsigned)mode.code32 << 3;
}

/* Is that table for units of this mode, with AC or without? */
static inline bool bt_mode_shares_table(struct bt_mode mode, unsigned table)
{
	return (bt_mode_table(mode) & ~2u) == (table & ~2u);
}

/* User mode has no AC, so such a table stays empty. */
static inline bool bt_table_used(unsigned table)
{
	return (table & 3) != 3;
}

/* The part of a mode that is the same for all units in its jump table. The rest goes by where the
 * code is, or is undone by STAC and CLAC. */
static inline struct bt_mode bt_mode_common(struct bt_mode mode)
{
	mode.ac = mode.bound = mode.code_home = false;
	return mode;
}

/* What is remembered about modes. */
struct bt_modes {
	struct bt_mode entered; /* that translated code was entered in last */
	uint64_t units_cr4;     /* the CR4 that the units were made under */
	/* What bt_mode.fpu was last, and the registers that it came from. */
	uint64_t fpu_cr0, fpu_cr4, fpu_xcr0;
	unsigned fpu;
	/* Whose units the jump tables have (bt_mode_common()), by bt_mode_table() without AC. */
	struct bt_mode tables[BT_TABLES];
	int kernel_home; /* the slot that is the kernel's home zone, or -1 */
};

/* No mode is known yet. */
void bt_mode_init(struct bt *bt);

/* The mode that the CPU is in, with its windows in step with the guest's page tables. False, and
 * *mode as it was, where code is left to the interpreter: 16-bit code, 32-bit code with segments
 * that are not flat, at CPL 1 and 2, and with flags that translated code does not expect. */
bool bt_mode_now(struct bt *bt, struct bt_mode *mode);

/* While translated code runs that was entered in bt->modes.entered: the mode for code at `rip`, as
 * far as translated code may go there (bt_mode_changes_at()). Uses no vector register. */
struct bt_mode bt_mode_inside(const struct bt *bt, uint64_t rip);

/* The mode at an exit from units that were entered in `entered`: only STAC and CLAC change it. */
struct bt_mode bt_mode_at_exit(const struct bt *bt, struct bt_mode entered);

/* The same mode for code at `rip`. */
struct bt_mode bt_mode_for(const struct bt *bt, struct bt_mode mode, uint64_t rip);

/* Does a branch from code of `mode` to `rip` lead to code of another mode? At CPL 0 it may: the
 * half of the address space that the code is in decides whether there are windows. What
 * bt_mode_for() changes does not count. */
bool bt_mode_changes_at(const struct bt *bt, struct bt_mode mode, uint64_t rip);

static inline enum isa_mode bt_mode_isa(struct bt_mode mode)
{
	return mode.code32 ? ISA_32 : ISA_64;
}

/* The size of what PUSH, CALL and RET move, and of addresses: in bytes. */
static inline unsigned bt_mode_word(struct bt_mode mode)
{
	return mode.code32 ? 4 : 8;
}

/* What is left of a RIP when the base is taken off: what units are found by besides their place in
 * RAM. */
static inline uint64_t bt_mode_offset(struct bt_mode mode, uint64_t rip)
{
	return mode.bound ? rip : rip & ~PAGE_MASK;
}

/* The GS base that units of a mode with `home` count on. False: there is none now, and such a unit
 * must not run. */
bool bt_mode_gs_base(struct bt *bt, struct bt_mode mode, uint64_t *base);

/* Before 32-bit code is entered: may operands in FS and GS be reached without a look at limit and
 * type? */
void bt_mode_note_segments(struct bt *bt);

#endif
