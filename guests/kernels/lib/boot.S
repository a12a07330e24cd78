/*
 * From the multiboot loader's 32-bit protected mode to guest_start() in the kernel's own mode.
 * The loader guarantees flat segments, paging off, interrupts off, EBX = information structure
 * (Multiboot 0.6.96, 3.2); everything else is set up here.
 */
#include "layout.h"

	.section .multiboot, "a"
	.balign 4
	.long MULTIBOOT_HEADER_MAGIC, 0, -MULTIBOOT_HEADER_MAGIC

	.text
	.code32
	.globl _start
_start:
	cli
	cld
	mov %eax, boot_magic
	mov %ebx, boot_info
	mov $stack_top, %esp
	push $0
	popf
	lgdt gdt_pointer32
	ljmp $SEL_CODE32, $1f
1:	mov $SEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	xor %ebp, %ebp
	call cpu_mode_set
#ifdef __x86_64__
	ljmp $SEL_CODE, $1f
	.code64
1:	mov $stack_top, %rsp
#else
	ljmp $SEL_CODE, $1f
1:
#endif
	call guest_start
	hlt

/*
 * Puts the calling CPU, in 32-bit protected mode, into the mode kernels run in. In a 64-bit
 * kernel the caller must go on with a far jump to SEL_CODE. The first CPU makes the page tables.
 */
	.code32
	.globl cpu_mode_set
cpu_mode_set:
#ifdef __x86_64__
	cmpl $0, boot_pml4
	jne 3f
	/* Four page directories of 512 pages of 2 MiB each, open to ring 3. */
	mov $boot_directories, %edi
	mov $0xe7, %eax
1:	mov %eax, (%edi)
	movl $0, 4(%edi)
	add $8, %edi
	add $0x200000, %eax
	jnc 1b
	mov $boot_directories + 7, %eax
	mov $boot_pdpt, %edi
	mov $4, %ecx
2:	mov %eax, (%edi)
	add $8, %edi
	add $4096, %eax
	loop 2b
	movl $boot_pdpt + 7, boot_pml4

3:	mov $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
	mov %eax, %cr4
	mov $boot_pml4, %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $EFER_LME, %eax
	wrmsr
	mov $(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE), %eax
	mov %eax, %cr0
#else
	cmpl $0, boot_directory
	jne 3f
	/* One page directory of 1024 pages of 4 MiB, open to ring 3. */
	mov $boot_directory, %edi
	mov $0xe7, %eax
1:	mov %eax, (%edi)
	add $4, %edi
	add $0x400000, %eax
	jnc 1b

3:	mov $(CR4_PSE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
	mov %eax, %cr4
	mov $boot_directory, %eax
	mov %eax, %cr3
	mov $(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE), %eax
	mov %eax, %cr0
#endif
	ret

	.data
	.balign 8
	.globl gdt
gdt:	.quad 0
	.quad 0x00cf9b000000ffff	/* SEL_CODE32 */
#ifdef __x86_64__
	.quad 0x00af9b000000ffff	/* SEL_CODE */
#else
	.quad 0x00cf9b000000ffff
#endif
	.quad 0x00cf93000000ffff	/* SEL_DATA */
	.quad 0x00cffb000000ffff	/* SEL_USER_CODE32 */
	.quad 0x00cff3000000ffff	/* SEL_USER_DATA */
#ifdef __x86_64__
	.quad 0x00affb000000ffff	/* SEL_USER_CODE */
#else
	.quad 0x00cffb000000ffff
#endif
	.quad 0x00cff3000000ffff	/* SEL_USER_DATA2 */
	.quad 0x00009b000000ffff	/* SEL_CODE16 */
	.quad 0x000093000000ffff	/* SEL_DATA16 */
	.fill GDT_ENTRIES - 10, 8, 0
	.globl gdt_pointer32
gdt_pointer32:
	.word GDT_ENTRIES * 8 - 1
	.long gdt
	.globl boot_magic, boot_info
boot_magic:
	.long 0
boot_info:
	.long 0

	.bss
	.balign 4096
#ifdef __x86_64__
	.globl boot_pml4, boot_pdpt, boot_directories
boot_pml4:
	.skip 4096
boot_pdpt:
	.skip 4096
boot_directories:
	.skip 4 * 4096
#else
	.globl boot_directory
boot_directory:
	.skip 4096
#endif
	.skip 32768
	.globl stack_top
stack_top:
	.globl user_stack, user_stack_top
user_stack:
	.skip 16384
user_stack_top:

	.section .note.GNU-stack, "", @progbits
