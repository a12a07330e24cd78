/* Calls, returns and indirect jumps of a guest, each in several translations. A guest address is a
 * number that has nothing to do with where the code is (GUEST); main_branches.c fills the jump table
 * from the section "sites": guest address, host address of the checked entry. */
	.intel_syntax noprefix
	.text
	.set GUEST, 0x401000

	.macro site
	.pushsection sites, "a"
	.quad GUEST, 7777f
	.popsection
	.endm

	/* The callee's check: is it me that R10 means? */
	.macro landing
	site
7777:	lea rcx, [r10-GUEST]
	jrcxz 7778f
	jmp branch_failed
7778:
	.endm

	/* What every variant has: how it calls a known function, returns, and jumps to R10. */
	.macro call_native target
	call \target
	.endm
	.macro return_native
	ret
	.endm

	/* Everything through the jump table. */
	.macro call_table target
	.set GUEST, GUEST+0x35
	push GUEST
	jmp \target
	landing
	.endm
	.macro return_table
	pop r10
	movzx ecx, r10w
	jmp [rcx*8+branch_table]
	.endm

	/* The same for RIPs that do not fit a 32-bit displacement. */
	.macro call_table64 target
	.set GUEST, GUEST+0x35
	mov r10, GUEST
	push r10
	jmp \target
	site
7777:	movabs rcx, -GUEST
	lea rcx, [rcx+r10]
	jrcxz 7778f
	jmp branch_failed
7778:
	.endm
	.macro return_table64
	return_table
	.endm

	/* A classic hash of pairs, which costs the flags. */
	.macro call_hash target
	.set GUEST, GUEST+0x35
	push GUEST
	jmp \target
	site
7777:
	.endm
	.macro return_hash
	pop r10
	mov ecx, r10d
	and ecx, 0xffff
	shl ecx, 4
	cmp r10, [rcx+branch_pairs]
	jne branch_failed
	jmp [rcx+branch_pairs+8]
	.endm

	/* An inline cache at the return: one predicted target, then the table. */
	.macro call_cache target
	.set GUEST, GUEST+0x35
	push GUEST
	jmp \target
	landing
	.endm
	.macro return_cache first=1
	pop r10
	lea rcx, [r10-FIRST_SITE]
	jrcxz 7779f
	movzx ecx, r10w
	jmp [rcx*8+branch_table]
7779:	jmp 7700b
	.endm

	/* Host CALL and RET on a private stack, so that the return predictor works. */
	.macro to_private
	mov [branch_guest_stack], rsp
	mov rsp, [branch_private_stack]
	.endm
	.macro to_guest
	mov [branch_private_stack], rsp
	mov rsp, [branch_guest_stack]
	.endm
	.macro call_shadow target
	.set GUEST, GUEST+0x35
	push GUEST
	to_private
	call 7780f
	to_guest
	lea rcx, [r10-GUEST]
	jrcxz 7781f
	jmp branch_failed
7780:	to_guest
	jmp \target
7781:
	.endm
	.macro return_shadow
	pop r10
	to_private
	ret
	.endm
	.macro call_xchg target
	.set GUEST, GUEST+0x35
	push GUEST
	xchg rsp, [branch_private_stack]
	call 7780f
	xchg rsp, [branch_private_stack]
	lea rcx, [r10-GUEST]
	jrcxz 7781f
	jmp branch_failed
7780:	xchg rsp, [branch_private_stack]
	jmp \target
7781:
	.endm
	.macro return_xchg
	pop r10
	xchg rsp, [branch_private_stack]
	ret
	.endm

	/* The bound: host CALL and RET on the guest's own stack. Not safe: another processor of the guest
	 * could change the host address between the store and the RET. */
	.macro call_unsafe target
	.set GUEST, GUEST+0x35
	call 7780f
	site
7777:	lea rcx, [r10-GUEST]
	jrcxz 7781f
	jmp branch_failed
7780:	mov qword ptr [rsp], GUEST
	jmp \target
7781:
	.endm
	.macro return_unsafe
	mov r10, [rsp]
	movzx ecx, r10w
	mov rcx, [rcx*8+branch_table]
	mov [rsp], rcx
	ret
	.endm

	/* A pair of programs in every variant. Arguments EDI, ESI; result EAX. */
	.macro programs v
	.set FIRST_SITE, GUEST+0x6a
	.globl fib_\v, ackermann_\v
	.p2align 5
fib_\v:	push rbx
	push rbp
	call_\v 6f
	pop rbp
	pop rbx
	ret
	.p2align 4
6:	cmp edi, 2
	jl 9f
	push rbx
	push rbp
	mov ebx, edi
	lea edi, [rbx-1]
	call_\v 6b
7700:	mov ebp, eax
	lea edi, [rbx-2]
	call_\v 6b
	add eax, ebp
	pop rbp
	pop rbx
	return_\v
9:	mov eax, edi
	return_\v

	.set FIRST_SITE, GUEST+0x6a
	.p2align 5
ackermann_\v:
	push rbx
	push rbp
	call_\v 6f
	pop rbp
	pop rbx
	ret
	.p2align 4
6:	test edi, edi
	jz 9f
	test esi, esi
	jz 8f
	push rdi
	lea esi, [rsi-1]
	call_\v 6b
7700:	mov esi, eax
	pop rdi
	lea edi, [rdi-1]
	jmp 6b
8:	lea edi, [rdi-1]
	mov esi, 1
	jmp 6b
9:	lea eax, [rsi+1]
	return_\v
	.endm

	programs native
	programs table
	programs table64
	programs hash
	programs cache
	programs shadow
	programs xchg
	programs unsafe

	/* An interpreter's dispatch: RDI byte code, RSI handlers (guest addresses; host ones for native).
	 * Handler 7 ends it. */
	.macro jump_native
	jmp [rsi+rcx*8]
	.endm
	.macro landing_native
	.pushsection sites, "a"
	.quad GUEST, 7777f
	.popsection
7777:
	.endm
	.macro jump_table
	mov r10, [rsi+rcx*8]
	movzx ecx, r10w
	jmp [rcx*8+branch_table]
	.endm
	.macro landing_table
	landing
	.endm
	.macro jump_hash
	mov r10, [rsi+rcx*8]
	mov ecx, r10d
	and ecx, 0xffff
	shl ecx, 4
	cmp r10, [rcx+branch_pairs]
	jne branch_failed
	jmp [rcx+branch_pairs+8]
	.endm
	.macro landing_hash
	landing_native
	.endm
	/* One predicted target here, too, then the table. */
	.macro jump_cache
	mov r10, [rsi+rcx*8]
	lea rcx, [r10-FIRST_SITE]
	jrcxz 7779f
	movzx ecx, r10w
	jmp [rcx*8+branch_table]
7779:	jmp 7700b
	.endm
	.macro landing_cache
	landing
	.endm
	.macro next_op v
	movzx ecx, byte ptr [rdi]
	inc rdi
	jump_\v
	.endm
	.macro handler v, insn:vararg
	.set GUEST, GUEST+0x35
	.p2align 4
	landing_\v
	\insn
	next_op \v
	.endm
	.macro dispatch v
	.set FIRST_SITE, GUEST+0x35
	.globl dispatch_\v, dispatch_sites_\v
	.pushsection sites, "a"
dispatch_sites_\v:
	.popsection
	.set GUEST, GUEST+0x35
	.p2align 5
7:	landing_\v
7700:	add eax, 3
	next_op \v
	.p2align 5
dispatch_\v:
	xor eax, eax
	next_op \v
	handler \v, imul eax, eax, 5
	handler \v, xor eax, 0x55
	handler \v, lea eax, [rax+rax*2]
	handler \v, rol eax, 3
	handler \v, sub eax, 77
	handler \v, not eax
	.set GUEST, GUEST+0x35
	.p2align 4
	landing_\v
	ret
	.endm
	dispatch native
	dispatch table
	dispatch hash
	dispatch cache

	.pushsection sites, "a"
	.globl sites_end
sites_end:
	.popsection
	.section .note.GNU-stack, "", @progbits
