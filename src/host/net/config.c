#include "base/bits.h"
#include "base/log.h"
#include "base/words.h"
#include "host/net/forward.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_QUEUES   8 /* pairs */
#define LONGEST_NAME 32
#define LONGEST_FILE 127

/* --- forwards --- */

/* "ADDR:PORT", the address may be empty: 0. */
static bool parse_end(const char *text, size_t length, uint32_t *address, uint16_t *port)
{
	const char *colon = memchr(text, ':', length);
	char host[INET_ADDRSTRLEN], *end;
	unsigned long number;
	struct in_addr parsed = {0};
	size_t host_length;

	if (!colon)
		return false;
	host_length = (size_t)(colon - text);
	if (host_length >= sizeof(host))
		return false;
	memcpy(host, text, host_length);
	host[host_length] = 0;
	if (host_length && inet_pton(AF_INET, host, &parsed) != 1)
		return false;
	if (colon[1] < '0' || colon[1] > '9')
		return false;
	number = strtoul(colon + 1, &end, 10);
	if (end != text + length || !number || number > UINT16_MAX)
		return false;
	*address = parsed.s_addr;
	*port = (uint16_t)number;
	return true;
}

int net_forward_parse(struct net_forward *forward, const char *option, const char *value)
{
	const char *ends = value + 4, *dash = strchr(value, '-');

	*forward = (struct net_forward){.udp = strncmp(value, "udp:", 4) == 0};
	if ((forward->udp || strncmp(value, "tcp:", 4) == 0) && dash && dash > ends &&
		parse_end(
			ends, (size_t)(dash - ends), &forward->host_address, &forward->host_port) &&
		parse_end(
			dash + 1, strlen(dash + 1), &forward->guest_address, &forward->guest_port))
		return 0;
	log_error("%s%s: expected tcp:ADDRESS:PORT-ADDRESS:PORT, the host's and then the guest's, "
		  "or udp:...; an IPv4 address may be left out: tcp:127.0.0.1:2222-:22",
		option, value);
	return -EINVAL;
}

void net_forward_text(const struct net_forward *forward, char *text)
{
	char host[INET_ADDRSTRLEN], guest[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &forward->host_address, host, sizeof(host));
	inet_ntop(AF_INET, &forward->guest_address, guest, sizeof(guest));
	snprintf(text, NET_FORWARD_TEXT, "%s:%s:%u-%s:%u", forward->udp ? "udp" : "tcp", host,
		forward->host_port, guest, forward->guest_port);
}

/* --- the words of --net --- */

static int take_forward(void *settings, const char *option, const char *value)
{
	struct net_config *config = settings;

	if (config->forward_count == NET_MAX_FORWARDS) {
		log_error("%s%s: too many forwards: at most %d", option, value, NET_MAX_FORWARDS);
		return -EINVAL;
	}
	return net_forward_parse(&config->forward[config->forward_count++], option, value);
}

static int take_restrict(void *settings, const char *option, const char *value)
{
	struct net_config *config = settings;

	config->restricted = strcmp(value, "on") == 0;
	if (config->restricted || strcmp(value, "off") == 0)
		return 0;
	log_error("%s%s: expected on or off", option, value);
	return -EINVAL;
}

/* A name that DHCP has so much room for. It goes on to the helper's command line. */
static int take_text(const char *option, const char *value, size_t longest, char **text)
{
	size_t length = strlen(value), i = 0;

	while (i < length && isgraph((unsigned char)value[i]))
		i++;
	if (!length || length > longest || i < length) {
		log_error("%s%s: expected up to %zu printable characters", option, value, longest);
		return -EINVAL;
	}
	free(*text);
	*text = strdup(value);
	return *text ? 0 : -ENOMEM;
}

static int take_host_name(void *settings, const char *option, const char *value)
{
	return take_text(option, value, LONGEST_NAME, &((struct net_config *)settings)->host_name);
}

static int take_domain_name(void *settings, const char *option, const char *value)
{
	return take_text(
		option, value, LONGEST_NAME, &((struct net_config *)settings)->domain_name);
}

static int take_search(void *settings, const char *option, const char *value)
{
	struct net_config *config = settings;

	if (config->search_count == NET_MAX_SEARCH) {
		log_error("%s%s: too many: at most %d", option, value, NET_MAX_SEARCH);
		return -EINVAL;
	}
	return take_text(option, value, LONGEST_NAME, &config->search[config->search_count++]);
}

static int take_boot_file(void *settings, const char *option, const char *value)
{
	return take_text(option, value, LONGEST_FILE, &((struct net_config *)settings)->boot_file);
}

static int take_tftp(void *settings, const char *option, const char *value)
{
	struct net_config *config = settings;

	if (!*value) {
		log_error("%s: expected a directory", option);
		return -EINVAL;
	}
	free(config->tftp);
	config->tftp = strdup(value);
	return config->tftp ? 0 : -ENOMEM;
}

static int take_queues(void *settings, const char *option, const char *value)
{
	struct net_config *config = settings;
	uint64_t queues;
	int error = words_number(option, value, "a number of queue pairs", 1, MAX_QUEUES, &queues);

	config->queues = (unsigned)queues;
	return error;
}

static int take_mac(void *settings, const char *option, const char *value)
{
	struct net_config *config = settings;
	uint8_t *mac = config->mac;
	int end = 0;

	if (sscanf(value, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
		    &mac[3], &mac[4], &mac[5], &end) == 6 &&
		end == 17 && !value[end] && !(mac[0] & 1) &&
		memcmp(mac, (const uint8_t[6]){0}, 6) != 0)
		return 0;
	log_error("%s%s: expected an address of one station, such as 52:54:00:12:34:56", option,
		value);
	return -EINVAL;
}

static int take_port(void *settings, const char *option, const char *value)
{
	((struct net_config *)settings)->port = true;
	return 0;
}

static int take_boot_index(void *settings, const char *option, const char *value)
{
	uint64_t index = 0;
	int error = words_number(option, value, "a place in the order", 0, 9999, &index);

	((struct net_config *)settings)->boot_index = (unsigned)index + 1;
	return error;
}

static int take_model(void *settings, const char *option, const char *value)
{
	struct net_config *config = settings;

	config->model = strcmp(value, "e1000") == 0 ? NET_E1000 : NET_VIRTIO;
	if (config->model == NET_E1000 || strcmp(value, "virtio") == 0)
		return 0;
	log_error("%s%s: expected virtio or e1000", option, value);
	return -EINVAL;
}

static int take_listen(void *settings, const char *option, const char *value)
{
	((struct net_config *)settings)->listens = true;
	return 0;
}

static int take_reconnect(void *settings, const char *option, const char *value)
{
	return words_number(
		option, value, "seconds", 0, 3600, &((struct net_config *)settings)->reconnect);
}

static int take_local(void *settings, const char *option, const char *value)
{
	struct net_config *config = settings;

	free(config->local);
	config->local = strdup(value);
	return config->local ? 0 : -ENOMEM;
}

/* clang-format off */
#define CARD_ROWS \
	{"mac=XX:XX:XX:XX:XX:XX", take_mac}, {"model=virtio", take_model}, {"port", take_port}, \
	{"bootindex=N", take_boot_index}
/* clang-format on */
static const struct words_row user_words[] = {{"hostfwd=tcp:ADDR:PORT-ADDR:PORT...", take_forward},
	{"restrict=on", take_restrict}, {"hostname=NAME", take_host_name},
	{"domainname=NAME", take_domain_name}, {"dnssearch=NAME...", take_search},
	{"tftp=DIR", take_tftp}, {"bootfile=NAME", take_boot_file}, CARD_ROWS, {0}};
static const struct words_row tap_words[] = {{"queues=N", take_queues}, CARD_ROWS, {0}};
static const struct words_row stream_words[] = {
	{"listen", take_listen}, {"reconnect=SECONDS", take_reconnect}, CARD_ROWS, {0}};
static const struct words_row dgram_words[] = {{"local=ADDR", take_local}, CARD_ROWS, {0}};
static const struct words_row card_words[] = {CARD_ROWS, {0}};

static const struct kind {
	const char *word; /* up to "=" */
	const char *what; /* its value is; NULL: it has none */
	size_t longest;
	const struct words_row *words;
} kinds[] = {
	[NET_USER] = {"user", NULL, 0, user_words},
	[NET_TAP] = {"tap", "an interface's name", IFNAMSIZ - 1, tap_words},
	[NET_SWITCH] = {"switch", "a directory's path", 4000, card_words},
	[NET_STREAM] = {"stream", "HOST:PORT, unix:PATH or fd:N", 4000, stream_words},
	[NET_DGRAM] = {"dgram", "HOST:PORT, unix:PATH or fd:N", 4000, dgram_words},
	[NET_NONE] = {"none", NULL, 0, card_words},
};

static const struct kind *find_kind(const char *word)
{
	size_t length = strcspn(word, "=");

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strlen(kinds[i].word) == length && strncmp(kinds[i].word, word, length) == 0)
			return &kinds[i];
	return NULL;
}

static int parse_kind(struct net_config *config, const char *option, const char *word)
{
	const struct kind *kind = find_kind(word);
	const char *equals = strchr(word, '=');

	if (!kind || (equals && !kind->what)) {
		log_error("%s %s: expected user, tap=NAME, switch=DIRECTORY, "
			  "stream=ADDRESS, dgram=ADDRESS or none",
			option, word);
		return -EINVAL;
	}
	config->kind = (enum net_kind)(kind - kinds);
	if (!kind->what)
		return 0;
	if (!equals || !equals[1] || strlen(equals + 1) > kind->longest) {
		log_error("%s %s: expected %s, of up to %zu characters: %s=...", option, word,
			kind->what, kind->longest, kind->word);
		return -EINVAL;
	}
	config->name = strdup(equals + 1);
	if (config->name)
		return 0;
	log_error("%s %s: out of memory", option, word);
	return -ENOMEM;
}

int net_config_parse(struct net_config *config, const char *option, const char *value)
{
	char *copy = strdup(value), *rest = copy, *word;
	int error;

	*config = (struct net_config){.queues = 1};
	if (!copy) {
		log_error("%s: out of memory", option);
		return -ENOMEM;
	}
	word = words_take(&rest);
	error = parse_kind(config, option, word ? word : "");
	if (!error)
		error = words_parse(option, &rest, kinds[config->kind].words, config);
	if (error)
		net_config_free(config);
	free(copy);
	return error;
}

void net_config_free(struct net_config *config)
{
	free(config->name);
	free(config->local);
	free(config->host_name);
	free(config->domain_name);
	for (unsigned i = 0; i < NET_MAX_SEARCH; i++)
		free(config->search[i]);
	free(config->boot_file);
	free(config->tftp);
	*config = (struct net_config){.kind = NET_NONE};
}
