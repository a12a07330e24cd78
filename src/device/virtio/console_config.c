/* --console-port's words, and the numbers of ports. */
#include "base/bits.h"
#include "base/log.h"
#include "base/words.h"
#include "device/virtio/console.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
			      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			      "0123456789._-";

struct parse {
	struct console_port_config *port;
	struct char_config *chardev;
};

/* It becomes part of paths in the guest (/dev/virtio-ports/NAME). */
static int parse_name(void *opaque, const char *option, const char *value)
{
	struct console_port_config *port = ((struct parse *)opaque)->port;
	size_t length = strlen(value);

	if (length == 0 || length > CONSOLE_MAX_NAME || *value == '.' ||
		strspn(value, letters) != length) {
		log_error("%s%s: expected a name, 1 to %u letters, digits, '.', '_' and '-', which "
			  "begins with no '.'",
			option, value, CONSOLE_MAX_NAME);
		return -EINVAL;
	}
	strcpy(port->name, value);
	return 0;
}

static int set_path(void *opaque, enum char_kind kind, const char *option, const char *value)
{
	struct char_config *chardev = ((struct parse *)opaque)->chardev;

	if (!*value || *chardev->path || strlen(value) >= sizeof(chardev->path)) {
		log_error("%s%s: expected one path, of a socket or of a file, of at most %zu "
			  "characters",
			option, value, sizeof(chardev->path) - 1);
		return -EINVAL;
	}
	chardev->kind = kind;
	strcpy(chardev->path, value);
	return 0;
}

static int parse_path(void *opaque, const char *option, const char *value)
{
	((struct parse *)opaque)->chardev->server = true;
	return set_path(opaque, CHAR_SOCKET, option, value);
}

static int parse_file(void *opaque, const char *option, const char *value)
{
	return set_path(opaque, CHAR_FILE, option, value);
}

static int parse_connect(void *opaque, const char *option, const char *value)
{
	return set_path(opaque, CHAR_SOCKET, option, value);
}

static const struct words_row table[] = {
	{"name=NAME", parse_name},
	{"path=SOCKET", parse_path},
	{"connect=SOCKET", parse_connect},
	{"file=FILE", parse_file},
	{0},
};

int console_port_config_parse(struct console_port_config *config, struct char_config *chardev,
	const char *option, const char *value)
{
	struct parse parse = {config, chardev};
	char *list = strdup(value), *rest = list;
	int error = list ? words_parse(option, &rest, table, &parse) : -ENOMEM;

	free(list);
	if (!error && (!*config->name || !*chardev->path)) {
		log_error("%s %s: expected name=NAME, and path=SOCKET, connect=SOCKET or "
			  "file=FILE",
			option, value);
		error = -EINVAL;
	}
	return error;
}

/* The lowest number that is free, or -1. */
static int free_number(const uint32_t taken, bool console)
{
	for (int number = !console; number < CONSOLE_MAX_PORTS; number++)
		if (!(taken & BIT(number)))
			return number;
	return -1;
}

static int number_port(struct console_port_config *port, uint32_t *taken, const char *option)
{
	if (port->number < 0)
		port->number = free_number(*taken, port->console);
	if (port->number < 0 || port->number >= CONSOLE_MAX_PORTS) {
		log_error("%s %s: expected at most %u ports of a controller, of numbers below that",
			option, port->name, CONSOLE_MAX_PORTS);
		return -EINVAL;
	}
	if (*taken & BIT(port->number) || (!port->number && !port->console)) {
		log_error("%s %s: expected another number than %d, which is %s", option, port->name,
			port->number, port->number ? "taken" : "for a console");
		return -EINVAL;
	}
	*taken |= (uint32_t)BIT(port->number);
	return 0;
}

/* Those that have numbers come first. */
int console_ports_number(struct console_port_config *ports, unsigned count, const char *option)
{
	uint32_t taken = 0;
	int error = 0;

	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; !error && i < count; i++)
			if ((ports[i].number < 0) == (pass == 1))
				error = number_port(&ports[i], &taken, option);
	return error;
}
