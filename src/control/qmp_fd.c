/* Descriptors by QMP: each comes as ancillary data (SCM_RIGHTS) with the request that takes it. */
#include "control/qmp_internal.h"

#include <string.h>
#include <unistd.h>

/* -1 with a failure. */
static int take(struct qmp_session *session)
{
	int fd = received_take(&session->received);

	if (fd < 0)
		qmp_fail(session, "No file descriptor supplied via SCM_RIGHTS");
	return fd;
}

static json_t *refuse(struct qmp_session *session, int fd, int64_t error)
{
	close(fd);
	return qmp_fail(session, "The descriptor cannot be kept: %s", strerror((int)-error));
}

json_t *qmp_getfd(struct qmp_session *session, json_t *arguments)
{
	const char *name = json_string_value(json_object_get(arguments, "fdname"));
	int fd = take(session), error;

	if (fd < 0)
		return NULL;
	error = descriptors_name(&session->shared->descriptors, name, fd);
	return error ? refuse(session, fd, error) : json_object();
}

json_t *qmp_closefd(struct qmp_session *session, json_t *arguments)
{
	const char *name = json_string_value(json_object_get(arguments, "fdname"));
	int fd = descriptors_take(&session->shared->descriptors, name);

	if (fd < 0)
		return qmp_fail(session, "File descriptor named '%.100s' not found", name);
	close(fd);
	return json_object();
}

json_t *qmp_add_fd(struct qmp_session *session, json_t *arguments)
{
	json_t *wanted = json_object_get(arguments, "fdset-id");
	const char *opaque = json_string_value(json_object_get(arguments, "opaque"));
	int64_t set = wanted ? json_integer_value(wanted) : -1;
	int fd;

	if (wanted && set < 0)
		return qmp_fail(session, "Parameter 'fdset-id' expects a non-negative value");
	fd = take(session);
	if (fd < 0)
		return NULL;
	set = descriptors_add(&session->shared->descriptors, set, opaque ? opaque : "", fd);
	if (set < 0)
		return refuse(session, fd, set);
	return json_pack("{s:I, s:i}", "fdset-id", (json_int_t)set, "fd", fd);
}

json_t *qmp_remove_fd(struct qmp_session *session, json_t *arguments)
{
	json_int_t set = json_integer_value(json_object_get(arguments, "fdset-id"));
	json_t *one = json_object_get(arguments, "fd");
	json_int_t fd = one ? json_integer_value(one) : -1;

	if (set < 0 || (one && (fd < 0 || fd > INT32_MAX)) ||
		descriptors_remove(&session->shared->descriptors, set, (int)fd) < 0)
		return qmp_fail(session, "File descriptor named 'fdset-id:%lld' not found", set);
	return json_object();
}

static void describe(json_t *sets, const struct descriptor *place)
{
	json_t *set = NULL, *one = json_pack("{s:i}", "fd", place->fd);
	size_t i;

	if (place->text[0])
		json_object_set_new(one, "opaque", json_string(place->text));
	for (i = 0; i < json_array_size(sets); i++) {
		set = json_array_get(sets, i);
		if (json_integer_value(json_object_get(set, "fdset-id")) == place->set)
			break;
	}
	if (i == json_array_size(sets)) {
		set = json_pack("{s:I, s:[]}", "fdset-id", (json_int_t)place->set, "fds");
		json_array_append_new(sets, set);
	}
	json_array_append_new(json_object_get(set, "fds"), one);
}

json_t *qmp_query_fdsets(struct qmp_session *session, json_t *arguments)
{
	const struct descriptors *descriptors = &session->shared->descriptors;
	json_t *sets = json_array();

	for (unsigned i = 0; i < DESCRIPTORS_MOST; i++)
		if (descriptors->place[i].fd >= 0 && descriptors->place[i].in_set)
			describe(sets, &descriptors->place[i]);
	return sets;
}
