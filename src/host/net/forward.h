/* A port of the host that leads to one of the guest's, as text. */
#ifndef VENEER_HOST_NET_FORWARD_H
#define VENEER_HOST_NET_FORWARD_H

#include "host/net/net_backend.h"

#define NET_FORWARD_TEXT 64

/* "tcp:ADDR:PORT-ADDR:PORT" or "udp:...": an empty address is any of the host's, or the guest's by
 * DHCP. 0, or -EINVAL with a message. */
int net_forward_parse(struct net_forward *forward, const char *option, const char *value);
/* The reverse, into NET_FORWARD_TEXT bytes. */
void net_forward_text(const struct net_forward *forward, char *text);

#endif
