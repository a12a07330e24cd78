/*
 * The way from 64-bit mode down to real mode and back, and what modes.c lets run on the way.
 *
 * The code between low_start and low_end is copied to LOW_CODE and runs there as segment
 * LOW_CODE >> 4, so an offset in it is OFF(label). Each result of the 16-bit code is appended to
 * low_results, and modes.c holds them against a table in the same order.
 */
#include "layout.h"

#define OFF(label) ((label) - low_start)
#define LOW_SEGMENT (LOW_CODE >> 4)
#define DATA_SEGMENT (LOW_DATA >> 4)

	.text

/* void real_call(u32 function): calls 16-bit code at that offset, in real mode. */
	.code64
	.globl real_call
real_call:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, real_saved_sp
	sidt real_saved_idt
	push $SEL_CODE32
	push $1f
	lretq

	.code32
1:	mov $SEL_DATA, %eax
	mov %eax, %ss
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs		/* FS and GS keep this limit in real mode */
	mov %eax, %gs
	mov %cr0, %eax
	and $~CR0_PG, %eax
	mov %eax, %cr0
	mov $MSR_EFER, %ecx
	rdmsr
	mov %eax, real_seen_efer
	and $~EFER_LME, %eax
	wrmsr
	lidt real_idt
	ljmp $SEL_CODE16, $(LOW_CODE + (low_16 - low_start))

back_32:
	mov $SEL_DATA, %eax
	mov %eax, %ss
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs
	mov %eax, %gs
	mov $MSR_EFER, %ecx
	rdmsr
	or $EFER_LME, %eax
	wrmsr
	mov %cr0, %eax
	or $CR0_PG, %eax
	mov %eax, %cr0
	ljmp $SEL_CODE, $1f

	.code64
1:	mov real_saved_sp, %rsp
	lidt real_saved_idt
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

	.data
	.balign 8
real_saved_sp:
	.quad 0
real_saved_idt:
	.skip 10
	.balign 4
	.globl real_seen_efer
real_seen_efer:
	.long 0
real_idt:
	.word 0x3ff
	.long 0

	.text
	.balign 16
	.globl low_start, low_end, low_results, low_count, real_trap_stubs, real_tests, unreal_tests
	.code16
low_start:
low_16:
	mov $SEL_DATA16, %ax
	mov %ax, %ss
	mov %ax, %ds
	mov %ax, %es
	mov %cr0, %eax
	and $~CR0_PE, %eax
	mov %eax, %cr0
	ljmp $LOW_SEGMENT, $OFF(low_real)
low_real:
	mov $LOW_SEGMENT, %ax
	mov %ax, %ds
	mov %ax, %es
	mov $DATA_SEGMENT, %ax
	mov %ax, %ss
	mov $0xfff0, %sp
	xor %ax, %ax
	mov %ax, %fs
	mov %ax, %gs
	call *%di
	cli
	cld
	smsw %ax
	or $CR0_PE, %ax
	lmsw %ax
	ljmpl $SEL_CODE32, $back_32

/* Appends EAX to the results. */
	.balign 4
low_count:
	.long 0
low_results:
	.skip 4 * 128
record:
	push %bx
	mov %cs:OFF(low_count), %bx
	shl $2, %bx
	mov %eax, %cs:OFF(low_results)(%bx)
	incw %cs:OFF(low_count)
	pop %bx
	ret

/* Every interrupt vector below 32 leads here with its number pushed; see real_stub. */
real_vector:
	.word 0
real_inner_flags:
	.word 0
real_ip:
	.word 0
real_resume:
	.word 0
real_sp:
	.word 0
real_flags:
	.word 0
real_trap:
	push %bp
	mov %sp, %bp
	push %ax
	pushf
	pop %ax
	mov %ax, %cs:OFF(real_inner_flags)
	mov 2(%bp), %ax
	mov %ax, %cs:OFF(real_vector)
	mov 4(%bp), %ax
	mov %ax, %cs:OFF(real_ip)
	mov 8(%bp), %ax
	mov %ax, %cs:OFF(real_flags)
	lea 4(%bp), %ax
	mov %ax, %cs:OFF(real_sp)
	mov %cs:OFF(real_resume), %ax
	test %ax, %ax
	jz 1f
	mov %ax, 4(%bp)
1:	andw $~0x100, 8(%bp)	/* no longer single-step */
	pop %ax
	pop %bp
	add $2, %sp
	iretw

	.balign 8
real_trap_stubs:
vector = 0
	.rept 32
	.balign 8
	push $vector
	jmp real_trap
	vector = vector + 1
	.endr

/* Runs an instruction and records vector << 16 | offset of the saved IP, 0xffff0000 if none. */
	.macro try16 insn:vararg
	movw $0xffff, %cs:OFF(real_vector)
	movw $OFF(1f), %cs:OFF(real_resume)
	movw $OFF(0f), %cs:OFF(real_ip)
0:	\insn
1:	movw $0, %cs:OFF(real_resume)
	mov %cs:OFF(real_vector), %ax
	shl $16, %eax
	mov %cs:OFF(real_ip), %ax
	sub $OFF(0b), %ax
	call record
	.endm

real_tests:
	/* Addresses: segment * 16 + offset, also beyond 1 MiB. */
	smsw %ax
	and $1, %eax
	call record
	mov $0x2001, %ax
	mov %ax, %es
	movl $0x11223344, %es:0x20
	mov $0x2003, %ax
	mov %ax, %es
	mov %es:0, %eax
	call record
	mov $0xffff, %ax
	mov %ax, %es
	xor %eax, %eax
	mov %es:0x10, %ax	/* the multiboot magic at 1 MiB */
	call record

	/* Exceptions: no error code, IP at or behind the instruction. */
	mov $1, %ax
	xor %dx, %dx
	xor %cx, %cx
	try16 div %cx
	try16 ud2
	try16 int3
	try16 .byte 0xcd, 3
	try16 int $0x11
	mov $0x7fff, %ax
	add $1, %ax
	try16 into
	mov $5, %ax
	try16 bound %ax, OFF(real_bounds)
	mov $4, %ax
	try16 bound %ax, OFF(real_bounds)
	try16 mov 0xffff, %ax
	try16 mov 0xfffe, %ax
	try16 mov 0xffff, %al
	try16 mov 0xfffd, %eax
	mov $0xffff, %bp
	try16 mov (%bp), %ax
	mov $0x10000, %ebx
	try16 mov (%ebx), %al
	try16 mov %cs:(%ebx), %al
	try16 movw $0, %cs:OFF(real_scratch)
	try16 .byte 0xf0, 0x90	/* lock nop */
	try16 sldt %ax
	try16 str %ax
	try16 lldt %ax
	try16 ltr %ax
	try16 lar %ax, %bx
	try16 lsl %ax, %bx
	try16 verr %ax
	try16 arpl %ax, %bx
	try16 mov %ax, %cs:0xffff

	/* What an interrupt pushes, and what it clears. */
	sti
	std
	stc
	int $0x10
	cli
	cld
	mov %cs:OFF(real_flags), %ax
	and $0x601, %eax
	call record
	mov %cs:OFF(real_inner_flags), %ax
	and $0x601, %eax
	call record
	xor %eax, %eax
	mov %sp, %ax
	sub %cs:OFF(real_sp), %ax
	call record

	/* Single step: the trap comes behind the instruction that follows POPF. */
	movw $0, %cs:OFF(real_resume)
	pushf
	pop %ax
	or $0x100, %ax
	push %ax
	popf
0:	nop
1:	nop
	mov %cs:OFF(real_vector), %ax
	shl $16, %eax
	mov %cs:OFF(real_ip), %ax
	sub $OFF(0b), %ax
	call record

	/* A limit of the IDT below the vector. */
	lidt OFF(short_idt)
	try16 int $0x20
	lidt OFF(normal_idt)
	/* LIDT and LGDT with 16-bit operands take 24 bits of base. */
	lidtw OFF(high_idt)
	sidtl OFF(real_scratch)
	lidt OFF(normal_idt)
	mov OFF(real_scratch + 2), %eax
	call record
	lidtl OFF(high_idt)
	sidtl OFF(real_scratch)
	lidt OFF(normal_idt)
	mov OFF(real_scratch + 2), %eax
	call record

	/* Stack and string pointers wrap at 64 KiB, and leave the high half alone. */
	mov $0x12340000, %ecx
	mov %esp, %edx
	mov $0x55550000, %esp
	push %ax
	mov %esp, %eax
	mov %edx, %esp
	call record
	mov $DATA_SEGMENT, %ax
	mov %ax, %es
	mov $0x7777ffff, %edi
	stosb
	mov %edi, %eax
	call record
	mov $0x12340003, %ecx
	xor %eax, %eax
1:	inc %ax
	loop 1b
	call record
	mov %ecx, %eax
	call record
	mov $0xffffffff, %ecx
	jcxz 1f
	mov $1, %eax
	call record
1:
	/* 32-bit operands and addresses. */
	pushl $0x12345678
	pop %ax
	pop %bx
	mov %bx, %ax
	movzx %ax, %eax
	call record
	mov $OFF(real_scratch), %ebx
	mov $2, %ecx
	movl $0x89abcdef, 0(%ebx)
	movzwl (%ebx,%ecx), %eax
	call record
	mov $0xffff, %bx
	mov 2 + OFF(real_scratch)(%bx), %al	/* wraps: reads offset real_scratch + 1 */
	movzx %al, %eax
	call record

	/* Far calls and returns. */
	xor %eax, %eax
	lcall $LOW_SEGMENT, $OFF(far_target)
	call record
	xor %eax, %eax
	lcall *OFF(real_far)
	call record
	pushf
	push %cs
	push $OFF(1f)
	iretw
1:	mov $OFF(2f), %ax
	push %cs
	push %ax
	lret
2:	mov $7, %eax
	call record
	mov %sp, %bx
	enter $8, $1
	leave
	xor %eax, %eax
	mov %sp, %ax
	sub %bx, %ax
	call record
	pushf
	pop %ax
	and $0xf000, %eax
	call record
	ret

far_target:
	inc %eax
	lret

/* FS and GS were loaded with a 4-GiB limit in protected mode; a load in real mode keeps it. */
unreal_tests:
	mov $0x100000, %ebx
	try16 mov %fs:(%ebx), %ax
	movzwl %fs:(%ebx), %eax
	call record
	mov $0x1000, %ax
	mov %ax, %gs
	mov $0xf0000, %ebx
	movzwl %gs:(%ebx), %eax
	call record
	try16 mov %ds:(%ebx), %ax
	ret

	.balign 8
/* In compatibility mode with a 16-bit code segment. */
	.globl compat16_tests
compat16_tests:
	mov %sp, %ax
	push %ax
	sub %sp, %ax
	add $2, %sp
	movzx %ax, %eax
	addr32 mov %eax, %ss:compat16_push
	addr32 movl $(LOW_CODE + OFF(1f)), %ss:trap_resume
	addr32 movl $(LOW_CODE + OFF(0f)), %ss:trap_at
0:	int $0x42
1:	lretl

	.balign 8
real_bounds:
	.word 1, 4
real_far:
	.word OFF(far_target), LOW_SEGMENT
real_scratch:
	.skip 8
short_idt:
	.word 0x7f
	.long 0
normal_idt:
	.word 0x3ff
	.long 0
high_idt:
	.word 0x3ff
	.long 0x12345678
	.byte 0
low_end:

/* 32-bit code for compat_call(). DS and ES may be anything, SS is flat. */
	.code32
	.macro try32 insn:vararg
	movl $1f, %ss:trap_resume
	movl $0f, %ss:trap_at
0:	\insn
1:	movl $0, %ss:trap_resume
	.endm

	.globl compat_load, compat_store, compat_push, compat_inc, compat_daa, compat_wrap
	.globl compat_int, compat_gate, gate_target, compat_16, compat16_push
	.globl compat_ring3, compat_into
	.globl compat_code_write
compat_load:
	try32 mov %ds:0x1000, %eax
	ret
compat_store:
	try32 movl $0x5a5a5a5a, %ds:0x1010
	ret
compat_code_write:
	try32 movl $0, %cs:0x1010
	ret
compat_push:
	mov %esp, %eax
	push %ecx
	sub %esp, %eax
	add $4, %esp
	ret
compat_inc:
	mov $5, %eax
	.byte 0x40, 0x40, 0x48	/* inc, inc, dec; REX prefixes in 64-bit mode */
	ret
compat_daa:
	mov $0x19, %eax
	add $0x19, %al
	daa
	ret
compat_wrap:
	mov $0xfffff000, %eax
	mov 0x2020(%eax), %eax
	ret
compat_int:
	try32 int $0x42
	ret
compat_into:
	mov $0x7fffffff, %eax
	add $1, %eax
	try32 into
	ret
compat_gate:
	lcall $SEL_TEST, $0
	ret
compat_16:
	lcall $SEL_CODE16, $(LOW_CODE + (compat16_tests - low_start))
	ret
compat_ring3:
	mov %cs, %eax
	shl $16, %eax
	push %ss
	pop %edx
	mov %dx, %ax
	int $VECTOR_USER_RETURN

	.code64
gate_target:
	mov $0x123, %eax
	shl $32, %rax
	shr $28, %rax
	lretq

	.data
compat16_push:
	.long 0

	.section .note.GNU-stack, "", @progbits
