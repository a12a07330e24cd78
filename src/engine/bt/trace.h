/* --trace-bt FILE: every unit, as guest code and as what became of it. */
#ifndef VENEER_ENGINE_BT_TRACE_H
#define VENEER_ENGINE_BT_TRACE_H

#include "engine/bt/bt.h"

/* Write the trace to `file`, from its beginning. 0, also where it is open already;
 * or -errno with a message that names the option. Not while a vCPU runs. */
int bt_trace_open(const char *file);

/* Write what `unit` is, which was made for code at `rip`. Nothing where no trace is open. From any
 * vCPU's thread; the unit must be complete and stay so. Each unit is in the file when this returns,
 * so a monitor that is killed leaves a whole trace. */
void bt_trace_unit(const struct bt *bt, const struct bt_unit *unit, uint64_t rip);

#endif
