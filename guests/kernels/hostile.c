/*
 * A guest that means harm: it touches physical memory that is not there, in every size, and writes
 * garbage to every port, MSR and device register. What it must find is bus noise or a fault; what
 * it must not find is the end of the machine. Ports and bits whose very purpose is to reset the
 * machine or to switch it off are left out.
 */
#include "paging.h"
#include "apic.h"

static u32 seed = 12345;

static u32 noise(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed ^ seed >> 15;
}

static void ignore(struct trap_frame *f)
{
}

/* Maps a page of physical memory at TEST_VA and touches it. */
static void touch(u64 physical)
{
	static const u16 offsets[] = {
		0, 1, 4, 7, 0x10, 0x80, 0xf0, 0xb0, 0x310, 0x3f0, 0xff9, 0xfff};
	volatile u8 *at;
	size_t i;

	map_page(&boot_space, TEST_VA, physical & ~0xfffull, PTE_P | PTE_W);
	map_page(&boot_space, TEST_VA + 0x1000, (physical & ~0xfffull) + 0x1000, PTE_P | PTE_W);
	for (i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		at = (u8 *)TEST_VA + offsets[i];
		try_asm("movb (%0), %%al; movb %%al, (%0)", : : "r"(at) : "eax", "memory");
		try_asm("movw (%0), %%ax; movw %%ax, (%0)", : : "r"(at) : "eax", "memory");
		try_asm("movl (%0), %%eax; movl %%eax, (%0)", : : "r"(at) : "eax", "memory");
		try_asm("movq (%0), %%rax; movq %%rax, (%0)", : : "r"(at) : "rax", "memory");
		try_asm("movups (%0), %%xmm0; movups %%xmm0, (%0)", : : "r"(at) : "memory");
		try_asm("fxsave (%0)", : : "r"((ulong)at & ~15ul) : "memory");
		try_asm("lock addl $1, (%0)", : : "r"(at) : "memory", "cc");
		try_asm("lock cmpxchg8b (%0)",
			:
			: "r"(at), "a"(0), "b"(0), "c"(0), "d"(0)
			: "memory", "cc");
		try_asm("mov $3, %%ecx; mov %0, %%rsi; mov %0, %%rdi; rep movsb",
			:
			: "r"(at)
			: "rsi", "rdi", "rcx", "memory");
	}
}

static void test_unmapped_memory(void)
{
	static const u64 places[] = {0x04000000, 0x08000000, 0x7fffe000, 0x80000000, 0xc0000000,
		0xd0000000, 0xe0000000, 0xf0000000, 0xfe000000, 0xfec01000, 0xfed00000, 0xfed40000,
		0xfeefe000, 0xfef00000, 0xff000000, 0x100000000ull, 0x123456000ull, 0x800000000ull,
		0x4000000000ull};
	u64 limit = 1ull << cpu_physical_bits();
	size_t i;
	u32 value;

	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		touch(places[i]);
	touch(limit - 0x2000);
	check(true, "memory that is not there can be touched");
	map_page(&boot_space, TEST_VA, 0xf0000000, PTE_P | PTE_W);
	try_asm("mov (%1), %0", : "=r"(value) : "r"(TEST_VA));
	check(trap.vector == NO_TRAP && value == 0xffffffff, "it reads as ones: %x", value);
	/* Code that is not there: ff ff is no instruction. */
	try_code((void *)TEST_VA, 0, 0);
	check(trap.vector != NO_TRAP, "it is no code");
	/* Page tables that are not there: whatever they say, it is no valid mapping. */
	pte_set(&boot_space, TEST_VA + 0x800000, 2, 0xe0000000 | PTE_P | PTE_W);
	invlpg(TEST_VA + 0x800000);
	try_asm("mov (%1), %0", : "=r"(value) : "r"(TEST_VA + 0x800000));
	check(trap.vector == PF_VECTOR, "page tables that are not there: error %x", trap.error);
	try_code((void *)(TEST_VA + 0x800000), 0, 0);
	check(trap.vector == PF_VECTOR, "and code through them");
}

static bool port_ends_machine(u32 port)
{
	/* Keyboard controller, system control, debug exit, PCI and reset, ACPI of this and other
	 * PCs. */
	return (port >= 0x60 && port <= 0x64) || (port >= 0x8f && port <= 0x92) ||
	       (port >= DEBUG_EXIT_PORT - 3 && port <= DEBUG_EXIT_PORT + 3) ||
	       (port >= 0xcf6 && port <= 0xcff) || (port >= 0x5f0 && port <= 0x6ff) ||
	       (port >= 0x8900 - 3 && port <= 0x8900) || (port >= 0xb000 && port <= 0xb0ff);
}

/* The serial port takes its share of garbage, and we want to go on talking. */
static void serial_restore(void)
{
	outb(SERIAL_PORT + 3, 3);
	outb(SERIAL_PORT + 1, 0);
	outb(SERIAL_PORT + 2, 0);
	outb(SERIAL_PORT + 4, 3);
}

static void test_ports(void)
{
	u32 port, round;

	for (round = 0; round < 2; round++) {
		for (port = 0; port < 0x10000; port++) {
			if (port_ends_machine(port))
				continue;
			outb(port, noise());
			inb(port);
			if (port & 1 && port > 0x1000)
				continue;
			outw(port, noise());
			inw(port);
			outl(port, noise());
			inl(port);
		}
	}
	serial_restore();
	check(true, "garbage to every port");
	for (port = 0; port < 0x400; port += 7) {
		ulong count = 100;
		void *at = (void *)0x1000000;

		if (port_ends_machine(port))
			continue;
		asm volatile("rep insb" : "+c"(count), "+D"(at) : "d"(port) : "memory");
		count = 100;
		at = (void *)0x1000000;
		asm volatile("rep outsl" : "+c"(count), "+S"(at) : "d"(port) : "memory");
	}
	serial_restore();
	check(true, "strings to and from ports");
}

static void test_msrs(void)
{
	static const struct {
		u32 first, last;
	} ranges[] = {{0, 0x1100}, {0x40000000, 0x40000200}, {0x4b564d00, 0x4b564d10},
		{0xc0000000, 0xc0000400}, {0xc0010000, 0xc0011100}};
	/* Registers that the guest needs to go on. */
	static const u32 spared[] = {MSR_EFER, 0x1b, 0x830, 0x83f, 0x6e0, 0xd90, 0xda0};
	u32 i, j, msr;

	for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		for (msr = ranges[i].first; msr < ranges[i].last; msr++) {
			bool spare = false;
			u32 low = 0, high = 0;

			for (j = 0; j < sizeof(spared) / sizeof(spared[0]); j++)
				spare = spare || msr == spared[j];
			try_asm("rdmsr", : "+a"(low), "+d"(high) : "c"(msr));
			if (spare)
				continue;
			try_asm("wrmsr", : : "c"(msr), "a"(noise()), "d"(noise()) : "memory");
			/* As an address: at the end of RAM, beyond it, at the end of all. */
			try_asm("wrmsr", : : "c"(msr), "a"(0x3ffffe1), "d"(0) : "memory");
			try_asm("wrmsr", : : "c"(msr), "a"(0xfffffff1), "d"(0xffffffff) : "memory");
			try_asm("wrmsr", : : "c"(msr), "a"(0xe0000001), "d"(0) : "memory");
			try_asm("wrmsr", : : "c"(msr), "a"(low), "d"(high) : "memory");
		}
	}
	check(true, "garbage to the MSRs");
}

static void test_device_memory(void)
{
	u32 offset, i;

	/* All of the APIC but ICR and the timer; all of the IOAPIC, always masked. */
	for (i = 0; i < 4; i++) {
		for (offset = 0; offset < 0x1000; offset += 4) {
			volatile u32 *reg = (u32 *)(APIC_ADDRESS + offset);

			if (offset >= 0x300 && offset < 0x320)
				continue;
			if (offset >= 0x320 && offset < 0x380)
				*reg = (noise() & ~0x700) | LVT_MASKED;
			else
				*reg = noise();
			offset & 8 ? (void)*reg : (void)*(volatile u8 *)((ulong)reg + 1);
		}
		for (offset = 0; offset < 0x100; offset++) {
			*(volatile u32 *)IOAPIC_ADDRESS = offset;
			*(volatile u32 *)(IOAPIC_ADDRESS + 0x10) = noise() | IOAPIC_MASKED;
			(void)*(volatile u32 *)(IOAPIC_ADDRESS + 0x10);
		}
		for (offset = 0; offset < 0x1000; offset += 4)
			*(volatile u32 *)(IOAPIC_ADDRESS + offset) = noise() | IOAPIC_MASKED;
	}
	check(true, "garbage to APIC and IOAPIC");
}

/*
 * Opcodes of two bytes that load system state, move the stack pointer, store at RDI, jump, or stop
 * the CPU are not for this test.
 */
static bool opcode_is_tame(u8 opcode)
{
	static const u8 wild[] = {0xa0, 0xa1, 0xa8, 0xa9, 0xaa, 0xae, 0xb2, 0xb4, 0xb5, 0xc7, 0xf7};
	size_t i;

	for (i = 0; i < sizeof(wild); i++)
		if (opcode == wild[i])
			return false;
	return opcode >= 0x10 && !(opcode >= 0x20 && opcode < 0x28) &&
	       !(opcode >= 0x30 && opcode < 0x40) && !(opcode >= 0x80 && opcode < 0x90) &&
	       !(opcode >= 0xc8 && opcode < 0xd0);
}

/* Random instructions with prefixes that fit or do not, on a register or on memory at RBX. */
static void test_instructions(void)
{
	static const u8 prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x3e, 0xf0, 0x48};
	u8 *code = (u8 *)0x1000000;
	u32 i, count, faults = 0;

	for (i = 0; i < 20000; i++) {
		u8 *p = code;
		u8 opcode = noise();

		if (!opcode_is_tame(opcode))
			continue;
		for (count = noise() % 4; count; count--)
			*p++ = prefixes[noise() % sizeof(prefixes)];
		*p++ = 0x0f;
		*p++ = opcode;
		/* Registers 0 to 3 only, so that RSP survives. */
		*p++ = noise() & 1 ? 0x03 | (noise() & 0x18) : 0xc0 | (noise() & 0x1b);
		memset(p, 0xc3, 8);
		try_code(code, 0, TEST_VA + 0x2100);
		faults += trap.vector != NO_TRAP;
	}
	asm volatile("fninit; ldmxcsr %0" : : "m"((u32){0x1f80}));
	check(faults > 0 && faults < 20000, "random instructions: some fault, some do not");
}

void guest_main(void)
{
	asm volatile("fninit");
	trap_set_handler(NMI_VECTOR, ignore);
	apic_enable();
	test_unmapped_memory();
	map_page(&boot_space, TEST_VA + 0x2000, (ulong)page_alloc(), PTE_P | PTE_W);
	map_page(&boot_space, TEST_VA + 0x1000, (ulong)page_alloc(), PTE_P | PTE_W);
	map_page(&boot_space, TEST_VA + 0x3000, (ulong)page_alloc(), PTE_P | PTE_W);
	test_instructions();
	test_ports();
	test_msrs();
	test_device_memory();
	check(true, "still here");
}
