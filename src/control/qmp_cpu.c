/* Processors, and models of processors, by QMP. */
#include "control/qmp_internal.h"

#include "cpu/cpu_model_text.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static json_t *describe_place(unsigned index)
{
	return json_pack("{s:i, s:i, s:i}", "socket-id", (int)index, "core-id", 0, "thread-id", 0);
}

/* A vCPU's thread ends and begins anew with a reset, so the process is what can be named. */
json_t *qmp_query_cpus_fast(struct qmp_session *session, json_t *arguments)
{
	json_t *list = json_array();
	char path[64];

	for (unsigned i = 0; i < session->machine->config.cpu_count; i++) {
		snprintf(path, sizeof(path), QMP_UNATTACHED "/device[%u]", i);
		json_array_append_new(
			list, json_pack("{s:i, s:s, s:i, s:o, s:s}", "cpu-index", (int)i,
				      "qom-path", path, "thread-id", (int)getpid(), "props",
				      describe_place(i), "target", "x86_64"));
	}
	return list;
}

json_t *qmp_query_hotpluggable_cpus(struct qmp_session *session, json_t *arguments)
{
	json_t *list = json_array();
	char path[64];

	for (unsigned i = session->machine->config.cpu_count; i-- > 0;) {
		snprintf(path, sizeof(path), QMP_UNATTACHED "/device[%u]", i);
		json_array_append_new(
			list, json_pack("{s:s, s:i, s:o, s:s}", "type", QMP_CPU_TYPE, "vcpus-count",
				      1, "props", describe_place(i), "qom-path", path));
	}
	return list;
}

/* By their names in QEMU, and what a machine's --cpu makes of them. */
static const struct {
	const char *name, *alias_of, *model;
} models[] = {
	{"max", NULL, "host"},
	{"host", NULL, "host"},
	{"qemu64-v1", NULL, "host"},
	{"qemu64", "qemu64-v1", "host"},
	{"x86-64-v2", NULL, "x86-64-v2"},
	{"x86-64-v3", NULL, "x86-64-v3"},
	{"x86-64-v4", NULL, "x86-64-v4"},
};

json_t *qmp_query_cpu_definitions(struct qmp_session *session, json_t *arguments)
{
	json_t *list = json_array(), *one;
	char type[64];

	for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
		snprintf(type, sizeof(type), "%s-x86_64-cpu", models[i].name);
		one = json_pack("{s:s, s:s, s:[], s:b, s:b, s:b}", "name", models[i].name,
			"typename", type, "unavailable-features", "static", 0, "migration-safe", 0,
			"deprecated", 0);
		if (models[i].alias_of)
			json_object_set_new(one, "alias-of", json_string(models[i].alias_of));
		json_array_append_new(list, one);
	}
	return list;
}

/* Which features a machine with that model would have on this host. */
static json_t *features_of(const struct cpu_model *model)
{
	json_t *features = json_object();

	for (int feature = 0; feature < CPUID_WORDS * 32; feature++) {
		const char *name = cpu_feature_name((enum cpuid_feature)feature);

		if (!strchr(name, ' '))
			json_object_set_new(features, name,
				json_boolean(cpu_model_has(model, (enum cpuid_feature)feature)));
	}
	return features;
}

json_t *qmp_query_cpu_model_expansion(struct qmp_session *session, json_t *arguments)
{
	json_t *model = json_object_get(arguments, "model");
	const char *name = json_string_value(json_object_get(model, "name"));
	struct cpu_model built;
	struct cpuid_host host;
	json_t *features;

	for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
		if (strcmp(models[i].name, name) != 0)
			continue;
		cpuid_host_read(&host);
		if (cpu_model_build(&built, &host, NULL, models[i].model) < 0)
			return qmp_fail(session, "This host cannot run the CPU model '%s'", name);
		features = features_of(&built);
		if (json_is_object(json_object_get(model, "props")))
			json_object_update(features, json_object_get(model, "props"));
		return json_pack("{s:{s:s, s:o}}", "model", "name",
			strcmp(json_string_value(json_object_get(arguments, "type")), "static") == 0
				? "base"
				: name,
			"props", features);
	}
	return qmp_fail(session, "The CPU model '%.60s' does not exist", name);
}
