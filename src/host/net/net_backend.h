/* What a network device is plugged into: a tap interface (tap.c), the user network (user.c, by a
 * helper process with libslirp), a switch among machines (switch.c), a socket (stream.c, dgram.c),
 * nothing.
 *
 * A frame is preceded by a struct virtio_net_hdr_v1 (12 bytes; linux/virtio_net.h), which may ask
 * for a checksum or for segmentation: frames are as large as 64 KiB, and are cut only where they
 * leave for something that needs it. Everything is called on the device's worker, without a lock.
 *
 * Neither end waits for the other. */
#ifndef VENEER_HOST_NET_NET_BACKEND_H
#define VENEER_HOST_NET_NET_BACKEND_H

#include "host/place.h"
#include "host/worker.h"

#include <linux/virtio_net.h>
#include <sys/types.h>
#include <sys/uio.h>

#define NET_HEADER    12 /* struct virtio_net_hdr_v1 */
#define NET_MAX_FRAME (NET_HEADER + 14 + 4 + 65535)

/* The card that a guest finds. */
enum net_model { NET_VIRTIO, NET_E1000 };
enum net_kind { NET_USER, NET_TAP, NET_SWITCH, NET_STREAM, NET_DGRAM, NET_NONE };

struct net_forward {
	bool udp;
	uint32_t host_address; /* network byte order */
	uint16_t host_port, guest_port;
	uint32_t guest_address; /* 0: the guest's by DHCP */
};
#define NET_MAX_FORWARDS 16
#define NET_MAX_SEARCH   4

/* --net user[,hostfwd=tcp:ADDR:PORT-ADDR:PORT]...[,restrict=on][,tftp=DIR][,bootfile=NAME]
 * [,hostname=NAME][,domainname=NAME][,dnssearch=NAME]... | tap=NAME[,queues=N] | switch=PATH |
 * stream=ADDR[,listen][,reconnect=SECONDS] | dgram=ADDR[,local=ADDR] | none; each
 * with [,mac=...][,model=virtio|e1000] */
struct net_config {
	enum net_kind kind;
	char *name;  /* of the tap interface, the switch's path, or a socket's address */
	char *local; /* of a datagram socket: its own address; or NULL */
	bool listens;
	uint64_t reconnect; /* seconds until a lost connection is made again; 0: it is not */
	bool restricted;
	unsigned queues; /* pairs; tap only, else 1 */
	struct net_forward forward[NET_MAX_FORWARDS];
	unsigned forward_count;
	/* User network: what DHCP tells the guest, and the directory that TFTP serves; or NULL. */
	char *host_name, *domain_name, *search[NET_MAX_SEARCH], *boot_file, *tftp;
	unsigned search_count;
	unsigned number; /* of the machine's user networks, this one's: 10.0.(2 + number).0/24 */
	uint8_t mac[6];  /* all zero: one is chosen */
	enum net_model model;
	bool port; /* its device is behind a PCI Express root port of its own */
	struct device_place place;
	bool gone;           /* it was unplugged: the row is free */
	unsigned boot_index; /* firmware tries it before others, in this order; 0: none was said */
};

struct net_backend;

/* What the device does for its back end. */
struct net_port {
	/* Frames may be waiting in this queue: receive() until -EAGAIN. */
	void (*receive_ready)(void *opaque, unsigned queue);
	/* send() has refused a frame for want of room, and now there is some. */
	void (*send_ready)(void *opaque, unsigned queue);
	void *opaque;
};

struct net_backend_ops {
	/* Begin. Called on the worker. 0 or -errno with a message. */
	int (*start)(struct net_backend *net, struct worker *worker, const struct net_port *port);
	/* Take a frame with its header. 0: taken, or dropped as a network may; -EAGAIN: no room,
	 * send_ready() will come. */
	int (*send)(struct net_backend *net, unsigned queue, const struct iovec *pieces,
		unsigned count, size_t bytes);
	/* The next frame with its header (num_buffers is 1): its bytes; -EAGAIN: none, and
	 * receive_ready() will come; -EMSGSIZE: it is larger than the pieces, and was dropped. */
	ssize_t (*receive)(struct net_backend *net, unsigned queue, const struct iovec *pieces,
		unsigned count);
	/* The device has no room: do not call receive_ready() until it is wanted again. Level
	 * triggered: with `wanted`, frames that wait are announced again. */
	void (*want_receive)(struct net_backend *net, unsigned queue, bool wanted);
	/* What send() has taken is on its way. NULL: it always is. */
	void (*flush)(struct net_backend *net);
	/* The guest takes frames with these offloads (VIRTIO_NET_F_GUEST_* bits of the device's
	 * features). NULL: ignored. */
	void (*guest_takes)(struct net_backend *net, uint64_t features);
	/* After the worker's thread has ended. Frees it. */
	void (*destroy)(struct net_backend *net);
};

struct net_backend {
	const struct net_backend_ops *ops;
	unsigned queues;
	/* Frames with these offloads may be sent and are received (VIRTIO_NET_F_CSUM, HOST_TSO4,
	 * HOST_TSO6, HOST_ECN; GUEST_CSUM, GUEST_TSO4...). */
	uint64_t offloads;
	uint16_t mtu; /* 0: 1500 */
};

/* Parse the value of --net. 0, or -EINVAL or -ENOMEM with a message. */
int net_config_parse(struct net_config *config, const char *option, const char *value);
/* Free what it holds. No back end needs it after net_open(). */
void net_config_free(struct net_config *config);
/* 0, or -errno with a message; *net is NULL for NET_NONE. */
int net_open(const struct net_config *config, struct net_backend **net);

#endif
