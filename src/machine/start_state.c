/* The boot processor's state at the kernel's first instruction, for boot_start_cpu(). Both modes
 * are what boot.rst asks for, and multiboot asks for less: flat 4 GiB segments with __BOOT_CS 0x10
 * and
 * __BOOT_DS 0x18, interrupts off, and in long mode pages that map memory to itself. */
#include "machine/boot.h"
#include "machine/layout.h"

#include <string.h>

#define BOOT_CS  0x10
#define BOOT_DS  0x18
#define BOOT_TSS 0x20

#define AR_FLAT_DATA (AR_G | AR_DB | AR_P | AR_S | AR_WRITABLE | AR_ACCESSED)
#define AR_FLAT_CODE (AR_G | AR_P | AR_S | AR_CODE | AR_READABLE | AR_ACCESSED)
#define AR_BUSY_TSS  (AR_P | 0xb)

#define PTE_PRESENT  BIT(0)
#define PTE_WRITABLE BIT(1)
#define PTE_LARGE    BIT(7)
#define TABLE_SIZE   512
#define DIRECTORIES  4 /* 4 GiB in pages of 2 MiB */

/* A segment descriptor as it lies in memory (SDM vol. 3A 3.4.5), for a flat segment or the TSS. */
static uint64_t descriptor(uint32_t access, uint32_t limit)
{
	if (access & AR_G)
		limit >>= 12;
	return (limit & 0xffff) | (uint64_t)(limit >> 16 & 0xf) << 48 |
	       (uint64_t)(access & 0xff) << 40 | (uint64_t)(access >> 12 & 0xf) << 52;
}

static void set_segments(struct cpu *cpu, uint32_t code_size)
{
	struct segment code = {
		.limit = ~0u, .access = AR_FLAT_CODE | code_size, .selector = BOOT_CS};
	struct segment data = {.limit = ~0u, .access = AR_FLAT_DATA, .selector = BOOT_DS};
	struct segment task = {.limit = 0x67, .access = AR_BUSY_TSS, .selector = BOOT_TSS};
	uint64_t gdt[6] = {
		[BOOT_CS / 8] = descriptor(code.access, code.limit),
		[BOOT_DS / 8] = descriptor(data.access, data.limit),
		[BOOT_TSS / 8] = descriptor(task.access, task.limit), /* 16 bytes in long mode */
	};
	enum seg seg;

	memory_write(cpu->memory, LAYOUT_GDT, gdt, sizeof(gdt));
	cpu->gdtr = (struct descriptor_table){.base = LAYOUT_GDT, .limit = sizeof(gdt) - 1};
	cpu->idtr = (struct descriptor_table){.limit = 0}; /* no exception can be taken yet */
	for (seg = SEG_ES; seg <= SEG_GS; seg++)
		cpu_set_segment(cpu, seg, seg == SEG_CS ? &code : &data);
	cpu_set_segment(cpu, SEG_TR, &task);
}

static void write_identity_map(struct memory *memory)
{
	uint64_t table[TABLE_SIZE] = {0};
	uint64_t pml4 = LAYOUT_PAGE_TABLES, pdpt = pml4 + PAGE_SIZE, directory = pdpt + PAGE_SIZE;
	uint64_t i, entry;

	table[0] = pdpt | PTE_PRESENT | PTE_WRITABLE;
	memory_write(memory, pml4, table, sizeof(table));
	for (i = 0; i < DIRECTORIES; i++)
		table[i] = (directory + i * PAGE_SIZE) | PTE_PRESENT | PTE_WRITABLE;
	memory_write(memory, pdpt, table, sizeof(table));
	for (i = 0; i < DIRECTORIES * TABLE_SIZE; i++) {
		entry = (i * 2 * MIB) | PTE_PRESENT | PTE_WRITABLE | PTE_LARGE;
		memory_write(memory, directory + i * sizeof(entry), &entry, sizeof(entry));
	}
}

void boot_start_cpu(struct cpu *cpu, const struct boot_start *start)
{
	memset(cpu->gpr, 0, sizeof(cpu->gpr));
	cpu->gpr[RAX] = start->rax;
	cpu->gpr[RBX] = start->rbx;
	cpu->gpr[RSI] = start->rsi;
	cpu->rip = cpu->next_rip = start->rip;

	cpu->cr0 = CR0_PE | CR0_ET;
	if (start->mode == BOOT_LONG_MODE) {
		write_identity_map(cpu->memory);
		cpu->cr3 = LAYOUT_PAGE_TABLES;
		cpu->cr4 = CR4_PAE;
		cpu->efer = EFER_LME | EFER_LMA;
		cpu->cr0 |= CR0_PG;
	}
	set_segments(cpu, start->mode == BOOT_LONG_MODE ? AR_L : AR_DB);
	cpu_set_cpl(cpu, 0);
	cpu_set_rflags(cpu, RFLAGS_FIXED1);
	cpu_update_view(cpu);
	cpu_push(cpu, STATE_GPRS | STATE_SEGMENTS | STATE_CONTROL);
}

void boot_start_real_mode(struct cpu *cpu, uint32_t address)
{
	struct segment code = cpu->segment[SEG_CS];

	code.selector = (uint16_t)(address >> 4);
	code.base = address & ~15u;
	cpu_set_segment(cpu, SEG_CS, &code);
	cpu->rip = cpu->next_rip = address & 15;
	cpu_update_view(cpu);
	cpu_push(cpu, STATE_GPRS | STATE_SEGMENTS | STATE_CONTROL);
}
