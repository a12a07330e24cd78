/* --display's words: who shows the machine's screen. */
#ifndef VENEER_HOST_DISPLAY_CONFIG_H
#define VENEER_HOST_DISPLAY_CONFIG_H

#include <stdint.h>

enum display_kind {
	DISPLAY_UNSAID, /* as none; and a kernel that is loaded directly finds no VGA */
	DISPLAY_NONE,   /* there is a VGA, for screenshots */
	DISPLAY_TEXT,   /* the terminal */
	DISPLAY_VNC,
};

#define DISPLAY_ADDRESS 108 /* bytes, of a path too */
#define VNC_FIRST_PORT  5900
#define VNC_DISPLAYS    100

struct display_config {
	enum display_kind kind;
	/* VNC: a Unix socket's path, which begins with a slash or a dot; or a host's numeric
	 * address. */
	char address[DISPLAY_ADDRESS];
	uint16_t port;       /* not of a path */
	char *password_file; /* NULL: none is asked for */
};

/* Parse "none", "text", or "vnc=ADDR[,password-file=FILE]". 0, or -EINVAL
 * with a message that begins with `option`. */
int display_config_parse(struct display_config *config, const char *option, const char *value);

#endif
