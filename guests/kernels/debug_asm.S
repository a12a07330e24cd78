/* Instruction sequences for debug.c. Each is a function that ends at its last label, a RET. */
#include "layout.h"

	.text

/* void run_stepped(const u8 *code): calls it with TF set. */
	.globl run_stepped
run_stepped:
	pushf
	orl $0x100, (%rsp)
	popf
	call *%rdi
	pushf
	andl $~0x100, (%rsp)
	popf
	ret

	.macro label name
	.globl \name
\name:
	.endm

	.globl plain, plain_end
plain:	nop
label plain1
	add $0, %eax
label plain2
	nop
plain_end:
	ret

	.globl jumps, jumps_end
jumps:	jmp 1f
	nop
label jumps1
1:	xor %eax, %eax
label jumps2
	jz 2f
	nop
label jumps3
2:	call 3f
label jumps4
	nop
label jumps5
	jmp jumps_end
label jumps_sub
3:	ret
jumps_end:
	ret

	.globl strings, strings_end
strings:
	mov $3, %ecx
label strings1
	lea scratch(%rip), %rdi
label strings2
	mov %rdi, %rsi
label strings_rep
	rep movsb
label strings3
	rep movsb		/* with nothing to do */
strings_end:
	ret

	.globl shadow, shadow_end
shadow:	mov %ss, %eax
label shadow1
	mov %eax, %ss
label shadow_after	/* nothing may come here */
	nop
label shadow2
	nop
shadow_end:
	ret

	.globl flags, flags_end
flags:	pushf
label flags1
	andl $~0x100, (%rsp)
label flags2
	popf			/* its own step still traps */
label flags3
	nop
	nop
	pushf
	orl $0x100, (%rsp)
	popf			/* and here not yet */
	nop
label flags4
	nop
flags_end:
	ret

	.globl software, software_end
software:
	int $0x42		/* entering a handler drops the step, and so does IRET */
label software_after
	nop
label software1
	nop
software_end:
	ret

	.globl emulated, emulated_end
emulated:
	xor %eax, %eax
label emulated1
	cpuid
label emulated2
	in $0x21, %al
label emulated3
	rdtsc
label emulated4
	mov %cr3, %rax
label emulated5
	mov %rax, %cr3
label emulated6
	invlpg (%rax)
label emulated7
	sti
label emulated8
	cli
label emulated9
	clts
label emulated10
	mov $0x1b, %ecx
label emulated11
	rdmsr
label emulated12
	wrmsr
label emulated13
	lock incl scratch(%rip)
label emulated14
	movups scratch(%rip), %xmm0
emulated_end:
	ret

/* Targets of breakpoints. */
	.globl fetched, fetched_end
fetched:
	nop
label fetched1
	mov $0x12345678, %eax
label fetched2
	ud2
label fetched3
	mov %ss, %ecx
	mov %ecx, %ss
label fetched_shadowed
	nop
label fetched4
	nop
fetched_end:
	ret

	.globl moved, moved_end
moved:	mov %rdi, %dr3
label moved1
	mov %dr3, %rax
moved_end:
	ret

	.data
	.balign 64
	.globl scratch
scratch:
	.skip 64

	.section .note.GNU-stack, "", @progbits
