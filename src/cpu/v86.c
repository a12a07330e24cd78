/* INT n in virtual-8086 mode with CR4.VME: straight to the 8086 program's handler, without a trip
 * through the monitor (SDM vol. 3B 21.3.3, methods 5 and 6). */
#include "cpu/v86.h"
#include "cpu/access.h"
#include "cpu/descriptor.h"
#include "cpu/segmentation.h"

#define TSS_IO_MAP_BASE 0x66

/* The 32 bytes below the I/O permission map have a bit for each vector; set: take the IDT. */
static bool redirected(struct cpu *cpu, uint8_t vector)
{
	const struct segment *tss = &cpu->segment[SEG_TR];
	unsigned base, byte;

	if ((tss->access & AR_TYPE_MASK) != SYS_TSS32_BUSY || tss->limit < TSS_IO_MAP_BASE + 1)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	base = (unsigned)access_load(
		cpu, (uint32_t)(tss->base + TSS_IO_MAP_BASE), 2, ACCESS_SUPERVISOR);
	byte = base - 32 + vector / 8;
	if (base < 32 || byte > tss->limit)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	byte = (unsigned)access_load(cpu, (uint32_t)(tss->base + byte), 1, ACCESS_SUPERVISOR);
	return !(byte >> (vector % 8) & 1);
}

bool v86_redirect(struct cpu *cpu, uint8_t vector)
{
	bool iopl3 = (cpu->system_flags & RFLAGS_IOPL) == RFLAGS_IOPL;
	uint64_t flags = cpu_rflags(cpu), image = flags & 0xffff;
	struct stack stack = stack_current(cpu);
	uint32_t pointer;

	if (!redirected(cpu, vector))
		return false;
	if (!iopl3) {
		image |= RFLAGS_IOPL;
		image = flags & RFLAGS_VIF ? image | RFLAGS_IF : image & ~RFLAGS_IF;
	}
	pointer = (uint32_t)access_load(cpu, vector * 4u, 4, ACCESS_SUPERVISOR);
	stack_reserve(&stack, 6);
	stack_push(&stack, image, 2);
	stack_push(&stack, cpu->segment[SEG_CS].selector, 2);
	stack_push(&stack, cpu->next_rip, 2);
	stack_commit(&stack);
	segment_load_real(cpu, SEG_CS, (uint16_t)(pointer >> 16));
	cpu->next_rip = pointer & 0xffff;
	cpu_set_rflags(cpu, flags & ~(RFLAGS_TF | (iopl3 ? RFLAGS_IF : RFLAGS_VIF)));
	cpu->no_step_trap = flags & RFLAGS_TF;
	return true;
}
