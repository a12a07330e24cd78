/*
 * The routine that anytime.c interrupts. RDI is its data: 256 bytes. It does the same each time, leaves no flag
 * undefined but AF, does not look at TF or IF, and runs at any address.
 */
	.text
	.balign 64
	.globl anytime_routine, anytime_end
anytime_routine:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rdi, %r15
	/* A known state to start from. */
	mov $0x0123456789abcdef, %rax
	mov $0x1111, %ebx
	mov $7, %ecx
	mov $-5, %rdx
	xor %ebp, %ebp
	mov %rax, %rsi
	not %rsi
	mov $0x80000001, %r8d
	lea 3(%rcx,%rdx,4), %r9
	mov $0xfedcba98, %r10d
	mov $0x55aa55aa, %r11d
	mov $1, %r12d
	mov $2, %r13d
	mov $3, %r14d
	movq %rax, %xmm0
	pxor %xmm1, %xmm1
	mov $32, %ecx
	cld
	rep stosq
	/* Flags that live across memory accesses. */
	mov %r15, %r10
	mov $-1, %r11
	add %rax, (%r10)
	mov %r11, 8(%r10)
	adc $0, %r11
	adc %rsi, 16(%r10)
	mov 16(%r10), %rcx
	sbb 8(%r15), %rcx
	seto 24(%r15)
	setb %ah
	movzbl 24(%r15), %ebx
	cmovs %rcx, %rbx
	jnz 1f
	inc %r14
1:	dec %r13
	/* The stack, every way. */
	push %rcx
	push 8(%r15)
	push $0x77
	pop 32(%r15)
	pop %r8
	xchg %rcx, (%rsp)
	call 3f
	pop %rdx
	/* Room on the stack would hold what earlier interrupts left there. */
	enter $0, $0
	push %rdx
	push %rcx
	push $5
	mov %rdx, -8(%rbp)
	movq $9, (%rsp)
	add %rsp, %rbp
	sub %rsp, %rbp
	leave
	lea 4f(%rip), %rcx
	call *%rcx
	/* Locked and other read-modify-write. */
	mov $5, %r11d
	lock xadd %r11, 40(%r15)
	lock incl 48(%r15)
	mov 48(%r15), %eax
	lock cmpxchg %r9d, 48(%r15)
	setz %bl
	xchg %r9, 56(%r15)
	add %bl, 57(%r15)
	neg %r9
	bts $3, %r9
	/* A loop. */
	mov $4, %ecx
2:	lea (%r9,%rcx,2), %r9
	mov %r9, 64(%r15,%rcx,8)
	add 64(%r15,%rcx,8), %r10
	loop 2b
	/* Strings: forward, backward, overlapping, compared. */
	mov %r15, %rsi
	lea 112(%r15), %rdi
	mov $40, %ecx
	rep movsb
	lea 30(%r15), %rsi
	lea 33(%r15), %rdi
	mov $11, %ecx
	std
	rep movsb
	cld
	lea 112(%r15), %rdi
	mov %r15, %rsi
	mov $40, %ecx
	repe cmpsb
	setne 200(%r15)
	mov $0x77, %al
	mov %r15, %rdi
	mov $64, %ecx
	repne scasb
	mov $3, %ecx
	lea 208(%r15), %rdi
	rep stosl
	lodsw
	/* Vectors and x87. */
	movups 16(%r15), %xmm1
	paddq %xmm1, %xmm0
	movups %xmm0, 160(%r15)
	movd %xmm1, %r11d
	fildl 40(%r15)
	fiaddl 48(%r15)
	fistpll 176(%r15)
	lea 40(%r15), %r10
	movq (%r10), %rcx
	add %r11, %rcx
	lahf
	cmp %rcx, %rax
	sahf
	sbb %rdx, %rdx
	mov %gs:0, %r14
	add %fs:8, %r14
	mov %r14, 184(%r15)
	mov %r15, %rdi
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
3:	addq $3, 8(%rsp)
	ret
4:	inc %r12
	ret
anytime_end:

/* void anytime_call(ulong routine, ulong data, ulong stack, ulong flags) */
	.globl anytime_call
anytime_call:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rdi, %rax
	mov %rsi, %rdi
	mov %rsp, %rbp
	mov %rdx, %rsp
	push %rbp
	mov $1, %ebx
	mov $2, %ebp
	mov $3, %r8d
	mov $4, %r9d
	mov $5, %r10d
	mov $6, %r11d
	mov $7, %r12d
	mov $8, %r13d
	mov $9, %r14d
	mov $10, %r15d
	mov $11, %edx
	mov $12, %esi
	pxor %xmm0, %xmm0
	pushf
	andq $0x200, (%rsp)
	or %rcx, (%rsp)
	mov $13, %ecx
	popf
	call *%rax
	pushf
	andq $~0x100, (%rsp)
	popf
	pop %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

/* For ring 0: an interrupt may come where it is not masked, and nowhere else. */
	.balign 64
	.globl masked_routine, masked_end, masked_start, masked_stop
masked_routine:
	sti
	nop
	addq $1, (%rdi)
	cli
masked_start:
	mov (%rdi), %rax
	lea 1(%rax), %rcx
	mov %rcx, 8(%rdi)
	push %rcx
	pushf
	orq $0x200, (%rsp)
	mov %rax, 16(%rdi)
	sti			/* shadows the next instruction */
masked_stop:
	popf
	nop
	pop %rcx
	cli
	mov 8(%rdi), %rdx
	sub (%rdi), %rdx
	mov %rdx, %rax
	ret
masked_end:

	.section .note.GNU-stack, "", @progbits
