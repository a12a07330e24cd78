/* The kinds of back ends. Each opens as net_open() says. */
#ifndef VENEER_HOST_NET_OPEN_H
#define VENEER_HOST_NET_OPEN_H

#include "host/net/net_backend.h"

int net_user_open(const struct net_config *config, struct net_backend **net);
int net_tap_open(const struct net_config *config, struct net_backend **net);
int net_stream_open(const struct net_config *config, struct net_backend **net);
int net_dgram_open(const struct net_config *config, struct net_backend **net);
int net_switch_open(const struct net_config *config, struct net_backend **net);

#endif
