/* 32-bit code for the occasion, from a 64-bit kernel. */
#include "layout.h"

#ifdef __x86_64__
	.text
/*
 * u32 compat_call(void (*function)(void), u32 data_selector): calls 32-bit code in compatibility
 * mode with DS and ES so loaded, and returns its EAX. R8 to R15 do not survive.
 */
	.globl compat_call
compat_call:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %esi, %ds
	mov %esi, %es
	push $SEL_CODE32
	push $1f
	lretq
	.code32
1:	call *%edi
	ljmp $SEL_CODE, $1f
	.code64
1:	mov $SEL_DATA, %ecx
	mov %ecx, %ds
	mov %ecx, %es
	mov %eax, %eax
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
#endif

	.section .note.GNU-stack, "", @progbits
