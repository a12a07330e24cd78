/* -d: what QEMU logs. Of it there is only what the translator does (--trace-bt); the rest says
 * what does not happen here, or what is reported in any case. */
#include "cli/qemu.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	bool code;
} items[] = {{"out_asm", true}, {"in_asm", true}, {"op", true}, {"op_opt", true}, {"op_ind", true},
	{"int", false}, {"exec", false}, {"cpu", false}, {"fpu", false}, {"mmu", false},
	{"pcall", false}, {"cpu_reset", false}, {"unimp", false}, {"guest_errors", false},
	{"page", false}, {"nochain", false}, {"plugin", false}, {"strace", false}, {"tid", false},
	{"vpu", false}};

static int take_item(struct qemu *qemu, const char *item, size_t length)
{
	if (length >= 6 && strncmp(item, "trace:", 6) == 0)
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(items); i++) {
		if (strlen(items[i].name) != length || strncmp(items[i].name, item, length) != 0)
			continue;
		qemu->logs_code |= items[i].code;
		return 0;
	}
	log_error("-d %.*s: there is no such item; '-d help' lists them", (int)length, item);
	return -EINVAL;
}

int qemu_set_log(struct qemu *qemu, const char *value)
{
	int error = 0;

	if (strcmp(value, "help") == 0 || strcmp(value, "?") == 0) {
		qemu->list = qemu_list_log_items;
		return 0;
	}
	while (!error) {
		size_t length = strcspn(value, ",");

		error = take_item(qemu, value, length);
		if (!value[length])
			break;
		value += length + 1;
	}
	return error;
}

void qemu_list_log_items(void)
{
	puts("Log items (comma separated):");
	for (unsigned i = 0; i < ARRAY_SIZE(items); i++)
		printf("%-12s %s\n", items[i].name,
			items[i].code ? "guest code and what it is translated to"
				      : "accepted; logs nothing here");
}
