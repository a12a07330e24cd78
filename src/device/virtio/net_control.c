#include "device/virtio/net_control.h"

#include <string.h>

/* Segments are made by filling in checksums: who cannot do the one cannot take the other. */
uint64_t net_control_offloads(const struct net_control *control)
{
	uint64_t offloads = control->offloads;

	if (!(offloads & BIT(VIRTIO_NET_F_GUEST_CSUM)))
		return 0;
	if (!(offloads & (BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6))))
		offloads &= ~BIT(VIRTIO_NET_F_GUEST_ECN);
	return offloads;
}

void net_control_init(struct net_control *control, const uint8_t mac[6])
{
	*control = (struct net_control){.promiscuous = true, .pairs = 1, .max_pairs = 1};
	memcpy(control->mac, mac, sizeof(control->mac));
}

void net_control_begin(struct net_control *control, uint64_t features, unsigned max_pairs)
{
	uint64_t offloads = features & NET_GUEST_OFFLOADS;

	control->features = features;
	control->offloads = control->in_use ? control->offloads & offloads : offloads;
	control->max_pairs = features & BIT(VIRTIO_NET_F_MQ) ? max_pairs : 1;
	control->pairs = MIN(control->pairs, control->max_pairs);
	control->in_use = true;
}

static const struct state_field table_fields[] = {
	STATE_BOOL(struct net_mac_table, overflow),
	STATE_FIELD(struct net_mac_table, count, 0, NET_MAC_TABLE),
	STATE_ARRAY_ANY(struct net_mac_table, mac),
	STATE_END,
};

/* Features and the number of pairs there are follow from the driver's, in net_control_begin(). */
const struct state_field net_control_fields[] = {
	STATE_BOOL(struct net_control, in_use),
	STATE_ANY(struct net_control, features),
	STATE_BOOL(struct net_control, promiscuous),
	STATE_BOOL(struct net_control, all_multicast),
	STATE_BOOL(struct net_control, all_unicast),
	STATE_BOOL(struct net_control, no_multicast),
	STATE_BOOL(struct net_control, no_unicast),
	STATE_BOOL(struct net_control, no_broadcast),
	STATE_ARRAY_ANY(struct net_control, mac),
	STATE_STRUCT(struct net_control, unicast, table_fields),
	STATE_STRUCT(struct net_control, multicast, table_fields),
	STATE_ARRAY_ANY(struct net_control, vlans),
	STATE_FIELD(struct net_control, pairs, 1, NET_VLANS),
	STATE_ANY(struct net_control, max_pairs),
	STATE_FIELD(struct net_control, offloads, 0, NET_GUEST_OFFLOADS),
	STATE_END,
};

/* --- commands --- */

struct command {
	uint8_t class, code;
	uint8_t feature; /* that offers it */
	bool (*execute)(struct net_control *control, const struct virtio_chain *chain,
		const struct command *command);
	size_t flag; /* offset of the bool in struct net_control that it sets */
};

#define ARGUMENTS 2 /* what follows class and code */

static bool read_argument(
	const struct virtio_chain *chain, uint64_t offset, void *argument, uint64_t size)
{
	return virtio_chain_read(chain, ARGUMENTS + offset, argument, size) == size;
}

/* VIRTIO_NET_CTRL_RX (5.1.6.5.1) */
static bool set_flag(struct net_control *control, const struct virtio_chain *chain,
	const struct command *command)
{
	uint8_t on;

	if (!read_argument(chain, 0, &on, sizeof(on)))
		return false;
	*(bool *)((char *)control + command->flag) = on != 0;
	return true;
}

/* A table at `*offset` of the arguments, which moves on behind it. */
static bool read_mac_table(
	const struct virtio_chain *chain, uint64_t *offset, struct net_mac_table *table)
{
	uint32_t entries;
	uint64_t bytes;

	if (!read_argument(chain, *offset, &entries, sizeof(entries)))
		return false;
	*offset += sizeof(entries);
	bytes = (uint64_t)entries * sizeof(table->mac[0]);
	if (*offset + bytes > chain->readable_bytes - ARGUMENTS)
		return false;
	table->overflow = entries > NET_MAC_TABLE;
	table->count = table->overflow ? 0 : entries;
	if (!read_argument(chain, *offset, table->mac, table->count * sizeof(table->mac[0])))
		return false;
	*offset += bytes;
	return true;
}

/* VIRTIO_NET_CTRL_MAC_TABLE_SET (5.1.6.5.2): addresses of one, and of several receivers. */
static bool set_mac_table(struct net_control *control, const struct virtio_chain *chain,
	const struct command *command)
{
	struct net_mac_table unicast, multicast;
	uint64_t offset = 0;

	if (!read_mac_table(chain, &offset, &unicast) ||
		!read_mac_table(chain, &offset, &multicast))
		return false;
	control->unicast = unicast;
	control->multicast = multicast;
	return true;
}

static bool set_mac(struct net_control *control, const struct virtio_chain *chain,
	const struct command *command)
{
	uint8_t mac[6];

	if (!read_argument(chain, 0, mac, sizeof(mac)))
		return false;
	memcpy(control->mac, mac, sizeof(mac));
	return true;
}

/* VIRTIO_NET_CTRL_VLAN (5.1.6.5.3) */
static bool change_vlan(struct net_control *control, const struct virtio_chain *chain,
	const struct command *command)
{
	uint16_t vlan;

	if (!read_argument(chain, 0, &vlan, sizeof(vlan)) || vlan >= NET_VLANS)
		return false;
	if (command->code == VIRTIO_NET_CTRL_VLAN_ADD)
		control->vlans[vlan / 64] |= BIT(vlan % 64);
	else
		control->vlans[vlan / 64] &= ~BIT(vlan % 64);
	return true;
}

/* VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET (5.1.6.5.6.1) */
static bool set_pairs(struct net_control *control, const struct virtio_chain *chain,
	const struct command *command)
{
	uint16_t pairs;

	if (!read_argument(chain, 0, &pairs, sizeof(pairs)) || pairs == 0 ||
		pairs > control->max_pairs)
		return false;
	control->pairs = pairs;
	return true;
}

/* VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET (5.1.6.5.7) */
static bool set_offloads(struct net_control *control, const struct virtio_chain *chain,
	const struct command *command)
{
	uint64_t offloads;

	if (!read_argument(chain, 0, &offloads, sizeof(offloads)) ||
		offloads & ~(control->features & NET_GUEST_OFFLOADS))
		return false;
	control->offloads = offloads;
	return true;
}

#define RX_MODE(code, feature, flag)                                                               \
	{                                                                                          \
		VIRTIO_NET_CTRL_RX, code, feature, set_flag, offsetof(struct net_control, flag)    \
	}

static const struct command commands[] = {
	RX_MODE(VIRTIO_NET_CTRL_RX_PROMISC, VIRTIO_NET_F_CTRL_RX, promiscuous),
	RX_MODE(VIRTIO_NET_CTRL_RX_ALLMULTI, VIRTIO_NET_F_CTRL_RX, all_multicast),
	RX_MODE(VIRTIO_NET_CTRL_RX_ALLUNI, VIRTIO_NET_F_CTRL_RX_EXTRA, all_unicast),
	RX_MODE(VIRTIO_NET_CTRL_RX_NOMULTI, VIRTIO_NET_F_CTRL_RX_EXTRA, no_multicast),
	RX_MODE(VIRTIO_NET_CTRL_RX_NOUNI, VIRTIO_NET_F_CTRL_RX_EXTRA, no_unicast),
	RX_MODE(VIRTIO_NET_CTRL_RX_NOBCAST, VIRTIO_NET_F_CTRL_RX_EXTRA, no_broadcast),
	{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, VIRTIO_NET_F_CTRL_RX, set_mac_table,
		0},
	{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, VIRTIO_NET_F_CTRL_MAC_ADDR, set_mac, 0},
	{VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, VIRTIO_NET_F_CTRL_VLAN, change_vlan, 0},
	{VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, VIRTIO_NET_F_CTRL_VLAN, change_vlan, 0},
	{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, VIRTIO_NET_F_MQ, set_pairs, 0},
	{VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
		VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, set_offloads, 0},
};

uint8_t net_control_execute(struct net_control *control, const struct virtio_chain *chain)
{
	struct virtio_net_ctrl_hdr header;

	if (virtio_chain_read(chain, 0, &header, sizeof(header)) != sizeof(header))
		return VIRTIO_NET_ERR;
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		if (commands[i].class != header.class || commands[i].code != header.cmd)
			continue;
		if (control->features & BIT(commands[i].feature) &&
			commands[i].execute(control, chain, &commands[i]))
			return VIRTIO_NET_OK;
		break;
	}
	return VIRTIO_NET_ERR;
}

/* --- the filter --- */

static bool table_has(const struct net_mac_table *table, const uint8_t *mac)
{
	for (unsigned i = 0; i < table->count; i++)
		if (memcmp(table->mac[i], mac, sizeof(table->mac[i])) == 0)
			return true;
	return table->overflow;
}

static bool accepts_vlan(const struct net_control *control, const uint8_t *frame)
{
	unsigned vlan = (unsigned)(frame[14] << 8 | frame[15]) % NET_VLANS;
	bool tagged = frame[12] == 0x81 && frame[13] == 0x00; /* IEEE 802.1Q */

	if (!tagged || !(control->features & BIT(VIRTIO_NET_F_CTRL_VLAN)))
		return true;
	return control->vlans[vlan / 64] & BIT(vlan % 64);
}

bool net_control_accepts(const struct net_control *control, const uint8_t *frame)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (control->promiscuous)
		return true;
	if (!accepts_vlan(control, frame))
		return false;
	if (memcmp(frame, broadcast, sizeof(broadcast)) == 0)
		return !control->no_broadcast;
	if (frame[0] & 1)
		return !control->no_multicast &&
		       (control->all_multicast || table_has(&control->multicast, frame));
	return !control->no_unicast &&
	       (control->all_unicast || memcmp(frame, control->mac, sizeof(control->mac)) == 0 ||
		       table_has(&control->unicast, frame));
}
