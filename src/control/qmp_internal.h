/* What the files that hold QMP's commands share. */
#ifndef VENEER_CONTROL_QMP_INTERNAL_H
#define VENEER_CONTROL_QMP_INTERNAL_H

#include "control/qmp.h"

/* A command failed: what its function returns. The text is the reply's description. */
__attribute__((format(printf, 2, 3))) json_t *qmp_fail(
	struct qmp_session *session, const char *format, ...);

/* Commands. Each returns the content of the reply, or qmp_fail(), or NULL where the reply comes
 * later. `arguments`: an object, or NULL; it has no members that the table does not name. */
json_t *qmp_send_key(struct qmp_session *session, json_t *arguments);
json_t *qmp_input_send_event(struct qmp_session *session, json_t *arguments);
json_t *qmp_screendump(struct qmp_session *session, json_t *arguments);

#endif
