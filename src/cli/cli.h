/* What the subcommands share. */
#ifndef VENEER_CLI_CLI_H
#define VENEER_CLI_CLI_H

/* Exit statuses. A guest that writes v to the debug-exit port makes it (v << 1) | 1, which is odd,
 * so that everything veneer has to say itself is even. */
enum exit_status {
	STATUS_OK = 0,     /* the guest powered off, reset with --no-reboot, or the user quit */
	STATUS_USAGE = 2,  /* the command line is wrong */
	STATUS_FAILED = 4, /* the machine could not be built, or the host failed it */
	STATUS_TRIPLE_FAULT = 6,
	STATUS_PANICKED = 8, /* and pvpanic has said so */
};

struct subcommand {
	const char *name, *summary;
	/* argv[0] is the subcommand's name. Returns the exit status. */
	int (*main)(int argc, char **argv);
};

extern const struct subcommand subcommand_run, subcommand_image;
/* Of a machine that runs already; all in control.c. */
extern const struct subcommand subcommand_status, subcommand_pause, subcommand_resume,
	subcommand_reset, subcommand_powerdown, subcommand_wakeup, subcommand_quit;
/* Give a running machine keys. */
extern const struct subcommand subcommand_sendkey, subcommand_type;
extern const struct subcommand subcommand_screenshot;
extern const struct subcommand subcommand_qemu;

/* Take QEMU's options. argv[0] is the program's name. Returns QEMU's exit status. */
int qemu_main(int argc, char **argv);

#endif
