/* Sends back what arrives on the serial port, until a 'q', which powers off. */
#include "start.inc"
1:	mov $0x3fd, %dx
	in %dx, %al
	test $1, %al
	jz 1b
	mov $0x3f8, %dx
	in %dx, %al
	out %al, %dx
	cmp $'q', %al
	jne 1b
	mov $0x604, %dx
	mov $(1 << 13), %ax
	out %ax, %dx
2:	hlt
	jmp 2b
