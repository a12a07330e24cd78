/* --console-port's words. */
#include "base/log.h"
#include "base/words.h"
#include "device/virtio/console.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
			      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			      "0123456789._-";

/* It becomes part of paths in the guest (/dev/virtio-ports/NAME). */
static int parse_name(void *opaque, const char *option, const char *value)
{
	struct console_port_config *config = opaque;
	size_t length = strlen(value);

	if (length == 0 || length > CONSOLE_MAX_NAME || *value == '.' ||
		strspn(value, letters) != length) {
		log_error("%s%s: expected a name, 1 to %u letters, digits, '.', '_' and '-', which "
			  "begins with no '.'",
			option, value, CONSOLE_MAX_NAME);
		return -EINVAL;
	}
	config->name = strdup(value);
	return config->name ? 0 : -ENOMEM;
}

static int set_path(struct console_port_config *config, const char *option, const char *value)
{
	if (!*value || config->path) {
		log_error("%s%s: expected one path, of a socket or of a file", option, value);
		return -EINVAL;
	}
	config->path = strdup(value);
	return config->path ? 0 : -ENOMEM;
}

static int parse_path(void *opaque, const char *option, const char *value)
{
	return set_path(opaque, option, value);
}

static int parse_file(void *opaque, const char *option, const char *value)
{
	struct console_port_config *config = opaque;

	config->to_file = true;
	return set_path(config, option, value);
}

static int parse_connect(void *opaque, const char *option, const char *value)
{
	struct console_port_config *config = opaque;

	config->connects = true;
	return set_path(config, option, value);
}

static const struct words_row table[] = {
	{"name=NAME", parse_name},
	{"path=SOCKET", parse_path},
	{"connect=SOCKET", parse_connect},
	{"file=FILE", parse_file},
	{0},
};

int console_port_config_parse(
	struct console_port_config *config, const char *option, const char *value)
{
	char *list = strdup(value), *rest = list;
	int error = list ? words_parse(option, &rest, table, config) : -ENOMEM;

	free(list);
	if (!error && (!config->name || !config->path)) {
		log_error("%s %s: expected name=NAME, and path=SOCKET, connect=SOCKET or "
			  "file=FILE",
			option, value);
		error = -EINVAL;
	}
	if (error)
		console_port_config_free(config);
	return error;
}

void console_port_config_free(struct console_port_config *config)
{
	free(config->name);
	free(config->path);
	*config = (struct console_port_config){0};
}
