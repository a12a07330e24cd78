#!/bin/sh
# /init of the guest that sleep.sh starts: it sleeps (S3), is woken by the clock, and looks whether everything
# goes on. Prints "check ok NAME" or "check failed NAME" for each check, and "checks done" at the end.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /tmp /mnt
mount -t tmpfs tmp /tmp
for module in virtio_pci virtio_blk virtio_net virtio_console ext4 ata_piix sd_mod; do
	modprobe $module 2>/dev/null
done

check()		# NAME COMMAND...
{
	local name=$1

	shift
	if "$@" >/tmp/said 2>&1; then
		echo "check ok $name"
	else
		echo "check failed $name: $(tail -c 300 /tmp/said | tr '\n\r' '  ')"
	fi
}

text()		# as linux-guest.sh makes it
{
	seq 1 100000 | head -c 524288
}

# The one of 32 MiB: there may be another, which the system was booted from.
disk_of()	# virtio|ide
{
	local one kind=sd

	[ "$1" = ide ] || kind=vd
	for one in /sys/block/$kind*; do
		[ "$(cat "$one/size")" = 65536 ] && echo "/dev/${one##*/}"
	done
}

holds_text()	# DEVICE OFFSET-KIB
{
	echo 3 >/proc/sys/vm/drop_caches
	dd if="$1" bs=1k skip="$2" count=512 2>/dev/null | cmp - /tmp/text
}

write_text()	# DEVICE OFFSET-KIB
{
	[ -b "$1" ] && dd if=/tmp/text of="$1" bs=1k seek="$2" conv=fsync 2>&1
}

fetch()
{
	rm -f /tmp/fetched
	tftp -g -r text -l /tmp/fetched 10.0.2.2 && cmp /tmp/text /tmp/fetched
}

sleeps()	# SECONDS: woken by the clock after these
{
	local before after

	before=$(date +%s)
	echo 0 >/sys/class/rtc/rtc0/wakealarm
	echo $((before + $1)) >/sys/class/rtc/rtc0/wakealarm
	echo mem >/sys/power/state || return
	after=$(date +%s)
	echo "slept from $before to $after"
	[ $((after - before)) -ge $(($1 - 1)) ] && [ $((after - before)) -le $(($1 + 30)) ]
}

processors()
{
	[ "$(grep -c ^processor /proc/cpuinfo)" = "$1" ]
}

complaints()
{
	! dmesg | grep -i -E 'BUG:|Oops:|WARNING:|lockup|rcu:.*stall|Call Trace|exception Emask|failed command|hard resetting|PM: .*failed|PM: Device|ACPI.*[Ee]rror'
}

goes_on()	# NAME OFFSET-KIB
{
	local bus

	for bus in virtio ide; do
		check "$1: the $bus disk holds what was written before" holds_text "$(disk_of $bus)" 0
		check "$1: it can be written" write_text "$(disk_of $bus)" "$2"
		check "$1: and read" holds_text "$(disk_of $bus)" "$2"
	done
	check "$1: the network carries a file" fetch
	check "$1: all processors are there" processors "$cpus"
}

cpus=$(grep -c ^processor /proc/cpuinfo)
text >/tmp/text
for try in 1 2 3 4 5 6 7 8 9 10; do
	ip address add 10.0.2.15/24 dev eth0 2>/dev/null && break
	sleep 0.2
done
ip link set eth0 up
write_text "$(disk_of virtio)" 0
write_text "$(disk_of ide)" 0
check "S3 is one of the states" grep -q deep /sys/power/mem_sleep
if grep -q wait-for-host /proc/cmdline; then
	echo "asleep soon"
	echo mem >/sys/power/state
	goes_on "woken by the host" 1024
else
	check "sleeps two seconds" sleeps 2
	goes_on "after sleep" 1024
	check "sleeps again" sleeps 2
	goes_on "after sleeping twice" 2048
fi
check "no complaints" complaints
echo "checks done"
poweroff -f
