/* A processor with a little RAM, for the tests of cpu/: no engine, no devices. Tests set registers
 * and memory, call one routine, and look at what it did or raised.
 *
 * Guest-physical layout: GDT, IDT, TSSs and stacks in the first 64 KiB, page tables from
 * TABLES up, everything else is free for the test. */
#ifndef VENEER_TESTS_CPU_FIXTURE_H
#define VENEER_TESTS_CPU_FIXTURE_H

#include "cpu/access.h"
#include "cpu/cpu.h"
#include "cpu/descriptor.h"
#include "cpu/fpu.h"
#include "cpu/instruction.h"
#include "cpu/paging.h"
#include "cpu/segmentation.h"
#include "cpu/transfer.h"

#include "model_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RAM_SIZE (16 * MIB)
#define GDT      0x1000
#define LDT      0x1800
#define IDT      0x2000
#define TSS      0x4000
#define TSS_B    0x5000
#define STACK0   0x8000 /* top of the CPL 0 stack */
#define STACK3   0xa000 /* top of the CPL 3 stack */
#define STACK_X  0xc000 /* a third one */
#define TABLES   0x100000

static struct priority_lock fixture_lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;
static struct io_space ports;
static struct clock fixture_clock;
static int next_vector = -1; /* what the interrupt controller would answer */
static struct cpu_platform platform;
static struct cpu *cpu;

static int fixture_acknowledge(void *opaque, struct cpu *c)
{
	int vector = next_vector;

	next_vector = -1;
	cpu_clear_pending(c, PENDING_INTR);
	return vector;
}

static int fixture_setup(void **state)
{
	if (memory_create(&memory, RAM_SIZE, 40, &fixture_lock) < 0)
		return -1;
	make_fixture_model();
	fixture_model.physical_bits = 40;
	io_space_init(&ports, &fixture_lock);
	clock_init(&fixture_clock);
	platform = (struct cpu_platform){
		.memory = &memory,
		.model = &fixture_model,
		.ports = &ports,
		.clock = &fixture_clock,
		.acknowledge_interrupt = fixture_acknowledge,
		.cpu_count = 1,
		.cpus = &cpu,
	};
	next_vector = -1;
	cpu = cpu_create(&platform, 0);
	if (!cpu)
		return -1;
	return 0;
}

static int fixture_teardown(void **state)
{
	cpu_destroy(cpu);
	io_space_destroy(&ports);
	memory_destroy(&memory);
	return 0;
}

#define cpu_test(function)                                                                         \
	cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

/* --- memory --- */

static inline void put(uint64_t gpa, uint64_t value, unsigned size)
{
	assert_int_equal(memory_write(&memory, gpa, &value, size), 0);
}

static inline uint64_t get(uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	assert_int_equal(memory_read(&memory, gpa, &value, size), 0);
	return value;
}

/* --- exceptions --- */

/* Did this raise? What, is in cpu->exception. */
#define RAISED(code)                                                                               \
	({                                                                                         \
		volatile bool raised_ = true;                                                      \
		if (_setjmp(cpu->unwind) == 0) {                                                   \
			code;                                                                      \
			raised_ = false;                                                           \
		}                                                                                  \
		raised_;                                                                           \
	})

#define assert_raises(vector_, error_, code)                                                       \
	do {                                                                                       \
		assert_true(RAISED(code));                                                         \
		assert_int_equal(cpu->exception.vector, vector_);                                  \
		assert_int_equal(cpu->exception.error, error_);                                    \
	} while (0)

#define assert_completes(code)                                                                     \
	do {                                                                                       \
		if (RAISED(code))                                                                  \
			fail_msg("raised vector %u error %#x", cpu->exception.vector,              \
				cpu->exception.error);                                             \
	} while (0)

/* --- descriptors --- */

enum {
	TYPE_DATA = AR_S | AR_WRITABLE,
	TYPE_CODE = AR_S | AR_CODE | AR_READABLE,
	TYPE_CONFORMING = AR_S | AR_CODE | AR_READABLE | AR_CONFORMING,
};

#define DPL(n) ((n) << AR_DPL_SHIFT)

static inline uint64_t make_descriptor(uint32_t base, uint32_t limit, uint32_t access)
{
	if (access & AR_G)
		limit >>= 12;
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 |
	       (uint64_t)(access & 0xf0ff) << 40 | (uint64_t)(limit >> 16 & 0xf) << 48 |
	       (uint64_t)(base >> 24) << 56;
}

static inline void gdt_set(uint16_t selector, uint32_t base, uint32_t limit, uint32_t access)
{
	put(GDT + (selector & ~7), make_descriptor(base, limit, access), 8);
}

/* A call, interrupt or trap gate, 8 bytes. */
static inline uint64_t make_gate(
	unsigned type, uint16_t selector, uint32_t offset, unsigned dpl, unsigned parameters)
{
	return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)parameters << 32 |
	       (uint64_t)(type | AR_P | dpl << AR_DPL_SHIFT) << 40 | (uint64_t)(offset >> 16) << 48;
}

static inline void idt_set32(
	unsigned vector, unsigned type, uint16_t selector, uint32_t offset, unsigned dpl)
{
	put(IDT + vector * 8, make_gate(type, selector, offset, dpl, 0), 8);
}

static inline void idt_set64(unsigned vector, unsigned type, uint16_t selector, uint64_t offset,
	unsigned dpl, unsigned ist)
{
	put(IDT + vector * 16, make_gate(type, selector, (uint32_t)offset, dpl, ist), 8);
	put(IDT + vector * 16 + 8, offset >> 32, 8);
}

/* --- modes --- */

/* Selectors that every mode's GDT has. */
#define CODE0     0x08
#define DATA0     0x10
#define CODE3     0x1b
#define DATA3     0x23
#define CODE0_32  0x28 /* in long mode: compatibility mode */
#define CODE3_32  0x33
#define TSS_SEL   0x40
#define TSS_B_SEL 0x50
#define CONFORM   0x60
#define DATA16    0x68
#define CODE1     0x71
#define DATA1     0x79
#define LDT_SEL   0x80
#define FREE_SEL  0x90 /* and up, for the test */
#define GDT_LIMIT 0x1ff

static inline void load_segment(enum seg seg, uint16_t selector)
{
	struct descriptor d = {.raw = get(GDT + (selector & ~7), 8), .selector = selector};
	struct segment segment = descriptor_segment(&d);

	segment.access |= AR_ACCESSED;
	cpu_set_segment(cpu, seg, &segment);
}

/* Flat segments of both privileges, as a simple kernel has them. `long_mode`: 64-bit code. */
static inline void fill_gdt(bool long_mode)
{
	uint32_t data = TYPE_DATA | AR_P | AR_DB | AR_G;
	uint32_t code32 = TYPE_CODE | AR_P | AR_DB | AR_G;
	uint32_t code = long_mode ? TYPE_CODE | AR_P | AR_L | AR_G : code32;

	gdt_set(CODE0, 0, ~0u, code);
	gdt_set(DATA0, 0, ~0u, data);
	gdt_set(CODE3, 0, ~0u, code | DPL(3));
	gdt_set(DATA3, 0, ~0u, data | DPL(3));
	gdt_set(CODE0_32, 0, ~0u, code32);
	gdt_set(CODE3_32, 0, ~0u, code32 | DPL(3));
	gdt_set(TSS_SEL, TSS, 0x1ff, SYS_TSS32 | AR_P);
	put(GDT + TSS_SEL + 8, 0, 8);
	gdt_set(TSS_B_SEL, TSS_B, 0x67, SYS_TSS32 | AR_P);
	put(GDT + TSS_B_SEL + 8, 0, 8);
	gdt_set(CONFORM, 0, ~0u, (code & ~0xfu) | (TYPE_CONFORMING & 0xf));
	gdt_set(DATA16, 0x10000, 0xffff, TYPE_DATA | AR_P);
	gdt_set(CODE1, 0, ~0u, code | DPL(1));
	gdt_set(DATA1, 0, ~0u, data | DPL(1));
	gdt_set(LDT_SEL, LDT, 0xff, SYS_LDT | AR_P);
	put(GDT + LDT_SEL + 8, 0, 8);
	cpu->gdtr = (struct descriptor_table){.base = GDT, .limit = GDT_LIMIT};
	cpu->idtr = (struct descriptor_table){.base = IDT, .limit = long_mode ? 0xfff : 0x7ff};
}

/* To CPL 0 or 3 with the stack of that level. */
static inline void set_privilege(unsigned cpl)
{
	load_segment(SEG_CS, cpl ? CODE3 : CODE0);
	load_segment(SEG_SS, cpl ? DATA3 : DATA0);
	load_segment(SEG_DS, cpl ? DATA3 : DATA0);
	load_segment(SEG_ES, cpl ? DATA3 : DATA0);
	cpu_set_cpl(cpu, cpl);
	cpu->gpr[RSP] = cpl ? STACK3 : STACK0;
}

/* TSS32 or TSS64: its stack for CPL 0 is STACK0, too. */
static inline void fill_tss(bool long_mode)
{
	put(TSS + 4, STACK0, long_mode ? 8 : 4);
	if (!long_mode)
		put(TSS + 8, DATA0, 2);
	put(TSS + 0x66, 0x68, 2);
	cpu->segment[SEG_TR] = (struct segment){0};
	assert_completes(segment_load_tr(cpu, TSS_SEL));
}

static inline void enter_protected(unsigned cpl)
{
	cpu_reset(cpu);
	fill_gdt(false);
	cpu->cr0 |= CR0_PE;
	set_privilege(0);
	load_segment(SEG_FS, DATA3);
	load_segment(SEG_GS, DATA3);
	fill_tss(false);
	set_privilege(cpl);
	cpu->rip = 0x1234;
	cpu->next_rip = 0x1236;
}

/* Long mode with the first 16 MiB mapped one to one, by 2-MiB pages, for user and supervisor; and
 * again at HIGH_HALF for the supervisor. */
#define HIGH_HALF UINT64_C(0xffff800000000000)

static inline void enter_long(unsigned cpl)
{
	cpu_reset(cpu);
	fill_gdt(true);
	put(TABLES, (TABLES + 0x1000) | 7, 8);
	put(TABLES + 256 * 8, (TABLES + 0x1000) | 3, 8);
	put(TABLES + 0x1000, (TABLES + 0x2000) | 7, 8);
	for (unsigned i = 0; i < RAM_SIZE / (2 * MIB); i++)
		put(TABLES + 0x2000 + i * 8, i * 2 * MIB | 0xe7, 8);
	cpu->cr4 |= CR4_PAE;
	cpu->efer |= EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	cpu->cr3 = TABLES;
	cpu->cr0 |= CR0_PE | CR0_PG | CR0_WP;
	tlb_flush_all(cpu);
	set_privilege(0);
	fill_tss(true);
	set_privilege(cpl);
	cpu->rip = 0x1234;
	cpu->next_rip = 0x1236;
}

/* Virtual-8086 mode at 2000:0100, stack 3000:1000. */
static inline void enter_v86(unsigned iopl)
{
	static const uint16_t selector[] = {0x4000, 0x2000, 0x3000, 0x5000, 0x6000, 0x7000};

	enter_protected(0);
	cpu_set_rflags(cpu, RFLAGS_VM | RFLAGS_IF | (uint64_t)iopl << RFLAGS_IOPL_SHIFT);
	cpu_set_cpl(cpu, 3);
	for (enum seg seg = SEG_ES; seg <= SEG_GS; seg++)
		segment_load_real(cpu, seg, selector[seg]);
	cpu->gpr[RSP] = 0x1000;
	cpu->rip = 0x100;
	cpu->next_rip = 0x102;
}

#endif
