/* The names that QMP has for keys. */
#ifndef VENEER_CONTROL_QCODE_H
#define VENEER_CONTROL_QCODE_H

/* Linux's code (KEY_*) for a name; -1: there is no such key. */
int qcode_find(const char *name);

#endif
