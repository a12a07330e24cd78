/*
 * The runtime of the guest kernels: tiny programs that use the bare machine in the ways Linux
 * does not, and say on the serial port whether it answered as the manuals promise.
 *
 * A kernel is one file with a guest_main(). The runtime has already put the CPU into 64-bit
 * mode, or, in a kernel built with -m32, into flat 32-bit protected mode with two-level paging.
 * 4 GiB are mapped one to one and open to ring 3. The FPU is untouched, interrupts are off,
 * the PICs masked.
 *
 * An instruction that may fault is run by try_asm(), which notes what happened in `trap`:
 *
 *	try_asm("mov %0, %%ds", : : "r"(0x1000));
 *	check_trap(GP_VECTOR, 0x1000, "selector beyond the GDT");
 *
 * Every check prints a PASS or FAIL line. When guest_main() returns, the runtime prints the
 * sums and leaves through the isa-debug-exit port: 0, hence VMM status 1, if nothing failed.
 *
 * What a check expects is what the manuals say (Intel SDM, AMD APM), not what an emulator does.
 * Where the two vendors differ the check asks cpu_is_amd().
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64; /* uint64_t is not the same in both kinds of kernel */
typedef int32_t s32;
typedef unsigned long ulong;

enum {
	DE_VECTOR = 0,
	DB_VECTOR = 1,
	NMI_VECTOR = 2,
	BP_VECTOR = 3,
	OF_VECTOR = 4,
	BR_VECTOR = 5,
	UD_VECTOR = 6,
	NM_VECTOR = 7,
	DF_VECTOR = 8,
	TS_VECTOR = 10,
	NP_VECTOR = 11,
	SS_VECTOR = 12,
	GP_VECTOR = 13,
	PF_VECTOR = 14,
	MF_VECTOR = 16,
	AC_VECTOR = 17,
	XM_VECTOR = 19,
	NO_TRAP = 0x100,
};

#define FLAG_CF   (1 << 0)
#define FLAG_PF   (1 << 2)
#define FLAG_ZF   (1 << 6)
#define FLAG_SF   (1 << 7)
#define FLAG_TF   (1 << 8)
#define FLAG_IF   (1 << 9)
#define FLAG_DF   (1 << 10)
#define FLAG_OF   (1 << 11)
#define FLAG_IOPL 0x3000
#define FLAG_NT   (1 << 14)
#define FLAG_RF   (1 << 16)
#define FLAG_VM   (1 << 17)
#define FLAG_AC   (1 << 18)
#define FLAG_VIF  (1 << 19)
#define FLAG_VIP  (1 << 20)

/* What the exception stubs leave on the stack; trap_common in trap_entry.S builds it. */
struct trap_frame {
#ifdef __x86_64__
	ulong r15, r14, r13, r12, r11, r10, r9, r8;
	ulong di, si, bp, dx, cx, bx, ax;
#else
	ulong gs, fs, es, ds;
	ulong di, si, bp, unused_sp, bx, dx, cx, ax;
#endif
	ulong vector, error;
	ulong ip, cs, flags;
	ulong sp, ss; /* in a 32-bit kernel only there if the privilege level changed */
#ifndef __x86_64__
	ulong v86_es, v86_ds, v86_fs, v86_gs;
#endif
};

/* The last exception that try_asm() caught. */
struct trap {
	int vector;
	u32 error;
	ulong ip, flags, sp, cr2;
	u16 cs, ss;
	ulong offset; /* ip relative to the tried instruction */
	ulong cx, si, di, ax;
};
extern struct trap trap;
extern u32 trap_at, trap_resume, trap_resume_cs;

#define TRY(insn)                                                                                  \
	"movl $770f, trap_at\n\tmovl $771f, trap_resume\n770:\t" insn                              \
	"\n771:\tmovl $0, trap_resume\n\t"

/* Runs one instruction (or several: then trap.offset tells which) and catches what it raises. */
#define try_asm(insn, ...)                                                                         \
	do {                                                                                       \
		trap.vector = NO_TRAP;                                                             \
		asm volatile("" : : : "memory");                                                   \
		asm volatile(TRY(insn) __VA_ARGS__);                                               \
		asm volatile("" : : : "memory");                                                   \
	} while (0)

/*
 * Calls the instructions at CODE with BX in RBX and catches what they raise. They may leave any
 * register changed, must end in a near return, and are expected to fault at OFFSET. Returns RAX.
 */
extern ulong try_code_sp; /* their stack pointer when they began */
ulong try_code(const void *code, ulong offset, ulong bx);

/* Defines instructions for try_code(). */
#define SNIPPET(name, instructions)                                                                \
	extern const u8 name[];                                                                    \
	asm(".pushsection .text\n" #name ":\n\t" instructions "\n\tret\n.popsection")

typedef void (*trap_handler)(struct trap_frame *frame);

/* Gives VECTOR to HANDLER; NULL gives it back to try_asm(). */
void trap_set_handler(int vector, trap_handler handler);

/* Fills entry VECTOR of the IDT. TYPE is 14 (interrupt), 15 (trap), 5 (task). */
void idt_set(int vector, u16 selector, ulong offset, int type, int dpl, int ist);
/* Points entry VECTOR back at the runtime's own stub, reachable from ring DPL. */
void idt_reset(int vector, int dpl);
/* Sets the P bit of entry VECTOR. */
void idt_set_present(int vector, bool present);
void *idt_base(void);
extern u8 trap_stubs[]; /* 16 bytes for each vector */

/* Calls FN(ARG) in ring 3 and returns what it returns. SP is the runtime's user stack. */
ulong user_call(ulong (*fn)(ulong), ulong arg);
/* The same with a code selector and a stack of the caller's choice. */
ulong user_call_at(u16 cs, ulong ip, u16 ss, ulong sp, ulong arg, ulong flags);
extern u8 user_stack[], user_stack_top[];
/*
 * Calls 32-bit code in compatibility mode, from a 64-bit kernel, with DS and ES loaded as told.
 * Returns its EAX.
 */
u32 compat_call(void (*function)(void), u32 data_selector);

/* Checks: each prints one PASS or FAIL line. */
bool check(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool check_eq(u64 got, u64 want, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The last try_asm() raised VECTOR with ERROR at its first instruction. */
bool check_trap(int vector, u32 error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
bool check_no_trap(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The last try_asm() raised #PF with ERROR at ADDRESS. */
bool check_pf(u32 error, ulong address, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void guest_exit(u32 value) __attribute__((noreturn));
void guest_finish(void) __attribute__((noreturn));

void guest_main(void);

/* Descriptors. FLAGS is the high word's byte pair: access byte | (G, D/B, L, AVL) << 12. */
#define DESC_CODE64 0xa09b
#define DESC_CODE32 0xc09b
#define DESC_CODE16 0x009b
#define DESC_DATA32 0xc093
#define DESC_DATA16 0x0093
#define DESC_DPL(n) ((n) << 5)
extern u64 gdt[GDT_ENTRIES];
u64 descriptor(u32 base, u32 limit, u16 flags);
void gdt_set(u16 selector, u32 base, u32 limit, u16 flags);
/* A call gate; in a 64-bit kernel it takes two entries. */
void gdt_set_gate(u16 selector, u16 target, ulong offset, u8 access, u8 count);

#ifdef __x86_64__
struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3, io_bitmap;
} __attribute__((packed));
#else
struct tss {
	u32 link;
	struct {
		u32 esp, ss;
	} ring[3];
	u32 cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
	u32 es, cs, ss, ds, fs, gs, ldt;
	u16 trap, io_bitmap;
} __attribute__((packed));
#endif
/* The TSS of CPU 0, with room for an I/O bitmap of all ports and its final 0xff. */
struct main_tss {
	struct tss tss;
	u8 bitmap[8193];
} __attribute__((aligned(128)));
extern struct main_tss main_tss;
#define NO_IO_BITMAP 0xffff

void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);
int strcmp(const char *a, const char *b);

/* The number that follows NAME= on the command line, or OTHERWISE. */
u32 boot_option(const char *name, u32 otherwise);
extern u32 boot_mem_upper; /* KiB of RAM from 1 MiB up, as multiboot told it */

/* Whole zeroed page frames above the image. They are never given back. */
void *page_alloc(void);
void *pages_alloc(int count);

struct cpuid {
	u32 a, b, c, d;
};

static inline struct cpuid cpuid(u32 leaf, u32 subleaf)
{
	struct cpuid r;

	asm volatile("cpuid"
		     : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d)
		     : "a"(leaf), "c"(subleaf));
	return r;
}

/* A CPUID feature bit: leaf, subleaf, register (0 to 3: EAX, EBX, ECX, EDX), bit. */
#define FEATURE(leaf, subleaf, reg, bit)                                                           \
	((u64)(leaf) << 32 | (u64)(subleaf) << 16 | (reg) << 8 | (bit))
#define FEATURE_X2APIC       FEATURE(1, 0, 2, 21)
#define FEATURE_PCID         FEATURE(1, 0, 2, 17)
#define FEATURE_TSC_DEADLINE FEATURE(1, 0, 2, 24)
#define FEATURE_CX16         FEATURE(1, 0, 2, 13)
#define FEATURE_XSAVE        FEATURE(1, 0, 2, 26)
#define FEATURE_AVX          FEATURE(1, 0, 2, 28)
#define FEATURE_VME          FEATURE(1, 0, 3, 1)
#define FEATURE_SEP          FEATURE(1, 0, 3, 11)
#define FEATURE_FSGSBASE     FEATURE(7, 0, 1, 0)
#define FEATURE_TSC_ADJUST   FEATURE(7, 0, 1, 1)
#define FEATURE_SMEP         FEATURE(7, 0, 1, 7)
#define FEATURE_INVPCID      FEATURE(7, 0, 1, 10)
#define FEATURE_SMAP         FEATURE(7, 0, 1, 20)
#define FEATURE_AVX512F      FEATURE(7, 0, 1, 16)
#define FEATURE_UMIP         FEATURE(7, 0, 2, 2)
#define FEATURE_PKU          FEATURE(7, 0, 2, 3)
#define FEATURE_LA57         FEATURE(7, 0, 2, 16)
#define FEATURE_XSAVEOPT     FEATURE(0xd, 1, 0, 0)
#define FEATURE_XSAVEC       FEATURE(0xd, 1, 0, 1)
#define FEATURE_XSAVES       FEATURE(0xd, 1, 0, 3)
#define FEATURE_NX           FEATURE(0x80000001, 0, 3, 20)
#define FEATURE_1G_PAGES     FEATURE(0x80000001, 0, 3, 26)
#define FEATURE_RDTSCP       FEATURE(0x80000001, 0, 3, 27)
#define FEATURE_SYSCALL      FEATURE(0x80000001, 0, 3, 11)
/* False also where the leaf does not exist. */
bool cpu_has(u64 feature);
/* Hygon counts as AMD. */
bool cpu_is_amd(void);
u32 cpu_physical_bits(void);

static inline u8 inb(u16 port)
{
	u8 value;

	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline u16 inw(u16 port)
{
	u16 value;

	asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline u32 inl(u16 port)
{
	u32 value;

	asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline void outb(u16 port, u8 value)
{
	asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void outw(u16 port, u16 value)
{
	asm volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void outl(u16 port, u32 value)
{
	asm volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline u64 rdmsr(u32 msr)
{
	u32 low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return (u64)high << 32 | low;
}

static inline void wrmsr(u32 msr, u64 value)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline u64 rdtsc(void)
{
	u32 low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (u64)high << 32 | low;
}

#define DEFINE_CONTROL_REGISTER(name)                                                              \
	static inline ulong read_##name(void)                                                      \
	{                                                                                          \
		ulong value;                                                                       \
                                                                                                   \
		asm volatile("mov %%" #name ", %0" : "=r"(value) : : "memory");                    \
		return value;                                                                      \
	}                                                                                          \
	static inline void write_##name(ulong value)                                               \
	{                                                                                          \
		asm volatile("mov %0, %%" #name : : "r"(value) : "memory");                        \
	}
DEFINE_CONTROL_REGISTER(cr0)
DEFINE_CONTROL_REGISTER(cr2)
DEFINE_CONTROL_REGISTER(cr3)
DEFINE_CONTROL_REGISTER(cr4)
DEFINE_CONTROL_REGISTER(dr0)
DEFINE_CONTROL_REGISTER(dr1)
DEFINE_CONTROL_REGISTER(dr2)
DEFINE_CONTROL_REGISTER(dr3)
DEFINE_CONTROL_REGISTER(dr6)
DEFINE_CONTROL_REGISTER(dr7)

static inline ulong read_flags(void)
{
	ulong flags;

	asm volatile("pushf; pop %0" : "=r"(flags) : : "memory");
	return flags;
}

static inline void write_flags(ulong flags)
{
	asm volatile("push %0; popf" : : "r"(flags) : "memory", "cc");
}

struct table_pointer {
	u16 limit;
	ulong base;
} __attribute__((packed));

static inline void lidt(u16 limit, ulong base)
{
	struct table_pointer p = {limit, base};

	asm volatile("lidt %0" : : "m"(p) : "memory");
}

static inline void lgdt(u16 limit, ulong base)
{
	struct table_pointer p = {limit, base};

	asm volatile("lgdt %0" : : "m"(p) : "memory");
}

static inline void invlpg(ulong address)
{
	asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}

static inline void cpu_relax(void)
{
	asm volatile("pause" : : : "memory");
}

static inline void irq_enable(void)
{
	asm volatile("sti; nop" : : : "memory");
}

static inline void irq_disable(void)
{
	asm volatile("cli" : : : "memory");
}

/* Sleeps until an interrupt has been handled. */
static inline void irq_wait(void)
{
	asm volatile("sti; hlt; cli" : : : "memory");
}

#endif
