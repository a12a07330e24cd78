/* Where a device is to be plugged in, and what the user calls it: QEMU's id=, bus= and addr=. All
 * zero: it has no name, and the machine chooses. */
#ifndef VENEER_HOST_PLACE_H
#define VENEER_HOST_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#define PLACE_NAME 64

struct device_place {
	char id[PLACE_NAME];
	char bus[PLACE_NAME]; /* "pci.0" and "pcie.0": bus 0; else the id of a root port */
	bool addressed;       /* these were said: */
	uint8_t slot, function;
};

#endif
