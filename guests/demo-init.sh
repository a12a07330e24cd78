#!/bin/sh
# The guest's /init in demo.sh: a shell on the first serial port, or the command that demo.sh was given.
#
# demo.sh puts into the initramfs, beside this file:
#
#   /demo/settings	shell variables: rows, columns, term; and with a command: terminal, input
#   /demo/command	the command, as a script; where it is missing, there is a shell
#   /demo/input		its standard input, where that is a file on the host
#
# With a command, the first serial port carries what the command reads and writes and nothing else. What
# the kernel and this script have to say goes to the console on the second one, a file on the host;
# the command's exit status too.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
hostname veneer
ifconfig lo up 2>/dev/null
# shellcheck disable=SC1091 # made by demo.sh
. /demo/settings
export TERM="$term"
cd /root || exit

if [ ! -e /demo/command ]; then
	[ "$rows" = 0 ] || stty rows "$rows" columns "$columns"
	cat <<-END

	  This is Linux $(uname -r) in a virtual machine, $(nproc) processor(s), started $(cut -d ' ' -f 1 /proc/uptime) s ago.
	  "exit" or "poweroff -f" ends it; Ctrl-a x pulls the plug; Ctrl-a h lists the keys.

	END
	setsid cttyhack sh -l
	poweroff -f
fi

case $terminal in
both)
	# The user's own terminal is in raw mode; the guest's does the editing and echoing.
	stty -F /dev/ttyS0 sane rows "$rows" columns "$columns"
	;;
*)
	# Bytes go through as they are. Input stays by lines, because only so can it end: by Ctrl-d.
	stty -F /dev/ttyS0 -echo -isig -iexten -ixon -icrnl -opost icanon erase ^- kill ^- eol ^-
	;;
esac
echo demo: ready >/dev/console
case $input in
file) setsid sh -c 'exec /demo/command </demo/input >/dev/ttyS0 2>&1' ;;
*) setsid sh -c 'exec /demo/command </dev/ttyS0 >/dev/ttyS0 2>&1' ;;
esac
status=$?
# Wait until the last byte has left.
stty -F /dev/ttyS0 >/dev/null 2>&1
echo "demo: exit status $status" >/dev/console
poweroff -f
