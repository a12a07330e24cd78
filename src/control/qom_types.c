#include "control/qom_types.h"

#include <stddef.h>

#define PCI_PROPERTIES "addr:int32 multifunction:bool rombar:uint32 romfile:str acpi-index:uint32 "
#define VIRTIO_PROPERTIES                                                                          \
	PCI_PROPERTIES                                                                             \
	"disable-legacy:OnOffAuto disable-modern:bool iommu_platform:bool ats:bool "               \
	"packed:bool event_idx:bool indirect_desc:bool vectors:uint32 "

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

	{"virtio-blk-pci", "virtio-pci", "PCI", "a disk",
		VIRTIO_PROPERTIES "drive:str serial:str bootindex:int32 num-queues:uint16 "
				  "write-cache:OnOffAuto share-rw:bool iothread:link<iothread> "
				  "discard:bool write-zeroes:bool werror:BlockdevOnError "
				  "rerror:BlockdevOnError logical_block_size:size "
				  "physical_block_size:size"},
	{"virtio-net-pci", "virtio-pci", "PCI", "a network card",
		VIRTIO_PROPERTIES "netdev:str mac:str bootindex:int32 mq:bool mrg_rxbuf:bool "
				  "csum:bool host_mtu:uint16 rx_queue_size:uint16 "
				  "tx_queue_size:uint16"},
	{"virtio-rng-pci", "virtio-pci", "PCI", "entropy",
		VIRTIO_PROPERTIES "rng:link<rng-backend> max-bytes:uint64 period:uint32"},
	{"virtio-serial-pci", "virtio-pci", "PCI", "a console with ports",
		VIRTIO_PROPERTIES "max_ports:uint32"},
	{"virtserialport", "device", "virtio-serial-bus", "a port",
		"chardev:str name:str nr:uint32"},
	{"virtconsole", "device", "virtio-serial-bus", "a port that is a terminal",
		"chardev:str name:str nr:uint32"},
	{"e1000", "pci-device", "PCI", "Intel's 82540EM network card",
		PCI_PROPERTIES "netdev:str mac:str bootindex:int32"},
	{"pcie-root-port", "pci-device", "PCI", "PCI Express root port",
		PCI_PROPERTIES
		"chassis:uint8 port:uint8 slot:uint16 hotplug:bool bus-reserve:uint32 "
		"io-reserve:size mem-reserve:size pref32-reserve:size "
		"pref64-reserve:size"},
	{"VGA", "pci-device", "PCI", "VGA with Bochs' extensions",
		PCI_PROPERTIES "vgamem_mb:uint32"},
	{"ich9-ahci", "pci-device", "PCI", "Intel's SATA controller", PCI_PROPERTIES},
	{"ide-hd", "device", "IDE", "a hard disk at an IDE or SATA controller",
		"drive:str serial:str bootindex:int32 unit:uint32 write-cache:OnOffAuto "
		"share-rw:bool"},
	{"ide-cd", "device", "IDE", "a CD-ROM drive at an IDE or SATA controller",
		"drive:str serial:str bootindex:int32 unit:uint32"},
	{"pci-testdev", "pci-device", "PCI", "a test device", PCI_PROPERTIES},
	{"pc-testdev", "isa-device", "ISA", "a test device", ""},
	{"isa-debug-exit", "isa-device", "ISA", "ends the machine", "iobase:uint32 iosize:uint32"},
	{"isa-serial", "isa-device", "ISA", "a serial port",
		"chardev:str index:uint32 iobase:uint32 irq:uint32"},

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
	{"max-x86_64-cpu", "x86_64-cpu", NULL, NULL, ""},
	{"host-x86_64-cpu", "x86_64-cpu", NULL, NULL, ""},
	{"qemu64-x86_64-cpu", "x86_64-cpu", NULL, NULL, ""},
	{NULL, NULL, NULL, NULL, NULL},
};
