/* The types of devices and objects by QEMU's names: a table for QMP's object model, and for whoever
 * lists what there is. */
#ifndef VENEER_CONTROL_QOM_TYPES_H
#define VENEER_CONTROL_QOM_TYPES_H

struct qom_type {
	const char *name, *parent;
	const char
		*bus; /* of a device: what it is plugged into; NULL: it is none, or the board's */
	const char *help;       /* what it is; NULL: nothing is said */
	const char *properties; /* words NAME:TYPE */
};
extern const struct qom_type qom_types[]; /* ended by one without a name */

#endif
