/* -object: what other options refer to by its id. Memory and entropy have an effect, the rest
 * changes nothing here. */
#include "cli/qemu.h"

#include "base/bits.h"
#include "base/log.h"
#include "base/words.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static const struct qemu_key common_keys[] = {
	{"qom-type", QEMU_OWN, NULL},
	{"id", QEMU_OWN, NULL},
	{NULL, QEMU_END, NULL},
};

#define MEMORY_KEYS                                                                                \
	{"size", QEMU_OWN, NULL}, {"share", QEMU_OWN, NULL}, {"prealloc", QEMU_OWN, NULL},         \
		{"prealloc-threads", QEMU_IGNORED, NULL}, {"merge", QEMU_IGNORED, NULL},           \
		{"dump", QEMU_IGNORED, NULL}, {"reserve", QEMU_IGNORED, NULL},                     \
		{"host-nodes.*", QEMU_IGNORED, NULL}, {"host-nodes", QEMU_IGNORED, NULL},          \
		{"policy", QEMU_CHOICE, "default|bind|preferred"},                                 \
	{                                                                                          \
		"x-use-canonical-path-for-ramblock-id", QEMU_IGNORED, NULL                         \
	}

static const struct qemu_key ram_keys[] = {MEMORY_KEYS, {NULL, QEMU_END, NULL}};
static const struct qemu_key memfd_keys[] = {MEMORY_KEYS, {"hugetlb", QEMU_CHOICE, "off|no|false"},
	{"seal", QEMU_IGNORED, NULL}, {NULL, QEMU_END, NULL}};
static const struct qemu_key file_keys[] = {MEMORY_KEYS, {"mem-path", QEMU_OWN, NULL},
	{"align", QEMU_IGNORED, NULL}, {"discard-data", QEMU_CHOICE, "off|no|false"},
	{"pmem", QEMU_CHOICE, "off|no|false"}, {"readonly", QEMU_CHOICE, "off|no|false"},
	{NULL, QEMU_END, NULL}};
static const struct qemu_key random_keys[] = {
	{"filename", QEMU_CHOICE, "/dev/urandom|/dev/random|/dev/hwrng"},
	{"opened", QEMU_IGNORED, NULL}, {NULL, QEMU_END, NULL}};
static const struct qemu_key any_keys[] = {{"*", QEMU_IGNORED, NULL}, {NULL, QEMU_END, NULL}};

/* Random bytes are the host kernel's, wherever from. */
static const struct kind {
	const char *name;
	const struct qemu_key *keys;
	bool memory;
} kinds[] = {
	{"memory-backend-ram", ram_keys, true},
	{"memory-backend-memfd", memfd_keys, true},
	{"memory-backend-file", file_keys, true},
	{"rng-random", random_keys, false},
	{"rng-builtin", random_keys, false},
	{"iothread", any_keys, false},
	{"secret", any_keys, false},
	{"throttle-group", any_keys, false},
};

static const struct kind *find_kind(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	log_error("-object %s: expected rng-random, memory-backend-file, memory-backend-memfd, "
		  "memory-backend-ram, iothread or secret",
		name);
	return NULL;
}

static int take_memory(
	struct qemu_object *object, struct qemu *qemu, const struct qemu_words *words)
{
	const char *size = qemu_words_get(words, "size"), *path = qemu_words_get(words, "mem-path"),
		   *share = qemu_words_get(words, "share"),
		   *allocated = qemu_words_get(words, "prealloc");

	if (!size || qemu_parse_memory(words->option, size, &object->size) < 0) {
		log_error("-object %s: expected size=N[MG]", object->type);
		return -EINVAL;
	}
	if ((share && qemu_words_bool(words->option, "share", share, &object->shared) < 0) ||
		(allocated && qemu_words_bool(words->option, "prealloc", allocated,
				      &object->allocated) < 0))
		return -EINVAL;
	if (path)
		object->path = qemu_keep_copy(qemu, path);
	if (path || strcmp(object->type, "memory-backend-file") != 0)
		return 0;
	log_error("-object memory-backend-file: expected mem-path=FILE");
	return -EINVAL;
}

static int add_object(struct qemu *qemu, const struct qemu_words *words)
{
	const char *type = qemu_words_get(words, "qom-type"), *id = qemu_words_get(words, "id");
	const struct kind *kind = find_kind(type ? type : "");
	struct qemu_object *object = &qemu->objects[qemu->object_count];

	if (!kind)
		return -EINVAL;
	if (!id || qemu->object_count == QEMU_MAX_OBJECTS || qemu_find_object(qemu, id)) {
		log_error("-object %s: expected id=NAME, which no other has, and at most %d", type,
			QEMU_MAX_OBJECTS);
		return -EINVAL;
	}
	if (qemu_words_translate(words, kind->keys, common_keys, NULL) < 0)
		return -EINVAL;
	*object = (struct qemu_object){.type = kind->name, .id = qemu_keep_copy(qemu, id)};
	if (kind->memory && take_memory(object, qemu, words) < 0)
		return -EINVAL;
	qemu->object_count++;
	return 0;
}

int qemu_add_object(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	int error = qemu_words_parse(&words, "-object", value, "qom-type");

	if (error)
		return error;
	error = add_object(qemu, &words);
	qemu_words_free(&words);
	return error;
}

const struct qemu_object *qemu_find_object(const struct qemu *qemu, const char *id)
{
	for (unsigned i = 0; i < qemu->object_count; i++)
		if (strcmp(qemu->objects[i].id, id) == 0)
			return &qemu->objects[i];
	return NULL;
}

/* RAM that is not shared is the guest's alone, in whatever file. What a file has in it already
 * would be its first contents, which is not done for one that the guest must not change. */
static int use_path(struct qemu *qemu, const char *path, bool shared)
{
	struct stat status;

	if (shared)
		qemu->machine.memory_path = path;
	else if (stat(path, &status) == 0 && S_ISREG(status.st_mode) && status.st_size) {
		log_error(
			"%s: a file with something in it is guest memory with share=on only", path);
		return -EINVAL;
	}
	return 0;
}

int qemu_finish_memory(struct qemu *qemu)
{
	const char *id = qemu->memory_backend;
	const struct qemu_object *object = id ? qemu_find_object(qemu, id) : NULL;

	if (id && (!object || !object->size)) {
		log_error("-machine memory-backend=%s: there is no -object memory-backend-... with "
			  "that id",
			id);
		return -EINVAL;
	}
	if (!object)
		return qemu->memory_file ? use_path(qemu, qemu->memory_file, false) : 0;
	if (qemu->memory_said && object->size != qemu->machine.memory_size) {
		log_error("-machine memory-backend=%s: its size is not that of -m", id);
		return -EINVAL;
	}
	qemu->machine.memory_size = object->size;
	qemu->machine.memory_allocated |= object->allocated;
	return object->path ? use_path(qemu, object->path, object->shared) : 0;
}
