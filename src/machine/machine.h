/* A machine: memory, devices, processors and a kernel, put together and run.
 *
 *	machine_create()	everything is built and the kernel is loaded
 *	machine_run()		one thread a vCPU; the caller's thread becomes the I/O thread
 *	machine_destroy()
 *
 * Whatever ends a run, a device, the user or a signal, only notes the end (machine_request_end()),
 * tells the vCPUs to stop and makes the event loop return; machine_run() then acts on it, on its
 * own thread, with all vCPUs stopped.
 *
 * While it runs, machine_pause() and machine_resume() stop vCPUs and the machine's clock, and let
 * them go on. The event loop runs all the time, for the console's keys, signals, and control
 * sockets. */
#ifndef VENEER_MACHINE_MACHINE_H
#define VENEER_MACHINE_MACHINE_H

#include "device/chipset/chipset.h"
#include "device/pvpanic.h"
#include "device/virtio/console.h"
#include "engine/engine.h"
#include "host/char_device.h"
#include "host/console.h"
#include "host/disk/disk.h"
#include "host/display/config.h"
#include "host/display/display.h"
#include "host/input.h"
#include "host/net/net_backend.h"
#include "host/share/config.h"
#include "machine/acpi.h"
#include "machine/boot.h"
#include "machine/firmware.h"
#include "machine/plug.h"
#include "machine/ports.h"
#include "machine/smbios.h"
#include "machine/vmcoreinfo.h"

#include <stdio.h>

#define MACHINE_MAX_CPUS     64
#define MACHINE_MAX_NETS     8
#define MACHINE_MAX_DISKS    16
#define MACHINE_MAX_SHARES   8
#define MACHINE_MAX_FLOPPIES 2
#define MACHINE_MAX_CHARDEVS 32
/* Of all virtio consoles, of which there are so many. */
#define MACHINE_MAX_CONSOLE_PORTS 32
#define MACHINE_MAX_CONSOLES      8
#define MACHINE_MIN_MEMORY        (2 * MIB)

/* What is done where the guest's kernel has panicked, and said so by pvpanic. */
enum panic_action { PANIC_POWEROFF, PANIC_FAILS, PANIC_PAUSES, PANIC_RUNS_ON };
/* What is done where its watchdog expires. */
enum watchdog_action {
	WATCHDOG_RESETS,
	WATCHDOG_SHUTS_DOWN, /* by the power button */
	WATCHDOG_POWERS_OFF,
	WATCHDOG_PAUSES,
	WATCHDOG_REPORTS,    /* a message */
	WATCHDOG_IS_TOLD,    /* an event alone, which all others have, too */
	WATCHDOG_INTERRUPTS, /* by an NMI */
};

struct machine_actions {
	enum panic_action panic;
	enum watchdog_action watchdog;
	/* A machine that its guest has ended stays, paused, till the user ends or resets it. */
	bool stays;
};

/* Devices that are there where they are asked for (machine/test_devices.c): bits. */
enum test_device {
	TEST_EDU = 1 << 0,
	TEST_I6300ESB = 1 << 1,
	TEST_PVPANIC_PORT = 1 << 2, /* on the ISA bus */
	TEST_PVPANIC_PCI = 1 << 3,
	TEST_PCI = 1 << 4,        /* device/pci_iotest.h, which QEMU calls pci-testdev */
	TEST_PCI_OWN = 1 << 5,    /* device/pci_testdev.h: two, one of them behind a port */
	TEST_VMCOREINFO = 1 << 6, /* machine/vmcoreinfo.h; there is fw_cfg */
};
#define MACHINE_MAX_MEMORY (1024 * GIB)

struct machine_config {
	const char *kernel_path; /* NULL: disks[0]'s boot loader's, or firmware */
	/* NULL: none, or the boot loader's where the kernel is. For a multiboot kernel it may be
	 * several modules, "FILE ARGUMENTS,FILE ARGUMENTS", a comma in one being ",,". */
	const char *initrd_path;
	const char *cmdline; /* "" where there is none; it comes after the boot loader's */
	struct char_config chardevs[MACHINE_MAX_CHARDEVS]; /* each with an ID of its own */
	unsigned chardev_count;
	/* IDs of character devices. COM1 to COM4: NULL: there is no such port; but COM1, which is
	 * the console's, or nobody's. */
	const char *serial[CHIPSET_SERIAL_PORTS];
	const char *parallel;    /* the parallel port's; NULL: there is none */
	const char *memory_path; /* file that RAM is in; NULL: one of the monitor's own */
	bool memory_allocated;   /* by the host, before the machine runs */
	uint64_t memory_size;    /* whole pages, MACHINE_MIN_MEMORY to MACHINE_MAX_MEMORY */
	unsigned cpu_count;      /* 1 to MACHINE_MAX_CPUS */
	const struct engine *engine;
	struct engine_options engine_options;
	const char *cpu;          /* cpu_model_build()'s text; NULL: "host" */
	bool reboot;              /* a guest's reset starts it again; else it ends the run */
	bool triple_fault_resets; /* as on a board; else it ends the run with a message */
	uint16_t debug_exit_port; /* 0: none */
	bool pc_testdev;          /* device/pc_testdev.h */
	unsigned test_devices;    /* enum test_device */
	struct machine_actions actions;
	int64_t rtc_offset_s;              /* how far the RTC is ahead of UTC at the start */
	int console_input, console_output; /* descriptors; input -1: none; output -1: no console */
	struct disk_config disks[MACHINE_MAX_DISKS];
	unsigned disk_count;
	unsigned scsi_controllers; /* at least; more where disks are at them */
	struct disk_config floppies[MACHINE_MAX_FLOPPIES];
	unsigned floppy_count;
	struct net_config nets[MACHINE_MAX_NETS];
	unsigned net_count;
	struct share_config shares[MACHINE_MAX_SHARES]; /* each with a tag of its own */
	unsigned share_count;
	struct console_port_config console_ports[MACHINE_MAX_CONSOLE_PORTS];
	unsigned console_port_count;
	bool virtio_console; /* the console is a virtio port (hvc0), and not COM1 */
	struct port_config ports[MACHINE_MAX_PORTS];
	unsigned port_count;
	unsigned spare_ports; /* at most 8 root ports more, for what is plugged in */
	struct smbios_config smbios;
	struct display_config display;
	struct firmware_config firmware;
};

/* How a run ended. */
enum machine_end {
	MACHINE_RUNS_ON, /* it has not */
	MACHINE_SLEEPS,  /* in S3, machine/sleep.c; machine_run() never returns it, or the next */
	MACHINE_WAKES,
	MACHINE_POWERED_OFF,
	MACHINE_RESET, /* and config.reboot is off; value: false by the guest, true by the user */
	MACHINE_DEBUG_EXIT, /* value: the exit status, (v << 1) | 1 */
	MACHINE_TRIPLE_FAULT,
	MACHINE_GUEST_PANICKED, /* value: true where that is to be a failure */
	MACHINE_QUIT,   /* by the user; value: false with Ctrl-a x, true by a control socket */
	MACHINE_SIGNAL, /* value: the signal's number */
	MACHINE_FAILED, /* it would not start again, or an engine went wrong; there was a message */
};

struct machine_result {
	enum machine_end end;
	int value;
};

/* MACHINE_PHASE_PAUSING: some vCPUs still run, or devices have requests in flight, and the machine
 * will be paused when the last of them has stopped. */
enum machine_phase { MACHINE_PHASE_RUNNING, MACHINE_PHASE_PAUSING, MACHINE_PHASE_PAUSED };

/* Why it is paused. */
enum machine_stop {
	MACHINE_STOP_USER,
	MACHINE_STOP_PRELAUNCH, /* it has not run since its start or reset */
	MACHINE_STOP_SHUT_DOWN, /* the guest has ended: it is not resumed, but reset or ended */
	MACHINE_STOP_PANICKED,
	MACHINE_STOP_WATCHDOG,
};

enum machine_event_kind {
	MACHINE_PAUSED,
	MACHINE_RESUMED,
	MACHINE_WAS_RESET,      /* and starts again; with its cause */
	MACHINE_POWER_BUTTON,   /* was pressed */
	MACHINE_SUSPENDED,      /* is asleep */
	MACHINE_WOKEN,          /* is about to go on */
	MACHINE_SHUT_DOWN,      /* its guest has ended, and it stays; with the cause */
	MACHINE_PANICKED,       /* with the action */
	MACHINE_CRASH_LOADED,   /* a kernel that saves its memory goes on; with the action */
	MACHINE_WATCHDOG,       /* has expired; with the action */
	MACHINE_DEVICE_DELETED, /* has been unplugged; with its name */
	MACHINE_ENDED,          /* machine_run() will return the event's cause */
};

struct machine_event {
	enum machine_event_kind kind;
	struct machine_result cause; /* of MACHINE_WAS_RESET, MACHINE_SHUT_DOWN and MACHINE_ENDED */
	const char *action;          /* QEMU's name of what is done about it */
	const char *device;          /* of MACHINE_DEVICE_DELETED; "": it has no name */
};

/* notify() is called for every event, with the machine lock held, on any thread. It may pause and
 * resume the machine; listeners that come later are then told of that first. */
struct machine_listener {
	void (*notify)(void *opaque, const struct machine_event *event);
	void *opaque;
	struct machine_listener *next; /* machine/'s own */
};

struct chipset;
struct fw_cfg;
struct pci_bus;
struct text_screen;
struct vcpu_thread;
struct vnc;

struct machine {
	struct machine_config config;
	struct priority_lock lock;
	struct clock clock;
	struct memory memory;
	struct io_space ports;
	struct event_loop *loop;
	struct cpu_model model;
	struct cpu_platform platform;
	struct engine_machine *engine_machine;
	struct cpu *cpus[MACHINE_MAX_CPUS];
	struct vcpu_thread *threads; /* while vCPUs run */
	struct chipset *chipset;
	struct pci_bus *pci;
	struct pvpanic_config pvpanic;
	struct vmcoreinfo vmcoreinfo;
	struct machine_port root_ports[MACHINE_MAX_PORTS]; /* that the configuration names; spare */
	unsigned root_port_count;
	uint32_t groups; /* of devices that can be unplugged, so far */
	struct machine_plug plug;
	bool built; /* what is made from now on is plugged in */
	struct firmware firmware;
	struct fw_cfg *fw_cfg;                      /* NULL: no firmware */
	const struct disk *disk[MACHINE_MAX_DISKS]; /* the block devices' own; for statistics */
	struct vnc *vnc;                            /* NULL: none shows the screen */
	struct text_screen *text_screen;            /* NULL: the terminal is COM1's */
	struct display display;                     /* what the guest shows; see display_exists() */
	struct char_devices *chardevs;
	struct console *console;                      /* while it runs; NULL: there is none */
	struct console_device *virtio_console;        /* that it is connected to; NULL: to COM1 */
	struct input input;                           /* where keys and the mouse's movements go */
	struct image kernel, initrd;                  /* an initrd of 0 bytes is none */
	struct boot_module modules[BOOT_MAX_MODULES]; /* in its place */
	unsigned module_count;
	char *module_strings; /* what theirs point into */
	char *cmdline;
	struct boot_start start; /* how the loaded kernel wants to be entered */
	struct machine_listener *listeners;
	int patience_ms; /* how long character devices may take to write what is queued */
	bool stuck;      /* it has ended, and a device's thread waits in the host's kernel */

	/* Under the lock. */
	struct machine_result request; /* why the vCPU threads are to end */
	enum machine_phase phase;
	enum machine_stop stopped;    /* while it is PAUSING or PAUSED */
	bool asleep;                  /* in S3: there are no vCPU threads */
	bool resume_wanted;           /* asked for while it was PAUSING: then it resumes */
	unsigned parked;              /* vCPU threads that wait for phase_changed */
	uint64_t held;                /* a bit each: vCPUs that wait while the machine runs */
	bool devices_to_stop;         /* PAUSING, and all vCPU threads are parked */
	pthread_cond_t phase_changed; /* or an end was requested */
	unsigned resets;
};

/* The machine has a VGA: with --display, and where firmware boots it, which wants one. */
static inline bool machine_has_vga(const struct machine_config *config)
{
	return config->display.kind != DISPLAY_UNSAID || config->firmware.path;
}

/* What the ACPI tables say of it. */
static inline struct acpi_config machine_acpi_config(const struct machine_config *config)
{
	return (struct acpi_config){
		.cpu_count = config->cpu_count,
		.com2 = config->serial[1] != NULL,
		.com3 = config->serial[2] != NULL,
		.com4 = config->serial[3] != NULL,
		.floppy = config->floppy_count != 0,
		.vga = machine_has_vga(config),
		.pvpanic = config->test_devices & TEST_PVPANIC_PORT,
		.fw_cfg = config->firmware.fw_cfg || config->firmware.path,
	};
}

/* Build a machine and load its kernel. The strings in config must outlive it. 0, or -errno with a
 * message; then nothing is left behind. */
int machine_create(struct machine *machine, const struct machine_config *config);
/* Run until something ends it, SIGINT, SIGTERM and SIGHUP included. When it returns the terminal is
 * restored, and the guest's output is written. */
struct machine_result machine_run(struct machine *machine);
/* Where a thread is stuck in the host's kernel, this frees nothing but what would outlive the
 * process, which is to end. */
void machine_destroy(struct machine *machine);

/* End the run, or reset the machine where `end` is MACHINE_RESET and the configuration allows. What
 * the user asks for (MACHINE_QUIT, MACHINE_SIGNAL) and MACHINE_FAILED replace what the guest asks
 * for; between equals the first request counts. Machine lock held; from any thread. */
void machine_request_end(struct machine *machine, enum machine_end end, int value);

/* Stop all vCPUs at an instruction's boundary, and the machine's clock; or let them go on, without
 * a jump in the guest's time. Neither waits: listeners are told MACHINE_PAUSED and
 * MACHINE_RESUMED; only the latter where a resume called the pause off, while it waited for
 * devices. A machine that is paused can be reset, and is paused after that; it can be ended.
 * Pausing a paused machine, or resuming a running one or one whose guest has ended, has no effect.
 * Machine lock held; from any thread. */
void machine_pause(struct machine *machine);
void machine_resume(struct machine *machine);
/* Resume a paused machine, but of its vCPUs only those that have no bit in `held`; the others wait
 * where they are until the next resume. For a debugger. */
void machine_resume_without(struct machine *machine, uint64_t held);
/* Begin paused: machine_run() runs nothing until there is a machine_resume(). Before it. */
void machine_start_paused(struct machine *machine);

/* From now on `listener`, which stays the caller's, is told of events, or no longer. While the
 * machine does not run, or with the machine lock held. */
void machine_listen(struct machine *machine, struct machine_listener *listener);
void machine_unlisten(struct machine *machine, struct machine_listener *listener);

/* Press the power button, which asks the guest to shut down, or wakes it. Machine lock held. */
void machine_press_power_button(struct machine *machine);
/* An NMI, as by a button on the board: to the processors whose LINT1 lets it through. Machine lock
 * held. */
void machine_inject_nmi(struct machine *machine);
/* Wake a machine that sleeps, for the guest as by the power button. False: it does not sleep.
 * Machine lock held. */
bool machine_wake_up(struct machine *machine);

/* The vCPU's thread, as gettid(2) has it; 0 while it has none: before the machine runs, and while
 * it sleeps. It is another one after a reset. Machine lock held, on the I/O thread. */
pid_t machine_vcpu_thread_id(const struct machine *machine, unsigned cpu);
/* All vCPUs' counters added up. With the vCPUs stopped. */
void machine_add_stats(const struct machine *machine, struct cpu_stats *sum);

#endif
