/*
 * The accesses of pagefault.c. Each starts with the address in RDI, from ring 0 or ring 3, and
 * ends at an INT that leads back into the C code: behind it, or in the page it jumped to. They
 * are mapped at a second address for ring 3, so they must not care where they are.
 */
#include "layout.h"

	.text
	.balign 4096
	.globl access_text, access_read, access_write, access_fetch, access_end
access_text:
#ifdef __x86_64__
access_read:
	movb (%rdi), %al
	jmp access_end
access_write:
	movb $0xcd, (%rdi)
	jmp access_end
access_fetch:
	jmp *%rdi
#else
access_read:
	movb (%edi), %al
	jmp access_end
access_write:
	movb $0xcd, (%edi)
	jmp access_end
access_fetch:
	jmp *%edi
#endif
	.globl access_load_fs
access_load_fs:
	mov %edi, %fs
access_end:
	int $VECTOR_USER_RETURN
	.balign 4096

#ifdef __x86_64__
/*
 * void paging_switch(ulong cr3, ulong cr4): takes up CR3 and CR4 with paging off, as a change of
 * CR4.LA57 needs. Code and stack lie below 4 GiB, mapped one to one in both spaces.
 */
	.globl paging_switch
paging_switch:
	push %rbx
	push $SEL_CODE32
	push $1f
	lretq
	.code32
1:	mov $SEL_DATA, %eax
	mov %eax, %ss
	mov %cr0, %ebx
	mov %ebx, %eax
	and $~CR0_PG, %eax
	mov %eax, %cr0
	mov %esi, %cr4
	mov %edi, %cr3
	mov %ebx, %cr0
	ljmp $SEL_CODE, $2f
	.code64
2:	pop %rbx
	ret
#else
	.globl paging_switch
paging_switch:
	mov %cr0, %edx
	mov %edx, %eax
	and $~CR0_PG, %eax
	mov %eax, %cr0
	mov 8(%esp), %eax
	mov %eax, %cr4
	mov 4(%esp), %eax
	mov %eax, %cr3
	mov %edx, %cr0
	ret
#endif

	.section .note.GNU-stack, "", @progbits
