/*
 * Virtual-8086 mode in a 32-bit kernel: entry by IRET, the way out by exceptions, what IOPL guards,
 * the I/O bitmap, and the extensions of CR4.VME: the redirection of INT n, VIF and VIP
 * (SDM vol. 3A, chapter 21).
 */
#include "kernel.h"

u32 v86_call(u32 offset, u32 flags);
extern const u8 v86_start[], v86_end[], v86_leave[];
#define LABEL(name) extern const u8 v86_##name[]
LABEL(basic);
LABEL(addressing);
LABEL(limit);
LABEL(cli);
LABEL(sti);
LABEL(pushf);
LABEL(pushfd);
LABEL(popf);
LABEL(popf_if);
LABEL(popf_tf);
LABEL(iret);
LABEL(int);
LABEL(int3);
LABEL(in);
LABEL(inw);
LABEL(out);
LABEL(ud);
LABEL(lldt);
LABEL(sldt);
LABEL(lar);
LABEL(arpl);
LABEL(mov_cr);
LABEL(lgdt);
LABEL(lmsw);
LABEL(smsw);
LABEL(clts);
LABEL(div);
LABEL(handler);
LABEL(handler_flags);

/* The first thing that brought us out of v86 mode, and what the CPU pushed. */
static struct {
	int vector;
	u32 error, ip, cs, flags, ax, ds_at_entry;
	u32 es, ds, fs, gs, sp, ss;
} out;

/* The HLT at the end of each piece of code is a #GP too, at an address where HLT is. */
static void leave(struct trap_frame *f)
{
	const u8 *at = (u8 *)((f->cs << 4) + f->ip);

	if (!(f->flags & FLAG_VM)) {
		print("FAIL vector %d outside v86 mode\n", (u8)f->vector);
		guest_exit(3);
	}
	out.vector = (u8)f->vector == GP_VECTOR && *at == 0xf4 ? NO_TRAP : (u8)f->vector;
	out.error = f->error;
	out.ip = f->ip;
	out.cs = f->cs;
	out.flags = f->flags;
	out.ax = f->ax;
	out.es = f->v86_es;
	out.ds = f->v86_ds;
	out.fs = f->v86_fs;
	out.gs = f->v86_gs;
	out.sp = f->sp;
	out.ss = f->ss;
	out.ds_at_entry = f->ds;
	f->ip = (ulong)v86_leave;
	f->cs = SEL_CODE;
	f->flags = 2;
	f->ds = f->es = SEL_DATA;
	f->fs = f->gs = 0;
}

static void run(const u8 *code, u32 flags)
{
	v86_call(code - v86_start, 2 | FLAG_VM | flags);
}

/* What happens to a sensitive instruction under IOPL 3, IOPL 0, and with VME. */
static void expect(const u8 *code, u32 flags, int vector, u32 error, const char *name)
{
	run(code, flags);
	check(out.vector == vector &&
			(vector == NO_TRAP ||
				(out.error == error && out.ip == (u32)(code - v86_start))),
		"%s: vector %d error %x ip +%x", name, out.vector, out.error,
		out.ip - (u32)(code - v86_start));
}

static void test_entry(void)
{
	run(v86_basic, FLAG_IOPL);
	check_eq(out.vector, NO_TRAP, "v86 code runs to its end");
	check_eq(
		out.ax & 0xffff, 0x1234 + 0x1111 + 0x2222, "segment registers as IRET loaded them");
	check(out.flags & FLAG_VM, "VM in the flags pushed");
	check_eq(out.cs, LOW_CODE >> 4, "CS pushed");
	check(out.ds == LOW_CODE >> 4 && out.es == LOW_DATA >> 4 && out.fs == 0x1111 &&
			out.gs == 0x2222 && out.ss == LOW_DATA >> 4 && out.sp == 0xfff0,
		"data segments and stack pushed");
	check_eq(out.ds_at_entry, 0, "DS is null in the handler");
	run(v86_addressing, FLAG_IOPL);
	check_eq(out.ax & 0xffff, 0x5a5a, "addresses are segment times 16 plus offset");
	expect(v86_limit, FLAG_IOPL, GP_VECTOR, 0, "the limit is 64 KiB");
}

/* At CPL 3 as v86 code runs, these never work, whatever IOPL is. */
static void test_privileged(void)
{
	expect(v86_lldt, FLAG_IOPL, UD_VECTOR, 0, "lldt");
	expect(v86_sldt, FLAG_IOPL, UD_VECTOR, 0, "sldt");
	expect(v86_lar, FLAG_IOPL, UD_VECTOR, 0, "lar");
	expect(v86_arpl, FLAG_IOPL, UD_VECTOR, 0, "arpl");
	expect(v86_ud, FLAG_IOPL, UD_VECTOR, 0, "ud2");
	expect(v86_mov_cr, FLAG_IOPL, GP_VECTOR, 0, "mov from cr0");
	expect(v86_lgdt, FLAG_IOPL, GP_VECTOR, 0, "lgdt");
	expect(v86_lmsw, FLAG_IOPL, GP_VECTOR, 0, "lmsw");
	expect(v86_clts, FLAG_IOPL, GP_VECTOR, 0, "clts");
	expect(v86_smsw, FLAG_IOPL, NO_TRAP, 0, "smsw");
	check_eq(out.ax & 0xffff, 1, "smsw shows PE");
	run(v86_div, FLAG_IOPL);
	check_eq(out.vector, DE_VECTOR, "div by zero goes to the protected-mode handler");
	run(v86_int3, FLAG_IOPL);
	check_eq(out.vector, BP_VECTOR, "int3 goes to the protected-mode handler");
	run(v86_int3, 0);
	check_eq(out.vector, BP_VECTOR, "int3 does not ask for IOPL");
}

static void test_iopl(void)
{
	expect(v86_cli, 0, GP_VECTOR, 0, "IOPL 0: cli");
	expect(v86_sti, 0, GP_VECTOR, 0, "IOPL 0: sti");
	expect(v86_pushf, 0, GP_VECTOR, 0, "IOPL 0: pushf");
	expect(v86_pushfd, 0, GP_VECTOR, 0, "IOPL 0: pushfd");
	expect(v86_int, 0, GP_VECTOR, 0, "IOPL 0: int");
	run(v86_popf, 0);
	check_eq(out.vector, GP_VECTOR, "IOPL 0: popf");
	run(v86_iret, 0);
	check_eq(out.vector, GP_VECTOR, "IOPL 0: iret");

	expect(v86_cli, FLAG_IOPL | FLAG_IF, NO_TRAP, 0, "IOPL 3: cli");
	check(!(out.flags & FLAG_IF), "IOPL 3: cli clears IF");
	expect(v86_sti, FLAG_IOPL, NO_TRAP, 0, "IOPL 3: sti");
	check(out.flags & FLAG_IF, "IOPL 3: sti sets IF");
	run(v86_pushf, FLAG_IOPL | FLAG_CF);
	check_eq(out.ax & 0xffff, FLAG_IOPL | 2 | FLAG_CF, "IOPL 3: pushf");
	run(v86_pushfd, FLAG_IOPL | FLAG_CF);
	check_eq(out.vector, NO_TRAP, "IOPL 3: pushfd");
	run(v86_popf, FLAG_IOPL);
	check_eq(out.ax & 0xffff, (0x0ed5 & ~0x28) | FLAG_IOPL | 2,
		"IOPL 3: popf cannot change IOPL");
	run(v86_iret, FLAG_IOPL);
	check_eq(out.ax & 0xffff, 0x77, "IOPL 3: iret");
	idt_reset(0x60, 0);
	expect(v86_int, FLAG_IOPL, GP_VECTOR, 0x60 * 8 + 2, "IOPL 3: int through a gate of DPL 0");
	idt_reset(0x60, 3);
	run(v86_int, FLAG_IOPL);
	check_eq(out.vector, 0x60, "IOPL 3: int through a gate of DPL 3");
	check_eq(out.ip, (u32)(v86_int - v86_start) + 2, "IOPL 3: int: IP behind it");
}

/* In v86 mode the I/O bitmap rules, IOPL does not. */
static void test_io(void)
{
	memset(main_tss.bitmap, 0xff, sizeof(main_tss.bitmap));
	expect(v86_in, FLAG_IOPL, GP_VECTOR, 0, "no bitmap: in");
	main_tss.tss.io_bitmap = offsetof(struct main_tss, bitmap);
	expect(v86_in, FLAG_IOPL, GP_VECTOR, 0, "bit set: in");
	main_tss.bitmap[0x21 / 8] &= ~(1 << 1);
	expect(v86_in, 0, NO_TRAP, 0, "bit clear: in, though IOPL is 0");
	expect(v86_inw, 0, GP_VECTOR, 0, "a word needs both bits");
	main_tss.bitmap[0x20 / 8] &= ~1;
	expect(v86_inw, 0, NO_TRAP, 0, "both bits clear");
	main_tss.tss.io_bitmap = NO_IO_BITMAP;
}

static void redirect(int vector, bool to_v86)
{
	/* The 32 bytes before the I/O bitmap; a clear bit sends INT n to the v86 program. */
	u8 *map = (u8 *)&main_tss + main_tss.tss.io_bitmap - 32;

	if (to_v86)
		map[vector / 8] &= ~(1 << vector % 8);
	else
		map[vector / 8] |= 1 << vector % 8;
}

static void test_vme(void)
{
	volatile u16 *ivt = (u16 *)0;

	if (!cpu_has(FEATURE_VME)) {
		skip("VME: not in CPUID");
		return;
	}
	asm volatile("" : "+r"(ivt));
	write_cr4(read_cr4() | CR4_VME);
	memset(main_tss.bitmap, 0xff, sizeof(main_tss.bitmap));
	main_tss.tss.io_bitmap = offsetof(struct main_tss, bitmap) + 32;
	ivt[2 * 0x60] = v86_handler - v86_start;
	ivt[2 * 0x60 + 1] = LOW_CODE >> 4;

	redirect(0x60, false);
	expect(v86_int, 0, GP_VECTOR, 0, "VME, IOPL 0: int that is not redirected");
	idt_reset(0x60, 3);
	run(v86_int, FLAG_IOPL);
	check_eq(out.vector, 0x60, "VME, IOPL 3: int that is not redirected");
	redirect(0x60, true);
	run(v86_int, FLAG_IOPL | FLAG_IF | FLAG_CF);
	check_eq(out.vector, NO_TRAP, "VME, IOPL 3: int through the v86 vector table");
	check_eq(out.ax & 0xffff, FLAG_IOPL | FLAG_IF | FLAG_CF | 2, "flags pushed");
	/* With IOPL below 3 the flags pushed show VIF as IF, and IOPL as 3. */
	run(v86_int, FLAG_VIF);
	check_eq(out.vector, NO_TRAP, "VME, IOPL 0: int through the v86 vector table");
	check_eq(out.ax & 0xffff, FLAG_IOPL | FLAG_IF | 2, "flags pushed with VIF set");
	run(v86_int, FLAG_IF);
	check_eq(out.ax & 0xffff, FLAG_IOPL | 2, "flags pushed with VIF clear, IF set");
	ivt[2 * 0x60] = v86_handler_flags - v86_start;
	run(v86_int, FLAG_VIF);
	check_eq(out.ax & FLAG_IF, 0, "the handler runs with VIF clear");
	check(out.flags & FLAG_VIF, "its IRET sets VIF again");

	run(v86_cli, FLAG_VIF | FLAG_IF);
	check(out.vector == NO_TRAP && !(out.flags & FLAG_VIF) && out.flags & FLAG_IF,
		"VME, IOPL 0: cli clears VIF, not IF");
	run(v86_sti, 0);
	check(out.vector == NO_TRAP && out.flags & FLAG_VIF && !(out.flags & FLAG_IF),
		"VME, IOPL 0: sti sets VIF, not IF");
	expect(v86_sti, FLAG_VIP, GP_VECTOR, 0, "VME, IOPL 0: sti with VIP");
	run(v86_pushf, FLAG_VIF | FLAG_CF);
	check_eq(out.ax & 0xffff, FLAG_IOPL | FLAG_IF | FLAG_CF | 2, "VME, IOPL 0: pushf");
	expect(v86_pushfd, 0, GP_VECTOR, 0, "VME, IOPL 0: pushfd");
	run(v86_popf_if, 0);
	check(out.vector == NO_TRAP && out.flags & FLAG_VIF && !(out.flags & FLAG_IF),
		"VME, IOPL 0: popf sets VIF");
	run(v86_popf_if, FLAG_VIP);
	check_eq(out.vector, GP_VECTOR, "VME, IOPL 0: popf that sets IF with VIP");
	run(v86_popf_tf, 0);
	check_eq(out.vector, GP_VECTOR, "VME, IOPL 0: popf that sets TF");
	run(v86_iret, FLAG_VIF);
	check(out.vector == NO_TRAP && (out.ax & 0xffff) == 0x77, "VME, IOPL 0: iret");
	write_cr4(read_cr4() & ~(ulong)CR4_VME);
	main_tss.tss.io_bitmap = NO_IO_BITMAP;
}

/* Protected-mode virtual interrupts: the same VIF for CLI and STI of ring 3. */
static ulong ring3_cli_sti(ulong what)
{
	if (what == 0)
		try_asm("cli");
	else
		try_asm("sti");
	return trap.vector == NO_TRAP ? read_flags() : 0;
}

static void test_pvi(void)
{
	ulong flags;

	if (!cpu_has(FEATURE_VME)) {
		skip("PVI: not in CPUID");
		return;
	}
	trap_set_handler(GP_VECTOR, NULL);
	write_cr4(read_cr4() | CR4_PVI);
	flags = user_call(ring3_cli_sti, 1);
	check(flags & FLAG_VIF && !(flags & FLAG_IF), "PVI: sti of ring 3 sets VIF");
	flags = user_call(ring3_cli_sti, 0);
	check(flags && !(flags & FLAG_VIF), "PVI: cli of ring 3 clears VIF");
	write_cr4(read_cr4() & ~(ulong)CR4_PVI);
	check_eq(user_call(ring3_cli_sti, 1), 0, "without PVI sti of ring 3 faults");
	trap_set_handler(GP_VECTOR, leave);
}

void guest_main(void)
{
	static const int vectors[] = {DE_VECTOR, DB_VECTOR, BP_VECTOR, UD_VECTOR, GP_VECTOR, 0x60};
	size_t i;

	memcpy((void *)LOW_CODE, v86_start, v86_end - v86_start);
	for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		trap_set_handler(vectors[i], leave);
	test_entry();
	test_privileged();
	test_iopl();
	test_io();
	test_vme();
	test_pvi();
}
