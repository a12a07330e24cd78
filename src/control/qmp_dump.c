/* dump-guest-memory: the machine's memory and registers as an ELF core file. */
#include "control/qmp_internal.h"
#include "machine/core_dump.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* file:PATH or fd:NAME. A pipe that nobody reads is not waited for. -1 with a failure. */
static int open_target(struct qmp_session *session, const char *protocol)
{
	int fd;

	if (strncmp(protocol, "fd:", 3) == 0) {
		fd = descriptors_take(&session->shared->descriptors, protocol + 3);
		if (fd < 0)
			qmp_fail(session, "File descriptor named '%.100s' not found", protocol + 3);
		return fd < 0 ? -1 : fd;
	}
	if (strncmp(protocol, "file:", 5) != 0) {
		qmp_fail(session, "parameter 'protocol' must start with 'file:' or 'fd:'");
		return -1;
	}
	fd = open(protocol + 5, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
	if (fd < 0)
		qmp_fail(session, "Cannot open '%.60s': %s", protocol + 5, strerror(errno));
	return fd;
}

static json_t *dump(struct qmp_session *session, json_t *arguments)
{
	int fd = open_target(session, json_string_value(json_object_get(arguments, "protocol")));
	int error;

	if (fd < 0)
		return NULL;
	error = core_dump_write(session->machine, fd);
	if (close(fd) < 0 && !error)
		error = -errno;
	return error ? qmp_fail(session, "dump: failed to save memory: %s", strerror(-error))
		     : json_object();
}

json_t *qmp_dump_guest_memory(struct qmp_session *session, json_t *arguments)
{
	if (json_is_true(json_object_get(arguments, "paging")))
		return qmp_fail(session, "Memory is dumped by physical addresses only: parameter "
					 "'paging' must be false");
	if (json_is_true(json_object_get(arguments, "detach")))
		return qmp_fail(session, "There is no dump in the background: parameter 'detach' "
					 "must be false");
	return qmp_run_stopped(session, dump, arguments);
}

json_t *qmp_query_dump_capability(struct qmp_session *session, json_t *arguments)
{
	return json_pack("{s:[s]}", "formats", "elf");
}
