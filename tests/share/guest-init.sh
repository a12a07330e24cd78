#!/bin/sh
# /init of the guest that share.sh starts: mounts its shares, each in several ways, and has guest-posix make its
# checks there. Prints "check ok NAME" or "check FAIL NAME" for each check, and "checks done" at the end. With
# root=TAG on the command line it goes on to that share's /init, as an initramfs does.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
modprobe virtio_pci
modprobe 9p
modprobe 9pnet_virtio
mkdir -p /tmp /mnt /root

check()		# NAME COMMAND...
{
	local name=$1

	shift
	if "$@" >/tmp/said 2>&1; then
		echo "check ok $name"
	else
		echo "check FAIL $name: $(head -c 300 /tmp/said | tr '\n\r' '  ')"
	fi
}

mount_share()	# TAG OPTIONS
{
	mount -t 9p -o "trans=virtio,version=9p2000.L,$2" "$1" /mnt
}

# TAG CACHE ENTRIES
posix()
{
	check "$1, cache=$2: mounted" mount_share "$1" "msize=512000,cache=$2"
	mkdir /mnt/work
	guest-posix /mnt/work "$2" "$3" | sed "s/^check \([a-zA-Z]*\) /check \1 $1, cache=$2: /"
	rmdir /mnt/work
	umount /mnt
}

# What another user may not do is seen to by the guest's kernel, by what the server says of owners.
owners()
{
	mount_share mapped access=client && cd /mnt || return
	echo text >file && chown 12:34 file && chmod 4750 file &&
		[ "$(stat -c '%u %g %a' file)" = "12 34 4750" ] && mknod null c 1 3 && echo gone >null &&
		ln -s file link && [ "$(cat link)" = text ] || return
	cd / && umount /mnt
}

read_only()
{
	mount_share readonly msize=8192 && [ "$(cat /mnt/file)" = text ] && ! touch /mnt/new && ! rm /mnt/file &&
		! mkdir /mnt/new && ! sh -c 'echo x >>/mnt/file' && umount /mnt
}

outside()
{
	mount_share none msize=8192 || return
	ln -s ../../../../../../../etc/hostname /mnt/up
	[ "$(readlink /mnt/up)" = ../../../../../../../etc/hostname ] && ! cat /mnt/up &&
		rm /mnt/up && [ "$(cd /mnt/.. && pwd)" = / ] && umount /mnt
}

root=$(sed -n 's/.*root=\([a-z]*\).*/\1/p' /proc/cmdline)
if [ -n "$root" ]; then
	mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 "$root" /root || poweroff -f
	umount /proc /sys /dev
	exec switch_root /root /init
fi
entries=$(sed -n 's/.*entries=\([0-9]*\).*/\1/p' /proc/cmdline)
posix none none "$entries"
posix none mmap 100
posix none loose 100
posix passthrough none 100
posix mapped none 100
posix mapped loose 100
check "mapped: owners, modes, devices, links" owners
check "readonly: nothing is changed" read_only
check "a link leads nowhere on the host" outside
echo "checks done"
poweroff -f
