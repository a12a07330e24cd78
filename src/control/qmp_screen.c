/* What is on the screen, and who shows it, by QMP: screendump, with the arguments that QEMU's has,
 * and query-vnc. */
#include "control/qmp_internal.h"

#include "host/display/picture.h"

#include <stdio.h>
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

json_t *qmp_query_vnc(struct qmp_session *session, json_t *arguments)
{
	const struct display_config *display = &session->machine->config.display;
	bool path = display->address[0] == '/' || display->address[0] == '.';
	char port[8];

	if (display->kind != DISPLAY_VNC)
		return json_pack("{s:b}", "enabled", 0);
	snprintf(port, sizeof(port), "%u", display->port);
	return json_pack("{s:b, s:s, s:s, s:s, s:s}", "enabled", 1, "host",
		path ? "" : display->address, "service", path ? display->address : port, "family",
		path                            ? "unix"
		: strchr(display->address, ':') ? "ipv6"
						: "ipv4",
		"auth", display->password_file ? "vnc" : "none");
}
