/* The guest's CPUID: the leaves, made from the machine's CPU model (cpu_model.h). */
#ifndef VENEER_CPU_CPUID_H
#define VENEER_CPU_CPUID_H

#include "cpu/cpu.h"

void cpuid_query(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, struct cpuid_result *out);

#endif
