/* -rtc. The clock counts machine time, as with clock=vm: it stands while the machine is paused. No
 * interrupts of it are lost that would have to be made up for. */
#include "cli/qemu.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define SECOND_OF_2100 INT64_C(4102444800)

/* "2006-06-17T16:01:21" or "2006-06-17", in UTC. */
static int parse_date(const char *text, int64_t *seconds)
{
	static const char *const formats[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"};

	for (unsigned i = 0; i < 2; i++) {
		struct tm date = {0};
		const char *end = strptime(text, formats[i], &date);

		*seconds = end && !*end ? timegm(&date) : -1;
		if (*seconds >= 0 && *seconds < SECOND_OF_2100)
			return 0;
	}
	log_error("-rtc base=%s: expected utc, localtime, or a date of 1970 to 2099, such as "
		  "2006-06-17T16:01:21",
		text);
	return -EINVAL;
}

static int use_base(struct qemu *qemu, const char *base)
{
	time_t now = time(NULL);
	struct tm local;
	int64_t date;

	qemu->machine.rtc_offset_s = 0;
	if (strcmp(base, "utc") == 0)
		return 0;
	if (strcmp(base, "localtime") == 0) {
		if (localtime_r(&now, &local))
			qemu->machine.rtc_offset_s = local.tm_gmtoff;
		return 0;
	}
	if (parse_date(base, &date) < 0)
		return -EINVAL;
	qemu->machine.rtc_offset_s = date - now;
	return 0;
}

int qemu_set_rtc(struct qemu *qemu, const char *value)
{
	static const struct qemu_key keys[] = {{"base", QEMU_OWN, NULL},
		{"clock", QEMU_CHOICE, "host|rt|vm"}, {"driftfix", QEMU_CHOICE, "none|slew"},
		{NULL, QEMU_END, NULL}};
	struct qemu_words words;
	const char *base;
	int error = qemu_words_parse(&words, "-rtc", value, NULL);

	if (error)
		return error;
	base = qemu_words_get(&words, "base");
	error = qemu_words_translate(&words, keys, NULL, NULL);
	if (!error && base)
		error = use_base(qemu, base);
	qemu_words_free(&words);
	return error;
}
