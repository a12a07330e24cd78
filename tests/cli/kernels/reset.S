/*
 * Resets the machine the first time, by the way the command line names ("kbd", "cf9" or "acpi"'s
 * register are told apart by a letter), and leaves with 7 the second time. CMOS memory is all that
 * survives a reset.
 */
#include "start.inc"
	mov $0x400000, %esp
	.set STALE, 0x301ffe		/* the last two bytes of a page */
	mov $0x40, %al
	out %al, $0x70
	in $0x71, %al
	cmp $0x5a, %al
	je again
	mov $0x5a, %al
	out %al, $0x71
	/* Something for the second run to find, should memory not be cleared, and code to run, should
	 * a decoded copy of it still be there. */
	movl $0xdeadbeef, 0x300000
	movw $0x08b0, STALE		/* mov $8, %al */
	movb $0xc3, STALE + 2		/* ret, in the next page */
	mov $STALE, %ecx
	call *%ecx
	mov 16(%ebx), %esi		/* the command line: the kernel's name, then a letter */
1:	lodsb
	test %al, %al
	jnz 1b
	mov -2(%esi), %al
	cmp $'c', %al
	je cf9
	mov $0xfe, %al			/* the keyboard controller pulses the reset line */
	out %al, $0x64
2:	hlt
	jmp 2b
cf9:	mov $0xcf9, %dx
	mov $0x06, %al
	out %al, %dx
	jmp 2b
again:	xor %eax, %eax
	mov $0x300000, %edx
	cmpl $0, (%edx)
	jne 3f
	/* Zeros are an instruction, too: add %al, (%eax). */
	movb $0xc3, STALE + 2
	mov %edx, %eax
	mov $STALE, %ecx
	call *%ecx
	cmp %edx, %eax
	jne 3f
	mov $7, %al
	out %al, $0xf4
	jmp 2b
3:	mov $9, %al
	out %al, $0xf4
	jmp 2b
