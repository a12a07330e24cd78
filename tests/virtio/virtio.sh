#!/bin/bash
# Boots Debian's kernel with virtio devices, has its own drivers exercise them (guest-init.sh), and compares
# what is on the host afterwards. Speaks TAP.
#
# usage: virtio.sh VENEER BUILD-DIR SOURCE-DIR ENGINE CPUS...
#
# In the environment: GUEST, a directory that guests/fetch-debian.sh filled (.cache/guest; with --full it
# fills .cache/guest-full); PARTS, "devices" for one machine with everything, "two" for two machines that share
# a disk's file (both).
set -u
export LC_ALL=C

(($# >= 5)) || { echo "usage: $0 VENEER BUILD-DIR SOURCE-DIR ENGINE CPUS..." >&2; exit 2; }
veneer=$1
programs=$2/tests/virtio
source=$3
engine=$4
shift 4
guest=${GUEST:-$source/.cache/guest}
parts=${PARTS:-devices,two}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
. "$source/tests/boot/linux-guest.sh"

# The kernel's drivers, without file systems.
modules()
{
	find "$guest/modules" -path '*/kernel/drivers/*' -name '*.ko*' -printf '--module %f\n' | sed 's/\.ko.*//'
}

# shellcheck disable=SC2046 # words
"$source/guests/make-initramfs.sh" "$work/initramfs" --guest "$guest" --init "$source/tests/virtio/guest-init.sh" \
	--file "$source/tests/boot/guest-check.sh:check.sh" \
	--file "$source/tests/virtio/guest-complaints.sh:complaints.sh" \
	--file "$source/tests/virtio/guest-pci.sh:pci.sh" \
	--file "$programs/guest-disk:bin/guest-disk" $(modules) || exit 2
append()	# CPUS PARTS
{
	echo "console=ttyS0 quiet panic=-1 cpus=$1 parts=$2"
}

# A machine with everything. Programs of the guest and of the host speak through ports; the one here begins
# when the guest does.
run_devices()	# CPUS
{
	truncate -s 32M "$work/plain"
	{ text && head -c 3M /dev/zero; } >"$work/text"
	cp "$work/text" "$work/snapshot"
	truncate -s 4M "$work/parts"
	truncate -s 4M "$work/port"
	boot guest "$1" --append "$(append "$1" ports,disks,pci)" --net user,restrict=on \
		--disk "$work/plain,serial=plain" --disk "$work/text,readonly,serial=read-only" \
		--disk "$work/parts,offset=1M,size=1M,serial=part" --disk "$work/snapshot,snapshot,serial=snapshot" \
		--disk "$work/port,port,serial=port" \
		--console-port "name=echo,path=$work/echo.socket" --console-port "name=log,file=$work/log" &
	python3 "$source/tests/virtio/port-client.py" "$work/echo.socket" >"$work/client" 2>&1
	result $? "$engine, $1 CPU: a port brings back what the host has sent" "$(tail -n 1 "$work/client")"
	wait
	judge guest "$engine, $1 CPU"
	same_bytes "$work/log" 0
	result $? "$engine, $1 CPU: a port's file has what the guest has written"
	[[ ! -e $work/echo.socket ]]
	result $? "$engine, $1 CPU: the socket is gone with the machine"
	same_bytes "$work/plain" 0
	result $? "$engine, $1 CPU: what was written and flushed is in the file"
	same_bytes "$work/parts" 1048576 && cmp -s <(head -c 1M "$work/parts") <(head -c 1M /dev/zero) &&
		cmp -s <(tail -c 2M "$work/parts") <(head -c 2M /dev/zero)
	result $? "$engine, $1 CPU: a part's file has it at its offset, and nothing else"
	cmp -s "$work/snapshot" "$work/text"
	result $? "$engine, $1 CPU: a snapshot's file is unchanged"
	rm "$work"/{client,log,plain,text,snapshot,parts,port}
}

# Two machines at once, each with a part of one file; a third one that wants some of both is refused.
run_two()	# CPUS
{
	local name offset try

	truncate -s 16M "$work/parts"
	for name in first second; do
		[[ $name == first ]] && offset=4M || offset=8M
		boot $name "$1" --append "$(append "$1" one_part)" --disk "$work/parts,offset=$offset,size=4M,serial=part" &
	done
	for ((try = 0; try < 600; try++)); do
		(($(cat "$work"/{first,second}.log 2>/dev/null | grep -c 'a part is found') == 2)) && break
		sleep 0.1
	done
	boot third 1 --append "$(append 1 one_part)" --disk "$work/parts,offset=6M,size=4M,serial=part"
	wait
	[[ $(cat "$work/third.status") == 4 && ! -s $work/third.log ]] && grep -q "$work/parts" "$work/third.err"
	result $? "$engine, $1 CPU: a third machine is refused parts of both" "$(cat "$work/third.err")"
	for name in first second; do
		judge $name "$engine, $1 CPU, the $name of two machines"
	done
	same_bytes "$work/parts" $((4 << 20)) && same_bytes "$work/parts" $((8 << 20)) &&
		cmp -s <(head -c 4M "$work/parts") <(head -c 4M /dev/zero) &&
		cmp -s <(tail -c 4M "$work/parts") <(head -c 4M /dev/zero)
	result $? "$engine, $1 CPU: the file has what both wrote"
	rm "$work/parts"
}

for cpus; do
	for part in ${parts//,/ }; do
		"run_$part" "$cpus"
	done
done
echo "1..$number"
((failures == 0))
