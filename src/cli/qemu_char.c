/* -chardev, and what -serial, -parallel, -monitor and -qmp name in its place. */
#include "cli/qemu.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct qemu_key common_keys[] = {
	{"id", QEMU_OWN, NULL},
	{"backend", QEMU_OWN, NULL},
	{"mux", QEMU_OWN, NULL},
	{"logfile", QEMU_IGNORED, NULL},
	{"logappend", QEMU_IGNORED, NULL},
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
	{"reconnect", QEMU_CHOICE, "0"},
	{NULL, QEMU_END, NULL},
};
static const struct qemu_key window_keys[] = {{"width", QEMU_IGNORED, NULL},
	{"height", QEMU_IGNORED, NULL}, {"cols", QEMU_IGNORED, NULL}, {"rows", QEMU_IGNORED, NULL},
	{"size", QEMU_IGNORED, NULL}, {NULL, QEMU_END, NULL}};

static const struct backend {
	const char *name;
	enum qemu_char_kind kind;
	const struct qemu_key *keys;
} backends[] = {
	{"null", QEMU_CHAR_NULL, no_keys},
	{"stdio", QEMU_CHAR_STDIO, stdio_keys},
	{"file", QEMU_CHAR_FILE, path_keys},
	{"pipe", QEMU_CHAR_PIPE, path_keys},
	{"pty", QEMU_CHAR_PTY, path_keys},
	{"socket", QEMU_CHAR_UNIX, socket_keys},
	{"vc", QEMU_CHAR_VC, window_keys},
	/* Its bytes could be read by QMP's ringbuf-read only. */
	{"ringbuf", QEMU_CHAR_NULL, window_keys},
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

static struct qemu_chardev *new_chardev(struct qemu *qemu, const char *option)
{
	struct qemu_chardev *chardev = &qemu->chardevs[qemu->chardev_count];

	if (qemu->chardev_count == QEMU_MAX_CHARDEVS) {
		log_error("%s: expected at most %d character devices", option, QEMU_MAX_CHARDEVS);
		return NULL;
	}
	*chardev = (struct qemu_chardev){.id = "", .path = "", .fd = -1};
	qemu->chardev_count++;
	return chardev;
}

/* "on" where it is not said. */
static int get_bool(const struct qemu_words *words, const char *key, bool otherwise, bool *on)
{
	const char *value = qemu_words_get(words, key);

	*on = otherwise;
	return value ? qemu_words_bool(words->option, key, value, on) : 0;
}

static int take_socket(
	struct qemu *qemu, struct qemu_chardev *chardev, const struct qemu_words *words)
{
	const char *path = qemu_words_get(words, "path"), *fd = qemu_words_get(words, "fd"),
		   *host = qemu_words_get(words, "host"), *port = qemu_words_get(words, "port");
	char *address, *end = NULL;
	long number;

	if (get_bool(words, "server", false, &chardev->server) < 0 ||
		get_bool(words, "wait", chardev->server, &chardev->wait) < 0)
		return -EINVAL;
	if (fd) {
		number = strtol(fd, &end, 10);
		if (*end || end == fd || number < 3 || number > 65535) {
			log_error(
				"%s fd=%s: expected the number of a descriptor", words->option, fd);
			return -EINVAL;
		}
		chardev->fd = (int)number;
		return 0;
	}
	if (path) {
		chardev->path = qemu_keep_copy(qemu, path);
		return 0;
	}
	if (!port) {
		log_error("%s: a socket needs path=, or host= and port=", words->option);
		return -EINVAL;
	}
	chardev->kind = QEMU_CHAR_TCP;
	if (asprintf(&address, "%s:%s", host ? host : "", port) < 0)
		return -ENOMEM;
	chardev->path = qemu_keep(qemu, address);
	return 0;
}

static int take_words(
	struct qemu *qemu, struct qemu_chardev *chardev, const struct qemu_words *words)
{
	const char *name = qemu_words_get(words, "backend"), *path = qemu_words_get(words, "path"),
		   *id = qemu_words_get(words, "id");
	const struct backend *backend = find_backend(words->option, name ? name : "");

	if (!backend || get_bool(words, "mux", false, &chardev->mux) < 0 ||
		qemu_words_translate(words, backend->keys, common_keys, NULL) < 0)
		return -EINVAL;
	chardev->kind = backend->kind;
	chardev->id = qemu_keep_copy(qemu, id ? id : "");
	if (backend->keys == socket_keys)
		return take_socket(qemu, chardev, words);
	chardev->path = qemu_keep_copy(qemu, path ? path : "");
	if (get_bool(words, "append", false, &chardev->append) < 0)
		return -EINVAL;
	if (backend->kind == QEMU_CHAR_FILE) {
		chardev->fd = qemu_open_fdset(qemu, words->option, chardev->path);
		if (chardev->fd == -EINVAL)
			return -EINVAL;
	}
	if (!path && (backend->kind == QEMU_CHAR_FILE || backend->kind == QEMU_CHAR_PIPE)) {
		log_error("%s %s: expected path=NAME", words->option, name);
		return -EINVAL;
	}
	return 0;
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
	error = take_words(qemu, chardev, &words);
	if (!error && !*chardev->id) {
		log_error("-chardev %s: expected id=NAME", value);
		error = -EINVAL;
	}
	qemu_words_free(&words);
	return error;
}

struct qemu_chardev *qemu_find_chardev(struct qemu *qemu, const char *option, const char *id)
{
	for (unsigned i = 0; i < qemu->chardev_count; i++)
		if (strcmp(qemu->chardevs[i].id, id) == 0)
			return &qemu->chardevs[i];
	log_error("%s: there is no -chardev '%s'", option, id);
	return NULL;
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

static int parse_form(struct qemu *qemu, const char *option, const struct form *form,
	const char *rest, struct qemu_chardev *chardev)
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
	error = take_words(qemu, chardev, &words);
	qemu_words_free(&words);
	return error;
}

int qemu_parse_chardev(
	struct qemu *qemu, const char *option, const char *value, struct qemu_chardev **chardev)
{
	bool mux = strncmp(value, "mon:", 4) == 0;

	*chardev = NULL;
	if (strcmp(value, "none") == 0)
		return 0;
	if (strncmp(value, "chardev:", 8) == 0) {
		*chardev = qemu_find_chardev(qemu, option, value + 8);
		return *chardev ? 0 : -EINVAL;
	}
	value += mux ? 4 : 0;
	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
		const struct form *form = &forms[i];
		size_t length = strlen(form->begins);
		bool colon = form->begins[length - 1] == ':';

		if (strncmp(value, form->begins, length) != 0 ||
			(!colon && value[length] && value[length] != ':'))
			continue;
		*chardev = new_chardev(qemu, option);
		if (!*chardev || parse_form(qemu, option, form, value + length, *chardev) < 0)
			return -EINVAL;
		(*chardev)->mux |= mux;
		return 0;
	}
	log_error("%s %s: expected none, null, stdio, mon:stdio, pty, file:NAME, pipe:NAME, "
		  "unix:PATH[,server=on][,wait=off], tcp:HOST:PORT or chardev:ID",
		option, value);
	return -EINVAL;
}
