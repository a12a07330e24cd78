/* What is on the screen, by QMP: screendump, with the arguments that QEMU's has. */
#include "control/qmp_internal.h"

#include "host/display/picture.h"

#include <string.h>

json_t *qmp_screendump(struct qmp_session *session, json_t *arguments)
{
	json_t *path = json_object_get(arguments, "filename");
	json_t *format = json_object_get(arguments, "format");
	bool png = json_is_string(format) && !strcmp(json_string_value(format), "png");
	bool ppm = !format || (json_is_string(format) && !strcmp(json_string_value(format), "ppm"));
	int error;

	if (!json_is_string(path))
		return qmp_fail(session, "Parameter 'filename' must be a file's name");
	if (!png && !ppm)
		return qmp_fail(session, "Parameter 'format' must be 'png' or 'ppm'");
	if (!display_exists(&session->machine->display))
		return qmp_fail(session, "The machine has no screen: it was started without "
					 "--display");
	error = picture_write_screen(json_string_value(path), png ? PICTURE_PNG : PICTURE_PPM,
		&session->machine->display);
	if (error)
		return qmp_fail(session, "Cannot write the picture to '%.60s': %s",
			json_string_value(path), strerror(-error));
	return json_object();
}
