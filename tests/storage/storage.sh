#!/bin/bash
# Boots Debian's full kernel with disks and discs at old controllers, has its own drivers exercise them
# (guest-init.sh), and compares what is on the host afterwards. Speaks TAP.
#
# usage: storage.sh VENEER BUILD-DIR SOURCE-DIR ENGINE CPUS...
#
# In the environment: GUEST, a directory that guests/fetch-debian.sh --full filled; PARTS, which of
# guest-init.sh's parts run (all).
set -u
export LC_ALL=C

(($# >= 5)) || { echo "usage: $0 VENEER BUILD-DIR SOURCE-DIR ENGINE CPUS..." >&2; exit 2; }
veneer=$1
programs=$2/tests/virtio
source=$3
engine=$4
shift 4
guest=${GUEST:-$source/.cache/guest-full}
parts=${PARTS:-ide,ahci,nvme,scsi,floppy}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
. "$source/tests/boot/linux-guest.sh"

"$source/guests/make-initramfs.sh" "$work/initramfs" --guest "$guest" --init "$source/tests/storage/guest-init.sh" \
	--module sd_mod --module sr_mod --module isofs --module ata_piix --module ahci --module nvme --module virtio_pci --module virtio_scsi --module floppy \
	--file "$source/tests/boot/guest-check.sh:check.sh" --file "$programs/guest-disk:bin/guest-disk" || exit 2
mkdir "$work/disc" && text >"$work/disc/text.txt" &&
	xorriso -as mkisofs -quiet -R -o "$work/disc.iso" "$work/disc" 2>/dev/null || exit 2

append()	# PART
{
	echo "console=ttyS0 quiet panic=-1 parts=$1"
}

# The machine is paused again and again, whatever its disks are doing; its guest must not notice. Says how often.
pauses()	# SOCKET
{
	local count=0

	until [[ -S $1 ]]; do
		sleep 0.1
	done
	while "$veneer" pause "$1" && "$veneer" resume "$1"; do
		count=$((count + 1))
		sleep 0.1
	done 2>/dev/null
	echo $count
}

run_disks()	# CPUS BUS OPTION...: with a disc, or without
{
	local cpus=$1 bus=$2 pauser

	shift 2
	pauses "$work/control" >"$work/pauses" &
	pauser=$!
	truncate -s 32M "$work/plain"
	{ text && head -c 3M /dev/zero; } >"$work/text"
	boot "$bus" "$cpus" --append "$(append "$bus")" --disk "$work/plain,bus=$bus,serial=plain" \
		--disk "$work/text,bus=$bus,readonly" --control "$work/control" "$@"
	wait $pauser
	judge "$bus" "$engine, $cpus CPU"
	(($(<"$work/pauses") >= 10))
	result $? "$engine, $cpus CPU, $bus: was paused with requests in flight" "$(<"$work/pauses") times"
	same_bytes "$work/plain" 0
	result $? "$engine, $cpus CPU, $bus: what was written and flushed is in the file"
	same_bytes "$work/text" 0
	result $? "$engine, $cpus CPU, $bus: a read-only disk's file is unchanged"
	rm "$work"/{plain,text}
}

run_ide()	# CPUS
{
	run_disks "$1" ide --cdrom "$work/disc.iso,bus=ide"
}

run_ahci()	# CPUS
{
	run_disks "$1" ahci --cdrom "$work/disc.iso,bus=ahci"
}

run_nvme()	# CPUS
{
	run_disks "$1" nvme
}

# A disk and a disc at the first controller, and at the second one a target with another disk as its unit 5.
run_scsi()	# CPUS
{
	truncate -s 16M "$work/other"
	run_disks "$1" scsi --cdrom "$work/disc.iso,bus=scsi,target=7" \
		--disk "$work/other,bus=scsi,controller=1,target=3,lun=5"
	same_bytes "$work/other" 0
	result $? "$engine, $1 CPU, scsi: what was written to a second controller's disk is in the file"
	rm "$work/other"
}

run_floppy()	# CPUS
{
	truncate -s 1440K "$work/first"
	text >"$work/second"
	truncate -s 720K "$work/second"
	boot floppy "$1" --append "$(append floppy)" --floppy "$work/first" --floppy "$work/second,readonly"
	judge floppy "$engine, $1 CPU"
	same_bytes "$work/first" 0
	result $? "$engine, $1 CPU, floppy: what was written is in the file"
	rm "$work"/{first,second}
}

for cpus; do
	for part in ${parts//,/ }; do
		"run_$part" "$cpus"
	done
done
echo "1..$number"
((failures == 0))
