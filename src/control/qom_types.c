#include "control/qom_types.h"

#include "control/schema.h"

#include <stddef.h>
#include <string.h>

#define PCI_PROPERTIES "addr:int32 multifunction:bool rombar:uint32 romfile:str acpi-index:uint32 "
#define VIRTIO_PROPERTIES                                                                          \
	PCI_PROPERTIES                                                                             \
	"disable-legacy:OnOffAuto disable-modern:bool iommu_platform:bool ats:bool "               \
	"packed:bool event_idx:bool indirect_desc:bool ioeventfd:bool vectors:uint32 "
#define DISK_PROPERTIES                                                                            \
	"drive:str serial:str bootindex:int32 write-cache:OnOffAuto share-rw:bool "                \
	"discard:bool werror:BlockdevOnError rerror:BlockdevOnError logical_block_size:size "      \
	"physical_block_size:size min_io_size:size opt_io_size:uint32 discard_granularity:size "
#define DRIVE_PROPERTIES                                                                           \
	DISK_PROPERTIES                                                                            \
	"unit:uint32 model:str lun:uint32 scsi-id:uint32 channel:uint32 device_id:str "            \
	"rotation_rate:uint16 removable:bool "
#define BLOCK_PROPERTIES                                                                           \
	VIRTIO_PROPERTIES                                                                          \
	DISK_PROPERTIES "num-queues:uint16 queue-size:uint16 iothread:link<iothread> "             \
			"write-zeroes:bool scsi:bool "
#define CARD_PROPERTIES "netdev:str mac:str bootindex:int32 "
#define NET_PROPERTIES                                                                             \
	VIRTIO_PROPERTIES CARD_PROPERTIES                                                          \
		"mq:bool mrg_rxbuf:bool csum:bool gso:bool guest_csum:bool guest_tso4:bool "       \
		"guest_tso6:bool guest_ecn:bool guest_ufo:bool guest_announce:bool "               \
		"host_tso4:bool "                                                                  \
		"host_tso6:bool host_ecn:bool host_ufo:bool host_mtu:uint16 rx_queue_size:uint16 " \
		"tx_queue_size:uint16 tx:str "
#define SCSI_PROPERTIES                                                                            \
	VIRTIO_PROPERTIES "num_queues:uint32 virtqueue_size:uint32 max_sectors:uint32 "            \
			  "cmd_per_lun:uint32 iothread:link<iothread> hotplug:bool "               \
			  "param_change:bool"
#define UNIT_PROPERTIES                                                                            \
	DRIVE_PROPERTIES                                                                           \
	"vendor:str product:str ver:str wwn:uint64 port_wwn:uint64 port_index:uint16 dpofua:bool " \
	"scsi_version:int32 max_unmap_size:uint64 max_io_size:uint64 "
#define RNG_PROPERTIES    VIRTIO_PROPERTIES "rng:link<rng-backend> max-bytes:uint64 period:uint32"
#define SHARE_PROPERTIES  VIRTIO_PROPERTIES "fsdev:str mount_tag:str"
#define SERIAL_PROPERTIES VIRTIO_PROPERTIES "max_ports:uint32"
#define PORT_PROPERTIES   "chardev:str name:str nr:uint32"
#define BRIDGE_PROPERTIES PCI_PROPERTIES "chassis_nr:uint8 shpc:OnOffAuto"

const struct qom_type qom_types[] = {
	/* Abstract ones, which others are kinds of */
	{"object", NULL, NULL, NULL, "type:string"},
	{"device", "object", NULL, NULL, ""},
	{"pci-device", "device", NULL, NULL, ""},
	{"isa-device", "device", NULL, NULL, ""},
	{"virtio-pci", "pci-device", NULL, NULL, ""},
	{"chardev", "object", NULL, NULL, ""},
	{"machine", "object", NULL, NULL, ""},
	{"x86_64-cpu", "device", NULL, NULL, ""},
	{"memory-backend", "object", NULL, NULL, ""},
	{"rng-backend", "object", NULL, NULL, ""},
	{"accel", "object", NULL, NULL, ""},

	/* Devices: what -device and device_add take */
	{"virtio-blk-pci", "virtio-pci", "PCI", "a disk", BLOCK_PROPERTIES},
	{"virtio-blk", "virtio-pci", "PCI", "a disk", BLOCK_PROPERTIES},
	{"nvme", "pci-device", "PCI", "a disk at an NVMe controller of its own",
		PCI_PROPERTIES DISK_PROPERTIES "max_ioqpairs:uint32 msix_qsize:uint16 mdts:uint8 "
					       "use-intel-id:bool cmb_size_mb:uint32"},
	{"ide-hd", "device", "IDE", "a hard disk at an IDE or SATA controller", DRIVE_PROPERTIES},
	{"ide-cd", "device", "IDE", "a CD-ROM drive at an IDE or SATA controller",
		DRIVE_PROPERTIES},
	{"ide-drive", "device", "IDE", "a hard disk at an IDE or SATA controller",
		DRIVE_PROPERTIES},
	{"ahci", "pci-device", "PCI", "SATA controller", PCI_PROPERTIES},
	{"ich9-ahci", "pci-device", "PCI", "Intel's SATA controller", PCI_PROPERTIES},
	{"virtio-scsi-pci", "virtio-pci", "PCI", "a SCSI controller", SCSI_PROPERTIES},
	{"virtio-scsi", "virtio-pci", "PCI", "a SCSI controller", SCSI_PROPERTIES},
	{"scsi-hd", "device", "SCSI", "a disk at a SCSI controller", UNIT_PROPERTIES},
	{"scsi-cd", "device", "SCSI", "a CD-ROM drive at a SCSI controller", UNIT_PROPERTIES},
	{"virtio-net-pci", "virtio-pci", "PCI", "a network card", NET_PROPERTIES},
	{"virtio-net", "virtio-pci", "PCI", "a network card", NET_PROPERTIES},
	{"e1000", "pci-device", "PCI", "Intel's 82540EM network card",
		PCI_PROPERTIES CARD_PROPERTIES},
	{"e1000-82540em", "pci-device", "PCI", "Intel's 82540EM network card",
		PCI_PROPERTIES CARD_PROPERTIES},
	{"virtio-9p-pci", "virtio-pci", "PCI", "a shared directory", SHARE_PROPERTIES},
	{"virtio-9p", "virtio-pci", "PCI", "a shared directory", SHARE_PROPERTIES},
	{"virtio-serial-pci", "virtio-pci", "PCI", "a controller of ports", SERIAL_PROPERTIES},
	{"virtio-serial", "virtio-pci", "PCI", "a controller of ports", SERIAL_PROPERTIES},
	{"virtserialport", "device", "virtio-serial-bus", "a port", PORT_PROPERTIES},
	{"virtconsole", "device", "virtio-serial-bus", "a port that is a terminal",
		PORT_PROPERTIES},
	{"isa-serial", "isa-device", "ISA", "a serial port",
		"chardev:str index:uint32 iobase:uint32 irq:uint32"},
	{"isa-debug-exit", "isa-device", "ISA", "ends the machine", "iobase:uint32 iosize:uint32"},
	{"pc-testdev", "isa-device", "ISA", "a test device", ""},
	{"pci-testdev", "pci-device", "PCI", "a test device",
		PCI_PROPERTIES "membar:size membar-backed:bool"},
	{"vmcoreinfo", "device", NULL, "takes word of where a kernel's data are", ""},
	{"edu", "pci-device", "PCI", "a device for learning", PCI_PROPERTIES "dma_mask:uint64"},
	{"i6300esb", "pci-device", "PCI", "a watchdog", PCI_PROPERTIES},
	{"pvpanic", "isa-device", "ISA", "takes word of a panic", "ioport:uint16 events:uint8"},
	{"pvpanic-pci", "pci-device", "PCI", "takes word of a panic",
		PCI_PROPERTIES "events:uint8"},
	{"VGA", "pci-device", "PCI", "VGA with Bochs' extensions",
		PCI_PROPERTIES "vgamem_mb:uint32 xres:uint32 yres:uint32 edid:bool "
			       "max_outputs:uint32"},
	{"virtio-rng-pci", "virtio-pci", "PCI", "entropy", RNG_PROPERTIES},
	{"virtio-rng", "virtio-pci", "PCI", "entropy", RNG_PROPERTIES},
	{"pcie-root-port", "pci-device", "PCI", "PCI Express root port",
		PCI_PROPERTIES
		"chassis:uint8 port:uint8 slot:uint16 hotplug:bool bus-reserve:uint32 "
		"io-reserve:size mem-reserve:size pref32-reserve:size "
		"pref64-reserve:size"},
	{"pci-bridge", "pci-device", "PCI", "a bridge", BRIDGE_PROPERTIES},
	{"pcie-pci-bridge", "pci-device", "PCI", "a bridge", BRIDGE_PROPERTIES},

	{"chardev-socket", "chardev", NULL, NULL, ""},
	{"chardev-file", "chardev", NULL, NULL, ""},
	{"chardev-pipe", "chardev", NULL, NULL, ""},
	{"chardev-null", "chardev", NULL, NULL, ""},
	{"chardev-ringbuf", "chardev", NULL, NULL, ""},
	{"chardev-stdio", "chardev", NULL, NULL, ""},
	{"iothread", "object", NULL, NULL, "poll-max-ns:int poll-grow:int poll-shrink:int"},
	{"secret", "object", NULL, NULL, "data:string file:string format:string"},
	{"memory-backend-ram", "memory-backend", NULL, NULL, "size:int share:bool"},
	{"memory-backend-file", "memory-backend", NULL, NULL,
		"size:int share:bool mem-path:string"},
	{"memory-backend-memfd", "memory-backend", NULL, NULL, "size:int share:bool"},
	{"rng-random", "rng-backend", NULL, NULL, "opened:bool filename:string"},
	{"rng-builtin", "rng-backend", NULL, NULL, "opened:bool"},
	{"pc-q35-7.2-machine", "machine", NULL, NULL,
		"accel:string kernel_irqchip:string hpet:bool vmport:OnOffAuto usb:bool "
		"memory-backend:string firmware:string"},
	{"pc-i440fx-7.2-machine", "machine", NULL, NULL,
		"accel:string kernel_irqchip:string hpet:bool vmport:OnOffAuto usb:bool "
		"memory-backend:string firmware:string"},
	{"none-machine", "machine", NULL, NULL, ""},
	{"tcg-accel", "accel", NULL, NULL, ""},
	{"max-x86_64-cpu", "x86_64-cpu", NULL, NULL, ""},
	{"host-x86_64-cpu", "x86_64-cpu", NULL, NULL, ""},
	{"qemu64-x86_64-cpu", "x86_64-cpu", NULL, NULL, ""},
	{NULL, NULL, NULL, NULL, NULL},
};

const struct qom_type *qom_type_find(const char *name)
{
	for (const struct qom_type *type = qom_types; type->name; type++)
		if (strcmp(type->name, name) == 0)
			return type;
	return NULL;
}

bool qom_type_is(const struct qom_type *type, const char *kind)
{
	while (type && strcmp(type->name, kind) != 0)
		type = type->parent ? qom_type_find(type->parent) : NULL;
	return type;
}

/* `word` is NAME:TYPE. */
static bool names(const char *word, const char *property)
{
	for (; *property; word++, property++)
		if (*word != *property &&
			!((*word == '_' || *word == '-') && (*property == '_' || *property == '-')))
			return false;
	return *word == ':';
}

bool qom_type_has(const struct qom_type *type, const char *property)
{
	const char *text = type->properties;
	char word[64];

	while ((text = schema_word(text, word, sizeof(word))))
		if (names(word, property))
			return true;
	return false;
}
