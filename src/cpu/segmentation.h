/* Segmentation: selectors, descriptors, and the checks on loading and on using them (SDM vol. 3A
 * chapters 3.4, 3.5, 5). Everything here raises the architected exception where a check fails. */
#ifndef VENEER_CPU_SEGMENTATION_H
#define VENEER_CPU_SEGMENTATION_H

#include "cpu/cpu.h"

/* MOV, POP, LDS... to ES, SS, DS, FS, GS (not CS). */
void segment_load(struct cpu *cpu, enum seg seg, uint16_t selector);
void segment_load_ldtr(struct cpu *cpu, uint16_t selector); /* LLDT; CPL is checked by the caller */
void segment_load_tr(struct cpu *cpu, uint16_t selector);   /* LTR; marks the TSS busy */

/* LAR, LSL, VERR, VERW: false leaves ZF clear. *out is the 32-bit result. */
bool segment_lar(struct cpu *cpu, uint16_t selector, uint32_t *out);
bool segment_lsl(struct cpu *cpu, uint16_t selector, uint32_t *out);
bool segment_verify(struct cpu *cpu, uint16_t selector, bool write);

/* seg:offset, `size` bytes, to a linear address, after limit, type and canonical checks: #GP(0) or,
 * for the stack segment, #SS(0). In 64-bit mode only FS and GS have a base; 0xffffffff wrap-around
 * outside it. */
uint64_t segment_linear(struct cpu *cpu, enum seg seg, uint64_t offset, unsigned size, bool write);

/* A segment in real or virtual-8086 mode from its selector: base = selector * 16; real mode keeps
 * limit and access ("unreal mode" works), virtual-8086 sets them. */
void segment_load_real(struct cpu *cpu, enum seg seg, uint16_t selector);

#endif
