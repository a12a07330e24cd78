#!/bin/sh
# /init of the guest that data-safety.py starts and kills. The kernel's command line says which file
# system is on the disk (fs=ext4), how many streams there are, and whether to write (mode=write).
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /mnt
echo # a line of its own for what follows, whatever firmware wrote
modprobe virtio_pci
modprobe virtio_blk
[ "$fs" = ext4 ] || modprobe "$fs"
dmesg -n 1
if mount -t "$fs" /dev/vda /mnt; then
	echo mounted
	guest-safety /mnt "$streams" check
	echo checked
	[ "$mode" != write ] || guest-safety /mnt "$streams" write
	umount /mnt && echo unmounted
fi
poweroff -f
