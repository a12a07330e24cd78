/* Writes a line to the serial port and powers off through ACPI: S5 into PM1a control. */
#include "start.inc"
	mov $message, %esi
	mov $0x3f8, %dx
1:	lodsb
	test %al, %al
	jz 2f
	out %al, %dx
	jmp 1b
2:	mov $0x604, %dx
	mov $(1 << 13), %ax
	out %ax, %dx
3:	hlt
	jmp 3b
message:
	.asciz "going down\n"
