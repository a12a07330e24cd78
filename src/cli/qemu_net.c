/* -netdev, -nic and -net. Each becomes words of --net. */
#include "cli/qemu.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct qemu_key user_keys[] = {
	{"hostfwd", QEMU_OWN, NULL},
	{"hostfwd.*", QEMU_OWN, NULL},
	{"restrict", QEMU_CHOICE, "on:restrict=on|yes:restrict=on|y:restrict=on|off|no|n"},
	{"hostname", QEMU_COPY, "hostname"},
	{"domainname", QEMU_COPY, "domainname"},
	{"dnssearch", QEMU_COPY, "dnssearch"},
	{"tftp", QEMU_COPY, "tftp"},
	{"bootfile", QEMU_COPY, "bootfile"},
	/* The addresses are 10.0.2.0/24 whatever is said: a guest learns them by DHCP. */
	{"net", QEMU_IGNORED, NULL},
	{"host", QEMU_IGNORED, NULL},
	{"dhcpstart", QEMU_IGNORED, NULL},
	{"dns", QEMU_IGNORED, NULL},
	{"ipv4", QEMU_CHOICE, "on"},
	{"ipv6", QEMU_IGNORED, NULL},
	{"ipv6-*", QEMU_IGNORED, NULL},
	{NULL, QEMU_END, NULL},
};

static const struct qemu_key tap_keys[] = {
	{"ifname", QEMU_OWN, NULL},
	{"queues", QEMU_COPY, "queues"},
	/* The interface exists already; nothing is run for it. */
	{"script", QEMU_CHOICE, "no|"},
	{"downscript", QEMU_CHOICE, "no|"},
	{"vhost", QEMU_IGNORED, NULL},
	{"vnet-hdr", QEMU_IGNORED, NULL},
	{"sndbuf", QEMU_IGNORED, NULL},
	{NULL, QEMU_END, NULL},
};

static const struct qemu_key socket_keys[] = {
	{"listen", QEMU_OWN, NULL},
	{"connect", QEMU_OWN, NULL},
	{"mcast", QEMU_OWN, NULL},
	{"udp", QEMU_OWN, NULL},
	{"localaddr", QEMU_OWN, NULL},
	{"fd", QEMU_OWN, NULL},
	{NULL, QEMU_END, NULL},
};

/* Of an address; the rest of one is its family, which its host has. */
#define ADDRESS_KEYS(name)                                                                         \
	{name ".type", QEMU_OWN, NULL}, {name ".host", QEMU_OWN, NULL},                            \
		{name ".port", QEMU_OWN, NULL}, {name ".path", QEMU_OWN, NULL},                    \
		{name ".str", QEMU_OWN, NULL}, {name ".abstract", QEMU_CHOICE, "off"},             \
		{name ".tight", QEMU_IGNORED, NULL}, {name ".ipv4", QEMU_IGNORED, NULL},           \
		{name ".ipv6", QEMU_IGNORED, NULL}, {name ".numeric", QEMU_IGNORED, NULL},         \
	{                                                                                          \
		name ".keep-alive", QEMU_IGNORED, NULL                                             \
	}

static const struct qemu_key stream_keys[] = {
	ADDRESS_KEYS("addr"),
	{"server", QEMU_FLAG, "listen"},
	{"reconnect", QEMU_COPY, "reconnect"},
	{NULL, QEMU_END, NULL},
};

static const struct qemu_key dgram_keys[] = {
	ADDRESS_KEYS("local"),
	ADDRESS_KEYS("remote"),
	{NULL, QEMU_END, NULL},
};

/* --- what each begins with, as --net has it --- */

static int put_user(const struct qemu_words *words, FILE *out)
{
	fputs("user", out);
	return 0;
}

static int put_tap(const struct qemu_words *words, FILE *out)
{
	const char *name = qemu_words_get(words, "ifname");

	if (!name) {
		log_error(
			"%s tap: expected ifname=NAME, of an interface that exists", words->option);
		return -EINVAL;
	}
	fputs("tap=", out);
	qemu_words_put(out, name);
	return 0;
}

static int put_socket(const struct qemu_words *words, FILE *out)
{
	static const struct {
		const char *key, *before, *behind;
	} rows[] = {{"listen", "stream=", ",listen"}, {"connect", "stream=", ""},
		{"mcast", "dgram=", ""}, {"udp", "dgram=", ""}, {"fd", "stream=fd:", ""}};
	const char *local = qemu_words_get(words, "localaddr"), *value;
	unsigned found = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		value = qemu_words_get(words, rows[i].key);
		if (!value || found++)
			continue;
		fputs(rows[i].before, out);
		qemu_words_put(out, value);
		fputs(rows[i].behind, out);
		if (local && strcmp(rows[i].before, "dgram=") == 0) {
			fputs(",local=", out);
			qemu_words_put(out, local);
			local = NULL;
		}
	}
	if (found == 1 && !local &&
		(!qemu_words_get(words, "udp") || qemu_words_get(words, "localaddr")))
		return 0;
	log_error("%s socket: expected one of listen=, connect=, mcast=, udp= and fd=; localaddr= "
		  "with udp=, perhaps with mcast=",
		words->option);
	return -EINVAL;
}

/* The address under `name`, as "unix:PATH", "fd:N" or "HOST:PORT". */
static int put_address(const struct qemu_words *words, const char *name, FILE *out)
{
	const char *part[5];
	static const char *const parts[] = {"type", "host", "port", "path", "str"};
	char key[32];

	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		snprintf(key, sizeof(key), "%s.%s", name, parts[i]);
		part[i] = qemu_words_get(words, key);
	}
	if (part[0] && strcmp(part[0], "unix") == 0 && part[3]) {
		fputs("unix:", out);
		qemu_words_put(out, part[3]);
		return 0;
	}
	if (part[0] && strcmp(part[0], "fd") == 0 && part[4]) {
		fprintf(out, "fd:%s", part[4]);
		return 0;
	}
	if (part[0] && strcmp(part[0], "inet") == 0 && part[1]) {
		bool brackets = strchr(part[1], ':');

		fprintf(out, "%s%s%s", brackets ? "[" : "", part[1], brackets ? "]" : "");
		/* The local end of a group is an interface. */
		if (part[2])
			fprintf(out, ":%s", part[2]);
		return 0;
	}
	log_error("%s: expected %s.type=inet with %s.host= and %s.port=, unix with %s.path=, or fd "
		  "with %s.str=",
		words->option, name, name, name, name, name);
	return -EINVAL;
}

static int put_stream(const struct qemu_words *words, FILE *out)
{
	fputs("stream=", out);
	return put_address(words, "addr", out);
}

static int put_dgram(const struct qemu_words *words, FILE *out)
{
	bool remote = qemu_words_get(words, "remote.type"),
	     local = qemu_words_get(words, "local.type");

	fputs("dgram=", out);
	/* A descriptor is at both ends. */
	if (put_address(words, remote ? "remote" : "local", out) < 0)
		return -EINVAL;
	if (!local || !remote)
		return 0;
	fputs(",local=", out);
	return put_address(words, "local", out);
}

static const struct kind {
	const char *name;
	const struct qemu_key *keys;
	int (*put)(const struct qemu_words *words, FILE *out);
} kinds[] = {
	{"user", user_keys, put_user},
	{"tap", tap_keys, put_tap},
	{"socket", socket_keys, put_socket},
	{"stream", stream_keys, put_stream},
	{"dgram", dgram_keys, put_dgram},
};

/* Of the card, where one option has both. */
static const struct qemu_key common_keys[] = {
	{"id", QEMU_OWN, NULL},
	{"type", QEMU_OWN, NULL},
	{"mac", QEMU_COPY, "mac"},
	{"macaddr", QEMU_COPY, "mac"},
	{"model", QEMU_CHOICE,
		"virtio:model=virtio|virtio-net-pci:model=virtio|e1000:model=e1000|"
		"e1000-82540em:model=e1000"},
	{"name", QEMU_IGNORED, NULL},
	{"netdev", QEMU_OWN, NULL},
	{"addr", QEMU_IGNORED, NULL},
	{"vectors", QEMU_IGNORED, NULL},
	{"vlan", QEMU_CHOICE, "0"},
	{NULL, QEMU_END, NULL},
};

static const struct kind *find_kind(const char *option, const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	log_error("%s %s: expected user, tap, socket, stream or dgram; there is "
		  "'veneer run --net switch=' for a network among machines",
		option, name);
	return NULL;
}

/* "tcp::2222-:22" as --net has it; QEMU takes nothing for tcp, too. */
static void put_forwards(const struct qemu_words *words, FILE *out)
{
	for (unsigned i = 0; i < words->count; i++) {
		const char *key = words->word[i].key, *value = words->word[i].value;

		if (strcmp(key, "hostfwd") != 0 &&
			(strncmp(key, "hostfwd.", 8) != 0 || strstr(key, ".str") == NULL))
			continue;
		fprintf(out, ",hostfwd=%s", *value == ':' ? "tcp" : "");
		qemu_words_put(out, value);
	}
}

static int put_net(const struct qemu_words *words, FILE *out)
{
	const char *type = qemu_words_get(words, "type");
	const struct kind *kind = find_kind(words->option, type ? type : "");

	if (!kind)
		return -EINVAL;
	if (kind->put(words, out) < 0)
		return -EINVAL;
	if (qemu_words_translate(words, kind->keys, common_keys, out) < 0)
		return -EINVAL;
	put_forwards(words, out);
	return 0;
}

/* NULL: there is no room. */
static struct qemu_netdev *free_netdev(struct qemu *qemu)
{
	struct qemu_netdev *netdev = qemu->netdevs;

	while (netdev < qemu->netdevs + qemu->netdev_count && !netdev->gone)
		netdev++;
	return netdev < qemu->netdevs + MACHINE_MAX_NETS ? netdev : NULL;
}

static struct qemu_netdev *find_netdev(struct qemu *qemu, const char *id)
{
	for (unsigned i = 0; i < qemu->netdev_count; i++)
		if (!qemu->netdevs[i].gone && strcmp(qemu->netdevs[i].id, id) == 0)
			return &qemu->netdevs[i];
	return NULL;
}

int qemu_add_netdev(struct qemu *qemu, const char *value)
{
	struct qemu_netdev *netdev = free_netdev(qemu);
	struct qemu_words words;
	const char *id;
	int error = qemu_words_parse(&words, "-netdev", value, "type");

	if (error)
		return error;
	id = qemu_words_get(&words, "id");
	if (!id || !netdev) {
		log_error("-netdev %s: expected id=NAME, and at most %d", value, MACHINE_MAX_NETS);
		error = -EINVAL;
	} else if (find_netdev(qemu, id)) {
		log_error("-netdev: there are two '%s'", id);
		error = -EEXIST;
	} else {
		*netdev = (struct qemu_netdev){.id = qemu_keep_copy(qemu, id),
			.net = qemu_words_text(qemu, &words, put_net)};
		error = netdev->net ? 0 : -EINVAL;
	}
	if (error && netdev)
		netdev->gone = true;
	else if (!error)
		qemu->netdev_count =
			MAX(qemu->netdev_count, (unsigned)(netdev - qemu->netdevs) + 1);
	qemu_words_free(&words);
	return error;
}

int qemu_delete_netdev(struct qemu *qemu, const char *id)
{
	struct qemu_netdev *netdev = find_netdev(qemu, id);

	if (!netdev || netdev->used) {
		log_error(netdev ? "Device '%s' is in use" : "Device '%s' not found", id);
		return netdev ? -EBUSY : -ENOENT;
	}
	qemu_drop(qemu, netdev->id);
	qemu_drop(qemu, netdev->net);
	*netdev = (struct qemu_netdev){.id = "", .used = true, .gone = true};
	return 0;
}

static int use_net(struct qemu *qemu, const char *net, const char *words)
{
	struct machine_config *machine = &qemu->machine;
	struct net_config *config = &machine->nets[machine->net_count];
	char *text;
	int error;

	if (machine->net_count == MACHINE_MAX_NETS) {
		log_error("-device: expected at most %d networks", MACHINE_MAX_NETS);
		return -EINVAL;
	}
	if (asprintf(&text, "%s%s", net, words) < 0)
		return -ENOMEM;
	error = net_config_parse(config, "-netdev", text);
	free(text);
	if (error)
		return error;
	/* Each user network has addresses of its own. */
	for (unsigned i = 0; i < machine->net_count; i++)
		config->number += machine->nets[i].kind == NET_USER;
	config->place = qemu->place;
	machine->net_count++;
	return 0;
}

int qemu_use_netdev(struct qemu *qemu, const char *id, const char *words)
{
	struct qemu_netdev *netdev = find_netdev(qemu, id);

	if (!netdev) {
		log_error("-device: there is no -netdev '%s'", id);
		return -EINVAL;
	}
	if (netdev->used) {
		log_error("-device: two cards use the -netdev '%s'", id);
		return -EINVAL;
	}
	netdev->used = true;
	netdev->device = *qemu->place.id ? qemu_keep_copy(qemu, qemu->place.id) : NULL;
	qemu->used_netdev = netdev;
	return use_net(qemu, netdev->net, words);
}

static const char *default_model(const struct qemu_words *words)
{
	return qemu_words_get(words, "model") ? "" : ",model=e1000";
}

int qemu_add_nic(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	const char *net;
	int error;

	qemu->net_said = true;
	if (strcmp(value, "none") == 0)
		return 0;
	error = qemu_words_parse(&words, "-nic", value, "type");
	if (error)
		return error;
	net = qemu_words_text(qemu, &words, put_net);
	error = net ? use_net(qemu, net, default_model(&words)) : -EINVAL;
	qemu_words_free(&words);
	return error;
}

/* "-net nic,model=virtio -net user,hostfwd=...": a card and what it is plugged into, in two
 * options. */
int qemu_add_net(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	const char *type;
	char *text = NULL;
	size_t size;
	FILE *out;
	int error;

	qemu->net_said = true;
	if (strcmp(value, "none") == 0)
		return 0;
	error = qemu_words_parse(&words, "-net", value, "type");
	if (error)
		return error;
	type = qemu_words_get(&words, "type");
	if (type && strcmp(type, "nic") == 0) {
		out = open_memstream(&text, &size);
		error = out ? qemu_words_translate(&words, common_keys, NULL, out) : -ENOMEM;
		fputs(default_model(&words), out);
		fclose(out);
		qemu->net_nic = qemu_keep(qemu, text);
	} else {
		qemu->net_backend = qemu_words_text(qemu, &words, put_net);
		error = qemu->net_backend ? 0 : -EINVAL;
	}
	qemu_words_free(&words);
	return error;
}

int qemu_finish_nets(struct qemu *qemu)
{
	if (!qemu->net_said && !qemu->no_defaults && !qemu->netdev_count)
		return use_net(qemu, "user", ",model=e1000");
	/* A network without a card is one that no guest sees, and so is a card without one. */
	if (qemu->net_nic && qemu->net_backend)
		return use_net(qemu, qemu->net_backend, qemu->net_nic);
	return 0;
}
