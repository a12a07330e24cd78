/* The first C code of a kernel, and the small services that have no better place. */
#include "apic.h"

extern u32 boot_magic, boot_info;
extern u8 image_end[];
u32 boot_mem_upper;
static char command_line[256];
static ulong next_page;

/* Ring 3 comes back on this stack, so that user_call() can keep its own. */
static u8 ring0_stack[16384] __attribute__((aligned(4096)));
struct main_tss main_tss;

void trap_init(void);
void guest_start(void);

/* SDM vol. 3A 3.4.5. */
u64 descriptor(u32 base, u32 limit, u16 flags)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)flags << 40 |
	       (u64)(limit >> 16 & 15) << 48 | (u64)(base >> 24) << 56;
}

void gdt_set(u16 selector, u32 base, u32 limit, u16 flags)
{
	gdt[selector / 8] = descriptor(base, limit, flags);
}

void gdt_set_gate(u16 selector, u16 target, ulong offset, u8 access, u8 count)
{
	gdt[selector / 8] = (offset & 0xffff) | (u64)target << 16 | (u64)count << 32 |
			    (u64)access << 40 | (u64)(offset >> 16 & 0xffff) << 48;
#ifdef __x86_64__
	gdt[selector / 8 + 1] = offset >> 32;
#endif
}

/* ACCESS 0x89 is an available 32- or 64-bit TSS. */
static void tss_load(void)
{
#ifdef __x86_64__
	main_tss.tss.rsp[0] = (ulong)(ring0_stack + sizeof(ring0_stack));
#else
	main_tss.tss.ring[0].esp = (ulong)(ring0_stack + sizeof(ring0_stack));
	main_tss.tss.ring[0].ss = SEL_DATA;
	main_tss.tss.cr3 = 0;
#endif
	main_tss.tss.io_bitmap = NO_IO_BITMAP;
	gdt_set(SEL_TSS, (ulong)&main_tss, sizeof(main_tss) - 1, 0x89);
	gdt[SEL_TSS / 8 + 1] = 0;
	asm volatile("ltr %w0" : : "r"(SEL_TSS));
}

/* Multiboot 0.6.96, 3.3: the information structure may be anywhere, so take a copy early. */
static void read_boot_info(void)
{
	const u32 *info = (const u32 *)(ulong)boot_info;
	const char *from;
	size_t i;

	if (boot_magic != 0x2badb002)
		return;
	if (info[0] & 1)
		boot_mem_upper = info[2];
	if (!(info[0] & 4))
		return;
	from = (const char *)(ulong)info[4];
	for (i = 0; i < sizeof(command_line) - 1 && from[i]; i++)
		command_line[i] = from[i];
}

u32 boot_option(const char *name, u32 otherwise)
{
	const char *p = command_line;
	size_t length = 0;

	while (name[length])
		length++;
	for (; *p; p++) {
		if ((p == command_line || p[-1] == ' ') && !memcmp(p, name, length) &&
			p[length] == '=') {
			u32 value = 0;

			for (p += length + 1; *p >= '0' && *p <= '9'; p++)
				value = value * 10 + *p - '0';
			return value;
		}
	}
	return otherwise;
}

void *pages_alloc(int count)
{
	ulong page;

	if (!next_page)
		next_page = ((ulong)image_end + 0x3fffff) & ~0x3ffffful;
	page = next_page;
	next_page += count * 4096ul;
	memset((void *)page, 0, count * 4096ul);
	return (void *)page;
}

void *page_alloc(void)
{
	return pages_alloc(1);
}

bool cpu_has(u64 feature)
{
	u32 leaf = feature >> 32;
	struct cpuid r;
	u32 regs[4];

	if (cpuid(leaf & 0x80000000, 0).a < leaf)
		return false;
	r = cpuid(leaf, feature >> 16 & 0xffff);
	regs[0] = r.a;
	regs[1] = r.b;
	regs[2] = r.c;
	regs[3] = r.d;
	return regs[feature >> 8 & 3] >> (feature & 31) & 1;
}

bool cpu_is_amd(void)
{
	u32 ebx = cpuid(0, 0).b;

	return ebx == 0x68747541 || ebx == 0x6f677948;
}

u32 cpu_physical_bits(void)
{
	return cpuid(0x80000000, 0).a >= 0x80000008 ? cpuid(0x80000008, 0).a & 0xff : 36;
}

void *memset(void *to, int byte, size_t size)
{
	void *start = to;

	asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
	return start;
}

void *memcpy(void *to, const void *from, size_t size)
{
	void *start = to;

	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
	return start;
}

int memcmp(const void *a, const void *b, size_t size)
{
	const u8 *x = a, *y = b;

	for (; size; size--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (u8)*a - (u8)*b;
}

void guest_start(void)
{
	read_boot_info();
	trap_init();
	tss_load();
	pic_init(0x20);
	guest_main();
	guest_finish();
}
