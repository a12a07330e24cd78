/* The table of QMP's commands: what each takes, what it answers with, and its function. */
#include "control/qmp_internal.h"

const struct qmp_command qmp_commands[] = {
	/* The session */
	{"qmp_capabilities", qmp_capabilities, "*enable:[QMPCapability]", ""},
	{"query-commands", qmp_query_commands, "", "[CommandInfo]"},
	{"query-events", qmp_query_events, "", "[EventInfo]"},
	{"query-qmp-schema", qmp_query_schema, "", "[SchemaInfo]"},
	{"human-monitor-command", qmp_human_monitor_command, "command-line:str *cpu-index:int",
		"str"},

	/* The machine's life */
	{"query-status", qmp_query_status, "", "StatusInfo"},
	{"stop", qmp_stop, "", ""},
	{"cont", qmp_cont, "", ""},
	{"quit", qmp_quit, "", ""},
	{"system_powerdown", qmp_system_powerdown, "", ""},
	{"system_reset", qmp_system_reset, "", ""},
	{"system_wakeup", qmp_system_wakeup, "", ""},
	{"inject-nmi", qmp_inject_nmi, "", ""},
	{"watchdog-set-action", qmp_watchdog_set_action, "action:WatchdogAction", ""},
	{"set-action", qmp_set_action,
		"*reboot:RebootAction *shutdown:ShutdownAction *panic:PanicAction "
		"*watchdog:WatchdogAction",
		""},

	/* What it is */
	{"query-version", qmp_query_version, "", "VersionInfo"},
	{"query-target", qmp_query_target, "", "TargetInfo"},
	{"query-kvm", qmp_query_kvm, "", "KvmInfo"},
	{"query-name", qmp_query_name, "", "NameInfo"},
	{"query-uuid", qmp_query_uuid, "", "UuidInfo"},
	{"query-machines", qmp_query_machines, "", "[MachineInfo]"},
	{"query-cpus-fast", qmp_query_cpus_fast, "", "[CpuInfoFast]"},
	{"query-hotpluggable-cpus", qmp_query_hotpluggable_cpus, "", "[HotpluggableCPU]"},
	{"query-cpu-definitions", qmp_query_cpu_definitions, "", "[CpuDefinitionInfo]"},
	{"query-cpu-model-expansion", qmp_query_cpu_model_expansion,
		"type:CpuModelExpansionType model:CpuModelInfo", "CpuModelExpansionInfo"},
	{"query-memory-size-summary", qmp_query_memory_size_summary, "", "MemoryInfo"},
	{"query-iothreads", qmp_query_iothreads, "", "[IOThreadInfo]"},
	{"query-migrate-capabilities", qmp_query_migrate_capabilities, "",
		"[MigrationCapabilityStatus]"},
	{"migrate-set-capabilities", qmp_migrate_set_capabilities,
		"capabilities:[MigrationCapabilityStatus]", ""},
	{"query-command-line-options", qmp_query_command_line_options, "*option:str",
		"[CommandLineOptionInfo]"},

	/* The object model */
	{"qom-list-types", qmp_qom_list_types, "*implements:str *abstract:bool",
		"[ObjectTypeInfo]"},
	{"qom-list-properties", qmp_qom_list_properties, "typename:str", "[ObjectPropertyInfo]"},
	{"device-list-properties", qmp_device_list_properties, "typename:str",
		"[ObjectPropertyInfo]"},
	{"qom-list", qmp_qom_list, "path:str", "[ObjectPropertyInfo]"},
	{"qom-get", qmp_qom_get, "path:str property:str", "any"},
	{"object-add", qmp_object_add, "qom-type:ObjectType id:str ...", ""},
	{"object-del", qmp_object_del, "id:str", ""},

	/* Devices and what is behind them */
	{"query-chardev", qmp_query_chardev, "", "[ChardevInfo]"},
	{"query-chardev-backends", qmp_query_chardev_backends, "", "[ChardevBackendInfo]"},
	{"chardev-add", qmp_chardev_add, "id:str backend:ChardevBackend", "ChardevReturn"},
	{"chardev-remove", qmp_chardev_remove, "id:str", ""},
	{"ringbuf-read", qmp_ringbuf_read, "device:str size:int *format:DataFormat", "str"},
	{"ringbuf-write", qmp_ringbuf_write, "device:str data:str *format:DataFormat", ""},
	{"query-block", qmp_query_block, "", "[BlockInfo]"},
	{"query-blockstats", qmp_query_block_stats, "*query-nodes:bool", "[BlockStats]"},
	{"query-named-block-nodes", qmp_query_named_block_nodes, "*flat:bool", "[BlockDeviceInfo]"},
	{"query-pci", qmp_query_pci, "", "[PciInfo]"},

	{"device_add", qmp_device_add, "driver:str *bus:str *id:str ...", ""},
	{"device_del", qmp_device_del, "id:str", ""},
	{"blockdev-add", qmp_blockdev_add, "driver:BlockdevDriver *node-name:str ...", ""},
	{"blockdev-del", qmp_blockdev_del, "node-name:str", ""},
	{"netdev_add", qmp_netdev_add, "type:NetClientDriver id:str ...", ""},
	{"netdev_del", qmp_netdev_del, "id:str", ""},

	/* Descriptors, which come with the request as ancillary data */
	{"getfd", qmp_getfd, "fdname:str", ""},
	{"closefd", qmp_closefd, "fdname:str", ""},
	{"add-fd", qmp_add_fd, "*fdset-id:int *opaque:str", "AddfdInfo"},
	{"remove-fd", qmp_remove_fd, "fdset-id:int *fd:int", ""},
	{"query-fdsets", qmp_query_fdsets, "", "[FdsetInfo]"},

	/* Its memory in a file */
	{"dump-guest-memory", qmp_dump_guest_memory,
		"paging:bool protocol:str *detach:bool *format:DumpGuestMemoryFormat", ""},
	{"query-dump-guest-memory-capability", qmp_query_dump_capability, "",
		"DumpGuestMemoryCapability"},

	/* Keys, the mouse, the screen */
	{"send-key", qmp_send_key, "keys:[KeyValue] *hold-time:int", ""},
	{"input-send-event", qmp_input_send_event, "*device:str *head:int events:[InputEvent]", ""},
	{"query-vnc", qmp_query_vnc, "", "VncInfo"},
	{"screendump", qmp_screendump, "filename:str *device:str *head:int *format:ImageFormat",
		""},
	{.name = NULL},
};
