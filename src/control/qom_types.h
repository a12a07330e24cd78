/* The types of devices and objects by QEMU's names, with all properties that there are: what QMP's
 * object model and -device help list, and what -device and device_add take. What a property does is
 * the business of whoever makes the device (cli/qemu_device.c): most do nothing here. */
#ifndef VENEER_CONTROL_QOM_TYPES_H
#define VENEER_CONTROL_QOM_TYPES_H

#include <stdbool.h>

struct qom_type {
	const char *name, *parent;
	const char
		*bus; /* of a device: what it is plugged into; NULL: it is none, or the board's */
	const char *help;       /* what it is; NULL: nothing is said */
	const char *properties; /* words NAME:TYPE */
};
extern const struct qom_type qom_types[]; /* ended by one without a name */

/* NULL: there is none of that name. */
const struct qom_type *qom_type_find(const char *name);
/* Is it of that kind, or of a kind of it? NULL: no. */
bool qom_type_is(const struct qom_type *type, const char *kind);
/* Does it have that property? An underscore is as good as a hyphen. */
bool qom_type_has(const struct qom_type *type, const char *property);

#endif
