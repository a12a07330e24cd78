#include "host/display/config.h"

#include "base/bits.h"
#include "base/log.h"
#include "base/words.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int bad_address(const char *option, const char *value)
{
	log_error("%s%s: expected HOST:N, where N is a display's number below %u and HOST a "
		  "numeric address or nothing, or a path with a slash",
		option, value, VNC_DISPLAYS);
	return -EINVAL;
}

static bool is_numeric(const char *host)
{
	struct in6_addr address;

	return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

/* "HOST:N", "[HOST]:N" or ":N". */
static int parse_host(struct display_config *config, const char *option, const char *value)
{
	const char *colon = strrchr(value, ':'), *host = value;
	size_t length = colon ? (size_t)(colon - value) : 0;
	uint64_t number = 0;
	char *end;

	if (!colon || length >= sizeof(config->address))
		return bad_address(option, value);
	if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
		host++;
		length -= 2;
	}
	memcpy(config->address, host, length);
	config->address[length] = '\0';
	/* Nobody from outside, unless it was said. */
	if (!length)
		strcpy(config->address, "127.0.0.1");
	number = strtoul(colon + 1, &end, 10);
	if (colon[1] < '0' || colon[1] > '9' || *end || number >= VNC_DISPLAYS ||
		!is_numeric(config->address))
		return bad_address(option, value);
	config->port = (uint16_t)(VNC_FIRST_PORT + number);
	return 0;
}

static int set_kind(struct display_config *config, const char *option, enum display_kind kind)
{
	if (config->kind != DISPLAY_UNSAID) {
		log_error("%s: expected only one of none, text and vnc=ADDR", option);
		return -EINVAL;
	}
	config->kind = kind;
	return 0;
}

static int set_none(void *config, const char *option, const char *value)
{
	return set_kind(config, option, DISPLAY_NONE);
}

static int set_text(void *config, const char *option, const char *value)
{
	return set_kind(config, option, DISPLAY_TEXT);
}

static int set_vnc(void *opaque, const char *option, const char *value)
{
	struct display_config *config = opaque;

	if (set_kind(config, option, DISPLAY_VNC) < 0)
		return -EINVAL;
	if (!strchr(value, '/'))
		return parse_host(config, option, value);
	if (strlen(value) >= sizeof(config->address))
		return bad_address(option, value);
	strcpy(config->address, value);
	return 0;
}

static int set_password_file(void *config, const char *option, const char *value)
{
	char *copy = strdup(value);

	((struct display_config *)config)->password_file = copy;
	return copy ? 0 : -ENOMEM;
}

int display_config_parse(struct display_config *config, const char *option, const char *value)
{
	static const struct words_row table[] = {
		{"none", set_none},
		{"text", set_text},
		{"vnc=ADDR", set_vnc},
		{"password-file=FILE", set_password_file},
		{0},
	};

	char *list = strdup(value), *rest = list;
	int error = list ? 0 : -ENOMEM;

	*config = (struct display_config){0};
	if (!error)
		error = words_parse(option, &rest, table, config);
	free(list);
	if (error)
		return error;
	if (config->kind == DISPLAY_UNSAID) {
		log_error("%s %s: expected none, text or vnc=ADDR", option, value);
		return -EINVAL;
	}
	if (config->password_file && config->kind != DISPLAY_VNC) {
		log_error("%s %s: password-file= is for vnc=ADDR", option, value);
		return -EINVAL;
	}
	return 0;
}
