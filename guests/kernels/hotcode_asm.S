/* void run_program(struct run_state *state): every register from STATE, call, every register back. */
	.text
	.globl run_program
run_program:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rdi, run_current
	mov %rsp, run_sp
	mov 136(%rdi), %rax
	mov %rax, run_code
	testb $1, run_with_avx
	jz 1f
	vmovups 160(%rdi), %ymm0
	vmovups 192(%rdi), %ymm1
	vmovups 224(%rdi), %ymm2
	vmovups 256(%rdi), %ymm3
	jmp 2f
1:	movups 160(%rdi), %xmm0
	movups 192(%rdi), %xmm1
	movups 224(%rdi), %xmm2
	movups 256(%rdi), %xmm3
2:	push 128(%rdi)
	popf
	mov (%rdi), %rax
	mov 8(%rdi), %rcx
	mov 16(%rdi), %rdx
	mov 24(%rdi), %rbx
	mov 32(%rdi), %rsp
	mov 40(%rdi), %rbp
	mov 48(%rdi), %rsi
	mov 64(%rdi), %r8
	mov 72(%rdi), %r9
	mov 80(%rdi), %r10
	mov 88(%rdi), %r11
	mov 96(%rdi), %r12
	mov 104(%rdi), %r13
	mov 112(%rdi), %r14
	mov 120(%rdi), %r15
	mov 56(%rdi), %rdi
	call *run_code(%rip)
	mov %rdi, run_rdi
	mov %rsp, run_end_sp
	mov run_sp, %rsp
	pushf
	mov run_current, %rdi
	popq 128(%rdi)
	mov %rax, (%rdi)
	mov %rcx, 8(%rdi)
	mov %rdx, 16(%rdi)
	mov %rbx, 24(%rdi)
	mov run_end_sp, %rax
	mov %rax, 32(%rdi)
	mov %rbp, 40(%rdi)
	mov %rsi, 48(%rdi)
	mov run_rdi, %rax
	mov %rax, 56(%rdi)
	mov %r8, 64(%rdi)
	mov %r9, 72(%rdi)
	mov %r10, 80(%rdi)
	mov %r11, 88(%rdi)
	mov %r12, 96(%rdi)
	mov %r13, 104(%rdi)
	mov %r14, 112(%rdi)
	mov %r15, 120(%rdi)
	testb $1, run_with_avx
	jz 1f
	vmovups %ymm0, 160(%rdi)
	vmovups %ymm1, 192(%rdi)
	vmovups %ymm2, 224(%rdi)
	vmovups %ymm3, 256(%rdi)
	jmp 2f
1:	movups %xmm0, 160(%rdi)
	movups %xmm1, 192(%rdi)
	movups %xmm2, 224(%rdi)
	movups %xmm3, 256(%rdi)
2:	cld
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

	.data
	.balign 8
	.globl run_with_avx
run_current:
	.quad 0
run_sp:	.quad 0
run_code:
	.quad 0
run_rdi:
	.quad 0
run_end_sp:
	.quad 0
run_with_avx:
	.byte 0

	.section .note.GNU-stack, "", @progbits
