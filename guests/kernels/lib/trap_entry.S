/*
 * The 256 entry points of the IDT, and the way into ring 3 and back.
 */
#include "layout.h"

	.text
	.balign 16
	.globl trap_stubs
trap_stubs:
vector = 0
	.rept 256
	.balign 16
	.if vector == VECTOR_USER_RETURN
	jmp user_return
	.else
	.if vector != 8 && vector != 17 && vector != 21 && (vector < 10 || vector > 14)
	push $0
	.endif
	.if vector < 128
	push $vector
	.else
	push $(vector - 256)
	.endif
	jmp trap_common
	.endif
	vector = vector + 1
	.endr

#ifdef __x86_64__

trap_common:
	push %rax
	push %rbx
	push %rcx
	push %rdx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, %rdi
	cld
	mov %rsp, %rbp
	and $-16, %rsp
	call trap_dispatch
	mov %rbp, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rdx
	pop %rcx
	pop %rbx
	pop %rax
	add $16, %rsp
	iretq

/* ulong user_call_at(u16 cs, ulong ip, u16 ss, ulong sp, ulong arg, ulong flags) */
	.globl user_call_at
user_call_at:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, user_saved_sp
	push %rdx
	push %rcx
	push %r9
	push %rdi
	push %rsi
	mov %r8, %rdi
	mov %r8, %rax
	mov %edx, %ds
	mov %edx, %es
	iretq

user_return:
	mov user_saved_sp, %rsp
	mov $SEL_DATA, %edx
	mov %edx, %ds
	mov %edx, %es
	mov %edx, %ss
	pushq $2
	popfq
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

/* Ring 3: calls RAX's function on behalf of user_call(); the argument is in RDI's record. */
	.globl user_thunk
user_thunk:
	mov %rdi, %rax
	mov 8(%rax), %rdi
	call *(%rax)
	int $VECTOR_USER_RETURN

/* ulong try_code_asm(const void *code, ulong bx) */
	.globl try_code_asm
try_code_asm:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, %rax
	sub $8, %rax
	mov %rax, try_code_sp
	mov %rsi, %rbx
	movl $1f, trap_resume
	call *%rdi
1:	mov try_code_sp, %rsp
	add $8, %rsp
	movl $0, trap_resume
	cld
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

#else

trap_common:
	push %eax
	push %ecx
	push %edx
	push %ebx
	push %esp
	push %ebp
	push %esi
	push %edi
	push %ds
	push %es
	push %fs
	push %gs
	mov $SEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %esp, %ebx
	cld
	push %ebx
	call trap_dispatch
	mov %ebx, %esp
	pop %gs
	pop %fs
	pop %es
	pop %ds
	pop %edi
	pop %esi
	pop %ebp
	add $4, %esp
	pop %ebx
	pop %edx
	pop %ecx
	pop %eax
	add $8, %esp
	iret

	.globl user_call_at
user_call_at:
	push %ebx
	push %ebp
	push %esi
	push %edi
	mov %esp, user_saved_sp
	mov %esp, %ebp
	mov 28(%ebp), %edx
	push %edx
	push 32(%ebp)
	push 40(%ebp)
	push 20(%ebp)
	push 24(%ebp)
	mov 36(%ebp), %edi
	mov %edi, %eax
	mov %edx, %ds
	mov %edx, %es
	iret

user_return:
	mov $SEL_DATA, %edx
	mov %edx, %ds
	mov %edx, %es
	mov user_saved_sp, %esp
	push $2
	popf
	pop %edi
	pop %esi
	pop %ebp
	pop %ebx
	ret

	.globl user_thunk
user_thunk:
	push 4(%edi)
	call *(%edi)
	int $VECTOR_USER_RETURN

	.globl try_code_asm
try_code_asm:
	push %ebx
	push %ebp
	push %esi
	push %edi
	mov 20(%esp), %eax
	mov 24(%esp), %ebx
	mov %esp, %ecx
	sub $4, %ecx
	mov %ecx, try_code_sp
	movl $1f, trap_resume
	call *%eax
1:	mov try_code_sp, %esp
	add $4, %esp
	movl $0, trap_resume
	cld
	pop %edi
	pop %esi
	pop %ebp
	pop %ebx
	ret

#endif

	.data
	.balign 8
	.globl try_code_sp
try_code_sp:
	.quad 0
user_saved_sp:
	.quad 0

	.section .note.GNU-stack, "", @progbits
