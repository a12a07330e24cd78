/* Fuzzes the parsers of options whose values are lists of words; the first byte says which. */
#include "device/virtio/console.h"
#include "host/disk/disk.h"
#include "host/net/forward.h"
#include "host/share/config.h"
#include "machine/smbios.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void require(bool truth)
{
	if (!truth)
		abort();
}

static void fuzz_disk(const char *text)
{
	struct disk_config config;

	if (disk_config_parse(&config, "--disk", text) < 0) {
		require(!config.path);
		return;
	}
	require(config.path[0] && strlen(config.serial) <= 20 && strlen(config.format) < 16);
	require(config.offset % DISK_SECTOR == 0 && config.size % DISK_SECTOR == 0);
	require(config.offset + config.size >= config.offset);
	free(config.path);
}

static void fuzz_net(const char *text)
{
	struct net_config config;

	if (net_config_parse(&config, "--net", text) < 0)
		return;
	require(config.queues >= 1 && config.forward_count <= NET_MAX_FORWARDS &&
		config.search_count <= NET_MAX_SEARCH && !(config.mac[0] & 1));
	net_config_free(&config);
}

/* What is understood is understood again from how it is written for the helper. */
static void fuzz_forward(const char *text)
{
	struct net_forward forward, again;
	char written[NET_FORWARD_TEXT];

	if (net_forward_parse(&forward, "", text) < 0)
		return;
	net_forward_text(&forward, written);
	require(net_forward_parse(&again, "", written) == 0 && again.udp == forward.udp &&
		again.host_address == forward.host_address &&
		again.host_port == forward.host_port &&
		again.guest_address == forward.guest_address &&
		again.guest_port == forward.guest_port);
}

static void fuzz_console(const char *text)
{
	struct console_port_config config = {0};
	struct char_config chardev = {0};

	if (console_port_config_parse(&config, &chardev, "--console-port", text) < 0)
		return;
	require(config.name[0] && strlen(config.name) <= CONSOLE_MAX_NAME && chardev.path[0]);
}

static void fuzz_share(const char *text)
{
	struct share_config config;

	if (share_config_parse(&config, "--share", text) < 0) {
		require(!config.path);
		return;
	}
	require(config.path[0] && strlen(config.tag) <= SHARE_TAG_MAX);
	share_config_free(&config);
}

static void fuzz_smbios(const char *text)
{
	struct smbios_config config = {0};

	smbios_config_parse(&config, "--smbios", text);
	smbios_config_free(&config);
}

static void fuzz_credential(const char *text)
{
	struct smbios_config config = {0};

	smbios_config_credential(&config, "--credential", text);
	smbios_config_free(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const parsers[])(const char *text) = {fuzz_disk, fuzz_net, fuzz_forward,
		fuzz_console, fuzz_smbios, fuzz_credential, fuzz_share};
	char *text;

	if (!size)
		return 0;
	/* Just as large as it is, so that a reader past its end is seen. */
	text = strndup((const char *)data + 1, size - 1);
	parsers[*data % (sizeof(parsers) / sizeof(parsers[0]))](text);
	free(text);
	return 0;
}
