/* -chardev, and what -serial, -parallel, -monitor and -qmp name in its place. */
#include "cli/chardev.h"
#include "cli/qemu.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct qemu_chardev *new_chardev(struct qemu *qemu, const char *option)
{
	struct qemu_chardev *chardev = &qemu->chardevs[qemu->chardev_count];

	if (qemu->chardev_count == QEMU_MAX_CHARDEVS) {
		log_error("%s: expected at most %d character devices", option, QEMU_MAX_CHARDEVS);
		return NULL;
	}
	*chardev = (struct qemu_chardev){.config.fd = -1};
	return chardev;
}

static bool is_there(const struct qemu *qemu, const char *id)
{
	for (unsigned i = 0; i < qemu->chardev_count; i++)
		if (strcmp(qemu->chardevs[i].config.id, id) == 0)
			return true;
	return false;
}

/* A file of -add-fd, for the file or the log, has a path by which that descriptor is used. */
static int take_fdset(const struct qemu *qemu, char *path, size_t size)
{
	int fd = qemu_open_fdset(qemu, "-chardev", path);

	if (fd >= 0)
		snprintf(path, size, CHAR_FD_PATH "%d", fd);
	return fd == -EINVAL ? fd : 0;
}

static int take_fdsets(const struct qemu *qemu, struct char_config *config)
{
	if (take_fdset(qemu, config->log, sizeof(config->log)) < 0)
		return -EINVAL;
	return config->kind == CHAR_FILE ? take_fdset(qemu, config->path, sizeof(config->path)) : 0;
}

int qemu_add_chardev(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	struct qemu_chardev *chardev = new_chardev(qemu, "-chardev");
	int error;

	if (!chardev)
		return -EINVAL;
	error = qemu_words_parse(&words, "-chardev", value, "backend");
	if (error)
		return error;
	error = chardev_take_words(&chardev->config, &words);
	qemu_words_free(&words);
	if (!error)
		error = take_fdsets(qemu, &chardev->config);
	if (error)
		return error;
	if (!*chardev->config.id || is_there(qemu, chardev->config.id)) {
		log_error("-chardev %s: expected id=NAME, a name that no other has", value);
		return -EINVAL;
	}
	qemu->chardev_count++;
	return 0;
}

struct qemu_chardev *qemu_find_chardev(struct qemu *qemu, const char *option, const char *id)
{
	for (unsigned i = 0; i < qemu->chardev_count; i++)
		if (strcmp(qemu->chardevs[i].config.id, id) == 0)
			return &qemu->chardevs[i];
	log_error("%s: there is no -chardev '%s'", option, id);
	return NULL;
}

/* "serial0", "serial1": QEMU's names for those that have none. */
static void choose_id(struct qemu *qemu, struct qemu_chardev *chardev, const char *label)
{
	unsigned number = 0;

	do
		snprintf(chardev->config.id, sizeof(chardev->config.id), "%s%u", label, number++);
	while (is_there(qemu, chardev->config.id));
}

int qemu_parse_chardev(struct qemu *qemu, const char *option, const char *label, const char *value,
	struct qemu_chardev **chardev)
{
	*chardev = NULL;
	if (strcmp(value, "none") == 0)
		return 0;
	if (strncmp(value, "chardev:", 8) == 0) {
		*chardev = qemu_find_chardev(qemu, option, value + 8);
		return *chardev ? 0 : -EINVAL;
	}
	*chardev = new_chardev(qemu, option);
	if (!*chardev || chardev_take_form(&(*chardev)->config, option, value) < 0)
		return -EINVAL;
	choose_id(qemu, *chardev, label);
	qemu->chardev_count++;
	return 0;
}
