/*
 * Kernels that end in a way of their own, one for each value of ENDING: triple faults, resets,
 * power-off, and none at all. The exit status of the monitor tells whether it understood.
 */
#include "paging.h"

#define TRIPLE_NO_IDT   1
#define TRIPLE_NO_STACK 2
#define RESET_KEYBOARD  3
#define RESET_CF9       4
#define RESET_PORT_92   5
#define SPIN            6
#define HALT            7
#define STORM           8
#define NO_RESET_CF8    9 /* goes on to the end */

void guest_main(void)
{
	print("PASS ending %d begins\n", ENDING);
	switch (ENDING) {
	case TRIPLE_NO_IDT:
		lidt(0, 0);
		asm volatile("ud2");
		break;
	case TRIPLE_NO_STACK:
		map_page(&boot_space, TEST_VA, 0, 0);
		asm volatile("mov %0, %%rsp; push %%rax" : : "r"(TEST_VA + 0x800));
		break;
	case RESET_KEYBOARD:
		outb(0x64, 0xfe);
		break;
	case RESET_CF9:
		outb(0xcf9, 2);
		outb(0xcf9, 6);
		break;
	case NO_RESET_CF8:
		/* PCI's configuration address, of which the reset register would be the second
		 * byte. */
		outl(0xcf8, 0x80000400);
		check(inl(0xcf8) == 0x80000400, "PCI's address register reads as written");
		outw(0xcf8, 0x0600);
		outw(0xcf9, 0x0006);
		return;
	case RESET_PORT_92:
		outb(0x92, inb(0x92) | 1);
		break;
	case SPIN:
		for (;;)
			asm volatile("cli");
	case HALT:
		for (;;)
			asm volatile("cli; hlt");
	case STORM:
		/* Every instruction faults, and the handler too comes back to it. */
		for (;;)
			try_asm("ud2");
	}
	/* A reset may take effect a moment later. */
	for (int i = 0; i < 1000000; i++)
		cpu_relax();
	check(false, "ending %d did not end", ENDING);
}
