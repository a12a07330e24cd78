/* A boot sector that firmware loads from any disk: reads the sector behind its own by the BIOS (int 13h),
 * from a CD-ROM by its number (function 42h), else by cylinder, head and sector; writes the text that is
 * there to the first serial port, and switches the machine off. */
	.code16
	.globl _start
_start:
	jmp	begin
	.org	8
boot_info:		/* a CD-ROM's boot file: where it is (mkisofs -boot-info-table) */
	.space	56
begin:
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$0x7c00, %sp
	cmp	$0xe0, %dl
	jae	cdrom

	mov	$0x0201, %ax
	mov	$0x0002, %cx
	mov	$0, %dh
	mov	$0x8000, %bx
	int	$0x13
	jc	failed
	jmp	read

cdrom:
	mov	boot_info + 4, %eax
	inc	%eax
	mov	%eax, packet + 8
	mov	$0x42, %ah
	mov	$packet, %si
	int	$0x13
	jc	failed

read:
	mov	$0x8000, %si
	jmp	write
failed:
	mov	$message, %si
write:
	lodsb
	test	%al, %al
	jz	off
	mov	$0x3f8, %dx
	out	%al, %dx
	jmp	write
off:
	mov	$0x604, %dx	/* ACPI's PM1 control: S5 */
	mov	$0x2000, %ax
	out	%ax, %dx
	hlt

packet:
	.byte	16, 0
	.word	1, 0x8000, 0
	.quad	0
message:
	.asciz	"int 13h has failed\n"
	.org	510
	.word	0xaa55
