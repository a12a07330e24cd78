#!/bin/sh
# /init of the guest that storage.sh starts: Debian's own drivers read, write and check the disks and discs
# that the kernel's command line names: parts=PART,...  Prints "check ok NAME" or "check FAIL NAME" for each
# check, and "checks done" at the end.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
. /check.sh

holds_text()	# DEVICE
{
	dd if="$1" bs=64k count=8 2>/dev/null | cmp - /tmp/text
}

write_text()	# DEVICE
{
	dd if=/tmp/text of="$1" bs=64k conv=fsync 2>&1
}

# In small pieces and past the page cache.
write_direct()	# DEVICE
{
	dd if=/tmp/text of="$1" bs=4k oflag=direct 2>&1 &&
		dd if="$1" bs=1k count=512 iflag=direct 2>/dev/null | cmp - /tmp/text
}

has_size()	# DISK BYTES
{
	[ $(($(cat "/sys/block/$1/size") * 512)) = "$2" ]
}

# Which is sda, or nvme0n1, depends on which the kernel has met first.
disk_of()	# BYTES: its name
{
	local one try

	for try in 1 2 3 4 5 6 7 8 9 10; do
		for one in /sys/block/sd* /sys/block/nvme*n1; do
			if [ -e "$one" ] && has_size "${one##*/}" "$1"; then
				echo "${one##*/}"
				return
			fi
		done
		sleep 0.2
	done
}

storm()		# DISK SECONDS [lost]
{
	guest-disk storm "/dev/$1" "$2" 4 $3
}

discarded()	# DISK
{
	blkdiscard -o 262144 -l 65536 "/dev/$1" && forget &&
		[ "$(dd if="/dev/$1" bs=1k skip=256 count=64 2>/dev/null | tr -d '\0' | wc -c)" = 0 ] &&
		[ "$(dd if="/dev/$1" bs=1k skip=320 count=64 2>/dev/null | tr -d '\0' | wc -c)" != 0 ]
}

refuses_writes()
{
	! dd if=/tmp/text of="$1" bs=64k count=1 conv=fsync 2>/dev/null
}

mounted_disc()	# DEVICE
{
	mount -t iso9660 -o ro "$1" /mnt && cmp /mnt/text.txt /tmp/text && umount /mnt
}

complaints()
{
	! dmesg | grep -i -E 'BUG:|Oops:|WARNING:|lockup|rcu:.*stall|Call Trace|segfault|exception Emask|failed command|hard resetting|lost interrupt'
}

# The drivers of disks and discs are the same for all controllers: sda and so on, sr0.
# The disks that storage.sh gives: 32 MiB to be written, and the text and 3 MiB.
find_disks()
{
	first=$(disk_of 33554432)
	second=$(disk_of 3670016)
}

disks()		# DISK READ-ONLY
{
	check "$part: a disk's size" has_size "$1" 33554432
	check "$part: a write and a flush" write_text "/dev/$1"
	forget
	check "$part: a read" holds_text "/dev/$1"
	check "$part: reads and writes past the page cache" write_direct "/dev/$1"
	check "$part: a discard" discarded "$1"
	check "$part: many requests at once" storm "$1" 1
	check "$part: a second disk is read" holds_text "/dev/$2"
	[ $part = nvme ] || check "$part: a disc is mounted" mounted_disc /dev/sr0
	write_text "/dev/$1" >/dev/null
	check "$part: the kernel has nothing to complain about" complaints
	# Of this it complains.
	check "$part: a read-only disk is not written" refuses_writes "/dev/$2"
	dmesg -c >/tmp/log
}

ide()
{
	modprobe ata_piix
	find_disks
	disks "$first" "$second"
}

# Resets of the link, of the port and of the device, while requests are in flight: none is lost.
reset_disk()	# DISK
{
	local storm round host

	host=$(readlink -f "/sys/block/$1/device" | sed 's|.*/\(host[0-9]*\)/.*|\1|')
	storm "$1" 3 &
	storm=$!
	for round in 1 2 3; do
		sleep 0.4
		echo "- - -" >"/sys/class/scsi_host/$host/scan" || return 1
		[ ! -e "/sys/class/scsi_host/$host/host_reset" ] || echo adapter >"/sys/class/scsi_host/$host/host_reset" 2>/dev/null
	done
	wait $storm
}

ahci()
{
	modprobe ahci
	find_disks
	check "ahci: commands are queued" [ "$(cat "/sys/block/$first/device/queue_depth")" = 32 ]
	disks "$first" "$second"
	check "ahci: the link is reset while requests are in flight" reset_disk "$first"
	write_text "/dev/$first" >/dev/null
	dmesg -c >/tmp/log
}

# The controller is reset while requests are in flight: the driver makes those anew.
reset_nvme()	# DISK
{
	local storm round

	storm "$1" 2 &
	storm=$!
	for round in 1 2 3; do
		sleep 0.4
		echo 1 >"/sys/block/$1/device/reset_controller" || return 1
	done
	wait $storm
}

nvme()
{
	modprobe nvme
	find_disks
	check "nvme: a queue for each processor" [ "$(ls -d "/sys/block/$first/mq/"* | wc -l)" = "$(nproc)" ]
	check "nvme: the serial number" [ "$(tr -d ' ' <"/sys/block/$first/device/serial")" = plain ]
	check "nvme: a read-only disk" [ "$(cat "/sys/block/$second/ro")" = 1 ]
	disks "$first" "$second"
	check "nvme: the controller is reset while requests are in flight" reset_nvme "$first"
	check "nvme: and after that it is read and written" write_direct "/dev/$first"
	write_text "/dev/$first" >/dev/null
	dmesg -c >/tmp/log
}

at_address()	# :CHANNEL:TARGET:LUN: the disk there, of any controller
{
	ls "/sys/class/scsi_disk" | grep -q "$1$" && ls /sys/class/scsi_disk/*"$1"/device/block
}

rescanned()	# DISK: it goes, and is found again
{
	echo 1 >"/sys/block/$1/device/delete" && [ ! -e "/sys/block/$1" ] || return 1
	for host in /sys/class/scsi_host/host*; do
		echo "- - -" >"$host/scan"
	done
	first=$(disk_of 33554432)
	[ -n "$first" ]
}

scsi()
{
	modprobe virtio_pci
	modprobe virtio_scsi
	find_disks
	other=$(disk_of 16777216)
	check "scsi: a second controller's disk is at 3:5" [ "$(at_address :0:3:5)" = "$other" ]
	check "scsi: a queue for each processor" [ "$(ls -d "/sys/block/$first/mq/"* | wc -l)" = "$(nproc)" ]
	check "scsi: no two disks are at one address" [ "$(ls /sys/class/scsi_disk | wc -l)" = 3 ]
	check "scsi: writes are cached" [ "$(cat "/sys/block/$first/device/scsi_disk/"*/cache_type)" = "write back" ]
	check "scsi: a read-only disk" [ "$(cat "/sys/block/$second/ro")" = 1 ]
	check "scsi: the serial number" grep -q plain "/sys/block/$first/device/vpd_pg80"
	check "scsi: zeroes are had by unmapping" \
		[ "$(cat "/sys/block/$first/device/scsi_disk/"*/provisioning_mode)" = unmap ]
	disks "$first" "$second"
	check "scsi: another disk is written" write_text "/dev/$other"
	check "scsi: a disk is removed and found again" rescanned "$first"
	check "scsi: and read" write_direct "/dev/$first"
	write_text "/dev/$first" >/dev/null
	dmesg -c >/tmp/log
}

refuses_floppy_writes()
{
	! dd if=/tmp/text of=/dev/fd1 bs=512 count=1 conv=fsync 2>/dev/null && dd if=/dev/fd1 bs=64k count=8 2>/dev/null | cmp - /tmp/text
}

floppy()
{
	modprobe floppy
	for try in 1 2 3 4 5 6 7 8 9 10; do
		[ -b /dev/fd0 ] || sleep 0.2
	done
	check "floppy: a floppy is written" write_text /dev/fd0
	forget
	check "floppy: a floppy is read" holds_text /dev/fd0
	check "floppy: the kernel has nothing to complain about" complaints
	# Of this it complains.
	check "floppy: a read-only floppy is read, and not written" refuses_floppy_writes
	dmesg -c >/tmp/log
}

text >/tmp/text
modprobe sd_mod
modprobe sr_mod
modprobe isofs
dmesg -n 1
for part in $(echo "$parts" | tr , ' '); do
	$part
done
echo "checks done"
poweroff -f
