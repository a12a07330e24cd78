/* What callers ask for before they start a machine, in the form in which they parse it. */
#include "cli/qemu.h"

#include "cpu/cpu_model_text.h"

void qemu_list_version(void)
{
	puts(QEMU_VERSION "\n"
			  "This is veneer, which takes QEMU's command line.");
}

void qemu_list_machines(void)
{
	puts("Supported machines are:\n"
	     "none                 empty machine\n"
	     "pc                   Standard PC (alias of pc-i440fx-7.2)\n"
	     "pc-i440fx-7.2        Standard PC (default)\n"
	     "q35                  Standard PC with AHCI (alias of pc-q35-7.2)\n"
	     "pc-q35-7.2           Standard PC with AHCI");
}

void qemu_list_accelerators(void)
{
	puts("Accelerators supported in QEMU binary:\n"
	     "tcg\n"
	     "kvm");
}

void qemu_list_cpus(void)
{
	const char *name;

	puts("Available CPUs:\n"
	     "x86 host                  The host's processor\n"
	     "x86 max                   The same");
	for (unsigned i = 0; (name = cpu_model_name(i)); i++)
		printf("x86 %s\n", name);
	fputs("\nRecognized CPUID flags:\n ", stdout);
	for (unsigned i = 0; (name = cpu_feature_listed(i)); i++)
		printf(" %s", name);
	putchar('\n');
}
