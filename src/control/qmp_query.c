/* What a machine is, by QMP. */
#include "control/qmp_internal.h"
#include "control/schema.h"

#include <string.h>
#include <unistd.h>

json_t *qmp_query_target(struct qmp_session *session, json_t *arguments)
{
	return json_pack("{s:s}", "arch", "x86_64");
}

/* There is none, whatever the command line has accepted: clients decide by it how a domain of type
 * "kvm" runs. */
json_t *qmp_query_kvm(struct qmp_session *session, json_t *arguments)
{
	return json_pack(
		"{s:b, s:b}", "enabled", session->shared->kvm, "present", session->shared->kvm);
}

json_t *qmp_query_name(struct qmp_session *session, json_t *arguments)
{
	const char *name = session->shared->name;

	return name ? json_pack("{s:s}", "name", name) : json_object();
}

json_t *qmp_query_uuid(struct qmp_session *session, json_t *arguments)
{
	const char *uuid = session->shared->uuid;

	return json_pack("{s:s}", "UUID", uuid ? uuid : "00000000-0000-0000-0000-000000000000");
}

/* One machine, by the names that clients have for one of its kind, and the one with which they only
 * ask what there is. */
json_t *qmp_query_machines(struct qmp_session *session, json_t *arguments)
{
	static const struct {
		const char *name, *alias;
		int cpus;
	} machines[] = {
		{"pc-q35-7.2", "q35", MACHINE_MAX_CPUS},
		{"pc-i440fx-7.2", "pc", MACHINE_MAX_CPUS},
		{"none", NULL, 1},
	};
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		json_t *machine = json_pack("{s:s, s:i, s:b, s:b, s:b}", "name", machines[i].name,
			"cpu-max", machines[i].cpus, "hotpluggable-cpus", 0, "numa-mem-supported",
			0, "deprecated", 0);

		if (machines[i].alias) {
			json_object_set_new(machine, "alias", json_string(machines[i].alias));
			json_object_set_new(
				machine, "default-cpu-type", json_string("qemu64-x86_64-cpu"));
			json_object_set_new(machine, "default-ram-id", json_string("pc.ram"));
		}
		if (machines[i].alias && strcmp(machines[i].alias, "pc") == 0)
			json_object_set_new(machine, "is-default", json_true());
		json_array_append_new(list, machine);
	}
	return list;
}

json_t *qmp_query_memory_size_summary(struct qmp_session *session, json_t *arguments)
{
	return json_pack("{s:I, s:I}", "base-memory",
		(json_int_t)session->machine->config.memory_size, "plugged-memory", (json_int_t)0);
}

/* A device's requests are the affair of its own worker: there are no threads to name. */
json_t *qmp_query_iothreads(struct qmp_session *session, json_t *arguments)
{
	json_t *list = json_array(), *object;
	const char *id;

	json_object_foreach(session->shared->objects, id, object)
	{
		if (strcmp(json_string_value(json_object_get(object, "qom-type")), "iothread") != 0)
			continue;
		json_array_append_new(list,
			json_pack("{s:s, s:i, s:i, s:i, s:i}", "id", id, "thread-id", (int)getpid(),
				"poll-max-ns", 0, "poll-grow", 0, "poll-shrink", 0));
	}
	return list;
}

/* A machine does not migrate, so there would be no event; libvirt sets the capability before each
 * start. */
json_t *qmp_query_migrate_capabilities(struct qmp_session *session, json_t *arguments)
{
	return json_pack(
		"[{s:s, s:b}]", "capability", "events", "state", session->shared->migration_events);
}

json_t *qmp_migrate_set_capabilities(struct qmp_session *session, json_t *arguments)
{
	json_t *one;
	size_t i;

	json_array_foreach(json_object_get(arguments, "capabilities"), i, one)
	{
		session->shared->migration_events = json_is_true(json_object_get(one, "state"));
	}
	return json_object();
}

/* Options whose parameters clients look for before they use them: OPTION, then NAME:TYPE. */
static const struct {
	const char *option, *parameters;
} options[] = {
	{"chardev", "backend:string path:string host:string port:string fd:string server:boolean "
		    "wait:boolean logfile:string logappend:boolean size:size mux:boolean"},
	{"mon", "mode:string chardev:string pretty:boolean"},
	{"machine", "type:string accel:string kernel_irqchip:string usb:boolean "
		    "dump-guest-core:boolean "
		    "vmport:string hpet:boolean memory-backend:string firmware:string"},
	{"smp-opts", "cpus:number sockets:number dies:number cores:number threads:number "
		     "maxcpus:number"},
	{"memory", "size:size slots:number maxmem:size"},
	{"name", "guest:string process:string debug-threads:boolean"},
	{"overcommit", "mem-lock:boolean cpu-pm:boolean"},
	{"sandbox", "enable:boolean obsolete:string elevateprivileges:string spawn:string "
		    "resourcecontrol:string"},
	{"boot-opts", "order:string once:string menu:boolean strict:boolean splash:string "
		      "splash-time:number reboot-timeout:number"},
	{"rtc", "base:string clock:string driftfix:string"},
	{"msg", "timestamp:boolean guest-name:boolean"},
	{"fw_cfg", "name:string file:string string:string"},
	{"device", ""},
	{"netdev", ""},
	{"object", ""},
	{"drive", "file:string if:string format:string id:string readonly:boolean "
		  "snapshot:boolean cache:string media:string"},
	{"numa", ""},
};

json_t *qmp_query_command_line_options(struct qmp_session *session, json_t *arguments)
{
	const char *wanted = json_string_value(json_object_get(arguments, "option"));
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		json_t *parameters = json_array();
		const char *text = options[i].parameters;
		char word[64], *colon;

		while ((text = schema_word(text, word, sizeof(word)))) {
			colon = strchr(word, ':');
			*colon = '\0';
			json_array_append_new(parameters,
				json_pack("{s:s, s:s}", "name", word, "type", colon + 1));
		}
		json_array_append_new(list, json_pack("{s:s, s:o}", "option", options[i].option,
						    "parameters", parameters));
	}
	for (size_t i = json_array_size(list); wanted && i-- > 0;)
		if (strcmp(options[i].option, wanted) != 0)
			json_array_remove(list, i);
	if (wanted && !json_array_size(list)) {
		json_decref(list);
		return qmp_fail(session, "Invalid option name: %.100s", wanted);
	}
	return list;
}
