/* Fuzzes the reader of grub.cfg; the first byte says where the environment ends and the script
 * begins. */
#include "helper/grub_config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct grub_entry entry;
	char environment[256] = "", *text;
	size_t length;

	if (!size)
		return 0;
	length = *data < size ? *data : size - 1;
	memcpy(environment, data + 1, length);
	size -= length + 1;
	/* Just as large as it is, so that a reader past its end is seen. */
	text = malloc(size ? size : 1);
	memcpy(text, data + 1 + length, size);
	if (grub_config_default(text, size, environment, &entry) == 0 &&
		(!entry.kernel[0] || !memchr(entry.kernel, 0, sizeof(entry.kernel)) ||
			!memchr(entry.cmdline, 0, sizeof(entry.cmdline)) ||
			entry.initrd_count > GRUB_MAX_INITRDS))
		abort();
	free(text);
	return 0;
}
