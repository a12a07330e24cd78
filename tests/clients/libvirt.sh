#!/bin/bash
# Has libvirt define, start, watch, pause, reset and end machines whose <emulator> is veneer by QEMU's name, in a session of
# an ordinary user with directories of its own. Speaks TAP.
#
# usage: libvirt.sh VENEER SOURCE-DIR
#
# Needs Debian's packages libvirt-daemon-system, libvirt-clients and qemu-utils, and what guests/fetch-debian.sh fetches.
set -u
export LC_ALL=C

(($# == 2)) || { echo "usage: $0 VENEER SOURCE-DIR" >&2; exit 2; }
source=$(realpath "$2")
guest=${GUEST:-$source/.cache/guest}
libvirtd=/usr/sbin/libvirtd
[[ -x $libvirtd ]] || { echo "$0: needs the packages libvirt-daemon-system and libvirt-clients" >&2; exit 2; }
work=$(mktemp -d) || exit 2
number=0
failures=0
daemon=

# A user's session is none of root's: root is somebody else for it.
as_user=(env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME="$work/home" XDG_RUNTIME_DIR="$work/run"
	XDG_CONFIG_HOME="$work/config" XDG_CACHE_HOME="$work/cache" XDG_DATA_HOME="$work/data")
if (($(id -u) == 0)); then
	as_user+=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi

virsh()
{
	"${as_user[@]}" timeout -k 5 120 virsh -q -c qemu:///session "$@"
}

finish()
{
	[[ -z $daemon ]] || { virsh destroy pc; virsh destroy q35; kill "$daemon"; wait "$daemon"; } >/dev/null 2>&1
	rm -rf "$work"
}
trap finish EXIT

result() # STATUS NAME
{
	number=$((number + 1))
	if (($1 == 0)); then
		echo "ok $number - $2"
	else
		failures=$((failures + 1))
		echo "not ok $number - $2"
		tail -n 20 "$work/out" "$work"/*.log "$work"/cache/libvirt/qemu/log/*.log 2>/dev/null | grep -v ': debug :' | sed 's/^/# /'
	fi
}

# check NAME COMMAND...: it succeeds; its output is in $work/out
check()
{
	local name=$1

	shift
	"$@" >"$work/out" 2>&1
	result $? "$name"
}

# until COMMAND...: it succeeds within a minute or so
until_true()
{
	local end=$((SECONDS + 60))

	until "$@" >"$work/out" 2>&1; do
		((SECONDS < end)) || return 1
		sleep 0.2
	done
}

cat >"$work/init" <<'END'
#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev 2>/dev/null
mount -t sysfs sys /sys
for module in virtio_pci virtio_blk virtio_net evdev button; do modprobe $module 2>/dev/null; done
echo "found $(ls /sys/block | grep -c vd) disks, $(ls /sys/class/net | grep -c eth) cards"
# The power button: an event of type 1 (EV_KEY), code 116 (KEY_POWER).
for event in /dev/input/event*; do
	while line=$(dd bs=24 count=1 2>/dev/null | hexdump -v -e '24/1 "%02x"') && [ "$line" ]; do
		case $line in *0100740001000000) poweroff -f ;; esac
	done <"$event" &
done
while :; do
	printf 'guest login: '
	read -r name && echo "hello $name, of $(ls /sys/block | grep -c vd) disks"
done
END
"$source/guests/make-initramfs.sh" "$work/initrd" --guest "$guest" --init "$work/init" --module virtio_pci --module virtio_blk \
	--module virtio_net --module evdev --module button || exit 2
cp "$guest/vmlinuz" "$work/vmlinuz"
truncate -s 64M "$work/disk.raw" "$work/hot.raw"
qemu-img create -q -f qcow2 "$work/disk.qcow2" 64M || exit 2
mkdir -p "$work"/{home,run,config/libvirt,cache,data,bin}
cp "$1" "$work/bin/qemu-system-x86_64"
printf 'security_driver = "none"\nstdio_handler = "file"\n' >"$work/config/libvirt/qemu.conf"
(($(id -u) != 0)) || chown -R nobody:nogroup "$work"
# It looks for the programs of veneer's own, and they for shared objects, where they were built.
veneer_libexec=$(dirname "$(realpath "$1")")
for helper in "$veneer_libexec"/veneer-*; do
	[[ ! -x $helper ]] || cp "$helper" "$work/bin"
done

# domain NAME MACHINE MORE: its XML
domain()
{
	cat <<END
<domain type='qemu'>
  <name>$1</name>
  <memory unit='MiB'>256</memory>
  <vcpu>2</vcpu>
  <os><type arch='x86_64' machine='$2'>hvm</type>
    <kernel>$work/vmlinuz</kernel><initrd>$work/initrd</initrd><cmdline>console=ttyS0 quiet</cmdline></os>
  <features><acpi/><apic/></features>
  <devices>
    <emulator>$work/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='$work/disk.raw'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$work/disk.qcow2'/><target dev='vdb' bus='virtio'/></disk>
    <interface type='user'><model type='virtio'/></interface>
    <serial type='pty'><log file='$work/$1.log'/></serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    $3
  </devices>
</domain>
END
}

domain pc pc '' >"$work/pc.xml"
domain q35 q35 "<graphics type='vnc' listen='127.0.0.1'/><video><model type='vga'/></video>" >"$work/q35.xml"

"${as_user[@]}" "$libvirtd" --timeout 300 >"$work/libvirtd.log" 2>&1 &
daemon=$!
until_true virsh uri
result $? "libvirt's daemon answers"

says() # NAME TEXT [TIMES]: the guest's serial port has
{
	(($(grep -c -- "$2" "$work/$1.log") >= ${3:-1}))
}

# What is typed at the console is answered there. The terminal is script(1)'s.
type_name() # NAME WHO
{
	{ sleep 1; printf '%s\r' "$2"; sleep 2; printf '\035'; } |
		"${as_user[@]}" timeout -k 5 60 script -qec "virsh -q -c qemu:///session console $1" /dev/null
}

console()
{
	type_name "$1" somebody
	until_true says "$1" 'hello somebody'
}

sees() # NAME DISKS
{
	type_name "$1" "watcher$2" && says "$1" "hello watcher$2, of $2 disks"
}

capabilities()
{
	virsh domcapabilities --emulatorbin "$work/bin/qemu-system-x86_64" >"$work/capabilities" &&
		grep -q '<domain>qemu</domain>' "$work/capabilities" && grep -q "usable='yes'.*>qemu64<" "$work/capabilities"
}
check "what there is can be asked for" capabilities

state()
{
	[[ $(virsh domstate "$1") == "$2" ]]
}

monitor()
{
	virsh qemu-monitor-command "$1" '{"execute":"query-name"}' | grep -q "\"name\":\"$1\"" &&
		virsh qemu-monitor-command "$1" --hmp 'info status' | grep -q running
}

stats()
{
	virsh domstats "$1" >"$work/stats" && grep -q 'block.0.rd.reqs=[1-9]' "$work/stats" &&
		grep -q 'vcpu.1.state=1' "$work/stats"
}

screenshot()
{
	(cd "$work/run" && virsh screenshot q35 "$work/run/shot" && [[ -s $work/run/shot ]])
}

for machine in pc q35; do
	check "$machine is defined" virsh define "$work/$machine.xml"
	check "$machine starts" virsh start $machine
	until_true says $machine 'found 2 disks, 1 cards'
	result $? "$machine comes up with two disks and a card"
	check "$machine has a console" console $machine
	check "$machine is described" virsh dominfo $machine
	check "$machine has statistics" stats $machine
	check "$machine has monitors" monitor $machine
	check "$machine pauses" virsh suspend $machine
	check "$machine is paused" state $machine paused
	check "$machine goes on" virsh resume $machine
	check "$machine takes keys" virsh send-key $machine KEY_ENTER
	# On q35 libvirt would plug it in behind a bridge of PCI.
	if [[ $machine == pc ]]; then
		check "$machine is given a disk" virsh attach-disk $machine "$work/hot.raw" vdc --subdriver raw
		until_true sees $machine 3
		result $? "$machine sees it"
		check "a disk is taken from $machine" virsh detach-disk $machine vdc
		until_true sees $machine 2
		result $? "$machine sees that, too"
	fi
	[[ $machine == pc ]] || check "$machine has a screen" screenshot
	check "$machine is reset" virsh reset $machine
	until_true says $machine 'found 2 disks, 1 cards' 2
	result $? "$machine comes up again"
	check "$machine is asked to shut down" virsh shutdown $machine
	until_true state $machine 'shut off'
	result $? "$machine has shut down"
	check "$machine starts once more" virsh start $machine
	check "$machine is destroyed" virsh destroy $machine
	check "$machine is undefined" virsh undefine $machine
done
echo "1..$number"
((failures == 0))
