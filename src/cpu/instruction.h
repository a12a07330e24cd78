/* What the system instructions do: one routine each, shared by all engines, called with operands
 * already fetched. They check privilege themselves and raise. Convention of rip and next_rip: see
 * transfer.h. */
#ifndef VENEER_CPU_INSTRUCTION_H
#define VENEER_CPU_INSTRUCTION_H

#include "cpu/cpu.h"

/* MOV to and from CRn (#UD for CR1, 5 to 7, 9 and up) and DRn. */
uint64_t control_register_read(struct cpu *cpu, unsigned number);
void control_register_write(struct cpu *cpu, unsigned number, uint64_t value);
uint64_t debug_read(struct cpu *cpu, unsigned number);
void debug_write(struct cpu *cpu, unsigned number, uint64_t value);
uint16_t insn_smsw(struct cpu *cpu); /* UMIP; the register form stores 32 or 64 bits of CR0 */
void insn_lmsw(struct cpu *cpu, uint16_t value);
void insn_clts(struct cpu *cpu);
void insn_xsetbv(struct cpu *cpu, uint32_t index, uint64_t value);
uint64_t insn_xgetbv(struct cpu *cpu, uint32_t index);
void insn_invlpg(struct cpu *cpu, uint64_t linear);
void insn_invpcid(struct cpu *cpu, uint64_t type, uint64_t descriptor_linear);
/* INVD and WBINVD need CPL 0, and do nothing. */
void insn_invd_wbinvd(struct cpu *cpu);
void insn_hlt(struct cpu *cpu);
void insn_cli(struct cpu *cpu); /* IOPL, VME, PVI */
void insn_sti(struct cpu *cpu);
void insn_clac_stac(struct cpu *cpu, bool set);
void insn_swapgs(struct cpu *cpu);
/* RDFSBASE, WRFSBASE and so on; #UD without CR4.FSGSBASE. */
uint64_t insn_read_fs_gs_base(struct cpu *cpu, enum seg seg);
void insn_write_fs_gs_base(struct cpu *cpu, enum seg seg, uint64_t value);
uint32_t insn_rdpkru(struct cpu *cpu);
void insn_wrpkru(struct cpu *cpu, uint32_t value);

/* SGDT, SIDT, LGDT, LIDT with the operand's linear address; operand_size 2, 4 or 8. SLDT and STR
 * give the selector. */
void insn_store_table(struct cpu *cpu, const struct descriptor_table *table, uint64_t linear,
	unsigned operand_size);
void insn_load_table(
	struct cpu *cpu, struct descriptor_table *table, uint64_t linear, unsigned operand_size);
uint16_t insn_sldt(struct cpu *cpu);
uint16_t insn_str(struct cpu *cpu);
void insn_lldt(struct cpu *cpu, uint16_t selector);
void insn_ltr(struct cpu *cpu, uint16_t selector);

/* PUSHF value as stored (IOPL, VM checks, VME); POPF. size 2, 4, 8. */
uint64_t insn_pushf(struct cpu *cpu, unsigned size);
void insn_popf(struct cpu *cpu, uint64_t value, unsigned size);

/* IN and OUT: permission (IOPL, TSS bitmap), I/O breakpoints, then the port space. size 1, 2, 4. */
uint32_t insn_in(struct cpu *cpu, uint16_t port, unsigned size);
void insn_out(struct cpu *cpu, uint16_t port, uint32_t value, unsigned size);
void insn_check_io(struct cpu *cpu, uint16_t port, unsigned size); /* raises #GP(0) */
/* `count` elements of INS and OUTS, upwards, to and from bytes of RAM, where nobody could tell them
 * from so many accesses: no I/O breakpoint is armed, and the device takes them at once. How many
 * were moved; 0: do one alone. */
unsigned insn_in_block(struct cpu *cpu, uint16_t port, void *bytes, unsigned size, unsigned count);
unsigned insn_out_block(
	struct cpu *cpu, uint16_t port, const void *bytes, unsigned size, unsigned count);

void insn_rdtsc(struct cpu *cpu); /* to EDX:EAX */
void insn_rdtscp(struct cpu *cpu);
void insn_rdpmc(struct cpu *cpu);
uint64_t cpu_tsc(struct cpu *cpu); /* the guest's TSC, no checks */
void insn_cpuid(struct cpu *cpu);  /* leaf EAX, ECX to EAX..EDX */
void insn_rdmsr(struct cpu *cpu);
void insn_wrmsr(struct cpu *cpu);
void insn_hypercall(struct cpu *cpu); /* VMCALL, VMMCALL: KVM's calls, number in RAX */
bool msr_read(struct cpu *cpu, uint32_t msr, uint64_t *value); /* false: #GP */
bool msr_write(struct cpu *cpu, uint32_t msr, uint64_t value);

/* Hardware breakpoints on instruction addresses (DR7): true where one matches `linear` and RF is
 * clear; DR6 is set then, and the caller raises #DB. Where RF is set it is used up: cleared, and
 * false. */
bool debug_match_execute(struct cpu *cpu, uint64_t linear);
/* Any enabled execute breakpoint: engines then check each instruction. */
bool debug_execute_armed(const struct cpu *cpu);
/* An instruction that began with RFLAGS.TF set has completed: its single-step trap becomes due. */
void debug_single_step_done(struct cpu *cpu);

#endif
