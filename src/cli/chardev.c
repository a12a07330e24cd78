/* Character devices in QEMU's words: those of -chardev, and the short forms. */
#include "cli/chardev.h"

#include "base/bits.h"
#include "base/log.h"
#include "base/words.h"
#include "cli/qemu_words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct qemu_key common_keys[] = {
	{"id", QEMU_OWN, NULL},
	{"backend", QEMU_OWN, NULL},
	{"mux", QEMU_OWN, NULL},
	{"logfile", QEMU_OWN, NULL},
	{"logappend", QEMU_OWN, NULL},
	{NULL, QEMU_END, NULL},
};

static const struct qemu_key no_keys[] = {{NULL, QEMU_END, NULL}};
static const struct qemu_key stdio_keys[] = {
	{"signal", QEMU_IGNORED, NULL}, {NULL, QEMU_END, NULL}};
static const struct qemu_key path_keys[] = {{"path", QEMU_OWN, NULL}, {"append", QEMU_OWN, NULL},
	{"input-path", QEMU_OWN, NULL}, {NULL, QEMU_END, NULL}};
static const struct qemu_key socket_keys[] = {
	{"path", QEMU_OWN, NULL},
	{"host", QEMU_OWN, NULL},
	{"port", QEMU_OWN, NULL},
	{"fd", QEMU_OWN, NULL},
	{"server", QEMU_OWN, NULL},
	{"wait", QEMU_OWN, NULL},
	{"nodelay", QEMU_IGNORED, NULL},
	{"delay", QEMU_IGNORED, NULL},
	{"ipv4", QEMU_IGNORED, NULL},
	{"ipv6", QEMU_IGNORED, NULL},
	{"telnet", QEMU_CHOICE, "off"},
	{"tn3270", QEMU_CHOICE, "off"},
	{"websocket", QEMU_CHOICE, "off"},
	{"reconnect", QEMU_OWN, NULL},
	{NULL, QEMU_END, NULL},
};
static const struct qemu_key window_keys[] = {{"width", QEMU_IGNORED, NULL},
	{"height", QEMU_IGNORED, NULL}, {"cols", QEMU_IGNORED, NULL}, {"rows", QEMU_IGNORED, NULL},
	{NULL, QEMU_END, NULL}};

static const struct qemu_key ring_keys[] = {{"size", QEMU_OWN, NULL}, {NULL, QEMU_END, NULL}};

static const struct backend {
	const char *name;
	enum char_kind kind;
	const struct qemu_key *keys;
} backends[] = {
	{"null", CHAR_NULL, no_keys},
	{"stdio", CHAR_STDIO, stdio_keys},
	{"file", CHAR_FILE, path_keys},
	{"pipe", CHAR_PIPE, path_keys},
	{"pty", CHAR_PTY, path_keys},
	{"socket", CHAR_SOCKET, socket_keys},
	{"vc", CHAR_NULL, window_keys}, /* a window, and there is none */
	{"ringbuf", CHAR_RING, ring_keys},
	{"memory", CHAR_RING, ring_keys},
};

static const struct backend *find_backend(const char *option, const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(backends); i++)
		if (strcmp(backends[i].name, name) == 0)
			return &backends[i];
	log_error("%s %s: expected null, stdio, file, pipe, pty, socket, vc or ringbuf", option,
		name);
	return NULL;
}

/* --- values of words: 0, or -EINVAL with a message; what is not said is left as it is --- */

static int get_bool(const struct qemu_words *words, const char *key, bool *on)
{
	const char *value = qemu_words_get(words, key);

	return value ? qemu_words_bool(words->option, key, value, on) : 0;
}

static int get_text(const struct qemu_words *words, const char *key, char *text, size_t size)
{
	const char *value = qemu_words_get(words, key);

	if (!value)
		return 0;
	if (strlen(value) < size) {
		strcpy(text, value);
		return 0;
	}
	log_error("%s %s=: expected at most %zu characters", words->option, key, size - 1);
	return -EINVAL;
}

static int get_number(const struct qemu_words *words, const char *key, uint64_t lowest,
	uint64_t highest, uint64_t *number)
{
	const char *value = qemu_words_get(words, key);
	char option[96];

	snprintf(option, sizeof(option), "%s %s=", words->option, key);
	return value ? words_number(option, value, "a number", lowest, highest, number) : 0;
}

/* --- a back end --- */

static int take_socket(struct char_config *config, const struct qemu_words *words)
{
	uint64_t fd = 0, reconnect = 0;

	config->wait = true;
	if (get_bool(words, "server", &config->server) < 0 ||
		get_bool(words, "wait", &config->wait) < 0 ||
		get_number(words, "fd", 3, 65535, &fd) < 0 ||
		get_number(words, "reconnect", 0, 86400, &reconnect) < 0 ||
		get_text(words, "host", config->host, sizeof(config->host)) < 0 ||
		get_text(words, "port", config->port, sizeof(config->port)) < 0)
		return -EINVAL;
	config->wait &= config->server;
	config->fd = fd ? (int)fd : -1;
	config->reconnect = (unsigned)reconnect;
	if (config->server && reconnect) {
		log_error("%s: reconnect= is for a client: expected no server=on", words->option);
		return -EINVAL;
	}
	if (fd || *config->path || *config->port)
		return 0;
	log_error("%s: a socket needs path=, fd=, or host= and port=", words->option);
	return -EINVAL;
}

static int take_ring(struct char_config *config, const struct qemu_words *words)
{
	uint64_t size = 0;

	if (get_number(words, "size", 1, 16 * MIB, &size) < 0)
		return -EINVAL;
	config->size = (uint32_t)size;
	if (!(size & (size - 1)))
		return 0;
	log_error("%s size=%u: expected a power of two", words->option, config->size);
	return -EINVAL;
}

int chardev_take_words(struct char_config *config, const struct qemu_words *words)
{
	const char *name = qemu_words_get(words, "backend");
	const struct backend *backend = find_backend(words->option, name ? name : "");

	*config = (struct char_config){.fd = -1};
	if (!backend || qemu_words_translate(words, backend->keys, common_keys, NULL) < 0 ||
		get_text(words, "id", config->id, sizeof(config->id)) < 0 ||
		get_bool(words, "mux", &config->mux) < 0 ||
		get_text(words, "logfile", config->log, sizeof(config->log)) < 0 ||
		get_bool(words, "logappend", &config->log_append) < 0 ||
		get_bool(words, "append", &config->append) < 0)
		return -EINVAL;
	config->kind = backend->kind;
	/* Of a pseudo-terminal it would be a link's; there is none. */
	if (config->kind != CHAR_PTY &&
		get_text(words, "path", config->path, sizeof(config->path)) < 0)
		return -EINVAL;
	if (config->kind == CHAR_SOCKET)
		return take_socket(config, words);
	if (config->kind == CHAR_RING)
		return take_ring(config, words);
	if (*config->path || (config->kind != CHAR_FILE && config->kind != CHAR_PIPE))
		return 0;
	log_error("%s %s: expected path=NAME", words->option, name);
	return -EINVAL;
}

/* --- the short forms --- */

/* A short form's beginning, and the words that -chardev has for it. What follows the colon of
 * "file:NAME" is a value; what follows "unix:" has more words behind it. */
static const struct form {
	const char *begins;
	const char *words; /* %s: what follows, where any may */
	bool more_words;
} forms[] = {
	{"null", "null", false},
	{"stdio", "stdio", false},
	{"pty", "pty", false},
	{"vc", "vc", false},
	{"file:", "file,path=", false},
	{"pipe:", "pipe,path=", false},
	{"unix:", "socket,path=", true},
	{"tcp:", "socket,host=", true},
};

static int parse_form(
	struct char_config *config, const char *option, const struct form *form, const char *rest)
{
	struct qemu_words words;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int error;

	if (!out)
		return -ENOMEM;
	fputs(form->words, out);
	if (strcmp(form->begins, "tcp:") == 0) {
		const char *colon = strchr(rest, ':');

		if (colon)
			fprintf(out, "%.*s,port=%s", (int)(colon - rest), rest, colon + 1);
	} else if (form->more_words) {
		fputs(rest, out);
	} else if (strchr(form->begins, ':')) {
		qemu_words_put(out, rest);
	}
	fclose(out);
	error = qemu_words_parse(&words, option, text, "backend");
	free(text);
	if (error)
		return error;
	error = chardev_take_words(config, &words);
	qemu_words_free(&words);
	return error;
}

static const struct form *find_form(const char *value)
{
	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
		size_t length = strlen(forms[i].begins);
		bool colon = forms[i].begins[length - 1] == ':';

		if (strncmp(value, forms[i].begins, length) == 0 &&
			(colon || !value[length] || value[length] == ':'))
			return &forms[i];
	}
	return NULL;
}

bool chardev_is_form(const char *value)
{
	return find_form(strncmp(value, "mon:", 4) == 0 ? value + 4 : value);
}

int chardev_take_form(struct char_config *config, const char *option, const char *value)
{
	bool mux = strncmp(value, "mon:", 4) == 0;
	const struct form *form = find_form(mux ? value + 4 : value);
	int error;

	if (!form) {
		log_error("%s %s: expected none, null, stdio, mon:stdio, pty, file:NAME, "
			  "pipe:NAME, unix:PATH[,server=on][,wait=off], tcp:HOST:PORT or "
			  "chardev:ID",
			option, value);
		return -EINVAL;
	}
	error = parse_form(config, option, form, value + (mux ? 4 : 0) + strlen(form->begins));
	config->mux |= mux;
	return error;
}
