/* Halts with interrupts off: the processor sleeps for ever. */
#include "start.inc"
	cli
1:	hlt
	jmp 1b
