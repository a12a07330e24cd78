#!/bin/sh
# /init of the guest that incident.py starts. It starts its watchdog and does not feed it; when that has reset the machine it
# says where its kernel's data are, and panics.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
modprobe qemu_fw_cfg
modprobe pvpanic-mmio
modprobe pvpanic-pci
modprobe i6300esb heartbeat=2
echo "pvpanic: $(cat /sys/bus/pci/drivers/pvpanic-pci/*/capability /sys/bus/platform/drivers/pvpanic-mmio/*/capability 2>/dev/null | tr '\n' ' ')"
if [ -e /dev/watchdog ] && [ "$(cat /sys/class/watchdog/watchdog0/bootstatus)" != 32 ]; then
	echo "the watchdog starts"
	exec 3>/dev/watchdog
	sleep 1000
fi
echo "the watchdog has reset us"
echo c >/proc/sysrq-trigger
