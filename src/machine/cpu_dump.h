/* A processor's registers for a person to read. */
#ifndef VENEER_MACHINE_CPU_DUMP_H
#define VENEER_MACHINE_CPU_DUMP_H

#include "cpu/cpu.h"

/* Print to standard error. The vCPU is stopped. */
void cpu_dump_print(struct cpu *cpu);

#endif
