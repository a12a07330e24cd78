#include "host/share/config.h"

#include "base/bits.h"
#include "base/log.h"
#include "base/words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const securities[] = {
	[SHARE_NONE] = "none",
	[SHARE_PASSTHROUGH] = "passthrough",
	[SHARE_MAPPED] = "mapped-xattr",
};

const char *share_security_name(enum share_security security)
{
	return securities[security];
}

int share_config_security(struct share_config *config, const char *option, const char *value)
{
	if (strcmp(value, "mapped") == 0) /* QEMU's other name */
		value = securities[SHARE_MAPPED];
	for (unsigned i = 0; i < ARRAY_SIZE(securities); i++)
		if (strcmp(value, securities[i]) == 0) {
			config->security = (enum share_security)i;
			return 0;
		}
	log_error("%s%s: expected none, passthrough or mapped-xattr", option, value);
	return -EINVAL;
}

static int take_security(void *settings, const char *option, const char *value)
{
	return share_config_security(settings, option, value);
}

static int take_tag(void *settings, const char *option, const char *value)
{
	struct share_config *config = settings;
	size_t length = strlen(value);

	if (!length || length > SHARE_TAG_MAX) {
		log_error("%s%s: expected 1 to %d bytes", option, value, SHARE_TAG_MAX);
		return -EINVAL;
	}
	memcpy(config->tag, value, length + 1);
	return 0;
}

static int take_read_only(void *settings, const char *option, const char *value)
{
	((struct share_config *)settings)->read_only = true;
	return 0;
}

static int take_sync(void *settings, const char *option, const char *value)
{
	((struct share_config *)settings)->sync = true;
	return 0;
}

static const struct words_row words[] = {
	{"tag=T", take_tag},
	{"readonly", take_read_only},
	{"sync", take_sync},
	{"security=MODEL", take_security},
	{0},
};

int share_config_parse(struct share_config *config, const char *option, const char *value)
{
	char *copy = strdup(value), *rest = copy, *path;
	int error = 0;

	*config = (struct share_config){.security = SHARE_NONE};
	if (!copy) {
		log_error("%s: out of memory", option);
		return -ENOMEM;
	}
	path = words_take(&rest);
	if (!path || !*path) {
		log_error("%s %s: expected a directory", option, value);
		error = -EINVAL;
	} else if (!(config->path = strdup(path))) {
		log_error("%s: out of memory", option);
		error = -ENOMEM;
	}
	if (!error)
		error = words_parse(option, &rest, words, config);
	if (error)
		share_config_free(config);
	free(copy);
	return error;
}

void share_config_free(struct share_config *config)
{
	free(config->path);
	*config = (struct share_config){0};
}
