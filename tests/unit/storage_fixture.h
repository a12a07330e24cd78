/* Disks in the test's memory, for controllers of src/device/storage: they work on a real worker,
 * and their jobs come back when the test says so (settle()). */
#ifndef VENEER_TESTS_UNIT_STORAGE_FIXTURE_H
#define VENEER_TESTS_UNIT_STORAGE_FIXTURE_H

#include "device_fixture.h"

#include "memory_disk.h"

#include <errno.h>

#define FAR_AWAY (UINT64_MAX / 2)

#endif
