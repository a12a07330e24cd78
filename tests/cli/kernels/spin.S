/* Says that it is there and then spins with interrupts off: only the monitor can end this. */
#include "start.inc"
	cli
	mov $0x3f8, %dx
	mov $'.', %al
	out %al, %dx
	mov $'\n', %al
	out %al, %dx
1:	jmp 1b
