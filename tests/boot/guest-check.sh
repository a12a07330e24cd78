# shellcheck shell=sh
# What the /init of guests that check devices have in common; sourced by them, as /check.sh.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /tmp /mnt

check()		# NAME COMMAND...: prints "check ok NAME" or "check FAIL NAME", and what the command said
{
	local name=$1

	shift
	if "$@" >/tmp/said 2>&1; then
		echo "check ok $name"
	else
		echo "check FAIL $name: $(head -c 300 /tmp/said | tr '\n\r' '  ')"
	fi
}

text()		# as the script on the host makes it
{
	seq 1 100000 | head -c 524288
}

forget()	# what the page cache holds
{
	sync
	echo 3 >/proc/sys/vm/drop_caches
}
