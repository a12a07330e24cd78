/* What the machine is: -machine, -accel, -m, -smp, -cpu, -boot. */
#include "cli/qemu.h"

#include "base/bits.h"
#include "base/log.h"
#include "base/words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- -machine --- */

/* There is one board. Names of versions, "pc-i440fx-7.2", are those of their families. */
static const struct {
	const char *name;
	bool q35, none;
} machines[] = {
	{"pc", false, false},
	{"pc-i440fx-*", false, false},
	{"ubuntu", false, false},
	{"q35", true, false},
	{"pc-q35-*", true, false},
	{"none", false, true},
};

static const struct qemu_key machine_keys[] = {
	{"type", QEMU_OWN, NULL},
	{"accel", QEMU_OWN, NULL},
	{"memory-backend", QEMU_OWN, NULL},
	{"kernel-irqchip", QEMU_IGNORED, NULL},
	{"vmport", QEMU_IGNORED, NULL},
	{"dump-guest-core", QEMU_IGNORED, NULL},
	{"mem-merge", QEMU_IGNORED, NULL},
	{"graphics", QEMU_IGNORED, NULL},
	{"pit", QEMU_IGNORED, NULL},
	{"hpet", QEMU_IGNORED, NULL},
	{"smm", QEMU_IGNORED, NULL},
	{"sata", QEMU_IGNORED, NULL},
	{"smbus", QEMU_IGNORED, NULL},
	{"i8042", QEMU_CHOICE, "on"},
	{"acpi", QEMU_CHOICE, "on|auto"},
	{"usb", QEMU_CHOICE, "off"},
	{"nvdimm", QEMU_CHOICE, "off"},
	{"suppress-vmdesc", QEMU_IGNORED, NULL},
	{"pcspk-audiodev", QEMU_IGNORED, NULL},
	{"hmat", QEMU_CHOICE, "off"},
	{"pflash0", QEMU_OWN, NULL},
	{"kernel", QEMU_OWN, NULL},
	{"initrd", QEMU_OWN, NULL},
	{"append", QEMU_OWN, NULL},
	{NULL, QEMU_END, NULL},
};

static bool same_machine(const char *row, const char *name)
{
	size_t length = strlen(row);

	if (row[length - 1] == '*')
		return strncmp(row, name, length - 1) == 0;
	return strcmp(row, name) == 0;
}

static int choose_machine(struct qemu *qemu, const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(machines); i++) {
		if (!same_machine(machines[i].name, name))
			continue;
		qemu->q35 = machines[i].q35;
		qemu->no_machine = machines[i].none;
		return 0;
	}
	if (strcmp(name, "microvm") == 0)
		log_error("-machine microvm: its devices are at virtio-mmio, which is not there "
			  "yet; expected pc or q35");
	else
		log_error("-machine %s: unsupported machine type; expected pc or q35", name);
	return -EINVAL;
}

static int use_machine(struct qemu *qemu, const struct qemu_words *words)
{
	const char *type = qemu_words_get(words, "type"), *accel = qemu_words_get(words, "accel");
	const char *flash = qemu_words_get(words, "pflash0");
	const struct {
		const char *key, **to;
	} texts[] = {{"kernel", &qemu->machine.kernel_path}, {"initrd", &qemu->machine.initrd_path},
		{"append", &qemu->machine.cmdline}};

	if (qemu_words_translate(words, machine_keys, NULL, NULL) < 0 ||
		(type && choose_machine(qemu, type) < 0))
		return -EINVAL;
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
		if (qemu_words_get(words, texts[i].key))
			*texts[i].to = qemu_keep_copy(qemu, qemu_words_get(words, texts[i].key));
	if (qemu_words_get(words, "memory-backend"))
		qemu->memory_backend =
			qemu_keep_copy(qemu, qemu_words_get(words, "memory-backend"));
	if (flash)
		qemu->firmware_drive = qemu_keep_copy(qemu, flash);
	return accel ? qemu_set_accelerator(qemu, accel) : 0;
}

int qemu_set_machine(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	int error;

	if (strcmp(value, "help") == 0 || strcmp(value, "?") == 0) {
		qemu->list = qemu_list_machines;
		return 0;
	}
	error = qemu_words_parse(&words, "-machine", value, "type");
	if (error)
		return error;
	error = use_machine(qemu, &words);
	qemu_words_free(&words);
	return error;
}

/* --- -accel --- */

/* There is no other hypervisor below: what asks for one gets the fastest engine. */
static const struct {
	const char *name, *engine;
} accelerators[] = {{"kvm", "auto"}, {"tcg", "bt"}};

int qemu_set_accelerator(struct qemu *qemu, const char *value)
{
	size_t length = strcspn(value, ",:");

	if (strcmp(value, "help") == 0 || strcmp(value, "?") == 0) {
		qemu->list = qemu_list_accelerators;
		return 0;
	}
	/* Of several options, as of the list in one, the first that there is. */
	if (qemu->engine_name)
		return 0;
	for (;;) {
		for (unsigned i = 0; i < ARRAY_SIZE(accelerators); i++) {
			if (strlen(accelerators[i].name) != length ||
				strncmp(accelerators[i].name, value, length) != 0)
				continue;
			qemu->engine_name = accelerators[i].engine;
			return 0;
		}
		if (value[length] != ':')
			break;
		value += length + 1;
		length = strcspn(value, ",:");
	}
	log_error("-accel %s: invalid accelerator; expected kvm or tcg", value);
	return -EINVAL;
}

/* --- -m --- */

static const struct qemu_key memory_keys[] = {
	{"size", QEMU_OWN, NULL},
	/* Memory is not plugged while the machine runs. */
	{"slots", QEMU_IGNORED, NULL},
	{"maxmem", QEMU_IGNORED, NULL},
	{NULL, QEMU_END, NULL},
};

int qemu_parse_memory(const char *option, const char *size, uint64_t *bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%s%s", size,
		*size && strspn(size, "0123456789") == strlen(size) ? "M" : "");
	if (*size && strchr("bB", size[strlen(size) - 1]))
		text[strlen(size) - 1] = '\0';
	return words_size(option, text, MACHINE_MIN_MEMORY, MACHINE_MAX_MEMORY, 4 * KIB, bytes);
}

int qemu_set_memory(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	const char *size;
	int error = qemu_words_parse(&words, "-m", value, "size");

	if (error)
		return error;
	size = qemu_words_get(&words, "size");
	if (qemu_words_translate(&words, memory_keys, NULL, NULL) < 0 ||
		(size && strlen(size) < 24 &&
			qemu_parse_memory("-m", size, &qemu->machine.memory_size) < 0))
		error = -EINVAL;
	qemu->memory_said |= size != NULL;
	qemu_words_free(&words);
	return error;
}

/* --- -smp --- */

static const struct qemu_key smp_keys[] = {
	{"cpus", QEMU_OWN, NULL},
	{"maxcpus", QEMU_OWN, NULL},
	{"sockets", QEMU_OWN, NULL},
	{"dies", QEMU_OWN, NULL},
	{"clusters", QEMU_OWN, NULL},
	{"cores", QEMU_OWN, NULL},
	{"threads", QEMU_OWN, NULL},
	{NULL, QEMU_END, NULL},
};

/* Processors are those of one socket, whatever the topology is said to be. */
static int use_smp(struct qemu *qemu, const struct qemu_words *words)
{
	uint64_t count = 0, product = 1, number;
	int error = 0;

	for (unsigned i = 0; smp_keys[i].kind != QEMU_END; i++) {
		const char *value = qemu_words_get(words, smp_keys[i].key);

		if (!value)
			continue;
		error = words_number("-smp", value, "a number of processors", 1, 4096, &number);
		if (error)
			return error;
		if (i == 0)
			count = number;
		else if (i > 1)
			product = MIN(product * number, 4096u);
	}
	count = count ? count : product;
	if (count > MACHINE_MAX_CPUS) {
		log_error("Invalid SMP CPUs %u. The max CPUs supported by machine '%s' is %u",
			(unsigned)count, qemu->q35 ? "pc-q35-7.2" : "pc-i440fx-7.2",
			MACHINE_MAX_CPUS);
		return -EINVAL;
	}
	qemu->machine.cpu_count = (unsigned)count;
	return 0;
}

int qemu_set_smp(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	int error = qemu_words_parse(&words, "-smp", value, "cpus");

	if (error)
		return error;
	error = qemu_words_translate(&words, smp_keys, NULL, NULL);
	if (!error)
		error = use_smp(qemu, &words);
	qemu_words_free(&words);
	return error;
}

/* --- -boot --- */

static const struct qemu_key boot_keys[] = {
	{"order", QEMU_OWN, NULL},
	{"once", QEMU_COPY, "once"},
	{"menu", QEMU_CHOICE, "on:menu=on|off"},
	{"strict", QEMU_IGNORED, NULL},
	{"splash", QEMU_IGNORED, NULL},
	{"splash-time", QEMU_IGNORED, NULL},
	{"reboot-timeout", QEMU_IGNORED, NULL},
	{NULL, QEMU_END, NULL},
};

int qemu_set_boot(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	const char *order;
	char *text = NULL;
	size_t size;
	FILE *out;
	int error = qemu_words_parse(&words, "-boot", value, "order");

	/* "-boot menu=on" has no order before it; "-boot strict" neither. */
	if (error)
		return error;
	out = open_memstream(&text, &size);
	error = out ? qemu_words_translate(&words, boot_keys, NULL, out) : -ENOMEM;
	order = qemu_words_get(&words, "order");
	if (out && order)
		fprintf(out, ",order=%s", order);
	if (out)
		fclose(out);
	if (!error && size)
		error = firmware_config_boot(&qemu->machine.firmware, "-boot", text + 1);
	free(text);
	qemu_words_free(&words);
	return error;
}
