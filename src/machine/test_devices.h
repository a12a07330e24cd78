/* Devices that a machine has where they are asked for: those that tests want, and those by which a
 * guest says that it has panicked, or hangs. */
#ifndef VENEER_MACHINE_TEST_DEVICES_H
#define VENEER_MACHINE_TEST_DEVICES_H

#include "machine/machine.h"

/* Our own functions for tests of the bus (TEST_PCI_OWN), which come before other devices; and the
 * rest, after them. 0, or -errno with a message. */
int test_devices_create_own(struct machine *machine);
int test_devices_create(struct machine *machine);

#endif
