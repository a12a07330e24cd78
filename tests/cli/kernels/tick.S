/*
 * Some hundred times a second, prints a line with the TSC's bits 20 to 51 and the ACPI timer, both in
 * hexadecimal digits. It looks at the TSC all the time.
 */
#include "start.inc"
	mov $0x200000, %esp
1:	rdtsc
	shrd $20, %edx, %eax
	mov %eax, %ecx
	sub %ebx, %ecx
	cmp $8, %ecx
	jb 1b
	mov %eax, %ebx
	call print
	mov $' ', %al
	mov $0x3f8, %dx
	out %al, %dx
	mov $0x608, %dx
	in %dx, %eax
	call print
	mov $'\n', %al
	mov $0x3f8, %dx
	out %al, %dx
	jmp 1b

print:	mov $8, %ecx			/* EAX as 8 digits */
2:	rol $4, %eax
	mov %eax, %esi
	and $15, %eax
	cmp $10, %al
	jb 3f
	add $'a' - '0' - 10, %al
3:	add $'0', %al
	mov $0x3f8, %dx
	out %al, %dx
	mov %esi, %eax
	loop 2b
	ret
