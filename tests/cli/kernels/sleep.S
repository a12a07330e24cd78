/* Goes to sleep (S3); whenever it is woken it writes a line to the serial port and sleeps again. */
#include "start.inc"
	mov $awake, %esi
	mov $0x8000, %edi
	mov $(awake_end - awake), %ecx
	rep movsb
	movl $0x8000, 0xe0040 + 12 /* the waking vector in the FACS */
	mov $0x604, %dx
	mov $(1 << 10 | 1 << 13), %ax
	out %ax, %dx
1:	hlt
	jmp 1b

	.code16
awake:
	mov %cs, %ax
	mov %ax, %ds
	mov $(message - awake), %si
	mov $0x3f8, %dx
1:	lodsb
	test %al, %al
	jz 2f
	out %al, %dx
	jmp 1b
2:	mov $0x604, %dx
	mov $(1 << 10 | 1 << 13), %ax
	out %ax, %dx
3:	hlt
	jmp 3b
message:
	.asciz "awake\n"
awake_end:
