/*
 * Virtual-8086 mode for v8086.c. The code between v86_start and v86_end is copied to LOW_CODE and
 * runs there as segment LOW_CODE >> 4.
 */
#include "layout.h"

#define OFF(label) ((label) - v86_start)

	.text
/*
 * u32 v86_call(u32 offset, u32 flags): enters v86 mode at the offset, returns when the handler of
 * v8086.c jumps to v86_leave, with its result in EAX.
 */
	.globl v86_call, v86_leave, v86_saved_sp
v86_call:
	push %ebx
	push %ebp
	push %esi
	push %edi
	mov %esp, v86_saved_sp
	mov 20(%esp), %eax
	mov 24(%esp), %ecx
	mov $(LOW_DATA >> 4), %edx
	push $0x2222		/* GS */
	push $0x1111		/* FS */
	push $(LOW_CODE >> 4)	/* DS */
	push %edx		/* ES */
	push %edx		/* SS */
	push $0xfff0		/* ESP */
	push %ecx
	push $(LOW_CODE >> 4)
	push %eax
	iret
v86_leave:
	mov v86_saved_sp, %esp
	push $2
	popf
	pop %edi
	pop %esi
	pop %ebp
	pop %ebx
	ret

	.code16
	.globl v86_start, v86_end
v86_start:
	.macro entry name
	.balign 4
	.globl \name
\name:
	.endm

/* A monitor call: #GP of HLT, which the handler takes as the end, with AX as result. */
	.macro finish
	hlt
	.endm

entry v86_basic
	mov $0x1234, %ax
	push %ax
	pop %bx
	mov %bx, %ax
	mov %fs, %cx
	add %cx, %ax
	mov %gs, %cx
	add %cx, %ax		/* 0x1234 + 0x1111 + 0x2222 */
	finish
entry v86_addressing
	mov $0x2001, %ax
	mov %ax, %es
	movw $0x5a5a, %es:0x10	/* LOW_DATA + 0x20 */
	mov $0x2002, %ax
	mov %ax, %es
	mov %es:0, %ax
	finish
entry v86_limit
	mov 0xffff, %ax
	finish
entry v86_cli
	cli
	finish
entry v86_sti
	sti
	finish
entry v86_pushf
	pushf
	pop %ax
	finish
entry v86_pushfd
	pushfl
	pop %eax
	pop %eax
	finish
entry v86_popf
	push $0x0ed5
	popf
	pushf
	pop %ax
	finish
entry v86_popf_if
	push $0x0202
	popf
	finish
entry v86_popf_tf
	push $0x0102
	popf
	finish
entry v86_iret
	pushf
	push %cs
	push $OFF(1f)
	iret
1:	mov $0x77, %ax
	finish
entry v86_int
	int $0x60
	mov %bx, %ax
	finish
entry v86_int3
	int3
	finish
entry v86_in
	in $0x21, %al
	finish
entry v86_inw
	in $0x20, %ax
	finish
entry v86_out
	mov $0xff, %al
	out %al, $0x80
	finish
entry v86_ud
	ud2
	finish
entry v86_lldt
	lldt %ax
	finish
entry v86_sldt
	sldt %ax
	finish
entry v86_lar
	lar %ax, %bx
	finish
entry v86_arpl
	arpl %ax, %bx
	finish
entry v86_mov_cr
	mov %cr0, %eax
	finish
entry v86_lgdt
	lgdt 0
	finish
entry v86_lmsw
	lmsw %ax
	finish
entry v86_smsw
	smsw %ax
	and $1, %ax
	finish
entry v86_clts
	clts
	finish
entry v86_div
	xor %cx, %cx
	div %cx
	finish
/* An interrupt handler in v86 mode, which the redirection bitmap leads to. */
entry v86_handler
	push %bp
	mov %sp, %bp
	mov 6(%bp), %bx		/* FLAGS pushed */
	pop %bp
	iret
/* The same, but reports the flags inside. */
entry v86_handler_flags
	pushf
	pop %bx
	iret
v86_end:

	.data
	.balign 4
v86_saved_sp:
	.long 0

	.section .note.GNU-stack, "", @progbits
