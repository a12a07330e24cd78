/* What the guest's CPUID shows: exactly what is implemented. Integer and system features are ours; SIMD
 * features are the host's, because SIMD instructions run on the host's own unit. */
#ifndef VENEER_CPU_CPUID_H
#define VENEER_CPU_CPUID_H

#include "cpu/cpu.h"

struct cpuid_result {
	uint32_t eax, ebx, ecx, edx;
};
void cpuid_query(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, struct cpuid_result *out);

/* CR4 and EFER bits the guest may set; XCR0 bits likewise (host's XCR0 and what fpu.h can carry). */
uint64_t cpuid_cr4_allowed(void);
uint64_t cpuid_efer_allowed(void);
uint64_t cpuid_xcr0_allowed(void);
unsigned cpuid_physical_bits(void);

#endif
