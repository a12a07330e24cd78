/* Far transfers for segments32.c: ring 3 through call gates and back. */
#include "layout.h"

	.text
	.globl ring3_call_gate, gate_entry, gate_entry16, seen_cs, seen_ss, seen_esp
	.globl seen_parameters
	.globl ring3_call_gate16, ring3_segments, ring3_conforming, ring3_esp

/* Ring 3. Three parameters, then a call through the gate at SEL_TEST. */
ring3_call_gate:
	mov %esp, ring3_esp
	push $0x33
	push $0x22
	push $0x11
	lcall $(SEL_TEST + 3), $0
	mov %esp, %eax
	sub ring3_esp, %eax	/* the gate's code popped the parameters */
	int $VECTOR_USER_RETURN

/* Ring 0, behind a 32-bit gate that copies three dwords. */
gate_entry:
	mov %cs, seen_cs
	mov %ss, seen_ss
	mov %esp, seen_esp
	mov 8(%esp), %eax
	mov %eax, seen_parameters
	mov 12(%esp), %eax
	mov %eax, seen_parameters + 4
	mov 16(%esp), %eax
	mov %eax, seen_parameters + 8
	mov 4(%esp), %eax	/* CS */
	mov %eax, seen_parameters + 12
	mov 20(%esp), %eax	/* ESP behind the parameters */
	mov %eax, seen_parameters + 16
	mov 24(%esp), %eax	/* SS */
	mov %eax, seen_parameters + 20
	lret $12

ring3_call_gate16:
	mov %esp, ring3_esp
	pushw $0x2222
	pushw $0x1111
	lcall $(SEL_TEST + 3), $0
	mov %esp, %eax
	sub ring3_esp, %eax
	int $VECTOR_USER_RETURN

/* Behind a 16-bit gate that copies two words: IP, CS, two words, SP, SS. */
gate_entry16:
	mov %cs, seen_cs
	mov %ss, seen_ss
	mov %esp, seen_esp
	movzwl 4(%esp), %eax
	mov %eax, seen_parameters
	movzwl 6(%esp), %eax
	mov %eax, seen_parameters + 4
	movzwl 2(%esp), %eax
	mov %eax, seen_parameters + 12
	/* A 16-bit frame has lost the high halves of EIP and ESP, so do not use it to go back. */
	mov $0, %eax
	mov $SEL_USER_DATA, %edx
	push %edx
	push ring3_esp
	push $2
	push $SEL_USER_CODE
	push $1f
	iret
1:	int $VECTOR_USER_RETURN

/* Ring 3: DS, ES, FS and GS as they arrived, four bits set for those that are null. */
ring3_segments:
	xor %eax, %eax
	mov %fs, %ecx
	test %ecx, %ecx
	setz %al
	mov %gs, %ecx
	test %ecx, %ecx
	setz %ah
	int $VECTOR_USER_RETURN

/* Ring 3: a conforming segment at SEL_TEST runs at the caller's privilege. */
ring3_conforming:
	lcall $SEL_TEST, $1f
	int $VECTOR_USER_RETURN
1:	mov %cs, %eax
	lret

	.data
	.balign 4
seen_cs:
	.long 0
seen_ss:
	.long 0
seen_esp:
	.long 0
ring3_esp:
	.long 0
seen_parameters:
	.skip 24

	.section .note.GNU-stack, "", @progbits
