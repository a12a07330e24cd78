#!/bin/bash
# Boots a boot sector (boot-sector.S) by the firmware from a disk at each controller, from a CD-ROM at each,
# and from floppies. Speaks TAP.
#
# usage: boot.sh VENEER SOURCE-DIR ENGINE...
set -u
export LC_ALL=C

(($# >= 3)) || { echo "usage: $0 VENEER SOURCE-DIR ENGINE..." >&2; exit 2; }
veneer=$1
source=$2
shift 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
number=0
failures=0

gcc -m32 -c -o "$work/sector.o" "$source/tests/storage/boot-sector.S" &&
	ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o "$work/sector" "$work/sector.o" || exit 2

# image FILE SIZE SECTOR: the boot sector, and a text in the sector behind it
image()
{
	cp "$work/sector" "$1"
	truncate -s "$3" "$1"
	echo "read from $(basename "$1")" >>"$1"
	truncate -s "$2" "$1"
}

image "$work/disk" 32M 512
image "$work/small" 160K 512
image "$work/floppy" 1440K 512
image "$work/large" 2880K 512
mkdir "$work/disc"
image "$work/disc/boot" 8K 2048
xorriso -as mkisofs -quiet -o "$work/disc.iso" -b boot -c catalog -no-emul-boot -boot-load-size 4 \
	-boot-info-table "$work/disc" 2>/dev/null || exit 2

boots()		# NAME TEXT OPTION...
{
	local name=$1 text=$2 output status

	shift 2
	number=$((number + 1))
	output=$(timeout -k 5 $((60 * ${TIMEOUT_SCALE:-1})) "$veneer" run --engine "$engine" --cpus 1 --memory 64M \
		--no-reboot "$@" </dev/null 2>"$work/err" | tr -d '\r')
	status=$?
	if [[ $status == 0 && $output == *"$text"* && ! -s $work/err ]]; then
		echo "ok $number - $engine: $name"
	else
		failures=$((failures + 1))
		echo "not ok $number - $engine: $name"
		echo "# $(tail -c 200 <<<"$output" | tr -c '[:print:]' ' ') $(head -c 300 "$work/err")"
	fi
}

firmware=/usr/share/seabios/bios-256k.bin
if [[ ! -e $firmware ]]; then
	echo "1..0 # SKIP $firmware is missing: install seabios"
	exit 0
fi
for engine; do
	for bus in ide ahci scsi; do
		boots "a disk at bus=$bus" "read from disk" --firmware $firmware --disk "$work/disk,bus=$bus"
		boots "a CD-ROM at bus=$bus" "read from boot" --firmware $firmware --cdrom "$work/disc.iso,bus=$bus"
	done
	boots "a disk at bus=nvme" "read from disk" --firmware $firmware --disk "$work/disk,bus=nvme"
	boots "a floppy of 1440 KiB" "read from floppy" --firmware $firmware --floppy "$work/floppy"
	boots "a floppy of 160 KiB" "read from small" --firmware $firmware --floppy "$work/small"
	boots "a floppy of 2880 KiB" "read from large" --firmware $firmware --floppy "$work/large,readonly"
done
echo "1..$number"
((failures == 0))
