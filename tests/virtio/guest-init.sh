#!/bin/sh
# /init of the guest that virtio.sh starts: exercises its devices with Debian's own drivers, and prints
# "check ok NAME" or "check FAIL NAME" for each check, and "checks done" at the end. The kernel's
# command line says which: parts=PART,..., cpus=N.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
. /check.sh

# The disk with that serial number, without /dev/.
disk()
{
	local path

	for path in /sys/block/vd*; do
		[ "$(cat "$path/serial" 2>/dev/null)" != "$1" ] || { basename "$path"; return 0; }
	done
	return 1
}

is_zero()	# DEVICE OFFSET SIZE, in KiB
{
	[ "$(dd if="$1" bs=1k skip="$2" count="$3" 2>/dev/null | tr -d '\0' | wc -c)" = 0 ]
}

is_not_zero()
{
	! is_zero "$@"
}

# --- disks ---

holds_text()	# DEVICE
{
	dd if="$1" bs=64k count=8 2>/dev/null | cmp - /tmp/text
}

write_text()	# DEVICE
{
	dd if=/tmp/text of="$1" bs=64k conv=fsync 2>&1
}

# In small pieces and past the page cache.
write_direct()
{
	dd if=/tmp/text of="$1" bs=4k oflag=direct 2>&1 && dd if="$1" bs=1k count=512 iflag=direct 2>/dev/null | cmp - /tmp/text
}

refuses_writes()
{
	[ "$(cat /sys/block/"${1#/dev/}"/ro)" = 1 ] && ! dd if=/tmp/text of="$1" bs=64k count=1 conv=fsync 2>/dev/null
}

has_size()	# DISK BYTES
{
	[ $(($(cat "/sys/block/$1/size") * 512)) = "$2" ]
}

storm()		# DISK SECONDS [lost]
{
	guest-disk storm "/dev/$1" "$2" 4 $3
}

# The driver lets go of the device while requests are in flight, and takes it again.
unbind()	# SERIAL
{
	local name device storm round

	for round in 1 2 3; do
		name=$(disk "$1") || return 1
		device=$(basename "$(readlink -f "/sys/block/$name/device")")
		storm "$name" 20 lost &
		storm=$!
		sleep 0.3
		echo "$device" >/sys/bus/virtio/drivers/virtio_blk/unbind || return 1
		wait $storm || return 1
		echo "$device" >/sys/bus/virtio/drivers/virtio_blk/bind || return 1
	done
	name=$(disk "$1") && storm "$name" 0.3
}

# The function goes from the bus, and is found again.
remove()	# SERIAL
{
	local name function storm

	name=$(disk "$1") || return 1
	function=$(dirname "$(readlink -f "/sys/block/$name/device")")
	storm "$name" 20 lost &
	storm=$!
	sleep 0.3
	echo 1 >"$function/remove" || return 1
	wait $storm || return 1
	echo 1 >/sys/bus/pci/rescan || return 1
	name=$(disk "$1") && storm "$name" 0.3
}

# Vectors are masked and unmasked as processors go and come, and as interrupts move.
move_interrupts()	# DISK
{
	local storm round irq cpu

	storm "$1" 3 &
	storm=$!
	for round in 1 2 3 4 5; do
		for irq in $(sed -n 's/^ *\([0-9]*\):.*virtio.*/\1/p' /proc/interrupts); do
			# Where the kernel manages them itself it refuses.
			echo $((round % cpus)) 2>/dev/null >/proc/irq/$irq/smp_affinity_list
		done
		[ "$cpus" -gt 1 ] || continue
		cpu=$((round % (cpus - 1) + 1))
		echo 0 >/sys/devices/system/cpu/cpu$cpu/online || return 1
		sleep 0.1
		echo 1 >/sys/devices/system/cpu/cpu$cpu/online || return 1
	done
	wait $storm
}

zeroed()	# DISK
{
	guest-disk zero "/dev/$1" 131072 65536 && forget && is_zero "/dev/$1" 128 64 && is_not_zero "/dev/$1" 192 64
}

discarded()	# DISK
{
	blkdiscard -o 262144 -l 65536 "/dev/$1" && forget && is_zero "/dev/$1" 256 64 && is_not_zero "/dev/$1" 320 64
}

disks()
{
	local plain ro part snapshot

	text >/tmp/text
	check "the disks are found by their serial numbers" disk plain
	plain=$(disk plain) ro=$(disk read-only) part=$(disk part) snapshot=$(disk snapshot)
	check "a disk's size" has_size "$plain" 33554432
	check "it has a queue for each processor" [ "$(ls "/sys/block/$plain/mq" | wc -l)" = "$cpus" ]
	check "a write and a flush" write_text "/dev/$plain"
	forget
	check "a read" holds_text "/dev/$plain"
	check "reads and writes past the page cache" write_direct "/dev/$plain"
	check "zeroes" zeroed "$plain"
	check "a discard" discarded "$plain"
	check "many requests at once" storm "$plain" 1
	check "a read-only disk is read" holds_text "/dev/$ro"
	check "a read-only disk is not written" refuses_writes "/dev/$ro"
	check "a part's size" has_size "$part" 1048576
	check "a part is written" write_text "/dev/$part"
	forget
	check "a part is read" holds_text "/dev/$part"
	check "a snapshot shows the file" holds_text "/dev/$snapshot"
	check "a snapshot is written" write_direct "/dev/$snapshot"
	check "many requests at once, to a snapshot" storm "$snapshot" 0.5
	check "interrupts move while requests are in flight" move_interrupts "$plain"
	check "the driver lets go of the disk while requests are in flight" unbind plain
	check "the disk leaves the bus while requests are in flight" remove plain
	write_text "/dev/$(disk plain)" >/dev/null
}

# One of two machines that use parts of the same file.
one_part()
{
	local part

	text >/tmp/text
	part=$(disk part)
	check "a part is found" [ -n "$part" ]
	check "many requests at once, to a part" storm "$part" 3
	check "a part is written" write_text "/dev/$part"
	forget
	check "a part is read" holds_text "/dev/$part"
}

# --- ports ---

# The port with that name: its device.
port()
{
	local path

	for path in /sys/class/virtio-ports/*; do
		[ "$(cat "$path/name" 2>/dev/null)" != "$1" ] || { echo "/dev/$(basename "$path")"; return 0; }
	done
	return 1
}

# What the host's three programs send, 1 MiB each, goes back. How often one is seen to go and the next
# one to come is not known: they may be too quick. The port stays open: to close it throws away what
# has arrived.
echo_back()	# DEVICE
{
	exec 3<>"$1"
	: >/tmp/back
	until [ "$(wc -c </tmp/back)" -ge 3145728 ]; do
		tee -a /tmp/back <&3 >&3
		sleep 0.1
	done
	exec 3>&-
}

ports()
{
	text >/tmp/text
	check "the ports are found by their names" [ -n "$(port echo)" -a -n "$(port log)" ]
	check "a port is written" dd if=/tmp/text of="$(port log)" bs=64k
	check "the host's programs come and go" echo_back "$(port echo)"
}

# --- what every machine has ---

# Two pieces of what the device gives are different, and neither compresses.
entropy()
{
	[ "$(cat /sys/class/misc/hw_random/rng_current)" = virtio_rng.0 ] || return 1
	dd if=/dev/hwrng of=/tmp/one bs=4k count=4 2>/dev/null iflag=fullblock
	dd if=/dev/hwrng of=/tmp/two bs=4k count=4 2>/dev/null iflag=fullblock
	! cmp -s /tmp/one /tmp/two && [ "$(cat /tmp/one /tmp/two | gzip | wc -c)" -gt 32768 ]
}

all_driven()
{
	local device

	for device in /sys/bus/virtio/devices/*; do
		[ -e "$device/driver" ] || return 1
	done
}

. /complaints.sh
. /pci.sh
dmesg -n 1
load_drivers
check "the kernel has found nothing to complain about" no_complaints
check "each virtio device has its driver" all_driven
check "the entropy device gives what cannot be foreseen" entropy
for part in $(echo "$parts" | tr , ' '); do
	$part
done
# Its disk has been taken away while requests were in flight; a processor was, while one of its interrupts was on
# the way to another.
allowed='I/O error, dev vd|IRQ fixup: irq .* move in progress'
check "the kernel has had nothing to complain about since" no_complaints
check "a complaint would have been seen" sees_complaints
echo "checks done"
poweroff -f
