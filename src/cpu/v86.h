/* Virtual-8086 mode extensions (SDM vol. 3B 21.3). */
#ifndef VENEER_CPU_V86_H
#define VENEER_CPU_V86_H

#include "cpu/cpu.h"

/* INT n under CR4.VME: where the TSS's redirection bitmap says so, deliver it through the 8086
 * program's own vector table and return true, next_rip set. False: the ordinary rules apply. */
bool v86_redirect(struct cpu *cpu, uint8_t vector);

#endif
