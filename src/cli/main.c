/* veneer's command line: finds the subcommand, which does the rest. */
#include "base/bits.h"
#include "base/log.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define QEMU_NAME "qemu-system-"

static const struct subcommand *const subcommands[] = {&subcommand_run, &subcommand_image,
	&subcommand_status, &subcommand_pause, &subcommand_resume, &subcommand_reset,
	&subcommand_powerdown, &subcommand_wakeup, &subcommand_sendkey, &subcommand_type,
	&subcommand_screenshot, &subcommand_quit, &subcommand_qemu};

static void print_help(FILE *file)
{
	unsigned i;

	fputs("usage: veneer SUBCOMMAND [OPTION...] [DISK | SOCKET]\n"
	      "       veneer --help | --version\n"
	      "\n"
	      "veneer runs whole, unmodified operating systems for x86-64 in virtual machines.\n"
	      "\n"
	      "Subcommands:\n",
		file);
	for (i = 0; i < ARRAY_SIZE(subcommands); i++)
		fprintf(file, "  %-10s%s\n", subcommands[i]->name, subcommands[i]->summary);
	fputs("\n'veneer SUBCOMMAND --help' describes one of them.\n", file);
}

/* A descriptor 0, 1 or 2 that the parent has closed would be the number of the next file opened,
 * and guest output might end up in a disk image. */
static void open_standard_descriptors(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)!open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY);
}

static int run_subcommand(int argc, char **argv)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(subcommands); i++)
		if (strcmp(argv[0], subcommands[i]->name) == 0)
			return subcommands[i]->main(argc, argv);
	if (argv[0][0] == '-')
		log_error("unknown option %s; try 'veneer --help'", argv[0]);
	else
		log_error("unknown subcommand '%s'; try 'veneer --help'", argv[0]);
	return STATUS_USAGE;
}

/* Was veneer started by QEMU's name, "qemu-system-x86_64" or one that begins so? */
static bool is_qemu(const char *program)
{
	const char *slash = strrchr(program, '/');

	return strncmp(slash ? slash + 1 : program, QEMU_NAME, strlen(QEMU_NAME)) == 0;
}

static int flush_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	log_error("cannot write to standard output: %s", strerror(errno));
	return status == STATUS_OK ? STATUS_FAILED : status;
}

int main(int argc, char **argv)
{
	int status = STATUS_OK;

	open_standard_descriptors();
	if (argc && is_qemu(argv[0]))
		return flush_output(qemu_main(argc, argv));
	if (argc < 2) {
		print_help(stderr);
		return STATUS_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		print_help(stdout);
	else if (strcmp(argv[1], "--version") == 0)
		puts("veneer " VENEER_VERSION);
	else
		status = run_subcommand(argc - 1, argv + 1);
	return flush_output(status);
}
