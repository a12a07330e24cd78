# A boot sector. It says through the BIOS that it runs; resets the machine where a byte of CMOS is 0,
# having set that to 1; and ends the run by port 0xf4 the second time.
	.code16
	.globl _start
_start:
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $0x7c00, %sp
	ljmp $0, $1f
1:	mov $message, %si
	call print
	mov $0x70, %al		# a byte that BIOSes leave alone
	out %al, $0x70
	in $0x71, %al
	test %al, %al
	jnz 2f
	mov $1, %al
	out %al, $0x71
	mov $again, %si
	call print
	mov $6, %al
	mov $0xcf9, %dx
	out %al, %dx
	hlt
2:	mov $0x10, %al
	out %al, $0xf4
3:	hlt
	jmp 3b

print:	lodsb
	test %al, %al
	jz 4f
	mov $0x0e, %ah
	mov $7, %bx
	int $0x10
	jmp print
4:	ret

message: .asciz "The boot sector runs.\r\n"
again:	.asciz "Again.\r\n"

	.org 510
	.word 0xaa55
