/* Native hot plug at a root port: what its registers say, what the system is told, and when what is
 * behind it may go. */
#include "device/pci_testdev.h"
#include "pci_fixture.h"

#include <errno.h>
#include <stdlib.h>

#define SLOT   2
#define BEHIND (32 * 2) /* firmware gives out numbers of buses in the order of the slots */
#define ALL_ON (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

static struct pci_function *hot_port, *ejected;
static uint32_t group;

static void on_ejected(void *opaque, struct pci_function *port)
{
	assert_ptr_equal(opaque, &ejected);
	ejected = port;
}

/* A port with hot plug and nothing behind it is in SLOT, and another is function 1 of that. */
static int setup(void **state)
{
	const struct pci_port_config first = {.place = SLOT, .slot_number = 77, .hot_plug = true},
				     second = {.place = PCI_FUNCTION_OF(SLOT, 1), .hot_plug = true};
	struct pci_function *port;

	fixture_setup();
	create_with(on_ejected, &ejected);
	ejected = NULL;
	assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_OWN_PORT), 0);
	assert_int_equal(pci_port_create(bus, &first, &hot_port), 0);
	assert_int_equal(pci_port_create(bus, &second, &port), 0);
	device_list_firmware_setup(&f.devices);
	atomic_store(&messages, 0);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static uint16_t slot_read(unsigned offset)
{
	return (uint16_t)config_read(SLOT, capability_of(SLOT, PCI_CAP_ID_EXP) + offset, 2);
}

static void slot_write(unsigned offset, uint16_t value)
{
	config_write(SLOT, capability_of(SLOT, PCI_CAP_ID_EXP) + offset, value, 2);
}

static void plug(bool at_power_up)
{
	f.devices.group = ++group;
	assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_BEHIND(hot_port->devfn)), 0);
	f.devices.group = 0;
	pci_port_inserted(hot_port, at_power_up);
}

static void unplug(void)
{
	struct device_list taken;

	pci_port_eject(hot_port);
	taken = device_list_take(&f.devices, group);
	assert_true(io_space_doorbells_quiet(&f.memory.mmio));
	assert_non_null(taken.first);
	device_list_destroy(&taken);
}

#define POWERED  (PCI_EXP_SLTCTL_PWR_IND_ON | PCI_EXP_SLTCTL_ATTN_IND_OFF)
#define SWITCHED (PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_ATTN_IND_OFF | PCI_EXP_SLTCTL_PCC)
#define LISTENS                                                                                    \
	(PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PDCE | PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_DLLSCE)

/* From here on the system is interrupted by a message. */
static void listen(uint16_t control)
{
	unsigned msi = capability_of(SLOT, PCI_CAP_ID_MSI);

	config_write(SLOT, PCI_COMMAND, ALL_ON, 2);
	config_write(SLOT, msi + PCI_MSI_ADDRESS_LO, 0xfee00000, 4);
	config_write(SLOT, msi + PCI_MSI_DATA_64, 0x51, 2);
	config_write(SLOT, msi + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE, 2);
	slot_write(PCI_EXP_SLTCTL, control | LISTENS);
	slot_write(PCI_EXP_SLTSTA, 0xffff);
	take_messages();
}

static bool is_there(void)
{
	return config_read(BEHIND, 0, 2) == PCI_TESTDEV_VENDOR;
}

static void empty_slot(void **state)
{
	unsigned express = capability_of(SLOT, PCI_CAP_ID_EXP);
	uint32_t slot = config_read(SLOT, express + PCI_EXP_SLTCAP, 4);

	assert_int_equal(slot >> 19, 77);
	assert_int_equal(slot & 0x7f, PCI_EXP_SLTCAP_ABP | PCI_EXP_SLTCAP_PCP | PCI_EXP_SLTCAP_AIP |
					      PCI_EXP_SLTCAP_PIP | PCI_EXP_SLTCAP_HPC);
	assert_int_equal(slot_read(PCI_EXP_SLTSTA), 0);
	assert_int_equal(slot_read(PCI_EXP_SLTCTL), SWITCHED);
	assert_int_equal(slot_read(PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_DLLLA, 0);
	assert_false(is_there());
	/* Each of the two has a bus, and room. */
	assert_int_equal(config_read(SLOT, PCI_SECONDARY_BUS, 1), 2);
	assert_int_equal(read32(ecam(SLOT, 1 << 12) + PCI_PRIMARY_BUS), 0x030300);
	assert_int_equal(config_read(SLOT, PCI_HEADER_TYPE, 1), 0x80 | PCI_HEADER_TYPE_BRIDGE);
	assert_int_equal(
		config_read(SLOT, PCI_MEMORY_LIMIT, 2) - config_read(SLOT, PCI_MEMORY_BASE, 2),
		0x10);
	pci_port_inserted(hot_port, false); /* nothing was */
	assert_int_equal(slot_read(PCI_EXP_SLTSTA) & PCI_EXP_SLTSTA_PDS, 0);
}

static void plugged_at_power_up(void **state)
{
	plug(true);
	assert_int_equal(slot_read(PCI_EXP_SLTSTA), PCI_EXP_SLTSTA_PDS);
	assert_int_equal(slot_read(PCI_EXP_SLTCTL), POWERED);
	assert_true(slot_read(PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_DLLLA);
	assert_true(is_there());
	assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_BEHIND(hot_port->devfn)), -EEXIST);
	assert_int_equal(pci_testdev_create(bus, &f.devices, PCI_BEHIND(PCI_DEVFN(9, 0))), -ENOENT);
	unplug();
	assert_false(is_there());
}

static void plugged_later(void **state)
{
	listen(SWITCHED);
	plug(false);
	assert_int_equal(take_messages(), 1);
	assert_int_equal(slot_read(PCI_EXP_SLTSTA),
		PCI_EXP_SLTSTA_PDS | PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_ABP);
	assert_false(is_there());
	slot_write(PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_ABP);
	assert_int_equal(slot_read(PCI_EXP_SLTSTA), PCI_EXP_SLTSTA_PDS | PCI_EXP_SLTSTA_PDC);
	slot_write(PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_PDC);
	/* Power: the link comes up, which is an event, and the command is done. */
	slot_write(PCI_EXP_SLTCTL, POWERED | LISTENS);
	assert_int_equal(take_messages(), 1);
	assert_int_equal(slot_read(PCI_EXP_SLTSTA),
		PCI_EXP_SLTSTA_PDS | PCI_EXP_SLTSTA_DLLSC | PCI_EXP_SLTSTA_CC);
	assert_true(is_there());
	assert_null(ejected);
	unplug();
}

static void unplugged(void **state)
{
	plug(true);
	listen(POWERED);
	config_write(BEHIND, PCI_COMMAND, ALL_ON, 2);
	assert_true(pci_port_ask_to_eject(hot_port));
	assert_int_equal(take_messages(), 1);
	assert_int_equal(slot_read(PCI_EXP_SLTSTA), PCI_EXP_SLTSTA_PDS | PCI_EXP_SLTSTA_ABP);
	slot_write(PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_ABP);
	/* Power goes first, and then the indicator. */
	slot_write(PCI_EXP_SLTCTL, PCI_EXP_SLTCTL_ATTN_IND_OFF | PCI_EXP_SLTCTL_PWR_IND_BLINK |
					   PCI_EXP_SLTCTL_PCC | LISTENS);
	assert_null(ejected);
	assert_false(is_there());
	slot_write(PCI_EXP_SLTCTL, SWITCHED | LISTENS);
	assert_ptr_equal(ejected, hot_port);
	assert_false(pci_port_ask_to_eject(hot_port));
	slot_write(PCI_EXP_SLTSTA, 0xffff);
	take_messages();
	unplug();
	assert_int_equal(take_messages(), 1);
	assert_int_equal(slot_read(PCI_EXP_SLTSTA), PCI_EXP_SLTSTA_PDC);
	/* Another one comes, and begins anew. */
	plug(false);
	slot_write(PCI_EXP_SLTCTL, POWERED | LISTENS);
	assert_true(is_there());
	assert_int_equal(config_read(BEHIND, PCI_COMMAND, 2), 0);
}

/* Its registers and its pin go with it. */
static void unplugged_in_use(void **state)
{
	uint32_t registers;

	plug(true);
	device_list_firmware_setup(&f.devices);
	config_write(SLOT, PCI_COMMAND, ALL_ON, 2);
	config_write(BEHIND, PCI_COMMAND, ALL_ON, 2);
	registers = config_read(BEHIND, PCI_BASE_ADDRESS_0, 4);
	write32(registers + PCI_TESTDEV_PIN, 1);
	assert_int_equal(read32(registers + PCI_TESTDEV_RESETS), 0);
	assert_true(f.level[SLOT]);
	unplug();
	assert_false(f.level[SLOT]);
	assert_int_equal(read32(registers + PCI_TESTDEV_RESETS), UINT32_MAX);
	write32(registers + PCI_TESTDEV_DOORBELL, 1);
	assert_int_equal(atomic_load(&f.memory.mmio.doorbell_count), 0);
}

/* A system that lets go of nothing tells nobody. */
static void empty_slot_is_not_ejected(void **state)
{
	slot_write(PCI_EXP_SLTCTL, POWERED);
	slot_write(PCI_EXP_SLTCTL, SWITCHED);
	assert_null(ejected);
	assert_int_equal(slot_read(PCI_EXP_SLTSTA), PCI_EXP_SLTSTA_CC);
}

static void power_after_a_reset(void **state)
{
	plug(true);
	slot_write(PCI_EXP_SLTCTL, SWITCHED);
	assert_ptr_equal(ejected, hot_port);
	device_list_reset(&f.devices);
	io_space_write(&f.ports, 0xcf8, 0x80000060, 4); /* configuration space is mapped again */
	io_space_write(&f.ports, 0xcfc, PCI_ECAM_BASE | 1, 4);
	assert_int_equal(slot_read(PCI_EXP_SLTCTL), POWERED);
	assert_int_equal(slot_read(PCI_EXP_SLTSTA), PCI_EXP_SLTSTA_PDS);
}

static int load(const struct state_writer *saved)
{
	struct state_reader reader = {saved->bytes, saved->size};

	return device_list_load(&f.devices, &reader);
}

static void saved_slots_fit_what_is_in_them(void **state)
{
	struct state_writer empty = {0}, full = {0}, again = {0};

	device_list_save(&f.devices, &empty);
	listen(SWITCHED);
	plug(false);
	slot_write(PCI_EXP_SLTCTL, POWERED | LISTENS);
	device_list_save(&f.devices, &full);
	assert_int_equal(load(&empty), -EINVAL);
	teardown(NULL);
	setup(NULL);
	assert_int_equal(load(&full), -EINVAL);
	plug(true);
	assert_int_equal(load(&empty), -EINVAL);
	assert_int_equal(load(&full), 0);
	device_list_save(&f.devices, &again);
	assert_int_equal(again.size, full.size);
	assert_memory_equal(again.bytes, full.bytes, full.size);
	assert_true(is_there());
	free(empty.bytes);
	free(full.bytes);
	free(again.bytes);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(empty_slot),
		T(plugged_at_power_up),
		T(plugged_later),
		T(unplugged),
		T(unplugged_in_use),
		T(empty_slot_is_not_ejected),
		T(power_after_a_reset),
		T(saved_slots_fit_what_is_in_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
