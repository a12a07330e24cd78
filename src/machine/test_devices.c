#include "machine/test_devices.h"

#include "device/chipset/chipset.h"
#include "device/edu.h"
#include "device/fw_cfg.h"
#include "device/i6300esb.h"
#include "device/pci_iotest.h"
#include "device/pci_testdev.h"
#include "device/pvpanic.h"
#include "machine/incident.h"

int test_devices_create_own(struct machine *machine)
{
	static const int places[] = {PCI_ANY_SLOT, PCI_OWN_PORT};
	int error = 0;

	if (!(machine->config.test_devices & TEST_PCI_OWN))
		return 0;
	for (unsigned i = 0; !error && i < ARRAY_SIZE(places); i++)
		error = pci_testdev_create(
			machine->pci, chipset_devices(machine->chipset), places[i]);
	return error;
}

static int create_edu(struct machine *machine)
{
	return edu_create(machine->pci, chipset_devices(machine->chipset), PCI_ANY_SLOT);
}

static void watchdog_expired(void *opaque)
{
	machine_watchdog_expired(opaque);
}

static int create_watchdog(struct machine *machine)
{
	return i6300esb_create(machine->pci, chipset_devices(machine->chipset), PCI_ANY_SLOT,
		watchdog_expired, machine);
}

static void panic_happened(void *opaque, unsigned what)
{
	machine_guest_panicked(opaque, what == PVPANIC_CRASHLOADED);
}

/* Old guests look the port's number up in fw_cfg. */
static int create_panic_port(struct machine *machine)
{
	int error;

	machine->pvpanic = (struct pvpanic_config){.happened = panic_happened, .opaque = machine};
	error = pvpanic_add_port(&machine->ports, &machine->pvpanic);
	if (!error && machine->fw_cfg)
		error = fw_cfg_add_file_number(
			machine->fw_cfg, "etc/pvpanic-port", PVPANIC_PORT, 2);
	return error;
}

static int create_panic_function(struct machine *machine)
{
	machine->pvpanic = (struct pvpanic_config){.happened = panic_happened, .opaque = machine};
	return pvpanic_create(
		machine->pci, chipset_devices(machine->chipset), PCI_ANY_SLOT, &machine->pvpanic);
}

static int create_iotest(struct machine *machine)
{
	return pci_iotest_create(machine->pci, chipset_devices(machine->chipset), PCI_ANY_SLOT);
}

static int create_vmcoreinfo(struct machine *machine)
{
	return vmcoreinfo_add(&machine->vmcoreinfo, machine->fw_cfg);
}

static const struct {
	enum test_device device;
	int (*create)(struct machine *machine);
} rows[] = {
	{TEST_EDU, create_edu},
	{TEST_I6300ESB, create_watchdog},
	{TEST_PVPANIC_PORT, create_panic_port},
	{TEST_PVPANIC_PCI, create_panic_function},
	{TEST_PCI, create_iotest},
	{TEST_VMCOREINFO, create_vmcoreinfo},
};

int test_devices_create(struct machine *machine)
{
	int error = 0;

	for (unsigned i = 0; !error && i < ARRAY_SIZE(rows); i++)
		if (machine->config.test_devices & rows[i].device)
			error = rows[i].create(machine);
	return error;
}
