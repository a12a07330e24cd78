/* Writes to the serial port as fast as it can, for ever. */
#include "start.inc"
	mov $0x3f8, %dx
	mov $'x', %al
1:	out %al, %dx
	jmp 1b
