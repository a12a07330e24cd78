/* The host's processor as oracle: one random instruction with random state is run natively and in a
 * bare virtual machine, and everything a program could see afterwards is compared.
 *
 *	forms.c		all instruction encodings there are, sorted into forms; random instances of
 * one random_state.c	registers, flags and memory that make an instruction do something native.c
 * runs one on the host's processor guest.c		runs one under an engine compare.c
 * says what differs main.c		the loop, and the report
 *
 * Both sides see the same linear addresses: a page of code filled with INT3, in which the
 * instruction stands, and two pages of data with nothing around them. So every run ends with an
 * exception: #BP where the instruction was followed by the next, or by a jump within the page, or
 * the one it raised. */
#ifndef VENEER_TESTS_ORACLE_H
#define VENEER_TESTS_ORACLE_H

#include "base/bits.h"

#include <Zydis/Zydis.h>

struct engine_options;

#define ORACLE_CODE      UINT64_C(0x10000000)
#define ORACLE_CODE_SIZE 4096u
#define ORACLE_DATA      UINT64_C(0x10010000)
#define ORACLE_DATA_SIZE 8192u

/* What a program sees of its processor. */
struct oracle_state {
	uint64_t gpr[16];
	uint64_t rip, rflags;
	uint8_t zmm[32][64];
	uint64_t opmask[8];
	uint32_t mxcsr;
	uint8_t x87[160]
		__attribute__((aligned(8))); /* as FXSAVE64 lays it out, without pointers */
	uint8_t data[ORACLE_DATA_SIZE];
	/* How it ended; nothing before the run. */
	unsigned vector;
	uint64_t error, cr2;
};

/* One instruction to run. */
struct oracle_case {
	uint8_t bytes[15];
	unsigned length;
	unsigned code_bits; /* 64 or 32 */
	unsigned offset;    /* in the code page */
	ZydisDecodedInstruction instruction;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

/* --- random numbers (splitmix64) --- */

struct oracle_random {
	uint64_t state;
};

static inline uint64_t random_u64(struct oracle_random *random)
{
	uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline unsigned random_below(struct oracle_random *random, unsigned limit)
{
	return (unsigned)((random_u64(random) >> 32) * limit >> 32);
}

/* True once in `n` times. */
static inline bool random_one_in(struct oracle_random *random, unsigned n)
{
	return random_below(random, n) == 0;
}

/* --- the parts --- */

struct oracle_form; /* an instruction with its operand kinds, sizes and encoding */
struct oracle_forms {
	struct oracle_form *form;
	unsigned count, capacity;
	unsigned code_bits;
};

/* All forms of a code size. Prints nothing; exits where memory is short. */
void forms_enumerate(struct oracle_forms *forms, unsigned code_bits);
void forms_free(struct oracle_forms *forms);
const char *forms_mnemonic(const struct oracle_forms *forms, unsigned index);
/* Where the report counts it: "integer", "x87", "sse"... */
const char *forms_class(const struct oracle_forms *forms, unsigned index);
/* A random instance; false where none was found (try again). */
bool forms_instantiate(const struct oracle_forms *forms, unsigned index,
	struct oracle_random *random, struct oracle_case *out);

/* Put prefixes before it: superfluous, repeated, contradictory, out of order, or wrong. False where
 * it is another instruction then. */
bool forms_add_prefixes(
	const struct oracle_forms *forms, struct oracle_random *random, struct oracle_case *test);

/* Put one of these prefixes before it, which change where and how much the stack is accessed: 66h,
 * 67h, or both, by `which` (1 to 3). False as above. */
bool forms_add_size_prefixes(
	const struct oracle_forms *forms, unsigned which, struct oracle_case *test);

/* A state for `test` to start from: operands reach the data pages more often than not. */
void random_state(
	struct oracle_random *random, const struct oracle_case *test, struct oracle_state *out);

/* `apart`: in a process of its own; then call this before guest_init(). */
void native_init(bool apart);
void native_run(
	const struct oracle_case *test, const struct oracle_state *start, struct oracle_state *end);

/* `windows`: engine bt reaches memory through its windows, not through the soft TLB. False with a
 * message where the machine cannot be built. */
bool guest_init(const char *engine_name, const struct engine_options *options, bool windows);
void guest_run(
	const struct oracle_case *test, const struct oracle_state *start, struct oracle_state *end);
void guest_destroy(void);

enum oracle_verdict { ORACLE_SAME, ORACLE_UNDEFINED_FLAGS, ORACLE_DIFFERENT };
/* Compare; where `print`, say on standard output what differs. */
enum oracle_verdict compare_states(const struct oracle_case *test, const struct oracle_state *start,
	const struct oracle_state *native, const struct oracle_state *guest, bool print);
void print_case(const struct oracle_case *test);

/* The CPU model of the guest: all that this host and we have, less what the engine withholds or
 * guest_use_model() has left out. */
struct cpu_model;
const struct cpu_model *oracle_model(void);
/* As --cpu has it. Before anything asks for the model. */
void guest_use_model(const char *text);
/* Does the host have an instruction set that the guest's model does not? Then the guest is to raise
 * #UD for the instruction. */
bool guest_is_denied(const struct oracle_case *test);

#endif
