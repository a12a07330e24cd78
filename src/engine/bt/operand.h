/* How a guest's memory operand becomes a host's. */
#ifndef VENEER_ENGINE_BT_OPERAND_H
#define VENEER_ENGINE_BT_OPERAND_H

#include "engine/bt/unit.h"

struct access {
	unsigned insn, size;
	bool write;
	const ZydisDecodedOperand *memory; /* NULL: the stack, at RSP + disp */
	int32_t disp;
	bool computed; /* the linear address is in R10 already */
	access_op *op;
};

/* Emit the access. `op` emits the instruction itself, given the host's operand; it is called once,
 * or a second time for the code out of line. The code that is emitted also notices a store to a
 * page with translated code. */
void emit_access(struct translator *t, const struct access *access);
/* The soft TLB of the unit's view, as it is where code is emitted now. */
struct soft_tlb *soft_tlb_of(struct translator *t);
/* RCX: the flags of the page that the host address in R10 is in. */
void emit_page_flags(struct translator *t);
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
/* The same of a sum of which no more than 32 bits count. */
bool operand_is_direct_32(const ZydisDecodedOperand *memory, struct host_memory *out);
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

#endif
