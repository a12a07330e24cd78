/* Operands and encodings for the hotcode kernel's generator. */
#ifndef HOTCODE_ENCODE_H
#define HOTCODE_ENCODE_H

#include "hotcode.h"

/* A register or memory operand, as ModRM has it. */
struct operand {
	bool memory;
	int reg; /* where it is no memory */
	u8 segment;
	bool address_32, sib, rip;
	u8 mod, rm, scale_index_base, rex; /* X and B of REX */
	int disp_size;
	s64 disp; /* with `rip`, the target */
};

struct opcode {
	u8 prefix, map, opcode; /* map: 0, 1 (0F), 2 (0F 38), 3 (0F 3A) */
	u8 size;                /* of a general operand: 1, 2, 4, 8 */
	bool lock, rex;
};

#define ONE(map_, opcode_, size_)                                                                  \
	((struct opcode){.map = (map_), .opcode = (opcode_), .size = (size_)})

/* Where operands are. */
ulong window(struct program *g);

u32 below(struct program *g, u32 limit);
void byte(struct program *g, int value);
void immediate(struct program *g, u64 value, int size);

/* Registers that the program may change. */
bool is_free(struct program *g, int reg);
int any_free(struct program *g);
int any_size(struct program *g);

/* A random form of address for up to 32 bytes in the window, at least 32 bytes from its ends. */
struct operand memory_operand(struct program *g, int size);
/* One whose address LEA can load. */
struct operand flat_operand(struct program *g);
struct operand register_operand(int reg);
/* Memory or a register: any for reading, a free one for writing. */
struct operand source(struct program *g, int size);
struct operand destination(struct program *g, int size);

/* A byte register that only exists with a REX prefix: SPL and up, rather than AH and up. */
bool byte_rex(int size, const struct operand *rm);
/* A register of SIZE whose change is allowed (WRITE), and whether that needs a REX prefix. AH to BH
 * are among those of one byte where the other operand needs none. */
int sized_register(struct program *g, int size, const struct operand *rm, bool write, bool *rex);

/* REG is a register, or an extension of the opcode. Immediates follow from the caller. */
void encode(
	struct program *g, struct opcode o, int reg, const struct operand *rm, int immediate_size);
/* VEX with PP (0, 66, F3, F2), WIDE for 64 bits, LONG for 256. */
void encode_vex(struct program *g, int pp, int map, bool wide, bool is_long, int opcode, int reg,
	int vvvv, const struct operand *rm, int immediate_size);

/* An instruction defines FLAGS, and leaves UNDEFINED so. */
void defines(struct program *g, u32 flags, u32 undefined);
/* Makes all flags defined: cmp with whatever. */
void compare(struct program *g);
/* Makes FLAGS defined where they are not. */
void need(struct program *g, u32 flags);

#endif
