/* Ring 3 for segments64.c, and the far side of its call gate. */
#include "layout.h"

	.text
	.globl ring3_gate_call, gate64_entry, ring3_stack_selector
ring3_gate_call:
	lcall *gate_pointer
	mov $0x600d, %eax
	int $VECTOR_USER_RETURN

gate64_entry:
	mov %rsp, seen_rsp
	mov %cs, %eax
	mov %rax, seen_cs
	mov %ss, %eax
	mov %rax, seen_ss
	mov (%rsp), %rax
	mov %rax, seen_frame
	mov 8(%rsp), %rax
	mov %rax, seen_frame + 8
	mov 16(%rsp), %rax
	mov %rax, seen_frame + 16
	mov 24(%rsp), %rax
	mov %rax, seen_frame + 24
	lretq

ring3_stack_selector:
	mov $0x600d, %eax
	int $VECTOR_USER_RETURN

	.data
	.balign 8
gate_pointer:
	.long 0
	.word SEL_TEST + 3
	.balign 8
	.globl seen_cs, seen_ss, seen_rsp, seen_frame
seen_cs:
	.quad 0
seen_ss:
	.quad 0
seen_rsp:
	.quad 0
seen_frame:
	.skip 32

	.section .note.GNU-stack, "", @progbits
