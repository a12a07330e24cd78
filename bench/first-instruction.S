/*
 * The smallest guest there is: a multiboot kernel whose first instructions write 1 to the
 * isa-debug-exit port. How long a monitor takes to run it is how long it takes to reach the
 * guest's first instruction, and to end.
 */
	.text
	.balign 4
	.long 0x1badb002		/* magic, flags, and a checksum that makes the sum zero */
	.long 0
	.long -0x1badb002

	.globl _start
_start:
	mov $1, %al
	out %al, $0xf4
	hlt
	jmp _start
