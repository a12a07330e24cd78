/* The types of QMP that veneer's commands and events use, with QEMU's names. */
#include "control/schema.h"

#define OBJECT(name, members)                                                                      \
	{                                                                                          \
		name, SCHEMA_OBJECT, members, NULL, NULL                                           \
	}
#define ENUM(name, values)                                                                         \
	{                                                                                          \
		name, SCHEMA_ENUM, values, NULL, NULL                                              \
	}
#define UNION(name, members, tag, variants)                                                        \
	{                                                                                          \
		name, SCHEMA_OBJECT, members, tag, variants                                        \
	}

const struct schema_type schema_types[] = {
	/* The session and the machine's state */
	ENUM("QMPCapability", "oob"),
	OBJECT("VersionTriple", "major:int minor:int micro:int"),
	OBJECT("VersionInfo", "qemu:VersionTriple package:str"),
	OBJECT("CommandInfo", "name:str"),
	OBJECT("EventInfo", "name:str"),
	ENUM("RunState", "debug inmigrate internal-error io-error paused postmigrate prelaunch "
			 "finish-migrate restore-vm running save-vm shutdown suspended watchdog "
			 "guest-panicked colo"),
	OBJECT("StatusInfo", "running:bool singlestep:bool status:RunState"),
	ENUM("ShutdownCause",
		"none host-error host-qmp-quit host-qmp-system-reset host-signal host-ui "
		"guest-shutdown guest-reset guest-panic subsystem-reset"),
	ENUM("RebootAction", "reset shutdown"),
	ENUM("ShutdownAction", "poweroff pause"),
	ENUM("PanicAction", "pause shutdown exit-failure none"),
	ENUM("WatchdogAction", "reset shutdown poweroff pause debug none inject-nmi"),
	ENUM("GuestPanicAction", "pause poweroff run"),
	OBJECT("KvmInfo", "enabled:bool present:bool"),
	OBJECT("NameInfo", "*name:str"),
	OBJECT("UuidInfo", "UUID:str"),
	ENUM("SysEmuTarget", "x86_64"),
	OBJECT("TargetInfo", "arch:SysEmuTarget"),
	OBJECT("MemoryInfo", "base-memory:int *plugged-memory:int"),
	OBJECT("IOThreadInfo",
		"id:str thread-id:int poll-max-ns:int poll-grow:int poll-shrink:int"),
	OBJECT("SchemaInfo", "name:str meta-type:str ..."),
	ENUM("MigrationCapability", "events"),
	OBJECT("MigrationCapabilityStatus", "capability:MigrationCapability state:bool"),

	/* Processors and machines */
	OBJECT("CpuInstanceProperties",
		"*node-id:int *socket-id:int *die-id:int *core-id:int *thread-id:int"),
	OBJECT("CpuInfoFast",
		"cpu-index:int qom-path:str thread-id:int *props:CpuInstanceProperties "
		"target:SysEmuTarget"),
	OBJECT("HotpluggableCPU",
		"type:str vcpus-count:int props:CpuInstanceProperties *qom-path:str"),
	OBJECT("MachineInfo",
		"name:str *alias:str *is-default:bool cpu-max:int hotpluggable-cpus:bool "
		"numa-mem-supported:bool deprecated:bool *default-cpu-type:str "
		"*default-ram-id:str"),
	OBJECT("CpuDefinitionInfo",
		"name:str *migration-safe:bool static:bool *unavailable-features:[str] "
		"typename:str *alias-of:str deprecated:bool"),
	ENUM("CpuModelExpansionType", "static full"),
	OBJECT("CpuModelInfo", "name:str *props:any"),
	OBJECT("CpuModelExpansionInfo", "model:CpuModelInfo"),
	ENUM("CommandLineParameterType", "string boolean number size"),
	OBJECT("CommandLineParameterInfo",
		"name:str type:CommandLineParameterType *help:str *default:str"),
	OBJECT("CommandLineOptionInfo", "option:str parameters:[CommandLineParameterInfo]"),

	/* The object model */
	OBJECT("ObjectTypeInfo", "name:str *abstract:bool *parent:str"),
	OBJECT("ObjectPropertyInfo", "name:str type:str *description:str *default-value:any"),
	ENUM("ObjectType",
		"iothread memory-backend-file memory-backend-memfd memory-backend-ram rng-builtin "
		"rng-random secret"),
	ENUM("SecretFormat", "raw base64"),
	UNION("ObjectOptions", "qom-type:ObjectType id:str", "qom-type",
		"iothread=IothreadProperties memory-backend-file=MemoryBackendFileProperties "
		"memory-backend-memfd=MemoryBackendMemfdProperties "
		"memory-backend-ram=MemoryBackendProperties rng-builtin=RngProperties "
		"rng-random=RngRandomProperties secret=SecretProperties"),
	OBJECT("IothreadProperties", "*poll-max-ns:int *poll-grow:int *poll-shrink:int"),
	OBJECT("MemoryBackendProperties", "size:int *share:bool *merge:bool *dump:bool"),
	OBJECT("MemoryBackendFileProperties",
		"size:int *share:bool *merge:bool *dump:bool mem-path:str *readonly:bool"),
	OBJECT("MemoryBackendMemfdProperties",
		"size:int *share:bool *merge:bool *dump:bool *seal:bool *hugetlb:bool"),
	OBJECT("RngProperties", "*opened:bool"),
	OBJECT("RngRandomProperties", "*opened:bool *filename:str"),
	OBJECT("SecretProperties",
		"*data:str *file:str *format:SecretFormat *keyid:str *iv:str *loaded:bool"),

	/* Character devices */
	OBJECT("ChardevInfo", "label:str filename:str frontend-open:bool"),
	OBJECT("ChardevBackendInfo", "name:str"),
	ENUM("ChardevBackendKind", "null file pipe pty socket ringbuf memory stdio"),
	OBJECT("ChardevBackend", "type:ChardevBackendKind data:any"),
	OBJECT("ChardevReturn", "*pty:str"),
	ENUM("DataFormat", "utf8 base64"),

	/* Block devices */
	OBJECT("ImageInfo", "filename:str format:str *actual-size:int virtual-size:int"),
	OBJECT("BlockdevCacheInfo", "writeback:bool direct:bool no-flush:bool"),
	OBJECT("BlockDeviceInfo",
		"file:str *node-name:str ro:bool drv:str backing_file_depth:int encrypted:bool "
		"detect_zeroes:str bps:int bps_rd:int bps_wr:int iops:int iops_rd:int iops_wr:int "
		"image:ImageInfo cache:BlockdevCacheInfo write_threshold:int"),
	ENUM("BlockDeviceIoStatus", "ok failed nospace"),
	OBJECT("BlockInfo",
		"device:str *qdev:str type:str removable:bool locked:bool "
		"*inserted:BlockDeviceInfo *tray_open:bool *io-status:BlockDeviceIoStatus"),
	OBJECT("BlockDeviceStats",
		"rd_bytes:int wr_bytes:int unmap_bytes:int rd_operations:int wr_operations:int "
		"flush_operations:int unmap_operations:int"),
	OBJECT("BlockStats", "*device:str *qdev:str *node-name:str stats:BlockDeviceStats"),

	ENUM("BlockdevDriver",
		"file host_cdrom host_device nbd qcow qcow2 qed raw vdi vhdx vmdk vpc"),
	ENUM("NetClientDriver", "tap user"),

	/* PCI */
	OBJECT("PciMemoryRange", "base:int limit:int"),
	OBJECT("PciMemoryRegion",
		"bar:int type:str address:int size:int *prefetch:bool *mem_type_64:bool"),
	OBJECT("PciBusInfo", "number:int secondary:int subordinate:int io_range:PciMemoryRange "
			     "memory_range:PciMemoryRange prefetchable_range:PciMemoryRange"),
	OBJECT("PciBridgeInfo", "bus:PciBusInfo *devices:[PciDeviceInfo]"),
	OBJECT("PciDeviceClass", "*desc:str class:int"),
	OBJECT("PciDeviceId", "device:int vendor:int *subsystem:int *subsystem-vendor:int"),
	OBJECT("PciDeviceInfo",
		"bus:int slot:int function:int class_info:PciDeviceClass id:PciDeviceId *irq:int "
		"irq_pin:int qdev_id:str *pci_bridge:PciBridgeInfo regions:[PciMemoryRegion]"),
	OBJECT("PciInfo", "bus:int devices:[PciDeviceInfo]"),

	/* Descriptors */
	OBJECT("AddfdInfo", "fdset-id:int fd:int"),
	OBJECT("FdsetFdInfo", "fd:int *opaque:str"),
	OBJECT("FdsetInfo", "fdset-id:int fds:[FdsetFdInfo]"),

	/* Dumps */
	ENUM("DumpGuestMemoryFormat", "elf"),
	OBJECT("DumpGuestMemoryCapability", "formats:[DumpGuestMemoryFormat]"),

	/* Keys, the mouse, the screen */
	ENUM("KeyValueKind", "number qcode"),
	OBJECT("KeyValue", "type:KeyValueKind data:any"),
	ENUM("InputEventKind", "key btn rel"),
	OBJECT("InputEvent", "type:InputEventKind data:any"),
	ENUM("ImageFormat", "ppm png"),
	ENUM("NetworkAddressFamily", "ipv4 ipv6 unix"),
	OBJECT("VncInfo",
		"enabled:bool *host:str *service:str *family:NetworkAddressFamily *auth:str"),
	{.name = NULL},
};

const struct schema_event schema_events[] = {
	{"STOP", ""},
	{"RESUME", ""},
	{"POWERDOWN", ""},
	{"SUSPEND", ""},
	{"WAKEUP", ""},
	{"DEVICE_DELETED", "*device:str path:str"},
	{"RESET", "guest:bool reason:ShutdownCause"},
	{"SHUTDOWN", "guest:bool reason:ShutdownCause"},
	{"GUEST_PANICKED", "action:GuestPanicAction"},
	{"GUEST_CRASHLOADED", "action:GuestPanicAction"},
	{"WATCHDOG", "action:WatchdogAction"},
	{.name = NULL},
};
