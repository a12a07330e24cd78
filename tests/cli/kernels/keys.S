/*
 * Switches the mouse on, prints a line "on", and then for each byte of the keyboard or the mouse a line
 * with 'k' or 'm' and the byte in hexadecimal digits.
 */
#include "start.inc"
	mov $0x200000, %esp
	mov $0xd4, %al			/* the next byte is for the mouse */
	out %al, $0x64
	mov $0xf4, %al			/* report */
	out %al, $0x60
1:	in $0x64, %al
	test $1, %al
	jz 1b
	in $0x60, %al			/* the acknowledgement */
	mov $0x3f8, %dx
	mov $'o', %al
	out %al, %dx
	mov $'n', %al
	out %al, %dx
	mov $'\n', %al
	out %al, %dx
2:	in $0x64, %al
	test $1, %al
	jz 2b
	mov $'k', %bl
	test $0x20, %al			/* the byte is the mouse's */
	jz 3f
	mov $'m', %bl
3:	in $0x60, %al
	mov %al, %cl
	mov %bl, %al
	out %al, %dx
	mov %cl, %al
	shr $4, %al
	call print
	mov %cl, %al
	and $15, %al
	call print
	mov $'\n', %al
	out %al, %dx
	jmp 2b

print:	cmp $10, %al			/* AL as a digit */
	jb 4f
	add $'a' - '0' - 10, %al
4:	add $'0', %al
	out %al, %dx
	ret
