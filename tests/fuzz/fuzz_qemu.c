/* QEMU's command line: words separated by zeros. */
#include "cli/qemu.h"

#include <stdlib.h>
#include <string.h>

#define MAX_WORDS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct qemu qemu;
	char *argv[MAX_WORDS] = {"qemu"}, *text = malloc(size + 1), *word;
	int argc = 1;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	for (word = text; word < text + size && argc < MAX_WORDS; word += strlen(word) + 1)
		argv[argc++] = word;
	qemu_init(&qemu);
	if (qemu_parse(&qemu, argc, argv) == 0)
		qemu_finish(&qemu);
	qemu_free(&qemu);
	free(text);
	return 0;
}
