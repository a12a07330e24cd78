/*
 * Prints one byte and resets the machine by port 0xcf9, again and again.
 */
#include "start.inc"
	mov $0x3f8, %dx
	mov $'r', %al
	out %al, %dx
	mov $0xcf9, %dx
	mov $0x06, %al
	out %al, %dx
1:	hlt
	jmp 1b
