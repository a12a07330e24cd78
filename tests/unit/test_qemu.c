/* QEMU's command line, and what machine it becomes. */
#include "cli/qemu.h"

#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct qemu qemu;
static char kernel[] = "/proc/self/exe";

/* A line whose words are separated by spaces. */
static int parse(const char *line)
{
	char *argv[64] = {"qemu-system-x86_64"}, *copy = strdup(line), *rest = copy, *word;
	int argc = 1, error;

	qemu_free(&qemu);
	qemu_init(&qemu);
	while ((word = strsep(&rest, " ")) && argc < 64)
		if (*word)
			argv[argc++] = word;
	error = qemu_parse(&qemu, argc, argv);
	if (!error && !qemu.list)
		error = qemu_finish(&qemu);
	/* What options without words of their own point to. */
	qemu_keep(&qemu, copy);
	return error;
}

static void takes(const char *line)
{
	if (parse(line) != 0)
		fail_msg("refused: %s", line);
}

static void refuses(const char *line)
{
	if (parse(line) != -EINVAL)
		fail_msg("accepted: %s", line);
}

/* --- words --- */

static void words_of_a_list(void **state)
{
	struct qemu_words words;

	assert_int_equal(
		qemu_words_parse(&words, "-x", "first,a=1,,2,b_c=,nowait,server,a=3", "kind"), 0);
	assert_string_equal(qemu_words_get(&words, "kind"), "first");
	assert_string_equal(qemu_words_get(&words, "a"), "3");
	assert_string_equal(words.word[1].value, "1,2");
	assert_string_equal(qemu_words_get(&words, "b-c"), "");
	assert_string_equal(qemu_words_get(&words, "wait"), "off");
	assert_string_equal(qemu_words_get(&words, "server"), "on");
	assert_null(qemu_words_get(&words, "delay"));
	assert_true(qemu_words_drop(&words, "a"));
	assert_null(qemu_words_get(&words, "a"));
	qemu_words_free(&words);
	assert_int_equal(qemu_words_parse(&words, "-x", ",,x", "kind"), 0);
	assert_string_equal(qemu_words_get(&words, "kind"), ",x");
	qemu_words_free(&words);
}

static void words_of_an_object(void **state)
{
	static const char *const wrong[] = {"{", "{\"a\":null}", "{\"a\":1.5}", "{\"a\":1,\"a\":2}",
		"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}"};
	struct qemu_words words;

	assert_int_equal(
		qemu_words_parse(&words, "-x",
			"{\"driver\":\"x\",\"n_n\":7,\"on\":true,\"o\":{\"p\":[\"q\",\"r,s\"]}}",
			"kind"),
		0);
	assert_string_equal(qemu_words_get(&words, "driver"), "x");
	assert_string_equal(qemu_words_get(&words, "n-n"), "7");
	assert_string_equal(qemu_words_get(&words, "on"), "on");
	assert_string_equal(qemu_words_get(&words, "o.p.1"), "r,s");
	qemu_words_free(&words);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(qemu_words_parse(&words, "-x", wrong[i], NULL), -EINVAL);
}

/* --- the machine --- */

static void what_kvm_unit_tests_passes(void **state)
{
	takes("--no-reboot -nodefaults -global kvm-pit.lost_tick_policy=discard -device "
	      "pc-testdev "
	      "-device isa-debug-exit,iobase=0xf4,iosize=0x4 -display none -serial stdio "
	      "-device pci-testdev -machine accel=tcg -kernel /proc/self/exe -smp 2 "
	      "-cpu max,host-phys-bits -m 2048 -overcommit cpu-pm=on");
	assert_string_equal(qemu.machine.kernel_path, kernel);
	assert_int_equal(qemu.machine.debug_exit_port, 0xf4);
	assert_true(qemu.machine.pc_testdev);
	assert_false(qemu.machine.reboot);
	assert_int_equal(qemu.machine.cpu_count, 2);
	assert_int_equal(qemu.machine.memory_size, 2 * GIB);
	assert_string_equal(qemu.machine.engine->name, "bt");
	assert_string_equal(qemu.machine.cpu, "host,check");
	assert_int_equal(qemu.serials[0]->config.kind, CHAR_STDIO);
	assert_int_equal(qemu.machine.net_count, 0);
	assert_int_equal(qemu.machine.display.kind, DISPLAY_UNSAID);
	assert_null(qemu.machine.firmware.path);
}

static void the_machine_and_its_processors(void **state)
{
	takes("-M q35,kernel_irqchip=split,accel=kvm:tcg -smp sockets=2,cores=2 -m size=1048576k "
	      "-cpu qemu64,+x2apic,-pcid,avx=off,vendor=GenuineIntel,migratable=no "
	      "-boot order=dc,menu=on -uuid 12345678-1234-1234-1234-123456789abc");
	assert_true(qemu.q35);
	assert_string_equal(qemu.engine_name, "auto");
	assert_int_equal(qemu.machine.cpu_count, 4);
	assert_int_equal(qemu.machine.memory_size, GIB);
	assert_string_equal(
		qemu.machine.cpu, "qemu64,+x2apic,-pcid,-avx,vendor=GenuineIntel,check");
	assert_string_equal(qemu.machine.firmware.order, "dc");
	assert_true(qemu.machine.firmware.menu);
	assert_string_equal(qemu.machine.firmware.path, FIRMWARE_DEFAULT);
	takes("-m 512 -accel kvm -accel tcg");
	assert_int_equal(qemu.machine.memory_size, 512 * MIB);
	assert_string_equal(qemu.engine_name, "auto");
	takes("-accel tcg,thread=multi -machine pc-i440fx-7.2,usb=off,dump-guest-core=off");
	assert_string_equal(qemu.engine_name, "bt");
	takes("-cpu max,+svm,-vmx,+fpu,npt=on");
	assert_string_equal(qemu.machine.cpu, "host,check");
	refuses("-cpu host,hv_passthrough");
	refuses("-cpu host,+fpv");
	refuses("-M microvm");
	refuses("-M pc,acpi=off");
	refuses("-M pc,flux=on");
	refuses("-smp 255");
	refuses("-m 1");
	refuses("-accel xen");
	refuses("-cpu Pentium9");
	refuses("-append x");
	refuses("-kernel /no/such/kernel");
	refuses("-frobnicate");
	refuses("-m");
}

static void defaults(void **state)
{
	takes("");
	assert_int_equal(qemu.machine.memory_size, 128 * MIB);
	assert_int_equal(qemu.machine.net_count, 1);
	assert_int_equal(qemu.machine.nets[0].model, NET_E1000);
	assert_int_equal(qemu.machine.display.kind, DISPLAY_NONE);
	assert_int_equal(qemu.serials[0]->config.kind, CHAR_NULL);
	assert_int_equal(strncmp(qemu.machine.cpu, "qemu64", 6), 0);
	takes("-nographic");
	assert_int_equal(qemu.serials[0]->config.kind, CHAR_STDIO);
	assert_true(qemu.serials[0]->config.mux);
	assert_int_equal(qemu.machine.display.kind, DISPLAY_UNSAID);
	takes("-nodefaults -vga std");
	assert_int_equal(qemu.serial_count, 0);
	assert_int_equal(qemu.machine.display.kind, DISPLAY_NONE);
}

/* --- disks --- */

static void drives(void **state)
{
	const struct disk_config *disk = qemu.machine.disks;

	takes("-drive file=a,,b,if=virtio,format=qcow2,cache=none,readonly=on,discard=unmap "
	      "-drive file=nbd:unix:/s:exportname=e,if=none,id=d,snapshot=on "
	      "-device virtio-blk-pci,drive=d,serial=S,bus=pci.1,addr=0x0,bootindex=1 "
	      "-hda c -cdrom d.iso -fda f");
	assert_int_equal(qemu.machine.disk_count, 4);
	/* Devices come first, then what has none, in order. */
	assert_string_equal(disk[0].path, "nbd+unix:///e?socket=/s");
	assert_string_equal(disk[0].serial, "S");
	assert_true(disk[0].snapshot && disk[0].bus == DISK_BUS_VIRTIO);
	assert_string_equal(disk[1].path, "a,b");
	assert_string_equal(disk[1].format, "qcow2");
	assert_true(disk[1].read_only && disk[1].cache == DISK_DIRECT);
	assert_true(disk[2].bus == DISK_BUS_IDE && !disk[2].cdrom);
	assert_true(disk[3].cdrom);
	assert_int_equal(qemu.machine.floppy_count, 1);
	takes("-M q35 -snapshot x.img -drive if=none,id=e -device ide-cd,drive=e");
	assert_int_equal(qemu.machine.disk_count, 1);
	assert_true(disk[0].snapshot && disk[0].bus == DISK_BUS_AHCI);
	takes("-drive file=x,if=none,id=n -device nvme,drive=n,serial=S,id=nvme0");
	assert_true(disk[0].bus == DISK_BUS_NVME);
	assert_string_equal(disk[0].serial, "S");
	refuses("-drive file=x,if=sd");
	refuses("-drive file=x,if=none,id=d -device virtio-blk-pci,drive=d -device ide-hd,drive=d");
	refuses("-device virtio-blk-pci,drive=none");
	refuses("-device virtio-blk-pci");
	refuses("-drive file=x,werror=stop");
	refuses("-drive file=x,format=raw,flux=1");
	refuses("-drive id=a,if=none -drive id=a,if=none");
}

static void scsi_units(void **state)
{
	const struct disk_config *disk = qemu.machine.disks;

	takes("-device virtio-scsi-pci,id=scsi0 -device virtio-scsi-pci,id=scsi1,num_queues=4 "
	      "-drive file=a,if=none,id=a -drive file=b,if=none,id=b -drive file=c,if=none,id=c "
	      "-device scsi-hd,drive=a "
	      "-device scsi-hd,drive=b,bus=scsi1.0,channel=0,scsi-id=3,lun=2,device_id=d,serial=S "
	      "-device scsi-cd,drive=c,bus=scsi0.0,scsi-id=1");
	assert_int_equal(qemu.machine.scsi_controllers, 2);
	assert_int_equal(qemu.machine.disk_count, 3);
	assert_true(disk[0].bus == DISK_BUS_SCSI && disk[0].controller == 0);
	assert_true(disk[0].target == -1 && disk[0].lun == -1);
	assert_true(disk[1].controller == 1 && disk[1].target == 3 && disk[1].lun == 2);
	assert_string_equal(disk[1].serial, "S");
	assert_true(disk[2].cdrom && disk[2].controller == 0 && disk[2].target == 1);
	takes("-device virtio-scsi-pci -device scsi-cd,bus=scsi.0");
	assert_int_equal(qemu.machine.scsi_controllers, 1);
	refuses("-drive file=x,if=none,id=d -device scsi-hd,drive=d");
	refuses("-device virtio-scsi-pci,id=s -drive file=x,if=none,id=d "
		"-device scsi-hd,drive=d,bus=scsi.0");
	refuses("-device virtio-scsi-pci -drive file=x,if=none,id=d "
		"-device scsi-hd,drive=d,channel=1");
	refuses("-device virtio-scsi-pci -drive file=x,if=none,id=d "
		"-device scsi-hd,drive=d,scsi-id=256");
	refuses("-device virtio-scsi-pci -device scsi-hd");
	refuses("-drive file=x,if=scsi");
}

static void block_devices(void **state)
{
	const struct disk_config *disk = qemu.machine.disks;

	takes("-blockdev "
	      "{\"driver\":\"file\",\"filename\":\"/x,y\",\"node-name\":\"s\",\"auto-read-only\":"
	      "true,\"discard\":\"unmap\",\"cache\":{\"direct\":true,\"no-flush\":false}} "
	      "-blockdev "
	      "{\"node-name\":\"f\",\"read-only\":false,\"driver\":\"qcow2\",\"file\":\"s\"} "
	      "-device "
	      "{\"driver\":\"virtio-blk-pci\",\"bus\":\"pci.1\",\"drive\":\"f\",\"id\":\"v\","
	      "\"bootindex\":1,\"write-cache\":\"on\"}");
	assert_int_equal(qemu.machine.disk_count, 1);
	assert_string_equal(disk[0].path, "/x,y");
	assert_string_equal(disk[0].format, "qcow2");
	assert_int_equal(disk[0].cache, DISK_DIRECT);
	assert_false(disk[0].read_only);
	takes("-blockdev driver=raw,node-name=n,file.driver=nbd,file.server.type=unix,"
	      "file.server.path=/p,file.export=z -device ide-hd,drive=n");
	assert_string_equal(disk[0].path, "nbd+unix:///z?socket=/p");
	takes("-blockdev raw,node-name=n,file.driver=file,file.filename=q -device ide-hd,drive=n");
	assert_string_equal(disk[0].path, "q");
	assert_string_equal(disk[0].format, "raw");
	takes("-blockdev {\"driver\":\"qcow2\",\"node-name\":\"n\",\"file\":{\"driver\":\"file\","
	      "\"filename\":\"q\"},\"backing\":null} -device virtio-blk-pci,drive=n");
	assert_true(disk[0].no_backing);
	takes("-blockdev qcow2,node-name=below,file.filename=b "
	      "-blockdev qcow2,node-name=n,file.filename=q,backing=below "
	      "-device virtio-blk-pci,drive=n");
	assert_false(disk[0].no_backing);
	refuses("-blockdev qcow2,node-name=n,file.filename=q,backing=nobody");
	refuses("-blockdev driver=raw,file=nobody,node-name=n");
	refuses("-blockdev driver=file,filename=x");
	refuses("-blockdev driver=raw,node-name=n,file.driver=curl,file.url=x");
	refuses("-blockdev {\"driver\":");
}

/* Ports by name, and where the devices are that name them, or a slot. */
static void places(void **state)
{
	const struct machine_config *machine = &qemu.machine;

	takes("-M q35 -device pcie-root-port,id=p1,chassis=1,port=0x10,bus=pcie.0,multifunction=on,"
	      "addr=0x2 -device pcie-root-port,id=p2,chassis=7,slot=9,hotplug=off,addr=2.0x1 "
	      "-device pcie-pci-bridge,id=b -drive if=none,id=d,file=x -drive if=none,id=e,file=y "
	      "-netdev user,id=n -device virtio-blk-pci,drive=d,id=v,bus=p1,addr=0x0 "
	      "-device ide-hd,drive=e,id=i,bus=ide.0 -device virtio-net-pci,netdev=n,addr=1f.7");
	assert_int_equal(machine->port_count, 3);
	assert_string_equal(machine->ports[0].place.id, "p1");
	assert_true(machine->ports[0].hot_plug);
	assert_int_equal(machine->ports[0].slot_number, 1);
	assert_int_equal(machine->ports[0].place.slot, 2);
	assert_false(machine->ports[1].hot_plug);
	assert_int_equal(machine->ports[1].slot_number, 9);
	assert_int_equal(machine->ports[1].place.function, 1);
	assert_true(machine->ports[2].bus_0);
	assert_string_equal(machine->disks[0].place.bus, "p1");
	assert_string_equal(machine->disks[0].place.id, "v");
	assert_string_equal(machine->disks[0].node, "d");
	assert_string_equal(machine->disks[1].place.bus, "");
	assert_string_equal(machine->disks[1].place.id, "i");
	assert_true(machine->nets[0].place.addressed);
	assert_int_equal(machine->nets[0].place.slot, 0x1f);
	assert_int_equal(machine->nets[0].place.function, 7);
	refuses("-device pcie-root-port,addr=20");
	refuses("-device pcie-root-port,addr=2.8");
	refuses("-device pcie-root-port,addr=2.");
	refuses("-device pcie-root-port,chassis=256");
	refuses("-device pcie-root-port,hotplug=perhaps");
	refuses("-device pcie-root-port,id=0123456789012345678901234567890123456789012345678901234"
		"567890123456789");
}

/* What monitors make and delete, as often as they like. */
static void nodes_come_and_go(void **state)
{
	struct control_plug plug;

	takes("-blockdev driver=file,filename=/x,node-name=kept");
	plug = qemu_plug(&qemu);
	for (unsigned i = 0; i < 100; i++) {
		size_t before = qemu.kept_count;

		assert_int_equal(plug.run(plug.opaque, NULL, PLUG_BLOCKDEV_ADD,
					 "{\"driver\":\"file\",\"filename\":\"/y\","
					 "\"node-name\":\"f\"}"),
			0);
		assert_int_equal(plug.run(plug.opaque, NULL, PLUG_BLOCKDEV_ADD,
					 "driver=raw,file=f,node-name=r"),
			0);
		assert_int_equal(plug.run(plug.opaque, NULL, PLUG_BLOCKDEV_ADD,
					 "driver=raw,file=f,node-name=s"),
			-EINVAL);
		assert_int_equal(plug.run(plug.opaque, NULL, PLUG_BLOCKDEV_DELETE, "f"), -EBUSY);
		assert_int_equal(plug.run(plug.opaque, NULL, PLUG_BLOCKDEV_DELETE, "r"), 0);
		assert_int_equal(plug.run(plug.opaque, NULL, PLUG_BLOCKDEV_DELETE, "f"), 0);
		assert_int_equal(plug.run(plug.opaque, NULL, PLUG_NETDEV_ADD, "user,id=n"), 0);
		assert_true(plug.run(plug.opaque, NULL, PLUG_NETDEV_ADD, "user,id=n") < 0);
		assert_int_equal(plug.run(plug.opaque, NULL, PLUG_NETDEV_DELETE, "n"), 0);
		assert_int_equal(plug.run(plug.opaque, NULL, PLUG_NETDEV_DELETE, "n"), -ENOENT);
		assert_int_equal(qemu.kept_count, before);
	}
	assert_int_equal(
		plug.run(plug.opaque, NULL, PLUG_DRIVE_ADD, "file=/z,if=virtio,id=z"), -EINVAL);
	assert_int_equal(plug.run(plug.opaque, NULL, PLUG_DRIVE_ADD, "file=/z,if=none,id=z"), 0);
	assert_int_equal(plug.run(plug.opaque, NULL, PLUG_BLOCKDEV_DELETE, "z"), -EBUSY);
	assert_int_equal(plug.run(plug.opaque, NULL, PLUG_BLOCKDEV_DELETE, "kept"), 0);
	assert_int_equal(plug.run(plug.opaque, NULL, PLUG_DEVICE_ADD, "VGA"), -EINVAL);
	assert_int_equal(
		plug.run(plug.opaque, NULL, PLUG_DEVICE_ADD, "virtio-blk-pci,drive=kept"), -EINVAL);
}

/* --- networks --- */

static void networks(void **state)
{
	const struct net_config *net = qemu.machine.nets;

	takes("-netdev user,id=n,net=169.254.0.0/16,hostfwd=::2222-:22,restrict=on "
	      "-device virtio-net-pci,netdev=n,mac=52:54:00:11:22:33 "
	      "-nic user,model=e1000,hostfwd=udp:127.0.0.1:53-:53");
	assert_int_equal(qemu.machine.net_count, 2);
	/* A card of -nic comes before those of -device. */
	assert_true(net[1].model == NET_VIRTIO && net[1].restricted);
	assert_int_equal(net[1].forward[0].host_port, 2222);
	assert_int_equal(net[1].mac[5], 0x33);
	assert_int_equal(net[1].number, 1);
	assert_true(net[0].model == NET_E1000 && net[0].forward[0].udp);
	takes("-net nic,model=virtio -net user,hostfwd=tcp:127.0.0.1:10022-:22");
	assert_int_equal(qemu.machine.net_count, 1);
	assert_int_equal(net[0].model, NET_VIRTIO);
	assert_int_equal(net[0].forward_count, 1);
	takes("-netdev tap,id=t,ifname=tap0,script=no,downscript=no -device e1000,netdev=t");
	assert_string_equal(net[0].name, "tap0");
	takes("-net none");
	assert_int_equal(qemu.machine.net_count, 0);
	takes("-netdev "
	      "{\"type\":\"user\",\"hostfwd\":[{\"str\":\"tcp::1-:2\"}],\"id\":\"n\"} "
	      "-device {\"driver\":\"virtio-net-pci\",\"netdev\":\"n\"}");
	assert_int_equal(net[0].forward[0].guest_port, 2);
	takes("-nic socket,listen=:1234,model=virtio -nic socket,connect=h:2 "
	      "-nic socket,mcast=239.1.2.3:4 -nic socket,udp=a:1,localaddr=b:2 -nic socket,fd=7");
	assert_true(net[0].kind == NET_STREAM && net[0].listens);
	assert_string_equal(net[0].name, ":1234");
	assert_true(net[1].kind == NET_STREAM && !net[1].listens);
	assert_true(net[2].kind == NET_DGRAM && !net[2].local);
	assert_string_equal(net[3].name, "a:1");
	assert_string_equal(net[3].local, "b:2");
	assert_string_equal(net[4].name, "fd:7");
	takes("-netdev stream,id=s,server=on,addr.type=unix,addr.path=/x,,y -device e1000,netdev=s "
	      "-netdev {\"type\":\"stream\",\"id\":\"t\",\"server\":false,\"reconnect\":5,\"addr\":"
	      "{\"type\":\"inet\",\"host\":\"::1\",\"port\":\"9\"}} -device e1000,netdev=t "
	      "-netdev dgram,id=d,local.type=unix,local.path=/l,remote.type=unix,remote.path=/r "
	      "-device e1000,netdev=d "
	      "-netdev dgram,id=f,local.type=fd,local.str=8 -device e1000,netdev=f");
	assert_string_equal(net[0].name, "unix:/x,y");
	assert_true(net[0].listens);
	assert_string_equal(net[1].name, "[::1]:9");
	assert_true(!net[1].listens && net[1].reconnect == 5);
	assert_string_equal(net[2].name, "unix:/r");
	assert_string_equal(net[2].local, "unix:/l");
	assert_string_equal(net[3].name, "fd:8");
	refuses("-netdev socket,id=s");
	refuses("-netdev socket,id=s,listen=:1,connect=h:2");
	refuses("-netdev socket,id=s,udp=h:1");
	refuses("-netdev socket,id=s,listen=:1,localaddr=h:1");
	refuses("-netdev stream,id=s,addr.type=unix");
	refuses("-netdev stream,id=s,addr.type=pigeon,addr.host=x");
	refuses("-netdev stream,id=s,addr.type=unix,addr.path=/x,addr.abstract=on");
	refuses("-netdev dgram,id=s,remote.type=inet");
	refuses("-netdev user -device e1000,netdev=x");
	refuses("-netdev l2tpv3,id=x");
	refuses("-device e1000");
	refuses("-netdev tap,id=t,script=/etc/x");
	refuses("-netdev user,id=n -device e1000,netdev=n -device e1000,netdev=n");
}

/* --- shared directories --- */

static void shares(void **state)
{
	const struct share_config *share = qemu.machine.shares;

	takes("-virtfs local,path=/a,,b,mount_tag=t,security_model=mapped,readonly=on,id=x,"
	      "multidevs=remap,writeout=immediate "
	      "-fsdev local,id=f,path=/,security_model=none,readonly "
	      "-device virtio-9p-pci,fsdev=f,mount_tag=ROOTFS,bus=pci.0");
	assert_int_equal(qemu.machine.share_count, 2);
	assert_string_equal(share[0].path, "/a,b");
	assert_string_equal(share[0].tag, "t");
	assert_true(share[0].security == SHARE_MAPPED && share[0].read_only && share[0].sync);
	assert_string_equal(share[1].path, "/");
	assert_string_equal(share[1].tag, "ROOTFS");
	assert_true(share[1].security == SHARE_NONE && share[1].read_only && !share[1].sync);
	refuses("-virtfs local,path=/,security_model=none");
	refuses("-virtfs local,path=/,mount_tag=t");
	refuses("-virtfs local,mount_tag=t,security_model=none");
	refuses("-virtfs local,path=/,mount_tag=t,security_model=mapped-file");
	refuses("-virtfs local,path=/,mount_tag=,security_model=none");
	refuses("-virtfs local,path=/,mount_tag=t,security_model=none,throttling.bps-total=1");
	refuses("-virtfs proxy,path=/,mount_tag=t,security_model=none");
	refuses("-virtfs local,path=/,mount_tag=t,security_model=none "
		"-virtfs local,path=/,mount_tag=t,security_model=none");
	refuses("-fsdev local,path=/,security_model=none");
	refuses("-fsdev local,id=f,path=/,security_model=none -device virtio-9p-pci,fsdev=f");
	refuses("-device virtio-9p-pci,fsdev=f,mount_tag=t");
	refuses("-fsdev local,id=f,path=/,security_model=none "
		"-device virtio-9p-pci,fsdev=f,mount_tag=a "
		"-device virtio-9p-pci,fsdev=f,mount_tag=b");
}

/* --- character devices and monitors --- */

static void character_devices(void **state)
{
	takes("-chardev socket,id=charmonitor,fd=30,server=on,wait=off "
	      "-mon chardev=charmonitor,id=monitor,mode=control "
	      "-chardev pty,id=charserial0 -device "
	      "isa-serial,chardev=charserial0,id=serial0,index=0 "
	      "-nodefaults -serial file:/x,y");
	assert_int_equal(qemu.monitor_count, 1);
	assert_true(qemu.monitors[0].control);
	assert_int_equal(qemu.monitors[0].chardev->config.fd, 30);
	assert_int_equal(qemu.serials[0]->config.kind, CHAR_PTY);
	takes("-serial file:/x,y -serial unix:/s,server,nowait -monitor "
	      "tcp:127.0.0.1:4444,server=on "
	      "-qmp stdio -parallel none");
	assert_string_equal(qemu.serials[0]->config.path, "/x,y");
	assert_true(qemu.serials[1]->config.server && !qemu.serials[1]->config.wait);
	assert_int_equal(qemu.monitors[0].chardev->config.kind, CHAR_SOCKET);
	assert_string_equal(qemu.monitors[0].chardev->config.host, "127.0.0.1");
	assert_string_equal(qemu.monitors[0].chardev->config.port, "4444");
	assert_null(qemu.parallel);
	takes("-nodefaults -serial chardev:later -mon later -chardev file,id=later,path=/x");
	assert_string_equal(qemu.serials[0]->config.path, "/x");
	refuses("-serial chardev:nobody -frob -chardev file,id=nobody,path=/x");
	takes("-chardev file,id=f,path=/f,append=on,logfile=/log,logappend=on -serial chardev:f "
	      "-chardev socket,id=c,path=/s,reconnect=5 -chardev ringbuf,id=r,size=4096 "
	      "-device virtio-serial-pci,id=v0 -device virtio-serial,id=v1 "
	      "-device virtconsole,chardev=c -device "
	      "virtserialport,bus=v1.0,nr=3,name=org.a,chardev=r -device virtserialport,name=b");
	assert_true(qemu.chardevs[0].config.append && qemu.chardevs[0].config.log_append);
	assert_string_equal(qemu.chardevs[0].config.log, "/log");
	assert_int_equal(qemu.chardevs[1].config.reconnect, 5);
	assert_int_equal(qemu.chardevs[2].config.size, 4096);
	assert_int_equal(qemu.machine.console_port_count, 3);
	assert_true(qemu.machine.console_ports[0].console && qemu.machine.console_ports[0].lossy);
	assert_false(qemu.machine.console_ports[1].lossy);
	assert_int_equal(qemu.machine.console_ports[1].controller, 1);
	assert_int_equal(qemu.machine.console_ports[1].number, 3);
	assert_string_equal(qemu.machine.console_ports[1].chardev, "r");
	assert_int_equal(qemu.machine.console_ports[2].number, -1);
	refuses("-chardev null,id=x -chardev null,id=x");
	refuses("-chardev socket,id=x,path=/s,telnet=on");
	refuses("-chardev socket,id=x,path=/s,server=on,reconnect=1");
	refuses("-chardev ringbuf,id=x,size=1000");
	refuses("-serial telnet:localhost:1");
	refuses("-device virtserialport,bus=nobody.0");
	refuses("-device virtio-serial -device virtserialport,nr=30");
	refuses("-serial null -serial null -serial null -serial null -serial null");
	refuses("-serial chardev:nobody");
	refuses("-serial telegraph");
	refuses("-chardev file,id=x");
	refuses("-chardev socket,id=x");
	refuses("-mon nobody");
}

static void descriptors_that_are_inherited(void **state)
{
	char line[200];
	int reading = open("/dev/null", O_RDONLY), writing = open("/dev/null", O_WRONLY);
	const char *path;
	int fd;

	snprintf(line, sizeof(line),
		"-add-fd set=2,fd=%d,opaque=x -add-fd set=2,fd=%d "
		"-chardev file,id=s,path=/dev/fdset/2,append=on -serial chardev:s",
		reading, writing);
	takes(line);
	path = qemu.serials[0]->config.path;
	assert_memory_equal(path, CHAR_FD_PATH, strlen(CHAR_FD_PATH));
	fd = atoi(path + strlen(CHAR_FD_PATH));
	assert_true(fd > 2);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_WRONLY);
	close(fd);
	snprintf(line, sizeof(line), "-add-fd set=2,fd=%d -chardev file,id=s,path=/dev/fdset/2",
		reading);
	refuses(line);
	refuses("-chardev file,id=s,path=/dev/fdset/0");
	refuses("-chardev file,id=s,path=/dev/fdset/x");
	refuses("-add-fd set=0,fd=1");
	refuses("-add-fd set=0,fd=999");
	refuses("-add-fd fd=3");
	close(reading);
	close(writing);
}

/* What monitors tell of the machine, and where it cannot be on the terminal. */
static void names_and_daemons(void **state)
{
	takes("-name guest=x,,y,debug-threads=on -uuid f2996d3b-c102-46e1-9e59-8a2961dd3725 -M "
	      "q35");
	assert_string_equal(qemu.about.name, "x,y");
	assert_string_equal(qemu.about.uuid, "f2996d3b-c102-46e1-9e59-8a2961dd3725");
	assert_string_equal(qemu.about.machine_type, "pc-q35-7.2");
	takes("-name x");
	assert_string_equal(qemu.about.name, "x");
	assert_string_equal(qemu.about.machine_type, "pc-i440fx-7.2");
	takes("-S -no-user-config -nodefaults -nographic -machine none,accel=kvm:tcg -qmp "
	      "unix:/m,server=on,wait=off -pidfile /p -daemonize");
	assert_true(qemu.daemonize);
	assert_string_equal(qemu.about.machine_type, "none");
	refuses("-name guest=x,frob=1");
	refuses("-daemonize -serial stdio");
	refuses("-daemonize -qmp stdio");
}

/* --- memory --- */

static void memory(void **state)
{
	takes("-m 64 -object "
	      "memory-backend-file,id=m,size=64M,mem-path=/tmp/x,,y,share=on,prealloc=on "
	      "-machine q35,memory-backend=m");
	assert_string_equal(qemu.machine.memory_path, "/tmp/x,y");
	assert_true(qemu.machine.memory_allocated);
	takes("-object memory-backend-memfd,id=m,size=96M,share=on -machine memory-backend=m");
	assert_int_equal(qemu.machine.memory_size, 96 * MIB);
	assert_null(qemu.machine.memory_path);
	assert_false(qemu.machine.memory_allocated);
	takes("-object memory-backend-file,id=m,size=64M,mem-path=/tmp -M pc,memory-backend=m");
	assert_null(qemu.machine.memory_path);
	takes("-mem-path /dev/shm -mem-prealloc");
	assert_true(qemu.machine.memory_allocated);
	refuses("-M pc,memory-backend=m");
	refuses("-m 32 -object memory-backend-ram,id=m,size=64M -M pc,memory-backend=m");
	refuses("-object memory-backend-ram,id=m");
	refuses("-object memory-backend-ram,size=64M");
	refuses("-object memory-backend-file,id=m,size=64M");
	refuses("-object memory-backend-memfd,id=m,size=64M,hugetlb=on");
	refuses("-object memory-backend-ram,id=m,size=64M -object "
		"memory-backend-ram,id=m,size=64M");
	refuses("-object memory-backend-file,id=m,size=64M,mem-path=/proc/self/exe,frob=1");
	refuses("-object memory-backend-file,id=m,size=64M,mem-path=/bin/sh -M "
		"pc,memory-backend=m");
	refuses("-object rng-random,id=r,filename=/etc/passwd");
	refuses("-device virtio-rng-pci,rng=nobody");
	refuses("-object iothread,id=r -device virtio-rng-pci,rng=r");
}

/* --- what changes nothing, what lists --- */

static void the_rest(void **state)
{
	takes("-no-user-config -no-hpet -rtc driftfix=slew -object "
	      "rng-random,filename=/dev/urandom,id=rng0 -device virtio-rng-pci,rng=rng0 -msg "
	      "timestamp=on -name guest=x,debug-threads=on -sandbox on,obsolete=deny -object "
	      "{\"qom-type\":\"secret\",\"id\":\"m\",\"format\":\"raw\",\"file\":\"/k\"} "
	      "-audiodev {\"id\":\"a\",\"driver\":\"none\"} -fw_cfg name=opt/x,string=y");
	assert_int_equal(qemu.machine.firmware.file_count, 1);
	takes("-s -S");
	assert_true(qemu.gdb.wanted && qemu.paused);
	refuses("-gdb carrier-pigeon");
	refuses("-object frob,id=x");
	refuses("-fw_cfg name=x");
	takes("-device edu -device pvpanic -device pvpanic-pci,addr=5 -device pci-testdev "
	      "-device i6300esb,id=dog -watchdog-action inject-nmi -no-shutdown "
	      "-action panic=exit-failure,reboot=shutdown");
	assert_int_equal(qemu.machine.test_devices,
		TEST_EDU | TEST_PVPANIC_PORT | TEST_PVPANIC_PCI | TEST_PCI | TEST_I6300ESB);
	assert_int_equal(qemu.machine.actions.watchdog, WATCHDOG_INTERRUPTS);
	assert_int_equal(qemu.machine.actions.panic, PANIC_FAILS);
	assert_true(qemu.machine.actions.stays);
	assert_false(qemu.machine.reboot);
	takes("-watchdog i6300esb -action watchdog=pause,shutdown=pause -action shutdown=poweroff");
	assert_int_equal(qemu.machine.test_devices, TEST_I6300ESB);
	assert_int_equal(qemu.machine.actions.watchdog, WATCHDOG_PAUSES);
	assert_false(qemu.machine.actions.stays);
	takes("-d int,in_asm,guest_errors -D /tmp/log");
	assert_string_equal(qemu.machine.engine_options.trace, "/tmp/log");
	takes("-d cpu_reset,trace:frob -D /tmp/log");
	assert_null(qemu.machine.engine_options.trace);
	refuses("-d frob");
	refuses("-d int,");
	takes("-d help");
	assert_ptr_equal(qemu.list, qemu_list_log_items);
	takes("-boot once=dn,order=c -drive file=/dev/null,if=none,id=d -device "
	      "virtio-blk-pci,drive=d,bootindex=3 -netdev user,id=n -device "
	      "e1000,netdev=n,bootindex=0");
	assert_string_equal(qemu.machine.firmware.once, "dn");
	assert_string_equal(qemu.machine.firmware.order, "c");
	assert_int_equal(qemu.machine.disks[0].boot_index, 4);
	assert_int_equal(qemu.machine.nets[0].boot_index, 1);
	refuses("-boot once=x");
	refuses("-netdev user,id=n -device e1000,netdev=n,bootindex=first");
	takes("-rtc base=2006-06-17T16:01:21,clock=vm,driftfix=slew");
	assert_true(qemu.machine.rtc_offset_s < -19 * 365 * 86400);
	takes("-rtc base=1970-01-01");
	takes("-rtc base=localtime -rtc base=utc,clock=host");
	assert_int_equal(qemu.machine.rtc_offset_s, 0);
	refuses("-rtc base=yesterday");
	refuses("-rtc base=1969-12-31");
	refuses("-rtc base=2100-01-01");
	refuses("-rtc base=2006-06-17x");
	refuses("-rtc clock=sun");
	refuses("-device edu -device edu");
	refuses("-device pvpanic,ioport=0x506");
	refuses("-watchdog-action bark");
	refuses("-action panic=frob");
	refuses("-action reboot=pause");
	refuses("-action frob=pause");
	refuses("-device frob");
	refuses("-device pc-testdev,frob=1");
	refuses("-vga qxl");
	refuses("-display gtk");
	takes("-cpu help");
	assert_ptr_equal(qemu.list, qemu_list_cpus);
	takes("-device ?");
	assert_ptr_equal(qemu.list, qemu_list_devices);
	takes("-device virtio-blk-pci,help");
	assert_string_equal(qemu.listed->name, "virtio-blk-pci");
	refuses("-device frob,help");
	refuses("-device virtio-blk-pci,frob=1");
	takes("--version -frobnicate");
	assert_ptr_equal(qemu.list, qemu_list_version);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_of_a_list),
		cmocka_unit_test(words_of_an_object),
		cmocka_unit_test(what_kvm_unit_tests_passes),
		cmocka_unit_test(the_machine_and_its_processors),
		cmocka_unit_test(defaults),
		cmocka_unit_test(drives),
		cmocka_unit_test(scsi_units),
		cmocka_unit_test(block_devices),
		cmocka_unit_test(places),
		cmocka_unit_test(nodes_come_and_go),
		cmocka_unit_test(networks),
		cmocka_unit_test(shares),
		cmocka_unit_test(memory),
		cmocka_unit_test(character_devices),
		cmocka_unit_test(descriptors_that_are_inherited),
		cmocka_unit_test(names_and_daemons),
		cmocka_unit_test(the_rest),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	qemu_free(&qemu);
	return failed;
}
