/* Ring-3 code and kernel entry points of syscall.c; ring 3 goes on where a label ends in _back. */
#include "layout.h"

	.text
	.globl syscall_entry, user_syscall, user_syscall_back, user_sysret
	.globl sysenter_entry, user_sysenter, user_sysenter_back
	.globl syscall_entry_compat, user_syscall_compat, user_syscall_compat_back, user_back_32

/* Notes what the entry left, then returns by SYSRET of the size SYSRET_32 tells. */
	.macro note_entry
	mov %rsp, seen_rsp
	mov %rcx, seen_rcx
	mov %r11, seen_r11
	mov $kernel_stack_top, %rsp
	pushf
	pop seen_flags
	mov %cs, seen_cs
	mov %ss, seen_ss
	.endm

syscall_entry:
	note_entry
	mov return_rip, %rax
	test %rax, %rax
	cmovnz %rax, %rcx
	mov return_flags, %rax
	test %rax, %rax
	cmovnz %rax, %r11
	mov seen_rsp, %rsp
	cmpl $0, return_32
	jne 1f
	.globl sysret_here
sysret_here:
	sysretq
1:	sysretl

user_syscall:
	syscall
user_syscall_back:
	pushf
	pop user_flags
	mov %cs, %eax
	shl $16, %eax
	mov %ss, %ecx
	mov %cx, %ax
	int $VECTOR_USER_RETURN

user_sysret:
	sysretq

	.code32
user_back_32:
	mov %cs, %eax
	shl $16, %eax
	mov %ss, %ecx
	mov %cx, %ax
	int $VECTOR_USER_RETURN
user_syscall_compat:
	syscall
user_syscall_compat_back:
	jmp user_back_32
	.code64

syscall_entry_compat:
	note_entry
	mov seen_rsp, %rsp
	sysretl

/* SYSENTER; the way back by SYSEXIT takes RIP from RDX and RSP from RCX. */
sysenter_entry:
	note_entry
	mov $user_sysenter_back, %edx
	mov $user_stack_top, %ecx
	sysexitq
user_sysenter:
	sysenter
user_sysenter_back:
	mov %cs, %eax
	shl $16, %eax
	mov %ss, %ecx
	mov %cx, %ax
	int $VECTOR_USER_RETURN

	.bss
	.balign 16
	.skip 4096
kernel_stack_top:
	.globl sysenter_stack
sysenter_stack:

	.data
	.balign 8
	.globl seen_flags, seen_rsp, seen_rcx, seen_r11, seen_cs, seen_ss, user_flags
	.globl return_rip, return_flags, return_32
seen_flags:
	.quad 0
seen_rsp:
	.quad 0
seen_rcx:
	.quad 0
seen_r11:
	.quad 0
seen_cs:
	.quad 0
seen_ss:
	.quad 0
user_flags:
	.quad 0
return_rip:
	.quad 0
return_flags:
	.quad 0
return_32:
	.quad 0

	.section .note.GNU-stack, "", @progbits
