/* What the parts of the hotcode kernel share: see hotcode.c. */
#ifndef HOTCODE_H
#define HOTCODE_H

#include "paging.h"

typedef signed long long s64;

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R10 = 10, R11 = 11, GPRS = 16 };

#define FLAG_AF      (1 << 4)
#define STATUS_FLAGS (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

/* Where programs find their code and data: every place twice, in the lower half and as a supervisor
 * page in the upper. Absolute and RIP-relative addresses reach both. */
#define LOW_BASE   TEST_VA
#define HIGH_BASE  0xffffffffc0000000ul
#define DATA_AT    0x0
#define CODE_AT    0x100000
#define STACK_AT   0x200000
#define DATA_PAGES 4

/* The memory for operands, across the border of two pages. */
#define WINDOW      0x1f60
#define WINDOW_SIZE 320
/* What is compared of the stack: below and above RSP as it was at the start. */
#define STACK_START 0x1000
#define STACK_BELOW 256
#define STACK_ABOVE 16

/* Added to an address by FS: and GS:. */
#define FS_BASE 0x12340
#define GS_BASE (-0x5678l)

struct world {
	const char *name;
	ulong code, data, stack; /* bases, LOW_BASE or HIGH_BASE */
	bool user;
};

/* The registers before a program, and after. */
struct run_state {
	u64 gpr[GPRS];
	u64 flags, code;
	u8 reserved[16];
	u8 ymm[4][32];
} __attribute__((aligned(32)));

/* hotcode_asm.S: loads the registers, calls the code, stores the registers. */
void run_program(struct run_state *state);
extern u8 run_with_avx;

/* A program under construction. */
struct program {
	u8 *p, *start;
	ulong address; /* where `start` will run */
	u32 seed;
	const struct world *world;
	int base, index; /* registers that address memory; programs do not change them */
	s32 bias;        /* base holds the address of the window plus this */
	u16 fixed;       /* registers not to be changed */
	bool flat;       /* no segment bases, no 32-bit addresses for now */
	u32 defined;     /* flags that the manuals define at this point */
	u16 starts[64];  /* of each instruction or idiom */
	int count;
};

static inline u32 random_u32(u32 *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

/* Writes LENGTH instructions and a return to CODE, which will run at ADDRESS. A program of the same
 * seed with a smaller length is the beginning of that with a greater. */
void generate(struct program *g, u8 *code, ulong address, const struct world *world, u32 seed,
	int length);

#endif
