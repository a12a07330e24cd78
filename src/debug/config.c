/* --gdb's words. */
#include "debug/server.h"

#include "base/log.h"
#include "base/words.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

static int wrong(const char *option, const char *value)
{
	log_error("%s %s: expected tcp:HOST:PORT (a numeric address, or nothing for 127.0.0.1) or "
		  "unix:PATH, perhaps with ,wait",
		option, value);
	return -EINVAL;
}

static bool is_port(const char *text)
{
	size_t digits = strspn(text, "0123456789");
	int number = atoi(text);

	return digits && digits <= 5 && !text[digits] && number > 0 && number <= UINT16_MAX;
}

/* HOST:PORT, which is changed. */
static bool parse_tcp(struct gdb_config *config, char *text)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
	char *port = strrchr(text, ':'), *host = text;
	struct addrinfo *found;
	size_t length;

	if (!port)
		return false;
	*port++ = 0;
	length = strlen(host);
	if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
		host[length - 1] = 0;
		host++;
	}
	if (!*host || strcmp(host, "localhost") == 0)
		host = "127.0.0.1";
	if (!is_port(port) || getaddrinfo(host, port, &hints, &found) != 0)
		return false;
	memcpy(&config->address, found->ai_addr, found->ai_addrlen);
	config->address_size = found->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

static bool parse_unix(struct gdb_config *config, const char *path)
{
	if (!*path || strlen(path) >= sizeof(config->path))
		return false;
	strcpy(config->path, path);
	return true;
}

static int set_wait(void *settings, const char *option, const char *value)
{
	((struct gdb_config *)settings)->wait = true;
	return 0;
}

static const struct words_row words[] = {{"wait", set_wait}, {NULL, NULL}};

int gdb_config_parse(struct gdb_config *config, const char *option, const char *value)
{
	char *copy = strdup(value), *list = copy, *where;
	bool good;
	int error;

	if (!copy)
		return -ENOMEM;
	*config = (struct gdb_config){.wanted = true, .text = value};
	where = words_take(&list);
	good = where && (strncmp(where, "tcp:", 4) == 0           ? parse_tcp(config, where + 4)
				: strncmp(where, "unix:", 5) == 0 ? parse_unix(config, where + 5)
								  : false);
	error = good ? words_parse(option, &list, words, config) : wrong(option, value);
	free(copy);
	return error;
}
