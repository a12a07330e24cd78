#include "machine/sleep.h"

#include "base/log.h"
#include "device/chipset/chipset.h"
#include "machine/machine.h"
#include "machine/vcpu_thread.h"

static void tell(struct machine *machine, enum machine_event_kind kind)
{
	machine_tell(machine, kind, (struct machine_result){MACHINE_RUNS_ON, 0});
}

void machine_fall_asleep(struct machine *machine)
{
	bool loaded = chipset_is_asleep(machine->chipset);

	/* Calls the chipset, which takes the lock. */
	for (unsigned i = 0; !loaded && i < machine->config.cpu_count; i++)
		cpu_reset(machine->cpus[i]);
	priority_lock_take(&machine->lock);
	machine->request = (struct machine_result){MACHINE_RUNS_ON, 0};
	machine->asleep = true;
	if (!loaded)
		chipset_sleep(machine->chipset);
	tell(machine, MACHINE_SUSPENDED);
	machine_vcpu_parked(machine); /* a pause may have been waiting for the threads */
	priority_lock_release(&machine->lock);
}

/* What a BIOS does (ACPI 6.4, 16.3): devices become what they were before the system booted, and
 * the system goes on at its vector. */
static bool start_at_vector(struct machine *machine)
{
	uint32_t vector = acpi_waking_vector(&machine->memory);

	if (!vector) {
		log_info("the guest has left no waking vector; the machine is reset");
		return false;
	}
	boot_start_real_mode(machine->cpus[0], vector);
	priority_lock_take(&machine->lock);
	chipset_firmware_setup(machine->chipset);
	priority_lock_release(&machine->lock);
	return true;
}

bool machine_wake(struct machine *machine)
{
	bool firmware = firmware_is_used(machine);

	if (!firmware && !start_at_vector(machine))
		return false;
	priority_lock_take(&machine->lock);
	machine->request = (struct machine_result){MACHINE_RUNS_ON, 0};
	machine->asleep = false;
	chipset_wake(machine->chipset, firmware);
	tell(machine, MACHINE_WOKEN);
	priority_lock_release(&machine->lock);
	return true;
}
