/* The table of QEMU's options: one row each, so that a reader sees what there is. */
#include "cli/qemu.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>

typedef int (*set_option)(struct qemu *qemu, const char *value);

static int set_kernel(struct qemu *qemu, const char *value)
{
	qemu->machine.kernel_path = value;
	return 0;
}

static int set_initrd(struct qemu *qemu, const char *value)
{
	qemu->machine.initrd_path = value;
	return 0;
}

static int set_append(struct qemu *qemu, const char *value)
{
	qemu->machine.cmdline = value;
	return 0;
}

static int set_bios(struct qemu *qemu, const char *value)
{
	qemu->machine.firmware.path = value;
	return 0;
}

static int set_option_rom(struct qemu *qemu, const char *value)
{
	struct firmware_config *firmware = &qemu->machine.firmware;

	if (firmware->option_rom_count == FIRMWARE_MAX_ROMS) {
		log_error("-option-rom %s: expected at most %u ROMs", value, FIRMWARE_MAX_ROMS);
		return -EINVAL;
	}
	firmware->option_rom[firmware->option_rom_count++] = value;
	return 0;
}

static int set_enable_kvm(struct qemu *qemu, const char *value)
{
	return qemu_set_accelerator(qemu, "kvm");
}

static int set_no_defaults(struct qemu *qemu, const char *value)
{
	qemu->no_defaults = true;
	return 0;
}

static int set_no_graphic(struct qemu *qemu, const char *value)
{
	qemu->no_graphic = true;
	return 0;
}

static int set_no_reboot(struct qemu *qemu, const char *value)
{
	qemu->machine.reboot = false;
	return 0;
}

static int set_no_shutdown(struct qemu *qemu, const char *value)
{
	qemu->machine.actions.stays = true;
	return 0;
}

static int set_watchdog_action(struct qemu *qemu, const char *value)
{
	return qemu_set_watchdog_action(qemu, "-watchdog-action", value);
}

static int set_watchdog(struct qemu *qemu, const char *value)
{
	return qemu_add_device(qemu, value);
}

static int set_log_path(struct qemu *qemu, const char *value)
{
	qemu->log_path = value;
	return 0;
}

static int set_snapshot(struct qemu *qemu, const char *value)
{
	qemu->snapshot = true;
	return 0;
}

static int set_daemonize(struct qemu *qemu, const char *value)
{
	qemu->daemonize = true;
	return 0;
}

static int set_paused(struct qemu *qemu, const char *value)
{
	qemu->paused = true;
	return 0;
}

static int set_gdb(struct qemu *qemu, const char *value)
{
	return gdb_config_parse(&qemu->gdb, "-gdb", value);
}

static int set_default_gdb(struct qemu *qemu, const char *value)
{
	return set_gdb(qemu, "tcp::1234");
}

static int set_pidfile(struct qemu *qemu, const char *value)
{
	qemu->pidfile = value;
	return 0;
}

static int set_uuid(struct qemu *qemu, const char *value)
{
	char words[80];

	qemu->about.uuid = value;
	snprintf(words, sizeof(words), "type=1,uuid=%s", value);
	return smbios_config_parse(&qemu->machine.smbios, "-uuid", words);
}

static int set_name(struct qemu *qemu, const char *value)
{
	static const struct qemu_key keys[] = {{"guest", QEMU_OWN, NULL},
		{"process", QEMU_IGNORED, NULL}, {"debug-threads", QEMU_IGNORED, NULL},
		{NULL, QEMU_END, NULL}};
	struct qemu_words words;
	int error = qemu_words_parse(&words, "-name", value, "guest");

	if (error)
		return error;
	error = qemu_words_translate(&words, keys, NULL, NULL);
	if (!error && qemu_words_get(&words, "guest"))
		qemu->about.name = qemu_keep_copy(qemu, qemu_words_get(&words, "guest"));
	qemu_words_free(&words);
	return error;
}

static int set_smbios(struct qemu *qemu, const char *value)
{
	return smbios_config_parse(&qemu->machine.smbios, "-smbios", value);
}

static int set_vga(struct qemu *qemu, const char *value)
{
	qemu->vga = value;
	if (strcmp(value, "none") == 0 || strcmp(value, "std") == 0)
		return 0;
	log_error("-vga %s: expected std or none", value);
	return -EINVAL;
}

/* --- the screen --- */

static int set_vnc(struct qemu *qemu, const char *value)
{
	char words[DISPLAY_ADDRESS + 16];
	size_t length = strcspn(value, ",");
	const char *address = value;

	qemu->display_said = true;
	if (strcmp(value, "none") == 0)
		return 0;
	if (strncmp(address, "unix:", 5) == 0)
		address += 5;
	/* ":1" is a display at any address; here as with others, it is at this host's own. */
	snprintf(words, sizeof(words), "vnc=%s%.*s", *address == ':' ? "127.0.0.1" : "",
		(int)(length - (size_t)(address - value)), address);
	return display_config_parse(&qemu->machine.display, "-vnc", words);
}

static int set_display(struct qemu *qemu, const char *value)
{
	size_t length = strcspn(value, ",");

	qemu->display_said = true;
	if (strncmp(value, "vnc=", 4) == 0)
		return set_vnc(qemu, value + 4);
	if (length == 4 && strncmp(value, "none", 4) == 0)
		return 0;
	if (strcmp(value, "curses") == 0)
		return display_config_parse(&qemu->machine.display, "-display", "text");
	log_error("-display %s: expected none, curses or vnc=HOST:N", value);
	return -EINVAL;
}

/* --- serial ports and monitors --- */

static int add_monitor(
	struct qemu *qemu, const char *option, struct qemu_chardev *chardev, bool control)
{
	if (qemu->monitor_count == QEMU_MAX_MONITORS) {
		log_error("%s: expected at most %d", option, QEMU_MAX_MONITORS);
		return -EINVAL;
	}
	qemu->monitors[qemu->monitor_count++] = (struct qemu_monitor){chardev, control};
	return 0;
}

int qemu_add_serial(struct qemu *qemu, const char *value)
{
	struct qemu_chardev **chardev = &qemu->serials[qemu->serial_count];

	if (qemu->serial_count == QEMU_MAX_SERIALS) {
		log_error("-serial %s: expected at most %d", value, QEMU_MAX_SERIALS);
		return -EINVAL;
	}
	if (qemu_parse_chardev(qemu, "-serial", "serial", value, chardev) < 0)
		return -EINVAL;
	qemu->serial_count++;
	if (strncmp(value, "mon:", 4) != 0)
		return 0;
	qemu->monitor_said = true;
	return add_monitor(qemu, "-serial", *chardev, false);
}

static int set_serial(struct qemu *qemu, const char *value)
{
	qemu->serial_said = true;
	return qemu_add_serial(qemu, value);
}

static int set_parallel(struct qemu *qemu, const char *value)
{
	qemu->parallel_said = true;
	return qemu_parse_chardev(qemu, "-parallel", "parallel", value, &qemu->parallel);
}

int qemu_add_monitor(struct qemu *qemu, const char *option, const char *value, bool control)
{
	struct qemu_chardev *chardev;

	if (qemu_parse_chardev(qemu, option, "compat_monitor", value, &chardev) < 0)
		return -EINVAL;
	return chardev ? add_monitor(qemu, option, chardev, control) : 0;
}

static int set_monitor(struct qemu *qemu, const char *value)
{
	qemu->monitor_said = true;
	return qemu_add_monitor(qemu, "-monitor", value, false);
}

static int set_qmp(struct qemu *qemu, const char *value)
{
	qemu->monitor_said = true;
	return qemu_add_monitor(qemu, "-qmp", value, true);
}

static int set_mon(struct qemu *qemu, const char *value)
{
	static const struct qemu_key keys[] = {{"chardev", QEMU_OWN, NULL},
		{"mode", QEMU_CHOICE, "control|readline"}, {"id", QEMU_IGNORED, NULL},
		{"pretty", QEMU_IGNORED, NULL}, {NULL, QEMU_END, NULL}};
	struct qemu_chardev *chardev = NULL;
	struct qemu_words words;
	const char *mode, *id;
	int error = qemu_words_parse(&words, "-mon", value, "chardev");

	if (error)
		return error;
	qemu->monitor_said = true;
	mode = qemu_words_get(&words, "mode");
	id = qemu_words_get(&words, "chardev");
	if (qemu_words_translate(&words, keys, NULL, NULL) < 0 ||
		!(chardev = qemu_find_chardev(qemu, "-mon", id ? id : "")))
		error = -EINVAL;
	else
		error = add_monitor(qemu, "-mon", chardev, mode && strcmp(mode, "control") == 0);
	qemu_words_free(&words);
	return error;
}

/* --- images --- */

static int set_hard_disk(struct qemu *qemu, const char *value)
{
	return qemu_add_image(qemu, value, "if=ide,media=disk");
}

static int set_cdrom(struct qemu *qemu, const char *value)
{
	return qemu_add_image(qemu, value, "if=ide,media=cdrom,readonly=on");
}

static int set_floppy(struct qemu *qemu, const char *value)
{
	return qemu_add_image(qemu, value, "if=floppy");
}

static int set_pflash(struct qemu *qemu, const char *value)
{
	return qemu_add_image(qemu, value, "if=pflash");
}

/* --- the rest --- */

static int take_fw_cfg(struct qemu *qemu, const struct qemu_words *words)
{
	static const struct qemu_key keys[] = {{"name", QEMU_OWN, NULL}, {"file", QEMU_OWN, NULL},
		{"string", QEMU_OWN, NULL}, {NULL, QEMU_END, NULL}};
	struct firmware_config *firmware = &qemu->machine.firmware;
	const char *name = qemu_words_get(words, "name"), *file = qemu_words_get(words, "file"),
		   *string = qemu_words_get(words, "string");

	if (qemu_words_translate(words, keys, NULL, NULL) < 0)
		return -EINVAL;
	if (!name || !file == !string || firmware->file_count == FIRMWARE_MAX_FILES) {
		log_error("-fw_cfg: expected name=NAME, and file=FILE or string=TEXT; at most %d",
			FIRMWARE_MAX_FILES);
		return -EINVAL;
	}
	firmware->file[firmware->file_count++] =
		(struct firmware_file){.name = qemu_keep_copy(qemu, name),
			.path = file ? qemu_keep_copy(qemu, file) : NULL,
			.text = string ? qemu_keep_copy(qemu, string) : NULL};
	return 0;
}

static int add_fw_cfg(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	int error = qemu_words_parse(&words, "-fw_cfg", value, "name");

	if (error)
		return error;
	error = take_fw_cfg(qemu, &words);
	qemu_words_free(&words);
	return error;
}

static int set_memory_file(struct qemu *qemu, const char *value)
{
	qemu->memory_file = value;
	return 0;
}

static int set_memory_allocated(struct qemu *qemu, const char *value)
{
	qemu->machine.memory_allocated = true;
	return 0;
}

static int list_help(struct qemu *qemu, const char *value)
{
	qemu->list = qemu_list_options;
	return 0;
}

static int list_version(struct qemu *qemu, const char *value)
{
	qemu->list = qemu_list_version;
	return 0;
}

static const struct option {
	const char *name, *argument; /* argument NULL: it has none */
	const char *help;            /* as -help has it; NULL: it changes nothing here */
	set_option set;              /* NULL: it changes nothing here */
} options[] = {
	{"h", NULL, NULL, list_help},
	{"help", NULL, "display this help", list_help},
	{"version", NULL, "display the version", list_version},
	{"machine", "[type=]NAME[,accel=NAME...]", "pc, q35 or none; '-machine help' lists them",
		qemu_set_machine},
	{"M", "NAME", NULL, qemu_set_machine},
	{"accel", "NAME", "kvm (the fastest engine) or tcg (the translator)", qemu_set_accelerator},
	{"enable-kvm", NULL, "as -accel kvm", set_enable_kvm},
	{"cpu", "MODEL[,+FEATURE][,-FEATURE]", "'-cpu help' lists models and features",
		qemu_set_cpu},
	{"smp", "[cpus=]N", "number of processors", qemu_set_smp},
	{"m", "[size=]N[MG]", "memory, in MiB where no unit is said", qemu_set_memory},
	{"boot", "[order=]LETTERS[,menu=on]", "what firmware tries", qemu_set_boot},
	{"bios", "FILE", "boot by the firmware in FILE", set_bios},
	{"pflash", "FILE", "likewise", set_pflash},
	{"option-rom", "FILE", "a ROM that firmware runs", set_option_rom},
	{"kernel", "FILE", "the kernel", set_kernel},
	{"initrd", "FILE", "initial RAM disk, or multiboot module", set_initrd},
	{"append", "STRING", "kernel command line", set_append},
	{"drive", "[file=FILE][,if=TYPE][,id=ID]...", "a disk", qemu_add_drive},
	{"blockdev", "[driver=]DRIVER,node-name=NAME...", "a disk's contents", qemu_add_blockdev},
	{"hda", "FILE", "a disk", set_hard_disk},
	{"hdb", "FILE", "a disk", set_hard_disk},
	{"hdc", "FILE", "a disk", set_hard_disk},
	{"hdd", "FILE", "a disk", set_hard_disk},
	{"cdrom", "FILE", "a CD-ROM", set_cdrom},
	{"fda", "FILE", "a floppy", set_floppy},
	{"fdb", "FILE", "a floppy", set_floppy},
	{"snapshot", NULL, "forget what is written to disks", set_snapshot},
	{"device", "MODEL[,KEY=VALUE]...", "a device; '-device help' lists them", qemu_add_device},
	{"netdev", "user|tap|socket|stream|dgram,id=ID[,KEY=VALUE]...", "a network for a -device",
		qemu_add_netdev},
	{"nic", "user|tap|socket|...|none[,model=MODEL]", "a network and its card", qemu_add_nic},
	{"net", "nic|user|tap|none", "likewise, in two options", qemu_add_net},
	{"virtfs", "local,path=DIR,mount_tag=TAG,security_model=MODEL[,readonly=on]",
		"a directory that the guest can mount by 9P", qemu_add_virtfs},
	{"fsdev", "local,id=ID,path=DIR,security_model=MODEL[,readonly=on]",
		"likewise, for a -device", qemu_add_fsdev},
	{"chardev", "BACKEND,id=ID[,KEY=VALUE]...", "a far end of serial lines and monitors",
		qemu_add_chardev},
	{"serial", "DEV", "where the first, second... serial port goes", set_serial},
	{"parallel", "DEV", "where the printer's output goes", set_parallel},
	{"monitor", "DEV", "where the monitor is", set_monitor},
	{"qmp", "DEV", "where QMP is spoken", set_qmp},
	{"mon", "[chardev=]ID[,mode=control]", "likewise", set_mon},
	{"display", "none|curses|vnc=HOST:N", "who shows the screen", set_display},
	{"vnc", "HOST:N|unix:PATH|none", "show the screen by VNC", set_vnc},
	{"vga", "std|none", "the machine's VGA", set_vga},
	{"nographic", NULL, "no screen; serial port and monitor on standard input and output",
		set_no_graphic},
	{"nodefaults", NULL, "no devices but those that are said", set_no_defaults},
	{"no-reboot", NULL, "exit where the guest resets the machine", set_no_reboot},
	{"no-shutdown", NULL, "pause, and do not exit, where the guest switches the machine off",
		set_no_shutdown},
	{"rtc", "[base=utc|localtime|DATE][,clock=host|vm]", "what the guest's clock shows",
		qemu_set_rtc},
	{"action", "reboot|shutdown|panic|watchdog=ACTION...",
		"what to do where the guest does that; 'pause' and others", qemu_set_actions},
	{"watchdog-action", "ACTION", "reset, shutdown, poweroff, pause, debug, none or inject-nmi",
		set_watchdog_action},
	{"watchdog", "i6300esb", "a watchdog", set_watchdog},
	{"S", NULL, "do not start the processors", set_paused},
	{"gdb", "tcp:HOST:PORT|unix:PATH", "listen for gdb", set_gdb},
	{"s", NULL, "as -gdb tcp::1234", set_default_gdb},
	{"pidfile", "FILE", "write our process number to FILE", set_pidfile},
	{"daemonize", NULL, "go on in the background", set_daemonize},
	{"name", "[guest=]NAME", "the machine's", set_name},
	{"uuid", "UUID", "the machine's", set_uuid},
	{"smbios", "type=N[,FIELD=VALUE]...", "names that the machine bears", set_smbios},
	{"fw_cfg", "[name=]NAME,file=FILE|string=TEXT", "a file for firmware and the guest",
		add_fw_cfg},
	{"add-fd", "set=N,fd=N", "a descriptor for paths /dev/fdset/N", qemu_add_fd},
	{"object", "TYPE[,KEY=VALUE]...", "what other options refer to", qemu_add_object},
	{"mem-path", "FILE", "a file system for memory, which is in no file here", set_memory_file},
	{"mem-prealloc", NULL, "have the host allocate all memory now", set_memory_allocated},
	{"no-user-config", NULL, NULL, NULL},
	{"no-hpet", NULL, NULL, NULL},
	{"no-acpi", NULL, NULL, NULL},
	{"no-fd-bootchk", NULL, NULL, NULL},
	{"global", "DRIVER.PROPERTY=VALUE", NULL, NULL},
	{"msg", "[timestamp=on]", NULL, NULL},
	{"L", "DIRECTORY", NULL, NULL},
	{"k", "LANGUAGE", NULL, NULL},
	{"sandbox", "on|off", NULL, NULL},
	{"overcommit", "[mem-lock=off]", NULL, NULL},
	{"numa", "node...", NULL, NULL},
	{"audiodev", "[driver=]none,id=ID", NULL, NULL},
	{"audio", "[driver=]none", NULL, NULL},
	{"d", "ITEM[,ITEM]...",
		"what to log: of in_asm and the like -D's file gets the translations",
		qemu_set_log},
	{"D", "FILE", "where to log to", set_log_path},
	{"compat", "[deprecated-input=...]", NULL, NULL},
	{"nouserconfig", NULL, NULL, NULL},
};

/* A dash or two. */
static const struct option *find_option(const char *word)
{
	word += word[1] == '-' ? 2 : 1;
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		if (strcmp(options[i].name, word) == 0)
			return &options[i];
	return NULL;
}

/* -serial and -mon may name a character device that comes later, so these are made in a round of
 * their own. It ends where an option is wrong, which the other one says. */
enum round { ROUND_CHARDEVS, ROUND_OTHERS };

/* A character device may be in a file of -add-fd. */
static bool comes_first(const struct option *option)
{
	return option->set == qemu_add_chardev || option->set == qemu_add_fd;
}

static int parse_one(struct qemu *qemu, enum round round, int argc, char **argv, int *i)
{
	const char *word = argv[*i], *value = NULL;
	const struct option *option;

	if (*word != '-' || !word[1])
		return round == ROUND_OTHERS ? set_hard_disk(qemu, word) : 0;
	option = find_option(word);
	if (round == ROUND_CHARDEVS && (!option || (option->argument && *i + 1 == argc))) {
		*i = argc;
		return 0;
	}
	if (!option) {
		log_error("%s: invalid option", word);
		return -EINVAL;
	}
	if (option->argument) {
		if (*i + 1 == argc) {
			log_error("%s: requires an argument", word);
			return -EINVAL;
		}
		value = argv[++*i];
	}
	if (!option->set || comes_first(option) != (round == ROUND_CHARDEVS))
		return 0;
	return option->set(qemu, value);
}

int qemu_parse(struct qemu *qemu, int argc, char **argv)
{
	int error = 0;

	for (enum round round = ROUND_CHARDEVS; round <= ROUND_OTHERS; round++)
		for (int i = 1; !error && !qemu->list && i < argc; i++)
			error = parse_one(qemu, round, argc, argv, &i);
	return error;
}

void qemu_list_options(void)
{
	qemu_list_version();
	puts("usage: qemu-system-x86_64 [options] [disk_image]\n");
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *option = &options[i];

		if (option->help || !option->set)
			printf("-%s%s%s\n                %s\n", option->name,
				option->argument ? " " : "",
				option->argument ? option->argument : "",
				option->help ? option->help : "accepted; changes nothing here");
	}
}
