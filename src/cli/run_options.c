/* The options of 'veneer run', a row each at the end: what one says is put into the settings, and
 * checked as far as it can be alone. What depends on several is run.c's. */
#include "cli/run_options.h"

#include "base/log.h"
#include "base/words.h"
#include "cli/chardev.h"
#include "host/cloud_init.h"
#include "machine/action.h"

#include <errno.h>
#include <string.h>

#define MAX_CONSOLE_PORTS 7

/* A word that is not an option: --disk's argument, whose file begins with no dash. */
static int set_boot_disk(void *opaque, const char *value)
{
	struct run_settings *settings = opaque;

	if (settings->disk.path) {
		log_error("run: two disks to boot from, '%s' and '%s'; expected one, and --disk "
			  "for others",
			settings->disk.path, value);
		return -EINVAL;
	}
	return disk_config_parse(&settings->disk, "run", value);
}

static int set_kernel(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->machine.kernel_path = value;
	return 0;
}

static int set_initrd(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->machine.initrd_path = value;
	return 0;
}

static int set_append(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->machine.cmdline = value;
	return 0;
}

static int set_memory(void *opaque, const char *value)
{
	struct run_settings *settings = opaque;

	return words_size("--memory", value, MACHINE_MIN_MEMORY, MACHINE_MAX_MEMORY, 4 * KIB,
		&settings->machine.memory_size);
}

static int set_cpus(void *opaque, const char *value)
{
	struct run_settings *settings = opaque;
	uint64_t count = 0;
	int error;

	error = words_number(
		"--cpus", value, "a number of processors", 1, MACHINE_MAX_CPUS, &count);
	settings->machine.cpu_count = (unsigned)count;
	return error;
}

static int set_cpu(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->machine.cpu = value;
	return cpu_model_check(value);
}

static int set_engine(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->engine_name = value;
	return 0;
}

static int set_hardened(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->machine.engine_options.hardened = true;
	return 0;
}

static int set_shadow(void *opaque, const char *value)
{
	struct run_settings *settings = opaque;

	settings->shadow = true;
	settings->machine.engine_options.traced = strcmp(value, "traced") == 0;
	if (settings->machine.engine_options.traced || strcmp(value, "hidden") == 0)
		return 0;
	log_error("--shadow %s: expected hidden or traced", value);
	return -EINVAL;
}

static int set_verify(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->machine.engine_options.verify = true;
	return 0;
}

static int set_trace(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->machine.engine_options.trace = value;
	return 0;
}

static int set_bt_test(void *opaque, const char *value)
{
	struct run_settings *settings = opaque;

	if (engine_options_test(&settings->machine.engine_options, value) == 0) {
		settings->bt_test = true;
		return 0;
	}
	log_error("--bt-test %s: expected words of hot, predict, no-bmi2, no-fsgsbase, no-avx, "
		  "no-avx512, no-homes, no-room, separated by commas",
		value);
	return -EINVAL;
}

static int set_debug_exit(void *opaque, const char *value)
{
	struct run_settings *settings = opaque;
	uint64_t port = 0;
	int error;

	error = words_number("--debug-exit", value, "an I/O port", 1, 0xfffc, &port);
	settings->machine.debug_exit_port = (uint16_t)port;
	return error;
}

static int set_disk(void *opaque, const char *value)
{
	struct machine_config *machine = &((struct run_settings *)opaque)->machine;
	int error;

	if (machine->disk_count == MACHINE_MAX_DISKS) {
		log_error("--disk %s: expected at most %u disks", value, MACHINE_MAX_DISKS);
		return -EINVAL;
	}
	error = disk_config_parse(&machine->disks[machine->disk_count], "--disk", value);
	if (!error)
		machine->disk_count++;
	return error;
}

/* A disk of the machine's as well, which it only reads. */
static int set_cdrom(void *opaque, const char *value)
{
	struct machine_config *machine = &((struct run_settings *)opaque)->machine;
	int error;

	if (machine->disk_count == MACHINE_MAX_DISKS) {
		log_error("--cdrom %s: expected at most %u disks and CD-ROMs", value,
			MACHINE_MAX_DISKS);
		return -EINVAL;
	}
	error = disk_config_parse_cdrom(&machine->disks[machine->disk_count], "--cdrom", value);
	if (!error)
		machine->disk_count++;
	return error;
}

static int set_floppy(void *opaque, const char *value)
{
	struct machine_config *machine = &((struct run_settings *)opaque)->machine;
	struct disk_config *floppy = &machine->floppies[machine->floppy_count];

	if (machine->floppy_count == MACHINE_MAX_FLOPPIES) {
		log_error("--floppy %s: expected at most %u floppies", value, MACHINE_MAX_FLOPPIES);
		return -EINVAL;
	}
	if (disk_config_parse(floppy, "--floppy", value) < 0)
		return -EINVAL;
	if (floppy->bus != DISK_BUS_ANY || floppy->port) {
		log_error("--floppy %s: a floppy has a controller of its own", value);
		return -EINVAL;
	}
	machine->floppy_count++;
	return 0;
}

int run_set_net(void *opaque, const char *value)
{
	struct machine_config *machine = &((struct run_settings *)opaque)->machine;
	int error;

	if (machine->net_count == MACHINE_MAX_NETS) {
		log_error("--net %s: expected at most %u networks", value, MACHINE_MAX_NETS);
		return -EINVAL;
	}
	error = net_config_parse(&machine->nets[machine->net_count], "--net", value);
	if (error)
		return error;
	/* Each user network has addresses of its own. */
	for (unsigned i = 0; i < machine->net_count; i++)
		machine->nets[machine->net_count].number += machine->nets[i].kind == NET_USER;
	machine->net_count++;
	return error;
}

/* The first that says no tag is "share", and others have a number behind it. */
static int choose_tag(const struct machine_config *machine, struct share_config *share)
{
	if (!share->tag[0] && machine->share_count)
		snprintf(share->tag, sizeof(share->tag), "share%u", machine->share_count);
	else if (!share->tag[0])
		strcpy(share->tag, "share");
	for (unsigned i = 0; i < machine->share_count; i++)
		if (strcmp(machine->shares[i].tag, share->tag) == 0) {
			log_error("--share %s: another share has the tag %s; expected tag=T, with "
				  "another T",
				share->path, share->tag);
			return -EINVAL;
		}
	return 0;
}

static int set_share(void *opaque, const char *value)
{
	struct machine_config *machine = &((struct run_settings *)opaque)->machine;
	struct share_config *share = &machine->shares[machine->share_count];
	int error;

	if (machine->share_count == MACHINE_MAX_SHARES) {
		log_error("--share %s: expected at most %u shares", value, MACHINE_MAX_SHARES);
		return -EINVAL;
	}
	error = share_config_parse(share, "--share", value);
	if (!error)
		error = choose_tag(machine, share);
	machine->share_count += !error;
	return error;
}

static int set_console(void *opaque, const char *value)
{
	struct run_settings *settings = opaque;

	settings->machine.virtio_console = strcmp(value, "virtio") == 0;
	if (settings->machine.virtio_console || strcmp(value, "serial") == 0)
		return 0;
	log_error("--console %s: expected serial or virtio", value);
	return -EINVAL;
}

static int add_chardev(struct machine_config *machine, const char *option,
	const struct char_config *config, const char **id)
{
	struct char_config *chardev = &machine->chardevs[machine->chardev_count];

	if (machine->chardev_count == MACHINE_MAX_CHARDEVS) {
		log_error(
			"%s: expected at most %u files and sockets", option, MACHINE_MAX_CHARDEVS);
		return -EINVAL;
	}
	*chardev = *config;
	chardev->option = option;
	snprintf(chardev->id, sizeof(chardev->id), "%s-%u", option + 2, machine->chardev_count++);
	*id = chardev->id;
	return 0;
}

static int set_console_port(void *opaque, const char *value)
{
	struct machine_config *machine = &((struct run_settings *)opaque)->machine;
	struct console_port_config port = {.number = -1};
	struct char_config chardev = {.fd = -1};
	const char *id;

	if (machine->console_port_count == MAX_CONSOLE_PORTS) {
		log_error("--console-port %s: expected at most %u ports", value, MAX_CONSOLE_PORTS);
		return -EINVAL;
	}
	if (console_port_config_parse(&port, &chardev, "--console-port", value) < 0)
		return -EINVAL;
	for (unsigned i = 0; i < machine->console_port_count; i++) {
		if (strcmp(machine->console_ports[i].name, port.name) == 0) {
			log_error(
				"--console-port %s: expected a name that no other port has", value);
			return -EINVAL;
		}
	}
	if (add_chardev(machine, "--console-port", &chardev, &id) < 0)
		return -EINVAL;
	strcpy(port.chardev, id);
	machine->console_ports[machine->console_port_count++] = port;
	return 0;
}

/* A file, or what -serial of QEMU's takes but this terminal, which is the console's. */
static int set_far_end(
	struct machine_config *machine, const char *option, const char *value, const char **id)
{
	struct char_config config = {.kind = CHAR_FILE, .fd = -1};

	if (chardev_is_form(value)) {
		if (chardev_take_form(&config, option, value) < 0)
			return -EINVAL;
		if (config.kind != CHAR_STDIO)
			return add_chardev(machine, option, &config, id);
	}
	if (config.kind == CHAR_STDIO || !*value || strlen(value) >= sizeof(config.path)) {
		log_error("%s %s: expected FILE, unix:PATH, tcp:HOST:PORT, pipe:PATH, pty or null",
			option, value);
		return -EINVAL;
	}
	strcpy(config.path, value);
	return add_chardev(machine, option, &config, id);
}

/* One more disk, whose file is ours alone. */
static int set_cloud_init(void *opaque, const char *value)
{
	char disk[64];
	int fd = cloud_init_seed("--cloud-init", value);

	if (fd < 0)
		return -EINVAL;
	snprintf(disk, sizeof(disk), "/proc/self/fd/%d,readonly,format=raw,serial=cidata", fd);
	return set_disk(opaque, disk);
}

static int set_smbios(void *opaque, const char *value)
{
	return smbios_config_parse(
		&((struct run_settings *)opaque)->machine.smbios, "--smbios", value);
}

static int set_credential(void *opaque, const char *value)
{
	return smbios_config_credential(
		&((struct run_settings *)opaque)->machine.smbios, "--credential", value);
}

static int set_parallel(void *opaque, const char *value)
{
	struct machine_config *machine = &((struct run_settings *)opaque)->machine;

	return set_far_end(machine, "--parallel", value, &machine->parallel);
}

static int set_display(void *opaque, const char *value)
{
	return display_config_parse(
		&((struct run_settings *)opaque)->machine.display, "--display", value);
}

static int set_firmware(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->machine.firmware.path = value;
	return 0;
}

static int set_firmware_variables(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->machine.firmware.variables_path = value;
	return 0;
}

static int set_boot(void *opaque, const char *value)
{
	return firmware_config_boot(
		&((struct run_settings *)opaque)->machine.firmware, "--boot", value);
}

static int set_option_rom(void *opaque, const char *value)
{
	struct firmware_config *config = &((struct run_settings *)opaque)->machine.firmware;

	if (config->option_rom_count == FIRMWARE_MAX_ROMS) {
		log_error("--option-rom %s: expected at most %u ROMs", value, FIRMWARE_MAX_ROMS);
		return -EINVAL;
	}
	config->option_rom[config->option_rom_count++] = value;
	return 0;
}

static int set_firmware_log(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->machine.firmware.log_path = value;
	return 0;
}

static int set_serial2(void *opaque, const char *value)
{
	struct machine_config *machine = &((struct run_settings *)opaque)->machine;

	return set_far_end(machine, "--serial2", value, &machine->serial[1]);
}

static int set_control(void *opaque, const char *value)
{
	struct run_services *services = &((struct run_settings *)opaque)->services;

	services->monitors[0] =
		(struct control_config){.kind = CONTROL_UNIX, .option = "--control", .path = value};
	services->monitor_count = 1;
	return 0;
}

static int set_gdb(void *opaque, const char *value)
{
	return gdb_config_parse(&((struct run_settings *)opaque)->services.gdb, "--gdb", value);
}

static int set_pc_testdev(void *opaque, const char *value)
{
	struct machine_config *machine = &((struct run_settings *)opaque)->machine;

	machine->pc_testdev = true;
	machine->test_devices |= TEST_PCI_OWN;
	return 0;
}

static int set_on_panic(void *opaque, const char *value)
{
	struct machine_config *machine = &((struct run_settings *)opaque)->machine;
	int action = machine_action_find(machine_panic_actions, value);

	if (action < 0 || action == PANIC_FAILS) {
		log_error("--on-panic %s: expected shutdown, pause or none", value);
		return -EINVAL;
	}
	machine->actions.panic = (enum panic_action)action;
	machine->test_devices |= TEST_PVPANIC_PCI;
	return 0;
}

static int set_vmcoreinfo(void *opaque, const char *value)
{
	struct machine_config *machine = &((struct run_settings *)opaque)->machine;

	machine->firmware.fw_cfg = true;
	machine->test_devices |= TEST_VMCOREINFO;
	return 0;
}

static int set_watchdog(void *opaque, const char *value)
{
	struct machine_config *machine = &((struct run_settings *)opaque)->machine;
	int action = machine_action_find(machine_watchdog_actions, value);

	if (action < 0) {
		log_error("--watchdog %s: expected reset, shutdown, poweroff, pause, debug, none "
			  "or inject-nmi",
			value);
		return -EINVAL;
	}
	machine->actions.watchdog = (enum watchdog_action)action;
	machine->test_devices |= TEST_I6300ESB;
	return 0;
}

static int set_no_reboot(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->machine.reboot = false;
	return 0;
}

static int set_stats(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->machine.engine_options.count = true;
	return 0;
}

static int set_help(void *opaque, const char *value)
{
	((struct run_settings *)opaque)->help = true;
	return 0;
}

const struct option_row run_options[] = {
	{"kernel", "FILE",
		"the kernel: a Linux bzImage, a multiboot kernel or an\nx86 ELF executable",
		set_kernel},
	{"initrd", "FILE", "initial RAM disk, or multiboot module", set_initrd},
	{"append", "STRING", "kernel command line", set_append},
	{"memory", "SIZE", "guest memory, such as 512M or 2G (default 512M; 1G with\na DISK)",
		set_memory},
	{"cpus", "N",
		"number of processors, 1 to 64 (default 1; 2 with a DISK,\nwhere the host has as "
		"many)",
		set_cpus},
	{"cpu", "MODEL[,+FEATURE][,-FEATURE]...",
		"the processor that the guest sees (default host): host,\nx86-64-v2, x86-64-v3 or "
		"x86-64-v4, or one of QEMU's models,\nand features with QEMU's names to add or to "
		"leave out",
		set_cpu},
	{"engine", "NAME", "how to run the guest's code (default auto); see below", set_engine},
	{"hardened", NULL,
		"check addresses in translated code only in ways that the\nprocessor cannot "
		"mispredict",
		set_hardened},
	{"shadow", "HOW",
		"what is looked up again when the guest flushes translations:\nhidden (all of "
		"them, the default) or traced (those whose\npage tables were stored to)",
		set_shadow},
	{"verify", NULL,
		"run translated code in lockstep with the interpreter, and\nstop where they differ",
		set_verify},
	{"trace-bt", "FILE",
		"write every translation to FILE: guest code, host code,\nand why they differ",
		set_trace},
	{"bt-test", "WORDS",
		"for tests of the translator, separated by commas: hot\n(translate code at its "
		"first "
		"run), predict (check addresses as in loops\neverywhere), no-bmi2, no-fsgsbase, "
		"no-avx, "
		"no-avx512,\nno-homes, no-room (as on a host without)",
		set_bt_test},
	{"disk", "FILE[,WORD]...",
		"add a disk with FILE's contents (up to 16); or "
		"of\nnbd+unix:///NAME?socket=PATH "
		"or nbd://HOST/NAME. WORDs:\nbus=virtio (the default), scsi (with "
		"controller=N, target=N\nand lun=N), nvme, ide or ahci; "
		"readonly;\nsnapshot "
		"(keep writes apart, and forget them);\n"
		"serial=S; offset=N and size=N (a part of FILE);\nformat=raw or qcow2, ...; "
		"cache=writeback, none or unsafe;\nshare=on (let other machines use FILE, too); "
		"io=threads;\n"
		"reconnect=SECONDS (how long to wait for a lost server);\n"
		"port (behind a PCI Express root port of its own);\n"
		"bootindex=N (firmware tries it before others)",
		set_disk},
	{"cdrom", "FILE[,WORD]...",
		"add a CD-ROM drive with FILE, such as an ISO image, in it;\nWORDs as with --disk",
		set_cdrom},
	{"floppy", "FILE[,WORD]...",
		"add a floppy drive (up to 2) with FILE, an image of 160 KiB\nto 2.88 MiB, in it; "
		"WORDs as with --disk",
		set_floppy},
	{"net", "KIND[,WORD]...",
		"add a network card (up to 8; with a DISK there is\none of --net user). "
		"KINDs:\nuser (the host's network, by address translation, with\n"
		"hostfwd=tcp:ADDR:PORT-:PORT, restrict=on, tftp=DIR,\n"
		"bootfile=NAME, hostname=, domainname=, dnssearch=);\n"
		"tap=NAME; "
		"switch=PATH (a network among machines);\nstream=ADDR[,listen]"
		"[,reconnect=S] or dgram=ADDR[,local=ADDR] (a socket, as\nQEMU's: HOST:PORT, "
		"unix:PATH or fd:N); none. WORDs of\nall: "
		"mac=XX:XX:XX:XX:XX:XX, model=virtio or e1000,\n"
		"and port, as --disk has it",
		run_set_net},
	{"share", "DIR[,WORD]...",
		"share a directory of the host (up to 8), which a Linux guest\nmounts by "
		"mount -t 9p -o trans=virtio TAG /mnt. WORDs:\ntag=TAG (default share, then "
		"share1, ...); readonly;\nsync (a write is done when "
		"it is on the disk);\nsecurity=none (owners and modes are the host's, as far "
		"as you\nmay set them; the default), passthrough (what you may not set\nis an "
		"error) or mapped-xattr (they are kept in attributes)",
		set_share},
	{"console", "serial|virtio",
		"what the terminal is for the guest: the first serial port,\nttyS0 (default), or a "
		"virtio console, hvc0",
		set_console},
	{"console-port", "name=NAME,WORD",
		"add a virtio port (up to 7), /dev/virtio-ports/NAME in the\nguest; WORD is "
		"path=SOCKET (a Unix socket, made here, for\none client at a time), connect=SOCKET "
		"(one "
		"that is there)\nor file=FILE (the guest's output)",
		set_console_port},
	{"smbios", "type=N[,FIELD=VALUE]...",
		"names that the machine bears: type 1 has manufacturer,\nproduct, version, "
		"serial, uuid, sku and family; type 11 a\nvalue",
		set_smbios},
	{"cloud-init", "DIR",
		"add a disk that cloud-init takes its configuration from:\nuser-data, meta-data, "
		"network-config and vendor-data in DIR",
		set_cloud_init},
	{"credential", "NAME=VALUE", "a credential for the guest's systemd", set_credential},
	{"display", "KIND[,WORD]...",
		"give the machine a screen. KINDs: text (this terminal shows\nit, where it is "
		"text), vnc=HOST:N or vnc=PATH (a VNC server,\nwith password-file=FILE), none "
		"(for 'veneer screenshot')",
		set_display},
	{"firmware", "FILE",
		"boot by the firmware in FILE, a ROM (default, where no\nkernel is given or found: "
		"Debian's SeaBIOS), or OVMF's code",
		set_firmware},
	{"firmware-vars", "FILE",
		"keep EFI's variables in FILE, which is made where there is\nnone (default: they "
		"are "
		"forgotten)",
		set_firmware_variables},
	{"boot", "WORD[,WORD]...",
		"what firmware tries: order=LETTERS (in that order: a floppies,\nc hard disks, d "
		"CDs, n networks; default cdan); once=LETTERS\n(until a reset); menu=on (let the "
		"user choose)",
		set_boot},
	{"option-rom", "FILE", "a ROM that firmware runs before it boots (up to 8)",
		set_option_rom},
	{"firmware-log", "FILE", "write the firmware's messages to FILE", set_firmware_log},
	{"serial2", "FILE|DEV",
		"add a second serial port that writes to FILE; or is joined to\nDEV: "
		"unix:PATH[,server=on][,wait=off], tcp:HOST:PORT[,...],\npipe:PATH, pty, null",
		set_serial2},
	{"parallel", "FILE|DEV", "add a parallel port whose printer writes to FILE or DEV",
		set_parallel},
	{"control", "PATH",
		"listen at a Unix socket for commands, in QMP; also for\n'veneer pause' and others",
		set_control},
	{"gdb", "ADDR[,wait]",
		"listen for gdb at tcp:HOST:PORT (no HOST: 127.0.0.1) or\nunix:PATH; with wait the "
		"machine starts stopped",
		set_gdb},
	{"on-panic", "ACTION",
		"add a pvpanic device, by which the guest's kernel says that it\nhas panicked, and "
		"then shutdown (end the machine), pause, or\nnone; QMP has an event in any case",
		set_on_panic},
	{"watchdog", "ACTION",
		"add a watchdog, i6300esb, and where the guest has started it and\nfails to feed "
		"it "
		"reset, shutdown (press the power button),\npoweroff, pause, debug (a message), "
		"inject-nmi or none",
		set_watchdog},
	{"vmcoreinfo", NULL,
		"let the guest's kernel say where its data are, for dumps that\ncrash(8) reads "
		"(fw_cfg)",
		set_vmcoreinfo},
	{"debug-exit", "PORT",
		"I/O port that ends the run: writing V to it makes the\nexit status (V << 1) | 1",
		set_debug_exit},
	{"pc-testdev", NULL, "add test devices: kvm-unit-tests' one, and one on the PCI bus",
		set_pc_testdev},
	{"no-reboot", NULL, "exit where the guest resets the machine", set_no_reboot},
	{"stats", NULL, "print counters when the machine has stopped", set_stats},
	{"help", NULL, "print this text (also -h)", set_help},
	{.parse = set_boot_disk},
};
