/* -virtfs and -fsdev: directories that a guest is given by virtio-9p. Each becomes words of
 * --share; one of -fsdev waits for its -device. */
#include "cli/qemu.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct qemu_key keys[] = {
	{"fsdriver", QEMU_OWN, NULL},
	{"id", QEMU_OWN, NULL},
	{"path", QEMU_OWN, NULL},
	{"mount-tag", QEMU_COPY, "tag"},
	{"security-model", QEMU_COPY, "security"},
	{"readonly", QEMU_FLAG, "readonly"},
	{"writeout", QEMU_CHOICE, "immediate:sync"},
	/* Numbers of objects tell file systems apart in any case. */
	{"multidevs", QEMU_CHOICE, "remap|forbid|warn"},
	/* What mapped files are on the host. */
	{"fmode", QEMU_CHOICE, "0600|600"},
	{"dmode", QEMU_CHOICE, "0700|700"},
	{NULL, QEMU_END, NULL},
};

static int put_share(const struct qemu_words *words, FILE *out)
{
	const char *driver = qemu_words_get(words, "fsdriver");
	const char *path = qemu_words_get(words, "path");
	const char *model = qemu_words_get(words, "security-model");

	if (!driver || strcmp(driver, "local") != 0) {
		log_error("%s %s: expected local", words->option, driver ? driver : "");
		return -EINVAL;
	}
	if (!path || !model) {
		log_error("%s local: expected path=DIRECTORY and "
			  "security_model=none|passthrough|mapped-xattr",
			words->option);
		return -EINVAL;
	}
	qemu_words_put(out, path);
	return qemu_words_translate(words, keys, NULL, out);
}

static int use_share(struct qemu *qemu, const char *option, const char *text)
{
	struct machine_config *machine = &qemu->machine;
	struct share_config *share = &machine->shares[machine->share_count];

	if (machine->share_count == MACHINE_MAX_SHARES) {
		log_error("%s: expected at most %d directories", option, MACHINE_MAX_SHARES);
		return -EINVAL;
	}
	if (share_config_parse(share, option, text) < 0)
		return -EINVAL;
	for (unsigned i = 0; i < machine->share_count; i++)
		if (strcmp(machine->shares[i].tag, share->tag) == 0) {
			log_error("%s: another directory has the mount_tag %s", option, share->tag);
			share_config_free(share);
			return -EINVAL;
		}
	share->place = qemu->place;
	machine->share_count++;
	return 0;
}

static int add_virtfs(struct qemu *qemu, const struct qemu_words *words)
{
	const char *text = qemu_words_text(qemu, words, put_share);

	if (!text)
		return -EINVAL;
	if (qemu_words_get(words, "mount-tag"))
		return use_share(qemu, words->option, text);
	log_error("-virtfs local: expected mount_tag=TAG");
	return -EINVAL;
}

int qemu_add_virtfs(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	int error = qemu_words_parse(&words, "-virtfs", value, "fsdriver");

	if (error)
		return error;
	error = add_virtfs(qemu, &words);
	qemu_words_free(&words);
	return error;
}

static int add_fsdev(struct qemu *qemu, const struct qemu_words *words)
{
	struct qemu_fsdev *fsdev = &qemu->fsdevs[qemu->fsdev_count];
	const char *id = qemu_words_get(words, "id");

	if (!id || qemu_words_get(words, "mount-tag") || qemu->fsdev_count == MACHINE_MAX_SHARES) {
		log_error("-fsdev: expected id=NAME, no mount_tag=, which is the device's, and at "
			  "most %d",
			MACHINE_MAX_SHARES);
		return -EINVAL;
	}
	*fsdev = (struct qemu_fsdev){
		qemu_keep_copy(qemu, id), qemu_words_text(qemu, words, put_share), false};
	qemu->fsdev_count += fsdev->share != NULL;
	return fsdev->share ? 0 : -EINVAL;
}

int qemu_add_fsdev(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	int error = qemu_words_parse(&words, "-fsdev", value, "fsdriver");

	if (error)
		return error;
	error = add_fsdev(qemu, &words);
	qemu_words_free(&words);
	return error;
}

int qemu_use_fsdev(struct qemu *qemu, const char *option, const char *id, const char *words)
{
	char *text;
	int error;

	for (unsigned i = 0; i < qemu->fsdev_count; i++) {
		struct qemu_fsdev *fsdev = &qemu->fsdevs[i];

		if (strcmp(fsdev->id, id) != 0)
			continue;
		if (fsdev->used) {
			log_error("%s: two devices use the -fsdev '%s'", option, id);
			return -EINVAL;
		}
		fsdev->used = true;
		if (asprintf(&text, "%s%s", fsdev->share, words) < 0)
			return -ENOMEM;
		error = use_share(qemu, option, text);
		free(text);
		return error;
	}
	log_error("%s: there is no -fsdev '%s'", option, id);
	return -EINVAL;
}
