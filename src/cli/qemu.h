/* QEMU's command line: what its options say, until it becomes the configuration of a machine.
 *
 *	qemu_parse()	each option by its row in the table (qemu_options.c)
 *	qemu_finish()	devices find their drives, networks and character devices; default devices
 *
 * Strings that are made on the way live as long as the struct: qemu_keep(). */
#ifndef VENEER_CLI_QEMU_H
#define VENEER_CLI_QEMU_H

#include "cli/qemu_words.h"
#include "control/control.h"
#include "control/plug.h"
#include "control/qom_types.h"
#include "debug/server.h"
#include "machine/machine.h"

#define QEMU_VERSION "QEMU emulator version 7.2.0 (veneer " VENEER_VERSION ")"

#define QEMU_MAX_DRIVES   32
#define QEMU_MAX_CHARDEVS 32
#define QEMU_MAX_DEVICES  64
#define QEMU_MAX_SERIALS  4
#define QEMU_MAX_MONITORS 8
#define QEMU_MAX_FDS      32
#define QEMU_MAX_PORTS    32
#define QEMU_MAX_OBJECTS  32

/* A -drive or a -blockdev: as words of --disk, to which a device adds its own. */
struct qemu_drive {
	const char *id;   /* or the name of a node; "": none */
	const char *disk; /* FILE and words; NULL: an empty drive of removable media */
	const char *interface;
	const char *device;         /* that uses it, where it has a name; else NULL */
	struct qemu_drive *below;   /* the node that this one has its bytes from; NULL: none */
	struct qemu_drive *backing; /* that of the file that its image names; NULL: none */
	bool cdrom, used;
	bool is_node; /* of -blockdev: it stays when its device goes */
	bool gone;    /* it was deleted: the row is free */
};

struct qemu_chardev {
	struct char_config config;
	bool of_monitor; /* which opens it itself */
};

struct qemu_netdev {
	const char *id;
	const char *net;    /* as words of --net */
	const char *device; /* that uses it, where it has a name; else NULL */
	bool used;
	bool gone; /* it was deleted: the row is free */
};

struct qemu_fsdev {
	const char *id;
	const char *share; /* as words of --share, which the device's tag joins */
	bool used;
};

struct qemu_monitor {
	struct qemu_chardev *chardev;
	bool control; /* QMP; else for people */
};

/* A descriptor that -add-fd has put into a set. */
struct qemu_fd {
	int fd;
	uint64_t set;
};

/* A -object. */
struct qemu_object {
	const char *type, *id;
	/* Of memory; size 0: it is none. */
	uint64_t size;
	const char *path; /* NULL: it has no file */
	bool shared, allocated;
};

struct qemu {
	struct machine_config machine;
	const char *engine_name;
	bool no_defaults, no_graphic, no_vga, q35, no_machine, snapshot, daemonize, paused;
	struct gdb_config gdb;
	struct control_about about; /* what monitors tell of it */
	const char *log_path;       /* -D */
	bool logs_code;             /* -d in_asm and the like */
	const char *pidfile, *vga, *firmware_drive;
	char *cpu;
	struct qemu_drive drives[QEMU_MAX_DRIVES];
	unsigned drive_count;
	struct qemu_chardev chardevs[QEMU_MAX_CHARDEVS];
	unsigned chardev_count;
	struct qemu_netdev netdevs[MACHINE_MAX_NETS];
	unsigned netdev_count;
	struct qemu_fsdev fsdevs[MACHINE_MAX_SHARES];
	unsigned fsdev_count;
	struct qemu_object objects[QEMU_MAX_OBJECTS];
	unsigned object_count;
	const char *memory_backend; /* the object that is RAM; NULL: none */
	const char *memory_file;    /* -mem-path; or NULL */
	bool memory_said;           /* by -m */
	struct qemu_words devices[QEMU_MAX_DEVICES];
	unsigned device_count;
	/* Of the device that is made now: where it is to be, and what it uses, or NULL. */
	struct device_place place;
	struct qemu_drive *used_drive;
	struct qemu_netdev *used_netdev;
	struct qemu_chardev *serials[QEMU_MAX_SERIALS]; /* NULL: none */
	unsigned serial_count;
	struct qemu_chardev *parallel;
	/* IDs of the virtio-serial controllers, in their order; "": it has none. */
	const char *consoles[MACHINE_MAX_CONSOLES];
	unsigned console_count;
	struct qemu_monitor monitors[QEMU_MAX_MONITORS];
	unsigned monitor_count;
	struct qemu_fd fds[QEMU_MAX_FDS];
	unsigned fd_count;
	bool serial_said, parallel_said, monitor_said, net_said, cdrom_said, display_said;
	/* A legacy "-net nic" and what it is plugged into meet in qemu_finish(). */
	const char *net_nic, *net_backend;
	void (*list)(void); /* what is to be printed in place of a machine; NULL: nothing */
	const struct qom_type *listed; /* or the properties of this type; NULL: not */
	char **kept;
	size_t kept_count;
};

/* Of -daemonize. */
struct qemu_daemon {
	int ready_fd; /* the end of a pipe at which the parent waits */
};

/* Go on in the background. Before there are threads. Does not return in the parent, which exits
 * when qemu_daemon_ready() has been called: 0, or 1 where the child has ended before. 0, or -EIO
 * with a message. */
int qemu_daemon_begin(struct qemu_daemon *daemon);
/* The machine can be used. From here on standard input, output and error are /dev/null. `daemon`: a
 * struct qemu_daemon. */
void qemu_daemon_ready(void *daemon);

void qemu_init(struct qemu *qemu);
void qemu_free(struct qemu *qemu);
/* argv[0] is the program's name. 0, or -EINVAL or -ENOMEM with a message. */
int qemu_parse(struct qemu *qemu, int argc, char **argv);
int qemu_finish(struct qemu *qemu);

/* The string, which is the struct's from here on; "" where it is NULL, for want of memory. */
const char *qemu_keep(struct qemu *qemu, char *text);
const char *qemu_keep_copy(struct qemu *qemu, const char *text);
/* What `put` writes of the words, kept; NULL where it fails, with its message. */
const char *qemu_words_text(struct qemu *qemu, const struct qemu_words *words,
	int (*put)(const struct qemu_words *words, FILE *out));
/* Free a string that was kept, or nothing where it is none. */
void qemu_drop(struct qemu *qemu, const char *text);

/* --- what the parts of the command line are for; 0, or -errno with a message --- */

int qemu_set_machine(struct qemu *qemu, const char *value);
int qemu_set_accelerator(struct qemu *qemu, const char *value);
int qemu_set_memory(struct qemu *qemu, const char *value);
int qemu_set_smp(struct qemu *qemu, const char *value);
int qemu_set_boot(struct qemu *qemu, const char *value);
int qemu_set_rtc(struct qemu *qemu, const char *value);
int qemu_set_log(struct qemu *qemu, const char *value);
void qemu_list_log_items(void);
int qemu_set_actions(struct qemu *qemu, const char *value);
int qemu_set_watchdog_action(struct qemu *qemu, const char *option, const char *value);
int qemu_set_cpu(struct qemu *qemu, const char *value);

int qemu_add_drive(struct qemu *qemu, const char *value);
int qemu_add_blockdev(struct qemu *qemu, const char *value);
/* -hda, -cdrom, -fda: `words` are -drive's, but for the file. */
int qemu_add_image(struct qemu *qemu, const char *file, const char *words);
/* Make the machine's disk of a drive: `words` are --disk's, and begin with a comma. */
int qemu_use_drive(struct qemu *qemu, struct qemu_drive *drive, const char *words);
struct qemu_drive *qemu_find_drive(struct qemu *qemu, const char *option, const char *id);
/* Delete one that no device uses. */
void qemu_delete_drive(struct qemu *qemu, struct qemu_drive *drive);
/* The drives that no -device names, by their interfaces. */
int qemu_finish_drives(struct qemu *qemu);

int qemu_add_netdev(struct qemu *qemu, const char *value);
int qemu_add_nic(struct qemu *qemu, const char *value);
int qemu_add_net(struct qemu *qemu, const char *value);
int qemu_delete_netdev(struct qemu *qemu, const char *id);
int qemu_use_netdev(struct qemu *qemu, const char *id, const char *words);
int qemu_finish_nets(struct qemu *qemu);

int qemu_add_virtfs(struct qemu *qemu, const char *value);
int qemu_add_fsdev(struct qemu *qemu, const char *value);
/* Make the machine's share of a -fsdev: `words` are --share's, and begin with a comma. */
int qemu_use_fsdev(struct qemu *qemu, const char *option, const char *id, const char *words);

int qemu_add_chardev(struct qemu *qemu, const char *value);
/* What -serial and the like say: "stdio", "file:NAME", "unix:PATH,server", "chardev:ID".
 * `*chardev` is NULL for "none". `label`: its name where it has none, before a number. */
int qemu_parse_chardev(struct qemu *qemu, const char *option, const char *label, const char *value,
	struct qemu_chardev **chardev);
/* What -serial and -monitor say. */
int qemu_add_serial(struct qemu *qemu, const char *value);
int qemu_add_monitor(struct qemu *qemu, const char *option, const char *value, bool control);
struct qemu_chardev *qemu_find_chardev(struct qemu *qemu, const char *option, const char *id);

int qemu_add_fd(struct qemu *qemu, const char *value);
/* Where `path` is /dev/fdset/N: a descriptor of that set that can be written, a new one for the
 * caller. -1: it is another path. -EINVAL with a message. */
int qemu_open_fdset(const struct qemu *qemu, const char *option, const char *path);
int qemu_add_object(struct qemu *qemu, const char *value);
/* NULL: there is none. */
const struct qemu_object *qemu_find_object(const struct qemu *qemu, const char *id);
/* RAM is what -machine memory-backend= names. */
int qemu_finish_memory(struct qemu *qemu);
/* A size of memory; a number alone counts MiB. */
int qemu_parse_memory(const char *option, const char *text, uint64_t *size);

int qemu_add_device(struct qemu *qemu, const char *value);
int qemu_finish_devices(struct qemu *qemu);
/* device_add: of a model that can be plugged in, whose row of the configuration is made. */
int qemu_make_device(struct qemu *qemu, const char *value);
/* For the machine's monitors. */
struct control_plug qemu_plug(struct qemu *qemu);

/* The forms that callers parse: -device help and others. */
void qemu_list_devices(void);
void qemu_list_properties(const struct qom_type *type);
void qemu_list_machines(void);
void qemu_list_cpus(void);
void qemu_list_accelerators(void);
void qemu_list_options(void);
void qemu_list_version(void);

#endif
