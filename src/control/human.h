/* The human monitor: commands in words, answers as text, as QEMU's monitor has them. One table
 * (human.c) holds all commands; they are run by human-monitor-command in QMP, and line by line at a
 * monitor in readline mode.
 *
 * All functions are called with the machine lock held. */
#ifndef VENEER_CONTROL_HUMAN_H
#define VENEER_CONTROL_HUMAN_H

#include "control/qmp.h"

#include <stdio.h>

#define HUMAN_PROMPT "(qemu) "

/* Does the command read what processors have, so that they must be stopped meanwhile? */
bool human_needs_stop(const char *line);
/* Does the command pause the machine, so that its answer waits until that stands? */
bool human_pauses(const char *line);
/* Run a line. Its answer, lines ended by CR LF, for the caller to free; NULL where there is no
 * memory. `cpu`: whose registers and page tables count. */
char *human_run(struct qmp_shared *shared, const char *line, unsigned cpu);

/* --- human_cpu.c, human_memory.c, human_machine.c: commands; `words` follows the name --- */
struct human {
	struct qmp_shared *shared;
	struct machine *machine;
	struct cpu *cpu; /* NULL: the machine has none */
	FILE *out;
};
void human_registers(struct human *human, const char *words);
void human_cpus(struct human *human, const char *words);
void human_tlb(struct human *human, const char *words);
void human_mem(struct human *human, const char *words);
void human_x(struct human *human, const char *words);
void human_xp(struct human *human, const char *words);
void human_mtree(struct human *human, const char *words);
void human_block(struct human *human, const char *words);
void human_network(struct human *human, const char *words);
void human_chardev(struct human *human, const char *words);
void human_pci(struct human *human, const char *words);
void human_qtree(struct human *human, const char *words);

/* --- qmp_plug.c --- */
void human_device_add(struct human *human, const char *words);
void human_device_del(struct human *human, const char *words);
void human_drive_add(struct human *human, const char *words);
void human_netdev_add(struct human *human, const char *words);
void human_netdev_del(struct human *human, const char *words);

#endif
