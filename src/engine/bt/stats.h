/* The translator's part of --stats. */
#ifndef VENEER_ENGINE_BT_STATS_H
#define VENEER_ENGINE_BT_STATS_H

#include "cpu/cpu.h"

#include <stdio.h>

void bt_print_stats(struct cpu *const *cpus, unsigned count, FILE *to);

#endif
