/* Segment descriptors in memory: finding, reading, taking apart (SDM vol. 3A 3.4.5, 5.8). For the
 * files of cpu/ that load segments; everybody else uses segmentation.h. */
#ifndef VENEER_CPU_DESCRIPTOR_H
#define VENEER_CPU_DESCRIPTOR_H

#include "cpu/cpu.h"

/* Types of system descriptors (SDM vol. 3A table 3-2). In IA-32e mode only LDT, TSS32 (which then
 * is the 64-bit TSS) and the 32-bit gates (which then are the 64-bit ones) exist. */
enum {
	SYS_TSS16 = 1,
	SYS_LDT = 2,
	SYS_TSS16_BUSY = 3,
	SYS_CALL_GATE16 = 4,
	SYS_TASK_GATE = 5,
	SYS_INTERRUPT_GATE16 = 6,
	SYS_TRAP_GATE16 = 7,
	SYS_TSS32 = 9,
	SYS_TSS32_BUSY = 11,
	SYS_CALL_GATE32 = 12,
	SYS_INTERRUPT_GATE32 = 14,
	SYS_TRAP_GATE32 = 15,
	SYS_TSS_BUSY_BIT = 2,
};

#define SELECTOR_RPL(selector)  ((selector)&3)
#define SELECTOR_TI             4
#define SELECTOR_NULL(selector) (((selector) & ~3) == 0)
/* A selector as an error code names it: the RPL bits are EXT and IDT there. */
#define SELECTOR_ERROR(selector) ((selector)&0xfffcu)
#define ERROR_EXT                1u
#define ERROR_IDT                2u

struct descriptor {
	uint64_t raw;
	uint64_t high;    /* second half of the 16-byte system descriptors of IA-32e mode */
	uint64_t address; /* linear address of the first half */
	uint16_t selector;
};

static inline unsigned descriptor_type(const struct descriptor *d)
{
	return bits_get(d->raw, 43, 40);
}
static inline bool descriptor_system(const struct descriptor *d)
{
	return !(d->raw & BIT(44));
}
static inline unsigned descriptor_dpl(const struct descriptor *d)
{
	return bits_get(d->raw, 46, 45);
}
static inline bool descriptor_present(const struct descriptor *d)
{
	return d->raw & BIT(47);
}
static inline bool descriptor_code(const struct descriptor *d)
{
	return !descriptor_system(d) && (descriptor_type(d) & AR_CODE);
}
static inline bool descriptor_conforming(const struct descriptor *d)
{
	return descriptor_code(d) && (descriptor_type(d) & AR_CONFORMING);
}
static inline bool descriptor_writable_data(const struct descriptor *d)
{
	return !descriptor_system(d) &&
	       (descriptor_type(d) & (AR_CODE | AR_WRITABLE)) == AR_WRITABLE;
}
/* Data, or code that can be read. */
static inline bool descriptor_readable(const struct descriptor *d)
{
	return !descriptor_system(d) && (descriptor_type(d) & (AR_CODE | AR_READABLE)) != AR_CODE;
}

/* Read the descriptor that a selector names. False where it lies outside its table (or the LDT is
 * not usable): what to raise then is the caller's. A null selector is the caller's, too. May raise
 * #PF. */
bool descriptor_read(struct cpu *cpu, uint16_t selector, struct descriptor *out);
/* The same or raise `vector` with the selector as error code. */
void descriptor_require(
	struct cpu *cpu, uint16_t selector, enum vector vector, struct descriptor *out);
/* Add the second half of a system descriptor in IA-32e mode; raises `vector` outside the table or
 * where the type field there is not 0. */
void descriptor_require_high(struct cpu *cpu, struct descriptor *d, enum vector vector);

/* The segment it describes, to be given to cpu_set_segment(). */
struct segment descriptor_segment(const struct descriptor *d);
/* With the upper half of the base of system segments. */
struct segment descriptor_system_segment(const struct cpu *cpu, const struct descriptor *d);
/* A segment register that holds a null selector. */
struct segment descriptor_null_segment(uint16_t selector, unsigned dpl);

/* Set the accessed bit in memory, and in *d, unless it is set. May raise #PF. */
void descriptor_set_accessed(struct cpu *cpu, struct descriptor *d);
/* Set or clear the busy bit of a TSS descriptor in memory. */
void descriptor_set_busy(struct cpu *cpu, struct descriptor *d, bool busy);

/* --- loading segments for a control transfer: segmentation.c --- */

/* A code segment about to be entered: the descriptor, and CPL afterwards. */
struct code_target {
	struct descriptor descriptor;
	struct segment segment; /* selector's RPL is `cpl` */
	unsigned cpl;
	bool code64;
};

/* Check the L and D bits, that it is present (#NP), and that `offset` lies in it (#GP(0)): the
 * common end of all transfers. Sets the accessed bit and fills target->segment. */
void code_target_finish(struct cpu *cpu, struct code_target *target, unsigned cpl, uint64_t offset);
/* The checks for a direct far JMP or CALL (SDM vol. 3A 5.8.1), and then the above. */
void code_target_direct(
	struct cpu *cpu, struct descriptor *d, uint64_t offset, struct code_target *target);

/* Put it in force: CS, CPL, next_rip. Nothing here can fail. */
void code_target_enter(struct cpu *cpu, const struct code_target *target, uint64_t offset);

/* Check an SS selector for CPL `cpl` and fill in the segment. `vector` is what a bad selector
 * raises: #GP for returns, #TS for stacks from a TSS. Null is not handled here. */
void stack_segment_check(
	struct cpu *cpu, uint16_t selector, unsigned cpl, enum vector vector, struct segment *out);

/* The same for a data segment, used with the current CPL. Null is good. */
void data_segment_check(
	struct cpu *cpu, uint16_t selector, enum vector vector, struct segment *out);

/* After a return to less privilege: data segments the new CPL may not use become null (SDM vol. 2B
 * RET). */
void segment_drop_privileged(struct cpu *cpu, unsigned cpl);

/* --- the stack, while it is being switched: stack.c --- */

struct stack {
	struct cpu *cpu;
	struct segment segment;
	uint64_t pointer; /* SP, ESP or RSP after the pushes and pops so far */
	uint64_t mask;
	enum access_mode_stack { STACK_SUPERVISOR, STACK_USER } mode;
	bool wide;      /* 64-bit stack: no segment, but canonical addresses */
	uint32_t error; /* for #SS */
};

/* The stack in force now. */
struct stack stack_current(struct cpu *cpu);
/* A stack to be used with CPL `cpl`; `wide` when the code there is 64-bit. */
struct stack stack_make(struct cpu *cpu, const struct segment *segment, uint64_t pointer,
	unsigned cpl, bool wide, uint32_t error);
/* Raise #SS unless `bytes` more can be pushed. Page faults come at the push itself. */
void stack_reserve(struct stack *stack, unsigned bytes);
void stack_push(struct stack *stack, uint64_t value, unsigned size);
uint64_t stack_pop(struct stack *stack, unsigned size);
/* Pop without popping: the value `offset` bytes up. */
uint64_t stack_peek(struct stack *stack, unsigned offset, unsigned size);
/* Put stack->pointer into RSP (16-bit stacks keep its upper bits, 32-bit ones clear them). */
void stack_commit(struct stack *stack);

/* New stack from the current TSS for privilege level `cpl` (SDM vol. 3A 7.2.1, 7.7): in IA-32e mode
 * `ist` 1 to 7 chooses an interrupt stack, 0 RSPn. Checks all of it, raises #TS. */
struct stack stack_from_tss(struct cpu *cpu, unsigned cpl, unsigned ist);

#endif
