#include "host/net/open.h"

#include <stddef.h>

static int open_none(const struct net_config *config, struct net_backend **net)
{
	*net = NULL;
	return 0;
}

int net_open(const struct net_config *config, struct net_backend **net)
{
	static int (*const kinds[])(const struct net_config *config, struct net_backend **net) = {
		[NET_USER] = net_user_open,
		[NET_TAP] = net_tap_open,
		[NET_SWITCH] = net_switch_open,
		[NET_STREAM] = net_stream_open,
		[NET_DGRAM] = net_dgram_open,
		[NET_NONE] = open_none,
	};

	return kinds[config->kind](config, net);
}
