/* Disks in the test's memory, for controllers of src/device/storage: they work on a real worker,
 * and their jobs come back when the test says so (settle()). */
#ifndef VENEER_TESTS_UNIT_STORAGE_FIXTURE_H
#define VENEER_TESTS_UNIT_STORAGE_FIXTURE_H

#include "device_fixture.h"

#include "memory_disk.h"

#include <errno.h>

static inline void mark_saved(const struct state_field *field, uint8_t *bytes)
{
	for (; field->size; field++)
		for (uint32_t i = 0; i < field->count; i++) {
			uint8_t *at = bytes + field->offset + i * field->size;

			if (field->fields)
				mark_saved(field->fields, at);
			else
				memset(at, 1, field->size);
		}
}

/* Is all of each device's state saved? Less than 8 bytes one after the other may be padding. */
static inline void assert_all_state_is_saved(void)
{
	for (struct device *device = f.devices.first; device; device = device->next) {
		const struct device_ops *ops = device->ops;
		uint8_t *bytes = ops->fields ? calloc(1, ops->state_size) : NULL;
		size_t missing = 0;

		if (bytes)
			mark_saved(ops->fields, bytes);
		for (size_t i = 0; bytes && i < ops->state_size; i++) {
			missing = bytes[i] ? 0 : missing + 1;
			if (missing >= 8)
				fail_msg("%s: nothing says how byte %zu is saved", ops->name, i);
		}
		free(bytes);
	}
}

#define FAR_AWAY (UINT64_MAX / 2)

#endif
