/* Character devices in QEMU's words. */
#ifndef VENEER_CLI_CHARDEV_H
#define VENEER_CLI_CHARDEV_H

#include "cli/qemu_words.h"
#include "host/char_config.h"

/* -chardev's words, of which "backend" is the kind. 0, or -EINVAL with a message. */
int chardev_take_words(struct char_config *config, const struct qemu_words *words);
/* -serial's short forms: "stdio", "mon:stdio", "file:NAME", "unix:PATH,server=on", "tcp:HOST:PORT".
 * Without an ID. 0, or -EINVAL or -ENOMEM with a message. */
int chardev_take_form(struct char_config *config, const char *option, const char *value);
/* Does it look like one? */
bool chardev_is_form(const char *value);

#endif
