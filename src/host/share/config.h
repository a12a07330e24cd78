/* A host directory that a guest is given: --share DIR[,WORD]... */
#ifndef VENEER_HOST_SHARE_CONFIG_H
#define VENEER_HOST_SHARE_CONFIG_H

#include "host/place.h"

#define SHARE_TAG_MAX 32 /* bytes of a tag */

/* How owners and modes are kept: helper/share/owner.h. */
enum share_security { SHARE_NONE, SHARE_PASSTHROUGH, SHARE_MAPPED };

struct share_config {
	char *path;
	char tag[SHARE_TAG_MAX + 1]; /* by which the guest asks for it; "": none was said */
	bool read_only;
	bool sync; /* a write is answered when its data is on the disk */
	enum share_security security;
	struct device_place place;
};

/* Parse "DIR[,tag=T][,readonly][,sync][,security=MODEL]"; `option` is for messages. 0, or -EINVAL
 * or -ENOMEM with a message. */
int share_config_parse(struct share_config *config, const char *option, const char *value);
/* Take the name of a model. 0, or -EINVAL with a message. */
int share_config_security(struct share_config *config, const char *option, const char *value);
/* Its name. */
const char *share_security_name(enum share_security security);
void share_config_free(struct share_config *config);

#endif
