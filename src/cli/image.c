/* veneer image: make the disk image of a Debian guest. What the words say is checked here; the work
 * is done by a script (helper/image.sh), since it is running other programs. */
#include "base/bits.h"
#include "base/log.h"
#include "base/words.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "host/helper.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIN_SIZE (1 * GIB) /* what the packages take, and room to work in */
#define MAX_SIZE (16 * 1024 * GIB)

struct settings {
	const char *file; /* NULL: not given */
	uint64_t size;
	const char *suite, *packages, *ssh_key, *mirror, *efi; /* "": not given */
	bool help;
};

static int set_file(void *opaque, const char *value)
{
	struct settings *settings = opaque;

	if (settings->file) {
		log_error("image: two files, '%s' and '%s'; expected one", settings->file, value);
		return -EINVAL;
	}
	settings->file = value;
	return 0;
}

static int set_size(void *opaque, const char *value)
{
	return words_size(
		"--size", value, MIN_SIZE, MAX_SIZE, 4 * KIB, &((struct settings *)opaque)->size);
}

/* Only what names of releases and packages are made of: they become arguments of mmdebstrap, which
 * may mean something else by other characters. */
static int check_name(const char *option, const char *value, const char *others, const char *what)
{
	const char *c = value;

	if (isalnum((unsigned char)*c))
		while (isalnum((unsigned char)*c) || (*c && strchr(others, *c)))
			c++;
	if (c > value && !*c)
		return 0;
	log_error("%s %s: expected %s", option, value, what);
	return -EINVAL;
}

static int set_suite(void *opaque, const char *value)
{
	((struct settings *)opaque)->suite = value;
	return check_name("--suite", value, "-.", "a release of Debian, such as bookworm");
}

static int set_packages(void *opaque, const char *value)
{
	((struct settings *)opaque)->packages = value;
	return check_name("--packages", value, "+-.,:", "names of packages, separated by commas");
}

static int set_ssh_key(void *opaque, const char *value)
{
	char line[64] = "";
	FILE *file = fopen(value, "re");

	((struct settings *)opaque)->ssh_key = value;
	if (!file) {
		log_error("--ssh-key %s: cannot open: %s", value, strerror(errno));
		return -EINVAL;
	}
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	if (!strstr(line, "PRIVATE KEY") &&
		(strncmp(line, "ssh-", 4) == 0 || strncmp(line, "ecdsa-", 6) == 0 ||
			strncmp(line, "sk-", 3) == 0))
		return 0;
	log_error("--ssh-key %s: expected a file with a public key, such as ~/.ssh/id_ed25519.pub",
		value);
	return -EINVAL;
}

static int set_mirror(void *opaque, const char *value)
{
	((struct settings *)opaque)->mirror = value;
	if (strstr(value, ":/") && !strpbrk(value, " \t\n[]"))
		return 0;
	log_error("--mirror %s: expected a URL, such as http://deb.debian.org/debian", value);
	return -EINVAL;
}

static int set_efi(void *opaque, const char *value)
{
	((struct settings *)opaque)->efi = "efi";
	return 0;
}

static int set_help(void *opaque, const char *value)
{
	((struct settings *)opaque)->help = true;
	return 0;
}

static const struct option_row table[] = {
	{"size", "SIZE",
		"size of the disk, such as 10G (default 4G); the file only\ntakes what is used of "
		"it",
		set_size},
	{"suite", "NAME", "release of Debian (default bookworm)", set_suite},
	{"packages", "LIST", "more packages to install, separated by commas", set_packages},
	{"ssh-key", "FILE", "a public key that may log in as root by ssh", set_ssh_key},
	{"mirror", "URL",
		"where the packages are (default: the host's own sources of\nthat release, or "
		"Debian's)",
		set_mirror},
	{"efi", NULL,
		"a disk that EFI firmware boots, too: with partitions, and GRUB\nin the EFI system "
		"partition",
		set_efi},
	{"help", NULL, "print this text (also -h)", set_help},
	{.parse = set_file},
};

static void print_help(void)
{
	fputs("usage: veneer image FILE [OPTION...]\n"
	      "\n"
	      "Make the disk image of a small Debian system, for 'veneer run FILE'. It has a\n"
	      "login on the serial console (root, without a password), an ssh server and DHCP,\n"
	      "and its file system grows with the disk. It takes mmdebstrap and a minute or two,\n"
	      "and no root where user namespaces can be had.\n"
	      "\n"
	      "Options:\n",
		stdout);
	options_print(stdout, table);
	fputs("\nExit status: 0 done; 2 wrong usage; 4 the image could not be made.\n", stdout);
}

/* Does not return where all is well: the script takes this process over. */
static int make_image(const struct settings *settings)
{
	char path[PATH_MAX], size[24];

	if (access(settings->file, F_OK) == 0) {
		log_error("image %s: the file exists already; expected a new one", settings->file);
		return STATUS_USAGE;
	}
	if (helper_find("veneer-make-image", path) < 0)
		return STATUS_FAILED;
	snprintf(size, sizeof(size), "%lluK", (unsigned long long)(settings->size / KIB));
	execl(path, path, settings->file, size, settings->suite, settings->packages,
		settings->ssh_key, settings->mirror, settings->efi, (char *)NULL);
	log_error("%s: cannot run it: %s", path, strerror(errno));
	return STATUS_FAILED;
}

static int image_main(int argc, char **argv)
{
	struct settings settings = {.size = 4 * GIB,
		.suite = "bookworm",
		.packages = "",
		.ssh_key = "",
		.mirror = "",
		.efi = ""};

	if (options_parse(argc, argv, table, &settings) < 0)
		return STATUS_USAGE;
	if (settings.help) {
		print_help();
		return STATUS_OK;
	}
	if (!settings.file) {
		log_error("image: the name of the FILE to make is missing; "
			  "try 'veneer image --help'");
		return STATUS_USAGE;
	}
	return make_image(&settings);
}

const struct subcommand subcommand_image = {
	"image", "make the disk image of a Debian guest", image_main};
