/*
 * Where a CPU wakes after SIPI: real mode at AP_START, which smp_start() has copied this to. On to
 * the kernel's mode and ap_main().
 */
#include "layout.h"

	.text
	.balign 16
	.globl ap_start, ap_end
	.code16
ap_start:
	/* Note the state first, through a segment of base AP_START. */
	mov %cs, %ax
	mov %ax, %ds
	mov %cr0, %ebx
	lgdtl ap_gdt - ap_start
	mov %ebx, %eax
	or $CR0_PE, %al
	mov %eax, %cr0
	ljmpl $SEL_CODE32, $ap_32
	.balign 8
ap_gdt:
	.word GDT_ENTRIES * 8 - 1
	.long gdt
ap_end:

	.code32
ap_32:
	mov %ds, %edx
	mov $SEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	mov %ebx, smp_reset_state
	mov %edx, smp_reset_state + 4
	mov $1, %ebp
	lock xadd %ebp, smp_next_cpu
	cmp $MAX_CPUS, %ebp
	jae 2f
	mov %ebp, %eax
	inc %eax
	shl $13, %eax
	lea smp_stacks(%eax), %esp
	push $0
	popf
	call cpu_mode_set
#ifdef __x86_64__
	ljmp $SEL_CODE, $1f
	.code64
1:	mov %esp, %esp
	mov %ebp, %edi
	call ap_main
#else
	ljmp $SEL_CODE, $1f
1:	push %ebp
	call ap_main
#endif
2:	cli
	hlt
	jmp 2b

	.section .note.GNU-stack, "", @progbits
