/* KVM's hypercalls (Linux: Documentation/virt/kvm/x86/hypercalls.rst): VMCALL and VMMCALL alike,
 * the number in RAX, arguments in RBX, RCX, RDX and RSI, the answer in RAX. They are there for
 * guests whose vCPUs outnumber the host's processors: such a guest would spin for a lock whose
 * holder does not run, and would leave its code once for each vCPU that an interrupt is sent to. */
#include "cpu/cpu.h"
#include "cpu/instruction.h"
#include "cpu/steal_time.h"
#include "cpu/syscall_level.h"

enum call {
	CALL_POLL_IRQ = 1,
	CALL_KICK_CPU = 5,
	CALL_SEND_IPI = 10,
	CALL_SCHED_YIELD = 11,
};

#define ERROR_EPERM  (-1)
#define ERROR_EINVAL (-22)
#define ERROR_ENOSYS (-1000)

/* The bits of KVM_HC_SEND_IPI's ICR that have no use: shorthand, logical destinations. */
#define ICR_DESTINATION UINT64_C(0xc0800)

struct arguments {
	uint64_t a[4];
	unsigned bits; /* of a register in the mode that the guest calls from */
};

/* An exit to the monitor, after which a waiting interrupt is taken. */
static int64_t poll_irq(struct cpu *cpu, const struct arguments *arguments)
{
	return 0;
}

static struct cpu *find_cpu(const struct cpu *cpu, uint64_t apic_id)
{
	return apic_id < cpu->platform->cpu_count ? cpu->platform->cpus[apic_id] : NULL;
}

/* a[1]: APIC ID of a vCPU that waits in HLT, or is about to, for a lock that is free now. */
static int64_t kick_cpu(struct cpu *cpu, const struct arguments *arguments)
{
	struct cpu *target = find_cpu(cpu, arguments->a[1]);

	if (target)
		cpu_unhalt(target);
	return 0;
}

/* Bit n of `set` is APIC ID `first` + n. Returns how many local APICs took the message. */
static int64_t send_to_set(struct cpu *cpu, uint64_t set, uint64_t first, uint64_t icr)
{
	const struct cpu_platform *platform = cpu->platform;
	int64_t taken = 0;

	for (; set; set &= set - 1) {
		uint64_t id = first + (unsigned)__builtin_ctzll(set);

		if (id >= platform->cpu_count)
			break;
		taken += platform->apic_send(
			platform->opaque, (uint32_t)id, icr >> 8 & 7, (uint8_t)icr);
	}
	return taken;
}

/* a[0], a[1]: a set of APIC IDs from a[2] on; a[3]: the message as in the ICR. Each delivery mode
 * goes to every vCPU of the set, also "lowest priority". */
static int64_t send_ipi(struct cpu *cpu, const struct arguments *arguments)
{
	const uint64_t *a = arguments->a;
	uint64_t first = (uint32_t)a[2];

	if (a[3] & ICR_DESTINATION)
		return ERROR_EINVAL;
	if (!cpu->platform->apic_send)
		return 0;
	return send_to_set(cpu, a[0], first, a[3]) +
	       send_to_set(cpu, a[1], first + arguments->bits, a[3]);
}

/* a[0]: APIC ID of a vCPU that does not run and should. The host offers no way to say which thread
 * is to run instead of this one. */
static int64_t yield(struct cpu *cpu, const struct arguments *arguments)
{
	cpu_yield(cpu);
	return 0;
}

static const struct {
	uint16_t number, feature;
	int64_t (*call)(struct cpu *cpu, const struct arguments *arguments);
} calls[] = {
	{CALL_POLL_IRQ, CPUID_HYPERVISOR, poll_irq},
	{CALL_KICK_CPU, CPUID_KVM_PV_UNHALT, kick_cpu},
	{CALL_SEND_IPI, CPUID_KVM_PV_SEND_IPI, send_ipi},
	{CALL_SCHED_YIELD, CPUID_KVM_PV_SCHED_YIELD, yield},
};

static int64_t dispatch(struct cpu *cpu, uint64_t number, const struct arguments *arguments)
{
	if (cpu->cpl != 0)
		return ERROR_EPERM;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		if (calls[i].number == number && cpu_model_has(cpu->model, calls[i].feature))
			return calls[i].call(cpu, arguments);
	return ERROR_ENOSYS;
}

void insn_hypercall(struct cpu *cpu)
{
	uint64_t mask = cpu_code64(cpu) ? UINT64_MAX : UINT32_MAX;
	struct arguments arguments = {
		.a = {cpu->gpr[RBX] & mask, cpu->gpr[RCX] & mask, cpu->gpr[RDX] & mask,
			cpu->gpr[RSI] & mask},
		.bits = cpu_code64(cpu) ? 64 : 32,
	};

	if (syscall_level_hypercall(cpu))
		return;
	cpu->gpr[RAX] = (uint64_t)dispatch(cpu, cpu->gpr[RAX] & mask, &arguments) & mask;
}
