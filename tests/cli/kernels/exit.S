/* Leaves at once through the debug-exit port, with 42. */
#include "start.inc"
	mov $42, %al
	out %al, $0xf4
1:	hlt
	jmp 1b
