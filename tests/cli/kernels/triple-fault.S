/* An invalid opcode with no IDT: #UD, #DF, shutdown. EAX is there to be seen in the dump. */
#include "start.inc"
	mov $0x12345678, %eax
	lidt no_idt
	ud2
no_idt:
	.word 0
	.long 0
