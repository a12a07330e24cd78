/* The leaves of the guest's CPUID: the model's features, the host's name and caches, and how many
 * CPUs there are. */
#include "cpu/cpuid.h"
#include "cpu/fpu.h"

#include <string.h>

static struct cpuid_result host_leaf(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
	return cpuid_host_leaf(&cpu->model->host, leaf, subleaf);
}

/* Bits that an APIC ID of one of `count` CPUs needs. */
static unsigned id_bits(unsigned count)
{
	unsigned bits = 0;

	while ((1u << bits) < count)
		bits++;
	return bits;
}

static unsigned cpu_count(const struct cpu *cpu)
{
	return cpu->platform && cpu->platform->cpu_count ? cpu->platform->cpu_count : 1;
}

/* The APIC feature bit follows IA32_APIC_BASE (SDM vol. 3A 11.4.3). */
static bool apic_enabled(const struct cpu *cpu)
{
	const struct cpu_platform *platform = cpu->platform;
	uint64_t base = APIC_BASE_ENABLE;

	if (platform && platform->apic_msr_read)
		platform->apic_msr_read(platform->opaque, (struct cpu *)cpu, MSR_APIC_BASE, &base);
	return base & APIC_BASE_ENABLE;
}

static void put_vendor(const struct cpu *cpu, struct cpuid_result *out)
{
	memcpy(&out->ebx, cpu->model->vendor, 4);
	memcpy(&out->edx, cpu->model->vendor + 4, 4);
	memcpy(&out->ecx, cpu->model->vendor + 8, 4);
}

static void leaf_1(const struct cpu *cpu, struct cpuid_result *out)
{
	unsigned count = cpu_count(cpu);

	out->eax = cpu->model->signature;
	out->ebx = cpu->index << 24 | (count > 1 ? MIN(count, 255) << 16 : 0) | 8 << 8;
	out->ecx = cpu->model->features.word[CPUID_1_ECX];
	if (cpu->cr4 & CR4_OSXSAVE)
		out->ecx |= CPUID_BIT(CPUID_OSXSAVE);
	out->edx = cpu->model->features.word[CPUID_1_EDX];
	if (count > 1)
		out->edx |= BIT(28);
	if (!apic_enabled(cpu))
		out->edx &= ~(uint32_t)BIT(9);
}

/* Caches: the host's, shared by one CPU below the last level and by all at it. The sharing field
 * has the same place in Intel's leaf 4 and in AMD's 0x8000001d. */
static void leaf_cache(
	const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, struct cpuid_result *out)
{
	unsigned count = cpu_count(cpu), level, sharing, cores;

	*out = host_leaf(cpu, leaf, subleaf);
	if (!(out->eax & 0x1f))
		return;
	level = (out->eax >> 5) & 7;
	cores = (1u << id_bits(count)) - 1;
	sharing = level >= 3 ? cores : 0;
	out->eax = (out->eax & 0x3fff) | MIN(sharing, 0xfff) << 14;
	if (leaf == 4)
		out->eax |= MIN(cores, 0x3f) << 26;
}

static void leaf_7(const struct cpu *cpu, uint32_t subleaf, struct cpuid_result *out)
{
	if (subleaf == 0) {
		out->eax = 1;
		out->ebx = cpu->model->features.word[CPUID_7_EBX];
		out->ecx = cpu->model->features.word[CPUID_7_ECX];
		if (cpu->cr4 & CR4_PKE)
			out->ecx |= BIT(4);
		out->edx = cpu->model->features.word[CPUID_7_EDX];
	} else if (subleaf == 1) {
		out->eax = cpu->model->features.word[CPUID_7_1_EAX];
	}
}

/* Topology: N cores of one thread in one package. */
static void leaf_b(const struct cpu *cpu, uint32_t subleaf, struct cpuid_result *out)
{
	out->ecx = subleaf & 0xff;
	out->edx = cpu->index;
	if (subleaf == 0) {
		out->ebx = 1;
		out->ecx |= 1 << 8; /* threads */
	} else if (subleaf == 1) {
		out->eax = id_bits(cpu_count(cpu));
		out->ebx = cpu_count(cpu);
		out->ecx |= 2 << 8; /* cores */
	}
}

static void leaf_d(const struct cpu *cpu, uint32_t subleaf, struct cpuid_result *out)
{
	const struct cpu_model *model = cpu->model;
	uint64_t allowed = model->xcr0;

	if (!cpu_model_has(model, CPUID_XSAVE))
		return;
	if (subleaf == 0) {
		out->eax = allowed;
		out->edx = allowed >> 32;
		out->ebx = fpu_xsave_size(model, cpu->xcr0, false);
		out->ecx = fpu_xsave_size(model, allowed, false);
	} else if (subleaf == 1) {
		out->eax = model->features.word[CPUID_D_1_EAX];
		if (cpu_model_has(model, CPUID_XSAVEC))
			out->ebx = fpu_xsave_size(model, cpu->xcr0 | cpu->xss, true);
	} else if (subleaf < XSTATE_COUNT && (allowed & BIT(subleaf))) {
		out->eax = model->xstate[subleaf].size;
		out->ebx = model->xstate[subleaf].offset;
		out->ecx = model->xstate[subleaf].align << 1;
	}
}

static void leaf_basic(
	const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, struct cpuid_result *out)
{
	switch (leaf) {
	case 0:
		*out = host_leaf(cpu, 0, 0);
		out->eax = !cpu->model->amd ? MIN(MAX(out->eax, 0xd), 0x16) : 0xd;
		put_vendor(cpu, out);
		break;
	case 1:
		leaf_1(cpu, out);
		break;
	case 2:
		if (!cpu->model->amd)
			*out = host_leaf(cpu, 2, 0);
		break;
	case 4:
		if (!cpu->model->amd)
			leaf_cache(cpu, 4, subleaf, out);
		break;
	case 6:
		out->eax = cpu->model->features.word[CPUID_6_EAX];
		break;
	case 7:
		leaf_7(cpu, subleaf, out);
		break;
	case 0xb:
		leaf_b(cpu, subleaf, out);
		break;
	case 0xd:
		leaf_d(cpu, subleaf, out);
		break;
	case 0x15:
		/* TSC frequency = crystal * EBX / EAX: a crystal of 1 MHz. */
		if (cpu->platform && cpu->platform->clock)
			*out = (struct cpuid_result){
				.eax = 1000, .ebx = cpu->platform->clock->tsc_khz, .ecx = 1000000};
		break;
	case 0x16:
		*out = host_leaf(cpu, 0x16, 0);
		break;
	}
}

/* The signature and leaves of KVM, whose paravirtual interface we speak. */
static void leaf_hypervisor(const struct cpu *cpu, uint32_t leaf, struct cpuid_result *out)
{
	switch (leaf) {
	case 0x40000000:
		out->eax = 0x40000010;
		memcpy(&out->ebx, "KVMK", 4);
		memcpy(&out->ecx, "VMKV", 4);
		memcpy(&out->edx, "M\0\0\0", 4);
		break;
	case 0x40000001:
		out->eax = cpu->model->features.word[CPUID_KVM_EAX];
		break;
	case 0x40000010:
		/* TSC and local APIC bus in kHz, so that nobody has to measure them. */
		if (cpu->platform && cpu->platform->clock)
			out->eax = cpu->platform->clock->tsc_khz;
		out->ebx = 1000000;
		break;
	}
}

/* AMD's leaf 0x80000008 also counts cores. */
static void leaf_80000008(const struct cpu *cpu, struct cpuid_result *out)
{
	out->eax = cpu->model->physical_bits | cpu->model->linear_bits << 8;
	out->ebx = cpu->model->features.word[CPUID_80000008_EBX];
	if (cpu->model->amd)
		out->ecx = (cpu_count(cpu) - 1) | id_bits(cpu_count(cpu)) << 12;
}

static void leaf_extended(
	const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, struct cpuid_result *out)
{
	bool amd = cpu->model->amd;

	bool topology = amd && cpu_model_has(cpu->model, CPUID_TOPOEXT);

	switch (leaf) {
	case 0x80000000:
		out->eax = amd ? 0x80000021 : 0x80000008;
		/* Intel's processors say nothing there. */
		if (amd)
			put_vendor(cpu, out);
		break;
	case 0x80000001:
		out->eax = amd ? host_leaf(cpu, leaf, 0).eax : 0;
		out->ebx = amd ? host_leaf(cpu, leaf, 0).ebx : 0;
		out->ecx = cpu->model->features.word[CPUID_80000001_ECX];
		if (amd && cpu_count(cpu) > 1)
			out->ecx |= BIT(1); /* CMP_LEGACY: HTT means cores */
		out->edx = cpu->model->features.word[CPUID_80000001_EDX];
		break;
	case 0x80000002 ... 0x80000006: /* name, caches */
		*out = host_leaf(cpu, leaf, 0);
		break;
	case 0x80000007:
		/* Not "invariant TSC" (EDX bit 8), although it is: Linux would take the TSC as its
		 * clock then, whose rate a move to another host may change, and not kvm-clock,
		 * which follows. */
		break;
	case 0x80000008:
		leaf_80000008(cpu, out);
		break;
	case 0x80000019: /* TLBs for 1 GiB pages, how wide the SIMD units are */
	case 0x8000001a:
		if (amd)
			*out = host_leaf(cpu, leaf, 0);
		break;
	case 0x8000001d:
		if (topology)
			leaf_cache(cpu, leaf, subleaf, out);
		break;
	case 0x8000001e:
		if (topology)
			*out = (struct cpuid_result){.eax = cpu->index, .ebx = cpu->index & 0xff};
		break;
	case 0x80000021:
		out->eax = cpu->model->features.word[CPUID_80000021_EAX];
		out->ecx = cpu->model->features.word[CPUID_80000021_ECX];
		break;
	}
}

void cpuid_query(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, struct cpuid_result *out)
{
	struct cpuid_result last;

	memset(out, 0, sizeof(*out));
	if (leaf >= 0x80000000) {
		leaf_extended(cpu, 0x80000000, 0, &last);
		if (leaf <= last.eax)
			leaf_extended(cpu, leaf, subleaf, out);
		else if (!cpu->model->amd)
			leaf_basic(cpu, 0xd, subleaf, out);
		return;
	}
	if (leaf >= 0x40000000 && leaf < 0x40000100 &&
		cpu_model_has(cpu->model, CPUID_HYPERVISOR)) {
		leaf_hypervisor(cpu, leaf, out);
		return;
	}
	leaf_basic(cpu, 0, 0, &last);
	if (leaf <= last.eax)
		leaf_basic(cpu, leaf, subleaf, out);
	/* Intel processors answer a leaf beyond the last as they would the last basic one. */
	else if (!cpu->model->amd)
		leaf_basic(cpu, last.eax, subleaf, out);
}
