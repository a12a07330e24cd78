/*
 * Hot code of the upper half whose stack lies in the lower half, as the entry stubs of some kernels
 * have it: every instruction that uses the stack does the same there as on a stack in the upper
 * half, also where the stack crosses into another 512 GiB, and is not very much slower.
 *
 * On the command line: loops=N turns of the routine.
 */
#include "paging.h"

#define HIGH_IMAGE 0xffffffff80000000ul /* this kernel, mapped again */
#define BORDER     0x8000000000ul       /* between the first two slots of 512 GiB */
#define ROUNDS     5
#define TIMES      100 /* so much slower the low stack may be; a fault for each access is 1000 */

/* work(loops, stack): a sum of what went through the stack. */
extern u8 work[];
asm(".pushsection .text\n"
    "work:\n"
    "	push %rbx; push %rbp; push %r12; push %r13\n"
    "	mov %rsp, %r12\n"
    "	mov %rsi, %rsp\n"
    "	xor %eax, %eax\n"
    "1:	push %rdi\n"
    "	push $0x1234\n"
    "	push %rax\n"
    "	cmp %rdi, %rax\n"
    "	pushfq\n"
    "	pop %rdx\n"
    "	and $0x8d5, %edx\n"
    "	add %rdx, 8(%rsp)\n"
    "	call 2f\n"
    "	lea 3f(%rip), %rbx\n"
    "	call *%rbx\n"
    "	push work_word(%rip)\n"
    "	push %rdi\n"
    "	call 4f\n"
    "	push %rsp\n"
    "	pop %rsp\n"
    "	mov $24, %r13d\n"
    "	sub %r13, %rsp\n"
    "	lea 0x10(%rsp), %rsp\n"
    "	mov %rdi, (%rsp)\n"
    "	pop %r11\n"
    "	lea (%rax,%r11,2), %rax\n"
    "	pop %r10\n"
    "	add %r10, %rax\n"
    "	addq $7, (%rsp)\n"
    "	pop %r13\n"
    "	add %r13, %rax\n"
    "	lea (%rax,%rax,8), %rax\n"
    "	pop %rdi\n"
    "	dec %rdi\n"
    "	jnz 1b\n"
    "	mov %r12, %rsp\n"
    "	pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "	ret\n"
    "2:	add 8(%rsp), %rax\n"
    "	ret\n"
    "3:	push %rbp\n"
    "	mov %rsp, %rbp\n"
    "	sub $0x40, %rsp\n"
    "	mov %rax, -8(%rbp)\n"
    "	mov %rdi, 0x10(%rsp)\n"
    "	add -8(%rbp), %rdi\n"
    "	xor 0x10(%rsp), %rdi\n"
    "	add %rdi, %rax\n"
    "	mov 0x10(%rsp), %rdi\n"
    "	leave\n"
    "	ret\n"
    "4:	add 8(%rsp), %rax\n"
    "	add 16(%rsp), %rax\n"
    "	ret $16\n"
    ".popsection\n"
    ".pushsection .data\n"
    "work_word: .quad 0x123456789\n"
    ".popsection\n");

/* Where HIGH_IMAGE shows what is at `low`. Compilers must not see the sum: as a constant it is
 * beyond what code for the lower 2 GiB may name. */
static ulong in_upper_half(const void *low)
{
	ulong address = (ulong)low;

	asm("" : "+r"(address));
	return address + HIGH_IMAGE;
}

static ulong run(ulong loops, ulong stack)
{
	return ((ulong(*)(ulong, ulong))in_upper_half(work))(loops, stack);
}

static u64 shortest(ulong loops, ulong stack)
{
	u64 best = ~0ull;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		u64 start = rdtsc(), end;

		run(loops, stack);
		end = rdtsc();
		if (end - start < best)
			best = end - start;
	}
	return best;
}

void guest_main(void)
{
	u8 *pages = page_alloc(), *more = page_alloc();
	ulong low = (ulong)pages + 0xff0, high = low + HIGH_IMAGE, at, expected[2];
	u32 loops = boot_option("loops", 20000);
	u64 slow, fast;

	for (at = 0; at < 0x2000000; at += 0x200000)
		pte_set(&boot_space, HIGH_IMAGE + at, 2, at | PTE_P | PTE_W | PTE_PS);
	map_page(&boot_space, BORDER - 0x1000, (ulong)pages, PTE_P | PTE_W);
	map_page(&boot_space, BORDER, (ulong)more, PTE_P | PTE_W);
	/* Cold. */
	expected[0] = run(3, low);
	check_eq(run(3, high), expected[0], "three turns, high stack");
	expected[1] = run(loops, high);
	fast = shortest(loops, high);
	check_eq(run(loops, low), expected[1], "hot, low stack");
	check_eq(run(3, low), expected[0], "three turns, low stack");
	for (at = BORDER - 0x60; at <= BORDER + 0x60; at += 8)
		if (run(3, at) != expected[0])
			break;
	check_eq(at, BORDER + 0x68, "the stack crosses 512 GiB");
	check_eq(run(loops, BORDER + 0x20), expected[1], "the stack crosses 512 GiB in each turn");
	slow = shortest(loops, low);
	print("high stack %lu cycles a turn, low stack %lu\n", (ulong)fast / loops,
		(ulong)slow / loops);
	check(slow < fast * TIMES, "a low stack is not much slower than a high one");
}
