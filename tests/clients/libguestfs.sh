#!/bin/bash
# libguestfs with veneer in QEMU's place, unmodified: libguestfs-test-tool; guestfish, which makes partitions and
# file systems on a disk and reads back what it wrote; virt-customize, where there is an image. Speaks TAP.
#
# usage: libguestfs.sh BUILD-DIR SOURCE-DIR [time]
#
# With "time" libguestfs-test-tool is timed, in turns with QEMU's TCG, and may take 0.4 times as long.
# In the environment: GUEST, a directory that guests/fetch-debian.sh filled; IMAGE, an image of Debian that
# veneer image made, of which a copy is customized. The appliance is built first, and is not part of any time.
set -u
export LC_ALL=C

(($# >= 2)) || { echo "usage: $0 BUILD-DIR SOURCE-DIR [time]" >&2; exit 2; }
build=$(cd "$1" && pwd)
source=$2
guest=$(cd "${GUEST:-$source/.cache/guest}" && pwd) || exit 2
number=0
failures=0

for tool in libguestfs-test-tool guestfish virt-customize supermin; do
	command -v $tool >/dev/null || { echo "1..0 # SKIP $tool is missing: install libguestfs-tools"; exit 0; }
done

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg LIBGUESTFS_CACHEDIR=$work TMPDIR=$work
export LIBGUESTFS_HV=$build/qemu-system-x86_64
# The appliance's kernel. Without a directory of that name supermin looks no further.
cp -r "$guest/modules" "$work/modules" || exit 2
export SUPERMIN_KERNEL=$guest/vmlinuz SUPERMIN_MODULES
SUPERMIN_MODULES=$(echo "$work"/modules/lib/modules/*)
# The appliance's modprobe wants lists that busybox does not write.
PATH=$PATH:/sbin:/usr/sbin depmod -b "$work/modules" "$(basename "$SUPERMIN_MODULES")" 2>"$work/log" || exit 2
if [[ ! -d /lib/modules ]] && ! mkdir -p /lib/modules 2>/dev/null; then
	echo "1..0 # SKIP supermin wants a directory /lib/modules"
	exit 0
fi

result()	# STATUS NAME
{
	number=$((number + 1))
	if (($1 == 0)); then
		echo "ok $number - $2"
	else
		failures=$((failures + 1))
		echo "not ok $number - $2"
		tail -n 15 "$work/log" | tr -c '[:print:]\n' ' ' | cut -c 1-200 | sed 's/^/# /'
	fi
}

run()		# COMMAND...
{
	timeout -k 5 $((300 * ${TIMEOUT_SCALE:-1})) "$@" >"$work/log" 2>&1
}

test_tool()
{
	run libguestfs-test-tool && grep -q '^===== TEST FINISHED OK =====' "$work/log"
}

write_disk()
{
	run guestfish <<-END
		sparse $work/disk 300M
		add-drive-scratch 64M label:scratch
		run
		part-init /dev/sda gpt
		part-add /dev/sda p 2048 200000
		part-add /dev/sda p 200704 -64
		mkfs ext4 /dev/sda1
		mkfs vfat /dev/sda2
		mkfs ext4 /dev/disk/guestfs/scratch
		mount /dev/sda1 /
		write /text "written by guestfish"
		mkdir /fat
		mount /dev/sda2 /fat
		fill-pattern 0123456789 4000000 /fat/large
		fstrim /
	END
}

# A session of its own, which only reads.
read_disk()
{
	run guestfish --ro --add "$work/disk" <<-END
		run
		list-filesystems
		mount-ro /dev/sda1 /
		cat /text
		umount /
		mount-ro /dev/sda2 /
		checksum md5 /large
	END
	printf '%s\n' "/dev/sda1: ext4" "/dev/sda2: vfat" "written by guestfish" \
		"$(yes 0123456789 | tr -d '\n' | head -c 4000000 | md5sum | cut -d' ' -f1)" | cmp -s - "$work/log"
}

customize()
{
	run cp --sparse=always "$IMAGE" "$work/image" || return
	run virt-customize --add "$work/image" --no-network --hostname customized --write /etc/written:text \
		--run-command 'uname -r >/root/kernel && ls -d /sys/bus/virtio/drivers/virtio_scsi' || return
	run guestfish --ro --add "$work/image" --inspector cat /etc/hostname : cat /etc/written : cat /root/kernel
	[[ $(tr '\n' ' ' <"$work/log") == "customized "*"text"*"$(basename "$SUPERMIN_MODULES")"* ]]
}

# Milliseconds: the median of three, each taken after one of the other's.
compare_times()
{
	local -A times
	local hv begin mine other

	for _ in 1 2 3; do
		for hv in "$build/qemu-system-x86_64" /usr/bin/qemu-system-x86_64; do
			begin=$(date +%s%3N)
			LIBGUESTFS_HV=$hv test_tool || return
			times[$hv]+="$(($(date +%s%3N) - begin)) "
		done
	done
	mine=$(tr ' ' '\n' <<<"${times[$build/qemu-system-x86_64]}" | sort -n | sed '/^$/d' | sed -n 2p)
	other=$(tr ' ' '\n' <<<"${times[/usr/bin/qemu-system-x86_64]}" | sort -n | sed '/^$/d' | sed -n 2p)
	echo "# libguestfs-test-tool: $mine ms, with QEMU's TCG $other ms: $((100 * mine / other)) percent"
	((10 * mine <= 4 * other))
}

run guestfish add-drive-scratch 1M : run
result $? "an appliance is built, and starts"
test_tool
result $? "libguestfs-test-tool passes"
write_disk
result $? "guestfish makes partitions and file systems, and writes"
read_disk
result $? "guestfish reads what it wrote"
if [[ -n ${IMAGE-} ]]; then
	customize
	result $? "virt-customize changes an image, and runs a command in it"
fi
if [[ ${3-} == time ]]; then
	compare_times
	result $? "libguestfs-test-tool takes at most 0.4 times as long as with QEMU's TCG"
fi
echo "1..$number"
((failures == 0))
