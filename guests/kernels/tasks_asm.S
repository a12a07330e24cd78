/* The tasks of tasks.c. Each notes what it sees and goes back the way it came. */
#include "layout.h"

	.text
	.macro note_task
	pushf
	pop seen_flags
	str %ecx
	mov %ecx, seen_tr
	sldt %ecx
	mov %ecx, seen_ldt
	mov %cr0, %ecx
	mov %ecx, seen_cr0
	mov %cr3, %ecx
	mov %ecx, seen_cr3
	incl runs
	.endm

	.globl task_iret, task_jmp, task16_iret, task_error, task_resume
	.globl task_iret_back
task_iret:
	mov %eax, seen_eax
	note_task
	movzwl task, %ecx
	mov %ecx, seen_link
	iret
task_iret_back:
	mov $0x12345678, %eax
	jmp task_iret

task_jmp:
	mov %eax, seen_eax
	note_task
	movzwl task, %ecx
	mov %ecx, seen_link
	ljmp $SEL_TSS, $0
	jmp task_jmp

task16_iret:
	movzwl %ax, %eax
	mov %eax, %ds:seen_eax
	note_task
	iret
	jmp task16_iret

/* For an exception: the frame is in the old TSS, which gets the place to go on at. */
task_error:
	pop seen_eax
	note_task
	movzwl task, %ecx
	mov %ecx, seen_link
	mov task_resume, %ecx
	mov %ecx, main_tss + 0x20
	iret
	jmp task_error

	.globl rescue_code, ring3_inb
rescue_code:
	mov %eax, rescue_vector
	pop rescue_error
	movzwl (%ebx), %ecx
	mov %ecx, rescue_link
	andb $~2, gdt + SEL_TSS + 5	/* the first task is busy, and we do not nest */
	ljmp $SEL_TSS, $0

ring3_inb:
	inb $0x80, %al
	mov $0x600d, %eax
	int $VECTOR_USER_RETURN

	.data
	.balign 4
	.globl rescue_vector, rescue_error, rescue_link
rescue_vector:
	.long 0
rescue_error:
	.long 0
rescue_link:
	.long 0
	.globl seen_flags, seen_eax, seen_tr, seen_ldt, seen_cr3, seen_cr0, seen_link, runs
seen_flags:
	.long 0
seen_eax:
	.long 0
seen_tr:
	.long 0
seen_ldt:
	.long 0
seen_cr3:
	.long 0
seen_cr0:
	.long 0
seen_link:
	.long 0
runs:
	.long 0
task_resume:
	.long 0

	.section .note.GNU-stack, "", @progbits
