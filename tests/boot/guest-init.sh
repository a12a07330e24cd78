#!/bin/sh
# The guest's /init in the boot tests. Prints a line for each check, "check ok NAME" or "check FAIL NAME",
# and marks for boot.sh, which compares the guest's clocks with the host's.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
cpus=$(sed -n 's/.*cpus=\([0-9]*\).*/\1/p' /proc/cmdline)

check()		# NAME: by the status of the command before
{
	# shellcheck disable=SC2181
	if [ $? -eq 0 ]; then
		echo "check ok $1"
	else
		echo "check FAIL $1"
	fi
}

mark()		# NAME: tells the host the guest's uptime and wall clock
{
	read -r uptime _ </proc/uptime
	echo "mark $1 $uptime $(date +%s)"
}

# --- processors ---

[ "$(grep -c '^processor' /proc/cpuinfo)" = "$cpus" ]
check "/proc/cpuinfo lists $cpus processor(s)"
[ "$(grep '^flags' /proc/cpuinfo | sort -u | wc -l)" = 1 ] && grep -qw '^flags.*hypervisor' /proc/cpuinfo
check "all processors show the same features"
[ "$(grep '^apicid' /proc/cpuinfo | sort -u | wc -l)" = "$cpus" ]
check "every processor has an APIC ID of its own"
good=0 i=0
while [ $i -lt "$cpus" ]; do
	# Field 39 of stat is the processor it runs on.
	on=$(taskset -c $i cut -d ' ' -f 39 /proc/self/stat)
	[ "$on" = $i ] && good=$((good + 1))
	i=$((i + 1))
done
[ $good = "$cpus" ]
check "a process runs on each processor it is bound to"
last=$((cpus - 1))
sum=$(taskset -c 0 seq 1 5000 | taskset -c $last awk '{ s += $1; print s }' | taskset -c 0 tail -n 1)
[ "$sum" = 12502500 ]
check "a pipeline between processors"
if [ "$cpus" -gt 1 ]; then
	awk -v n="$cpus" '/^ *(RES|CAL):/ { for (i = 2; i < n + 2; i++) s += $i } END { exit !(s > 0) }' /proc/interrupts
	check "processors have interrupted each other"
fi

# --- clocks ---

cd /sys/devices/system/clocksource/clocksource0 || exit
[ "$(cat current_clocksource)" = kvm-clock ]
check "the clock source is kvm-clock"
for source in $(cat available_clocksource); do
	echo "$source" >current_clocksource
	[ "$(cat current_clocksource)" = "$source" ] || continue
	mark "start $source"
	sleep 2
	mark "end $source"
done
echo kvm-clock >current_clocksource
cd /
rtc=$(cat /sys/class/rtc/rtc0/since_epoch) && system=$(date +%s) &&
	[ $((system - rtc)) -le 2 ] && [ $((rtc - system)) -le 2 ]
check "the RTC agrees with the system clock"
before=$(awk '/^ *LOC:/ { for (i = 2; i < 2 + '"$cpus"'; i++) print $i }' /proc/interrupts)
i=0
while [ $i -lt "$cpus" ]; do
	timeout 0.5 taskset -c $i sh -c 'while :; do :; done'
	i=$((i + 1))
done
after=$(awk '/^ *LOC:/ { for (i = 2; i < 2 + '"$cpus"'; i++) print $i }' /proc/interrupts)
printf '%s\n' "$before" >/tmp/before
printf '%s\n' "$after" | paste /tmp/before - | awk '$2 - $1 < 20 { bad = 1 } END { exit bad }'
check "every processor's timer interrupts a busy loop"

# --- processes and signals ---

i=0
while [ $i -lt 50 ] && /bin/true && ! /bin/false; do
	i=$((i + 1))
done
[ $i = 50 ]
check "a hundred execs"
got=
trap 'got=$got.' USR1
kill -USR1 $$
kill -USR1 $$
trap - USR1
[ "$got" = .. ]
check "a trapped signal"
sleep 100 &
kill $!
wait $!
[ $? = 143 ]
check "a signal ends a process, and its status says so"
sh -c 'exit 37'
[ $? = 37 ]
check "an exit status"
dd if=/dev/zero of=/tmp/file bs=64k count=100 2>/dev/null && [ "$(md5sum </tmp/file)" = "$(dd if=/dev/zero bs=64k count=100 2>/dev/null | md5sum)" ]
check "six megabytes through files and pipes"
[ "$(dmesg | grep -c -i -E 'BUG:|Oops|WARNING:|lockup|rcu:.*stall|Call Trace')" = 0 ]
check "the kernel has nothing to complain about"
/guest-checks
[ "$(dmesg | grep -c -i -E 'BUG:|Oops|WARNING:|lockup|rcu:.*stall|Call Trace')" = 0 ]
check "the kernel still has nothing to complain about"
echo "checks done"
poweroff -f
