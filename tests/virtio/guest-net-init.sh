#!/bin/sh
# /init of the guests that network.py starts: exercises the network card with Debian's own driver, and
# prints "check ok NAME" or "check FAIL NAME" for each check, and "checks done" at the end. The kernel's
# command line says which: part=user (with ports), part=first or part=second; address=A, mib=N.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
. /check.sh
echo # a line of its own for what follows, whatever firmware wrote

up()
{
	local try

	for try in $(seq 50); do
		ip address add "$address/24" dev eth0 2>/dev/null && break
		sleep 0.1
	done
	ip link set eth0 up
}

# --- the host, by the user network ---

host=10.0.2.2

is_sum()	# SUM FILE
{
	[ "$(md5sum <"$2" | cut -c 1-32)" = "$1" ]
}

download()	# PORT SUM
{
	rm -f /tmp/data
	timeout 60 nc $host "$1" </dev/null >/tmp/data
	is_sum "$2" /tmp/data
}

upload()
{
	timeout 60 nc $host "$upload_port" </tmp/data
}

# The driver lets go of the card while frames come and go, and takes it again.
unbind()
{
	local device load round

	device=$(basename "$(readlink -f /sys/class/net/eth0/device)")
	for round in 1 2 3; do
		nc $host "$endless_port" </dev/null >/dev/null &
		load=$!
		nc $host "$sink_port" </dev/zero >/dev/null &
		sleep 0.3
		echo "$device" >/sys/bus/virtio/drivers/virtio_net/unbind || return 1
		[ ! -e /sys/class/net/eth0 ] || return 1
		echo "$device" >/sys/bus/virtio/drivers/virtio_net/bind || return 1
		up
		download "$small_port" "$small_sum" || return 1
		kill $load $!
		wait $load $! 2>/dev/null
	done
	return 0
}

user()
{
	check "a ping of the gateway" ping -c 2 -w 10 $host
	check "$mib MiB from the host" download "$download_port" "$sum"
	check "$mib MiB to the host" upload
	check "the driver lets go of the card under load" unbind
}

# --- two machines on a switch ---

# No two of its parts are the same.
stream()
{
	local number

	seq 1 200000 | head -c $(((1 << 20) - 4)) >/tmp/piece
	for number in $(seq 100 $((mib + 99))); do
		echo "$number"
		cat /tmp/piece
	done
}

other_answers()	# ADDRESS
{
	local try

	for try in $(seq 60); do
		ping -c 1 -W 1 "$1" >/dev/null 2>&1 && break
	done
	ping -c 3 -i 0.2 -w 10 "$1"
}

receive()
{
	# Not at the end of its input: the other one would stop there.
	timeout 60 nc -l -p 5000 >/tmp/data
	is_sum "$(stream | md5sum | cut -c 1-32)" /tmp/data
}

# Again till the other one listens.
send_all()
{
	local try

	stream >/tmp/out
	for try in $(seq 100); do
		timeout 60 nc "$1" 5000 </tmp/out && return
		sleep 0.2
	done
	return 1
}

first()
{
	check "a ping of the second" other_answers 10.0.3.2
	check "$mib MiB from the second" receive
	check "$mib MiB to the second" send_all 10.0.3.2
}

second()
{
	check "a ping of the first" other_answers 10.0.3.1
	check "$mib MiB to the first" send_all 10.0.3.1
	check "$mib MiB from the first" receive
}

# --- paused, with disk and network busy ---

more()
{
	[ "$(nc $host "$more_port" </dev/null)" = yes ]
}

small_upload()
{
	timeout 60 nc $host "$upload_port" </tmp/data
}

# The host's clock without the time in which the machine stood, and two of ours, in hundredths of a second.
clocks()
{
	echo "$(nc $host "$time_port" </dev/null) $(cut -d ' ' -f 1 /proc/uptime | tr -d .) $(date +%s)00"
}

# Within 5 % and half a second, which is what a busy host may take to tell its time; the date has whole seconds.
same_time()	# NAME HOST GUEST UNIT
{
	local difference=$(($2 - $3))

	[ $difference -ge 0 ] || difference=$((-difference))
	[ $((difference * 20)) -le $(($2 + 1000 + $4 * 20)) ] || {
		echo "$1: host $2, guest $3 hundredths"
		return 1
	}
}

clocks_agree()
{
	set -- $before $(clocks)
	same_time uptime $(($4 - $1)) $(($5 - $2)) 1 && same_time date $(($4 - $1)) $(($6 - $3)) 100
}

storms()
{
	while [ -e /tmp/more ]; do
		guest-disk storm /dev/vda 1 4 || return 1
	done
}

transfers()
{
	while more; do
		download "$small_port" "$small_sum" || return 1
		small_upload || return 1
	done
}

pauses()
{
	local before storm

	before=$(clocks)
	touch /tmp/more
	storms >/tmp/storms 2>&1 &
	storm=$!
	check "what goes through the network arrives" transfers
	rm /tmp/more
	check "what is written to the disk is read from it" wait $storm
	check "the clocks have stood while the machine did, and no longer" clocks_agree
}

. /complaints.sh
dmesg -n 1
load_drivers
ip link set lo up
up
"$part"
check "the kernel has nothing to complain about" no_complaints
echo "checks done"
poweroff -f
