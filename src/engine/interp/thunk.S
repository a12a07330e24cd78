/* Calls that preserve every register but the result.
 *
 * A handler's slow path is a call, and a C call would make the compiler build a stack frame for
 * the fast path too. Through these thunks the call looks like a single instruction that changes
 * RAX: handlers stay leaf functions.
 *
 *	in:  rdi = cpu, rsi = in, rax = linear address, edx = size, rcx = value (stores)
 *	out: rax
 *
 * DEFINE_THUNK_CALL() in ops.h makes the functions that call them. */

.macro THUNK name, target
	.globl \name
	.hidden \name
	.type \name, @function
\name:
	pushq %rbp
	movq %rsp, %rbp
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	andq $-16, %rsp
	movq %rcx, %r8
	movl %edx, %ecx
	movq %rax, %rdx
	xchgq %r8, %rcx		/* value in rcx, size in r8d */
	call \target
	leaq -64(%rbp), %rsp
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rbp
	ret
	.size \name, . - \name
.endm

	.text
	THUNK thunk_load, load_slow
	THUNK thunk_update, update_slow
	THUNK thunk_store, store_slow
	THUNK thunk_written, written_slow
	THUNK thunk_check_target, check_target_slow

	.section .note.GNU-stack, "", @progbits
