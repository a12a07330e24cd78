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

/* The thread that runs the vCPU; where it has none, the process. */
static int thread_id(const struct machine *machine, unsigned cpu)
{
	pid_t id = machine_vcpu_thread_id(machine, cpu);

	return (int)(id ? id : getpid());
}

json_t *qmp_query_cpus_fast(struct qmp_session *session, json_t *arguments)
{
	json_t *list = json_array();
	char path[64];

	for (unsigned i = 0; i < session->machine->config.cpu_count; i++) {
		snprintf(path, sizeof(path), QMP_UNATTACHED "/device[%u]", i);
		json_array_append_new(
			list, json_pack("{s:i, s:s, s:i, s:o, s:s}", "cpu-index", (int)i,
				      "qom-path", path, "thread-id", thread_id(session->machine, i),
				      "props", describe_place(i), "target", "x86_64"));
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

/* Models that are all that there is. With "base" a client names the features itself. */
static const char *const whole_models[] = {"max", "host", "base"};

static bool is_whole(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(whole_models); i++)
		if (strcmp(whole_models[i], name) == 0)
			return true;
	return false;
}

/* What a processor of this machine can have. */
static int build_model(struct cpu_model *built, const char *name)
{
	struct cpuid_host host;
	char text[96];

	cpuid_host_read(&host);
	snprintf(text, sizeof(text), "%.80s,check", is_whole(name) ? "host" : name);
	return cpu_model_build(built, &host, NULL, text);
}

/* What the model would have to have, and `possible` has not. */
static json_t *missing_features(const char *name, const struct cpu_model *possible)
{
	const struct cpu_named_model *model = cpu_model_find(name, strlen(name));
	struct cpu_features features = {{0}};
	json_t *list = json_array();

	if (model)
		cpu_named_model_features(model, &features);
	for (int feature = 0; feature < CPUID_WORDS * 32; feature++)
		if (cpu_features_have(&features, (enum cpuid_feature)feature) &&
			!cpu_model_has(possible, (enum cpuid_feature)feature))
			json_array_append_new(
				list, json_string(cpu_feature_name((enum cpuid_feature)feature)));
	return list;
}

static void add_definition(json_t *list, const char *name, const struct cpu_model *possible)
{
	bool base = strcmp(name, "base") == 0;
	char type[64];

	snprintf(type, sizeof(type), "%.40s-x86_64-cpu", name);
	json_array_append_new(
		list, json_pack("{s:s, s:s, s:o, s:b, s:b, s:b}", "name", name, "typename", type,
			      "unavailable-features", missing_features(name, possible), "static",
			      base, "migration-safe", base, "deprecated", 0));
}

json_t *qmp_query_cpu_definitions(struct qmp_session *session, json_t *arguments)
{
	struct cpu_model possible;
	const char *name;
	json_t *list;

	if (build_model(&possible, "host") < 0)
		return qmp_fail(session, "This host's processor cannot be described");
	list = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(whole_models); i++)
		add_definition(list, whole_models[i], &possible);
	for (unsigned i = 0; (name = cpu_model_name(i)); i++)
		add_definition(list, name, &possible);
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
	bool is_static =
		strcmp(json_string_value(json_object_get(arguments, "type")), "static") == 0;
	struct cpu_model built;
	json_t *features, *props;

	if (!is_whole(name) && !cpu_model_find(name, strlen(name)))
		return qmp_fail(session, "The CPU model '%.60s' does not exist", name);
	if (build_model(&built, name) < 0)
		return qmp_fail(session, "This host cannot run the CPU model '%.60s'", name);
	features = features_of(&built);
	props = json_object_get(model, "props");
	if (json_is_object(props))
		json_object_update_existing(features, props);
	return json_pack(
		"{s:{s:s, s:o}}", "model", "name", is_static ? "base" : name, "props", features);
}
