/*
 * Reads and writes physical memory that is not there, and every I/O port but those that end the run,
 * with every size. Then leaves with 1.
 */
#include "start.inc"
	/* RAM ends at 16 MiB in this test. A step is an odd number of bytes, so that accesses cross
	 * the borders of pages and of device regions. */
	mov $0x01000000, %esi
1:	mov (%esi), %al
	mov (%esi), %ax
	mov (%esi), %eax
	movb $0x5a, (%esi)
	movw $0x5a5a, (%esi)
	movl $0x5a5a5a5a, (%esi)
	add $0x3fff3, %esi
	cmp $0xfe000000, %esi
	jb 1b
	xor %edx, %edx
2:	cmp $0xf4, %dx			/* debug exit, 4 ports */
	jb 3f
	cmp $0xf8, %dx
	jb next
3:	cmp $0x64, %dx			/* keyboard controller: 0xfe resets; never written below */
	je next
	cmp $0x600, %dx
	jb 4f
	cmp $0x610, %dx
	jb next				/* power-off */
4:	in %dx, %al
	in %dx, %ax
	in %dx, %eax
	mov $0xa5, %al
	cmp $0xcf9 - 3, %dx
	jb 5f
	cmp $0xcf9, %dx
	jbe next			/* reset */
5:	cmp $0x92, %dx
	je next				/* fast reset */
	out %al, %dx
next:	inc %dx
	jnz 2b
	mov $1, %al
	out %al, $0xf4
6:	hlt
	jmp 6b
