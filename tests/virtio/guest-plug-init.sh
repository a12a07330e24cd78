#!/bin/sh
# /init of the guest that plug.py starts: disks and cards come and go under Debian's own drivers. Commands are lines
# of the serial port; each is answered by "done" or "failed", and its name.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
. /check.sh
. /complaints.sh

disk_of()	# SERIAL
{
	local path

	for path in /sys/block/vd*; do
		[ "$(cat "$path/serial" 2>/dev/null)" != "$1" ] || { basename "$path"; return 0; }
	done
	return 1
}

card_of()	# MAC
{
	local path

	for path in /sys/class/net/*; do
		[ "$(cat "$path/address" 2>/dev/null)" != "$1" ] || { basename "$path"; return 0; }
	done
	return 1
}

await()		# COMMAND...: until it succeeds
{
	local try

	for try in $(seq 600); do
		"$@" >/dev/null && return 0
		sleep 0.1
	done
	return 1
}

none()
{
	! "$@"
}

# It is written, and then busy until it goes.
use_disk()	# SERIAL
{
	local name

	await disk_of "$1" || return 1
	name=$(disk_of "$1")
	dd if=/tmp/text of="/dev/$name" bs=64k conv=fsync 2>&1 || return 1
	forget
	dd if="/dev/$name" bs=64k count=8 2>/dev/null | cmp - /tmp/text || return 1
	guest-disk storm "/dev/$name" 120 2 lost >"/tmp/storm.$1" 2>&1 &
	echo $! >"/tmp/storm.pid.$1"
}

lose_disk()	# SERIAL
{
	await none disk_of "$1" || return 1
	wait "$(cat "/tmp/storm.pid.$1")"
}

# The network's gateway answers.
use_card()	# MAC
{
	local name

	await card_of "$1" || return 1
	name=$(card_of "$1")
	ip link set "$name" up && ip address add 10.0.2.15/24 dev "$name" && await ping -c 1 -W 1 10.0.2.2 || return 1
	ping -i 0.01 10.0.2.2 >/dev/null 2>&1 &
	echo $! >/tmp/ping
}

lose_card()	# MAC
{
	kill "$(cat /tmp/ping)"
	await none card_of "$1"
}

# As the button does, without the five seconds in which the user may think better of it.
off()		# SLOT...
{
	local slot

	for slot; do
		echo 0 >"/sys/bus/pci/slots/$slot/power" &
	done
	wait $! # each takes a second
	for slot; do
		await grep -q 0 "/sys/bus/pci/slots/$slot/power" || return 1
	done
}

text >/tmp/text
dmesg -n 1
for module in virtio_pci virtio_blk virtio_net; do
	modprobe $module
done
stty -echo
allowed='I/O error, dev vd|Buffer I/O error on dev'
echo "done boot"
while read -r command words; do
	case $command in
	await | use_disk | lose_disk | use_card | lose_card | off | no_complaints)
		# shellcheck disable=SC2086 # words
		if $command $words >/tmp/said 2>&1; then
			echo "done $command"
		else
			echo "failed $command: $(head -c 300 /tmp/said | tr '\n\r' '  ')"
		fi
		;;
	end) poweroff -f ;;
	esac
done
