/* Ring 3 for sysenter.c, and where its SYSENTER leads. */
#include "layout.h"

	.text
	.globl user_sysenter, user_sysexit, sysenter_entry
/* EAX, the argument of user_call_at(), tells the entry whether to go back by SYSEXIT. */
user_sysenter:
	sysenter
user_sysenter_back:
	mov %cs, %eax
	shl $16, %eax
	mov %ss, %ecx
	mov %cx, %ax
	int $VECTOR_USER_RETURN

user_sysexit:
	sysexit

sysenter_entry:
	mov %esp, seen_esp
	pushf
	pop seen_flags
	cld
	mov %cs, %ecx
	mov %ecx, seen_cs
	mov %ss, %ecx
	mov %ecx, seen_ss
	test %eax, %eax
	jnz 1f
	mov $user_sysenter_back, %edx
	mov $user_stack_top, %ecx
	sysexit
/* CS and SS name no usable descriptors: load good ones before anything else. */
1:	mov $SEL_DATA, %ecx
	mov %ecx, %ss
	ljmp $SEL_CODE, $2f
2:	int $VECTOR_USER_RETURN

	.bss
	.balign 16
	.skip 4096
	.globl sysenter_stack
sysenter_stack:

	.data
	.balign 4
	.globl seen_cs, seen_ss, seen_esp, seen_flags
seen_cs:
	.long 0
seen_ss:
	.long 0
seen_esp:
	.long 0
seen_flags:
	.long 0

	.section .note.GNU-stack, "", @progbits
