#include "host/net/open.h"

#include <errno.h>

int net_switch_open(const struct net_config *config, struct net_backend **net)
{
	return -ENOSYS;
}
