/* Slow handlers for the stack, near branches and old instructions; see legacy.c. */
#ifndef VENEER_ENGINE_INTERP_LEGACY_H
#define VENEER_ENGINE_INTERP_LEGACY_H

#include "engine/interp/ops.h"

void program_push(struct cpu *cpu, uint64_t value, unsigned size);
uint64_t program_peek(struct cpu *cpu, unsigned depth, unsigned size);
void program_drop(struct cpu *cpu, uint64_t bytes);
uint64_t legacy_linear(
	struct cpu *cpu, const struct insn *in, uint64_t offset, unsigned size, bool write);

slow_fn slow_push, slow_pop, slow_push_segment, slow_pop_segment, slow_pusha, slow_popa, slow_enter,
	slow_leave;
slow_fn slow_jmp, slow_jcc, slow_jmp_operand, slow_call, slow_call_operand, slow_ret, slow_loop;
slow_fn slow_daa_das, slow_aaa_aas, slow_aam, slow_aad, slow_salc, slow_bound, slow_load_far,
	slow_bit_string;

#endif
